//! Idempotency keys: who holds one now, and what a key looks like on disk.
//!
//! A key belongs to its caller. While a request with a key is under way, nobody else may use
//! it; the claim travels with the command into the writer, so a client that hangs up does not
//! free its key before the payment is decided.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::limits::{MAX_KEY_BYTES, MAX_SUBJECT_BYTES};

/// Locks that the claims are spread over.
const SHARDS: usize = 16;

/// Secret of this process, so that nobody can choose keys that collide.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A caller's key: `caller`, a zero byte, the key as sent. It is hashed once, when it is made:
/// half a dozen tables are asked about it on a payment's way.
#[derive(Debug, Clone)]
pub struct ScopedKey {
    hash: u64,
    bytes: Arc<[u8]>,
}

/// A table by key.
pub type KeyMap<V> = HashMap<ScopedKey, V, BuildHasherDefault<Hashed>>;

/// Takes the hash that a [`ScopedKey`] brings along.
#[derive(Debug, Default, Clone, Copy)]
pub struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = SEED.hash_one((self.0, bytes));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Hash for ScopedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialEq for ScopedKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.bytes == other.bytes
    }
}

impl Eq for ScopedKey {}

/// Why a key cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an Idempotency-Key is 1 to {MAX_KEY_BYTES} visible ASCII characters")]
pub struct BadKey;

impl ScopedKey {
    /// The key `key` of `caller`.
    ///
    /// # Errors
    /// When it is empty, too long, or has other than visible ASCII characters.
    pub fn new(caller: &str, key: &[u8]) -> Result<Self, BadKey> {
        if !(1..=MAX_KEY_BYTES).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
            return Err(BadKey);
        }
        // A caller's name has no zero byte, so no two callers share a key.
        let mut scoped = [0; MAX_SUBJECT_BYTES + 1 + MAX_KEY_BYTES];
        let name = caller.len().min(MAX_SUBJECT_BYTES);
        scoped[..name].copy_from_slice(&caller.as_bytes()[..name]);
        scoped[name + 1..][..key.len()].copy_from_slice(key);
        Ok(Self::from_row(&scoped[..name + 1 + key.len()]))
    }

    /// The key of what is done on top of this one's request; `None` when it would be too long.
    #[must_use]
    pub fn of_more(&self, what: &[u8]) -> Option<Self> {
        let bytes = [self.as_bytes(), what].concat();
        (bytes.len() <= MAX_SUBJECT_BYTES + 1 + MAX_KEY_BYTES).then(|| Self::from_row(&bytes))
    }

    /// A key read back from a row.
    #[must_use]
    pub fn from_row(bytes: &[u8]) -> Self {
        Self { hash: SEED.hash_one(bytes), bytes: bytes.into() }
    }

    /// As rows hold it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The keys of the requests that are under way. As many as there are requests, which the
/// connections bound.
#[derive(Debug)]
pub struct InFlight {
    exclusive: bool,
    shards: [Mutex<HashSet<ScopedKey, BuildHasherDefault<Hashed>>>; SHARDS],
}

impl InFlight {
    /// No keys yet. Each is for one request at a time if it is `exclusive`: not so, two requests with one key may
    /// both be carried out.
    #[must_use]
    pub fn new(exclusive: bool) -> Self {
        Self { exclusive, shards: Default::default() }
    }

    /// Claims `key` until the claim is dropped; `None` when somebody holds it.
    pub fn claim(self: &Arc<Self>, key: ScopedKey) -> Option<Claim> {
        // One insertion leaves the set whole, whoever panicked before.
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        let free = shard.insert(key.clone()) || !self.exclusive;
        drop(shard);
        free.then(|| Claim { key, held_in: Arc::clone(self) })
    }

    fn shard(&self, key: &ScopedKey) -> &Mutex<HashSet<ScopedKey, BuildHasherDefault<Hashed>>> {
        // Bits that the tables themselves do not begin with.
        &self.shards[(key.hash >> 32) as usize % SHARDS]
    }
}

/// The right to use a key.
#[derive(Debug)]
pub struct Claim {
    key: ScopedKey,
    held_in: Arc<InFlight>,
}

impl Claim {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &ScopedKey {
        &self.key
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let shard = self.held_in.shard(&self.key);
        shard.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_of_its_caller() {
        let a = ScopedKey::new("a", b"k-1").unwrap();
        assert_ne!(a, ScopedKey::new("b", b"k-1").unwrap());
        assert_eq!(ScopedKey::from_row(a.as_bytes()), a);
        for bad in [&b""[..], b"a b", b"\x7f", "é".as_bytes(), &[b'x'; MAX_KEY_BYTES + 1]] {
            assert_eq!(ScopedKey::new("a", bad), Err(BadKey));
        }
        assert!(ScopedKey::new("a", &[b'x'; MAX_KEY_BYTES]).is_ok());
    }

    #[test]
    fn a_claim_excludes_others_until_it_is_dropped() {
        let keys = Arc::new(InFlight::new(true));
        let key = || ScopedKey::new("a", b"k").unwrap();
        let held = keys.claim(key()).unwrap();
        assert!(keys.claim(key()).is_none());
        assert!(keys.claim(ScopedKey::new("b", b"k").unwrap()).is_some());
        drop(held);
        assert!(keys.claim(key()).is_some());
    }

    #[test]
    fn without_exclusion_a_key_is_claimed_twice() {
        let keys = Arc::new(InFlight::new(false));
        let key = || ScopedKey::new("a", b"k").unwrap();
        let held = [keys.claim(key()), keys.claim(key())];
        assert!(held.iter().all(Option::is_some));
    }
}
