//! When each fault acted, and which whole seconds lie before, in and after it.

use std::ops::Range;

use squall_record::event::{Event, What};
use squall_record::fault::FaultSpec;
use squall_scenarios::plan::Plan;

/// A fault that covers less than this of a second does not claim the second: arming takes some
/// milliseconds, and a fault planned for 20.0 s must not turn second 19 or 20 into another one.
pub const EDGE_S: f64 = 0.1;

/// A fault of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultWindow {
    /// What it was.
    pub spec: FaultSpec,
    /// Whether it was armed.
    pub armed: bool,
    /// What went wrong with it; above all, what of it is left behind.
    pub problem: Option<String>,
    /// Whether something of it is left behind, or may be.
    pub left: bool,
    /// Whether it acted, and for clearly less long than it was to.
    pub cut_short: bool,
    /// When it was planned to begin, in seconds since the first planned arrival.
    pub planned_start_s: f64,
    /// When it was due: as planned, or when the condition held that it waited for.
    pub due_s: f64,
    /// When it began, in seconds since the first planned arrival; as planned when not armed.
    pub start_s: f64,
    /// When it ended.
    pub end_s: f64,
    /// Requests that it hit.
    pub affected: Option<u64>,
    /// The seconds before it that it is compared with; may be empty.
    pub baseline: Range<u32>,
    /// The seconds in which it acted; empty when it was not armed.
    pub during: Range<u32>,
    /// The seconds after it; may be empty.
    pub after: Range<u32>,
    /// Whether it was planned to last as long as the load.
    pub to_the_end: bool,
}

impl FaultWindow {
    /// Whether it was planned to be there from the beginning: it belongs to what others are compared with.
    #[must_use]
    pub fn is_from_the_beginning(&self) -> bool {
        self.planned_start_s <= 0.0
    }

    /// Whether there was never to be a second without it.
    #[must_use]
    pub fn is_throughout(&self) -> bool {
        self.is_from_the_beginning() && self.to_the_end
    }
}

/// A fault that ends this much before its time has been cut short.
const CUT_SHORT_S: f64 = 1.0;

/// The faults of a run whose load ended at `load_end_s`, in the order in which they began. Faults
/// planned after that are left out: the run never came to them.
pub(crate) fn fault_windows(plan: &Plan, events: &[Event], load_end_s: f64) -> Vec<FaultWindow> {
    let mut windows: Vec<FaultWindow> = plan
        .faults
        .iter()
        .filter_map(|p| {
            let history = History::of(&p.fault.name, events);
            if history.on_s.is_none() && history.problem.is_none() && p.start_s >= load_end_s {
                return None;
            }
            let armed = history.on_s.is_some();
            let start_s = history.on_s.unwrap_or(p.start_s);
            // A lease ends by itself, so without a word about its end the planned one holds.
            let end_s = history.off_s.unwrap_or(p.end_s.min(load_end_s)).max(start_s);
            let problem = history.problem.or_else(|| match history.affected {
                _ if !armed => Some("it was never armed".to_owned()),
                Some(0) => Some("it was armed and hit no request".to_owned()),
                _ => None,
            });
            let during = if armed { covered(start_s, end_s) } else { 0..0 };
            Some(FaultWindow {
                spec: history.spec.unwrap_or_else(|| p.fault.clone()),
                armed,
                problem,
                left: history.left,
                cut_short: armed && end_s < p.end_s.min(load_end_s) - CUT_SHORT_S,
                planned_start_s: p.start_s,
                due_s: history.due_s.unwrap_or(p.start_s),
                start_s,
                end_s,
                affected: history.affected,
                baseline: 0..0,
                during,
                after: 0..0,
                to_the_end: p.end_s >= plan.duration_s(),
            })
        })
        .collect();
    windows.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    surround(&mut windows, plan, load_end_s);
    windows
}

/// The whole seconds of `start_s..end_s`.
fn covered(start_s: f64, end_s: f64) -> Range<u32> {
    let first = (start_s + EDGE_S).floor().max(0.0) as u32;
    let past = (end_s - EDGE_S).ceil().max(0.0) as u32;
    // Even the shortest fault acted in the second in which it began.
    first..past.max(first + 1)
}

/// Gives each fault the seconds before and after it: as many as it lasted, contiguous, up to the
/// first that belongs to a warm-up, to another fault or to no load.
fn surround(windows: &mut [FaultWindow], plan: &Plan, load_end_s: f64) {
    let busy: Vec<Range<u32>> =
        windows.iter().filter(|w| !w.is_from_the_beginning()).map(|w| w.during.clone()).collect();
    let load_end = (load_end_s + EDGE_S).floor().max(0.0) as u32;
    let quiet = |second: u32| {
        let phase = plan.phases.get(plan.phase_at(f64::from(second)));
        second < load_end
            && phase.is_some_and(|p| !p.warmup)
            && !busy.iter().any(|range| range.contains(&second))
    };
    for w in windows.iter_mut().filter(|w| w.armed) {
        let length = w.during.end - w.during.start;
        let earliest = w.during.start.saturating_sub(length);
        let before = (earliest..w.during.start).rev().take_while(|s| quiet(*s)).count() as u32;
        let latest = w.during.end.saturating_add(length);
        let after = (w.during.end..latest).take_while(|s| quiet(*s)).count() as u32;
        w.baseline = w.during.start - before..w.during.start;
        w.after = w.during.end..w.during.end + after;
    }
}

