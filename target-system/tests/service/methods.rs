//! Cards and the tokens that stand for them.

use crate::support::{Client, Reply};
use crate::users::{as_user, service};

const AMEX: &str = r#"{"number":"378282246310005","exp_month":2,"exp_year":2041,"cvc":"7391"}"#;

fn add(client: &mut Client, key: Option<&str>, body: &str) -> Reply {
    let auth = format!("Bearer {}", client.token());
    let mut headers = vec![("Authorization", auth.as_str())];
    headers.extend(key.map(|key| ("Idempotency-Key", key)));
    client.send("POST", "/v1/payment_methods", &headers, body.as_bytes())
}

#[test]
fn a_card_is_given_for_a_token_that_its_owner_reads() {
    let (_folder, service) = service(&[]);
    let (mut ann, mut bob) = (as_user(&service, "ann"), as_user(&service, "bob"));
    let added = add(&mut ann, None, AMEX);
    assert_eq!(added.status, 201);
    let method = added.json();
    let id = method["id"].as_str().unwrap();
    assert!(id.starts_with("pm_"), "{id}");
    let mut expected =
        serde_json::json!({"brand": "amex", "last4": "0005", "exp_month": 2, "exp_year": 2041});
    expected["id"] = id.into();
    assert_eq!(method, expected);
    let path = format!("/v1/payment_methods/{id}");
    let read = ann.get(&path);
    assert_eq!((read.status, &read.body), (200, &added.body));
    let missing = bob.get("/v1/payment_methods/pm_00000000000000000000000000000001");
    for foreign in [bob.get(&path), service.client().get(&path), as_user(&service, "olga").get(&path)] {
        assert_eq!((foreign.status, &foreign.body), (404, &missing.body));
    }
    assert_ne!(add(&mut ann, None, AMEX).json()["id"], method["id"]);
}

#[test]
fn a_key_stands_for_one_card_of_its_caller() {
    let (_folder, service) = service(&[]);
    let (mut ann, mut bob) = (as_user(&service, "ann"), as_user(&service, "bob"));
    let first = add(&mut ann, Some("k"), AMEX);
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, None));
    let again = add(&mut ann, Some("k"), AMEX);
    assert_eq!(
        (again.status, &again.body, again.header("idempotent-replayed")),
        (201, &first.body, Some("true"))
    );
    let other = add(&mut ann, Some("k"), &AMEX.replace("2041", "2040"));
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reused"));
    assert_ne!(add(&mut bob, Some("k"), AMEX).json()["id"], first.json()["id"]);
    assert_eq!(add(&mut ann, Some("a b"), AMEX).param(), "Idempotency-Key");
    // Whoever asks at once is given one, too.
    let token = ann.token();
    let ids: Vec<String> = std::thread::scope(|s| {
        let add_one = || add(&mut service.client().with_token(&token), Some("at-once"), AMEX).body;
        let adding = [(); 4].map(|()| s.spawn(add_one));
        adding.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|body| body == &ids[0] && body.contains("pm_")), "{ids:?}");
}

#[test]
fn the_wrong_field_of_a_card_is_named() {
    let (_folder, service) = service(&[]);
    let mut ann = as_user(&service, "ann");
    for (from, to, code, param) in [
        ("310005", "310004", "invalid_number", "number"),
        ("310005", "31000", "invalid_number", "number"),
        (r#""378282246310005""#, "378282246310005", "parameter_invalid", "number"),
        (":2,", ":13,", "invalid_expiry_month", "exp_month"),
        (":2,", r#":"2","#, "parameter_invalid", "exp_month"),
        ("2041", "2020", "invalid_expiry_year", "exp_year"),
        ("2041", "2941", "invalid_expiry_year", "exp_year"),
        ("7391", "739", "invalid_cvc", "cvc"),
        (r#","cvc":"7391""#, "", "parameter_missing", "cvc"),
        ("}", r#","name":"Ann"}"#, "malformed_request", ""),
    ] {
        let got = add(&mut ann, None, &AMEX.replacen(from, to, 1));
        assert_eq!((got.status, got.code().as_str(), got.param().as_str()), (400, code, param), "{to}");
        assert!(!got.body.contains("37828") && !got.body.contains("739"), "{}", got.body);
    }
}
