//! The store in this process.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Asked, Audited, BankError, Held, NotOpened, Page, Refused, Settled, StoreHealth, Sums};
use crate::idempotency::ScopedKey;
use crate::ids::AccountId;
use crate::ledger::Account;
use crate::money::Currency;
use crate::record::{Order, Record};
use crate::store::Store;
use crate::writer::{Board, Command, NotQueued, Pay, Queue, WriterSettings};

/// The way to the writer, and rows for reading.
#[derive(Debug)]
pub struct Embedded {
    /// Rows, for reading.
    pub store: Store,
    /// The way to the writer.
    pub queue: Queue,
    /// The state as of the last commit.
    pub board: Arc<Board>,
    /// What the writer keeps to.
    pub settings: WriterSettings,
}

impl From<NotQueued> for Refused {
    fn from(e: NotQueued) -> Self {
        match e {
            NotQueued::Full => Refused::Full,
            NotQueued::Ended => Refused::Failed,
        }
    }
}

impl Embedded {
    /// What is known of `key`, and whether `order` makes sense.
    ///
    /// # Errors
    /// When the key stands for another order, or the order names what does not exist.
    pub fn known(&self, key: &ScopedKey, order: &Order) -> Result<Option<Record>, Refused> {
        let known = self.store.by_key(key).map_err(|error| {
            tracing::error!(%error, "the store cannot be read");
            Refused::Failed
        })?;
        match known {
            Some(record) if record.order == *order => Ok(Some(record)),
            Some(_) => Err(Refused::KeyReused),
            None => self.check(order).map(|()| None),
        }
    }

    /// Both accounts exist and hold the currency.
    fn check(&self, order: &Order) -> Result<(), Refused> {
        let view = self.board.read();
        for (param, id) in [("from", order.from), ("to", order.to)] {
            let account = view.account(id).ok_or(Refused::NoAccount { param, id })?;
            if account.currency != order.currency {
                return Err(Refused::OtherCurrency { id, holds: account.currency });
            }
        }
        Ok(())
    }

    /// Makes the payment; waits until it is durable.
    ///
    /// # Errors
    /// [`Refused::Full`], [`Refused::Failed`].
    pub async fn settle(&self, asked: Asked) -> Result<Settled, Refused> {
        let Asked { order, declined, claim, request_id, trace } = asked;
        let (reply, replied) = oneshot::channel();
        self.queue.offer(Command::Pay(Pay { order, declined, claim, request_id, trace, reply }))?;
        // An answer that never comes means that the store has failed with the command in hand.
        let record = replied.await.map_err(|_| Refused::Failed)?;
        Ok(Settled { record, replayed: false })
    }

    /// Opens the next account.
    ///
    /// # Errors
    /// [`NotOpened`]
    pub async fn open(&self, currency: Currency, opening: i64) -> Result<(AccountId, Account), NotOpened> {
        let (reply, replied) = oneshot::channel();
        let command = Command::Open { currency, opening, reply };
        self.queue.offer(command).map_err(|e| NotOpened::Store(e.into()))?;
        let opened = replied.await.map_err(|_| NotOpened::Store(Refused::Failed))?;
        let id = opened.map_err(NotOpened::Refused)?;
        let account = self.board.read().account(id).copied();
        account.map(|account| (id, account)).ok_or(NotOpened::Store(Refused::Failed))
    }

    /// The account `id`, if it was opened.
    #[must_use]
    pub fn account(&self, id: AccountId) -> Option<Held> {
        let view = self.board.read();
        Some(Held { account: *view.account(id)?, as_of_seq: view.totals.payments })
    }

