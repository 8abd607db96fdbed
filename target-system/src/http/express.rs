//! The short way of a payment.
//!
//! Under load nearly all requests are alike: a `POST /v1/payments` of HTTP/1.1 with a length, there
//! in one piece. What hyper and axum do for every request that there can be costs more for these
//! than the payment itself. Nor does hyper begin a pipelined request before it has answered the one
//! before; here they are begun in their order and share a commit. So a connection begins here, and
//! stays as long as its requests are of this kind. The first that is not goes to hyper unchanged, with the connection and all that
//! follows on it: this lane answers no request differently, and refuses none.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Write as _;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use httparse::{EMPTY_HEADER, Status};
use squall_chaos::layer::{self, Subject};
use squall_record::clock;
use squall_record::fault::FaultPoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::accept::begun;
use super::api::{Api, FORWARDED_FOR, UNAUTHORIZED};
use super::app::{App, permit};
use super::body;
use super::payments;
use super::problem::Problem;
use super::render::{self, Wanted};
use crate::auth::role::Act;
use crate::bank::Settled;
use crate::limits::{MAX_BODY_BYTES, MAX_HEADERS};
use crate::metrics::PAY_ROUTE;
use crate::record::{Record, Verdict};
use crate::timer;
use crate::trace::RequestId;
use crate::trace::context::{Carried, TRACEPARENT, TRACESTATE};
use crate::trace::span::Span;

/// What is read at once, at least. Longer requests are not for this lane.
const READ_BYTES: usize = 16 * 1024;
/// How long a client may take to close a connection after its last answer.
const LINGER: Duration = Duration::from_secs(1);
/// Pipelined requests that are dealt with at once; more wait for these.
const MAX_ROUND: usize = 64;

/// Serves the payments on `stream` until something else is asked for: then the bytes that have been
/// read and not been dealt with. `None` when the connection is over.
pub async fn serve(
    api: &Api,
    stream: &mut TcpStream,
    peer: IpAddr,
    header_timeout: Duration,
    mut drain: watch::Receiver<bool>,
) -> Option<Vec<u8>> {
    let app = api.app();
    let mut input = Vec::with_capacity(READ_BYTES);
    let mut output = Vec::with_capacity(READ_BYTES);
    let mut patience = Patience::new(header_timeout.min(app.request_timeout));
    let draining = drain.clone();
    let mut drained = pin!(begun(&mut drain));
    // Whether payments have been answered here.
    let mut answered = false;
    loop {
        let (mut asked, next) = Asked::all(&input);
        // What one read has cut off a pipelined payment is most often completed by another.
        if asked.is_empty() && (input.is_empty() || next == Next::Partial && answered) {
            drop(asked);
            let idle_until = timer::now() + header_timeout;
            tokio::select! {
                biased;
                read = stream.read_buf(&mut input) => if !matches!(read, Ok(n) if n > 0) { return None },
                () = &mut drained => return None,
                () = patience.until(idle_until) => return None,
            }
            asked = Asked::all(&input).0;
        }
        let began_ns = app.started.now_ns();
        if asked.is_empty() {
            return Some(input);
        }
        let used: usize = asked.iter().map(|asked| asked.used).sum();
        let mut round = begin(api, peer, &asked);
        let mut last = false;
        while !round.is_over() {
            let answers = round.next(stream, &mut patience).await?;
            // What follows is not answered on this connection.
            last = round.is_over() && *draining.borrow();
            output.clear();
            let took_ns = app.started.now_ns() - began_ns;
            let count = answers.len();
            for (Answered { id, span, answer }, nth) in answers.into_iter().zip(1..) {
                let last = last && nth == count;
                let status = match answer {
                    Answer::Paid(record) => write_paid(&mut output, &record, id, last),
                    Answer::Other(response) => write(&mut output, response, id, last).await,
                };
                app.metrics.answered(PAY_ROUTE, status, took_ns);
                span.answered(status, 500);
            }
            if stream.write_all(&output).await.is_err() {
                return None;
            }
        }
        drop(round);
        if last {
            linger(stream).await;
            return None;
        }
        input.drain(..used);
        answered = true;
    }
}

