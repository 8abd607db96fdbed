//! The contract, status by status.

use crate::support::Service;

#[test]
fn a_payment_moves_money_and_can_be_found() {
    let service = Service::start(&[]);
    let mut c = service.client();
    let paid = c.pay("k1", 1, 2, 1250);
    assert_eq!(paid.status, 201);
    assert!(paid.header("request-id").unwrap().starts_with("req_"));
    let p = paid.json();
    assert_eq!(p["id"], "pay_0000000000000001");
    assert_eq!((p["status"].as_str(), p["seq"].as_u64()), (Some("succeeded"), Some(1)));
    assert_eq!((p["from"].as_str(), p["to"].as_str()), (Some("acc_00000001"), Some("acc_00000002")));
    assert_eq!((p["amount"].as_i64(), p["currency"].as_str()), (Some(1250), Some("EUR")));
    assert_eq!(c.get("/v1/payments/pay_0000000000000001").body, paid.body);
    assert_eq!(c.get("/v1/payments?idempotency_key=k1").body, paid.body);
    assert_eq!(c.get("/v1/accounts/acc_00000001").json()["balance"], 998_750);
    let balance = c.get("/v1/accounts/acc_00000002/balance").json();
    assert_eq!((balance["balance"].as_i64(), balance["as_of_seq"].as_u64()), (Some(1_001_250), Some(1)));
    for (path, what) in [
        ("/v1/payments/pay_0000000000000002", "resource_missing"),
        ("/v1/payments/1", "resource_missing"),
        ("/v1/payments?idempotency_key=k2", "resource_missing"),
        ("/v1/accounts/acc_00000099", "resource_missing"),
        ("/v1/accounts/acc_00000000", "resource_missing"),
        ("/v1/nothing", "resource_missing"),
    ] {
        let got = c.get(path);
        assert_eq!((got.status, got.code().as_str()), (404, what), "{path}");
    }
    assert_eq!(c.get("/v1/payments").status, 400);
    assert_eq!(c.send("PUT", "/livez", &[], b"").status, 405);
}

#[test]
fn the_amounts_last_digits_choose_a_decline() {
    let service = Service::start(&["--fraud-limit", "5000"]);
    let mut c = service.client();
    for (amount, code) in [
        (1005, "do_not_honor"),
        (1051, "insufficient_funds"),
        (1054, "expired_card"),
        (1061, "exceeds_limit"),
        (1091, "issuer_unavailable"),
        (5001, "fraud_suspected"),
    ] {
        let key = format!("k{amount}");
        let got = c.pay(&key, 1, 2, amount);
        assert_eq!((got.status, got.code().as_str()), (402, code));
        assert_eq!(got.json()["error"]["type"], "card_error");
        let again = c.pay(&key, 1, 2, amount);
        assert_eq!((again.status, &again.body), (402, &got.body), "a decline replays as it was");
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        let found = c.get(&format!("/v1/payments?idempotency_key={key}")).json();
        assert_eq!((found["status"].as_str(), found["code"].as_str()), (Some("declined"), Some(code)));
    }
    assert_eq!(c.pay("ok", 1, 2, 1000).json()["seq"], 1, "declines take no number");
}

#[test]
fn an_account_cannot_spend_what_it_does_not_hold() {
    let service = Service::start(&["--fraud-limit", "999999999"]);
    let mut c = service.client();
    let got = c.pay("k", 1, 2, 1_000_100);
    assert_eq!((got.status, got.code().as_str()), (402, "insufficient_funds"));
    assert_eq!(c.pay("l", 1, 2, 1_000_000).status, 201);
    assert_eq!(c.get("/v1/accounts/acc_00000001").json()["balance"], 0);
    assert_eq!(c.pay("m", 1, 2, 1).status, 402);
}

#[test]
fn a_bad_field_is_named() {
    let service = Service::start(&[]);
    let mut c = service.client();
    let auth = format!("Bearer {}", crate::support::TOKEN);
    let mut send = |key: Option<&str>, body: &str| {
        let mut headers = vec![("Authorization", auth.as_str())];
        headers.extend(key.map(|k| ("Idempotency-Key", k)));
        c.send("POST", "/v1/payments", &headers, body.as_bytes())
    };
    let good = r#"{"from":"acc_00000001","to":"acc_00000002","amount":1250,"currency":"EUR"}"#;
    let missing = send(None, good);
    assert_eq!((missing.status, missing.code().as_str()), (400, "idempotency_key_missing"));
    assert_eq!(send(Some("a b"), good).code(), "idempotency_key_invalid");
    assert_eq!(send(Some(&"x".repeat(256)), good).code(), "idempotency_key_invalid");
    for (body, param) in [
        (good.replace("1250", "-1"), "amount"),
        (good.replace("1250", "1.5"), "amount"),
        (good.replace("EUR", "EURO"), "currency"),
        (good.replace("EUR", "USD"), "currency"),
        (good.replace("acc_00000001", "acc_00000077"), "from"),
        (good.replace("acc_00000001", "acc_00000000"), "from"),
        (good.replace("acc_00000002", "me"), "to"),
        (good.replace('}', ",\"x\":1}"), "x"),
    ] {
        let got = send(Some("k"), &body);
        assert_eq!((got.status, got.param().as_str()), (400, param), "{body}");
        assert_eq!(got.json()["error"]["type"], "invalid_request_error");
    }
    assert_eq!(send(Some("k"), "{").status, 400);
    assert_eq!(send(Some("k"), good).status, 201, "a refused request leaves its key free");
}

