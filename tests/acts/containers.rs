//! Containers.

use std::process::{Command, Stdio};

use squall_chaos::acts::order::Target;
use squall_record::fault::Effect;

use crate::guard::{Guard, heal};
use crate::harness::{stdout, told, wait_for};

/// What to do when there is no engine.
const INSTALL: &str =
    "this test needs a Docker engine: apt-get install docker.io; STACK_TESTS=no leaves it out";

/// Whether these tests were left out on purpose. Without a Docker engine they fail.
pub fn left_out() -> bool {
    let left_out = std::env::var_os("STACK_TESTS").is_some_and(|v| v == "no");
    if left_out {
        eprintln!("left out: STACK_TESTS=no");
    }
    left_out
}

fn docker(args: &[&str]) -> String {
    let o = Command::new("docker").args(args).stdin(Stdio::null()).output().expect(INSTALL);
    assert!(o.status.success(), "{INSTALL}\ndocker {args:?}: {}", told(&o));
    stdout(&o).trim().to_owned()
}

/// A container on a network of its own, both removed when dropped.
pub struct Container {
    pub name: String,
    network: String,
}

impl Container {
    pub fn start(name: &str) -> Self {
        Self::running(name, &["sleep", "600"])
    }

    pub fn running(name: &str, command: &[&str]) -> Self {
        let name = format!("squall-acts-{name}-{}", std::process::id());
        let network = format!("{name}-net");
        docker(&["network", "create", &network]);
        let c = Self { name, network };
        let run = [
            "run",
            "--detach",
            "--init",
            "--name",
            &c.name,
            "--network",
            &c.network,
            "--network-alias",
            "till",
        ];
        docker(&[&run[..], &["debian:bookworm-slim"], command].concat());
        c
    }

    pub fn target(&self) -> Vec<Target> {
        vec![Target::Container { name: self.name.clone(), project: None }]
    }

    fn seen(&self, what: &str) -> String {
        docker(&["inspect", "--format", what, &self.name])
    }

    pub fn status(&self) -> String {
        self.seen("{{.State.Status}}")
    }

    fn networks(&self) -> String {
        self.seen("{{range $name, $net := .NetworkSettings.Networks}}{{$name}} {{range $net.Aliases}}{{.}} {{end}}{{end}}")
    }

    fn quota(&self) -> String {
        self.seen("{{.HostConfig.CpuQuota}} {{.HostConfig.NanoCpus}}")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let quiet = |args: &[&str]| {
            let _ = Command::new("docker").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        };
        quiet(&["rm", "--force", &self.name]);
        quiet(&["network", "rm", &self.network]);
    }
}

#[test]
fn containers_are_as_they_were_when_the_guard_is_left_alone() {
    if left_out() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let [paused, lost, killed, rolled] = ["pause", "lose", "kill", "roll"].map(Container::start);
    let (networks, started) = (lost.networks(), rolled.seen("{{.State.StartedAt}}"));
    assert!(networks.contains("till"), "{networks}");
    let mut guard = Guard::start(state.path(), &[]);
    guard.begin("pause", Effect::Pause, paused.target(), 60_000).unwrap();
    guard.begin("lose", Effect::Disconnect, lost.target(), 60_000).unwrap();
    guard.begin("kill", Effect::Kill, killed.target(), 60_000).unwrap();
    guard.begin("limit", Effect::CpuLimit { cores: 0.5 }, rolled.target(), 60_000).unwrap();
    assert_eq!((paused.status().as_str(), lost.networks().as_str()), ("paused", ""));
    assert_eq!(rolled.quota(), "50000 0");
    wait_for("its end", || (killed.status() == "exited").then_some(()));
    guard.begin("roll", Effect::RollingRestart, rolled.target(), 60_000).unwrap();
    wait_for("its restart", || {
        (rolled.status() == "running" && rolled.seen("{{.State.StartedAt}}") != started).then_some(())
    });
    let gone = guard.begin("gone", Effect::Pause, killed.target(), 60_000).unwrap_err();
    assert!(gone.contains("does not run"), "{gone}");

    guard.left_alone();
    for c in [&paused, &lost, &killed, &rolled] {
        assert_eq!(c.status(), "running", "{}", c.name);
    }
    let sorted = |text: &str| {
        let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    // The short id, which old engines add by themselves, is not of the container's making.
    assert!(sorted(&lost.networks()).contains(&"till".to_owned()), "{}", lost.networks());
    assert!(lost.networks().contains(&lost.network));
    assert_eq!(rolled.quota(), "-1 0", "without limit");
}

#[test]
fn a_container_that_takes_its_time_to_end_runs_again_after_the_fault() {
    if left_out() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let slow = "trap 'sleep 2; exit 0' TERM; while :; do sleep 0.1; done";
    let slow = Container::running("slow", &["sh", "-c", slow]);
    let started = slow.seen("{{.State.StartedAt}}");
    let mut guard = Guard::start(state.path(), &[]);
    guard.begin("end", Effect::Terminate, slow.target(), 60_000).unwrap();
    // It is still about to end when the fault is over.
    guard.end("end");
    assert_eq!(slow.status(), "running");
    assert_ne!(slow.seen("{{.State.StartedAt}}"), started, "it has been started again");
    // And limits, one right after the other.
    guard.begin("half", Effect::CpuLimit { cores: 0.5 }, slow.target(), 60_000).unwrap();
    guard.exchange("half", "less", Effect::CpuLimit { cores: 0.2 }, slow.target());
    assert_eq!(slow.quota(), "20000 0");
    guard.end("less");
    assert_eq!(slow.quota(), "-1 0");
}

#[test]
fn what_a_killed_guard_has_done_to_containers_is_healed() {
    if left_out() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let [paused, lost] = ["pause2", "lose2"].map(Container::start);
    let mut guard = Guard::start(state.path(), &[]);
    guard.begin("pause", Effect::Pause, paused.target(), 60_000).unwrap();
    guard.begin("lose", Effect::Disconnect, lost.target(), 60_000).unwrap();
    guard.kill();
    assert_eq!((paused.status().as_str(), lost.networks().as_str()), ("paused", ""));
    let healed = heal(state.path(), &[], &[]);
    assert!(healed.status.success() && stdout(&healed).matches('✔').count() == 2, "{}", told(&healed));
    assert_eq!(paused.status(), "running");
    assert!(lost.networks().contains("till"), "{}", lost.networks());
    assert!(heal(state.path(), &[], &[]).status.success());
}
