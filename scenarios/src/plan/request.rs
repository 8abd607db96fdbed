//! What is asked, what an answer must say, and when it is asked again.

use serde::{Deserialize, Serialize};
/// One class of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestPlan {
    /// Unique within the plan; the tag in `latency.hlog`: `[A-Za-z0-9_-]`.
    pub name: String,
    /// Its share among all classes' weights; at least one is positive.
    pub weight: f64,
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query, with placeholders.
    pub path: String,
    /// Further headers, values with placeholders. `Host`, `Content-Length` and `Connection` are
    /// the engine's.
    pub headers: Vec<(String, String)>,
    /// Body, with placeholders.
    pub body: Option<String>,
    /// Statuses that count as ok; empty for every 2xx.
    pub expect: Vec<u16>,
    /// Statuses that count as declined.
    pub declined: Vec<u16>,
    /// What the body of an ok answer must say; else the request fails its check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<CheckPlan>,
    /// Whether and when a failed request is asked again, with the same content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPlan>,
}

/// The header of a request that faults pass over; its value is behind its class's name too.
pub const CONTROL_LANE: (&str, &str) = ("Squall-Lane", "control");

impl RequestPlan {
    /// Whether faults pass over it: an experiment's control lane.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.headers.iter().any(|(name, value)| (name.as_str(), value.as_str()) == CONTROL_LANE)
    }

    /// Every text of it that may hold placeholders.
    pub fn texts(&self) -> impl Iterator<Item = &String> {
        self.headers.iter().map(|(_, value)| value).chain([&self.path]).chain(&self.body)
    }
}

/// What a value of an answer's JSON body must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckPlan {
    /// Where the value stands: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What is expected there.
    pub expected: Expected,
}

/// What is expected of a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Expected {
    /// It is there, null included.
    Exists,
    /// It is not there.
    Absent,
    /// It is there and equal; numbers by their value.
    Equals {
        /// Text, number or boolean.
        value: serde_json::Value,
    },
}

/// How a client asks again after a failure. All attempts of an arrival carry the same request,
/// so the same idempotency key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPlan {
    /// Attempts in all, the first included; at least 2.
    pub attempts: u8,
    /// The pause before the second attempt, before jitter.
    pub backoff_ms: f64,
    /// By how much the pause grows from one attempt to the next; at least 1.
    pub factor: f64,
    /// The longest pause.
    pub max_backoff_ms: f64,
    /// How the pause varies.
    pub jitter: Jitter,
    /// What is tried again.
    pub on: Vec<RetryCause>,
    /// Statuses that are tried again besides.
    pub statuses: Vec<u16>,
}

/// How a pause varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Evenly between zero and the pause.
    Full,
    /// Not at all.
    None,
}

/// Why a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryCause {
    /// No complete answer in time.
    Timeout,
    /// No connection could be made.
    Refused,
    /// The connection ended early.
    Reset,
    /// A 5xx answer.
    ServerError,
    /// Refused untouched by an overloaded target.
    Shed,
}
