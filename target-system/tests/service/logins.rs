//! Logins: refresh tokens that rotate, wrong passwords that are counted, users that come and go.

use rustix::process::Signal;

use crate::support::{Service, wait_for};
use crate::users::{ANN, BOB, PASSWORD, as_user, field, log_in, refresh, service, write};

fn figure(service: &Service, name: &str) -> u64 {
    let text = service.client().get("/metrics").body;
    let line = text.lines().find_map(|l| l.strip_prefix(&format!("{name} ")).map(str::to_owned));
    line.map_or(0, |n| n.parse().unwrap())
}

#[test]
fn a_refresh_token_is_good_once_and_shown_again_it_ends_the_login() {
    let (_folder, service) = service(&[]);
    let mut c = service.client();
    let granted = log_in(&mut c, "ann", PASSWORD);
    let other = log_in(&mut c, "ann", PASSWORD);
    let first = field(&granted, "refresh_token");
    let second = refresh(&mut c, &first);
    assert!(second.json()["refresh_expires_in"].as_u64() <= granted.json()["refresh_expires_in"].as_u64());
    let access = field(&second, "access_token");
    let second = field(&second, "refresh_token");
    assert_ne!(first, second);
    // Its answer may have been lost: for a short while it is given the same successor again.
    let again = field(&refresh(&mut c, &first), "refresh_token");
    let third = field(&refresh(&mut c, &again), "refresh_token");
    assert_eq!(figure(&service, "refresh_reuses_total"), 0);
    // Now somebody has a copy.
    let reused = refresh(&mut c, &first);
    assert_eq!((reused.status, reused.code().as_str()), (401, "unauthorized"));
    for ended in [&first, &second, &third] {
        assert_eq!(refresh(&mut c, ended).body, reused.body, "the thief and the user are both out");
    }
    assert_eq!((figure(&service, "refresh_reuses_total"), figure(&service, "refreshes_total")), (1, 3));
    // What is not of this login goes on: another one, and access tokens until they end.
    assert_eq!(refresh(&mut c, &field(&other, "refresh_token")).status, 200);
    assert_eq!(service.client().with_token(&access).get("/v1/accounts/acc_00000001").status, 200);
}

#[test]
fn two_who_refresh_at_once_are_given_the_same_successor() {
    let (_folder, service) = service(&[]);
    let mut token = field(&log_in(&mut service.client(), "ann", PASSWORD), "refresh_token");
    for _ in 0..10 {
        let both: Vec<String> = std::thread::scope(|s| {
            let shown = [(); 2].map(|()| s.spawn(|| refresh(&mut service.client(), &token)));
            shown.into_iter().map(|t| field(&t.join().unwrap(), "refresh_token")).collect()
        });
        token.clone_from(&both[1]);
    }
    assert_eq!(figure(&service, "refresh_reuses_total"), 0);
}

#[test]
fn a_name_has_so_many_wrong_passwords_whether_there_is_such_a_user_or_not() {
    let (_folder, service) = service(&["--wrong-passwords", "3/h"]);
    let mut c = service.client();
    for _ in 0..5 {
        assert_eq!(log_in(&mut c, "ann", PASSWORD).status, 200, "right ones do not count");
    }
    let answers = ["ann", "nobody"].map(|name| {
        let mut answers: Vec<_> = (0..4).map(|_| log_in(&mut c, name, "wrong")).collect();
        assert_eq!(answers.iter().map(|r| r.status).collect::<Vec<_>>(), [401, 401, 401, 429], "{name}");
        let limited = answers.pop().unwrap();
        assert_eq!((limited.code().as_str(), limited.header("not-executed")), ("rate_limited", Some("true")));
        assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() > 600);
        answers.into_iter().map(|r| r.body).collect::<Vec<_>>()
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(log_in(&mut c, "ann", PASSWORD).status, 429, "the right one does not come through either");
    assert_eq!(log_in(&mut c, "bob", PASSWORD).status, 200);
    let logins = |outcome: &str| figure(&service, &format!("logins_total{{outcome=\"{outcome}\"}}"));
    assert_eq!([logins("granted"), logins("refused"), logins("limited")], [6, 6, 3]);
}

#[test]
fn whoever_is_taken_out_of_the_users_is_out_at_once() {
    let (folder, service) = service(&[]);
    let granted = log_in(&mut service.client(), "ann", PASSWORD);
    let mut ann = service.client().with_token(&field(&granted, "access_token"));
    let mut bob = as_user(&service, "bob");
    assert_eq!(ann.get("/v1/accounts/acc_00000001").status, 200);
    let path = folder.path().join("users.toml");
    // A file that makes no sense changes nothing.
    std::fs::write(&path, "[[user]]\nname = 7").unwrap();
    service.signal(Signal::HUP);
    assert_eq!(ann.get("/v1/accounts/acc_00000001").status, 200);
    write(&path, &[("bob", ANN)]);
    service.signal(Signal::HUP);
    wait_for("Ann is out", || {
        let token = field(&granted, "access_token");
        service.client().with_token(&token).get("/v1/accounts/acc_00000001").status == 401
    });
    assert_eq!(ann.pay("k", 1, 2, 100).status, 401);
    assert_eq!(refresh(&mut service.client(), &field(&granted, "refresh_token")).status, 401);
    assert_eq!(log_in(&mut service.client(), "ann", PASSWORD).status, 401);
    assert_eq!(bob.get("/v1/accounts/acc_00000001").status, 200, "Bob has her accounts now");
    assert_eq!(bob.get("/v1/accounts/acc_00000002").status, 404);
    write(&path, &[("ann", ANN), ("bob", BOB)]);
    service.signal(Signal::HUP);
    wait_for("Ann is back", || log_in(&mut service.client(), "ann", PASSWORD).status == 200);
}
