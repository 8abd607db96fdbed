//! Accounts and balances in memory, and the rules of double entry.
//!
//! A transfer debits one account and credits another by the same amount, so the sum of all
//! balances, the world's included, is zero in every currency at every commit number. What is
//! here can always be rebuilt from openings and payments; [`crate::store`] does so at start.

use crate::decline::Decline;
use crate::ids::AccountId;
use crate::limits::{MAX_ACCOUNTS, MAX_AMOUNT};
use crate::money::Currency;
use crate::record::Order;

/// One account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The only currency it holds.
    pub currency: Currency,
    /// What it got from the world when it was opened, in minor units.
    pub opening: i64,
    /// What it holds, in minor units: opening + credits − debits. Never negative.
    pub balance: i64,
    /// The last payment that touched it; 0 when none has. Its list of payments begins there.
    pub last_seq: u64,
}

/// What all payments of one currency come to, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// Of which currency.
    pub currency: Currency,
    /// Sum of what was taken from payers.
    pub debits: i128,
    /// Sum of what was given to payees.
    pub credits: i128,
}

/// The two payments that a new one is linked behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Links {
    /// The payer's payment before; 0 when none.
    pub from_prev: u64,
    /// The payee's payment before; 0 when none.
    pub to_prev: u64,
}

/// Why an account cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No id is left.
    #[error("the ledger is full: {MAX_ACCOUNTS} accounts")]
    Full,
    /// Negative or too large.
    #[error("an opening balance lies in 0..={MAX_AMOUNT}")]
    Opening,
}

#[derive(Debug, Clone)]
struct Slot {
    account: Account,
    /// Whether it waits in `unsaved`.
    waits: bool,
}

/// The ledger as of its last payment.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Account n is at n − 1: the world has no slot, its balance is minus all the others'.
    slots: Vec<Slot>,
    volumes: Vec<Volume>,
    seq: u64,
    /// Accounts whose row in the store's tables is behind; each is here once at most.
    unsaved: Vec<AccountId>,
}

impl Ledger {
    /// An empty ledger that goes on after payment `seq` with `volumes`.
    #[must_use]
    pub fn resume(seq: u64, volumes: Vec<Volume>) -> Self {
        Self { seq, volumes, ..Self::default() }
    }

    /// The commit number of the last payment; 0 when there is none.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// How many accounts there are, without the world.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.slots.len()
    }

    /// What all payments come to.
    #[must_use]
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    /// The account `id`; `None` for the world and for one that was never opened.
    #[must_use]
    pub fn get(&self, id: AccountId) -> Option<&Account> {
        Some(&self.slots.get(index(id)?)?.account)
    }

    /// Every account, from number 1.
    pub fn iter(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        self.iter_after(0)
    }

    /// The accounts opened after the first `known` ones.
    pub fn iter_after(&self, known: usize) -> impl Iterator<Item = (AccountId, &Account)> {
        let fresh = self.slots.get(known..).unwrap_or_default();
        // Ids fit: there are at most MAX_ACCOUNTS.
        (known as u32 + 1..).map(AccountId).zip(fresh.iter().map(|s| &s.account))
    }

    /// Puts an account back as its row has it. Accounts come in order from number 1.
    pub fn restore(&mut self, account: Account) {
        self.slots.push(Slot { account, waits: false });
    }

    /// Opens the next account with money from the world.
    ///
    /// # Errors
    /// When no id is left or the balance is out of range.
    pub fn open(&mut self, currency: Currency, opening: i64) -> Result<AccountId, OpenError> {
        if !(0..=MAX_AMOUNT).contains(&opening) {
            return Err(OpenError::Opening);
        }
        if self.slots.len() >= MAX_ACCOUNTS {
            return Err(OpenError::Full);
        }
        self.restore(Account { currency, opening, balance: opening, last_seq: 0 });
        // At most MAX_ACCOUNTS, eight digits.
        Ok(AccountId(self.slots.len() as u32))
    }

    /// Moves money under the next commit number.
    ///
    /// # Errors
    /// When the payer has too little, or the payee's balance would leave the range of an `i64`;
    /// nothing has changed then.
    ///
    /// # Panics
    /// When the order names the same account twice, or one that does not exist or holds another
    /// currency: the caller has checked that, and accounts are never closed.
    pub fn transfer(&mut self, order: &Order) -> Result<(u64, Links), Decline> {
        let account = |id| self.get(id).filter(|a| a.currency == order.currency);
        let (Some(from), Some(to)) = (account(order.from), account(order.to)) else {
            panic!("a transfer between accounts that were not checked: {order:?}");
        };
        assert!(order.from != order.to && order.amount > 0, "an order that was not checked: {order:?}");
        let debited = from.balance.checked_sub(order.amount).filter(|b| *b >= 0);
        let debited = debited.ok_or(Decline::InsufficientFunds)?;
        let credited = to.balance.checked_add(order.amount).ok_or(Decline::ExceedsLimit)?;
        let links = Links { from_prev: from.last_seq, to_prev: to.last_seq };
        self.seq += 1;
        self.set(order.from, debited);
        self.set(order.to, credited);
        let volume = match self.volumes.iter().position(|v| v.currency == order.currency) {
            Some(i) => &mut self.volumes[i],
            None => {
                self.volumes.push(Volume { currency: order.currency, debits: 0, credits: 0 });
                self.volumes.last_mut().expect("one was pushed")
            }
        };
        volume.debits += i128::from(order.amount);
        volume.credits += i128::from(order.amount);
        Ok((self.seq, links))
    }

    /// Applies payment `seq` of the past to those of its two accounts whose row is older. False
    /// when the payment cannot have happened to them.
    #[must_use]
    pub fn replay(&mut self, seq: u64, order: &Order) -> bool {
        for (id, change) in [(order.from, -order.amount), (order.to, order.amount)] {
            let slot = index(id).and_then(|i| self.slots.get_mut(i));
            let Some(slot) = slot.filter(|s| s.account.currency == order.currency) else { return false };
            if slot.account.last_seq >= seq {
                continue;
            }
            let Some(balance) = slot.account.balance.checked_add(change) else { return false };
            slot.account.balance = balance;
            slot.account.last_seq = seq;
            if !slot.waits {
                slot.waits = true;
                self.unsaved.push(id);
            }
        }
        true
    }

    fn set(&mut self, id: AccountId, balance: i64) {
        let seq = self.seq;
        let slot = index(id).and_then(|i| self.slots.get_mut(i)).expect("the caller has read it");
        slot.account.balance = balance;
        slot.account.last_seq = seq;
        if !slot.waits {
            slot.waits = true;
            self.unsaved.push(id);
        }
    }

    /// The accounts whose rows are behind, as they are now; the caller saves them. Their rows
    /// include every payment then.
    pub fn take_unsaved(&mut self) -> Vec<(AccountId, Account)> {
        let Self { slots, unsaved, .. } = self;
        let unsaved = unsaved.drain(..).filter_map(|id| {
            let slot = slots.get_mut(index(id)?)?;
            slot.waits = false;
            Some((id, slot.account))
        });
        unsaved.collect()
    }

    /// Sum of all balances, the world's included: zero.
    #[must_use]
    pub fn imbalance(&self) -> i128 {
        self.slots.iter().map(|s| i128::from(s.account.balance) - i128::from(s.account.opening)).sum()
    }
}

