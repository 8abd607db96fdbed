//! `[[slo]]` and `gates`: what is promised, what must be shown, and whether it can be.

use std::time::Duration;

use super::phase::Timeline;
use super::scalar::{Names, duration_within, ratio};
use crate::error::{did_you_mean, tick};
use crate::file::journeys::Journey;
use crate::file::scalar::At;
use crate::file::tables::Slo;
use crate::findings::Findings;
use crate::gate::parse_gate;
use crate::plan::{FaultPlan, GatePlan, Metric, RequestPlan, SloPlan};

/// The most SLOs of a scenario.
pub const MAX_SLOS: usize = 64;
/// The most gates of a scenario.
pub const MAX_GATES: usize = 256;
/// The longest response time that is told apart: the range of the latency histograms.
const MAX_UNDER: Duration = Duration::from_secs(600);

pub(super) fn slos(file: &[At<Slo>], requests: &[RequestPlan], findings: &mut Findings) -> Vec<SloPlan> {
    if let Some(beyond) = file.get(MAX_SLOS) {
        findings.add(beyond.span(), format!("there are more than {MAX_SLOS} SLOs"));
    }
    let mut names = Names::new("slo");
    file.iter()
        .take(MAX_SLOS)
        .filter_map(|typed| {
            names.add(&typed.name, findings);
            let what = format!("slo {}:", tick(&typed.name));
            let under = typed
                .under
                .as_ref()
                .map(|d| duration_within(d, MAX_UNDER, format_args!("{what} under"), findings));
            let objective = objective(typed, &what, findings);
            if let Some(request) = &typed.request
                && let Some(message) = unknown_request(request, requests)
            {
                findings.add(request.span(), format!("{what} {message}"));
            }
            Some(SloPlan {
                name: typed.name.to_string(),
                objective: objective?,
                under_ms: match under {
                    Some(d) => Some(d?.as_secs_f64() * 1e3),
                    None => None,
                },
                request: typed.request.as_deref().cloned(),
            })
        })
        .collect()
}

fn objective(typed: &Slo, what: &str, findings: &mut Findings) -> Option<f64> {
    let share = ratio(&typed.objective, format_args!("{what} objective"), findings)?;
    let trouble = match share {
        1.0 => "100% leaves no error budget, so nothing could be judged; promise less, such as 99.99%",
        0.0 => "0 promises nothing; promise more, such as 99.9%",
        _ => return Some(share),
    };
    findings.add(typed.objective.span(), format!("{what} objective {trouble}"));
    None
}

