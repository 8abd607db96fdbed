//! Which request the code works for: its id, and the place in a trace where its further spans belong.
//!
//! Both are kept beside the task that works for the request, so that a line of the log has them and a call to another
//! service carries them without every function handing them on. A notice carries the place along itself: it outlives its
//! request. Tracing is off unless a collector is named; then
//! all of this is a number that is taken along.
//!
//! # Layout
//!
//! * [`context`]: the W3C headers.
//! * [`span`]: what is told of a request's steps, when it is sampled.
//! * [`export`]: spans on their way to a collector.
//! * [`args`]: the settings.

pub mod args;
pub mod context;
pub mod export;
pub mod span;

use std::fmt;

use context::TraceContext;
use span::{Span, SpanKind, Trace};

/// A request's name, as its answer has it in `Request-Id`: of 80 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(pub u128);

impl RequestId {
    /// What no other request of the process has.
    #[must_use]
    pub fn number(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0.to_be_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// As it is written, without the machinery of `format!`: every answer has one.
    #[must_use]
    pub fn text(self) -> [u8; 24] {
        let mut text = *b"req_00000000000000000000";
        let mut rest = self.0;
        for digit in text[4..].iter_mut().rev() {
            *digit = b"0123456789abcdef"[(rest & 0xf) as usize];
            rest >>= 4;
        }
        text
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).unwrap_or_default())
    }
}

/// What the current task works for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `None` in the services that are asked, which answer with none.
    pub id: Option<RequestId>,
    /// Where further spans belong.
    pub trace: Trace,
}

tokio::task_local! {
    static CURRENT: Request;
}

impl Request {
    /// Works on `task` for this request.
    pub fn work<F: Future>(self, task: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, task)
    }
}

/// The request that the current task works for; none in those that work for nobody.
#[must_use]
pub fn current() -> Request {
    CURRENT.try_with(Request::clone).unwrap_or_default()
}

/// A step of the current request, until the span ends.
#[must_use]
pub fn step(name: &'static str, kind: SpanKind) -> Span {
    CURRENT.try_with(|request| request.trace.span(name, kind)).unwrap_or_default()
}

/// Works on `task` for the current request, as the step `span`.
pub fn within<F: Future>(span: &Span, task: F) -> impl Future<Output = F::Output> {
    Request { trace: span.trace().clone(), ..current() }.work(task)
}

/// The ids of the current request and its trace, for the log.
#[must_use]
pub fn ids() -> (Option<RequestId>, Option<TraceContext>) {
    CURRENT.try_with(|request| (request.id, request.trace.context())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_request_is_named_by_its_number(number in 0..1_u128 << 80) {
            prop_assert_eq!(RequestId(number).to_string(), format!("req_{number:020x}"));
        }
    }
}
