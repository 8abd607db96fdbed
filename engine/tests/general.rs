//! What only the general transport speaks: TLS, HTTP/2, and both at once; and Unix sockets, which
//! either one does. The targets are hyper, with certificates made for the test.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use squall_engine::endpoint::{Endpoint, Unreachable};
use squall_engine::tls::{Tls, TlsError};
use squall_record::outcome::Failure;
use squall_scenarios::plan::{Arrivals, Http, Transport};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use squall_scenarios::schedule::Schedule;
use support::{GENERAL, answering, http, load, plan};

const HTTP_2: Transport = Transport::General { http: Http::V2 };

/// How a target answers.
#[derive(Clone, Copy, PartialEq)]
enum Answers {
    /// With a body in several pieces, after this long.
    After(Duration),
    /// With half a body.
    HalfEveryOther,
    Never,
}

const AT_ONCE: Answers = Answers::After(Duration::ZERO);

/// A target's own rules.
#[derive(Clone, Copy)]
struct Rules {
    answers: Answers,
    http: Http,
    /// After how many requests a connection is told to go away.
    requests_per_connection: Option<u32>,
}

/// What a target saw.
#[derive(Default)]
struct Log {
    connections: AtomicU32,
    busy: AtomicU32,
    most_busy: AtomicU32,
    requests: Mutex<Vec<(Version, String)>>,
}

/// A body of two pieces, or of one and an error.
struct Pieces {
    left: u32,
    breaks: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.left = match self.left {
            0 => return Poll::Ready(None),
            1 if self.breaks => return Poll::Ready(Some(Err(std::io::Error::other("cut")))),
            n => n - 1,
        };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"piece")))))
    }
}

async fn answer(
    request: Request<Incoming>,
    rules: Rules,
    log: Arc<Log>,
) -> Result<Response<Pieces>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let key = parts.headers.get("idempotency-key").unwrap().to_str().unwrap();
    let text = format!("{} {} {key} {}", parts.method, parts.uri.path(), String::from_utf8_lossy(&body));
    let number = {
        let mut requests = log.requests.lock().unwrap();
        requests.push((parts.version, text));
        requests.len()
    };
    let busy = log.busy.fetch_add(1, Ordering::Relaxed) + 1;
    log.most_busy.fetch_max(busy, Ordering::Relaxed);
    let breaks = match rules.answers {
        Answers::After(wait) => {
            tokio::time::sleep(wait).await;
            false
        }
        Answers::HalfEveryOther => number.is_multiple_of(2),
        Answers::Never => std::future::pending().await,
    };
    log.busy.fetch_sub(1, Ordering::Relaxed);
    Ok(Response::new(Pieces { left: 2, breaks }))
}

async fn serve(io: impl Read + Write + Unpin + 'static, rules: Rules, log: Arc<Log>) {
    log.connections.fetch_add(1, Ordering::Relaxed);
    let served = Arc::new(tokio::sync::Semaphore::new(0));
    let counter = Arc::clone(&served);
    let service = service_fn(move |request| {
        counter.add_permits(1);
        answer(request, rules, Arc::clone(&log))
    });
    let enough = async move {
        match rules.requests_per_connection {
            Some(n) => drop(served.acquire_many(n).await),
            None => std::future::pending().await,
        }
    };
    // A connection that breaks is part of the test.
    match rules.http {
        Http::V1 => drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await),
        Http::V2 => {
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .serve_connection(io, service);
            tokio::pin!(connection, enough);
            tokio::select! {
                _ = connection.as_mut() => {}
                () = enough => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        }
    }
}

/// Serves by `rules` until the test process ends, with TLS when there is a certificate for it.
fn target(rules: Rules, tls: Option<ServerConfig>) -> (SocketAddr, Arc<Log>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let log = Arc::new(Log::default());
    let seen = Arc::clone(&log);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (tls, log) = (tls.clone(), Arc::clone(&seen));
                tokio::task::spawn_local(async move {
                    match tls {
                        None => serve(TokioIo::new(stream), rules, log).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(TokioIo::new(stream), rules, log).await;
                            }
                        }
                    }
                });
            }
        });
    });
    (addr, log)
}

/// A certificate authority of the test's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        Self::named("the test's authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// What a server called `name` needs, whose certificate is valid until `until_year`.
    fn server(&self, name: &str, until_year: i32, alpn: &[&str]) -> ServerConfig {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        config
    }

    /// A target by `rules` with a certificate for localhost, and how to reach it.
    fn target(&self, rules: Rules) -> (Endpoint, Arc<Log>) {
        let alpn = match rules.http {
            Http::V1 => "http/1.1",
            Http::V2 => "h2",
        };
        let (addr, log) = target(rules, Some(self.server("localhost", 4000, &[alpn])));
        (Endpoint::Tls(addr, Tls::new("localhost", Some(&self.file()), rules.http).unwrap()), log)
    }
}

fn via(http: Http) -> Transport {
    Transport::General { http }
}

fn rules(http: Http, answers: Answers) -> Rules {
    Rules { answers, http, requests_per_connection: None }
}

