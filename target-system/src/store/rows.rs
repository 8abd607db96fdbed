//! Rows as bytes, on disk and in the journal's frames: fixed fields, big-endian, behind a format byte; variable ones last.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `payments` | seq | order, time, both accounts' payment before, idempotency key |
//! | `declines` | decline number | order, time, reason, idempotency key |
//! | `keys` | caller, 0, key | whether a payment or a decline, its number |
//! | `accounts` | account | currency, opening, balance, last payment included |
//! | `meta` | `ledger` | counters as of the commit |
//!
//! A payment's row links to the payment before it of each of its accounts, so the list of an
//! account's payments is a walk along the links and needs no index rows.

use crate::decline::Decline;
use crate::idempotency::ScopedKey;
use crate::ids::AccountId;
use crate::ledger::{Account, Links, Volume};
use crate::money::Currency;
use crate::record::{Order, Record, Verdict};

/// The first byte of every value. A change of any layout below changes it.
const FORMAT: u8 = 1;

/// A row of `payments`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRow {
    /// What was asked.
    pub order: Order,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The payments before it.
    pub links: Links,
    /// Under which key it was asked.
    pub key: ScopedKey,
}

/// A row of `declines`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclineRow {
    /// What was asked.
    pub order: Order,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Why it was declined.
    pub why: Decline,
    /// Under which key it was asked.
    pub key: ScopedKey,
}

/// What a key stands for: a row of `keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRow {
    /// The payment with this commit number.
    Payment(u64),
    /// The decline with this number.
    Decline(u64),
}

/// The counters of one commit: the row of `meta`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// Every account's row includes every payment up to this one.
    pub saved_seq: u64,
    /// Declines so far.
    pub declines: u64,
    /// The keys of the payments up to this one have been removed.
    pub freed_payments: u64,
    /// The keys, and rows, of the declines up to this one have been removed.
    pub freed_declines: u64,
    /// When the commit was, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What all payments come to.
    pub volumes: Vec<Volume>,
}

impl PaymentRow {
    /// With its commit number, what an answer is made of.
    #[must_use]
    pub fn record(&self, seq: u64) -> Record {
        Record { order: self.order, verdict: Verdict::Succeeded { seq }, created_ms: self.created_ms }
    }

    /// The payment before it of `account`, 0 when there is none; `None` when the account has no
    /// part in it.
    #[must_use]
    pub fn prev_of(&self, account: AccountId) -> Option<u64> {
        match account {
            a if a == self.order.from => Some(self.links.from_prev),
            a if a == self.order.to => Some(self.links.to_prev),
            _ => None,
        }
    }

    pub(super) fn encode(&self, row: &mut Vec<u8>) {
        order_head(row, &self.order, self.created_ms);
        row.extend_from_slice(&self.links.from_prev.to_be_bytes());
        row.extend_from_slice(&self.links.to_prev.to_be_bytes());
        row.extend_from_slice(self.key.as_bytes());
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let mut r = Reader::new(row)?;
        let (order, created_ms) = r.order_head()?;
        let links = Links { from_prev: r.u64()?, to_prev: r.u64()? };
        Some(Self { order, created_ms, links, key: ScopedKey::from_row(r.0) })
    }
}

impl DeclineRow {
    /// What an answer is made of.
    #[must_use]
    pub fn record(&self) -> Record {
        Record {
            order: self.order,
            verdict: Verdict::Declined { why: self.why },
            created_ms: self.created_ms,
        }
    }

    pub(super) fn encode(&self, row: &mut Vec<u8>) {
        order_head(row, &self.order, self.created_ms);
        row.push(self.why as u8);
        row.extend_from_slice(self.key.as_bytes());
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let mut r = Reader::new(row)?;
        let (order, created_ms) = r.order_head()?;
        let why = Decline::from_number(r.take::<1>()?[0])?;
        Some(Self { order, created_ms, why, key: ScopedKey::from_row(r.0) })
    }
}

impl KeyRow {
    pub(super) fn encode(self) -> [u8; 10] {
        let (kind, number) = match self {
            KeyRow::Payment(seq) => (1, seq),
            KeyRow::Decline(number) => (2, number),
        };
        let mut row = [0; 10];
        row[..2].copy_from_slice(&[FORMAT, kind]);
        row[2..].copy_from_slice(&number.to_be_bytes());
        row
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let mut r = Reader::new(row)?;
        let kind = r.take::<1>()?[0];
        let number = r.u64()?;
        match kind {
            _ if !r.0.is_empty() => None,
            1 => Some(KeyRow::Payment(number)),
            2 => Some(KeyRow::Decline(number)),
            _ => None,
        }
    }
}

pub(super) fn encode_account(a: &Account, row: &mut Vec<u8>) {
    row.push(FORMAT);
    row.extend_from_slice(&a.currency.bytes());
    row.extend_from_slice(&a.opening.to_be_bytes());
    row.extend_from_slice(&a.balance.to_be_bytes());
    row.extend_from_slice(&a.last_seq.to_be_bytes());
}

