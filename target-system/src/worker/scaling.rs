//! How many workers there are to be.
//!
//! As many as deliver what waits within the drain target: `ceil(depth × processing time ÷ target)`, between
//! two bounds. More are taken at once. Fewer only when the whole of the last while would have done with
//! fewer, and then no fewer than its highest moment wanted: a backlog that comes in waves keeps its workers.

use std::collections::VecDeque;
use std::time::Duration;

/// What a notice is taken to cost before one was delivered.
const FIRST_GUESS: Duration = Duration::from_secs(5);

/// The bounds and the aim.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The fewest workers.
    pub min: usize,
    /// The most.
    pub max: usize,
    /// Within how long what waits is to be delivered.
    pub drain_target: Duration,
    /// How long fewer must do before there are fewer.
    pub steady: Duration,
}

impl Bounds {
    /// How many workers deliver `depth` notices of `each` within the drain target.
    #[must_use]
    pub fn desired(&self, depth: u64, each: Option<Duration>) -> usize {
        let work_s = depth as f64 * each.unwrap_or(FIRST_GUESS).as_secs_f64();
        let workers = (work_s / self.drain_target.as_secs_f64()).ceil();
        // Beyond all numbers of workers it saturates.
        (workers as usize).clamp(self.min, self.max)
    }
}

/// The number of workers over time.
#[derive(Debug)]
pub struct Scale {
    bounds: Bounds,
    /// What was desired lately and by nothing later exceeded: when and how many, falling. It holds as many
    /// as there are numbers between the bounds, at most.
    peaks: VecDeque<(Duration, usize)>,
    workers: usize,
}

impl Scale {
    /// The fewest at first.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, peaks: VecDeque::new(), workers: bounds.min }
    }

    /// How many workers there are to be at `now`, which never falls.
    pub fn decide(&mut self, now: Duration, depth: u64, each: Option<Duration>) -> usize {
        let desired = self.bounds.desired(depth, each);
        while self.peaks.pop_back_if(|(_, n)| *n <= desired).is_some() {}
        self.peaks.push_back((now, desired));
        while self.peaks.pop_front_if(|(at, _)| now.saturating_sub(*at) >= self.bounds.steady).is_some() {}
        let peak = self.peaks.front().map_or(desired, |(_, n)| *n);
        self.workers = desired.max(peak.min(self.workers));
        self.workers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds =
        Bounds { min: 2, max: 20, drain_target: Duration::from_secs(300), steady: Duration::from_secs(300) };
    const S: Duration = Duration::from_secs(1);

    #[test]
    fn workers_follow_depth_and_processing_time() {
        let desired = |depth, each_ms| BOUNDS.desired(depth, Some(Duration::from_millis(each_ms)));
        // 600 notices of 5 s each in 300 s.
        assert_eq!(desired(600, 5_000), 10);
        assert_eq!(desired(601, 5_000), 11);
        assert_eq!(BOUNDS.desired(601, None), 11);
        assert_eq!([desired(0, 5_000), desired(10_000, 1)], [2, 2]);
        assert_eq!([desired(100_000, 5_000), desired(u64::MAX, u64::MAX)], [20, 20]);
    }

    #[test]
    fn more_come_at_once_and_fewer_after_a_while() {
        let mut scale = Scale::new(BOUNDS);
        let each = Some(5 * S);
        let mut at = |second, depth| scale.decide(second * S, depth, each);
        assert_eq!([at(0, 0), at(60, 600), at(120, 900)], [2, 10, 15]);
        // The wave of second 120 holds until 420, that of 300 until 600.
        assert_eq!([at(180, 0), at(300, 480), at(419, 0)], [15, 15, 15]);
        assert_eq!([at(420, 0), at(599, 0), at(600, 0)], [8, 8, 2]);
    }

    proptest! {
        #[test]
        fn bounds_hold_and_memory_is_bounded(depths in prop::collection::vec(0u64..100_000, 1..200)) {
            let mut scale = Scale::new(BOUNDS);
            for (n, depth) in depths.into_iter().enumerate() {
                let workers = scale.decide(u32::try_from(n).unwrap() * 7 * S, depth, Some(S));
                prop_assert!((2..=20).contains(&workers));
                prop_assert!(workers >= BOUNDS.desired(depth, Some(S)));
                prop_assert!(scale.peaks.len() <= 19);
            }
        }
    }
}
