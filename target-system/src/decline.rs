//! Why a payment is declined. The table for people is in `docs/target.md`.
//!
//! The last two digits of the amount choose the outcome, so that a scenario can ask for a share
//! of declines and the service needs no randomness. Declines of the service's own making (no
//! money, fraud rules) and of the card network come on top.

/// A business refusal, answered with 402.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Decline {
    /// The issuer gives no reason.
    DoNotHonor = 1,
    /// The payer has too little money.
    InsufficientFunds = 2,
    /// The card has expired.
    ExpiredCard = 3,
    /// The amount is above the issuer's limit.
    ExceedsLimit = 4,
    /// The issuer cannot be reached.
    IssuerUnavailable = 5,
    /// A fraud rule fired.
    Fraud = 6,
    /// A person has to look at it: the fraud check did not answer, and it is large.
    Review = 7,
}

impl Decline {
    /// All of them.
    pub const ALL: [Decline; 7] = [
        Decline::DoNotHonor,
        Decline::InsufficientFunds,
        Decline::ExpiredCard,
        Decline::ExceedsLimit,
        Decline::IssuerUnavailable,
        Decline::Fraud,
        Decline::Review,
    ];

    /// What the last two digits of `amount` choose; the numbers are ISO 8583's response codes.
    #[must_use]
    pub fn by_amount(amount: i64) -> Option<Self> {
        match amount.rem_euclid(100) {
            5 => Some(Decline::DoNotHonor),
            51 => Some(Decline::InsufficientFunds),
            54 => Some(Decline::ExpiredCard),
            61 => Some(Decline::ExceedsLimit),
            91 => Some(Decline::IssuerUnavailable),
            _ => None,
        }
    }

    /// The `code` of the answer.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Decline::DoNotHonor => "do_not_honor",
            Decline::InsufficientFunds => "insufficient_funds",
            Decline::ExpiredCard => "expired_card",
            Decline::ExceedsLimit => "exceeds_limit",
            Decline::IssuerUnavailable => "issuer_unavailable",
            Decline::Fraud => "fraud_suspected",
            Decline::Review => "review_required",
        }
    }

    /// The `message` of the answer.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Decline::DoNotHonor => "the issuer declined the payment without a reason",
            Decline::InsufficientFunds => "the payer has too little money",
            Decline::ExpiredCard => "the card has expired",
            Decline::ExceedsLimit => "the amount is above the issuer's limit",
            Decline::IssuerUnavailable => "the issuer cannot be reached",
            Decline::Fraud => "the payment was stopped by a fraud rule",
            Decline::Review => "the fraud check is away, and a person has to look at a payment of this size",
        }
    }

    /// The decline with this [`code`](Self::code).
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.code() == code)
    }

    /// The decline that a row calls `number`.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|d| *d as u8 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_of_a_hundred_amounts_are_declined() {
        let declined: Vec<i64> = (0..100).filter(|a| Decline::by_amount(*a).is_some()).collect();
        assert_eq!(declined, [5, 51, 54, 61, 91]);
        assert_eq!(Decline::by_amount(350_051), Some(Decline::InsufficientFunds));
    }

    #[test]
    fn numbers_round_trip() {
        for d in Decline::ALL {
            assert_eq!(Decline::from_number(d as u8), Some(d));
            assert_eq!(Decline::from_code(d.code()), Some(d));
        }
        assert_eq!(Decline::from_number(0), None);
    }
}
