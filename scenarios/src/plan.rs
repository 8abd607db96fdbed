//! What a scenario means: resolved, validated, no option left open.
//!
//! Every other room sees this and never what was typed. Units are in the names: rates in
//! requests per second, times in seconds from the first planned arrival unless they say `_ms`.
//! A plan serialises into the manifest of its run, so that a report can be rebuilt from the
//! folder alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use squall_record::fault::FaultSpec;

use crate::bursts::Bursts;
use crate::curve::Curve;
use crate::trace::stamp::StampUnit;

/// A scenario, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Short name, part of the run folder's name: `[a-z0-9-]`.
    pub name: String,
    /// One sentence for people.
    pub summary: String,
    /// Everything random is a function of it.
    pub seed: u64,
    /// What is loaded.
    pub target: TargetPlan,
    /// How the load is carried.
    pub load: LoadPlan,
    /// When how much, contiguous from 0.
    pub phases: Vec<PhasePlan>,
    /// What is asked.
    pub requests: Vec<RequestPlan>,
    /// Closed-loop users beside or instead of the load above.
    #[serde(default)]
    pub journeys: Vec<JourneyPlan>,
    /// Where placeholders draw from.
    pub data: DataPlan,
    /// What goes wrong and when.
    pub faults: Vec<FaultPlan>,
    /// What the service promises.
    pub slos: Vec<SloPlan>,
    /// What the run must show to pass.
    pub gates: Vec<GatePlan>,
}

/// What is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "system", rename_all = "snake_case")]
pub enum TargetPlan {
    /// The reference payment service, started as a child of the run.
    Reference {
        /// How many accounts it opens before the run.
        accounts: u64,
        /// What each of them holds at first, in minor units.
        opening_balance: i64,
    },
    /// A service that runs already.
    Url {
        /// Scheme, host and port, or a socket: `http://127.0.0.1:8080`, `unix:///run/pay.sock`.
        url: String,
        /// A file of certificate authorities to trust besides this machine's, in PEM.
        #[serde(default)]
        ca_file: Option<String>,
        /// The environment variable that holds the bearer token; its value is never recorded.
        token_env: Option<String>,
        /// Hosts beyond loopback to which the scenario allows load.
        allow: Vec<String>,
    },
}

/// How the load is carried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadPlan {
    /// How arrivals are spaced.
    pub arrivals: Arrivals,
    /// Keep-alive connections in all.
    pub connections: u32,
    /// How many requests a connection of the own transport carries at once: more than 1 is HTTP/1.1
    /// pipelining.
    #[serde(default = "no_pipelining")]
    pub pipeline: u32,
    /// Requests on the wire or waiting for a connection; an arrival beyond it is dropped.
    pub max_in_flight: u32,
    /// After how long a request on the wire is given up.
    pub timeout_ms: u64,
    /// Worker threads.
    pub workers: u32,
    /// The highest rate that may be asked for, also while the run goes on.
    #[serde(default = "highest_rate_rps")]
    pub max_rate_rps: f64,
    /// Who sets the pace.
    #[serde(default, skip_serializing_if = "Mode::is_open")]
    pub mode: Mode,
    /// How long before an arrival is due a worker stops sleeping and polls, in microseconds: more
    /// punctual, for CPU that a target on the same machine would use.
    #[serde(default)]
    pub spin_us: u64,
    /// The least time between two looks of a worker at its clock and its sockets, in microseconds:
    /// fewer wake-ups, for arrivals and answers that are dealt with so much later.
    #[serde(default)]
    pub tick_us: u64,
    /// What carries the requests.
    #[serde(default)]
    pub transport: Transport,
}

/// What carries the requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transport {
    /// squall's own HTTP/1.1, over TCP or a Unix socket.
    #[default]
    Own,
    /// reqwest: TLS, HTTP/2 and everything else, for at least twice the CPU per request.
    General {
        /// The version spoken.
        http: Http,
    },
}

