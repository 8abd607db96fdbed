//! What other programs read of a run, taken from real runs.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};

use support::{
    PATIENCE, Reaped, only_load, reference_scenario, scenario_file, squall, squall_ends, squall_runs, stderr,
    summary, told, wait_for,
};

/// What `/metrics` says in the format `accept`.
fn scrape(addr: SocketAddr, accept: &str) -> Option<String> {
    let mut s = TcpStream::connect(addr).ok()?;
    s.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {addr}\r\nAccept: {accept}\r\n\r\n");
    s.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    s.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    Some(body.to_owned())
}

/// The samples of a text by name and labels; every line must be one or a comment.
fn samples(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| {
            let (name, value) = l.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {l}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {l}")))
        })
        .collect()
}

/// The sum of a family's samples whose name begins with `prefix`.
fn sum(samples: &BTreeMap<String, f64>, prefix: &str) -> f64 {
    samples.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, v)| v).sum()
}

fn metrics_addr(log: &std::path::Path) -> SocketAddr {
    wait_for("the metrics' address", || {
        let text = std::fs::read_to_string(log).ok()?;
        let rest = text.split("metrics for Prometheus: http://").nth(1)?;
        rest.split_once("/metrics\n")?.0.parse().ok()
    })
}

fn started(args: &[&str], log: &std::path::Path) -> Reaped {
    let child: Child = squall()
        .args(args)
        .stderr(std::fs::File::create(log).unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Reaped(child)
}

#[test]
fn prometheus_reads_the_figures_of_a_run_while_it_goes_on_and_no_longer() {
    let _alone = only_load();
    let dir = tempfile::tempdir().unwrap();
    let fault = "\n[[fault]]\nname = \"slow store\"\nat = \"1s\"\nfor = \"6s\"\npoint = \"store\"\nkind = \"latency\"\ndelay = \"2ms\"\n";
    let file = scenario_file(dir.path(), &(reference_scenario(100, 6) + fault));
    let (run, log) = (dir.path().join("run"), dir.path().join("log"));
    let args =
        ["run", file.to_str().unwrap(), "--ui", "plain", "--prometheus", "0", "--out", run.to_str().unwrap()];
    let mut child = started(&args, &log);
    let addr = metrics_addr(&log);
    assert!(addr.ip().is_loopback());

    // Four seconds in, the fault acts and something was measured.
    let text = wait_for("four seconds on record", || {
        let text = scrape(addr, "application/openmetrics-text;version=1.0.0")?;
        (samples(&text)["squall_elapsed_seconds"] >= 4.0).then_some(text)
    });
    assert!(text.ends_with("# EOF\n"), "{text}");
    let s = samples(&text);
    let planned = sum(&s, "squall_requests_planned_total");
    assert!(planned > 100.0, "{text}");
    assert!(sum(&s, "squall_requests_sent_total") <= planned);
    assert!(sum(&s, "squall_requests_ended_total") <= sum(&s, "squall_requests_sent_total"));
    assert_eq!(s[r#"squall_fault_active{fault="slow store"}"#], 1.0);
    assert_eq!(s[r#"squall_phase_info{phase="hold",warmup="false"}"#], 1.0);
    assert_eq!(s["squall_target_up"], 1.0);
    assert_eq!(sum(&s, "squall_verdict{"), 1.0, "one verdict at a time: {text}");
    assert!(s["squall_generator_cpu_seconds_total"] > 0.0);
    for family in ["squall_response_seconds", "squall_service_seconds", "squall_schedule_lag_seconds"] {
        let of_pay = format!("{family}_bucket{{");
        let buckets: Vec<f64> = text
            .lines()
            .filter(|l| l.starts_with(&of_pay))
            .map(|l| samples(l).into_values().next().unwrap())
            .collect();
        assert!(buckets.len() > 10 && buckets.is_sorted(), "{family}: {buckets:?}");
        assert_eq!(buckets.last().copied().unwrap(), sum(&s, &format!("{family}_count")), "{family}");
    }
    let ended: f64 = ["ok", "declined", "timeout"]
        .iter()
        .map(|outcome| s[&format!(r#"squall_requests_ended_total{{request="pay",outcome="{outcome}"}}"#)])
        .sum();
    assert_eq!(sum(&s, "squall_response_seconds_count"), ended, "what is timed");

    // A scraper that never reads on does not keep the run from ending.
    let _silent: Vec<TcpStream> = (0..20).map_while(|_| TcpStream::connect(addr).ok()).collect();
    let status = wait_for("the run's end", || child.0.try_wait().unwrap());
    assert!(
        matches!(status.code(), Some(0 | 120 | 122)),
        "{status}: {}",
        std::fs::read_to_string(&log).unwrap()
    );
    assert!(TcpStream::connect(addr).is_err(), "the endpoint outlived the run");
    let phases = summary(&run)["phases"].as_array().unwrap().clone();
    let in_all: f64 = phases.iter().map(|p| p["load"]["planned"].as_f64().unwrap()).sum();
    assert!(planned <= in_all, "{planned} scraped, {in_all} in all");
}

#[test]
fn a_metrics_port_in_use_is_an_error_before_anything_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let o = squall_ends(["run", "quickstart", "--prometheus", &addr, "--out", run.to_str().unwrap()]);
    assert_eq!(o.status.code(), Some(104), "{}", told(&o));
    assert!(stderr(&o).contains(&addr) && stderr(&o).contains("--prometheus"), "{}", told(&o));
    assert!(!stderr(&o).contains("starting the reference") && !run.exists(), "{}", told(&o));
}

#[test]
fn a_collector_that_is_not_there_costs_a_remark_and_nothing_else() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = scenario_file(dir.path(), &reference_scenario(100, 2));
    let (run, url) = (dir.path().join("run"), format!("http://{gone}"));
    let args =
        ["run", file.to_str().unwrap(), "--ui", "none", "--otlp", &url, "--out", run.to_str().unwrap()];
    let o = squall_runs(&run, args);
    assert!(matches!(o.status.code(), Some(0 | 120)), "{}", told(&o));
    assert!(stderr(&o).contains(&format!("exports to {url}/v1/metrics were lost")), "{}", told(&o));

    let o = squall_ends(["run", "quickstart", "--otlp", "https://collector"]);
    assert_eq!(o.status.code(), Some(104), "{}", told(&o));
}

#[test]
fn the_seconds_of_a_run_open_in_a_spreadsheet() {
    let dir = tempfile::tempdir().unwrap();
    let file = scenario_file(dir.path(), &reference_scenario(100, 2));
    let run = dir.path().join("run");
    let args = ["run", file.to_str().unwrap(), "--ui", "none", "--out", run.to_str().unwrap()];
    let o = squall_runs(&run, args);
    // Whether the machine was quiet enough for a verdict is not the question here.
    assert!(matches!(o.status.code(), Some(0 | 120)), "{}", told(&o));
    let o = squall_ends(["report", run.to_str().unwrap(), "--csv", "-", "--by", "request"]);
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    let text = support::stdout(&o);
    let mut lines = text.split("\r\n").filter(|l| !l.is_empty()).map(|l| l.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let at = |name| names.iter().position(|n| *n == name).unwrap();
    let planned: u64 =
        lines.filter(|l| l[at("warmup")] == "false").map(|l| l[at("planned")].parse::<u64>().unwrap()).sum();
    assert_eq!(summary(&run)["load"]["planned"], planned, "{text}");

    let csv = dir.path().join("seconds.csv");
    let o = squall_ends(["report", run.to_str().unwrap(), "--csv", csv.to_str().unwrap()]);
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    assert!(std::fs::read_to_string(csv).unwrap().lines().count() > 3);
}

#[test]
fn a_closed_loop_measures_a_maximum_and_no_response_time() {
    let dir = tempfile::tempdir().unwrap();
    let text = reference_scenario(100, 2).replace("count(failed)==0", "count(failed)==0\", \"p(99)<1s");
    let file = scenario_file(dir.path(), &text);
    let run = dir.path().join("run");
    let args = [
        "run",
        file.to_str().unwrap(),
        "--closed",
        "2s",
        "--set",
        "load.connections=4",
        "--ui",
        "plain",
        "--out",
        run.to_str().unwrap(),
    ];
    let o = squall_runs(&run, args);
    // As fast as it goes, the generator may well be the limit.
    assert!(matches!(o.status.code(), Some(0 | 120)), "{}", told(&o));
    assert!(stderr(&o).contains("left out: 2 phases with their rates, gate `p(99)<1s`"), "{}", told(&o));
    let s = summary(&run);
    assert_eq!(s["mode"], "closed");
    assert!(s["load"]["ok"].as_u64().unwrap() > 0, "{s}");
    assert_eq!(s["load"]["planned"], s["load"]["sent"]);
    assert_eq!(s["latency_ms"]["service"]["n"], s["load"]["completed"]);
    assert_eq!(
        (&s["latency_ms"]["response"]["n"], &s["latency_ms"]["schedule_lag"]["n"]),
        (&0.into(), &0.into())
    );
    assert!(s["latency_ms"]["response"]["p99"].is_null() && s["generator"]["pacing_p99_us"].is_null(), "{s}");
    assert_eq!(s["gates"][0]["result"], "pass", "{s}");
    assert!(s["verdict"]["reasons"].to_string().contains("maximum throughput"), "{s}");
    for said in [support::stdout(&o), stderr(&o)] {
        assert!(said.contains("closed loop"), "{said}");
    }
    let wrong = squall_ends(["run", "quickstart", "--closed", "0s"]);
    assert_eq!(wrong.status.code(), Some(104), "{}", told(&wrong));
}
