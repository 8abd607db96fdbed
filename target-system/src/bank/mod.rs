//! Where payments are kept: one of the stores, asked the same questions.
//!
//! * [`embedded`]: in this process, on its own disk.
//! * [`crate::shards`]: in a database that other processes use too ([`crate::postgres`]), or in several.

pub mod embedded;

use std::collections::BTreeMap;

use deadpool_postgres::PoolError;
use serde::Serialize;
use squall_chaos::host::Starve;
use tokio::sync::OwnedSemaphorePermit;

use crate::decline::Decline;
use crate::idempotency::{Claim, ScopedKey};
use crate::ids::AccountId;
use crate::ledger::{Account, OpenError};
use crate::money::Currency;
use crate::postgres::starve;
use crate::record::{Order, Record};
use crate::shards::Shards;
use crate::store::StoreError;
use crate::store::recount::Recount;
use crate::trace::span::Trace;
use embedded::Embedded;

/// The stores that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// In this process, on its own disk.
    Embedded,
    /// In a Postgres database.
    Postgres,
}

/// Where payments are kept.
#[derive(Debug)]
pub enum Bank {
    /// In this process, on its own disk.
    Embedded(Embedded),
    /// In a Postgres database, or several.
    Postgres(Shards),
}

/// An order on its way to the store.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub order: Order,
    /// A decline that was decided before; balances are not asked then.
    pub declined: Option<Decline>,
    /// The right to use the key; dropped after the commit.
    pub claim: Claim,
    /// For fault decisions about the notification.
    pub request_id: u64,
    /// Where its commit and its notice's deliveries are told, when the request is sampled.
    pub trace: Option<Box<Trace>>,
}

/// What an order came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The record of it.
    pub record: Record,
    /// Whether it was made by an earlier request with the same key.
    pub replayed: bool,
}

/// Why an order was not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The key stands for another order.
    KeyReused,
    /// There is no such account.
    NoAccount {
        /// The field that names it.
        param: &'static str,
        /// The account.
        id: AccountId,
    },
    /// An account holds another currency.
    OtherCurrency {
        /// The account.
        id: AccountId,
        /// What it holds.
        holds: Currency,
    },
    /// More orders wait than the service takes; nothing was executed.
    Full,
    /// The store has failed; whether the order was executed is not known when it was in its hands.
    Failed,
}

/// Why an account was not opened.
#[derive(Debug)]
pub enum NotOpened {
    /// It may not be.
    Refused(OpenError),
    /// As with an order.
    Store(Refused),
}

/// A store that could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum BankError {
    /// The rows of the embedded store.
    #[error(transparent)]
    Embedded(#[from] StoreError),
    /// The database.
    #[error("{}", crate::postgres::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// There is no connection to it.
    #[error("no connection to the database: {}", crate::postgres::unconnected(.0))]
    Pool(PoolError),
    /// It has taken longer than a transaction may; whether it was committed is not known.
    #[error("the database has not answered within {0:?}")]
    Slow(std::time::Duration),
    /// A payment whose payee does not have it yet, and cannot be given it.
    #[error("a payment is on its way to its payee's database, which does not answer")]
    Halfway,
    /// Another process has changed how balances are kept.
    #[error(
        "another process has been started with a --strategy that keeps balances in another way: start all with one"
    )]
    Layout,
    /// A copy, which cannot be written to.
    #[error("this is a copy of the database, which cannot be written to")]
    Copy,
    /// A row that makes no sense.
    #[error("a row of {0} makes no sense")]
    Row(&'static str),
}

// Not `#[from]`: its cause is told already.
impl From<PoolError> for BankError {
    fn from(e: PoolError) -> Self {
        BankError::Pool(e)
    }
}

/// An account as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The account.
    pub account: Account,
    /// The commit number as of which it holds: of the ledger in the embedded store, of the account's
    /// last payment in Postgres, where several processes number payments.
    pub as_of_seq: u64,
}

/// A page of an account's payments, newest first.
#[derive(Debug)]
pub struct Page {
    /// The payments.
    pub records: Vec<Record>,
    /// Whether older ones follow.
    pub has_more: bool,
}

/// Totals that must hold.
#[derive(Debug, Default)]
pub struct Audited {
    /// Payments.
    pub payments: u64,
    /// Declines: all of them in the embedded store, those whose keys are kept in Postgres.
    pub declines: u64,
    /// Keys that are kept.
    pub keys: u64,
    /// The highest number of a payment.
    pub highest_seq: u64,
    /// Accounts.
    pub accounts: usize,
    /// What each currency comes to, by its code.
    pub currencies: BTreeMap<String, Sums>,
    /// What was found when everything was read again.
    pub recount: Option<Recount>,
}

/// What a currency comes to, in minor units.
#[derive(Debug, Default, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct Sums {
    /// Taken from payers.
    pub debits: i128,
    /// Given to payees.
    pub credits: i128,
    /// Of all accounts.
    pub balances: i128,
    /// The world's balance: minus all openings. With `balances` and `in_transit` it comes to zero.
    pub world: i128,
    /// Taken from payers, and on its way to payees in another database.
    pub in_transit: i128,
}

impl Sums {
    /// Whether they come to zero. What is on its way makes up for what is not there yet, also where databases were read one
    /// after another: in each of them it does at every moment.
    #[must_use]
    pub fn hold(&self) -> bool {
        self.debits == self.credits + self.in_transit && self.balances + self.world + self.in_transit == 0
    }

