//! The faults on the terminal: a row and a verdict each, then what they cost.

use super::{Page, fit, left, right};
use crate::faults::told;
use crate::format::{self, NONE};
use crate::summary::{FaultSummary, Summary};

/// Request classes of one fault at most; the rest is in `summary.json`.
const MAX_CLASSES: usize = 12;

pub(super) fn faults(page: &mut Page, s: &Summary) {
    if s.faults.is_empty() {
        return;
    }
    page.heading(&format!(
        "{}{}{}{}{}",
        left("fault", 24),
        right("seconds", 11),
        right("affected", 13),
        right("detected", 16),
        right("recovered", 16)
    ));
    for f in &s.faults {
        if !f.armed {
            page.line(&format!("{}  did not act", left(&f.name, 24)));
            continue;
        }
        page.line(&format!(
            "{}{}{}{}{}",
            left(&f.name, 24),
            right(&format!("{:.0}–{:.0}", f.start_s, f.end_s), 11),
            right(&f.affected.map_or_else(|| NONE.to_owned(), format::count), 13),
            right(&told::detected(f), 16),
            right(&told::recovered(f), 16)
        ));
        page.wrapped(&format!("  {}: ", told::word(f).1), &told::verdict(f));
        windows(page, f);
        cost(page, f);
    }
}

fn windows(page: &mut Page, f: &FaultSummary) {
    for (when, w) in [("before", &f.baseline), ("during", &f.during), ("after", &f.after)] {
        let Some(w) = w else { continue };
        let r = &w.latency_ms.response;
        page.line(&format!(
            "  {}p50 {}   p99 {}   available {}",
            left(when, 11),
            right(&format::latency(r, "p50", r.p50), 9),
            right(&format::latency(r, "p99", r.p99), 9),
            format::percent_or_none(w.availability, 1.0)
        ));
    }
}

fn cost(page: &mut Page, f: &FaultSummary) {
    if let Some((lost, deepest)) = told::dip(f) {
        page.wrapped("  lost       ", &format!("{lost}; {deepest}"));
    }
    if let Some([before, during, after]) = told::amplification(f) {
        page.line(&format!("  attempts   {before} per arrival before, {during} during, {after} after"));
    }
    if let Some(radius) = &f.blast_radius {
        let mut classes: Vec<String> = radius
            .requests
            .iter()
            .take(MAX_CLASSES)
            .map(|r| format!("{} {}", fit(&r.request, 24), told::suffered(r)))
            .collect();
        if radius.requests.len() > MAX_CLASSES {
            classes.push(format!("{} more in summary.json", radius.requests.len() - MAX_CLASSES));
        }
        if let Some(n) = radius.beyond_hits.filter(|n| *n > 0) {
            classes.push(format!("{} bad beyond those it hit", format::count(n)));
        }
        page.wrapped("  bad        ", &classes.join(", "));
    }
    for b in f.budget_burned.iter().filter(|b| b.bad > 0) {
        page.wrapped("  budget     ", &format!("`{}`: {}", fit(&b.slo, 24), told::burned(b)));
    }
}
