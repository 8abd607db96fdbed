//! What a network has authorised: each key once, the oldest forgotten first.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

use super::{Answer, Status, hex};
use crate::decline::Decline;
use crate::record::Order;

/// An authorisation's number: the beginning of its key's hash, so that a network that has been started
/// again gives the same name to the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number([u8; 16]);

impl Number {
    /// Of `key`.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let hash = Sha256::digest(key);
        let mut number = [0; 16];
        number.copy_from_slice(&hash[..16]);
        Self(number)
    }

    /// The number of the authorisation called `id`.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let digits = id.strip_prefix("auth_").filter(|d| d.len() == 32 && d.is_ascii())?;
        let mut number = [0; 16];
        for (byte, at) in number.iter_mut().zip((0..32).step_by(2)) {
            *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
        }
        // One id has one spelling.
        (Self(number).id() == id).then_some(Self(number))
    }

    fn id(self) -> String {
        format!("auth_{}", hex(&self.0))
    }
}

/// Another order came with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherOrder;

#[derive(Debug)]
struct Kept {
    order: Order,
    declined: Option<Decline>,
    voided: bool,
}

impl Kept {
    fn answer(&self, number: Number) -> Answer {
        let status = match (self.declined, self.voided) {
            (Some(_), _) => Status::Declined,
            (None, true) => Status::Voided,
            (None, false) => Status::Approved,
        };
        Answer { id: number.id(), status, code: self.declined.map(|why| why.code().to_owned()) }
    }
}

/// Authorisations and declines by their keys.
#[derive(Debug)]
pub struct Authorizations {
    kept: HashMap<Number, Kept>,
    /// The oldest first.
    order: VecDeque<Number>,
    most: usize,
}

impl Authorizations {
    /// None yet; no more than `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { kept: HashMap::new(), order: VecDeque::new(), most: most.max(1) }
    }

    /// The answer to `order` under the key with `number`, and whether it is the first. A new one is
    /// decided by `issuer`.
    ///
    /// # Errors
    /// When the key has come with another order.
    pub fn authorize(
        &mut self,
        number: Number,
        order: &Order,
        issuer: impl FnOnce() -> Option<Decline>,
    ) -> Result<(Answer, bool), OtherOrder> {
        match self.kept.get(&number) {
            Some(kept) if kept.order == *order => return Ok((kept.answer(number), false)),
            Some(_) => return Err(OtherOrder),
            None => {}
        }
        if self.order.len() >= self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
        let kept = Kept { order: *order, declined: issuer(), voided: false };
        let answer = kept.answer(number);
        self.kept.insert(number, kept);
        self.order.push_back(number);
        Ok((answer, true))
    }

    /// Takes one back, and says whether this was the first to; `None` when it is not known, or was no
    /// authorisation.
    pub fn void(&mut self, number: Number) -> Option<(Answer, bool)> {
        let kept = self.kept.get_mut(&number).filter(|kept| kept.declined.is_none())?;
        let first = !std::mem::replace(&mut kept.voided, true);
        Some((kept.answer(number), first))
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AccountId;
    use crate::money::Currency;
    use proptest::prelude::*;

    fn order(amount: i64) -> Order {
        let currency = Currency::parse("EUR").unwrap();
        Order { from: AccountId(1), to: AccountId(2), amount, currency }
    }

    fn number(key: u8) -> Number {
        Number::of(&[key])
    }

    #[test]
    fn a_key_is_authorised_once_and_answered_alike_ever_after() {
        let mut kept = Authorizations::new(10);
        let (first, new) = kept.authorize(number(1), &order(5), || None).unwrap();
        assert!(new && first.status == Status::Approved);
        let again = kept.authorize(number(1), &order(5), || panic!("the issuer is asked once")).unwrap();
        assert_eq!(again, (first, false));
        assert_eq!(kept.authorize(number(1), &order(6), || None), Err(OtherOrder));
        let declined = || Some(Decline::DoNotHonor);
        let (first, _) = kept.authorize(number(2), &order(5), declined).unwrap();
        assert_eq!((first.status, first.code.as_deref()), (Status::Declined, Some("do_not_honor")));
        assert_eq!(kept.authorize(number(2), &order(5), || None).unwrap(), (first, false));
    }

    #[test]
    fn only_what_was_authorised_is_voided_and_stays_so() {
        let mut kept = Authorizations::new(10);
        assert_eq!(kept.void(number(1)), None);
        kept.authorize(number(1), &order(5), || None).unwrap();
        kept.authorize(number(2), &order(5), || Some(Decline::DoNotHonor)).unwrap();
        assert_eq!(kept.void(number(1)).map(|(a, first)| (a.status, first)), Some((Status::Voided, true)));
        assert_eq!(kept.void(number(1)).map(|(_, first)| first), Some(false));
        assert_eq!(kept.void(number(2)), None);
        assert_eq!(kept.authorize(number(1), &order(5), || None).unwrap().0.status, Status::Voided);
    }

    #[test]
    fn an_id_reads_as_it_is_written() {
        let number = number(7);
        assert_eq!(Number::parse(&number.id()), Some(number));
        for bad in
            ["", "auth_", "auth_12", &number.id().to_uppercase(), &format!("{}0", number.id()), "auth_+1"]
        {
            assert_eq!(Number::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_more_are_kept_than_may_be_and_the_youngest_are(keys in proptest::collection::vec(0u8..40, 1..200)) {
            let mut kept = Authorizations::new(10);
            for key in &keys {
                kept.authorize(number(*key), &order(1), || None).unwrap();
                prop_assert!(kept.len() <= 10 && kept.order.len() == kept.len());
            }
            let last = keys[keys.len() - 1];
            prop_assert!(!kept.authorize(number(last), &order(1), || None).unwrap().1);
        }

        #[test]
        fn no_id_panics(id in ".{0,50}") {
            let _ = Number::parse(&id);
        }
    }
}
