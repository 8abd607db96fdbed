//! What is expected of an answer beyond its status, and what the client does when it fails.

use std::time::Duration;

use super::scalar::{duration_within, within};
use crate::error::tick;
use crate::file::scalar::{At, Literal};
use crate::file::tables::{Check, JitterText, Retry, RetryCauseText};
use crate::findings::Findings;
use crate::plan::{CheckPlan, Expected, Jitter, RequestPlan, RetryCause, RetryPlan};

/// The most checks of one request.
pub const MAX_CHECKS: usize = 16;
/// The longest JSON pointer, in bytes.
const MAX_POINTER_LEN: usize = 256;
/// The most attempts of one arrival, the first included.
pub const MAX_ATTEMPTS: u8 = 10;
/// The longest pause between two attempts, in seconds.
pub const MAX_BACKOFF_S: u64 = 60;
/// The greatest growth of the pause from one attempt to the next.
const MAX_FACTOR: f64 = 10.0;

const DEFAULT_ATTEMPTS: u8 = 3;
const DEFAULT_BACKOFF: Duration = Duration::from_millis(50);
const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(1);
/// What is tried again unless `on` says otherwise: all but answers that would not change.
const DEFAULT_ON: [RetryCause; 5] =
    [RetryCause::Timeout, RetryCause::Refused, RetryCause::Reset, RetryCause::ServerError, RetryCause::Shed];

pub(super) fn checks(typed: &[At<Check>], what: &str, findings: &mut Findings) -> Vec<CheckPlan> {
    if let Some(beyond) = typed.get(MAX_CHECKS) {
        findings.add(
            beyond.span(),
            format!("{what} there are more than {MAX_CHECKS} checks; keep those that matter"),
        );
    }
    typed.iter().take(MAX_CHECKS).filter_map(|c| check(c, what, findings)).collect()
}

fn check(typed: &At<Check>, what: &str, findings: &mut Findings) -> Option<CheckPlan> {
    let pointer = &typed.pointer;
    // RFC 6901, section 3: `~` only as `~0` or `~1`.
    let escaped = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if pointer.len() > MAX_POINTER_LEN || !(pointer.is_empty() || pointer.starts_with('/')) || !escaped {
        findings.add(
            pointer.span(),
            format!(
                "{what} check pointer {} is not a JSON pointer of at most {MAX_POINTER_LEN} bytes; write it like \
                 /data/0/status, with ~1 for / and ~0 for ~ in a name",
                tick(pointer)
            ),
        );
        return None;
    }
    let expected = match (&typed.equals, &typed.exists) {
        (Some(value), None) => Expected::Equals {
            value: match &**value {
                Literal::Text(t) => t.clone().into(),
                Literal::Whole(n) => (*n).into(),
                Literal::Number(n) => (*n).into(),
                Literal::Bool(b) => (*b).into(),
            },
        },
        (None, Some(exists)) if **exists => Expected::Exists,
        (None, Some(_)) => Expected::Absent,
        _ => {
            findings.add(
                typed.span(),
                format!("{what} the check of {} needs one of equals and exists; keep one", tick(pointer)),
            );
            return None;
        }
    };
    Some(CheckPlan { pointer: pointer.to_string(), expected })
}

/// Whether a request may be repeated although nobody knows what became of the first: by its method
/// (RFC 9110, section 9.2.2) or by its idempotency key.
fn is_repeatable(request: &RequestPlan) -> bool {
    let mut texts = request.headers.iter().map(|(_, v)| v).chain([&request.path]).chain(&request.body);
    !matches!(request.method.as_str(), "POST" | "PATCH") || texts.any(|t| t.contains("${key}"))
}

pub(super) fn retry(
    typed: &At<Retry>,
    request: &RequestPlan,
    what: &str,
    findings: &mut Findings,
) -> Option<RetryPlan> {
    if !is_repeatable(request) {
        findings.add(
            typed.span(),
            format!(
                "{what} retry could carry the same {} out twice: it has no idempotency key; \
                 add headers = {{ Idempotency-Key = \"${{key}}\" }}",
                request.method
            ),
        );
    }
    let attempts = within(
        typed.attempts.as_ref(),
        DEFAULT_ATTEMPTS,
        2..=MAX_ATTEMPTS,
        &format!("{what} retry.attempts"),
        findings,
    );
    let most = Duration::from_secs(MAX_BACKOFF_S);
    let mut pause = |typed: &Option<At<_>>, key: &str, default: Duration| match typed {
        None => Some(default),
        Some(t) => duration_within(t, most, format_args!("{what} retry.{key}"), findings),
    };
    let backoff = pause(&typed.backoff, "backoff", DEFAULT_BACKOFF);
    let max_backoff =
        pause(&typed.max_backoff, "max_backoff", DEFAULT_MAX_BACKOFF.max(backoff.unwrap_or_default()));
    let factor =
        within(typed.factor.as_ref(), 2.0, 1.0..=MAX_FACTOR, &format!("{what} retry.factor"), findings);
    let statuses = statuses(typed, request, what, findings);
    let on: Vec<RetryCause> = match &typed.on {
        None => DEFAULT_ON.to_vec(),
        Some(on) => {
            let mut on: Vec<RetryCause> = on.iter().map(|c| cause(*c)).collect();
            on.sort_unstable();
            on.dedup();
            on
        }
    };
    if on.is_empty() && statuses.is_empty() {
        findings.add(
            typed.span(),
            format!("{what} retry has nothing to try again on; name it in on or statuses"),
        );
    }
    let (backoff, max_backoff) = (backoff?, max_backoff?);
    if max_backoff < backoff {
        findings.add(
            typed.span(),
            format!(
                "{what} retry.max_backoff is shorter than retry.backoff; raise it or shorten the first pause"
            ),
        );
        return None;
    }
    Some(RetryPlan {
        attempts: attempts?,
        backoff_ms: backoff.as_secs_f64() * 1e3,
        factor: factor?,
        max_backoff_ms: max_backoff.as_secs_f64() * 1e3,
        jitter: match typed.jitter {
            Some(JitterText::None) => Jitter::None,
            Some(JitterText::Full) | None => Jitter::Full,
        },
        on,
        statuses,
    })
}

fn statuses(typed: &Retry, request: &RequestPlan, what: &str, findings: &mut Findings) -> Vec<u16> {
    for s in &typed.statuses {
        let answered = request.expect.contains(s) || request.declined.contains(s);
        if !(400..=599).contains(&**s) || answered {
            findings.add(
                s.span(),
                format!(
                    "{what} retry.statuses {} is not one to try again on; they are 400 to 599, without those in \
                     expect and declined",
                    **s
                ),
            );
        }
    }
    let mut all: Vec<u16> = typed.statuses.iter().map(|s| **s).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn cause(typed: RetryCauseText) -> RetryCause {
    match typed {
        RetryCauseText::Timeout => RetryCause::Timeout,
        RetryCauseText::Refused => RetryCause::Refused,
        RetryCauseText::Reset => RetryCause::Reset,
        RetryCauseText::ServerError => RetryCause::ServerError,
        RetryCauseText::Shed => RetryCause::Shed,
    }
}
