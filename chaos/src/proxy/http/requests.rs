//! From the client to the upstream: each request as it came, after what it meets has been decided.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::body::{Framing, Next};
use super::head::{self, Refused, RequestHead};
use super::inlet::{Delay, Inlet};
use super::{Expected, Met, Pending};
use crate::decision::{ATTEMPT_HEADER, LANE_HEADER, SPARED, Subject, draw_delay};
use crate::proxy::acting::{Acting, Client};
use crate::proxy::stage::{End, Out};
use crate::proxy::toxic::{Kind, Stream};

/// How long a client that has been refused may still send, so that it reads why.
const LINGER_NS: u64 = 1_000_000_000;

/// The direction of the requests.
#[derive(Debug)]
pub struct Requests {
    client: Client,
    pub(super) inlet: Inlet,
    state: State,
    /// Requests that there have been.
    count: u64,
    relieved: bool,
}

#[derive(Debug)]
enum State {
    /// Before a request.
    Head,
    /// In the body of one, which is passed on or not.
    Body { framing: Framing, passes: bool },
    /// Whoever it is that speaks now does not speak HTTP any more.
    Tunnel,
    /// Nothing more is read, from the instant on.
    Refused(u64),
    /// The connection is reset.
    Reset,
    /// An answer decides how it goes on.
    Waits,
}

/// What was decided about a request.
struct Decided {
    met: Vec<Met>,
    /// The toxic that answers in the upstream's place.
    abort: Option<Arc<Acting>>,
    /// For how long it is held, and by whom.
    delays: Vec<Delay>,
}

impl Requests {
    /// Those of `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, inlet: Inlet::default(), state: State::Head, count: 0, relieved: false }
    }

    /// Takes what was received.
    pub fn put(&mut self, data: &[u8], now_ns: u64) {
        if !matches!(self.state, State::Refused(_)) {
            self.inlet.put(data, now_ns);
        }
    }

    /// From here on nothing is HTTP any more; what has been refused stays so.
    pub fn become_tunnel(&mut self) {
        if matches!(self.state, State::Head | State::Body { .. } | State::Waits) {
            self.state = State::Tunnel;
            self.relieved = true;
        }
    }

    /// The client was told that the connection ends: whatever it still sends reaches nobody.
    pub fn stop(&mut self, now_ns: u64) {
        if !matches!(self.state, State::Refused(_) | State::Reset) {
            self.state = State::Refused(now_ns);
            self.relieved = true;
        }
    }

    /// The answer that it waited for did not change anything.
    pub fn go_on(&mut self) {
        if matches!(self.state, State::Waits) {
            self.state = State::Head;
            self.relieved = true;
        }
    }

    /// Whether an answer lets it go on. Says so once.
    pub fn is_relieved(&mut self) -> bool {
        std::mem::take(&mut self.relieved)
    }

    /// What is to be passed on at `now_ns`.
    pub fn next(&mut self, toxics: &[Arc<Acting>], pending: &mut VecDeque<Pending>, now_ns: u64) -> Out {
        self.relieved = false;
        loop {
            if let Some(out) = self.inlet.next(now_ns) {
                return out;
            }
            match &mut self.state {
                State::Refused(from_ns) => {
                    self.inlet.buffer.clear();
                    let until_ns = from_ns.saturating_add(LINGER_NS);
                    let over = self.inlet.ended || now_ns >= until_ns;
                    return if over { Out::End(End::Finished) } else { Out::Wait(until_ns) };
                }
                State::Reset => return Out::End(End::Reset),
                State::Tunnel if !self.inlet.buffer.is_empty() => self.inlet.pass_all(),
                State::Tunnel => return self.inlet.idle(),
                State::Waits => return Out::Empty,
                State::Body { framing, passes } => match framing.next(&self.inlet.buffer) {
                    Ok(Next::Content(count) | Next::Between(count)) => {
                        let data = self.inlet.take(count);
                        if *passes {
                            self.inlet.pass(data);
                        }
                    }
                    Ok(Next::More) => return self.inlet.idle(),
                    Ok(Next::Over) => self.state = State::Head,
                    // Its head has gone already: there is nothing to be said about it any more.
                    Err(_) => return Out::End(super::BROKEN),
                },
                State::Head => {
                    if !self.head(toxics, pending, now_ns) {
                        return self.inlet.idle();
                    }
                }
            }
        }
    }

    /// Takes the head of a request. Whether it was there.
    fn head(&mut self, toxics: &[Arc<Acting>], pending: &mut VecDeque<Pending>, now_ns: u64) -> bool {
        // An empty line before a request is none of it (RFC 9112, 2.2).
        while self.inlet.buffer.starts_with(b"\r\n") {
            let _ = self.inlet.take(2);
        }
        let nth = self.count;
        let client = self.client;
        let read = head::request(&self.inlet.buffer, |head, headers| {
            Decided::new(head, headers, client, nth, toxics, now_ns)
        });
        match read {
            Ok(None) => false,
            Ok(Some((head, decided))) => {
                self.count += 1;
                let bytes = self.inlet.take(head.length);
                self.decide(&head, bytes, decided, pending, now_ns);
                true
            }
            Err(why) => {
                self.refuse(why, pending, now_ns);
                true
            }
        }
    }

    fn decide(
        &mut self,
        head: &RequestHead,
        bytes: Bytes,
        decided: Decided,
        pending: &mut VecDeque<Pending>,
        now_ns: u64,
    ) {
        let Decided { met, abort, delays } = decided;
        let passes = abort.is_none();
        self.state = State::Body { framing: head.framing.clone(), passes };
        let answer = match &abort {
            None => {
                let is_connect = head.method == "CONNECT";
                self.inlet.hold(bytes, delays);
                if is_connect {
                    self.state = State::Waits;
                }
                Expected::Upstream { is_head: head.method == "HEAD", is_connect }
            }
            Some(acting) => {
                let Kind::HttpAbort(wanted) = &acting.toxic.kind else { return };
                if wanted.status == 0 {
                    self.state = State::Reset;
                    return;
                }
                // Whether the body of one that waits to be asked for it comes is not known.
                let last = head.expects || head.closes;
                if last {
                    self.state = State::Refused(now_ns);
                }
                let body = if head.method == "HEAD" { "" } else { &wanted.body };
                let name = acting.fault.as_str();
                Expected::Own { answer: own(wanted.status, body, wanted.body.len(), name, last), last }
            }
        };
        pending.push_back(Pending { answer, met });
    }

    fn refuse(&mut self, why: Refused, pending: &mut VecDeque<Pending>, now_ns: u64) {
        self.state = State::Refused(now_ns);
        let body = format!("{why}\n");
        let answer = own(why.status(), &body, body.len(), "", true);
        pending.push_back(Pending { answer: Expected::Own { answer, last: true }, met: Vec::new() });
    }
}

