//! Whatever is typed is answered: arbitrary texts, and scenarios with random damage.

#[path = "../fuzz/entry.rs"]
mod entry;

use proptest::prelude::*;
use squall_scenarios::library::{SHIPPED, TEMPLATE};

const EVERYTHING: &str = include_str!("valid/everything.toml");

/// Pieces that scenarios are made of, and what breaks them.
const PIECES: [&str; 40] = [
    "\n",
    "\r",
    "\t",
    "\"",
    "'",
    "'''",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "#",
    "\0load.connections=8\n",
    "\0phase.0.rate=\n",
    "name",
    "[load]",
    "[[phase]]",
    "[[request]]",
    "rate",
    "${",
    "${account}",
    "${token}",
    "1k/s",
    "0/s",
    "-1",
    "nan",
    "inf",
    "99999999999999999999",
    "1e309",
    "0x7f",
    "\u{1b}[2J",
    "é",
    "\u{feff}",
    "99.9%",
    "7d",
    "{phase:hold}",
];

/// Pieces that the lines of traces are made of, and what breaks them.
const TRACE_PIECES: [&str; 34] = [
    "\n",
    "\r\n",
    " ",
    ",",
    "\"",
    "\\\"",
    "t,m,p\n",
    "1",
    "2.5",
    "-",
    "GET",
    "POST",
    "HEAD",
    "/a?b=c",
    "http://h/x",
    "/a b",
    "/\r\nX: y",
    "/#",
    "1,GET,/a\n",
    "2,GET,/b\n",
    "99999999999999999999",
    "1700000000",
    "2026-11-27T10:00:00Z",
    "[10/Oct/2000:13:55:36 -0700]",
    " \"GET / HTTP/1.1\"",
    "a - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.1\" 200 1\n",
    "a - - [10/Oct/2000:13:55:37 -0700] \"GET /b HTTP/1.1\" 200 1\n",
    "{\"t\":1,\"p\":\"/a\",\"r\":{\"m\":\"GET\"}}\n",
    "{\"t\":2000,\"p\":\"/b\",\"r\":{\"m\":\"GET\"}}\n",
    "{\"t\":",
    "\0",
    "\u{feff}",
    "\u{1b}[2J",
    "é",
];

/// Pieces that CSV files of feeders and curves are made of, and what breaks them.
const TABLE_PIECES: [&str; 22] = [
    "a,b,c\n",
    "t,r\n",
    "0,10\n",
    "60,20\n",
    "1,2,3\n",
    "\"a/b\",\"x\ny\",1\n",
    "true,null,-1.5e3\n",
    "..,.,\n",
    "\n",
    "\r",
    ",",
    "\"",
    "\"\"",
    "1e309",
    "-1",
    "nan",
    " ",
    "\0",
    "\u{feff}",
    "\u{1b}[2J",
    "é",
    "2026-11-27T08:00:00Z",
];

/// What text on a wire is made of, as TOML escapes it.
const WIRE: [&str; 16] = [
    "\\r\\n",
    "\\n",
    "\\r",
    "\\t",
    "\\u0000",
    "\\u0085",
    " ",
    ":",
    "a",
    "POST",
    "${key}",
    "${amount}",
    "é",
    "/",
    "%0a",
    "#",
];

fn base() -> impl Strategy<Value = String> {
    let mut all: Vec<&str> = SHIPPED.iter().map(|s| s.text).collect();
    all.extend([TEMPLATE, EVERYTHING]);
    proptest::sample::select(all).prop_map(ToOwned::to_owned)
}

/// `text` with, at each place in turn, some characters replaced by a piece.
fn damaged(text: String, places: Vec<(prop::sample::Index, usize, usize)>) -> String {
    places.into_iter().fold(text, |text, (at, cut, piece)| {
        let start = text.floor_char_boundary(at.index(text.len() + 1));
        let end = text.ceil_char_boundary((start + cut).min(text.len()));
        format!("{}{}{}", &text[..start], PIECES[piece % PIECES.len()], &text[end..])
    })
}

