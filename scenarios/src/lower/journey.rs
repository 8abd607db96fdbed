//! `[[journey]]`: closed-loop users, on the same time axis as the phases.

use std::time::Duration;

use super::feeder::{Feeding, Trouble};
use super::phase::Timeline;
use super::request::One;
use super::scalar::{Names, duration, duration_within, within};
use super::{MAX_BODY_LEN, MAX_RUN_S};
use crate::error::{did_you_mean, tick};
use crate::file::journeys::{Journey, Step, Think};
use crate::file::scalar::{At, DurationText};
use crate::findings::Findings;
use crate::journey::{Hole, MAX_JOURNEYS, MAX_STEPS, MAX_USERS, NAMES, Part, Text};
use crate::place::{Place, Spot};
use crate::plan::{JourneyPlan, StepPlan, TargetPlan};
use crate::template::TemplateError;
use crate::units::duration::format_duration;

/// The longest pause of a user.
const MAX_THINK: Duration = Duration::from_secs(600);
/// The most values that one step takes.
const MAX_TAKES: usize = 16;
/// The longest JSON pointer, in bytes.
const MAX_POINTER_LEN: usize = 256;

pub(super) fn lower(
    file: &[At<Journey>],
    timeline: &Timeline,
    target: Option<&TargetPlan>,
    feeding: &Feeding,
    findings: &mut Findings,
) -> Vec<JourneyPlan> {
    if let Some(beyond) = file.get(MAX_JOURNEYS) {
        findings.add(beyond.span(), format!("there are more than {MAX_JOURNEYS} journeys"));
    }
    let mut names = Names::new("journey");
    let journeys: Vec<JourneyPlan> = file
        .iter()
        .take(MAX_JOURNEYS)
        .filter_map(|typed| {
            names.add_tag(&typed.name, findings);
            one(typed, timeline, target, feeding, findings)
        })
        .collect();
    let users: u32 = journeys.iter().map(|j| j.users).sum();
    if users > MAX_USERS
        && let Some(last) = file.last()
    {
        findings.add(
            last.span(),
            format!("the journeys have {users} users in all, above the limit of {MAX_USERS}; take fewer"),
        );
    }
    journeys
}

fn one(
    typed: &At<Journey>,
    timeline: &Timeline,
    target: Option<&TargetPlan>,
    feeding: &Feeding,
    findings: &mut Findings,
) -> Option<JourneyPlan> {
    let what = format!("journey {}:", tick(&typed.name));
    let steps = steps(typed, target, feeding, findings);
    let think = think(typed, &what, findings);
    let users = users(typed, &what, findings);
    let (start, end) = window(typed, timeline, &what, findings)?;
    let ((users_from, users, ramp), (think_min, think_max)) = (users?, think?);
    if let Some(typed) = &typed.ramp
        && ramp > end - start
    {
        findings.add(
            typed.over.span(),
            format!("{what} ramp.over {} is longer than the journey; shorten it", tick(&typed.over)),
        );
    }
    Some(JourneyPlan {
        name: typed.name.to_string(),
        users_from,
        users,
        ramp_s: ramp.as_secs_f64(),
        start_s: start.as_secs_f64(),
        end_s: end.as_secs_f64(),
        think_min_ms: think_min.as_secs_f64() * 1e3,
        think_max_ms: think_max.as_secs_f64() * 1e3,
        steps,
    })
}

/// How many at first, how many at last, over how long.
fn users(typed: &At<Journey>, what: &str, findings: &mut Findings) -> Option<(u32, u32, Duration)> {
    match (&typed.users, &typed.ramp) {
        (Some(users), None) => {
            let users = within(Some(users), 1, 1..=MAX_USERS, &format!("{what} users"), findings)?;
            Some((users, users, Duration::ZERO))
        }
        (None, Some(ramp)) => {
            let to = within(Some(&ramp.to), 1, 1..=MAX_USERS, &format!("{what} ramp.to"), findings);
            let from = within(Some(&ramp.from), 1, 0..=MAX_USERS, &format!("{what} ramp.from"), findings);
            let week = Duration::from_secs(MAX_RUN_S);
            let over = duration_within(&ramp.over, week, format_args!("{what} ramp.over"), findings);
            let (from, to) = (from?, to?);
            if from > to {
                findings.add(
                    ramp.from.span(),
                    format!(
                        "{what} ramp.from {from} is above ramp.to {to}; users begin, they do not leave early"
                    ),
                );
                return None;
            }
            Some((from, to, over?))
        }
        (None, None) => {
            findings.add(typed.span(), format!("{what} there are no users; add users or ramp"));
            None
        }
        (Some(users), Some(_)) => {
            findings.add(users.span(), format!("{what} users and ramp exclude each other; keep one"));
            None
        }
    }
}

