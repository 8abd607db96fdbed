//! What a chart is, and which ones a run has.

use crate::charts::plot::{Drawn, Sheet};
use crate::charts::{availability, failures, heatmap, latency, load, palette, spectrum, throughput};
use crate::error::ReportError;
use crate::report::Report;

/// The figures behind a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The columns' titles, with units.
    pub headers: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// Where a chart is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dress {
    /// As a file of its own: with its title, on white.
    Standalone,
    /// Within a page that has a heading for it and its own colours.
    Inline,
}

/// A chart of one run.
pub struct Chart<'a> {
    /// Its file name without ending; also its anchor.
    pub slug: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it shows, for people who do not see it and as a caption for those who do.
    pub description: String,
    /// The figures behind it.
    pub table: Table,
    report: &'a Report,
    height: u32,
    /// Whether it is made of touching cells.
    cells: bool,
    draw: fn(&Report, &Sheet<'_, '_>) -> Drawn,
}

impl Chart<'_> {
    /// The chart as SVG.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn svg(&self, dress: Dress) -> Result<String, ReportError> {
        let title = (dress == Dress::Standalone).then_some(self.title);
        let svg = Sheet::render(self.height, title, |sheet| (self.draw)(self.report, sheet))
            .map_err(|e| ReportError::Chart { chart: self.slug, problem: e.to_string() })?;
        Ok(self.named(&palette::apply_dashes(svg)))
    }

    /// Adds what a screen reader says.
    fn named(&self, svg: &str) -> String {
        let slug = self.slug;
        // Cells and bars touch: smoothed edges would show as seams between them.
        let crisp = if self.cells { " shape-rendering=\"crispEdges\"" } else { "" };
        let head = format!("<svg role=\"img\" aria-labelledby=\"{slug}-title {slug}-desc\"{crisp}",);
        let names = format!(
            "<title id=\"{slug}-title\">{}</title>\n<desc id=\"{slug}-desc\">{}</desc>\n",
            crate::html::escape(self.title),
            crate::html::escape(&self.description)
        );
        let svg = svg.replacen("<svg", &head, 1);
        match svg.split_once('>') {
            Some((open, rest)) => format!("{open}>\n{names}{}", rest.trim_start()),
            None => svg,
        }
    }
}

/// The charts of `report`, in the order of the HTML report. A run without failures has no chart
/// of them, one without steps none of load, one of journeys alone none at all.
#[must_use]
pub fn charts(report: &Report) -> Vec<Chart<'_>> {
    const HEIGHT: u32 = 320;
    if !report.plan.has_load() {
        return Vec::new();
    }
    let mut all = vec![Chart {
        slug: "throughput",
        title: "Throughput, planned and achieved",
        description: throughput::describe(report),
        table: throughput::table(report),
        report,
        height: HEIGHT,
        cells: false,
        draw: throughput::draw,
    }];
    if report.series.slots.iter().any(|s| s.response.is_some()) {
        all.push(Chart {
            slug: "latency",
            title: "Response time over time",
            description: latency::describe(report),
            table: latency::table(report),
            report,
            height: 360,
            cells: false,
            draw: latency::draw,
        });
        all.push(Chart {
            slug: "heatmap",
            title: "Response time heatmap",
            description: heatmap::describe(report),
            table: heatmap::table(report),
            report,
            height: 360,
            cells: true,
            draw: heatmap::draw,
        });
    }
    if report.response_spectrum.points.len() > 1 {
        all.push(Chart {
            slug: "spectrum",
            title: "Percentile spectrum",
            description: spectrum::describe(report),
            table: spectrum::table(report),
            report,
            height: HEIGHT,
            cells: false,
            draw: spectrum::draw,
        });
    }
    if !report.summary.capacity.steps.is_empty() {
        all.push(Chart {
            slug: "latency-by-load",
            title: "Response time against load",
            description: load::describe_latency(report),
            table: load::table(report),
            report,
            height: HEIGHT,
            cells: false,
            draw: load::draw_latency,
        });
        all.push(Chart {
            slug: "scalability",
            title: "Throughput against concurrency",
            description: load::describe_scalability(report),
            table: load::table(report),
            report,
            height: HEIGHT,
            cells: false,
            draw: load::draw_scalability,
        });
    }
    if failures::any(report) {
        all.push(Chart {
            slug: "failures",
            title: "Failures by kind",
            description: failures::describe(report),
            table: failures::table(report),
            report,
            height: 280,
            cells: true,
            draw: failures::draw,
        });
    }
    all.push(Chart {
        slug: "availability",
        title: "Availability over time",
        description: availability::describe(report),
        table: availability::table(report),
        report,
        height: 260,
        cells: false,
        draw: availability::draw,
    });
    all
}
