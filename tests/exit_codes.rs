//! Exit codes are what scripts rely on: each is provoked.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::process::Stdio;

use support::{
    Reaped, assert_complete, only_load, reference_scenario, scenario_file, service_pid, signal, squall,
    squall_ends, squall_runs, stderr, stdout, summary, told, wait_for, wait_for_seconds,
};

#[test]
fn a_run_that_meets_its_gates_exits_0_and_one_that_does_not_exits_99() {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario_file(dir.path(), &reference_scenario(200, 2));
    let args = |out: &str, more: &[&str]| {
        let mut a = vec!["run".into(), file.display().to_string(), "--ui".into(), "plain".into()];
        a.extend(["--out".into(), dir.path().join(out).display().to_string()]);
        a.extend(more.iter().map(ToString::to_string));
        a
    };

    let run = dir.path().join("passed");
    let passed = squall_runs(&run, args("passed", &["--set", "load.workers=2"]));
    assert_eq!(passed.status.code(), Some(0), "{}", told(&passed));
    assert_complete(&run);
    assert!(!run.join("target-data").exists(), "the service's data goes with the run");
    let s = summary(&run);
    assert_eq!(s["verdict"]["exit_code"], 0);
    assert_eq!(s["load"]["failed"], 0);
    let planned = s["load"]["planned"].as_u64().unwrap();
    assert!((300..500).contains(&planned), "two seconds at 200/s without the warm-up: {planned}");
    assert_eq!(s["load"]["planned"], s["load"]["sent"]);
    assert!(stdout(&passed).contains("PASS"), "{}", told(&passed));

    let failed = squall_runs(&dir.path().join("failed"), args("failed", &["--set", "gates=[\"p(99)<1us\"]"]));
    assert_eq!(failed.status.code(), Some(99), "{}", told(&failed));
    assert_complete(&dir.path().join("failed"));
    let junit = std::fs::read_to_string(dir.path().join("failed/junit.xml")).unwrap();
    assert!(junit.contains("p(99)&lt;1us") && junit.contains("<failure"), "{junit}");

    let again = squall_ends(args("passed", &[]));
    assert_eq!(again.status.code(), Some(104), "a run is not written over: {}", told(&again));
}

#[test]
fn an_invalid_scenario_exits_104_and_says_where_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let text = reference_scenario(200, 2).replace("connections = 16", "conections = 16");
    let file = scenario_file(dir.path(), &text);
    for command in ["check", "explain", "run"] {
        let o = squall_ends([command, file.to_str().unwrap()]);
        assert_eq!(o.status.code(), Some(104), "{}", told(&o));
        assert!(stderr(&o).contains("scenario.toml:12"), "{}", told(&o));
        assert!(stderr(&o).contains("did you mean `connections`"), "{}", told(&o));
    }
    let o = squall_ends(["run", "no-such-scenario"]);
    assert_eq!(o.status.code(), Some(104), "{}", told(&o));
    assert!(stderr(&o).contains("quickstart"), "the shipped ones are listed: {}", told(&o));
}

#[test]
fn a_target_that_is_not_this_machine_is_refused_unless_allowed() {
    let o = squall_ends(["check", "steady-10k", "--target", "http://192.0.2.1:80"]);
    assert_eq!(o.status.code(), Some(104), "{}", told(&o));
    assert!(stderr(&o).contains("target.allow"), "{}", told(&o));
}

#[test]
fn a_run_folder_that_cannot_be_written_is_an_error_before_the_first_request() {
    let o = squall_ends(["run", "quickstart", "--ui", "plain", "--out", "/dev/null/run"]);
    assert_eq!(o.status.code(), Some(104), "{}", told(&o));
    assert!(stderr(&o).contains("/dev/null/run"), "{}", told(&o));
    assert!(!stderr(&o).contains("starting the reference"), "{}", told(&o));
}

#[test]
fn ctrl_c_exits_105_with_reports_written_and_the_service_gone() {
    interrupted_by(rustix::process::Signal::INT);
}

#[test]
fn a_closed_terminal_does_not_cost_the_reports() {
    interrupted_by(rustix::process::Signal::HUP);
}

fn interrupted_by(signal_sent: rustix::process::Signal) {
    let _alone = only_load();
    let dir = tempfile::tempdir().unwrap();
    let file = scenario_file(dir.path(), &reference_scenario(100, 600));
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
    wait_for_seconds(&run, 3);
    signal(child.0.id(), signal_sent);
    let status = wait_for("the interrupted run's end", || child.0.try_wait().unwrap());
    let told = std::fs::read_to_string(&log).unwrap();
    assert_eq!(status.code(), Some(105), "{told}");
    assert_complete(&run);
    let s = summary(&run);
    assert!(s["verdict"]["reasons"].to_string().contains("interrupted"), "{}", s["verdict"]);
    wait_for("the service's end", || (!support::is_alive(service)).then_some(()));
}

