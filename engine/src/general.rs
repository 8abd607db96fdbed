//! The general transport: reqwest, for TLS, HTTP/2 and whatever else the own one does not speak.
//!
//! Requests are tasks of a tokio runtime that has no thread of its own: it runs on the worker's,
//! inside [`poll`](Transport::poll). So a runtime that cannot keep up makes the worker's loop
//! late, and shows as pacing and as the worker's CPU like any other overload of the generator.
//! tokio's own timers tick in milliseconds; the wait for the next arrival ends by a timer of the
//! kernel that the runtime watches.
//!
//! reqwest opens connections when requests need them, so the first request on each pays for its
//! opening, TLS included, in its service time. It shows nothing of its pool; so each connection
//! is a client of its own, which keeps one. With HTTP/1.1 each carries one request at a time;
//! with HTTP/2 up to [`STREAMS_PER_CONNECTION`].

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use http::{HeaderName, HeaderValue, Method};
use httparse::EMPTY_HEADER;
use reqwest::Request;
use rustix::event::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use squall_record::interval::Shortage;
use squall_record::outcome::Failure;
use squall_scenarios::check::MAX_CHECKED_BYTES;
use squall_scenarios::plan::Http;
use tokio::net::unix::pipe;
use tokio::runtime::Runtime;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use crate::answer::Answer;
use crate::client::{Client, Url, base_url, client};
use crate::endpoint::Endpoint;
use crate::pool::RETRY_NS;
use crate::transport::{Finished, Flight, Noticed, Transport, shortage};

/// Requests that one HTTP/2 connection carries at once: what RFC 9113 §6.5.2 asks every server to
/// allow at least, so that no request waits within a connection, unseen.
pub(crate) const STREAMS_PER_CONNECTION: u32 = 100;
/// Tasks that run before the loop looks at the clock again. Each takes some tens of microseconds.
const TASKS_PER_PASS: u32 = 16;
/// Headers of a request at most: the scenario's and squall's own.
const MAX_REQUEST_HEADERS: usize = 128;

/// A worker's connections, each a reqwest client.
pub(crate) struct General {
    runtime: Runtime,
    /// Ends the wait: a timer, of which tokio knows that it can be read like a pipe.
    alarm: pipe::Receiver,
    /// Each gives its serial number and how it ended.
    tasks: JoinSet<(u64, Result<Answered, Broken>)>,
    base: Url,
    /// HTTP/2 has a pseudo-header in the place of `Host`.
    keeps_host: bool,
    connections: Vec<Connection>,
    /// Connections that can carry one more request, once for each, the longest unused first.
    idle: VecDeque<u32>,
    /// By serial number, and so in the order of sending.
    on_wire: BTreeMap<u64, OnWire>,
    serial: u64,
    open: u32,
    /// Connecting failed for want of something on this machine; until when only open connections are used.
    exhausted_until_ns: Option<u64>,
    noticed: Noticed,
}

struct Connection {
    client: Client,
    /// The last request on it was answered: it is open, as far as is known.
    open: bool,
}

struct OnWire {
    flight: Flight,
    connection: u32,
    task: AbortHandle,
}

/// An answer, and its body when that was wanted.
type Answered = (Answer, Vec<u8>);

/// Why a request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Broken {
    failure: Failure,
    /// For want of something on this machine.
    shortage: Option<Shortage>,
}

