//! A run steered by keys, on a real terminal: what is pressed changes the load, and is on record.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use support::{
    Reaped, assert_complete, only_load, scenario_file, server, squall, summary, url_scenario, wait_for,
    wait_for_seconds,
};

fn prompt(mut stream: TcpStream) {
    while stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

/// Both ends of a terminal of 120 by 40: the person's, and the program's.
fn terminal() -> (File, File) {
    let person: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    tcsetwinsize(&person, Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
    (person.into(), OpenOptions::new().read(true).write(true).open(name).unwrap())
}

/// The events on record so far.
fn events(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
    text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}

/// When the event came that `is` it; waits for it.
fn at_s(run: &Path, what: &str, is: impl Fn(&serde_json::Value) -> bool) -> f64 {
    wait_for(what, || events(run).iter().find(|e| is(e)).map(|e| e["at_s"].as_f64().unwrap()))
}

fn planned(run: &Path, second: f64) -> u64 {
    let text = fs::read_to_string(run.join("intervals.jsonl")).unwrap();
    let lines = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    lines.filter(|i| i["second"] == second as u64).map(|i| i["planned"].as_u64().unwrap()).sum()
}

#[test]
fn keys_change_the_load_pause_it_mark_it_and_end_the_run() {
    let _alone = only_load();
    let dir = tempfile::tempdir().unwrap();
    let text = url_scenario(server(prompt), 200, 60).replace("[load]", "[load]\narrivals = \"uniform\"");
    let file = scenario_file(dir.path(), &text);
    let run = dir.path().join("run");
    let (mut person, program) = terminal();
    let mut child = Reaped(
        squall()
            .args(["run", file.to_str().unwrap(), "--ui", "tui", "--out", run.to_str().unwrap()])
            .env("TERM", "xterm-256color")
            .stdin(program.try_clone().unwrap())
            .stdout(program.try_clone().unwrap())
            .stderr(program)
            .spawn()
            .unwrap(),
    );
    // A terminal that nobody reads would hold the program up.
    let (seen, screen) = mpsc::channel();
    let mut shown = person.try_clone().unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n) = shown.read(&mut bytes)
            && n > 0
            && seen.send(bytes[..n].to_vec()).is_ok()
        {}
    });
    let mut press = |keys: &str| person.write_all(keys.as_bytes()).unwrap();
    wait_for_seconds(&run, 2);
    press("++");
    let more = at_s(&run, "the greater load", |e| e["steer"]["factor"] == 1.2);
    wait_for_seconds(&run, more as usize + 4);
    press("m");
    at_s(&run, "the mark", |e| e["event"] == "mark" && e["text"] == "mark 1");
    press("p");
    let paused = at_s(&run, "the pause", |e| e["steer"]["to"] == "pause");
    wait_for_seconds(&run, paused as usize + 4);
    press("p");
    let resumed = at_s(&run, "its end", |e| e["steer"]["to"] == "resume");
    wait_for_seconds(&run, resumed as usize + 2);
    // A question comes first, and no is an answer.
    press("qn");
    wait_for_seconds(&run, resumed as usize + 4);
    assert!(child.0.try_wait().unwrap().is_none());
    press("qy");
    let status = wait_for("the run's end", || child.0.try_wait().unwrap());

    let (shown, kept): (Vec<u8>, _) = (screen.try_iter().flatten().collect(), summary(&run));
    let shown = String::from_utf8_lossy(&shown);
    assert_eq!(status.code(), Some(105), "{kept} {shown}");
    assert_complete(&run);
    // Whole seconds of each load, give or take what a busy machine takes from its schedule late.
    let in_second_after = |at_s: f64| planned(&run, at_s.floor() + 1.0);
    assert!((220..=260).contains(&in_second_after(more)), "{}", in_second_after(more));
    assert!(in_second_after(paused) <= 20, "{}", in_second_after(paused));
    assert!((220..=260).contains(&in_second_after(resumed)), "{}", in_second_after(resumed));
    // The terminal was given back.
    assert!(shown.contains("\u{1b}[?1049h") && shown.contains("\u{1b}[?1049l"), "{shown}");
}
