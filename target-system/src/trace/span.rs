//! Spans: what is told of a request's steps.
//!
//! A request that is not sampled has a [`Trace`] all the same, which tells those who are asked that it is not; its spans
//! are empty and allocate nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderValue};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span as Told, Status};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::context::{Carried, TRACEPARENT, TRACESTATE, TraceContext};
use super::export::Outbox;
use super::{Request, RequestId};
use crate::role::chooses;
use crate::wall;

pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// Decides which requests are sampled, and names their spans.
#[derive(Debug, Clone)]
pub struct Tracer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The share of requests without a parent that are sampled.
    share: f64,
    outbox: Outbox,
    /// Ids are a hash of a number under a secret of the process.
    seed: u64,
    numbers: AtomicU64,
}

impl Tracer {
    /// Samples `share` of the requests that nobody has decided about before.
    #[must_use]
    pub fn new(share: f64, outbox: Outbox) -> Self {
        // Without randomness the ids of two processes are alike, and their traces in one.
        let seed = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        Self(Arc::new(Inner { share, outbox, seed, numbers: AtomicU64::new(0) }))
    }

    /// The span of a request that has come in, named by its method and route. What `carried` says of sampling is kept to.
    #[must_use]
    pub fn serve(&self, name: &'static str, carried: Carried<'_>) -> Span {
        let parent = carried.parent.and_then(TraceContext::parse);
        let state = parent.and_then(|_| carried.state());
        let number = self.0.numbers.fetch_add(1, Relaxed).to_le_bytes();
        let context = parent.unwrap_or_else(|| {
            let trace_id = xxh3_128_with_seed(&number, self.0.seed).max(1);
            let sampled = chooses(self.0.share, (trace_id >> 64) as u64);
            TraceContext { trace_id: trace_id.to_be_bytes(), span_id: self.span_id(), sampled }
        });
        let tracer = context.sampled.then(|| self.clone());
        let trace = Trace { context: Some(context), state, tracer };
        let mut span = if parent.is_some() { trace.span(name, SpanKind::Server) } else { trace.root(name) };
        if let Some((method, route)) = name.split_once(' ') {
            span.set("http.request.method", method);
            span.set("http.route", route);
        }
        span
    }

    fn span_id(&self) -> [u8; 8] {
        let number = self.0.numbers.fetch_add(1, Relaxed).to_le_bytes();
        // Nobody is named 0.
        xxh3_64_with_seed(&number, self.0.seed).max(1).to_be_bytes()
    }
}

/// Where spans belong; nowhere when tracing is off.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    context: Option<TraceContext>,
    state: Option<Arc<str>>,
    /// None when it is not sampled.
    tracer: Option<Tracer>,
}

impl Trace {
    /// The place itself.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// The place that `carried` names, when it is sampled: its steps are told to `tracer`, if to anybody.
    #[must_use]
    pub fn carried(carried: Carried<'_>, tracer: Option<&Tracer>) -> Option<Self> {
        let context = carried.parent.and_then(TraceContext::parse).filter(|context| context.sampled)?;
        Some(Self { context: Some(context), state: carried.state(), tracer: tracer.cloned() })
    }

    /// The same as one text: what [`written`](Self::written) has made of a place.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (parent, state) = text.split_once(' ').unwrap_or((text, ""));
        Self::carried(Carried { parent: Some(parent.as_bytes()), state: Some(state.as_bytes()) }, None)
    }

    /// As one text: the `traceparent`, and behind a space the `tracestate`.
    #[must_use]
    pub fn written(&self) -> Option<String> {
        let context = self.context?;
        Some(match &self.state {
            Some(state) => format!("{context} {state}"),
            None => context.to_string(),
        })
    }

    /// The headers that say it: their names and values.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let parent = self.context.map(|context| (TRACEPARENT, context.to_string()));
        let state = self.context.and(self.state.as_deref()).map(|state| (TRACESTATE, state.to_owned()));
        parent.into_iter().chain(state)
    }

    /// Says it in the headers of a call.
    pub fn carry(&self, headers: &mut HeaderMap) {
        for (name, value) in self.headers() {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }

    /// A place that others can tell steps at; `None` when nobody wants to hear of them.
    #[must_use]
    pub fn if_sampled(&self) -> Option<Box<Self>> {
        self.tracer.is_some().then(|| Box::new(self.clone()))
    }

    /// A step that begins now.
    #[must_use]
    pub fn span(&self, name: &'static str, kind: SpanKind) -> Span {
        match (&self.tracer, self.context) {
            (Some(tracer), Some(parent)) => {
                let mine = TraceContext { span_id: tracer.span_id(), ..parent };
                let trace = Trace { context: Some(mine), ..self.clone() };
                Span::begun(trace, parent.span_id.to_vec(), name, kind)
            }
            _ => Span { trace: self.clone(), told: None },
        }
    }

    /// Tells of a commit of `payments`, this one among them, that took `took_ns` and ends now.
    pub fn committed(&self, payments: usize, took_ns: u64) {
        let mut span = self.span("commit", SpanKind::Internal);
        if let Some(told) = &mut span.told {
            told.start_time_unix_nano = told.start_time_unix_nano.saturating_sub(took_ns);
        }
        span.set("db.operation.batch.size", i64::try_from(payments).unwrap_or(i64::MAX));
        span.end();
    }

    /// The first span of a trace: it has the place's own id and no parent.
    fn root(self, name: &'static str) -> Span {
        match self.tracer {
            Some(_) => Span::begun(self, Vec::new(), name, SpanKind::Server),
            None => Span { trace: self, told: None },
        }
    }
}

