//! What happened between the seconds: one line of `events.jsonl` each.

use serde::{Deserialize, Serialize};

use crate::fault::FaultSpec;

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
    /// The run ended.
    Ended {
        /// Whether a person ended it.
        interrupted: bool,
    },
}
