//! The section about faults: for each a verdict and its figures, then who suffered from which.

use squall_record::fault::affected;

use crate::faults::told;
use crate::format::{self, NONE};
use crate::html::parts::{Cell, card, section, table};
use crate::html::{escape, prose};
use crate::summary::{FaultSummary, Summary, WindowSummary};

/// Faults that are told of one by one at most; the tables have them all.
const MAX_TOLD: usize = 100;

pub(crate) fn faults(s: &Summary) -> String {
    if s.faults.is_empty() {
        return String::new();
    }
    let mut body: String = s.faults.iter().take(MAX_TOLD).map(one).collect();
    if s.faults.len() > MAX_TOLD {
        body.push_str(&format!("<p class=\"meta\">{} more below.</p>\n", s.faults.len() - MAX_TOLD));
    }
    body.push_str("<h3>Before, during, after</h3>\n");
    body.push_str(&windows(s));
    body.push_str(
        "<p class=\"meta\">Before and after are as long as the fault, cut at warm-ups, other faults and the end. \
         Detected: at the end of the first second that breached the service level. Recovered, mitigated: at the \
         first of three good seconds in a row.</p>\n",
    );
    body.push_str(&matrix(s));
    section("faults", "Faults: detect, mitigate, recover", &body)
}

/// One fault: a sentence and cards.
fn one(f: &FaultSummary) -> String {
    let (class, word) = told::word(f);
    let mut out = format!(
        "<h3>{} <span class=\"chip {class}\">{}</span></h3>\n<p class=\"meta\">{} at {}, {:.1}–{:.1} s{}{}</p>\n\
         <p>{}</p>\n",
        escape(&f.name),
        escape(word),
        escape(&f.kind),
        escape(&f.point),
        f.start_s,
        f.end_s,
        f.affected.map_or_else(String::new, |n| format!(
            " · {}",
            escape(&affected(&f.kind, &f.point, &format::count(n)))
        )),
        f.injection_lag_s.map_or_else(String::new, |s| format!(
            " · armed {} after its time",
            format::ms(s.max(0.0) * 1000.0)
        )),
        prose(&told::sentence(&told::verdict(f))),
    );
    if f.armed && !f.throughout {
        out.push_str(&format!("<div class=\"cards\">\n{}</div>\n", cards(f).concat()));
    }
    out
}

fn cards(f: &FaultSummary) -> Vec<String> {
    let or_none = |s: Option<f64>| s.map_or_else(|| NONE.to_owned(), format::seconds);
    let watched = format!("watched for {} after it ended", or_none(f.watched_s));
    let mut all = vec![
        card("Detected", &told::detected(f), "from its beginning"),
        card("Mitigated", &told::mitigated(f), "from its beginning, while it still acted"),
        card("Recovered", &told::recovered(f), &watched),
        card("Sustained service again", &or_none(f.rto_s), "from its beginning"),
    ];
    if let (Some(d), Some((_, deepest))) = (f.goodput_dip, told::dip(f)) {
        let lost = format::count(d.lost.round() as u64);
        let of = format!("of {} · {deepest}", format::count(d.expected.round() as u64));
        all.push(card("Good answers lost", &lost, &of));
    }
    if let Some([before, during, after]) = told::amplification(f) {
        all.push(card("Attempts per arrival", &during, &format!("{before} before · {after} after")));
    }
    if let Some(h) = f.hysteresis {
        let note = f.hysteresis_s.map_or_else(String::new, |s| format!(" · watched for {s} s at that load"));
        all.push(card(
            "Goodput after it",
            &format::small_percent(h.clamp(0.0, 1.0)),
            &format!("of before, at the same load{note}"),
        ));
    }
    if let Some(b) = told::worst_budget(f) {
        let value = b.burned.map_or_else(|| NONE.to_owned(), format::times);
        let of_run = b.of_run.map_or_else(|| NONE.to_owned(), told::whole_percent);
        all.push(card(
            "Error budget burned",
            &value,
            &format!("what its time allows · {of_run} of the run\u{2019}s · {}", b.slo),
        ));
    }
    all
}

fn windows(s: &Summary) -> String {
    let p99 = |w: &Option<WindowSummary>| {
        w.as_ref().map_or_else(
            || NONE.to_owned(),
            |w| format::latency(&w.latency_ms.response, "p99", w.latency_ms.response.p99),
        )
    };
    let good = |w: &Option<WindowSummary>| {
        w.as_ref().map_or_else(|| NONE.to_owned(), |w| format::percent_or_none(w.availability, 1.0))
    };
    let blank = || Cell::Text(String::new());
    let rows: Vec<Vec<Cell>> = s
        .faults
        .iter()
        .flat_map(|f| {
            let when = if f.armed {
                format!("{:.1}–{:.1} s", f.start_s, f.end_s)
            } else {
                "did not act".to_owned()
            };
            let latency = vec![
                format!("{} ({} at {})", f.name, f.kind, f.point).into(),
                when.into(),
                f.affected.map_or_else(|| NONE.to_owned(), format::count).into(),
                Cell::Words("p99".into()),
                p99(&f.baseline).into(),
                p99(&f.during).into(),
                p99(&f.after).into(),
            ];
            let available = vec![
                blank(),
                blank(),
                blank(),
                Cell::Words("availability".into()),
                good(&f.baseline).into(),
                good(&f.during).into(),
                good(&f.after).into(),
            ];
            [latency, available]
        })
        .collect();
    table(&["fault", "when", "affected", "", "before", "during", "after"], &rows)
}

/// Which fault which class of requests suffered from.
fn matrix(s: &Summary) -> String {
    let rows: Vec<Vec<Cell>> = s
        .faults
        .iter()
        .filter_map(|f| Some((f, f.blast_radius.as_ref()?)))
        .map(|(f, radius)| {
            let mut row = vec![Cell::Text(format!("{} ({})", f.name, f.point))];
            row.extend(radius.requests.iter().map(|r| Cell::Text(told::suffered(r))));
            row.push(radius.beyond_hits.map_or_else(|| NONE.to_owned(), format::count).into());
            row
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut headers = vec!["fault"];
    headers.extend(s.requests.iter().map(|r| r.name.as_str()));
    headers.push("bad beyond its hits");
    format!(
        "<h3>Who suffered</h3>\n{}<p class=\"meta\">The share of each request class that was failed, shed, dropped or \
         later than an SLO of it allows, before → during. ✗ marks more than one percentage point more. Beyond its \
         hits: bad requests, until it was over, that neither the fault touched nor the time before has.</p>\n",
        table(&headers, &rows)
    )
}
