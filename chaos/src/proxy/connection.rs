//! A connection through a proxy: both directions, in one task.
//!
//! While no toxic acts on a direction its data goes from one socket to the other by way of a buffer that all
//! connections of a thread share: an idle connection holds none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use squall_record::clock::Clock;
use tokio::time::Sleep;

use super::acting::Client;
use super::http::Http;
use super::pipe::Pipe;
use super::shared::{self, Shared};
use super::socket::Socket;
use super::stage::{End, Out, Piece};
use super::toxic::Stream;

/// What is read at once where nothing acts.
const READ_BYTES: usize = 64 * 1024;
/// What is read at once where a toxic acts, as in Toxiproxy.
const PIECE_BYTES: usize = 32 * 1024;
/// Reads of one direction before others have their turn.
const MAX_READS: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// A connection: a future that is ready when it is over.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    clock: Clock,
    whose: Client,
    generation: u64,
    /// Where it speaks HTTP: what of that passes.
    http: Option<Box<Http>>,
    /// The version of the toxics that its pipes have; `None` before they have any.
    seen: Option<u64>,
    /// When the first of its toxics ends by itself.
    ends_ns: u64,
    client: Socket,
    upstream: Socket,
    to_upstream: Way,
    to_client: Way,
    timer: Option<Pin<Box<Sleep>>>,
    /// When that rings.
    timer_ns: u64,
    key: Option<usize>,
}

/// One direction.
#[derive(Debug)]
struct Way {
    stream: Stream,
    /// Its toxics, where there are any.
    pipe: Option<Box<Pipe>>,
    /// To be written before anything else.
    unsent: Bytes,
    /// Whether the sender has said its last, and that has been passed on.
    finished: bool,
}

/// What is to be done next in a direction.
enum Next {
    /// Something has moved on.
    Sends,
    /// The sender has said its last.
    Finishes,
    /// Nothing, before the instant: no more is received meanwhile.
    Full(u64),
    /// More is received; at the latest at the instant there is something to do.
    Reads(u64),
}

/// What a direction waits for when it has moved all that it can.
enum Rest {
    /// It goes on when a socket is ready, or at the instant.
    Until(u64),
    /// It has had its turn.
    Turn,
}

impl Connection {
    /// The connection of `whose` from `client` to `upstream`, of the proxy's `generation`.
    #[must_use]
    pub fn new(
        (shared, clock): (Arc<Shared>, Clock),
        whose: Client,
        generation: u64,
        is_http: bool,
        [client, upstream]: [Socket; 2],
    ) -> Self {
        let way = |stream| Way { stream, pipe: None, unsent: Bytes::new(), finished: false };
        Self {
            shared,
            clock,
            whose,
            generation,
            http: is_http.then(|| Box::new(Http::new(whose))),
            seen: None,
            ends_ns: u64::MAX,
            client,
            upstream,
            to_upstream: way(Stream::Upstream),
            to_client: way(Stream::Downstream),
            timer: None,
            timer_ns: u64::MAX,
            key: None,
        }
    }

    /// Takes notice of what has changed. Whether it may go on.
    fn notice(&mut self) -> bool {
        let version = self.shared.version();
        let over = self.ends_ns < u64::MAX && self.ends_ns <= self.clock.now_ns();
        if self.seen == Some(version) && !over {
            return true;
        }
        if self.shared.generation() != self.generation {
            return false;
        }
        self.seen = Some(version);
        let now_ns = self.clock.now_ns();
        let toxics = self.shared.toxics(now_ns);
        self.ends_ns = toxics.iter().map(|toxic| toxic.ends_ns).min().unwrap_or(u64::MAX);
        let (http, others): (Vec<_>, Vec<_>) = toxics.into_iter().partition(|t| t.toxic.kind.is_http());
        if let Some(own) = &mut self.http {
            own.arrange(http);
        }
        for way in [&mut self.to_upstream, &mut self.to_client] {
            let own: Vec<_> = others.iter().filter(|t| t.toxic.acts_on(way.stream)).cloned().collect();
            if way.pipe.is_some() || !own.is_empty() {
                way.pipe.get_or_insert_default().arrange(&own, self.whose, now_ns);
            }
        }
        true
    }

    /// Moves what can be moved. `None` when the connection is over.
    fn go(&mut self, cx: &mut Context<'_>) -> Option<Rest> {
        if !self.notice() {
            return None;
        }
        let (client, upstream) = (&self.client, &self.upstream);
        let world = (&*self.shared, &self.clock);
        let http = self.http.as_deref_mut();
        let there = self.to_upstream.go([client, upstream], world, http, cx);
        let back = self.to_client.go([upstream, client], world, self.http.as_deref_mut(), cx);
        let relieved = self.http.as_mut().is_some_and(|http| http.is_relieved());
        match (there, back) {
            (Err(End::Reset), _) | (_, Err(End::Reset)) => {
                self.client.reset_on_close();
                self.upstream.reset_on_close();
                None
            }
            (Err(_), _) | (_, Err(_)) => None,
            _ if self.to_upstream.finished && self.to_client.finished => None,
            (Ok(Rest::Until(there)), Ok(Rest::Until(back))) if !relieved => {
                Some(Rest::Until(there.min(back).min(self.ends_ns)))
            }
            _ => Some(Rest::Turn),
        }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Before it looks at anything: a change after that finds it. Its task is always the same.
        if this.key.is_none() {
            this.key = Some(this.shared.remember(cx.waker().clone()));
        }
        loop {
            let until = match this.go(cx) {
                None => return Poll::Ready(()),
                Some(Rest::Turn) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Rest::Until(u64::MAX)) => return Poll::Pending,
                Some(Rest::Until(until)) => until,
            };
            if this.timer_ns != until {
                this.timer_ns = until;
                let sleep = tokio::time::sleep(this.clock.until(until));
                match &mut this.timer {
                    Some(timer) => timer.set(sleep),
                    None => this.timer = Some(Box::pin(sleep)),
                }
            }
            if this.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
            this.timer_ns = u64::MAX;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.forget(key);
        }
    }
}

