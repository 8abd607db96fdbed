//! What has been committed and is not yet in the embedded store's tables.
//!
//! The journal has it on disk, this has it in memory. Changes collect in the active segment; a
//! full one is sealed, [`super::settle`] writes it to the tables in the background, and only then
//! it leaves the memory. Whoever looks something up asks the newest segment first, the tables last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::rows::{DeclineRow, KeyRow, Meta, PaymentRow, decode_account, encode_account};
use crate::idempotency::{KeyMap, ScopedKey};
use crate::ids::AccountId;
use crate::ledger::{Account, Links};
use crate::limits::SEGMENT_PAYMENTS;
use crate::money::Currency;
use crate::record::Order;

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A payment with its number and key.
    Payment(u64, PaymentRow),
    /// A decline with its number and key.
    Decline(u64, DeclineRow),
    /// The key of a payment is forgotten.
    PaymentKeyFreed(ScopedKey),
    /// A decline is forgotten with its key: nothing else needs it.
    DeclineFreed(u64, ScopedKey),
    /// An account as it was opened.
    Opened(AccountId, Account),
    /// The counters after the commit.
    Meta(Meta),
}

impl Change {
    /// Appends it to a frame: what it is, a number, a length, a row.
    pub(super) fn encode(&self, frame: &mut Vec<u8>) {
        let (kind, number) = match self {
            Change::Payment(seq, _) => (1, *seq),
            Change::Decline(number, _) => (2, *number),
            Change::PaymentKeyFreed(_) => (3, 0),
            Change::DeclineFreed(number, _) => (4, *number),
            Change::Opened(id, _) => (5, u64::from(id.0)),
            Change::Meta(_) => (6, 0),
        };
        frame.push(kind);
        frame.extend_from_slice(&number.to_be_bytes());
        let length_at = frame.len();
        frame.extend_from_slice(&[0; 2]);
        match self {
            Change::Payment(_, row) => row.encode(frame),
            Change::Decline(_, row) => row.encode(frame),
            Change::PaymentKeyFreed(key) | Change::DeclineFreed(_, key) => {
                frame.extend_from_slice(key.as_bytes());
            }
            Change::Opened(_, account) => encode_account(account, frame),
            Change::Meta(meta) => meta.encode(frame),
        }
        // A row is a few hundred bytes; the counters of every currency there is, six thousand.
        let length = (frame.len() - length_at - 2) as u16;
        frame[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Takes one off the front of a frame's body; `None` when it makes no sense.
    pub(super) fn decode(body: &mut &[u8]) -> Option<Self> {
        let (kind, rest) = body.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (row, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        *body = rest;
        let number = u64::from_be_bytes(*number);
        Some(match kind {
            1 => Change::Payment(number, PaymentRow::decode(row)?),
            2 => Change::Decline(number, DeclineRow::decode(row)?),
            3 => Change::PaymentKeyFreed(ScopedKey::from_row(row)),
            4 => Change::DeclineFreed(number, ScopedKey::from_row(row)),
            5 => Change::Opened(AccountId(u32::try_from(number).ok()?), decode_account(row)?),
            6 => Change::Meta(Meta::decode(row)?),
            _ => return None,
        })
    }
}

/// The changes of some commits in a row, by what they change.
#[derive(Debug, Default)]
pub struct Segment {
    first_seq: u64,
    payments: Vec<PaymentRow>,
    /// `None`: forgotten.
    declines: BTreeMap<u64, Option<DeclineRow>>,
    /// `None`: forgotten.
    keys: KeyMap<Option<KeyRow>>,
    /// The later of two entries counts.
    accounts: Vec<(AccountId, Account)>,
    meta: Option<Meta>,
}

impl Segment {
    /// An empty one with room for all that it may come to hold: growing would hold up readers.
    pub(super) fn with_room() -> Self {
        let mut segment = Self::default();
        // The kernel gives memory when it is written to, and clears it then: a page of two megabytes
        // takes milliseconds, which are not to be a commit's.
        let order = Order {
            from: AccountId(0),
            to: AccountId(0),
            amount: 0,
            currency: Currency::parse("EUR").expect("a currency"),
        };
        let row = PaymentRow {
            order,
            created_ms: 0,
            links: Links { from_prev: 0, to_prev: 0 },
            key: ScopedKey::from_row(b""),
        };
        segment.payments.resize(SEGMENT_PAYMENTS, row);
        segment.keys.reserve(SEGMENT_PAYMENTS);
        for number in 0..SEGMENT_PAYMENTS as u64 {
            segment.keys.insert(ScopedKey::from_row(&number.to_be_bytes()), None);
        }
        segment.clear();
        segment
    }

    /// Empties it and keeps the room.
    pub(super) fn clear(&mut self) {
        self.payments.clear();
        self.declines.clear();
        self.keys.clear();
        self.accounts.clear();
        self.meta = None;
    }

    /// Adds a change. False when it is a payment that does not follow the one before.
    #[must_use]
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Payment(seq, row) => {
                if self.payments.is_empty() {
                    self.first_seq = seq;
                }
                if seq != self.first_seq + self.payments.len() as u64 {
                    return false;
                }
                self.keys.insert(row.key.clone(), Some(KeyRow::Payment(seq)));
                self.payments.push(row);
            }
            Change::Decline(number, row) => {
                self.keys.insert(row.key.clone(), Some(KeyRow::Decline(number)));
                self.declines.insert(number, Some(row));
            }
            Change::PaymentKeyFreed(key) => {
                self.keys.insert(key, None);
            }
            Change::DeclineFreed(number, key) => {
                self.keys.insert(key, None);
                self.declines.insert(number, None);
            }
            Change::Opened(id, account) => self.accounts.push((id, account)),
            Change::Meta(meta) => self.meta = Some(meta),
        }
        true
    }

    /// Whether nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.meta.is_none()
    }

