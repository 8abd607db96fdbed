//! Who may do what.

use crate::support::{ADMIN_TOKEN, Client, Service, TOKEN, command, command_with};

const ROUTES: [(&str, &str); 10] = [
    ("POST", "/v1/payments"),
    ("GET", "/v1/payments"),
    ("GET", "/v1/payments/pay_0000000000000001"),
    ("POST", "/v1/accounts"),
    ("GET", "/v1/accounts/acc_00000001"),
    ("GET", "/v1/accounts/acc_00000001/balance"),
    ("GET", "/v1/accounts/acc_00000001/payments"),
    ("POST", "/v1/payment_methods"),
    ("GET", "/v1/payment_methods/pm_00000000000000000000000000000001"),
    ("GET", "/v1/audit"),
];

#[test]
fn everything_below_v1_needs_a_caller() {
    let service = Service::start(&[]);
    let mut c = service.client();
    let admin = format!("Bearer {ADMIN_TOKEN}");
    for (method, path) in ROUTES {
        for auth in [None, Some("Bearer nonsense-nonsense"), Some(admin.as_str()), Some(TOKEN)] {
            let headers: Vec<_> = auth.into_iter().map(|a| ("Authorization", a)).collect();
            let got = c.send(method, path, &headers, b"");
            assert_eq!((got.status, got.code().as_str()), (401, "unauthorized"), "{method} {path} {auth:?}");
            assert_eq!(got.header("www-authenticate"), Some("Bearer"));
        }
    }
}

#[test]
fn the_admin_port_needs_its_own_token() {
    let service = Service::start(&[]);
    let token = format!("Bearer {TOKEN}");
    for (method, path) in [
        ("POST", "/admin/faults"),
        ("GET", "/admin/faults"),
        ("DELETE", "/admin/faults/f"),
        ("POST", "/admin/drain"),
    ] {
        for headers in [vec![], vec![("Authorization", token.as_str())]] {
            let got = Client::connect(service.admin).send(method, path, &headers, b"");
            assert_eq!(got.status, 401, "{method} {path}");
        }
    }
    assert_eq!(service.health()["ready"], true, "nobody drained it");
}

#[test]
fn a_login_gives_tokens_that_call_and_own_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::launch(
        command(folder.path()).env("PAYMENTS_USER", "ann").env("PAYMENTS_PASSWORD", "correct horse"),
    );
    let mut c = service.client();
    let mut login = |name: &str, password: &str| {
        c.post("/v1/auth/login", &format!(r#"{{"username":"{name}","password":"{password}"}}"#))
    };
    assert_eq!(login("ann", "wrong").status, 401);
    assert_eq!(login("bob", "correct horse").status, 401);
    let granted = login("ann", "correct horse");
    assert_eq!(granted.status, 200);
    let granted = granted.json();
    assert_eq!(
        (granted["expires_in"].as_u64(), granted["refresh_expires_in"].as_u64()),
        (Some(900), Some(604_800))
    );
    let access = granted["access_token"].as_str().unwrap();
    let refresh = granted["refresh_token"].as_str().unwrap();
    assert_eq!(service.client().with_token(access).get("/v1/accounts/acc_00000001").status, 200);
    assert_eq!(
        service.client().with_token(refresh).get("/v1/accounts/acc_00000001").status,
        401,
        "a refresh token does not call"
    );
    let refreshed = service.client().post("/v1/auth/refresh", &format!(r#"{{"refresh_token":"{refresh}"}}"#));
    let renewed = refreshed.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(service.client().with_token(&renewed).get("/v1/accounts/acc_00000001").status, 200);
    let bad = service.client().post("/v1/auth/refresh", &format!(r#"{{"refresh_token":"{access}"}}"#));
    assert_eq!(bad.status, 401);
    // The same key of two callers is two keys.
    assert_eq!(service.client().with_token(access).pay("k", 1, 2, 100).json()["seq"], 1);
    assert_eq!(service.client().pay("k", 1, 2, 100).json()["seq"], 2);
}

#[test]
fn secrets_are_needed_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (missing, named) in [
        ("PAYMENTS_TOKEN", "PAYMENTS_TOKEN is not set"),
        ("PAYMENTS_ADMIN_TOKEN", "PAYMENTS_ADMIN_TOKEN is not set"),
    ] {
        let out = command(folder.path()).env_remove(missing).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(named), "{said}");
        assert!(!said.contains(TOKEN) && !said.contains(ADMIN_TOKEN));
    }
}

#[test]
fn the_admin_port_does_not_leave_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let out = command_with(folder.path(), "0.0.0.0:0", 10).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("not a loopback address"), "{said}");
}
