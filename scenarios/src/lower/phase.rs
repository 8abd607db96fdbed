//! `[[phase]]`: rates on the time axis.

use std::time::Duration;

use super::curve::{self, PhaseShape, Rules};
use super::request::MAX_WEIGHT;
use super::scalar::{Names, duration_within, within};
use super::trace;
use crate::curve::Curve;
use crate::error::{did_you_mean, tick};
use crate::file::scalar::At;
use crate::file::tables::{Phase, Steps};
use crate::findings::Findings;
use crate::plan::{PhasePlan, RequestPlan, TracePlan};
use crate::units::duration::format_duration;
use crate::units::number::grouped;

/// The longest run, in seconds: a week.
pub const MAX_RUN_S: u64 = 7 * 24 * 3600;
/// The most phases, each step counted.
pub const MAX_PHASES: usize = 1000;
/// The most steps of one staircase.
pub const MAX_STEPS: u32 = 200;
/// The most points of all curves together: the manifest, which holds them, stays readable.
pub const MAX_PLAN_POINTS: usize = 20_000;
/// The highest factor that scales rates.
pub const MAX_SCALE: f64 = 1000.0;
/// The most arrivals of a run: fewer than the digits of `${seq}` can number.
pub const MAX_ARRIVALS: f64 = 100e9;

/// A phase as typed, on the time axis: what faults and gates refer to.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) name: String,
    pub(super) start: Duration,
    pub(super) end: Duration,
    pub(super) warmup: bool,
    /// How many planned phases it became.
    pub(super) steps: u32,
}

/// The whole run.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pub(super) phases: Vec<PhasePlan>,
    pub(super) stretches: Vec<Stretch>,
    /// When the last phase ends.
    pub(super) end: Duration,
    /// Whether every phase could be read; else times behind the first unread one are too early.
    pub(super) complete: bool,
}

impl Timeline {
    /// The highest rate of all phases.
    pub(super) fn peak_rps(&self) -> f64 {
        self.phases.iter().map(|p| p.curve.peak_rps()).fold(0.0, f64::max)
    }
}

pub(super) fn lower(
    file: &[At<Phase>],
    rules: &Rules<'_>,
    requests: &[RequestPlan],
    findings: &mut Findings,
) -> Timeline {
    let mut timeline = Timeline::default();
    let mut names = Names::new("phase");
    let Some(last) = file.last() else {
        findings.add(0..0, "there is no phase; add a [[phase]] with name, duration and rate");
        return timeline;
    };
    timeline.complete = true;
    for typed in file {
        names.add(&typed.name, findings);
        let first = timeline.phases.len();
        let stretch = one(typed, &mut timeline.phases, timeline.end, rules, findings);
        timeline.complete &= stretch.is_some();
        let mix = match typed.trace.as_ref().and_then(|t| t.request.as_ref()) {
            Some(class) => trace::mix(typed, class, requests, findings),
            None => mix(typed, requests, findings),
        };
        timeline.phases[first..].iter_mut().for_each(|p| p.mix.clone_from(&mix));
        // An unread phase keeps its name, so that gates and faults on it are not blamed.
        let stretch = stretch.unwrap_or_else(|| Stretch {
            name: typed.name.to_string(),
            start: timeline.end,
            end: timeline.end,
            warmup: typed.warmup,
            steps: 1,
        });
        timeline.end = stretch.end;
        timeline.stretches.push(stretch);
        if timeline.phases.len() > MAX_PHASES {
            findings.add(
                typed.span(),
                format!("there are more than {MAX_PHASES} phases, each step counted; merge some"),
            );
            timeline.complete = false;
            return timeline;
        }
    }
    if timeline.complete {
        whole(&timeline, last, findings);
    }
    timeline
}

/// What only the whole shows.
fn whole(timeline: &Timeline, last: &At<Phase>, findings: &mut Findings) {
    if timeline.end > Duration::from_secs(MAX_RUN_S) {
        let total = format_duration(timeline.end);
        findings.add(
            last.duration.span(),
            format!("the phases last {total} in all, above the limit of 7 days; shorten them"),
        );
    }
    let points: usize = timeline.phases.iter().map(|p| p.curve.points().len()).sum();
    if points > MAX_PLAN_POINTS {
        findings.add(
            last.span(),
            format!(
                "the phases' curves have {} points in all, above the limit of {}; make some coarser or shorter",
                grouped(points as f64),
                grouped(MAX_PLAN_POINTS as f64)
            ),
        );
    }
    let arrivals: f64 = timeline.phases.iter().map(PhasePlan::expected_arrivals).sum();
    if arrivals > MAX_ARRIVALS {
        findings.add(
            last.duration.span(),
            format!(
                "the phases plan {} arrivals in all, above the limit of {}; shorten them or lower their rates",
                grouped(arrivals),
                grouped(MAX_ARRIVALS)
            ),
        );
    }
    if let Some(step) =
        timeline.phases.iter().find(|p| p.step && timeline.stretches.iter().any(|s| s.name == p.name))
    {
        findings.add(
            last.span(),
            format!("phase name {} is also the name of a step; rename the phase", tick(&step.name)),
        );
    }
    let counted = timeline.phases.iter().filter(|p| !p.warmup);
    let replays = counted.clone().any(|p| p.trace.is_some());
    if !replays && counted.map(PhasePlan::expected_arrivals).sum::<f64>() < 1.0 {
        findings.add(
            last.span(),
            "the phases plan no arrivals outside warm-up, so there would be nothing to judge; raise a rate or a duration",
        );
    }
}

