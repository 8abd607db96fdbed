//! `squall run` of experiments: what must hold before and after, what begins a fault, what ends a run, and whom a fault meets.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::path::Path;

use serde_json::Value;
use support::squall;

/// A load of 200 requests a second for eight seconds, and what `more` says.
fn scenario(more: &str) -> String {
    format!(
        r#"
name = "experiment"
seed = 3

[target]
system = "reference"
accounts = 100
opening_balance = 1_000_000_000

[load]
connections = 32
timeout = "2s"

[data]
accounts = 100

[[phase]]
name = "hold"
duration = "8s"
rate = "200/s"

[[request]]
name = "pay"
method = "POST"
path = "/v1/payments"
headers = {{ Idempotency-Key = "${{key}}" }}
body = '{{"from":"${{account}}","to":"${{other}}","amount":${{amount}},"currency":"EUR"}}'
expect = [201]
declined = [402]
{more}"#
    )
}

/// Runs it; gives the exit code and the summary.
fn run(text: &str, folder: &Path, args: &[&str]) -> (i32, Value) {
    let file = folder.join("e.toml");
    std::fs::write(&file, text).unwrap();
    let out = folder.join("run");
    let _ = std::fs::remove_dir_all(&out);
    let ended =
        squall().args(["run", "--ui", "none", "--out"]).arg(&out).args(args).arg(&file).output().unwrap();
    let summary = std::fs::read_to_string(out.join("summary.json"));
    let summary = summary.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&ended.stderr)));
    (ended.status.code().unwrap(), serde_json::from_str(&summary).unwrap())
}

fn fault<'a>(summary: &'a Value, name: &str) -> &'a Value {
    summary["faults"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap()
}

fn class<'a>(summary: &'a Value, name: &str) -> &'a Value {
    &summary["requests"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap()["load"]
}

fn reasons(summary: &Value) -> String {
    summary["verdict"]["reasons"].to_string()
}

const ERRORS: &str = r#"
[[fault]]
name = "errors"
at = "3s"
for = "4s"
point = "api"
kind = "error"
"#;

#[test]
fn no_fault_begins_where_the_steady_state_does_not_hold() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = "[experiment]\nwindow = \"2s\"\nsteady_state = [\"throughput>=1k/s\"]\n";
    let (code, summary) = run(&scenario(&format!("{experiment}{ERRORS}")), folder.path(), &[]);
    assert_eq!(code, 108, "{}", reasons(&summary));
    assert!(reasons(&summary).contains("throughput>=1k/s"), "{}", reasons(&summary));
    assert_eq!(fault(&summary, "errors")["armed"], false);
    assert_eq!(summary["load"]["failed"], 0);
    assert!(summary["duration_s"].as_f64().unwrap() < 6.0, "and the run ends");
}

#[test]
fn an_abort_condition_ends_the_run_and_its_faults() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = "[experiment]\nwindow = \"2s\"\nabort = [\"rate(failed)>40%\"]\n";
    let (code, summary) = run(&scenario(&format!("{experiment}{ERRORS}")), folder.path(), &[]);
    assert_eq!(code, 108, "{}", reasons(&summary));
    assert!(reasons(&summary).contains("abort condition rate(failed)>40%"), "{}", reasons(&summary));
    let ended_s = summary["duration_s"].as_f64().unwrap();
    assert!((3.5..7.0).contains(&ended_s), "{ended_s}");
    let errors = fault(&summary, "errors");
    assert_eq!(errors["armed"], true);
    assert!(errors["affected"].as_u64().unwrap() > 0, "its end was heard of: {errors}");
}

#[test]
fn conditions_look_at_how_fast_a_budget_burns() {
    let folder = tempfile::tempdir().unwrap();
    let slos = r#"
[[slo]]
name = "answered"
objective = "90%"

[[slo]]
name = "not that slow"
objective = "90%"
under = "2s"

[experiment]
window = "2s"
steady_state = ["burn<1"]
abort = ["burn{slo:answered}>4"]
"#;
    let errors = format!("{ERRORS}when = \"burn{{slo:not that slow}}<1\"\n");
    let (code, summary) = run(&scenario(&format!("{slos}{errors}")), folder.path(), &[]);
    assert_eq!(code, 108, "{}", reasons(&summary));
    assert!(
        reasons(&summary).contains("abort condition burn{slo:answered}>4 (it is "),
        "{}",
        reasons(&summary)
    );
    let ended_s = summary["duration_s"].as_f64().unwrap();
    assert!((3.5..7.0).contains(&ended_s), "{ended_s}");
    assert_eq!(fault(&summary, "errors")["armed"], true);
    let before = &summary["gates"][0];
    assert_eq!(before["expression"], "steady state before: burn<1");
    assert_eq!((&before["result"], &before["unit"]), (&"pass".into(), &"times".into()), "{before}");
}

