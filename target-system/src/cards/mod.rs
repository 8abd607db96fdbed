//! Cards, and the tokens that stand for them.
//!
//! A card's number and CVC are looked at and forgotten: they are in no store, no log, no error and no figure, and their
//! memory is wiped. What stays is a [`Method`]: enough for its owner to know the card again.
//!
//! # Layout
//!
//! * [`check`]: whether a card can be one.
//! * [`vault`]: where methods are kept.

pub mod check;
pub mod vault;

use sha2::{Digest as _, Sha256};

use crate::idempotency::ScopedKey;

/// Who has issued a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Brand {
    /// American Express.
    Amex = 1,
    /// Diners Club.
    Diners = 2,
    /// Discover.
    Discover = 3,
    /// JCB.
    Jcb = 4,
    /// Mastercard.
    Mastercard = 5,
    /// China UnionPay.
    Unionpay = 6,
    /// Visa.
    Visa = 7,
}

impl Brand {
    /// All of them.
    pub const ALL: [Brand; 7] = [
        Brand::Amex,
        Brand::Diners,
        Brand::Discover,
        Brand::Jcb,
        Brand::Mastercard,
        Brand::Unionpay,
        Brand::Visa,
    ];

    /// As Stripe calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Brand::Amex => "amex",
            Brand::Diners => "diners",
            Brand::Discover => "discover",
            Brand::Jcb => "jcb",
            Brand::Mastercard => "mastercard",
            Brand::Unionpay => "unionpay",
            Brand::Visa => "visa",
        }
    }

    /// The brand with this [`name`](Self::name).
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|b| b.name() == name)
    }

    /// The brand that a row calls `number`.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|b| *b as u8 == number)
    }
}

/// Which payment method: `pm_` and 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodId(pub [u8; 16]);

impl MethodId {
    /// The one that `key` stands for: whoever asks again with it is given the same.
    #[must_use]
    pub fn of(key: &ScopedKey) -> Self {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }

    /// Another one.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(Self(id))
    }

    /// The payment method called `text`; `None` when that is no payment method's id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("pm_").filter(|d| {
            d.len() == 32 && d.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })?;
        u128::from_str_radix(digits, 16).ok().map(|n| Self(n.to_be_bytes()))
    }
}

impl std::fmt::Display for MethodId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pm_{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What is kept of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// What stands for it.
    pub id: MethodId,
    /// Who has issued it.
    pub brand: Brand,
    /// Its last four digits, in ASCII.
    pub last4: [u8; 4],
    /// The last month in which it is good, 1 to 12.
    pub exp_month: u8,
    /// The year of that month.
    pub exp_year: u16,
}

/// What keeping a method came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is there now.
    Now,
    /// One with its id was there before: this, if it is the owner's.
    Before(Option<Method>),
}

impl Method {
    /// The last four digits as text.
    #[must_use]
    pub fn last4(&self) -> &str {
        std::str::from_utf8(&self.last4).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling_and_a_key_has_one_id() {
        let id = MethodId::random().unwrap();
        assert_eq!(MethodId::parse(&id.to_string()), Some(id));
        for bad in
            ["", "pm_", "pm_1", "PM_00000000000000000000000000000000", "pm_+0000000000000000000000000000001"]
        {
            assert_eq!(MethodId::parse(bad), None, "{bad}");
        }
        assert_eq!(MethodId::parse(&id.to_string().to_uppercase()), None);
        let of = |caller, key| MethodId::of(&ScopedKey::new(caller, key).unwrap());
        assert_eq!(of("ann", b"k"), of("ann", b"k"));
        assert_ne!(of("ann", b"k"), of("bob", b"k"));
    }

    #[test]
    fn brands_round_trip() {
        for b in Brand::ALL {
            assert_eq!((Brand::parse(b.name()), Brand::from_number(b as u8)), (Some(b), Some(b)));
        }
        assert_eq!((Brand::parse("x"), Brand::from_number(0)), (None, None));
    }
}
