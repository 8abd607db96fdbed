//! Families as OTLP messages: cumulative sums, gauges and explicit-bucket histograms, in the
//! protobuf form of OpenTelemetry's metrics data model 1.x.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::family::{BOUNDS_US, Family, Kind, Labels, Point, Unit, Value};

/// The time that an export covers, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// When counting began.
    pub from_ns: u64,
    /// When the figures were read.
    pub to_ns: u64,
}

/// `families` as one export.
#[must_use]
pub fn request(families: Vec<Family>, span: Span) -> ExportMetricsServiceRequest {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let own = vec![("service.name", "squall".to_owned()), ("service.version", version.clone())];
    let scope = InstrumentationScope { name: "squall".to_owned(), version, ..Default::default() };
    let metrics = families.into_iter().map(|f| metric(f, span)).collect();
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes: attributes(own), ..Default::default() }),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..Default::default() }],
            ..Default::default()
        }],
    }
}

fn metric(family: Family, span: Span) -> Metric {
    let of = family.of;
    let cumulative = i32::from(AggregationTemporality::Cumulative);
    let numbers = |points: Vec<Point>| points.into_iter().map(|p| number(p, span)).collect();
    let data = match of.kind {
        Kind::Gauge | Kind::Info => Data::Gauge(Gauge { data_points: numbers(family.points) }),
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(family.points),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: family.points.into_iter().filter_map(|p| spread(p, span)).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    // OpenTelemetry has no kind for it: a gauge of 1 whose name says what it is.
    let name = if of.kind == Kind::Info { format!("{}.info", of.name) } else { of.name.to_owned() };
    let unit = match of.unit {
        Unit::None => "",
        Unit::Seconds => "s",
        Unit::Bytes => "By",
    };
    Metric {
        name,
        description: of.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

fn number(point: Point, span: Span) -> NumberDataPoint {
    let value = match point.value {
        // A count of 2^63 arrivals takes 3 million years at 100,000 a second.
        Value::Count(n) => Number::AsInt(i64::try_from(n).unwrap_or(i64::MAX)),
        Value::Number(n) => Number::AsDouble(n),
        Value::Spread(d) => Number::AsInt(i64::try_from(d.count).unwrap_or(i64::MAX)),
    };
    NumberDataPoint {
        attributes: attributes(point.labels),
        start_time_unix_nano: span.from_ns,
        time_unix_nano: span.to_ns,
        value: Some(value),
        ..Default::default()
    }
}

fn spread(point: Point, span: Span) -> Option<HistogramDataPoint> {
    let Value::Spread(d) = point.value else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(point.labels),
        start_time_unix_nano: span.from_ns,
        time_unix_nano: span.to_ns,
        count: d.count,
        sum: Some(d.sum_s),
        bucket_counts: d.counts.to_vec(),
        explicit_bounds: BOUNDS_US.iter().map(|us| *us as f64 / 1e6).collect(),
        ..Default::default()
    })
}

fn attributes(labels: Labels) -> Vec<KeyValue> {
    labels
        .into_iter()
        .map(|(key, value)| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(Any::StringValue(value)) }),
            ..Default::default()
        })
        .collect()
}
