//! What this process has committed of late, so that no replica shows an account as it was before.
//!
//! A replica is asked for as long as it is known to be behind by some time at most. What was committed
//! longer ago than that it has. So accounts are kept in two maps, one of which is forgotten whenever
//! the other is that old.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use squall_record::clock::Clock;

use super::nanos;
use crate::ids::AccountId;
use crate::limits::{RECENT_ACCOUNTS, REPLICA_READ};

/// The last payments of accounts that were changed of late.
#[derive(Debug)]
pub struct Recent {
    clock: Clock,
    turn_ns: u64,
    maps: Mutex<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    now: Map,
    before: Map,
    turned_ns: u64,
}

#[derive(Debug, Default)]
struct Map {
    last: HashMap<AccountId, u64>,
    /// More accounts were changed than are remembered: any may have been.
    full: bool,
}

impl Recent {
    /// Nothing yet. What replicas show is no older than `behind`.
    #[must_use]
    pub fn new(behind: Duration) -> Self {
        Self { clock: Clock::start(), turn_ns: nanos(behind + REPLICA_READ), maps: Mutex::default() }
    }

    /// Accounts were changed, each by the payment with its number.
    pub fn note(&self, changes: impl Iterator<Item = (AccountId, u64)>) {
        let mut maps = self.turned();
        for (account, seq) in changes {
            let map = &mut maps.now;
            if map.last.len() < RECENT_ACCOUNTS || map.last.contains_key(&account) {
                let last = map.last.entry(account).or_default();
                *last = seq.max(*last);
            } else {
                map.full = true;
            }
        }
    }

    /// The payment that `account` has to show at least; one that there never is when that is not known.
    pub fn least(&self, account: AccountId) -> u64 {
        let maps = self.turned();
        let of = |map: &Map| match map.last.get(&account) {
            Some(seq) => *seq,
            None if map.full => u64::MAX,
            None => 0,
        };
        of(&maps.now).max(of(&maps.before))
    }

    fn turned(&self) -> std::sync::MutexGuard<'_, Maps> {
        let now_ns = self.clock.now_ns();
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        let age_ns = now_ns.saturating_sub(maps.turned_ns);
        if age_ns >= self.turn_ns {
            let now = std::mem::take(&mut maps.now);
            // Nothing was changed for so long that both are over.
            maps.before = if age_ns >= self.turn_ns.saturating_mul(2) { Map::default() } else { now };
            maps.turned_ns = now_ns;
        }
        maps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(turn: Duration) -> Recent {
        Recent { turn_ns: turn.as_nanos() as u64, ..Recent::new(Duration::ZERO) }
    }

    #[test]
    fn an_account_shows_its_last_payment_at_least() {
        let recent = recent(Duration::from_secs(3600));
        recent.note([(AccountId(1), 7), (AccountId(2), 7), (AccountId(1), 9), (AccountId(2), 8)].into_iter());
        recent.note([(AccountId(1), 3)].into_iter());
        assert_eq!([1, 2, 3].map(|id| recent.least(AccountId(id))), [9, 8, 0]);
    }

    #[test]
    fn what_is_old_is_forgotten_and_never_what_is_new() {
        let recent = recent(Duration::from_millis(50));
        recent.note([(AccountId(1), 7)].into_iter());
        let noted = recent.clock.now_ns();
        loop {
            let least = recent.least(AccountId(1));
            let age = recent.clock.now_ns() - noted;
            if least == 0 {
                assert!(age >= 50_000_000, "forgotten after {age} ns");
                break;
            }
            assert!(age < 10_000_000_000, "still there after {age} ns");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn beyond_its_size_every_account_may_have_been_changed() {
        let recent = recent(Duration::from_secs(3600));
        let all = RECENT_ACCOUNTS as u32;
        recent.note((0..all).map(|n| (AccountId(n), 5)));
        assert_eq!((recent.least(AccountId(0)), recent.least(AccountId(all))), (5, 0));
        recent.note([(AccountId(all), 6), (AccountId(0), 7)].into_iter());
        assert_eq!((recent.least(AccountId(0)), recent.least(AccountId(all))), (7, u64::MAX));
    }
}
