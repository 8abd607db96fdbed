//! Tables, cards, and charts with the data behind them.

use std::fmt::Write as _;

use crate::charts::{Chart, Dress, Table};
use crate::error::ReportError;
use crate::html::{escape, prose};
use crate::summary::GateResult;

/// Rows of one table at most.
const MAX_ROWS: usize = 1_000;

/// One cell: text, or markup made here.
pub(crate) enum Cell {
    /// Escaped when written.
    Text(String),
    /// Escaped when written, in a column of words.
    Words(String),
    /// A conclusion as a coloured word.
    Chip(&'static str, &'static str),
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl Cell {
    fn words(&self) -> bool {
        matches!(self, Cell::Words(_) | Cell::Chip(..))
    }

    fn html(&self) -> String {
        match self {
            Cell::Text(text) => escape(text),
            Cell::Words(text) => prose(text),
            Cell::Chip(class, word) => format!("<span class=\"chip {class}\">{}</span>", escape(word)),
        }
    }
}

/// The class of a conclusion, for its colour.
pub(crate) fn class_of(result: GateResult) -> &'static str {
    match result {
        GateResult::Pass => "pass",
        GateResult::Fail => "fail",
        GateResult::Inconclusive => "inconclusive",
    }
}

/// The same for a promise.
pub(crate) fn class_of_met(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "pass",
        Some(false) => "fail",
        None => "inconclusive",
    }
}

/// A table; columns whose cells are words are set to the left.
pub(crate) fn table(headers: &[&str], rows: &[Vec<Cell>]) -> String {
    let words = |column: usize| rows.first().is_some_and(|r| r.get(column).is_some_and(Cell::words));
    let mut out = String::from("<div class=\"scroll\"><table><thead><tr>");
    for (i, header) in headers.iter().enumerate() {
        let class = if words(i) { " class=\"words\"" } else { "" };
        let _ = write!(out, "<th scope=\"col\"{class}>{}</th>", escape(header));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows.iter().take(MAX_ROWS) {
        out.push_str("<tr>");
        for cell in row {
            let class = if cell.words() { " class=\"words\"" } else { "" };
            let _ = write!(out, "<td{class}>{}</td>", cell.html());
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    if rows.len() > MAX_ROWS {
        let _ = writeln!(out, "<p class=\"meta\">{} more rows in summary.json.</p>", rows.len() - MAX_ROWS);
    }
    out
}

/// Names and what they stand for.
pub(crate) fn facts(pairs: &[(&str, String)]) -> String {
    let rows: String =
        pairs.iter().map(|(k, v)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(k), escape(v))).collect();
    format!("<dl>\n{rows}</dl>\n")
}

/// A figure to be seen at once.
pub(crate) fn card(label: &str, value: &str, note: &str) -> String {
    format!(
        "<div class=\"card\"><div class=\"label\">{}</div><div class=\"value\">{}</div>\
         <div class=\"note\">{}</div></div>\n",
        escape(label),
        escape(value),
        escape(note)
    )
}

/// A section with a heading.
pub(crate) fn section(id: &str, title: &str, body: &str) -> String {
    format!("<section id=\"{id}\">\n<h2>{}</h2>\n{body}</section>\n", escape(title))
}

/// The chart called `slug` among `charts`, with its caption and its data; nothing when the run
/// has no such chart.
pub(crate) fn figure(charts: &[Chart<'_>], slug: &str) -> Result<String, ReportError> {
    let Some(chart) = charts.iter().find(|c| c.slug == slug) else { return Ok(String::new()) };
    Ok(format!(
        "<figure class=\"chart\">\n{}<figcaption>{}</figcaption>\n</figure>\n\
         <details><summary>Data</summary>\n{}</details>\n",
        chart.svg(Dress::Inline)?,
        escape(&chart.description),
        data(&chart.table)
    ))
}

fn data(t: &Table) -> String {
    let headers: Vec<&str> = t.headers.iter().map(String::as_str).collect();
    let rows: Vec<Vec<Cell>> =
        t.rows.iter().map(|row| row.iter().cloned().map(Cell::Text).collect()).collect();
    table(&headers, &rows)
}
