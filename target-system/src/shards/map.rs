//! Which database holds what: a function of an id alone, and for ever the same.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::AccountId;
use crate::limits::{MAX_SHARDS, NUMBERS_OF_A_SHARD};

/// How accounts are divided among databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// By a hash of the account's number: even, whatever numbers are in use.
    Hash,
    /// By the number modulo the databases: plain to see, and as even as the numbers are.
    Modulo,
}

impl By {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            By::Hash => "hash",
            By::Modulo => "modulo",
        }
    }
}

/// Which database holds what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardMap {
    by: By,
    shards: u16,
}

impl ShardMap {
    /// One database holds everything.
    pub const ONE: ShardMap = ShardMap { by: By::Hash, shards: 1 };

    /// `shards` databases; `None` when they are none, or too many.
    #[must_use]
    pub fn new(by: By, shards: usize) -> Option<Self> {
        let shards = u16::try_from(shards).ok().filter(|n| (1..=MAX_SHARDS).contains(n))?;
        Some(Self { by, shards })
    }

    /// How many there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        usize::from(self.shards)
    }

    /// How accounts are divided.
    #[must_use]
    pub fn by(&self) -> By {
        self.by
    }

    /// The database that holds `account`.
    #[must_use]
    pub fn of(&self, account: AccountId) -> usize {
        match self.by {
            By::Hash => self.home(&account.0.to_le_bytes()),
            By::Modulo => account.0 as usize % self.shards(),
        }
    }

    /// The database that keeps what is known by `name`: a key, a user.
    #[must_use]
    pub fn home(&self, name: &[u8]) -> usize {
        // A remainder of less than `shards` fits.
        (xxh3_64(name) % u64::from(self.shards)) as usize
    }

    /// The database that has given the number `seq`; `None` when there is none of that number.
    #[must_use]
    pub fn of_number(&self, seq: u64) -> Option<usize> {
        let shard = usize::try_from(seq / NUMBERS_OF_A_SHARD).ok()?;
        (shard < self.shards()).then_some(shard)
    }
}

/// One database among those of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which holds what.
    pub map: ShardMap,
    /// This one.
    pub own: usize,
}

impl Place {
    /// The only one.
    pub const ALONE: Place = Place { map: ShardMap::ONE, own: 0 };

    /// Whether it holds `account`.
    #[must_use]
    pub fn holds(&self, account: AccountId) -> bool {
        self.map.shards == 1 || self.map.of(account) == self.own
    }

    /// Whether there are others.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.map.shards > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(by: By, shards: usize) -> ShardMap {
        ShardMap::new(by, shards).unwrap()
    }

    #[test]
    fn what_is_where_never_changes() {
        // Accounts lie in databases by this: other figures here are payments that nobody finds.
        let of = |by| (1..=8).map(|n| map(by, 3).of(AccountId(n))).collect::<Vec<_>>();
        assert_eq!(of(By::Modulo), [1, 2, 0, 1, 2, 0, 1, 2]);
        assert_eq!(of(By::Hash), [2, 2, 0, 1, 2, 2, 0, 1]);
        let homes = [&b"service\0k1"[..], b"service\0k2", b"ann"].map(|name| map(By::Hash, 4).home(name));
        assert_eq!(homes, [3, 0, 0]);
    }

    #[test]
    fn numbers_tell_who_gave_them() {
        let map = map(By::Hash, 3);
        assert_eq!(map.of_number(1), Some(0));
        assert_eq!(map.of_number(NUMBERS_OF_A_SHARD + 1), Some(1));
        assert_eq!(map.of_number(3 * NUMBERS_OF_A_SHARD), None);
        assert_eq!(map.of_number(u64::MAX), None);
        // The last number of the last database is exact in JSON, where numbers are doubles.
        assert!(u64::from(MAX_SHARDS) * NUMBERS_OF_A_SHARD < 1 << 53);
    }

    #[test]
    fn accounts_are_spread_evenly() {
        for by in [By::Hash, By::Modulo] {
            let mut held = [0_u32; 4];
            (1..=40_000).for_each(|n| held[map(by, 4).of(AccountId(n))] += 1);
            assert!(held.iter().all(|n| (9_500..=10_500).contains(n)), "{by:?}: {held:?}");
        }
    }

    proptest! {
        #[test]
        fn everything_is_somewhere(n in 0u32..=99_999_999, shards in 1usize..=64, name: Vec<u8>, seq: u64) {
            for by in [By::Hash, By::Modulo] {
                let map = map(by, shards);
                prop_assert!(map.of(AccountId(n)) < shards && map.home(&name) < shards);
                prop_assert!(map.of_number(seq).is_none_or(|shard| shard < shards));
            }
        }
    }

    #[test]
    fn there_is_one_at_least_and_there_are_not_too_many() {
        assert_eq!(ShardMap::new(By::Hash, 0), None);
        assert_eq!(ShardMap::new(By::Hash, usize::from(MAX_SHARDS) + 1), None);
    }
}