impl Way {
    /// Moves what can be moved from one socket to the other.
    ///
    /// # Errors
    /// How the whole connection ends.
    fn go(
        &mut self,
        [from, to]: [&Socket; 2],
        (shared, clock): (&Shared, &Clock),
        mut http: Option<&mut Http>,
        cx: &mut Context<'_>,
    ) -> Result<Rest, End> {
        let bytes = shared.bytes(self.stream);
        for _ in 0..MAX_READS {
            if self.finished || !self.send(to, bytes, cx)? {
                return Ok(Rest::Until(u64::MAX));
            }
            let until = match self.next(clock, http.as_deref_mut())? {
                Next::Sends => continue,
                Next::Finishes => {
                    self.finish(to);
                    continue;
                }
                Next::Full(until) => return Ok(Rest::Until(until)),
                Next::Reads(until) => until,
            };
            let plain = self.pipe.is_none() && http.is_none();
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let scratch = &mut scratch[..if plain { READ_BYTES } else { PIECE_BYTES }];
                let Some(count) = read(from, scratch, cx)? else { return Ok(None) };
                let received = &scratch[..count];
                bytes.received.fetch_add(count as u64, Relaxed);
                match (&mut http, &mut self.pipe) {
                    _ if count == 0 => {}
                    (Some(http), _) => http.put(self.stream, received, clock.now_ns()),
                    (None, Some(pipe)) => {
                        pipe.put(Piece { data: Bytes::copy_from_slice(received), at_ns: clock.now_ns() });
                    }
                    (None, None) => {
                        let sent = write(to, received)?;
                        bytes.sent.fetch_add(sent as u64, Relaxed);
                        if sent < count {
                            self.unsent = Bytes::copy_from_slice(&received[sent..]);
                        }
                    }
                }
                Ok(Some(count))
            })?;
            match (read, &mut http, &mut self.pipe) {
                (None, ..) => return Ok(Rest::Until(until)),
                (Some(0), Some(http), _) => http.end(self.stream),
                (Some(0), None, Some(pipe)) => pipe.end(End::Finished),
                (Some(0), None, None) => self.finish(to),
                (Some(_), ..) => {}
            }
        }
        Ok(Rest::Turn)
    }

    /// What is next, of what has been received.
    ///
    /// # Errors
    /// How the whole connection ends.
    fn next(&mut self, clock: &Clock, http: Option<&mut Http>) -> Result<Next, End> {
        if self.pipe.as_ref().is_some_and(|pipe| pipe.is_plain()) && http.is_none() {
            self.pipe = None;
        }
        let mut until = u64::MAX;
        if let Some(pipe) = &mut self.pipe {
            match pipe.next(clock.now_ns()) {
                Out::Piece(piece) => {
                    self.unsent = piece.data;
                    return Ok(Next::Sends);
                }
                Out::End(End::Finished) => return Ok(Next::Finishes),
                Out::End(end) => return Err(end),
                Out::Wait(instant) => until = instant,
                Out::Empty => {}
            }
            if !pipe.has_room() {
                return Ok(Next::Full(until));
            }
        }
        let Some(http) = http else { return Ok(Next::Reads(until)) };
        match (http.next(self.stream, clock.now_ns()), &mut self.pipe) {
            (Out::Piece(piece), Some(pipe)) => pipe.put(piece),
            (Out::Piece(piece), None) => self.unsent = piece.data,
            (Out::End(End::Finished), Some(pipe)) => pipe.end(End::Finished),
            (Out::End(End::Finished), None) => return Ok(Next::Finishes),
            (Out::End(end), _) => return Err(end),
            (Out::Wait(instant), _) if http.has_room(self.stream) => {
                return Ok(Next::Reads(until.min(instant)));
            }
            (Out::Wait(instant), _) => return Ok(Next::Full(until.min(instant))),
            (Out::Empty, _) if http.has_room(self.stream) => return Ok(Next::Reads(until)),
            (Out::Empty, _) => return Ok(Next::Full(until)),
        }
        Ok(Next::Sends)
    }

    /// Sends what is unsent. Whether nothing is any more.
    fn send(&mut self, to: &Socket, bytes: &shared::Bytes, cx: &mut Context<'_>) -> Result<bool, End> {
        while !self.unsent.is_empty() {
            let sent = write(to, &self.unsent)?;
            self.unsent.advance(sent);
            bytes.sent.fetch_add(sent as u64, Relaxed);
            if sent == 0 && to.poll_write_ready(cx).map_err(|_| End::Closed)?.is_pending() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Passes on that the sender has said its last.
    fn finish(&mut self, to: &Socket) {
        to.finish();
        self.finished = true;
    }
}

/// Reads what there is; `None` when there is nothing yet.
fn read(from: &Socket, into: &mut [u8], cx: &mut Context<'_>) -> Result<Option<usize>, End> {
    loop {
        match from.try_read(into) {
            Ok(count) => return Ok(Some(count)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if from.poll_read_ready(cx).map_err(|_| End::Closed)?.is_pending() {
                    return Ok(None);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // A reset is passed on as one.
            Err(_) => return Err(End::Reset),
        }
    }
}

/// Writes what the socket takes.
fn write(to: &Socket, from: &[u8]) -> Result<usize, End> {
    loop {
        match to.try_write(from) {
            Ok(count) => return Ok(count),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(End::Reset),
        }
    }
}
