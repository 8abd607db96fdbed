//! `summary.json`: the result of a run, for scripts. Schema 1; the JSON Schema generated from
//! these types is committed as `schema/summary.schema.json`.
//!
//! Times are seconds since the first planned arrival. Warm-up phases are left out of everything
//! but their own entry in `phases`. A field that may be `null` says when.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_record::trace::TraceReplay;

use squall_scenarios::plan::Mode;

use crate::generator::RunVerdict;

mod faults;

pub use faults::{
    BlastRadius, BudgetBurned, ClassImpact, ControlImpact, FaultSummary, GoodputDip, JudgedBy, Recovery,
    RetryAmplification, WindowSummary,
};

/// The current form of `summary.json`.
pub const SCHEMA: u32 = 1;

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The form of this file: 1.
    pub schema: u32,
    /// The scenario's name.
    pub name: String,
    /// The seed in force.
    pub seed: u64,
    /// When the run started, RFC 3339, UTC.
    pub started_at: String,
    /// How long load was offered, warm-up included, in seconds.
    pub duration_s: f64,
    /// The part of it outside warm-up phases, in seconds. Rates are over this time.
    pub measured_s: f64,
    /// Whether the run came to its planned end: false when it was interrupted or killed.
    pub complete: bool,
    /// Who set the pace: a schedule, or the target (`closed`). A closed loop measures a maximum
    /// throughput and service times; it has no response time and no schedule lag.
    pub mode: Mode,
    /// Changes of the load by hand; empty when the scenario was carried out as it is.
    pub steering: Vec<SteeringSummary>,
    /// The conclusions.
    pub verdict: Verdict,
    /// What became of the planned arrivals.
    pub load: Load,
    /// How long requests took.
    pub latency_ms: Latencies,
    /// The share of planned arrivals that were answered well.
    pub availability: Availability,
    /// The same for each request class.
    pub requests: Vec<RequestSummary>,
    /// The same for each phase that was reached. A request belongs to the phase in which it was
    /// intended.
    pub phases: Vec<PhaseSummary>,
    /// Closed-loop users, apart from everything else here: no other figure contains theirs but
    /// those of gates that name a journey.
    #[serde(default)]
    pub journeys: Vec<JourneySummary>,
    /// What each fault did.
    pub faults: Vec<FaultSummary>,
    /// Each promise of the service and whether it was kept.
    pub slos: Vec<SloSummary>,
    /// Each condition on the run and whether it held.
    pub gates: Vec<GateSummary>,
    /// The load generator's own figures.
    pub generator: GeneratorSummary,
    /// What the steps of a stepped run say about capacity.
    pub capacity: CapacitySummary,
}

/// One change of the load by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SteeringSummary {
    /// From when on it held, in seconds.
    pub at_s: f64,
    /// What became of the load: `paused`, `resumed`, `120 % of the plan`, `500/s`.
    pub load: String,
}

/// The conclusions of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Whether the numbers may be believed.
    pub run: RunVerdict,
    /// Whether the conditions held.
    pub gates: GatesVerdict,
    /// Whether any payment was lost, doubled or invented.
    pub audit: AuditVerdict,
    /// The process's exit code.
    pub exit_code: u8,
    /// Why, in sentences; empty when there is nothing to remark.
    pub reasons: Vec<String>,
}

/// All gates together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GatesVerdict {
    /// Every gate held.
    Pass,
    /// A gate did not hold.
    Fail,
    /// No gate failed, and at least one could not be judged.
    Inconclusive,
    /// The scenario has no gates.
    None,
}

/// What the audit of the payments found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditVerdict {
    /// Every payment is accounted for.
    Valid,
    /// Payments were lost, doubled or invented.
    Invalid,
    /// The audit could not be made.
    Unknown,
    /// No audit was asked for.
    None,
}

/// What became of a number of planned arrivals: planned = sent + dropped;
/// sent = completed + failed + in flight at the end; completed = ok + declined + shed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// Arrivals that the schedule asked for.
    pub planned: u64,
    /// Requests sent.
    pub sent: u64,
    /// Requests that got a usable answer.
    pub completed: u64,
    /// Answered as expected.
    pub ok: u64,
    /// Answered with a declared business refusal.
    pub declined: u64,
    /// Refused by an overloaded target, marked "not executed".
    pub shed: u64,
    /// Failed in any way.
    pub failed: u64,
    /// Planned and never sent.
    pub dropped: u64,
    /// Sent more than a millisecond after the intended instant.
    pub late: u64,
    /// Attempts beyond the arrivals' first, by clients that ask again after a failure. Not part of any
    /// other count.
    pub retried: u64,
    /// Planned arrivals per second; null when no time passed.
    pub planned_rps: Option<f64>,
    /// Completed requests per second; null when no time passed.
    pub achieved_rps: Option<f64>,
    /// Failures by kind; kinds that did not occur are left out.
    pub failures: BTreeMap<String, u64>,
}

/// The three latencies, side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latencies {
    /// From the intended instant to the end of the answer: what a user waits.
    pub response: LatencyStats,
    /// From the sending to the end of the answer.
    pub service: LatencyStats,
    /// From the intended instant to the sending.
    pub schedule_lag: LatencyStats,
}