#[test]
fn payments_of_an_account_are_listed_newest_first_in_pages() {
    let service = Service::start(&[]);
    let mut c = service.client();
    for i in 1..=25 {
        // Payments of others lie between those of account 1.
        let (from, to) = [(1, 2), (3, 1), (4, 5)][i % 3];
        assert_eq!(c.pay(&format!("k{i}"), from, to, 100).status, 201);
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = c.get(&format!("/v1/accounts/acc_00000001/payments?limit=4{after}")).json();
        for p in page["data"].as_array().unwrap() {
            assert!(p["from"] == "acc_00000001" || p["to"] == "acc_00000001");
            seen.push(p["seq"].as_u64().unwrap());
        }
        if page["has_more"] == false {
            break;
        }
        after = format!("&starting_after=pay_{:016}", seen.last().unwrap());
    }
    let expected: Vec<u64> = (1..=25).rev().filter(|i| i % 3 != 2).collect();
    assert_eq!(seen, expected);
    let ten = c.get("/v1/accounts/acc_00000001/payments").json();
    assert_eq!(ten["data"].as_array().unwrap().len(), 10);
    let fields = c.get("/v1/accounts/acc_00000001/payments?limit=1&fields=id,amount");
    assert_eq!(
        fields.body,
        r#"{"object":"list","data":[{"id":"pay_0000000000000025","amount":100}],"has_more":true}"#
    );
    assert_eq!(
        c.get("/v1/accounts/acc_00000009/payments").body,
        r#"{"object":"list","data":[],"has_more":false}"#
    );
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("fields=id,cvc", "fields"),
        ("starting_after=pay_0000000000000099", "starting_after"),
        ("starting_after=pay_0000000000000002", "starting_after"),
        ("sort=up", "query"),
    ] {
        let got = c.get(&format!("/v1/accounts/acc_00000001/payments?{query}"));
        assert_eq!((got.status, got.param().as_str()), (400, param), "{query}");
    }
}

#[test]
fn accounts_are_opened_in_any_currency_and_the_world_pays() {
    let service = Service::start(&[]);
    let mut c = service.client();
    let opened = c.post("/v1/accounts", r#"{"currency":"JPY","opening_balance":500}"#);
    assert_eq!((opened.status, opened.json()["id"].as_str()), (201, Some("acc_00000011")));
    assert_eq!(c.post("/v1/accounts", r#"{"currency":"JPY"}"#).json()["balance"], 0);
    let body = r#"{"from":"acc_00000011","to":"acc_00000012","amount":200,"currency":"JPY"}"#;
    let auth = format!("Bearer {}", crate::support::TOKEN);
    let headers = [("Authorization", auth.as_str()), ("Idempotency-Key", "j")];
    assert_eq!(c.send("POST", "/v1/payments", &headers, body.as_bytes()).status, 201);
    assert_eq!(c.post("/v1/accounts", r#"{"opening_balance":1}"#).param(), "currency");
    assert_eq!(
        c.post("/v1/accounts", r#"{"currency":"JPY","opening_balance":-1}"#).param(),
        "opening_balance"
    );
    let audit = service.audit();
    assert_eq!(audit["balanced"], true, "{audit}");
    assert_eq!(audit["currencies"]["JPY"]["world"], -500);
    assert_eq!(audit["currencies"]["JPY"]["debits"], 200);
    assert_eq!(audit["currencies"]["EUR"]["world"], -10_000_000);
}

#[test]
fn what_watches_the_service_finds_figures() {
    let service = Service::start(&[]);
    let mut c = service.client();
    c.pay("k", 1, 2, 100);
    c.pay("k", 1, 2, 100);
    assert_eq!(c.send("GET", "/livez", &[], b"").status, 200);
    assert_eq!(c.send("GET", "/readyz", &[], b"").status, 200);
    let health = c.send("GET", "/health", &[], b"").json();
    assert_eq!((health["status"].as_str(), health["ready"].as_bool()), (Some("ok"), Some(true)));
    assert_eq!(
        (health["store"]["payments"].as_u64(), health["store"]["queue_depth"].as_u64()),
        (Some(1), Some(0))
    );
    assert!(health["store"]["last_sync_us"].as_u64() > Some(0));
    assert!(health["process"]["rss_bytes"].as_u64() > Some(1_000_000));
    assert!(health["process"]["cpu_s"].as_f64() > Some(0.0));
    let metrics = c.send("GET", "/metrics", &[], b"").body;
    for line in [
        r#"http_requests_total{route="POST /v1/payments",status="201"} 2"#,
        "idempotency_replays_total 1",
        "store_commit_duration_seconds_count 1",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
}
