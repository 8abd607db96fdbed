//! What callers may do, and with which accounts.
//!
//! An account that is not in a customer's list is answered without a look at it, so no answer and no time tells
//! whether it exists.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::AccountId;
use crate::limits::MAX_ACCOUNT_RANGES;

/// What somebody is here for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Another service of ours, with the bearer token: does everything.
    Service,
    /// A person who looks after the service: reads everything, moves nothing.
    Operator,
    /// A person whose money it is.
    Customer,
}

/// What not everybody may do. Reading an account is a matter of whose it is: [`Caller::reads`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Makes a payment.
    Pay,
    /// Opens an account.
    OpenAccount,
    /// Gives a card for a token.
    AddMethod,
    /// Reads the totals of all accounts.
    Audit,
}

impl Role {
    /// Whether this role does that at all.
    #[must_use]
    pub fn may(self, act: Act) -> bool {
        match self {
            Role::Service => true,
            Role::Operator => act == Act::Audit,
            Role::Customer => matches!(act, Act::Pay | Act::AddMethod),
        }
    }
}

/// Some accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accounts {
    /// All of them.
    All,
    /// These, both ends included. In order, and none touches another.
    Ranges(Box<[(u32, u32)]>),
}

/// A text that names no accounts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAccounts {
    /// Something that is neither.
    #[error("`{0}` is neither an account's id nor a range of them, as in acc_00000001-acc_00000100")]
    Item(String),
    /// Too many.
    #[error("these are more than {MAX_ACCOUNT_RANGES} accounts and ranges")]
    TooMany,
}

impl Accounts {
    /// Reads `all`, or ids and ranges with commas between them.
    ///
    /// # Errors
    /// [`BadAccounts`]
    pub fn parse(text: &str) -> Result<Self, BadAccounts> {
        match text {
            "all" => Ok(Accounts::All),
            list => Self::of(list.split(',')),
        }
    }

    /// Those that `items` name, ids and ranges.
    ///
    /// # Errors
    /// [`BadAccounts`]
    pub fn of<'a>(items: impl Iterator<Item = &'a str>) -> Result<Self, BadAccounts> {
        let mut ranges = Vec::new();
        for item in items {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let id = |text: &str| AccountId::parse(text.trim()).map(|id| id.0);
            let range = id(first).zip(id(last)).filter(|(first, last)| first <= last);
            ranges.push(range.ok_or_else(|| BadAccounts::Item(item.to_owned()))?);
            if ranges.len() > MAX_ACCOUNT_RANGES {
                return Err(BadAccounts::TooMany);
            }
        }
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Ok(Accounts::Ranges(merged.into()))
    }

    /// Whether `id` is one of them.
    #[must_use]
    pub fn has(&self, id: AccountId) -> bool {
        match self {
            Accounts::All => true,
            Accounts::Ranges(ranges) => {
                let after = ranges.partition_point(|(first, _)| *first <= id.0);
                after.checked_sub(1).is_some_and(|at| id.0 <= ranges[at].1)
            }
        }
    }
}

/// Who is calling.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Identity>);

/// What is known of a caller.
#[derive(Debug)]
struct Identity {
    name: Box<str>,
    role: Role,
    accounts: Accounts,
}

impl Caller {
    /// A caller. A customer's are `accounts`; other roles have none of their own.
    #[must_use]
    pub fn new(name: &str, role: Role, accounts: Accounts) -> Self {
        Self(Arc::new(Identity { name: name.into(), role, accounts }))
    }

    /// The name: the owner of idempotency keys and payment methods.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// Whether the account is the caller's to read.
    #[must_use]
    pub fn reads(&self, id: AccountId) -> bool {
        self.0.role != Role::Customer || self.0.accounts.has(id)
    }

    /// Whether the account is the caller's to pay from.
    #[must_use]
    pub fn pays_from(&self, id: AccountId) -> bool {
        match self.0.role {
            Role::Service => true,
            Role::Operator => false,
            Role::Customer => self.0.accounts.has(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn has(accounts: &Accounts, ids: std::ops::RangeInclusive<u32>) -> Vec<u32> {
        ids.filter(|id| accounts.has(AccountId(*id))).collect()
    }

    #[test]
    fn accounts_are_ids_and_ranges() {
        let all = Accounts::parse("all").unwrap();
        assert_eq!(has(&all, 0..=3), [0, 1, 2, 3]);
        let some = Accounts::parse("acc_00000007,acc_00000002-acc_00000004, acc_00000005").unwrap();
        assert_eq!(has(&some, 0..=9), [2, 3, 4, 5, 7]);
        assert_eq!(some, Accounts::Ranges(Box::new([(2, 5), (7, 7)])));
        assert_eq!(has(&Accounts::of(std::iter::empty()).unwrap(), 0..=9), [0; 0]);
        for bad in ["", "1", "acc_1", "acc_00000002-", "acc_00000003-acc_00000002", "acc_00000001,,", "All"] {
            assert!(matches!(Accounts::parse(bad), Err(BadAccounts::Item(_))), "{bad}");
        }
        let many = vec!["acc_00000001"; MAX_ACCOUNT_RANGES + 1];
        assert_eq!(Accounts::of(many.into_iter()), Err(BadAccounts::TooMany));
    }

    #[test]
    fn a_role_does_what_the_table_says() {
        let table = [
            (Act::Pay, [true, false, true]),
            (Act::OpenAccount, [true, false, false]),
            (Act::AddMethod, [true, false, true]),
            (Act::Audit, [true, true, false]),
        ];
        for (act, may) in table {
            assert_eq!([Role::Service, Role::Operator, Role::Customer].map(|r| r.may(act)), may, "{act:?}");
        }
        let caller = |role| Caller::new("x", role, Accounts::parse("acc_00000001").unwrap());
        let [one, two] = [1, 2].map(AccountId);
        let can = |role| {
            let c = caller(role);
            [c.reads(one), c.reads(two), c.pays_from(one), c.pays_from(two)]
        };
        assert_eq!(can(Role::Service), [true; 4]);
        assert_eq!(can(Role::Operator), [true, true, false, false]);
        assert_eq!(can(Role::Customer), [true, false, true, false]);
    }

    proptest! {
        #[test]
        fn ranges_have_what_was_put_in(ranges in proptest::collection::vec((0u32..60, 0u32..8), 0..12)) {
            let items: Vec<String> = ranges
                .iter()
                .map(|(first, more)| format!("{}-{}", AccountId(*first), AccountId(first + more)))
                .collect();
            let accounts = Accounts::of(items.iter().map(String::as_str)).unwrap();
            for id in 0..80 {
                let in_one = ranges.iter().any(|(first, more)| (*first..=first + more).contains(&id));
                prop_assert_eq!(accounts.has(AccountId(id)), in_one);
            }
        }
    }
}