impl General {
    pub(crate) fn new(
        endpoint: &Endpoint,
        host: &str,
        http: Http,
        connections: u32,
        max_in_flight: u32,
        timeout: Duration,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(TASKS_PER_PASS)
            .build()?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK.union(TimerfdFlags::CLOEXEC))?;
        let alarm = {
            let _runtime = runtime.enter();
            pipe::Receiver::from_owned_fd_unchecked(timer)?
        };
        let base = base_url(endpoint, host).map_err(io::Error::other)?;
        let connections = (0..connections)
            .map(|_| Ok(Connection { client: client(endpoint, &base, http, timeout)?, open: false }))
            .collect::<Result<Vec<_>, crate::client::ClientError>>()
            .map_err(io::Error::other)?;
        let streams = match http {
            Http::V1 => 1,
            Http::V2 => STREAMS_PER_CONNECTION,
        };
        // The first of each before the second of any.
        let idle =
            (0..streams).flat_map(|_| 0..connections.len() as u32).take(max_in_flight as usize).collect();
        Ok(Self {
            runtime,
            alarm,
            tasks: JoinSet::new(),
            base,
            keeps_host: http == Http::V1,
            connections,
            idle,
            on_wire: BTreeMap::new(),
            serial: 0,
            open: 0,
            exhausted_until_ns: None,
            noticed: Noticed::default(),
        })
    }

    /// The rendered request as reqwest wants it; `None` when it is not one.
    fn request(&self, bytes: &[u8]) -> Option<Request> {
        let mut headers = [EMPTY_HEADER; MAX_REQUEST_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head) = parsed.parse(bytes).ok()? else { return None };
        let mut url = self.base.clone();
        let (path, query) = match parsed.path?.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (parsed.path?, None),
        };
        url.set_path(path);
        url.set_query(query);
        let mut request = Request::new(Method::from_bytes(parsed.method?.as_bytes()).ok()?, url);
        for h in parsed.headers.iter() {
            let name = HeaderName::from_bytes(h.name.as_bytes()).ok()?;
            // The body knows its length.
            if name == CONTENT_LENGTH || (name == HOST && !self.keeps_host) {
                continue;
            }
            let mut value = HeaderValue::from_bytes(h.value).ok()?;
            value.set_sensitive(name == AUTHORIZATION);
            request.headers_mut().append(name, value);
        }
        if bytes.len() > head {
            *request.body_mut() = Some(bytes[head..].to_vec().into());
        }
        Some(request)
    }

    /// Where in `idle` the connection for the next request is: the longest unused, of those that are open
    /// while this machine can open no others.
    fn usable(&self) -> Option<usize> {
        let may_open = self.exhausted_until_ns.is_none();
        self.idle.iter().position(|id| may_open || self.connections[*id as usize].open)
    }

    /// Takes a request off the wire; its connection can carry another.
    fn remove(&mut self, serial: u64, open: bool) -> Option<OnWire> {
        let gone = self.on_wire.remove(&serial)?;
        self.idle.push_back(gone.connection);
        let connection = &mut self.connections[gone.connection as usize];
        if connection.open != open {
            connection.open = open;
            self.open = if open { self.open + 1 } else { self.open - 1 };
        }
        Some(gone)
    }

    /// How a task ended; `None` when it was given up before.
    fn ended(
        &mut self,
        ended: Result<(u64, Result<Answered, Broken>), JoinError>,
        now_ns: u64,
    ) -> io::Result<Option<(Finished, Vec<u8>)>> {
        let (serial, result) = match ended {
            Ok(ended) => ended,
            Err(e) if e.is_cancelled() => return Ok(None),
            Err(e) => return Err(io::Error::other(format!("the general transport: {e}"))),
        };
        let (result, body) = match result {
            Ok((answer, body)) => (Ok(answer), body),
            Err(broken) => (Err(broken), Vec::new()),
        };
        if let Some(of) = result.err().and_then(|broken| broken.shortage) {
            self.exhausted_until_ns = Some(now_ns + RETRY_NS);
            self.noticed.note_shortage(of);
        }
        let gone = self.remove(serial, result.is_ok());
        let result = result.map_err(|broken| broken.failure);
        Ok(gone.map(|w| (Finished { flight: w.flight, result }, body)))
    }
}

impl Transport for General {
    fn open(&self) -> u32 {
        self.open
    }

    fn in_flight(&self) -> u32 {
        self.on_wire.len() as u32
    }

    fn has_idle(&self) -> bool {
        self.usable().is_some()
    }

    /// A target that refuses is asked again by every request, as reqwest does.
    fn is_refusing(&self) -> bool {
        self.is_exhausted()
    }

    fn is_exhausted(&self) -> bool {
        self.exhausted_until_ns.is_some() && self.open == 0
    }

    fn take_noticed(&mut self) -> Noticed {
        // Of its connections reqwest shows no more than why they could not be opened.
        std::mem::take(&mut self.noticed)
    }

    fn oldest_fired_ns(&self) -> Option<u64> {
        self.on_wire.first_key_value().map(|(_, w)| w.flight.fired_ns)
    }

    fn next_maintenance_ns(&self) -> Option<u64> {
        self.exhausted_until_ns
    }

