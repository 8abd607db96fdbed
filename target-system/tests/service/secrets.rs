//! No secret is told, however much is told.

use std::fs::File;

use crate::keeping::{SECRETS, collect};
use crate::support::{ADMIN_TOKEN, Client, Service, TOKEN, wait_for};
use crate::users::{PASSWORD, field, hash, know, log_in, refresh};

const KEY: &str = "key-that-signs-the-tokens-of-these-tests";
const OWN_PASSWORD: &str = "password-of-the-environments-user";
const WRONG: &str = "what-somebody-types-by-mistake";
const NUMBER: &str = "378282246310005";
const CVC: &str = "7391";

#[test]
fn no_secret_is_in_a_log_an_answer_or_a_figure() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut service = Service::start_with(&["--wrong-passwords", "2/h"], |command| {
        know(command, folder.path());
        command
            .env("PAYMENTS_USER", "carl")
            .env("PAYMENTS_PASSWORD", OWN_PASSWORD)
            .env("PAYMENTS_JWT_KEY", KEY)
            .env("RUST_LOG", "trace")
            .stderr(File::create(&log).unwrap());
    });
    let mut told = Vec::new();
    let mut secrets: Vec<String> =
        [TOKEN, ADMIN_TOKEN, KEY, OWN_PASSWORD, PASSWORD, WRONG, NUMBER, hash()].map(str::to_owned).into();
    secrets.extend(SECRETS.map(str::to_owned));

    let mut c = service.client();
    assert_eq!(log_in(&mut c, "carl", OWN_PASSWORD).status, 200);
    told.extend((0..3).map(|_| log_in(&mut c, "ann", WRONG)));
    // Somebody types the password where the name belongs.
    told.push(log_in(&mut c, WRONG, ""));
    told.push(
        c.post("/v1/auth/login", &format!(r#"{{"username":"bob","password":"{WRONG}","password":""}}"#)),
    );
    let granted = log_in(&mut c, "bob", PASSWORD);
    let mut tokens = vec![field(&granted, "refresh_token")];
    for nth in 0..2 {
        tokens.push(field(&refresh(&mut c, &tokens[nth]), "refresh_token"));
    }
    told.push(refresh(&mut c, &tokens[0]));
    assert_eq!(told.last().unwrap().status, 401);
    let access = field(&granted, "access_token");
    let mut bob = service.client().with_token(&access);
    let card = format!(r#"{{"number":"{NUMBER}","exp_month":2,"exp_year":2041,"cvc":"{CVC}"}}"#);
    for (from, to) in [
        ("", ""),
        ("2041", "2020"),
        (r#""cvc""#, r#""number""#),
        (r#""number":"378282246310005""#, r#""378282246310005":1"#),
        (r#""378282246310005""#, "378282246310005"),
        ("{", ""),
    ] {
        told.push(bob.post("/v1/payment_methods", &card.replacen(from, to, 1)));
    }
    assert_eq!(bob.pay("k", 2, 1, 100).status, 201);
    told.push(service.client().with_token(&tokens[1]).get("/v1/audit"));
    told.push(Client::connect(service.admin).with_token(TOKEN).get("/admin/faults"));
    told.push(service.administer("GET", "/admin/faults", ""));
    told.push(c.get("/health"));
    told.push(c.get("/metrics"));
    tokens.push(access);
    // The signature is what makes a token one.
    secrets.extend(tokens.iter().map(|token| token.rsplit_once('.').unwrap().1.to_owned()));

    service.terminate();
    assert_eq!(service.exit_code(), Some(0));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("TRACE") && log.contains("a refresh token was shown again"), "it did log: {log}");
    let mut told: Vec<String> = told.into_iter().map(|reply| reply.body).chain([log]).collect();
    for text in &told {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in {text}");
        }
        assert!(!text.replace('\\', "").contains(&format!(r#""{CVC}""#)), "the CVC is in {text}");
    }
    // Nor is one in what is kept; the card and the login are.
    told.clear();
    collect(service.kept.as_ref().unwrap(), service.folder());
    read_all(service.folder(), &mut told);
    assert!(told.iter().any(|file| file.contains("bob")), "there are {} files", told.len());
    for secret in &secrets {
        assert!(!told.iter().any(|file| file.contains(secret.as_str())), "{secret} is kept");
    }
}

/// Every file in `folder`, as far as it is text.
fn read_all(folder: &std::path::Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => read_all(&entry.path(), files),
            // One that is being renamed meanwhile is there under its new name.
            false => {
                files.extend(std::fs::read(entry.path()).map(|b| String::from_utf8_lossy(&b).into_owned()));
            }
        }
    }
}

#[test]
fn secrets_may_lie_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path
    };
    let set = |command: &mut std::process::Command| {
        let vars = ["PAYMENTS_TOKEN", "PAYMENTS_ADMIN_TOKEN", "PAYMENTS_POSTGRES"];
        for name in vars {
            let held =
                command.get_envs().find_map(|(n, v)| (n == name).then(|| v?.to_str().map(str::to_owned)));
            if let Some(text) = held.flatten() {
                command.env_remove(name).env(format!("{name}_FILE"), at(name, &text));
            }
        }
        command.env("PAYMENTS_USER", "carl");
        command.env("PAYMENTS_PASSWORD_FILE", at("password", OWN_PASSWORD));
        command.env("PAYMENTS_JWT_KEY_FILE", at("key", KEY));
    };
    let service = Service::start_with(&[], set);
    assert_eq!(service.client().pay("k", 1, 2, 100).status, 201);
    assert_eq!(service.administer("GET", "/admin/faults", "").status, 200);
    assert_eq!(log_in(&mut service.client(), "carl", OWN_PASSWORD).status, 200);
    wait_for("it is well", || service.health()["ready"] == true);
}