    /// Whether it is time for the next one.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.keys.len() >= SEGMENT_PAYMENTS
    }

    /// The payments, from the lowest number.
    pub fn payments(&self) -> impl Iterator<Item = (u64, &PaymentRow)> {
        (self.first_seq..).zip(&self.payments)
    }

    /// The declines, from the lowest number; `None` stands for one that is forgotten.
    pub fn declines(&self) -> impl Iterator<Item = (u64, Option<&DeclineRow>)> {
        self.declines.iter().map(|(number, row)| (*number, row.as_ref()))
    }

    /// The keys, in no order; `None` stands for one that is forgotten.
    pub fn keys(&self) -> impl Iterator<Item = (&ScopedKey, Option<KeyRow>)> {
        self.keys.iter().map(|(key, row)| (key, *row))
    }

    /// What is known here of `key`: that it is forgotten, or what it stands for.
    #[must_use]
    pub fn key(&self, key: &ScopedKey) -> Option<Option<KeyRow>> {
        self.keys.get(key).copied()
    }

    /// The accounts that were opened or changed; the later of two entries counts.
    #[must_use]
    pub fn accounts(&self) -> &[(AccountId, Account)] {
        &self.accounts
    }

    /// The counters after the last commit here.
    #[must_use]
    pub fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }

    /// Sets which payments the accounts' rows include, as the counters say.
    pub(super) fn set_saved_seq(&mut self, seq: u64) {
        if let Some(meta) = &mut self.meta {
            meta.saved_seq = seq;
        }
    }

    fn payment(&self, seq: u64) -> Option<&PaymentRow> {
        self.payments.get(usize::try_from(seq.checked_sub(self.first_seq)?).ok()?)
    }
}

/// All segments that are in memory.
#[derive(Debug, Default)]
pub struct Segments {
    active: Segment,
    /// The oldest first.
    sealed: VecDeque<Arc<Segment>>,
}

impl Segments {
    fn newest_first(&self) -> impl Iterator<Item = &Segment> {
        std::iter::once(&self.active).chain(self.sealed.iter().rev().map(AsRef::as_ref))
    }

    /// What is known here of `key`: that it is forgotten, or what it stands for.
    #[must_use]
    pub fn key(&self, key: &ScopedKey) -> Option<Option<KeyRow>> {
        self.newest_first().find_map(|s| s.key(key))
    }

    /// The payment `seq`, if it is here.
    #[must_use]
    pub fn payment(&self, seq: u64) -> Option<&PaymentRow> {
        self.newest_first().find_map(|s| s.payment(seq))
    }

    /// What is known here of the decline `number`: that it is forgotten, or its row.
    #[must_use]
    pub fn decline(&self, number: u64) -> Option<Option<&DeclineRow>> {
        self.newest_first().find_map(|s| s.declines.get(&number)).map(Option::as_ref)
    }

    /// The sealed ones, the oldest first.
    #[must_use]
    pub fn sealed(&self) -> Vec<Arc<Segment>> {
        self.sealed.iter().cloned().collect()
    }
}

/// The segments, for every thread.
#[derive(Debug)]
pub struct Recent(RwLock<Segments>);

impl Default for Recent {
    fn default() -> Self {
        Self(RwLock::new(Segments { active: Segment::with_room(), sealed: VecDeque::new() }))
    }
}

