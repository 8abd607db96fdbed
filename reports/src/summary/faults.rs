//! The faults of a summary: what each did to the service.
//!
//! Fields that older summaries lack read as their `null` or empty value.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Latencies, Load};

/// One fault and its effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultSummary {
    /// Its name.
    pub name: String,
    /// What it did: latency, error, hang.
    pub kind: String,
    /// Where: api, store, fraud, notify, or a kind of place and its name.
    pub point: String,
    /// The share of requests it was to hit, 0..=1.
    pub fraction: f64,
    /// Whether it was armed. When not, the run says nothing about it.
    pub armed: bool,
    /// Whether it was to be there from the first request to the last: a part of the service as it was loaded, with
    /// nothing to detect or to recover from.
    #[serde(default)]
    pub throughout: bool,
    /// What went wrong with arming or ending it; null when nothing did.
    pub problem: Option<String>,
    /// Whether something of it is left behind, or may be; `problem` says what and how to undo it.
    #[serde(default)]
    pub left: bool,
    /// Whether it acted for clearly less long than it was to: what it held was taken from it, or its guard was ended.
    #[serde(default)]
    pub cut_short: bool,
    /// When it began.
    pub start_s: f64,
    /// When it ended.
    pub end_s: f64,
    /// From the instant at which it was to begin, as planned or when the condition held that it waited for, to the one
    /// at which it was armed where it acts; null when it was not armed.
    #[serde(default)]
    pub injection_lag_s: Option<f64>,
    /// Other faults that acted while it did. What is measured of either is the doing of both.
    #[serde(default)]
    pub overlaps: Vec<String>,
    /// Requests that it hit; null when the place where it acted did not say.
    pub affected: Option<u64>,
    /// From its beginning to the end of the first second in which the service level was
    /// breached; null when it never was.
    pub detect_s: Option<f64>,
    /// From its beginning to the first of several good seconds in a row that follow a bad one, all
    /// of them while it still acted; null when there were none.
    #[serde(default)]
    pub mitigate_s: Option<f64>,
    /// From its end to the first of several good seconds in a row; null when that was not seen.
    pub recover_s: Option<f64>,
    /// What `recover_s` means, above all when it is null; null when the fault was not armed or
    /// there was nothing to judge by.
    #[serde(default)]
    pub recovery: Option<Recovery>,
    /// For how long after its end the service was watched: until the next fault or the last answer
    /// of the run; null when it was not armed.
    #[serde(default)]
    pub watched_s: Option<f64>,
    /// From its beginning to the first of several good seconds in a row after its last bad one, whether
    /// it still acted or not: sustained service. Null when nothing broke or nothing came back.
    #[serde(default)]
    pub rto_s: Option<f64>,
    /// How many of the seconds that were watched after it had recovered were bad again, whatever the reason; null when it
    /// had not recovered.
    #[serde(default)]
    pub relapse_s: Option<u32>,
    /// How a second was judged for `detect_s`, `mitigate_s`, `recover_s` and `rto_s`.
    pub judged_by: JudgedBy,
    /// Who else suffered; null when it was not armed.
    #[serde(default)]
    pub blast_radius: Option<BlastRadius>,
    /// The control lane beside all other requests; null when it was not armed or the experiment has none.
    #[serde(default)]
    pub control: Option<ControlImpact>,
    /// How much more was asked because clients asked again; null when it was not armed.
    #[serde(default)]
    pub retry_amplification: Option<RetryAmplification>,
    /// The good answers that were missing; null without a baseline.
    #[serde(default)]
    pub goodput_dip: Option<GoodputDip>,
    /// The share of planned arrivals that were answered within every SLO that applies to them, in the
    /// last ten seconds that were watched after the fault, as a multiple of the same share before it.
    /// Watched until the next fault, or until more load was planned than before. Null without a
    /// baseline, with less than ten seconds, or when another fault acted meanwhile.
    #[serde(default)]
    pub hysteresis: Option<f64>,
    /// For how many seconds with load that was watched; null where `hysteresis` is.
    #[serde(default)]
    pub hysteresis_s: Option<u32>,
    /// Whether the service stayed broken when its cause was gone: in no three seconds in a row after
    /// the fault did that share come back to 0.95 of what it was, and the service level did not either.
    /// Null where `hysteresis` is.
    #[serde(default)]
    pub metastable: Option<bool>,
    /// The error budget that it burned, for each SLO; empty when it was not armed.
    #[serde(default)]
    pub budget_burned: Vec<BudgetBurned>,
    /// As much time before the fault as it lasted, cut at warm-ups and other faults; null when
    /// there is none.
    pub baseline: Option<WindowSummary>,
    /// While it lasted; null when it was not armed.
    pub during: Option<WindowSummary>,
    /// As much time after it, cut at the next fault and the end of the load; null when there is
    /// none.
    pub after: Option<WindowSummary>,
}

