//! The tables of a scenario file and their keys.
//!
//! Every field's documentation is also its description in the JSON Schema, so it is written for
//! the author of a scenario. Defaults are named here and decided in `lower`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::faults::{Experiment, Fault, Group, Monkey, ProxyFile, Resource};
use super::journeys::Journey;
use super::scalar::{At, ColumnText, DurationText, Literal, RateText, Ratio};
use super::shapes::{CurveFile, Daily, Pulse, Ramp, Seasonal, Sine, Spike, Term, Weekly};
use crate::plan::Profile;

/// A squall scenario: what is loaded, how much when, what is asked, what goes wrong, and what
/// the run must show to pass.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Short name, part of the run folder's name: lower-case letters, digits and dashes.
    pub name: At<String>,
    /// One sentence for people.
    pub summary: Option<At<String>>,
    /// Everything random is a function of it. Default: 1.
    pub seed: Option<At<u64>>,
    /// What the run must show to pass, in k6's grammar: `p(99)<50ms`, `rate(failed)<0.1%`,
    /// `p(99){phase:hold}<20ms`. Default: none.
    #[serde(default)]
    pub gates: Vec<At<String>>,
    /// What is loaded. Default: the reference payment service.
    pub target: Option<Target>,
    /// How the load is carried.
    pub load: Option<Load>,
    /// Where placeholders draw from.
    pub data: Option<Data>,
    /// CSV files whose rows requests are filled with.
    #[serde(default)]
    pub feeder: Vec<At<Feeder>>,
    /// When how much, one after the other. At least one, but for a scenario of journeys alone.
    #[serde(default)]
    pub phase: Vec<At<Phase>>,
    /// What is asked. At least one, but for a scenario of journeys alone.
    #[serde(default)]
    pub request: Vec<At<Request>>,
    /// Closed-loop users, each asking only after its last answer.
    #[serde(default)]
    pub journey: Vec<At<Journey>>,
    /// What goes wrong and when.
    #[serde(default)]
    pub fault: Vec<At<Fault>>,
    /// What must hold around the faults, and what ends the run.
    pub experiment: Option<At<Experiment>>,
    /// Faults at times that the seed draws.
    pub monkey: Option<At<Monkey>>,
    /// Several places under one name, for faults.
    #[serde(default)]
    pub group: Vec<At<Group>>,
    /// Databases, caches and queues that faults act on.
    #[serde(default)]
    pub resource: Vec<At<Resource>>,
    /// Proxies of the run.
    #[serde(default)]
    pub proxy: Vec<At<ProxyFile>>,
    /// What the service promises.
    #[serde(default)]
    pub slo: Vec<At<Slo>>,
}

/// What is loaded: the reference payment service, or a service that runs already.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `reference` starts the reference payment service as a child of the run, `compose` starts it with
    /// docker compose, on the parts that a real one stands on. The default is `reference` when no `url` is
    /// given.
    pub system: Option<At<System>>,
    /// Of `compose`: the stack's file; a relative path begins at the scenario's folder. Default: as docker
    /// compose looks for it, `docker-compose.yml` in the working folder or above.
    pub compose_file: Option<At<String>>,
    /// How many accounts the reference service opens before the run. Default: 10000.
    pub accounts: Option<At<u64>>,
    /// What each account holds at first, in minor units. Default: 100000000000.
    pub opening_balance: Option<At<i64>>,
    /// How the reference service stands up to failures: `hardened`, or `naive` with planted flaws that a load
    /// finds. Default: hardened.
    pub profile: Option<At<Profile>>,
    /// A service that runs already: `http://127.0.0.1:8080`, `https://localhost:8443`, or
    /// `unix:///run/payments.sock` for a socket of this machine. A host beyond loopback must be
    /// listed in `allow`.
    pub url: Option<At<String>>,
    /// Of an `https://` url: a PEM file of certificate authorities to trust besides those that
    /// this machine trusts; a relative path begins at the scenario's folder.
    pub ca_file: Option<At<String>>,
    /// The environment variable that holds the bearer token for `url`.
    pub token_env: Option<At<String>>,
    /// Hosts beyond loopback that this scenario may load: names or addresses, without port.
    #[serde(default)]
    pub allow: Vec<At<String>>,
}

/// A system that squall starts by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// The reference payment service, one process.
    Reference,
    /// The reference payment service behind a load balancer, on Postgres, Redis and NATS.
    Compose,
}

