//! Spans on their way to a collector: a bounded queue, and a task that sends what is in it, OTLP over HTTP in protobuf.
//!
//! Nothing here reaches back to a request. What finds the queue full, or a collector that does not take it, is
//! counted and forgotten.

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::limits::{EXPORT_EVERY, EXPORT_TIME, MAX_BODY_BYTES, PEER_IDLE, SPANS_AT_ONCE, SPANS_QUEUED};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// What became of spans.
#[derive(Debug, Clone)]
struct Figures {
    exported: Counter,
    queue_full: Counter,
    export_failed: Counter,
    rejected: Counter,
}

impl Figures {
    fn register(registry: &mut Registry) -> Self {
        let (exported, dropped) = (Counter::default(), Family::<Reason, Counter>::default());
        registry.register("trace_spans_exported", "Spans that the collector has taken", exported.clone());
        registry.register("trace_spans_dropped", "Spans that are lost, by why", dropped.clone());
        let lost = |reason| dropped.get_or_create(&Reason { reason }).clone();
        let (queue_full, export_failed) = (lost("queue_full"), lost("export_failed"));
        Self { exported, queue_full, export_failed, rejected: lost("rejected") }
    }
}

/// Where spans are put that have ended.
#[derive(Debug, Clone)]
pub struct Outbox {
    spans: mpsc::Sender<Span>,
    queue_full: Counter,
}

impl Outbox {
    /// Takes `span`, or counts that it could not.
    pub fn offer(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.queue_full.inc();
        }
    }
}

/// The task behind the queue.
#[derive(Debug)]
pub struct Exporter {
    task: JoinHandle<()>,
    ending: watch::Sender<bool>,
}

impl Exporter {
    /// Begins to send spans to `uri`, on the current runtime, in the name of `resource`.
    #[must_use]
    pub fn start(uri: Uri, resource: Resource, registry: &mut Registry) -> (Outbox, Self) {
        let (spans, queued) = mpsc::channel(SPANS_QUEUED);
        let (ending, ended) = watch::channel(false);
        let figures = Figures::register(registry);
        let outbox = Outbox { spans, queue_full: figures.queue_full.clone() };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(EXPORT_TIME));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(PEER_IDLE)
            .pool_max_idle_per_host(1)
            .build(connector);
        let export = Export { client, uri, resource, queued, ended, figures, failing: false };
        (outbox, Self { task: tokio::spawn(export.run()), ending })
    }

    /// Sends what is queued, for so long at most.
    pub async fn end(self, within: Duration) {
        self.ending.send_replace(true);
        // What is not sent then is lost with the process.
        let _ = tokio::time::timeout(within, self.task).await;
    }
}

struct Export {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    resource: Resource,
    queued: mpsc::Receiver<Span>,
    ended: watch::Receiver<bool>,
    figures: Figures,
    /// Whether the last export has failed.
    failing: bool,
}

impl Export {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(SPANS_AT_ONCE);
        loop {
            let taken = tokio::select! {
                biased;
                taken = self.queued.recv_many(&mut batch, SPANS_AT_ONCE) => taken,
                _ = self.ended.wait_for(|ended| *ended) => return,
            };
            if taken == 0 {
                return;
            }
            self.export(std::mem::take(&mut batch)).await;
            if taken < SPANS_AT_ONCE {
                // More come together.
                let rest = self.ended.wait_for(|ended| *ended);
                let _ = tokio::time::timeout(EXPORT_EVERY, rest).await;
            }
        }
    }

    async fn export(&mut self, batch: Vec<Span>) {
        let count = batch.len() as u64;
        let sent = tokio::time::timeout(EXPORT_TIME, self.send(batch)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {EXPORT_TIME:?}")));
        let problem = match sent {
            Ok(rejected) => {
                self.figures.exported.inc_by(count.saturating_sub(rejected));
                self.figures.rejected.inc_by(rejected.min(count));
                (rejected > 0).then(|| format!("it rejects {rejected} of {count} spans"))
            }
            Err(problem) => {
                self.figures.export_failed.inc_by(count);
                Some(problem)
            }
        };
        // Said when it begins and when it is over: in between the counters tell.
        match (&problem, self.failing) {
            (Some(problem), false) => tracing::warn!(collector = %self.uri, %problem, "spans are lost"),
            (None, true) => tracing::info!(collector = %self.uri, "spans are taken again"),
            _ => {}
        }
        self.failing = problem.is_some();
    }

    /// Sends `batch`; how many of them the collector rejects.
    async fn send(&self, batch: Vec<Span>) -> Result<u64, String> {
        let scope = InstrumentationScope {
            name: "payments".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: batch, ..ScopeSpans::default() }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();

        let mut request = Request::new(Full::new(Bytes::from(body)));
        (*request.method_mut(), *request.uri_mut()) = (Method::POST, self.uri.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let answer = self.client.request(request).await.map_err(|e| told(&e))?;
        let status = answer.status();
        let body =
            Limited::new(answer.into_body(), MAX_BODY_BYTES).collect().await.map_err(|e| e.to_string())?;
        if !status.is_success() {
            return Err(format!("it answers {status}"));
        }
        // An answer that is no message says nothing of spans that were rejected.
        let said =
            ExportTraceServiceResponse::decode(body.to_bytes()).ok().and_then(|said| said.partial_success);
        Ok(said.map_or(0, |said| u64::try_from(said.rejected_spans).unwrap_or(0)))
    }
}

/// An error with what is behind it.
fn told(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
