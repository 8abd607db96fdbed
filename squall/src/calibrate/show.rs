//! A calibration as text.

use std::fmt::Write;

use squall_record::latency::human_us;

use super::KEPT_LAG_US;
use super::result::{Calibration, Step};
use crate::text::grouped;

/// Cells of the chart.
const CHART_CELLS: usize = 40;
/// Decades of its logarithmic axis, from 1 µs.
const CHART_DECADES: f64 = 5.0;

/// One line about a step, for the progress.
#[must_use]
pub fn line(s: &Step) -> String {
    let verdict = match &s.problem {
        None => "kept".to_owned(),
        Some(problem) => format!("not kept: {problem}"),
    };
    format!("  {:>9}/s: lag p99 {}, {verdict}", whole(s.rate_rps), us(s.lag_p99_us))
}

/// The whole result.
#[must_use]
pub fn text(c: &Calibration) -> String {
    let mut out = String::new();
    let f = &c.fingerprint;
    // Writing to memory does not fail.
    let _ = writeln!(
        out,
        "{} · {} CPUs · {} · squall {}{}\n{} · {} connections · {} s at each rate, Poisson arrivals\n",
        f.cpu,
        f.cpus,
        f.os,
        f.squall_version,
        if f.optimised { "" } else { " (a debug build)" },
        counted(c.workers, "worker"),
        c.connections,
        c.seconds,
    );
    let _ = writeln!(
        out,
        "{:>11} {:>11} {:>9} {:>9} {:>9} {:>11} {:>5} {:>7}",
        "rate/s", "achieved/s", "lag p50", "p99", "max", "pacing p99", "CPU", "µs/req"
    );
    for s in &c.steps {
        let _ = writeln!(
            out,
            "{:>11} {:>11} {:>9} {:>9} {:>9} {:>11} {:>4.0}% {:>7.1}  {}",
            whole(s.rate_rps),
            whole(s.achieved_rps),
            us(s.lag_p50_us),
            us(s.lag_p99_us),
            us(s.lag_max_us),
            us(s.pacing_p99_us),
            s.cpu * 100.0,
            s.cpu_us_per_request,
            s.problem.as_ref().map_or_else(|| "✔ kept".to_owned(), |p| format!("✗ {p}")),
        );
    }
    let _ =
        write!(out, "\nSchedule lag p99 by rate, 1 µs to 100 ms, logarithmic; ┊ is {}\n", us(KEPT_LAG_US));
    for s in &c.steps {
        let _ = writeln!(out, "{:>11} {}", whole(s.rate_rps), bar(s.lag_p99_us));
    }
    let _ = writeln!(out, "\n{}", limit(c));
    if let Some(closed) = &c.closed_loop {
        let _ = writeln!(
            out,
            "Closed loop, the most that these connections carry: {}/s, {:.1} µs of CPU per request. It is a maximum \
             throughput and says nothing about punctuality.",
            whole(closed.max_rps),
            closed.cpu_us_per_request
        );
    }
    let t = &c.timers;
    let _ = writeln!(
        out,
        "Timers: a sleep of {} lasts {} longer at the median, {} at p99, {} at worst.",
        us(t.sleep_us),
        us(t.overshoot_p50_us),
        us(t.overshoot_p99_us),
        us(t.overshoot_max_us)
    );
    out
}

/// What was found, in a sentence.
fn limit(c: &Calibration) -> String {
    let bound = us(KEPT_LAG_US);
    match c.limit_rps {
        Some(rps) if c.at_least => {
            format!(
                "This machine keeps p99 schedule lag under {bound} up to ≥ {}/s: every rate tried was kept.",
                whole(rps)
            )
        }
        Some(rps) => format!("This machine keeps p99 schedule lag under {bound} up to {}/s.", whole(rps)),
        None => format!("This machine kept p99 schedule lag under {bound} at none of these rates."),
    }
}

/// A bar as long as the logarithm of `lag_us`, with a mark at [`KEPT_LAG_US`].
fn bar(lag_us: u64) -> String {
    let cell = |us: u64| ((us.max(1) as f64).log10() / CHART_DECADES * CHART_CELLS as f64).round() as usize;
    let (filled, mark) = (cell(lag_us).clamp(1, CHART_CELLS), cell(KEPT_LAG_US));
    let cells: String = (0..CHART_CELLS.min(filled.max(mark + 1)))
        .map(|i| match i {
            i if i < filled => '█',
            i if i == mark => '┊',
            _ => ' ',
        })
        .collect();
    format!("{cells} {}", us(lag_us))
}

fn whole(rps: f64) -> String {
    grouped(rps.round() as u64)
}

fn us(us: u64) -> String {
    human_us(us as f64)
}

fn counted(n: u32, thing: &str) -> String {
    if n == 1 { format!("{n} {thing}") } else { format!("{n} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::result::{ClosedLoop, Fingerprint, SCHEMA, Timers};

    fn step(rate_rps: f64, lag_p99_us: u64, problem: Option<&str>) -> Step {
        Step {
            rate_rps,
            achieved_rps: rate_rps - 1.0,
            lag_p50_us: lag_p99_us / 5,
            lag_p99_us,
            lag_max_us: lag_p99_us * 10,
            pacing_p99_us: lag_p99_us / 2,
            cpu: rate_rps / 100_000.0,
            cpu_us_per_request: 7.25,
            problem: problem.map(str::to_owned),
        }
    }

    #[test]
    fn a_table_a_chart_and_the_result() {
        let c = Calibration {
            schema: SCHEMA,
            at: "2026-11-20T10:00:00.000Z".into(),
            fingerprint: Fingerprint {
                cpu: "A processor".into(),
                cpus: 2,
                os: "Linux 6.1".into(),
                squall_version: "0.1.0".into(),
                optimised: true,
            },
            workers: 1,
            connections: 64,
            seconds: 3,
            limit_rps: Some(20_000.0),
            at_least: false,
            steps: vec![
                step(5_000.0, 31, None),
                step(20_000.0, 740, None),
                step(40_000.0, 61_000, Some("late")),
                step(80_000.0, 700_000_000, Some("123 of 240 were not answered in time")),
            ],
            closed_loop: Some(ClosedLoop { max_rps: 71_234.4, cpu_us_per_request: 6.1 }),
            timers: Timers {
                sleep_us: 100,
                overshoot_p50_us: 5,
                overshoot_p99_us: 60,
                overshoot_max_us: 900,
            },
        };
        insta::assert_snapshot!(text(&c));
        assert!(text(&Calibration { at_least: true, ..c.clone() }).contains("≥ 20,000/s"));
        assert!(text(&Calibration { limit_rps: None, ..c }).contains("at none of these rates"));
    }
}
