//! `[experiment]`: what must hold around the faults, what ends the run, and whom no fault meets.

use std::time::Duration;

use squall_record::fault::{FaultSpec, Place};

use super::fault::{Places, table_of};
use super::phase::Timeline;
use super::promise::{unknown_request, unknown_slo};
use super::scalar::{duration_within, ratio};
use crate::error::tick;
use crate::file::faults::{Experiment, Fault};
use crate::file::scalar::{At, Ratio};
use crate::file::tables::Slo;
use crate::findings::Findings;
use crate::gate::parse_gate;
use crate::plan::{CONTROL_LANE, ExperimentPlan, FaultPlan, GatePlan, PhasePlan, RequestPlan};

/// The most conditions of a kind.
pub const MAX_CONDITIONS: usize = 16;
/// Over how long conditions are looked at, at the least and at the most.
const MIN_WINDOW_S: u32 = 1;
const MAX_WINDOW: Duration = Duration::from_secs(60);
const DEFAULT_WINDOW_S: u32 = 5;
/// The greatest share of requests that faults pass over: there is something to compare with otherwise too.
const MAX_CONTROL: f64 = 0.5;
/// What an experiment leaves to faults that a seed draws.
pub(super) struct Bounds {
    blast_radius: f64,
    /// How long the load is looked at before the first of them.
    steady_s: f64,
}

impl Bounds {
    /// Those of `file`; what is wrong with it, [`lower`] tells.
    pub(super) fn of(file: Option<&At<Experiment>>) -> Self {
        let mut elsewhere = Findings::default();
        let steady = file.filter(|typed| !typed.steady_state.is_empty());
        let steady_s = steady.and_then(|typed| window_s(typed, &mut elsewhere)).map_or(0.0, f64::from);
        let blast_radius = file.and_then(|typed| blast_radius(typed, &mut elsewhere)).unwrap_or(1.0);
        Self { blast_radius, steady_s }
    }

    /// Whether there is enough load before `start_s` to see a steady state.
    pub(super) fn leave_steady_state(&self, start_s: f64, timeline: &Timeline) -> bool {
        measured_before(start_s, timeline) >= self.steady_s
    }

    /// Whether the blast radius holds while `new` acts beside `others`, at its beginning and when one of them begins.
    pub(super) fn allow<'a>(
        &self,
        new: &FaultPlan,
        others: &(impl Iterator<Item = &'a FaultPlan> + Clone),
    ) -> bool {
        let begin = others.clone().map(|f| f.start_s).filter(|s| new.start_s < *s && *s < new.end_s);
        begin.chain([new.start_s]).all(|at_s| {
            let beside: f64 = others.clone().filter(|f| acts(f, at_s)).map(|f| f.fault.meant_for()).sum();
            !is_beyond(beside + new.fault.meant_for(), self.blast_radius)
        })
    }
}

fn acts(fault: &FaultPlan, at_s: f64) -> bool {
    fault.start_s <= at_s && at_s < fault.end_s
}

/// Whether a sum of shares is more than is allowed: all are all, and tenths add up to a little more than they are.
fn is_beyond(meant_for: f64, blast_radius: f64) -> bool {
    meant_for.min(1.0) > blast_radius + 1e-9
}

/// For how long there is load before `at_s`; warm-up is not measured, so it is no steady state.
fn measured_before(at_s: f64, timeline: &Timeline) -> f64 {
    let measured = timeline.stretches.iter().filter(|s| !s.warmup);
    measured.map(|s| (s.end.as_secs_f64().min(at_s) - s.start.as_secs_f64()).max(0.0)).sum()
}

fn window_s(typed: &Experiment, findings: &mut Findings) -> Option<u32> {
    let Some(window) = &typed.window else { return Some(DEFAULT_WINDOW_S) };
    let d = duration_within(window, MAX_WINDOW, "experiment.window", findings)?;
    if d.subsec_nanos() != 0 {
        findings.add(window.span(), "experiment.window is in whole seconds, as the record is");
        return None;
    }
    Some(u32::try_from(d.as_secs()).unwrap_or(DEFAULT_WINDOW_S).max(MIN_WINDOW_S))
}