impl Recent {
    /// For a look at them. Held for some look-ups, never across a read of the disk.
    pub fn read(&self) -> RwLockReadGuard<'_, Segments> {
        // A panic of the one writer ends all commits.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Segments> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the changes of a commit; whether the active segment is full now.
    pub(super) fn publish(&self, changes: impl Iterator<Item = Change>) -> bool {
        let mut segments = self.write();
        for change in changes {
            let follows = segments.active.apply(change);
            assert!(follows, "the ledger numbers payments without gaps");
        }
        segments.active.is_full()
    }

    /// Segments that are sealed and not in the tables.
    pub(super) fn waiting(&self) -> usize {
        self.read().sealed.len()
    }

    /// Whether the active segment has nothing to seal.
    pub(super) fn is_empty(&self) -> bool {
        self.read().active.is_empty()
    }

    /// Goes on with the `empty` segment. The one until now gets `accounts`, as they are after its last
    /// commit, so that the payments up to `saved_seq` need not be applied to them again.
    pub(super) fn seal(
        &self,
        empty: Segment,
        mut accounts: Vec<(AccountId, Account)>,
        saved_seq: u64,
    ) -> Arc<Segment> {
        let mut segments = self.write();
        let mut full = std::mem::replace(&mut segments.active, empty);
        full.accounts.append(&mut accounts);
        full.set_saved_seq(saved_seq);
        let sealed = Arc::new(full);
        segments.sealed.push_back(Arc::clone(&sealed));
        sealed
    }

    /// The oldest sealed segment is in the tables: nobody looks at it here any more, but who has
    /// begun to.
    pub(super) fn settled(&self) {
        let gone = self.write().sealed.pop_front();
        // Without the lock: it may be the last of it.
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::bytes;
    use super::*;
    use proptest::prelude::*;

    fn key(name: &str) -> ScopedKey {
        ScopedKey::new("caller", name.as_bytes()).unwrap()
    }

    fn payment(name: &str) -> PaymentRow {
        let order = Order {
            from: AccountId(1),
            to: AccountId(2),
            amount: 3,
            currency: Currency::parse("EUR").unwrap(),
        };
        PaymentRow { order, created_ms: 4, links: Links { from_prev: 5, to_prev: 6 }, key: key(name) }
    }

    #[test]
    fn the_newest_word_about_a_key_counts() {
        let recent = Recent::default();
        recent.publish(
            [
                Change::Payment(7, payment("a")),
                Change::Payment(8, payment("b")),
                Change::Meta(Meta::default()),
            ]
            .into_iter(),
        );
        let sealed = recent.seal(Segment::default(), Vec::new(), 8);
        assert_eq!(sealed.meta().unwrap().saved_seq, 8);
        recent.publish([Change::PaymentKeyFreed(key("a")), Change::Payment(9, payment("c"))].into_iter());
        let segments = recent.read();
        assert_eq!(segments.key(&key("a")), Some(None), "forgotten");
        assert_eq!(segments.key(&key("b")), Some(Some(KeyRow::Payment(8))));
        assert_eq!(segments.key(&key("d")), None, "the tables know");
        assert_eq!(segments.payment(7).unwrap().key, key("a"), "its payment stays");
        assert!(
            segments.payment(9).is_some() && segments.payment(6).is_none() && segments.payment(10).is_none()
        );
        drop(segments);
        recent.settled();
        assert!(recent.read().payment(8).is_none());
    }

    #[test]
    fn payments_follow_each_other() {
        let mut segment = Segment::default();
        assert!(segment.apply(Change::Payment(7, payment("a"))));
        assert!(!segment.apply(Change::Payment(9, payment("b"))));
    }

    proptest! {
        #[test]
        fn changes_round_trip(number: u64, id: u32, name in "[!-~]{1,255}") {
            let account = Account { currency: Currency::parse("JPY").unwrap(), opening: 1, balance: 2, last_seq: 3 };
            let decline = DeclineRow { order: payment("a").order, created_ms: 1, why: crate::decline::Decline::Fraud, key: key(&name) };
            let changes = [
                Change::Payment(number, payment(&name)),
                Change::Decline(number, decline),
                Change::PaymentKeyFreed(key(&name)),
                Change::DeclineFreed(number, key(&name)),
                Change::Opened(AccountId(id), account),
                Change::Meta(Meta { declines: number, ..Meta::default() }),
            ];
            let body = bytes(|frame| changes.iter().for_each(|c| c.encode(frame)));
            let mut rest = &body[..];
            for change in changes {
                prop_assert_eq!(Change::decode(&mut rest), Some(change));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut rest = &body[..];
            while Change::decode(&mut rest).is_some() {}
        }
    }
}
