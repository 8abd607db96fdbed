//! TOML text to tables. A syntax error or an unknown key does not hide the next one.

use std::ops::Range;

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::tables::Scenario;
use crate::error::{did_you_mean, tick};
use crate::findings::Findings;

/// The scenario in `text`. What is wrong goes into `findings`; a scenario may still come back
/// then (without its unknown keys), so that its values can be checked too.
pub(crate) fn read(text: &str, findings: &mut Findings) -> Option<Scenario> {
    let mut root = check_syntax(text, findings)?;
    loop {
        match Scenario::deserialize(Deserializer::from(root.clone())) {
            Ok(scenario) => return Some(scenario),
            Err(e) => {
                let span = e.span().unwrap_or(0..0);
                findings.add(span.clone(), explained(e.message()));
                // Without the unknown key, the next mistake shows. Each pass removes one key.
                let unknown = e.message().starts_with("unknown field");
                if findings.is_full() || !unknown || !remove_key(root.get_mut(), &span) {
                    return None;
                }
            }
        }
    }
}

/// `text` as TOML, whatever its keys. `None` when it is broken, which goes into `findings`.
pub(crate) fn check_syntax<'t>(text: &'t str, findings: &mut Findings) -> Option<Spanned<DeTable<'t>>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for e in &errors {
        findings.add(e.span().unwrap_or(0..0), format!("broken TOML: {}", e.message()));
    }
    errors.is_empty().then_some(root)
}

/// Removes the key that stands at `span`, wherever it is nested.
fn remove_key(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    if let Some(key) = table.keys().find(|k| k.span() == *span).map(|k| k.get_ref().to_string()) {
        return table.remove(key.as_str()).is_some();
    }
    table.iter_mut().any(|(_, v)| remove_below(v.get_mut(), span))
}

fn remove_below(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(t) => remove_key(t, span),
        DeValue::Array(a) => a.iter_mut().any(|v| remove_below(v.get_mut(), span)),
        _ => false,
    }
}

/// What serde expected, without Rust's names for it.
fn in_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" => "a whole number, not negative and not too large",
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "text in quotes",
        "a map" => "a table",
        "a sequence" => "a list in brackets",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

/// serde's message with the way out: `unknown field `x`, expected one of `a`, `b`` lists the
/// names that exist, so the nearest of them is known.
fn explained(message: &str) -> String {
    let ticked =
        |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect() };
    let message = message.trim();
    if let Some(key) = message.strip_prefix("missing field ") {
        return format!("the key {key} is missing here; add it");
    }
    if message == "invalid type: map, expected a sequence" {
        return "a table stands where a list of tables belongs; write it in double brackets, like [[phase]]"
            .to_owned();
    }
    if let Some((found, expected)) =
        message.strip_prefix("invalid ").and_then(|m| m.split_once(", expected "))
    {
        return format!("wrong {found}, expected {}", in_words(expected));
    }
    let Some((what, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let (kind, rest) = match what.split_once(" `") {
        Some((k @ ("unknown field" | "unknown variant"), rest)) => (k, rest),
        _ => return message.to_owned(),
    };
    // The typed name may itself hold a backtick; the closing one is the last.
    let typed = rest.strip_suffix('`').unwrap_or(rest);
    let known = ticked(expected);
    let names = known.join(", ");
    let hint = did_you_mean(typed, known.iter().map(String::as_str));
    match kind {
        "unknown field" => format!("unknown key {}{hint} (known here: {names})", tick(typed)),
        _ => format!("unknown value {}{hint} (known here: {names})", tick(typed)),
    }
}