/// Ends a connection whose last answer says so. What the client has sent beyond it is read and
/// forgotten: to close a socket with unread bytes takes back answers that are still on their way.
async fn linger(stream: &mut TcpStream) {
    let read_on = async {
        let mut unread = [0; 1024];
        if stream.shutdown().await.is_ok() {
            while matches!(stream.read(&mut unread).await, Ok(1..)) {}
        }
    };
    // A client that neither closes nor stops sending has had its time.
    let _ = tokio::time::timeout(LINGER, read_on).await;
}

/// A request for a payment, whole.
struct Asked<'a> {
    authorization: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
    attempt: Option<&'a [u8]>,
    forwarded: Option<&'a [u8]>,
    carried: Carried<'a>,
    body: &'a [u8],
    /// Its length.
    used: usize,
}

/// What follows the requests of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing, or another of the same kind.
    More,
    /// What may be the beginning of one.
    Partial,
    /// What is not for this lane.
    Other,
}

impl<'a> Asked<'a> {
    /// The requests that `bytes` begin with and that are begun together: nearly always one, several when
    /// they are pipelined. A key that is asked for twice waits for its first answer.
    fn all(mut bytes: &'a [u8]) -> (Vec<Self>, Next) {
        let mut all: Vec<Self> = Vec::with_capacity(1);
        while all.len() < MAX_ROUND && !bytes.is_empty() {
            match Self::parse(bytes) {
                Ok(asked) if asked.key.is_some() && all.iter().any(|a| a.key == asked.key) => break,
                Ok(asked) => {
                    bytes = &bytes[asked.used..];
                    all.push(asked);
                }
                Err(next) => return (all, next),
            }
        }
        (all, Next::More)
    }

    /// The request that `bytes` begin with, unless it is not whole, or anything about it is not as nearly
    /// always.
    fn parse(bytes: &'a [u8]) -> Result<Self, Next> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let head = match request.parse(bytes) {
            Ok(Status::Complete(head)) => head,
            Ok(Status::Partial) => return Err(Next::Partial),
            Err(_) => return Err(Next::Other),
        };
        if (request.method, request.path, request.version) != (Some("POST"), Some("/v1/payments"), Some(1)) {
            return Err(Next::Other);
        }
        let [mut length, mut authorization, mut key, mut attempt, mut forwarded, mut parent, mut state] =
            [None; 7];
        for h in request.headers.iter() {
            // The length decides first: most headers are none of these.
            let value = match h.name.len() {
                14 if h.name.eq_ignore_ascii_case("content-length") => &mut length,
                13 if h.name.eq_ignore_ascii_case("authorization") => &mut authorization,
                15 if h.name.eq_ignore_ascii_case("idempotency-key") => &mut key,
                14 if h.name.eq_ignore_ascii_case(layer::ATTEMPT_HEADER.as_str()) => &mut attempt,
                15 if h.name.eq_ignore_ascii_case(FORWARDED_FOR) => &mut forwarded,
                11 if h.name.eq_ignore_ascii_case(TRACEPARENT) => &mut parent,
                10 if h.name.eq_ignore_ascii_case(TRACESTATE) => &mut state,
                // What changes how a message is read or what becomes of its connection.
                6 if h.name.eq_ignore_ascii_case("expect") => return Err(Next::Other),
                7 if h.name.eq_ignore_ascii_case("upgrade") => return Err(Next::Other),
                10 if h.name.eq_ignore_ascii_case("connection") => return Err(Next::Other),
                17 if h.name.eq_ignore_ascii_case("transfer-encoding") => return Err(Next::Other),
                _ => continue,
            };
            if value.replace(h.value).is_some() {
                return Err(Next::Other);
            }
        }
        let length: &[u8] = length.ok_or(Next::Other)?;
        // Five digits are more than a body may have; without a sign.
        if !(1..=5).contains(&length.len()) || !length.iter().all(u8::is_ascii_digit) {
            return Err(Next::Other);
        }
        let length = length.iter().fold(0, |n, digit| n * 10 + usize::from(digit - b'0'));
        if length > MAX_BODY_BYTES {
            return Err(Next::Other);
        }
        let used = head + length;
        let body = bytes.get(head..used).ok_or(Next::Partial)?;
        let carried = Carried { parent, state };
        Ok(Self { authorization, key, attempt, forwarded, carried, body, used })
    }
}

