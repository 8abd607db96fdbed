//! What this machine can carry is measured, kept, and remembered when it matters.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::path::Path;

use support::{only_load, reference_scenario, scenario_file, squall, stderr, stdout, told};

/// What `squall run` says before it starts a load that peaks at 100 a second, with what is kept
/// below `state`. It ends before the first request: its folder cannot be made.
fn said_before_a_run(state: &Path) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario_file(dir.path(), &reference_scenario(100, 1));
    let o = squall()
        .env("XDG_STATE_HOME", state)
        .args(["run", file.to_str().unwrap(), "--out", "/dev/null/run"])
        .output()
        .unwrap();
    assert_eq!(o.status.code(), Some(104), "{}", told(&o));
    stderr(&o)
}

#[test]
fn rates_are_measured_kept_and_remembered_before_a_run() {
    let _alone = only_load();
    let state = tempfile::tempdir().unwrap();
    assert!(!said_before_a_run(state.path()).contains("note:"), "nothing is kept, nothing is said");

    let o = squall()
        .env("XDG_STATE_HOME", state.path())
        .args(["calibrate", "--rates", "200/s,100/s", "--seconds", "1", "--json"])
        .output()
        .unwrap();
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    let found: serde_json::Value = serde_json::from_str(&stdout(&o)).unwrap();
    let rates: Vec<f64> =
        found["steps"].as_array().unwrap().iter().map(|s| s["rate_rps"].as_f64().unwrap()).collect();
    assert_eq!(rates, [100.0, 200.0], "{found}");
    for s in found["steps"].as_array().unwrap() {
        assert!(s["achieved_rps"].as_f64().unwrap() > 0.0 && s["lag_max_us"].as_u64().unwrap() > 0, "{s}");
        let kept = s["problem"].is_null();
        assert!(!kept || s["lag_p99_us"].as_u64().unwrap() <= 1000, "{s}");
    }
    assert!(found["closed_loop"]["max_rps"].as_f64().unwrap() > 0.0, "{found}");
    assert!(found["timers"]["overshoot_max_us"].as_u64() >= found["timers"]["overshoot_p50_us"].as_u64());

    let kept = state.path().join("squall/calibration.json");
    let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    assert_eq!(file, found);

    file["limit_rps"] = 50.into();
    file["at_least"] = false.into();
    std::fs::write(&kept, file.to_string()).unwrap();
    let said = said_before_a_run(state.path());
    assert!(said.contains("up to 50/s") && said.contains("peaks at 100/s"), "{said}");

    file["fingerprint"]["cpu"] = "another machine's".into();
    std::fs::write(&kept, file.to_string()).unwrap();
    assert!(!said_before_a_run(state.path()).contains("note:"));

    std::fs::write(&kept, "{\"schema\":").unwrap();
    let said = said_before_a_run(state.path());
    assert!(said.contains("is ignored") && said.contains("squall calibrate"), "{said}");
}

#[test]
fn what_is_no_rate_is_refused() {
    for wrong in ["0/s", "10", "x/s"] {
        let o = support::squall_ends(["calibrate", "--rates", wrong]);
        assert_eq!(o.status.code(), Some(104), "{}", told(&o));
    }
}
