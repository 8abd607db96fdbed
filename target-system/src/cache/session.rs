//! One process's part in one epoch: what it tells the others of it, and hears from them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use redis::{PushInfo, PushKind, Value};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::l1::L1;
use super::link::Link;
use super::{Change, Strategy, l2};
use crate::ids::AccountId;
use crate::limits::{CACHE_HOLDERS, TELL_LIMIT};

/// Messages that are taken at once.
const TAKE: usize = 64;

/// The part.
#[derive(Debug)]
pub struct Session {
    /// How everything of the database and the epoch begins in Redis.
    pub prefix: String,
    /// The epoch.
    pub epoch: i64,
    /// This process in it.
    pub holder: i64,
    /// When what was cached in it is an answer.
    pub turn: u64,
    /// The way to its Redis.
    pub link: Link,
    numbers: AtomicU64,
    /// Who is waited for to say that they have heard.
    telling: Mutex<HashMap<u64, mpsc::Sender<i64>>>,
}

/// What everybody in an epoch hears.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    by: i64,
    number: u64,
    /// Account, payment, balance.
    changes: Vec<(u32, u64, Option<i64>)>,
}

/// What is said to the one who has told.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Heard {
    holder: i64,
    number: u64,
}

impl Session {
    /// A part in `epoch` of the database called `name`, over `link`; nothing is subscribed to yet.
    pub fn new(name: &str, epoch: i64, holder: i64, turn: u64, link: Link) -> Self {
        let prefix = format!("payments:{name}:{epoch}");
        Self { prefix, epoch, holder, turn, link, numbers: AtomicU64::new(0), telling: Mutex::default() }
    }

    /// A number that no other part gives.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    /// Where everybody in the epoch is told.
    fn everybody(&self) -> String {
        self.prefix.clone()
    }

    /// Where `holder` is told who has heard.
    fn to(&self, holder: i64) -> String {
        format!("{}:{holder}", self.prefix)
    }

    /// What has to be subscribed to.
    pub fn channels(&self) -> [String; 2] {
        [self.everybody(), self.to(self.holder)]
    }

    /// Tells everybody of `changes`, Redis included. Whether all have heard in time: `holders`, who answer from
    /// the cache, and whoever is about to and has subscribed.
    pub async fn tell(&self, holders: &[i64], changes: &[Change], strategy: Strategy) -> bool {
        let balance = |change: &Change| change.balance.filter(|_| strategy == Strategy::Through);
        let changes: Vec<Change> =
            changes.iter().map(|change| Change { balance: balance(change), ..*change }).collect();
        let number = self.number();
        let told = Told {
            by: self.holder,
            number,
            changes: changes.iter().map(|c| (c.account.0, c.seq, c.balance)).collect(),
        };
        let Ok(message) = serde_json::to_vec(&told) else { return false };
        let (heard, mut hearing) = mpsc::channel(CACHE_HOLDERS);
        self.waiting().insert(number, heard);
        let all_heard = tokio::time::timeout(TELL_LIMIT, async {
            let subscribed = l2::tell(self, &changes, &self.everybody(), &message).await?;
            let mut who = HashSet::new();
            while who.len() < subscribed || !holders.iter().all(|holder| who.contains(holder)) {
                who.insert(hearing.recv().await?);
            }
            Some(())
        });
        let all_heard = matches!(all_heard.await, Ok(Some(())));
        self.waiting().remove(&number);
        all_heard
    }

    /// Takes note of what is pushed, and says so, until the link is gone.
    pub async fn hear(self: Arc<Self>, mut pushes: mpsc::Receiver<PushInfo>, l1: Arc<L1>) {
        let everybody = self.everybody();
        let mut taken = Vec::with_capacity(TAKE);
        while pushes.recv_many(&mut taken, TAKE).await > 0 {
            let mut answers = redis::pipe();
            for push in taken.drain(..) {
                let Some((channel, message)) = message(&push) else { continue };
                if channel != everybody.as_bytes() {
                    if let Ok(heard) = serde_json::from_slice::<Heard>(message) {
                        self.heard_by(heard.holder, heard.number);
                    }
                    continue;
                }
                // Who sends something else waits in vain, and ends the epoch.
                let Ok(told) = serde_json::from_slice::<Told>(message) else { continue };
                for (account, seq, balance) in told.changes {
                    l1.hear(Change { account: AccountId(account), seq, balance }).await;
                }
                if told.by == self.holder {
                    self.heard_by(self.holder, told.number);
                } else if let Ok(heard) =
                    serde_json::to_vec(&Heard { holder: self.holder, number: told.number })
                {
                    answers.publish(self.to(told.by), heard).ignore();
                }
            }
            if !answers.is_empty() {
                // When it fails the link is lost, and this ends.
                let mut redis = self.link.connection();
                let _: Option<()> = self.link.ask(answers.query_async(&mut redis)).await;
            }
        }
    }

    fn heard_by(&self, holder: i64, number: u64) {
        if let Some(waiting) = self.waiting().get(&number) {
            // One that has all it waits for is gone.
            let _ = waiting.try_send(holder);
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, mpsc::Sender<i64>>> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The channel and the text of a published message.
fn message(push: &PushInfo) -> Option<(&[u8], &[u8])> {
    match (&push.kind, push.data.as_slice()) {
        (PushKind::Message, [Value::BulkString(channel), Value::BulkString(message)]) => {
            Some((channel, message))
        }
        _ => None,
    }
}
