//! `report.md`: for a CI step summary. GitHub Flavored Markdown, under [`MAX_BYTES`].

use std::fmt::Write as _;

use crate::format::{self, NONE};
use crate::journeys::CAVEAT;
use crate::report::Report;
use crate::summary::{LatencyStats, Summary};

mod faults;

/// The greatest size in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// Rows of one table at most; the rest is counted and found in `summary.json`.
pub const MAX_ROWS: usize = 60;
/// Characters of one name at most.
const MAX_NAME: usize = 120;

/// The report as Markdown.
#[must_use]
pub fn render_markdown(report: &Report) -> String {
    let s = &report.summary;
    let mut out = String::new();
    verdict(&mut out, s);
    if report.plan.has_load() {
        load(&mut out, s);
        latency(&mut out, s);
    }
    journeys(&mut out, s);
    gates(&mut out, s);
    slos(&mut out, s);
    faults::faults(&mut out, s);
    phases(&mut out, s);
    capacity(&mut out, s);
    generator(&mut out, s);
    bounded(out)
}

/// Cut at a line end when names from outside made it too long.
fn bounded(mut out: String) -> String {
    const NOTE: &str = "\n\nCut here: the whole report is in `report.html`.\n";
    if out.len() > MAX_BYTES {
        let limit = out.floor_char_boundary(MAX_BYTES - NOTE.len());
        out.truncate(out[..limit].rfind('\n').unwrap_or(limit));
        out.push_str(NOTE);
    }
    out
}

/// Text from outside, made harmless: no markup, no table breaks, no HTML, no links, one line.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, c) in text.chars().enumerate() {
        if i == MAX_NAME {
            out.push('…');
            break;
        }
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            c if c.is_control() => out.push(' '),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '|' | '!' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// A sentence of ours that may quote names from outside, between backticks.
fn sentence(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // An odd number of backticks: nobody can tell what they enclose.
    if parts.len().is_multiple_of(2) {
        return words(text);
    }
    let set = |(i, part): (usize, &&str)| {
        if i.is_multiple_of(2) { words(part) } else { format!("<code>{}</code>", escape(part)) }
    };
    parts.iter().enumerate().map(set).collect()
}

/// Escaped, however long.
fn words(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(MAX_NAME).map(|chunk| escape(&chunk.iter().collect::<String>())).collect()
}

