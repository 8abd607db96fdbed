//! Reads on real replicas: spread, fresh enough, and never an error of theirs.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use crate::lapses::undisturbed;
use crate::own::{assert_sound, command, server};
use crate::server::Server;
use crate::support::{Client, Ends, Service, TOKEN, wait_for};

/// A primary and `N` replicas of it.
fn replicated<const N: usize>() -> (Vec<tempfile::TempDir>, Server, [Server; N]) {
    let (folder, primary) = server();
    let mut folders = vec![folder];
    let replicas = [(); N].map(|()| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let replica = primary.replica(folder.path());
        folders.push(folder);
        replica
    });
    (folders, primary, replicas)
}

fn reading(primary: &Server, replicas: &[&Server], max_lag_ms: &str) -> Command {
    let urls: Vec<String> = replicas.iter().map(|replica| replica.url()).collect();
    let mut c = command(primary);
    c.args(["--replica-max-lag-ms", max_lag_ms]).env("PAYMENTS_REPLICAS", urls.join(","));
    c
}

/// The figure `name` of `/metrics`, labels and all; 0 when there is none.
pub fn figure(service: &Service, name: &str) -> u64 {
    let text = service.client().get("/metrics").body;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned));
    line.map_or(0, |figure| figure.parse().unwrap())
}

fn used(health: &Value) -> Vec<bool> {
    health["replicas"].as_array().unwrap().iter().map(|r| r["used"].as_bool().unwrap()).collect()
}

const FROM_REPLICA: &str = r#"store_reads_total{source="replica"}"#;
const FROM_PRIMARY: &str = r#"store_reads_total{source="primary"}"#;

#[test]
fn a_replica_that_is_behind_is_left_out_until_it_has_caught_up() {
    let (_folders, primary, [replica]) = replicated();
    let service = Service::launch(&mut reading(&primary, &[&replica], "300"));
    service.wait_until("the replica is used", |h| used(h) == [true]);
    let mut c = service.client();
    let asked = undisturbed(&[&service], |_| {
        let before = figure(&service, FROM_REPLICA);
        for _ in 0..20 {
            assert_eq!(c.get("/v1/accounts/acc_00000001").status, 200);
        }
        figure(&service, FROM_REPLICA) - before
    });
    assert_eq!(asked, 20, "{}", c.get("/metrics").body);

    replica.sql("SELECT pg_wal_replay_pause()").unwrap();
    let paid = c.pay("k", 1, 2, 1000).json();
    service.wait_until("it is left out", |h| {
        used(h) == [false] && h["replicas"][0]["lag_ms"].as_f64() > Some(300.0)
    });
    let health = service.client().get("/health");
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &"ok".into()),
        "a replica is not the service"
    );
    let from_primary = figure(&service, FROM_PRIMARY);
    assert_eq!(c.get("/v1/accounts/acc_00000002/balance").json()["as_of_seq"], paid["seq"]);
    assert_eq!(figure(&service, FROM_PRIMARY), from_primary + 1);

    replica.sql("SELECT pg_wal_replay_resume()").unwrap();
    service.wait_until("it is used again", |h| {
        used(h) == [true] && h["replicas"][0]["lag_ms"].as_f64() < Some(300.0)
    });
    let asked = undisturbed(&[&service], |_| {
        let before = figure(&service, FROM_REPLICA);
        assert_eq!(c.get("/v1/accounts/acc_00000002/balance").json()["as_of_seq"], paid["seq"]);
        figure(&service, FROM_REPLICA) - before
    });
    assert_eq!(asked, 1);
    let text = c.get("/metrics").body;
    assert!(text.contains("store_replica_lag_seconds{replica=\"127.0.0.1:"), "{text}");
}