fn think(typed: &Journey, what: &str, findings: &mut Findings) -> Option<(Duration, Duration)> {
    let Some(think) = &typed.think else { return Some((Duration::ZERO, Duration::ZERO)) };
    let at_most = |typed: &At<DurationText>, key: &str, findings: &mut Findings| {
        let pause = duration(typed, format_args!("{what} {key}"), findings)?;
        if pause <= MAX_THINK {
            return Some(pause);
        }
        let most = format_duration(MAX_THINK);
        findings.add(typed.span(), format!("{what} {key} {} is above the limit, {most}", tick(typed)));
        None
    };
    let range = match &**think {
        Think::Always(text) => {
            let pause = at_most(&At::new(think.span(), text.clone()), "think", findings)?;
            return Some((pause, pause));
        }
        Think::Between(range) => range,
    };
    let min = duration(&range.min, format_args!("{what} think.min"), findings)?;
    let max = at_most(&range.max, "think.max", findings)?;
    if min > max {
        findings.add(
            range.min.span(),
            format!(
                "{what} think.min {} is above think.max {}; swap them",
                tick(&range.min),
                tick(&range.max)
            ),
        );
        return None;
    }
    Some((min, max))
}

/// When it goes on.
fn window(
    typed: &At<Journey>,
    timeline: &Timeline,
    what: &str,
    findings: &mut Findings,
) -> Option<(Duration, Duration)> {
    if let Some(phase) = &typed.phase {
        if let Some(span) = typed.at.as_ref().or(typed.lasts.as_ref()).map(At::span) {
            findings.add(span, format!("{what} phase excludes at and for; keep one of them"));
            return None;
        }
        let found = timeline.stretches.iter().find(|s| s.name == **phase);
        if found.is_none() {
            let known = || timeline.stretches.iter().map(|s| s.name.as_str());
            let hint = did_you_mean(phase, known());
            findings.add(phase.span(), format!("{what} there is no phase {}{hint}", tick(phase)));
        }
        return found.map(|s| (s.start, s.end)).filter(|(start, end)| start < end);
    }
    let week = Duration::from_secs(MAX_RUN_S);
    let at = typed.at.as_ref().map(|d| duration(d, format_args!("{what} at"), findings));
    let lasts = typed.lasts.as_ref().map(|d| duration_within(d, week, format_args!("{what} for"), findings));
    let (at, lasts) = (at.map_or(Some(None), |d| d.map(Some))?, lasts.map_or(Some(None), |d| d.map(Some))?);
    let has_phases = !timeline.stretches.is_empty();
    let warm = || timeline.stretches.iter().find(|s| !s.warmup).map_or(timeline.end, |s| s.start);
    let start = at.unwrap_or_else(|| if lasts.is_none() { warm() } else { Duration::ZERO });
    let end = match lasts {
        Some(lasts) => start.saturating_add(lasts),
        None if has_phases => timeline.end,
        None => {
            findings.add(
                typed.span(),
                format!("{what} there is no phase to say how long it goes on; add for = \"30s\""),
            );
            return None;
        }
    };
    let span = typed.lasts.as_ref().or(typed.at.as_ref()).map_or(typed.span(), At::span);
    if has_phases && timeline.complete && (end > timeline.end || start >= end) {
        let (from, to, run) = (format_duration(start), format_duration(end), format_duration(timeline.end));
        findings.add(
            span,
            format!("{what} it goes on from {from} to {to}, and the run ends at {run}; move it or lengthen a phase"),
        );
        return None;
    }
    if end > week {
        findings
            .add(span, format!("{what} it ends after {}, above the limit of 7 days", format_duration(end)));
        return None;
    }
    Some((start, end))
}

