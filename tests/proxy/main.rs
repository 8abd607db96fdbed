//! `squall chaos proxy`: what its clients and the connections through it see.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod api;
mod http;
#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use squall_record::clock::Clock;
use support::{PATIENCE, server, squall, squall_ends, stderr, told, wait_for};

/// A running proxy, killed at the end if need be.
struct Proxy {
    child: Child,
    api: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    fn start(args: &[&str]) -> Self {
        Self::of(squall().args(["chaos", "proxy", "--port", "0"]).args(args))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let api = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let (_, rest) = line.split_once("http://")?;
            rest.split_once(',')?.0.parse().ok()
        });
        // Whatever else it says has somewhere to go.
        thread::spawn(move || lines.count());
        Self { child, api: api.expect("it says where its API is") }
    }

    /// What the API answers, as it is on the wire.
    fn raw(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut api = TcpStream::connect(self.api).unwrap();
        api.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(api, "{method} {path} HTTP/1.1\r\nHost: p\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        api.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, body) = self.raw(method, path, "", &body);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Makes a proxy of `upstream`; gives where it listens.
    fn make(&self, name: &str, upstream: SocketAddr) -> SocketAddr {
        let (status, made) = self.call(
            "POST",
            "/proxies",
            &json!({"name": name, "listen": "127.0.0.1:0", "upstream": upstream}),
        );
        assert_eq!(status, 201, "{made}");
        made["listen"].as_str().unwrap().parse().unwrap()
    }

    fn toxic(&self, proxy: &str, toxic: &Value) {
        let (status, made) = self.call("POST", &format!("/proxies/{proxy}/toxics"), toxic);
        assert_eq!(status, 200, "{made}");
    }

    fn remove(&self, proxy: &str, toxic: &str) {
        let (status, _) = self.call("DELETE", &format!("/proxies/{proxy}/toxics/{toxic}"), &Value::Null);
        assert_eq!(status, 204);
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether the other side ends the connection, in one way or the other, without another byte.
fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(e) => matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
    }
}

/// Sends `ping` and reads what comes until the end.
fn ask(at: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = connect(at);
    stream.write_all(b"ping")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn bytes_and_the_end_of_one_direction_pass_as_without_a_proxy() {
    let proxy = Proxy::start(&[]);
    let at = proxy.make("p", server(echo));
    assert_eq!(ask(at).unwrap(), b"ping");
    // More than any buffer on the way holds.
    let mut stream = connect(at);
    let mut reader = stream.try_clone().unwrap();
    let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let writer = thread::spawn({
        let sent = sent.clone();
        move || {
            stream.write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).unwrap();
    writer.join().unwrap();
    assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
    let figures = proxy.raw("GET", "/metrics", "", "").1;
    let line = r#"toxiproxy_proxy_sent_bytes_total{direction="downstream","#;
    let line = figures.lines().find(|l| l.starts_with(line)).unwrap();
    assert!(line.ends_with(" 8000004"), "{line}");
}

#[test]
fn a_toxic_acts_on_open_connections_and_ends_with_them_unharmed() {
    let proxy = Proxy::start(&[]);
    let at = proxy.make("p", server(echo));
    let mut stream = connect(at);
    let mut round_trip = || {
        let clock = Clock::start();
        stream.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
        Duration::from_nanos(clock.now_ns())
    };
    round_trip();
    proxy.toxic("p", &json!({"type": "latency", "attributes": {"latency": 200}}));
    assert!(round_trip() >= Duration::from_millis(200));
    proxy.toxic("p", &json!({"type": "latency", "stream": "upstream", "attributes": {"latency": 200}}));
    assert!(round_trip() >= Duration::from_millis(400));
    let changed = json!({"attributes": {"latency": 500}});
    assert_eq!(proxy.call("PATCH", "/proxies/p/toxics/latency_upstream", &changed).0, 200);
    assert!(round_trip() >= Duration::from_millis(700));
    assert_eq!(proxy.call("POST", "/reset", &Value::Null).0, 204);
    // The same connection, at once.
    let least = (0..5).map(|_| round_trip()).min().unwrap();
    assert!(least < Duration::from_millis(200), "{least:?}");
}

#[test]
fn connections_end_as_the_toxic_says() {
    let proxy = Proxy::start(&[]);
    let at = proxy.make("p", server(echo));
    proxy.toxic("p", &json!({"type": "limit_data", "attributes": {"bytes": 2}}));
    assert_eq!(ask(at).unwrap(), b"pi");
    proxy.remove("p", "limit_data_downstream");

    proxy.toxic("p", &json!({"type": "reset_peer", "stream": "upstream"}));
    assert_eq!(ask(at).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let nobody = json!({"toxicity": 0});
    assert_eq!(proxy.call("PATCH", "/proxies/p/toxics/reset_peer_upstream", &nobody).0, 200);
    assert_eq!(ask(at).unwrap(), b"ping");
    proxy.remove("p", "reset_peer_upstream");

    proxy.toxic("p", &json!({"type": "timeout", "attributes": {"timeout": 100}}));
    assert!(is_over(&mut connect(at)));
    proxy.remove("p", "timeout_downstream");

    proxy.toxic("p", &json!({"type": "slow_close", "attributes": {"delay": 300}}));
    let clock = Clock::start();
    assert_eq!(ask(at).unwrap(), b"ping");
    assert!(clock.now_ns() >= 300_000_000);
}

#[test]
fn a_toxic_ends_by_itself_and_lets_go_what_it_holds() {
    let proxy = Proxy::start(&[]);
    let at = proxy.make("p", server(echo));
    proxy.toxic("p", &json!({"type": "bandwidth", "attributes": {"rate": 0}, "ttl": 700}));
    let left =
        proxy.call("GET", "/proxies/p/toxics/bandwidth_downstream", &Value::Null).1["ttl"].as_u64().unwrap();
    assert!((1..=700).contains(&left), "{left}");
    let clock = Clock::start();
    assert_eq!(ask(at).unwrap(), b"ping");
    assert!(clock.now_ns() >= left.saturating_sub(100) * 1_000_000);
    assert_eq!(proxy.call("GET", "/proxies/p/toxics", &Value::Null).1, json!([]));
}

#[test]
fn removing_a_toxic_frees_a_thousand_stalled_connections() {
    let proxy = Proxy::start(&[]);
    let at = proxy.make("p", server(echo));
    proxy.toxic("p", &json!({"type": "bandwidth", "attributes": {"rate": 0}}));
    let mut stalled: Vec<TcpStream> = (0..1000).map(|_| connect(at)).collect();
    for stream in &mut stalled {
        stream.write_all(b"ping").unwrap();
    }
    proxy.remove("p", "bandwidth_downstream");
    for stream in &mut stalled {
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
    }
    // And a toxic that has dropped data closes the connections that it leaves.
    proxy.toxic("p", &json!({"type": "timeout"}));
    for stream in &mut stalled {
        stream.write_all(b"ping").unwrap();
    }
    // What comes back reaches the toxic.
    let dropped = r#"toxiproxy_proxy_received_bytes_total{direction="downstream","#;
    wait_for("the data to be dropped", || {
        let figures = proxy.raw("GET", "/metrics", "", "").1;
        figures.lines().any(|line| line.starts_with(dropped) && line.ends_with(" 8000")).then_some(())
    });
    proxy.remove("p", "timeout_downstream");
    for stream in &mut stalled {
        assert!(is_over(stream));
    }
}

#[test]
fn the_same_seed_meets_the_same_connections_and_another_one_others() {
    let met = |seed: &str| {
        let proxy = Proxy::start(&["--seed", seed]);
        let at = proxy.make("p", server(echo));
        proxy.toxic("p", &json!({"type": "reset_peer", "stream": "upstream", "toxicity": 0.5}));
        (0..64).map(|_| if ask(at).is_err() { 'x' } else { '.' }).collect::<String>()
    };
    let first = met("7");
    assert_eq!(first, met("7"));
    assert_ne!(first, met("8"));
    let hits = first.matches('x').count();
    assert!((16..=48).contains(&hits), "{first}");
}

#[test]
fn an_upstream_that_is_away_or_swallows_connections_holds_up_nobody_else() {
    let proxy = Proxy::start(&[]);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut stream = connect(proxy.make("gone", gone));
    assert!(is_over(&mut stream), "accepted, then closed");
    // Its queue is full, so nobody is answered any more.
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let swallows = full.local_addr().unwrap();
    let _fill: Vec<_> = (0..4)
        .map_while(|_| TcpStream::connect_timeout(&swallows, Duration::from_millis(200)).ok())
        .collect();
    let at = proxy.make("full", swallows);
    let waiting: Vec<_> = (0..20).map(|_| connect(at)).collect();
    // The same proxy, with an upstream that answers.
    assert_eq!(proxy.call("PATCH", "/proxies/full", &json!({"upstream": server(echo)})).0, 200);
    assert_eq!(ask(at).unwrap(), b"ping");
    drop(waiting);
}

#[test]
fn who_sends_and_never_reads_costs_bounded_memory() {
    let proxy = Proxy::start(&[]);
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = proxy.make("p", sink.local_addr().unwrap());
    proxy.toxic("p", &json!({"type": "latency", "stream": "upstream", "attributes": {"latency": 3600000}}));
    let mut stream = connect(at);
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let block = vec![0; 1 << 20];
    let mut taken = 0;
    while taken < 1 << 30 {
        match stream.write(&block) {
            Ok(count) => taken += count,
            Err(_) => break,
        }
    }
    assert!(taken < 64 << 20, "{taken} bytes were taken in");
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.child.id())).unwrap();
    let peak = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    let peak_kb: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak_kb < 100 << 10, "{peak}");
}

#[test]
fn sockets_in_files_are_proxied_too() {
    let folder = tempfile::tempdir().unwrap();
    let (front, back) = (folder.path().join("front.sock"), folder.path().join("back.sock"));
    let listener = std::os::unix::net::UnixListener::bind(&back).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"there").unwrap();
    });
    let proxy = Proxy::start(&[]);
    let unix = |path: &std::path::Path| format!("unix:{}", path.display());
    let (status, made) = proxy.call(
        "POST",
        "/proxies",
        &json!({"name": "u", "listen": unix(&front), "upstream": unix(&back)}),
    );
    assert_eq!(status, 201, "{made}");
    let mut answer = String::new();
    std::os::unix::net::UnixStream::connect(&front).unwrap().read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "there");
    assert_eq!(proxy.call("DELETE", "/proxies/u", &Value::Null).0, 204);
    assert!(!front.exists());
}

