//! The writer's end of the store: a batch becomes durable, then visible.

use crossbeam_channel::{Receiver, Sender};

use super::journal::{self, HEAD_BYTES, SegmentFile};
use super::keyspaces::{Store, StoreError};
use super::recent::Change;
use super::rows::{DeclineRow, Meta, PaymentRow};
use super::settle::{self, Settler, Spare, Work};
use crate::idempotency::ScopedKey;
use crate::ids::AccountId;
use crate::ledger::{Account, Ledger};
use crate::limits::SEGMENT_BYTES;

/// The changes of one commit: all of them become durable, or none.
#[derive(Debug, Default)]
pub struct Batch(Vec<Change>);

impl Batch {
    /// An empty one with room for so many changes.
    #[must_use]
    pub fn with_room(changes: usize) -> Self {
        Self(Vec::with_capacity(changes))
    }

    /// A payment with its key.
    pub fn payment(&mut self, seq: u64, row: PaymentRow) {
        self.0.push(Change::Payment(seq, row));
    }

    /// A decline with its key.
    pub fn decline(&mut self, number: u64, row: DeclineRow) {
        self.0.push(Change::Decline(number, row));
    }

    /// An account that was opened.
    pub fn opened(&mut self, id: AccountId, account: Account) {
        self.0.push(Change::Opened(id, account));
    }

    /// The key of a payment is forgotten.
    pub fn free_payment_key(&mut self, key: ScopedKey) {
        self.0.push(Change::PaymentKeyFreed(key));
    }

