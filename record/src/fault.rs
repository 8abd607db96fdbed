//! What a fault is: where it acts, what it does, and to how many requests. The types are shared
//! by the scenario that asks for it, the service that suffers it and the record of the run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named place in the reference service where faults act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultPoint {
    /// Before a request is handled at all.
    Api,
    /// Before the ledger's store is asked to commit.
    Store,
    /// The fraud check of a payment.
    Fraud,
    /// The notification sent after a payment.
    Notify,
}

impl FaultPoint {
    /// How many points there are.
    pub const COUNT: usize = 4;
    /// All points.
    pub const ALL: [FaultPoint; Self::COUNT] =
        [FaultPoint::Api, FaultPoint::Store, FaultPoint::Fraud, FaultPoint::Notify];

    /// The name used in scenarios and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultPoint::Api => "api",
            FaultPoint::Store => "store",
            FaultPoint::Fraud => "fraud",
            FaultPoint::Notify => "notify",
        }
    }
}

/// How long an injected delay lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub enum Delay {
    /// Always the same.
    Fixed {
        /// The delay in milliseconds.
        ms: f64,
    },
    /// Evenly between two bounds.
    Uniform {
        /// The shortest delay in milliseconds.
        min_ms: f64,
        /// The longest delay in milliseconds.
        max_ms: f64,
    },
    /// From a percentile curve: between two points the delay is interpolated linearly in the
    /// quantile; below the first point it is the first point's, above the last the last's.
    Curve {
        /// `(quantile in 0..=1, delay in milliseconds)`, both rising.
        points: Vec<(f64, f64)>,
    },
}

impl Delay {
    /// The delay in milliseconds at quantile `u` (0..1).
    #[must_use]
    pub fn at_ms(&self, u: f64) -> f64 {
        match self {
            Delay::Fixed { ms } => *ms,
            Delay::Uniform { min_ms, max_ms } => min_ms + (max_ms - min_ms) * u,
            Delay::Curve { points } => {
                let after = points.partition_point(|(q, _)| *q <= u);
                match (after.checked_sub(1).and_then(|i| points.get(i)), points.get(after)) {
                    (Some((q0, ms0)), Some((q1, ms1))) => ms0 + (ms1 - ms0) * (u - q0) / (q1 - q0),
                    (Some((_, ms)), None) | (None, Some((_, ms))) => *ms,
                    (None, None) => 0.0,
                }
            }
        }
    }
}

/// What a fault does to a request it hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Effect {
    /// Makes it wait, then lets it go on.
    Latency {
        /// For how long.
        delay: Delay,
    },
    /// Answers it with an error instead.
    Error {
        /// The HTTP status of the answer, 400..=599.
        status: u16,
    },
    /// Never answers it while the fault lasts.
    Hang,
}

impl Effect {
    /// The name used in scenarios and records.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Effect::Latency { .. } => "latency",
            Effect::Error { .. } => "error",
            Effect::Hang => "hang",
        }
    }
}

/// A fault: what a scenario schedules, a service arms and a run records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Unique within a run.
    pub name: String,
    /// Where it acts.
    pub point: FaultPoint,
    /// What it does.
    pub effect: Effect,
    /// The share of requests it hits, 0..=1.
    pub fraction: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_curve_is_interpolated_and_held_at_its_ends() {
        let d = Delay::Curve { points: vec![(0.5, 10.0), (0.9, 50.0), (0.99, 500.0)] };
        assert_eq!(d.at_ms(0.0), 10.0);
        assert_eq!(d.at_ms(0.5), 10.0);
        assert!((d.at_ms(0.7) - 30.0).abs() < 1e-9);
        assert_eq!(d.at_ms(0.999), 500.0);
        assert_eq!(Delay::Uniform { min_ms: 10.0, max_ms: 20.0 }.at_ms(0.5), 15.0);
    }
}
