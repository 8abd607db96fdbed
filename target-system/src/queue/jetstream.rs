//! The queue on a NATS server: three pull consumers, shared by all workers of all processes.
//!
//! A take asks the consumers in order for what is there. When nothing is, one question for each stays open
//! until the server has something; the questions belong to the queue, not to the worker that waits, so
//! nothing that arrives is lost when it stops waiting. A notice that no worker answers for within the ack
//! wait is given to another.

use std::collections::VecDeque;
use std::task::Poll;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{AckKind, Message};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{Mutex, watch};

use super::event::Event;
use super::nats::{self, DEAD_STREAM, Nats, STREAM};
use super::priority::{Priority, Turns};
use super::{Backlog, Letter, Retired, Taken};
use crate::trace::context::{Carried, TRACEPARENT, TRACESTATE};
use crate::trace::span::{Trace, Tracer};
use crate::wall;

/// How long a question stays open.
const ASK: Duration = Duration::from_secs(20);
/// How long the server may take to send what it has.
const SEND: Duration = Duration::from_secs(2);
/// How long an answer to the server may take to be put on its way.
const ANSWER: Duration = Duration::from_secs(1);
/// The pause after the server has refused or was silent.
const AGAIN: Duration = Duration::from_millis(300);
/// Notices of one priority that workers may hold, those between two tries included.
const MAX_ACK_PENDING: i64 = 10_000;
/// Questions that may be open at one consumer.
const MAX_WAITING: i64 = 512;

/// Why there is nothing to take.
type Failed = async_nats::Error;

/// The queue.
#[derive(Debug)]
pub struct JetStream {
    nats: Nats,
    ack_wait: Duration,
    lanes: Mutex<Lanes>,
}

struct Lanes {
    /// The connection that `lanes` were made over.
    connection: u64,
    connections: watch::Receiver<u64>,
    lanes: Vec<Lane>,
    turns: Turns,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({})", self.lanes.len())
    }
}

struct Lane {
    priority: Priority,
    consumer: PullConsumer,
    /// A question for one notice that is open.
    asked: Option<Batch>,
}

impl JetStream {
    /// The queue on the server of `nats`.
    #[must_use]
    pub fn new(nats: Nats, ack_wait: Duration) -> Self {
        let connections = nats.connections();
        let lanes = Lanes { connection: 0, connections, lanes: Vec::new(), turns: Turns::default() };
        Self { nats, ack_wait, lanes: Mutex::new(lanes) }
    }

    /// After how long another worker gets a notice that one has not answered for.
    #[must_use]
    pub fn ack_wait(&self) -> Duration {
        self.ack_wait
    }

