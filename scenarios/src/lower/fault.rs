//! `[[fault]]`: what goes wrong, on the time axis of the phases.
//!
//! * `place`: where, and what else a scenario names for it: groups, resources, proxies.
//! * `monkey`: faults at times that the seed draws.
//! * `effect`: what, each kind with its keys; `delay`: how long.

mod delay;
mod effect;
mod monkey;
mod place;

use std::sync::LazyLock;
use std::time::Duration;

use squall_record::fault::{Effect, FaultPoint, FaultSpec, Place};

use super::experiment::{Bounds, condition};
use super::phase::{Stretch, Timeline};
use super::scalar::{Names, duration, duration_within, ratio, within};
use crate::error::{did_you_mean, tick};
use crate::file::faults::{Fault, Monkey};
use crate::file::scalar::At;
use crate::file::tables::Slo;
use crate::findings::Findings;
use crate::plan::{FaultPlan, RequestPlan};
use crate::units::duration::format_duration;

pub(super) use place::Places;

/// The most faults of a run.
pub const MAX_FAULTS: usize = 32;
/// One place of each kind, for what to say where something acts.
static KINDS_OF_PLACE: LazyLock<Vec<Place>> = LazyLock::new(|| {
    let points = FaultPoint::ALL.into_iter().map(Place::Point);
    points.chain(Place::KINDS.into_iter().filter_map(|kind| Place::named(kind, "x"))).collect()
});
/// The longest fault: as long as a run can be.
const MAX_FAULT: Duration = Duration::from_secs(super::MAX_RUN_S);

/// The faults with their times, and those that a monkey chooses from.
pub(super) fn lower(
    (file, monkey, seed): (&[At<Fault>], Option<&At<Monkey>>, u64),
    bounds: &Bounds,
    (timeline, places): (&Timeline, &Places<'_>),
    known: (&[RequestPlan], &[At<Slo>]),
    findings: &mut Findings,
) -> (Vec<FaultPlan>, Vec<FaultSpec>) {
    if let Some(beyond) = file.get(MAX_FAULTS) {
        findings.add(beyond.span(), format!("there are more than {MAX_FAULTS} faults"));
    }
    let mut names = Names::new("fault");
    let mut faults = Vec::new();
    let mut choices = Vec::new();
    for typed in file.iter().take(MAX_FAULTS) {
        names.add(&typed.name, findings);
        let what = format!("fault {}:", tick(&typed.name));
        let fault = spec(typed, places, &what, findings);
        if monkey::chooses(monkey, typed) {
            let lasts = monkey::lasts(typed, &what, findings);
            choices.extend(fault.zip(lasts).map(|(fault, lasts)| monkey::Choice { fault, lasts }));
            continue;
        }
        let when = typed.when.as_ref().map(|when| condition(when, &format!("{what} when"), known, findings));
        let windows = windows(typed, timeline, &what, findings);
        let (Some(fault), Some(windows)) = (fault, windows) else { continue };
        for (nth, (start, end)) in windows.into_iter().enumerate() {
            let mut fault = fault.clone();
            if nth > 0 {
                fault.name = format!("{} {}", fault.name, nth + 1);
            }
            let (start_s, end_s) = (start.as_secs_f64(), end.as_secs_f64());
            faults.push(FaultPlan { fault, start_s, end_s, when: when.clone().flatten() });
        }
    }
    if let Some(monkey) = monkey {
        let around = monkey::Around { faults: &faults, bounds, timeline, places };
        let drawn = monkey::lower(monkey, (file, &choices), &around, seed, findings);
        faults.extend(drawn);
    }
    if faults.len() > MAX_FAULTS
        && let Some(last) = file.last()
    {
        findings.add(last.span(), format!("with all repetitions there are more than {MAX_FAULTS} faults"));
    }
    tell_clashes(&faults, file, places, findings);
    (faults, choices.into_iter().map(|choice| choice.fault).collect())
}

/// What of which place `one` and `other` both change and put back at the same time.
fn clash(one: &FaultPlan, other: &FaultPlan, places: &Places<'_>) -> Option<(&'static str, Place)> {
    let together = one.start_s < other.end_s && other.start_s < one.end_s;
    let what = one.fault.effect.undoes(&other.fault.effect).filter(|_| together)?;
    Some((what, places.shared(&one.fault.place, &other.fault.place)?))
}

/// Tells of faults of one name once repetitions and a monkey's have their numbers, and of those that would put back what another
/// still changes.
fn tell_clashes(faults: &[FaultPlan], tables: &[At<Fault>], places: &Places<'_>, findings: &mut Findings) {
    let mut tell = |of: &FaultPlan, message: String| {
        if let Some(table) = table_of(&of.fault.name, tables) {
            findings.add(table.name.span(), format!("fault {}: {message}", tick(&of.fault.name)));
        }
    };
    for (nth, one) in faults.iter().enumerate() {
        for other in &faults[..nth] {
            if one.fault.name == other.fault.name {
                tell(
                    one,
                    "another that is repeated, or a monkey's, has this name too; give it another".to_owned(),
                );
                continue;
            }
            if let Some((what, place)) = clash(one, other, places) {
                let other = tick(&other.fault.name);
                tell(
                    one,
                    format!(
                        "{other} changes of {place} {what} as well, at the same time, and the first that ends would end both; have one begin when the other is over"
                    ),
                );
            }
        }
    }
}

/// The table that a fault comes from: a repetition or a monkey's has a number behind its name.
pub(super) fn table_of<'a>(fault: &str, tables: &'a [At<Fault>]) -> Option<&'a At<Fault>> {
    let is_of = |table: &&At<Fault>| {
        let behind =
            fault.strip_prefix(table.name.as_str()).map(|rest| rest.trim_matches(|c| " ()".contains(c)));
        behind.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()))
    };
    tables.iter().filter(is_of).max_by_key(|table| table.name.len())
}

