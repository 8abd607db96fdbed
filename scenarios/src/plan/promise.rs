//! What must hold: SLOs and gates.

use serde::{Deserialize, Serialize};
/// A promise: at least `objective` of planned arrivals are good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SloPlan {
    /// Unique within the plan.
    pub name: String,
    /// The share that must be good, 0..1: 0.999.
    pub objective: f64,
    /// When given, an arrival is good only when its response time is at most this.
    pub under_ms: Option<f64>,
    /// When given, only this request class counts.
    pub request: Option<String>,
}

/// A condition on the whole run, or on one phase or request class of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatePlan {
    /// As typed.
    pub expression: String,
    /// What is measured.
    pub metric: Metric,
    /// Only this phase, when given.
    pub phase: Option<String>,
    /// Only this request class, when given.
    pub request: Option<String>,
    /// This journey instead of the load, when given; its times are closed-loop service times.
    #[serde(default)]
    pub journey: Option<String>,
    /// Only this step of it, when given.
    #[serde(default)]
    pub step: Option<String>,
    /// Only this fault, when given; else the one that the service was away longest for.
    #[serde(default)]
    pub fault: Option<String>,
    /// Only this SLO, when given; else the one whose budget burned fastest.
    #[serde(default)]
    pub slo: Option<String>,
    /// How the measured value is compared.
    pub op: Op,
    /// With what: milliseconds for times, a ratio 0..=1 for rates and availability, requests per
    /// second for throughput, a number for counts and burn rates.
    pub bound: f64,
}

impl GatePlan {
    /// Whether it looks at the fault called `name`: any, the one that it names, or one of that one's repetitions.
    #[must_use]
    pub fn is_of_fault(&self, name: &str) -> bool {
        let Some(wanted) = self.fault.as_deref() else { return true };
        let repeated = |rest: &str| {
            let number = rest.strip_prefix(" (").and_then(|n| n.strip_suffix(')')).or(rest.strip_prefix(' '));
            number.is_some_and(|n| n.parse::<u32>().is_ok())
        };
        name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || repeated(rest))
    }
}

/// What a gate measures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "metric", rename_all = "snake_case")]
pub enum Metric {
    /// A percentile of a latency, in milliseconds.
    Percentile {
        /// 0..=1.
        q: f64,
        /// Which clock.
        clock: ClockKind,
    },
    /// The mean of a latency, in milliseconds.
    Mean {
        /// Which clock.
        clock: ClockKind,
    },
    /// The greatest latency, in milliseconds.
    Max {
        /// Which clock.
        clock: ClockKind,
    },
    /// A count over planned arrivals.
    Rate {
        /// Of what.
        of: Tally,
    },
    /// A count.
    Count {
        /// Of what.
        of: Tally,
    },
    /// Good over planned.
    Availability,
    /// Completed per second.
    Throughput,
    /// From a fault's end until the service was back, in milliseconds.
    Recover,
    /// From a fault's beginning to sustained service, in milliseconds.
    Rto,
    /// The bad share of the arrivals that an SLO is about, as a multiple of the share that it allows.
    Burn,
}

impl Metric {
    /// Whether it is known once a fault is over, and says nothing of other seconds.
    #[must_use]
    pub fn is_of_faults(self) -> bool {
        matches!(self, Metric::Recover | Metric::Rto)
    }
}

/// Which of the three latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockKind {
    /// From the intended instant.
    Response,
    /// From the sending.
    Service,
    /// Sent − intended.
    ScheduleLag,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tally {
    /// [`squall_record::counts::Counts::planned`]
    Planned,
    /// [`squall_record::counts::Counts::sent`]
    Sent,
    /// [`squall_record::counts::Counts::completed`]
    Completed,
    /// [`squall_record::counts::Counts::ok`]
    Ok,
    /// [`squall_record::counts::Counts::declined`]
    Declined,
    /// [`squall_record::counts::Counts::shed`]
    Shed,
    /// [`squall_record::counts::Counts::failed_total`]
    Failed,
    /// [`squall_record::counts::Counts::dropped`]
    Dropped,
    /// [`squall_record::counts::Counts::late`]
    Late,
    /// [`squall_record::counts::Counts::retried`]
    Retried,
}

/// How a gate compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Less than.
    #[serde(rename = "<")]
    Lt,
    /// At most.
    #[serde(rename = "<=")]
    Le,
    /// More than.
    #[serde(rename = ">")]
    Gt,
    /// At least.
    #[serde(rename = ">=")]
    Ge,
    /// Equal.
    #[serde(rename = "==")]
    Eq,
    /// Not equal.
    #[serde(rename = "!=")]
    Ne,
}

impl Op {
    /// Whether `actual op bound` holds.
    #[must_use]
    #[expect(clippy::float_cmp, reason = "`==` on counts is what was asked for")]
    pub fn holds(self, actual: f64, bound: f64) -> bool {
        match self {
            Op::Lt => actual < bound,
            Op::Le => actual <= bound,
            Op::Gt => actual > bound,
            Op::Ge => actual >= bound,
            Op::Eq => actual == bound,
            Op::Ne => actual != bound,
        }
    }
}
