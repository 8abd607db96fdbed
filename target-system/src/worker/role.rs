//! `payments worker`: the workers as a process of their own, on the queue of a NATS server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use clap::Args;
use hyper::Request;
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::net::TcpListener;
use tower::Service as _;

use super::Delivery;
use super::args::NotifyArgs;
use super::crew::Crew;
use super::metrics::NotifyMetrics;
use crate::http::accept::{Drain, Listener, listen};
use crate::http::render;
use crate::limits::{LAST_SPANS, MAX_ADMIN_CONNECTIONS};
use crate::metrics;
use crate::queue::jetstream::JetStream;
use crate::queue::{Queue, args, nats};
use crate::role::Announcement;
use crate::serve::{announce, drain_on_signals};
use crate::trace::args::TraceArgs;

/// How long a connection that sends nothing is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long work that nobody waits for any more may delay the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

const ENVIRONMENT: &str = "\
Environment:
  PAYMENTS_NATS        needed: the server, nats://user:password@host:4222
  PAYMENTS_DELIVER_TO  the receiver's URL, where no process list shows it";

/// How the workers run.
#[derive(Debug, Clone, Args)]
#[command(after_help = ENVIRONMENT)]
pub struct WorkerArgs {
    /// Where `/livez`, `/readyz`, `/health` and `/metrics` are; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8082")]
    pub listen: SocketAddr,

    /// How notices are delivered.
    #[command(flatten)]
    pub notify: NotifyArgs,

    /// Where spans go.
    #[command(flatten)]
    pub trace: TraceArgs,

    /// After how long another worker gets a notice that one has not answered for: at least twice
    /// `--deliver-timeout-ms`.
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub ack_wait_ms: u64,

    /// How long a drain waits for deliveries under way; the others stay in the queue.
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub drain_timeout_ms: u64,

    /// Prints one JSON line with the address and the process id when ready.
    #[arg(long)]
    pub announce: bool,
}

/// The process, as its handlers see it.
struct Watched {
    delivery: Arc<Delivery>,
    registry: Registry,
    drain: Drain,
}

/// Delivers until it is drained.
///
/// # Errors
/// When a setting makes no sense, no server is named or the address cannot be listened on.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it runs until the end: nobody needs the arguments afterwards"
)]
pub fn work(args: WorkerArgs) -> anyhow::Result<()> {
    let settings = args.notify.settings()?;
    let ack_wait = Duration::from_millis(args.ack_wait_ms);
    ensure!(
        settings.time_limit * 2 <= ack_wait,
        "--ack-wait-ms {} is less than twice --deliver-timeout-ms {}",
        args.ack_wait_ms,
        args.notify.deliver_timeout_ms
    );
    let address = args::address()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("worker")
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let done = runtime.block_on(async {
        let metrics = NotifyMetrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let tracing = args.trace.start("payments-worker", &mut registry);
        let (tracer, exporter) = tracing.map(|t| (t.tracer, t.exporter)).unzip();
        let queue = Queue::JetStream(JetStream::new(nats::connect(address).await?, ack_wait));
        let crew = Crew::start(Delivery::new(queue, &settings, None, metrics, tracer), &settings);
        let delivery = Arc::clone(crew.delivery());
        let watched = Arc::new(Watched { delivery, registry, drain: Drain::new() });
        let served = serve(&args, &watched).await;
        crew.end(Duration::from_millis(args.drain_timeout_ms)).await;
        if let Some(exporter) = exporter {
            exporter.end(LAST_SPANS).await;
        }
        served
    });
    runtime.shutdown_timeout(LAST_WAIT);
    done?;
    tracing::info!("drained");
    Ok(())
}

/// Serves those who watch, until it is drained.
async fn serve(args: &WorkerArgs, watched: &Arc<Watched>) -> anyhow::Result<()> {
    let socket = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("failed to listen on {}", args.listen))?;
    let announcement = Announcement { listening: socket.local_addr()?, pid: std::process::id() };
    let drained = Arc::clone(watched);
    drain_on_signals(move || drained.drain.begin())?;
    tracing::info!(listening = %announcement.listening, "ready");
    if args.announce {
        announce(&announcement)?;
    }
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/health", get(health))
        .route("/metrics", get(figures))
        .with_state(Arc::clone(watched));
    let listener = Listener {
        socket,
        max_connections: MAX_ADMIN_CONNECTIONS,
        header_timeout: HEADER_TIMEOUT,
        drain_timeout: LAST_WAIT,
        connections: Arc::default(),
        refused: Counter::default(),
        express: None,
        tls: None,
    };
    let answer = move |request: Request<Incoming>, _| {
        let mut router = router.clone();
        async move { router.call(request.map(Body::new)).await }
    };
    listen(listener, answer, watched.drain.subscribe()).await;
    Ok(())
}

impl Watched {
    /// Whether the server of the queue is there.
    fn is_connected(&self) -> bool {
        match &self.delivery.queue {
            Queue::JetStream(queue) => queue.is_connected(),
            Queue::Local(_) => true,
        }
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    ready: bool,
    notifications: super::metrics::Figures,
}

/// `GET /readyz`: it delivers; 503 when it does not.
async fn readyz(State(watched): State<Arc<Watched>>) -> (StatusCode, &'static str) {
    if watched.is_connected() && !watched.drain.has_begun() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// `GET /health`: the same with figures.
async fn health(State(watched): State<Arc<Watched>>) -> Response {
    let (connected, draining) = (watched.is_connected(), watched.drain.has_begun());
    let health = Health {
        status: match (connected, draining) {
            (false, _) => "unhealthy",
            (true, true) => "draining",
            (true, false) => "ok",
        },
        ready: connected && !draining,
        notifications: watched.delivery.metrics.figures(),
    };
    render::value(if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &health)
}

/// `GET /metrics`, in OpenMetrics' text form.
async fn figures(State(watched): State<Arc<Watched>>) -> Response {
    metrics::answer(&watched.registry)
}
