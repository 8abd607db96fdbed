//! What each role may do, and with whose accounts.

use crate::support::{Client, Reply};
use crate::users::{as_user, service};

const CARD: &str = r#"{"number":"4242424242424242","exp_month":12,"exp_year":2040,"cvc":"987"}"#;

fn order(from: u32, to: u32) -> String {
    format!(r#"{{"from":"acc_{from:08}","to":"acc_{to:08}","amount":100,"currency":"EUR"}}"#)
}

#[test]
fn a_role_may_do_what_the_table_says() {
    let (_folder, service) = service(&[]);
    let mut service_client = service.client();
    let mut olga = as_user(&service, "olga");
    let mut ann = as_user(&service, "ann");
    // Payment 1 is of Ann's account, payment 2 of none of hers.
    assert_eq!(
        [service_client.pay("1", 1, 2, 100).status, service_client.pay("2", 2, 5, 100).status],
        [201; 2]
    );
    let posts = [
        ("/v1/accounts", r#"{"currency":"EUR"}"#, [201, 403, 403]),
        ("/v1/payment_methods", CARD, [201, 403, 201]),
    ];
    for (path, body, statuses) in posts {
        let got = [&mut service_client, &mut olga, &mut ann].map(|c| c.post(path, body));
        assert_eq!(got.each_ref().map(|r| r.status), statuses, "POST {path}");
        assert!(got.iter().all(|r| r.status != 403 || r.code() == "forbidden"));
    }
    for (path, statuses) in [
        ("/v1/accounts/acc_00000001", [200, 200, 200]),
        ("/v1/accounts/acc_00000001/balance", [200, 200, 200]),
        ("/v1/accounts/acc_00000001/payments", [200, 200, 200]),
        ("/v1/accounts/acc_00000004", [200, 200, 200]),
        ("/v1/accounts/acc_00000002", [200, 200, 404]),
        ("/v1/accounts/acc_00000002/balance", [200, 200, 404]),
        ("/v1/accounts/acc_00000002/payments", [200, 200, 404]),
        ("/v1/payments/pay_0000000000000001", [200, 200, 200]),
        ("/v1/payments/pay_0000000000000002", [200, 200, 404]),
        ("/v1/payments?idempotency_key=1", [200, 404, 404]),
        ("/v1/audit", [200, 200, 403]),
        ("/v1/audit?recount=true", [200, 200, 403]),
    ] {
        let got = [&mut service_client, &mut olga, &mut ann].map(|c| c.get(path).status);
        assert_eq!(got, statuses, "GET {path}");
    }
    for (from, to, statuses) in [(1, 2, [201, 403, 201]), (2, 1, [201, 403, 400])] {
        let key = format!("pay-{from}");
        let got = [&mut service_client, &mut olga, &mut ann].map(|c| c.pay(&key, from, to, 100).status);
        assert_eq!(got, statuses, "{from} pays {to}");
    }
    // The same on a connection that carries other requests as well.
    let get_then_pay = |mut c: Client| {
        c.get("/v1/accounts/acc_00000001");
        (c.pay("late", 1, 2, 100).status, c.pay("later", 2, 1, 100).status)
    };
    assert_eq!(get_then_pay(as_user(&service, "olga")), (403, 403));
    assert_eq!(get_then_pay(as_user(&service, "ann")), (201, 400));
}

fn told(reply: &Reply) -> (u16, String) {
    (reply.status, reply.body.clone())
}

#[test]
fn what_is_somebody_elses_is_answered_as_what_does_not_exist() {
    let (_folder, service) = service(&[]);
    let mut ann = as_user(&service, "ann");
    let mut bob = as_user(&service, "bob");
    assert_eq!(bob.pay("of-bob", 2, 5, 100).json()["seq"], 1);
    assert_eq!(ann.pay("of-ann", 1, 3, 100).json()["seq"], 2);
    for rest in
        ["", "/balance", "/payments", "/payments?limit=0", "/payments?starting_after=pay_0000000000000001"]
    {
        let of = |c: &mut Client, account: &str| told(&c.get(&format!("/v1/accounts/{account}{rest}")));
        let [foreign, missing] = ["acc_00000002", "acc_00000077"].map(|account| of(&mut ann, account));
        assert_eq!(foreign, missing, "{rest}");
        assert_eq!(foreign.0, 404);
    }
    for (foreign, missing) in [
        ("/v1/payments/pay_0000000000000001", "/v1/payments/pay_0000000000000077"),
        ("/v1/payments?idempotency_key=of-bob", "/v1/payments?idempotency_key=of-nobody"),
        (
            "/v1/accounts/acc_00000001/payments?starting_after=pay_0000000000000001",
            "/v1/accounts/acc_00000001/payments?starting_after=pay_0000000000000077",
        ),
    ] {
        let [foreign, missing] = [foreign, missing].map(|path| told(&ann.get(path)));
        assert_eq!(foreign, missing);
    }
    // To pay from it: a new key, one that is known, one that somebody else has; also in another currency.
    for (key, currency) in [("new", "EUR"), ("of-ann", "EUR"), ("of-bob", "EUR"), ("new", "USD")] {
        let mut pay = |from: u32| {
            let auth = format!("Bearer {}", ann.token());
            let headers = [("Authorization", auth.as_str()), ("Idempotency-Key", key)];
            ann.send("POST", "/v1/payments", &headers, order(from, 3).replace("EUR", currency).as_bytes())
        };
        let (foreign, missing) = (pay(2), pay(77));
        assert_eq!((foreign.code().as_str(), foreign.param().as_str()), ("resource_missing", "from"));
        let (status, body) = told(&foreign);
        assert_eq!((status, body.replace("acc_00000002", "acc_00000077")), told(&missing), "{key}");
    }
    assert_eq!(
        bob.get("/v1/accounts/acc_00000002/balance").json()["balance"],
        999_900,
        "nobody paid from it"
    );
    // Whom a payment went to reads it, too.
    assert_eq!(bob.pay("to-ann", 2, 1, 100).status, 201);
    assert_eq!(ann.get("/v1/payments/pay_0000000000000003").status, 200);
    let listed = ann.get("/v1/accounts/acc_00000001/payments").json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}
