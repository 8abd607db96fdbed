//! A run's seconds as CSV, for spreadsheets and notebooks.
//!
//! RFC 4180: fields apart by commas, lines ended by CRLF, text with a comma, quote or line break
//! in quotes. Numbers have a point and no grouping whatever the locale, times are milliseconds, a
//! figure that does not exist is an empty field. Columns keep their names and meaning; new ones
//! are added at the end. The columns are listed in `docs/outputs.md`.

use std::borrow::Cow;
use std::io::Write;

use squall_record::counts::Counts;
use squall_record::folder::RunFolder;
use squall_record::interval::{GeneratorSample, Interval, Tick};
use squall_record::latency::{Latency, Quantile};
use squall_record::outcome::Failure;
use squall_scenarios::plan::Plan;

use crate::error::ReportError;
use crate::report::plan_of;

/// What a line of the CSV is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// A second, all request classes and phases together, with the generator's own figures.
    Seconds,
    /// A second of one request class in one phase. A request counts in the phase in which it was
    /// intended, so that the lines of measured phases add up to the totals of `summary.json`.
    Requests,
}

/// The percentiles of each latency; the greatest value follows them.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99_9")];

/// Writes the seconds of `run` to `out`, one at a time: a long run is never held in memory.
///
/// # Errors
/// When the run cannot be read, or `out` cannot be written.
pub fn write_csv(run: &RunFolder, lines: Lines, out: impl Write) -> Result<(), ReportError> {
    let plan = plan_of(run)?;
    let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    csv.write_record(header(lines)).map_err(written)?;
    for tick in run.ticks()? {
        let tick = tick?;
        match lines {
            Lines::Seconds => csv.write_record(second(&plan, &tick)).map_err(written)?,
            Lines::Requests => {
                for i in &tick.intervals {
                    csv.write_record(request(&plan, &run.manifest.classes, i)).map_err(written)?;
                }
            }
        }
    }
    csv.flush().map_err(written)
}

fn written<E: std::fmt::Display>(e: E) -> ReportError {
    ReportError::Render { format: "the CSV", problem: e.to_string() }
}

fn header(lines: Lines) -> Vec<String> {
    let mut names: Vec<String> = ["second", "phase", "warmup"].map(str::to_owned).to_vec();
    if lines == Lines::Requests {
        names.push("request".to_owned());
    }
    names.extend(["planned", "sent", "completed", "ok", "declined", "shed", "failed"].map(str::to_owned));
    names.extend(Failure::ALL.map(|f| f.name().to_owned()));
    names.extend(["dropped", "late", "retried"].map(str::to_owned));
    for clock in ["response", "service"] {
        names.extend(QUANTILES.map(|(_, q)| format!("{clock}_{q}_ms")));
        names.push(format!("{clock}_max_ms"));
    }
    names.extend(["clipped", "schedule_lag_p99_ms", "schedule_lag_max_ms"].map(str::to_owned));
    if lines == Lines::Seconds {
        names.extend(
            ["pacing_p99_ms", "generator_cpu", "connections", "in_flight", "waiting", "pausing"]
                .map(str::to_owned),
        );
    }
    names
}

fn second(plan: &Plan, tick: &Tick) -> Vec<String> {
    let mut counts = Counts::default();
    let [mut response, mut service, mut lag] = [Latency::new(), Latency::new(), Latency::new()];
    for i in &tick.intervals {
        counts += &i.counts;
        response.merge(&i.response);
        service.merge(&i.service);
        lag.merge(&i.lag);
    }
    let mut fields = phase(plan, tick.second, usize::from(tick.generator.phase));
    fields.extend(counted(&counts));
    fields.extend(timed(&response, &service, &lag));
    let GeneratorSample { cpu_ns, wall_ns, connections, in_flight, waiting, pausing, .. } = tick.generator;
    fields.push(ms(tick.pacing.quantile(0.99)));
    fields.push(if wall_ns > 0 { format!("{:.4}", cpu_ns as f64 / wall_ns as f64) } else { String::new() });
    fields.extend([connections, in_flight, waiting, pausing].map(|n| n.to_string()));
    fields
}

fn request(plan: &Plan, classes: &[String], i: &Interval) -> Vec<String> {
    let mut fields = phase(plan, i.second, usize::from(i.phase));
    fields.push(classes.get(usize::from(i.class)).map_or_else(String::new, |c| text(c).into_owned()));
    fields.extend(counted(&i.counts));
    fields.extend(timed(&i.response, &i.service, &i.lag));
    fields
}

fn phase(plan: &Plan, second: u32, phase: usize) -> Vec<String> {
    let phase = plan.phases.get(phase);
    vec![
        second.to_string(),
        phase.map_or_else(String::new, |p| text(&p.name).into_owned()),
        phase.is_some_and(|p| p.warmup).to_string(),
    ]
}

fn counted(c: &Counts) -> impl Iterator<Item = String> {
    [c.planned, c.sent, c.completed(), c.ok, c.declined, c.shed, c.failed_total()]
        .into_iter()
        .chain(c.failed)
        .chain([c.dropped, c.late, c.retried])
        .map(|n| n.to_string())
}

fn timed(response: &Latency, service: &Latency, lag: &Latency) -> Vec<String> {
    let mut fields = Vec::new();
    for clock in [response, service] {
        fields.extend(QUANTILES.map(|(q, _)| ms(clock.quantile(q))));
        fields.push(ms(clock.max()));
    }
    // Where it is not 0, the highest figures of the line are lower bounds.
    fields.push((response.clipped() + service.clipped() + lag.clipped()).to_string());
    fields.extend([ms(lag.quantile(0.99)), ms(lag.max())]);
    fields
}

/// A histogram has whole microseconds: three decimals lose nothing.
fn ms(quantile: Option<Quantile>) -> String {
    quantile.map_or_else(String::new, |q| format!("{:.3}", q.ms()))
}

/// A name that no spreadsheet takes for a formula: what begins like one is preceded by an
/// apostrophe (OWASP, "CSV Injection").
fn text(name: &str) -> Cow<'_, str> {
    if name.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        Cow::Owned(format!("'{name}"))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_formula() {
        for name in ["=1+1", "+1", "-a", "@SUM(A1)", "\tx", "\n=1"] {
            assert!(text(name).starts_with('\''), "{name:?}");
        }
        assert_eq!(text("hold 1/3, peak"), "hold 1/3, peak");
    }
}
