//! Which requests a fault has hit.

use std::sync::{Mutex, PoisonError};

/// The most hits that are kept of a lease; more are counted. 16 MB.
pub const MAX_HITS: usize = 1_000_000;
/// Hits are kept in parts of this many: nobody waits while a million of them are moved.
const PART: usize = 8192;

/// The hits of one lease, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct HitLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    parts: Vec<Vec<(u64, u32)>>,
    left_out: u64,
}

impl HitLog {
    pub(crate) fn note(&self, request_id: u64, attempt: u32) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = kept.parts.last_mut().filter(|part| part.len() < PART) {
            part.push((request_id, attempt));
        } else if kept.parts.len() * PART >= MAX_HITS {
            kept.left_out += 1;
        } else {
            let mut part = Vec::with_capacity(PART);
            part.push((request_id, attempt));
            kept.parts.push(part);
        }
    }

    /// The hits in their own order, which says nothing of threads, and how many more there were.
    pub(crate) fn read(&self) -> (Vec<(u64, u32)>, u64) {
        let (mut hits, left_out) = {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (kept.parts.concat(), kept.left_out)
        };
        hits.sort_unstable();
        // The last part reaches beyond the limit.
        let beyond = hits.len().saturating_sub(MAX_HITS) as u64;
        hits.truncate(MAX_HITS);
        (hits, left_out + beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_told_in_their_own_order() {
        let log = HitLog::default();
        for hit in [(7, 1), (u64::MAX, 0), (7, 0), (3, 9), (7, 0)] {
            log.note(hit.0, hit.1);
        }
        assert_eq!(log.read(), (vec![(3, 9), (7, 0), (7, 0), (7, 1), (u64::MAX, 0)], 0));
    }

    #[test]
    fn what_is_not_kept_is_counted() {
        let log = HitLog::default();
        for n in 0..MAX_HITS as u64 + 10_000 {
            log.note(n, 0);
        }
        let (hits, left_out) = log.read();
        assert_eq!((hits.len(), left_out), (MAX_HITS, 10_000));
    }
}
