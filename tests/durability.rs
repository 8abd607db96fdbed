//! What survives a `kill -9`: of the service, every payment that was answered 201; of squall, the
//! run up to its last whole second.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;
use squall_record::folder::RunFolder;
use squall_record::outcome::Outcome;
use squall_scenarios::content::Content;
use squall_scenarios::plan::Plan;
use support::{
    Reaped, assert_complete, is_alive, only_load, reference_scenario, scenario_file, service_pid, signal,
    squall, squall_ends, summary, told, wait_for, wait_for_seconds,
};

#[test]
fn every_payment_answered_201_is_there_once_after_the_service_is_killed_in_mid_run() {
    let _alone = only_load();
    let dir = tempfile::tempdir().unwrap();
    let file = scenario_file(dir.path(), &reference_scenario(500, 5));
    let (run, data, log) = (dir.path().join("run"), dir.path().join("data"), dir.path().join("log"));
    let mut child = Reaped(
        squall()
            .args(["run", file.to_str().unwrap(), "--ui", "plain", "--out", run.to_str().unwrap()])
            .args(["--data", data.to_str().unwrap()])
            .stderr(std::fs::File::create(&log).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let service = service_pid(&log);
    wait_for_seconds(&run, 3);
    signal(service, Signal::KILL);
    let status = wait_for("the run's end", || child.0.try_wait().unwrap());
    // 120 when the machine was too busy for a verdict; the payments are the same.
    assert!(matches!(status.code(), Some(99 | 120)), "{}", std::fs::read_to_string(&log).unwrap());
    assert_complete(&run);

    let folder = RunFolder::open(&run).unwrap();
    let plan: Plan = serde_json::from_value(folder.manifest.scenario.clone()).unwrap();
    let content = Content::new(&plan);
    let acknowledged: Vec<_> =
        folder.ops().unwrap().into_iter().filter(|o| o.outcome == Outcome::Ok).collect();
    assert!(acknowledged.len() > 500, "{} payments before the kill", acknowledged.len());

    let mut again = Reaped(
        squall()
            .args(["target", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--announce"])
            .args(["--data", data.to_str().unwrap()])
            .env("PAYMENTS_TOKEN", "another-token-than-before")
            .env("PAYMENTS_ADMIN_TOKEN", "another-admin-token-too")
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(again.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let announced: serde_json::Value = serde_json::from_str(&line).unwrap();
    let base = format!("http://{}", announced["listening"].as_str().unwrap());
    let agent = ureq::Agent::new_with_defaults();
    let get = |path: &str| -> serde_json::Value {
        let mut answer = agent
            .get(format!("{base}{path}"))
            .header("Authorization", "Bearer another-token-than-before")
            .call()
            .unwrap();
        answer.body_mut().read_json().unwrap()
    };

    let mut seqs = BTreeSet::new();
    for op in &acknowledged {
        let v = content.values(op.index);
        let payment = get(&format!("/v1/payments?idempotency_key={:032x}", v.key));
        assert_eq!(payment["amount"].as_i64(), Some(v.amount), "arrival {}: {payment}", op.index);
        assert_eq!(payment["from"], format!("acc_{:08}", v.account));
        assert_eq!(payment["to"], format!("acc_{:08}", v.other));
        assert!(seqs.insert(payment["seq"].as_u64().unwrap()), "a payment is there twice: {payment}");
    }
    let audit = get("/v1/audit?recount=true");
    let payments = audit["payments"].as_u64().unwrap();
    // What was on the wire at the kill may be committed without an answer; nothing else may.
    let sent = folder.ops().unwrap().len() as u64;
    assert!(payments >= acknowledged.len() as u64 && payments <= sent, "{audit}");
    assert_eq!(audit["highest_seq"].as_u64(), Some(payments), "seq is gapless: {audit}");
    assert_eq!(audit["debits"], audit["credits"], "{audit}");
    assert_eq!(audit["recount"]["sound"], true, "balances equal entries: {audit}");
}

#[test]
fn a_run_whose_squall_was_killed_is_reported_and_its_service_does_not_outlive_it() {
    let _alone = only_load();
    let dir = tempfile::tempdir().unwrap();
    let file = scenario_file(dir.path(), &reference_scenario(200, 600));
    let (run, log) = (dir.path().join("run"), dir.path().join("log"));
    let mut child = Reaped(
        squall()
            .args(["run", file.to_str().unwrap(), "--ui", "plain", "--out", run.to_str().unwrap()])
            .stderr(std::fs::File::create(&log).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let service = service_pid(&log);
    wait_for_seconds(&run, 4);
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    wait_for("the service's end", || (!is_alive(service)).then_some(()));
    assert!(!run.join("summary.json").exists());

    let report = squall_ends(["report", run.to_str().unwrap()]);
    assert_complete(&run);
    let s = summary(&run);
    assert!(s["load"]["planned"].as_u64().unwrap() > 300, "{}", told(&report));
    assert!(s["verdict"]["reasons"].to_string().contains("squall was killed"), "{}", s["verdict"]);
    assert_ne!(report.status.code(), Some(0), "half a run is not a pass: {}", told(&report));
}
