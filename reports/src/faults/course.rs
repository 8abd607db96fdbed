//! How the service level went around a fault: when it showed, and when it was over.

use std::ops::Range;

use crate::faults::rule::{Rule, in_range};
use crate::seconds::Second;
use crate::summary::Recovery;
use crate::windows::FaultWindow;

/// A service is back when this many seconds in a row are good.
pub const RECOVERED_AFTER_GOOD_S: usize = 3;

/// Good seconds in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streak {
    good: usize,
    since: u32,
}

impl Streak {
    /// Of another second; a `bad` one ends it. Once there are [`RECOVERED_AFTER_GOOD_S`] of them, the first.
    pub fn second(&mut self, second: u32, bad: bool) -> Option<u32> {
        if bad {
            *self = Self::default();
            return None;
        }
        if self.good == 0 {
            self.since = second;
        }
        self.good += 1;
        (self.good >= RECOVERED_AFTER_GOOD_S).then_some(self.since)
    }
}

/// A search for the first [`RECOVERED_AFTER_GOOD_S`] good seconds in a row. Seconds without load are
/// passed over.
#[derive(Debug, Default)]
struct Search {
    /// The first of them.
    back: Option<u32>,
    /// The first bad second before that.
    first_bad: Option<u32>,
    /// How many seconds could be judged.
    judged: usize,
    /// The good ones in a row that the search ended with.
    streak: Streak,
}

impl Search {
    fn of(range: &Range<u32>, rule: &Rule, seconds: &[Second]) -> Self {
        let mut search = Self::default();
        for s in in_range(seconds, range) {
            let Some(bad) = rule.bad(s) else { continue };
            search.judged += 1;
            if bad {
                search.first_bad.get_or_insert(s.second);
            }
            search.back = search.streak.second(s.second, bad);
            if search.back.is_some() {
                break;
            }
        }
        search
    }
}

/// How the service level went from a fault's beginning on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Course {
    /// See the fields of [`crate::summary::FaultSummary`].
    pub detect_s: Option<f64>,
    pub mitigate_s: Option<f64>,
    pub recover_s: Option<f64>,
    pub rto_s: Option<f64>,
    pub relapse_s: Option<u32>,
    pub recovery: Option<Recovery>,
    pub watched_s: f64,
    /// The seconds after the fault in which it was looked for.
    pub watched: Range<u32>,
    /// The seconds from its beginning until it was over, or as far as it was watched.
    pub effect: Range<u32>,
}

impl Course {
    /// Of an armed fault. It is watched until the second `next`, in which another fault begins.
    pub fn of(window: &FaultWindow, next: Option<u32>, rule: &Rule, seconds: &[Second]) -> Self {
        let during = window.during.clone();
        let limit = next.unwrap_or(u32::MAX);
        let until = in_range(seconds, &(during.end..limit))
            .filter(|s| s.all.level().total > 0)
            .last()
            .map_or(during.end, |s| s.second + 1);
        let watched = during.end..until;
        let after = Search::of(&watched, rule, seconds);
        let in_fault: Vec<(u32, bool)> =
            in_range(seconds, &during).filter_map(|s| Some((s.second, rule.bad(s)?))).collect();
        let detected = in_fault.iter().find(|(_, bad)| *bad).map(|(second, _)| *second);
        let judged = !in_fault.is_empty() || after.judged > 0;
        let broke = detected.or(after.first_bad);
        let effect = during.start..after.back.unwrap_or(until);
        let last_bad =
            in_range(seconds, &effect).filter(|s| rule.bad(s) == Some(true)).last().map(|s| s.second);
        let bad_again = |back: u32| {
            in_range(seconds, &(back..until)).filter(|s| rule.bad(s) == Some(true)).count() as u32
        };
        // As everywhere: a second is known when it is over, and good from its beginning.
        let from_start = |second: u32| (f64::from(second) - window.start_s).max(0.0);
        let back = |from: Option<u32>, end| Search::of(&(from?..end), rule, seconds).back;
        Self {
            detect_s: detected.map(|second| from_start(second + 1)),
            mitigate_s: back(detected, during.end).map(from_start),
            recover_s: after.back.map(|second| (f64::from(second) - window.end_s).max(0.0)),
            rto_s: back(last_bad, until).map(from_start),
            relapse_s: after.back.filter(|_| broke.is_some()).map(bad_again),
            recovery: judged.then(|| recovery(broke.is_some(), &after)),
            watched_s: (f64::from(until) - window.end_s).max(0.0),
            effect,
            watched,
        }
    }
}

