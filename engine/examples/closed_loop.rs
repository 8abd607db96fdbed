//! The engine's maximum throughput against a server, for comparing it with other generators.
//!
//! `cargo run --release -p squall-engine --example closed_loop -- 127.0.0.1:9099 50 5 1`
//! (address, connections, seconds, workers) prints one JSON line.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use squall_engine::endpoint::Endpoint;
use squall_engine::engine::{Job, run};
use squall_record::clock::Clock;
use squall_record::counts::Counts;
use squall_scenarios::curve::Curve;
use squall_scenarios::plan::{
    AmountLaw, Arrivals, DataPlan, LoadPlan, Mode, PhasePlan, Pick, Plan, RequestPlan, TargetPlan, Transport,
};
use squall_scenarios::workload::Workload;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let addr: SocketAddr =
        args.next().ok_or("usage: closed_loop ADDR CONNECTIONS SECONDS WORKERS")?.parse()?;
    let connections: u32 = args.next().map_or(Ok(50), |a| a.parse())?;
    let duration_s: f64 = args.next().map_or(Ok(5.0), |a| a.parse())?;
    let workers: u32 = args.next().map_or(Ok(1), |a| a.parse())?;
    let plan = plan(connections, workers, duration_s);
    let host = addr.to_string();
    let endpoint = Endpoint::Tcp(addr);
    let workload = Workload::new(&plan, &host, "")?;
    let job = Job {
        plan: &plan,
        endpoint: &endpoint,
        host: &host,
        workload: &workload,
        clock: Clock::starting_in(Duration::from_millis(200)),
    };
    let (mut counts, mut cpu_ns) = (Counts::default(), 0);
    run(&job, &AtomicBool::new(false), |tick| {
        cpu_ns += tick.generator.cpu_ns;
        for i in &tick.intervals {
            counts += &i.counts;
        }
        Ok(())
    })?;
    println!(
        "{{\"requests_per_s\":{:.0},\"cpu_us_per_request\":{:.2},\"failed\":{}}}",
        counts.ok as f64 / duration_s,
        cpu_ns as f64 / 1000.0 / counts.ok.max(1) as f64,
        counts.failed_total()
    );
    Ok(())
}

fn plan(connections: u32, workers: u32, duration_s: f64) -> Plan {
    Plan {
        name: "closed-loop".into(),
        summary: String::new(),
        seed: 1,
        target: TargetPlan::Url { url: String::new(), ca_file: None, token_env: None, allow: vec![] },
        load: LoadPlan {
            arrivals: Arrivals::Uniform,
            connections,
            max_in_flight: connections,
            timeout_ms: 2000,
            workers,
            max_rate_rps: 1e6,
            mode: Mode::Closed,
            spin_us: 0,
            coalesce_us: 0,
            pipeline: 1,
            transport: Transport::Own,
        },
        phases: vec![PhasePlan {
            name: "all".into(),
            warmup: false,
            start_s: 0.0,
            end_s: duration_s,
            curve: Curve::hold(duration_s, 0.0),
            step: false,
            mix: vec![],
            trace: None,
        }],
        requests: vec![RequestPlan {
            name: "get".into(),
            weight: 1.0,
            method: "GET".into(),
            path: "/".into(),
            headers: vec![],
            body: None,
            expect: vec![],
            declined: vec![],
            check: vec![],
            retry: None,
        }],
        data: DataPlan {
            accounts: 2,
            pick: Pick::Uniform,
            account_prefix: String::new(),
            account_digits: 1,
            amount_min: 1,
            amount_max: 1,
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