/// What a replica that stands still does not have is read where it was paid, and elsewhere by who asks for it. Whether the
/// replica was asked elsewhere: on a busy machine it may have taken too long.
fn pay_while_it_stands_still(services: &[Service; 2], replica: &Server, round: u32) -> bool {
    for service in services {
        service.wait_until("the replica is used", |h| used(h) == [true]);
    }
    let left_out = || {
        let reasons =
            ["none_fit", "error"].map(|r| format!(r#"store_replica_fallbacks_total{{reason="{r}"}}"#));
        reasons.map(|reason| figure(&services[1], &reason))
    };
    let (before, from) = (left_out(), 2 * round + 1);
    let [mut here, mut there] = services.each_ref().map(Service::client);
    let old = here.pay(&format!("old{round}"), from, from + 1, 1000).json();
    wait_for("it is replicated", || {
        replica.sql(&format!("SELECT last_seq FROM accounts WHERE id = {from}"))
            == Some(old["seq"].to_string())
    });
    replica.sql("SELECT pg_wal_replay_pause()").unwrap();
    let key = format!("k{round}");
    let paid = here.pay(&key, from, from + 1, 1000);
    let (body, seq) = (paid.body.clone(), paid.json()["seq"].clone());
    let id = paid.json()["id"].as_str().unwrap().to_owned();
    let account = |id: u32| format!("/v1/accounts/acc_{id:08}");

    assert_eq!(here.get(&account(from)).json()["balance"], 998_000);
    for id in [from, from + 1] {
        assert_eq!(here.get(&format!("{}/balance", account(id))).json()["as_of_seq"], seq);
    }
    for client in [&mut here, &mut there] {
        assert_eq!(client.get(&format!("/v1/payments/{id}")).body, body);
        assert_eq!(client.get(&format!("/v1/payments?idempotency_key={key}")).body, body);
        assert_eq!(client.get("/v1/payments/pay_0000000000000099").status, 404);
        assert_eq!(client.get("/v1/accounts/acc_00000099").status, 404);
    }
    let list = |client: &mut Client, query: &str| {
        let page = client.get(&format!("{}/payments{query}", account(from))).json();
        page["data"].as_array().unwrap().iter().map(|p| p["seq"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(list(&mut here, ""), [seq.clone(), old["seq"].clone()]);
    assert_eq!(list(&mut here, "?limit=1"), std::slice::from_ref(&seq));
    assert_eq!(list(&mut here, &format!("?starting_after={id}")), [old["seq"].clone()]);

    // Another process knows only what it is told.
    let balance = format!("{}/balance", account(from));
    let shown = (list(&mut there, ""), there.get(&balance).json()["as_of_seq"].clone());
    let was_asked = left_out() == before;
    if was_asked {
        assert_eq!(shown, (vec![old["seq"].clone()], old["seq"].clone()));
    }
    let auth = format!("Bearer {TOKEN}");
    let seen = seq.to_string();
    let headers = [("Authorization", auth.as_str()), ("Min-Seq", seen.as_str())];
    assert_eq!(there.send("GET", &balance, &headers, b"").json()["as_of_seq"], seq);
    let page = there.send("GET", &format!("{}/payments", account(from)), &headers, b"").json();
    assert_eq!(page["data"][0]["seq"], seq);
    // A payment that is asked for again is as new as one that is made.
    assert_eq!(there.pay(&key, from, from + 1, 1000).body, body);
    assert_eq!(there.get(&balance).json()["as_of_seq"], seq);
    replica.sql("SELECT pg_wal_replay_resume()").unwrap();
    was_asked
}

#[test]
fn what_was_paid_is_read_although_the_replica_has_not_got_it() {
    let (_folders, primary, [replica]) = replicated();
    // The lag that it may have is longer than the test.
    let services = [(); 2].map(|()| Service::launch(&mut reading(&primary, &[&replica], "60000")));
    let mut rounds = 0..5;
    assert!(rounds.any(|round| pay_while_it_stands_still(&services, &replica, round)));
    let (auth, mut there) = (format!("Bearer {TOKEN}"), services[1].client());
    for wrong in ["", "-1", "x", "9223372036854775808", "99999999999999999999"] {
        let headers = [("Authorization", auth.as_str()), ("Min-Seq", wrong)];
        let refused = there.send("GET", "/v1/accounts/acc_00000001/balance", &headers, b"");
        assert_eq!((refused.status, refused.param().as_str()), (400, "Min-Seq"), "{wrong}");
    }
    assert!(figure(&services[0], r#"store_replica_fallbacks_total{reason="behind"}"#) > 0);
    assert_sound(&services[1].audit());
}

#[test]
fn replicas_that_stop_or_die_under_load_are_nobodys_errors() {
    let (_folders, primary, [mut first, mut second]) = replicated();
    let service = Service::launch(&mut reading(&primary, &[&first, &second], "1000"));
    service.wait_until("both are used", |h| used(h) == [true, true]);
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let read_on = |account: u32| {
        let mut client = service.client();
        for n in 0.. {
            if over.load(Relaxed) {
                break;
            }
            let paid = client.pay(&format!("a{account}-{n}"), account, 10, 100);
            assert_eq!(paid.status, 201, "{}", paid.body);
            let (seq, id) = (paid.json()["seq"].clone(), paid.json()["id"].as_str().unwrap().to_owned());
            let balance = client.get(&format!("/v1/accounts/acc_{account:08}/balance"));
            assert_eq!((balance.status, &balance.json()["as_of_seq"]), (200, &seq), "{}", balance.body);
            let page = client.get(&format!("/v1/accounts/acc_{account:08}/payments?limit=2"));
            assert_eq!((page.status, &page.json()["data"][0]["seq"]), (200, &seq), "{}", page.body);
            assert_eq!(client.get(&format!("/v1/payments/{id}")).body, paid.body);
            answered.fetch_add(1, Relaxed);
        }
    };
    let goes_on = || {
        let before = answered.load(Relaxed);
        wait_for("reads go on", || answered.load(Relaxed) > before + 50);
    };
    std::thread::scope(|s| {
        let _ends = Ends(&over);
        let read_on = &read_on;
        let reading: Vec<_> = (1..5).map(|account| s.spawn(move || read_on(account))).collect();
        goes_on();
        first.stand_still(true);
        service.wait_until("one is left out", |h| used(h) == [false, true]);
        goes_on();
        second.kill();
        service.wait_until("both are left out", |h| used(h) == [false, false]);
        goes_on();
        first.stand_still(false);
        second.restart();
        service.wait_until("both are used again", |h| used(h) == [true, true]);
        let before = figure(&service, FROM_REPLICA);
        goes_on();
        assert!(figure(&service, FROM_REPLICA) > before);
        over.store(true, Relaxed);
        reading.into_iter().for_each(|t| t.join().unwrap());
    });
    assert_sound(&service.audit());
}

#[test]
fn of_several_hosts_the_one_that_can_be_written_to_is_the_database() {
    let (_folders, mut primary, [standby]) = replicated::<1>();
    let mut c = command(&primary);
    let at = |server: &Server| server.url().rsplit_once('@').unwrap().1.replace("/postgres", "");
    let both = format!("{},{}", at(&standby), at(&primary));
    c.env("PAYMENTS_POSTGRES", primary.url().replace(&at(&primary), &both));
    let service = Service::launch(&mut c);
    let mut client = service.client();
    assert_eq!(client.pay("k", 1, 2, 1000).status, 201);
    primary.kill();
    service.wait_until("it is noticed", |h| h["store"]["ok"] == false);
    assert_eq!(client.get("/readyz").status, 503, "the standby is no database");
    assert_eq!(client.pay("k2", 1, 2, 1000).status, 503);
    assert_eq!(client.get("/v1/accounts/acc_00000001").status, 503);
    primary.restart();
    service.wait_until("it is back", |h| h["store"]["ok"] == true);
    assert_eq!(client.pay("k2", 1, 2, 1000).status, 201);
}

#[test]
fn what_is_no_replica_of_the_primary_is_never_read_and_a_password_never_told() {
    let (_folders, primary, []) = replicated();
    let (_folder, stranger) = server();
    let url = |server: &Server| server.url().replace("postgres@", "postgres:hunter2@");
    let service = Service::launch(
        command(&primary).env("PAYMENTS_REPLICAS", format!("{}, {}", url(&stranger), url(&primary))),
    );
    // Neither another cluster nor the primary itself.
    wait_for("they are probed", || service.health()["replicas"].as_array().is_some_and(|r| r.len() == 2));
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(used(&service.health()), [false, false]);
    assert_eq!(service.client().get("/v1/accounts/acc_00000001").status, 200);
    for path in ["/health", "/metrics"] {
        assert!(!service.client().get(path).body.contains("hunter2"));
    }
    let ended = command(&primary)
        .env("PAYMENTS_REPLICAS", "postgres://a@b/c,postgres://u:hunter2@[::1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(told.contains("replica 2") && told.contains("PAYMENTS_REPLICAS makes no sense"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}
