//! The sections of the page that say what came of the run, in words and tables.

use crate::format::{self, NONE};
use crate::html::parts::{Cell, card, class_of, class_of_met, facts, section, table};
use crate::html::{escape, prose};
use crate::summary::{GatesVerdict, LatencyStats, Summary};

pub(crate) fn rate(r: Option<f64>) -> String {
    r.map_or_else(|| NONE.to_owned(), format::rate)
}

pub(crate) fn verdict(s: &Summary) -> String {
    let v = &s.verdict;
    let class = match v.gates {
        GatesVerdict::Pass => "pass",
        GatesVerdict::Fail => "fail",
        GatesVerdict::Inconclusive => "inconclusive",
        GatesVerdict::None => "none",
    };
    let run_class = match v.run.word() {
        "VALID" => "pass",
        "SUSPECT" => "inconclusive",
        _ => "fail",
    };
    let reasons: String = v.reasons.iter().map(|r| format!("<li>{}</li>\n", prose(r))).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!("<ul>\n{reasons}</ul>\n") };
    let word = match v.gates {
        GatesVerdict::None => "No gates",
        other => format::gates_word(other),
    };
    format!(
        "<section id=\"verdict\" class=\"verdict {class}\">\n<span class=\"word\">{}</span>\
         <span class=\"chip {run_class}\">run {}</span>\
         <span class=\"chip\">exit code {}</span>\n{reasons}</section>\n",
        escape(word),
        v.run.word(),
        v.exit_code
    )
}

pub(crate) fn cards(s: &Summary) -> String {
    let (l, r, a) = (&s.load, &s.latency_ms.response, &s.availability);
    let objective = a.budget.as_ref().map_or(1.0, |b| b.target);
    let bad = l.failed + l.dropped + l.shed;
    let cpu = s.generator.cpu_utilisation.map_or_else(|| NONE.to_owned(), |u| format!("{:.0} %", u * 100.0));
    let pacing =
        s.generator.pacing_p99_us.map_or_else(|| NONE.to_owned(), |us| format::ms(us as f64 / 1000.0));
    let all = [
        card("Achieved throughput", &rate(l.achieved_rps), &format!("{} planned", rate(l.planned_rps))),
        card(
            "Response time p99",
            &format::latency(r, "p99", r.p99),
            &format!(
                "p50\u{a0}{} · p99.9\u{a0}{}",
                format::latency(r, "p50", r.p50),
                format::latency(r, "p99_9", r.p99_9)
            ),
        ),
        card(
            "Availability",
            &format::percent_or_none(a.ratio, objective),
            &format!("{} nines", format::nines(a.nines, a.nines_at_least)),
        ),
        card(
            "Not answered well",
            &format::count(bad),
            &format!(
                "{}\u{a0}failed · {}\u{a0}shed · {}\u{a0}dropped{}",
                format::count(l.failed),
                format::count(l.shed),
                format::count(l.dropped),
                if l.retried > 0 {
                    format!(" · {}\u{a0}attempts retried", format::count(l.retried))
                } else {
                    String::new()
                }
            ),
        ),
        card("Generator CPU", &cpu, &format!("pacing p99 {pacing}")),
    ];
    format!("<div class=\"cards\">\n{}</div>\n", all.concat())
}

pub(crate) fn gates(s: &Summary) -> String {
    if s.gates.is_empty() {
        return section("gates", "Gates", "<p>The scenario asks for nothing, so nothing can fail.</p>\n");
    }
    let explained = s.gates.iter().any(|g| g.reason.is_some());
    let rows: Vec<Vec<Cell>> = s
        .gates
        .iter()
        .map(|g| {
            let mut row = vec![
                g.expression.clone().into(),
                format::actual(g).into(),
                format::count(g.n).into(),
                Cell::Chip(class_of(g.result), format::gate_word(g.result)),
            ];
            row.extend(explained.then(|| Cell::Words(g.reason.clone().unwrap_or_default())));
            row
        })
        .collect();
    let headers = ["condition", "actual", "n", "result", ""];
    section("gates", "Gates", &table(&headers[..if explained { 5 } else { 4 }], &rows))
}

