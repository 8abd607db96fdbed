//! Notices of payments, on their way to the workers that deliver them.
//!
//! There are two queues, and the same workers take from both:
//!
//! * [`local`]: in this process, filled by the store after each commit; bounded, and lost with the process.
//! * [`jetstream`]: streams of a NATS server, filled from the outbox of the database by the relay
//!   ([`crate::postgres::relay`]); it loses nothing.
//!
//! * [`event`]: what a notice is made of.
//! * [`priority`]: which go first.
//! * [`nats`]: the server: the connection, the streams and their limits.
//! * [`args`]: the settings.

pub mod args;
pub mod event;
pub mod jetstream;
pub mod local;
pub mod nats;
pub mod priority;

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::Message;
use tokio::sync::watch;

use crate::trace::span::{Trace, Tracer};
use event::{Event, Notice};
use jetstream::JetStream;
use local::Local;
use priority::Priority;

/// Where notices wait for workers.
#[derive(Debug)]
pub enum Queue {
    /// In this process.
    Local(Local),
    /// On a NATS server.
    JetStream(JetStream),
}

/// A notice in a worker's hands.
#[derive(Debug)]
pub struct Taken {
    /// How urgent it is.
    pub priority: Priority,
    /// How often a worker got it, this time included.
    pub deliveries: u32,
    /// The notice.
    pub letter: Letter,
}

/// A notice, open or sealed.
#[derive(Debug)]
pub enum Letter {
    /// Of this process.
    Notice(Notice),
    /// From the server, as it was published.
    Message(Box<Message>),
}

impl Letter {
    /// What is to be delivered; `None` for a message without an id, which the relay never publishes.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        match self {
            Letter::Notice(notice) => Some(Event::of(notice)),
            Letter::Message(message) => jetstream::event(message),
        }
    }

    /// Where its delivery belongs, when its payment's request is sampled; steps of a message are told to `tracer`.
    #[must_use]
    pub fn trace(&self, tracer: Option<&Tracer>) -> Trace {
        let trace = match self {
            Letter::Notice(notice) => notice.trace.as_deref().cloned(),
            Letter::Message(message) => jetstream::trace(message, tracer),
        };
        trace.unwrap_or_default()
    }
}

/// A worker's end: it is told to take no more.
#[derive(Debug, Clone)]
pub struct Retired {
    /// How many workers there are to be.
    pub target: watch::Receiver<usize>,
    /// The worker's place among them, from 0.
    pub place: usize,
}

impl Retired {
    /// Waits until the worker is one too many.
    pub async fn wait(&mut self) {
        // Without anybody to say how many, there are none.
        let _ = self.target.wait_for(|workers| *workers <= self.place).await;
    }
}

/// What waits.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Backlog {
    /// Notices that are not delivered, by priority, those in workers' hands on a server included.
    pub waiting: [u64; 3],
    /// The age of the oldest, in seconds.
    pub oldest_s: f64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
}

impl Backlog {
    /// All that wait.
    #[must_use]
    pub fn depth(&self) -> u64 {
        self.waiting.iter().sum()
    }
}

impl Queue {
    /// Takes up to `most` notices, waiting for the first; none when the worker is retired or the queue
    /// has ended.
    pub async fn take(&self, most: usize, taken: &mut VecDeque<Taken>, retired: &mut Retired) {
        match self {
            Queue::Local(queue) => queue.take(most, taken, retired).await,
            Queue::JetStream(queue) => queue.take(most, taken, retired).await,
        }
    }

    /// `taken` is delivered.
    pub async fn done(&self, taken: Taken) {
        if let Letter::Message(message) = taken.letter {
            jetstream::done(&message).await;
        }
    }

    /// `taken` is to be delivered again, after `pause`.
    pub async fn retry(&self, taken: Taken, pause: Duration) {
        match (self, taken.letter) {
            (Queue::Local(queue), Letter::Notice(notice)) => {
                queue.retry(notice, taken.priority, taken.deliveries, pause);
            }
            (_, Letter::Message(message)) => jetstream::retry(&message, pause).await,
            (Queue::JetStream(_), Letter::Notice(_)) => {}
        }
    }

    /// `taken` will not be delivered: it becomes a dead letter. Returns whether it did; otherwise it comes back.
    pub async fn bury(&self, taken: Taken, reason: String) -> bool {
        match (self, taken.letter) {
            (Queue::Local(queue), Letter::Notice(notice)) => {
                queue.bury(&notice, taken.deliveries, reason);
                true
            }
            (Queue::JetStream(queue), Letter::Message(message)) => {
                queue.bury(&message, taken.priority, taken.deliveries, &reason).await
            }
            _ => false,
        }
    }

    /// `taken` is still in hand: nobody else is to get it yet.
    pub async fn keep(&self, taken: &Taken) {
        if let Letter::Message(message) = &taken.letter {
            jetstream::keep(message).await;
        }
    }

    /// What the queue is, and where in it notices of `priority` wait: as spans name it.
    #[must_use]
    pub fn place(&self, priority: Priority) -> (&'static str, String) {
        match self {
            Queue::Local(_) => ("process", format!("notices.{}", priority.name())),
            Queue::JetStream(_) => ("nats", nats::subject(priority)),
        }
    }

    /// After how long somebody else gets what a worker holds; `None` where nobody ever does.
    #[must_use]
    pub fn ack_wait(&self) -> Option<Duration> {
        match self {
            Queue::Local(_) => None,
            Queue::JetStream(queue) => Some(queue.ack_wait()),
        }
    }

    /// What waits; `None` when the server does not say.
    pub async fn backlog(&self) -> Option<Backlog> {
        match self {
            Queue::Local(queue) => Some(queue.backlog()),
            Queue::JetStream(queue) => queue.backlog().await,
        }
    }
}
