//! Start, drain, end.

use std::net::TcpStream;
use std::process::Stdio;

use crate::support::{Service, command, command_with, wait_for};

const SLOW: &str = r#"{"kind":"latency","delay":{"shape":"fixed","ms":300}}"#;

/// One request is under way when `drain` is told; it is answered and nothing is lost.
fn drains(mut service: Service, data: &std::path::Path, drain: impl FnOnce(&mut Service)) {
    let mut idle = service.client();
    assert_eq!(idle.get("/livez").status, 200);
    service.arm("slow", "store", SLOW, 60_000);
    let mut under_way = service.client();
    under_way.write_payment("k", 1, 2, 100);
    service.wait_for_hits(1);
    drain(&mut service);
    assert_eq!(under_way.read().unwrap().status, 201);
    assert!(idle.read().is_err(), "an idle connection is closed");
    assert_eq!(service.exit_code(), Some(0));
    assert!(TcpStream::connect(service.listening).is_err());
    let after = Service::on(data);
    assert_eq!(after.audit()["payments"], 1);
}

#[test]
fn sigterm_drains() {
    let folder = tempfile::tempdir().unwrap();
    drains(Service::on(folder.path()), folder.path(), |s| s.terminate());
}

#[test]
fn the_admin_port_drains() {
    let folder = tempfile::tempdir().unwrap();
    drains(Service::on(folder.path()), folder.path(), |s| {
        assert_eq!(s.administer("POST", "/admin/drain", "").status, 202);
    });
}

#[test]
fn the_end_of_standard_input_drains() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::launch(command(folder.path()).arg("--exit-on-stdin-eof").stdin(Stdio::piped()));
    drains(service, folder.path(), |s| drop(s.take_stdin()));
}

#[test]
fn opening_accounts_is_idempotent_and_adds_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::on(folder.path());
    service.client().pay("k", 1, 2, 100);
    service.kill();
    let again = Service::launch(&mut command_with(folder.path(), "127.0.0.1:0", 12));
    let mut c = again.client();
    assert_eq!(c.get("/v1/accounts/acc_00000001").json()["balance"], 999_900);
    assert_eq!(c.get("/v1/accounts/acc_00000012").json()["balance"], 1_000_000);
    assert_eq!(again.audit()["accounts"], 12);
    assert_eq!(again.audit()["balanced"], true);
}

#[test]
fn two_services_do_not_share_a_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let _service = Service::on(folder.path());
    let out = command(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("failed to open the ledger"), "{said}");
}

#[test]
fn the_environment_can_make_a_share_of_requests_fail() {
    let folder = tempfile::tempdir().unwrap();
    let start = |rate: &str| {
        let mut c = command(folder.path());
        c.env("CHAOS_ENGINEERING_ENABLED", "true").env("CHAOS_FAILURE_RATE", rate);
        c
    };
    let service = Service::launch(&mut start("1"));
    let got = service.client().pay("k", 1, 2, 100);
    assert_eq!((got.status, got.header("squall-fault")), (500, Some("chaos-failure-rate")));
    assert_eq!(service.health()["faults"][0], "chaos-failure-rate");
    service.end("chaos-failure-rate");
    assert_eq!(service.client().pay("k", 1, 2, 100).status, 201);
    service.kill();
    let out = start("often").output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("CHAOS_FAILURE_RATE is `often`"));
}

#[test]
fn a_drain_takes_no_more_connections_and_answers_what_is_under_way() {
    let service = Service::start(&[]);
    service.arm("slow", "store", SLOW.replace("300", "3000").as_str(), 60_000);
    let mut under_way = service.client();
    under_way.write_payment("k", 1, 2, 100);
    service.wait_for_hits(1);
    service.terminate();
    // New connections end; the one under way is still served.
    wait_for("no more connections", || TcpStream::connect(service.listening).is_err());
    assert_eq!(under_way.read().unwrap().status, 201);
}

#[test]
fn a_drain_takes_no_answer_back_from_a_client_that_has_sent_on() {
    let service = Service::start(&[]);
    service.arm("slow", "store", SLOW.replace("300", "2000").as_str(), 60_000);
    let mut under_way = service.client();
    under_way.write_payment("k", 1, 2, 100);
    service.wait_for_hits(1);
    service.terminate();
    wait_for("no more connections", || TcpStream::connect(service.listening).is_err());
    // More than the service will read before it closes: unread bytes would reset the connection.
    for i in 0..200 {
        under_way.write_payment(&format!("behind {i}"), 1, 2, 100);
    }
    let answer = under_way.read().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (201, Some("close")));
    let end = under_way.read().unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof, "ended in good order: {end}");
}
