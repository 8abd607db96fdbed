//! `[experiment]`: what must hold around the faults, what ends the run, and whom no fault meets.

use std::time::Duration;

use squall_record::fault::Place;

use super::fault::{Places, table_of};
use super::phase::Timeline;
use super::promise::{unknown_request, unknown_slo};
use super::scalar::{duration_within, ratio};
use crate::error::tick;
use crate::file::faults::{Experiment, Fault};
use crate::file::scalar::At;
use crate::file::tables::Slo;
use crate::findings::Findings;
use crate::gate::parse_gate;
use crate::plan::{ExperimentPlan, FaultPlan, GatePlan, PhasePlan, RequestPlan};

/// The most conditions of a kind.
pub const MAX_CONDITIONS: usize = 16;
/// Over how long conditions are looked at, at the least and at the most.
const MIN_WINDOW_S: u32 = 1;
const MAX_WINDOW: Duration = Duration::from_secs(60);
const DEFAULT_WINDOW_S: u32 = 5;
/// The greatest share of requests that faults pass over: there is something to compare with otherwise too.
const MAX_CONTROL: f64 = 0.5;
/// The header of a request that faults pass over, and what is behind its class's name.
pub const LANE: (&str, &str) = ("Squall-Lane", "control");

pub(super) fn lower(
    (file, typed_faults): (Option<&At<Experiment>>, &[At<Fault>]),
    (timeline, places): (&Timeline, &Places<'_>),
    faults: &[FaultPlan],
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
    let window_s = match &typed.window {
        None => DEFAULT_WINDOW_S,
        Some(window) => {
            let d = duration_within(window, MAX_WINDOW, "experiment.window", findings)?;
            if d.subsec_nanos() != 0 {
                findings.add(window.span(), "experiment.window is in whole seconds, as the record is");
                return None;
            }
            u32::try_from(d.as_secs()).unwrap_or(DEFAULT_WINDOW_S).max(MIN_WINDOW_S)
        }
    };
    // What is there from the beginning belongs to the steady state.
    let first = faults.iter().map(|f| f.start_s).filter(|s| *s > 0.0).fold(f64::INFINITY, f64::min);
    // Warm-up is not measured, so it is no steady state.
    let measured = timeline.stretches.iter().filter(|s| !s.warmup);
    let before_s: f64 =
        measured.map(|s| (s.end.as_secs_f64().min(first) - s.start.as_secs_f64()).max(0.0)).sum();
    if !steady_state.is_empty() && first.is_finite() && before_s < f64::from(window_s) {
        findings.add(
            typed.span(),
            format!("experiment.steady_state is looked at over the {window_s} s before the first fault, which begins at {first} s with {before_s} s of load behind the warm-up; let the load run longer before it"),
        );
    }
    let mut share = |typed: &Option<At<crate::file::scalar::Ratio>>, what: &str, default: f64, most: f64| {
        let Some(typed) = typed else { return Some(default) };
        let share = ratio(typed, what, findings)?;
        if share > most {
            findings.add(typed.span(), format!("{what} is above {most}"));
            return None;
        }
        Some(share)
    };
    let blast_radius = share(&typed.blast_radius, "experiment.blast_radius", 1.0, 1.0)?;
    let control = share(&typed.control, "experiment.control", 0.0, MAX_CONTROL)?;
    if let Some(within) = &typed.within {
        confine(within, places, typed_faults, faults, findings);
    }
    for (plan, typed) in with_tables(faults, typed_faults) {
        let together = faults.iter().filter(|f| f.start_s <= plan.start_s && plan.start_s < f.end_s);
        let (others, meant_for) = together.fold((Vec::new(), 0.0), |(mut others, sum), f| {
            if f.fault.name != plan.fault.name {
                others.push(tick(&f.fault.name).to_string());
            }
            (others, sum + f.fault.meant_for())
        });
        // All are all, and tenths add up to a little more than they are.
        if meant_for.min(1.0) > blast_radius + 1e-9 {
            let with = if others.is_empty() {
                String::new()
            } else {
                format!(" together with {}", others.join(", "))
            };
            findings.add(
                typed.fraction.as_ref().map_or_else(|| typed.kind.span(), At::span),
                format!(
                    "fault {}: it is meant for {:.0}% of requests{with}, and experiment.blast_radius allows {:.0}%; give it a fraction or a toxicity, or raise that",
                    tick(&typed.name),
                    meant_for.min(1.0) * 100.0,
                    blast_radius * 100.0
                ),
            );
        }
    }
    Some(ExperimentPlan { steady_state, abort, window_s, blast_radius, control })
}

/// Each fault with the table that it comes from.
fn with_tables<'a>(
    faults: &'a [FaultPlan],
    tables: &'a [At<Fault>],
) -> impl Iterator<Item = (&'a FaultPlan, &'a At<Fault>)> {
    faults.iter().filter_map(|f| Some((f, table_of(&f.fault.name, tables)?)))
}

/// Tells of faults that act elsewhere than `within` says.
fn confine(
    within: &At<Vec<At<String>>>,
    places: &Places<'_>,
    tables: &[At<Fault>],
    faults: &[FaultPlan],
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
    for (plan, typed) in with_tables(faults, tables).filter(|(f, _)| !allowed.contains(&f.fault.place)) {
        let all: Vec<&str> = within.iter().map(|one| one.as_str()).collect();
        findings.add(
            typed.kind.span(),
            format!(
                "fault {}: it acts at {}, and experiment.within allows {}; move it, or add its place there",
                tick(&typed.name),
                plan.fault.place,
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
    let (header, lane) = LANE;
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
