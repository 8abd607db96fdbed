//! The summary on the terminal: at most [`WIDTH`] columns, and readable without colour.

use crate::format::{self, NONE};
use crate::generator::RunVerdict;
use crate::journeys::CAVEAT;
use crate::report::Report;
use crate::summary::{GateResult, GatesVerdict, LatencyStats, Summary};

mod faults;

/// Columns at most.
pub const WIDTH: usize = 80;

/// The summary of `report`, with ANSI colours when `colour` is set.
#[must_use]
pub fn render_text(report: &Report, colour: bool) -> String {
    let mut page = Page { out: String::new(), colour };
    let s = &report.summary;
    header(&mut page, s);
    if report.plan.has_load() {
        load(&mut page, s);
        latency(&mut page, s);
        availability(&mut page, s);
        phases(&mut page, s);
    }
    journeys(&mut page, s);
    faults::faults(&mut page, s);
    slos(&mut page, s);
    gates(&mut page, s);
    capacity(&mut page, s);
    generator(&mut page, s);
    page.out
}

/// How urgent a word is.
#[derive(Clone, Copy)]
enum Tone {
    Good,
    Bad,
    Doubtful,
}

struct Page {
    out: String,
    colour: bool,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    /// A heading, and whatever follows it, after an empty line.
    fn heading(&mut self, text: &str) {
        self.line("");
        self.line(text);
    }