/// How the load is carried.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// How arrivals are spaced: `poisson` (as independent clients would), `uniform` (evenly) or
    /// `bursty` (see `bursts`). Default: poisson.
    pub arrivals: Option<ArrivalsText>,
    /// Of `bursty`: how bursty.
    pub bursts: Option<At<BurstsTable>>,
    /// Keep-alive connections in all. Default: 64.
    pub connections: Option<At<u32>>,
    /// HTTP/1.1 pipelining, of the own transport: how many requests a connection carries at once, 1
    /// to 64. Answers come in the order of the requests, so one waits behind others; it happens only
    /// when no connection is free. Default: 1, no pipelining.
    #[schemars(range(min = 1, max = 64))]
    pub pipeline: Option<At<u32>>,
    /// Requests on the wire or waiting for a connection; an arrival beyond it is dropped and
    /// counted. Default: 10000.
    pub max_in_flight: Option<At<u32>>,
    /// After how long a request on the wire is given up. Default: 2s.
    pub timeout: Option<At<DurationText>>,
    /// Worker threads. Default: 1.
    pub workers: Option<At<u32>>,
    /// How long before an arrival is due a worker stops sleeping and polls, at most 1ms. Punctual
    /// to microseconds from about `100us` on, for CPU that a target on the same machine would use.
    /// Default: 0us.
    pub spin: Option<At<DurationText>>,
    /// The least time between two looks of a worker at its clock and its sockets, at most 1ms: arrivals
    /// and answers that come meanwhile are dealt with together, up to so much late. Counted as lag and
    /// as service time, it saves the wake-ups that cost most at high rates. Default: 0us, none.
    pub coalesce: Option<At<DurationText>>,
    /// What all rates of all phases are multiplied by, 0 to 1000. Default: 1.
    #[schemars(range(min = 0, max = 1000))]
    pub scale: Option<At<f64>>,
    /// What carries the requests: `own` (squall's own HTTP/1.1: fast, without TLS), `general`
    /// (reqwest: everything, for at least twice the CPU per request), or `auto`: the own one where
    /// it will do. Default: auto.
    pub transport: Option<At<TransportText>>,
    /// The version of HTTP: `1.1` or `2`. HTTP/2 to an `http://` url is h2c with prior knowledge.
    /// Default: 1.1.
    pub http: Option<At<HttpText>>,
    /// A plan above it is refused: a guard against a slip of the finger. Default: 100k/s.
    pub max_rate: Option<At<RateText>>,
}

/// How arrivals are spaced around the planned rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalsText {
    /// Evenly.
    Uniform,
    /// As independent clients would.
    Poisson,
    /// As clients that come in waves would, with the planned rate as their mean.
    Bursty,
}

/// Bursts: times in which the rate is a multiple of the planned one. Between them it is lower by
/// just so much that the mean is the planned rate.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BurstsTable {
    /// The rate in a burst over the planned rate; `factor` times `share` is at most 1. Default: 4.
    #[schemars(range(min = 1, max = 1000))]
    pub factor: Option<At<f64>>,
    /// The share of time in bursts, 0.1% to 90%. Default: 10%.
    pub share: Option<At<Ratio>>,
    /// How long a burst lasts on average, 10ms to 1h; lengths are exponential. Default: 1s.
    pub mean: Option<At<DurationText>>,
}

/// What carries the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransportText {
    /// The own one where it will do.
    Auto,
    /// squall's own HTTP/1.1.
    Own,
    /// reqwest.
    General,
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum HttpText {
    /// HTTP/1.1.
    #[serde(rename = "1.1")]
    V1,
    /// HTTP/2.
    #[serde(rename = "2")]
    V2,
}

/// A stretch of time with exactly one shape: `rate`, `ramp`, `steps`, `spike`, `pulse`, `sine`, `daily`,
/// `weekly`, `seasonal`, `curve`, `sum`, `product` or `trace`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Unique; gates and faults refer to it.
    pub name: At<String>,
    /// How long it lasts: `30s`. Of `steps`: all of them together.
    pub duration: At<DurationText>,
    /// Left out of totals, gates and SLOs. Default: false.
    #[serde(default)]
    pub warmup: bool,
    /// Holds this rate.
    pub rate: Option<At<RateText>>,
    /// Moves from one rate to another along a line.
    pub ramp: Option<At<Ramp>>,
    /// Climbs a staircase; each step is a phase of its own, named `stairs 1/10`, and a point of
    /// the scalability fit.
    pub steps: Option<At<Steps>>,
    /// Rises from a base to a peak, holds it, and falls back.
    pub spike: Option<At<Spike>>,
    /// Switches between two rates, again and again.
    pub pulse: Option<At<Pulse>>,
    /// Swings between two rates as a sine.
    pub sine: Option<At<Sine>>,
    /// A day from midnight to midnight.
    pub daily: Option<At<Daily>>,
    /// A week from Monday to Sunday.
    pub weekly: Option<At<Weekly>>,
    /// A year from January to December.
    pub seasonal: Option<At<Seasonal>>,
    /// Points of time and rate from a CSV file.
    pub curve: Option<At<CurveFile>>,
    /// These curves added up.
    pub sum: Option<At<Vec<At<Term>>>>,
    /// These curves multiplied: the first is the rate, every other one a factor, written as a number.
    pub product: Option<At<Vec<At<Term>>>>,
    /// How much of its own time the shape plays in this phase's duration: `24h` in `10m`. Default:
    /// `daily` a day, `weekly` a week, `seasonal` a year, `curve` the whole file, anything else the
    /// duration.
    pub span: Option<At<DurationText>>,
    /// Where in its own time the shape begins. Default: 0s.
    pub offset: Option<At<DurationText>>,
    /// What all rates of this phase are multiplied by, 0 to 1000. Default: 1.
    #[schemars(range(min = 0, max = 1000))]
    pub scale: Option<At<f64>>,
    /// The requests' weights in this phase instead of their own: `{ pay = 3, read = 7 }`. A
    /// request that is not named is not sent in it.
    pub mix: Option<At<BTreeMap<At<String>, At<f64>>>>,
    /// Replays recorded traffic, for as long as `duration` says.
    pub trace: Option<At<Trace>>,
}

