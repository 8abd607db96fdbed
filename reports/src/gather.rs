//! One pass over a run's seconds. What it keeps does not grow with the requests, and with the
//! seconds only by some dozens of bytes each.

use std::collections::BTreeMap;
use std::ops::Range;

use squall_record::counts::Counts;
use squall_record::event::Event;
use squall_record::folder::{FolderError, INTERVALS};
use squall_record::interval::{Interval, Tick};
use squall_record::journey::JourneyTick;
use squall_scenarios::plan::Plan;

use crate::experiment::Steady;
use crate::generator::{GeneratorVerdict, Judge};
use crate::journeys::{Walked, walk};
use crate::seconds::{Level, Second, Tally, by_class, counts_for, good};
use crate::series::{Series, SeriesBuilder};
use crate::stats::Cell;
use crate::windows::FaultWindow;

/// Arrivals of one SLO in one phase.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SloCount {
    pub planned: u64,
    pub good: u64,
}

/// What happened in a range of seconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct WindowCell {
    pub range: Range<u32>,
    pub cell: Cell,
    pub level: Level,
    /// The level of each request class, by every SLO that applies to it.
    pub classes: Vec<Level>,
    /// How many of its seconds were recorded.
    pub seconds: u32,
}

/// Everything that the analysis needs of a run.
pub(crate) struct Gathered {
    /// All measured phases together.
    pub measured: Cell,
    /// Each phase, warm-ups too.
    pub phases: Vec<Cell>,
    /// Each request class over the measured phases.
    pub classes: Vec<Cell>,
    /// The (phase, class) pairs that a gate asks for.
    pub pairs: BTreeMap<(usize, usize), Cell>,
    /// For each SLO and phase.
    pub slos: Vec<Vec<SloCount>>,
    /// For each fault: baseline, during, after.
    pub windows: Vec<[WindowCell; 3]>,
    /// Each recorded second with measured load.
    pub seconds: Vec<Second>,
    pub series: Series,
    pub generator: GeneratorVerdict,
    /// The seconds in which an experiment's steady state is looked at.
    pub steady: Steady,
    /// Closed-loop users, apart from everything above.
    pub journeys: Vec<Walked>,
}

/// Reads all of `ticks`. `pairs` are the (phase, class) pairs to keep apart.
pub(crate) fn gather(
    plan: &Plan,
    classes: &[String],
    (faults, steady): (&[FaultWindow], Steady),
    pairs: &[(usize, usize)],
    events: &[Event],
    ticks: impl Iterator<Item = Result<Tick, FolderError>>,
    journey_ticks: impl Iterator<Item = Result<JourneyTick, FolderError>>,
) -> Result<Gathered, FolderError> {
    let mut judge = Judge::new(plan);
    events.iter().for_each(|e| judge.event(e));
    let mut series = SeriesBuilder::new(plan.duration_s());
    let window = |range: &Range<u32>| WindowCell {
        range: range.clone(),
        classes: vec![Level::default(); classes.len()],
        ..WindowCell::default()
    };
    let mut g = Gathered {
        measured: Cell::default(),
        phases: vec![Cell::default(); plan.phases.len()],
        classes: vec![Cell::default(); classes.len()],
        pairs: pairs.iter().map(|p| (*p, Cell::default())).collect(),
        slos: vec![vec![SloCount::default(); plan.phases.len()]; plan.slos.len()],
        windows: faults.iter().map(|w| [&w.baseline, &w.during, &w.after].map(window)).collect(),
        seconds: Vec::new(),
        series: Series { slot_s: 1, slots: Vec::new() },
        generator: judge.verdict(),
        steady,
        journeys: Vec::new(),
    };
    let mut all = Counts::default();
    for tick in ticks {
        let tick = tick?;
        for i in &tick.intervals {
            all += &i.counts;
            if usize::from(i.phase) >= plan.phases.len() {
                return Err(impossible(format!(
                    "second {} is of phase {}, which the plan lacks",
                    i.second, i.phase
                )));
            }
        }
        judge.add(&tick);
        series.add(&tick);
        g.add(plan, classes, &tick);
    }
    // Some planned arrivals may still wait, and some that were sent be on their way: a run that was
    // killed has less of each than the one before, never more.
    let (accounted, answered) =
        (all.sent.saturating_add(all.dropped), all.completed().saturating_add(all.failed_total()));
    if accounted > all.planned || answered > all.sent || all.planned == u64::MAX {
        return Err(impossible(format!(
            "the counts do not add up: {} planned, {} sent, {} dropped, {answered} answered or failed",
            all.planned, all.sent, all.dropped
        )));
    }
    g.series = series.finish();
    g.journeys = walk(plan, &mut judge, journey_ticks)?;
    g.generator = judge.verdict();
    Ok(g)
}

fn impossible(problem: String) -> FolderError {
    FolderError::Impossible { path: INTERVALS.into(), problem }
}

impl Gathered {
    fn add(&mut self, plan: &Plan, classes: &[String], tick: &Tick) {
        let warmup = |i: &Interval| plan.phases.get(usize::from(i.phase)).is_some_and(|p| p.warmup);
        for i in &tick.intervals {
            let (phase, class) = (usize::from(i.phase), usize::from(i.class));
            if let Some(cell) = self.phases.get_mut(phase) {
                add_to(cell, i);
            }
            if let Some(cell) = self.pairs.get_mut(&(phase, class)) {
                add_to(cell, i);
            }
            for (slo, counts) in plan.slos.iter().zip(&mut self.slos) {
                if let Some(count) = counts.get_mut(phase).filter(|_| counts_for(slo, classes, i.class)) {
                    count.planned += i.counts.planned;
                    count.good += good(slo, &i.counts, &i.response);
                }
            }
        }
        let measured: Vec<&Interval> = tick.intervals.iter().filter(|i| !warmup(i)).collect();
        for i in &measured {
            add_to(&mut self.measured, i);
            if let Some(cell) = self.classes.get_mut(usize::from(i.class)) {
                add_to(cell, i);
            }
        }
        let each = by_class(&measured, &plan.slos, classes);
        for w in self.windows.iter_mut().flatten().filter(|w| w.range.contains(&tick.second)) {
            w.add(&measured, &each);
        }
        if !measured.is_empty() {
            let kept = each.iter().map(|t| t.good).sum();
            let second = Second::of(tick.second, &measured, &plan.slos, classes, kept);
            self.steady.add(&second, &measured);
            self.seconds.push(second);
        }
    }
}

impl WindowCell {
    fn add(&mut self, intervals: &[&Interval], each: &[Tally]) {
        let mut second = Counts::default();
        for i in intervals {
            add_to(&mut self.cell, i);
            second += &i.counts;
        }
        self.level = self.level.plus(Level::of_counts(&second));
        for (level, class) in self.classes.iter_mut().zip(each) {
            *level = level.plus(class.level());
        }
        self.seconds += 1;
    }
}

fn add_to(cell: &mut Cell, i: &Interval) {
    cell.add(&i.counts, &i.response, &i.service, &i.lag);
}
