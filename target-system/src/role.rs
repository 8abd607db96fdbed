//! What the smaller roles of the program have in common: a listener, a token, and what watches them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse as _, Response};
use clap::Args;
use hyper::Request;
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tower::Service as _;

use crate::auth::bearer;
use crate::auth::secret::{self, Secret};
use crate::http::accept::{Drain, Listener, listen};
use crate::http::problem::Problem;
use crate::limits::{LAST_SPANS, OTHER_FILES, ROLE_DRAIN, ROLE_HEADER_TIMEOUT, ROLE_REQUEST_TIMEOUT};
use crate::metrics;
use crate::process::allow_open_files;
use crate::serve::{announce, drain_on_signals, drain_on_stdin_eof};
use crate::trace;
use crate::trace::args::TraceArgs;
use crate::trace::context::Carried;
use crate::trace::span::{Span, Tracer};

/// The variable with the token that the parts of the system show each other.
pub const TOKEN_VAR: &str = "PAYMENTS_INTERNAL_TOKEN";

/// What `--help` says besides the settings.
pub const ENVIRONMENT: &str = "\
Environment:
  PAYMENTS_INTERNAL_TOKEN  the bearer token of callers, 16 characters or more; needed beyond loopback;
                           or PAYMENTS_INTERNAL_TOKEN_FILE, the file that holds it";

/// How a role is reached and ended.
#[derive(Debug, Clone, Args)]
pub struct RoleArgs {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: SocketAddr,

    /// Open connections; further ones are refused with 503.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Threads that serve requests.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,

    /// Spans, and where they go.
    #[command(flatten)]
    pub trace: TraceArgs,

    /// Drains and ends when standard input closes, so that a child does not outlive its parent.
    #[arg(long, help_heading = "Options")]
    pub exit_on_stdin_eof: bool,

    /// Prints one JSON line with the address and the process id when ready.
    #[arg(long, help_heading = "Options")]
    pub announce: bool,
}

/// The line that `--announce` prints.
#[derive(serde::Serialize)]
pub(crate) struct Announcement {
    pub(crate) listening: SocketAddr,
    pub(crate) pid: u32,
}

/// A share of requests.
///
/// # Errors
/// When `text` is no number from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("`{text}` is not a share, 0 to 1"))
}

/// Whether `hash` is in the first `share` of all hashes.
#[must_use]
pub fn chooses(share: f64, hash: u64) -> bool {
    // The upper half of the bits, which an `f64` holds exactly.
    ((hash >> 32) as f64) < share * (f64::from(u32::MAX) + 1.0)
}

/// The token of `PAYMENTS_INTERNAL_TOKEN`, which is needed unless `only_loopback`.
///
/// # Errors
/// When it is missing or too weak.
pub fn token(only_loopback: bool) -> anyhow::Result<Option<Secret>> {
    let Some(token) = secret::variable(TOKEN_VAR, |name| std::env::var(name).ok())? else {
        ensure!(
            only_loopback,
            "{TOKEN_VAR} is not set: it is needed when an address is not a loopback address"
        );
        return Ok(None);
    };
    bearer::strong(TOKEN_VAR, token).map(Some)
}

/// A role, as it is named to others.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The service in traces.
    pub service: &'static str,
    /// Its calls, method and path, as spans are named.
    pub calls: &'static [&'static str],
}

/// What a role answers.
struct Role {
    routes: Router,
    token: Option<Secret>,
    registry: Registry,
    drain: Drain,
    tracer: Option<Tracer>,
    calls: &'static [&'static str],
}

