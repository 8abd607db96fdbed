//! Who logs in to the services of these tests.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use payments::auth::password::PasswordHash;

use crate::support::{Client, Reply, Service};

pub const PASSWORD: &str = "correct horse battery staple";

/// Ann and Bob are customers, Olga is an operator.
pub const ANN: &str = r#"["acc_00000001", "acc_00000003-acc_00000004"]"#;
pub const BOB: &str = r#"["acc_00000002"]"#;

/// One hash for all of them, made once.
pub fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| PasswordHash::of(PASSWORD.as_bytes()).unwrap().to_string())
}

/// Writes a file of users: the customers with their accounts, and Olga.
pub fn write(path: &Path, customers: &[(&str, &str)]) {
    let user = |name: &str, role: &str, rest: &str| {
        format!("[[user]]\nname = \"{name}\"\npassword = \"{}\"\nrole = \"{role}\"\n{rest}\n", hash())
    };
    let mut text = user("olga", "operator", "");
    for (name, accounts) in customers {
        text += &user(name, "customer", &format!("accounts = {accounts}"));
    }
    std::fs::write(path, text).unwrap();
}

/// Has the service of `command` know Ann, Bob and Olga.
pub fn know(command: &mut Command, folder: &Path) {
    let path = folder.join("users.toml");
    write(&path, &[("ann", ANN), ("bob", BOB)]);
    command.env("PAYMENTS_USERS_FILE", path);
}

/// A service that knows them.
pub fn service(args: &[&str]) -> (tempfile::TempDir, Service) {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start_with(args, |command| know(command, folder.path()));
    (folder, service)
}

pub fn log_in(client: &mut Client, name: &str, password: &str) -> Reply {
    client.post("/v1/auth/login", &format!(r#"{{"username":"{name}","password":"{password}"}}"#))
}

pub fn refresh(client: &mut Client, token: &str) -> Reply {
    client.post("/v1/auth/refresh", &format!(r#"{{"refresh_token":"{token}"}}"#))
}

/// The text `field` of an answer that went well.
pub fn field(reply: &Reply, field: &str) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()[field].as_str().unwrap().to_owned()
}

/// A client that calls as `name`.
pub fn as_user(service: &Service, name: &str) -> Client {
    let granted = log_in(&mut service.client(), name, PASSWORD);
    service.client().with_token(&field(&granted, "access_token"))
}