/// A staircase: `count` equal steps, the first at `from`, the last at `to`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// The rate of the first step.
    pub from: At<RateText>,
    /// The rate of the last step.
    pub to: At<RateText>,
    /// How many steps, 2 to 200.
    #[schemars(range(min = 2, max = 200))]
    pub count: At<u32>,
}

/// Recorded traffic: a request for each of its lines, at the instant it says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The file; a relative path begins at the scenario's folder.
    pub file: At<String>,
    /// What its lines look like.
    pub format: TraceFormatText,
    /// How much faster than recorded: 10 replays an hour in six minutes. Default: 1.
    #[schemars(range(min = 0.001, max = 10_000))]
    pub speed: Option<At<f64>>,
    /// Where the stamp stands: of `csv` a column's name in the header, or its number from 1 when
    /// there is no header; of `jsonl` a key, or a JSON pointer such as `/request/time`.
    pub time: Option<At<ColumnText>>,
    /// The unit of stamps that are numbers; others are RFC 3339. Default: s.
    pub unit: Option<At<UnitText>>,
    /// Where the method stands, like `time`. Default: every request is a GET.
    pub method: Option<At<ColumnText>>,
    /// Where path and query stand, like `time`.
    pub path: Option<At<ColumnText>>,
    /// Sends what was recorded, with the headers and expectations of this request class. Without
    /// it, the scenario's own mix is sent at the recorded instants.
    pub request: Option<At<String>>,
    /// Spreads records stamped in whole seconds evenly over their second. Default: true.
    pub spread: Option<bool>,
    /// How many lines may be no records before the run ends. Default: 100.
    pub max_broken: Option<At<u64>>,
}

/// What the lines of a trace look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceFormatText {
    /// nginx's and Apache's access logs, common or combined.
    Combined,
    /// Comma-separated values.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

