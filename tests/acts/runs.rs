//! Faults outside the service in a run.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::containers::{Container, left_out};
use crate::databases::{can_lock, nobody_listens, till};
use crate::guard::Victim;
use crate::harness::{
    Reaped, is_alive, only_load, reference_scenario, scenario_file, service_pid, signal, squall, stdout,
    summary, told, wait_for,
};
use crate::nats::Nats;
use crate::processes::open_files;
use crate::redis::Redis;

fn events(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("events.jsonl")).unwrap();
    text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}

fn at_s(events: &[Value], kind: &str, name: &str) -> f64 {
    let found =
        events.iter().find(|e| e["event"] == kind && (e["name"] == name || e["fault"]["name"] == name));
    found.unwrap_or_else(|| panic!("no {kind} of {name}: {events:#?}"))["at_s"].as_f64().unwrap()
}

/// A service that is killed is started again on the same ledger when the fault ends, and the load finds it. A fault inside it
/// goes on in its second life, for which an unoptimised build on a busy machine takes its time.
#[test]
fn a_killed_target_is_started_again_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let text = reference_scenario(50, 14).replace("gates = [\"count(failed)==0\"]", "")
        + r#"
[[fault]]
name = "pause"
at = "1s"
for = "500ms"
process = "target"
kind = "pause"

[[fault]]
name = "slow"
at = "1600ms"
for = "13s"
point = "api"
kind = "latency"
delay = "1ms"

[[fault]]
name = "crash"
at = "2500ms"
for = "1s"
process = "target"
kind = "kill"

[[fault]]
name = "nobody"
at = "1s"
for = "1s"
container = "squall-no-such-container"
kind = "pause"
"#;
    let scenario = scenario_file(folder.path(), &text);
    let _alone = only_load();
    let mut command = squall();
    command.env("SQUALL_STATE_DIR", folder.path().join("state"));
    let ended = command.args(["run", "--ui", "none", "--out"]).arg(&run).arg(&scenario).output().unwrap();
    let events = events(&run);
    let (on, off) = (at_s(&events, "fault_on", "crash"), at_s(&events, "fault_off", "crash"));
    assert!((2.5..4.5).contains(&on) && (0.9..3.0).contains(&(off - on)), "{on} {off}");
    assert!(at_s(&events, "fault_off", "pause") > at_s(&events, "fault_on", "pause"));
    let refused = events.iter().find(|e| e["event"] == "fault_failed" && e["name"] == "nobody").unwrap();
    assert!(
        refused["reason"].as_str().is_some_and(|r| r.contains("container") || r.contains("Docker")),
        "{refused}"
    );
    let slow = events.iter().find(|e| e["event"] == "fault_off" && e["name"] == "slow").unwrap();
    assert!(
        slow["affected"].as_u64().unwrap_or_else(|| panic!("{events:#?}")) > 60,
        "it was armed again in its second life: {slow}"
    );
    let seconds = std::fs::read_to_string(run.join("intervals.jsonl")).unwrap();
    let ok_after: u64 = seconds
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok())
        .filter(|i| i["second"].as_f64().is_some_and(|second| second > off))
        .filter_map(|i| i["ok"].as_u64())
        .sum();
    assert!(ok_after > 0, "{}", told(&ended));
    let failed = summary(&run)["load"]["failed"].as_u64().unwrap();
    assert!(failed > 0, "nobody noticed the crash");
}

/// However a run goes, what it has done to others ends.
#[test]
fn a_run_that_is_killed_or_interrupted_leaves_no_process_stopped_and_no_journal() {
    for how in [Signal::KILL, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let (run, state) = (folder.path().join("run"), folder.path().join("state"));
        let victim = Victim::idle();
        let text = reference_scenario(20, 30)
            + &format!(
                "\n[[fault]]\nname = \"stop\"\nat = \"500ms\"\nfor = \"20s\"\nprocess = \"{}\"\nkind = \"pause\"\n",
                victim.0.id()
            );
        let scenario = scenario_file(folder.path(), &text);
        let _alone = only_load();
        let log = folder.path().join("log");
        let mut command = squall();
        command.env("SQUALL_STATE_DIR", &state).stderr(std::fs::File::create(&log).unwrap());
        command.args(["run", "--ui", "plain", "--out"]).arg(&run).arg(&scenario);
        let mut squall = Reaped(command.spawn().unwrap());
        service_pid(&log);
        wait_for("the pause", || victim.id().is_stopped().then_some(()));
        signal(squall.0.id(), how);
        let clock = squall_record::clock::Clock::start();
        wait_for("it to go on", || (!victim.id().is_stopped()).then_some(()));
        assert!(clock.now_s() < 6.0, "{}", clock.now_s());
        wait_for("the journal to go", || {
            (state.join("faults").read_dir().unwrap().count() == 0).then_some(())
        });
        let ended = squall.0.wait().unwrap();
        if how == Signal::INT {
            assert_eq!(ended.code(), Some(105));
            at_s(&events(&run), "fault_off", "stop");
        }
    }
}

