//! A receiver of notifications.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// What it does with a delivery: how long it takes, and the status.
type Behaviour = dyn Fn(&Delivery) -> (Duration, u16) + Send + Sync;

/// One `POST`.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: String,
    pub event: Value,
    /// `traceparent` and `tracestate`; empty where there is none.
    pub trace: [String; 2],
}

impl Delivery {
    /// The payment's amount.
    pub fn amount(&self) -> i64 {
        self.event["data"]["amount"].as_i64().unwrap()
    }

    /// The payment's id.
    pub fn payment(&self) -> String {
        self.event["data"]["id"].as_str().unwrap().to_owned()
    }
}

/// A receiver, until the test ends.
pub struct Receiver {
    addr: SocketAddr,
    /// What was accepted, in order; with repetitions.
    accepted: Arc<Mutex<Vec<Delivery>>>,
}

impl Receiver {
    /// Accepts everything at once.
    pub fn start() -> Self {
        Self::that(|_| (Duration::ZERO, 200))
    }

    pub fn that(behaves: impl Fn(&Delivery) -> (Duration, u16) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let (kept, behaves): (_, Arc<Behaviour>) = (Arc::clone(&accepted), Arc::new(behaves));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, behaves) = (Arc::clone(&kept), Arc::clone(&behaves));
                std::thread::spawn(move || answer(stream.unwrap(), &kept, &*behaves));
            }
        });
        Self { addr, accepted }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks/hunter2", self.addr)
    }

    pub fn accepted(&self) -> Vec<Delivery> {
        self.accepted.lock().unwrap().clone()
    }

    /// How many different ids were accepted.
    pub fn ids(&self) -> usize {
        let accepted = self.accepted.lock().unwrap();
        accepted.iter().map(|d| &d.id).collect::<std::collections::HashSet<_>>().len()
    }
}

fn answer(mut stream: TcpStream, accepted: &Mutex<Vec<Delivery>>, behaves: &Behaviour) -> Option<()> {
    stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    loop {
        let (delivery, used) = loop {
            if let Some(read) = delivery(&bytes) {
                break read;
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).ok()? {
                0 => return None,
                n => bytes.extend(&chunk[..n]),
            }
        };
        bytes.drain(..used);
        let (takes, status) = behaves(&delivery);
        std::thread::sleep(takes);
        if status == 200 {
            accepted.lock().unwrap().push(delivery);
        }
        let said = format!("HTTP/1.1 {status} Said\r\nContent-Length: 2\r\n\r\nok");
        stream.write_all(said.as_bytes()).ok()?;
    }
}

fn delivery(bytes: &[u8]) -> Option<(Delivery, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes).unwrap() else { return None };
    assert_eq!((request.method, request.path), (Some("POST"), Some("/hooks/hunter2")));
    let header = |name: &str| {
        let found = request.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
        found.map_or(String::new(), |found| String::from_utf8(found.value.to_vec()).unwrap())
    };
    let whole = head + header("content-length").parse::<usize>().unwrap();
    let event: Value = serde_json::from_slice(bytes.get(head..whole)?).unwrap();
    let id = header("webhook-id");
    assert_eq!((event["id"].as_str(), &event["type"]), (Some(&*id), &"payment.succeeded".into()));
    let trace = ["traceparent", "tracestate"].map(header);
    Some((Delivery { id, event, trace }, whole))
}
