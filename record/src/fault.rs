//! What a fault is: where it acts, what it does, and to how many requests. The types are shared
//! by the scenario that asks for it, whoever makes it happen, and the record of the run.
//!
//! * `place`: where. `effect`: what; `delay`: for how long.

mod delay;
mod effect;
mod place;

use serde::{Deserialize, Serialize};

pub use delay::Delay;
pub use effect::Effect;
pub use place::{FaultPoint, NoPlace, Place};

/// A fault: what a scenario schedules, whoever makes it happen does, and a run records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Unique within a run.
    pub name: String,
    /// Where it acts.
    #[serde(rename = "point")]
    pub place: Place,
    /// What it does.
    pub effect: Effect,
    /// The share of requests it hits, 0..=1.
    pub fraction: f64,
}

impl FaultSpec {
    /// The share of all requests that it is meant for, 0..=1: all, when it does not decide about each.
    #[must_use]
    pub fn meant_for(&self) -> f64 {
        let share = match &self.effect {
            Effect::Toxic { toxic } => {
                toxic.get("toxicity").and_then(serde_json::Value::as_f64).unwrap_or(1.0)
            }
            effect if effect.is_per_request() && self.place.point().is_some() => self.fraction,
            _ => 1.0,
        };
        share.clamp(0.0, 1.0)
    }

    /// Whether what is counted of it is requests that it met: not MiB, connections or commits.
    #[must_use]
    pub fn counts_requests(&self) -> bool {
        match &self.effect {
            Effect::Toxic { toxic } => {
                toxic.get("type").and_then(serde_json::Value::as_str).is_some_and(|t| t.starts_with("http_"))
            }
            effect => effect.is_per_request() && self.place != Place::Point(FaultPoint::Commit),
        }
    }
}

/// What a fault of this kind has done `count` times, in words: `hit 20 requests`, `took 512 MiB`. `kind` is an effect's name,
/// `place` a place as it is written.
#[must_use]
pub fn affected(kind: &str, place: &str, count: &str) -> String {
    match (kind, place) {
        ("memory", _) => format!("took {count} MiB"),
        ("cpu", _) => format!("kept {count} threads busy"),
        ("skew", _) => format!("changed {count} readings of the clock"),
        ("starve", _) => format!("held {count} connections"),
        ("toxic", _) => format!("met {count} requests or connections"),
        (_, "commit") => format!("held up {count} commits"),
        _ => format!("hit {count} requests"),
    }
}
