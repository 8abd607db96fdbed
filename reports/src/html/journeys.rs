//! The section about closed-loop users.

use crate::format;
use crate::html::escape;
use crate::html::parts::{Cell, section, table};
use crate::html::sections::rate;
use crate::journeys::CAVEAT;
use crate::summary::{JourneySummary, Summary};

/// What the virtual users met, with the reason why it stands apart; nothing without journeys.
pub(crate) fn journeys(s: &Summary) -> String {
    if s.journeys.is_empty() {
        return String::new();
    }
    let mut body = format!("<p>{}</p>\n", escape(CAVEAT));
    s.journeys.iter().for_each(|j| body.push_str(&one(j)));
    section("journeys", "Journeys (closed loop)", &body)
}

fn one(j: &JourneySummary) -> String {
    let i = &j.iterations;
    let rows: Vec<Vec<Cell>> = j
        .steps
        .iter()
        .map(|step| {
            let (l, t) = (&step.load, &step.closed_loop_service_ms);
            let kinds: Vec<String> =
                l.failures.iter().map(|(k, n)| format!("{k} {}", format::count(*n))).collect();
            vec![
                step.name.clone().into(),
                format::count(l.sent).into(),
                rate(l.achieved_rps).into(),
                format::count(l.ok).into(),
                format::count(l.declined).into(),
                format::count(l.shed).into(),
                format::count(l.failed).into(),
                format::latency(t, "p50", t.p50).into(),
                format::latency(t, "p95", t.p95).into(),
                format::latency(t, "p99", t.p99).into(),
                format::latency(t, "max", t.max).into(),
                Cell::Words(kinds.join(", ")),
            ]
        })
        .collect();
    let headers = [
        "step", "sent", "achieved", "ok", "declined", "shed", "failed", "p50", "p95", "p99", "max",
        "failures",
    ];
    format!(
        "<h3>{}</h3>\n<p class=\"meta\">{}, {:.0}–{:.0} s · iterations: {} completed, {} abandoned, {} unfinished \
         · closed-loop service times</p>\n{}",
        escape(&j.name),
        format::several(j.users, "user"),
        j.start_s,
        j.end_s,
        format::count(i.completed),
        format::count(i.abandoned),
        format::count(i.unfinished),
        table(&headers, &rows)
    )
}
