//! Each part of the stack is taken away under load, one at a time: what clients see, that no payment is lost or
//! doubled, and that everything comes back without a restart of the service.
//!
//! `deploy/failures.sh` runs it and shows the table. It needs a Docker engine, two minutes for the stack and half a
//! minute for each failure, so `cargo test` leaves it out.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod books;
mod stack;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use books::{Books, Settled};
use serde_json::Value;
use squall_record::clock::Clock;
use squall_record::ops::Op;
use squall_record::outcome::Outcome;
use stack::{PROCESSES, Stack, root};
use support::{Reaped, scenario_file, squall, summary, wait_for};

/// Requests a second, four payments to one balance. Moderate: the generator and eleven containers share a machine.
const RATE_RPS: u32 = 300;
/// For how long a part is away.
const AWAY: Duration = Duration::from_secs(5);
/// How long the phases before, during and after a failure last. A part is back in the middle of the second.
const BEFORE_S: u32 = 5;
const DURING_S: u32 = 10;
const AFTER_S: u32 = 10;
/// A breaker asks again after a minute, and learns from payments alone.
const AFTER_OF_A_BREAKER_S: u32 = 65;
/// How long the stack may take to be whole once the part is there.
const WHOLE_S: f64 = 90.0;

/// What is done to a part.
#[derive(Clone, Copy, PartialEq)]
enum Done {
    Killed,
    Stopped,
    Hung,
    Flushed,
}

/// One part taken away.
#[derive(Clone, Copy)]
struct Failure {
    service: &'static str,
    done: Done,
    after_s: u32,
    /// Whether clients may see errors of it at all.
    may_fail: bool,
}

const FAILURES: [Failure; 10] = [
    Failure { service: "postgres", done: Done::Killed, after_s: AFTER_S, may_fail: true },
    Failure { service: "postgres", done: Done::Hung, after_s: AFTER_S, may_fail: true },
    Failure { service: "replica", done: Done::Stopped, after_s: AFTER_S, may_fail: false },
    Failure { service: "redis", done: Done::Flushed, after_s: AFTER_S, may_fail: false },
    Failure { service: "redis", done: Done::Killed, after_s: AFTER_S, may_fail: false },
    Failure { service: "nats", done: Done::Killed, after_s: AFTER_S, may_fail: false },
    Failure { service: "fraud", done: Done::Hung, after_s: AFTER_OF_A_BREAKER_S, may_fail: false },
    Failure { service: "network", done: Done::Killed, after_s: AFTER_OF_A_BREAKER_S, may_fail: true },
    Failure { service: "payments-2", done: Done::Killed, after_s: AFTER_S, may_fail: false },
    Failure { service: "payments-2", done: Done::Hung, after_s: AFTER_S, may_fail: true },
];

impl Failure {
    fn name(self) -> String {
        let done = match self.done {
            Done::Killed => "killed",
            Done::Stopped => "stopped",
            Done::Hung => "hung",
            Done::Flushed => "flushed",
        };
        format!("{} {done}", self.service)
    }

    fn begin(self, stack: &Stack) {
        match self.done {
            Done::Killed => stack.act(&["kill"], self.service),
            Done::Stopped => stack.act(&["stop", "-t", "5"], self.service),
            Done::Hung => stack.act(&["pause"], self.service),
            Done::Flushed => stack.exec(self.service, &["redis-cli", "FLUSHALL"]),
        }
    }

    fn end(self, stack: &Stack) {
        match self.done {
            Done::Killed | Done::Stopped => stack.act(&["start"], self.service),
            Done::Hung => stack.act(&["unpause"], self.service),
            Done::Flushed => {}
        }
    }
}

/// What was measured of one.
struct Seen {
    name: String,
    load: Value,
    p99_ms: [Value; 3],
    /// How often payments ended otherwise than as asked, by what the client was told.
    told: BTreeMap<String, usize>,
    /// From the failure to the last of them.
    troubled_s: Option<f64>,
    /// From the part's return until every process calls itself well.
    whole_s: f64,
    settled: Settled,
}

/// Which failures: those whose name contains `FAILURES`, all when it is not set.
fn wanted() -> Vec<Failure> {
    let some = std::env::var("FAILURES").unwrap_or_default();
    let wanted: Vec<_> = FAILURES.into_iter().filter(|f| f.name().contains(&some)).collect();
    let names: Vec<_> = FAILURES.map(Failure::name).into();
    assert!(!wanted.is_empty(), "FAILURES={some} names none of: {}", names.join(", "));
    wanted
}

#[test]
#[ignore = "takes the stack apart for six minutes: deploy/failures.sh"]
fn no_part_that_fails_under_load_costs_a_payment_or_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let stack = Stack::start(&staged());
    let mut seen = Vec::new();
    for (n, failure) in wanted().into_iter().enumerate() {
        eprintln!("{} …", failure.name());
        seen.push(failed(&stack, failure, &folder.path().join(format!("run-{n}")), n));
    }
    println!("{}", table(&seen));
}

/// The service that was built with this test, where the image takes it from.
fn staged() -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_squall")).with_file_name("payments");
    assert!(binary.exists(), "{} is missing: cargo build -p payments", binary.display());
    let staged = root().join("target/stack-test");
    std::fs::create_dir_all(&staged).unwrap();
    std::fs::copy(binary, staged.join("payments")).unwrap();
    "target/stack-test/payments".to_owned()
}

