//! kill −9 under load.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Service, after, command, wait_for};

const CONNECTIONS: u32 = 6;
const ACKNOWLEDGED_PER_ROUND: u64 = 400;
const ROUNDS: u32 = 4;

/// What one connection saw until the service died.
#[derive(Default)]
struct Seen {
    /// Keys with the body of their 201.
    acknowledged: Vec<(String, String)>,
    /// Every key that was sent.
    sent: Vec<String>,
}

/// Is killed when this is dropped.
struct Dies<'a>(&'a Service);

impl Drop for Dies<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::KILL);
    }
}

fn load(service: &Service, round: u32, connection: u32, acknowledged: &AtomicU64) -> Seen {
    let mut client = service.client();
    let mut seen = Seen::default();
    for i in 0u32.. {
        let key = format!("r{round}-c{connection}-{i}");
        let (from, to) = ((connection + i) % 10 + 1, (connection + 2 * i + 1) % 10 + 1);
        if from == to {
            continue;
        }
        // Some are declined: their keys must survive as well.
        let amount = if i % 7 == 0 { 105 } else { 100 + i64::from(i % 3) };
        if client.try_write_payment(&key, from, to, amount).is_err() {
            break;
        }
        seen.sent.push(key.clone());
        let Ok(reply) = client.read() else { break };
        match reply.status {
            201 => {
                seen.acknowledged.push((key, reply.body));
                acknowledged.fetch_add(1, Relaxed);
            }
            402 => {}
            other => panic!("{other}: {}", reply.body),
        }
    }
    seen
}

#[test]
fn every_acknowledged_payment_survives_once_and_none_is_invented() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Seen::default();
    let mut before = 0;
    for round in 0..ROUNDS {
        let service = Service::on(folder.path());
        let acknowledged = AtomicU64::new(0);
        std::thread::scope(|s| {
            let connections: Vec<_> = (0..CONNECTIONS)
                .map(|c| {
                    let (service, acknowledged) = (&service, &acknowledged);
                    s.spawn(move || load(service, round, c, acknowledged))
                })
                .collect();
            // In the middle of whatever the six are waiting for; also when nothing goes on any more.
            let dies = Dies(&service);
            for enough in (0..=ACKNOWLEDGED_PER_ROUND).step_by(50) {
                wait_for("payments go on", || acknowledged.load(Relaxed) >= enough);
            }
            drop(dies);
            for seen in connections.into_iter().map(|c| c.join().unwrap()) {
                all.acknowledged.extend(seen.acknowledged);
                all.sent.extend(seen.sent);
            }
        });
        service.kill();

        let service = Service::on(folder.path());
        let audit = service.audit();
        assert_eq!(audit["balanced"], true, "{audit}");
        let payments = audit["payments"].as_u64().unwrap();
        assert_eq!(audit["recount"]["highest_seq"], payments, "gapless: {audit}");
        let mut client = service.client();
        for (key, body) in &all.acknowledged {
            let found = client.get(&format!("/v1/payments?idempotency_key={key}"));
            assert_eq!((found.status, &found.body), (200, body), "{key}");
        }
        let mut seqs = HashSet::new();
        for key in &all.sent {
            let found = client.get(&format!("/v1/payments?idempotency_key={key}"));
            let found: Value = if found.status == 200 { found.json() } else { continue };
            if let Some(seq) = found["seq"].as_u64() {
                assert!(seqs.insert(seq), "two keys for payment {seq}");
            }
        }
        assert_eq!(seqs.len() as u64, payments, "every payment was asked for");
        assert!(payments >= before + ACKNOWLEDGED_PER_ROUND);
        before = payments;
        // And the next one goes on where it stopped.
        let next = client.pay(&format!("after-{round}"), 1, 2, 100);
        assert_eq!(next.json()["seq"], payments + 1);
        all.acknowledged.push((format!("after-{round}"), next.body));
        all.sent.push(format!("after-{round}"));
        before += 1;
        service.kill();
    }
}

#[test]
fn a_store_that_cannot_write_takes_no_more_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // The signal that comes with a write beyond the file size limit is ignored: the write fails,
    // as it does on a full disk.
    let mut deaf = after("trap '' XFSZ", &command(folder.path()));
    deaf.env("RUST_LOG", "off");
    let service = Service::launch(&mut deaf);
    service.limit_file_size(256 * 1024);
    let mut client = service.client();
    let mut acknowledged = Vec::new();
    let refused = (0u32..100_000).find_map(|i| {
        let key = format!("k{i}");
        let reply = client.pay(&key, i % 9 + 1, i % 9 + 2, 1);
        if reply.status == 201 {
            acknowledged.push((key, reply.body));
            return None;
        }
        Some(reply)
    });
    let refused = refused.expect("the file size limit is reached");
    assert_eq!((refused.status, refused.code().as_str()), (503, "store_unavailable"));
    assert_eq!(refused.header("not-executed"), None, "nobody knows");
    assert_eq!(client.pay("another", 1, 2, 1).status, 503);
    assert_eq!(client.get("/readyz").status, 503);
    assert_eq!(service.health()["status"], "unhealthy");
    service.kill();

    let service = Service::on(folder.path());
    assert_eq!(service.audit()["balanced"], true);
    let mut client = service.client();
    for (key, body) in &acknowledged {
        let found = client.get(&format!("/v1/payments?idempotency_key={key}"));
        assert_eq!((found.status, &found.body), (200, body), "{key}");
    }
    assert!(!acknowledged.is_empty());
    assert_eq!(client.pay("goes-on", 1, 2, 1).status, 201);
}