fn table(out: &mut String, headers: &[&str], rows: &[Vec<String>]) {
    let _ = writeln!(out, "\n| {} |", headers.join(" | "));
    let rule: Vec<&str> =
        headers.iter().enumerate().map(|(i, _)| if i == 0 { "---" } else { "---:" }).collect();
    let _ = writeln!(out, "| {} |", rule.join(" | "));
    for row in rows.iter().take(MAX_ROWS) {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    if rows.len() > MAX_ROWS {
        let _ = writeln!(out, "\n{} more in `summary.json`.", rows.len() - MAX_ROWS);
    }
}

fn verdict(out: &mut String, s: &Summary) {
    let v = &s.verdict;
    let _ = writeln!(out, "## {}: {}", escape(&s.name), format::gates_word(v.gates));
    let _ = writeln!(
        out,
        "\nRun **{}** · exit code {} · {} · seed {} · {}",
        v.run.word(),
        v.exit_code,
        format::seconds(s.duration_s),
        s.seed,
        escape(&s.started_at)
    );
    if !v.reasons.is_empty() {
        out.push('\n');
    }
    for reason in v.reasons.iter().take(MAX_ROWS) {
        let _ = writeln!(out, "- {}", sentence(reason));
    }
}

fn load(out: &mut String, s: &Summary) {
    let l = &s.load;
    let n = format::count;
    let rate = |r: Option<f64>| r.map_or_else(|| NONE.to_owned(), format::rate);
    out.push_str("\n### Load\n");
    let row = vec![
        n(l.planned),
        n(l.sent),
        n(l.completed),
        n(l.ok),
        n(l.declined),
        n(l.shed),
        n(l.failed),
        n(l.dropped),
        n(l.late),
        rate(l.planned_rps),
        rate(l.achieved_rps),
    ];
    table(
        out,
        &[
            "planned",
            "sent",
            "completed",
            "ok",
            "declined",
            "shed",
            "failed",
            "dropped",
            "late",
            "planned/s",
            "achieved/s",
        ],
        &[row],
    );
    if !l.failures.is_empty() {
        let kinds: Vec<String> =
            l.failures.iter().map(|(kind, count)| format!("{} {}", escape(kind), n(*count))).collect();
        let _ = writeln!(out, "\nFailures: {}.", kinds.join(", "));
    }
    if l.retried > 0 {
        let _ = writeln!(out, "\nRetried: {} attempts beyond the first.", n(l.retried));
    }
    let a = &s.availability;
    let objective = a.budget.as_ref().map_or(1.0, |b| b.target);
    let downtime = a.downtime_s.map_or_else(|| NONE.to_owned(), format::seconds);
    let _ = writeln!(
        out,
        "\nAvailability **{}** ({} nines), downtime {downtime} of {}.",
        format::percent_or_none(a.ratio, objective),
        format::nines(a.nines, a.nines_at_least),
        format::seconds(s.measured_s)
    );
}

fn latency(out: &mut String, s: &Summary) {
    out.push_str("\n### Latency\n");
    let row = |name: &str, l: &LatencyStats| {
        let f = |figure: &str, value| format::latency(l, figure, value);
        vec![
            name.to_owned(),
            f("p50", l.p50),
            f("p90", l.p90),
            f("p95", l.p95),
            f("p99", l.p99),
            f("p99_9", l.p99_9),
            f("max", l.max),
            f("mean", l.mean),
            format::count(l.n),
        ]
    };
    let mut rows = vec![
        row("response (from the intended instant)", &s.latency_ms.response),
        row("service (from the sending)", &s.latency_ms.service),
        row("schedule lag", &s.latency_ms.schedule_lag),
    ];
    if s.requests.len() > 1 {
        rows.extend(
            s.requests
                .iter()
                .map(|r| row(&format!("response of {}", escape(&r.name)), &r.latency_ms.response)),
        );
    }
    table(out, &["clock", "p50", "p90", "p95", "p99", "p99.9", "max", "mean", "n"], &rows);
}

fn journeys(out: &mut String, s: &Summary) {
    if s.journeys.is_empty() {
        return;
    }
    out.push_str("\n### Journeys (closed loop)\n");
    let _ = writeln!(out, "\n{CAVEAT}");
    let mut rows = Vec::new();
    for j in &s.journeys {
        let i = &j.iterations;
        let _ = writeln!(
            out,
            "\n**{}**: {}, {:.0}–{:.0} s, iterations {} completed, {} abandoned, {} unfinished.",
            escape(&j.name),
            format::several(j.users, "user"),
            j.start_s,
            j.end_s,
            format::count(i.completed),
            format::count(i.abandoned),
            format::count(i.unfinished)
        );
        rows.extend(j.steps.iter().map(|step| {
            let (l, t) = (&step.load, &step.closed_loop_service_ms);
            let figure = |name: &str, value| format::latency(t, name, value);
            vec![
                escape(&format!("{}.{}", j.name, step.name)),
                format::count(l.sent),
                format::count(l.ok),
                format::count(l.declined),
                format::count(l.shed),
                format::count(l.failed),
                figure("p50", t.p50),
                figure("p95", t.p95),
                figure("p99", t.p99),
                figure("max", t.max),
            ]
        }));
    }
    let headers = ["step", "sent", "ok", "declined", "shed", "failed", "p50", "p95", "p99", "max"];
    table(out, &headers, &rows);
}

fn gates(out: &mut String, s: &Summary) {
    if s.gates.is_empty() {
        return;
    }
    out.push_str("\n### Gates\n");
    let rows: Vec<Vec<String>> = s
        .gates
        .iter()
        .map(|g| {
            let result = format::gate_word(g.result).to_owned();
            vec![escape(&g.expression), escape(&format::actual(g)), format::count(g.n), result]
        })
        .collect();
    table(out, &["gate", "actual", "n", "result"], &rows);
}

fn slos(out: &mut String, s: &Summary) {
    if s.slos.is_empty() {
        return;
    }
    out.push_str("\n### Service levels\n");
    let rows: Vec<Vec<String>> = s
        .slos
        .iter()
        .map(|slo| {
            let under = slo.under_ms.map_or_else(String::new, |ms| format!(" under {}", format::ms(ms)));
            vec![
                escape(&slo.name),
                format!("{}{under}", format::percent(slo.objective, slo.objective)),
                format::percent_or_none(slo.actual, slo.objective),
                format::budget_left(slo.budget_remaining),
                slo.worst_burn_rate.map_or_else(|| NONE.to_owned(), format::times),
                format::slo_word(slo.met).to_owned(),
            ]
        })
        .collect();
    table(out, &["SLO", "promised", "kept", "budget left", "worst burn rate", "result"], &rows);
}

fn phases(out: &mut String, s: &Summary) {
    out.push_str("\n### Phases\n");
    let rows: Vec<Vec<String>> = s
        .phases
        .iter()
        .map(|p| {
            let rate = |r: Option<f64>| r.map_or_else(|| NONE.to_owned(), format::rate);
            let r = &p.latency_ms.response;
            vec![
                if p.warmup { format!("{} (warm-up)", escape(&p.name)) } else { escape(&p.name) },
                format!("{:.0}–{:.0} s", p.start_s, p.end_s),
                rate(p.load.planned_rps),
                rate(p.load.achieved_rps),
                format::latency(r, "p50", r.p50),
                format::latency(r, "p99", r.p99),
                format::percent_or_none(p.availability, 1.0),
            ]
        })
        .collect();
    table(out, &["phase", "when", "planned", "achieved", "p50", "p99", "available"], &rows);
    for (phase, t) in s.phases.iter().filter_map(|p| Some((&p.name, p.trace.as_ref()?))) {
        let told = t.totals.told(&t.end);
        let _ = writeln!(out, "\nTrace of {}: {}.", escape(phase), escape(&told));
    }
}

fn capacity(out: &mut String, s: &Summary) {
    let c = &s.capacity;
    if c.steps.is_empty() {
        return;
    }
    out.push_str("\n### Capacity\n");
    let at_least = if c.knee_reached == Some(false) { "at least " } else { "" };
    let knee =
        c.knee_rps.map_or_else(|| "unknown".to_owned(), |k| format!("{at_least}**{}**", format::rate(k)));
    let headroom = c.headroom.map_or_else(|| "unknown".to_owned(), |h| format!("{:+.0} %", h * 100.0));
    let _ = writeln!(out, "\nKnee {knee}, headroom {headroom}.");
    if let Some(u) = &c.usl {
        let peak = u.peak_rps.map_or_else(|| "no peak".to_owned(), |p| format!("peak {}", format::rate(p)));
        let _ = writeln!(
            out,
            "\nUniversal scalability law: γ {:.1}/s, α {:.6}, β {:.8}, {peak}, {} points.",
            u.gamma, u.alpha, u.beta, u.points
        );
    }
    out.push('\n');
    for caveat in &c.caveats {
        let _ = writeln!(out, "- {}", sentence(caveat));
    }
}

fn generator(out: &mut String, s: &Summary) {
    let g = &s.generator;
    let us = |v: Option<u64>| v.map_or_else(|| NONE.to_owned(), |us| format::ms(us as f64 / 1000.0));
    out.push_str("\n### Generator\n");
    if let Some(cpu) = g.journeys_cpu_utilisation {
        let _ = writeln!(out, "\nVirtual users: CPU {:.0} % of their thread.", cpu * 100.0);
    }
    if g.workers == 0 {
        return;
    }
    let _ = writeln!(
        out,
        "\n{}, {} connections, {} transport over HTTP/{}, CPU {}, {} per request, p99 of pacing {}, of \
         schedule lag {}.",
        format::several(g.workers, "worker"),
        g.connections,
        g.transport,
        g.http,
        g.cpu_utilisation.map_or_else(|| NONE.to_owned(), |u| format!("{:.0} %", u * 100.0)),
        g.cpu_us_per_request.map_or_else(|| NONE.to_owned(), |us| format!("{us:.1} µs")),
        us(g.pacing_p99_us),
        us(g.schedule_lag_p99_us)
    );
    for note in format::wire(g) {
        let _ = writeln!(out, "\n{}", sentence(&note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_never_outgrows_a_step_summary() {
        let long = bounded("ö\n".repeat(MAX_BYTES));
        assert!(long.len() <= MAX_BYTES && long.ends_with("`report.html`.\n"));
    }

    #[test]
    fn names_cannot_leave_their_cell_or_become_markup() {
        assert_eq!(escape("<script>|x|\n[a](b) @you"), "&lt;script&gt;\\|x\\| \\[a\\]\\(b\\) &#64;you");
        assert_eq!(escape(&"x".repeat(500)).chars().count(), MAX_NAME + 1);
    }
}
