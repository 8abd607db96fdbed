//! `payments network`: a stand-in of a card network. It authorises each key once, takes as long as a network
//! does, and declines a share of payments in its issuers' names.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::post;
use clap::Args;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::authorizations::{Authorizations, Number, OtherOrder};
use super::{AUTHORIZE, VOID};
use crate::decline::Decline;
use crate::http::body::{self, Fields};
use crate::http::payments;
use crate::http::problem::Problem;
use crate::http::render;
use crate::limits::LONGEST_LATENCY;
use crate::role::{self, About, RoleArgs};

/// The 99th percentile of the standard normal distribution.
const Z_99: f64 = 2.326_347_9;
/// Whose keys they are: all callers show one token.
const CALLER: &str = "network";

/// How the network runs.
#[derive(Debug, Clone, Args)]
#[command(after_help = role::ENVIRONMENT)]
pub struct NetworkArgs {
    /// Where it listens, and the like.
    #[command(flatten)]
    pub role: RoleArgs,

    /// The median of its latency, in milliseconds; 0 answers at once.
    #[arg(long, value_name = "MS", default_value_t = 100.0, value_parser = milliseconds)]
    pub median_ms: f64,

    /// The 99th percentile of its latency, in milliseconds: the distribution is log-normal.
    #[arg(long, value_name = "MS", default_value_t = 400.0, value_parser = milliseconds)]
    pub p99_ms: f64,

    /// The share of payments that the issuer declines without a reason, chosen by a hash of the key: 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = role::share)]
    pub declines: f64,

    /// The share of payments whose issuer cannot be reached, likewise.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = role::share)]
    pub outages: f64,

    /// Authorisations that are remembered; the oldest go first.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub keys: u32,

    /// Other seeds choose other payments and other latencies.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

fn milliseconds(text: &str) -> Result<f64, String> {
    let ms = text.parse().ok().filter(|ms| (0.0..=60_000.0).contains(ms));
    ms.ok_or_else(|| format!("`{text}` is not a number of milliseconds, 0 to 60000"))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug)]
struct Issuers {
    args: NetworkArgs,
    kept: Mutex<Authorizations>,
    /// Requests so far: each has a latency of its own.
    requests: AtomicU64,
    authorizations: Family<Outcome, Counter>,
    replays: Counter,
    voids: Counter,
}

/// Serves until it is drained.
///
/// # Errors
/// When a setting makes no sense or the address cannot be listened on.
pub fn serve(args: NetworkArgs) -> anyhow::Result<()> {
    anyhow::ensure!(args.p99_ms >= args.median_ms, "--p99-ms is below --median-ms");
    anyhow::ensure!(args.declines + args.outages <= 1.0, "--declines and --outages are more than 1 together");
    let role = args.role.clone();
    let issuers = Arc::new(Issuers {
        kept: Mutex::new(Authorizations::new(args.keys as usize)),
        args,
        requests: AtomicU64::new(0),
        authorizations: Family::default(),
        replays: Counter::default(),
        voids: Counter::default(),
    });
    let mut registry = Registry::default();
    let r = &mut registry;
    r.register("network_authorizations", "Keys decided, by outcome", issuers.authorizations.clone());
    r.register("network_replays", "Keys that were asked about again", issuers.replays.clone());
    r.register("network_voids", "Authorisations taken back", issuers.voids.clone());
    let router = Router::new().route(AUTHORIZE, post(authorize)).route(VOID, post(void));
    let about = About { service: "payments-network", calls: &["POST /v1/authorizations", "POST /v1/voids"] };
    role::serve(&role, about, router.with_state(issuers), registry)
}

/// `POST /v1/authorizations` + `Idempotency-Key`, with a payment as `POST /v1/payments` takes it.
async fn authorize(
    State(issuers): State<Arc<Issuers>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let sent = headers.get("idempotency-key").map(HeaderValue::as_bytes);
    let key = payments::key(sent, CALLER)?;
    let key = key.as_bytes();
    let order = body::order(&body::read(body).await?)?;
    // Decided when it arrives: whoever asks again while the first waits for its answer gets the same.
    let authorized =
        issuers.with(|kept| kept.authorize(Number::of(key), &order, || issuers.args.issuer(key)));
    let (answer, first) = authorized.map_err(|OtherOrder| Problem::key_reused())?;
    if first {
        let outcome = issuers.args.issuer(key).map_or("approved", Decline::code);
        issuers.authorizations.get_or_create(&Outcome { outcome }).inc();
    } else {
        issuers.replays.inc();
    }
    issuers.wait().await;
    Ok(render::value(StatusCode::CREATED, &answer))
}

