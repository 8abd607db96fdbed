//! The level in the process: a bounded map, asked without any I/O.
//!
//! Whoever reads an account elsewhere to keep it here may be slow, and meanwhile the account may change. So the
//! reader takes a [`Mark`] before, and what it has read is kept only if no payment has been heard of since, or the
//! reading shows it. Marks and what was heard of are per stripe of accounts and never forgotten: entries may
//! be.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::notification::RemovalCause;
use tokio::sync::Mutex;

use super::Change;
use super::lease::Lease;
use super::metrics::CacheMetrics;
use crate::bank::Held;
use crate::ids::AccountId;
use crate::limits::CACHE_STRIPES;

/// The map.
#[derive(Debug)]
pub struct L1 {
    entries: Cache<AccountId, Entry>,
    /// The highest payment known of any account of a stripe. Its lock is held while its accounts' entries change.
    stripes: Box<[Mutex<u64>]>,
    lease: Arc<Lease>,
    metrics: CacheMetrics,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    held: Held,
    /// In which it was cached.
    turn: u64,
}

/// What was known when a reading began.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    /// The turn.
    pub turn: u64,
    highest: u64,
}

impl L1 {
    /// An empty map of at most `entries` accounts, which are kept for `ttl`.
    pub fn new(entries: u64, ttl: Duration, lease: Arc<Lease>, metrics: CacheMetrics) -> Self {
        let evictions = metrics.evictions.clone();
        let entries = Cache::builder()
            .max_capacity(entries)
            .time_to_live(ttl)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    evictions.inc();
                }
            })
            .build();
        Self { entries, stripes: (0..CACHE_STRIPES).map(|_| Mutex::default()).collect(), lease, metrics }
    }

    /// How many accounts there are, about.
    pub fn entries(&self) -> u64 {
        self.entries.entry_count()
    }

    /// The account `id`, if it is here and an answer now.
    pub async fn get(&self, id: AccountId) -> Option<Held> {
        let entry = self.entries.get(&id).await?;
        self.lease.holds(entry.turn).then_some(entry.held)
    }

    /// To be taken before `id` is read elsewhere, in `turn`.
    pub async fn mark(&self, id: AccountId, turn: u64) -> Mark {
        Mark { turn, highest: *self.stripe(id).lock().await }
    }

    /// Keeps `held`, which was read after `mark` was taken, unless it may be old by now.
    pub async fn put(&self, id: AccountId, held: Held, mark: Mark) {
        let mut highest = self.stripe(id).lock().await;
        let seq = held.account.last_seq;
        if (*highest != mark.highest && seq < *highest) || self.lease.turn() != mark.turn {
            self.metrics.stale_refused.inc();
            return;
        }
        *highest = seq.max(*highest);
        self.entries.insert(id, Entry { held, turn: mark.turn }).await;
    }

    /// Takes note of a payment. An account that is here shows it from now on, or is not here any more.
    pub async fn hear(&self, change: Change) {
        let mut highest = self.stripe(change.account).lock().await;
        *highest = change.seq.max(*highest);
        let Some(mut entry) = self.entries.get(&change.account).await else { return };
        if entry.held.account.last_seq >= change.seq {
            return;
        }
        // What is not here stays away: only a reading shows that nothing has happened since.
        if let Some(balance) = change.balance {
            (entry.held.account.balance, entry.held.account.last_seq) = (balance, change.seq);
            entry.held.as_of_seq = change.seq;
            self.entries.insert(change.account, entry).await;
            self.metrics.updated.inc();
        } else {
            self.entries.invalidate(&change.account).await;
            self.metrics.removed.inc();
        }
    }

    /// Lets go of everything. What is here is of a turn that is over.
    pub fn clear(&self) {
        self.entries.invalidate_all();
    }

    fn stripe(&self, id: AccountId) -> &Mutex<u64> {
        &self.stripes[id.0 as usize % self.stripes.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Account;
    use crate::money::Currency;

    const ID: AccountId = AccountId(7);
    /// Of the same stripe.
    const OTHER: AccountId = AccountId(7 + CACHE_STRIPES as u32);

    fn at(seq: u64) -> Held {
        let currency = Currency::parse("EUR").unwrap();
        let account = Account { currency, opening: 0, balance: seq as i64 * 100, last_seq: seq };
        Held { account, as_of_seq: seq }
    }

    fn l1() -> L1 {
        let lease = Arc::new(Lease::default());
        lease.renew(u64::MAX / 2);
        L1::new(100, Duration::from_secs(60), lease, CacheMetrics::default())
    }

    async fn seq(l1: &L1) -> Option<u64> {
        let held = l1.get(ID).await?;
        assert_eq!(held.account.balance, held.as_of_seq as i64 * 100);
        assert_eq!(held.account.last_seq, held.as_of_seq);
        Some(held.as_of_seq)
    }

    fn change(account: AccountId, seq: u64) -> Change {
        Change { account, seq, balance: Some(seq as i64 * 100) }
    }

    #[tokio::test]
    async fn what_was_read_before_a_payment_was_heard_of_is_not_kept() {
        let l1 = l1();
        let mark = l1.mark(ID, 0).await;
        l1.hear(change(ID, 6)).await;
        assert_eq!(seq(&l1).await, None, "what is not here is not put here by a payment");
        l1.put(ID, at(5), mark).await;
        assert_eq!(seq(&l1).await, None);
        assert_eq!(l1.metrics.stale_refused.get(), 1);
        l1.put(ID, at(6), mark).await;
        assert_eq!(seq(&l1).await, Some(6));
        // Also when the entry that showed it is gone.
        let mark = l1.mark(ID, 0).await;
        l1.hear(change(ID, 8)).await;
        l1.entries.invalidate(&ID).await;
        l1.put(ID, at(7), mark).await;
        assert_eq!(seq(&l1).await, None);
    }

    #[tokio::test]
    async fn a_payment_of_another_account_does_not_spoil_a_reading_that_began_behind_it() {
        let l1 = l1();
        l1.hear(change(OTHER, 9)).await;
        let mark = l1.mark(ID, 0).await;
        l1.put(ID, at(3), mark).await;
        assert_eq!(seq(&l1).await, Some(3));
    }

    #[tokio::test]
    async fn a_newer_balance_is_never_replaced_by_an_older_one() {
        let l1 = l1();
        let mark = l1.mark(ID, 0).await;
        l1.put(ID, at(5), mark).await;
        l1.hear(change(ID, 7)).await;
        l1.hear(change(ID, 6)).await;
        assert_eq!(seq(&l1).await, Some(7));
        l1.put(ID, at(5), mark).await;
        assert_eq!(seq(&l1).await, Some(7));
        l1.hear(Change { balance: None, ..change(ID, 7) }).await;
        assert_eq!(seq(&l1).await, Some(7), "it shows that payment already");
        l1.hear(Change { balance: None, ..change(ID, 8) }).await;
        assert_eq!(seq(&l1).await, None);
        // Two who read at once: the slower one has read less.
        let mark = l1.mark(ID, 0).await;
        l1.put(ID, at(10), mark).await;
        l1.put(ID, at(9), mark).await;
        assert_eq!(seq(&l1).await, Some(10));
    }

    #[tokio::test]
    async fn an_entry_of_another_turn_is_no_answer() {
        let l1 = l1();
        let mark = l1.mark(ID, 0).await;
        l1.put(ID, at(5), mark).await;
        l1.lease.end();
        l1.lease.renew(u64::MAX / 2);
        assert_eq!(seq(&l1).await, None);
        l1.put(ID, at(5), mark).await;
        assert_eq!(seq(&l1).await, None, "it was read in the turn before");
    }
}
