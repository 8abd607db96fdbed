//! W3C trace context: the headers `traceparent` and `tracestate`.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};

/// The header that says which trace a request belongs to.
pub const TRACEPARENT: &str = "traceparent";
/// The header in which tracing systems keep what is theirs.
pub const TRACESTATE: &str = "tracestate";
/// The longest `tracestate` that is passed on, in bytes: as much as everybody has to.
const MAX_STATE_BYTES: usize = 512;

/// A place in a trace: what a request, a call or a notice carries to whoever works for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span that asks.
    pub span_id: [u8; 8],
    /// Whether its spans are kept.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` when it is none. Of versions to come, what this one has.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let version = hex::<1>(header.get(..2)?)?[0];
        let rest = match (version, header.get(55)) {
            (0xff, _) | (0, Some(_)) => return None,
            (_, None | Some(b'-')) => header.get(2..55)?,
            _ => return None,
        };
        let [b'-', rest @ ..] = rest else { return None };
        let (trace, rest) = rest.split_at(32);
        let (span, flags) = rest.split_at(17);
        let ([b'-', span @ ..], [b'-', flags @ ..]) = (span, flags) else { return None };
        let (trace_id, span_id) = (hex(trace)?, hex(span)?);
        let sampled = hex::<1>(flags)?[0] & 1 == 1;
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self { trace_id, span_id, sampled })
    }

    /// The trace's id, as logs and backends write it.
    #[must_use]
    pub fn trace(&self) -> impl fmt::Display + use<> {
        let id = u128::from_be_bytes(self.trace_id);
        fmt::from_fn(move |f| write!(f, "{id:032x}"))
    }
}

/// As a `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = u64::from_be_bytes(self.span_id);
        write!(f, "00-{}-{span:016x}-{:02x}", self.trace(), u8::from(self.sampled))
    }
}

/// `N` bytes in hexadecimal, small letters alone.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// What a request says of the trace it belongs to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carried<'a> {
    /// Its `traceparent`.
    pub parent: Option<&'a [u8]>,
    /// Its `tracestate`.
    pub state: Option<&'a [u8]>,
}

impl<'a> Carried<'a> {
    /// What `headers` say. Of several lines of state the first is passed on.
    #[must_use]
    pub fn by(headers: &'a HeaderMap) -> Self {
        let value = |name| headers.get(name).map(HeaderValue::as_bytes);
        Self { parent: value(TRACEPARENT), state: value(TRACESTATE) }
    }

    /// The state, where it is short enough to be passed on, and made of what it may be made of: it goes into headers and
    /// a column of the database.
    #[must_use]
    pub fn state(&self) -> Option<Arc<str>> {
        let fits = |state: &&[u8]| (1..=MAX_STATE_BYTES).contains(&state.len());
        let state = self.state.filter(fits).filter(|state| state.iter().all(|c| matches!(c, b' '..=b'~')))?;
        std::str::from_utf8(state).ok().map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_reads_as_it_is_written() {
        let context = TraceContext::parse(GOOD.as_bytes()).unwrap();
        assert!(context.sampled && context.span_id[1] == 0xf0 && context.trace_id[0] == 0x4b);
        assert_eq!(context.to_string(), GOOD);
        let unsampled = TraceContext::parse(GOOD.replace("-01", "-00").as_bytes()).unwrap();
        assert!(!unsampled.sampled && unsampled.to_string().ends_with("-00"));
        assert_eq!(context.trace().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn what_is_no_traceparent_begins_a_trace_of_its_own() {
        for bad in [
            "".to_owned(),
            GOOD.to_uppercase(),
            GOOD.replace("00-4b", "ff-4b"),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace("-01", "-0x"),
            GOOD.replace("-01", "_01"),
            GOOD.replace("00-", "0-"),
            format!("{GOOD}-more"),
            GOOD[..54].to_owned(),
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
        // Of a version to come its first four fields are understood.
        let later = GOOD.replacen("00", "cc", 1);
        assert!(TraceContext::parse(later.as_bytes()).is_some());
        assert!(TraceContext::parse(format!("{later}-more").as_bytes()).is_some());
        assert_eq!(TraceContext::parse(format!("{later}.more").as_bytes()), None);
    }

    #[test]
    fn a_state_that_is_none_is_not_passed_on() {
        let state = |bytes: &[u8]| Carried { parent: None, state: Some(bytes) }.state();
        assert_eq!(state(b"vendor=kept,other=1").as_deref(), Some("vendor=kept,other=1"));
        for bad in [&b""[..], b"a=\0", b"a=\r\nb: c", "a=\u{e9}".as_bytes(), &[b'x'; MAX_STATE_BYTES + 1]] {
            assert_eq!(state(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
            let _ = TraceContext::parse(&bytes);
        }

        #[test]
        fn contexts_round_trip(trace_id in any::<[u8; 16]>(), span_id in any::<[u8; 8]>(), sampled: bool) {
            prop_assume!(trace_id != [0; 16] && span_id != [0; 8]);
            let context = TraceContext { trace_id, span_id, sampled };
            prop_assert_eq!(TraceContext::parse(context.to_string().as_bytes()), Some(context));
        }
    }
}