/// What goes wrong, wherever it does.
fn spec(typed: &Fault, places: &Places<'_>, what: &str, findings: &mut Findings) -> Option<FaultSpec> {
    let effect = effect::effect(typed, what, findings);
    let place = places.place(typed, what, findings);
    let (effect, place) = (effect?, place?);
    if !effect.acts_at(&place) {
        let at = KINDS_OF_PLACE.iter().filter(|p| effect.acts_at(p)).map(ToString::to_string);
        let at: Vec<String> = at.map(|p| p.trim_end_matches(":x").to_owned()).collect();
        findings.add(
            typed.kind.span(),
            format!("{what} {} does not act at {place}; it acts at {}", tick(effect.name()), at.join(", ")),
        );
        return None;
    }
    let fraction = fraction(typed, &effect, &place, what, findings)?;
    Some(FaultSpec { name: typed.name.to_string(), place, effect, fraction })
}

/// When it acts, each time that it comes.
fn windows(
    typed: &At<Fault>,
    timeline: &Timeline,
    what: &str,
    findings: &mut Findings,
) -> Option<Vec<(Duration, Duration)>> {
    let times = within(typed.repeat.as_ref(), 1, 1..=32, &format!("{what} repeat"), findings)?;
    let pause = match &typed.pause {
        None => None,
        Some(pause) if times == 1 => {
            findings
                .add(pause.span(), format!("{what} pause is between repetitions; say how many in repeat"));
            return None;
        }
        Some(pause) => Some(duration(pause, format_args!("{what} pause"), findings)?),
    };
    let (start, end) = window(typed, timeline, what, findings)?;
    let period = (end - start) + pause.unwrap_or(end - start);
    let all: Vec<_> = (0..times).map(|nth| (start + period * nth, end + period * nth)).collect();
    if let Some((_, last)) = all.last().filter(|(_, last)| *last > timeline.end && timeline.complete) {
        let (last, run) = (format_duration(*last), format_duration(timeline.end));
        findings.add(
            typed.repeat.as_ref().map_or_else(|| typed.span(), At::span),
            format!("{what} its last repetition ends at {last}, after the run, {run}; repeat it less often or shorten it"),
        );
        return None;
    }
    Some(all)
}

fn fraction(
    typed: &Fault,
    effect: &Effect,
    place: &Place,
    what: &str,
    findings: &mut Findings,
) -> Option<f64> {
    let Some(fraction) = &typed.fraction else { return Some(1.0) };
    if !effect.is_per_request() || place.point().is_none() {
        findings.add(
            fraction.span(),
            format!("{what} fraction is of what decides about each request at a point, which {} at {place} does not; remove it", tick(effect.name())),
        );
        return None;
    }
    let share = ratio(fraction, format_args!("{what} fraction"), findings)?;
    if share == 0.0 {
        findings
            .add(fraction.span(), format!("{what} fraction 0 hits no request; raise it or remove the fault"));
        return None;
    }
    Some(share)
}

/// When it acts.
fn window(
    typed: &At<Fault>,
    timeline: &Timeline,
    what: &str,
    findings: &mut Findings,
) -> Option<(Duration, Duration)> {
    let lasts =
        typed.lasts.as_ref().map(|d| duration_within(d, MAX_FAULT, format_args!("{what} for"), findings));
    let (start, default_end) = match (&typed.at, &typed.phase) {
        (Some(at), None) => {
            if let Some(after) = &typed.after {
                findings.add(
                    after.span(),
                    format!("{what} after counts from a phase's beginning; name the phase, or add it to at"),
                );
            }
            (duration(at, format_args!("{what} at"), findings)?, None)
        }
        (None, Some(name)) => {
            let stretch = stretch(name, timeline, what, findings)?;
            let after = match &typed.after {
                Some(after) => duration(after, format_args!("{what} after"), findings)?,
                None => Duration::ZERO,
            };
            (stretch.start + after, Some(stretch.end))
        }
        _ => {
            findings.add(typed.span(), format!("{what} it needs either at or phase, to say when it begins"));
            return None;
        }
    };
    let end = match (lasts, default_end) {
        (Some(lasts), _) => start + lasts?,
        (None, Some(end)) => end,
        (None, None) => {
            findings.add(typed.span(), format!("{what} it needs for, to say how long it lasts"));
            return None;
        }
    };
    if start >= end || end > timeline.end {
        if timeline.complete {
            let (start, end, run) =
                (format_duration(start), format_duration(end), format_duration(timeline.end));
            findings.add(
                typed.span(),
                format!("{what} its window {start} to {end} does not lie within the run, 0s to {run}; move or shorten it"),
            );
        }
        return None;
    }
    Some((start, end))
}

fn stretch<'a>(
    name: &At<String>,
    timeline: &'a Timeline,
    what: &str,
    findings: &mut Findings,
) -> Option<&'a Stretch> {
    let found = timeline.stretches.iter().find(|s| s.name == **name);
    if found.is_none() {
        let known = || timeline.stretches.iter().map(|s| s.name.as_str());
        let hint = did_you_mean(name, known());
        let all = known().take(20).collect::<Vec<_>>().join(", ");
        findings.add(name.span(), format!("{what} there is no phase {}{hint} (known: {all})", tick(name)));
    }
    found
}