fn steps(
    typed: &At<Journey>,
    target: Option<&TargetPlan>,
    feeding: &Feeding,
    findings: &mut Findings,
) -> Vec<StepPlan> {
    let what = format!("journey {}", tick(&typed.name));
    if typed.step.is_empty() {
        findings.add(
            typed.span(),
            format!("{what}: there is no step; add a [[journey.step]] with name, method and path"),
        );
    }
    if let (Some(first), true) = (typed.step.first(), typed.step.iter().all(|s| s.once)) {
        findings.add(
            first.span(),
            format!("{what}: every step is done once a session, so nothing is left to go on with; take once = true from one"),
        );
    }
    if let Some(beyond) = typed.step.get(MAX_STEPS) {
        findings.add(beyond.span(), format!("{what}: there are more than {MAX_STEPS} steps"));
    }
    let mut names = Names::new("step");
    let mut taken: Vec<String> = Vec::new();
    let later: Vec<String> = typed.step.iter().flat_map(|s| s.take.keys().map(|k| k.to_string())).collect();
    typed
        .step
        .iter()
        .take(MAX_STEPS)
        .map(|step| {
            names.add_tag(&step.name, findings);
            let one = One::new(format!("{what} step {}:", tick(&step.name)), target, feeding, findings);
            let is_reference = target.is_none_or(|t| t.service().is_some());
            let plan = Checked { one, is_reference, taken: &taken, later: &later }.lower(step);
            taken.extend(plan.take.iter().map(|(name, _)| name.clone()));
            plan
        })
        .collect()
}

/// One step being checked.
struct Checked<'a> {
    one: One<'a>,
    is_reference: bool,
    /// Values that the steps before take.
    taken: &'a [String],
    /// Values that any step takes.
    later: &'a [String],
}