fn versions(log: &Log) -> Vec<Version> {
    let mut all: Vec<_> = log.requests.lock().unwrap().iter().map(|(v, _)| *v).collect();
    all.dedup();
    all
}

#[test]
fn tls_is_spoken_under_either_version_and_connections_are_kept() {
    let authority = Authority::new();
    for (version, expected) in [(Http::V1, Version::HTTP_11), (Http::V2, Version::HTTP_2)] {
        let (endpoint, log) = authority.target(rules(version, AT_ONCE));
        assert!(endpoint.try_connect(Duration::from_secs(20)).is_ok());
        let seen = load(&plan(via(version), 200.0, 1.5), endpoint);
        assert_eq!((seen.counts.ok, seen.counts.planned), (300, 300), "{version:?} {:?}", seen.counts);
        assert_eq!(versions(&log), [expected]);
        // One of them was the handshake that nothing was asked on.
        let connections = log.connections.load(Ordering::Relaxed);
        assert!((2..=9 + 3).contains(&connections), "8 are kept, and {connections} were opened");
    }
}

#[test]
fn http_2_without_tls_is_spoken_to_a_target_that_expects_it() {
    let (addr, log) = target(rules(Http::V2, AT_ONCE), None);
    let seen = load(&plan(HTTP_2, 200.0, 1.0), addr);
    assert_eq!(seen.counts.ok, 200, "{:?}", seen.counts);
    assert_eq!(versions(&log), [Version::HTTP_2]);
}

#[test]
fn an_http_2_connection_carries_many_requests_at_once() {
    let (addr, log) = target(rules(Http::V2, Answers::After(Duration::from_millis(150))), None);
    let mut plan = plan(HTTP_2, 200.0, 1.5);
    plan.load.connections = 2;
    let seen = load(&plan, addr);
    assert_eq!((seen.counts.ok, seen.starved), (300, 0), "{:?}", seen.counts);
    // By Little's law 200/s × 150 ms = 30 at once; a busy machine spreads them.
    let at_once = log.most_busy.load(Ordering::Relaxed);
    assert!(at_once > 10, "{at_once} at once");
    assert_eq!(log.connections.load(Ordering::Relaxed), 2);
}

#[test]
fn a_target_of_another_version_is_counted_and_not_believed() {
    let (addr, _) = target(rules(Http::V1, AT_ONCE), None);
    let seen = load(&plan(HTTP_2, 50.0, 1.0), addr);
    assert_eq!(seen.failed(Failure::BadAnswer) + seen.failed(Failure::Reset), 50, "{:?}", seen.counts);
}

#[test]
fn answers_that_break_off_are_resets() {
    let authority = Authority::new();
    for version in [Http::V1, Http::V2] {
        let (endpoint, _) = authority.target(rules(version, Answers::HalfEveryOther));
        let seen = load(&plan(via(version), 100.0, 1.0), endpoint);
        assert_eq!((seen.counts.ok, seen.failed(Failure::Reset)), (50, 50), "{version:?} {:?}", seen.counts);
    }
}

#[test]
fn a_target_that_never_answers_times_out() {
    let authority = Authority::new();
    for version in [Http::V1, Http::V2] {
        let (endpoint, _) = authority.target(rules(version, Answers::Never));
        let mut plan = plan(via(version), 100.0, 1.0);
        plan.load.timeout_ms = 300;
        plan.load.max_in_flight = 20;
        let seen = load(&plan, endpoint);
        let c = &seen.counts;
        assert!(c.dropped > 0, "{version:?} {c:?}");
        assert_eq!(seen.failed(Failure::Timeout) + c.dropped, c.planned, "{version:?} {c:?}");
        assert!(seen.response.quantile(0.5).unwrap().us >= 300_000);
    }
}

#[test]
fn connections_that_are_told_to_go_away_are_replaced() {
    let mut rules = rules(Http::V2, AT_ONCE);
    rules.requests_per_connection = Some(10);
    let (addr, log) = target(rules, None);
    let seen = load(&plan(HTTP_2, 300.0, 1.0), addr);
    // GOAWAY names the last request that is answered; one sent meanwhile is lost with its connection.
    assert_eq!(seen.counts.ok + seen.failed(Failure::Reset), 300, "{:?}", seen.counts);
    assert!(seen.counts.ok > 200, "{:?}", seen.counts);
    assert!(log.connections.load(Ordering::Relaxed) > 8);
}

/// What `endpoint` is refused for, and that every request to it is counted as refused.
fn refused(endpoint: Endpoint, http: Http) -> TlsError {
    let Err(Unreachable::Tls(why)) = endpoint.try_connect(Duration::from_secs(20)) else {
        panic!("it was believed");
    };
    let seen = load(&plan(via(http), 50.0, 1.0), endpoint);
    assert_eq!(seen.failed(Failure::Refused), 50, "{:?}", seen.counts);
    assert_eq!(seen.counts.dropped, 0);
    why
}

