//! `/metrics` over HTTP.
//!
//! It has a thread of its own. A client that sends slowly, reads slowly, or says nothing is cut
//! off after `SCRAPE_TIMEOUT`; there are never more than `MAX_SCRAPES` at once; and the text
//! is made once for each change of the figures, however often it is asked for.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};

use super::figures::SharedFigures;
use super::prometheus::{OPENMETRICS, PLAIN, openmetrics, plain};

/// Connections served at once; further ones are closed.
const MAX_SCRAPES: usize = 8;
/// How long a scrape may take, from the connection to the last byte of the answer.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest request head in bytes (hyper's least).
const MAX_HEAD_BYTES: usize = 8192;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;
/// How long accepting rests after it failed: out of file descriptors, as a rule.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Where Prometheus reads. It ends when it is dropped.
pub struct Endpoint {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Listens on `addr`, for whoever wants to read `figures`.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the thread cannot be started.
    pub fn open(addr: SocketAddr, figures: SharedFigures) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(addr).with_context(|| {
            format!("serve metrics on {addr}; name another port with --prometheus, or port 0 for a free one")
        })?;
        listener.set_nonblocking(true).context("prepare the metrics port")?;
        let addr = listener.local_addr().context("prepare the metrics port")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("serve metrics")?;
        let (stop, stopped) = oneshot::channel();
        let page = Arc::new(Page { figures, text: Mutex::new(None) });
        let thread = thread::Builder::new()
            .name("metrics".into())
            .spawn(move || runtime.block_on(listen(listener, page, stopped)))
            .context("serve metrics")?;
        Ok(Self { addr, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Had it panicked, the run would not depend on it.
            let _ = thread.join();
        }
    }
}

async fn listen(listener: TcpListener, page: Arc<Page>, mut stopped: oneshot::Receiver<()>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let permits = Arc::new(Semaphore::new(MAX_SCRAPES));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(SCRAPE_TIMEOUT)
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The sender is dropped when the run is over; what is under way ends with the runtime.
            _ = &mut stopped => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_REST).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
        let page = Arc::clone(&page);
        let service = service_fn(move |request| {
            let answer = page.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // Whoever hangs up, sends no HTTP or is too slow goes without.
            let _ = tokio::time::timeout(SCRAPE_TIMEOUT, connection).await;
            drop(permit);
        });
    }
}

/// What is served.
struct Page {
    figures: SharedFigures,
    text: Mutex<Option<Text>>,
}

/// The figures of one version in both formats.
#[derive(Clone)]
struct Text {
    version: u64,
    openmetrics: Bytes,
    plain: Bytes,
}

impl Page {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/metrics" {
            return refusal(StatusCode::NOT_FOUND, "the figures are at /metrics\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let Some(text) = self.text() else {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "the figures could not be written\n");
        };
        let wanted = request.headers().get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
        let (media_type, body) = if wanted.into_iter().any(|v| v.contains("application/openmetrics-text")) {
            (OPENMETRICS, text.openmetrics)
        } else {
            (PLAIN, text.plain)
        };
        let mut answer = Response::new(Full::new(body));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        answer
    }

    /// The newest text; made anew only when the figures have changed.
    fn text(&self) -> Option<Text> {
        let mut kept = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = kept.as_ref().filter(|t| t.version == self.figures.version()) {
            return Some(text.clone());
        }
        let (version, families) = self.figures.families();
        let openmetrics = openmetrics(families).ok()?;
        let text = Text { version, plain: plain(&openmetrics).into(), openmetrics: openmetrics.into() };
        *kept = Some(text.clone());
        Some(text)
    }
}

fn refusal(status: StatusCode, why: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(why.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::live::sample;
    use crate::outputs::figures::Figures;

    /// How long a test waits for what must happen.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn open() -> Endpoint {
        let figures = Figures::new(&sample::quickstart());
        Endpoint::open("127.0.0.1:0".parse().unwrap(), figures.shared()).unwrap()
    }

    fn ask(addr: SocketAddr, request: &str) -> String {
        let mut s = TcpStream::connect(addr).unwrap();
        s.set_read_timeout(Some(PATIENCE)).unwrap();
        s.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = s.read_to_string(&mut answer);
        answer
    }

    fn get(addr: SocketAddr, accept: &str) -> String {
        ask(addr, &format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"))
    }

    #[test]
    fn the_format_is_the_one_that_was_asked_for() {
        let endpoint = open();
        let new = get(endpoint.addr(), "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        assert!(new.starts_with("HTTP/1.1 200") && new.ends_with("# EOF\n"), "{new}");
        assert!(new.contains("content-type: application/openmetrics-text"), "{new}");
        let old = get(endpoint.addr(), "*/*");
        assert!(old.contains("content-type: text/plain; version=0.0.4") && !old.contains("# EOF"), "{old}");
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let endpoint = open();
        let ask = |head: &str| ask(endpoint.addr(), &format!("{head} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(ask("GET /").starts_with("HTTP/1.1 404"));
        assert!(ask("POST /metrics").starts_with("HTTP/1.1 405"));
        assert!(ask("nonsense\0").starts_with("HTTP/1.1 400"));
        let long = format!("GET /metrics?{}", "x".repeat(100_000));
        assert!(!ask(&long).starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn scrapers_that_say_nothing_are_cut_off_and_others_served_meanwhile() {
        let endpoint = open();
        let mut silent: Vec<TcpStream> =
            (1..MAX_SCRAPES).map(|_| TcpStream::connect(endpoint.addr()).unwrap()).collect();
        assert!(get(endpoint.addr(), "*/*").starts_with("HTTP/1.1 200"), "one place was left");
        for s in &mut silent {
            s.set_read_timeout(Some(PATIENCE)).unwrap();
            // Closed by the endpoint, with or without a word.
            match s.read_to_end(&mut Vec::new()) {
                Ok(_) => {}
                Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
            }
        }
    }

    #[test]
    fn a_port_in_use_is_said_at_once_and_the_port_is_free_after_the_end() {
        let endpoint = open();
        let addr = endpoint.addr();
        let again = Endpoint::open(addr, Figures::new(&sample::quickstart()).shared());
        let message = format!("{:#}", again.err().unwrap());
        assert!(message.contains(&addr.to_string()) && message.contains("--prometheus"), "{message}");
        let mut open = TcpStream::connect(addr).unwrap();
        drop(endpoint);
        open.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(open.read(&mut [0]), Ok(0) | Err(_)), "a scrape under way ends with the run");
        assert!(TcpStream::connect(addr).is_err());
    }
}
