//! What must hold whatever a scenario file or a `--set` says. Shared by the fuzz targets, which
//! search for inputs that break it, and by the property tests.

use squall_scenarios::explain::explain;
use squall_scenarios::gate::parse_gate;
use squall_scenarios::host::{Host, TargetUrl};
use squall_scenarios::load::load;
use squall_scenarios::overrides::Override;
use squall_scenarios::plan::Plan;
use squall_scenarios::source::Source;
use squall_scenarios::units::duration::parse_duration;
use squall_scenarios::units::rate::parse_rate_rps;
use squall_scenarios::units::ratio::parse_ratio;
use squall_scenarios::workload::Workload;

/// How many requests of an accepted plan are looked at.
const REQUESTS: u64 = 20;

/// A scenario; after a zero byte, one override a line.
#[allow(dead_code, reason = "each fuzz target uses one of the two")]
pub fn scenario(input: &str) {
    let (text, overrides) = input.split_once('\0').unwrap_or((input, ""));
    let overrides: Vec<Override> = overrides.lines().filter_map(|l| l.parse().ok()).collect();
    match load(&Source { name: "fuzz.toml".to_owned(), text: text.to_owned() }, &overrides) {
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
    assert!(plan.expected_arrivals() >= 1.0);
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
    for index in 0..REQUESTS {
        let class = workload.class(index, (index % plan.phases.len() as u64) as u16);
        workload.fill(index, class, &mut bytes);
        let request = &plan.requests[usize::from(class)];
        let text = String::from_utf8(bytes.clone()).expect("a request is UTF-8");
        let (head, _body) = text.split_once("\r\n\r\n").expect("a head ends");
        let own = 2 + usize::from(request.body.is_some());
        assert_eq!(head.split("\r\n").count(), own + request.headers.len(), "a smuggled line in {head:?}");
        assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "a bare line break in {head:?}");
        assert_eq!(head.lines().next().map(|l| l.split(' ').count()), Some(3), "{head:?}");
    }
}

/// The parsers of single values.
#[allow(dead_code, reason = "each fuzz target uses one of the two")]
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
