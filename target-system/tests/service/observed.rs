//! What the service says of itself: its API's description, its figures, its lines.

use std::process::Command;

use serde_json::Value;

use crate::collector::Collector;
use crate::roles::{Role, figure};
use crate::support::{ADMIN_TOKEN, Client, Service, TOKEN, command};

#[test]
fn the_examples_of_the_document_work_on_a_fresh_service() {
    let folder = tempfile::tempdir().unwrap();
    let mut started = command(folder.path());
    let document: Value = serde_json::from_str(&payments::http::openapi::json()).unwrap();
    let login =
        &document["paths"]["/v1/auth/login"]["post"]["requestBody"]["content"]["application/json"]["example"];
    started.env("PAYMENTS_USER", login["username"].as_str().unwrap());
    started.env("PAYMENTS_PASSWORD", login["password"].as_str().unwrap());
    let service = Service::launch(&mut started);
    assert_eq!(service.client().send("GET", "/openapi.json", &[], b"").json(), document);
    assert!(document["paths"].as_object().unwrap().keys().all(|path| !path.starts_with("/admin")));

    let auth = format!("Bearer {TOKEN}");
    let mut tried = 0;
    // What is made first can be found afterwards.
    for method in ["post", "get"] {
        for (path, item) in document["paths"].as_object().unwrap() {
            let Some(call) = item.get(method) else { continue };
            let (mut at, mut headers) = (path.clone(), vec![("Authorization".to_owned(), auth.clone())]);
            for p in call["parameters"].as_array().into_iter().flatten() {
                let (name, Some(example)) = (p["name"].as_str().unwrap(), p["example"].as_str()) else {
                    continue;
                };
                match p["in"].as_str().unwrap() {
                    "path" => at = at.replace(&format!("{{{name}}}"), example),
                    "query" => at += &format!("?{name}={example}"),
                    _ => headers.push((name.to_owned(), example.to_owned())),
                }
            }
            let body = &call["requestBody"]["content"]["application/json"]["example"];
            if method == "post" && body.is_null() {
                // Nobody can know a refresh token before.
                assert_eq!(path, "/v1/auth/refresh");
                continue;
            }
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let reply = service.client().send(&method.to_uppercase(), &at, &headers, body.as_bytes());
            assert!(call["responses"].get(reply.status.to_string()).is_some(), "{method} {at}: {reply:?}");
            assert!((200..300).contains(&reply.status), "{method} {at}: {reply:?}");
            tried += 1;
        }
    }
    assert!(tried >= 13, "{tried}");
}

#[test]
fn a_method_that_a_url_does_not_take_is_told_which_it_does() {
    let service = Service::start(&[]);
    for (path, takes) in
        [("/v1/payments", "GET,HEAD,POST"), ("/v1/accounts", "POST"), ("/v1/audit", "GET,HEAD")]
    {
        let reply =
            service.client().send("PATCH", path, &[("Authorization", &format!("Bearer {TOKEN}"))], b"");
        let mut allowed: Vec<&str> = reply.header("allow").unwrap().split(',').collect();
        allowed.sort_unstable();
        assert_eq!((reply.status, allowed.join(",").as_str()), (405, takes), "{path}");
    }
}