/// A step under way. Dropped without an end, it was given up.
#[derive(Debug, Default)]
pub struct Span {
    trace: Trace,
    /// None when it is not sampled.
    told: Option<Box<Told>>,
}

impl Span {
    fn begun(trace: Trace, parent_span_id: Vec<u8>, name: &'static str, kind: SpanKind) -> Self {
        let context = trace.context;
        let told = context.map(|context| {
            Box::new(Told {
                trace_id: context.trace_id.to_vec(),
                span_id: context.span_id.to_vec(),
                trace_state: trace.state.as_deref().unwrap_or_default().to_owned(),
                parent_span_id,
                // Sampled.
                flags: 1,
                name: name.to_owned(),
                kind: kind.into(),
                start_time_unix_nano: now_unix_ns(),
                ..Told::default()
            })
        });
        Self { trace, told }
    }

    /// Where its own steps belong.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Works on `task` for the request `id`, whose span this is.
    pub fn of_request<F: Future>(&self, id: RequestId, task: F) -> impl Future<Output = F::Output> + use<F> {
        Request { id: Some(id), trace: self.trace.clone() }.work(task)
    }

    /// Whether anybody will hear of it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.told.is_some()
    }

    /// Says something about it, when it is sampled. Never an amount, an account, a key or a token.
    pub fn set(&mut self, name: &'static str, value: impl IntoValue) {
        if let Some(told) = &mut self.told {
            let value = Some(AnyValue { value: Some(value.into_value()) });
            told.attributes.push(KeyValue { key: name.to_owned(), value, ..KeyValue::default() });
        }
    }

    /// It came to nothing, for a reason of a small set.
    pub fn fail(&mut self, why: impl IntoValue) {
        self.set("error.type", why);
        if let Some(told) = &mut self.told {
            told.status = Some(Status { code: StatusCode::Error.into(), ..Status::default() });
        }
    }

    /// It has ended with this answer; `fails` says from which status on that is an error.
    pub fn answered(mut self, status: u16, fails: u16) {
        self.set("http.response.status_code", i64::from(status));
        if status >= fails && self.is_sampled() {
            self.fail(status.to_string());
        }
        self.end();
    }

    /// It has ended.
    pub fn end(mut self) {
        self.tell();
    }

    fn tell(&mut self) {
        if let (Some(mut told), Some(tracer)) = (self.told.take(), &self.trace.tracer) {
            told.end_time_unix_nano = now_unix_ns().max(told.start_time_unix_nano);
            tracer.0.outbox.offer(*told);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.is_sampled() {
            self.fail("given_up");
            self.tell();
        }
    }
}

/// What can be said of a span.
pub trait IntoValue {
    /// As OTLP has it.
    fn into_value(self) -> Any;
}

impl IntoValue for &str {
    fn into_value(self) -> Any {
        Any::StringValue(self.to_owned())
    }
}

impl IntoValue for String {
    fn into_value(self) -> Any {
        Any::StringValue(self)
    }
}

impl IntoValue for i64 {
    fn into_value(self) -> Any {
        Any::IntValue(self)
    }
}

fn now_unix_ns() -> u64 {
    let since = wall::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_place_reads_as_it_is_written(trace in 1u128.., span in 1u64.., state in "([!-~][ -~]{0,60})?") {
            let context =
                TraceContext { trace_id: trace.to_be_bytes(), span_id: span.to_be_bytes(), sampled: true };
            let state = Carried { parent: None, state: Some(state.as_bytes()) }.state();
            let place = Trace { context: Some(context), state, tracer: None };
            let read = Trace::read(&place.written().unwrap()).unwrap();
            prop_assert_eq!((read.context, &read.state), (place.context, &place.state));
            let unsampled = Trace { context: Some(TraceContext { sampled: false, ..context }), ..place };
            prop_assert!(Trace::read(&unsampled.written().unwrap()).is_none());
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = Trace::read(&text);
        }
    }
}