/// Another value for one of the keys, so that the damage gets past the TOML.
fn revalued(text: &str, line: prop::sample::Index, value: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let keyed: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].contains(" = ")).collect();
    let chosen = keyed[line.index(keyed.len())];
    let changed = |(i, l): (usize, &&str)| match l.split_once(" = ") {
        Some((key, _)) if i == chosen => format!("{key} = {value}"),
        _ => (*l).to_owned(),
    };
    lines.iter().enumerate().map(changed).collect::<Vec<_>>().join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_answered(text in "(?s).{0,200}") {
        entry::scenario(&text);
        entry::parsers(&text);
    }

    #[test]
    fn a_damaged_scenario_is_answered(
        text in base(),
        places in prop::collection::vec((any::<prop::sample::Index>(), 0usize..30, any::<usize>()), 1..6),
    ) {
        entry::scenario(&damaged(text, places));
    }

    #[test]
    fn a_scenario_with_any_value_is_answered(
        text in base(),
        line in any::<prop::sample::Index>(),
        value in "\"[0-9]{0,6}(\\.[0-9]{0,3})?[kM]?(/s|/min|/h|ms|s|m|h|%)?\"|-?[0-9]{1,19}|[0-9]{1,3}\\.[0-9]{1,9}|\"[ -~]{0,20}\"|\"\\PC{0,8}\"|true|\\[\\]|\\{\\}",
    ) {
        entry::scenario(&revalued(&text, line, &value));
    }

    #[test]
    fn nothing_typed_can_end_a_line_on_the_wire(
        text in base(),
        key in prop::sample::select(vec!["method", "path", "headers", "body", "account_prefix", "url"]),
        inner in prop::collection::vec(prop::sample::select(WIRE.to_vec()), 0..4),
    ) {
        let inner = inner.concat();
        let value = match key {
            "headers" => format!("{{ X = \"{inner}\" }}"),
            "path" => format!("\"/{inner}\""),
            "url" => format!("\"http://{inner}\""),
            _ => format!("\"{inner}\""),
        };
        let typed = |l: &str| match l.split_once(" = ") {
            Some((k, _)) if k.trim() == key => format!("{k} = {value}"),
            _ => l.to_owned(),
        };
        entry::scenario(&text.lines().map(typed).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn any_override_is_answered(text in base(), path in "[a-z_]{1,8}(\\.([a-z_]{1,8}|[0-9])){0,3}|(load|phase|gates|target|data|request)\\.(0|hold|url|rate|accounts|timeout)(\\.rate|\\.name)?", value in "\\PC{0,20}|[0-9]{1,6}(k/s|s|%)?|http://[a-z0-9.:]{1,12}") {
        entry::scenario(&format!("{text}\0{path}={value}\n"));
    }

    #[test]
    fn any_table_is_answered(
        pieces in prop::collection::vec(prop::sample::select(TABLE_PIECES.to_vec()), 0..16),
        junk in prop::collection::vec(any::<u8>(), 0..4),
        at in any::<prop::sample::Index>(),
    ) {
        let mut bytes = pieces.concat().into_bytes();
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, junk);
        entry::curve_csv(&bytes);
        entry::feeder_csv(&bytes);
        let header = if bytes.starts_with(b"a,b,c\n") { &b""[..] } else { b"a,b,c\n" };
        entry::feeder_csv(&[header, &bytes].concat());
    }

    #[test]
    fn any_trace_is_answered(
        how in any::<u8>(),
        pieces in prop::collection::vec(prop::sample::select(TRACE_PIECES.to_vec()), 0..24),
        junk in prop::collection::vec(any::<u8>(), 0..8),
        at in any::<prop::sample::Index>(),
    ) {
        let mut text = pieces.concat().into_bytes();
        let at = at.index(text.len() + 1);
        text.splice(at..at, junk);
        text.insert(0, how);
        entry::trace_combined(&text);
        entry::trace_csv(&text);
        entry::trace_jsonl(&text);
    }
}