    fn send(&mut self, bytes: &[u8], flight: Flight) -> Result<(), Finished> {
        let refused = Finished { flight, result: Err(Failure::Refused) };
        // What squall renders is always a request.
        let request = self.request(bytes).ok_or(refused)?;
        let connection = self.usable().and_then(|at| self.idle.remove(at)).ok_or(refused)?;
        let serial = self.serial;
        self.serial += 1;
        let client = self.connections[connection as usize].client.clone();
        let task = self.tasks.spawn_on(
            async move { (serial, exchange(client, request, flight.keep_body).await) },
            self.runtime.handle(),
        );
        self.on_wire.insert(serial, OnWire { flight, connection, task });
        Ok(())
    }

    /// Lets the new tasks run up to their first wait.
    fn flush(&mut self) {
        self.runtime.block_on(tokio::task::yield_now());
    }

    fn poll(
        &mut self,
        timeout: Duration,
        clock: impl FnOnce() -> u64,
        done: &mut impl FnMut(Finished, &[u8], u64),
    ) -> io::Result<u64> {
        // A timer of nothing would be no timer.
        let timeout = timeout.max(Duration::from_nanos(1));
        let it_value = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &once)?;
        let (tasks, alarm) = (&mut self.tasks, &self.alarm);
        let first = self.runtime.block_on(async {
            tokio::select! {
                biased;
                Some(ended) = tasks.join_next() => Ok(Some(ended)),
                rung = rung(alarm) => rung.map(|()| None),
            }
        })?;
        let now_ns = clock();
        let mut next = first;
        while let Some(ended) = next {
            if let Some((finished, body)) = self.ended(ended, now_ns)? {
                done(finished, &body, now_ns);
            }
            next = self.tasks.try_join_next();
        }
        Ok(now_ns)
    }

    fn expire(&mut self, before_ns: u64) -> Option<Finished> {
        let (serial, oldest) = self.on_wire.first_key_value()?;
        if oldest.flight.fired_ns > before_ns {
            return None;
        }
        let gone = self.remove(*serial, false)?;
        // Closes an HTTP/1.1 connection, resets an HTTP/2 stream.
        gone.task.abort();
        Some(Finished { flight: gone.flight, result: Err(Failure::Timeout) })
    }

    fn maintain(&mut self, now_ns: u64) {
        if self.exhausted_until_ns.is_some_and(|until_ns| until_ns <= now_ns) {
            self.exhausted_until_ns = None;
        }
    }
}

/// Waits until the timer has run out.
async fn rung(alarm: &pipe::Receiver) -> io::Result<()> {
    loop {
        alarm.readable().await?;
        match alarm.try_read(&mut [0; size_of::<u64>()]) {
            // It was set again since it was last seen to be ready.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(drop),
        }
    }
}

/// One request and its answer, read to its end.
async fn exchange(client: Client, request: Request, keep_body: bool) -> Result<Answered, Broken> {
    let mut response = client.execute(request).await.map_err(|e| broken(&e))?;
    let status = response.status().as_u16();
    if status == 101 {
        // It would change the protocol, which was never asked for.
        return Err(Broken { failure: Failure::BadAnswer, shortage: None });
    }
    let not_executed =
        response.headers().get("not-executed").is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"true"));
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|e| broken(&e))? {
        if keep_body {
            // One byte too many shows that the body is too long.
            let room = (MAX_CHECKED_BYTES + 1).saturating_sub(body.len());
            body.extend_from_slice(&piece[..room.min(piece.len())]);
        }
    }
    Ok((Answer { status, not_executed, keep_alive: true }, body))
}

/// What reqwest's error means in squall's words.
fn broken(e: &reqwest::Error) -> Broken {
    let failure = if e.is_connect() {
        // TLS that fails is a connection that could not be made.
        if e.is_timeout() { Failure::Timeout } else { Failure::Refused }
    } else if causes(e).any(is_no_answer) {
        Failure::BadAnswer
    } else {
        Failure::Reset
    };
    let lacking = causes(e).filter_map(|c| c.downcast_ref::<io::Error>()).find_map(shortage);
    Broken { failure, shortage: lacking.filter(|_| e.is_connect()) }
}

/// An error and what it came from, in turn.
fn causes<'a>(e: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(e);
    std::iter::from_fn(move || {
        let e = next?;
        next = e.source();
        Some(e)
    })
}

/// Bytes came that are not HTTP.
fn is_no_answer(e: &(dyn Error + 'static)) -> bool {
    let io = |e: &io::Error| matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
    e.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
        || e.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_library)
        || e.downcast_ref::<io::Error>().is_some_and(io)
}