#[test]
fn a_certificate_that_is_not_to_be_trusted_is_refused_with_its_reason() {
    let (authority, impostor, stranger) =
        (Authority::new(), Authority::new(), Authority::named("a stranger"));
    let good = rules(Http::V1, AT_ONCE);
    let tls = || Tls::new("localhost", Some(&authority.file()), Http::V1).unwrap();
    for (config, reason) in [
        (
            stranger.server("localhost", 4000, &[]),
            "trust the certificate of localhost: nobody trusted has issued it; name its authority as target.ca_file",
        ),
        (
            impostor.server("localhost", 4000, &[]),
            "trust the certificate of localhost: it names an issuer that is trusted and has not signed it; \
             name the right authority as target.ca_file",
        ),
        (
            authority.server("elsewhere.example", 4000, &[]),
            "trust the certificate of localhost: it is for another name; load the target by a name that it holds",
        ),
        (
            authority.server("localhost", 2001, &[]),
            "trust the certificate of localhost: it has expired; renew it",
        ),
    ] {
        let (addr, log) = target(good, Some(config));
        assert_eq!(refused(Endpoint::Tls(addr, tls()), Http::V1).to_string(), reason);
        assert!(log.requests.lock().unwrap().is_empty(), "asked a target that was not trusted");
    }
}

#[test]
fn a_target_that_does_not_offer_http_2_is_refused_with_its_reason() {
    let authority = Authority::new();
    let (addr, _) =
        target(rules(Http::V1, AT_ONCE), Some(authority.server("localhost", 4000, &["http/1.1"])));
    let tls = Tls::new("localhost", Some(&authority.file()), Http::V2).unwrap();
    assert!(matches!(refused(Endpoint::Tls(addr, tls), Http::V2), TlsError::NoHttp2(_)));
}

#[test]
fn a_file_that_holds_no_authority_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let why = || Tls::new("localhost", Some(&path), Http::V1).unwrap_err();
    assert!(matches!(why(), TlsError::Unreadable { .. }));
    for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&path, text).unwrap();
        assert!(matches!(why(), TlsError::NoCertificate(_)), "{text:?}");
    }
    std::fs::write(&path, vec![b'#'; squall_engine::tls::MAX_CA_BYTES as usize + 1]).unwrap();
    assert!(matches!(why(), TlsError::TooLarge(_)));
}

#[test]
fn a_unix_socket_is_loaded_over_either_transport() {
    for via in [Transport::Own, GENERAL] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("target.sock");
        let absent = Endpoint::Unix(path.clone());
        assert!(absent.try_connect(Duration::from_secs(20)).is_err());
        let seen = load(&plan(via, 50.0, 1.0), absent);
        assert_eq!(seen.failed(Failure::Refused), 50, "{via:?} {:?}", seen.counts);

        let addr = answering(|_| Some(http(200, "")));
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = std::net::TcpStream::connect(addr).unwrap();
                let (mut near_in, mut far_in) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                thread::spawn(move || std::io::copy(&mut near_in, &mut &far));
                thread::spawn(move || std::io::copy(&mut far_in, &mut &near));
            }
        });
        let endpoint = Endpoint::Unix(path);
        assert!(endpoint.try_connect(Duration::from_secs(20)).is_ok());
        let seen = load(&plan(via, 200.0, 1.0), endpoint);
        assert_eq!(seen.counts.ok, 200, "{via:?} {:?}", seen.counts);
    }
}

#[test]
fn the_same_seed_gives_the_same_requests_at_the_same_instants_over_every_transport() {
    let authority = Authority::new();
    let mut all: Vec<Vec<String>> = Vec::new();
    for (via, workers) in [(Transport::Own, 1), (GENERAL, 1), (HTTP_2, 1), (HTTP_2, 2)] {
        let mut plan = plan(via, 150.0, 2.0);
        plan.load.arrivals = Arrivals::Poisson;
        plan.load.workers = workers;
        let plain = target(rules(via.http(), AT_ONCE), None);
        let mut targets = vec![(Endpoint::Tcp(plain.0), plain.1)];
        if via != Transport::Own {
            targets.push(authority.target(rules(via.http(), AT_ONCE)));
        }
        let intended: Vec<u64> = Schedule::new(&plan).map(|a| a.at_ns).collect();
        for (endpoint, log) in targets {
            let mut seen = load(&plan, endpoint);
            seen.ops.sort_by_key(|op| op.index);
            assert!(seen.ops.iter().map(|op| op.index).eq(0..intended.len() as u64), "{via:?}");
            let mut lags: Vec<u64> = seen
                .ops
                .iter()
                .zip(&intended)
                .map(|(op, at)| op.fired_ns.checked_sub(*at).unwrap())
                .collect();
            lags.sort_unstable();
            // Another schedule would be off by as much as the run is long.
            assert!(lags[lags.len() / 2] < 100_000_000, "{via:?}: {} ns", lags[lags.len() / 2]);
            let mut texts: Vec<String> =
                log.requests.lock().unwrap().iter().map(|(_, t)| t.clone()).collect();
            texts.sort();
            all.push(texts);
        }
    }
    assert!(all[0].len() > 200);
    assert!(all.iter().all(|other| *other == all[0]), "the transport changed what was sent");
}
