//! A plan as text: what will be sent when, what goes wrong, and what decides about passing.

use std::fmt::Write;

use crate::plan::{
    AmountLaw, Arrivals, CheckPlan, DataPlan, Expected, ExperimentPlan, FeederOrder, FeederPlan, GatePlan,
    Jitter, JourneyPlan, LoadPlan, PhasePlan, Pick, Plan, Profile, RetryCause, RetryPlan, ServicePlan,
    SloPlan, TargetPlan, Transport,
};
use crate::units::duration::format_seconds;
use crate::units::number::{grouped, trimmed};
use crate::units::rate::format_rate;
use crate::units::ratio::format_ratio;
use crate::words;

/// Columns of the rate curve.
const CURVE_COLUMNS: usize = 60;
/// Heights of the rate curve, from nothing to the peak.
const HEIGHTS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// `plan` as text for a terminal, at most about 100 columns wide, ending with a newline.
#[must_use]
pub fn explain(plan: &Plan) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = head(&mut out, plan)
        .and_then(|()| if plan.has_load() { open_loop(&mut out, plan) } else { Ok(()) })
        .and_then(|()| journeys(&mut out, plan))
        .and_then(|()| faults(&mut out, plan))
        .and_then(|()| promises(&mut out, plan));
    out
}

fn open_loop(out: &mut String, plan: &Plan) -> std::fmt::Result {
    phases(out, plan)?;
    curve(out, plan)?;
    requests(out, plan)
}

fn service(out: &mut String, started: &str, plan: ServicePlan) -> std::fmt::Result {
    let profile = match plan.profile {
        Profile::Hardened => "",
        Profile::Naive => ", profile naive",
    };
    writeln!(
        out,
        "target    the reference payment service{started}, {} accounts with {} minor units each{profile}",
        grouped(plan.accounts as f64),
        grouped(plan.opening_balance as f64)
    )
}

fn head(out: &mut String, plan: &Plan) -> std::fmt::Result {
    writeln!(out, "{}", plan.name)?;
    if !plan.summary.is_empty() {
        writeln!(out, "{}", plan.summary)?;
    }
    writeln!(out)?;
    match &plan.target {
        TargetPlan::Reference(plan) => service(out, "", *plan)?,
        TargetPlan::Compose { service: plan, file } => {
            let file = file.as_ref().map_or_else(String::new, |f| format!(" ({f})"));
            service(out, &format!(" as a stack of docker compose{file}"), *plan)?;
        }
        TargetPlan::Url { url, ca_file, token_env, .. } => {
            let token = token_env.as_ref().map_or_else(String::new, |t| format!(", bearer token from ${t}"));
            let trust = ca_file.as_ref().map_or_else(String::new, |f| format!(", trusting {f}"));
            writeln!(out, "target    {url}{token}{trust}")?;
        }
    }
    if plan.has_load() {
        load(out, &plan.load)?;
    } else {
        let timeout = format_seconds(plan.load.timeout_ms as f64 / 1e3);
        writeln!(out, "load      journeys alone (closed loop), timeout {timeout}")?;
    }
    if plan.draws_accounts() {
        data(out, &plan.data)?;
    }
    plan.feeders.iter().try_for_each(|f| feeder(out, plan, f))?;
    writeln!(out, "seed      {}", plan.seed)
}

fn load(out: &mut String, load: &LoadPlan) -> std::fmt::Result {
    let arrivals = match load.arrivals {
        Arrivals::Poisson => "poisson",
        Arrivals::Uniform => "uniform",
        Arrivals::Bursty(_) => "bursty",
    };
    writeln!(
        out,
        "load      {arrivals} arrivals, {}, at most {} in flight, timeout {}, {}",
        plural(load.connections, "connection"),
        grouped(f64::from(load.max_in_flight)),
        format_seconds(load.timeout_ms as f64 / 1e3),
        plural(load.workers, "worker"),
    )?;
    if let Arrivals::Bursty(b) = load.arrivals {
        writeln!(
            out,
            "bursts    {} times the rate for {} of the time, {} at a time; {} times it in between",
            trimmed(b.factor, 2),
            format_ratio(b.share),
            format_seconds(b.mean_s),
            trimmed(b.calm_factor(), 2),
        )?;
    }
    if load.pipeline > 1 {
        writeln!(out, "pipeline  up to {} requests at once on a connection", load.pipeline)?;
    }
    if let Transport::General { http } = load.transport {
        writeln!(
            out,
            "transport general, HTTP/{}: at least twice the CPU of the own one per request",
            http.version()
        )?;
    }
    Ok(())
}