fn blast_radius(typed: &Experiment, findings: &mut Findings) -> Option<f64> {
    share(typed.blast_radius.as_ref(), "experiment.blast_radius", (1.0, 1.0), findings)
}

/// A share, or the first of the two; at most the second.
fn share(
    typed: Option<&At<Ratio>>,
    what: &str,
    (default, most): (f64, f64),
    findings: &mut Findings,
) -> Option<f64> {
    let Some(typed) = typed else { return Some(default) };
    let share = ratio(typed, what, findings)?;
    if share > most {
        findings.add(typed.span(), format!("{what} is above {most}"));
        return None;
    }
    Some(share)
}

/// `choices` are faults that a monkey chooses from, whether it does or not.
pub(super) fn lower(
    (file, typed_faults): (Option<&At<Experiment>>, &[At<Fault>]),
    (timeline, places): (&Timeline, &Places<'_>),
    (faults, choices): (&[FaultPlan], &[FaultSpec]),
    known: (&[RequestPlan], &[At<Slo>]),
    findings: &mut Findings,
) -> Option<ExperimentPlan> {
    let typed = file?;
    let mut all = |typed: &[At<String>], what: &str| -> Vec<GatePlan> {
        if let Some(beyond) = typed.get(MAX_CONDITIONS) {
            findings.add(beyond.span(), format!("{what} has more than {MAX_CONDITIONS} conditions"));
        }
        let conditions = typed.iter().take(MAX_CONDITIONS);
        conditions.filter_map(|one| condition(one, what, known, findings)).collect()
    };
    let steady_state = all(&typed.steady_state, "experiment.steady_state");
    let abort = all(&typed.abort, "experiment.abort");
    let window_s = window_s(typed, findings)?;
    // What is there from the beginning belongs to the steady state.
    let first = faults.iter().map(|f| f.start_s).filter(|s| *s > 0.0).fold(f64::INFINITY, f64::min);
    let before_s = measured_before(first, timeline);
    if !steady_state.is_empty() && first.is_finite() && before_s < f64::from(window_s) {
        findings.add(
            typed.span(),
            format!("experiment.steady_state is looked at over the {window_s} s before the first fault, which begins at {first} s with {before_s} s of load behind the warm-up; let the load run longer before it"),
        );
    }
    let blast_radius = blast_radius(typed, findings)?;
    let control = share(typed.control.as_ref(), "experiment.control", (0.0, MAX_CONTROL), findings)?;
    let names = || known.0.iter().map(|r| r.name.as_str());
    let twin = |name: &str| format!("{name}-{}", CONTROL_LANE.1);
    if control > 0.0
        && let Some(name) = names().find(|name| names().any(|other| *name == twin(other)))
    {
        findings.add(
            typed.span(),
            format!("experiment.control: request {} is called what the untouched share of another one is; rename it", tick(name)),
        );
    }
    if let Some(within) = &typed.within {
        let all: Vec<&FaultSpec> = faults.iter().map(|f| &f.fault).chain(choices).collect();
        confine(within, places, typed_faults, &all, findings);
    }
    let tell = |typed: &At<Fault>, meant_for: f64, with: &str, findings: &mut Findings| {
        findings.add(
            typed.fraction.as_ref().map_or_else(|| typed.kind.span(), At::span),
            format!(
                "fault {}: it is meant for {:.0}% of requests{with}, and experiment.blast_radius allows {:.0}%; give it a fraction or a toxicity, or raise that",
                tick(&typed.name),
                meant_for.min(1.0) * 100.0,
                blast_radius * 100.0
            ),
        );
    };
    // Those never come, whatever the seed.
    for choice in choices.iter().filter(|choice| is_beyond(choice.meant_for(), blast_radius)) {
        if let Some(typed) = table_of(&choice.name, typed_faults) {
            tell(typed, choice.meant_for(), "", findings);
        }
    }
    for plan in faults {
        let Some(typed) = table_of(&plan.fault.name, typed_faults) else { continue };
        let together = faults.iter().filter(|f| acts(f, plan.start_s));
        let (others, meant_for) = together.fold((Vec::new(), 0.0), |(mut others, sum), f| {
            if f.fault.name != plan.fault.name {
                others.push(tick(&f.fault.name).to_string());
            }
            (others, sum + f.fault.meant_for())
        });
        if is_beyond(meant_for, blast_radius) {
            let with = if others.is_empty() {
                String::new()
            } else {
                format!(" together with {}", others.join(", "))
            };
            tell(typed, meant_for, &with, findings);
        }
    }
    Some(ExperimentPlan { steady_state, abort, window_s, blast_radius, control })
}

/// Tells of faults that act elsewhere than `within` says.
fn confine(
    within: &At<Vec<At<String>>>,
    places: &Places<'_>,
    tables: &[At<Fault>],
    faults: &[&FaultSpec],
    findings: &mut Findings,
) {
    let mut allowed: Vec<Place> = Vec::new();
    for typed in within.iter() {
        let place =
            findings.check(typed.span(), format_args!("experiment.within {}", tick(typed)), typed.parse());
        let Some(place) = place else { return };
        if places.is_there(&place, (place.name(), typed.span()), "experiment.within", findings).is_none() {
            return;
        }
        let members = places.known.groups.iter().filter(|g| place == Place::Group(g.name.clone()));
        allowed.extend(members.flat_map(|g| g.members.clone()));
        allowed.push(place);
    }
    // Each table once, however often it comes.
    let elsewhere = tables.iter().filter_map(|typed| {
        let of_it = |f: &&&FaultSpec| table_of(&f.name, tables).is_some_and(|table| table.name == typed.name);
        Some((faults.iter().find(of_it).filter(|f| !allowed.contains(&f.place))?, typed))
    });
    for (fault, typed) in elsewhere {
        let all: Vec<&str> = within.iter().map(|one| one.as_str()).collect();
        findings.add(
            typed.kind.span(),
            format!(
                "fault {}: it acts at {}, and experiment.within allows {}; move it, or add its place there",
                tick(&typed.name),
                fault.place,
                if all.is_empty() { "no place".to_owned() } else { all.join(", ") }
            ),
        );
    }
}

/// A condition on the last seconds, in the grammar of gates, that looks at no other requests and SLOs than those that there are.
pub(super) fn condition(
    typed: &At<String>,
    what: &str,
    (requests, slos): (&[RequestPlan], &[At<Slo>]),
    findings: &mut Findings,
) -> Option<GatePlan> {
    let gate = findings.check(typed.span(), format_args!("{what} {}", tick(typed)), parse_gate(typed))?;
    if gate.phase.is_some() || gate.journey.is_some() {
        findings.add(
            typed.span(),
            format!("{what} {}: it is looked at over the last seconds of the load, so it names no phase and no journey", tick(typed)),
        );
        return None;
    }
    if gate.metric.is_of_faults() {
        findings.add(
            typed.span(),
            format!("{what} {}: it is known when a fault is over; make it one of the gates", tick(typed)),
        );
        return None;
    }
    let request = gate.request.as_ref().and_then(|r| unknown_request(r, requests));
    if let Some(message) = request.or_else(|| unknown_slo(&gate, slos)) {
        findings.add(typed.span(), format!("{what} {}: {message}", tick(typed)));
        return None;
    }
    Some(gate)
}

/// Sends a share of each class under a name of its own, with the header that faults pass over.
pub(super) fn set_apart(share: f64, requests: &mut Vec<RequestPlan>, phases: &mut [PhasePlan]) {
    if share <= 0.0 {
        return;
    }
    let (header, lane) = CONTROL_LANE;
    let apart: Vec<RequestPlan> = requests
        .iter()
        .map(|own| {
            let mut twin = RequestPlan { name: format!("{}-{lane}", own.name), ..own.clone() };
            twin.weight *= share;
            twin.headers.push((header.to_owned(), lane.to_owned()));
            twin
        })
        .collect();
    requests.iter_mut().for_each(|own| own.weight *= 1.0 - share);
    requests.extend(apart);
    for phase in phases.iter_mut().filter(|p| !p.mix.is_empty()) {
        let apart: Vec<f64> = phase.mix.iter().map(|w| w * share).collect();
        phase.mix.iter_mut().for_each(|w| *w *= 1.0 - share);
        phase.mix.extend(apart);
    }
}
