//! The API: what it takes and refuses, and what becomes of it under clients that misbehave.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use squall_record::clock::Clock;

use super::support::{server, wait_for};
use super::{Proxy, ask, connect, echo, is_over};

#[test]
fn toxics_that_are_typed_with_a_proxy_replace_those_that_there_are_or_none() {
    let proxy = Proxy::start(&[]);
    proxy.make("p", server(echo));
    proxy.toxic("p", &json!({"type": "noop"}));
    let names = || {
        let shown = proxy.call("GET", "/proxies/p", &Value::Null).1;
        shown["toxics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let (status, _) =
        proxy.call("PATCH", "/proxies/p", &json!({"toxics": [{"type": "latency"}, {"type": "slicer"}]}));
    assert_eq!((status, names()), (400, vec!["noop_downstream".to_owned()]));
    let (status, _) =
        proxy.call("PATCH", "/proxies/p", &json!({"toxics": [{"type": "latency"}, {"type": "latency"}]}));
    assert_eq!((status, names()), (409, vec!["noop_downstream".to_owned()]));
    let (status, shown) = proxy.call("PATCH", "/proxies/p", &json!({"toxics": [{"type": "latency"}]}));
    assert_eq!((status, names()), (200, vec!["latency_downstream".to_owned()]));
    // As it is shown it can be sent back.
    let (status, again) = proxy.call("POST", "/proxies/p", &shown);
    assert_eq!((status, again), (200, shown));
}

#[test]
fn a_disabled_proxy_refuses_and_comes_back_where_it_was() {
    let proxy = Proxy::start(&[]);
    let at = proxy.make("p", server(echo));
    let mut open = connect(at);
    open.write_all(b"ping").unwrap();
    open.read_exact(&mut [0; 4]).unwrap();
    let (status, shown) = proxy.call("PATCH", "/proxies/p", &json!({"enabled": false}));
    assert_eq!((status, &shown["enabled"]), (200, &json!(false)));
    assert_eq!(shown["listen"], json!(at.to_string()));
    assert!(is_over(&mut open), "open connections are closed");
    assert_eq!(TcpStream::connect(at).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(proxy.call("PATCH", "/proxies/p", &json!({"enabled": true})).0, 200);
    assert_eq!(ask(at).unwrap(), b"ping");
    // Where it listens, written otherwise: nothing changes, and nobody is cut off.
    let mut open = connect(at);
    let same = format!("localhost:{}", at.port());
    assert_eq!(
        proxy.call("PATCH", "/proxies/p", &json!({"listen": same})).1["listen"],
        json!(at.to_string())
    );
    open.write_all(b"ping").unwrap();
    open.read_exact(&mut [0; 4]).unwrap();
    // With another upstream.
    let other = server(|mut stream| drop(stream.write_all(b"other")));
    assert_eq!(proxy.call("POST", "/proxies/p", &json!({"upstream": other})).0, 200);
    assert_eq!(connect(at).read(&mut [0; 8]).unwrap(), 5);
    assert_eq!(proxy.call("DELETE", "/proxies/p", &Value::Null).0, 204);
    assert_eq!(TcpStream::connect(at).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_proxy_that_is_off_for_a_time_listens_again_by_itself_and_not_when_it_was_told_otherwise() {
    let proxy = Proxy::start(&[]);
    let at = proxy.make("p", server(echo));
    let off = |ttl: u64| proxy.call("PATCH", "/proxies/p", &json!({"enabled": false, "ttl": ttl}));
    let is_refused = || TcpStream::connect(at).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
    let shown = || proxy.call("GET", "/proxies/p", &Value::Null).1;
    // A second one renews it.
    off(60_000);
    let (status, answer) = off(700);
    let left = answer["ttl"].as_u64().unwrap_or_else(|| panic!("{answer}"));
    assert!(status == 200 && (1..=700).contains(&left), "{answer}");
    let clock = Clock::start();
    assert!(is_refused());
    wait_for("the proxy", || (!is_refused()).then_some(()));
    assert!(clock.now_ns() >= left.saturating_sub(100) * 1_000_000, "it came back too early");
    assert_eq!(ask(at).unwrap(), b"ping");
    assert_eq!((&shown()["enabled"], shown().get("ttl")), (&json!(true), None));
    // Whoever says so last is obeyed: it stays off, and a removed one does not come back.
    off(300);
    assert_eq!(proxy.call("PATCH", "/proxies/p", &json!({"enabled": false})).1.get("ttl"), None);
    proxy.call("POST", "/proxies", &json!({"name": "q", "upstream": at}));
    proxy.call("PATCH", "/proxies/q", &json!({"enabled": false, "ttl": 300}));
    let gone = proxy.call("GET", "/proxies/q", &Value::Null).1["listen"].as_str().unwrap().to_owned();
    proxy.call("DELETE", "/proxies/q", &Value::Null);
    thread::sleep(Duration::from_millis(600));
    assert!(is_refused() && TcpStream::connect(gone).is_err());
    // What is shown can be typed again: all of it, and it still comes back.
    off(60_000);
    let all: Vec<Value> =
        proxy.call("GET", "/proxies", &Value::Null).1.as_object().unwrap().values().cloned().collect();
    let (status, populated) = proxy.call("POST", "/populate", &json!(all));
    assert!(status == 201 && populated["proxies"][0]["ttl"].as_u64() > Some(0), "{populated}");
    let made =
        proxy.call("POST", "/proxies", &json!({"name": "r", "upstream": at, "enabled": false, "ttl": 100})).1;
    assert_eq!(made["enabled"], json!(false));
    wait_for("the new one", || {
        (proxy.call("GET", "/proxies/r", &Value::Null).1["enabled"] == json!(true)).then_some(())
    });
    // While somebody else listens there it waits.
    let other = TcpListener::bind(at).unwrap();
    off(1);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(shown()["enabled"], json!(false));
    drop(other);
    wait_for("the proxy", || (shown()["enabled"] == json!(true)).then_some(()));
    assert_eq!(ask(at).unwrap(), b"ping");
}

/// How many sockets of the process `pid` listen.
fn listening(pid: u32) -> usize {
    let own: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let all = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    // The fourth field is the state, 0A of one that listens; the tenth the inode (proc(5)).
    let fields = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        .filter(|f| f.get(3) == Some(&"0A") && f.get(9).is_some_and(|i| own.iter().any(|own| own == i)))
        .count()
}

fn shown(proxy: &Proxy) -> usize {
    proxy.call("GET", "/proxies", &Value::Null).1.as_object().unwrap().len()
}

#[test]
fn a_client_of_the_api_that_hangs_up_leaves_nothing_half_done() {
    let proxy = Proxy::start(&[]);
    let hang_up = |method: &str, path: &str, body: &str, nth: u64| {
        let mut api = TcpStream::connect(proxy.api).unwrap();
        let length = body.len();
        write!(api, "{method} {path} HTTP/1.1\r\nHost: p\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        // One that breaks off is noticed at once.
        rustix::net::sockopt::set_socket_linger(&api, Some(Duration::ZERO)).unwrap();
        thread::sleep(Duration::from_micros(nth % 8 * 40));
    };
    // What listens is what is shown, and the API.
    let settled =
        |what: &str| wait_for(what, || (listening(proxy.child.id()) == shown(&proxy) + 1).then_some(()));
    for n in 0..300 {
        hang_up(
            "POST",
            "/proxies",
            &json!({"name": format!("p{n}"), "upstream": "127.0.0.1:1"}).to_string(),
            n,
        );
    }
    settled("those that were made");
    let before = shown(&proxy);
    assert!(before > 0, "none was made");
    for n in 0..300 {
        hang_up("DELETE", &format!("/proxies/p{n}"), "", n);
    }
    settled("those that were removed");
    // One that is removed does not come back, whoever has all of them listen meanwhile.
    for n in 0..200 {
        let off = json!({"name": format!("r{n}"), "upstream": "127.0.0.1:1", "enabled": false});
        assert_eq!(proxy.call("POST", "/proxies", &off).0, 201);
    }
    thread::scope(|scope| {
        scope.spawn(|| (0..5).for_each(|_| drop(proxy.call("POST", "/reset", &Value::Null))));
        (0..200).for_each(|n| {
            assert_eq!(proxy.call("DELETE", &format!("/proxies/r{n}"), &Value::Null).0, 204);
        });
    });
    settled("those that were reset");
}

#[test]
fn clients_that_wait_and_give_up_leave_the_api_its_descriptors() {
    let limited = format!("ulimit -n 256; exec {} chaos proxy --port 0", env!("CARGO_BIN_EXE_squall"));
    let mut command = Command::new("sh");
    command.args(["-c", &limited]).stderr(std::process::Stdio::piped());
    let proxy = Proxy::of(&mut command);
    let at = proxy.make("p", server(echo));
    proxy.toxic("p", &json!({"type": "partition"}));
    let clients: Vec<TcpStream> = (0..400).map(|_| connect(at)).collect();
    assert_eq!(proxy.call("GET", "/proxies/p", &Value::Null).0, 200);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", proxy.child.id())).unwrap().count();
    assert!((60..128).contains(&open()), "{} descriptors", open());
    // They break off, and nobody holds on to them.
    for client in &clients {
        rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO)).unwrap();
    }
    drop(clients);
    wait_for("them to be let go", || (open() < 30).then_some(()));
    proxy.remove("p", "partition_downstream");
    assert_eq!(ask(at).unwrap(), b"ping");
}

#[test]
fn what_makes_no_sense_is_answered_in_toxiproxys_codes() {
    let proxy = Proxy::start(&[]);
    let upstream = server(echo);
    let at = proxy.make("p", upstream);
    proxy.toxic("p", &json!({"type": "noop"}));
    let (up, taken) = (upstream.to_string(), at.to_string());
    let in_use = format!("listen tcp {taken}: bind: address already in use");
    for (method, path, body, status, error) in [
        ("POST", "/proxies", json!({"name": "p", "upstream": up}), 409, "proxy already exists"),
        ("POST", "/proxies", json!({"upstream": up}), 400, "missing required field: name"),
        ("POST", "/proxies", json!({"name": "q"}), 400, "missing required field: upstream"),
        ("POST", "/proxies", json!({"name": "q", "upstream": up, "listen": taken}), 500, &in_use),
        (
            "POST",
            "/proxies",
            json!({"name": "q", "upstream": "nowhere"}),
            400,
            "address nowhere: missing port in address",
        ),
        (
            "POST",
            "/proxies",
            json!({"name": "q", "upstraem": up}),
            400,
            "bad request body: unknown field `upstraem`",
        ),
        (
            "POST",
            "/proxies",
            json!(["q", null, up]),
            400,
            "bad request body: invalid type: sequence, expected an object",
        ),
        (
            "POST",
            "/populate",
            json!([["q", null, up]]),
            400,
            "bad request body: invalid type: sequence, expected an object",
        ),
        ("POST", "/proxies", Value::Null, 400, "bad request body: EOF"),
        ("GET", "/proxies/q", Value::Null, 404, "proxy not found"),
        ("PATCH", "/proxies/q", json!({}), 404, "proxy not found"),
        ("DELETE", "/proxies/q", Value::Null, 404, "proxy not found"),
        ("POST", "/proxies/q/toxics", json!({"type": "noop"}), 404, "proxy not found"),
        ("POST", "/proxies/p/toxics", json!({"type": "noop"}), 409, "toxic already exists"),
        ("POST", "/proxies/p/toxics", json!({"type": "nope"}), 400, "invalid toxic type"),
        ("PATCH", "/proxies/p/toxics/q", json!({}), 404, "toxic not found"),
        ("DELETE", "/proxies/p/toxics/q", Value::Null, 404, "toxic not found"),
        ("POST", "/proxies/p/toxics", json!({"type": "noop", "stream": ""}), 400, "stream was invalid"),
        ("PATCH", "/proxies/p", json!({"from": "a", "to": "b"}), 400, "the ends of a proxy stay"),
        ("PATCH", "/proxies/p", json!({"ttl": 5}), 400, "a ttl is for a proxy that is switched off"),
        (
            "PATCH",
            "/proxies/p",
            json!({"enabled": true, "ttl": 5}),
            400,
            "a ttl is for a proxy that is switched off",
        ),
        ("PATCH", "/proxies/p", json!({"enabled": false, "ttl": 0}), 400, "ttl of 0 ms is outside"),
        (
            "POST",
            "/proxies",
            json!({"name": "q", "upstream": up, "ttl": 5}),
            400,
            "a ttl is for a proxy that is switched off",
        ),
        (
            "PATCH",
            "/proxies/p/toxics/noop_downstream",
            json!({"toxicity": 2}),
            400,
            "toxicity 2 is outside 0..=1",
        ),
        (
            "POST",
            "/populate",
            json!([{"name": "x", "upstream": up}, {"name": "y"}]),
            400,
            "missing required field: upstream at proxy 2",
        ),
        (
            "POST",
            "/populate",
            json!([{"name": "x", "upstream": up}, {"name": "x", "upstream": up}]),
            400,
            "duplicate proxy name \"x\"",
        ),
    ] {
        let (got, answer) = proxy.call(method, path, &body);
        assert_eq!(got, status, "{method} {path} {body}: {answer}");
        let told = answer["error"].as_str().unwrap_or_default();
        assert!(told.contains(error), "{method} {path} {body}: {told}");
        assert_eq!(answer["status"], json!(status));
    }
    // None of a population that makes no sense is made.
    assert_eq!(proxy.call("GET", "/proxies/x", &Value::Null).0, 404);
    assert_eq!(proxy.raw("GET", "/proxies", "User-Agent: Mozilla/5.0\r\n", "").0, 403);
    assert_eq!(proxy.raw("PUT", "/proxies", "", "").0, 405);
    assert_eq!(proxy.raw("GET", "/nothing", "", "").0, 404);
}

#[test]
fn a_population_keeps_what_is_the_same_and_replaces_what_is_not() {
    let proxy = Proxy::start(&[]);
    let upstream = server(echo).to_string();
    let first = json!([
        {"name": "same", "listen": "localhost:0", "upstream": upstream, "toxics": [{"type": "noop"}]},
        {"name": "off", "listen": "127.0.0.1:0", "upstream": upstream, "enabled": false},
    ]);
    let (status, made) = proxy.call("POST", "/populate", &first);
    assert_eq!(status, 201, "{made}");
    let listen = made["proxies"][0]["listen"].as_str().unwrap().to_owned();
    assert_eq!(made["proxies"][0]["toxics"][0]["name"], json!("noop_downstream"));
    assert_eq!(made["proxies"][1]["enabled"], json!(false));
    let mut open = connect(listen.parse().unwrap());
    let again =
        json!([{"name": "same", "listen": listen.replace("127.0.0.1", "localhost"), "upstream": upstream}]);
    let (status, kept) = proxy.call("POST", "/populate", &again);
    assert_eq!((status, &kept["proxies"][0]), (201, &made["proxies"][0]));
    open.write_all(b"ping").unwrap();
    open.read_exact(&mut [0; 4]).unwrap();
    let moved = json!([{"name": "same", "listen": listen, "upstream": "127.0.0.1:9"}]);
    let (_, replaced) = proxy.call("POST", "/populate", &moved);
    assert_eq!(replaced["proxies"][0]["toxics"], json!([]));
    assert!(is_over(&mut open));
    assert_eq!(proxy.call("GET", "/proxies/off", &Value::Null).0, 200);
}