    /// A decline is forgotten with its key: nothing else needs it.
    pub fn free_decline(&mut self, number: u64, key: ScopedKey) {
        self.0.push(Change::DeclineFreed(number, key));
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The one way to write. Dropping it ends the thread behind it without waiting.
#[derive(Debug)]
pub struct Journal {
    store: Store,
    active: SegmentFile,
    commit: u64,
    frame: Vec<u8>,
    work: Sender<Work>,
    spares: Receiver<Spare>,
    /// Whether the next segment is made or being made.
    spare_asked: bool,
    settler: Settler,
    /// Whether the active segment has all that it may hold.
    full: bool,
}

impl Journal {
    /// A new journal for a store whose leftovers are settled.
    ///
    /// # Errors
    /// When no segment or no thread can be made.
    pub fn start(store: &Store) -> Result<Self, StoreError> {
        let (settler, work, spares) = settle::start(store)?;
        work.send(Work::Make).map_err(|_| StoreError::Behind)?;
        // The memory of the first one is there from the beginning.
        let first = spares.recv().map_err(|_| StoreError::Behind)?;
        Ok(Self {
            store: store.clone(),
            active: first.file,
            commit: 0,
            frame: Vec::new(),
            work,
            spares,
            spare_asked: false,
            settler,
            full: false,
        })
    }

    /// Returns when every change is on disk (`fdatasync` of the segment) and visible; `meta` are
    /// the counters then.
    ///
    /// # Errors
    /// When that is not known. The changes may or may not be there after a restart; no further
    /// commit may be tried.
    pub fn commit(&mut self, mut batch: Batch, meta: Meta) -> Result<(), StoreError> {
        if self.settler.has_ended() {
            return Err(StoreError::Behind);
        }
        batch.0.push(Change::Meta(meta));
        self.frame.clear();
        self.frame.resize(HEAD_BYTES, 0);
        for change in &batch.0 {
            change.encode(&mut self.frame);
        }
        self.commit += 1;
        self.active.append(self.commit, &mut self.frame)?;
        let full = self.store.recent.publish(batch.0.into_iter());
        self.full = full || self.active.end() >= SEGMENT_BYTES;
        // In good time, and not for a service that is hardly used.
        if self.active.end() >= SEGMENT_BYTES / 8 {
            self.ask_for_spare()?;
        }
        Ok(())
    }

    fn ask_for_spare(&mut self) -> Result<(), StoreError> {
        if !std::mem::replace(&mut self.spare_asked, true) {
            self.work.send(Work::Make).map_err(|_| StoreError::Behind)?;
        }
        Ok(())
    }

    /// Whether it is time to [`seal`](Self::seal).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Hands what has been committed to the thread behind, with the accounts of `ledger` whose rows
    /// are older, and begins another segment. Waits while that thread is too far behind.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn seal(&mut self, ledger: &mut Ledger) -> Result<(), StoreError> {
        if self.store.recent.is_empty() {
            return Ok(());
        }
        self.ask_for_spare()?;
        let spare = self.spares.recv().map_err(|_| StoreError::Behind)?;
        // The one after comes first, so that it is there while the full one is being settled: two
        // may be full before commits wait.
        self.spare_asked = false;
        self.ask_for_spare()?;
        let segment = self.store.recent.seal(spare.memory, ledger.take_unsaved(), ledger.seq());
        let full = std::mem::replace(&mut self.active, spare.file);
        self.full = false;
        let settle = Work::Settle(segment, full.path().to_owned());
        self.work.send(settle).map_err(|_| StoreError::Behind)
    }

    /// Moves everything to the tables, so that the next start finds an empty journal.
    ///
    /// # Errors
    /// When that fails. Nothing is lost: the journal has it.
    pub fn end(mut self, ledger: &mut Ledger) -> Result<(), StoreError> {
        self.seal(ledger)?;
        drop((self.work, self.spares));
        self.settler.join()?;
        // What was never written to.
        journal::segments(&self.store.journal)?.iter().try_for_each(|path| journal::remove(path))?;
        Ok(journal::remove_retired(&self.store.journal)?)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::recount::Cut;
    use super::*;
    use crate::decline::Decline;
    use crate::money::Currency;
    use crate::record::{Order, Record, Verdict};
    use crate::writer::Totals;

    /// A writer without its threads.
    struct Books {
        store: Store,
        journal: Journal,
        ledger: Ledger,
        meta: Meta,
    }

    fn key(name: &str) -> ScopedKey {
        ScopedKey::new("caller", name.as_bytes()).unwrap()
    }

    impl Books {
        fn open(folder: &Path) -> Self {
            let store = Store::open(folder).unwrap();
            let mut found = store.recover().unwrap();
            store.open_accounts(&mut found, 5, Currency::parse("EUR").unwrap(), 1_000).unwrap();
            let journal = Journal::start(&store).unwrap();
            Self { store, journal, ledger: found.ledger, meta: found.meta }
        }

        /// One commit with a payment or decline, and now and then a freed key or a new account.
        fn commit(&mut self, n: u64) -> (String, Record) {
            let from = AccountId((n % 5) as u32 + 1);
            // Also to the account that was opened last: it is the one that must not be opened again.
            let last = AccountId(self.ledger.accounts() as u32);
            let to = if n.is_multiple_of(3) && last != from { last } else { AccountId(from.0 % 5 + 1) };
            let order =
                Order { from, to, amount: n as i64 % 17 + 1, currency: Currency::parse("EUR").unwrap() };
            let (name, mut batch) = (format!("k{n}"), Batch::default());
            let created_ms = n;
            let (seq, links) = self.ledger.transfer(&order).expect("the amounts are small");
            batch.payment(seq, PaymentRow { order, created_ms, links, key: key(&name) });
            let verdict = Verdict::Succeeded { seq };
            if n.is_multiple_of(11) {
                let (id, currency) = (self.ledger.open(order.currency, 10).unwrap(), order.currency);
                batch.opened(id, Account { currency, opening: 10, balance: 10, last_seq: 0 });
            }
            self.write(batch);
            (name, Record { order, verdict, created_ms })
        }

        fn decline(&mut self, n: u64, order: Order) -> (String, Record) {
            let (name, why, mut batch) = (format!("k{n}"), Decline::Fraud, Batch::default());
            self.meta.declines += 1;
            batch.decline(self.meta.declines, DeclineRow { order, created_ms: n, why, key: key(&name) });
            self.write(batch);
            (name, Record { order, verdict: Verdict::Declined { why }, created_ms: n })
        }

        /// Forgets the oldest payment's key and the oldest decline.
        fn free(&mut self) -> [ScopedKey; 2] {
            let mut batch = Batch::default();
            self.meta.freed_payments += 1;
            self.meta.freed_declines += 1;
            let payment = self.store.payment(self.meta.freed_payments).unwrap().unwrap().key;
            let decline = self.store.decline(self.meta.freed_declines).unwrap().unwrap().key;
            batch.free_payment_key(payment.clone());
            batch.free_decline(self.meta.freed_declines, decline.clone());
            self.write(batch);
            [payment, decline]
        }

        fn write(&mut self, batch: Batch) {
            self.meta.volumes = self.ledger.volumes().to_vec();
            self.journal.commit(batch, self.meta.clone()).unwrap();
        }

        fn assert_sound(&mut self) {
            self.journal.seal(&mut self.ledger).unwrap();
            let m = &self.meta;
            let totals = Totals {
                payments: self.ledger.seq(),
                declines: m.declines,
                freed_payments: m.freed_payments,
                freed_declines: m.freed_declines,
                volumes: self.ledger.volumes().to_vec(),
            };
            let accounts = self.ledger.iter().map(|(_, a)| *a).collect();
            let cut = Cut { accounts, totals, rows: self.store.rows() };
            let found = self.store.recount(&cut).unwrap();
            assert!(found.sound && found.keys == cut.totals.keys(), "{found:?}");
        }

        fn end(mut self) {
            self.journal.end(&mut self.ledger).unwrap();
        }

        /// Ends as a crash does: what was committed is in the journal, or was sealed.
        fn crash(self) {
            let Journal { work, spares, settler, .. } = self.journal;
            drop((work, spares));
            settler.join().unwrap();
        }
    }

    #[test]
    fn what_is_committed_is_found_whatever_has_been_moved_and_wherever_it_crashed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        let mut numbers = 1u64..;
        for round in 0..3 {
            let mut books = Books::open(folder.path());
            for step in 0..60u64 {
                let n = numbers.next().unwrap();
                if step % 4 == 3 {
                    let order = kept.last().map(|(_, record): &(String, Record)| record.order).unwrap();
                    kept.push(books.decline(n, order));
                } else {
                    kept.push(books.commit(n));
                }
                if step % 10 == 9 {
                    gone.extend(books.free());
                }
                if step % 25 == 24 {
                    books.journal.seal(&mut books.ledger).unwrap();
                }
                if step == 40 {
                    books.assert_sound();
                }
            }
            kept.retain(|(name, _)| !gone.contains(&key(name)));
            let before: Vec<_> = books.ledger.iter().map(|(_, a)| *a).collect();
            let seq = books.ledger.seq();
            // A segment that was moved and whose removal did not reach the disk is moved again.
            // Those that vanish meanwhile are older than those that do not.
            let segments = journal::segments(&folder.path().join("journal")).unwrap();
            let copies: Vec<_> =
                segments.iter().filter_map(|path| Some((path, std::fs::read(path).ok()?))).collect();
            match round {
                0 => books.crash(),
                1 => books.end(),
                _ => {
                    books.assert_sound();
                    books.crash();
                }
            }
            for (path, bytes) in copies {
                std::fs::write(path, bytes).unwrap();
            }

            let mut again = Books::open(folder.path());
            assert_eq!(again.ledger.seq(), seq);
            assert!(again.ledger.iter().map(|(_, a)| *a).eq(before), "balances");
            for (name, record) in &kept {
                assert_eq!(again.store.by_key(&key(name)).unwrap().as_ref(), Some(record), "{name}");
            }
            for key in &gone {
                assert_eq!(again.store.by_key(key).unwrap(), None);
            }
            again.assert_sound();
            again.end();
            assert_eq!(std::fs::read_dir(folder.path().join("journal")).unwrap().count(), 0);
        }
    }
}
