//! What must hold whatever a scenario file or a `--set` says. Shared by the fuzz targets, which
//! search for inputs that break it, and by the property tests.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use squall_scenarios::explain::explain;
use squall_scenarios::feeder::Feeders;
use squall_scenarios::gate::parse_gate;
use squall_scenarios::host::{Host, TargetUrl};
use squall_scenarios::journey::{Draws, Known, Script, Take};
use squall_scenarios::load::load;
use squall_scenarios::overrides::Override;
use squall_scenarios::plan::{Column, JourneyPlan, Plan, TraceFormat, TraceHead, TracePlan};
use squall_scenarios::source::Source;
use squall_scenarios::trace::replay::Replay;
use squall_scenarios::trace::stamp::StampUnit;
use squall_scenarios::units::duration::parse_duration;
use squall_scenarios::units::rate::parse_rate_rps;
use squall_scenarios::units::ratio::parse_ratio;
use squall_scenarios::workload::Workload;

/// How many requests of an accepted plan are looked at.
const REQUESTS: u64 = 20;

/// A scenario; after a zero byte, one override a line.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
pub fn scenario(input: &str) {
    let (text, overrides) = input.split_once('\0').unwrap_or((input, ""));
    let overrides: Vec<Override> = overrides.lines().filter_map(|l| l.parse().ok()).collect();
    answered("fuzz.toml", text, &overrides);
}

/// A scenario is a plan that keeps its promises, or an error that can be shown.
fn answered(name: &str, text: &str, overrides: &[Override]) {
    match load(&Source { name: name.to_owned(), text: text.to_owned() }, overrides) {
        Ok(plan) => accepted(&plan),
        Err(e) => {
            assert!(!e.problems().is_empty(), "an error without a problem");
            let told = e.to_string();
            assert!(!told.chars().any(|c| c.is_control() && c != '\n'), "drives the terminal: {told:?}");
        }
    }
}

/// What every plan promises to whoever runs it.
fn accepted(plan: &Plan) {
    let mut at_s = 0.0;
    for p in &plan.phases {
        assert!(p.start_s == at_s && p.end_s > p.start_s, "a gap before {p:?}");
        assert!((p.curve.duration_s() - p.duration_s()).abs() < 1e-6, "{p:?}");
        assert!(p.curve.points().iter().all(|c| c.rps.is_finite() && c.rps >= 0.0), "{p:?}");
        at_s = p.end_s;
    }
    assert!(plan.expected_arrivals() >= 1.0 || !plan.has_load() && !plan.journeys.is_empty());
    plan.journeys.iter().enumerate().for_each(|(i, j)| walked(plan, i, j));
    for f in &plan.faults {
        assert!(f.start_s >= 0.0 && f.end_s > f.start_s && f.end_s <= plan.duration_s(), "{f:?}");
        assert!(f.fault.fraction > 0.0 && f.fault.fraction <= 1.0, "{f:?}");
    }
    assert!(plan.slos.iter().all(|s| s.objective > 0.0 && s.objective < 1.0));
    assert!(plan.data.accounts >= 2 && plan.data.amount_min <= plan.data.amount_max);
    assert!(!explain(plan).is_empty());
    let json = serde_json::to_string(plan).expect("a plan has no key or number that JSON lacks");
    assert_eq!(&serde_json::from_str::<Plan>(&json).expect("what was written reads back"), plan);

    let workload = Workload::new(plan, "localhost", "token").expect("templates are checked");
    let mut bytes = Vec::new();
    for index in (0..REQUESTS).filter(|_| plan.has_load()) {
        let class = workload.class(index, (index % plan.phases.len() as u64) as u16);
        workload.fill(index, class, &mut bytes);
        let request = &plan.requests[usize::from(class)];
        let text = String::from_utf8(bytes.clone()).expect("a request is UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
        let own = 2 + usize::from(request.body.is_some());
        assert_eq!(head.split("\r\n").count(), own + request.headers.len(), "a smuggled line in {head:?}");
        assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "a bare line break in {head:?}");
        assert_eq!(head.lines().next().map(|l| l.split(' ').count()), Some(3), "{head:?}");
        let length = head.lines().find_map(|l| l.strip_prefix("Content-Length:"));
        let length = length.map_or(Ok(0), |l| l.trim().parse::<usize>());
        assert_eq!(length, Ok(body.len()), "{text:?}");
        let typed = request.headers.iter().find(|h| h.0.eq_ignore_ascii_case("content-type"));
        if request.body.is_some() && typed.is_some_and(|h| h.1 == "application/json") {
            // By its grammar: a number that is too large for a reader is one all the same.
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok(), "no JSON: {body:?}");
        }
    }
}

