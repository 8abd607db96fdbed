//! Closed-loop users.

use serde::{Deserialize, Serialize};
/// Virtual users that go through steps again and again, each asking only after its last answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JourneyPlan {
    /// Unique within the plan: `[A-Za-z0-9_-]`.
    pub name: String,
    /// Virtual users at its beginning.
    pub users_from: u32,
    /// Virtual users once all have begun; at least `users_from`.
    pub users: u32,
    /// Over how long the others begin, one after the other, in seconds.
    pub ramp_s: f64,
    /// When it begins.
    pub start_s: f64,
    /// When it ends: no step is sent after it.
    pub end_s: f64,
    /// The shortest pause after a step, in milliseconds.
    pub think_min_ms: f64,
    /// The longest pause after a step; between them all alike.
    pub think_max_ms: f64,
    /// What a user does, one after the other.
    pub steps: Vec<StepPlan>,
}

/// One step of a journey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Unique within the journey: `[A-Za-z0-9_-]`.
    pub name: String,
    /// Only at the beginning of a user's session, not in every iteration.
    pub once: bool,
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query, with placeholders; see [`crate::journey`].
    pub path: String,
    /// Further headers, values with placeholders.
    pub headers: Vec<(String, String)>,
    /// Body, with placeholders.
    pub body: Option<String>,
    /// Statuses that count as ok; empty for every 2xx.
    pub expect: Vec<u16>,
    /// Statuses that count as declined.
    pub declined: Vec<u16>,
    /// Values taken from the answer: the name, and the JSON pointer (RFC 6901) to it.
    pub take: Vec<(String, String)>,
}

impl StepPlan {
    /// Every text of it that may hold placeholders.
    pub fn texts(&self) -> impl Iterator<Item = &String> {
        self.headers.iter().map(|(_, value)| value).chain([&self.path]).chain(&self.body)
    }
}

impl JourneyPlan {
    /// When user `index` of it begins.
    #[must_use]
    pub fn user_start_s(&self, index: u32) -> f64 {
        let Some(later) = index.checked_sub(self.users_from) else { return self.start_s };
        let all_later = f64::from((self.users - self.users_from).max(1));
        self.start_s + self.ramp_s * f64::from(later + 1) / all_later
    }
}