/// `POST /v1/voids` `{authorization}`: once or more often.
async fn void(State(issuers): State<Arc<Issuers>>, body: Body) -> Result<Response, Problem> {
    let mut fields = Fields::parse(&body::read(body).await?)?;
    let id = fields.text("authorization")?;
    fields.end()?;
    let number = Number::parse(&id).ok_or_else(|| {
        Problem::invalid("parameter_invalid", "authorization", "`authorization` is an authorisation's id")
    })?;
    let voided = issuers.with(|kept| kept.void(number));
    let (answer, first) = voided.ok_or_else(|| Problem::missing("there is no such authorisation"))?;
    if first {
        issuers.voids.inc();
    }
    issuers.wait().await;
    Ok(render::value(StatusCode::OK, &answer))
}

impl Issuers {
    fn with<T>(&self, change: impl FnOnce(&mut Authorizations) -> T) -> T {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes as long as this request does.
    async fn wait(&self) {
        let nth = self.requests.fetch_add(1, Relaxed);
        tokio::time::sleep(self.args.latency(nth)).await;
    }
}

impl NetworkArgs {
    /// What the issuer says to `key`: always the same.
    fn issuer(&self, key: &[u8]) -> Option<Decline> {
        let hash = xxh3_64_with_seed(key, self.seed);
        if role::chooses(self.declines, hash) {
            Some(Decline::DoNotHonor)
        } else if role::chooses(self.declines + self.outages, hash) {
            Some(Decline::IssuerUnavailable)
        } else {
            None
        }
    }

    /// The latency of request `nth`: log-normal, from two numbers evenly between 0 and 1 (Box and Muller).
    fn latency(&self, nth: u64) -> Duration {
        if self.median_ms <= 0.0 {
            return Duration::ZERO;
        }
        let even = |salt: u8| {
            let hash = xxh3_64_with_seed(&[&nth.to_le_bytes()[..], &[salt]].concat(), self.seed);
            (hash as f64 + 1.0) / (u64::MAX as f64 + 2.0)
        };
        let normal = (-2.0 * even(0).ln()).sqrt() * (std::f64::consts::TAU * even(1)).cos();
        let sigma = (self.p99_ms / self.median_ms).ln() / Z_99;
        let ms = self.median_ms * (sigma * normal).exp();
        Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(LONGEST_LATENCY).min(LONGEST_LATENCY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: NetworkArgs,
    }

    fn args(more: &[&str]) -> NetworkArgs {
        Cli::parse_from(["network", "--listen", "127.0.0.1:0"].iter().chain(more)).args
    }

    #[test]
    fn its_latencies_have_the_median_and_the_percentile_that_are_set() {
        let args = args(&["--median-ms", "80", "--p99-ms", "300"]);
        let mut ms: Vec<f64> = (0..20_000).map(|n| args.latency(n).as_secs_f64() * 1000.0).collect();
        ms.sort_by(f64::total_cmp);
        let (median, p99) = (ms[10_000], ms[19_800]);
        assert!((77.0..83.0).contains(&median) && (280.0..320.0).contains(&p99), "{median} {p99}");
        assert_eq!(super::tests::args(&["--median-ms", "0"]).latency(3), Duration::ZERO);
    }

    #[test]
    fn issuers_decline_the_share_that_is_set_and_the_same_keys_always() {
        let args = args(&["--declines", "0.1", "--outages", "0.05"]);
        let said: Vec<Option<Decline>> = (0..10_000u32).map(|n| args.issuer(&n.to_le_bytes())).collect();
        let share = |why| said.iter().filter(|s| **s == Some(why)).count();
        assert!((900..1100).contains(&share(Decline::DoNotHonor)), "{}", share(Decline::DoNotHonor));
        assert!((400..600).contains(&share(Decline::IssuerUnavailable)));
        assert_eq!(said[7], args.issuer(&7u32.to_le_bytes()));
        assert_eq!(super::tests::args(&[]).issuer(b"k"), None);
    }
}