/// A file of a scenario, of its own for each call.
struct Beside(PathBuf);

impl Beside {
    fn new(bytes: &[u8]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("squall-fuzz-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).expect("a place for a file");
        Self(path)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A file of a feeder, whose columns `a`, `b` and `c` stand wherever values may.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
pub fn feeder_csv(input: &[u8]) {
    let file = Beside::new(input);
    // A file that lacks a column, or whose values cannot stand in one of the places, is refused; so each
    // place is tried by itself.
    let requests = [
        "path = \"/${f.a}/x?b=${f.b}\"\nheaders = { X-Seq = \"${seq}\" }",
        "path = \"/\"\nheaders = { X-A = \"${f.a}\", X-B = \"<${f.b}>\" }",
        "path = \"/\"\nbody = '{\"a\":\"<${f.a}>\",\"key\":\"${key}\",\"b\":\"${f.b}\"}'",
        "path = \"/\"\nbody = '{\"a\":${f.a},\"b\":[${f.b}]}'",
        "path = \"/\"\nbody = 'a=${f.a}&b=${f.b}'\nheaders = { Content-Type = \"application/x-www-form-urlencoded\" }",
    ];
    for (request, order) in requests.iter().zip(["sequential", "random"].iter().cycle()) {
        let text = format!(
            "name = \"fuzz\"\n[data]\naccounts = 2\n[[feeder]]\nname = \"f\"\nfile = \"{}\"\norder = \"{order}\"\n\
             [[phase]]\nname = \"p\"\nduration = \"1s\"\nrate = \"100/s\"\n\
             [[request]]\nname = \"r\"\nmethod = \"POST\"\n{request}\n",
            file.0.display()
        );
        answered("fuzz.toml", &text, &[]);
    }
    let journey = "path = \"/${f.a}\"\nheaders = { X-B = \"${f.b}\" }\nbody = '[\"${f.a}\"]'";
    let text = format!(
        "name = \"fuzz\"\n[[feeder]]\nname = \"f\"\nfile = \"{}\"\norder = \"per_user\"\n\
         [[journey]]\nname = \"j\"\nusers = 3\nfor = \"1s\"\n\
         [[journey.step]]\nname = \"s\"\nmethod = \"POST\"\n{journey}\n",
        file.0.display()
    );
    answered("fuzz.toml", &text, &[]);
}

/// A file of a curve.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
pub fn curve_csv(input: &[u8]) {
    let file = Beside::new(input);
    for columns in ["", ", time = \"t\", rate = \"r\", longest_gap = \"1h\""] {
        let text = format!(
            "name = \"fuzz\"\n[[phase]]\nname = \"p\"\nduration = \"10s\"\ncurve = {{ file = \"{}\"{columns} }}\n\
             [[request]]\nname = \"r\"\nmethod = \"GET\"\npath = \"/\"\n",
            file.0.display()
        );
        answered("fuzz.toml", &text, &[]);
    }
}

/// The longest phase, in nanoseconds: a week.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
const WEEK_NS: u64 = 7 * 24 * 3600 * 1_000_000_000;

/// A trace in nginx's or Apache's format; the first byte says how it is replayed.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
pub fn trace_combined(input: &[u8]) {
    trace(TraceFormat::Combined, input);
}

/// A trace of comma-separated values, with a header or without.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
pub fn trace_csv(input: &[u8]) {
    let names = ["t", "m", "p"].map(|n| Column::Name(n.to_owned()));
    for [time, method, path] in [names, [1, 2, 3].map(Column::Position)] {
        let (method, path) = (Some(method), Some(path));
        trace(TraceFormat::Csv { time, method, path, unit: StampUnit::S }, input);
    }
}

/// A trace of JSON lines.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
pub fn trace_jsonl(input: &[u8]) {
    let key = |k: &str| k.to_owned();
    let (method, path) = (Some(key("/r/m")), Some(key("p")));
    trace(TraceFormat::Jsonl { time: key("t"), method, path, unit: StampUnit::Ms }, input);
}

/// What every replay promises, whatever the file holds and however it is cut while it is read.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
fn trace(format: TraceFormat, input: &[u8]) {
    let (how, text) = input.split_first().unwrap_or((&0, &[]));
    let plan = TracePlan {
        file: "fuzz".to_owned(),
        format,
        speed: [1.0, 10.0, 0.001, 10_000.0][usize::from(how & 3)],
        spread: how & 4 == 0,
        request: (how & 8 == 0).then(|| "replay".to_owned()),
        max_broken: if how & 16 == 0 { u64::MAX } else { 1 },
        max_rate_rps: 1e6,
        head: TraceHead::default(),
    };
    let whole = replayed(&plan, text, text.len() + 1);
    assert_eq!(replayed(&plan, text, 1 + usize::from(how >> 5)), whole, "cut differently, read differently");
}

/// Every arrival of `text`, read `piece` bytes at a time, and how it ended.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
fn replayed(plan: &TracePlan, text: &[u8], piece: usize) -> (Vec<(u64, Vec<u8>)>, String) {
    let mut replay = Replay::new(plan, WEEK_NS, std::io::BufReader::with_capacity(piece, text));
    let mut due: Vec<(u64, Vec<u8>)> = Vec::new();
    loop {
        match replay.next_due() {
            Ok(Some(d)) => {
                assert!(due.last().is_none_or(|l| l.0 <= d.at_ns) && d.at_ns < WEEK_NS, "time turned back");
                let asks = d.request.strip_prefix(b"GET /").or(d.request.strip_prefix(b"HEAD /"));
                let asks = asks.or(d.request.strip_prefix(b"OPTIONS /"));
                let sent = asks.is_some_and(|path| path.iter().all(u8::is_ascii_graphic));
                assert!(sent || d.request.is_empty() && plan.request.is_none(), "{:?}", d.request);
                due.push((d.at_ns, d.request.to_vec()));
            }
            Ok(None) => {
                let (t, end) = replay.finish(false);
                let left_out = t.unsafe_methods + t.no_path + t.broken + t.ignored + t.beyond;
                assert_eq!(t.lines, due.len() as u64 + left_out, "a line was forgotten");
                assert!(t.broken <= plan.max_broken);
                return (due, format!("{t:?} {end:?}"));
            }
            Err(e) => {
                let told = e.to_string();
                assert!(!told.chars().any(char::is_control), "drives the terminal: {told:?}");
                return (due, told);
            }
        }
    }
}

/// What a journey promises to whoever goes through it, whatever the answers give.
fn walked(plan: &Plan, index: usize, journey: &JourneyPlan) {
    assert!(journey.start_s >= 0.0 && journey.end_s > journey.start_s && journey.end_s <= plan.duration_s());
    assert!(
        journey.users >= 1 && journey.users_from <= journey.users && journey.steps.iter().any(|s| !s.once)
    );
    assert!((0..journey.users).all(|u| journey.user_start_s(u) <= journey.end_s));
    let script = Script::new(journey, &plan.feeders).expect("texts are checked");
    let (draws, feeders) = (Draws::new(plan), Feeders::open(plan).expect("files are checked"));
    // Dots, a line's end, quotes: whatever a hostile target would send.
    let wicked = |take: &Take| take.from_answer(&holding(&take.pointer, "\r\nX: 1\"/../?"));
    let plain = |take: &Take| take.from_answer(&holding(&take.pointer, "ok"));
    let mut taken = vec![None; script.slots];
    for (i, step) in script.steps.iter().enumerate() {
        let known = Known {
            values: draws.values(index, 0, 0, i),
            data: &plan.data,
            feeders: &feeders,
            turn: draws.turn(journey, index, 0, i as u64),
            token: "token",
            username: "user",
            password: "password",
            taken: &taken,
        };
        let path = step.path.fill(&known).expect("earlier steps gave what is needed");
        assert!(path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()), "{path:?}");
        for (_, value) in &step.headers {
            let value = value.fill(&known).expect("earlier steps gave what is needed");
            assert!(!value.contains(['\r', '\n']), "a line break in {value:?}");
        }
        assert!(step.body.as_ref().is_none_or(|b| b.fill(&known).is_some()));
        for take in &step.take {
            taken[take.slot] = wicked(take).or_else(|| plain(take));
            assert!(taken[take.slot].is_some(), "{take:?}");
        }
    }
}

/// An answer that holds `value` at `pointer`.
fn holding(pointer: &str, value: &str) -> serde_json::Value {
    let keys = pointer.strip_prefix('/').into_iter().flat_map(|keys| keys.rsplit('/'));
    let keys = keys.map(|k| k.replace("~1", "/").replace("~0", "~"));
    keys.fold(value.into(), |inner, key| serde_json::json!({ key: inner }))
}

/// The parsers of single values.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
pub fn parsers(input: &str) {
    if let Ok(gate) = parse_gate(input) {
        assert!(gate.bound.is_finite() && gate.bound >= 0.0);
    }
    if let Ok(rps) = parse_rate_rps(input) {
        assert!(rps.is_finite() && rps >= 0.0);
    }
    if let Ok(ratio) = parse_ratio(input) {
        assert!((0.0..=1.0).contains(&ratio));
    }
    if let Ok(url) = TargetUrl::parse(input) {
        assert_eq!(TargetUrl::parse(&url.to_string()).as_ref(), Ok(&url));
    }
    let _ = (parse_duration(input), Host::parse(input));
}
