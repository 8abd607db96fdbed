//! What toxics do to single requests and at the door, and partitions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use squall_record::clock::Clock;

use crate::support::{PATIENCE, server};
use crate::{Proxy, ask, connect, echo};

/// Answers every request on a connection that stays open with what it was asked.
fn http(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(1..) if line == "\r\n" => break,
                Ok(1..) => {
                    if let Some(value) = line.strip_prefix("Content-Length: ") {
                        length = value.trim().parse().unwrap();
                    }
                    head += &line;
                }
                _ => return,
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let first = head.lines().next().unwrap_or_default().to_owned();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{first}", first.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A connection that stays open.
struct Kept(BufReader<TcpStream>);

impl Kept {
    fn to(at: SocketAddr) -> Self {
        Self(BufReader::new(connect(at)))
    }

    /// Asks with an idempotency key; gives the status and the body.
    fn pay(&mut self, key: &str) -> (u16, String) {
        let asked = format!("POST /pay HTTP/1.1\r\nIdempotency-Key: {key}\r\nContent-Length: 2\r\n\r\n{{}}");
        self.0.get_mut().write_all(asked.as_bytes()).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> (u16, String) {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "it ends");
            if line == "\r\n" {
                break;
            } else if line.starts_with("HTTP/1.1 ") {
                status = line[9..12].parse().unwrap();
            } else if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }
}

fn http_proxy(proxy: &Proxy, upstream: SocketAddr) -> SocketAddr {
    let (status, made) =
        proxy.call("POST", "/proxies", &json!({"name": "web", "upstream": upstream, "protocol": "http"}));
    assert_eq!((status, &made["protocol"]), (201, &json!("http")));
    made["listen"].as_str().unwrap().parse().unwrap()
}

/// The keys of 200 payments that fail, over one connection, and what the proxy says whom it has met.
fn failing(seed: &str) -> (Vec<usize>, Value, String) {
    let proxy = Proxy::start(&["--seed", seed]);
    let mut kept = Kept::to(http_proxy(&proxy, server(http)));
    assert_eq!(kept.pay("before"), (200, "POST /pay HTTP/1.1".to_owned()));
    // On the connection that is open already.
    proxy.toxic(
        "web",
        &json!({"type": "http_abort", "name": "down", "toxicity": 0.2, "match": {"path": "/pay"}}),
    );
    let failed = (0..200).filter(|n| kept.pay(&format!("key-{n}")).0 == 503).collect();
    let (_, hits) = proxy.raw("GET", "/proxies/web/toxics/down/hits", "", "");
    let (_, metrics) = proxy.raw("GET", "/metrics", "", "");
    proxy.remove("web", "down");
    assert!((0..50).all(|n| kept.pay(&format!("key-{n}")).0 == 200), "and nothing is left of it");
    (failed, serde_json::from_str(&hits).unwrap(), metrics + &hits)
}

#[test]
fn a_share_of_requests_on_one_connection_fails_and_the_same_ones_with_the_same_seed() {
    let (failed, hits, text) = failing("7");
    assert!((15..=65).contains(&failed.len()), "{failed:?}");
    assert_eq!(hits["met"], failed.len());
    assert!(
        text.contains(&format!("squall_toxic_met_total{{proxy=\"web\",toxic=\"down\"}} {}", failed.len()))
    );
    let again = failing("7");
    assert_eq!((&again.0, again.1.to_string()), (&failed, hits.to_string()), "byte for byte");
    let other = failing("8");
    assert!(other.0 != failed && other.1 != hits);
}

#[test]
fn a_smuggled_request_does_not_reach_the_upstream() {
    let proxy = Proxy::start(&[]);
    let at = http_proxy(&proxy, server(http));
    let mut stream = connect(at);
    let smuggled = "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n";
    stream.write_all(smuggled.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(!answer.contains("/admin"), "{answer}");
}

#[test]
fn toxics_on_requests_need_a_proxy_that_understands_them() {
    let proxy = Proxy::start(&[]);
    proxy.make("bytes", server(echo));
    let (status, refused) = proxy.call("POST", "/proxies/bytes/toxics", &json!({"type": "http_abort"}));
    assert_eq!(status, 400);
    assert!(refused["error"].as_str().unwrap().contains("\"protocol\": \"http\""), "{refused}");
}

#[test]
fn bytes_toxics_and_request_toxics_add_up() {
    let proxy = Proxy::start(&[]);
    let mut kept = Kept::to(http_proxy(&proxy, server(http)));
    proxy.toxic("web", &json!({"type": "latency", "attributes": {"latency": 150}}));
    proxy.toxic("web", &json!({"type": "http_delay", "attributes": {"shape": "fixed", "ms": 150}}));
    let clock = Clock::start();
    assert_eq!(kept.pay("a").0, 200);
    assert!(clock.now_s() >= 0.3, "{}", clock.now_s());
}

#[test]
fn who_is_refused_is_reset_and_a_slow_connect_comes_through() {
    let proxy = Proxy::start(&[]);
    let at = proxy.make("door", server(echo));
    proxy.toxic("door", &json!({"type": "slow_connect", "attributes": {"delay": 200}}));
    let clock = Clock::start();
    assert_eq!(ask(at).unwrap(), b"ping");
    assert!(clock.now_s() >= 0.2, "{}", clock.now_s());
    proxy.toxic("door", &json!({"type": "refuse", "match": {"source": "127.0.0.0/8"}}));
    assert!(ask(at).is_err() || ask(at).unwrap().is_empty());
    let (_, hits) = proxy.call("GET", "/proxies/door/toxics/refuse_downstream/hits", &Value::Null);
    assert!(hits["met"].as_u64().unwrap() >= 1, "{hits}");
    proxy.remove("door", "refuse_downstream");
    proxy.toxic("door", &json!({"type": "refuse", "match": {"source": "10.0.0.0/8"}}));
    assert_eq!(ask(at).unwrap(), b"ping", "it comes from elsewhere");
}

#[test]
fn a_partition_holds_what_is_between_its_ends_until_it_heals() {
    let proxy = Proxy::start(&[]);
    let make = |name: &str, to: &str| -> SocketAddr {
        let asked = json!({"name": name, "upstream": server(echo), "from": "app", "to": to});
        let (status, made) = proxy.call("POST", "/proxies", &asked);
        assert_eq!(status, 201, "{made}");
        made["listen"].as_str().unwrap().parse().unwrap()
    };
    let (db, cache) = (make("p1", "db"), make("p2", "cache"));
    let mut open = connect(db);
    open.write_all(b"a").unwrap();
    open.read_exact(&mut [0]).unwrap();
    let split = json!({"name": "split", "from": ["app"], "to": ["db"], "ttl": 60_000});
    let (status, made) = proxy.call("POST", "/partitions", &split);
    assert_eq!((status, &made["proxies"]), (201, &json!(["p1"])), "{made}");
    assert_eq!(proxy.call("POST", "/partitions", &split).0, 409);
    assert_eq!(ask(cache).unwrap(), b"ping", "others are as they were");
    // What is sent meanwhile, on an open connection and on a new one, is there afterwards.
    open.write_all(b"b").unwrap();
    let fresh = thread::spawn(move || ask(db).unwrap());
    open.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(open.read(&mut [0]).is_err(), "nothing comes through");
    assert!(!fresh.is_finished());
    assert_eq!(proxy.call("DELETE", "/partitions/split", &Value::Null).0, 204);
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut byte = [0];
    open.read_exact(&mut byte).unwrap();
    assert_eq!((&byte, fresh.join().unwrap().as_slice()), (b"b", &b"ping"[..]));
    assert_eq!(proxy.call("GET", "/partitions", &Value::Null).1, json!([]));
    assert_eq!(proxy.call("DELETE", "/partitions/split", &Value::Null).0, 404);
    assert_eq!(proxy.call("POST", "/partitions", &json!({"name": "x", "from": ["a"], "to": ["b"]})).0, 400);
}
