//! What the connections of a proxy look at, and how they are told that it has changed.
//!
//! A connection compares one number when it has something to do; only when that has changed does it look further. Whoever
//! changes something wakes them all and waits for none: no connection, however stuck, holds a change up.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::acting::Acting;
use super::toxic::Stream;

/// The most toxics of one proxy.
pub const MAX_TOXICS: usize = 64;

/// Bytes that have passed one way.
#[derive(Debug, Default)]
pub struct Bytes {
    /// From who sends.
    pub received: AtomicU64,
    /// To who receives.
    pub sent: AtomicU64,
}

/// A proxy as its connections see it.
#[derive(Debug, Default)]
pub struct Shared {
    /// Rises with every change.
    version: AtomicU64,
    /// Rises when the connections that there are have to go.
    generation: AtomicU64,
    /// In the order of their creation.
    toxics: Mutex<Vec<Arc<Acting>>>,
    asleep: Mutex<Slab<Waker>>,
    upstream: Bytes,
    downstream: Bytes,
}

impl Shared {
    /// Rises with every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Rises when the connections that there are have to go.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What has passed in the direction of `stream`.
    #[must_use]
    pub fn bytes(&self, stream: Stream) -> &Bytes {
        match stream {
            Stream::Upstream => &self.upstream,
            Stream::Downstream => &self.downstream,
        }
    }

    /// The toxics in force at `now_ns`, in the order of their creation.
    #[must_use]
    pub fn toxics(&self, now_ns: u64) -> Vec<Arc<Acting>> {
        lock(&self.toxics).iter().filter(|toxic| now_ns < toxic.ends_ns).cloned().collect()
    }

    /// Changes the toxics, those that are over gone before, and tells every connection.
    pub fn change<T>(&self, now_ns: u64, change: impl FnOnce(&mut Vec<Arc<Acting>>) -> T) -> T {
        let changed = {
            let mut toxics = lock(&self.toxics);
            toxics.retain(|toxic| now_ns < toxic.ends_ns);
            change(&mut toxics)
        };
        self.tell();
        changed
    }

    /// Has every connection go.
    pub fn close(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.tell();
    }

    fn tell(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        for (_, waker) in &*lock(&self.asleep) {
            waker.wake_by_ref();
        }
    }

    /// Ready once there is another version than `seen`.
    pub fn changed(&self, seen: u64) -> Changed<'_> {
        Changed { shared: self, seen, key: None }
    }

    /// Has `waker` be woken at every change, until it is [forgotten](Self::forget).
    pub fn remember(&self, waker: Waker) -> usize {
        lock(&self.asleep).insert(waker)
    }

    /// Forgets a waker.
    pub fn forget(&self, key: usize) {
        lock(&self.asleep).try_remove(key);
    }

    /// Connections that there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.asleep).len()
    }
}

/// The wait for a change.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Changed<'a> {
    shared: &'a Shared,
    seen: u64,
    key: Option<usize>,
}

impl Future for Changed<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Before it looks: a change after that finds it. Its task is always the same.
        if self.key.is_none() {
            self.key = Some(self.shared.remember(cx.waker().clone()));
        }
        if self.shared.version() == self.seen { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.forget(key);
        }
    }
}

/// Nothing that is held together by a lock here can be left half done.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
