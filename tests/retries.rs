//! Clients that ask the reference service again: however often, a payment is made once.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use squall_record::folder::RunFolder;
use squall_record::ops::Op;
use squall_record::outcome::Outcome;
use squall_scenarios::content::Content;
use squall_scenarios::plan::Plan;
use support::{
    SecondLife, assert_complete, reference_scenario, scenario_file, squall_runs, stdout, summary, told,
};

/// Runs 100 payments a second for 4 s with `fault` and `retry`, and gives the summary, every
/// attempt, the plan, and what is said on standard output.
fn run(dir: &Path, fault: &str, retry: &str) -> (serde_json::Value, Vec<Op>, Plan, String) {
    let text = reference_scenario(100, 4)
        .replace("gates = [\"count(failed)==0\"]", "gates = [\"count(retried)>0\"]")
        .replace("timeout = \"5s\"", "timeout = \"700ms\"")
        .replace("declined = [402]\n", &format!("declined = [402]\nretry = {retry}\n"))
        + fault;
    let file = scenario_file(dir, &text);
    let (run, data) = (dir.join("run"), dir.join("run/ledger"));
    let args = ["run", file.to_str().unwrap(), "--ui", "plain", "--out", run.to_str().unwrap(), "--data"];
    let o = squall_runs(&run, args.into_iter().chain([data.to_str().unwrap()]));
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    assert_complete(&run);
    let folder = RunFolder::open(&run).unwrap();
    let plan = serde_json::from_value(folder.manifest.scenario.clone()).unwrap();
    (summary(&run), folder.ops().unwrap(), plan, stdout(&o))
}

/// What must hold of the counts, and that the ledger in `data` has a payment for each key that was
/// answered with one, once.
fn every_payment_once(dir: &Path, s: &serde_json::Value, ops: &[Op], plan: &Plan) {
    let l = &s["load"];
    let n = |k: &str| l[k].as_u64().unwrap();
    assert_eq!(n("planned"), n("sent") + n("dropped"), "{l}");
    assert_eq!(n("sent"), n("completed") + n("failed"), "{l}");
    let mut paid: BTreeSet<u64> = BTreeSet::new();
    for op in ops.iter().filter(|o| o.outcome == Outcome::Ok) {
        assert!(paid.insert(op.index), "arrival {} was answered twice", op.index);
    }
    let arrivals: BTreeSet<u64> = ops.iter().map(|o| o.index).collect();
    let again = SecondLife::of(&dir.join("run/ledger"));
    let get = |path: &str| again.get(path);
    let content = Content::new(plan);
    let mut seqs = BTreeSet::new();
    for index in &paid {
        let v = content.values(*index);
        let payment = get(&format!("/v1/payments?idempotency_key={:032x}", v.key));
        assert_eq!(payment["amount"].as_i64(), Some(v.amount), "arrival {index}: {payment}");
        assert!(seqs.insert(payment["seq"].as_u64().unwrap()), "one payment for two keys: {payment}");
    }
    let audit = get("/v1/audit?recount=true");
    let payments = audit["payments"].as_u64().unwrap();
    assert!(payments >= paid.len() as u64, "an acknowledged payment is missing: {audit}");
    assert!(payments <= arrivals.len() as u64, "more payments than arrivals: {audit}");
    assert_eq!(audit["recount"]["sound"], true, "{audit}");
}

#[test]
fn payments_that_an_error_stopped_are_made_at_a_later_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let fault = "\n[[fault]]\nname = \"errors\"\nat = \"1500ms\"\nfor = \"1s\"\npoint = \"store\"\nkind = \"error\"\n\
                 fraction = \"50%\"\n";
    // The attempts of an arrival outlast the fault: pauses of 50, 100, 200 and then 300 ms.
    let retry = "{ attempts = 10, backoff = \"50ms\", max_backoff = \"300ms\", jitter = \"none\" }";
    let (s, ops, plan, out) = run(dir.path(), fault, retry);
    every_payment_once(dir.path(), &s, &ops, &plan);
    let l = &s["load"];
    assert!(l["retried"].as_u64().unwrap() > 50, "{l}");
    assert!(l["failed"].as_u64().unwrap() * 50 < l["sent"].as_u64().unwrap(), "{l}");
    assert!(out.contains("attempts beyond the first"), "{out}");
}

#[test]
fn payments_whose_answer_came_too_late_are_not_made_twice() {
    let dir = tempfile::tempdir().unwrap();
    // The store commits after the client has given up and asks again.
    let fault = "\n[[fault]]\nname = \"slow store\"\nat = \"1500ms\"\nfor = \"1500ms\"\npoint = \"store\"\n\
                 kind = \"latency\"\ndelay = \"1s\"\nfraction = \"30%\"\n";
    let retry =
        "{ attempts = 8, backoff = \"100ms\", max_backoff = \"1s\", jitter = \"none\", statuses = [409] }";
    let (s, ops, plan, _) = run(dir.path(), fault, retry);
    every_payment_once(dir.path(), &s, &ops, &plan);
    let mut attempts: BTreeMap<u64, Vec<&Op>> = BTreeMap::new();
    ops.iter().for_each(|o| attempts.entry(o.index).or_default().push(o));
    let replayed = attempts
        .values()
        .filter(|a| a[0].status == 0 && a.last().is_some_and(|last| last.outcome == Outcome::Ok))
        .count();
    assert!(replayed > 5, "{replayed} payments timed out and were answered later");
}