#[test]
fn a_steady_state_that_does_not_come_back_fails_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = "[experiment]\nwindow = \"2s\"\nsteady_state = [\"rate(failed)<5%\"]\n";
    let (code, summary) = run(&scenario(&format!("{experiment}{ERRORS}")), folder.path(), &[]);
    // A second after the fault is not two.
    assert_eq!(code, 122, "{}", reasons(&summary));
    let short = ERRORS.replace("4s", "2s");
    let (code, summary) = run(&scenario(&format!("{experiment}{short}")), folder.path(), &[]);
    let gates = summary["gates"].as_array().unwrap();
    let results: Vec<_> =
        gates.iter().map(|g| (g["expression"].as_str().unwrap(), g["result"].as_str().unwrap())).collect();
    assert_eq!(code, 0, "{results:?} {}", reasons(&summary));
    assert_eq!(
        results,
        [("steady state before: rate(failed)<5%", "pass"), ("steady state after: rate(failed)<5%", "pass")]
    );
}

#[test]
fn a_fault_waits_for_its_condition_and_one_whose_condition_never_holds_does_not_act() {
    let folder = tempfile::tempdir().unwrap();
    let text = scenario(
        r#"
[[phase]]
name = "more"
duration = "6s"
rate = "600/s"

[experiment]
window = "2s"

[[fault]]
name = "at load"
at = "2s"
for = "11s"
when = "throughput>=400/s"
point = "api"
kind = "latency"
delay = "5ms"

[[fault]]
name = "never"
at = "2s"
for = "11s"
when = "throughput>=100k/s"
point = "api"
kind = "hang"
"#,
    );
    let (_, summary) = run(&text, folder.path(), &[]);
    let waited = fault(&summary, "at load");
    assert_eq!(waited["armed"], true, "{waited}");
    assert!(waited["start_s"].as_f64().unwrap() > 8.5, "{waited}");
    // It waited for six seconds and more, which is not how late it was.
    let lag_s = waited["injection_lag_s"].as_f64().unwrap();
    assert!((0.0..2.0).contains(&lag_s), "{waited}");
    let never = fault(&summary, "never");
    assert_eq!(never["armed"], false);
    assert!(never["problem"].as_str().unwrap().contains("never held"), "{never}");
    assert_eq!(summary["load"]["failed"], 0);
}

/// A run whose load goes through a proxy that fails a third of it from the first request to the last.
fn gateway(seed: &str) -> (Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let text = scenario(
        r#"
[experiment]
control = "25%"

[[proxy]]
name = "front"

[[fault]]
name = "gateway errors"
at = "0s"
for = "8s"
proxy = "front"
kind = "toxic"
toxic = { type = "http_abort", toxicity = 0.3, attributes = { status = 502 } }

[[fault]]
name = "slow store"
at = "0s"
for = "8s"
point = "store"
kind = "latency"
delay = "2ms"
fraction = "20%"
"#,
    );
    let (_, summary) = run(&text, folder.path(), &["--seed", seed]);
    let hits = std::fs::read_to_string(folder.path().join("run/hits.jsonl")).unwrap();
    // In which order the two ended is the threads' business.
    let mut lines: Vec<&str> = hits.lines().collect();
    lines.sort_unstable();
    (summary, lines.join("\n"))
}

#[test]
fn the_same_seed_hits_the_same_payments_and_the_control_lane_is_spared() {
    let (summary, hits) = gateway("5");
    let (paid, spared) = (class(&summary, "pay"), class(&summary, "pay-control"));
    let (planned, failed) = (paid["planned"].as_u64().unwrap(), paid["failed"].as_u64().unwrap());
    assert!(failed * 10 > planned * 2 && failed * 10 < planned * 4, "{failed} of {planned}");
    assert!(spared["planned"].as_u64().unwrap() > 100);
    assert_eq!(spared["failed"], 0, "{spared}");
    assert_eq!(fault(&summary, "gateway errors")["affected"], failed);
    assert_eq!(hits.lines().count(), 2, "{hits}");
    let (_, again) = gateway("5");
    assert!(hits == again, "byte for byte");
    let (_, other) = gateway("6");
    assert!(hits != other);
}
