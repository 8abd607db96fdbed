//! From a response, or its absence, to what it says.

use std::error::Error;

use reqwest::Response;
use squall_record::outcome::Failure;

/// The longest body that is read: beyond it the answer is a bad one. It is read to its end in any
/// case, because the end is what is timed and a connection is free only then.
pub(super) const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A complete answer.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Marked `Not-Executed: true`: the target refused it untouched.
    pub(super) not_executed: bool,
    pub(super) body: Vec<u8>,
}

/// The answer to its end, with the status that was seen when it has none.
pub(super) async fn read(response: Result<Response, reqwest::Error>) -> Result<Answer, (u16, Failure)> {
    let mut response = response.map_err(|e| (0, failure(&e)))?;
    let status = response.status().as_u16();
    let marked = response.headers().get("Not-Executed");
    let not_executed = marked.is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"true"));
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|e| (status, failure(&e)))? {
        if body.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err((status, Failure::BadAnswer));
        }
        body.extend_from_slice(&piece);
    }
    Ok(Answer { status, not_executed, body })
}

/// The kind of `e`, by what lies under it.
fn failure(e: &reqwest::Error) -> Failure {
    if e.is_timeout() {
        return Failure::Timeout;
    }
    if e.is_connect() {
        return Failure::Refused;
    }
    let mut source = e.source();
    while let Some(inner) = source {
        if let Some(http) = inner.downcast_ref::<hyper::Error>()
            && (http.is_parse() || http.is_parse_status() || http.is_parse_too_large())
        {
            return Failure::BadAnswer;
        }
        source = inner.source();
    }
    Failure::Reset
}
