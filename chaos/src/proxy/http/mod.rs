//! Requests and answers in what passes a proxy, so that toxics can act on single ones, also on a connection that stays open.
//!
//! What passes is passed on byte by byte as it came; only what a toxic changes is written anew. Messages are read strictly: where two readers
//! could see two messages in the same bytes (conflicting lengths, line ends that are none, lengths that are no numbers), the request is refused
//! with 400 and an answer of that kind becomes 502, and the connection ends. Nothing here reads a clock or a socket.
//!
//! # Layout
//!
//! * [`head`]: the head of a message, and how long its body is.
//! * [`body`]: where a body ends. `inlet`: what a direction has received and holds.
//! * [`requests`]: from client to upstream; decides what each request meets.
//! * [`answers`]: from upstream to client, in the order of the requests.

pub mod answers;
pub mod body;
pub mod head;
mod inlet;
pub mod requests;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::acting::{Acting, Client};
use super::stage::{End, Out};
use super::toxic::Stream;
use answers::Answers;
use requests::Requests;

/// Requests on one connection that are not answered yet; a client that asks for more waits.
pub const MAX_PENDING: usize = 128;

/// Both directions of a connection that speaks HTTP.
#[derive(Debug)]
pub struct Http {
    requests: Requests,
    answers: Answers,
    toxics: Vec<Arc<Acting>>,
    pending: VecDeque<Pending>,
    /// Whether a request waits for another to be answered.
    crowded: bool,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub struct Pending {
    /// How its answer is to be read, and what is done to it; or what it is answered with in the upstream's place.
    pub answer: Expected,
    /// Toxics that the answer meets.
    pub met: Vec<Met>,
}

/// What comes back for a request.
#[derive(Debug)]
pub enum Expected {
    /// The upstream's answer; whether it has no body whatever its head says, and whether it can turn the connection into another.
    Upstream {
        /// The request was a HEAD.
        is_head: bool,
        /// The request was a CONNECT.
        is_connect: bool,
    },
    /// This, and then the end of the connection or the next request.
    Own {
        /// The whole answer.
        answer: Bytes,
        /// Whether the connection ends with it.
        last: bool,
    },
}

/// A toxic that a request meets.
#[derive(Debug)]
pub struct Met {
    /// The toxic.
    pub acting: Arc<Acting>,
    /// What its decisions about the request hang on.
    pub request: u64,
    /// Which attempt it is.
    pub attempt: u32,
}

impl Http {
    /// The HTTP of the connection of `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            requests: Requests::new(client),
            answers: Answers::default(),
            toxics: Vec::new(),
            pending: VecDeque::new(),
            crowded: false,
        }
    }

    /// Has the toxics that act on requests be these.
    pub fn arrange(&mut self, toxics: Vec<Arc<Acting>>) {
        self.requests.inlet.let_go(&toxics);
        self.answers.inlet.let_go(&toxics);
        self.toxics = toxics;
    }

    /// Whether the direction of `stream` may be given more.
    #[must_use]
    pub fn has_room(&self, stream: Stream) -> bool {
        match stream {
            Stream::Upstream => self.requests.inlet.has_room(),
            Stream::Downstream => self.answers.inlet.has_room(),
        }
    }

    /// Takes what was received in the direction of `stream`.
    pub fn put(&mut self, stream: Stream, data: &[u8], now_ns: u64) {
        match stream {
            Stream::Upstream => self.requests.put(data, now_ns),
            Stream::Downstream => self.answers.inlet.put(data, now_ns),
        }
    }

    /// Takes that no more will be received in the direction of `stream`.
    pub fn end(&mut self, stream: Stream) {
        match stream {
            Stream::Upstream => self.requests.inlet.ended = true,
            Stream::Downstream => self.answers.inlet.ended = true,
        }
    }

    /// What is to be passed on in the direction of `stream` at `now_ns`.
    pub fn next(&mut self, stream: Stream, now_ns: u64) -> Out {
        match stream {
            Stream::Upstream => {
                self.crowded = self.pending.len() >= MAX_PENDING;
                match self.crowded {
                    true => Out::Empty,
                    false => self.requests.next(&self.toxics, &mut self.pending, now_ns),
                }
            }
            Stream::Downstream => {
                let out = self.answers.next(&self.toxics, &mut self.pending, now_ns);
                if self.answers.is_tunnel() {
                    self.requests.become_tunnel();
                } else if self.answers.is_refused() {
                    self.requests.stop(now_ns);
                } else if self.pending.is_empty() {
                    self.requests.go_on();
                }
                out
            }
        }
    }

    /// Whether the requests can go on since answers have. Says so once.
    pub fn is_relieved(&mut self) -> bool {
        let has_room = self.crowded && self.pending.len() < MAX_PENDING;
        self.crowded &= !has_room;
        self.requests.is_relieved() || has_room
    }
}

/// How both directions end when the upstream's bytes make no sense or stop too early.
const BROKEN: End = End::Closed;