/// A fault of each family outside the service at once, in a run that is killed.
const FAMILIES: &str = r#"
[[resource]]
name = "ledger"
url_env = "TEST_POSTGRES"

[[resource]]
name = "cache"
url_env = "TEST_REDIS"

[[resource]]
name = "queue"
url_env = "TEST_NATS"

[[fault]]
name = "stopped"
at = "500ms"
for = "50s"
process = "IDLE"
kind = "pause"

[[fault]]
name = "few files"
at = "500ms"
for = "50s"
process = "BUSY"
kind = "descriptors"
left = 3

[[fault]]
name = "busy disk"
at = "500ms"
for = "50s"
process = "target"
kind = "slow_disk"

[[fault]]
name = "frozen"
at = "500ms"
for = "50s"
container = "CONTAINER"
kind = "pause"

[[fault]]
name = "locked"
at = "500ms"
for = "50s"
postgres = "ledger"
kind = "row_lock"
table = "till"
rows = 3

[[fault]]
name = "refused"
at = "500ms"
for = "50s"
redis = "cache"
kind = "wrong_password"

[[fault]]
name = "flooded"
at = "500ms"
for = "50s"
nats = "queue"
kind = "slow_consumer"

[[proxy]]
name = "way"
listen = "127.0.0.1:PORT"
upstream = "127.0.0.1:1"

[[fault]]
name = "silent"
at = "500ms"
for = "50s"
proxy = "way"
kind = "toxic"
toxic = { type = "slow_connect", attributes = { delay = 60000 } }

[[fault]]
name = "failing"
at = "500ms"
for = "50s"
point = "api"
kind = "error"
status = 503
fraction = "10%"
"#;