impl Transport {
    /// The name used in every record and report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Transport::Own => "own",
            Transport::General { .. } => "general",
        }
    }

    /// The version of HTTP that it speaks.
    #[must_use]
    pub fn http(self) -> Http {
        match self {
            Transport::Own => Http::V1,
            Transport::General { http } => http,
        }
    }
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Http {
    /// HTTP/1.1: one request at a time on a connection.
    #[serde(rename = "1.1")]
    V1,
    /// HTTP/2: many at a time. Without TLS the target must know that it comes (h2c with prior
    /// knowledge).
    #[serde(rename = "2")]
    V2,
}

impl Http {
    /// `1.1` or `2`.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Http::V1 => "1.1",
            Http::V2 => "2",
        }
    }
}

/// Of a plan that does not say: that of a manifest written before there was a field for it.
fn no_pipelining() -> u32 {
    1
}

fn highest_rate_rps() -> f64 {
    crate::units::rate::MAX_RATE_RPS
}

/// Who sets the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The plan's schedule, whatever the target does.
    #[default]
    Open,
    /// The target: each connection sends its next request when the last is answered. What it
    /// measures is a maximum throughput and says nothing about response time under a load.
    Closed,
}

impl Mode {
    fn is_open(&self) -> bool {
        *self == Mode::Open
    }

    /// Whether the target sets the pace.
    #[must_use]
    pub fn is_closed(self) -> bool {
        self == Mode::Closed
    }
}

/// How arrivals are spaced around the planned rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Evenly.
    Uniform,
    /// As independent clients would: a Poisson process with the planned rate.
    Poisson,
    /// In bursts: a Markov-modulated Poisson process whose mean is the planned rate.
    Bursty(Bursts),
}

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
    /// The classes' weights in it, in the order of [`Plan::requests`]; empty when those of the
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

impl JourneyPlan {
    /// When user `index` of it begins.
    #[must_use]
    pub fn user_start_s(&self, index: u32) -> f64 {
        let Some(later) = index.checked_sub(self.users_from) else { return self.start_s };
        let all_later = f64::from((self.users - self.users_from).max(1));
        self.start_s + self.ramp_s * f64::from(later + 1) / all_later
    }
}

/// Where placeholders draw from.
///
/// | placeholder | becomes |
/// |---|---|
/// | `${account}` | an account's id, drawn by `pick` |
/// | `${other}` | another account's id, never the same as `${account}` |
/// | `${amount}` | a whole number in `amount_min..=amount_max` (bodies only, outside quotes) |
/// | `${key}` | the idempotency key of this arrival, 32 hexadecimal digits |
/// | `${seq}` | the arrival's index, 12 digits |
/// | `${token}` | the target's bearer token |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataPlan {
    /// Accounts 1..=`accounts` exist.
    pub accounts: u64,
    /// How `${account}` is drawn.
    pub pick: Pick,
    /// Comes before the account's number: `acc_`.
    pub account_prefix: String,
    /// Digits of the account's number, zero-padded.
    pub account_digits: usize,
    /// The least `${amount}`.
    pub amount_min: i64,
    /// The greatest `${amount}`.
    pub amount_max: i64,
    /// How `${amount}` is drawn between them.
    #[serde(default)]
    pub amount: AmountLaw,
}

/// How one of many accounts is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "pick", rename_all = "snake_case")]
pub enum Pick {
    /// All alike.
    Uniform,
    /// The k-th most popular in proportion to k^−exponent.
    Zipf {
        /// 0 is uniform, 1 the classic law.
        exponent: f64,
    },
    /// A few take most: accounts 1..=`hot_accounts` are drawn this often, the others else.
    HotSet {
        /// How many are hot; fewer than there are accounts.
        hot_accounts: u64,
        /// The share of arrivals that draw one of them, 0..=1.
        hot_share: f64,
    },
    /// One after the other: the arrival's index modulo the number of accounts.
    Sequential,
}

