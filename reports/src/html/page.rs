//! The page: verdict first, then what was run, then what happened.

use crate::charts::charts;
use crate::error::ReportError;
use crate::format;
use crate::html::escape;
use crate::html::faults::faults;
use crate::html::journeys::journeys;
use crate::html::parts::{figure, section};
use crate::html::style::style;
use crate::html::{run, sections};
use crate::report::Report;

/// The report as one HTML file.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn render_html(report: &Report) -> Result<String, ReportError> {
    let s = &report.summary;
    let charts = charts(report);
    let chart = |slug: &str| figure(&charts, slug);
    let failures = match chart("failures")? {
        none if none.is_empty() => "<p>Nothing failed, was shed or was dropped.</p>\n".to_owned(),
        drawn => drawn,
    };
    let load = chart("latency-by-load")? + &chart("scalability")?;
    // Journeys alone have no load to tell of.
    let has_load = report.plan.has_load();
    let of_load = |part: String| if has_load { part } else { String::new() };
    let body = [
        sections::verdict(s),
        of_load(sections::cards(s)),
        sections::gates(s),
        run::what_was_run(report),
        of_load(section(
            "slos",
            "Service levels and error budget",
            &(sections::slos(s) + &chart("availability")?),
        )),
        of_load(section("throughput", "Throughput", &chart("throughput")?)),
        of_load(section("latency", "Latency over time", &(sections::latency_table(s) + &chart("latency")?))),
        optional("heatmap", "Latency heatmap", chart("heatmap")?),
        optional("spectrum", "Percentile spectrum", chart("spectrum")?),
        optional("load", "Latency and throughput against load", load),
        of_load(section("failures", "Failures by kind", &failures)),
        journeys(s),
        faults(s),
        sections::capacity(s),
    ]
    .concat();
    let title = escape(&s.name);
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}: {}</title>\n<style>\n{}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n<p class=\"lead\">{}</p>\n\
         <p class=\"meta\">{} · {} · seed {}</p>\n{}</header>\n<main>\n{body}</main>\n\
         <footer>Written by squall {}. Every figure is also in summary.json; how each is measured stands in \
         docs/measuring.md.</footer>\n</body>\n</html>\n",
        escape(format::gates_word(s.verdict.gates)),
        style(),
        escape(&report.plan.summary),
        escape(&s.started_at),
        escape(&format::seconds(s.duration_s)),
        s.seed,
        navigation(&body),
        escape(&report.manifest.squall_version)
    ))
}

fn optional(id: &str, title: &str, body: String) -> String {
    if body.is_empty() { body } else { section(id, title, &body) }
}

/// Links to the sections that the page has.
fn navigation(body: &str) -> String {
    const ALL: [(&str, &str); 12] = [
        ("gates", "Gates"),
        ("run", "What was run"),
        ("slos", "Service levels"),
        ("throughput", "Throughput"),
        ("latency", "Latency"),
        ("heatmap", "Heatmap"),
        ("spectrum", "Spectrum"),
        ("load", "Load"),
        ("failures", "Failures"),
        ("journeys", "Journeys"),
        ("faults", "Faults"),
        ("capacity", "Capacity"),
    ];
    let links: String = ALL
        .iter()
        .filter(|(id, _)| body.contains(&format!("<section id=\"{id}\"")))
        .map(|(id, name)| format!("<a href=\"#{id}\">{name}</a>\n"))
        .collect();
    format!("<nav aria-label=\"Sections\">\n{links}</nav>\n")
}
