//! Whether an answer's body says what the scenario expects.

use serde_json::Value;

use crate::plan::{CheckPlan, Expected};

/// The longest body that is checked, in bytes; a longer one fails its checks.
pub const MAX_CHECKED_BYTES: usize = 64 * 1024;

/// Whether `body` is JSON of at most [`MAX_CHECKED_BYTES`] in which all of `checks` hold.
#[must_use]
pub fn holds(checks: &[CheckPlan], body: &[u8]) -> bool {
    if body.len() > MAX_CHECKED_BYTES {
        return false;
    }
    // serde_json refuses to nest deeper than 128, so no body can exhaust the stack.
    let Ok(json) = serde_json::from_slice::<Value>(body) else { return false };
    checks.iter().all(|c| {
        let found = json.pointer(&c.pointer);
        match &c.expected {
            Expected::Exists => found.is_some(),
            Expected::Absent => found.is_none(),
            Expected::Equals { value } => found.is_some_and(|f| equal(f, value)),
        }
    })
}

/// Equal, and numbers by value: 1 is 1.0.
fn equal(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(a), Value::Number(b)) => match (a.is_f64(), b.is_f64()) {
            (false, false) => a == b,
            _ => a.as_f64() == b.as_f64(),
        },
        _ => found == expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(pointer: &str, expected: Expected) -> [CheckPlan; 1] {
        [CheckPlan { pointer: pointer.to_owned(), expected }]
    }

    fn equals(pointer: &str, value: Value) -> [CheckPlan; 1] {
        check(pointer, Expected::Equals { value })
    }

    #[test]
    fn a_pointer_finds_its_value() {
        let body = br#"{"status":"succeeded","a/b":{"m~n":[10,{"deep":true}]},"amount":5.0,"none":null}"#;
        for (checks, expected) in [
            (equals("/status", json!("succeeded")), true),
            (equals("/status", json!("failed")), false),
            (equals("/missing", json!("succeeded")), false),
            (equals("/a~1b/m~0n/0", json!(10)), true),
            (equals("/a~1b/m~0n/1/deep", json!(true)), true),
            (equals("/amount", json!(5)), true),
            (equals("/amount", json!("5")), false),
            (check("/none", Expected::Exists), true),
            (check("/nothing", Expected::Exists), false),
            (check("/nothing", Expected::Absent), true),
            (check("/none", Expected::Absent), false),
            (check("", Expected::Exists), true),
        ] {
            assert_eq!(holds(&checks, body), expected, "{checks:?}");
        }
    }

    #[test]
    fn all_checks_must_hold() {
        let both = [equals("/a", json!(1)), equals("/b", json!(2))].concat();
        assert!(holds(&both, br#"{"a":1,"b":2}"#));
        assert!(!holds(&both, br#"{"a":1,"b":3}"#));
    }

    #[test]
    fn what_is_not_json_or_too_long_or_too_deep_fails() {
        let exists = check("", Expected::Exists);
        for body in [&b""[..], b"<html>", b"{\"a\":", b"{} x", b"\xff"] {
            assert!(!holds(&exists, body), "{body:?}");
        }
        let padded = |len: usize| [b"{}".to_vec(), vec![b' '; len - 2]].concat();
        assert!(holds(&exists, &padded(MAX_CHECKED_BYTES)));
        assert!(!holds(&exists, &padded(MAX_CHECKED_BYTES + 1)));
        assert!(!holds(&exists, "[".repeat(MAX_CHECKED_BYTES).as_bytes()));
    }
}