pub(crate) fn slos(s: &Summary) -> String {
    let a = &s.availability;
    let mut out = String::new();
    if !s.slos.is_empty() {
        let rows: Vec<Vec<Cell>> = s
            .slos
            .iter()
            .map(|slo| {
                let mut promise = format!("{} good", format::percent(slo.objective, slo.objective));
                if let Some(ms) = slo.under_ms {
                    promise.push_str(&format!(" under {}", format::ms(ms)));
                }
                if let Some(r) = &slo.request {
                    promise.push_str(&format!(", `{r}` only"));
                }
                vec![
                    slo.name.clone().into(),
                    Cell::Words(promise),
                    format::percent_or_none(slo.actual, slo.objective).into(),
                    format::budget_left(slo.budget_remaining).into(),
                    slo.worst_burn_rate.map_or_else(|| NONE.to_owned(), format::times).into(),
                    Cell::Chip(class_of_met(slo.met), format::slo_word(slo.met)),
                ]
            })
            .collect();
        out.push_str(&table(&["SLO", "promise", "kept", "budget left", "worst burn rate", "result"], &rows));
        let window = s.slos[0].burn_window_s;
        out.push_str(&format!(
            "<p class=\"meta\">The worst burn rate is over {window} s: how many times faster than allowed the \
             budget was spent.</p>\n"
        ));
    }
    let mut pairs = vec![
        ("Planned arrivals", format::count(s.load.planned)),
        ("Answered well", format::count(s.load.ok + s.load.declined)),
        ("Nines", format::nines(a.nines, a.nines_at_least)),
        (
            "Downtime",
            a.downtime_s.map_or_else(
                || NONE.to_owned(),
                |d| {
                    format!(
                        "{} of {} would have cost as many requests",
                        format::seconds(d),
                        format::seconds(s.measured_s)
                    )
                },
            ),
        ),
    ];
    if let Some(b) = &a.budget {
        let left = format::budget_left(b.remaining_ratio);
        pairs.push((
            "Error budget",
            format!(
                "{} spent of {} allowed at {}: {left} left",
                format::count(b.spent),
                format::count(b.allowed.round() as u64),
                format::percent(b.target, b.target)
            ),
        ));
    }
    out + &facts(&pairs)
}

pub(crate) fn latency_table(s: &Summary) -> String {
    let row = |name: &str, l: &LatencyStats| -> Vec<Cell> {
        let f = |figure: &str, value| Cell::Text(format::latency(l, figure, value));
        vec![
            name.to_owned().into(),
            f("p50", l.p50),
            f("p90", l.p90),
            f("p95", l.p95),
            f("p99", l.p99),
            f("p99_9", l.p99_9),
            f("max", l.max),
            f("mean", l.mean),
            format::count(l.n).into(),
        ]
    };
    let l = &s.latency_ms;
    table(
        &["clock", "p50", "p90", "p95", "p99", "p99.9", "max", "mean", "n"],
        &[
            row("response: from the intended instant", &l.response),
            row("service: from the sending", &l.service),
            row("schedule lag: from intended to sent", &l.schedule_lag),
        ],
    )
}

pub(crate) fn capacity(s: &Summary) -> String {
    let c = &s.capacity;
    if c.steps.is_empty() {
        return String::new();
    }
    let knee = match (c.knee_rps, c.knee_reached) {
        (Some(rps), Some(false)) => format!("at least {}", format::rate(rps)),
        (Some(rps), _) => format::rate(rps),
        (None, _) => "below the lowest step".to_owned(),
    };
    let mut pairs = vec![
        ("Knee", knee),
        (
            "Headroom",
            c.headroom
                .map_or_else(|| NONE.to_owned(), |h| format!("{:+.0} % over the planned load", h * 100.0)),
        ),
    ];
    if let Some(u) = &c.usl {
        let peak = match (u.peak_rps, u.peak_concurrency) {
            (Some(rps), Some(n)) => format!("peak {} at a concurrency of {n:.1}", format::rate(rps)),
            _ => "no peak".to_owned(),
        };
        let limit = u
            .limit_rps
            .map_or_else(String::new, |l| format!(", limit by contention alone {}", format::rate(l)));
        pairs.push((
            "Scalability law",
            format!("γ = {:.1}/s, α = {:.6}, β = {:.8}: {peak}{limit}", u.gamma, u.alpha, u.beta),
        ));
        pairs.push((
            "Fit",
            format!(
                "R² {} over {} steps",
                u.r_squared.map_or_else(|| NONE.to_owned(), |r| format!("{r:.4}")),
                u.points
            ),
        ));
    }
    let caveats: String = c.caveats.iter().map(|t| format!("<li>{}</li>\n", prose(t))).collect();
    let caveats =
        if caveats.is_empty() { String::new() } else { format!("<ul class=\"caveats\">\n{caveats}</ul>\n") };
    section("capacity", "Capacity", &(facts(&pairs) + &caveats))
}
