//! The section that says what was run: target, load, phases, requests, faults, events.

use squall_record::event::What;
use squall_scenarios::explain::pick;
use squall_scenarios::plan::{Arrivals, FaultPlan, Mode, Profile, ServicePlan, TargetPlan, Transport};
use squall_scenarios::words;

use crate::format::{self, NONE};
use crate::html::parts::{Cell, facts, section, table};
use crate::html::sections::rate;
use crate::report::Report;
use crate::summary::{GeneratorSummary, LatencyStats, Summary};

/// Events listed at most.
const MAX_EVENTS: usize = 200;

fn reference(what: &str, service: &ServicePlan) -> String {
    let profile = match service.profile {
        Profile::Hardened => "",
        Profile::Naive => ", profile naive",
    };
    format!("{what} with {} accounts{profile}", format::count(service.accounts))
}

pub(crate) fn what_was_run(report: &Report) -> String {
    let (plan, m) = (&report.plan, &report.manifest);
    let target = match &plan.target {
        TargetPlan::Reference(service) => reference("the reference payment service", service),
        TargetPlan::Compose { service, .. } => {
            reference("the reference payment service as a stack of docker compose", service)
        }
        TargetPlan::Url { url, .. } => url.clone(),
    };
    let arrivals = match plan.load.arrivals {
        Arrivals::Uniform => "evenly spaced".to_owned(),
        Arrivals::Poisson => "Poisson".to_owned(),
        Arrivals::Bursty(b) => format!(
            "bursty ({} times the rate for {} % of the time, {} s at a time)",
            b.factor,
            b.share * 100.0,
            b.mean_s
        ),
    };
    let pace = match plan.load.mode {
        Mode::Open => format!("open loop, {arrivals} arrivals"),
        Mode::Closed => "closed loop, as fast as the connections allow".to_owned(),
    };
    let machine =
        format!("{}, {} CPUs, {} MiB, {}", m.machine.cpu, m.machine.cpus, m.machine.memory_mib, m.machine.os);
    let mut rows = vec![
        ("Target", target),
        (
            "Load",
            if plan.has_load() {
                format!(
                    "{pace}, {} connections, at most {} in flight, time-out {}, {}",
                    plan.load.connections,
                    plan.load.max_in_flight,
                    format::ms(plan.load.timeout_ms as f64),
                    format::several(plan.load.workers, "worker")
                )
            } else {
                format!("journeys alone (closed loop), time-out {}", format::ms(plan.load.timeout_ms as f64))
            },
        ),
        ("Transport", transport(plan.transport())),
    ];
    if plan.draws_accounts() {
        let drawn = format!("{} drawn {}", format::count(plan.data.accounts), pick(plan.data.pick));
        rows.push(("Accounts", drawn));
    }
    if plan.has_load() {
        rows.push(("Connections", connections(&report.summary.generator)));
    }
    rows.extend(plan.feeders.iter().map(|f| {
        let rows = if f.rows == 1 { "row" } else { "rows" };
        ("Feeder", format!("{}, {} {rows} of {} (XXH3 {})", f.name, format::count(f.rows), f.file, f.digest))
    }));
    rows.push(("Machine", machine));
    rows.push(("squall", format!("{}, scenario {}, seed {}", m.squall_version, m.scenario_hash, m.seed)));
    let mut body = facts(&rows);
    if plan.has_load() {
        body.push_str("<h3>Phases</h3>\n");
        body.push_str(&phases(&report.summary));
        body.push_str("<h3>Requests</h3>\n");
        body.push_str(&requests(report));
    }
    if !plan.faults.is_empty() {
        body.push_str("<h3>Faults planned</h3>\n");
        body.push_str(&planned_faults(&plan.faults));
    }
    body.push_str(&events(report));
    section("run", "What was run", &body)
}

/// What became of the connections, as far as the transport sees it.
fn connections(g: &GeneratorSummary) -> String {
    let opened = format!("{} open at most", format::count(g.connections.into()));
    std::iter::once(opened).chain(format::wire(g)).collect::<Vec<_>>().join("; ")
}

fn transport(transport: Transport) -> String {
    let http = transport.http().version();
    match transport {
        Transport::Own => format!("own, HTTP/{http}"),
        Transport::General { .. } => format!(
            "general, HTTP/{http}: at least twice the CPU of the own transport per request, and the first request \
             on each connection opens it"
        ),
    }
}