#[test]
fn a_run_that_is_interrupted_in_a_silent_phase_lasted_until_then() {
    let _alone = only_load();
    let dir = tempfile::tempdir().unwrap();
    let text = support::url_scenario("127.0.0.1:9".parse().unwrap(), 50, 1)
        + "\n[[phase]]\nname = \"quiet\"\nduration = \"60s\"\nrate = \"0/s\"\n";
    let file = scenario_file(dir.path(), &text);
    let run = dir.path().join("run");
    let mut child = Reaped(
        squall()
            .args(["run", file.to_str().unwrap(), "--ui", "none", "--out", run.to_str().unwrap()])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait_for_seconds(&run, 4);
    signal(child.0.id(), rustix::process::Signal::INT);
    wait_for("the interrupted run's end", || child.0.try_wait().unwrap());
    let s = summary(&run);
    assert!(s["duration_s"].as_f64() >= Some(4.0), "{s}");
    let phases: Vec<&str> =
        s["phases"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert!(phases.contains(&"quiet"), "{s}");
}

#[test]
fn too_few_open_files_are_told_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let text = support::url_scenario("127.0.0.1:9".parse().unwrap(), 10, 1);
    let file = scenario_file(dir.path(), &text);
    let run = dir.path().join("run");
    let plain = squall();
    let o = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(["run", file.to_str().unwrap(), "--out", run.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(o.status.code(), Some(104), "{}", told(&o));
    assert!(
        stderr(&o).contains("failed to open enough files: ") && stderr(&o).contains("limit is 40"),
        "{}",
        told(&o)
    );
    assert!(!run.exists());
}

#[test]
fn a_run_does_not_depend_on_anybody_reading_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario_file(dir.path(), &reference_scenario(100, 1));
    let run = dir.path().join("run");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let _alone = only_load();
    let status = squall()
        .args(["run", file.to_str().unwrap(), "--ui", "plain", "--out", run.to_str().unwrap()])
        .stderr(full)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    // Whether the machine was quiet enough for a verdict is not the question here.
    assert!(matches!(status.code(), Some(0 | 120)), "{status}");
    assert_complete(&run);
}

#[test]
fn a_run_that_is_refused_leaves_no_folder_behind() {
    let dir = tempfile::tempdir().unwrap();
    let text = support::url_scenario("127.0.0.1:9".parse().unwrap(), 10, 1)
        .replace("[load]", "token_env = \"SQUALL_TEST_NO_SUCH_TOKEN\"\n\n[load]");
    let file = scenario_file(dir.path(), &text);
    let run = dir.path().join("run");
    let o = squall_ends(["run", file.to_str().unwrap(), "--out", run.to_str().unwrap()]);
    assert_eq!(o.status.code(), Some(104), "{}", told(&o));
    assert!(stderr(&o).contains("SQUALL_TEST_NO_SUCH_TOKEN"), "{}", told(&o));
    assert!(!run.exists());
}

#[test]
fn a_fault_acts_in_its_window_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let fault = "\n[[fault]]\nname = \"store down\"\nat = \"2s\"\nfor = \"1s\"\npoint = \"store\"\nkind = \"error\"\n";
    // Recovery by an SLO of answers alone: times, of so few requests, tell of the machine.
    let fault = format!("{fault}\n[[slo]]\nname = \"answered\"\nobjective = \"99%\"\n");
    let text = reference_scenario(200, 7).replace("count(failed)==0", "count(dropped)==0") + &fault;
    let file = scenario_file(dir.path(), &text);
    let run = dir.path().join("run");
    let o =
        squall_runs(&run, ["run", file.to_str().unwrap(), "--ui", "plain", "--out", run.to_str().unwrap()]);
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    let s = summary(&run);
    let affected = s["faults"][0]["affected"].as_u64().unwrap();
    let failed = s["load"]["failures"]["server_error"].as_u64().unwrap();
    assert!(affected > 50, "{}", s["faults"]);
    assert_eq!(affected, failed, "every request that the fault hit failed, and no other: {}", s["load"]);
    assert!(!s["faults"][0]["recover_s"].is_null(), "{}", s["faults"]);
}

#[test]
fn shipped_scenarios_are_listed_checked_and_explained() {
    let list = squall_ends(["list"]);
    for name in ["quickstart", "steady-10k", "ramp-to-knee", "spike-10x", "soak"] {
        assert!(stdout(&list).contains(name), "{}", told(&list));
        let check = squall_ends(["check", name]);
        assert_eq!(check.status.code(), Some(0), "{}", told(&check));
        let explain = squall_ends(["explain", name]);
        assert_eq!(explain.status.code(), Some(0), "{}", told(&explain));
    }
}

#[test]
fn init_writes_a_scenario_that_checks_and_never_writes_over_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    let file = file.to_str().unwrap();
    assert_eq!(squall_ends(["init", file]).status.code(), Some(0));
    let o = squall_ends(["check", file]);
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    let o = squall_ends(["init", file]);
    assert_eq!(o.status.code(), Some(104), "{}", told(&o));
}
