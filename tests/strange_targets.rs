//! Targets that are down, rude or dying: the run counts them as what they are, and its folder is
//! complete in every case.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use support::{assert_complete, scenario_file, server, squall_runs, stderr, summary, told, url_scenario};

/// Runs against `addr` and gives the summary and what was said.
fn run_against(addr: SocketAddr) -> (serde_json::Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario_file(dir.path(), &url_scenario(addr, 50, 2));
    let run = dir.path().join("run");
    let o =
        squall_runs(&run, ["run", file.to_str().unwrap(), "--ui", "plain", "--out", run.to_str().unwrap()]);
    assert_eq!(o.status.code(), Some(0), "no gates, a healthy generator: {}", told(&o));
    assert_complete(&run);
    let s = summary(&run);
    let l = &s["load"];
    let n = |k: &str| l[k].as_u64().unwrap();
    assert_eq!(n("planned"), n("sent") + n("dropped"), "{l}");
    assert_eq!(n("sent"), n("completed") + n("failed"), "{l}");
    assert!(n("planned") > 50, "{l}");
    (s, stderr(&o))
}

fn failed_only_by(summary: &serde_json::Value, kind: &str) {
    let l = &summary["load"];
    assert_eq!(l["failures"][kind], l["sent"], "{l}");
    assert_eq!(summary["availability"]["ratio"].as_f64(), Some(0.0), "{}", summary["availability"]);
}

#[test]
fn nobody_listens() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (s, told) = run_against(addr);
    failed_only_by(&s, "refused");
    assert!(told.contains("does not accept connections"), "{told}");
}

#[test]
fn it_hangs_up() {
    let (s, _) = run_against(server(|mut s| {
        let _ = s.read(&mut [0; 1024]);
    }));
    failed_only_by(&s, "reset");
}

#[test]
fn it_answers_garbage() {
    let (s, _) = run_against(server(|mut s| {
        while s.read(&mut [0; 1024]).is_ok_and(|n| n > 0) && s.write_all(b"\xff\xfe<html>\r\n\r\n").is_ok() {}
    }));
    failed_only_by(&s, "bad_answer");
}

#[test]
fn it_never_answers() {
    let (s, _) = run_against(server(|mut s| while s.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {}));
    failed_only_by(&s, "timeout");
}

#[test]
fn it_answers_500() {
    let (s, _) = run_against(server(|mut s| {
        while s.read(&mut [0; 1024]).is_ok_and(|n| n > 0)
            && s.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n").is_ok()
        {}
    }));
    failed_only_by(&s, "server_error");
}

#[test]
fn it_says_more_than_it_is_asked() {
    let (s, _) = run_against(server(|mut s| {
        let one = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        while s.read(&mut [0; 1024]).is_ok_and(|n| n > 0) && s.write_all(one.repeat(2).as_bytes()).is_ok() {}
    }));
    let (l, g) = (&s["load"], &s["generator"]);
    assert_eq!(l["ok"], l["sent"], "{l}");
    let n = |k: &str| g[k].as_u64().unwrap();
    assert!(n("connections_unasked") > 50 && n("connections_reopened") > 50, "{g}");
    assert_eq!(s["verdict"]["run"], "suspect", "{}", s["verdict"]);
    let reasons = s["verdict"]["reasons"].to_string();
    assert!(reasons.contains("nobody had asked for"), "{reasons}");
}
