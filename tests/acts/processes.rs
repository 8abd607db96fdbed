//! Processes, and what is done beside them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use squall_chaos::acts::guard::MAX_FAULTS;
use squall_chaos::acts::order::{Answer, Order, Why};
use squall_record::clock::Clock;
use squall_record::fault::Effect;

use crate::guard::{CLEAN_WITHIN_S, Guard, Victim, heal};
use crate::harness::{is_alive, stdout, told, wait_for};

#[test]
fn a_paused_process_goes_on_when_the_lease_ends() {
    let state = tempfile::tempdir().unwrap();
    let victim = Victim::idle();
    let mut guard = Guard::start(state.path(), &[]);
    let clock = Clock::start();
    let what = guard.begin("p", Effect::Pause, vec![victim.target(None)], 30_000).unwrap();
    assert_eq!(what, format!("stopped process {}", victim.id().pid));
    wait_for("the signal to be taken", || victim.id().is_stopped().then_some(()));
    // Renewed for a short time, and then no more.
    guard.order(&Order::Renew { name: "p".to_owned(), ttl_ms: 800 });
    let renewed_s = clock.now_s();
    let Answer::Ended { why, undone, failed, .. } = guard.hear() else { panic!("it should have ended") };
    assert_eq!((why, undone.len(), failed.len()), (Why::Lease, 1, 0));
    let took_s = clock.now_s() - renewed_s;
    assert!((0.7..0.8 + CLEAN_WITHIN_S).contains(&took_s), "{took_s}");
    wait_for("it to go on", || (!victim.id().is_stopped()).then_some(()));
    assert!(victim.is_alive());
}

#[test]
fn a_guard_that_is_left_alone_undoes_all_and_leaves_nothing_behind() {
    let state = tempfile::tempdir().unwrap();
    let data = disk_of_its_own();
    let (idle, busy) = (Victim::idle(), Victim::busy());
    let had = open_files(&idle);
    let mut guard = Guard::start(state.path(), &[]);
    let on = |v: &Victim| vec![v.target(Some(data.path()))];
    guard.begin("pause", Effect::Pause, on(&idle), 60_000).unwrap();
    guard.begin("files", Effect::Descriptors { left: 3 }, on(&idle), 60_000).unwrap();
    guard.begin("limit", Effect::CpuLimit { cores: 0.2 }, on(&busy), 60_000).unwrap();
    guard.begin("cpu", Effect::Cpu { cores: 0.5 }, on(&idle), 60_000).unwrap();
    guard.begin("memory", Effect::Memory { mib: 64, over_ms: 0 }, on(&idle), 60_000).unwrap();
    guard.begin("slow", Effect::SlowDisk { writers: 2 }, on(&idle), 60_000).unwrap();
    // Enough for what the writers beside it, and other tests, write meanwhile.
    let left_mib = free_mib(data.path()) - 160;
    let full = guard.begin("full", Effect::DiskFull { left_mib }, on(&idle), 60_000).unwrap();
    assert!(full.contains("MiB left"), "{full}");
    wait_for("the memory", || (resident_mib(guard.pid()) > 64).then_some(()));
    wait_for("the signal to be taken", || idle.id().is_stopped().then_some(()));
    assert!(open_files(&idle) < had);
    // The files that it holds have no name that could stay behind.
    assert_eq!(data.path().read_dir().unwrap().count(), 0);

    guard.left_alone();
    assert!(!is_alive(guard.pid()));
    assert_eq!(open_files(&idle), had);
    for victim in [&idle, &busy] {
        wait_for("it to go on", || (!victim.id().is_stopped()).then_some(()));
        assert!(victim.is_alive());
    }
    assert_eq!(journals(state.path()), Vec::<PathBuf>::new(), "nothing is left to undo");
}

