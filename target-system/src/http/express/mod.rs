//! The short way of a payment and of a balance.
//!
//! Under load nearly all requests are alike: a `POST /v1/payments` of HTTP/1.1 with a length, there
//! in one piece, or a `GET` of an account's balance. What hyper and axum do for every request that there can be costs more for these
//! than the payment or the balance itself. Nor does hyper begin a pipelined request before it has answered the one
//! before; here payments are begun in their order and share a commit. So a connection begins here, and
//! stays as long as its requests are of these kinds. The first that is not goes to hyper unchanged, with the connection and all that
//! follows on it: this lane answers no request differently, and refuses none.
//!
//! # Layout
//!
//! * `asked`: bytes in.
//! * `written`: bytes out.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use squall_chaos::layer::{self, Subject};
use squall_chaos::slow_body::Pace;
use squall_record::fault::FaultPoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::accept::begun;
use super::accounts::{self, Balance};
use super::api::{Api, UNAUTHORIZED};
use super::app::{App, permit};
use super::problem::Problem;
use super::{body, payments};
use crate::auth::role::{Act, Caller};
use crate::bank::Settled;
use crate::panics;
use crate::record::{Record, Verdict};
use crate::timer;
use crate::trace::RequestId;
use crate::trace::span::Span;
use asked::{Asked, Next, Wants};

mod asked;
mod written;

/// What is read at once, at least. Longer requests are not for this lane.
const READ_BYTES: usize = 16 * 1024;
/// How long a client may take to close a connection after its last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Serves the payments and balances on `stream` until something else is asked for: then the bytes that have been
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
    // Whether anything has been answered here.
    let mut answered = false;
    loop {
        let (mut asked, next) = Asked::all(&input);
        // What one read has cut off a pipelined request is most often completed by another.
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
            for (Answered { id, route, span, answer }, nth) in answers.into_iter().zip(1..) {
                let (answer, pace) = answer.at_pace();
                let (status, body) = written::write(&mut output, answer, id, last && nth == count).await;
                app.metrics.answered(route, status, took_ns);
                span.answered(status, 500);
                if let Some(pace) = pace {
                    written::trickle(stream, &output, body, &pace).await.ok()?;
                    output.clear();
                }
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

enum Answer {
    /// A payment made just now.
    Paid(Record),
    /// What an account holds.
    Holds(Balance),
    /// Anything else that there can be to say.
    Other(Response),
    /// One of these whose body a fault slows down.
    Slowly(Box<(Answer, Pace)>),
}

impl Answer {
    /// What is said, and how slowly.
    fn at_pace(self) -> (Answer, Option<Pace>) {
        match self {
            Answer::Slowly(slowly) => (slowly.0, Some(slowly.1)),
            answer => (answer, None),
        }
    }
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
    route: &'static str,
    span: Span,
    slot: Slot<F>,
}

/// A request whose answer can be written.
struct Answered {
    id: RequestId,
    route: &'static str,
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
                match panics::poll(asked.as_mut(), cx) {
                    Poll::Ready(Ok(answer)) => *slot = Slot::Answered(answer),
                    Poll::Ready(Err(panics::Panicked)) => {
                        *slot = Slot::Answered(Answer::Other(Problem::internal().into_response()));
                    }
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
            let answers =
                self.slots.drain(..ready).filter_map(|Begun { id, route, span, slot }| match slot {
                    Slot::Answered(answer) => Some(Answered { id, route, span, answer }),
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
        let route = asked.wants.route();
        let span = app.span(id, route, || asked.carried);
        let answer = span.of_request(id, answer(app, peer, id, asked, deadline, each_its_own));
        Begun { id, route, span, slot: Slot::Waits(Box::pin(answer)) }
    };
    Round { slots: asked.iter().map(begun).collect(), deadline, each_its_own }
}

/// Answers as [`Api::answer`] does: first the address's allowance, then the `api` fault point, then the caller, then the time limit,
/// when it is to have one of its own.
async fn answer(
    app: &Arc<App>,
    peer: IpAddr,
    id: RequestId,
    asked: &Asked<'_>,
    deadline: Instant,
    time_limit: bool,
) -> Answer {
    if let Err(limited) = app.limit_address(peer, asked.forwarded) {
        return Answer::Other(limited.into_response());
    }
    let subject = asked.subject(id);
    let passed = match app.leases.pass(FaultPoint::Api, subject.request_id, subject.attempt).await {
        Ok(passed) => passed,
        Err(injected) => return Answer::Other(layer::answer(&injected)),
    };
    let answer = past_faults(app, asked, subject, deadline, time_limit).await;
    match passed.pace() {
        None => answer,
        Some(pace) => Answer::Slowly(Box::new((answer, pace))),
    }
}

/// The rest of [`answer`].
async fn past_faults(
    app: &Arc<App>,
    asked: &Asked<'_>,
    subject: Subject,
    deadline: Instant,
    time_limit: bool,
) -> Answer {
    let Some(caller) = app.auth.caller(asked.authorization) else {
        return Answer::Other(Problem::unauthorized(UNAUTHORIZED).into_response());
    };
    if let Err(limited) = app.limit_user(&caller) {
        return Answer::Other(limited.into_response());
    }
    let deadline = if time_limit { timer::now() + app.request_timeout } else { deadline };
    let done = carry_out(app, &caller, asked, subject, deadline);
    let done = if time_limit {
        tokio::time::timeout(app.request_timeout, done).await.unwrap_or_else(|_| Err(Problem::timeout()))
    } else {
        done.await
    };
    done.unwrap_or_else(|problem| Answer::Other(problem.into_response()))
}

/// Does for `caller` what is `asked`.
async fn carry_out(
    app: &Arc<App>,
    caller: &Caller,
    asked: &Asked<'_>,
    subject: Subject,
    deadline: Instant,
) -> Result<Answer, Problem> {
    match asked.wants {
        Wants::Pay { body } => {
            permit(caller, Act::Pay)?;
            let key = payments::key(asked.key, caller.name())?;
            let paid = payments::pay(app, caller, key, body::order(body)?, subject, deadline).await?;
            Ok(match paid {
                payments::Answered { settled: Settled { record, replayed: false }, degraded: false }
                    if matches!(record.verdict, Verdict::Succeeded { .. }) =>
                {
                    Answer::Paid(record)
                }
                paid => Answer::Other(paid.into_response()),
            })
        }
        Wants::Balance { account } => {
            accounts::holds(app, caller, account, asked.min_seq).await.map(Answer::Holds)
        }
    }
}

/// Waits until the client has closed the connection. Never, when it has sent on instead.
async fn hung_up(stream: &TcpStream) {
    if let Ok(1..) = stream.peek(&mut [0]).await {
        std::future::pending::<()>().await;
    }
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

    /// What a call of `asked` takes of memory.
    fn room<'a, F>(_: fn(&'a Arc<App>, IpAddr, RequestId, &'a Asked<'a>, Instant, bool) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_payment_does_not_carry_the_room_for_everything_else_that_can_happen() {
        // With that of a balance asked of Postgres it was 6,688 bytes, moved three times: a tenth of a payment's time.
        let bytes = room(answer);
        assert!(bytes <= 1536, "{bytes}");
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
