//! What the engine's tests share: small plans, targets that do as they are told, and what must
//! hold in every run.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use squall_engine::endpoint::Endpoint;
use squall_engine::engine::{Job, run};
use squall_record::clock::Clock;
use squall_record::counts::Counts;
use squall_record::interval::Tick;
use squall_record::latency::Latency;
use squall_record::outcome::Failure;
use squall_scenarios::curve::Curve;
use squall_scenarios::plan::{
    AmountLaw, Arrivals, DataPlan, Http, LoadPlan, Mode, PhasePlan, Pick, Plan, RequestPlan, TargetPlan,
    Transport,
};
use squall_scenarios::schedule::Schedule;
use squall_scenarios::workload::Workload;

/// The general transport, for what the own one can do too.
pub const GENERAL: Transport = Transport::General { http: Http::V1 };

/// `rate_rps` for `duration_s`, evenly, over `via`.
pub fn plan(via: Transport, rate_rps: f64, duration_s: f64) -> Plan {
    Plan {
        name: "test".into(),
        summary: String::new(),
        seed: 11,
        target: TargetPlan::Url {
            url: "http://127.0.0.1".into(),
            ca_file: None,
            token_env: None,
            allow: vec![],
        },
        load: LoadPlan {
            arrivals: Arrivals::Uniform,
            connections: 8,
            max_in_flight: 10_000,
            timeout_ms: 2_000,
            workers: 1,
            max_rate_rps: 1e6,
            mode: Mode::Open,
            spin_us: 0,
            coalesce_us: 0,
            pipeline: 1,
            transport: via,
        },
        phases: vec![PhasePlan {
            name: "hold".into(),
            warmup: false,
            start_s: 0.0,
            end_s: duration_s,
            curve: Curve::hold(duration_s, rate_rps),
            step: false,
            mix: vec![],
            trace: None,
        }],
        requests: vec![RequestPlan {
            name: "pay".into(),
            weight: 1.0,
            method: "POST".into(),
            path: "/pay/${seq}".into(),
            headers: vec![("Idempotency-Key".into(), "${key}".into())],
            body: Some(r#"{"from":"${account}","amount":${amount}}"#.into()),
            expect: vec![],
            declined: vec![402],
            check: vec![],
            retry: None,
        }],
        data: DataPlan {
            accounts: 100,
            pick: Pick::Uniform,
            account_prefix: "acc_".into(),
            account_digits: 8,
            amount_min: 1,
            amount_max: 999,
            amount: AmountLaw::Uniform,
        },
        feeders: vec![],
        journeys: vec![],
        faults: vec![],
        places: Default::default(),
        experiment: None,
        slos: vec![],
        gates: vec![],
    }
}

#[derive(Default)]
pub struct Seen {
    pub counts: Counts,
    pub response: Latency,
    pub service: Latency,
    pub lag: Latency,
    pub starved: u64,
    pub starved_drops: u64,
    pub reopened: u64,
    pub unasked: u64,
    /// At the end of any second.
    pub most_in_flight: u32,
    pub ops: Vec<squall_record::ops::Op>,
    pub seconds: Vec<u32>,
}

impl Seen {
    pub fn add(&mut self, tick: &Tick) {
        self.seconds.push(tick.second);
        let g = &tick.generator;
        self.starved += g.starved;
        self.starved_drops += g.starved_drops;
        self.reopened += g.reopened;
        self.unasked += g.unasked;
        self.most_in_flight = self.most_in_flight.max(g.in_flight + g.waiting + g.pausing);
        self.ops.extend_from_slice(&tick.ops);
        for i in &tick.intervals {
            self.counts += &i.counts;
            self.response.merge(&i.response);
            self.service.merge(&i.service);
            self.lag.merge(&i.lag);
        }
    }

    pub fn failed(&self, f: Failure) -> u64 {
        self.counts.failed[f as usize]
    }
}

/// Runs `plan` against `endpoint` and checks what must hold in every run.
pub fn load(plan: &Plan, endpoint: impl Into<Endpoint>) -> Seen {
    load_until(plan, endpoint, &AtomicBool::new(false))
}

pub fn load_until(plan: &Plan, endpoint: impl Into<Endpoint>, stop: &AtomicBool) -> Seen {
    let clock = Clock::starting_in(Duration::from_millis(100));
    let endpoint = endpoint.into();
    let workload = Workload::new(plan, "localhost", "").unwrap();
    let job = Job { plan, endpoint: &endpoint, host: "localhost", workload: &workload, clock };
    let mut seen = Seen::default();
    run(&job, stop, |tick| {
        seen.add(tick);
        Ok(())
    })
    .unwrap();
    assert!(seen.counts.check(), "{:?}", seen.counts);
    assert_eq!(seen.counts.in_flight(), 0, "{:?}", seen.counts);
    if !stop.load(Ordering::Relaxed) {
        assert_eq!(seen.counts.planned, Schedule::new(plan).count() as u64, "an arrival was forgotten");
    }
    assert_eq!(seen.lag.len(), seen.counts.sent, "every request sent has a lag");
    assert_eq!(seen.seconds, (0..seen.seconds.len() as u32).collect::<Vec<_>>(), "a second is missing");
    seen
}

/// Serves each connection on its own thread with `serve`, until the test process ends.
pub fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    addr
}

pub struct Request {
    pub line: String,
    pub text: String,
}

/// Reads one request; `None` when the connection ends.
pub fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let before = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = &head[before..];
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = n.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = head.lines().next().unwrap().to_owned();
    Some(Request { line, text: head + std::str::from_utf8(&body).unwrap() })
}

/// Answers every request with what `answer` gives; `None` hangs up instead.
pub fn answering(answer: impl Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static) -> SocketAddr {
    server(move |stream| {
        stream.set_nodelay(true).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader) {
            match answer(&request) {
                Some(bytes) if writer.write_all(&bytes).is_ok() => {}
                _ => return,
            }
        }
    })
}

pub fn http(status: u16, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\n{more}\r\nok").into_bytes()
}