/// What the events say of one fault.
#[derive(Default)]
struct History {
    spec: Option<FaultSpec>,
    on_s: Option<f64>,
    due_s: Option<f64>,
    off_s: Option<f64>,
    affected: Option<u64>,
    problem: Option<String>,
    left: bool,
}

impl History {
    fn of(fault: &str, events: &[Event]) -> Self {
        let mut h = Self::default();
        for e in events {
            match &e.what {
                What::FaultOn { fault: spec, due_s } if spec.name == fault => {
                    h.spec = Some(spec.clone());
                    h.due_s = h.due_s.or(*due_s);
                    h.on_s.get_or_insert(e.at_s);
                }
                What::FaultOff { name, affected } if name == fault => {
                    h.off_s = Some(e.at_s);
                    h.affected = *affected;
                }
                What::FaultFailed { name, reason, left } if name == fault && (*left || !h.left) => {
                    h.problem = Some(reason.clone());
                    h.left = *left;
                }
                _ => {}
            }
        }
        h
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fault, plan};

    fn on(at_s: f64, name: &str) -> Event {
        Event { at_s, what: What::FaultOn { fault: fault(name, 0.0, 0.0).fault, due_s: None } }
    }

    fn off(at_s: f64, name: &str) -> Event {
        Event { at_s, what: What::FaultOff { name: name.into(), affected: Some(7) } }
    }

    /// 5 s of warm-up, then 55 s of load, with `faults` planned.
    fn windows(faults: &[(&str, f64, f64)], events: &[Event], load_end_s: f64) -> Vec<FaultWindow> {
        let mut p = plan();
        p.faults = faults.iter().map(|(name, start, end)| fault(name, *start, *end)).collect();
        fault_windows(&p, events, load_end_s)
    }

    #[test]
    fn a_fault_is_compared_with_as_much_time_before_and_after() {
        let w = &windows(&[("slow", 20.0, 30.0)], &[on(20.004, "slow"), off(30.01, "slow")], 60.0)[0];
        assert_eq!((w.baseline.clone(), w.during.clone(), w.after.clone()), (10..20, 20..30, 30..40));
        assert_eq!((w.start_s, w.end_s, w.affected, w.armed), (20.004, 30.01, Some(7), true));
    }

    #[test]
    fn the_baseline_stops_at_warm_ups_and_other_faults_and_after_at_the_end() {
        let events =
            [on(8.0, "a"), off(14.0, "a"), on(17.0, "b"), off(25.0, "b"), on(50.0, "c"), off(58.0, "c")];
        let w = windows(&[("a", 8.0, 14.0), ("b", 17.0, 25.0), ("c", 50.0, 58.0)], &events, 60.0);
        assert_eq!((w[0].baseline.clone(), w[0].after.clone()), (5..8, 14..17));
        assert_eq!((w[1].baseline.clone(), w[1].after.clone()), (14..17, 25..33));
        assert_eq!((w[2].baseline.clone(), w[2].after.clone()), (42..50, 58..60));
    }

    #[test]
    fn a_fault_that_was_never_armed_is_kept_with_its_reason_and_no_seconds() {
        let (name, reason) = ("slow".into(), "refused".into());
        let failed = Event { at_s: 20.0, what: What::FaultFailed { name, reason, left: false } };
        let w = &windows(&[("slow", 20.0, 30.0)], &[failed], 60.0)[0];
        assert!(!w.armed && w.during.is_empty() && w.baseline.is_empty());
        assert_eq!(w.problem.as_deref(), Some("refused"));
        let silent = &windows(&[("slow", 20.0, 30.0)], &[], 60.0)[0];
        assert_eq!(silent.problem.as_deref(), Some("it was never armed"));
    }

    #[test]
    fn a_fault_that_was_armed_and_met_nobody_says_so() {
        let off = Event { at_s: 30.0, what: What::FaultOff { name: "slow".into(), affected: Some(0) } };
        let w = &windows(&[("slow", 20.0, 30.0)], &[on(20.0, "slow"), off], 60.0)[0];
        assert!(w.armed);
        assert_eq!(w.problem.as_deref(), Some("it was armed and hit no request"));
    }

    #[test]
    fn a_run_that_was_cut_short_ends_its_faults_and_never_came_to_the_later_ones() {
        let w = windows(&[("a", 20.0, 30.0), ("b", 40.0, 50.0)], &[on(20.0, "a")], 25.0);
        assert_eq!(w.len(), 1);
        assert_eq!((w[0].during.clone(), w[0].end_s, w[0].after.is_empty()), (20..25, 25.0, true));
    }

    #[test]
    fn the_shortest_fault_still_has_its_second() {
        let w = &windows(&[("a", 20.0, 20.05)], &[on(20.0, "a"), off(20.05, "a")], 60.0)[0];
        assert_eq!(w.during, 20..21);
    }
}
