//! The one model that every report is rendered from, and how it is built from a run folder.

use squall_record::event::{Event, What};
use squall_record::folder::{MANIFEST, RunFolder};
use squall_record::manifest::Manifest;
use squall_scenarios::plan::Plan;

use crate::error::ReportError;
use crate::experiment::Steady;
use crate::faults::faults;
use crate::gates::{gates, pairs};
use crate::gather::{Gathered, gather};
use crate::generator::GeneratorVerdict;
use crate::journeys::journeys;
use crate::series::{Series, Spectrum, spectrum};
use crate::slo::slos;
use crate::stats::availability;
use crate::steering::Steering;
use crate::steps::capacity;
use crate::summary::{GeneratorSummary, PhaseSummary, RequestSummary, SCHEMA, SteeringSummary, Summary};
use crate::verdict::{Ending, Grounds};
use crate::windows::{FaultWindow, fault_windows};

/// What a run meant.
#[derive(Debug, Clone)]
pub struct Report {
    /// The result, as in `summary.json`.
    pub summary: Summary,
    /// What was run.
    pub plan: Plan,
    /// Where, when and by what it was run.
    pub manifest: Manifest,
    /// What happened between the seconds.
    pub events: Vec<Event>,
    /// Counts and percentiles over time.
    pub series: Series,
    /// The percentile spectrum of the response time.
    pub response_spectrum: Spectrum,
    /// The percentile spectrum of the service time.
    pub service_spectrum: Spectrum,
    /// When each fault acted.
    pub faults: Vec<FaultWindow>,
}

impl Report {
    /// The exit code of the process that ran this; see [`crate::exit`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.summary.verdict.exit_code
    }
}

/// Reads `run` and judges it. Works on a run that was interrupted or killed as well.
///
/// # Errors
/// When the folder cannot be read, or its manifest holds no plan that this version understands.
pub fn build(run: &RunFolder) -> Result<Report, ReportError> {
    let manifest = run.manifest.clone();
    let plan = plan_of(run)?;
    let events = run.events()?;
    // When a killed run stopped is only known at the end of its record, and the fault windows
    // must be known before the histograms are merged: hence a first look at the last second.
    let mut stops_s = if ended(&events) { None } else { Some(last_second(run, &plan)?) };
    let (ending, load_end_s, windows, gathered) = loop {
        let (ending, load_end_s) = Ending::of(&events, plan.duration_s(), stops_s);
        let windows = fault_windows(&plan, &events, load_end_s);
        let (mut ticks, mut journeys) = (run.ticks()?, run.journeys()?);
        let pairs = pairs(&plan);
        let steady = Steady::new(&plan, manifest.classes.len(), &windows, load_end_s);
        let gathered =
            gather(&plan, &manifest.classes, (&windows, steady), &pairs, &events, &mut ticks, &mut journeys)?;
        // A run that came to its end and lost some of its record afterwards is no complete one.
        let load_s = plan.phases.last().map_or(0.0, |p| p.end_s);
        let users_s = plan.journeys.iter().map(|j| j.end_s).fold(0.0, f64::max);
        let lacks = |end_s: u32, planned_s: f64| f64::from(end_s) < planned_s.min(load_end_s).floor();
        let is_torn = ticks.is_torn() || journeys.is_torn();
        let is_short = lacks(ticks.end_s(), load_s) || lacks(journeys.end_s(), users_s);
        if stops_s.is_none() && (is_torn || is_short && ending != Ending::Early) {
            stops_s = Some(last_second(run, &plan)?);
            continue;
        }
        break (ending, load_end_s, windows, gathered);
    };
    let summary = summarise(&plan, &manifest, &events, &windows, &gathered, ending, load_end_s);
    Ok(Report {
        summary,
        response_spectrum: spectrum(gathered.measured.response()),
        service_spectrum: spectrum(gathered.measured.service()),
        series: gathered.series,
        faults: windows,
        plan,
        manifest,
        events,
    })
}

/// The plan in a run's manifest.
pub(crate) fn plan_of(run: &RunFolder) -> Result<Plan, ReportError> {
    serde_json::from_value(run.manifest.scenario.clone()).map_err(|source| ReportError::Plan {
        path: run.path().join(MANIFEST),
        written_by: run.manifest.squall_version.clone(),
        source,
    })
}

fn ended(events: &[Event]) -> bool {
    events.iter().any(|e| matches!(e.what, What::Ended { .. }))
}

