//! What Prometheus reads. Handles are kept, so counting is an atomic addition and no look-up by
//! label happens on the way of a payment.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::bank::Kind;
use crate::business::Business;
use crate::cache::metrics::CacheMetrics;
use crate::postgres::relay::OutboxMetrics;
use crate::postgres::replicas::ReplicaMetrics;
use crate::process::Usage;
use crate::queue::args::Kind as QueueKind;
use crate::record::Record;
use crate::worker::metrics::NotifyMetrics;

/// A request's class: route and status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    status: u16,
}

/// A payment that succeeded.
const PAID: Request = Request { route: PAY_ROUTE, status: 201 };

/// The route of payments, as a label.
pub const PAY_ROUTE: &str = "POST /v1/payments";

/// The route of balances, as a label.
pub const BALANCE_ROUTE: &str = "GET /v1/accounts/{id}/balance";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Whose {
    whose: &'static str,
}

/// Figures that are read when somebody asks.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Commands waiting for the writer.
    pub queue_depth: usize,
    /// Keys kept, where that is known without counting.
    pub keys: Option<u64>,
    /// Payments under way, and how many there may be.
    pub under_way: (usize, usize),
    /// Open connections.
    pub connections: usize,
    /// Connections to a database, when there is one.
    pub pool: Option<PoolReading>,
    /// Faults armed.
    pub faults: usize,
    /// The process.
    pub usage: Usage,
}

/// The connections to a database.
#[derive(Debug, Clone, Copy)]
pub struct PoolReading {
    /// Open.
    pub open: usize,
    /// Of those, used by nobody.
    pub idle: usize,
    /// Who waits for one.
    pub waiting: usize,
}

/// What `registry` holds, as the text that Prometheus reads (OpenMetrics).
#[must_use]
pub fn answer(registry: &Registry) -> Response {
    let mut text = String::new();
    // Writing to a string does not fail.
    encode(&mut text, registry).expect("a string takes all text");
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

/// Every counter of the service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    /// Of `requests`, the class that nearly all of them are of: counted without a look-up.
    paid: Counter,
    request_seconds: Histogram,
    business: Business,
    /// Answers that were given before.
    pub replays: Counter,
    /// Requests refused before anything was executed.
    pub shed: Counter,
    rate_limited: Family<Whose, Counter>,
    under_way: Gauge,
    admitted: Gauge,
    /// Payments decided by the rule that acts when the fraud check does not answer.
    pub fraud_fallbacks: Counter,
    /// What the workers of this process say, when it has any.
    pub notify: Option<NotifyMetrics>,
    /// What the outbox says, when there is one.
    pub outbox: Option<OutboxMetrics>,
    /// Connections closed at once because too many were open.
    pub connections_refused: Counter,
    /// Of copies of the database.
    pub replicas: ReplicaMetrics,
    /// Of cached balances.
    pub cache: CacheMetrics,
    commit_seconds: Histogram,
    commit_payments: Histogram,
    keys_expired: Counter,
    queue_depth: Gauge,
    keys: Gauge,
    connections: Gauge,
    pool_open: Gauge,
    pool_idle: Gauge,
    pool_waiting: Gauge,
    faults: Gauge,
    cpu_seconds: Counter<f64, std::sync::atomic::AtomicU64>,
    resident_bytes: Gauge,
    threads: Gauge,
}

