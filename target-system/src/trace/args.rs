//! The settings of traces.

use std::str::FromStr;

use axum::http::Uri;
use clap::Args;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus_client::registry::Registry;

use super::export::Exporter;
use super::span::{IntoValue, Tracer};
use crate::role;

/// Where spans go, and whose.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceArgs {
    /// Sends spans to an OpenTelemetry collector, OTLP over HTTP; none are made when absent. OTEL_SERVICE_NAME names
    /// the service.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp: Option<Collector>,

    /// The share of requests whose spans are made, 0 to 1. A request with a traceparent says itself whether they are.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01, value_parser = role::share)]
    pub trace_sample: f64,
}

/// A collector's base address, `http://127.0.0.1:4318`; nobody's when it is empty, as an environment may have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector(Option<Uri>);

impl FromStr for Collector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let wrong = "write http://host:4318: a collector near by, which may forward by TLS";
        let base = text.trim_end_matches('/').trim_end_matches("/v1/traces");
        let uri: Uri = format!("{base}/v1/traces").parse().map_err(|_| wrong)?;
        let bare = uri.query().is_none() && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
        if uri.scheme_str() == Some("http") && bare { Ok(Self(Some(uri))) } else { Err(wrong) }
    }
}

/// Spans that are made and sent.
#[derive(Debug)]
pub struct Tracing {
    /// Makes them.
    pub tracer: Tracer,
    /// Sends them.
    pub exporter: Exporter,
}

impl TraceArgs {
    /// Begins to make and send spans, on the current runtime, when a collector is named.
    #[must_use]
    pub fn start(&self, service: &str, registry: &mut Registry) -> Option<Tracing> {
        let uri = self.otlp.as_ref()?.0.clone()?;
        let service = std::env::var("OTEL_SERVICE_NAME")
            .ok()
            .filter(|name| !name.is_empty())
            .unwrap_or(service.to_owned());
        let attribute = |key: &str, value: Any| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        };
        let attributes = vec![
            attribute("service.name", service.into_value()),
            attribute("service.version", env!("CARGO_PKG_VERSION").into_value()),
            attribute("process.pid", i64::from(std::process::id()).into_value()),
        ];
        let resource = Resource { attributes, ..Resource::default() };
        let (outbox, exporter) = Exporter::start(uri, resource, registry);
        Some(Tracing { tracer: Tracer::new(self.trace_sample, outbox), exporter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_base_to_which_the_path_is_added() {
        let url = |text: &str| text.parse::<Collector>().map(|c| c.0.map(|uri| uri.to_string()));
        let whole = Ok(Some("http://127.0.0.1:4318/v1/traces".to_owned()));
        assert_eq!(url("http://127.0.0.1:4318"), whole);
        assert_eq!(url("http://127.0.0.1:4318/v1/traces/"), whole);
        assert_eq!(url("http://c/otlp/"), Ok(Some("http://c/otlp/v1/traces".to_owned())));
        assert_eq!(url(""), Ok(None));
        for wrong in ["127.0.0.1:4318", "https://x", "http://", "http://a b", "http://u:p@x", "http://x?a=1"]
        {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