enum Answer {
    /// Made just now.
    Paid(Record),
    Other(Response),
}

/// Requests that were begun together, to be answered in their order.
struct Round<F> {
    /// Those whose answers have not been given out.
    slots: VecDeque<Begun<F>>,
    deadline: Instant,
    /// A fault's wait is not the service's: then each has its own time limit, which begins after it.
    each_its_own: bool,
}

/// A request under way.
struct Begun<F> {
    id: RequestId,
    span: Span,
    slot: Slot<F>,
}

/// A request whose answer can be written.
struct Answered {
    id: RequestId,
    span: Span,
    answer: Answer,
}

enum Slot<F> {
    Waits(Pin<Box<F>>),
    Answered(Answer),
}

impl<F: Future<Output = Answer>> Round<F> {
    fn is_over(&self) -> bool {
        self.slots.is_empty()
    }

    /// The next answers. `None` when the client hangs up before there is one.
    async fn next(&mut self, stream: &TcpStream, patience: &mut Patience) -> Option<Vec<Answered>> {
        let mut late = pin!(patience.until(self.deadline));
        let mut hung_up = pin!(hung_up(stream));
        let mut waited = false;
        poll_fn(|cx| {
            let late = !self.each_its_own && late.as_mut().poll(cx).is_ready();
            for Begun { slot, .. } in &mut self.slots {
                let Slot::Waits(asked) = slot else { continue };
                match asked.as_mut().poll(cx) {
                    Poll::Ready(answer) => *slot = Slot::Answered(answer),
                    Poll::Pending if late => {
                        *slot = Slot::Answered(Answer::Other(Problem::timeout().into_response()));
                    }
                    Poll::Pending => {}
                }
            }
            let ready = self.slots.iter().take_while(|b| matches!(b.slot, Slot::Answered(_))).count();
            if ready == 0 {
                return hung_up.as_mut().poll(cx).map(|()| None);
            }
            if ready < self.slots.len() && !std::mem::replace(&mut waited, true) {
                // Those that share a commit are ready one after another: they share a write too.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let answers = self.slots.drain(..ready).filter_map(|Begun { id, span, slot }| match slot {
                Slot::Answered(answer) => Some(Answered { id, span, answer }),
                Slot::Waits(_) => None,
            });
            Poll::Ready(Some(answers.collect()))
        })
        .await
    }
}

/// Begins to answer what is `asked`, in its order.
fn begin<'a>(api: &'a Api, peer: IpAddr, asked: &'a [Asked<'_>]) -> Round<impl Future<Output = Answer> + 'a> {
    let app = api.app();
    let each_its_own = app.leases.any_at(FaultPoint::Api);
    let deadline = timer::now() + app.request_timeout;
    let begun = |asked: &'a Asked<'_>| {
        let id = api.next_id();
        let span = app.span(id, PAY_ROUTE, || asked.carried);
        let answer = span.of_request(id, answer(app, peer, asked, deadline, each_its_own));
        Begun { id, span, slot: Slot::Waits(Box::pin(answer)) }
    };
    Round { slots: asked.iter().map(begun).collect(), deadline, each_its_own }
}

