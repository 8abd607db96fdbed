//! What each fault did: before, during, after; how soon it showed; how soon it was over; what it cost.
//!
//! # Layout
//!
//! * `rule`: what a bad second is. `course`: when the service level went and came back.
//! * `impact`: who suffered, what was lost and burned. `hysteresis`: whether it stays broken.
//! * `told`: all that in sentences, for every report.

mod course;
mod hysteresis;
mod impact;
mod rule;
pub(crate) mod told;

use std::ops::Range;

use squall_scenarios::plan::Plan;

use crate::gather::{Gathered, WindowCell};
use crate::summary::{FaultSummary, Recovery, WindowSummary};
use crate::windows::FaultWindow;

use course::Course;
pub use course::{RECOVERED_AFTER_GOOD_S, Streak};
use hysteresis::hysteresis;
pub use hysteresis::{BACK_AT, SAME_LOAD, WATCHED_AT_LEAST_S};
use impact::{Usual, amplification, blast_radius, budget_burned, control, dip};
use rule::Rule;
pub use rule::{BASELINE_BAD_SHARE, BASELINE_P99_FACTOR, MAX_BREACHED_BASELINE};

/// Every fault of `windows`, which are in order of time. `classes` are the request classes.
pub(crate) fn faults(
    plan: &Plan,
    classes: &[String],
    windows: &[FaultWindow],
    gathered: &Gathered,
) -> Vec<FaultSummary> {
    let run = Run { plan, classes, windows, gathered };
    windows
        .iter()
        .zip(&gathered.windows)
        .map(|(window, cells)| {
            let rule = Rule::choose(plan, &cells[0], &gathered.seconds);
            let bare = bare(window, cells, &rule);
            // What was always there is compared with nothing.
            if window.armed && !bare.throughout { run.measured(bare, window, cells, &rule) } else { bare }
        })
        .collect()
}

/// What faults are measured against.
struct Run<'a> {
    plan: &'a Plan,
    classes: &'a [String],
    windows: &'a [FaultWindow],
    gathered: &'a Gathered,
}

impl Run<'_> {
    fn measured(
        &self,
        bare: FaultSummary,
        window: &FaultWindow,
        cells: &[WindowCell; 3],
        rule: &Rule,
    ) -> FaultSummary {
        let seconds = &self.gathered.seconds;
        let next =
            self.windows.iter().map(|w| w.during.start).filter(|s| *s >= window.during.end && *s > 0).min();
        let course = Course::of(window, next, rule, seconds);
        let usual = Usual::of(&window.baseline, seconds);
        let alone = self.others_in(window, &course.watched).next().is_none();
        let hysteresis = hysteresis(usual, &course.watched, seconds).filter(|_| alone);
        // A service that keeps its level again is not broken, whatever its goodput.
        let is_broken = course.recovery != Some(Recovery::Recovered);
        FaultSummary {
            injection_lag_s: Some(window.start_s - window.due_s),
            overlaps: self.others_in(window, &window.during).map(|w| w.spec.name.clone()).collect(),
            detect_s: course.detect_s,
            mitigate_s: course.mitigate_s,
            recover_s: course.recover_s,
            recovery: course.recovery,
            watched_s: Some(course.watched_s),
            rto_s: course.rto_s,
            relapse_s: course.relapse_s,
            blast_radius: Some(blast_radius(
                self.classes,
                cells,
                window.affected.filter(|_| window.spec.counts_requests()),
                usual,
                &course.effect,
                seconds,
            )),
            control: control(self.plan, &cells[1]),
            retry_amplification: Some(amplification(cells)),
            goodput_dip: dip(usual, &course.effect, seconds),
            hysteresis: hysteresis.map(|h| h.ratio),
            hysteresis_s: hysteresis.map(|h| h.watched),
            metastable: hysteresis.map(|h| h.stuck && is_broken),
            budget_burned: budget_burned(self.plan, self.gathered, &course.effect),
            ..bare
        }
    }

    /// Other faults that acted in `range`.
    fn others_in(&self, window: &FaultWindow, range: &Range<u32>) -> impl Iterator<Item = &FaultWindow> {
        let (name, range) = (window.spec.name.clone(), range.clone());
        self.windows
            .iter()
            .filter(|w| !w.is_from_the_beginning())
            .filter(move |w| w.spec.name != name && w.during.start < range.end && range.start < w.during.end)
    }
}

/// What is known of a fault that did not act.
fn bare(window: &FaultWindow, cells: &[WindowCell; 3], rule: &Rule) -> FaultSummary {
    let [baseline, during, after] = cells;
    FaultSummary {
        name: window.spec.name.clone(),
        kind: window.spec.effect.name().to_owned(),
        point: window.spec.place.to_string(),
        fraction: window.spec.fraction,
        armed: window.armed,
        throughout: window.is_throughout(),
        problem: window.problem.clone(),
        left: window.left,
        cut_short: window.cut_short,
        start_s: window.start_s,
        end_s: window.end_s,
        injection_lag_s: None,
        overlaps: vec![],
        affected: window.affected,
        detect_s: None,
        mitigate_s: None,
        recover_s: None,
        recovery: None,
        watched_s: None,
        rto_s: None,
        relapse_s: None,
        judged_by: rule.name(),
        blast_radius: None,
        control: None,
        retry_amplification: None,
        goodput_dip: None,
        hysteresis: None,
        hysteresis_s: None,
        metastable: None,
        budget_burned: vec![],
        baseline: window_summary(baseline),
        during: window_summary(during),
        after: window_summary(after),
    }
}

fn window_summary(w: &WindowCell) -> Option<WindowSummary> {
    (w.seconds > 0).then(|| WindowSummary {
        start_s: w.range.start,
        end_s: w.range.end,
        load: w.cell.load(f64::from(w.seconds)),
        latency_ms: w.cell.latencies(),
        availability: w.level.good_share(),
    })
}