/// SIGKILL of squall: whatever its faults have changed elsewhere is as it was within a lease and a second. The service and the
/// proxies of a run are gone with it, with what was done inside them and to whom they held; as the lease of a toxic ends by itself
/// (`tests/proxy`), so does that of a fault inside a service (`target-system/tests`).
#[test]
fn a_run_that_is_killed_leaves_no_family_of_faults_behind() {
    if left_out() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (idle, busy) = (Victim::idle(), Victim::busy());
    let container = Container::start("killed");
    let [ledger, cache, queue] = ["postgres", "redis", "nats"].map(|name| {
        let own = folder.path().join(name);
        std::fs::create_dir(&own).unwrap();
        own
    });
    let (ledger, cache, queue) = (till(&ledger), Redis::start(&cache), Nats::start(&queue));
    let (nats, files) = (queue.url(), open_files(&busy));
    let way = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let whole = || {
        let broken = [
            ("the process", idle.id().is_stopped()),
            ("its descriptors", open_files(&busy) != files),
            ("the container", container.status() != "running"),
            ("the row", !can_lock(&ledger)),
            ("the password", cache.ask(&["PING"]).as_deref() != Some("PONG")),
            ("the subscription", !nobody_listens(&nats)),
            ("the proxy", TcpStream::connect(way).is_ok()),
        ];
        broken.into_iter().filter(|(_, broken)| *broken).map(|(what, _)| what).collect::<Vec<_>>()
    };
    assert_eq!(whole(), Vec::<&str>::new());
    let text = FAMILIES
        .replace("IDLE", &idle.0.id().to_string())
        .replace("BUSY", &busy.0.id().to_string())
        .replace("CONTAINER", &container.name)
        .replace("PORT", &way.port().to_string());
    let scenario = scenario_file(folder.path(), &(reference_scenario(20, 60) + &text));
    let _alone = only_load();
    let log = folder.path().join("log");
    let mut command = squall();
    command.env("SQUALL_STATE_DIR", &state).stderr(std::fs::File::create(&log).unwrap());
    command.env("TEST_POSTGRES", ledger.url()).env("TEST_REDIS", cache.url()).env("TEST_NATS", &nats);
    command.args(["run", "--ui", "plain", "--out"]).arg(folder.path().join("run")).arg(&scenario);
    let mut squall = Reaped(command.spawn().unwrap());
    let service = service_pid(&log);
    let told = || std::fs::read_to_string(&log).unwrap();
    let inside = ["fault busy disk on", "fault silent on", "fault failing on"];
    let acts = || whole().len() == 7 && inside.iter().all(|one| told().contains(one));
    wait_for("all of them", || acts().then_some(()));
    let mut held = TcpStream::connect(way).unwrap();
    held.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    signal(squall.0.id(), Signal::KILL);
    let clock = squall_record::clock::Clock::start();
    wait_for("all to be as it was", || (whole().is_empty() && !is_alive(service)).then_some(()));
    assert!(clock.now_s() < 6.0, "{}", clock.now_s());
    let ended = held.read(&mut [0]);
    assert!(matches!(&ended, Ok(0)) || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    wait_for("the journal to go", || (state.join("faults").read_dir().unwrap().count() == 0).then_some(()));
    squall.0.wait().unwrap();
}

/// The run undoes at once what a guard has left that was killed, and says that it was lost.
#[test]
fn a_run_that_loses_its_guard_undoes_what_it_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let victim = Victim::idle();
    let text = reference_scenario(20, 4)
        + &format!(
            "\n[[fault]]\nname = \"stop\"\nat = \"500ms\"\nfor = \"4s\"\nprocess = \"{}\"\nkind = \"pause\"\n",
            victim.0.id()
        );
    let scenario = scenario_file(folder.path(), &text);
    let _alone = only_load();
    let mut command = squall();
    command.env("SQUALL_STATE_DIR", folder.path().join("state")).args(["run", "--ui", "none", "--out"]);
    let mut squall = Reaped(command.arg(&run).arg(&scenario).spawn().unwrap());
    wait_for("the pause", || victim.id().is_stopped().then_some(()));
    signal(guard_of(squall.0.id()), Signal::KILL);
    wait_for("it to go on", || (!victim.id().is_stopped()).then_some(()));
    squall.0.wait().unwrap();
    let events = events(&run);
    let lost = events.iter().find(|e| e["event"] == "fault_failed").unwrap();
    assert!(lost["reason"].as_str().unwrap().contains("the guard was lost"), "{lost}");
    assert!(at_s(&events, "fault_off", "stop") < 4.4, "before its time: {events:#?}");
}

/// The guard that the process `run` has started.
fn guard_of(run: u32) -> u32 {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        let read = |name| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let stat = read("stat");
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parent == Some(run) && read("cmdline").contains("chaos\0guard")
    };
    pids.find(is_it).unwrap()
}

/// A guard that cannot keep a journal does nothing that it could not take back, and the run says why.
#[test]
fn without_a_place_for_the_journal_nothing_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let (run, state) = (folder.path().join("run"), folder.path().join("state"));
    std::fs::write(&state, "a file, and no folder").unwrap();
    let victim = Victim::idle();
    let text = reference_scenario(20, 2)
        + &format!(
            "\n[[fault]]\nname = \"stop\"\nat = \"1s\"\nfor = \"1s\"\nprocess = \"{}\"\nkind = \"kill\"\n",
            victim.0.id()
        );
    let scenario = scenario_file(folder.path(), &text);
    let _alone = only_load();
    let mut command = squall();
    command.env("SQUALL_STATE_DIR", &state).args(["run", "--ui", "none", "--out"]);
    let ended = command.arg(&run).arg(&scenario).output().unwrap();
    let failed = events(&run)
        .into_iter()
        .find(|e| e["event"] == "fault_failed")
        .unwrap_or_else(|| panic!("{}", told(&ended)));
    assert!(failed["reason"].as_str().unwrap().contains("SQUALL_STATE_DIR"), "{failed}");
    assert!(victim.is_alive());
}

#[test]
fn every_kind_of_fault_is_listed_with_its_places() {
    let both = [["chaos", "list"].as_slice(), ["list"].as_slice()];
    for args in both {
        let listed = squall().args(args).output().unwrap();
        let text = stdout(&listed);
        for kind in ["rolling_restart", "wrong_password", "disk_full", "slow_consumer"] {
            assert!(text.contains(kind), "{}", told(&listed));
        }
    }
}
