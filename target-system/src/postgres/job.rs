//! What the committers of a database are asked to do.

use tokio::sync::oneshot;

use crate::bank::{Asked, Refused};
use crate::idempotency::ScopedKey;
use crate::ids::AccountId;
use crate::record::Order;
use crate::trace::span::Trace;

use super::commit::{Committed, Outcome};

/// To give a payee what a payer in another database has paid.
#[derive(Debug, Clone)]
pub struct Credit {
    /// The payment's number there.
    pub origin: u64,
    /// The payment.
    pub order: Order,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made_ms: u64,
    /// For fault decisions about the notification; 0 when nobody knows any more.
    pub request_id: u64,
    /// Where the notification's deliveries are told, when the request is sampled.
    pub trace: Option<Box<Trace>>,
}

/// To note that a key is one payer's.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The key.
    pub key: ScopedKey,
    /// Who pays with it.
    pub payer: AccountId,
}

/// One thing to do, and who waits for it, if anybody still does.
#[derive(Debug)]
pub enum Job {
    /// A payment; between two databases, the payer's side of it.
    Settle(Asked, oneshot::Sender<Outcome>),
    /// The payee's side of one; whether it was given now, and not before.
    Credit(Credit, oneshot::Sender<Result<bool, Refused>>),
    /// A key.
    Register(Registration, oneshot::Sender<Result<(), Refused>>),
}

/// What is done in one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// Payments.
    pub asked: Vec<Asked>,
    /// The payee's side of others.
    pub credits: Vec<Credit>,
    /// Keys.
    pub registrations: Vec<Registration>,
}

/// Who waits for it.
#[derive(Debug, Default)]
pub struct Replies {
    asked: Vec<oneshot::Sender<Outcome>>,
    credits: Vec<oneshot::Sender<Result<bool, Refused>>>,
    registrations: Vec<oneshot::Sender<Result<(), Refused>>>,
}

/// Jobs as a transaction, and who waits for it.
pub fn gather(jobs: impl Iterator<Item = Job>) -> (Batch, Replies) {
    let (mut batch, mut replies) = (Batch::default(), Replies::default());
    for job in jobs {
        match job {
            Job::Settle(asked, reply) => {
                batch.asked.push(asked);
                replies.asked.push(reply);
            }
            Job::Credit(credit, reply) => {
                batch.credits.push(credit);
                replies.credits.push(reply);
            }
            Job::Register(registration, reply) => {
                batch.registrations.push(registration);
                replies.registrations.push(reply);
            }
        }
    }
    (batch, replies)
}

impl Batch {
    /// How many jobs it is.
    pub fn jobs(&self) -> usize {
        self.asked.len() + self.credits.len() + self.registrations.len()
    }
}

impl Replies {
    /// Tells everybody what it has come to.
    pub fn committed(self, committed: Committed) {
        self.asked.into_iter().zip(committed.outcomes).for_each(tell);
        self.credits.into_iter().zip(committed.credited).for_each(tell);
        self.registrations.into_iter().zip(committed.registered).for_each(tell);
    }

    /// Tells everybody that the database has failed.
    pub fn failed(self) {
        self.asked.into_iter().for_each(|to| tell((to, Err(Refused::Failed))));
        self.credits.into_iter().for_each(|to| tell((to, Err(Refused::Failed))));
        self.registrations.into_iter().for_each(|to| tell((to, Err(Refused::Failed))));
    }
}

/// Whoever has hung up does not want to know.
fn tell<T>((to, what): (oneshot::Sender<T>, T)) {
    let _ = to.send(what);
}
