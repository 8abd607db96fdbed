//! A toxic that acts: what its decisions hang on, and whom it has met.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use super::shared::lock;
use super::toxic::Toxic;
use crate::decision::draw;

/// How many of those that a toxic has met it can name.
pub const MAX_HITS: usize = 100_000;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Of the connection, from 0 for each proxy.
    pub number: u64,
    /// Its address, but for a Unix socket.
    pub source: Option<IpAddr>,
}

/// A toxic that acts.
#[derive(Debug)]
pub struct Acting {
    /// What it is.
    pub toxic: Toxic,
    /// Tells it from another of the same name, later.
    pub id: u64,
    /// Its proxy's name and its own.
    pub fault: String,
    /// Decides, with the name, whom it meets.
    pub seed: u64,
    /// When it was made.
    pub armed_ns: u64,
    /// When it ends by itself; never is the last instant.
    pub ends_ns: u64,
    /// Whom it has met; the same after a change.
    pub tally: Arc<Tally>,
}

/// Whom a toxic has met.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that it could have met.
    matched: AtomicU64,
    met: AtomicU64,
    hits: Mutex<Vec<(u64, u32)>>,
}

/// Whom a toxic has met, as it is shown: the same seed and requests give the same, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hits {
    /// Its proxy's name and its own.
    pub fault: String,
    /// Decides whom it meets.
    pub seed: u64,
    /// How many it has met.
    pub met: u64,
    /// The hash of each request's id (its `Idempotency-Key` or `Request-Id`) and which attempt it was; of a connection its number.
    /// In order.
    pub hits: Vec<(u64, u32)>,
    /// How many more there were: beyond [`MAX_HITS`] none is named.
    pub left_out: u64,
}

impl Acting {
    /// Whether it meets the connection of `client`.
    #[must_use]
    pub fn meets(&self, client: Client) -> bool {
        self.is_from(client) && draw(self.seed, &self.fault, client.number, 0) < self.toxic.toxicity
    }

    /// Whether it can meet the connection of `client` at all.
    #[must_use]
    pub fn is_from(&self, client: Client) -> bool {
        self.toxic.r#match.as_ref().is_none_or(|wanted| wanted.is_from(client.source))
    }

    /// Whether it meets a request that it can meet: attempt `attempt` of `request`. Counts it.
    #[must_use]
    pub fn meets_request(&self, request: u64, attempt: u32) -> bool {
        let nth = self.tally.matched.fetch_add(1, Ordering::Relaxed);
        let Toxic { first, every, toxicity, .. } = &self.toxic;
        if first.is_some_and(|first| nth >= first)
            || every.is_some_and(|every| !(nth + 1).is_multiple_of(every))
        {
            return false;
        }
        let met = draw(self.seed, &self.fault, request, attempt) < *toxicity;
        if met {
            self.count(request, attempt);
        }
        met
    }

    /// Counts one that it has met.
    pub fn count(&self, request: u64, attempt: u32) {
        self.tally.met.fetch_add(1, Ordering::Relaxed);
        let mut hits = lock(&self.tally.hits);
        if hits.len() < MAX_HITS {
            hits.push((request, attempt));
        }
    }

    /// How many it has met.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.tally.met.load(Ordering::Relaxed)
    }

    /// Whom it has met.
    #[must_use]
    pub fn hits(&self) -> Hits {
        let mut hits = lock(&self.tally.hits).clone();
        hits.sort_unstable();
        let met = self.met();
        let left_out = met.saturating_sub(hits.len() as u64);
        Hits { fault: self.fault.clone(), seed: self.seed, met, hits, left_out }
    }
}