/// Answers as [`Api::answer`] does: first the address's allowance, then the `api` fault point, then the caller, then the time limit,
/// when it is to have one of its own.
async fn answer(
    app: &Arc<App>,
    peer: IpAddr,
    asked: &Asked<'_>,
    deadline: Instant,
    time_limit: bool,
) -> Answer {
    if let Err(limited) = app.limit_address(peer, asked.forwarded) {
        return Answer::Other(limited.into_response());
    }
    let subject = Subject::new(asked.key.unwrap_or_default(), asked.attempt);
    if let Err(injected) = app.leases.pass(FaultPoint::Api, subject.request_id, subject.attempt).await {
        return Answer::Other(layer::answer(&injected));
    }
    let Some(caller) = app.auth.caller(asked.authorization) else {
        return Answer::Other(Problem::unauthorized(UNAUTHORIZED).into_response());
    };
    if let Err(limited) = app.limit_user(&caller) {
        return Answer::Other(limited.into_response());
    }
    let deadline = if time_limit { timer::now() + app.request_timeout } else { deadline };
    let paid = async {
        permit(&caller, Act::Pay)?;
        let key = payments::key(asked.key, caller.name())?;
        payments::pay(app, &caller, key, body::order(asked.body)?, subject, deadline).await
    };
    let paid = if time_limit {
        tokio::time::timeout(app.request_timeout, paid).await.unwrap_or_else(|_| Err(Problem::timeout()))
    } else {
        paid.await
    };
    match paid {
        Ok(payments::Answered { settled: Settled { record, replayed: false }, degraded: false })
            if matches!(record.verdict, Verdict::Succeeded { .. }) =>
        {
            Answer::Paid(record)
        }
        Ok(paid) => Answer::Other(paid.into_response()),
        Err(problem) => Answer::Other(problem.into_response()),
    }
}

/// Waits until the client has closed the connection. Never, when it has sent on instead.
async fn hung_up(stream: &TcpStream) {
    if let Ok(1..) = stream.peek(&mut [0]).await {
        std::future::pending::<()>().await;
    }
}

/// Writes the answer to a payment that was made; returns its status.
fn write_paid(out: &mut Vec<u8>, record: &Record, id: RequestId, last: bool) -> u16 {
    thread_local! {
        static BODY: RefCell<String> = const { RefCell::new(String::new()) };
    }
    BODY.with_borrow_mut(|body| {
        body.clear();
        render::payment(body, record, Wanted::ALL);
        out.extend_from_slice(b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\n");
        finish(out, body.as_bytes(), id, last);
    });
    201
}

/// Writes any other answer; returns its status.
async fn write(out: &mut Vec<u8>, response: Response, id: RequestId, last: bool) -> u16 {
    let (parts, body) = response.into_parts();
    // It is in memory: there is nothing to wait for, and nothing that could fail.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let _ = write!(out, "HTTP/1.1 {}\r\n", parts.status);
    for (name, value) in &parts.headers {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(piece);
        }
    }
    finish(out, &body, id, last);
    parts.status.as_u16()
}

