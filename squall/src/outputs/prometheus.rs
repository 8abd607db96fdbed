//! Families as text for Prometheus.
//!
//! A name has its dots as underscores and ends in its unit (and in `_total`, for a counter), as
//! Prometheus asks for and as collectors translate OpenTelemetry's names. The text is OpenMetrics
//! 1.0, or, for readers that do not ask for that, the older exposition format 0.0.4.

use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{self, Registry};

use super::family::{BOUNDS_US, Distribution, Family, Kind, Point, Unit, Value};

/// The media type of [`openmetrics`].
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type of [`plain`].
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `families` as OpenMetrics.
///
/// # Errors
/// Never: writing to memory does not fail.
pub fn openmetrics(families: Vec<Family>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The same in exposition format 0.0.4, where a counter's type stands under the name of its
/// samples, an info is a gauge, and units and the end are not told.
#[must_use]
pub fn plain(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = "";
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            let meaning = help.split_once(' ').map_or("", |(_, meaning)| meaning);
            // Writing to memory does not fail.
            let _ = write!(text, "# HELP {name}{suffix} {meaning}\n# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// The families, as the encoder wants to be handed them.
#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in &self.0 {
            let name = family.of.name.replace('.', "_");
            let unit = match family.of.unit {
                Unit::None => None,
                Unit::Seconds => Some(registry::Unit::Seconds),
                Unit::Bytes => Some(registry::Unit::Bytes),
            };
            let kind = match family.of.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Info => MetricType::Info,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(&name, family.of.help, unit.as_ref(), kind)?;
            for point in &family.points {
                if point.labels.is_empty() {
                    write_value(&mut metric, family.of.kind, point)?;
                } else if family.of.kind == Kind::Info {
                    metric.encode_info(&point.labels)?;
                } else {
                    write_value(&mut metric.encode_family(&point.labels)?, family.of.kind, point)?;
                }
            }
        }
        Ok(())
    }
}

fn write_value(metric: &mut MetricEncoder<'_>, kind: Kind, point: &Point) -> fmt::Result {
    match (kind, &point.value) {
        (Kind::Counter, Value::Count(n)) => metric.encode_counter::<NoLabelSet, _, f64>(n, None),
        (Kind::Counter, Value::Number(n)) => metric.encode_counter::<NoLabelSet, _, f64>(n, None),
        (_, Value::Count(n)) => metric.encode_gauge(n),
        (_, Value::Number(n)) => metric.encode_gauge(n),
        (_, Value::Spread(d)) => metric.encode_histogram::<NoLabelSet>(d.sum_s, d.count, &buckets(d), None),
    }
}

/// Upper bounds in seconds, the last without end, with the values above the bound before.
fn buckets(d: &Distribution) -> Vec<(f64, u64)> {
    let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
    bounds.zip(d.counts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample::{self, Step};
    use crate::outputs::catalogue;
    use crate::outputs::figures::Figures;
    use squall_record::interval::Sink;

    fn families() -> Vec<Family> {
        let mut plan = sample::quickstart();
        plan.name = "a \"name\"\nwith \\ everything".to_owned();
        let mut figures = Figures::new(&plan);
        for step in sample::steps(&plan, 37) {
            match step {
                Step::Tick(t) => figures.tick(&t).unwrap(),
                Step::Event(e) => figures.event(&e).unwrap(),
                Step::Target(t) => figures.target(&t).unwrap(),
            }
        }
        figures.shared().families().1
    }

    /// The name under which Prometheus stores the family.
    fn stored(d: &crate::outputs::family::Description) -> String {
        let unit = match d.unit {
            Unit::None => "",
            Unit::Seconds => "_seconds",
            Unit::Bytes => "_bytes",
        };
        let suffix = match d.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{unit}{suffix}", d.name.replace('.', "_"))
    }

    #[test]
    fn every_family_is_documented_and_given() {
        let documented = include_str!("../../../docs/outputs.md");
        let text = plain(&openmetrics(families()).unwrap());
        for d in catalogue::ALL {
            let name = stored(d);
            assert!(documented.contains(&format!("`{name}`")), "{name} is not in docs/outputs.md");
            assert!(documented.contains(&format!("`{}`", d.name)), "{} is not in docs/outputs.md", d.name);
            assert!(text.contains(&format!("# TYPE {name} ")), "{name} is not given:\n{text}");
        }
    }

    #[test]
    fn a_minute_as_openmetrics() {
        insta::assert_snapshot!(openmetrics(families()).unwrap());
    }

    #[test]
    fn the_older_format_has_types_under_the_names_of_its_samples() {
        let text = plain(&openmetrics(families()).unwrap());
        assert!(
            text.contains("# TYPE squall_requests_planned_total counter\nsquall_requests_planned_total{")
        );
        assert!(text.contains("# TYPE squall_phase_info gauge\nsquall_phase_info{"), "{text}");
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"));
        assert!(text.contains(r#"scenario="a \"name\"\nwith \\ everything""#), "{text}");
    }
}
