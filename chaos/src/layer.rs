//! The tower layer that any HTTP service embeds to have an `api` fault point.
//!
//! Ten lines in a service of one's own:
//!
//! ```
//! use std::sync::Arc;
//! use http_body_util::Full;
//! use squall_chaos::{layer::ChaosLayer, leases::Leases};
//! use tower::{Layer, service_fn};
//!
//! let leases = Arc::new(Leases::new());
//! let hello = service_fn(|_request: http::Request<Full<bytes::Bytes>>| async {
//!     Ok::<_, std::convert::Infallible>(http::Response::new(Full::<bytes::Bytes>::from("hello")))
//! });
//! let service = ChaosLayer::new(Arc::clone(&leases)).layer(hello);
//! // `leases.arm(&request)` now makes requests fail, wait, hang or panic before `hello` sees them, or its answers slow.
//! # let _ = service;
//! ```
//!
//! The process is a service's own: a panic is answered as that answers its own, and faults that need its help (connections of
//! a pool, a wrong clock, slow commits) are refused until it says through [`Leases::provide`] that it gives it.
//!
//! With nothing armed it adds one relaxed load and one branch to a request and allocates
//! nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use squall_record::fault::FaultPoint;
use tower::{Layer, Service};

use crate::decision;
pub use crate::decision::Subject;
use crate::leases::Leases;
use crate::points::{Injected, Passed};
use crate::slow_body::Trickled;

/// Which attempt of a request this is, counted from 0. A retry says 1, so that a fault decides
/// about it anew.
pub static ATTEMPT_HEADER: HeaderName = HeaderName::from_static(decision::ATTEMPT_HEADER);
/// The header of a request that is sent to compare with those that faults meet: with the value `control` none does.
pub static LANE_HEADER: HeaderName = HeaderName::from_static(decision::LANE_HEADER);
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header with a request's id.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

impl Subject {
    /// Reads the headers; `otherwise` names a request that carries no id.
    #[must_use]
    pub fn of(headers: &HeaderMap, otherwise: impl FnOnce() -> u64) -> Self {
        let id = headers.get(&IDEMPOTENCY_KEY).or_else(|| headers.get(&REQUEST_ID));
        let value = |name| headers.get(name).map(HeaderValue::as_bytes);
        let (attempt, lane) = (value(&ATTEMPT_HEADER), value(&LANE_HEADER));
        match id {
            Some(id) => Self::new(id.as_bytes(), attempt, lane),
            None => Self { request_id: otherwise(), ..Self::new(b"", attempt, lane) },
        }
    }
}

/// Puts the `api` fault point in front of a service.
#[derive(Debug, Clone)]
pub struct ChaosLayer {
    leases: Arc<Leases>,
    /// Names requests that carry no id.
    unnamed: Arc<AtomicU64>,
}

impl ChaosLayer {
    /// A layer in which the faults of `leases` act.
    #[must_use]
    pub fn new(leases: Arc<Leases>) -> Self {
        Self { leases, unnamed: Arc::default() }
    }
}

impl<S> Layer<S> for ChaosLayer {
    type Service = Chaos<S>;

    fn layer(&self, inner: S) -> Chaos<S> {
        Chaos { layer: self.clone(), inner }
    }
}

/// A service behind the `api` fault point.
#[derive(Debug, Clone)]
pub struct Chaos<S> {
    layer: ChaosLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Chaos<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: Send + 'static,
    R: HttpBody + From<String>,
{
    type Response = Response<Trickled<R>>;
    type Error = S::Error;
    type Future = ChaosFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !self.layer.leases.any_at(FaultPoint::Api) {
            let inner = Some(self.inner.call(request));
            return ChaosFuture { held: None, passed: Passed::default(), inner };
        }
        let ChaosLayer { leases, unnamed } = self.layer.clone();
        let subject = Subject::of(request.headers(), || unnamed.fetch_add(1, Ordering::Relaxed));
        // The service that was polled ready is the one to call; its clone takes its place.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        let held: Passing<B> = Box::pin(async move {
            let passed = leases.pass(FaultPoint::Api, subject.request_id, subject.attempt).await;
            (request, passed)
        });
        ChaosFuture { held: Some((held, ready)), passed: Passed::default(), inner: None }
    }
}

type Passing<B> = Pin<Box<dyn Future<Output = (Request<B>, Result<Passed, Injected>)> + Send>>;

