//! Payments that a card network authorises, made by processes that share a database.

use crate::own::{beside, server};
use crate::roles::Role;
use crate::support::{Client, Service};

const AT_ONCE: [&str; 4] = ["--median-ms", "20", "--p99-ms", "40"];
const APPROVED: &str = r#"network_authorizations_total{outcome="approved"}"#;

#[test]
fn what_the_database_knows_is_answered_without_the_network() {
    let mut network = Role::start("network", &AT_ONCE);
    let service = Service::start(&["--network-url", &network.url()]);
    let mut c = service.client();
    let first = c.pay("k", 1, 2, 100);
    assert_eq!(first.status, 201);
    assert_eq!(c.pay("declined", 1, 2, 2_000_000).code(), "insufficient_funds");
    let strange = [c.pay("nobody", 1, 77, 100), c.pay("nobody-2", 77, 1, 100)];
    assert_eq!(
        strange.map(|r| (r.code(), r.param())),
        ["to", "from"].map(|p| ("resource_missing".into(), p.into()))
    );
    let dollars = c.post("/v1/accounts", r#"{"currency":"USD"}"#).json()["id"].as_str().unwrap().to_owned();
    assert_eq!(c.pay("dollars", 1, dollars[4..].parse().unwrap(), 100).code(), "currency_mismatch");
    assert_eq!(network.figure(APPROVED), 2.0, "nobody asks for nonsense");
    network.kill();
    let again = c.pay("k", 1, 2, 100);
    assert_eq!(
        (again.status, &again.body, again.header("idempotent-replayed")),
        (201, &first.body, Some("true"))
    );
    assert_eq!(c.pay("k", 1, 2, 200).code(), "idempotency_key_reused");
    assert_eq!(c.pay("declined", 1, 2, 2_000_000).code(), "insufficient_funds");
    assert_eq!(c.pay("new", 1, 2, 100).code(), "network_unavailable");
}

#[test]
fn a_key_at_two_processes_is_authorised_and_paid_once() {
    let network = Role::start("network", &AT_ONCE);
    let (_folder, server) = server();
    let services = [(); 2].map(|()| beside(&server, &["--network-url", &network.url()]));
    let mut clients: Vec<Client> = services.iter().map(Service::client).collect();
    for i in 0..50 {
        for client in &mut clients {
            client.write_payment(&format!("k{i}"), 1, 2, 100);
        }
        let answers: Vec<_> = clients.iter_mut().map(|c| c.read().unwrap()).collect();
        assert!(answers.iter().all(|r| r.status == 201) && answers[0].body == answers[1].body, "{answers:?}");
    }
    let audit = services[0].audit();
    assert_eq!((&audit["balanced"], audit["payments"].as_u64()), (&true.into(), Some(50)), "{audit}");
    assert_eq!((network.figure(APPROVED), network.figure("network_voids_total")), (50.0, 0.0));
}
