//! Logins, and the refresh tokens that each of them has had.
//!
//! A refresh token says which login it is of and the how manieth of it (`nth`); a signature says that it is ours. So
//! no token is kept anywhere, nor a hash of one: what is kept of a login is the number of its last token. Whoever shows
//! an earlier one has a copy, or somebody else has: which of them is the thief is not known, so the login ends for
//! both (RFC 9700, 4.14.2).
//!
//! But an answer can be lost. For a short while the token before the last is given the last one again, and the
//! number does not rise: who has asked twice for lack of an answer goes on, and a thief who was just as quick is
//! found out at the next refresh of either. A login ends at its time however often it was refreshed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::bank::{Bank, BankError};
use crate::limits::{MAX_LOGINS_OF_USER, REFRESH_GRACE_S, REFRESH_TOKEN_S};
use crate::postgres::logins;
use crate::shards::UserPools;

/// Which login: a random number, in hexadecimal where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LoginId(pub u128);

impl LoginId {
    /// Another one.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(u128::from_ne_bytes(bytes)))
    }
}

impl From<LoginId> for String {
    fn from(id: LoginId) -> Self {
        format!("{:032x}", id.0)
    }
}

impl TryFrom<String> for LoginId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

/// The last refresh token of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// Which login.
    pub id: LoginId,
    /// The how manieth token of it.
    pub nth: i32,
    /// When the login ends, in seconds since the Unix epoch.
    pub ends_s: u64,
}

/// What showing a refresh token comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The next token is the login's last now.
    Rotated(Last),
    /// The token has ended before: so has the login, now.
    Reused,
    /// There is no such login, or it is over.
    Over,
}

/// Where logins are kept.
#[derive(Debug)]
pub enum Logins {
    /// In this process: a restart ends them.
    Here(Mutex<Table>),
    /// In the user's database, for all processes.
    Database(UserPools),
}

impl Logins {
    /// Logins beside the payments of `bank`.
    #[must_use]
    pub fn beside(bank: &Bank) -> Self {
        match bank {
            Bank::Embedded(_) => Logins::Here(Mutex::default()),
            Bank::Postgres(bank) => Logins::Database(bank.pools()),
        }
    }

    /// A login of `user`. Beyond the most that one user has, the oldest ends.
    ///
    /// # Errors
    /// When the store gives one.
    pub async fn begin(&self, user: &str, id: LoginId, now_s: u64) -> Result<Last, BankError> {
        let last = Last { id, nth: 1, ends_s: now_s + REFRESH_TOKEN_S };
        match self {
            Logins::Here(table) => locked(table).begin(user, last, now_s),
            Logins::Database(pools) => logins::begin(pools.of(user), user, last).await?,
        }
        Ok(last)
    }

    /// Takes the `nth` token of `id`, a login of `user`, for the next one.
    ///
    /// # Errors
    /// When the store gives one.
    pub async fn show(&self, user: &str, id: LoginId, nth: i32, now_s: u64) -> Result<Shown, BankError> {
        match self {
            Logins::Here(table) => Ok(locked(table).show(user, id, nth, now_s)),
            Logins::Database(pools) => logins::show(pools.of(user), user, id, nth).await,
        }
    }
}

fn locked(table: &Mutex<Table>) -> std::sync::MutexGuard<'_, Table> {
    // Each change leaves the table whole, whoever panicked before.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Logins in memory: the users that there are, so many of each. The oldest of a user is in front, and ends first.
#[derive(Debug, Default)]
pub struct Table(HashMap<Box<str>, VecDeque<Login>>);

#[derive(Debug)]
struct Login {
    last: Last,
    rotated_s: u64,
}

impl Table {
    fn begin(&mut self, user: &str, last: Last, now_s: u64) {
        let of_user = self.0.entry(user.into()).or_default();
        while of_user.front().is_some_and(|l| l.last.ends_s <= now_s || of_user.len() >= MAX_LOGINS_OF_USER) {
            of_user.pop_front();
        }
        of_user.push_back(Login { last, rotated_s: now_s });
    }

    fn show(&mut self, user: &str, id: LoginId, nth: i32, now_s: u64) -> Shown {
        let Some(of_user) = self.0.get_mut(user) else { return Shown::Over };
        let Some(at) = of_user.iter().position(|l| l.last.id == id && l.last.ends_s > now_s) else {
            return Shown::Over;
        };
        let login = &mut of_user[at];
        if nth == login.last.nth {
            login.last.nth += 1;
            login.rotated_s = now_s;
        } else if nth + 1 != login.last.nth || now_s > login.rotated_s + REFRESH_GRACE_S {
            of_user.remove(at);
            return Shown::Reused;
        }
        Shown::Rotated(login.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LoginId = LoginId(7);

    fn table() -> Table {
        let mut table = Table::default();
        table.begin("ann", Last { id: ID, nth: 1, ends_s: 1000 }, 0);
        table
    }

    fn rotated(nth: i32) -> Shown {
        Shown::Rotated(Last { id: ID, nth, ends_s: 1000 })
    }

    #[test]
    fn each_token_gives_the_next_until_the_login_ends() {
        let mut table = table();
        for nth in 1..10 {
            assert_eq!(table.show("ann", ID, nth, 100 * nth.unsigned_abs() as u64), rotated(nth + 1));
        }
        assert_eq!(table.show("ann", ID, 10, 999), rotated(11));
        assert_eq!(table.show("ann", ID, 11, 1000), Shown::Over, "refreshing does not prolong it");
        assert_eq!(table.show("bob", ID, 1, 0), Shown::Over);
        assert_eq!(table.show("ann", LoginId(8), 1, 0), Shown::Over);
    }

    #[test]
    fn a_token_shown_again_ends_the_login_unless_its_answer_may_have_been_lost() {
        let mut table = table();
        assert_eq!(table.show("ann", ID, 1, 100), rotated(2));
        assert_eq!(
            table.show("ann", ID, 1, 100 + REFRESH_GRACE_S),
            rotated(2),
            "the same again, and not a third"
        );
        assert_eq!(table.show("ann", ID, 2, 120), rotated(3));
        assert_eq!(table.show("ann", ID, 1, 120), Shown::Reused, "the one before the last alone");
        assert_eq!(table.show("ann", ID, 3, 120), Shown::Over, "whose ever it is");
    }

    #[test]
    fn after_the_grace_the_token_before_the_last_has_ended() {
        let mut table = table();
        assert_eq!(table.show("ann", ID, 1, 100), rotated(2));
        assert_eq!(table.show("ann", ID, 1, 101 + REFRESH_GRACE_S), Shown::Reused);
        assert_eq!(table.show("ann", ID, 2, 102 + REFRESH_GRACE_S), Shown::Over);
    }

    #[test]
    fn a_user_has_so_many_logins_and_the_oldest_goes_first() {
        let mut table = Table::default();
        for n in 0..MAX_LOGINS_OF_USER as u128 + 5 {
            table.begin("ann", Last { id: LoginId(n), nth: 1, ends_s: 1000 }, 0);
        }
        assert_eq!(table.0["ann"].len(), MAX_LOGINS_OF_USER);
        assert_eq!(table.show("ann", LoginId(4), 1, 1), Shown::Over);
        assert!(matches!(table.show("ann", LoginId(5), 1, 1), Shown::Rotated(_)));
        table.begin("ann", Last { id: ID, nth: 1, ends_s: 2000 }, 1000);
        assert_eq!(table.0["ann"].len(), 1, "those that are over leave");
    }
}
