//! When how much: phases, and recorded traffic in them.

use serde::{Deserialize, Serialize};

use crate::curve::Curve;
use crate::trace::stamp::StampUnit;
/// A stretch of time with one rate curve. Steps are one phase each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhasePlan {
    /// Unique within the plan.
    pub name: String,
    /// Left out of totals, gates and SLOs.
    pub warmup: bool,
    /// When it begins.
    pub start_s: f64,
    /// When it ends.
    pub end_s: f64,
    /// The rate from its beginning to its end.
    pub curve: Curve,
    /// One step of a `steps` phase: a point for the scalability fit.
    pub step: bool,
    /// The classes' weights in it, in the order of [`Plan::requests`](super::Plan::requests); empty when those of the
    /// requests hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mix: Vec<f64>,
    /// The recorded traffic that it replays; its curve is 0 then, for nobody knows it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TracePlan>,
}

impl PhasePlan {
    /// Its length in seconds.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        self.end_s - self.start_s
    }

    /// Arrivals expected in it: the integral of its rate. 0 for a trace, whose arrivals nobody
    /// knows before it is read; [`TracePlan::estimated_arrivals`] guesses.
    #[must_use]
    pub fn expected_arrivals(&self) -> f64 {
        self.curve.expected_arrivals()
    }

    /// Arrivals expected in it, guessed where a trace decides.
    #[must_use]
    pub fn estimated_arrivals(&self) -> f64 {
        let traced = self.trace.as_ref().map_or(0.0, |t| t.estimated_arrivals(self.duration_s()));
        self.expected_arrivals() + traced
    }

    /// Arrivals expected in it before `until_s`, counted from the beginning of the run.
    #[must_use]
    pub fn expected_until(&self, until_s: f64) -> f64 {
        self.curve.expected_between(0.0, until_s - self.start_s)
    }
}

/// Recorded traffic to replay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TracePlan {
    /// The file, from the working folder.
    pub file: String,
    /// What its lines look like.
    pub format: TraceFormat,
    /// How much faster than recorded.
    pub speed: f64,
    /// Whether records stamped in whole seconds are spread over their second.
    pub spread: bool,
    /// The class whose headers and expectations the recorded requests get. Without it only the
    /// instants are replayed, and the scenario's own mix is sent at them.
    pub request: Option<String>,
    /// The most lines that may be no records.
    pub max_broken: u64,
    /// The most arrivals in a second of the run.
    pub max_rate_rps: f64,
    /// What its beginning told when the scenario was read.
    pub head: TraceHead,
}

impl TracePlan {
    /// A guess at the arrivals in `duration_s`, from the beginning of the file and its size.
    #[must_use]
    pub fn estimated_arrivals(&self, duration_s: f64) -> f64 {
        (self.head.rate_rps * duration_s).min(self.head.records as f64)
    }
}

/// What the lines of a trace look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case")]
pub enum TraceFormat {
    /// nginx's and Apache's logs.
    Combined,
    /// Comma-separated values.
    Csv {
        /// Where the stamp stands.
        time: Column,
        /// Where the method stands; GET without it.
        method: Option<Column>,
        /// Where path and query stand.
        path: Option<Column>,
        /// The unit of stamps that are numbers.
        unit: StampUnit,
    },
    /// A JSON object a line.
    Jsonl {
        /// The key of the stamp.
        time: String,
        /// The key of the method; GET without it.
        method: Option<String>,
        /// The key of path and query.
        path: Option<String>,
        /// The unit of stamps that are numbers.
        unit: StampUnit,
    },
}

/// A column of comma-separated values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Its name in the first line.
    Name(String),
    /// Its position, from 1; there is no header then.
    Position(usize),
}

/// What the beginning of a trace told when the scenario was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceHead {
    /// The size of the file; what is added later is not replayed.
    pub size_bytes: u64,
    /// A guess at its records, from the size of the first ones.
    pub records: u64,
    /// The rate of its first records at the trace's speed, in whole requests per second.
    pub rate_rps: f64,
}
