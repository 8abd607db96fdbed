//! What is asked of Prometheus, by the dashboard and in the documentation, is what `/metrics` says.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::roles::Role;
use crate::support::Service;

/// Words of PromQL that are no names of metrics.
const WORDS: [&str; 7] = ["sum", "by", "le", "rate", "histogram_quantile", "increase", "__rate_interval"];

fn file(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// The metrics that `query` names: its words, without labels, strings and durations.
fn names(query: &str) -> Vec<String> {
    let mut bare = String::new();
    let (mut labels, mut span, mut grouping) = (false, false, false);
    for (at, c) in query.char_indices() {
        match c {
            '{' => labels = true,
            '}' => labels = false,
            '[' => span = true,
            ']' => span = false,
            '(' if bare.trim_end().ends_with(" by") => grouping = true,
            ')' if grouping => {
                grouping = false;
                // Behind it the word `by` has had its parenthesis.
                bare.push(';');
            }
            _ if labels || span || grouping => {}
            _ => bare.push_str(&query[at..at + c.len_utf8()]),
        }
        if "{}[]()".contains(c) {
            bare.push(' ');
        }
    }
    let words = bare.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|w| w.starts_with(|c: char| c.is_ascii_alphabetic()) && !WORDS.contains(w));
    names.map(str::to_owned).collect()
}

/// Every query of the dashboard.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&file("deploy/grafana/dashboards/payments.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// Every query of a block of PromQL in the documentation.
fn documented() -> Vec<String> {
    let text = file("docs/target.md");
    let blocks = text.split("```promql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(|l| l.split('#').next().unwrap().to_owned()).collect()
}

#[test]
fn every_query_names_what_metrics_says() {
    let (fraud, network) = (Role::start("fraud", &[]), Role::start("network", &["--median-ms", "0"]));
    let (fraud_url, network_url) = (fraud.url(), network.url());
    let asked = ["--fraud-url", &fraud_url, "--network-url", &network_url];
    let service =
        Service::start(&[&asked[..], &["--otlp", "http://127.0.0.1:9", "--user-limit", "2/h"]].concat());
    let mut client = service.client();
    // Labels show once they have been counted.
    let answers = [100, 51, 100].map(|amount| client.pay(&format!("k{amount}"), 1, 2, amount).status);
    assert_eq!(answers, [201, 402, 429]);
    let text = service.client().get("/metrics").body;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let known: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    for queries in [dashboard(), documented()] {
        assert!(queries.len() > 2, "{queries:?}");
        for query in queries {
            let names = names(&query);
            assert!(!names.is_empty(), "{query}");
            for name in names {
                assert!(known.contains(name.as_str()), "{name} in {query}: {known:?}");
            }
        }
    }
}

#[test]
fn the_names_in_a_query_are_found() {
    let query =
        r#"sum by (le, route) (rate(a_total{code="b_c"}[5m])) / histogram_quantile(0.99, d_bucket) + sum(e)"#;
    assert_eq!(names(query), ["a_total", "d_bucket", "e"]);
}