pin_project! {
    /// The answer of a service behind the `api` fault point.
    #[must_use = "futures do nothing unless polled"]
    pub struct ChaosFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        // Still among the faults: gives the request back, and who gets it then.
        held: Option<(Passing<B>, S)>,
        // What it takes along from them until it is answered.
        passed: Passed,
        // Past them: the service's own answer.
        #[pin]
        inner: Option<S::Future>,
    }
}

impl<S, B, R> Future for ChaosFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: HttpBody + From<String>,
{
    type Output = Result<Response<Trickled<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some((held, _)) = this.held {
            let (request, passed) = ready!(held.as_mut().poll(cx));
            match passed {
                Ok(passed) => *this.passed = passed,
                Err(injected) => {
                    let answer = answer::<R>(&injected);
                    return Poll::Ready(Ok(answer.map(|body| Trickled::new(body, None))));
                }
            }
            let service = this.held.take().map(|(_, service)| service);
            this.inner.set(service.map(|mut s| s.call(request)));
        }
        // One of the two is always there: `call` sets one, the branch above moves on to the other.
        let answered = ready!(this.inner.as_pin_mut().expect("held or inner is set").poll(cx));
        let passed = std::mem::take(this.passed);
        Poll::Ready(answered.map(|answer| answer.map(|body| Trickled::new(body, passed.pace()))))
    }
}

