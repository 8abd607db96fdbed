//! The run as a journal of Chaos Toolkit: what its readers and reporting tools take, made from the same record.
//!
//! <https://chaostoolkit.org/reference/api/journal/>. Each fault is an action, its end a rollback, each condition of the steady state a
//! probe, before and after, over the seconds that it looked at. One that could not be told has failed, as a probe that raises does:
//! its tolerance is not met, and after the method that is a deviation. What a journal has no word for (how soon a fault was detected, whom it hit) is an action's `output`.

use serde_json::{Value, json};
use squall_record::clock::rfc3339_after;
use squall_scenarios::words;

use crate::experiment::Steady;
use crate::report::Report;
use crate::summary::{FaultSummary, GateResult, GateSummary};
use crate::windows::FaultWindow;
use crate::{exit, gates};

/// The journal; `None` of a run without faults.
#[must_use]
pub fn chaos_journal(report: &Report) -> Option<Value> {
    if report.plan.faults.is_empty() {
        return None;
    }
    let s = &report.summary;
    let at = |s_: f64| rfc3339_after(&s.started_at, s_).unwrap_or_else(|| s.started_at.clone());
    let steady = Steady::new(&report.plan, 0, &report.faults, s.duration_s);
    let side = |name: &str| {
        let seconds = steady.range(name).unwrap_or_default();
        let times = [&at(f64::from(seconds.start)), &at(f64::from(seconds.end))];
        let prefix = format!("steady state {name}: ");
        let seen: Vec<&GateSummary> = s.gates.iter().filter(|g| g.expression.starts_with(&prefix)).collect();
        let met = seen.iter().all(|g| g.result == GateResult::Pass);
        let probes: Vec<Value> = seen
            .iter()
            .map(|g| {
                let name = g.expression.trim_start_matches(&prefix);
                let (status, output) = match g.result {
                    GateResult::Inconclusive => ("failed", format!("could not be told: {}", gates::told(g))),
                    GateResult::Pass | GateResult::Fail => ("succeeded", gates::told(g)),
                };
                activity(&probe(name), &json!(output), status, times)
                    .with("tolerance_met", json!(g.result == GateResult::Pass))
                    .0
            })
            .collect();
        (met, json!({ "steady_state_met": met, "probes": probes }))
    };
    let (before_met, before) = side("before");
    let (after_met, after) = side("after");
    let run: Vec<Value> = report
        .faults
        .iter()
        .zip(&s.faults)
        .map(|(window, fault)| {
            let status = if fault.armed { "succeeded" } else { "failed" };
            let times = [&at(fault.start_s), &at(fault.end_s)];
            activity(&action(window, &s.name), &output(fault), status, times).0
        })
        .collect();
    let rollbacks: Vec<Value> = report
        .faults
        .iter()
        .zip(&s.faults)
        .filter(|(_, fault)| fault.armed)
        .map(|(window, fault)| {
            let mut ends = action(window, &s.name);
            ends["name"] = json!(format!("end {}", window.spec.name));
            activity(&ends, &Value::Null, "succeeded", [&at(fault.end_s), &at(fault.end_s)]).0
        })
        .collect();
    let status = match s.verdict.exit_code {
        exit::INTERRUPTED => "interrupted",
        exit::ABORTED => "aborted",
        _ if !s.faults.iter().all(|f| f.armed) => "failed",
        _ => "completed",
    };
    Some(json!({
        "chaoslib-version": "1.44.0",
        "platform": report.manifest.machine.os,
        "node": "",
        "experiment": experiment(report),
        "start": at(0.0),
        "end": at(s.duration_s),
        "duration": s.duration_s,
        "status": status,
        "deviated": before_met && !after_met,
        "steady_states": { "before": before, "after": after, "during": [] },
        "run": run,
        "rollbacks": rollbacks,
    }))
}

/// An experiment as Chaos Toolkit would read it; its activities run squall.
fn experiment(report: &Report) -> Value {
    let s = &report.summary;
    let summary = if report.plan.summary.is_empty() { &s.name } else { &report.plan.summary };
    let conditions = report.plan.experiment.iter().flat_map(|e| &e.steady_state);
    let probes: Vec<Value> = conditions
        .map(|gate| {
            let mut probe = probe(&gate.expression);
            probe["tolerance"] = json!(0);
            probe
        })
        .collect();
    let method: Vec<Value> = report.faults.iter().map(|window| action(window, &s.name)).collect();
    let mut experiment = json!({
        "version": "1.0.0", "title": s.name, "description": summary, "method": method, "rollbacks": [],
    });
    if !probes.is_empty() {
        experiment["steady-state-hypothesis"] = json!({ "title": "the steady state", "probes": probes });
    }
    experiment
}

fn probe(name: &str) -> Value {
    json!({ "type": "probe", "name": name, "provider": { "type": "process", "path": "squall", "arguments": ["report"] } })
}

fn action(window: &FaultWindow, scenario: &str) -> Value {
    json!({
        "type": "action",
        "name": format!("{}: {}", window.spec.name, words::fault(&window.spec)),
        "provider": { "type": "process", "path": "squall", "arguments": ["run", scenario] },
    })
}

fn output(fault: &FaultSummary) -> Value {
    json!({
        "problem": fault.problem, "affected": fault.affected, "detect_s": fault.detect_s, "mitigate_s": fault.mitigate_s,
        "recover_s": fault.recover_s, "rto_s": fault.rto_s, "metastable": fault.metastable,
    })
}

/// Something that was done, and when.
struct Activity(Value);

impl Activity {
    fn with(mut self, key: &str, value: Value) -> Self {
        self.0[key] = value;
        self
    }
}

fn activity(what: &Value, output: &Value, status: &str, [start, end]: [&String; 2]) -> Activity {
    Activity(json!({ "activity": what, "output": output, "status": status, "start": start, "end": end }))
}
