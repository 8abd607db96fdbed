//! Who asks for an account that is not cached: one at a time, so that a hundred who want it at once are one
//! question to the database.

use tokio::sync::{Mutex, MutexGuard};

use crate::ids::AccountId;
use crate::limits::{CACHE_STRIPES, FLIGHT_WAIT};

/// Questions under way. Accounts share locks: two of one lock wait for each other, which is only slower.
#[derive(Debug)]
pub struct Flights(Box<[Mutex<()>]>);

impl Default for Flights {
    fn default() -> Self {
        Self((0..CACHE_STRIPES).map(|_| Mutex::default()).collect())
    }
}

/// The right to ask, until it is dropped.
pub struct Flight<'a> {
    waited: bool,
    turn: Option<MutexGuard<'a, ()>>,
}

impl Flight<'_> {
    /// Whether somebody else has asked meanwhile.
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// Whether it is this one's turn to ask; who has waited in vain asks beside somebody else.
    pub fn has_turn(&self) -> bool {
        self.turn.is_some()
    }
}

impl Flights {
    /// Waits until nobody else asks for `id`; not for long, for their question may hang.
    pub async fn board(&self, id: AccountId) -> Flight<'_> {
        let lock = &self.0[id.0 as usize % self.0.len()];
        match lock.try_lock() {
            Ok(turn) => Flight { waited: false, turn: Some(turn) },
            Err(_) => {
                Flight { waited: true, turn: tokio::time::timeout(FLIGHT_WAIT, lock.lock()).await.ok() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_asks_and_the_others_wait_but_not_for_ever() {
        let flights = Flights::default();
        let first = flights.board(AccountId(1)).await;
        assert!(!first.waited() && !flights.board(AccountId(2)).await.waited());
        let (second, ()) = tokio::join!(flights.board(AccountId(1)), async { drop(first) });
        assert!(second.waited() && second.has_turn());
        let impatient = flights.board(AccountId(1)).await;
        assert!(impatient.waited() && !impatient.has_turn());
    }
}