fn index(id: AccountId) -> Option<usize> {
    (id.0 as usize).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn eur() -> Currency {
        Currency::parse("EUR").unwrap()
    }

    fn order(from: u32, to: u32, amount: i64) -> Order {
        Order { from: AccountId(from), to: AccountId(to), amount, currency: eur() }
    }

    fn ledger(accounts: u32, opening: i64) -> Ledger {
        let mut l = Ledger::default();
        for _ in 0..accounts {
            l.open(eur(), opening).unwrap();
        }
        l
    }

    #[test]
    fn a_transfer_needs_the_money() {
        let mut l = ledger(2, 100);
        assert_eq!(l.transfer(&order(1, 2, 101)), Err(Decline::InsufficientFunds));
        assert_eq!(l.seq(), 0, "a decline takes no number");
        assert_eq!(l.transfer(&order(1, 2, 100)).unwrap().0, 1);
        assert_eq!((l.get(AccountId(1)).unwrap().balance, l.get(AccountId(2)).unwrap().balance), (0, 200));
    }

    #[test]
    fn a_balance_that_would_overflow_is_declined_and_changes_nothing() {
        let mut l = ledger(1, 100);
        l.restore(Account { currency: eur(), opening: 0, balance: i64::MAX - 10, last_seq: 0 });
        assert_eq!(l.transfer(&order(1, 2, 11)), Err(Decline::ExceedsLimit));
        assert_eq!(l.get(AccountId(1)).unwrap().balance, 100);
    }

    #[test]
    fn the_world_is_no_account_to_pay_from() {
        assert_eq!(ledger(1, 100).get(AccountId::WORLD), None);
    }

    #[test]
    fn openings_are_bounded() {
        let mut l = Ledger::default();
        assert_eq!(l.open(eur(), -1), Err(OpenError::Opening));
        assert_eq!(l.open(eur(), MAX_AMOUNT + 1), Err(OpenError::Opening));
        assert_eq!(l.open(eur(), MAX_AMOUNT), Ok(AccountId(1)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Transfer(u32, u32, i64),
        /// Whether the crash comes between the accounts' rows and the word that they are there.
        Save(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1u32..=5, 1u32..=5, 1i64..200).prop_map(|(f, t, a)| Step::Transfer(f, t, a)),
            1 => any::<bool>().prop_map(Step::Save),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn transfers_conserve_money_and_a_replay_finds_the_same_balances(steps in steps()) {
            let mut live = ledger(5, 300);
            let mut rows: Vec<Account> = live.iter().map(|(_, a)| *a).collect();
            let (mut entries, mut saved_seq) = (Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Transfer(f, t, amount) if f != t => {
                        let before = live.clone();
                        match live.transfer(&order(f, t, amount)) {
                            Ok((seq, links)) => {
                                prop_assert_eq!(seq, before.seq() + 1);
                                prop_assert_eq!(links.from_prev, before.get(AccountId(f)).unwrap().last_seq);
                                entries.push((seq, order(f, t, amount)));
                            }
                            Err(why) => {
                                prop_assert_eq!(why, Decline::InsufficientFunds);
                                prop_assert!(before.get(AccountId(f)).unwrap().balance < amount);
                            }
                        }
                    }
                    Step::Transfer(..) => {}
                    Step::Save(told) => {
                        for (id, account) in live.take_unsaved() {
                            rows[id.0 as usize - 1] = account;
                        }
                        if told {
                            saved_seq = live.seq();
                        }
                    }
                }
                prop_assert_eq!(live.imbalance(), 0);
                prop_assert!(live.iter().all(|(_, a)| a.balance >= 0));
            }
            // What a crash leaves: the saved rows, some ahead of others, and every entry.
            let mut found = Ledger::resume(live.seq(), live.volumes().to_vec());
            rows.into_iter().for_each(|a| found.restore(a));
            for (seq, order) in entries.iter().filter(|(seq, _)| *seq > saved_seq) {
                prop_assert!(found.replay(*seq, order));
            }
            prop_assert!(live.iter().eq(found.iter()));
            prop_assert!(found.volumes().iter().all(|v| v.debits == v.credits));
        }
    }
}
