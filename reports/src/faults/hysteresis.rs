//! Whether a service stays broken when what broke it is gone.
//!
//! That is a metastable failure (Bronson et al., Metastable Failures in Distributed Systems, HotOS
//! 2021): the load alone, retries above all, keeps it where a fault has pushed it. It can only be told
//! from a service that is merely loaded more by comparing at the same load, and from one that is slow to
//! recover by watching for some time.

use std::ops::Range;

use crate::faults::impact::Usual;
use crate::faults::rule::in_range;
use crate::seconds::Second;

/// Below this share of the goodput before the fault, a service has not come back.
pub const BACK_AT: f64 = 0.95;
/// Seconds with load that it takes to tell.
pub const WATCHED_AT_LEAST_S: usize = 10;
/// Goodput counts as back when it is so over this many seconds in a row: one second alone is chance.
const BACK_FOR_S: usize = 3;
/// A second has the load of before when no more was planned for it than this many times the mean…
pub const SAME_LOAD: f64 = 1.1;
/// …and this many standard deviations of a Poisson count.
const SAME_LOAD_SIGMAS: f64 = 4.0;

/// Goodput after ÷ before, and whether it never came back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hysteresis {
    /// Over the last [`WATCHED_AT_LEAST_S`] seconds.
    pub ratio: f64,
    /// Whether it did not come back in any of the seconds watched.
    pub stuck: bool,
    /// How many those were.
    pub watched: u32,
}

/// Of the seconds `watched` after a fault; `None` when they do not tell.
pub(crate) fn hysteresis(
    usual: Option<Usual>,
    watched: &Range<u32>,
    seconds: &[Second],
) -> Option<Hysteresis> {
    let usual = usual.filter(|u| u.kept_share > 0.0)?;
    let most = SAME_LOAD * usual.planned_rps + SAME_LOAD_SIGMAS * usual.planned_rps.sqrt();
    let after: Vec<&Second> = in_range(seconds, watched)
        .take_while(|s| s.all.planned as f64 <= most)
        .filter(|s| s.all.planned > 0)
        .collect();
    let last = after.get(after.len().checked_sub(WATCHED_AT_LEAST_S)?..)?;
    let ratio = |part: &[&Second]| {
        let (kept, planned) = part.iter().fold((0u64, 0u64), |(k, p), s| (k + s.kept, p + s.all.planned));
        kept as f64 / planned.max(1) as f64 / usual.kept_share
    };
    Some(Hysteresis {
        ratio: ratio(last),
        stuck: after.windows(BACK_FOR_S).all(|part| ratio(part) < BACK_AT),
        watched: after.len() as u32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::seconds;

    /// After a fault from 20 to 30 s, `end` seconds of load in all.
    fn after(end: u32, bad: impl Fn(u32) -> u64) -> Option<Hysteresis> {
        let s = seconds(end, bad);
        hysteresis(Usual::of(&(10..20), &s), &(30..end), &s)
    }

    #[test]
    fn a_service_that_stays_broken_without_its_cause_is_stuck() {
        let h = after(45, |s| u64::from(s >= 20) * 40).unwrap();
        assert!((h.ratio - 0.6).abs() < 1e-9 && h.stuck, "{h:?}");
        assert_eq!(h.watched, 15);
    }

    #[test]
    fn a_service_that_is_slow_to_come_back_is_not() {
        let h = after(45, |s| if (20..41).contains(&s) { 40 } else { 0 }).unwrap();
        assert!(!h.stuck && h.ratio < 0.95, "{h:?}");
        let h = after(45, |s| if (20..32).contains(&s) { 40 } else { 0 }).unwrap();
        assert_eq!((h.stuck, h.ratio), (false, 1.0));
        // Nor is one that lost less than a twentieth for good.
        assert!(!after(45, |s| u64::from(s >= 20) * 4).unwrap().stuck);
    }

    #[test]
    fn one_good_second_is_chance() {
        assert!(after(45, |s| if s >= 20 && s != 37 { 40 } else { 0 }).unwrap().stuck);
    }

    #[test]
    fn less_than_ten_seconds_do_not_tell() {
        let broken = |s: u32| u64::from(s >= 20) * 40;
        assert!(after(40, broken).is_some());
        assert_eq!(after(39, broken), None);
        assert_eq!(after(30, broken), None);
        // Nor does a baseline in which nothing was good.
        assert_eq!(after(45, |_| 100), None);
    }

    #[test]
    fn a_load_that_was_raised_is_not_the_load_of_before() {
        let rate = |from: u32, rps: u64| {
            let mut s = seconds(60, |s| u64::from(s >= 20) * 40);
            s.iter_mut().filter(|s| s.second >= from).for_each(|s| {
                s.all.planned = rps;
                s.kept = rps * 6 / 10;
            });
            hysteresis(Usual::of(&(10..20), &s), &(30..60), &s)
        };
        assert_eq!(rate(35, 200), None, "five seconds at the same load are too few");
        assert_eq!(rate(45, 200).unwrap().watched, 15);
        // A lower one makes it no excuse.
        assert!(rate(35, 50).unwrap().stuck);
        // Seconds without load count for nothing.
        assert_eq!(rate(35, 0), None);
    }
}