/// Serves `routes`, which are below `/v1`, until it is drained.
///
/// # Errors
/// When the address cannot be listened on, or a token is missing.
pub fn serve(args: &RoleArgs, about: About, routes: Router, registry: Registry) -> anyhow::Result<()> {
    let token = token(args.listen.ip().is_loopback())?;
    let files = u64::from(args.max_connections) + OTHER_FILES as u64;
    allow_open_files(files).map_err(|hard| {
        anyhow::anyhow!("--max-connections needs {files} open files, above the hard limit of {hard}")
    })?;
    let routes = routes
        .fallback(async || Problem::missing("there is nothing at this URL"))
        .method_not_allowed_fallback(async || Problem::method());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(args.workers))
        .thread_name("serve")
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(async {
        let mut registry = registry;
        let tracing = args.trace.start(about.service, &mut registry);
        let (tracer, exporter) = tracing.map(|t| (t.tracer, t.exporter)).unzip();
        let role =
            Arc::new(Role { routes, token, registry, drain: Drain::new(), tracer, calls: about.calls });
        let served = serve_until_drained(args, &role).await;
        if let Some(exporter) = exporter {
            exporter.end(LAST_SPANS).await;
        }
        served
    })?;
    // Nobody waits for what is left.
    runtime.shutdown_timeout(Duration::ZERO);
    tracing::info!("drained");
    Ok(())
}

async fn serve_until_drained(args: &RoleArgs, role: &Arc<Role>) -> anyhow::Result<()> {
    let socket = TcpListener::bind(args.listen).await;
    let socket = socket.with_context(|| format!("failed to listen on {}", args.listen))?;
    let announcement = Announcement { listening: socket.local_addr()?, pid: std::process::id() };
    let listener = Listener {
        socket,
        max_connections: args.max_connections as usize,
        header_timeout: ROLE_HEADER_TIMEOUT,
        drain_timeout: ROLE_DRAIN,
        connections: Arc::default(),
        refused: prometheus_client::metrics::counter::Counter::default(),
        express: None,
        tls: None,
    };
    let answering = Arc::clone(role);
    let answer = move |request, _| Arc::clone(&answering).answer(request);
    let served = tokio::spawn(listen(listener, answer, role.drain.subscribe()));
    let drained = Arc::clone(role);
    drain_on_signals(move || drained.drain.begin())?;
    if args.exit_on_stdin_eof {
        let drained = Arc::clone(role);
        drain_on_stdin_eof(move || drained.drain.begin())?;
    }
    tracing::info!(listening = %announcement.listening, "ready");
    if args.announce {
        announce(&announcement)?;
    }
    served.await?;
    Ok(())
}

impl Role {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response, Infallible> {
        match request.uri().path() {
            "/livez" => return Ok("ok\n".into_response()),
            "/readyz" if self.drain.has_begun() => {
                return Ok((StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response());
            }
            "/readyz" => return Ok("ready\n".into_response()),
            "/metrics" => return Ok(metrics::answer(&self.registry)),
            _ => {}
        }
        let shown = request.headers().get(AUTHORIZATION).map(axum::http::HeaderValue::as_bytes);
        if self.token.as_ref().is_some_and(|token| !bearer::shows(shown, token)) {
            return Ok(Problem::unauthorized("this needs the internal token").into_response());
        }
        let span = match &self.tracer {
            Some(tracer) => tracer.serve(self.call(&request), Carried::by(request.headers())),
            None => Span::default(),
        };
        let answered = self.routes.clone().call(request.map(Body::new));
        let in_time = trace::within(&span, tokio::time::timeout(ROLE_REQUEST_TIMEOUT, answered)).await;
        let response = in_time.unwrap_or_else(|_| Ok(Problem::timeout().into_response()))?;
        span.answered(response.status().as_u16(), 500);
        Ok(response)
    }

    /// The call that `request` is.
    fn call(&self, request: &Request<Incoming>) -> &'static str {
        let is = |call: &str| call.split_once(' ') == Some((request.method().as_str(), request.uri().path()));
        self.calls.iter().copied().find(|call| is(call)).unwrap_or("other")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_chosen_in_full_and_not_at_all_at_its_ends() {
        assert!(!chooses(0.0, 0) && chooses(1.0, u64::MAX) && !chooses(0.5, u64::MAX));
        for bad in ["", "x", "-0.1", "1.1", "NaN"] {
            assert!(share(bad).is_err(), "{bad}");
        }
        assert_eq!(share("0.25"), Ok(0.25));
    }
}
