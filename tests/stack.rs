//! The reference service as a stack of docker compose: real containers, started, killed and taken down.
#![expect(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{only_load, squall, stderr, told};

/// What to do when there is no engine.
const INSTALL: &str =
    "this test needs a Docker engine and docker compose: apt-get install docker.io docker-compose";

/// Whether these tests were left out on purpose, by `STACK_TESTS=no`. Without a Docker engine they fail.
fn left_out() -> bool {
    let left_out = std::env::var_os("STACK_TESTS").is_some_and(|v| v == "no");
    if left_out {
        eprintln!("left out: STACK_TESTS=no");
    }
    left_out
}

/// The names of the running containers of a run's stack.
fn containers() -> Vec<String> {
    let listed = Command::new("docker")
        .args(["ps", "--filter", "label=com.docker.compose.project=squall-run", "--format", "{{.Names}}"])
        .stderr(Stdio::inherit())
        .output()
        .expect(INSTALL);
    assert!(listed.status.success(), "{INSTALL}");
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// A process of the service is killed in the middle of a run through the load balancer: no payment fails, and
/// nothing of the stack is left behind.
#[test]
fn a_killed_process_costs_a_stack_nothing() {
    if left_out() {
        return;
    }
    let _alone = only_load();
    assert_eq!(containers(), Vec::<String>::new(), "a stack is up already");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // The image takes the binary that these tests were built with.
    let binary = Path::new(env!("CARGO_BIN_EXE_squall")).with_file_name("payments");
    assert!(binary.exists(), "{} is missing: cargo build -p payments", binary.display());
    let staged = root.join("target/stack-test");
    std::fs::create_dir_all(&staged).unwrap();
    std::fs::copy(binary, staged.join("payments")).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let scenario = root.join("scenarios/library/failover-1k.toml");
    let mut command = squall();
    command
        .current_dir(root)
        .env("PAYMENTS_BUILD", "prebuilt")
        .env("PAYMENTS_BINARY", "target/stack-test/payments")
        .args(["run", "--ui", "none", "--set", "target.system=compose", "--out"])
        .arg(&run)
        .arg(scenario)
        .args(["--set", "load.max_rate=1k/s", "--set", "gates=[]"])
        .args(["--set", "phase.warm-up.rate=100/s", "--set", "phase.before.rate=200/s"])
        .args(["--set", "phase.failover.rate=200/s", "--set", "phase.after.rate=200/s"])
        .args(["--set", "phase.warm-up.duration=3s", "--set", "phase.before.duration=5s"])
        .args(["--set", "phase.failover.duration=10s", "--set", "phase.after.duration=5s"]);
    let mut child = command.spawn().unwrap();
    // Its clock starts when the stack is ready, and every phase is written down as it begins.
    while !std::fs::read_to_string(run.join("events.jsonl")).is_ok_and(|e| e.contains("\"failover\"")) {
        if child.try_wait().unwrap().is_some() {
            panic!("it was over before the failover: {}", told(&child.wait_with_output().unwrap()));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let up = containers();
    let one = up.iter().find(|name| name.contains("payments-2")).unwrap();
    assert!(Command::new("docker").args(["kill", one]).stdout(Stdio::null()).status().unwrap().success());
    let o = child.wait_with_output().unwrap();
    assert!(matches!(o.status.code(), Some(0 | 120)), "{}", told(&o));
    let summary: Value = serde_json::from_slice(&std::fs::read(run.join("summary.json")).unwrap()).unwrap();
    let load = &summary["load"];
    assert_eq!((&load["failed"], &load["dropped"]), (&0.into(), &0.into()), "{load}");
    assert!(load["completed"].as_u64().unwrap() > 3000, "{load}");
    assert_eq!(containers(), Vec::<String>::new());
    assert!(
        std::fs::read_to_string(run.join("target.log")).unwrap().contains("payments-1"),
        "{}",
        stderr(&o)
    );
}

/// A stack that cannot be started is told with the reason, and leaves nothing.
#[test]
fn a_stack_that_does_not_start_says_why() {
    if left_out() {
        return;
    }
    let _alone = only_load();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.yml");
    std::fs::write(&file, "services:\n  haproxy:\n    image: squall-no-such-image\n    build: ./nowhere\n")
        .unwrap();
    let run = folder.path().join("run");
    let o = squall()
        .args(["run", "failover-1k", "--ui", "none", "--set", "target.system=compose", "--out"])
        .arg(&run)
        .args(["--set", &format!("target.compose_file={}", file.display())])
        .output()
        .unwrap();
    assert_eq!(o.status.code(), Some(1), "{}", told(&o));
    assert!(stderr(&o).contains("start the stack"), "{}", told(&o));
    assert!(!run.exists(), "a folder of a run that never was");
    assert_eq!(containers(), Vec::<String>::new());
}