#[test]
fn a_process_gets_its_share_of_the_processors_and_no_more() {
    let state = tempfile::tempdir().unwrap();
    let busy = Victim::busy();
    let mut guard = Guard::start(state.path(), &[]);
    guard.begin("limit", Effect::CpuLimit { cores: 0.2 }, vec![busy.target(None)], 60_000).unwrap();
    let (clock, before_s) = (Clock::start(), cpu_s(&busy));
    std::thread::sleep(Duration::from_millis(1500));
    let share = (cpu_s(&busy) - before_s) / clock.now_s();
    // What it had saved up, and the ticks that the kernel counts in, come on top.
    assert!(share < 0.4, "it used {share} processors");
    assert_eq!(guard.end("limit").len(), 1);
    wait_for("it to go on", || (!busy.id().is_stopped()).then_some(()));
}

#[test]
fn faults_one_right_after_the_other_put_back_what_there_was_before_the_first() {
    let state = tempfile::tempdir().unwrap();
    let victim = Victim::idle();
    let on = || vec![victim.target(None)];
    let had = open_files(&victim);
    let mut guard = Guard::start(state.path(), &[]);
    for _ in 0..30 {
        guard.begin("first", Effect::Descriptors { left: 7 }, on(), 60_000).unwrap();
        guard.exchange("first", "next", Effect::Descriptors { left: 3 }, on());
        guard.exchange("next", "pause", Effect::Pause, on());
        assert_eq!(open_files(&victim), had);
        guard.exchange("pause", "again", Effect::Pause, on());
        wait_for("the signal to be taken", || victim.id().is_stopped().then_some(()));
        guard.end("again");
        wait_for("it to go on", || (!victim.id().is_stopped()).then_some(()));
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason_and_leaves_no_trace() {
    let state = tempfile::tempdir().unwrap();
    let victim = Victim::idle();
    let mut guard = Guard::start(state.path(), &[]);
    let on = || vec![victim.target(None)];
    let refused = |guard: &mut Guard, effect| guard.begin("f", effect, on(), 1000).unwrap_err();
    assert!(refused(&mut guard, Effect::DiskFull { left_mib: 0 }).contains("where process"));
    assert!(refused(&mut guard, Effect::Restart).contains("cannot start it again"));
    assert!(refused(&mut guard, Effect::Flush).contains("flush"));
    assert!(refused(&mut guard, Effect::RollingRestart).contains("containers"));
    let memory = Effect::Memory { mib: u64::MAX >> 21, over_ms: 0 };
    assert!(refused(&mut guard, memory).contains("MiB that it has"));
    let no_ttl = guard.begin("f", Effect::Pause, on(), 0).unwrap_err();
    assert!(no_ttl.contains("ttl of 0 ms"), "{no_ttl}");
    guard.begin("f", Effect::Pause, on(), 60_000).unwrap();
    let twice = guard.begin("f", Effect::Pause, on(), 60_000).unwrap_err();
    assert!(twice.contains("already"), "{twice}");
    let on_enough = |n: usize| (1..n).map(|n| format!("f{n}")).collect::<Vec<_>>();
    for name in on_enough(MAX_FAULTS) {
        guard.begin(&name, Effect::Memory { mib: 1, over_ms: 0 }, on(), 60_000).unwrap();
    }
    let more = guard.begin("more", Effect::Pause, on(), 60_000).unwrap_err();
    assert!(more.contains("end one first"), "{more}");
    on_enough(MAX_FAULTS).iter().for_each(|name| drop(guard.end(name)));
    guard.end("f");
    guard.begin("f", Effect::Kill, on(), 60_000).unwrap();
    wait_for("its end", || (!victim.is_alive()).then_some(()));
    // The target holds the start of the process that was; none has it now.
    guard.end("f");
    guard.left_alone();
    assert_eq!(journals(state.path()), Vec::<PathBuf>::new());
}

#[test]
fn what_a_killed_guard_has_left_is_healed_and_healing_twice_is_harmless() {
    let state = tempfile::tempdir().unwrap();
    let (paused, limited) = (Victim::idle(), Victim::idle());
    let had = open_files(&limited);
    let mut guard = Guard::start(state.path(), &[]);
    guard.begin("pause", Effect::Pause, vec![paused.target(None)], 60_000).unwrap();
    guard.begin("files", Effect::Descriptors { left: 0 }, vec![limited.target(None)], 60_000).unwrap();
    let lives = heal(state.path(), &[], &[]);
    assert!(lives.status.success() && stdout(&lives).contains("lives and has 2"), "{}", told(&lives));
    wait_for("the signal to be taken", || paused.id().is_stopped().then_some(()));
    assert!(open_files(&limited) < had, "what a guard holds that lives is left to it");

    guard.kill();
    assert!(paused.id().is_stopped() && open_files(&limited) < had, "nobody has undone it");
    let dry = heal(state.path(), &["--dry-run"], &[]);
    assert!(dry.status.success() && stdout(&dry).matches("would undo").count() == 2, "{}", told(&dry));
    assert!(paused.id().is_stopped());
    let healed = heal(state.path(), &[], &[]);
    assert!(healed.status.success() && stdout(&healed).matches('✔').count() == 2, "{}", told(&healed));
    wait_for("it to go on", || (!paused.id().is_stopped()).then_some(()));
    assert_eq!(open_files(&limited), had);
    let again = heal(state.path(), &[], &[]);
    assert!(again.status.success() && stdout(&again).contains("nothing is left"), "{}", told(&again));
}

#[test]
fn a_hostile_journal_does_nothing_and_is_told() {
    let state = tempfile::tempdir().unwrap();
    let victim = Victim::idle();
    let folder = state.path().join("faults");
    std::fs::create_dir(&folder).unwrap();
    let who = victim.id();
    let path = folder.join("1-1.jsonl");
    // Nothing in a journal can end a process, remove a file or reach for another URL.
    let lines = format!(
        r#"{{"guard":{{"pid":{},"start":1,"boot":1}}}}
{{"done":{{"id":1,"what":"x","undo":{{"undo":"kill","process":{{"pid":{},"start":{},"boot":{}}}}}}}}}
{{"done":{{"id":2,"what":"x","undo":{{"undo":"start","id":"../../x"}}}}}}
{{"done":{{"id":3,"what":"[31mx","undo":{{"undo":"continue","process":{{"pid":{},"start":{},"boot":{}}}}}}}}}
"#,
        who.pid,
        who.pid,
        who.start,
        who.boot,
        who.pid,
        who.start + 1,
        who.boot
    );
    std::fs::write(&path, lines).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let healed = heal(state.path(), &[], &[]);
    assert_eq!(healed.status.code(), Some(1), "{}", told(&healed));
    assert!(stdout(&healed).contains("has not written line 2, 3"), "{}", told(&healed));
    assert!(stdout(&healed).contains("nothing left to undo"), "another has that id now: {}", told(&healed));
    assert!(victim.is_alive());
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let anybodys = heal(state.path(), &[], &[]);
    assert!(
        anybodys.status.code() == Some(1) && stdout(&anybodys).contains("anybody's"),
        "{}",
        told(&anybodys)
    );
}

/// A folder on a disk that is small to fill, where there is one in memory.
fn disk_of_its_own() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn free_mib(folder: &Path) -> u64 {
    let disk = rustix::fs::statvfs(folder).unwrap();
    let blocks = if rustix::process::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
    (blocks * disk.f_frsize) >> 20
}

fn journals(state: &Path) -> Vec<PathBuf> {
    state.join("faults").read_dir().unwrap().map(|e| e.unwrap().path()).collect()
}

/// The soft limit of its file descriptors.
pub fn open_files(victim: &Victim) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", victim.0.id())).unwrap();
    let line = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// The processor time that it has used, in seconds.
pub fn cpu_s(victim: &Victim) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", victim.0.id())).unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