    /// Takes up to `most`, waiting for the first, whatever becomes of the server meanwhile; none when the
    /// worker is retired.
    pub async fn take(&self, most: usize, taken: &mut VecDeque<Taken>, retired: &mut Retired) {
        let mut lanes = tokio::select! {
            biased;
            () = retired.wait() => return,
            lanes = self.lanes.lock() => lanes,
        };
        while taken.is_empty() {
            // Not given up half way: what the server has sent is ours.
            let failed = match self.fill(&mut lanes, most, taken).await {
                Ok(()) if !taken.is_empty() => return,
                Ok(()) => tokio::select! {
                    biased;
                    () = retired.wait() => return,
                    came = self.wait(&mut lanes) => match came {
                        Ok(came) => {
                            taken.extend(came);
                            continue;
                        }
                        Err(e) => e,
                    },
                },
                Err(e) => e,
            };
            tracing::warn!(error = %failed, "no notices from NATS");
            lanes.lanes.clear();
            tokio::select! {
                biased;
                () = retired.wait() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Takes what is there.
    async fn fill(&self, lanes: &mut Lanes, most: usize, taken: &mut VecDeque<Taken>) -> Result<(), Failed> {
        if !self.nats.is_connected() {
            // The next connection has other questions.
            lanes.lanes.clear();
            return Ok(());
        }
        let connection = *lanes.connections.borrow();
        if lanes.lanes.is_empty() || lanes.connection != connection {
            lanes.lanes = self.make_lanes().await?;
            lanes.connection = connection;
        }
        for lane in &mut lanes.lanes {
            while let Some(Some(message)) = lane.asked.as_mut().and_then(|asked| asked.next().now_or_never())
            {
                taken.push_back(in_hand(lane.priority, message?));
                lane.asked = None;
            }
        }
        for priority in lanes.turns.next_order() {
            let room = most.saturating_sub(taken.len());
            if room == 0 {
                break;
            }
            let lane = &lanes.lanes[priority as usize];
            let mut sent = lane.consumer.fetch().max_messages(room).messages().await?;
            // The answer says when it is over; one that does not has told all it will.
            while let Ok(Some(message)) = tokio::time::timeout(SEND, sent.next()).await {
                taken.push_back(in_hand(priority, message?));
            }
        }
        Ok(())
    }

    /// Waits for one notice, for a while at most.
    async fn wait(&self, lanes: &mut Lanes) -> Result<Option<Taken>, Failed> {
        for lane in &mut lanes.lanes {
            if lane.asked.is_none() {
                let asked = lane.consumer.batch().max_messages(1).expires(ASK).messages().await?;
                lane.asked = Some(asked);
            }
        }
        let Lanes { connection, connections, lanes, .. } = lanes;
        let came = std::future::poll_fn(|cx| {
            for lane in lanes.iter_mut() {
                let Some(asked) = &mut lane.asked else { return Poll::Ready(Ok(None)) };
                match asked.poll_next_unpin(cx) {
                    Poll::Pending => {}
                    Poll::Ready(came) => {
                        lane.asked = None;
                        let came = came.transpose();
                        return Poll::Ready(came.map(|m| Some(in_hand(lane.priority, m?))));
                    }
                }
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            came = came => came,
            // Questions are forgotten with the connection.
            _ = connections.wait_for(|n| n != connection) => Ok(None),
        }
    }

    async fn make_lanes(&self) -> Result<Vec<Lane>, Failed> {
        self.nats.make_streams().await?;
        let mut lanes = Vec::new();
        for priority in Priority::ALL {
            let config = Config {
                durable_name: Some(format!("notify-{}", priority.name())),
                filter_subject: nats::subject(priority),
                ack_policy: AckPolicy::Explicit,
                ack_wait: self.ack_wait,
                // Workers count, so that a dead letter has a reason.
                max_deliver: -1,
                max_ack_pending: MAX_ACK_PENDING,
                max_waiting: MAX_WAITING,
                ..Config::default()
            };
            let consumer = self.nats.jetstream().create_consumer_on_stream(config, STREAM).await?;
            lanes.push(Lane { priority, consumer, asked: None });
        }
        Ok(lanes)
    }

    /// Publishes a dead letter, and takes the notice off the queue. Returns whether that was done; otherwise
    /// it comes back.
    pub async fn bury(&self, message: &Message, priority: Priority, deliveries: u32, reason: &str) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(Event { id, .. }) = event(message) {
            headers.insert(NATS_MESSAGE_ID, format!("dead_{id}"));
            headers.insert("Notice-Id", id);
        }
        for (name, value) in trace(message, None).iter().flat_map(Trace::headers) {
            headers.insert(name, value);
        }
        headers.insert("Reason", header(reason));
        headers.insert("Deliveries", deliveries.to_string());
        let letter = PublishMessage::build().payload(message.payload.clone()).headers(headers);
        let published = async {
            self.nats.jetstream().send_publish(nats::dead_subject(priority), letter).await?.await?;
            Ok::<_, Failed>(())
        };
        match published.await {
            Ok(()) => {
                answer(message, AckKind::Ack).await;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "NATS does not take a dead letter");
                answer(message, AckKind::Nak(Some(self.ack_wait))).await;
                false
            }
        }
    }

    /// What waits on the server; `None` when it does not say.
    pub async fn backlog(&self) -> Option<Backlog> {
        if !self.nats.is_connected() {
            return None;
        }
        let asked = async {
            let jetstream = self.nats.jetstream();
            let stream = jetstream.get_stream(STREAM).await?;
            let mut backlog = Backlog::default();
            for priority in Priority::ALL {
                let info = stream.consumer_info(format!("notify-{}", priority.name())).await?;
                backlog.waiting[priority as usize] = info.num_pending + info.num_ack_pending as u64;
            }
            let state = &stream.cached_info().state;
            if state.messages > 0 {
                let first_ms = state.first_timestamp.unix_timestamp_nanos() / 1_000_000;
                let now_ms = i128::from(wall::now_ms());
                backlog.oldest_s = (now_ms - first_ms).max(0) as f64 / 1000.0;
            }
            backlog.dead_letters = jetstream.get_stream(DEAD_STREAM).await?.cached_info().state.messages;
            Ok::<_, Failed>(backlog)
        };
        asked.await.inspect_err(|error| tracing::debug!(%error, "NATS does not say what waits")).ok()
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.nats.is_connected()
    }

    /// Gives back what has come and nobody took, and waits until answers are on their way.
    pub async fn end(&self) {
        for mut lane in std::mem::take(&mut self.lanes.lock().await.lanes) {
            if let Some(Some(Ok(message))) = lane.asked.as_mut().and_then(|asked| asked.next().now_or_never())
            {
                answer(&message, AckKind::Nak(None)).await;
            }
        }
        self.nats.flush().await;
    }
}

/// The event of a message; `None` without an id.
#[must_use]
pub fn event(message: &Message) -> Option<Event> {
    let id = message.headers.as_ref()?.get(NATS_MESSAGE_ID)?.as_str().to_owned();
    Some(Event { id, body: message.payload.clone() })
}

/// Where a message's delivery belongs, when its payment's request is sampled; its steps are told to `tracer`.
#[must_use]
pub fn trace(message: &Message, tracer: Option<&Tracer>) -> Option<Trace> {
    let headers = message.headers.as_ref()?;
    let value = |name| headers.get(name).map(|value| value.as_str().as_bytes());
    Trace::carried(Carried { parent: value(TRACEPARENT), state: value(TRACESTATE) }, tracer)
}

/// Takes a message off the queue.
pub async fn done(message: &Message) {
    answer(message, AckKind::Ack).await;
}

/// Has the server give a message out again after `pause`.
pub async fn retry(message: &Message, pause: Duration) {
    answer(message, AckKind::Nak(Some(pause))).await;
}

/// Begins the ack wait of a message anew.
pub async fn keep(message: &Message) {
    answer(message, AckKind::Progress).await;
}

async fn answer(message: &Message, kind: AckKind) {
    // One that does not arrive is as if the worker had ended: the notice comes again.
    let answered = tokio::time::timeout(ANSWER, message.ack_with(kind)).await;
    if !matches!(answered, Ok(Ok(()))) {
        tracing::debug!("an answer for a notice did not reach NATS");
    }
}

fn in_hand(priority: Priority, message: Message) -> Taken {
    let deliveries = message.info().map_or(1, |info| u32::try_from(info.delivered).unwrap_or(u32::MAX));
    Taken { priority, deliveries, letter: Letter::Message(Box::new(message)) }
}

/// Headers are lines.
fn header(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
