//! Which rate comes next.

use super::result::Step;

/// The lowest rate that is tried, in requests per second.
const FIRST_RPS: f64 = 5_000.0;
/// Each rate is this many times the one before, until one is not kept.
const FACTOR: f64 = 2.0;
/// Rates tried between the last that was kept and the first that was not.
const HALVINGS: u32 = 3;
/// The highest rate that is tried.
const LAST_RPS: f64 = 1_280_000.0;
/// A rate that is not kept is tried again this often in all: one hiccup of a busy machine is not
/// its limit.
const TRIES: u32 = 2;

/// The rates to try, decided as the steps come in.
#[derive(Debug)]
pub struct Ladder {
    /// Rates that were asked for, in rising order; then there is no search.
    given: Option<Vec<f64>>,
    steps: Vec<Step>,
    tries: u32,
    halvings: u32,
}

impl Ladder {
    /// Searches, or tries exactly the `given` rates.
    #[must_use]
    pub fn new(given: Option<Vec<f64>>) -> Self {
        let given = given.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates.dedup();
            rates
        });
        Self { given, steps: Vec::new(), tries: 0, halvings: 0 }
    }

    /// The rate to try next; `None` when all is known.
    #[must_use]
    pub fn next_rps(&self) -> Option<f64> {
        if let Some(again) = self.steps.last().filter(|s| !s.is_kept() && self.tries < TRIES) {
            return Some(again.rate_rps);
        }
        if let Some(given) = &self.given {
            let tried = self.steps.iter().map(|s| s.rate_rps).fold(0.0, f64::max);
            return given.iter().copied().find(|r| *r > tried);
        }
        match (self.kept_rps(), self.failed_rps()) {
            (None, None) => Some(FIRST_RPS),
            (Some(kept), None) => (kept < LAST_RPS).then_some(kept * FACTOR),
            // Below the first rate the search goes down in the same steps.
            (None, Some(failed)) => (self.halvings < HALVINGS).then_some(failed / FACTOR),
            (Some(kept), Some(failed)) => (self.halvings < HALVINGS).then(|| (kept * failed).sqrt()),
        }
    }

    /// Takes note of a step at [`next_rps`](Self::next_rps).
    pub fn add(&mut self, step: Step) {
        let again = self.steps.last().is_some_and(|s| s.rate_rps.total_cmp(&step.rate_rps).is_eq());
        if self.failed_rps().is_some() && !again {
            self.halvings += 1;
        }
        self.tries = if again { self.tries + 1 } else { 1 };
        match self.steps.last_mut().filter(|_| again) {
            Some(last) if step.is_kept() || step.lag_p99_us < last.lag_p99_us => *last = step,
            Some(_) => {}
            None => self.steps.push(step),
        }
    }

    /// Every rate that was tried, rising.
    #[must_use]
    pub fn into_steps(mut self) -> Vec<Step> {
        self.steps.sort_by(|a, b| a.rate_rps.total_cmp(&b.rate_rps));
        self.steps
    }

    /// The highest rate below the first that failed which was kept.
    #[must_use]
    pub fn kept_rps(&self) -> Option<f64> {
        let failed = self.failed_rps().unwrap_or(f64::INFINITY);
        self.steps
            .iter()
            .filter(|s| s.is_kept() && s.rate_rps < failed)
            .map(|s| s.rate_rps)
            .max_by(f64::total_cmp)
    }

    /// The lowest rate that was not kept.
    #[must_use]
    pub fn failed_rps(&self) -> Option<f64> {
        self.steps.iter().filter(|s| !s.is_kept()).map(|s| s.rate_rps).min_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rate_rps: f64, kept: bool) -> Step {
        Step {
            rate_rps,
            achieved_rps: rate_rps,
            lag_p50_us: 10,
            lag_p99_us: if kept { 100 } else { 5_000 },
            lag_max_us: 10_000,
            pacing_p99_us: 50,
            cpu: 0.5,
            cpu_us_per_request: 5.0,
            problem: (!kept).then(|| "late".to_owned()),
        }
    }

    /// Climbs on a machine that keeps rates up to `limit_rps`; every rate fails `hiccups` times first.
    fn climb(mut ladder: Ladder, limit_rps: f64, hiccups: u32) -> (Ladder, Vec<f64>) {
        let mut tried = Vec::new();
        while let Some(rate) = ladder.next_rps() {
            let before = tried.iter().filter(|r| **r == rate).count();
            tried.push(rate);
            assert!(tried.len() < 100, "it never ends: {tried:?}");
            ladder.add(step(rate, rate <= limit_rps && before >= hiccups as usize));
        }
        (ladder, tried)
    }

    #[test]
    fn the_limit_is_found_within_a_tenth() {
        for limit in [5_000.0, 7_000.0, 33_333.0, 90_000.0, 300_000.0] {
            for hiccups in [0, 1] {
                let (ladder, tried) = climb(Ladder::new(None), limit, hiccups);
                let kept = ladder.kept_rps().unwrap();
                assert!(
                    kept <= limit && kept * 2f64.powf(1.0 / 8.0) * 1.001 >= limit,
                    "{limit}: {kept}, {tried:?}"
                );
                assert!(ladder.failed_rps().unwrap() > limit);
            }
        }
    }

    #[test]
    fn a_slow_machine_is_searched_below_the_first_rate_and_may_keep_none() {
        let (ladder, _) = climb(Ladder::new(None), 1_300.0, 0);
        assert_eq!(ladder.kept_rps(), Some(1_250.0));
        let (ladder, tried) = climb(Ladder::new(None), 10.0, 0);
        assert_eq!(ladder.kept_rps(), None);
        assert!(tried.len() <= 2 * (1 + HALVINGS as usize), "{tried:?}");
    }

    #[test]
    fn a_machine_without_a_limit_is_climbed_to_the_end() {
        let (ladder, tried) = climb(Ladder::new(None), f64::INFINITY, 0);
        assert_eq!((ladder.kept_rps(), ladder.failed_rps()), (Some(LAST_RPS), None));
        assert_eq!(tried.len(), 9);
    }

    #[test]
    fn given_rates_are_all_tried_and_no_others() {
        let (ladder, tried) = climb(Ladder::new(Some(vec![300.0, 100.0, 200.0])), 150.0, 0);
        assert_eq!(tried, [100.0, 200.0, 200.0, 300.0, 300.0]);
        assert_eq!((ladder.kept_rps(), ladder.failed_rps()), (Some(100.0), Some(200.0)));
        assert_eq!(ladder.into_steps().len(), 3);
    }

    #[test]
    fn a_rate_above_one_that_failed_does_not_count() {
        let mut ladder = Ladder::new(Some(vec![100.0, 200.0]));
        for s in [step(100.0, false), step(100.0, false), step(200.0, true)] {
            ladder.add(s);
        }
        assert_eq!(ladder.kept_rps(), None);
    }
}