    /// The payment with number `seq`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn payment(&self, seq: u64) -> Result<Option<Record>, BankError> {
        Ok(self.store.payment(seq)?.map(|row| row.record(seq)))
    }

    /// What `key` stands for.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn by_key(&self, key: &ScopedKey) -> Result<Option<Record>, BankError> {
        Ok(self.store.by_key(key)?)
    }

    /// Up to `limit` payments of `account`, newest first, from the one behind `after` on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(
        &self,
        account: AccountId,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Option<Page>, BankError> {
        let newest = self.board.read().account(account).map_or(0, |a| a.last_seq);
        let store = self.store.clone();
        // Up to a hundred reads, some of them from disk: not on a thread that serves requests.
        let walked = tokio::task::spawn_blocking(move || walk(&store, account, newest, after, limit));
        walked.await.map_err(|_| BankError::Row("payments"))?
    }

    /// Totals that must hold, and with `recount` whether every row does; `turn` is kept for as long as that takes.
    ///
    /// # Errors
    /// When the writer takes no more, or the store cannot be read.
    pub async fn audit(
        &self,
        recount: bool,
        turn: OwnedSemaphorePermit,
    ) -> Result<Result<Audited, Refused>, BankError> {
        let mut audited = self.totals();
        if recount {
            let (reply, replied) = oneshot::channel();
            if let Err(e) = self.queue.offer(Command::Cut(reply)) {
                return Ok(Err(e.into()));
            }
            let Ok(cut) = replied.await else { return Ok(Err(Refused::Failed)) };
            let store = self.store.clone();
            let counted = tokio::task::spawn_blocking(move || {
                let found = store.recount(&cut);
                drop(turn);
                found
            });
            audited.recount = Some(counted.await.map_err(|_| BankError::Row("payments"))??);
        }
        Ok(Ok(audited))
    }

    fn totals(&self) -> Audited {
        let view = self.board.read();
        let totals = &view.totals;
        let mut audited = Audited {
            payments: totals.payments,
            declines: totals.declines,
            keys: totals.keys(),
            highest_seq: totals.payments,
            accounts: view.accounts.len(),
            ..Audited::default()
        };
        let currencies = &mut audited.currencies;
        for account in &view.accounts {
            let sums = match currencies.get_mut(account.currency.code()) {
                Some(sums) => sums,
                None => currencies.entry(account.currency.to_string()).or_default(),
            };
            sums.balances += i128::from(account.balance);
            sums.world -= i128::from(account.opening);
        }
        for volume in &totals.volumes {
            let sums: &mut Sums = currencies.entry(volume.currency.to_string()).or_default();
            (sums.debits, sums.credits) = (volume.debits, volume.credits);
        }
        audited
    }

    /// Keys that are kept, and when the oldest was taken, in milliseconds since the Unix epoch; 0 when
    /// none is kept.
    #[must_use]
    pub fn keys(&self) -> (u64, u64) {
        (self.board.read().totals.keys(), self.board.oldest_key_ms.load(Relaxed))
    }

    /// Whether it takes orders, and in figures.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        let view = self.board.read();
        StoreHealth {
            ok: self.board.healthy.load(Relaxed),
            queue_depth: self.queue.depth(),
            queue_limit: self.settings.queue_limit,
            commits: self.board.commits.load(Relaxed),
            payments: view.totals.payments,
            declines: view.totals.declines,
            accounts: view.accounts.len(),
            last_sync_us: self.board.last_sync_us.load(Relaxed),
        }
    }
}

/// Follows the account's links from its newest payment, or from the one after `after`.
fn walk(
    store: &Store,
    account: AccountId,
    newest: u64,
    after: Option<u64>,
    limit: usize,
) -> Result<Option<Page>, BankError> {
    let mut next = newest;
    if let Some(seq) = after {
        let before = store.payment(seq)?.and_then(|row| row.prev_of(account));
        let Some(before) = before else { return Ok(None) };
        next = before;
    }
    let mut records = Vec::new();
    while records.len() < limit && next > 0 {
        let row = store.payment(next)?.ok_or(BankError::Row("payments"))?;
        records.push(row.record(next));
        next = row.prev_of(account).ok_or(BankError::Row("payments"))?;
    }
    Ok(Some(Page { records, has_more: next > 0 }))
}