fn data(out: &mut String, data: &DataPlan) -> std::fmt::Result {
    writeln!(
        out,
        "data      {} accounts drawn {}, amounts {} to {}{}",
        grouped(data.accounts as f64),
        pick(data.pick),
        grouped(data.amount_min as f64),
        grouped(data.amount_max as f64),
        law(&data.amount)
    )
}

fn feeder(out: &mut String, plan: &Plan, feeder: &FeederPlan) -> std::fmt::Result {
    let order = match feeder.order {
        FeederOrder::Sequential => "one after the other",
        FeederOrder::Random => "drawn uniformly",
        FeederOrder::PerUser => "one for each virtual user",
    };
    let rows = grouped(feeder.rows as f64);
    let s = if feeder.rows == 1 { "" } else { "s" };
    let start = format!("${{{}.", feeder.name);
    let asks = plan.requests.iter().any(|r| r.texts().any(|t| t.contains(&start)));
    let walks = |j: &&JourneyPlan| j.steps.iter().any(|s| s.texts().any(|t| t.contains(&start)));
    let users = plan.journeys.iter().filter(walks).map(|j| j.users).max().unwrap_or(0);
    // A row for every arrival, whichever class it is of.
    let rounds = plan.estimated_arrivals() / feeder.rows as f64;
    let rounds = match feeder.order {
        FeederOrder::Sequential if asks && rounds > 1.0 => {
            format!(", about {} times round", trimmed(rounds, 1))
        }
        FeederOrder::PerUser if u64::from(users) > feeder.rows => {
            format!("; {} share them", plural(users, "user"))
        }
        _ => String::new(),
    };
    writeln!(out, "feeder    {}: {rows} row{s} of {}, {order}{rounds}", feeder.name, feeder.file)
}

/// How accounts are drawn, in words that follow "drawn".
#[must_use]
pub fn pick(pick: Pick) -> String {
    match pick {
        Pick::Uniform => "uniformly".to_owned(),
        Pick::Zipf { exponent } => format!("by Zipf's law with exponent {exponent}"),
        Pick::HotSet { hot_accounts, hot_share } => {
            format!("{} of the time from the first {}", format_ratio(hot_share), grouped(hot_accounts as f64))
        }
        Pick::Sequential => "one after the other".to_owned(),
    }
}

/// What is to be said of an amount's law beside its range.
fn law(law: &AmountLaw) -> String {
    match law {
        AmountLaw::Uniform => String::new(),
        AmountLaw::Lognormal { median, p99 } => {
            format!(", lognormal with median {} and p99 {}", grouped(*median), grouped(*p99))
        }
        AmountLaw::Exponential { mean } => format!(", exponential with mean {}", grouped(*mean)),
        AmountLaw::Values { values, .. } => format!(", one of {}", plural(values.len() as u32, "value")),
    }
}