/// One phase as typed: pushes what it becomes on `phases`.
fn one(
    typed: &At<Phase>,
    phases: &mut Vec<PhasePlan>,
    start: Duration,
    rules: &Rules<'_>,
    findings: &mut Findings,
) -> Option<Stretch> {
    let what = format!("phase {}:", tick(&typed.name));
    let week = Duration::from_secs(MAX_RUN_S);
    let duration = duration_within(&typed.duration, week, format_args!("{what} duration"), findings);
    let scale = within(typed.scale.as_ref(), 1.0, 0.0..=MAX_SCALE, &format!("{what} scale"), findings);
    let rules = Rules { scale: rules.scale * scale.unwrap_or(1.0), ..*rules };
    let mut push =
        |name: String, start: Duration, end: Duration, curve: Curve, step: bool, trace: Option<TracePlan>| {
            phases.push(PhasePlan {
                name,
                warmup: typed.warmup,
                start_s: start.as_secs_f64(),
                end_s: end.as_secs_f64(),
                curve,
                step,
                mix: Vec::new(),
                trace,
            });
        };
    let name = typed.name.to_string();
    let mut steps = 1;
    match curve::shape(typed, &what, findings)? {
        PhaseShape::Steps(stairs) => {
            let mut rate = |text, key: &str| curve::rate_rps(text, key, &what, &rules, findings);
            let (from, to) = (rate(&stairs.from, "steps.from"), rate(&stairs.to, "steps.to"));
            steps = step_count(stairs, &what, findings)?;
            let (from, to, duration) = (from?, to?, duration?);
            for i in 0..steps {
                let rps = from + (to - from) * f64::from(i) / f64::from(steps - 1);
                let (begin, end) = (start + duration * i / steps, start + duration * (i + 1) / steps);
                let curve = Curve::hold((end - begin).as_secs_f64(), rps);
                push(format!("{name} {}/{steps}", i + 1), begin, end, curve, true, None);
            }
        }
        PhaseShape::Curve(shape) => {
            // Without a duration there is no curve, but there may be further mistakes.
            let length = duration.unwrap_or(Duration::from_secs(1));
            let curve = curve::lower(typed, &shape, length, &what, &rules, findings);
            push(name.clone(), start, start + duration?, curve?, false, None);
        }
        PhaseShape::Trace(recorded) => {
            let trace = trace::lower(recorded, &what, &rules, findings);
            let (trace, length) = (trace?, duration?);
            push(
                name.clone(),
                start,
                start + length,
                Curve::hold(length.as_secs_f64(), 0.0),
                false,
                Some(trace),
            );
        }
    }
    scale?;
    Some(Stretch { name, start, end: start + duration?, warmup: typed.warmup, steps })
}

/// The requests' weights in this phase, in their order; empty when their own hold.
fn mix(typed: &Phase, requests: &[RequestPlan], findings: &mut Findings) -> Vec<f64> {
    let Some(mix) = &typed.mix else { return Vec::new() };
    let what = format!("phase {}: mix", tick(&typed.name));
    let mut weights = vec![0.0; requests.len()];
    let mut good = true;
    for (name, weight) in mix.iter() {
        let Some(class) = requests.iter().position(|r| r.name == **name) else {
            let hint = did_you_mean(name, requests.iter().map(|r| r.name.as_str()));
            let known: Vec<&str> = requests.iter().map(|r| r.name.as_str()).collect();
            let known = known.join(", ");
            findings.add(
                name.span(),
                format!("{what}: there is no request {}{hint} (there are: {known})", tick(name)),
            );
            good = false;
            continue;
        };
        match within(Some(weight), 0.0, 0.0..=MAX_WEIGHT, &format!("{what}.{}", &**name), findings) {
            Some(w) => weights[class] = w,
            None => good = false,
        }
    }
    if good && weights.iter().all(|w| *w == 0.0) {
        findings.add(
            mix.span(),
            format!("{what} gives no request a weight, so none could be sent; give one a positive weight or remove the mix"),
        );
    }
    weights
}

fn step_count(stairs: &Steps, what: &str, findings: &mut Findings) -> Option<u32> {
    let count = &stairs.count;
    if (2..=MAX_STEPS).contains(&**count) {
        return Some(**count);
    }
    findings
        .add(count.span(), format!("{what} steps.count {} is outside its range, 2 to {MAX_STEPS}", **count));
    None
}
