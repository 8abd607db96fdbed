//! What a scenario means: from the tables as typed to the plan, every default decided, every
//! contradiction told. Each part goes on where it can after a mistake, so that one reading tells of
//! several.
//!
//! # Layout
//!
//! * `scalar`: single values and names, the same for every table.
//! * `target`, `carry`, `data`: what is loaded, how the load is carried, where placeholders draw from.
//! * `feeder`: rows of files that placeholders read.
//! * `bursts`: how bursty arrivals are.
//! * `phase`: rates on the time axis. `curve`: from every shape to straight lines.
//! * `trace`: recorded traffic on it.
//! * `request`: what is asked, safe to put on a wire. `answer`: what its answer must say, and when it is asked again.
//! * `journey`: closed-loop users, on the same time axis.
//! * `fault`: what goes wrong, on the same time axis.
//! * `experiment`: what must hold around it.
//! * `promise`: SLOs and gates, and whether what they refer to exists.

mod answer;
mod bursts;
mod carry;
mod curve;
mod data;
mod experiment;
mod fault;
mod feeder;
mod journey;
mod phase;
mod promise;
mod request;
mod scalar;
mod target;
mod trace;

pub use answer::{MAX_ATTEMPTS, MAX_BACKOFF_S, MAX_CHECKS};
pub use bursts::{BURST_SHARES, MAX_BURST, MAX_BURST_FACTOR, MIN_BURST};
pub use carry::{MAX_CONNECTIONS, MAX_FINE_US, MAX_IN_FLIGHT, MAX_TIMEOUT_MS, MAX_WORKERS};
pub use curve::{MAX_CURVE_BYTES, MAX_DEPTH, MAX_FACTOR, MAX_TERMS};
pub use data::{MAX_ACCOUNTS, MAX_AMOUNT, MAX_AMOUNT_VALUES};
pub use fault::MAX_FAULTS;
pub use feeder::MAX_FEEDERS;
pub use phase::{MAX_ARRIVALS, MAX_PHASES, MAX_PLAN_POINTS, MAX_RUN_S, MAX_SCALE, MAX_STEPS};
pub use promise::{MAX_GATES, MAX_SLOS};
pub use request::{MAX_BODY_LEN, MAX_HEADERS, MAX_PATH_LEN, MAX_REQUESTS};
pub use scalar::MAX_NAME_LEN;
pub use trace::{MAX_BROKEN, MAX_SPEED, MIN_SPEED};

pub(crate) use data::draws_accounts;
pub(crate) use journey::step_draws_accounts;

use std::path::Path;
use std::time::Duration;

use crate::edited::EditedText;
use crate::error::tick;
use crate::file::scalar::At;
use crate::file::tables::Scenario;
use crate::findings::Findings;
use crate::plan::Plan;
use scalar::within;

/// The plan that `file` means. `None` when something is wrong, which is then in `findings`.
///
/// A file that the scenario names is looked for in `folder`.
pub(crate) fn lower(
    file: &Scenario,
    folder: &Path,
    text: &EditedText<'_>,
    findings: &mut Findings,
) -> Option<Plan> {
    let name = scenario_name(file, findings);
    let target = target::lower(file.target.as_ref(), folder, text, findings);
    let max_rate_rps = carry::max_rate_rps(file.load.as_ref(), findings);
    let load = carry::lower(file.load.as_ref(), target.as_ref(), max_rate_rps, findings);
    let scale = file.load.as_ref().and_then(|l| l.scale.as_ref());
    let scale = within(scale, 1.0, 0.0..=MAX_SCALE, "load.scale", findings).unwrap_or(1.0);
    let rules = curve::Rules { folder, max_rate_rps, scale };
    let feeding = feeder::lower(&file.feeder, folder, findings);
    // Journeys may stand alone; anything of the open-loop load needs all of it.
    let closed_only = !file.journey.is_empty() && file.phase.is_empty() && file.request.is_empty();
    let (mut timeline, mut requests) = if closed_only {
        (phase::Timeline { complete: true, ..phase::Timeline::default() }, Vec::new())
    } else {
        let requests = request::lower(&file.request, target.as_ref(), &feeding, findings);
        let timeline = phase::lower(&file.phase, &rules, &requests, findings);
        if let (Some(load), true) = (&load, timeline.complete) {
            bursts::check_peak(file.load.as_ref(), load, timeline.peak_rps(), max_rate_rps, findings);
        }
        (timeline, requests)
    };
    let journeys = journey::lower(&file.journey, &timeline, target.as_ref(), &feeding, findings);
    feeding.unused(&file.feeder, &requests, &journeys, findings);
    if closed_only {
        timeline.end = journeys.iter().map(|j| Duration::from_secs_f64(j.end_s)).max().unwrap_or_default();
        timeline.complete = !timeline.end.is_zero();
    }
    let url = file.target.as_ref().and_then(|t| t.url.as_ref()).map(At::span);
    let data = data::lower(file.data.as_ref(), target.as_ref(), url, &requests, &journeys, findings);
    let places = fault::Places::lower(&file.group, &file.resource, &file.proxy, target.as_ref(), findings);
    let seed = file.seed.as_deref().copied().unwrap_or(1);
    let monkey = (file.fault.as_slice(), file.monkey.as_ref(), seed);
    let bounds = experiment::Bounds::of(file.experiment.as_ref());
    let known = (requests.as_slice(), file.slo.as_slice());
    let (faults, choices) = fault::lower(monkey, &bounds, (&timeline, &places), known, findings);
    let typed = (file.experiment.as_ref(), file.fault.as_slice());
    let experiment = experiment::lower(typed, (&timeline, &places), (&faults, &choices), known, findings);
    let places = places.known;
    let slos = promise::slos(&file.slo, &requests, findings);
    // Of a monkey's too, whether the seed draws them or not.
    let named: Vec<&str> =
        faults.iter().map(|f| &f.fault).chain(&choices).map(|fault| fault.name.as_str()).collect();
    let typed: Vec<&str> = file.fault.iter().map(|f| f.name.as_str()).collect();
    let known =
        (requests.as_slice(), (typed.as_slice(), named.as_slice(), faults.as_slice()), file.slo.as_slice());
    let gates = promise::gates(&file.gates, &timeline, known, &file.journey, findings);
    if closed_only {
        promise::closed_loop_only(&file.slo, &file.gates, &gates, findings);
    }
    if !findings.is_empty() {
        return None;
    }
    if let Some(experiment) = &experiment {
        experiment::set_apart(experiment.control, &mut requests, &mut timeline.phases);
    }
    Some(Plan {
        name: name?,
        summary: file.summary.as_ref().map_or_else(String::new, |s| s.trim().to_owned()),
        seed,
        target: target?,
        load: load?,
        phases: timeline.phases,
        requests,
        journeys,
        data: data?,
        feeders: feeding.into_plans(),
        faults,
        places,
        experiment,
        slos,
        gates,
    })
}

/// The name becomes part of a folder's name, so it holds nothing that a file system minds.
fn scenario_name(file: &Scenario, findings: &mut Findings) -> Option<String> {
    if let Some(summary) = &file.summary
        && summary.chars().any(|c| c.is_control() && c != '\n')
    {
        findings.add(summary.span(), "summary holds control characters; write one plain sentence");
    }
    let name = &file.name;
    let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > MAX_NAME_LEN || !name.bytes().all(safe) || name.starts_with('-') {
        findings.add(
            name.span(),
            format!(
                "name {} must be 1 to {MAX_NAME_LEN} lower-case letters, digits and dashes, and not begin with a dash",
                tick(name)
            ),
        );
        return None;
    }
    Some(name.to_string())
}