/// One latency in milliseconds. Every figure is null when nothing was timed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyStats {
    /// Median.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// 99.9th percentile.
    pub p99_9: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// The mean.
    pub mean: Option<f64>,
    /// How many requests were timed: ok, declined and time-outs.
    pub n: u64,
    /// Names of the figures above that are lower bounds, because values lay past the
    /// histograms' range of ten minutes.
    pub clipped: Vec<String>,
}

/// The share of planned arrivals that were answered well, and what that means over a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Availability {
    /// (ok + declined) ÷ planned; null when nothing was planned.
    pub ratio: Option<f64>,
    /// −log10(1 − ratio); null when nothing failed, for then no number of nines is shown.
    pub nines: Option<f64>,
    /// When nothing failed: the nines that this many arrivals prove with 95 % confidence,
    /// log10(planned ÷ 3).
    pub nines_at_least: Option<f64>,
    /// (1 − ratio) × measured time: the total outage that would have cost as many requests.
    pub downtime_s: Option<f64>,
    /// The error budget of the first availability SLO over all requests; null without one.
    pub budget: Option<Budget>,
}

/// An error budget, in arrivals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// The objective, 0..1.
    pub target: f64,
    /// Arrivals that were allowed to go wrong: (1 − target) × planned.
    pub allowed: f64,
    /// Arrivals that went wrong.
    pub spent: u64,
    /// 1 − spent ÷ allowed; negative when overspent, null when nothing was allowed.
    pub remaining_ratio: Option<f64>,
}

/// One request class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestSummary {
    /// Its name.
    pub name: String,
    /// What became of its arrivals.
    pub load: Load,
    /// How long its requests took.
    pub latency_ms: Latencies,
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseSummary {
    /// Its name.
    pub name: String,
    /// Whether it is left out of totals, gates and SLOs.
    pub warmup: bool,
    /// When it began.
    pub start_s: f64,
    /// When it ended, or was cut short.
    pub end_s: f64,
    /// What became of the arrivals intended in it.
    pub load: Load,
    /// How long they took.
    pub latency_ms: Latencies,
    /// (ok + declined) ÷ planned; null when nothing was planned.
    pub availability: Option<f64>,
    /// What became of the trace that it replayed; null when it replayed none, or was killed before
    /// its end.
    pub trace: Option<TraceReplay>,
}

/// One journey: virtual users that ask only after their last answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JourneySummary {
    /// Its name.
    pub name: String,
    /// Most users under way at the end of a second.
    pub users: u32,
    /// When it began.
    pub start_s: f64,
    /// When it ended, or was cut short.
    pub end_s: f64,
    /// What became of passes through the steps.
    pub iterations: IterationsSummary,
    /// Each step, in its order.
    pub steps: Vec<JourneyStepSummary>,
}

/// Passes through the steps: started = completed + abandoned + unfinished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IterationsSummary {
    /// Begun.
    pub started: u64,
    /// Came to their last step's answer.
    pub completed: u64,
    /// Ended by a step that failed, was shed, or gave no value for a later one.
    pub abandoned: u64,
    /// Under way when the journey ended.
    pub unfinished: u64,
}

/// One step of a journey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JourneyStepSummary {
    /// Its name.
    pub name: String,
    /// What became of its requests.
    pub load: ClosedLoad,
    /// From sending to the end of the answer. Not comparable with any other latency here: a slow
    /// target is asked less (coordinated omission).
    pub closed_loop_service_ms: LatencyStats,
}

/// What became of requests that nobody planned: sent = completed + failed + in flight at the end;
/// completed = ok + declined + shed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClosedLoad {
    /// Requests sent.
    pub sent: u64,
    /// Requests that got a usable answer.
    pub completed: u64,
    /// Answered as expected.
    pub ok: u64,
    /// Answered with a declared business refusal.
    pub declined: u64,
    /// Refused by an overloaded target, marked "not executed".
    pub shed: u64,
    /// Failed in any way.
    pub failed: u64,
    /// Completed requests per second of the journey; null when no time passed.
    pub achieved_rps: Option<f64>,
    /// Failures by kind; kinds that did not occur are left out.
    pub failures: BTreeMap<String, u64>,
}

/// One promise of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SloSummary {
    /// Its name.
    pub name: String,
    /// The share that must be good, 0..1.
    pub objective: f64,
    /// A good answer's greatest response time in milliseconds; null for availability alone.
    pub under_ms: Option<f64>,
    /// The only request class that counts; null for all.
    pub request: Option<String>,
    /// Arrivals that were planned.
    pub planned: u64,
    /// Arrivals that were good.
    pub good: u64,
    /// good ÷ planned; null when nothing was planned.
    pub actual: Option<f64>,
    /// Whether the promise was kept; null when too few arrivals were planned to tell.
    pub met: Option<bool>,
    /// The share of the error budget left; negative when overspent, null when undefined.
    pub budget_remaining: Option<f64>,
    /// The worst share of bad requests within `burn_window_s`, as a multiple of the share that
    /// the objective allows; null when undefined.
    pub worst_burn_rate: Option<f64>,
    /// The window of `worst_burn_rate` in seconds.
    pub burn_window_s: u32,
}

