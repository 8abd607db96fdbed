//! What of a recorded request may be sent.
//!
//! Two rules. Only methods that are safe (RFC 9110 §9.2.1: they ask and change nothing) are
//! replayed: a log holds no bodies, and a payment without its body is no payment. And a path goes
//! on the wire as it stands or not at all: only bytes that cannot end a line or a request line.

/// The longest recorded path that is sent, in bytes: what servers accept as a request line.
pub const MAX_RECORDED_PATH_BYTES: usize = 8 * 1024;

/// Methods that ask and change nothing. TRACE echoes a request, credentials and all, and stays out.
const SAFE_METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Why a recorded request is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// Its method may change something.
    UnsafeMethod,
    /// It has no path, or one that must not be sent.
    NoPath,
}

/// Appends the beginning of the request line, `GET /path`, to `out`.
///
/// # Errors
/// When the request must not be sent; nothing is appended then.
pub fn push_request(method: &[u8], target: &[u8], out: &mut Vec<u8>) -> Result<(), LeftOut> {
    let safe = SAFE_METHODS.iter().find(|m| m.as_bytes() == method);
    let path = path_of(target);
    // What is no request at all has no path either; it is no method that may change something.
    let known_method = method.iter().all(u8::is_ascii_uppercase) && !method.is_empty();
    match (safe, path) {
        (Some(method), Some(path)) => {
            out.extend_from_slice(method.as_bytes());
            out.push(b' ');
            // `http://host?query` has an empty path, which is sent as `/`: RFC 9112 §3.2.1.
            if !path.starts_with(b"/") {
                out.push(b'/');
            }
            out.extend_from_slice(path);
            Ok(())
        }
        (None, _) if known_method => Err(LeftOut::UnsafeMethod),
        _ => Err(LeftOut::NoPath),
    }
}

/// The path and query of a request's target, when they may be sent. Of an absolute URL, which
/// proxies are asked for, only they are kept: the host is the scenario's.
fn path_of(target: &[u8]) -> Option<&[u8]> {
    let path = if target.starts_with(b"/") { target } else { after_authority(target)? };
    // Logs write what they escape with a backslash; the byte meant is not the bytes written.
    let may_stand = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'#' | b'\\' | b'"');
    (path.len() <= MAX_RECORDED_PATH_BYTES && path.iter().all(may_stand)).then_some(path)
}

fn after_authority(target: &[u8]) -> Option<&[u8]> {
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|s| target.len() > s.len() && target[..s.len()].eq_ignore_ascii_case(s))?;
    let rest = &target[scheme.len()..];
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    (end > 0).then(|| &rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(method: &str, target: &str) -> Result<String, LeftOut> {
        let mut out = Vec::new();
        push_request(method.as_bytes(), target.as_bytes(), &mut out)
            .map(|()| String::from_utf8(out.clone()).unwrap())
            .inspect_err(|_| assert!(out.is_empty()))
    }

    #[test]
    fn safe_requests_are_sent_as_recorded_and_absolute_urls_without_their_host() {
        assert_eq!(sent("GET", "/a?b=%20c"), Ok("GET /a?b=%20c".into()));
        assert_eq!(sent("HEAD", "//a"), Ok("HEAD //a".into()));
        assert_eq!(sent("GET", "http://example.com/a?b"), Ok("GET /a?b".into()));
        assert_eq!(sent("GET", "HTTPS://example.com"), Ok("GET /".into()));
        assert_eq!(sent("OPTIONS", "http://example.com?a"), Ok("OPTIONS /?a".into()));
    }

    #[test]
    fn what_may_change_something_or_leave_the_line_is_left_out() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PURGE"] {
            assert_eq!(sent(method, "/a"), Err(LeftOut::UnsafeMethod), "{method}");
        }
        for target in [
            "",
            "-",
            "*",
            "a",
            "/a b",
            "/a\r\nX: y",
            "/a\n",
            "/\0",
            "/\u{7f}",
            "/é",
            "/a#b",
            "/\\x22",
            "/\"",
            "http://",
            "http:///a",
            "ftp://a/b",
            "example.com:443",
        ] {
            assert_eq!(sent("GET", target), Err(LeftOut::NoPath), "{target:?}");
        }
        for method in ["", "-", "get", "\\x16\\x03", "G ET"] {
            assert_eq!(sent(method, "/a"), Err(LeftOut::NoPath), "{method:?}");
        }
        assert!(sent("GET", &format!("/{}", "a".repeat(MAX_RECORDED_PATH_BYTES - 1))).is_ok());
        assert!(sent("GET", &format!("/{}", "a".repeat(MAX_RECORDED_PATH_BYTES))).is_err());
    }

    proptest! {
        #[test]
        fn whatever_was_recorded_stays_on_its_line(
            method in prop::collection::vec(any::<u8>(), 0..5), target in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            for method in [&method[..], b"GET"] {
                let mut out = Vec::new();
                if push_request(method, &target, &mut out).is_ok() {
                    let text = String::from_utf8(out).unwrap();
                    let (method, path) = text.split_once(' ').unwrap();
                    prop_assert!(SAFE_METHODS.contains(&method) && path.starts_with('/'));
                    prop_assert!(path.bytes().all(|b| b.is_ascii_graphic()));
                }
            }
        }
    }
}