pub(super) fn decode_account(row: &[u8]) -> Option<Account> {
    let mut r = Reader::new(row)?;
    let account =
        Account { currency: r.currency()?, opening: r.i64()?, balance: r.i64()?, last_seq: r.u64()? };
    r.0.is_empty().then_some(account)
}

impl Meta {
    pub(super) fn encode(&self, row: &mut Vec<u8>) {
        row.push(FORMAT);
        for n in [self.saved_seq, self.declines, self.freed_payments, self.freed_declines, self.at_ms] {
            row.extend_from_slice(&n.to_be_bytes());
        }
        for v in &self.volumes {
            row.extend_from_slice(&v.currency.bytes());
            row.extend_from_slice(&v.debits.to_be_bytes());
            row.extend_from_slice(&v.credits.to_be_bytes());
        }
    }

    pub(super) fn decode(row: &[u8]) -> Option<Self> {
        let mut r = Reader::new(row)?;
        let mut meta = Self {
            saved_seq: r.u64()?,
            declines: r.u64()?,
            freed_payments: r.u64()?,
            freed_declines: r.u64()?,
            at_ms: r.u64()?,
            volumes: Vec::new(),
        };
        while !r.0.is_empty() {
            let currency = r.currency()?;
            let (debits, credits) = (i128::from_be_bytes(r.take()?), i128::from_be_bytes(r.take()?));
            meta.volumes.push(Volume { currency, debits, credits });
        }
        Some(meta)
    }
}

fn order_head(row: &mut Vec<u8>, order: &Order, created_ms: u64) {
    row.push(FORMAT);
    row.extend_from_slice(&order.from.0.to_be_bytes());
    row.extend_from_slice(&order.to.0.to_be_bytes());
    row.extend_from_slice(&order.amount.to_be_bytes());
    row.extend_from_slice(&order.currency.bytes());
    row.extend_from_slice(&created_ms.to_be_bytes());
}

/// What `encode` writes, on its own.
pub(super) fn bytes(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut row = Vec::with_capacity(128);
    encode(&mut row);
    row
}

/// Takes fields off the front; `None` when a row is too short or makes no sense.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(row: &'a [u8]) -> Option<Self> {
        row.strip_prefix(&[FORMAT]).map(Reader)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn account(&mut self) -> Option<AccountId> {
        self.take().map(|b| AccountId(u32::from_be_bytes(b)))
    }

    fn currency(&mut self) -> Option<Currency> {
        Currency::parse(std::str::from_utf8(&self.take::<3>()?).ok()?)
    }

    fn order_head(&mut self) -> Option<(Order, u64)> {
        let order = Order {
            from: self.account()?,
            to: self.account()?,
            amount: self.i64()?,
            currency: self.currency()?,
        };
        Some((order, self.u64()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_order() -> impl Strategy<Value = Order> {
        (any::<u32>(), any::<u32>(), any::<i64>()).prop_map(|(f, t, amount)| Order {
            from: AccountId(f),
            to: AccountId(t),
            amount,
            currency: Currency::parse("BHD").unwrap(),
        })
    }

    proptest! {
        #[test]
        fn rows_round_trip(order in any_order(), created_ms: u64, from_prev: u64, to_prev: u64, key in "[!-~]{1,255}") {
            let key = ScopedKey::new("caller", key.as_bytes()).unwrap();
            let links = Links { from_prev, to_prev };
            let p = PaymentRow { order, created_ms, links, key: key.clone() };
            prop_assert_eq!(PaymentRow::decode(&bytes(|row| p.encode(row))), Some(p));
            let d = DeclineRow { order, created_ms, why: Decline::Fraud, key };
            prop_assert_eq!(DeclineRow::decode(&bytes(|row| d.encode(row))), Some(d));
            for k in [KeyRow::Payment(from_prev), KeyRow::Decline(to_prev)] {
                prop_assert_eq!(KeyRow::decode(&k.encode()), Some(k));
            }
            let a = Account { currency: order.currency, opening: order.amount, balance: 5, last_seq: to_prev };
            prop_assert_eq!(decode_account(&bytes(|row| encode_account(&a, row))), Some(a));
            let volumes = vec![Volume { currency: order.currency, debits: -1, credits: i128::MAX }];
            let m = Meta { saved_seq: 1, declines: 2, freed_payments: 3, freed_declines: 4, at_ms: created_ms, volumes };
            prop_assert_eq!(Meta::decode(&bytes(|row| m.encode(row))), Some(m));
        }

        #[test]
        fn no_bytes_panic(row in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (PaymentRow::decode(&row), DeclineRow::decode(&row), KeyRow::decode(&row));
            let _ = (decode_account(&row), Meta::decode(&row));
        }
    }
}