fn phases(out: &mut String, plan: &Plan) -> std::fmt::Result {
    let width = plan.phases.iter().map(|p| p.name.chars().count()).max().unwrap_or(0).max(5);
    writeln!(out, "\n{:width$}  {:>9}  {:>9}  {:>19}  {:>14}", "phase", "from", "to", "rate", "arrivals")?;
    for p in &plan.phases {
        let (from_rps, to_rps) = p.curve.ends_rps();
        let rate = if let Some(trace) = &p.trace {
            format!("about {}", format_rate(trace.head.rate_rps))
        } else if from_rps == to_rps {
            format_rate(from_rps)
        } else {
            let swings = p.curve.points().first().map(|c| c.rps) != Some(from_rps)
                || p.curve.points().last().map(|c| c.rps) != Some(to_rps);
            let to = if swings { "to" } else { "→" };
            format!("{} {to} {}", format_rate(from_rps), format_rate(to_rps))
        };
        writeln!(
            out,
            "{:width$}  {:>9}  {:>9}  {rate:>19}  {:>14}{}",
            p.name,
            instant(p.start_s),
            instant(p.end_s),
            about(p.estimated_arrivals(), p.trace.is_some()),
            if p.warmup { "  warm-up, not judged" } else { "" }
        )?;
    }
    mixes(out, plan)?;
    traces(out, plan)?;
    let judged: f64 = plan.phases.iter().filter(|p| !p.warmup).map(PhasePlan::estimated_arrivals).sum();
    writeln!(
        out,
        "{:width$}  {:>9}  {:>9}  {:>19}  {:>14}",
        "total",
        "",
        format_seconds(plan.duration_s()),
        format!("peak {}", format_rate(plan.estimated_peak_rps())),
        about(plan.estimated_arrivals(), plan.has_trace())
    )?;
    if judged < plan.estimated_arrivals() {
        let judged = about(judged, plan.has_trace());
        writeln!(out, "{:width$}  {:>9}  {:>9}  {:>19}  {judged:>14}", "judged", "", "", "")?;
    }
    let expected = plan.expected_arrivals();
    match plan.load.arrivals {
        // What is recorded comes when it came.
        _ if expected == 0.0 => Ok(()),
        Arrivals::Uniform => Ok(()),
        Arrivals::Poisson => {
            writeln!(out, "arrivals are expected values: a Poisson count varies by about its square root")
        }
        Arrivals::Bursty(_) => writeln!(
            out,
            "arrivals are expected values: with these bursts the total varies by up to about {}",
            grouped(plan.count_variance(expected).sqrt())
        ),
    }
}

/// Recorded traffic, as far as the beginning of its file tells.
fn traces(out: &mut String, plan: &Plan) -> std::fmt::Result {
    for (p, trace) in plan.phases.iter().filter_map(|p| Some((p, p.trace.as_ref()?))) {
        let what = match &trace.request {
            Some(class) => format!("sent as recorded, with the headers of {class}"),
            None => "only its instants, with the requests below".to_owned(),
        };
        writeln!(
            out,
            "trace of {}: {} at speed {}, {} bytes, about {} records; {what}",
            p.name,
            trace.file,
            trace.speed,
            grouped(trace.head.size_bytes as f64),
            grouped(trace.head.records as f64),
        )?;
    }
    Ok(())
}

/// A number of arrivals, marked when a trace makes it a guess.
fn about(arrivals: f64, is_guess: bool) -> String {
    if is_guess { format!("about {}", grouped(arrivals)) } else { grouped(arrivals) }
}

/// The phases that mix the requests in their own way, the steps of a staircase together.
fn mixes(out: &mut String, plan: &Plan) -> std::fmt::Result {
    let mut told: Vec<&str> = Vec::new();
    for p in plan
        .phases
        .iter()
        .filter(|p| !p.mix.is_empty() && p.trace.as_ref().is_none_or(|t| t.request.is_none()))
    {
        let name =
            if p.step { p.name.rsplit_once(' ').map_or(&*p.name, |(stairs, _)| stairs) } else { &p.name };
        if told.contains(&name) {
            continue;
        }
        told.push(name);
        let shares = plan.requests.iter().enumerate().map(|(c, r)| (r, plan.share(c, p)));
        let shares: Vec<String> = shares
            .filter(|(_, share)| *share > 0.0)
            .map(|(r, share)| format!("{} {}%", r.name, trimmed(share * 100.0, 2)))
            .collect();
        writeln!(out, "in {name}: {}", shares.join(", "))?;
    }
    Ok(())
}

