//! A collector of spans, small enough to be sure of: OTLP over HTTP in protobuf.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::support::wait_for;

/// A span with the service that told it.
#[derive(Debug, Clone)]
pub struct Told {
    pub service: String,
    pub span: Span,
}

impl Told {
    /// What it says of `name`, as text.
    pub fn says(&self, name: &str) -> String {
        said(&self.span.attributes, name)
    }
}

fn said(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|a| a.key == name).and_then(|a| a.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(n)) => n.to_string(),
        None => String::new(),
        other => panic!("{name}: {other:?}"),
    }
}

/// Keeps what it is sent.
pub struct Collector {
    pub listening: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Collector {
    pub fn start() -> Self {
        Self::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    }

    /// One that answers every export with `answer`; with nothing, it never answers.
    pub fn answering(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (listening, told) = (listener.local_addr().unwrap(), Arc::default());
        let kept: Arc<Mutex<Vec<Told>>> = Arc::clone(&told);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, kept) = (stream.unwrap(), Arc::clone(&kept));
                std::thread::spawn(move || {
                    while let Some(body) = read_export(&mut stream) {
                        if answer.is_empty() {
                            continue;
                        }
                        keep(&kept, &body);
                        if stream.write_all(answer).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { listening, told }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.listening)
    }

    /// All spans so far.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// The spans of `trace` once there are `count`.
    pub fn trace(&self, trace: &str, count: usize) -> Vec<Told> {
        let of = || self.told().into_iter().filter(|t| hex(&t.span.trace_id) == trace).collect::<Vec<_>>();
        wait_for("the trace's spans", || of().len() >= count);
        of()
    }
}

fn keep(kept: &Mutex<Vec<Told>>, body: &[u8]) {
    let export = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in export.resource_spans {
        let service = said(&resource.resource.unwrap().attributes, "service.name");
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        kept.lock().unwrap().extend(spans.map(|span| Told { service: service.clone(), span }));
    }
}

fn read_export(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