/// The end of the last whole second on record: of the load, or of the users when there is none.
fn last_second(run: &RunFolder, plan: &Plan) -> Result<f64, ReportError> {
    let mut end_s = 0;
    if plan.has_load() {
        for tick in run.ticks()? {
            end_s = tick?.second.saturating_add(1);
        }
    } else {
        for tick in run.journeys()? {
            end_s = tick?.second.saturating_add(1);
        }
    }
    Ok(f64::from(end_s))
}

fn summarise(
    plan: &Plan,
    manifest: &Manifest,
    events: &[Event],
    windows: &[FaultWindow],
    gathered: &Gathered,
    ending: Ending,
    load_end_s: f64,
) -> Summary {
    let phase_s: Vec<f64> =
        plan.phases.iter().map(|p| (p.end_s.min(load_end_s) - p.start_s).max(0.0)).collect();
    let measured_s: f64 =
        plan.phases.iter().zip(&phase_s).filter(|(p, _)| !p.warmup).map(|(_, seconds)| seconds).sum();
    let slos = slos(plan, gathered);
    let faults = faults(plan, &manifest.classes, windows, gathered);
    let mut gates = gates(plan, gathered, (&slos, &faults), &phase_s, measured_s, load_end_s);
    gates.extend(gathered.steady.gates(plan));
    let grounds = Grounds {
        plan,
        ending,
        load_end_s,
        generator: &gathered.generator,
        gates: &gates,
        slos: &slos,
        faults: &faults,
        events,
    };
    let objective =
        plan.slos.iter().find(|s| s.under_ms.is_none() && s.request.is_none()).map(|s| s.objective);
    Summary {
        schema: SCHEMA,
        name: manifest.name.clone(),
        seed: manifest.seed,
        started_at: manifest.started_at.clone(),
        duration_s: load_end_s,
        measured_s,
        complete: ending == Ending::Complete,
        mode: plan.load.mode,
        steering: steering(events),
        verdict: grounds.conclude(),
        load: gathered.measured.load(measured_s),
        latency_ms: gathered.measured.latencies(),
        availability: availability(&gathered.measured.counts, measured_s, objective),
        requests: requests(manifest, gathered, measured_s),
        phases: phases(plan, gathered, events, &phase_s),
        journeys: journeys(plan, &gathered.journeys, load_end_s),
        faults,
        slos,
        gates,
        generator: generator(&gathered.generator),
        capacity: capacity(plan, events, gathered, &phase_s),
    }
}

fn steering(events: &[Event]) -> Vec<SteeringSummary> {
    Steering::of(events)
        .changes()
        .iter()
        .map(|(at_s, steer)| SteeringSummary { at_s: *at_s, load: steer.to_string() })
        .collect()
}

fn requests(manifest: &Manifest, gathered: &Gathered, measured_s: f64) -> Vec<RequestSummary> {
    manifest
        .classes
        .iter()
        .zip(&gathered.classes)
        .map(|(name, cell)| RequestSummary {
            name: name.clone(),
            load: cell.load(measured_s),
            latency_ms: cell.latencies(),
        })
        .collect()
}

fn phases(plan: &Plan, gathered: &Gathered, events: &[Event], phase_s: &[f64]) -> Vec<PhaseSummary> {
    let trace = |name: &str| {
        events.iter().find_map(|e| match &e.what {
            What::Trace { phase, replay } if phase == name => Some(replay.clone()),
            _ => None,
        })
    };
    plan.phases
        .iter()
        .zip(&gathered.phases)
        .zip(phase_s)
        .filter(|(_, seconds)| **seconds > 0.0)
        .map(|((phase, cell), seconds)| PhaseSummary {
            name: phase.name.clone(),
            warmup: phase.warmup,
            start_s: phase.start_s,
            end_s: phase.start_s + seconds,
            load: cell.load(*seconds),
            latency_ms: cell.latencies(),
            availability: cell.counts.availability(),
            trace: trace(&phase.name),
        })
        .collect()
}

fn generator(v: &GeneratorVerdict) -> GeneratorSummary {
    GeneratorSummary {
        cpu_us_per_request: v.cpu_us_per_request,
        cpu_utilisation: v.cpu_utilisation,
        schedule_lag_p99_us: v.schedule_lag_p99_us,
        pacing_p99_us: v.pacing_p99_us,
        workers: v.workers,
        connections: v.connections,
        connections_reopened: v.reopened,
        connections_unasked: v.unasked,
        transport: v.transport.name().to_owned(),
        http: v.transport.http().version().to_owned(),
        journeys_cpu_utilisation: v.journeys_cpu_utilisation,
    }
}
