//! Every rule by which the generator judges itself, provoked on a real run.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use support::{
    Reaped, assert_complete, only_load, scenario_file, server, signal, squall, summary, url_scenario,
    wait_for, wait_for_seconds,
};

/// Answers every request at once.
fn prompt(stream: TcpStream) {
    answer_after(stream, Duration::ZERO);
}

/// Answers every request after 20 ms.
fn slow(stream: TcpStream) {
    answer_after(stream, Duration::from_millis(20));
}

fn answer_after(mut stream: TcpStream, wait: Duration) {
    stream.set_nodelay(true).unwrap();
    while stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {
        thread::sleep(wait);
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

/// Runs `scenario`, lets `meanwhile` have its way with the process once two seconds are recorded,
/// and gives its exit code and summary.
fn verdict_on(scenario: &str, meanwhile: impl FnOnce(&Child)) -> (Option<i32>, serde_json::Value) {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario_file(dir.path(), scenario);
    let run = dir.path().join("run");
    let mut child = Reaped(
        squall()
            .args(["run", file.to_str().unwrap(), "--ui", "none", "--out", run.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait_for_seconds(&run, 2);
    meanwhile(&child.0);
    let status = wait_for("the run's end", || child.0.try_wait().unwrap());
    assert_complete(&run);
    (status.code(), summary(&run)["verdict"].clone())
}

fn scenario(addr: SocketAddr, rate_rps: u32, seconds: u32, connections: u32, max_in_flight: u32) -> String {
    url_scenario(addr, rate_rps, seconds)
        .replace("connections = 8", &format!("connections = {connections}"))
        .replace("max_in_flight = 500", &format!("max_in_flight = {max_in_flight}"))
}

fn says(verdict: &serde_json::Value, words: &str) -> bool {
    verdict["reasons"].to_string().contains(words)
}

#[test]
fn a_cpu_taken_by_others_is_noticed_and_named() {
    let _alone = only_load();
    let addr = server(prompt);
    let busy = AtomicBool::new(true);
    let (_, verdict) = thread::scope(|scope| {
        scope
            .spawn(|| {
                // Whatever this thread starts stays on one core with it.
                let mut one = CpuSet::new();
                one.set(0);
                sched_setaffinity(None, &one).unwrap();
                for _ in 0..12 {
                    scope.spawn(|| {
                        while busy.load(Ordering::Relaxed) {
                            std::hint::spin_loop();
                        }
                    });
                }
                let seen = verdict_on(&scenario(addr, 20_000, 4, 8, 50_000), |_| ());
                busy.store(false, Ordering::Relaxed);
                seen
            })
            .join()
            .unwrap()
    });
    assert_ne!(verdict["run"], "valid", "{verdict}");
    assert!(says(&verdict, "for a CPU that others had"), "{verdict}");
}

#[test]
fn too_small_an_in_flight_cap_is_invalid() {
    let _alone = only_load();
    let (code, verdict) = verdict_on(&scenario(server(slow), 400, 3, 2, 4), |_| ());
    assert_eq!(code, Some(120), "{verdict}");
    assert!(says(&verdict, "dropped although the target was answering promptly"), "{verdict}");
    assert!(says(&verdict, "max_in_flight (now 4)"), "{verdict}");
}

#[test]
fn too_few_connections_are_suspect() {
    let _alone = only_load();
    let (_, verdict) = verdict_on(&scenario(server(slow), 400, 3, 2, 5_000), |_| ());
    assert_ne!(verdict["run"], "valid", "{verdict}");
    assert!(says(&verdict, "had to wait for a connection"), "{verdict}");
}

#[test]
fn a_target_that_refuses_is_not_the_generators_fault() {
    let _alone = only_load();
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_, verdict) = verdict_on(&scenario(addr, 200, 3, 8, 500), |_| ());
    assert!(!says(&verdict, "load.connections") && !says(&verdict, "dropped"), "{verdict}");
    assert!(says(&verdict, "does not accept connections"), "the target is named: {verdict}");
}

/// Answers one request after 100 ms, then hangs up.
fn once(mut stream: TcpStream) {
    if stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {
        thread::sleep(Duration::from_millis(100));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}

#[test]
fn a_machine_that_has_no_files_left_drops_what_waits_and_the_target_is_not_blamed() {
    let _alone = only_load();
    // Eight connections answer eighty a second, so there are always some that wait.
    let (code, verdict) = verdict_on(&scenario(server(once), 120, 5, 8, 500), |child| {
        let pid = Some(Pid::from_child(child));
        // What is open stays open.
        let none = Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) };
        let before = prlimit(pid, Resource::Nofile, none).unwrap();
        thread::sleep(Duration::from_millis(900));
        prlimit(pid, Resource::Nofile, before).unwrap();
    });
    assert_eq!(code, Some(120), "{verdict}");
    assert!(says(&verdict, "which had no open files left") && says(&verdict, "were dropped"), "{verdict}");
    assert!(!says(&verdict, "raise load.connections"), "{verdict}");
}

#[test]
fn a_generator_that_was_stopped_for_a_while_is_invalid() {
    let _alone = only_load();
    let (code, verdict) = verdict_on(&scenario(server(prompt), 100, 6, 8, 500), |child| {
        signal(child.id(), Signal::STOP);
        thread::sleep(Duration::from_millis(1_300));
        signal(child.id(), Signal::CONT);
    });
    assert_eq!(code, Some(120), "{verdict}");
    assert!(says(&verdict, "stood still for 1."), "{verdict}");
}

#[test]
fn coarse_timers_are_noticed_and_named() {
    let _alone = only_load();
    let mut allowed = true;
    let (_, verdict) = verdict_on(&scenario(server(prompt), 100, 6, 8, 500), |child| {
        // The kernel may end each of the worker's sleeps up to 50 ms late.
        let worker = thread_named(child.id(), "load-0");
        allowed = fs::write(format!("/proc/{worker}/timerslack_ns"), "50000000").is_ok();
    });
    if !allowed {
        // Another thread's timers are CAP_SYS_NICE's to change.
        eprintln!("not provoked: this user may not change the timer slack of another process");
        return;
    }
    assert_ne!(verdict["run"], "valid", "{verdict}");
    assert!(says(&verdict, "late on average"), "{verdict}");
}

/// The id of the thread of process `pid` that is called `name`.
fn thread_named(pid: u32, name: &str) -> String {
    fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|t| t.unwrap())
        .find(|t| fs::read_to_string(t.path().join("comm")).unwrap().trim() == name)
        .map(|t| t.file_name().to_string_lossy().into_owned())
        .unwrap()
}
