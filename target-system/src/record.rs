//! What became of a payment, once and for all.

use crate::decline::Decline;
use crate::ids::AccountId;
use crate::money::Currency;

/// What a client asked for: the fields that a repeated key must repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The payer.
    pub from: AccountId,
    /// The payee.
    pub to: AccountId,
    /// Minor units, positive.
    pub amount: i64,
    /// Of both accounts.
    pub currency: Currency,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Money moved, under this commit number.
    Succeeded {
        /// Gapless from 1, in commit order.
        seq: u64,
    },
    /// Money did not move.
    Declined {
        /// Why.
        why: Decline,
    },
}

/// An order with its end: everything that its answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What was asked.
    pub order: Order,
    /// How it ended.
    pub verdict: Verdict,
    /// When it was committed, in milliseconds since the Unix epoch; never falls from one commit
    /// to the next.
    pub created_ms: u64,
}

impl Record {
    /// The payment's number; `None` for a decline.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        match self.verdict {
            Verdict::Succeeded { seq } => Some(seq),
            Verdict::Declined { .. } => None,
        }
    }
}