#[test]
fn a_configuration_brings_its_toxics_along_and_a_wrong_one_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxies.json");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    write(&json!([{"name": "p", "listen": "127.0.0.1:0", "upstream": server(echo), "toxics": [{"type": "limit_data", "attributes": {"bytes": 3}}]}]).to_string());
    let proxy = Proxy::start(&["--config", path]);
    let at = proxy.call("GET", "/proxies/p", &Value::Null).1["listen"].as_str().unwrap().parse().unwrap();
    assert_eq!(ask(at).unwrap(), b"pin");
    for (text, error) in [
        ("[\n {\"name\": \"p\",\n  \"upstraem\": \"a:1\"}\n]", "unknown field `upstraem`, expected one of"),
        ("[{\"name\": \"p\"}]", "missing required field: upstream at proxy 1"),
        ("{}", "invalid type: map"),
        ("[{\"name\":\"p\",\"upstream\":\"a:1\",\"toxics\":[{\"type\":\"slow\"}]}]", "invalid toxic type"),
    ] {
        write(text);
        let ended = squall_ends(["chaos", "proxy", "--port", "0", "--config", path]);
        assert_eq!(ended.status.code(), Some(104), "{}", told(&ended));
        let said = stderr(&ended);
        assert!(said.contains(path) && said.contains(error), "{said}");
    }
    let ended = squall_ends(["chaos", "proxy", "--port", "0", "--config", "/nonexistent"]);
    assert!(ended.status.code() == Some(104) && stderr(&ended).contains("/nonexistent"), "{}", told(&ended));
    let port = proxy.api.port().to_string();
    let ended = squall_ends(["chaos", "proxy", "--port", &port]);
    assert!(ended.status.code() == Some(104) && stderr(&ended).contains("--port"), "{}", told(&ended));
}

#[test]
fn it_ends_when_it_is_told_to() {
    let mut proxy = Proxy::start(&[]);
    let at = proxy.make("p", server(echo));
    let _open = connect(at);
    support::signal(proxy.child.id(), Signal::TERM);
    let status = wait_for("its end", || proxy.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn published_clients_work_unchanged() {
    if std::env::var("CLIENT_TESTS").is_ok_and(|set| set == "no") {
        eprintln!("left out: CLIENT_TESTS=no");
        return;
    }
    let proxy = Proxy::start(&[]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients/run.sh");
    let ended = Command::new(script).arg(proxy.api.to_string()).output().unwrap();
    assert!(ended.status.success(), "{}", told(&ended));
}
