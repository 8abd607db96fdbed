//! The faults of a step summary: a verdict each, what they did, and who suffered.

use std::fmt::Write as _;

use super::{MAX_ROWS, escape, sentence, table};
use crate::faults::told;
use crate::format::{self, NONE};
use crate::summary::{FaultSummary, Summary, WindowSummary};

/// Request classes at most, as columns; the rest is in `summary.json`.
const MAX_CLASSES: usize = 12;

pub(super) fn faults(out: &mut String, s: &Summary) {
    if s.faults.is_empty() {
        return;
    }
    out.push_str("\n### Faults\n\n");
    for f in s.faults.iter().take(MAX_ROWS) {
        let told = sentence(&told::verdict(f));
        let _ = writeln!(out, "- **{}** {}: {told}.", escape(&f.name), told::word(f).1);
    }
    let rows: Vec<Vec<String>> = s.faults.iter().map(windows).collect();
    let headers = ["fault", "what", "when", "affected", "before (p99, available)", "during", "after"];
    table(out, &headers, &rows);
    let rows: Vec<Vec<String>> = s.faults.iter().filter(|f| f.armed).map(cost).collect();
    let headers = [
        "fault",
        "detected",
        "mitigated",
        "recovered",
        "lost",
        "attempts per arrival (before, during, after)",
        "worst budget burned",
    ];
    if !rows.is_empty() {
        table(out, &headers, &rows);
    }
    matrix(out, s);
}

fn windows(f: &FaultSummary) -> Vec<String> {
    let level = |w: &Option<WindowSummary>| {
        w.as_ref().map_or_else(
            || NONE.to_owned(),
            |w| {
                let r = &w.latency_ms.response;
                format!(
                    "{}, {}",
                    format::latency(r, "p99", r.p99),
                    format::percent_or_none(w.availability, 1.0)
                )
            },
        )
    };
    vec![
        escape(&f.name),
        format!("{} at {}", escape(&f.kind), escape(&f.point)),
        format!("{:.0}–{:.0} s", f.start_s, f.end_s),
        f.affected.map_or_else(|| NONE.to_owned(), format::count),
        level(&f.baseline),
        level(&f.during),
        level(&f.after),
    ]
}

fn cost(f: &FaultSummary) -> Vec<String> {
    let worst = told::worst_budget(f);
    vec![
        escape(&f.name),
        told::detected(f),
        told::mitigated(f),
        told::recovered(f),
        told::dip(f).map_or_else(|| NONE.to_owned(), |(lost, _)| lost),
        told::amplification(f).map_or_else(|| NONE.to_owned(), |all| all.join(", ")),
        worst.map_or_else(|| NONE.to_owned(), |b| format!("{}: {}", escape(&b.slo), told::burned(b))),
    ]
}

/// Which fault which class of requests suffered from.
fn matrix(out: &mut String, s: &Summary) {
    let names: Vec<String> = s.requests.iter().take(MAX_CLASSES).map(|r| escape(&r.name)).collect();
    let rows: Vec<Vec<String>> = s
        .faults
        .iter()
        .filter_map(|f| Some((f, f.blast_radius.as_ref()?)))
        .map(|(f, radius)| {
            let mut row = vec![escape(&f.name)];
            row.extend(radius.requests.iter().take(MAX_CLASSES).map(told::suffered));
            row.push(radius.beyond_hits.map_or_else(|| NONE.to_owned(), format::count));
            row
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    out.push_str("\nWho suffered (share of bad requests before → during):\n");
    let mut headers = vec!["fault"];
    headers.extend(names.iter().map(String::as_str));
    headers.push("bad beyond its hits");
    table(out, &headers, &rows);
}