/// Writes the headers that every answer has, and its body.
fn finish(out: &mut Vec<u8>, body: &[u8], id: RequestId, last: bool) {
    let close = if last { "connection: close\r\n" } else { "" };
    // Writing to memory does not fail.
    let _ = write!(out, "request-id: {id}\r\ncontent-length: {}\r\n{close}date: ", body.len());
    date(out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Writes the time as HTTP has it. It has seconds, so the last one is remembered.
fn date(out: &mut Vec<u8>) {
    thread_local! {
        static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let now = clock::wall_now();
    let now_s = clock::unix_ms(now) / 1000;
    LAST.with_borrow_mut(|(second, text)| {
        if *second != now_s {
            (*second, *text) = (now_s, httpdate::fmt_http_date(now));
        }
        out.extend_from_slice(text.as_bytes());
    });
}

/// One timer for all the time-outs of a connection, which hardly ever pass: it is set anew when it
/// rings, not for each of them.
struct Patience {
    sleep: Pin<Box<Sleep>>,
    /// No time-out is shorter.
    step: Duration,
}

impl Patience {
    fn new(step: Duration) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(step)), step }
    }

    /// Waits until `deadline`, which is a step from now or later.
    async fn until(&mut self, deadline: Instant) {
        loop {
            self.sleep.as_mut().await;
            let now = timer::now();
            if now >= deadline {
                return;
            }
            self.sleep.as_mut().reset(deadline.min(now + self.step));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: &str = r#"{"from":"acc_00000001","to":"acc_00000002","amount":1,"currency":"EUR"}"#;

    fn request(line: &str, headers: &str) -> Vec<u8> {
        format!("{line}\r\nAuthorization: Bearer t\r\nIdempotency-Key: k\r\n{headers}\r\n{BODY}").into_bytes()
    }

    fn length() -> String {
        format!("Content-Length: {}\r\n", BODY.len())
    }

    #[test]
    fn a_whole_payment_is_taken_and_no_byte_more() {
        let mut bytes = request("POST /v1/payments HTTP/1.1", &length());
        let whole = bytes.len();
        bytes.extend_from_slice(b"POST /v1/pay");
        let asked = Asked::parse(&bytes).ok().unwrap();
        assert_eq!((asked.body, asked.used), (BODY.as_bytes(), whole));
        assert_eq!((asked.key, asked.attempt), (Some(&b"k"[..]), None));
        let all = |bytes: &[u8]| {
            let (all, next) = Asked::all(bytes);
            (all.len(), next)
        };
        assert_eq!(all(&bytes), (1, Next::Partial));
        bytes.truncate(whole);
        assert_eq!(all(&bytes), (1, Next::More));
        // The second has the first one's key: it is begun when that is answered.
        assert_eq!(all(&bytes.repeat(2)), (1, Next::More));
        bytes.extend_from_slice(b"GET /livez HTTP/1.1\r\n\r\n");
        assert_eq!(all(&bytes), (1, Next::Other));
        let many: Vec<u8> = (0..=MAX_ROUND)
            .flat_map(|n| request("POST /v1/payments HTTP/1.1", &(length() + &format!("X: {n}\r\n"))))
            .collect();
        let keyless = String::from_utf8(many).unwrap().replace("Idempotency-Key", "Idempotency-Kei");
        assert_eq!(all(keyless.as_bytes()), (MAX_ROUND, Next::More));
        for cut in 1..whole {
            assert_eq!(all(&bytes[..cut]), (0, Next::Partial), "{cut}");
        }
    }

    #[test]
    fn whatever_is_unusual_is_left_to_hyper() {
        let good = "POST /v1/payments HTTP/1.1";
        assert!(Asked::parse(&request(good, &length())).is_ok());
        for line in [
            "GET /v1/payments HTTP/1.1",
            "POST /v1/payments HTTP/1.0",
            "POST /v1/payments?x=1 HTTP/1.1",
            "POST /v1/payments/ HTTP/1.1",
            "POST http://host/v1/payments HTTP/1.1",
            "PRI * HTTP/2.0",
        ] {
            assert_eq!(Asked::parse(&request(line, &length())).err(), Some(Next::Other), "{line}");
        }
        for headers in [
            String::new(),
            length() + &length(),
            length() + "Transfer-Encoding: chunked\r\n",
            length() + "Expect: 100-continue\r\n",
            length() + "Connection: close\r\n",
            length() + "Upgrade: h2c\r\n",
            length() + "Idempotency-Key: other\r\n",
            length() + "Authorization: Bearer other\r\n",
            "Content-Length: +71\r\n".to_owned(),
            "Content-Length: \r\n".to_owned(),
            "Content-Length: 71, 71\r\n".to_owned(),
            "Content-Length: 99999\r\n".to_owned(),
            "Content-Length: 18446744073709551617\r\n".to_owned(),
            length() + &"X-Many: 1\r\n".repeat(MAX_HEADERS),
        ] {
            assert_eq!(Asked::parse(&request(good, &headers)).err(), Some(Next::Other), "{headers}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Asked::parse(&bytes);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_at_its_deadline_however_often_it_was_asked() {
        let began = timer::now();
        let mut patience = Patience::new(Duration::from_secs(10));
        for _ in 0..5 {
            // Something else comes first.
            let deadline = timer::now() + Duration::from_secs(10);
            let first = tokio::time::timeout(Duration::from_secs(4), patience.until(deadline)).await;
            assert!(first.is_err());
        }
        let deadline = timer::now() + Duration::from_secs(60);
        patience.until(deadline).await;
        assert_eq!(began.elapsed().as_secs(), 80);
    }
}
