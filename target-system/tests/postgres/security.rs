//! Logins and payment methods of processes that share a database, and TLS to it.

use std::process::Command;

use crate::own::{command, server};
use crate::server::Server;
use crate::support::Service;
use crate::users::{PASSWORD, field, know, log_in, refresh};

const KEY: &str = "key-that-signs-the-tokens-of-these-tests";

fn knowing(server: &Server, folder: &std::path::Path) -> Service {
    let mut command = command(server);
    know(&mut command, folder);
    Service::launch(command.env("PAYMENTS_JWT_KEY", KEY))
}

#[test]
fn what_one_process_has_rotated_or_ended_all_know() {
    let (folder, server) = server();
    let services = [knowing(&server, folder.path()), knowing(&server, folder.path())];
    let mut clients = services.each_ref().map(Service::client);
    let granted = log_in(&mut clients[0], "ann", PASSWORD);
    let mut tokens = vec![field(&granted, "refresh_token")];
    for n in 0..4 {
        let next = refresh(&mut clients[(n + 1) % 2], tokens.last().unwrap());
        tokens.push(field(&next, "refresh_token"));
    }
    let access = field(&granted, "access_token");
    assert_eq!(services[1].client().with_token(&access).get("/v1/accounts/acc_00000001").status, 200);
    // Two of one token at two processes at once: the same successor for both.
    let both: Vec<String> = std::thread::scope(|s| {
        let last = tokens.last().unwrap();
        let shown = services.each_ref().map(|service| s.spawn(|| refresh(&mut service.client(), last)));
        shown.into_iter().map(|t| field(&t.join().unwrap(), "refresh_token")).collect()
    });
    assert_eq!(server.sql("SELECT nth FROM logins").as_deref(), Some("6"));
    assert_eq!(refresh(&mut clients[1], &tokens[0]).status, 401);
    assert_eq!(server.sql("SELECT count(*) FROM logins").as_deref(), Some("0"));
    assert_eq!(refresh(&mut clients[0], &both[0]).status, 401, "ended at the other process, too");
    // A card that one was given, the other knows.
    let mut ann = services.each_ref().map(|service| service.client().with_token(&access));
    let card = r#"{"number":"4242424242424242","exp_month":12,"exp_year":2040,"cvc":"987"}"#;
    let method = ann[0].post("/v1/payment_methods", card);
    let path = format!("/v1/payment_methods/{}", method.json()["id"].as_str().unwrap());
    assert_eq!((method.status, ann[1].get(&path).body), (201, method.body));
}

#[test]
fn a_token_shown_again_too_late_ends_the_login_and_one_that_is_over_is_none() {
    let (folder, server) = server();
    let service = knowing(&server, folder.path());
    let mut c = service.client();
    let first = field(&log_in(&mut c, "ann", PASSWORD), "refresh_token");
    let second = field(&refresh(&mut c, &first), "refresh_token");
    server.sql("UPDATE logins SET rotated_at = rotated_at - interval '11 seconds'").unwrap();
    assert_eq!(refresh(&mut c, &first).status, 401);
    assert_eq!(refresh(&mut c, &second).status, 401);
    let third = field(&log_in(&mut c, "ann", PASSWORD), "refresh_token");
    server.sql("UPDATE logins SET ends_at = now() - interval '1 second'").unwrap();
    assert_eq!(refresh(&mut c, &third).status, 401);
    log_in(&mut c, "bob", PASSWORD);
    assert_eq!(server.sql("SELECT string_agg(username, ' ') FROM logins").as_deref(), Some("bob"));
}

#[test]
fn a_user_has_so_many_logins_and_the_oldest_go() {
    let (folder, server) = server();
    let service = knowing(&server, folder.path());
    let first = field(&log_in(&mut service.client(), "ann", PASSWORD), "refresh_token");
    server
        .sql(
            "INSERT INTO logins SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), 'ann', 1, now(),
                    now() + interval '8 days' FROM generate_series(1, 1024) n",
        )
        .unwrap();
    assert_eq!(log_in(&mut service.client(), "ann", PASSWORD).status, 200);
    assert_eq!(server.sql("SELECT count(*) FROM logins").as_deref(), Some("1024"));
    assert_eq!(refresh(&mut service.client(), &first).status, 401);
}

#[test]
fn the_database_is_spoken_to_over_tls_with_the_authority_that_is_named() {
    let (folder, mut server) = server();
    let made = |host: &str| rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let (own, other) = (made("localhost"), made("localhost"));
    server.speak_tls(&own.cert.pem(), &own.signing_key.serialize_pem());
    let ca = folder.path().join("ca.pem");
    let asking = |host: &str, trusted: &str| -> Command {
        std::fs::write(&ca, trusted).unwrap();
        let mut command = command(&server);
        let url = format!("{}?sslmode=verify-full", server.url().replace("127.0.0.1", host));
        command.env("PAYMENTS_POSTGRES", url).env("PAYMENTS_POSTGRES_CA", &ca);
        command
    };
    let service = Service::launch(&mut asking("localhost", &own.cert.pem()));
    assert_eq!(service.client().pay("k", 1, 2, 100).status, 201);
    let plain = "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
                 WHERE application_name = 'payments' AND NOT ssl";
    assert_eq!(server.sql(plain).as_deref(), Some("0"));
    drop(service);
    // Another authority's certificate, and a host that it is not for.
    for (host, trusted) in [("localhost", other.cert.pem()), ("127.0.0.1", own.cert.pem())] {
        let ended = asking(host, &trusted).output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && told.contains("failed to reach the database"), "{told}");
    }
}