/// One condition on the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateSummary {
    /// As typed.
    pub expression: String,
    /// What was measured, in the unit of `unit`; null when nothing was.
    pub actual: Option<f64>,
    /// Whether `actual` is only a lower bound.
    pub clipped: bool,
    /// The unit of `actual`.
    pub unit: Unit,
    /// How many arrivals or timed requests `actual` rests on.
    pub n: u64,
    /// The conclusion.
    pub result: GateResult,
    /// Why it is inconclusive; null otherwise.
    pub reason: Option<String>,
}

/// The unit of a measured value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// A share, 0..=1.
    Ratio,
    /// Requests per second.
    Rps,
    /// A number of requests.
    Count,
    /// A multiple of what is allowed.
    Times,
}

/// The conclusion about one gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GateResult {
    /// It held.
    Pass,
    /// It did not hold.
    Fail,
    /// The run cannot tell.
    Inconclusive,
}

/// The load generator's own figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorSummary {
    /// CPU time of the workers per request sent, in microseconds; null when nothing was sent.
    pub cpu_us_per_request: Option<f64>,
    /// CPU time of the workers over wall time; null when nothing was measured.
    pub cpu_utilisation: Option<f64>,
    /// 99th percentile of fired − intended, in microseconds; null when nothing was sent.
    pub schedule_lag_p99_us: Option<u64>,
    /// 99th percentile of the generator's own lateness, in microseconds; null when unknown.
    pub pacing_p99_us: Option<u64>,
    /// Worker threads.
    pub workers: u32,
    /// Most connections open at once.
    pub connections: u32,
    /// Connections that were opened in the place of one that had ended, outside warm-up phases; null when the transport does
    /// not see it.
    #[serde(default)]
    pub connections_reopened: Option<u64>,
    /// Of those that had ended, the ones on which the target sent what nobody had asked for, so that
    /// an answer may have been taken for another request's; null when the transport does not see it.
    #[serde(default)]
    pub connections_unasked: Option<u64>,
    /// What carried the requests: `own` or `general`. Their CPU per request does not compare.
    pub transport: String,
    /// The version of HTTP that was spoken: `1.1` or `2`.
    pub http: String,
    /// CPU time of the virtual users' thread over wall time; null without journeys.
    #[serde(default)]
    pub journeys_cpu_utilisation: Option<f64>,
}

/// What the steps of a stepped run say about capacity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CapacitySummary {
    /// The universal scalability law fitted to the steps; null without steps or a fit.
    pub usl: Option<UslSummary>,
    /// The planned rate of the highest step that kept the promise; null without one.
    pub knee_rps: Option<f64>,
    /// Whether a higher step broke the promise. When not, `knee_rps` is a lower bound; null
    /// without a knee.
    pub knee_reached: Option<bool>,
    /// knee ÷ the highest planned rate of the measured phases that are no steps − 1; null when
    /// there is none.
    pub headroom: Option<f64>,
    /// The steps.
    pub steps: Vec<StepSummary>,
    /// What has to be said with the figures.
    pub caveats: Vec<String>,
}

/// X(N) = γN / (1 + α(N − 1) + βN(N − 1)) with N in requests in service and X in requests/s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UslSummary {
    /// γ: throughput at N = 1, in requests per second.
    pub gamma: f64,
    /// α: contention.
    pub alpha: f64,
    /// β: coherency.
    pub beta: f64,
    /// N*: the concurrency at the peak; null when throughput never falls.
    pub peak_concurrency: Option<f64>,
    /// X(N*): the throughput at the peak; null when throughput never falls.
    pub peak_rps: Option<f64>,
    /// γ/α: the throughput that contention alone allows; null when α is 0.
    pub limit_rps: Option<f64>,
    /// R² of the fit; null when all throughputs are equal.
    pub r_squared: Option<f64>,
    /// How many steps were fitted.
    pub points: usize,
}

/// One step of a stepped run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepSummary {
    /// The phase.
    pub phase: String,
    /// Its planned rate, in requests per second.
    pub offered_rps: f64,
    /// Requests answered well per second.
    pub throughput_rps: f64,
    /// Mean requests in service, by Little's law: the sum of their service times over the time.
    pub concurrency: f64,
    /// Median response time in milliseconds; null when nothing was timed.
    pub p50_ms: Option<f64>,
    /// 99th percentile of the response time in milliseconds; null when nothing was timed.
    pub p99_ms: Option<f64>,
    /// (ok + declined) ÷ planned.
    pub availability: f64,
}

/// The JSON Schema of `summary.json`, as committed.
#[must_use]
pub fn json_schema() -> String {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(Summary))
        .expect("a schema is plain JSON without maps keyed by anything but strings");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_committed_schema_is_the_one_that_the_types_have() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema/summary.schema.json");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, json_schema()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            committed,
            json_schema(),
            "schema/summary.schema.json is out of date: run the tests once with UPDATE_SCHEMA=1"
        );
    }
}
