//! What the tower layer costs a request while nothing is armed: the same trivial service with it and without it, in turn.
//!
//! ```console
//! $ cargo run --release -p squall-chaos --features layer --example layer_cost
//! ```

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use squall_chaos::layer::ChaosLayer;
use squall_chaos::leases::Leases;
use squall_record::clock::Clock;
use tower::{Layer, Service, service_fn};

const ROUNDS: usize = 41;
const CALLS: u32 = 200_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let hello = service_fn(|_request: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
    });
    let mut bare = hello;
    let mut layered = ChaosLayer::new(Arc::new(Leases::new())).layer(hello);
    let mut rows = Vec::new();
    for round in 0..=ROUNDS {
        let without_ns = ask(&mut bare).await;
        let with_ns = ask(&mut layered).await;
        // The first one warms up.
        if round > 0 {
            rows.push((without_ns, with_ns, with_ns - without_ns));
        }
    }
    let median = |of: fn(&(f64, f64, f64)) -> f64| {
        let mut all: Vec<f64> = rows.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!("medians of {ROUNDS} rounds of {CALLS} calls, in turn");
    println!("without the layer   {:>7.1} ns a call", median(|r| r.0));
    println!("with it             {:>7.1} ns a call", median(|r| r.1));
    println!("difference in pairs {:>7.1} ns a call", median(|r| r.2));
}

/// Nanoseconds a call.
async fn ask<S, B, E>(service: &mut S) -> f64
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = E>,
    E: std::fmt::Debug,
{
    let clock = Clock::start();
    for _ in 0..CALLS {
        let mut request = Request::new(Full::default());
        request.headers_mut().insert("squall-request", http::HeaderValue::from_static("4711"));
        let answer = service.call(request).await.expect("it answers");
        std::hint::black_box(answer.status());
    }
    clock.now_ns() as f64 / f64::from(CALLS)
}
