//! `[monkey]`: faults at times that the seed draws. Which come when is decided here, once: the plan holds them like any others, and the
//! same seed breaks the same things at the same times.

use std::time::Duration;

use squall_record::fault::FaultSpec;

use super::super::experiment::Bounds;
use super::super::phase::Timeline;
use super::super::scalar::{duration_within, within};
use super::{MAX_FAULT, MAX_FAULTS, Places, clash, stretch};
use crate::draw::{Draw, Lane};
use crate::error::{did_you_mean, tick};
use crate::file::faults::{Fault, Monkey};
use crate::file::scalar::At;
use crate::findings::Findings;
use crate::plan::FaultPlan;

/// The shortest time between two, on average, and how many are drawn at most.
const MIN_EVERY: Duration = Duration::from_millis(1);
const MAX_DRAWS: usize = 100_000;

/// A fault that it may choose.
pub(super) struct Choice {
    pub fault: FaultSpec,
    pub lasts: Duration,
}

/// What its faults come among.
pub(super) struct Around<'a> {
    /// Those whose time the file says.
    pub faults: &'a [FaultPlan],
    pub bounds: &'a Bounds,
    pub timeline: &'a Timeline,
    pub places: &'a Places<'a>,
}

impl Around<'_> {
    /// Whether `new` may come beside those that are `drawn` already: a file is not refused for what its seed draws.
    fn has_room(&self, new: &FaultPlan, drawn: &[FaultPlan]) -> bool {
        let is_the_same = |f: &FaultPlan| {
            f.end_s > new.start_s
                && f.fault.effect == new.fault.effect
                && self.places.shared(&f.fault.place, &new.fault.place).is_some()
        };
        let all = || self.faults.iter().chain(drawn);
        !drawn.iter().any(is_the_same)
            && !all().any(|f| clash(f, new, self.places).is_some())
            && self.bounds.leave_steady_state(new.start_s, self.timeline)
            && self.bounds.allow(new, &all())
    }
}

/// Whether a monkey says when the fault comes.
pub(super) fn chooses(monkey: Option<&At<Monkey>>, fault: &Fault) -> bool {
    monkey.is_some_and(|m| m.faults.iter().any(|name| **name == *fault.name))
}

/// How long `typed`, which a monkey chooses, lasts; it says nothing else of its time.
pub(super) fn lasts(typed: &At<Fault>, what: &str, findings: &mut Findings) -> Option<Duration> {
    let of_time = [
        ("at", typed.at.as_ref().map(At::span)),
        ("phase", typed.phase.as_ref().map(At::span)),
        ("after", typed.after.as_ref().map(At::span)),
        ("when", typed.when.as_ref().map(At::span)),
        ("repeat", typed.repeat.as_ref().map(At::span)),
    ];
    for (key, span) in of_time {
        if let Some(span) = span {
            findings.add(
                span,
                format!("{what} monkey says when it comes; remove {key}, or the fault from monkey.faults"),
            );
        }
    }
    match &typed.lasts {
        Some(lasts) => duration_within(lasts, MAX_FAULT, format_args!("{what} for"), findings),
        None => {
            findings.add(typed.span(), format!("{what} it needs for, to say how long it lasts"));
            None
        }
    }
}

/// The faults that `monkey` makes of `choices`.
pub(super) fn lower(
    monkey: &At<Monkey>,
    (typed, choices): (&[At<Fault>], &[Choice]),
    around: &Around<'_>,
    seed: u64,
    findings: &mut Findings,
) -> Vec<FaultPlan> {
    let timeline = around.timeline;
    for name in monkey.faults.iter().filter(|name| !typed.iter().any(|f| *f.name == ***name)) {
        let hint = did_you_mean(name, typed.iter().map(|f| f.name.as_str()));
        findings.add(name.span(), format!("monkey.faults: there is no [[fault]] {}{hint}", tick(name)));
    }
    if monkey.faults.is_empty() {
        findings.add(monkey.faults.span(), "monkey.faults names nothing that it could do");
    }
    let every = duration_within(&monkey.every, MAX_FAULT, "monkey.every", findings);
    let at_most = within(monkey.at_most.as_ref(), 1, 1..=8, "monkey.at_most", findings);
    let span = match &monkey.phase {
        Some(name) => stretch(name, timeline, "monkey.phase:", findings).map(|s| (s.start, s.end)),
        None => {
            let warm =
                timeline.stretches.iter().take_while(|s| s.warmup).last().map_or(Duration::ZERO, |s| s.end);
            Some((warm, timeline.end))
        }
    };
    let (Some(every), Some(at_most), Some((from, until))) = (every, at_most, span) else { return Vec::new() };
    if choices.is_empty() {
        return Vec::new();
    }
    if every < MIN_EVERY {
        findings.add(monkey.every.span(), "monkey.every is below 1ms, the shortest that makes sense");
        return Vec::new();
    }
    if let Some(long) = choices.iter().find(|c| from + c.lasts >= until) {
        findings.add(
            monkey.faults.span(),
            format!("monkey.faults: {} lasts longer than the time in which it could come, so it never would; shorten its for", tick(&long.fault.name)),
        );
        return Vec::new();
    }
    let mut draw = Draw::new(seed, Lane::Monkey, 0);
    let mut faults: Vec<FaultPlan> = Vec::new();
    let mut at_s = from.as_secs_f64();
    for _ in 0..MAX_DRAWS {
        // Gaps of a Poisson process: whatever came when, the next is as likely at any time.
        at_s += draw.exponential() * every.as_secs_f64();
        let nth = draw.below(choices.len() as u64) as usize;
        if at_s >= until.as_secs_f64() {
            if faults.is_empty() {
                let left_s = (until - from).as_secs_f64();
                findings.add(
                    monkey.every.span(),
                    format!("monkey.every: with seed {seed} nothing comes in the {left_s} s that it has; make it shorter, or take another seed"),
                );
            }
            return faults;
        }
        if faults.len() == MAX_FAULTS {
            findings.add(
                monkey.every.span(),
                format!("monkey would break things more than {MAX_FAULTS} times; give it a longer every"),
            );
            return Vec::new();
        }
        let Choice { fault, lasts } = &choices[nth];
        let end_s = at_s + lasts.as_secs_f64();
        let acting = faults.iter().filter(|f| f.end_s > at_s).count();
        let name = format!("{} ({})", fault.name, faults.len() + 1);
        let fault = FaultSpec { name, ..fault.clone() };
        let new = FaultPlan { fault, start_s: at_s, end_s, when: None };
        // One that would be too many, would outlast the time or has no room does not come.
        if acting < at_most as usize && end_s <= until.as_secs_f64() && around.has_room(&new, &faults) {
            faults.push(new);
        }
    }
    findings.add(
        monkey.every.span(),
        format!("monkey.every: of {MAX_DRAWS} that it draws hardly one can come; make it longer"),
    );
    Vec::new()
}