/// The names of faults as typed, those that come of them, and the faults with their times.
type Faults<'a> = (&'a [&'a str], &'a [&'a str], &'a [FaultPlan]);

/// `requests`, `faults` and `slos` are what there is to look at.
pub(super) fn gates(
    file: &[At<String>],
    timeline: &Timeline,
    (requests, faults, slos): (&[RequestPlan], Faults<'_>, &[At<Slo>]),
    journeys: &[At<Journey>],
    findings: &mut Findings,
) -> Vec<GatePlan> {
    if let Some(beyond) = file.get(MAX_GATES) {
        findings.add(beyond.span(), format!("there are more than {MAX_GATES} gates"));
    }
    file.iter()
        .take(MAX_GATES)
        .filter_map(|typed| {
            let what = format!("gate {}", tick(typed));
            let gate = findings.check(typed.span(), &what, parse_gate(typed))?;
            let trouble = gate.phase.as_ref().and_then(|p| unmeasured_phase(p, timeline));
            let request = gate.request.as_ref().and_then(|r| unknown_request(r, requests));
            let journey = gate.journey.as_ref().map(|j| unknown_journey(j, gate.step.as_deref(), journeys));
            let fault = unknown_fault(&gate, faults, timeline.end).filter(|_| findings.is_empty());
            let slo = unknown_slo(&gate, slos);
            for message in trouble.into_iter().chain(request).chain(journey.flatten()).chain(fault).chain(slo)
            {
                findings.add(typed.span(), format!("{what}: {message}"));
            }
            Some(gate)
        })
        .collect()
}

/// Why a gate cannot be measured in the phase called `name`.
fn unmeasured_phase(name: &str, timeline: &Timeline) -> Option<String> {
    if let Some(stretch) = timeline.stretches.iter().find(|s| s.name == name) {
        return if stretch.warmup {
            Some(format!("phase {} is warm-up, which nothing is judged by; name another", tick(name)))
        } else if stretch.steps > 1 {
            let last = format!("{name} {0}/{0}", stretch.steps);
            Some(format!(
                "phase {} is {} steps; name one of them, such as {}",
                tick(name),
                stretch.steps,
                tick(&last)
            ))
        } else {
            None
        };
    }
    match timeline.phases.iter().find(|p| p.name == name) {
        Some(step) if step.warmup => {
            Some(format!("phase {} is warm-up, which nothing is judged by; name another", tick(name)))
        }
        Some(_) => None,
        None => {
            let known = || timeline.stretches.iter().map(|s| s.name.as_str());
            let hint = did_you_mean(name, known());
            let all = known().take(20).collect::<Vec<_>>().join(", ");
            Some(format!("there is no phase {}{hint} (known: {all})", tick(name)))
        }
    }
}

pub(super) fn unknown_request(name: &str, requests: &[RequestPlan]) -> Option<String> {
    if requests.iter().any(|r| r.name == name) {
        return None;
    }
    let known = || requests.iter().map(|r| r.name.as_str());
    let hint = did_you_mean(name, known());
    let all = known().take(20).collect::<Vec<_>>().join(", ");
    Some(format!("there is no request {}{hint} (known: {all})", tick(name)))
}

/// Why there is no fault for a gate that looks at one, or none that it could see the end of.
fn unknown_fault(gate: &GatePlan, (typed, named, faults): Faults<'_>, end: Duration) -> Option<String> {
    let known = || named.iter().copied();
    if !gate.metric.is_of_faults() {
        return None;
    }
    if let Some(wanted) = &gate.fault
        && let Some(other) = typed.iter().find(|name| *name != wanted && gate.is_of_fault(name))
    {
        return Some(format!(
            "fault {} reads as a repetition of {}; give it another name",
            tick(other),
            tick(wanted)
        ));
    }
    if known().any(|name| gate.is_of_fault(name)) {
        let mut looked_at = faults.iter().filter(|f| gate.is_of_fault(&f.fault.name)).peekable();
        let lasts = looked_at.peek().is_some() && looked_at.all(|f| f.end_s >= end.as_secs_f64());
        return lasts.then(|| {
            "its fault lasts as long as the load, so nobody would see whether the service comes back; end it earlier".to_owned()
        });
    }
    let Some(name) = &gate.fault else { return Some("there is no fault to recover from".to_owned()) };
    let all = known().take(20).collect::<Vec<_>>().join(", ");
    Some(format!("there is no fault {}{} (known: {all})", tick(name), did_you_mean(name, known())))
}

/// Why there is no SLO for a gate that looks at one. Of the SLOs as typed: one with a mistake in it is there, and the mistake is
/// told already.
pub(super) fn unknown_slo(gate: &GatePlan, slos: &[At<Slo>]) -> Option<String> {
    if gate.metric != Metric::Burn {
        return None;
    }
    let known = || slos.iter().map(|s| s.name.as_str());
    match &gate.slo {
        _ if slos.is_empty() => Some("there is no SLO whose budget could burn; add an [[slo]]".to_owned()),
        Some(name) if known().all(|slo| slo != name) => {
            let all = known().take(20).collect::<Vec<_>>().join(", ");
            Some(format!("there is no slo {}{} (known: {all})", tick(name), did_you_mean(name, known())))
        }
        _ => None,
    }
}

/// Of the journeys as typed: one with a mistake in it is there, and the mistake is told already.
fn unknown_journey(name: &str, step: Option<&str>, journeys: &[At<Journey>]) -> Option<String> {
    let Some(journey) = journeys.iter().find(|j| *j.name == name) else {
        let hint = did_you_mean(name, journeys.iter().map(|j| j.name.as_str()));
        return Some(format!("there is no journey {}{hint}", tick(name)));
    };
    let step = step.filter(|step| !journey.step.iter().any(|s| *s.name == *step))?;
    let hint = did_you_mean(step, journey.step.iter().map(|s| s.name.as_str()));
    Some(format!("journey {} has no step {}{hint}", tick(name), tick(step)))
}

/// SLOs and gates of the open-loop load judge nothing in a scenario of journeys alone.
pub(super) fn closed_loop_only(
    slos: &[At<Slo>],
    typed: &[At<String>],
    gates: &[GatePlan],
    findings: &mut Findings,
) {
    if let Some(slo) = slos.first() {
        findings.add(
            slo.span(),
            format!(
                "slo {} promises a share of planned arrivals, and journeys plan none; add a [[phase]] and a [[request]], \
                 or use a gate such as rate(failed){{journey:customer}}<1%",
                tick(&slo.name)
            ),
        );
    }
    // A gate that could not be read is told already and missing from `gates`.
    for gate in gates.iter().filter(|g| g.journey.is_none()) {
        let at = typed.iter().find(|t| t.trim() == gate.expression);
        findings.add(
            at.map_or(0..0, At::span),
            format!(
                "gate {} is of the open-loop load, and there is none; name a journey, as in p(99){{journey:customer}}<50ms",
                tick(&gate.expression)
            ),
        );
    }
}