/// How an amount is drawn. What a law gives below `amount_min` or above `amount_max` becomes
/// that bound, so every amount of a plan has a place in the same number of digits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "distribution", rename_all = "snake_case")]
pub enum AmountLaw {
    /// Every amount alike.
    #[default]
    Uniform,
    /// The logarithm of the amount is normal: many small amounts and a long tail of large ones.
    Lognormal {
        /// Half of the amounts are below it.
        median: f64,
        /// 99 % of the amounts are below it.
        p99: f64,
    },
    /// Exponential above `amount_min`.
    Exponential {
        /// The mean before it is cut at `amount_max`.
        mean: f64,
    },
    /// One of a few, each as often as its weight says.
    Values {
        /// The amounts.
        values: Vec<i64>,
        /// Their weights, as many.
        weights: Vec<f64>,
    },
}

/// A fault on the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultPlan {
    /// What goes wrong.
    pub fault: FaultSpec,
    /// When it begins.
    pub start_s: f64,
    /// When it ends.
    pub end_s: f64,
}

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
    /// How the measured value is compared.
    pub op: Op,
    /// With what: milliseconds for times, a ratio 0..=1 for rates and availability, requests per
    /// second for throughput, a number for counts.
    pub bound: f64,
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

impl Plan {
    /// When the last phase ends, or the last journey.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        let phases_end_s = self.phases.last().map_or(0.0, |p| p.end_s);
        self.journeys.iter().map(|j| j.end_s).fold(phases_end_s, f64::max)
    }

    /// Whether there is an open-loop load: a journey alone has none.
    #[must_use]
    pub fn has_load(&self) -> bool {
        !self.phases.is_empty()
    }

    /// The highest planned rate, in requests per second.
    #[must_use]
    pub fn peak_rps(&self) -> f64 {
        self.phases.iter().map(|p| p.curve.peak_rps()).fold(0.0, f64::max)
    }

    /// An upper bound of the variance of the number of arrivals where `expected` are planned: 0 when
    /// they are evenly spaced, `expected` for a Poisson process, and for bursty ones as many times
    /// that as their dispersion at the highest rate.
    #[must_use]
    pub fn count_variance(&self, expected: f64) -> f64 {
        match self.load.arrivals {
            Arrivals::Uniform => 0.0,
            Arrivals::Poisson => expected,
            Arrivals::Bursty(b) => expected * b.dispersion(self.peak_rps(), f64::INFINITY),
        }
    }

    /// Arrivals expected in all, guessed where a trace decides.
    #[must_use]
    pub fn estimated_arrivals(&self) -> f64 {
        self.phases.iter().map(PhasePlan::estimated_arrivals).sum()
    }

    /// The highest rate, guessed where a trace decides, in requests per second.
    #[must_use]
    pub fn estimated_peak_rps(&self) -> f64 {
        let traced = self.phases.iter().filter_map(|p| Some(p.trace.as_ref()?.head.rate_rps));
        traced.fold(self.peak_rps(), f64::max)
    }

    /// Whether a part of the load is recorded traffic, whose arrivals are not known beforehand.
    #[must_use]
    pub fn has_trace(&self) -> bool {
        self.phases.iter().any(|p| p.trace.is_some())
    }

    /// Arrivals expected in all: the integral of the rate.
    #[must_use]
    pub fn expected_arrivals(&self) -> f64 {
        self.phases.iter().map(PhasePlan::expected_arrivals).sum()
    }

    /// The planned rate at `at_s`, in requests per second; `None` outside the plan.
    #[must_use]
    pub fn rate_at(&self, at_s: f64) -> Option<f64> {
        let p = self.phases.iter().find(|p| p.start_s <= at_s && at_s < p.end_s)?;
        Some(p.curve.rate_at(at_s - p.start_s))
    }

    /// The most attempts that an arrival may take.
    #[must_use]
    pub fn max_attempts(&self) -> u8 {
        self.requests.iter().filter_map(|r| r.retry.as_ref()).map(|r| r.attempts).max().unwrap_or(1)
    }

    /// The share of the arrivals of `phase` that request class `class` is asked for, 0..=1.
    #[must_use]
    pub fn share(&self, class: usize, phase: &PhasePlan) -> f64 {
        let own = |c: usize| self.requests.get(c).map_or(0.0, |r| r.weight);
        let weight = |c: usize| phase.mix.get(c).copied().unwrap_or_else(|| own(c));
        weight(class) / (0..self.requests.len()).map(weight).sum::<f64>()
    }

    /// The highest planned rate from `a_s` to `b_s`, in requests per second.
    #[must_use]
    pub fn peak_between(&self, a_s: f64, b_s: f64) -> f64 {
        self.phases
            .iter()
            .filter(|p| p.start_s < b_s && a_s < p.end_s)
            .map(|p| p.curve.peak_between(a_s.max(p.start_s) - p.start_s, b_s.min(p.end_s) - p.start_s))
            .fold(0.0, f64::max)
    }

    /// The index of the phase in force at `at_s`; the last one after the end.
    #[must_use]
    pub fn phase_at(&self, at_s: f64) -> usize {
        self.phases.iter().position(|p| at_s < p.end_s).unwrap_or(self.phases.len().saturating_sub(1))
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    //! Small plans for the tests of this crate.

    use super::*;

    /// A data plan with 10,000 accounts.
    pub(crate) fn data() -> DataPlan {
        DataPlan {
            accounts: 10_000,
            pick: Pick::Uniform,
            account_prefix: "acc_".into(),
            account_digits: 8,
            amount_min: 100,
            amount_max: 99_999,
            amount: AmountLaw::Uniform,
        }
    }

    /// A payment request.
    pub(crate) fn pay() -> RequestPlan {
        RequestPlan {
            name: "pay".into(),
            weight: 1.0,
            method: "POST".into(),
            path: "/v1/payments".into(),
            headers: vec![
                ("Idempotency-Key".into(), "${key}".into()),
                ("Authorization".into(), "Bearer ${token}".into()),
            ],
            body: Some(r#"{"from":"${account}","to":"${other}","amount":${amount},"currency":"EUR"}"#.into()),
            expect: vec![201],
            declined: vec![402],
            check: vec![],
            retry: None,
        }
    }

    /// A plan of `(duration_s, from_rps, to_rps)` phases.
    pub(crate) fn plan_with_phases(arrivals: Arrivals, phases: &[(f64, f64, f64)]) -> Plan {
        let mut start_s = 0.0;
        let phases = phases
            .iter()
            .enumerate()
            .map(|(i, (duration_s, from_rps, to_rps))| {
                let p = PhasePlan {
                    name: format!("phase {i}"),
                    warmup: false,
                    start_s,
                    end_s: start_s + duration_s,
                    curve: Curve::line(*duration_s, *from_rps, *to_rps),
                    step: false,
                    mix: vec![],
                    trace: None,
                };
                start_s = p.end_s;
                p
            })
            .collect();
        Plan {
            name: "t".into(),
            summary: String::new(),
            seed: 1,
            target: TargetPlan::Reference { accounts: 10_000, opening_balance: 1_000_000 },
            load: LoadPlan {
                arrivals,
                connections: 8,
                pipeline: 1,
                max_in_flight: 100,
                timeout_ms: 1000,
                workers: 1,
                max_rate_rps: 1e6,
                mode: Mode::Open,
                spin_us: 0,
                tick_us: 0,
                transport: Transport::Own,
            },
            phases,
            requests: vec![pay()],
            journeys: vec![],
            data: data(),
            faults: vec![],
            slos: vec![],
            gates: vec![],
        }
    }
}