impl Metrics {
    /// All at zero; of what one store or queue alone can tell, only the figures of `store` and `queue`.
    #[must_use]
    pub fn new(store: Kind, queue: QueueKind) -> Self {
        // 100 µs to 13 s, and 1 to 4096 payments, in powers of two.
        let seconds = || Histogram::new(exponential_buckets(0.0001, 2.0, 18));
        let requests = Family::<Request, Counter>::default();
        let paid = requests.get_or_create(&PAID).clone();
        let mut m = Self {
            registry: Registry::default(),
            requests,
            paid,
            request_seconds: seconds(),
            business: Business::default(),
            replays: Counter::default(),
            shed: Counter::default(),
            rate_limited: Family::default(),
            under_way: Gauge::default(),
            admitted: Gauge::default(),
            fraud_fallbacks: Counter::default(),
            notify: (queue == QueueKind::Process).then(NotifyMetrics::default),
            outbox: (queue == QueueKind::Nats).then(OutboxMetrics::default),
            connections_refused: Counter::default(),
            replicas: ReplicaMetrics::default(),
            cache: CacheMetrics::default(),
            commit_seconds: seconds(),
            commit_payments: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            keys_expired: Counter::default(),
            queue_depth: Gauge::default(),
            keys: Gauge::default(),
            connections: Gauge::default(),
            pool_open: Gauge::default(),
            pool_idle: Gauge::default(),
            pool_waiting: Gauge::default(),
            faults: Gauge::default(),
            cpu_seconds: Counter::default(),
            resident_bytes: Gauge::default(),
            threads: Gauge::default(),
        };
        let r = &mut m.registry;
        r.register("http_requests", "Requests by route and status", m.requests.clone());
        let help = "Time from a request's head to its answer";
        r.register_with_unit("http_request_duration", help, Unit::Seconds, m.request_seconds.clone());
        r.register("http_requests_shed", "Requests refused before anything was executed", m.shed.clone());
        r.register("http_requests_rate_limited", "Requests beyond an allowance", m.rate_limited.clone());
        r.register("payments_under_way", "Payments under way", m.under_way.clone());
        r.register("payments_admitted", "Payments that may be under way", m.admitted.clone());
        r.register("http_connections", "Open connections", m.connections.clone());
        r.register("http_connections_refused", "Connections above the cap", m.connections_refused.clone());
        m.business.register(r);
        r.register(
            "payments_fraud_fallbacks",
            "Payments decided without an answer of the fraud check",
            m.fraud_fallbacks.clone(),
        );
        if let Some(notify) = &m.notify {
            notify.register(r);
        }
        if let Some(outbox) = &m.outbox {
            outbox.register(r);
        }
        r.register("idempotency_replays", "Answers that were given before", m.replays.clone());
        r.register("idempotency_keys_expired", "Keys removed", m.keys_expired.clone());
        let help = "Time of one commit with its sync";
        r.register_with_unit("store_commit_duration", help, Unit::Seconds, m.commit_seconds.clone());
        r.register("store_commit_payments", "Payments and declines of one commit", m.commit_payments.clone());
        r.register("store_queue_depth", "Commands waiting for the writer", m.queue_depth.clone());
        match store {
            Kind::Embedded => r.register("idempotency_keys", "Keys kept", m.keys.clone()),
            Kind::Postgres => {
                let gauges = [
                    ("store_pool_connections", "Connections to the database", &m.pool_open),
                    ("store_pool_idle", "Connections to the database that nobody uses", &m.pool_idle),
                    ("store_pool_waiting", "Who waits for a connection to the database", &m.pool_waiting),
                ];
                gauges.into_iter().for_each(|(name, help, gauge)| r.register(name, help, gauge.clone()));
                m.replicas = ReplicaMetrics::register(r);
                m.cache = CacheMetrics::register(r);
            }
        }
        r.register("faults_armed", "Faults armed", m.faults.clone());
        r.register_with_unit("process_cpu", "User and system CPU time", Unit::Seconds, m.cpu_seconds.clone());
        r.register_with_unit(
            "process_resident_memory",
            "Resident memory",
            Unit::Bytes,
            m.resident_bytes.clone(),
        );
        r.register("process_threads", "Threads", m.threads.clone());
        m
    }

    /// Where parts of the service that not every process has put their own figures.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Counts an answered request.
    pub fn answered(&self, route: &'static str, status: u16, took_ns: u64) {
        let request = Request { route, status };
        if request == PAID {
            self.paid.inc();
        } else {
            self.requests.get_or_create(&request).inc();
        }
        self.request_seconds.observe(took_ns as f64 / 1e9);
    }

    /// Counts a request beyond the allowance of an `address` or a `user`.
    pub fn rate_limited(&self, whose: &'static str) {
        self.rate_limited.get_or_create(&Whose { whose }).inc();
    }

    /// Counts a payment that has come to its end, once: not when its answer is given again.
    pub fn settled(&self, record: &Record) {
        self.business.settled(record);
    }

    /// Counts a commit of `payments` that took `took_ns` and removed `expired` keys.
    pub fn committed(&self, payments: usize, took_ns: u64, expired: u64) {
        self.commit_seconds.observe(took_ns as f64 / 1e9);
        self.commit_payments.observe(payments as f64);
        self.keys_expired.inc_by(expired);
    }

    /// The counters with this reading, for Prometheus.
    #[must_use]
    pub fn answer(&self, reading: Reading) -> Response {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.queue_depth.set(count(reading.queue_depth));
        if let Some(keys) = reading.keys {
            self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        }
        let (under_way, admitted) = reading.under_way;
        self.under_way.set(count(under_way));
        self.admitted.set(count(admitted));
        self.connections.set(count(reading.connections));
        self.faults.set(count(reading.faults));
        if let Some(pool) = reading.pool {
            self.pool_open.set(count(pool.open));
            self.pool_idle.set(count(pool.idle));
            self.pool_waiting.set(count(pool.waiting));
        }
        self.resident_bytes.set(i64::try_from(reading.usage.rss_bytes).unwrap_or(i64::MAX));
        self.threads.set(i64::try_from(reading.usage.threads).unwrap_or(i64::MAX));
        // A counter only rises: add what has come since the last reading.
        self.cpu_seconds.inc_by((reading.usage.cpu_s - self.cpu_seconds.get()).max(0.0));
        answer(&self.registry)
    }
}
