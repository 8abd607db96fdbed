//! `payments fraud`: scores payments, at a cost and a latency that are set.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use clap::Args;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use squall_record::clock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::scoring::{PATH, Score};
use crate::http::body;
use crate::http::problem::Problem;
use crate::http::render;
use crate::limits::SCORING_SLICE;
use crate::record::Order;
use crate::role::{self, About, RoleArgs};

/// Scores below this are given to what nothing speaks against.
const HARMLESS: u64 = 50;

/// How the fraud service runs.
#[derive(Debug, Clone, Args)]
#[command(after_help = role::ENVIRONMENT)]
pub struct FraudArgs {
    /// Where it listens, and the like.
    #[command(flatten)]
    pub role: RoleArgs,

    /// CPU time of one score, in microseconds.
    #[arg(long, value_name = "US", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub cost_us: u64,

    /// How long a score takes on top, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub latency_ms: u64,

    /// Payments above this amount, in minor units, score 100.
    #[arg(long, value_name = "AMOUNT", default_value_t = 100_000_000, value_parser = clap::value_parser!(i64).range(1..))]
    pub amount_limit: i64,

    /// The share of other payments that score 90, chosen by a hash of their fields: 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = role::share)]
    pub suspect: f64,
}

#[derive(Debug)]
struct Scorer {
    args: FraudArgs,
    scores: Counter,
}

/// Serves until it is drained.
///
/// # Errors
/// When a setting makes no sense or the address cannot be listened on.
pub fn serve(args: FraudArgs) -> anyhow::Result<()> {
    let mut registry = Registry::default();
    let scores = Counter::default();
    registry.register("fraud_scores", "Payments scored", scores.clone());
    let role = args.role.clone();
    let scorer = Arc::new(Scorer { args, scores });
    let about = About { service: "payments-fraud", calls: &["POST /v1/scores"] };
    role::serve(&role, about, Router::new().route(PATH, post(score)).with_state(scorer), registry)
}

/// `POST /v1/scores`, with a payment as `POST /v1/payments` takes it.
async fn score(State(scorer): State<Arc<Scorer>>, body: Body) -> Result<Response, Problem> {
    let order = body::order(&body::read(body).await?)?;
    tokio::time::sleep(Duration::from_millis(scorer.args.latency_ms)).await;
    burn(Duration::from_micros(scorer.args.cost_us)).await;
    scorer.scores.inc();
    Ok(render::value(StatusCode::OK, &Score { score: rate(&scorer.args, &order) }))
}

/// The score: the same for the same fields.
fn rate(args: &FraudArgs, order: &Order) -> u8 {
    if order.amount > args.amount_limit {
        return 100;
    }
    let hash = xxh3_64_with_seed(render::order(order).as_bytes(), 0);
    if role::chooses(args.suspect, hash) { 90 } else { (hash % HARMLESS) as u8 }
}

/// Computes for `cost` of CPU time, in slices, so that other requests have their turn.
async fn burn(cost: Duration) {
    let mut left = cost;
    while !left.is_zero() {
        let slice = left.min(SCORING_SLICE);
        let until_ns = clock::thread_cpu_ns() + u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
        let mut hash = until_ns;
        while clock::thread_cpu_ns() < until_ns {
            hash = std::hint::black_box(xxh3_64_with_seed(&[0; 256], hash));
        }
        left -= slice;
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AccountId;
    use crate::money::Currency;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: FraudArgs,
    }

    fn order(amount: i64) -> Order {
        let currency = Currency::parse("EUR").unwrap();
        Order { from: AccountId(1), to: AccountId(2), amount, currency }
    }

    #[test]
    fn large_amounts_and_the_chosen_share_are_suspect() {
        let args = Cli::parse_from([
            "fraud",
            "--listen",
            "127.0.0.1:0",
            "--suspect",
            "0.25",
            "--amount-limit",
            "5000",
        ])
        .args;
        assert_eq!((rate(&args, &order(5001)), rate(&args, &order(5002))), (100, 100));
        let suspect = (1..=4000).filter(|a| rate(&args, &order(*a)) == 90).count();
        assert!((900..1100).contains(&suspect), "{suspect}");
        assert_eq!(rate(&args, &order(7)), rate(&args, &order(7)));
        let none = Cli::parse_from(["fraud", "--listen", "127.0.0.1:0"]).args;
        assert!((1..=4000).all(|a| u64::from(rate(&none, &order(a))) < HARMLESS));
    }

    #[tokio::test]
    async fn a_score_costs_the_cpu_time_that_is_set() {
        let before_ns = clock::thread_cpu_ns();
        burn(Duration::from_millis(7)).await;
        let used_ns = clock::thread_cpu_ns() - before_ns;
        assert!(used_ns >= 7_000_000, "{used_ns}");
    }
}
