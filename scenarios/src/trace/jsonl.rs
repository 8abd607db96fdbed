//! Lines of JSON, one object each, as Caddy, Envoy and most services log.

use std::borrow::Cow;

use serde_json::Value;

use super::error::LineProblem;
use super::reader::{Fields, stamp_of};
use super::stamp::StampUnit;

/// Reads lines; a key is the name of a member, or a JSON pointer (RFC 6901) when it begins with /.
#[derive(Debug)]
pub(super) struct Jsonl {
    time: String,
    method: Option<String>,
    target: Option<String>,
    unit: StampUnit,
    line: Value,
}

impl Jsonl {
    pub(super) fn new(time: &str, method: Option<&str>, target: Option<&str>, unit: StampUnit) -> Self {
        let owned = |key: Option<&str>| key.map(ToOwned::to_owned);
        Self { time: time.to_owned(), method: owned(method), target: owned(target), unit, line: Value::Null }
    }

    pub(super) fn read(&mut self, line: &[u8]) -> Result<Fields<'_>, LineProblem> {
        self.line = serde_json::from_slice(line).map_err(|e| LineProblem::NotJson(reason(&e)))?;
        let stamp = match at(&self.line, &self.time) {
            // The shortest text that reads back as the number: exact for whole numbers, and to a
            // microsecond for seconds since 1970 with a fraction, which is what a double holds.
            Some(Value::Number(n)) => Cow::Owned(n.to_string()),
            Some(Value::String(s)) => Cow::Borrowed(s.as_str()),
            _ => return Err(LineProblem::NoKey(self.time.clone())),
        };
        let stamp = stamp_of(stamp.as_bytes(), self.unit)?;
        let text = |key: &Option<String>, absent: &'static str| match key {
            None => Ok(absent.as_bytes()),
            Some(key) => match at(&self.line, key) {
                Some(Value::String(s)) => Ok(s.as_bytes()),
                _ => Err(LineProblem::NoKey(key.clone())),
            },
        };
        Ok(Fields { stamp, method: text(&self.method, "GET")?, target: text(&self.target, "")? })
    }
}

fn at<'v>(line: &'v Value, key: &str) -> Option<&'v Value> {
    if key.starts_with('/') { line.pointer(key) } else { line.get(key) }
}

/// The parser's reason without its line, which is always the first.
fn reason(e: &serde_json::Error) -> String {
    let text = e.to_string();
    text.replace(" at line 1 column", " at column").replace(" at line 0 column", " at column")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(i64, String, String), LineProblem> {
        let mut jsonl = Jsonl::new("ts", Some("/request/method"), Some("/request/uri"), StampUnit::S);
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        jsonl.read(line.as_bytes()).map(|f| (f.stamp.ns, text(f.method), text(f.target)))
    }

    #[test]
    fn keys_and_pointers_lead_to_their_values() {
        let line =
            |ts: &str| format!(r#"{{"level":"info","ts":{ts},"request":{{"method":"GET","uri":"/a\n"}}}}"#);
        let got = |ns: i64| Ok((ns, "GET".to_owned(), "/a\n".to_owned()));
        assert_eq!(read(&line("1700000000")), got(1_700_000_000_000_000_000));
        assert_eq!(read(&line("1700000000.123456")), got(1_700_000_000_123_456_000));
        assert_eq!(read(&line("\"1.5\"")), got(1_500_000_000));
        assert_eq!(read(&line("\"1970-01-01T00:00:02Z\"")), got(2_000_000_000));
    }

    #[test]
    fn a_line_that_is_no_record_says_why() {
        let told = |line: &str| read(line).unwrap_err().to_string();
        assert_eq!(told("{"), "is not JSON (EOF while parsing an object at column 1)");
        assert_eq!(told("[]"), "has no text or number at `ts`");
        assert_eq!(told(r#"{"ts":null}"#), "has no text or number at `ts`");
        assert_eq!(told(r#"{"ts":1,"request":{"method":"GET"}}"#), "has no text or number at `/request/uri`");
        assert_eq!(
            told(r#"{"ts":1e300}"#),
            "holds `1e+300`, which is neither a plain number nor an RFC 3339 time with its offset (2026-11-27T10:00:00.250Z)"
        );
        let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        assert!(told(&deep).starts_with("is not JSON (recursion limit exceeded"), "{}", told(&deep));
    }
}