/// The answer in place of a service's, in the form of the payment service's errors. The fault
/// is named by a header, so that no reader takes an injected failure for a real one.
#[must_use]
pub fn answer<R: From<String>>(injected: &Injected) -> Response<R> {
    let body = r#"{"error":{"type":"api_error","code":"injected_fault","message":"a fault was injected"}}"#;
    let mut response = Response::new(R::from(body.to_owned()));
    *response.status_mut() =
        StatusCode::from_u16(injected.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    if let Ok(name) = http::HeaderValue::from_str(&injected.fault) {
        headers.insert("squall-fault", name);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::SPARED;
    use crate::lease::ArmRequest;
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use squall_record::fault::{Delay, Effect, FaultSpec, Place};
    use tower::{ServiceExt, service_fn};
    use xxhash_rust::xxh3::xxh3_64;

    type Body = Full<Bytes>;

    async fn status(leases: &Arc<Leases>, key: &str, attempt: u32) -> (u16, bool) {
        let hello = service_fn(|_r: Request<Body>| async {
            Ok::<_, std::convert::Infallible>(Response::new(Body::from("hello")))
        });
        let request = Request::post("/")
            .header("Idempotency-Key", key)
            .header("Squall-Attempt", attempt.to_string())
            .body(Body::default())
            .unwrap();
        let got = ChaosLayer::new(Arc::clone(leases)).layer(hello).oneshot(request).await.unwrap();
        (got.status().as_u16(), got.headers().contains_key("squall-fault"))
    }

    fn arm(leases: &Leases, effect: Effect, fraction: f64) {
        let fault =
            FaultSpec { name: "f".to_owned(), place: Place::Point(FaultPoint::Api), effect, fraction };
        leases.arm(&ArmRequest { fault, ttl_ms: 60_000, seed: 1 }).unwrap();
    }

    #[tokio::test]
    async fn a_request_meets_the_same_fate_each_time_and_a_retry_its_own() {
        let leases = Arc::new(Leases::new());
        assert_eq!(status(&leases, "k", 0).await, (200, false));
        arm(&leases, Effect::Error { status: 503 }, 0.5);
        let mut retried_otherwise = 0;
        for i in 0..50 {
            let key = format!("key-{i}");
            let first = status(&leases, &key, 0).await;
            assert_eq!(first, status(&leases, &key, 0).await);
            assert!(first == (200, false) || first == (503, true));
            retried_otherwise += u32::from(status(&leases, &key, 1).await != first);
        }
        assert!((5..45).contains(&retried_otherwise), "{retried_otherwise}");
    }

    #[tokio::test]
    async fn a_delayed_request_reaches_the_service_in_the_end() {
        let leases = Arc::new(Leases::new());
        arm(&leases, Effect::Latency { delay: Delay::Fixed { ms: 1.0 } }, 1.0);
        assert_eq!(status(&leases, "k", 0).await, (200, false));
        assert_eq!(leases.list()[0].affected, 1);
    }

    #[test]
    fn requests_without_an_id_are_numbered() {
        let none = HeaderMap::new();
        assert_eq!(Subject::of(&none, || 9), Subject { request_id: 9, attempt: 0 });
        let mut named = HeaderMap::new();
        named.insert("request-id", "r".parse().unwrap());
        named.insert("squall-attempt", "x".parse().unwrap());
        assert_eq!(Subject::of(&named, || 9), Subject { request_id: xxh3_64(b"r"), attempt: 0 });
        named.insert("squall-lane", "control".parse().unwrap());
        assert_eq!(Subject::of(&named, || 9).attempt, SPARED);
    }

    #[tokio::test]
    async fn the_control_lane_is_met_by_nothing() {
        let leases = Arc::new(Leases::new());
        arm(&leases, Effect::Error { status: 503 }, 1.0);
        assert_eq!(status(&leases, "k", 0).await, (503, true));
        assert_eq!(status(&leases, "k", SPARED).await, (200, false));
        assert_eq!(leases.list()[0].affected, 1);
    }

    #[tokio::test]
    async fn a_slow_body_takes_its_time_and_is_whole() {
        let leases = Arc::new(Leases::new());
        arm(&leases, Effect::SlowBody { bytes_per_s: 250 }, 1.0);
        let answer = |leases: &Arc<Leases>| {
            let long = service_fn(|_r: Request<Body>| async {
                Ok::<_, std::convert::Infallible>(Response::new(Body::from("x".repeat(100))))
            });
            ChaosLayer::new(Arc::clone(leases))
                .layer(long)
                .oneshot(Request::get("/").body(Body::default()).unwrap())
        };
        let slow = answer(&leases).await.unwrap();
        assert_eq!(slow.body().size_hint().exact(), Some(100));
        let clock = squall_record::clock::Clock::start();
        let mut body = slow.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), body.size_hint().exact()), (25, Some(75)));
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!(rest.len(), 75);
        // Four pieces are three pauses of a tenth of a second.
        assert!(clock.now_ns() >= 300_000_000, "{}", clock.now_s());
        leases.end("f").unwrap();
        assert!(
            answer(&leases).await.unwrap().into_body().into_plain().is_ok(),
            "nothing armed, nothing wrapped"
        );
    }

    #[tokio::test]
    async fn a_slow_body_is_sent_at_once_when_the_lease_ends() {
        let leases = Arc::new(Leases::new());
        arm(&leases, Effect::SlowBody { bytes_per_s: 1 }, 1.0);
        let hello = service_fn(|_r: Request<Body>| async {
            Ok::<_, std::convert::Infallible>(Response::new(Body::from("hello")))
        });
        let slow = ChaosLayer::new(Arc::clone(&leases)).layer(hello).oneshot(Request::new(Body::default()));
        let mut body = slow.await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "h");
        let rest = tokio::spawn(body.collect());
        tokio::task::yield_now().await;
        leases.end("f").unwrap();
        assert_eq!(rest.await.unwrap().unwrap().to_bytes(), "ello");
    }

    #[tokio::test]
    async fn a_place_in_a_brown_out_is_kept_until_the_service_has_answered() {
        let leases = Arc::new(Leases::new());
        let delay = Delay::Fixed { ms: 0.0 };
        arm(&leases, Effect::BrownOut { delay, errors: 0.0, capacity: 1, ramp_ms: 0 }, 1.0);
        let (go, gone) = tokio::sync::watch::channel(false);
        let waits = service_fn(move |_r: Request<Body>| {
            let mut gone = gone.clone();
            async move {
                let _ = gone.wait_for(|go| *go).await;
                Ok::<_, std::convert::Infallible>(Response::new(Body::from("hello")))
            }
        });
        let service = ChaosLayer::new(Arc::clone(&leases)).layer(waits);
        let [first, second] =
            [(); 2].map(|()| tokio::spawn(service.clone().oneshot(Request::new(Body::default()))));
        while leases.list()[0].affected < 2 {
            tokio::task::yield_now().await;
        }
        assert!(leases.at(FaultPoint::Api)[0].crowd.is_at(1));
        go.send_replace(true);
        for answered in [first, second] {
            assert_eq!(answered.await.unwrap().unwrap().status(), 200);
        }
        assert!(leases.at(FaultPoint::Api)[0].crowd.is_at(0));
    }
}
