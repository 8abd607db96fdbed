//! Whether rows and balances agree: every payment is read again and every balance computed
//! anew, from a snapshot, while the service goes on.

use fjall::Readable as _;
use serde::Serialize;

use super::keyspaces::{Rows, Store, StoreError, decode_payment, number};
use super::rows::{KeyRow, PaymentRow};
use crate::idempotency::ScopedKey;
use crate::ids::AccountId;
use crate::ledger::{Account, Volume};
use crate::writer::Totals;

/// The ledger and the rows as of one commit.
pub struct Cut {
    /// All accounts, account n at n − 1.
    pub accounts: Vec<Account>,
    /// The counters.
    pub totals: Totals,
    /// The rows.
    pub rows: Rows,
}

/// What a recount found. Everything but the first four is zero in a sound ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Recount {
    /// Payments read.
    pub payments: u64,
    /// The highest commit number read.
    pub highest_seq: u64,
    /// Keys read.
    pub keys: u64,
    /// Accounts compared.
    pub accounts: u64,
    /// Commit numbers without a payment.
    pub missing_payments: u64,
    /// Accounts whose balance is not opening + credits − debits.
    pub wrong_balances: u64,
    /// Accounts that were ever below zero.
    pub overdrawn_accounts: u64,
    /// Payments that do not link to their accounts' payments before.
    pub broken_links: u64,
    /// Currencies of which the payments come to something else than the counters say.
    pub wrong_volumes: u64,
    /// Payments between accounts that do not exist, to themselves, or of no positive amount.
    pub impossible_payments: u64,
    /// Keys that stand for no payment or decline within the window.
    pub stray_keys: u64,
    /// Payments or declines within the window without a key, or two with the same.
    pub missing_keys: u64,
    /// Payments between databases that only one of the two knows, or that are not the same in both.
    pub unmatched_transfers: u64,
    /// Whether nothing was found wrong.
    pub sound: bool,
}

impl Recount {
    /// Says whether nothing was found wrong.
    pub fn judge(&mut self) {
        let wrong = [
            self.missing_payments,
            self.wrong_balances,
            self.overdrawn_accounts,
            self.broken_links,
            self.wrong_volumes,
            self.impossible_payments,
            self.stray_keys,
            self.missing_keys,
            self.unmatched_transfers,
        ];
        self.sound = wrong == [0; 9];
    }

    /// This and what `other` has found, in another database.
    pub fn add(&mut self, other: &Recount) {
        self.payments += other.payments;
        self.highest_seq = self.highest_seq.max(other.highest_seq);
        self.keys += other.keys;
        self.accounts += other.accounts;
        self.missing_payments += other.missing_payments;
        self.wrong_balances += other.wrong_balances;
        self.overdrawn_accounts += other.overdrawn_accounts;
        self.broken_links += other.broken_links;
        self.wrong_volumes += other.wrong_volumes;
        self.impossible_payments += other.impossible_payments;
        self.stray_keys += other.stray_keys;
        self.missing_keys += other.missing_keys;
        self.unmatched_transfers += other.unmatched_transfers;
        self.judge();
    }
}

impl Store {
    /// Reads everything as of `cut`. Takes a second for some million payments.
    ///
    /// # Errors
    /// When the store cannot be read or a row is damaged.
    pub fn recount(&self, cut: &Cut) -> Result<Recount, StoreError> {
        let mut books = Books::new(cut);
        let sealed = || cut.rows.sealed.iter().flat_map(|segment| segment.payments());
        let first_sealed = sealed().next().map_or(u64::MAX, |(seq, _)| seq);
        for guard in cut.rows.tables.range(&self.payments, ..first_sealed.to_be_bytes()) {
            let (key, row) = guard.into_inner()?;
            let seq = number(&key, "payments")?;
            books.enter(seq, &decode_payment(seq, &row)?);
        }
        sealed().for_each(|(seq, row)| books.enter(seq, row));
        let mut found = books.close(cut);
        self.recount_keys(cut, &mut found)?;
        found.judge();
        found.sound &= found.payments == cut.totals.payments;
        Ok(found)
    }