/// `broke` says whether a second was bad from the fault's beginning on.
fn recovery(broke: bool, after: &Search) -> Recovery {
    if !broke {
        Recovery::NotNeeded
    } else if after.back.is_some() {
        Recovery::Recovered
    } else if after.judged >= RECOVERED_AFTER_GOOD_S && after.streak.good == 0 {
        Recovery::Never
    } else {
        Recovery::Unseen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{seconds, window};

    fn slos() -> Rule {
        Rule::Slos(vec![0.99])
    }

    /// The course of a fault from 20 to 30 s under an SLO of 99 %, in 50 s of load of which
    /// `bad(second)` of 100 requests are bad.
    fn course(bad: impl Fn(u32) -> u64) -> Course {
        Course::of(&window(), None, &slos(), &seconds(50, bad))
    }

    #[test]
    fn detection_is_the_end_of_the_first_bad_second_in_the_window() {
        assert_eq!(course(|s| if (22..33).contains(&s) { 50 } else { 0 }).detect_s, Some(3.0));
        assert_eq!(course(|_| 1).detect_s, None);
        // A breach before the fault is not its doing.
        assert_eq!(course(|s| if s == 19 { 50 } else { 0 }).detect_s, None);
    }

    #[test]
    fn recovery_is_the_first_of_three_good_seconds_in_a_row() {
        let c = course(|s| if (22..33).contains(&s) || s == 35 { 50 } else { 0 });
        assert_eq!((c.recover_s, c.recovery), (Some(6.0), Some(Recovery::Recovered)));
        assert_eq!((c.effect, c.watched, c.watched_s), (20..36, 30..50, 20.0));
    }

    #[test]
    fn a_service_that_no_second_was_bad_for_needs_no_recovery() {
        let c = course(|_| 0);
        assert_eq!((c.recovery, c.recover_s, c.rto_s), (Some(Recovery::NotNeeded), Some(0.0), None));
        // Not even when the fault lasts until the end of the run.
        let c = Course::of(&window(), None, &slos(), &seconds(30, |_| 0));
        assert_eq!((c.recovery, c.recover_s, c.watched_s), (Some(Recovery::NotNeeded), None, 0.0));
        // What goes wrong later, when it had been good for long enough, is not the fault's doing.
        assert_eq!(course(|s| u64::from(s > 40) * 50).recovery, Some(Recovery::NotNeeded));
    }

    #[test]
    fn a_service_that_breaks_only_when_the_fault_is_over_has_to_recover_too() {
        let c = course(|s| if (30..34).contains(&s) { 50 } else { 0 });
        assert_eq!((c.detect_s, c.recovery), (None, Some(Recovery::Recovered)));
        assert_eq!((c.recover_s, c.rto_s, c.mitigate_s), (Some(4.0), Some(14.0), None));
    }

    #[test]
    fn what_is_bad_again_after_it_had_recovered_is_told() {
        let c = course(|s| if (22..31).contains(&s) || s >= 36 { 50 } else { 0 });
        assert_eq!((c.recovery, c.recover_s, c.relapse_s), (Some(Recovery::Recovered), Some(1.0), Some(14)));
        assert_eq!(course(|s| if s == 25 { 50 } else { 0 }).relapse_s, Some(0));
        assert_eq!(course(|s| u64::from(s >= 22) * 50).relapse_s, None);
        assert_eq!(course(|s| u64::from(s >= 40) * 50).relapse_s, None, "nothing to recover from");
    }

    #[test]
    fn never_is_not_the_same_as_unseen() {
        let broken = |s: u32| u64::from(s >= 20) * 9;
        let c = course(broken);
        assert_eq!((c.recovery, c.recover_s, c.watched_s), (Some(Recovery::Never), None, 20.0));
        // The run ends with the fault, or two seconds later: too soon to see anything.
        for end in [30, 32] {
            let c = Course::of(&window(), None, &slos(), &seconds(end, broken));
            assert_eq!((c.recovery, c.recover_s), (Some(Recovery::Unseen), None), "{end}");
        }
        // Two good seconds at the end may be the first of three.
        let c = Course::of(&window(), None, &slos(), &seconds(40, |s| if s >= 38 { 0 } else { broken(s) }));
        assert_eq!((c.recovery, c.recover_s), (Some(Recovery::Unseen), None));
        // The next fault ends the watch.
        let c = Course::of(&window(), Some(32), &slos(), &seconds(50, broken));
        assert_eq!((c.recovery, c.watched_s), (Some(Recovery::Unseen), 2.0));
    }

    #[test]
    fn seconds_without_load_are_no_seconds_that_were_watched() {
        let mut s = seconds(50, |s| u64::from(s >= 20) * 9);
        s.iter_mut().filter(|s| s.second >= 30).for_each(|s| s.all = Default::default());
        let c = Course::of(&window(), None, &slos(), &s);
        assert_eq!((c.recovery, c.watched_s, c.effect), (Some(Recovery::Unseen), 0.0, 20..30));
    }

    #[test]
    fn a_fault_is_mitigated_when_the_service_is_back_while_it_still_acts() {
        let c = course(|s| if (21..24).contains(&s) { 50 } else { 0 });
        assert_eq!((c.mitigate_s, c.rto_s), (Some(4.0), Some(4.0)));
        // Two good seconds before the end are too few; with the one after it service is sustained.
        let c = course(|s| if (21..28).contains(&s) { 50 } else { 0 });
        assert_eq!((c.mitigate_s, c.rto_s, c.recover_s), (None, Some(8.0), Some(0.0)));
        assert_eq!(course(|_| 0).mitigate_s, None);
    }

    #[test]
    fn sustained_service_counts_from_the_beginning_and_is_null_when_it_does_not_come() {
        assert_eq!(course(|s| if (22..33).contains(&s) { 50 } else { 0 }).rto_s, Some(13.0));
        assert_eq!(course(|s| u64::from(s >= 22) * 50).rto_s, None);
    }

    #[test]
    fn service_that_breaks_again_was_mitigated_and_not_sustained() {
        let bad = |s: u32| (21..23).contains(&s) || (27..34).contains(&s);
        let c = course(|s| u64::from(bad(s)) * 50);
        assert_eq!((c.mitigate_s, c.recover_s, c.rto_s), (Some(3.0), Some(4.0), Some(14.0)));
        let c = course(|s| u64::from(bad(s) || s >= 27) * 50);
        assert_eq!((c.mitigate_s, c.recovery, c.rto_s), (Some(3.0), Some(Recovery::Never), None));
    }

    #[test]
    fn nothing_to_judge_by_is_no_verdict() {
        let c = Course::of(&window(), None, &Rule::Nothing, &seconds(50, |_| 50));
        assert_eq!((c.recovery, c.detect_s, c.recover_s), (None, None, None));
    }

    #[test]
    fn without_slos_the_baseline_judges_by_bad_share_and_by_p99() {
        let rule = Rule::Baseline { bad_share: 0.02, p99_us: Some(1000.0) };
        let mut s = seconds(50, |s| if s == 25 { 4 } else { 2 });
        let detect_s = |rule: &Rule, s: &[Second]| Course::of(&window(), None, rule, s).detect_s;
        assert_eq!(detect_s(&rule, &s), Some(6.0));
        s[23].p99_us = Some(3001);
        assert_eq!(detect_s(&rule, &s), Some(4.0));
        assert_eq!(detect_s(&Rule::Nothing, &s), None);
    }
}