    /// These and `others`.
    pub fn add(&mut self, others: &Sums) {
        self.debits += others.debits;
        self.credits += others.credits;
        self.balances += others.balances;
        self.world += others.world;
        self.in_transit += others.in_transit;
    }
}

impl Audited {
    /// This and `other`, of another database.
    pub fn add(&mut self, other: &Audited) {
        self.payments += other.payments;
        self.declines += other.declines;
        self.keys += other.keys;
        self.highest_seq = self.highest_seq.max(other.highest_seq);
        self.accounts += other.accounts;
        for (code, sums) in &other.currencies {
            self.currencies.entry(code.clone()).or_default().add(sums);
        }
        if let Some(found) = &other.recount {
            self.recount.get_or_insert_default().add(found);
        }
    }

    /// Whether everything holds.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.currencies.values().all(Sums::hold) && self.recount.as_ref().is_none_or(|r| r.sound)
    }
}

/// What `/health` says of the store.
#[derive(Debug, Default, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct StoreHealth {
    /// Whether it takes orders.
    pub ok: bool,
    /// Orders that wait.
    pub queue_depth: usize,
    /// More are shed.
    pub queue_limit: usize,
    /// Transactions that this process has committed.
    pub commits: u64,
    /// Payments: of the ledger in the embedded store, of this process in Postgres.
    pub payments: u64,
    /// Declines, likewise.
    pub declines: u64,
    /// Accounts.
    pub accounts: usize,
    /// How long the last commit took, in microseconds.
    pub last_sync_us: u64,
}

impl Bank {
    /// What is known of `key` without asking another process, and whether `order` makes sense as far as
    /// that is known.
    ///
    /// # Errors
    /// When the key stands for another order, or the order names what does not exist.
    pub fn known(&self, key: &ScopedKey, order: &Order) -> Result<Option<Record>, Refused> {
        match self {
            Bank::Embedded(bank) => bank.known(key, order),
            // One question for all that the database knows: `settle`.
            Bank::Postgres(_) => Ok(None),
        }
    }

    /// As [`known`](Self::known), where that takes a question to another process: for orders that other services
    /// are asked about before they are settled.
    ///
    /// # Errors
    /// As [`known`](Self::known).
    pub async fn known_elsewhere(&self, key: &ScopedKey, order: &Order) -> Result<Option<Record>, Refused> {
        match self {
            Bank::Embedded(_) => Ok(None),
            Bank::Postgres(bank) => bank.known(key, order).await,
        }
    }

    /// Makes the payment, once for its key; waits until it is durable.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn settle(&self, asked: Asked) -> Result<Settled, Refused> {
        match self {
            Bank::Embedded(bank) => bank.settle(asked).await,
            Bank::Postgres(bank) => bank.settle(asked).await,
        }
    }

    /// Opens the next account.
    ///
    /// # Errors
    /// [`NotOpened`]
    pub async fn open(&self, currency: Currency, opening: i64) -> Result<(AccountId, Account), NotOpened> {
        match self {
            Bank::Embedded(bank) => bank.open(currency, opening).await,
            Bank::Postgres(bank) => bank.open(currency, opening).await,
        }
    }

    /// The account `id`, if it was opened, with payment `seen` at least when it is one of its.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn account(&self, id: AccountId, seen: u64) -> Result<Option<Held>, BankError> {
        match self {
            Bank::Embedded(bank) => Ok(bank.account(id)),
            Bank::Postgres(bank) => bank.account(id, seen).await,
        }
    }

    /// The payment with number `seq`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn payment(&self, seq: u64) -> Result<Option<Record>, BankError> {
        match self {
            Bank::Embedded(bank) => bank.payment(seq),
            Bank::Postgres(bank) => bank.payment(seq).await,
        }
    }

    /// What `key` stands for.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn by_key(&self, key: &ScopedKey) -> Result<Option<Record>, BankError> {
        match self {
            Bank::Embedded(bank) => bank.by_key(key),
            Bank::Postgres(bank) => bank.by_key(key).await,
        }
    }

    /// Up to `limit` payments of `account`, newest first, from the one behind `after` on; `None` when
    /// that is none of the account's. From the beginning it shows payment `seen` at least, when that is one of
    /// the account's.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(
        &self,
        account: AccountId,
        after: Option<u64>,
        limit: usize,
        seen: u64,
    ) -> Result<Option<Page>, BankError> {
        match self {
            Bank::Embedded(bank) => bank.list(account, after, limit).await,
            Bank::Postgres(bank) => bank.list(account, after, limit, seen).await,
        }
    }

    /// Totals that must hold, and with `recount` whether every row does; `turn` is kept for as long as that takes.
    /// [`Refused`] when nobody takes the question.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn audit(
        &self,
        recount: bool,
        turn: OwnedSemaphorePermit,
    ) -> Result<Result<Audited, Refused>, BankError> {
        match self {
            Bank::Embedded(bank) => bank.audit(recount, turn).await,
            Bank::Postgres(bank) => bank.audit(recount, turn).await.map(Ok),
        }
    }

    /// Whether it takes orders, and in figures.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        match self {
            Bank::Embedded(bank) => bank.health(),
            Bank::Postgres(bank) => bank.health(),
        }
    }

    /// What takes connections away from payments, where they need any.
    #[must_use]
    pub fn starve(&self) -> Option<Starve> {
        match self {
            Bank::Embedded(_) => None,
            Bank::Postgres(bank) => Some(starve::starve(bank.payments_pools())),
        }
    }
}
