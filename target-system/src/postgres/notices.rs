//! Whom the committers tell of payments.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::Settings;
use super::pool::{self, PoolSettings};
use super::relay::{Destination, Relay};
use crate::queue::event::Notice;
use crate::queue::local;

/// How long the relay may take at the end; what it leaves is relayed by others, or after the next start.
const LAST_RELAY: Duration = Duration::from_secs(2);

/// Where notices of payments go.
#[derive(Debug, Clone)]
pub enum Notices {
    /// To the queue of this process.
    Process(local::Sender),
    /// To the outbox, and from there to a server.
    Outbox(Box<Destination>),
}

/// The committers' side of it.
#[derive(Debug)]
pub enum Told {
    /// The queue of this process.
    Process(local::Sender),
    /// The relay: there are rows in the outbox.
    Relay(Arc<Notify>),
}

/// A relay under way.
#[derive(Debug)]
pub struct Relaying {
    task: JoinHandle<()>,
    ending: watch::Sender<bool>,
}

impl Notices {
    /// Starts the relay, where one is needed.
    ///
    /// # Errors
    /// When no pool can be made.
    pub fn start(self, settings: &Settings) -> anyhow::Result<(Told, Option<Relaying>)> {
        let to = match self {
            Notices::Process(queue) => return Ok((Told::Process(queue), None)),
            Notices::Outbox(to) => to,
        };
        let bell = Arc::new(Notify::new());
        let own = pool::build(settings.database.clone(), PoolSettings { min: 0, max: 1, ..settings.pool })?;
        let (ending, ended) = watch::channel(false);
        let task = tokio::spawn(Relay::new(settings.place.own, own, *to, Arc::clone(&bell)).run(ended));
        Ok((Told::Relay(bell), Some(Relaying { task, ending })))
    }
}

impl Told {
    /// Whether payments are written to the outbox.
    #[must_use]
    pub fn by_outbox(&self) -> bool {
        matches!(self, Told::Relay(_))
    }

    /// The payment of a notice is committed, and is no repetition.
    pub fn paid(&self, notice: impl FnOnce() -> Option<Notice>) {
        // The outbox has it from the transaction.
        let Told::Process(queue) = self else { return };
        if let Some(notice) = notice() {
            queue.offer(notice);
        }
    }

    /// A transaction is over.
    pub fn committed(&self) {
        if let Told::Relay(bell) = self {
            bell.notify_one();
        }
    }
}

impl Relaying {
    /// Relays what is left, for a bounded time.
    pub async fn end(mut self) {
        self.ending.send_replace(true);
        if tokio::time::timeout(LAST_RELAY, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}