/// How a second was judged good or bad around a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JudgedBy {
    /// By the scenario's SLOs.
    Slos,
    /// By comparison with the baseline: there are no SLOs, or the baseline breaches them too.
    Baseline,
    /// There was nothing to judge by.
    Nothing,
}

/// Whether the service came back after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// It did: several good seconds in a row were seen.
    Recovered,
    /// It did not, in all of `watched_s`, and was bad at the end of it.
    Never,
    /// The run, or the time before the next fault, ended before it could be seen.
    Unseen,
    /// It had not gone: no second was bad.
    NotNeeded,
}

/// Who suffered from a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BlastRadius {
    /// Each request class.
    pub requests: Vec<ClassImpact>,
    /// Of the requests that ended badly from the fault's beginning until the service had recovered,
    /// those beyond what the baseline has of them and beyond the hits in `affected`: at least so many
    /// went bad that the fault itself did not touch. Null when the hits are not known or there is no
    /// baseline.
    pub beyond_hits: Option<u64>,
}

/// What became of one request class while a fault acted. Bad is what was failed, shed, dropped or
/// later than an SLO of the class allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassImpact {
    /// The class.
    pub request: String,
    /// Bad ÷ settled in the baseline, 0..=1; null when there is none or it had no such request.
    pub baseline_bad: Option<f64>,
    /// Bad ÷ settled while the fault acted, 0..=1; null when no such request was planned or settled.
    pub during_bad: Option<f64>,
    /// Whether that is more by over one percentage point; null when either is.
    pub suffered: Option<bool>,
}

/// What became of the requests that faults pass over, beside all others, while a fault acted. Bad is what it is for a class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ControlImpact {
    /// Bad ÷ settled of the control lane, 0..=1; null when no such request was planned or settled.
    pub during_bad: Option<f64>,
    /// The same of all others.
    pub others_bad: Option<f64>,
}

/// Attempts that were sent ÷ arrivals that were planned: 1 when nobody asks again, less when arrivals
/// were dropped. Null where nothing was planned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetryAmplification {
    /// In the baseline.
    pub baseline: Option<f64>,
    /// While the fault acted.
    pub during: Option<f64>,
    /// After it.
    pub after: Option<f64>,
}

/// What was missing of the good answers (ok and declined), from the fault's beginning until the
/// service had recovered, or for as long as it was watched. Expected in a second is the baseline's good
/// share of what was planned for it: a changed rate is no dip.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoodputDip {
    /// The seconds that it is over.
    pub seconds: u32,
    /// Good answers that were expected.
    pub expected: f64,
    /// The area below: those that were not there in their second.
    pub missing: f64,
    /// Those that did not come later either, in these seconds: the requests lost.
    pub lost: f64,
    /// lost ÷ expected.
    pub lost_share: f64,
    /// In the deepest second: the share of what was expected in it that was not there, 0..=1.
    pub deepest_share: f64,
    /// That second; null when none was below.
    pub deepest_at_s: Option<u32>,
}

/// What a fault took of an error budget, from its beginning until the service had recovered, or for as
/// long as it was watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetBurned {
    /// The SLO.
    pub slo: String,
    /// Arrivals of the SLO that were planned in this time.
    pub planned: u64,
    /// Requests of it that ended badly in this time.
    pub bad: u64,
    /// bad ÷ (planned × (1 − objective)): 1 is all that this time's own arrivals allow. Null when
    /// nothing is allowed.
    pub burned: Option<f64>,
    /// The same against all arrivals of the run: the share of the run's budget. Null when nothing is
    /// allowed.
    pub of_run: Option<f64>,
}

/// Some whole seconds of a run. Unlike phases, these count a request where it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WindowSummary {
    /// The first second.
    pub start_s: u32,
    /// The second after the last.
    pub end_s: u32,
    /// What happened in them.
    pub load: Load,
    /// How long the requests that ended in them took.
    pub latency_ms: Latencies,
    /// Good ÷ settled in them; a second in which nothing was settled counts as unavailable. Null
    /// when nothing was planned or settled.
    pub availability: Option<f64>,
}