/// The rate over time, and a row for each fault under it.
fn curve(out: &mut String, plan: &Plan) -> std::fmt::Result {
    let (end_s, peak_rps) = (plan.duration_s(), plan.estimated_peak_rps());
    let column_s = end_s / CURVE_COLUMNS as f64;
    let bar = |column: usize| {
        // The highest in the column, so that no spike is too short to be seen.
        let from_s = column as f64 * column_s;
        let traced = plan.phases.get(plan.phase_at(from_s + column_s / 2.0)).and_then(|p| p.trace.as_ref());
        let rps = traced.map_or_else(|| plan.peak_between(from_s, from_s + column_s), |t| t.head.rate_rps);
        let share = if peak_rps > 0.0 { rps / peak_rps } else { 0.0 };
        // Any load at all is seen.
        HEIGHTS[if share > 0.0 { (share * 8.0).round().clamp(1.0, 8.0) as usize } else { 0 }]
    };
    let row: String = (0..CURVE_COLUMNS).map(bar).collect();
    let width = plan.faults.iter().map(|f| f.fault.name.chars().count()).max().unwrap_or(0).max(4);
    writeln!(out, "\n{:width$} |{row}| peak {}", "rate", format_rate(peak_rps))?;
    for f in &plan.faults {
        // A fault shorter than a column still fills the one it lies in.
        let row: String = (0..CURVE_COLUMNS)
            .map(|c| {
                let (from, to) = (c as f64 * column_s, (c + 1) as f64 * column_s);
                if f.start_s < to && f.end_s > from { '▒' } else { '·' }
            })
            .collect();
        writeln!(out, "{:width$} |{row}|", f.fault.name)?;
    }
    writeln!(out, "{:width$}  0s{:>w$}", "", format_seconds(end_s), w = CURVE_COLUMNS - 2)
}

/// A point on the time axis, to the millisecond.
fn instant(at_s: f64) -> String {
    format_seconds((at_s * 1e3).round() / 1e3)
}

fn requests(out: &mut String, plan: &Plan) -> std::fmt::Result {
    let total: f64 = plan.requests.iter().map(|r| r.weight).sum();
    let width = plan.requests.iter().map(|r| r.name.len()).max().unwrap_or(0);
    writeln!(out, "\nrequests")?;
    for r in &plan.requests {
        let list = |statuses: &[u16]| statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
        let expect = if r.expect.is_empty() { "2xx".to_owned() } else { list(&r.expect) };
        let declined =
            if r.declined.is_empty() { String::new() } else { format!(", declined {}", list(&r.declined)) };
        writeln!(
            out,
            "  {:width$}  {:>6}  {:<6} {}  (ok {expect}{declined})",
            r.name,
            format!("{}%", trimmed(r.weight / total * 100.0, 2)),
            r.method,
            r.path,
        )?;
        for check in &r.check {
            writeln!(out, "  {:width$}          whose answer {}", "", expectation(check))?;
        }
        if let Some(retry) = &r.retry {
            writeln!(out, "  {:width$}          {}", "", again(retry))?;
        }
    }
    Ok(())
}

fn expectation(check: &CheckPlan) -> String {
    let at = if check.pointer.is_empty() { "the whole body" } else { &check.pointer };
    match &check.expected {
        Expected::Exists => format!("has {at}"),
        Expected::Absent => format!("has no {at}"),
        Expected::Equals { value } => format!("has {value} at {at}"),
    }
}

fn again(retry: &RetryPlan) -> String {
    let mut on: Vec<String> = retry
        .on
        .iter()
        .map(|c| match c {
            RetryCause::Timeout => "timeout",
            RetryCause::Refused => "refused",
            RetryCause::Reset => "reset",
            RetryCause::ServerError => "server error",
            RetryCause::Shed => "shed",
        })
        .map(str::to_owned)
        .collect();
    on.extend(retry.statuses.iter().map(u16::to_string));
    let pause = |ms: f64| format_seconds(ms / 1e3);
    let jitter = match retry.jitter {
        Jitter::Full => ", full jitter",
        Jitter::None => "",
    };
    format!(
        "up to {} attempts on {}, pauses of {} × {} up to {}{jitter}",
        retry.attempts,
        on.join(", "),
        pause(retry.backoff_ms),
        trimmed(retry.factor, 2),
        pause(retry.max_backoff_ms),
    )
}

fn faults(out: &mut String, plan: &Plan) -> std::fmt::Result {
    if plan.faults.is_empty() {
        return Ok(());
    }
    let width = plan.faults.iter().map(|f| f.fault.name.chars().count()).max().unwrap_or(0);
    writeln!(out, "\nfaults")?;
    for f in &plan.faults {
        writeln!(
            out,
            "  {:width$}  {} to {}  {}",
            f.fault.name,
            instant(f.start_s),
            instant(f.end_s),
            words::fault(&f.fault),
        )?;
    }
    Ok(())
}

