//! The language reference, `docs/scenarios.md`, says what is true.

use squall_scenarios::explain::explain;
use squall_scenarios::gate::parse_gate;
use squall_scenarios::library::TEMPLATE;
use squall_scenarios::load::load;
use squall_scenarios::schema::json_schema;
use squall_scenarios::source::Source;

const PAGE: &str = include_str!("../../docs/scenarios.md");

/// The fenced blocks of one language, in order.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    PAGE.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

#[test]
fn the_examples_together_are_a_scenario() {
    let text = blocks("toml").join("\n");
    let plan = load(&source("scenarios.md", &text), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(plan.name, "black-friday");
    assert_eq!((plan.phases.len(), plan.requests.len(), plan.faults.len(), plan.slos.len()), (21, 4, 9, 2));
    assert_eq!((plan.journeys.len(), plan.journeys[0].steps.len()), (1, 2));
}

#[test]
fn what_is_shown_of_the_examples_is_what_they_are() {
    for (name, example) in [
        ("replay", include_str!("../examples/replay.toml")),
        ("orders", include_str!("../examples/orders.toml")),
    ] {
        let fence = if name == "replay" { "toml replay" } else { "toml feeder" };
        let file = format!("examples/{name}.toml");
        assert!(example.contains(blocks(fence)[0]), "not in {file}");
        let plan = load(&source(&file, example), &[]).unwrap_or_else(|e| panic!("{e}"));
        let told = explain(&plan).replace("examples/", "scenarios/examples/");
        let command = format!("explain scenarios/{file}\n");
        let shown = blocks("console").into_iter().find_map(|b| b.split_once(&command));
        assert_eq!(shown.expect("its explanation").1.trim(), told.trim());
    }
}

#[test]
fn every_gate_is_one() {
    let gates: Vec<&str> = blocks("gates").into_iter().flat_map(str::lines).collect();
    assert!(gates.len() > 10);
    for gate in gates {
        assert!(parse_gate(gate).is_ok(), "{gate}");
    }
}

#[test]
fn the_defaults_named_are_the_defaults_there_are() {
    // The template writes every default of these tables; without them nothing changes.
    let kept = |text: &str| {
        let dropped = ["[target]", "[load]", "[data]"];
        let mut keep = true;
        let lines = text.lines().filter(|l| {
            if l.starts_with('[') {
                keep = !dropped.iter().any(|d| l.starts_with(d));
            }
            keep
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let bare = kept(TEMPLATE);
    assert!(bare.len() < TEMPLATE.len() && !bare.contains("account_digits ="));
    let load = |text: &str| load(&source("t.toml", text), &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(load(&bare), load(TEMPLATE));
}

#[test]
fn every_key_of_the_language_is_on_the_page() {
    fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
        if let Some(properties) = schema.get("properties").and_then(|p| p.as_object()) {
            found.extend(properties.keys().cloned());
        }
        if let Some(map) = schema.as_object() {
            map.values().for_each(|v| keys(v, found));
        }
    }
    let mut found = Vec::new();
    keys(&json_schema(), &mut found);
    assert!(found.len() > 50);
    for key in found {
        let mentioned = [format!("`{key}`"), format!("{key} = "), format!("[{key}]")];
        assert!(mentioned.iter().any(|m| PAGE.contains(m)), "{key} is not on the page");
    }
}

#[test]
fn the_mistake_shown_is_what_is_told() {
    let text = include_str!("invalid/rate-above-the-limit.toml");
    let error = load(&source("rate-above-the-limit.toml", text), &[]).expect_err("a mistake");
    assert!(blocks("text")[0].contains(&error.problems()[0].to_string()));
}

#[test]
fn every_limit_named_is_the_limit_there_is() {
    use squall_scenarios::lower::{MAX_CONNECTIONS, MAX_IN_FLIGHT, MAX_WORKERS};
    for (key, limit) in
        [("connections", MAX_CONNECTIONS), ("max_in_flight", MAX_IN_FLIGHT), ("workers", MAX_WORKERS)]
    {
        let line = PAGE.lines().find(|l| l.starts_with(&format!("{key} = "))).expect("the key's line");
        assert!(line.ends_with(&format!("at most {limit}")), "{line}");
    }
}