#[test]
fn payments_are_counted_once_however_often_they_are_asked_for() {
    let service = Service::start(&["--fraud-limit", "500000"]);
    let mut client = service.client();
    let said = |name: &str| figure(service.listening, name);
    for (key, amount, status) in [
        ("a", 1250, 201),
        ("b", 100, 201),
        ("a", 1250, 201),
        ("c", 1251, 402),
        ("c", 1251, 402),
        ("d", 500_100, 402),
    ] {
        assert_eq!(client.pay(key, 1, 2, amount).status, status);
    }
    assert_eq!(said(r#"payments_succeeded_total{currency="EUR"}"#), 2.0);
    assert_eq!(said(r#"payments_moved_minor_units_total{currency="EUR"}"#), 1350.0);
    assert_eq!(said(r#"payments_declined_total{code="insufficient_funds"}"#), 1.0);
    assert_eq!(said(r#"payments_declined_total{code="fraud_suspected"}"#), 1.0);
    assert_eq!(said("idempotency_replays_total"), 2.0);
}

/// Names and units as Prometheus has them: https://prometheus.io/docs/practices/naming/.
#[test]
fn metrics_are_named_as_prometheus_names_them() {
    let collector = Collector::start();
    let (fraud, network) = (Role::start("fraud", &[]), Role::start("network", &["--median-ms", "0"]));
    let (fraud_url, network_url) = (fraud.url(), network.url());
    let service = Service::start(&[
        "--fraud-url",
        &fraud_url,
        "--network-url",
        &network_url,
        "--otlp",
        &collector.url(),
    ]);
    assert_eq!(service.client().pay("k", 1, 2, 100).status, 201);
    for at in [service.listening, fraud.listening, network.listening] {
        let text = Client::connect(at).get("/metrics").body;
        assert!(text.ends_with("# EOF\n"));
        let comments = |kind: &str| -> Vec<(String, String)> {
            let marked = format!("# {kind} ");
            let lines = text.lines().filter_map(|line| line.strip_prefix(&marked)?.split_once(' '));
            lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
        };
        let types = comments("TYPE");
        assert!(!types.is_empty(), "{text}");
        for (name, kind) in &types {
            let good = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            assert!(good && !name.ends_with("_total") && !name.contains("__"), "{name}");
            // Base units, as a suffix.
            for scaled in ["_ms", "_us", "_ns", "_millis", "_kb", "_mb", "_percent", "_minutes"] {
                assert!(!name.ends_with(scaled), "{name}");
            }
            let help = comments("HELP").into_iter().find(|(of, _)| of == name);
            assert!(help.is_some_and(|(_, help)| help.ends_with('.') && !help.ends_with("..")), "{name}");
            let samples: Vec<&str> =
                text.lines().filter(|l| !l.starts_with('#') && l.starts_with(name.as_str())).collect();
            if kind == "counter" {
                let total = format!("{name}_total");
                assert!(samples.iter().any(|s| s.starts_with(&total)), "{name}: {samples:?}");
            }
        }
        for (name, unit) in comments("UNIT") {
            assert!(name.ends_with(&format!("_{unit}")), "{name} in {unit}");
        }
    }
}

/// The lines that a service wrote while `with` used it.
fn lines(args: &[&str], level: &str, with: impl Fn(&Service)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut started: Command = command(&folder.path().join("ledger"));
    started.args(args).env("RUST_LOG", level).stderr(std::fs::File::create(&log).unwrap());
    let mut service = Service::launch(&mut started);
    with(&service);
    service.terminate();
    service.exit_code();
    std::fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn what_is_said_about_a_request_has_its_id_and_its_trace() {
    // It knows another token: it refuses to score, which is said.
    let fraud = Role::with_token("fraud", &[], Some("another-internal-token"));
    let (collector, url) = (Collector::start(), fraud.url());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-00");
    let auth = format!("Bearer {TOKEN}");
    let order = r#"{"from":"acc_00000001","to":"acc_00000002","amount":100,"currency":"EUR"}"#;
    let pay = |service: &Service| {
        let headers = [
            ("Authorization", auth.as_str()),
            ("Idempotency-Key", "k"),
            ("Traceparent", &parent),
            ("Request-Id", "their-own"),
        ];
        let paid = service.client().send("POST", "/v1/payments", &headers, order.as_bytes());
        assert_eq!((paid.status, paid.header("degraded")), (201, Some("fraud")));
        paid.header("request-id").unwrap().to_owned()
    };
    let id = std::sync::Mutex::new(String::new());
    let noted = |service: &Service| *id.lock().unwrap() = pay(service);
    let collector_url = collector.url();
    let args = ["--fraud-url", &url, "--otlp", &collector_url];

    let json = lines(&[&args[..], &["--log-format", "json"]].concat(), "info", noted);
    let json: Vec<Value> = json.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    let refused: Vec<&Value> = json.iter().filter(|line| line["level"] == "WARN").collect();
    assert_eq!(refused.len(), 1, "{json:?}");
    assert_eq!(refused[0]["message"], "the fraud service refuses to score");
    assert_eq!(
        (&refused[0]["request_id"], &refused[0]["trace_id"]),
        (&Value::from(id.lock().unwrap().clone()), &trace.into())
    );
    assert!(refused[0]["timestamp"].is_string() && refused[0]["status"] == 401, "{refused:?}");
    assert!(json.iter().any(|line| line["message"] == "ready" && line.get("request_id").is_none()));

    let text = lines(&args, "info", noted);
    let refused = text.iter().find(|line| line.contains("refuses to score")).unwrap();
    assert!(refused.ends_with(&format!("request_id={} trace_id={trace}", id.lock().unwrap())), "{refused}");
    for secret in [TOKEN, ADMIN_TOKEN, "acc_0", "their-own"] {
        assert!(!text.iter().any(|line| line.contains(secret)), "{secret} in {text:?}");
    }
}

#[test]
fn requests_that_go_well_or_are_declined_are_no_lines() {
    let said = lines(&[], "warn,payments=info", |service| {
        let mut client = service.client();
        let answers: Vec<u16> =
            [100, 51, 0].map(|amount| client.pay(&format!("k{amount}"), 1, 2, amount).status).into();
        assert_eq!(answers, [201, 402, 400]);
        assert_eq!(client.get("/v1/nothing").status, 404);
    });
    let of_the_process = ["ledger recovered", "ready", "drained"];
    assert!(said.iter().all(|line| of_the_process.iter().any(|told| line.contains(told))), "{said:?}");
}
