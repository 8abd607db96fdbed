//! The conclusions of a run, with every reason.

use squall_record::event::{Event, What};
use squall_scenarios::plan::Plan;

use crate::exit;
use crate::faults::told::acted;
use crate::format;
use crate::generator::GeneratorVerdict;
use crate::steering::Steering;
use crate::summary::{
    AuditVerdict, FaultSummary, GateResult, GateSummary, GatesVerdict, SloSummary, Verdict,
};

/// A run that ends this much before its time ended early.
const EARLY_S: f64 = 0.5;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As planned.
    Complete,
    /// A person ended it.
    Interrupted,
    /// What it saw ended it.
    Aborted,
    /// It ended by itself, before its time.
    Early,
    /// Its record just stops.
    CutOff,
    /// It came to its end, and its record has lost that since.
    Torn,
}

impl Ending {
    /// How the load ended and when: as the events say, or where the record stops.
    pub fn of(events: &[Event], planned_s: f64, stops_s: Option<f64>) -> (Self, f64) {
        let ended = events.iter().rev().find_map(|e| match e.what {
            What::Ended { interrupted } => Some((interrupted, e.at_s)),
            _ => None,
        });
        if let Some(stops_s) = stops_s {
            let ending = if ended.is_some() { Ending::Torn } else { Ending::CutOff };
            return (ending, stops_s.min(planned_s));
        }
        let aborted = events.iter().any(|e| matches!(e.what, What::Aborted { .. }));
        match ended {
            Some((_, at_s)) if aborted => (Ending::Aborted, at_s.clamp(0.0, planned_s)),
            Some((false, at_s)) if at_s + EARLY_S < planned_s => (Ending::Early, at_s.max(0.0)),
            Some((false, _)) => (Ending::Complete, planned_s),
            Some((true, at_s)) => (Ending::Interrupted, at_s.clamp(0.0, planned_s)),
            None => (Ending::CutOff, planned_s),
        }
    }

    fn reason(self, load_end_s: f64, planned_s: f64) -> Option<String> {
        let at = format!("after {} of {}", format::seconds(load_end_s), format::seconds(planned_s));
        match self {
            Ending::Complete => None,
            Ending::Interrupted => {
                Some(format!("the run was interrupted {at}; the figures are of that part"))
            }
            Ending::Aborted => {
                Some(format!("the run was ended by what it saw {at}; the figures are of that part"))
            }
            Ending::Early => {
                Some(format!("the run ended by itself {at}; its log says why, the figures are of that part"))
            }
            Ending::Torn => Some(format!(
                "the record has lost its end: what is left of the load stops {at}; the figures are of what is left, and \
                 may lack the last seconds of journeys"
            )),
            Ending::CutOff => Some(format!(
                "the record stops {at} without an end: squall was killed or its machine failed; the \
                 figures are of what was recorded"
            )),
        }
    }
}

/// What the conclusions rest on.
pub(crate) struct Grounds<'a> {
    pub plan: &'a Plan,
    pub ending: Ending,
    pub load_end_s: f64,
    pub generator: &'a GeneratorVerdict,
    pub gates: &'a [GateSummary],
    pub slos: &'a [SloSummary],
    pub faults: &'a [FaultSummary],
    pub events: &'a [Event],
}

impl Grounds<'_> {
    pub fn conclude(&self) -> Verdict {
        let run = self.generator.run;
        let gates = self.gates_verdict();
        // The audit joins when it exists; until then no run claims to have been audited.
        let audit = AuditVerdict::None;
        let (interrupted, aborted) = (self.ending == Ending::Interrupted, self.ending == Ending::Aborted);
        let mut exit_code = exit::code(interrupted, aborted, run, gates, audit);
        if exit_code == exit::PASSED && !self.is_whole() {
            exit_code = exit::INCONCLUSIVE;
        }
        Verdict { run, gates, audit, exit_code, reasons: self.reasons() }
    }

    /// Whether it went to its end, with all that was to go wrong and nothing of it left behind.
    fn is_whole(&self) -> bool {
        self.ending == Ending::Complete && self.faults.iter().all(|f| acted(f) && !f.left && !f.cut_short)
    }

    /// A gate that failed on part of a run has failed; one that held on part of a run, or beside
    /// a fault that never came, shows nothing.
    fn gates_verdict(&self) -> GatesVerdict {
        let any = |result| self.gates.iter().any(|g| g.result == result);
        if self.gates.is_empty() {
            GatesVerdict::None
        } else if any(GateResult::Fail) {
            GatesVerdict::Fail
        } else if any(GateResult::Inconclusive) || !self.is_whole() {
            GatesVerdict::Inconclusive
        } else {
            GatesVerdict::Pass
        }
    }

    /// That the load was not only the scenario's.
    fn steered(&self) -> Option<String> {
        let steering = Steering::of(self.events);
        let (at_s, steer) = steering.changes().first()?;
        let times = match steering.changes().len() {
            1 => "once".to_owned(),
            n => format!("{n} times"),
        };
        Some(format!(
            "the load was changed by hand {times}, first at {} ({steer}): gates and SLOs judge what was asked for \
             then, which is not the scenario's load",
            format::seconds(*at_s)
        ))
    }

    fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<String> =
            self.ending.reason(self.load_end_s, self.plan.duration_s()).into_iter().collect();
        if self.plan.load.mode.is_closed() {
            reasons.push(
                "closed loop: the target set the pace, so this is a maximum throughput; the times are service \
                 times and say nothing about the response time under a load"
                    .to_owned(),
            );
        }
        reasons.extend(self.events.iter().filter_map(|e| match &e.what {
            What::Aborted { reason } => Some(format!("at {}: {reason}", format::seconds(e.at_s))),
            _ => None,
        }));
        reasons.extend(self.steered());
        reasons.extend(self.generator.reasons.iter().cloned());
        for g in self.gates {
            match (g.result, &g.reason) {
                (GateResult::Fail, _) => {
                    reasons.push(format!("gate `{}` failed: {}", g.expression, format::actual(g)));
                }
                (GateResult::Inconclusive, Some(why)) => {
                    reasons.push(format!("gate `{}` is inconclusive: {why}", g.expression));
                }
                _ => {}
            }
        }
        for f in self.faults {
            let cut_short = f.cut_short.then_some("nobody asked for that");
            if let Some(problem) = f.problem.as_deref().or(cut_short) {
                let what = match (f.left, acted(f)) {
                    (true, _) => "left something behind",
                    (false, true) if f.cut_short => "ended before its time",
                    (false, true) => "did not end as it should",
                    (false, false) => "did not act",
                };
                reasons.push(format!("fault `{}` {what}: {problem}", f.name));
            }
        }
        for s in self.slos.iter().filter(|s| s.met == Some(false)) {
            let actual = s.actual.map_or_else(|| "nothing".to_owned(), |a| format::percent(a, s.objective));
            reasons.push(format!(
                "SLO `{}` was missed: {actual} good, {} promised",
                s.name,
                format::percent(s.objective, s.objective)
            ));
        }
        let outages = self.events.iter().filter_map(|e| match &e.what {
            What::Target { up: false, reason } => Some((e.at_s, reason)),
            _ => None,
        });
        if let Some((at_s, reason)) = outages.clone().next() {
            let more = match outages.count() {
                1 => String::new(),
                n => format!(" ({n} times in all)"),
            };
            reasons.push(format!(
                "the target stopped answering its health check at {}{more}: {reason}",
                format::seconds(at_s)
            ));
        }
        reasons
    }
}
