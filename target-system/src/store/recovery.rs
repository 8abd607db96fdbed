//! From rows back to a ledger in memory.
//!
//! Accounts' rows are saved with every full segment of the journal, so they lag behind the
//! payments. Recovery reads them and applies the payments since; each account skips those that its
//! row already includes.

use super::keyspaces::{Store, StoreError, account, decode_payment, number};
use super::rows::Meta;
use crate::ledger::Ledger;
use crate::money::Currency;

/// What was found on disk.
#[derive(Debug)]
pub struct Recovered {
    /// The ledger as of the last commit.
    pub ledger: Ledger,
    /// The counters as of the last commit.
    pub meta: Meta,
    /// Payments that had to be applied again to accounts.
    pub replayed: u64,
}

impl Store {
    /// Rebuilds the ledger.
    ///
    /// # Errors
    /// When the store cannot be read, a row is damaged, or rows contradict each other.
    pub fn recover(&self) -> Result<Recovered, StoreError> {
        let contradiction = |what: String| Err(StoreError::Contradiction(what));
        let meta = self.read_meta()?.unwrap_or_default();
        let last = match self.payments.last_key_value() {
            Some(guard) => number(&guard.key()?, "payments")?,
            None => 0,
        };
        let mut ledger = Ledger::resume(last, meta.volumes.clone());
        for guard in self.accounts.iter() {
            let (key, row) = guard.into_inner()?;
            let (id, account) = account(&key, &row)?;
            if id.0 as usize != ledger.accounts() + 1 {
                return contradiction(format!("account {} is missing", ledger.accounts() + 1));
            }
            ledger.restore(account);
        }
        let mut replayed = 0;
        for guard in self.payments.range((meta.saved_seq + 1).to_be_bytes()..) {
            let (key, row) = guard.into_inner()?;
            let seq = number(&key, "payments")?;
            replayed += 1;
            if seq != meta.saved_seq + replayed {
                return contradiction(format!("payment {} is missing", meta.saved_seq + replayed));
            }
            if !ledger.replay(seq, &decode_payment(seq, &row)?.order) {
                return contradiction(format!("payment {seq} does not fit its accounts"));
            }
        }
        if meta.saved_seq + replayed != last {
            return contradiction(format!(
                "payment {last} is the last one, {} were found",
                meta.saved_seq + replayed
            ));
        }
        Ok(Recovered { ledger, meta, replayed })
    }

    /// Opens accounts until there are `accounts`, each with `opening` from the world. What is
    /// there already stays as it is.
    ///
    /// # Errors
    /// When the store cannot be written or the ledger refuses.
    pub fn open_accounts(
        &self,
        found: &mut Recovered,
        accounts: usize,
        currency: Currency,
        opening: i64,
    ) -> Result<(), StoreError> {
        let mut batch = self.batch();
        let first = found.ledger.accounts();
        for _ in first..accounts {
            let opened = found.ledger.open(currency, opening);
            opened.map_err(|e| StoreError::Contradiction(e.to_string()))?;
        }
        for (id, account) in found.ledger.iter_after(first) {
            batch.account(id, account);
        }
        batch.commit()
    }
}
