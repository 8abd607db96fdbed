//! Which notices this process has delivered, as far as it remembers.

use std::collections::{HashSet, VecDeque};

use xxhash_rust::xxh3::xxh3_128;

/// The ids delivered last. They are kept as 128 bits each: two of them never look alike.
#[derive(Debug)]
pub struct Seen {
    known: HashSet<u128>,
    /// The oldest first.
    order: VecDeque<u128>,
    limit: usize,
}

impl Seen {
    /// Remembers `limit` ids.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { known: HashSet::new(), order: VecDeque::new(), limit }
    }

    /// Whether `id` was delivered.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.known.contains(&xxh3_128(id.as_bytes()))
    }

    /// `id` is delivered. The oldest makes room.
    pub fn insert(&mut self, id: &str) {
        let id = xxh3_128(id.as_bytes());
        if !self.known.insert(id) {
            return;
        }
        if self.order.len() == self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_known_and_no_more_than_the_limit() {
        let mut seen = Seen::new(3);
        for id in ["a", "b", "b", "c", "d"] {
            seen.insert(id);
        }
        assert_eq!(["a", "b", "c", "d"].map(|id| seen.contains(id)), [false, true, true, true]);
        assert_eq!((seen.known.len(), seen.order.len()), (3, 3));
    }
}
