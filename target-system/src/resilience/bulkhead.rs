//! The bulkhead: so many calls at once, so many that wait for a place, and the next is refused at once.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// How much of the service one dependency may hold.
#[derive(Debug, Clone, Copy)]
pub struct BulkheadSettings {
    /// Calls at once.
    pub at_once: usize,
    /// Calls that may wait for a place.
    pub waiting: usize,
}

/// Places for calls.
#[derive(Debug)]
pub struct Bulkhead {
    settings: BulkheadSettings,
    /// To be inside at all: under way or waiting.
    inside: Semaphore,
    /// To be under way.
    under_way: Semaphore,
}

/// A place. Free again when it is dropped.
#[derive(Debug)]
pub struct Place<'a>(#[expect(dead_code, reason = "held, not read")] [SemaphorePermit<'a>; 2]);

/// There is no place, and none has come free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Bulkhead {
    /// All places are free.
    #[must_use]
    pub fn new(settings: BulkheadSettings) -> Self {
        let inside = Semaphore::new(settings.at_once + settings.waiting);
        Self { settings, inside, under_way: Semaphore::new(settings.at_once) }
    }

    /// A place, perhaps after a wait of up to `patience`.
    ///
    /// # Errors
    /// At once when as many wait already as may.
    pub async fn enter(&self, patience: Duration) -> Result<Place<'_>, Full> {
        let inside = self.inside.try_acquire().map_err(|_| Full)?;
        if let Ok(under_way) = self.under_way.try_acquire() {
            return Ok(Place([inside, under_way]));
        }
        let waited = tokio::time::timeout(patience, self.under_way.acquire()).await;
        match waited {
            Ok(Ok(under_way)) => Ok(Place([inside, under_way])),
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }

    /// Calls under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.settings.at_once.saturating_sub(self.under_way.available_permits())
    }

    /// Calls that wait for a place.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let inside = self.settings.at_once + self.settings.waiting - self.inside.available_permits();
        inside.saturating_sub(self.under_way())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_next_waits_and_the_one_after_is_refused_at_once() {
        let bulkhead = Bulkhead::new(BulkheadSettings { at_once: 2, waiting: 1 });
        let (first, _second) =
            (bulkhead.enter(PATIENCE).await.unwrap(), bulkhead.enter(PATIENCE).await.unwrap());
        let mut third = std::pin::pin!(bulkhead.enter(PATIENCE));
        assert!(tokio::time::timeout(Duration::from_millis(1), third.as_mut()).await.is_err());
        assert_eq!((bulkhead.under_way(), bulkhead.waiting()), (2, 1));
        let began = timer::now();
        assert_eq!(bulkhead.enter(PATIENCE).await.err(), Some(Full));
        assert_eq!(began.elapsed(), Duration::ZERO);
        drop(first);
        let third = third.await.unwrap();
        assert_eq!((bulkhead.under_way(), bulkhead.waiting()), (2, 0));
        drop(third);
        assert_eq!(bulkhead.under_way(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_beyond_their_patience_or_keeps_a_place_by_giving_up() {
        let bulkhead = Bulkhead::new(BulkheadSettings { at_once: 1, waiting: 1 });
        let held = bulkhead.enter(PATIENCE).await.unwrap();
        let began = timer::now();
        assert_eq!(bulkhead.enter(PATIENCE).await.err(), Some(Full));
        assert_eq!(began.elapsed(), PATIENCE);
        assert_eq!((bulkhead.under_way(), bulkhead.waiting()), (1, 0));
        drop(held);
        assert!(bulkhead.enter(PATIENCE).await.is_ok());
    }
}