    fn tinted(&self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Doubtful => "33",
        };
        if self.colour { format!("\x1b[1;{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// `text` broken at spaces, each line behind `indent` columns, the first behind `first`.
    fn wrapped(&mut self, first: &str, text: &str) {
        let indent = width(first);
        let mut line = first.to_owned();
        let mut used = indent;
        for word in plain(text).split(' ') {
            // A word too long for any line is cut: no line may be wider than the page.
            let word = fit(word, WIDTH - indent);
            if used > indent && used + 1 + width(&word) > WIDTH {
                self.line(&line);
                line = " ".repeat(indent);
                used = indent;
            }
            if used > indent {
                line.push(' ');
                used += 1;
            }
            line.push_str(&word);
            used += width(&word);
        }
        self.line(&line);
    }
}

/// Control characters, which could move the cursor or change colours, shown as `?`.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// `text` in at most `columns` columns, `…` for what does not fit.
fn fit(text: &str, columns: usize) -> String {
    let text = plain(text);
    if width(&text) <= columns {
        return text;
    }
    let mut cut: String = text.chars().take(columns.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// `text` in exactly `columns` columns, to the left.
fn left(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    let space = columns - width(&text);
    text + &" ".repeat(space)
}

/// `text` in exactly `columns` columns, to the right.
fn right(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    " ".repeat(columns - width(&text)) + &text
}

fn header(page: &mut Page, s: &Summary) {
    let what = format!("{} · {} · seed {} · {}", s.name, format::seconds(s.duration_s), s.seed, s.started_at);
    page.line(&fit(&what, WIDTH));
    page.line("");
    let v = &s.verdict;
    let tone = match v.gates {
        GatesVerdict::Pass | GatesVerdict::None => Tone::Good,
        GatesVerdict::Fail => Tone::Bad,
        GatesVerdict::Inconclusive => Tone::Doubtful,
    };
    let run_tone = match v.run {
        RunVerdict::Valid => Tone::Good,
        RunVerdict::Suspect => Tone::Doubtful,
        RunVerdict::Invalid => Tone::Bad,
    };
    let line = format!(
        "{}   run {}   exit code {}",
        page.tinted(format::gates_word(v.gates), tone),
        page.tinted(v.run.word(), run_tone),
        v.exit_code
    );
    page.line(&line);
    for reason in &v.reasons {
        page.wrapped("  · ", reason);
    }
}

fn load(page: &mut Page, s: &Summary) {
    let l = &s.load;
    let n = format::count;
    page.heading(&format!(
        "load         planned {}   sent {}   dropped {}   late {}",
        n(l.planned),
        n(l.sent),
        n(l.dropped),
        n(l.late)
    ));
    page.line(&format!(
        "             completed {}   ok {}   declined {}   shed {}",
        n(l.completed),
        n(l.ok),
        n(l.declined),
        n(l.shed)
    ));
    let kinds: Vec<String> = l.failures.iter().map(|(kind, count)| format!("{kind} {}", n(*count))).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!("   {}", kinds.join("   ")) };
    page.wrapped("             ", &format!("failed {}{kinds}", n(l.failed)));
    if l.retried > 0 {
        page.line(&format!("             retried {}   attempts beyond the first", n(l.retried)));
    }
    let rate = |r: Option<f64>| r.map_or_else(|| NONE.to_owned(), format::rate);
    page.line(&format!("             {} planned   {} achieved", rate(l.planned_rps), rate(l.achieved_rps)));
}

fn latency(page: &mut Page, s: &Summary) {
    page.heading(&format!(
        "latency      {}{}{}{}{}{}",
        right("p50", 10),
        right("p90", 11),
        right("p99", 11),
        right("p99.9", 11),
        right("max", 11),
        right("mean", 11)
    ));
    for (name, l) in [
        ("response", &s.latency_ms.response),
        ("service", &s.latency_ms.service),
        ("schedule lag", &s.latency_ms.schedule_lag),
    ] {
        page.line(&format!("{}{}", left(name, 13), latency_row(l)));
    }
    page.line(&format!("             n = {} timed requests", format::count(s.latency_ms.service.n)));
}

fn latency_row(l: &LatencyStats) -> String {
    [("p50", l.p50), ("p90", l.p90), ("p99", l.p99), ("p99_9", l.p99_9), ("max", l.max), ("mean", l.mean)]
        .into_iter()
        .enumerate()
        .map(|(i, (name, value))| right(&format::latency(l, name, value), if i == 0 { 10 } else { 11 }))
        .collect()
}

fn availability(page: &mut Page, s: &Summary) {
    let a = &s.availability;
    let objective = a.budget.as_ref().map_or(1.0, |b| b.target);
    let downtime = a.downtime_s.map_or_else(|| NONE.to_owned(), format::seconds);
    page.heading(&format!(
        "availability {}   {} nines   downtime {downtime} of {}",
        format::percent_or_none(a.ratio, objective),
        format::nines(a.nines, a.nines_at_least),
        format::seconds(s.measured_s)
    ));
    if let Some(b) = &a.budget {
        let left = format::budget_left(b.remaining_ratio);

        page.line(&format!(
            "             error budget at {}: {} spent of {} allowed, {left} left",
            format::percent(b.target, b.target),
            format::count(b.spent),
            format::count(b.allowed.round() as u64)
        ));
    }
}

fn phases(page: &mut Page, s: &Summary) {
    page.heading(&format!(
        "{}{}{}{}{}{}",
        left("phase", 24),
        right("seconds", 11),
        right("planned", 11),
        right("achieved", 11),
        right("p99", 11),
        right("available", 11)
    ));
    for p in &s.phases {
        let name = if p.warmup { format!("{} (warm-up)", p.name) } else { p.name.clone() };
        let rate = |r: Option<f64>| r.map_or_else(|| NONE.to_owned(), format::rate);
        page.line(&format!(
            "{}{}{}{}{}{}",
            left(&name, 24),
            right(&format!("{:.0}–{:.0}", p.start_s, p.end_s), 11),
            right(&rate(p.load.planned_rps), 11),
            right(&rate(p.load.achieved_rps), 11),
            right(&format::latency(&p.latency_ms.response, "p99", p.latency_ms.response.p99), 11),
            right(&format::percent_or_none(p.availability, 1.0), 11)
        ));
    }
    for (phase, t) in s.phases.iter().filter_map(|p| Some((&p.name, p.trace.as_ref()?))) {
        page.line(&format!("trace of {phase}: {}", t.totals.told(&t.end)));
    }
}

fn journeys(page: &mut Page, s: &Summary) {
    if s.journeys.is_empty() {
        return;
    }
    page.heading("journeys (closed loop)");
    page.wrapped("  ", CAVEAT);
    for j in &s.journeys {
        let i = &j.iterations;
        let n = format::count;
        page.wrapped(
            "  ",
            &format!(
                "{}: {}, {:.0}–{:.0} s, iterations {} completed, {} abandoned, {} unfinished",
                fit(&j.name, 24),
                format::several(j.users, "user"),
                j.start_s,
                j.end_s,
                n(i.completed),
                n(i.abandoned),
                n(i.unfinished)
            ),
        );
        page.line(&format!(
            "  {}{}{}{}{}{}{}{}",
            left("step", 16),
            right("sent", 9),
            right("ok", 9),
            right("declined", 9),
            right("shed", 7),
            right("failed", 8),
            right("p50", 10),
            right("p99", 10)
        ));
        for step in &j.steps {
            let (l, t) = (&step.load, &step.closed_loop_service_ms);
            page.line(&format!(
                "  {}{}{}{}{}{}{}{}",
                left(&step.name, 16),
                right(&n(l.sent), 9),
                right(&n(l.ok), 9),
                right(&n(l.declined), 9),
                right(&n(l.shed), 7),
                right(&n(l.failed), 8),
                right(&format::latency(t, "p50", t.p50), 10),
                right(&format::latency(t, "p99", t.p99), 10)
            ));
        }
    }
}

fn slos(page: &mut Page, s: &Summary) {
    if s.slos.is_empty() {
        return;
    }
    page.heading(&format!(
        "{}{}{}{}{}",
        left("SLO", 24),
        right("promised", 11),
        right("kept", 13),
        right("budget left", 13),
        right("worst burn", 12)
    ));
    for slo in &s.slos {
        let (tone, word) = (tone_of(slo.met), format::slo_word(slo.met));
        let budget = format::budget_left(slo.budget_remaining);
        let burn = slo.worst_burn_rate.map_or_else(|| NONE.to_owned(), format::times);
        page.line(&format!(
            "{}{}{}{}{}",
            left(&slo.name, 24),
            right(&format::percent(slo.objective, slo.objective), 11),
            right(&format::percent_or_none(slo.actual, slo.objective), 13),
            right(&budget, 13),
            right(&burn, 12)
        ));
        let under = slo.under_ms.map_or_else(String::new, |ms| format!("   under {}", format::ms(ms)));
        let class = slo.request.as_ref().map_or_else(String::new, |r| format!("   `{}` only", fit(r, 24)));
        let line = format!("  {}{under}{class}", page.tinted(word, tone));
        page.line(&line);
    }
}

fn tone_of(held: Option<bool>) -> Tone {
    match held {
        Some(true) => Tone::Good,
        Some(false) => Tone::Bad,
        None => Tone::Doubtful,
    }
}

fn gates(page: &mut Page, s: &Summary) {
    if s.gates.is_empty() {
        return;
    }
    page.heading("gates");
    for g in &s.gates {
        let tone = tone_of(match g.result {
            GateResult::Pass => Some(true),
            GateResult::Fail => Some(false),
            GateResult::Inconclusive => None,
        });
        let word = page.tinted(&left(format::gate_word(g.result), 15), tone);
        let line = format!("  {word}{}{}", left(&g.expression, 42), right(&format::actual(g), 19));
        page.line(&line);
    }
}

fn capacity(page: &mut Page, s: &Summary) {
    let c = &s.capacity;
    if c.steps.is_empty() {
        return;
    }
    let knee = match (c.knee_rps, c.knee_reached) {
        (Some(rps), Some(false)) => format!("≥ {}", format::rate(rps)),
        (Some(rps), _) => format::rate(rps),
        (None, _) => NONE.to_owned(),
    };
    let headroom = c.headroom.map_or_else(|| NONE.to_owned(), |h| format!("{:+.0} %", h * 100.0));
    page.heading(&format!("capacity     knee {knee}   headroom {headroom}"));
    if let Some(u) = &c.usl {
        let peak = match (u.peak_rps, u.peak_concurrency) {
            (Some(rps), Some(n)) => format!("{} at concurrency {n:.1}", format::rate(rps)),
            _ => "none".to_owned(),
        };
        let fit = u.r_squared.map_or_else(|| NONE.to_owned(), |r| format!("{r:.4}"));
        page.line(&format!(
            "             USL γ {:.1}/s  α {:.5}  β {:.7}  R² {fit}  peak {peak}",
            u.gamma, u.alpha, u.beta
        ));
    }
    for caveat in &c.caveats {
        page.wrapped("           ! ", caveat);
    }
}

fn generator(page: &mut Page, s: &Summary) {
    let g = &s.generator;
    if let Some(cpu) = g.journeys_cpu_utilisation {
        page.heading(&format!("virtual users   CPU {:.0} % of their thread", cpu * 100.0));
    }
    if g.workers == 0 {
        return;
    }
    let us = |v: Option<u64>| v.map_or_else(|| NONE.to_owned(), |us| format::ms(us as f64 / 1000.0));
    page.heading(&format!(
        "generator    {}   {} connections   CPU {}   {} per request",
        format::several(g.workers, "worker"),
        g.connections,
        g.cpu_utilisation.map_or_else(|| NONE.to_owned(), |u| format!("{:.0} %", u * 100.0)),
        g.cpu_us_per_request.map_or_else(|| NONE.to_owned(), |us| format!("{us:.1} µs")),
    ));
    page.line(&format!("             transport {}, HTTP/{}", g.transport, g.http));
    page.line(&format!(
        "             p99 of pacing {}   of schedule lag {}",
        us(g.pacing_p99_us),
        us(g.schedule_lag_p99_us)
    ));
    for note in format::wire(g) {
        page.wrapped("           ! ", &note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_from_outside_do_not_reach_the_terminal() {
        assert_eq!(fit("a\x1b[31mb\n", 20), "a?[31mb?");
    }

    #[test]
    fn what_does_not_fit_is_cut_with_a_mark() {
        assert_eq!((left("abcdef", 4), right("ab", 4)), ("abc…".into(), "  ab".into()));
    }

    #[test]
    fn no_wrapped_line_is_wider_than_the_page() {
        let mut page = Page { out: String::new(), colour: false };
        page.wrapped("  · ", &format!("{} {}", "word ".repeat(40), "x".repeat(200)));
        assert!(page.out.lines().all(|l| width(l) <= WIDTH), "{}", page.out);
        assert!(page.out.lines().count() > 2);
    }
}
