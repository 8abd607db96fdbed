//! Servers in containers: one of each, killed, stopped and started again, and a test that is killed itself.

use std::process::Command;

use async_nats::jetstream;

use crate::container::{LABEL, block_on};
use crate::nats::Nats;
use crate::own::{assert_sound, beside};
use crate::place::containers;
use crate::redis::Redis;
use crate::server::Server;
use crate::support::wait_for;

#[test]
fn a_postgres_in_a_container_keeps_what_was_paid_and_is_copied_by_a_replica() {
    if !containers() {
        return;
    }
    let (mut server, folder) = (Server::contained(), tempfile::tempdir().unwrap());
    let service = beside(&server, &["--pool-acquire-ms", "500"]);
    assert_eq!(service.client().pay("before", 1, 2, 100).status, 201);
    let mut replica = server.replica(folder.path());
    let copied = |replica: &Server| replica.sql("SELECT count(*) FROM payments").as_deref() == Some("1");
    wait_for("the replica has it", || copied(&replica));
    assert_eq!(replica.sql("SELECT pg_is_in_recovery()").as_deref(), Some("t"));
    replica.kill();
    replica.restart();
    wait_for("the replica has it again", || copied(&replica));

    server.stand_still(true);
    service.wait_until("it is noticed", |h| h["store"]["ok"] == false);
    server.stand_still(false);
    service.wait_until("it is back", |h| h["store"]["ok"] == true);
    server.kill();
    assert_eq!(service.client().pay("meanwhile", 1, 2, 100).code(), "store_unavailable");
    server.restart();
    service.wait_until("it is back", |h| h["store"]["ok"] == true);
    assert_eq!(service.client().get("/v1/payments?idempotency_key=before").status, 200);
    assert_eq!(service.client().pay("meanwhile", 1, 2, 100).status, 201);
    assert_sound(&service.audit());

    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    server.speak_tls(&own.cert.pem(), &own.signing_key.serialize_pem());
    assert_eq!(server.sql("SHOW ssl").as_deref(), Some("on"));
}

#[test]
fn a_redis_in_a_container_comes_back_with_what_it_has_saved() {
    if !containers() {
        return;
    }
    let mut redis = Redis::contained();
    assert_eq!(redis.ask(&["SET", "k", "saved"]).as_deref(), Some("OK"));
    assert_eq!(redis.ask(&["SAVE"]).as_deref(), Some("OK"));
    assert_eq!(redis.ask(&["SET", "k", "not saved"]).as_deref(), Some("OK"));
    redis.stand_still(true);
    assert_eq!(redis.ask(&["GET", "k"]), None);
    redis.stand_still(false);
    assert_eq!(redis.ask(&["GET", "k"]).as_deref(), Some("not saved"));
    redis.kill();
    assert_eq!(redis.ask(&["PING"]), None);
    redis.restart();
    assert_eq!(redis.ask(&["GET", "k"]).as_deref(), Some("saved"));
}

#[test]
fn a_nats_in_a_container_keeps_its_streams() {
    if !containers() {
        return;
    }
    let mut nats = Nats::contained();
    let streams = |nats: &Nats| {
        let url = nats.url();
        block_on(async {
            let user = async_nats::ConnectOptions::new()
                .user_and_password("payments".to_owned(), "hunter2@nats".to_owned());
            jetstream::new(user.connect(url.rsplit_once('@').unwrap().1).await.unwrap())
        })
    };
    let kept = jetstream::stream::Config {
        name: "KEPT".to_owned(),
        subjects: vec!["kept".to_owned()],
        ..Default::default()
    };
    let js = streams(&nats);
    block_on(async {
        js.create_stream(kept).await.unwrap();
        js.publish("kept", "notice".into()).await.unwrap().await.unwrap();
    });
    nats.stand_still(true);
    nats.stand_still(false);
    nats.kill();
    nats.restart();
    let js = streams(&nats);
    let stream = block_on(js.get_stream("KEPT")).unwrap();
    assert_eq!(stream.cached_info().state.messages, 1);
}

#[test]
fn a_test_process_that_is_killed_leaves_no_container() {
    if !containers() {
        return;
    }
    let this = std::env::current_exe().unwrap();
    let mut other = Command::new(this)
        .args(["--exact", "contained::waits_with_a_container", "--ignored"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let its = format!("{}-", other.id());
    let there = || {
        let label = format!("{{{{.Label \"{LABEL}\"}}}}");
        let listed = Command::new("docker").args(["ps", "--all", "--format", &label]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().any(|value| value.starts_with(&its))
    };
    wait_for("it has a container", there);
    other.kill().unwrap();
    other.wait().unwrap();
    wait_for("its container is gone", || !there());
}

/// What is killed by the test above.
#[test]
#[ignore = "ends when it is killed"]
fn waits_with_a_container() {
    let _redis = Redis::contained();
    std::thread::sleep(std::time::Duration::from_secs(60));
}
