//! Ids as clients see them: `acc_00000001`, `pay_0000000000000001`.

/// Digits of an account's id.
pub const ACCOUNT_DIGITS: usize = 8;
/// Digits of a payment's id.
pub const PAYMENT_DIGITS: usize = 16;

/// An account's number. 0 is the world: where opening balances come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub u32);

impl AccountId {
    /// Where opening balances come from. It takes no payments.
    pub const WORLD: AccountId = AccountId(0);

    /// The account called `text`; `None` when that is no account's id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let n = digits(text.strip_prefix("acc_")?, ACCOUNT_DIGITS)?;
        u32::try_from(n).ok().map(AccountId)
    }
}

impl std::fmt::Display for AccountId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "acc_{:0ACCOUNT_DIGITS$}", self.0)
    }
}

/// The commit number in the payment's id `text`; `None` when that is no payment's id.
#[must_use]
pub fn parse_payment(text: &str) -> Option<u64> {
    digits(text.strip_prefix("pay_")?, PAYMENT_DIGITS).filter(|seq| *seq > 0)
}

/// The id of payment `seq`.
#[must_use]
pub fn payment_id(seq: u64) -> String {
    format!("pay_{seq:0PAYMENT_DIGITS$}")
}

/// Exactly `len` decimal digits: one id has one spelling.
fn digits(text: &str, len: usize) -> Option<u64> {
    (text.len() == len && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_has_one_spelling() {
        assert_eq!(AccountId::parse("acc_00000042"), Some(AccountId(42)));
        assert_eq!(AccountId(42).to_string(), "acc_00000042");
        assert_eq!(parse_payment("pay_0000000000000007"), Some(7));
        for bad in ["acc_42", "acc_+0000042", "acc_000000042", "00000042", "acc_0000004x", "pay_00000042", ""]
        {
            assert_eq!(AccountId::parse(bad), None, "{bad}");
        }
        for bad in ["pay_7", "pay_0000000000000000", "acc_0000000000000007", "pay_-000000000000007"] {
            assert_eq!(parse_payment(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn account_ids_round_trip(n in 0u32..=99_999_999) {
            prop_assert_eq!(AccountId::parse(&AccountId(n).to_string()), Some(AccountId(n)));
        }

        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = (AccountId::parse(&text), parse_payment(&text));
        }
    }
}