impl Checked<'_> {
    /// The step; wrong parts are told and stand in it as typed.
    fn lower(&mut self, typed: &Step) -> StepPlan {
        self.one.method(&typed.method);
        if *typed.method == "OPTIONS" {
            self.one.tell(
                &typed.method,
                "method `OPTIONS` is not one that a journey can send; write a [[request]]",
            );
        }
        self.one.path_form(&typed.path);
        self.text(&typed.path, Spot::Path, "path");
        let mut headers = self.one.headers_form(&typed.headers);
        for (name, value) in &typed.headers {
            self.text(value, Spot::Header, &format!("header {}", tick(name)));
        }
        if let Some(body) = &typed.body {
            self.body(body, &mut headers);
        }
        self.one.add_bearer(&mut headers);
        let (expect, declined) = self.one.outcomes(&typed.expect, typed.declined.as_deref());
        StepPlan {
            name: typed.name.to_string(),
            once: typed.once,
            method: typed.method.to_string(),
            path: typed.path.to_string(),
            headers,
            body: typed.body.as_deref().cloned(),
            expect,
            declined,
            take: self.take(typed),
        }
    }

    fn take(&mut self, typed: &Step) -> Vec<(String, String)> {
        if let Some((beyond, _)) = typed.take.iter().nth(MAX_TAKES) {
            self.one.tell(beyond, format!("it takes more than {MAX_TAKES} values"));
        }
        let name_of = |n: &str| {
            let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            n.len() <= super::MAX_NAME_LEN
                && n.bytes().all(safe)
                && n.starts_with(|c: char| c.is_ascii_lowercase())
        };
        for (name, pointer) in typed.take.iter().take(MAX_TAKES) {
            if !name_of(name) {
                self.one.tell(
                    name,
                    format!(
                        "take name {} must be lower-case letters, digits and _, and begin with a letter",
                        tick(name)
                    ),
                );
            } else if NAMES.iter().any(|(n, _)| n == &name.as_str()) {
                self.one.tell(
                    name,
                    format!("take name {} is a placeholder of squall's own; choose another", tick(name)),
                );
            }
            let escapes = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
            if !pointer.starts_with('/') || !escapes || pointer.len() > MAX_POINTER_LEN {
                self.one.tell(
                    pointer,
                    format!(
                        "take {} is no JSON pointer (RFC 6901) of at most {MAX_POINTER_LEN} bytes: {}; write it like /data/0/id",
                        tick(name),
                        tick(pointer)
                    ),
                );
            }
        }
        typed.take.iter().map(|(n, p)| (n.to_string(), p.to_string())).collect()
    }

    fn body(&mut self, body: &At<String>, headers: &mut Vec<(String, String)>) {
        if body.len() > MAX_BODY_LEN {
            self.one.tell(body, format!("the body is longer than {MAX_BODY_LEN} bytes"));
            return;
        }
        let spot = Spot::of_body_with(headers);
        if !headers.iter().any(|h| h.0.eq_ignore_ascii_case("content-type")) {
            headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        }
        let Some(text) = self.text(body, spot, "body") else { return };
        if spot != Spot::Json {
            return;
        }
        let example: String = text
            .parts()
            .iter()
            .map(|part| match part {
                Part::Text(t) => t,
                // No neighbour makes another value of it.
                Part::Hole(_, Place::JsonValue) => "null",
                Part::Hole(..) => "a",
            })
            .collect();
        self.one.json_example(body, &example);
    }

    /// `typed` with its placeholders, when all of them are known and may stand at `spot`.
    fn text(&mut self, typed: &At<String>, spot: Spot, place: &str) -> Option<Text> {
        let text = match Text::parse(typed, spot, self.taken, self.one.feeding().plans()) {
            Ok(text) => text,
            Err(TemplateError::Unclosed { at }) => {
                let from: String = typed[at..].chars().take(12).collect();
                self.one.tell(typed, format!("{place} has no closing }} for {}", tick(&from)));
                return None;
            }
            Err(TemplateError::Unknown { name, .. }) => {
                self.unknown(typed, &name, place);
                return None;
            }
        };
        let outside = "in a body that is neither JSON nor a form, where it cannot be made safe; \
                       say what the body is with a Content-Type header";
        let has_token = self.one.has_token();
        for hole in text.holes() {
            let trouble = match hole {
                Hole::Taken(_) | Hole::Username | Hole::Password if spot == Spot::Other => {
                    format!("a value from outside {outside}")
                }
                Hole::Token if spot != Spot::Header => {
                    "${token}, which is a secret and belongs into a header, where nobody logs it".to_owned()
                }
                Hole::Token if !has_token => {
                    "${token}, but the target has none; name its variable in target.token_env".to_owned()
                }
                Hole::Username | Hole::Password if spot == Spot::Path => {
                    "a secret, which belongs into a body or header, where nobody logs it".to_owned()
                }
                Hole::Username | Hole::Password if !self.is_reference => {
                    "${username} or ${password}, which squall knows of the reference service only".to_owned()
                }
                _ => continue,
            };
            self.one.tell(typed, format!("{place} holds {trouble}"));
            return None;
        }
        let fields = text.parts().iter().filter_map(|part| match part {
            Part::Hole(Hole::Field(field), place) => Some((*field, *place)),
            _ => None,
        });
        let fields: Vec<_> = fields.collect();
        self.one.fields(typed, &fields, spot, place).then_some(text)
    }

    fn unknown(&mut self, typed: &At<String>, name: &str, place: &str) {
        let shown = tick(&format!("${{{name}}}"));
        if self.later.iter().any(|l| l == name) {
            self.one.tell(
                typed,
                format!("{place} needs {shown}, which no step before this one takes; move it behind"),
            );
            return;
        }
        if name.contains('.') {
            if let Trouble::Told(trouble) = self.one.feeding().unknown(name) {
                self.one.tell(typed, format!("{place} {trouble}"));
            }
            return;
        }
        let known = || NAMES.iter().map(|(n, _)| *n).chain(self.taken.iter().map(String::as_str));
        let hint = did_you_mean(name, known());
        let all = known().map(|k| format!("${{{k}}}")).collect::<Vec<_>>().join(" ");
        self.one.tell(typed, format!("{place} has an unknown placeholder {shown}{hint} (known: {all})"));
    }
}

/// Whether a step names accounts.
pub(crate) fn step_draws_accounts(step: &StepPlan) -> bool {
    step.texts().any(|t| t.contains("${account}") || t.contains("${other}"))
}
