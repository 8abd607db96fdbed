//! What happened between the seconds: one line of `events.jsonl` each.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fault::FaultSpec;
use crate::trace::TraceReplay;

/// Something that happened at one instant of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since the first planned arrival; negative before it.
    pub at_s: f64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The load began; `at_s` is 0.
    Started,
    /// A phase began.
    Phase {
        /// The phase's index in the plan.
        index: u16,
        /// Its name.
        name: String,
    },
    /// A fault was armed where it acts.
    FaultOn {
        /// The fault.
        fault: FaultSpec,
        /// When it was due, of one that waited for a condition: the second at which that held.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_s: Option<f64>,
    },
    /// A fault ended.
    FaultOff {
        /// The fault's name.
        name: String,
        /// How many requests it had hit, when the place where it acted says so.
        affected: Option<u64>,
    },
    /// A fault could not be armed or ended.
    FaultFailed {
        /// The fault's name.
        name: String,
        /// Why.
        reason: String,
        /// Whether something of it is left behind, or may be.
        #[serde(default, skip_serializing_if = "is_false")]
        left: bool,
    },
    /// The load was changed by hand. The change holds from `at_s` on, a little after it was asked
    /// for.
    Steered {
        /// What became of the load.
        steer: Steer,
    },
    /// The run ends because of what it has seen: an abort condition held, or the steady state did not.
    Aborted {
        /// What was seen.
        reason: String,
    },
    /// Something a person wants to find again on the time axis.
    Mark {
        /// What to show there.
        text: String,
    },
    /// The target stopped or started answering its health check.
    Target {
        /// Whether it answers.
        up: bool,
        /// What was seen.
        reason: String,
    },
    /// The trace of a phase was replayed as far as it was.
    Trace {
        /// The phase's name.
        phase: String,
        /// What became of its records, and why it was read no further.
        replay: TraceReplay,
    },
    /// The run ended.
    Ended {
        /// Whether a person ended it.
        interrupted: bool,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(left: &bool) -> bool {
    !*left
}

/// A change of the load by hand. It holds until the next one, a pause apart: whatever is asked for
/// meanwhile holds from its end on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum Steer {
    /// The plan's rate times this; 1 is the plan itself.
    Scale {
        /// 0 or more.
        factor: f64,
    },
    /// A rate of its own, whatever the plan says.
    Rate {
        /// Requests per second.
        rps: f64,
    },
    /// No arrivals.
    Pause,
    /// The end of the pause.
    Resume,
}

impl fmt::Display for Steer {
    /// `120 % of the plan`, `the plan's rate`, `500/s`, `paused`, `resumed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Steer::Scale { factor } if (factor - 1.0).abs() < 1e-9 => f.write_str("the plan's rate"),
            Steer::Scale { factor } => write!(f, "{:.0} % of the plan", factor * 100.0),
            Steer::Rate { rps } => write!(f, "{rps:.0}/s"),
            Steer::Pause => f.write_str("paused"),
            Steer::Resume => f.write_str("resumed"),
        }
    }
}

/// What changes by hand have made of the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steered {
    /// No arrivals at the moment.
    pub paused: bool,
    /// What holds otherwise.
    pub form: Form,
}

/// A rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    /// The plan's times this.
    Plan(f64),
    /// This many requests per second.
    Rate(f64),
}

impl Steered {
    /// The plan as it is.
    pub const PLAN: Self = Self { paused: false, form: Form::Plan(1.0) };

    /// What holds after `steer`.
    #[must_use]
    pub fn after(self, steer: Steer) -> Self {
        match steer {
            Steer::Scale { factor } => Self { form: Form::Plan(factor), ..self },
            Steer::Rate { rps } => Self { form: Form::Rate(rps), ..self },
            Steer::Pause => Self { paused: true, ..self },
            Steer::Resume => Self { paused: false, ..self },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Effect, FaultPoint, Place};

    #[test]
    fn a_change_of_the_load_reads_back_as_written() {
        for steer in [Steer::Scale { factor: 1.5 }, Steer::Rate { rps: 20.0 }, Steer::Pause, Steer::Resume] {
            let event = Event { at_s: 1.5, what: What::Steered { steer } };
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
        }
        let event = Event { at_s: 1.5, what: What::Steered { steer: Steer::Scale { factor: 1.5 } } };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(text, r#"{"at_s":1.5,"event":"steered","steer":{"to":"scale","factor":1.5}}"#);
    }

    #[test]
    fn a_fault_says_when_it_was_due_only_where_it_waited_and_older_records_say_nothing() {
        let fault = FaultSpec {
            name: "f".to_owned(),
            place: Place::Point(FaultPoint::Api),
            effect: Effect::Hang,
            fraction: 1.0,
        };
        let on = |due_s| Event { at_s: 9.5, what: What::FaultOn { fault: fault.clone(), due_s } };
        let text = |event: &Event| serde_json::to_string(event).unwrap();
        assert!(!text(&on(None)).contains("due_s"), "{}", text(&on(None)));
        assert!(text(&on(Some(9.25))).contains(r#""due_s":9.25"#), "{}", text(&on(Some(9.25))));
        for event in [on(None), on(Some(9.25))] {
            assert_eq!(serde_json::from_str::<Event>(&text(&event)).unwrap(), event);
        }
    }

    #[test]
    fn a_failure_says_so_only_where_something_is_left() {
        let failed = |left| {
            let (name, reason) = ("f".to_owned(), "r".to_owned());
            Event { at_s: 9.5, what: What::FaultFailed { name, reason, left } }
        };
        let text = |event: &Event| serde_json::to_string(event).unwrap();
        assert!(!text(&failed(false)).contains("left"), "{}", text(&failed(false)));
        for event in [failed(false), failed(true)] {
            assert_eq!(serde_json::from_str::<Event>(&text(&event)).unwrap(), event);
        }
    }

    #[test]
    fn what_is_asked_for_in_a_pause_holds_after_it() {
        let s = Steered::PLAN.after(Steer::Pause).after(Steer::Rate { rps: 5.0 });
        assert!(s.paused);
        assert_eq!(s.after(Steer::Resume), Steered { paused: false, form: Form::Rate(5.0) });
    }
}