impl Decided {
    /// What the `nth` request of a connection meets, with this head.
    fn new(
        head: &RequestHead,
        headers: &[httparse::Header<'_>],
        client: Client,
        nth: u64,
        toxics: &[Arc<Acting>],
        now_ns: u64,
    ) -> Self {
        let header = |name: &str| head::value(headers, name);
        let id = header("idempotency-key").or_else(|| header("request-id"));
        let (attempt, lane) = (header(ATTEMPT_HEADER), header(LANE_HEADER));
        let Subject { request_id: request, attempt } = match id {
            Some(id) => Subject::new(id, attempt, lane),
            // A request without an id is the so-many-th of its connection.
            None => Subject::new(format!("{}/{nth}", client.number).as_bytes(), attempt, lane),
        };
        let mut decided = Self { met: Vec::new(), abort: None, delays: Vec::new() };
        if attempt == SPARED {
            return decided;
        }
        let matches = |acting: &&Arc<Acting>| {
            acting.is_from(client)
                && now_ns < acting.ends_ns
                && acting.toxic.r#match.as_ref().is_none_or(|m| m.is_of(&head.method, &head.target, header))
        };
        let aborts = |acting: &Acting| matches!(acting.toxic.kind, Kind::HttpAbort(_));
        // One that is answered here meets nothing else, and nothing else counts it.
        let mut aborting = toxics.iter().filter(matches).filter(|acting| aborts(acting));
        decided.abort = aborting.find(|acting| acting.meets_request(request, attempt)).cloned();
        if decided.abort.is_some() {
            return decided;
        }
        for acting in toxics.iter().filter(matches).filter(|acting| !aborts(acting)) {
            if !acting.meets_request(request, attempt) {
                continue;
            }
            match &acting.toxic.kind {
                Kind::HttpDelay(delay) if acting.toxic.stream == Stream::Upstream => {
                    let ms = delay.at_ms(draw_delay(acting.seed, &acting.fault, request, attempt));
                    decided.delays.push(Delay::new(ms, acting));
                }
                Kind::HttpDelay(_) | Kind::HttpBody(_) => {
                    decided.met.push(Met { acting: Arc::clone(acting), request, attempt });
                }
                _ => {}
            }
        }
        decided
    }
}

/// An answer in the upstream's place, which says so. `length` is that of the body, also where it is not sent.
pub(super) fn own(status: u16, body: &str, length: usize, fault: &str, last: bool) -> Bytes {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Injected",
    };
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    if !matches!(status, 204 | 304) {
        head += &format!("Content-Length: {length}\r\n");
    }
    if !fault.is_empty() {
        // Names hold no control characters; others than ASCII are written as a reader of headers expects it.
        let name: String = fault.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
        head += &format!("Squall-Fault: {name}\r\n");
    }
    if last {
        head += "Connection: close\r\n";
    }
    head += "\r\n";
    Bytes::from(head + body)
}