/// One failure under load, from a whole stack to a whole stack.
fn failed(stack: &Stack, failure: Failure, run: &Path, n: usize) -> Seen {
    let before = stack.audit();
    let started = PROCESSES.map(|process| stack.started_at(process));
    let dir = tempfile::tempdir().unwrap();
    let file = scenario_file(dir.path(), &scenario(stack, failure));
    let mut child = Reaped(
        squall()
            .args(["run", "--ui", "none", "--seed", &(n + 1).to_string(), "--out"])
            .args([run, &file])
            .env("PAYMENTS_TOKEN", &stack.token)
            .stdout(std::process::Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("said")).unwrap())
            .spawn()
            .unwrap(),
    );
    wait_for("the failure's phase", || {
        assert!(
            child.0.try_wait().unwrap().is_none(),
            "{}",
            std::fs::read_to_string(dir.path().join("said")).unwrap()
        );
        std::fs::read_to_string(run.join("events.jsonl")).ok()?.contains("\"during\"").then_some(())
    });
    failure.begin(stack);
    if failure.done != Done::Flushed {
        std::thread::sleep(AWAY);
    }
    failure.end(stack);
    let whole_s = whole_after(stack, &failure.name());
    let status = child.0.wait().unwrap();
    // 120 when the machine was too busy to believe the latencies; payments are the same.
    assert!(matches!(status.code(), Some(0 | 120)), "{status}");
    stack.wait_until_all_is_told();
    for (process, started) in PROCESSES.iter().zip(started) {
        let restarted = stack.started_at(process) != started;
        assert_eq!(restarted, (*process, Done::Killed) == (failure.service, failure.done), "{process}");
    }
    let books = Books::open(run);
    let settled = books.settle(stack, &before);
    let summary = summary(run);
    let load = &summary["load"];
    if !failure.may_fail {
        assert_eq!((&load["failed"], &load["dropped"]), (&0.into(), &0.into()), "{}: {load}", failure.name());
    }
    assert!(stack.is_whole(), "{:?}", stack.ails());
    let p99 = |phase: usize| summary["phases"][phase]["latency_ms"]["response"]["p99"].clone();
    let bad: Vec<&Op> = books.ops.iter().filter(|o| !o.outcome.is_good()).collect();
    let last_s = bad.iter().map(|o| o.fired_ns as f64 / 1e9 + f64::from(o.took_us) / 1e6).reduce(f64::max);
    Seen {
        name: failure.name(),
        load: load.clone(),
        p99_ms: [p99(0), p99(1), p99(2)],
        told: bad.iter().fold(BTreeMap::new(), |mut told, op| {
            *told.entry(what_was_told(op)).or_default() += 1;
            told
        }),
        troubled_s: last_s.map(|s| s - f64::from(BEFORE_S)),
        whole_s,
        settled,
    }
}

/// For how long the stack is not whole, with what ails it meanwhile on standard error.
fn whole_after(stack: &Stack, name: &str) -> f64 {
    let (clock, mut known) = (Clock::start(), Vec::new());
    loop {
        let ails = stack.ails();
        if ails != known {
            eprintln!(
                "  {:.1} s: {}",
                clock.now_s(),
                if ails.is_empty() { "well".to_owned() } else { ails.join(", ") }
            );
        }
        if ails.is_empty() && stack.ready() {
            return clock.now_s();
        }
        assert!(clock.now_s() < WHOLE_S, "{name}: {ails:?}");
        known = ails;
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn what_was_told(op: &Op) -> String {
    match (op.outcome, op.status) {
        (Outcome::Shed, status) => format!("{status} not executed"),
        (outcome, 0) => outcome.name().to_owned(),
        (_, status) => status.to_string(),
    }
}

fn scenario(stack: &Stack, failure: Failure) -> String {
    let phase = |name: &str, seconds: u32| {
        format!("[[phase]]\nname = \"{name}\"\nduration = \"{seconds}s\"\nrate = \"{RATE_RPS}/s\"\n\n")
    };
    let phases =
        [("before", BEFORE_S), ("during", DURING_S), ("after", failure.after_s)].map(|(n, s)| phase(n, s));
    format!(
        r#"
name = "failures"
summary = "a part of the stack is taken away"

[target]
url = "{}"
token_env = "PAYMENTS_TOKEN"

[load]
arrivals = "poisson"
connections = 64
timeout = "2s"

[data]
accounts = 10000
pick = "zipf"
amount_min = 100
amount_max = 99999

{}
[[request]]
name = "pay"
weight = 80
method = "POST"
path = "/v1/payments"
headers = {{ Idempotency-Key = "${{key}}" }}
body = '{{"from":"${{account}}","to":"${{other}}","amount":${{amount}},"currency":"EUR"}}'
expect = [201]
declined = [402]

[[request]]
name = "balance"
weight = 20
method = "GET"
path = "/v1/accounts/${{account}}/balance"
expect = [200]
"#,
        stack.base,
        phases.concat()
    )
}

/// As Markdown.
fn table(seen: &[Seen]) -> String {
    let mut out = "| failure | requests: good of planned | payments not answered as usual | last of them after | p99 before, during, after, ms | \
                   acknowledged, all there once | without an answer, of them paid | whole again after |\n|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for s in seen {
        let told: Vec<_> = s.told.iter().map(|(what, n)| format!("{n} × {what}")).collect();
        let told = if told.is_empty() { "none".to_owned() } else { told.join(", ") };
        let good = s.load["ok"].as_u64().unwrap() + s.load["declined"].as_u64().unwrap();
        let [before, during, after] =
            s.p99_ms.each_ref().map(|ms| format!("{:.0}", ms.as_f64().unwrap_or(f64::NAN)));
        out += &format!(
            "| {} | {good} of {} | {told} | {} | {before}, {during}, {after} | {} | {}, {} | {:.1} s |\n",
            s.name,
            s.load["planned"],
            s.troubled_s.map_or_else(|| "–".to_owned(), |s| format!("{s:.1} s")),
            s.settled.acknowledged,
            s.settled.unknown,
            s.settled.unknown_paid,
            s.whole_s,
        );
    }
    out
}