    /// Every payment within the window must have its own key: as many keys as payments and
    /// declines, each standing for another one.
    fn recount_keys(&self, cut: &Cut, found: &mut Recount) -> Result<(), StoreError> {
        let t = &cut.totals;
        let mut payments = Marks::new(t.freed_payments, t.payments);
        let mut declines = Marks::new(t.freed_declines, t.declines);
        let mut count = |row: Option<KeyRow>| {
            found.keys += 1;
            let fresh = match row {
                Some(KeyRow::Payment(seq)) => payments.mark(seq),
                Some(KeyRow::Decline(number)) => declines.mark(number),
                None => false,
            };
            found.stray_keys += u64::from(!fresh);
        };
        // The newest word about a key counts, and the segments' words are newer than the tables'.
        let sealed = &cut.rows.sealed;
        for guard in cut.rows.tables.iter(&self.keys) {
            let (key, row) = guard.into_inner()?;
            let key = ScopedKey::from_row(&key);
            if sealed.iter().all(|segment| segment.key(&key).is_none()) {
                count(KeyRow::decode(&row));
            }
        }
        for (at, segment) in sealed.iter().enumerate() {
            let newest = |key: &ScopedKey| sealed[at + 1..].iter().all(|newer| newer.key(key).is_none());
            segment.keys().filter(|(key, row)| row.is_some() && newest(key)).for_each(|(_, row)| count(row));
        }
        found.missing_keys = payments.unmarked() + declines.unmarked();
        Ok(())
    }
}

/// Balances and volumes, entered payment by payment.
struct Books {
    found: Recount,
    /// Of account n at n − 1: the balance, and the last payment.
    balances: Vec<(i64, u64)>,
    overdrawn: Vec<bool>,
    volumes: Vec<Volume>,
}

impl Books {
    fn new(cut: &Cut) -> Self {
        Self {
            found: Recount { accounts: cut.accounts.len() as u64, ..Recount::default() },
            balances: cut.accounts.iter().map(|a| (a.opening, 0)).collect(),
            overdrawn: vec![false; cut.accounts.len()],
            volumes: Vec::new(),
        }
    }

    fn enter(&mut self, seq: u64, row: &PaymentRow) {
        let Self { found, balances, overdrawn, volumes } = self;
        found.payments += 1;
        found.missing_payments += seq.saturating_sub(found.highest_seq + 1);
        found.highest_seq = seq;
        let order = row.order;
        let (from, to) = (slot(order.from), slot(order.to));
        let known = |i: Option<usize>| i.is_some_and(|i| i < balances.len());
        if !known(from) || !known(to) || from == to || order.amount <= 0 {
            found.impossible_payments += 1;
            return;
        }
        let at = volumes.iter().position(|v| v.currency == order.currency).unwrap_or_else(|| {
            volumes.push(Volume { currency: order.currency, debits: 0, credits: 0 });
            volumes.len() - 1
        });
        let changes = [(from, -order.amount, row.links.from_prev), (to, order.amount, row.links.to_prev)];
        for (i, change, prev) in changes.into_iter().filter_map(|(i, c, p)| Some((i?, c, p))) {
            let (balance, last) = &mut balances[i];
            found.broken_links += u64::from(*last != prev);
            *last = seq;
            // A wrapped balance is a wrong one, and shows up as such.
            *balance = balance.wrapping_add(change);
            overdrawn[i] |= *balance < 0;
            let volume = &mut volumes[at];
            volume.debits += i128::from(change.min(0).unsigned_abs());
            volume.credits += i128::from(change.max(0));
        }
    }

    fn close(self, cut: &Cut) -> Recount {
        let Self { mut found, balances, overdrawn, volumes } = self;
        found.missing_payments += cut.totals.payments.saturating_sub(found.highest_seq);
        found.overdrawn_accounts = overdrawn.into_iter().filter(|o| *o).count() as u64;
        found.wrong_balances = balances
            .iter()
            .zip(&cut.accounts)
            .filter(|((balance, last), a)| *balance != a.balance || *last != a.last_seq)
            .count() as u64;
        let told = &cut.totals.volumes;
        let differ = |a: &[Volume], b: &[Volume]| a.iter().filter(|v| !b.contains(v)).count() as u64;
        found.wrong_volumes = differ(told, &volumes).max(differ(&volumes, told));
        found
    }
}

fn slot(id: AccountId) -> Option<usize> {
    (id.0 as usize).checked_sub(1)
}

/// One bit for each number in `(after, last]`.
struct Marks {
    after: u64,
    bits: Vec<u64>,
    unmarked: u64,
}

impl Marks {
    fn new(after: u64, last: u64) -> Self {
        let n = last.saturating_sub(after);
        Self { after, bits: vec![0; n.div_ceil(64) as usize], unmarked: n }
    }

    /// Whether `number` is in range and was not marked before.
    fn mark(&mut self, number: u64) -> bool {
        let Some(i) = number.checked_sub(self.after + 1) else { return false };
        let Some(word) = self.bits.get_mut((i / 64) as usize) else { return false };
        let bit = 1 << (i % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        self.unmarked -= u64::from(fresh && self.unmarked > 0);
        fresh
    }

    fn unmarked(&self) -> u64 {
        self.unmarked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_marked_once() {
        let mut m = Marks::new(10, 13);
        assert!(!m.mark(10) && m.mark(11) && !m.mark(11) && m.mark(13));
        assert_eq!(m.unmarked(), 1);
        assert!(!m.mark(500));
    }
}
