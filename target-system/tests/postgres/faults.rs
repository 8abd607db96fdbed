//! Faults that need a database: connections that are taken, and commits that wait with all their locks.

use crate::own::{assert_sound, beside, server};
use crate::support::wait_for;

#[test]
fn starved_of_connections_payments_fail_and_go_on_afterwards() {
    let (_folder, server) = server();
    let pool = ["--pool-min", "2", "--pool-max", "3", "--pool-acquire-ms", "200"];
    let service = beside(&server, &pool);
    let mut c = service.client();
    assert_eq!(c.pay("a", 1, 2, 100).status, 201);
    service.arm("f", "store", r#"{"kind":"starve","connections":100}"#, 60_000);
    // No more than there are.
    service.wait_for_hits(3);
    let failed = c.pay("b", 1, 2, 100);
    assert_eq!((failed.status, failed.code().as_str()), (503, "store_unavailable"));
    let open =
        server.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()").unwrap();
    assert!(open.parse::<u32>().unwrap() >= 3, "they are real: {open}");
    assert_eq!(service.end("f").json()["affected"], 3);
    wait_for("there are connections again", || service.client().pay("b", 1, 2, 100).status == 201);
    // One that ends by itself gives them back, too.
    service.arm("g", "store", r#"{"kind":"starve","connections":3}"#, 2_000);
    wait_for("it is over", || service.administer("GET", "/admin/faults", "").body == "[]");
    wait_for("there are connections again", || service.client().pay("c", 1, 2, 100).status == 201);
    assert_sound(&service.audit());
}

#[test]
fn a_slow_commit_holds_the_locks_of_its_transaction() {
    let ways: [&[&str]; 3] = [&[], &["--strategy", "naive"], &["--strategy", "striped"]];
    for way in ways {
        let (_folder, server) = server();
        let service = beside(&server, way);
        service.arm("f", "commit", r#"{"kind":"latency","delay":{"shape":"fixed","ms":60000}}"#, 60_000);
        let mut c = service.client();
        c.write_payment("k", 1, 2, 100);
        service.wait_for_hits(1);
        let held = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
        wait_for("it is open", || server.sql(held).as_deref() == Some("1"));
        let locked =
            "SELECT count(*) FROM (SELECT 1 FROM accounts WHERE id IN (1, 2) FOR UPDATE SKIP LOCKED) a";
        assert_eq!(server.sql(locked).as_deref(), Some("0"), "{way:?}");
        assert_eq!(server.sql("SELECT count(*) FROM payments").as_deref(), Some("0"));
        service.end("f");
        assert_eq!(c.read().unwrap().status, 201);
        assert_sound(&service.audit());
    }
}