fn phases(s: &Summary) -> String {
    let rows: Vec<Vec<Cell>> = s
        .phases
        .iter()
        .map(|p| {
            let r = &p.latency_ms.response;
            vec![
                (if p.warmup { format!("{} (warm-up)", p.name) } else { p.name.clone() }).into(),
                format!("{:.0}–{:.0} s", p.start_s, p.end_s).into(),
                rate(p.load.planned_rps).into(),
                rate(p.load.achieved_rps).into(),
                format::latency(r, "p50", r.p50).into(),
                format::latency(r, "p99", r.p99).into(),
                format::percent_or_none(p.availability, 1.0).into(),
            ]
        })
        .collect();
    table(&["phase", "when", "planned", "achieved", "p50", "p99", "availability"], &rows)
}

fn requests(report: &Report) -> String {
    let total: f64 = report.plan.requests.iter().map(|r| r.weight).sum();
    let mixed = report.plan.phases.iter().any(|p| !p.mix.is_empty());
    let rows: Vec<Vec<Cell>> = report
        .plan
        .requests
        .iter()
        .map(|plan| {
            let found = report.summary.requests.iter().find(|r| r.name == plan.name);
            let stats = found.map(|r| &r.latency_ms.response);
            let figure = |name: &str, of: fn(&LatencyStats) -> Option<f64>| {
                stats.map_or_else(|| NONE.to_owned(), |s| format::latency(s, name, of(s)))
            };
            let share = if mixed {
                "by phase".to_owned()
            } else if total > 0.0 {
                format!("{:.0} %", plan.weight / total * 100.0)
            } else {
                NONE.to_owned()
            };
            vec![
                plan.name.clone().into(),
                Cell::Words(format!("{} {}", plan.method, plan.path)),
                share.into(),
                found.map_or_else(|| NONE.to_owned(), |r| format::count(r.load.planned)).into(),
                figure("p50", |s| s.p50).into(),
                figure("p99", |s| s.p99).into(),
                found.map_or_else(|| NONE.to_owned(), |r| format::count(r.load.failed)).into(),
            ]
        })
        .collect();
    table(&["request", "what", "share", "planned", "p50", "p99", "failed"], &rows)
}

fn planned_faults(faults: &[FaultPlan]) -> String {
    let rows: Vec<Vec<Cell>> = faults
        .iter()
        .map(|f| {
            vec![
                f.fault.name.clone().into(),
                Cell::Words(words::fault(&f.fault)),
                format!("{:.1}–{:.1} s", f.start_s, f.end_s).into(),
            ]
        })
        .collect();
    table(&["fault", "what", "when"], &rows)
}

fn events(report: &Report) -> String {
    let rows: Vec<Vec<Cell>> = report
        .events
        .iter()
        .take(MAX_EVENTS)
        .map(|e| vec![format!("{:.2} s", e.at_s).into(), Cell::Words(told(&e.what))])
        .collect();
    let more = report.events.len().saturating_sub(MAX_EVENTS);
    let more =
        if more > 0 { format!("<p class=\"meta\">{more} more in events.jsonl.</p>") } else { String::new() };
    format!(
        "<details><summary>Events ({})</summary>\n{}{more}</details>\n",
        report.events.len(),
        table(&["when", "what"], &rows)
    )
}

fn told(what: &What) -> String {
    match what {
        What::Started => "the load began".to_owned(),
        What::Phase { name, .. } => format!("phase `{name}` began"),
        What::FaultOn { fault, .. } => format!("fault `{}` on", fault.name),
        What::FaultOff { name, affected: Some(n) } => {
            format!("fault `{name}` off after {} requests", format::count(*n))
        }
        What::FaultOff { name, affected: None } => format!("fault `{name}` off"),
        What::FaultFailed { name, reason, .. } => format!("fault `{name}` failed: {reason}"),
        What::Steered { steer } => format!("the load was changed by hand: {steer}"),
        What::Aborted { reason } => format!("the run was ended: {reason}"),
        What::Mark { text } => format!("mark: {text}"),
        What::Target { up: true, reason } => format!("the target answers its health check: {reason}"),
        What::Target { up: false, reason } => {
            format!("the target stopped answering its health check: {reason}")
        }
        What::Trace { phase, replay } => {
            format!("trace of phase `{phase}`: {}", replay.totals.told(&replay.end))
        }
        What::Ended { interrupted: true } => "the run was interrupted".to_owned(),
        What::Ended { interrupted: false } => "the run ended".to_owned(),
    }
}
