//! Lines as nginx and Apache write them: `… [10/Oct/2000:13:55:36 -0700] "GET /path HTTP/1.1" …`.
//!
//! What stands before the time (addresses, a user's name) may hold brackets of its own, so the
//! first bracket that holds a time counts. What stands behind the request is not looked at.

use super::error::LineProblem;
use super::reader::Fields;
use super::stamp::{LOG_TIME_LEN, parse_log_time};

pub(super) fn read(line: &[u8]) -> Result<Fields<'_>, LineProblem> {
    let (stamp, rest) = line
        .iter()
        .enumerate()
        .filter(|(at, b)| **b == b'[' && line.get(at + LOG_TIME_LEN + 1) == Some(&b']'))
        .find_map(|(at, _)| {
            let end = at + 1 + LOG_TIME_LEN;
            Some((parse_log_time(&line[at + 1..end]).ok()?, &line[end + 1..]))
        })
        .ok_or(LineProblem::NoLogTime)?;
    let quoted = rest.strip_prefix(b" \"").ok_or(LineProblem::NoLogRequest)?;
    let request = &quoted[..closing_quote(quoted).ok_or(LineProblem::NoLogRequest)?];
    let (method, target) = split_request(request);
    Ok(Fields { stamp, method, target })
}

/// Where the quote closes; Apache writes one within as `\"`.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|b| {
        let closes = *b == b'"' && !escaped;
        escaped = *b == b'\\' && !escaped;
        closes
    })
}

/// `GET /path HTTP/1.1`: method and target. HTTP/0.9 has no version; `-` is no request.
fn split_request(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(space) = line.iter().position(|b| *b == b' ') else { return (line, b"") };
    let (method, rest) = (&line[..space], &line[space + 1..]);
    match rest.iter().rposition(|b| *b == b' ') {
        Some(at) if rest[at + 1..].starts_with(b"HTTP/") => (method, &rest[..at]),
        _ => (method, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> Result<(i64, String, String), LineProblem> {
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        read(line.as_bytes()).map(|f| (f.stamp.ns / 1_000_000_000, text(f.method), text(f.target)))
    }

    fn ok(method: &str, target: &str) -> Result<(i64, String, String), LineProblem> {
        Ok((971_211_336, method.to_owned(), target.to_owned()))
    }

    #[test]
    fn time_method_and_path_are_found_whatever_stands_around_them() {
        let time = "[10/Oct/2000:13:55:36 -0700]";
        for (line, expected) in [
            (format!("127.0.0.1 - frank {time} \"GET /a.gif HTTP/1.0\" 200 2326"), ok("GET", "/a.gif")),
            (
                format!("::1 - [10/Oct] {time} \"GET /a HTTP/1.1\" 200 2 \"http://r/\" \"curl [8]\""),
                ok("GET", "/a"),
            ),
            (format!("a - [[[ {time} \"POST /b HTTP/2.0\" 201 0 \"-\" \"-\""), ok("POST", "/b")),
            (format!("a - - {time} \"GET /c\" 200 0"), ok("GET", "/c")),
            (format!("a - - {time} \"-\" 408 0"), ok("-", "")),
            (format!("a - - {time} \"\" 400 0"), ok("", "")),
            (format!("a - - {time} \"\\x16\\x03\\x01\" 400 0"), ok("\\x16\\x03\\x01", "")),
            (format!("a - - {time} \"GET /\\\"d HTTP/1.1\" 200 0"), ok("GET", "/\\\"d")),
            (format!("a - - {time} \"GET /e f HTTP/1.1\" 200 0"), ok("GET", "/e f")),
            (format!("{time} \"GET /g HTTP/1.1\""), ok("GET", "/g")),
        ] {
            assert_eq!(fields(&line), expected, "{line}");
        }
    }

    #[test]
    fn a_line_without_time_or_request_is_broken() {
        let time = "[10/Oct/2000:13:55:36 -0700]";
        for line in ["", "[", "GET /a", "a - - [10/Oct/2000:13:55:36] \"GET / HTTP/1.1\"", &time[..27]] {
            assert_eq!(fields(line), Err(LineProblem::NoLogTime), "{line}");
        }
        for rest in ["", " ", " GET /", " \"GET / HTTP/1.1", "\"GET / HTTP/1.1\"", " \"GET /\\\""] {
            assert_eq!(fields(&format!("{time}{rest}")), Err(LineProblem::NoLogRequest), "{rest}");
        }
    }
}