/// The unit of stamps that are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnitText {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// One class of requests.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Unique; letters, digits, `_` and `-`.
    pub name: At<String>,
    /// Its share among all classes' weights. Default: 1.
    #[schemars(range(min = 0))]
    pub weight: Option<At<f64>>,
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE` or `OPTIONS`.
    pub method: At<String>,
    /// Path and query, with placeholders: `/v1/accounts/${account}`.
    pub path: At<String>,
    /// Further headers, values with placeholders. `Host`, `Content-Length` and `Connection` are
    /// squall's. A body without `Content-Type` is sent as `application/json`; when the target has
    /// a token, a request without `Authorization` carries it as a bearer.
    #[serde(default)]
    pub headers: BTreeMap<At<String>, At<String>>,
    /// The body, with placeholders; `${amount}` outside quotes.
    pub body: Option<At<String>>,
    /// Statuses that count as ok. Default: every 2xx.
    #[serde(default)]
    pub expect: Vec<At<u16>>,
    /// Statuses that count as declined, a business answer and not a failure. Default: 402.
    pub declined: Option<Vec<At<u16>>>,
    /// What the JSON body of an ok answer must say. Default: anything.
    #[serde(default)]
    pub check: Vec<At<Check>>,
    /// Asks again after a failure, with the same idempotency key. Default: never.
    pub retry: Option<At<Retry>>,
}

/// A value that an answer's body must hold: one of `equals` and `exists`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Where the value stands: a JSON pointer such as `/data/0/status`.
    pub pointer: At<String>,
    /// It must be there and equal to this text, number or boolean.
    pub equals: Option<At<Literal>>,
    /// It must be there, or, when false, must not.
    pub exists: Option<At<bool>>,
}

/// How a client asks again after a failure.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included. Default: 3.
    #[schemars(range(min = 2, max = 10))]
    pub attempts: Option<At<u8>>,
    /// The pause before the second attempt. Default: 50ms.
    pub backoff: Option<At<DurationText>>,
    /// By how much the pause grows from one attempt to the next. Default: 2.
    #[schemars(range(min = 1, max = 10))]
    pub factor: Option<At<f64>>,
    /// The longest pause. Default: 1s, or `backoff` if that is longer.
    pub max_backoff: Option<At<DurationText>>,
    /// `full` draws each pause between zero and its length, `none` keeps to it. Default: full.
    pub jitter: Option<JitterText>,
    /// What is tried again. Default: `timeout`, `refused`, `reset`, `server_error` and `shed`.
    pub on: Option<Vec<RetryCauseText>>,
    /// Statuses that are tried again besides, such as 409 from a service that is still busy with
    /// the first attempt. Default: none.
    #[serde(default)]
    pub statuses: Vec<At<u16>>,
}

/// How a pause varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JitterText {
    /// Evenly between zero and the pause.
    Full,
    /// Not at all.
    None,
}

/// Why a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryCauseText {
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

/// Where placeholders draw from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Accounts 1 to this exist. Default: as many as the reference service opens; needed for a
    /// `url` target whose requests use accounts.
    pub accounts: Option<At<u64>>,
    /// How an account is drawn: `uniform`, `zipf`, `hot_set` or `sequential`. Default: uniform.
    pub pick: Option<PickText>,
    /// Of `zipf`: 0 is uniform, 1 the classic law. Default: 1.
    #[schemars(range(min = 0, max = 5))]
    pub exponent: Option<At<f64>>,
    /// Of `hot_set`: accounts 1 to this are the hot ones.
    #[schemars(range(min = 1))]
    pub hot_accounts: Option<At<u64>>,
    /// Of `hot_set`: the share of arrivals that draw a hot account: `80%`.
    pub hot_share: Option<At<Ratio>>,
    /// Comes before an account's number. Default: `acc_`.
    pub account_prefix: Option<At<String>>,
    /// Digits of an account's number, zero-padded. Default: 8.
    #[schemars(range(min = 1, max = 18))]
    pub account_digits: Option<At<u32>>,
    /// The least `${amount}`, in minor units. Default: 100.
    pub amount_min: Option<At<i64>>,
    /// The greatest `${amount}`, in minor units. Default: 99999.
    pub amount_max: Option<At<i64>>,
    /// How `${amount}` is drawn. Default: every amount alike.
    pub amount: Option<At<Amount>>,
}

/// A CSV file whose rows requests are filled with: `${cards.number}` is the value of the column
/// `number` in a row of the feeder `cards`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Feeder {
    /// Unique; letters, digits, `_` and `-`.
    pub name: At<String>,
    /// The file, with commas and a first line that names the columns; a relative path begins at the
    /// scenario's folder.
    pub file: At<String>,
    /// Which row is whose: `sequential` (one after the other, and again from the first), `random`, or
    /// `per_user` (of journeys: a user keeps its row). Default: sequential.
    pub order: Option<FeederOrderText>,
}

/// Which row of a feeder is whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeederOrderText {
    /// One after the other.
    Sequential,
    /// Every row alike.
    Random,
    /// A virtual user keeps its row.
    PerUser,
}

/// How `${amount}` is drawn between `amount_min` and `amount_max`; what a law gives outside them
/// becomes the nearer one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// `uniform`, `lognormal`, `exponential` or `values`.
    pub distribution: DistributionText,
    /// Of `lognormal`: half of the amounts are below it.
    pub median: Option<At<i64>>,
    /// Of `lognormal`: 99 of 100 amounts are below it.
    pub p99: Option<At<i64>>,
    /// Of `exponential`: the mean amount.
    pub mean: Option<At<i64>>,
    /// Of `values`: the amounts there are; one is a fixed amount.
    pub values: Option<At<Vec<At<i64>>>>,
    /// Of `values`: how often each is drawn, against the others. Default: all alike.
    pub weights: Option<At<Vec<At<f64>>>>,
}

/// A law of amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DistributionText {
    /// Every amount alike.
    Uniform,
    /// Many small amounts and a long tail of large ones.
    Lognormal,
    /// The larger the rarer.
    Exponential,
    /// One of a few.
    Values,
}

/// How one of many accounts is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PickText {
    /// All alike.
    Uniform,
    /// The k-th most popular in proportion to 1/k^exponent.
    Zipf,
    /// A few take most.
    HotSet,
    /// One after the other.
    Sequential,
}

/// A promise: at least `objective` of planned arrivals are good.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// Unique.
    pub name: At<String>,
    /// The share that must be good, above 0 and below 100%: `99.9%`.
    pub objective: At<Ratio>,
    /// When given, an arrival is good only when its response time is at most this.
    pub under: Option<At<DurationText>>,
    /// When given, only this request class counts.
    pub request: Option<At<String>>,
}