/// Who goes through what when; how often follows from the answers, so no number of requests stands here.
fn journeys(out: &mut String, plan: &Plan) -> std::fmt::Result {
    for j in &plan.journeys {
        let users = if j.users_from == j.users {
            plural(j.users, "virtual user")
        } else {
            let over = format_seconds(j.ramp_s);
            format!("{} → {} over {over}", grouped(f64::from(j.users_from)), plural(j.users, "virtual user"))
        };
        let pause = |ms: f64| format_seconds(ms / 1e3);
        let think = match (j.think_min_ms, j.think_max_ms) {
            (_, 0.0) => "no think time".to_owned(),
            (min, max) if min == max => format!("think {}", pause(min)),
            (min, max) => format!("think {} to {}", pause(min), pause(max)),
        };
        let (from, to) = (instant(j.start_s), instant(j.end_s));
        writeln!(out, "\njourney {} (closed loop)  {from} to {to}, {users}, {think}", j.name)?;
        let width = j.steps.iter().map(|s| s.name.len()).max().unwrap_or(0);
        for s in &j.steps {
            let names: Vec<&str> = s.take.iter().map(|(n, _)| n.as_str()).collect();
            let takes =
                if names.is_empty() { String::new() } else { format!("  takes {}", names.join(", ")) };
            let once = if s.once { "  once a session" } else { "" };
            writeln!(out, "  {:width$}  {:<6} {}{takes}{once}", s.name, s.method, s.path)?;
        }
    }
    Ok(())
}

fn promises(out: &mut String, plan: &Plan) -> std::fmt::Result {
    if !plan.slos.is_empty() {
        let width = plan.slos.iter().map(|s| s.name.chars().count()).max().unwrap_or(0);
        writeln!(out, "\nSLOs")?;
        for s in &plan.slos {
            writeln!(out, "  {:width$}  {}", s.name, promise(s))?;
        }
    }
    if let Some(e) = &plan.experiment {
        experiment(out, e)?;
    }
    if plan.gates.is_empty() {
        let steady = plan.experiment.as_ref().is_some_and(|e| !e.steady_state.is_empty());
        let passes =
            if steady { "the steady state alone decides" } else { "the run passes whatever happens" };
        return writeln!(out, "\nno gates: {passes}");
    }
    writeln!(out, "\ngates")?;
    plan.gates.iter().try_for_each(|g| writeln!(out, "  {}", g.expression))
}

/// What must hold around the faults, and what ends the run.
fn experiment(out: &mut String, e: &ExperimentPlan) -> std::fmt::Result {
    writeln!(out, "\nexperiment, over {} s each time", e.window_s)?;
    let row = |out: &mut String, what: &str, gates: &[GatePlan]| match gates {
        [] => Ok(()),
        gates => {
            let all: Vec<&str> = gates.iter().map(|g| g.expression.as_str()).collect();
            writeln!(out, "  {what:<13} {}", all.join(", "))
        }
    };
    row(out, "steady state", &e.steady_state)?;
    row(out, "ends the run", &e.abort)?;
    writeln!(out, "  {:<13} {:.0} % of requests at most", "blast radius", e.blast_radius * 100.0)?;
    if e.control > 0.0 {
        writeln!(
            out,
            "  {:<13} {:.0} % of requests, which faults pass over",
            "control lane",
            e.control * 100.0
        )?;
    }
    Ok(())
}

fn promise(slo: &SloPlan) -> String {
    let of = slo.request.as_ref().map_or_else(String::new, |r| format!(" of {r}"));
    let within = slo.under_ms.map_or_else(String::new, |ms| format!(" within {}", format_seconds(ms / 1e3)));
    format!("{}{of} good{within}", format_ratio(slo.objective))
}

fn plural(n: u32, what: &str) -> String {
    format!("{} {what}{}", grouped(f64::from(n)), if n == 1 { "" } else { "s" })
}
