//! A dependency that gets worse: how bad it is, and how few it lets in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::armed::Lease;

/// How bad it is `age` after it began, 0..=1: evenly worse over `ramp_ms`.
pub(crate) fn severity(age: Duration, ramp_ms: u64) -> f64 {
    match ramp_ms {
        0 => 1.0,
        ms => (age.as_secs_f64() * 1000.0 / ms as f64).min(1.0),
    }
}

/// How many are let in at once: `capacity` at the worst, ever more before that, and all at the beginning.
pub(crate) fn room(capacity: u32, severity: f64) -> usize {
    // The cast holds what is too large, infinity included, at the largest number.
    (f64::from(capacity) / severity) as usize
}

/// Who is inside.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    inside: Mutex<usize>,
    left: Notify,
}

/// A place inside, until it is dropped.
#[derive(Debug)]
pub(crate) struct Inside(Arc<Lease>);

/// Waits until fewer than `room` are inside of what `lease` holds up; `None` when the lease ends first.
pub(crate) async fn enter(lease: &Arc<Lease>, room: impl Fn() -> usize) -> Option<Inside> {
    let crowd = &lease.crowd;
    let entered = async {
        loop {
            let left = crowd.left.notified();
            {
                let mut inside = crowd.count();
                if *inside < room() {
                    *inside += 1;
                    return Inside(Arc::clone(lease));
                }
            }
            left.await;
        }
    };
    tokio::select! {
        biased;
        inside = entered => Some(inside),
        () = lease.hold(None) => None,
    }
}

impl Crowd {
    fn count(&self) -> std::sync::MutexGuard<'_, usize> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn is_at(&self, inside: usize) -> bool {
        *self.count() == inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        *self.0.crowd.count() -= 1;
        self.0.crowd.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gets_evenly_worse_until_it_is_at_its_worst() {
        let at = |ms| severity(Duration::from_millis(ms), 200);
        assert_eq!([at(0), at(50), at(200), at(9000)], [0.0, 0.25, 1.0, 1.0]);
        assert_eq!(severity(Duration::ZERO, 0), 1.0);
    }

    #[test]
    fn the_room_shrinks_from_no_limit_to_the_capacity() {
        assert_eq!(room(10, 0.0), usize::MAX);
        assert_eq!([room(10, 0.1), room(10, 0.5), room(10, 1.0), room(1, 1.0)], [100, 20, 10, 1]);
    }
}
