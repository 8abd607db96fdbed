//! The tables of what goes wrong: faults, what they act on, and what must hold around them.
//!
//! As in `tables`, every field's documentation is also its description in the JSON Schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use squall_record::fault::FaultPoint;

use super::scalar::{At, DurationText, Ratio};

/// Something that goes wrong for a while.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Unique; shown on every chart.
    pub name: At<String>,
    /// When it begins, from the start of the run. Either this or `phase`.
    pub at: Option<At<DurationText>>,
    /// The phase in which it begins.
    pub phase: Option<At<String>>,
    /// How long after the phase's beginning it begins. Default: 0s.
    pub after: Option<At<DurationText>>,
    /// How long it lasts. Default with `phase`: to the phase's end.
    #[serde(rename = "for")]
    pub lasts: Option<At<DurationText>>,
    /// What must be so for it to begin, in the grammar of gates, over the experiment's window: `throughput>=5k/s`. It begins
    /// as soon as that holds, if it does before its time is over.
    pub when: Option<At<String>>,
    /// How often it comes. Default: 1.
    #[schemars(range(min = 1, max = 32))]
    pub repeat: Option<At<u32>>,
    /// How long it stays away in between. Default: as long as it lasts.
    pub pause: Option<At<DurationText>>,
    /// Where in the reference service it acts. Either this or one of the next seven.
    pub point: Option<At<FaultPoint>>,
    /// The process that it acts on: `target`, the reference service itself, or a process id.
    pub process: Option<At<String>>,
    /// The container that it acts on, or the service of the stack.
    pub container: Option<At<String>>,
    /// The Postgres that it acts on: a `[[resource]]`, or `primary` or `replica` of the stack.
    pub postgres: Option<At<String>>,
    /// The Redis that it acts on: a `[[resource]]`, or `redis` of the stack.
    pub redis: Option<At<String>>,
    /// The NATS that it acts on: a `[[resource]]`, or `nats` of the stack.
    pub nats: Option<At<String>>,
    /// The `[[proxy]]` that it acts on.
    pub proxy: Option<At<String>>,
    /// The `[[group]]` that it acts on.
    pub group: Option<At<String>>,
    /// What it does.
    pub kind: At<FaultKind>,
    /// Of `latency` and `brown_out`: always this long.
    pub delay: Option<At<DurationText>>,
    /// Of `latency` and `brown_out`: at least this long, with `max`.
    pub min: Option<At<DurationText>>,
    /// Of `latency` and `brown_out`: at most this long, with `min`.
    pub max: Option<At<DurationText>>,
    /// Of `latency` and `brown_out`: a curve, `{ p50 = "5ms", p99 = "200ms" }`; write p99.9 as `p99_9`.
    pub percentiles: Option<At<BTreeMap<At<String>, At<DurationText>>>>,
    /// Of `latency` and `brown_out`: lognormal, through its median and 99th percentile.
    pub lognormal: Option<At<LogNormal>>,
    /// Of `latency` and `brown_out`: Pareto, with a floor and a heavy tail.
    pub pareto: Option<At<Pareto>>,
    /// Of `error`: the status of the answer, 400 to 599. Default: 503.
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<At<u16>>,
    /// Of `slow_body`: bytes a second.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub bytes_per_s: Option<At<u64>>,
    /// Of `lock`: for how long a request holds it.
    pub hold: Option<At<DurationText>>,
    /// Of `brown_out`: the share of requests that are answered 503 at its worst. Default: 0%.
    pub errors: Option<At<Ratio>>,
    /// Of `brown_out`: how many requests at a time are let through at its worst. Default: 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub capacity: Option<At<u32>>,
    /// Of `brown_out` and `memory`: how long it takes to get there. Default: 0s.
    pub ramp: Option<At<DurationText>>,
    /// Of `starve`: how many connections are taken.
    #[schemars(range(min = 1, max = 10_000))]
    pub connections: Option<At<u32>>,
    /// Of `memory`: how much is taken, in MiB.
    #[schemars(range(min = 1, max = 65_536))]
    pub mib: Option<At<u64>>,
    /// Of `cpu`: how many processors are kept busy; of `cpu_limit`: how many it may have.
    #[schemars(range(min = 0.01, max = 256))]
    pub cores: Option<At<f64>>,
    /// Of `skew`: by how much the clock is wrong; `-5m` is back.
    pub by: Option<At<String>>,
    /// Of `descriptors`: how many more it may open. Default: 0.
    #[schemars(range(max = 1_000_000))]
    pub left: Option<At<u32>>,
    /// Of `disk_full`: what is left free, in MiB. Default: 0.
    #[schemars(range(max = 10_000_000))]
    pub left_mib: Option<At<u64>>,
    /// Of `slow_disk`: how many writers keep it busy. Default: 4.
    #[schemars(range(min = 1, max = 64))]
    pub writers: Option<At<u32>>,
    /// Of `row_lock`: the table. Default: accounts.
    pub table: Option<At<String>>,
    /// Of `row_lock`: how many rows, the first by primary key. Default: 1.
    #[schemars(range(min = 1, max = 100_000))]
    pub rows: Option<At<u32>>,
    /// Of `slow_queries`: how many at a time. Default: 4.
    #[schemars(range(min = 1, max = 1000))]
    pub sessions: Option<At<u32>>,
    /// Of `terminate_backends` and `evict`: how often. Default: 1s.
    pub every: Option<At<DurationText>>,
    /// Of `evict`: how many keys at a time. Default: 1000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub keys: Option<At<u32>>,
    /// Of `failover`: the replica that becomes the primary.
    pub replica: Option<At<String>>,
    /// Of `toxic`: the toxic, as the proxy's API takes it.
    pub toxic: Option<At<BTreeMap<String, serde_json::Value>>>,
    /// Of what acts at a point: the share of requests that it hits. Default: 100%.
    pub fraction: Option<At<Ratio>>,
}

/// Delays whose logarithm is normal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogNormal {
    /// The median.
    pub p50: At<DurationText>,
    /// The 99th percentile.
    pub p99: At<DurationText>,
}

/// Delays with a floor and a heavy tail.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pareto {
    /// The shortest.
    pub min: At<DurationText>,
    /// How light the tail is: the share above `x` is `(min/x)^alpha`. Default: 1.5.
    #[schemars(range(min = 0.1, max = 100))]
    pub alpha: Option<At<f64>>,
    /// What longer ones are cut to. Default: 30s.
    pub max: Option<At<DurationText>>,
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Makes a request wait; a whole Redis likewise.
    Latency,
    /// Answers a request with an error.
    Error,
    /// Never answers while the fault lasts.
    Hang,
    /// Panics in the middle of a request.
    Panic,
    /// Sends the body of an answer slowly.
    SlowBody,
    /// Has a request hold a lock that all others at the point need.
    Lock,
    /// A dependency that is overloaded: slower, failing, letting fewer in, growing over `ramp`.
    BrownOut,
    /// Takes connections from the service's pool, or all but a few from a database.
    Starve,
    /// Takes memory.
    Memory,
    /// Keeps processors busy.
    Cpu,
    /// Puts the service's wall clock wrong.
    Skew,
    /// Ends it at once, as a crash does.
    Kill,
    /// Asks it to end.
    Terminate,
    /// Stops it where it stands until the end.
    Pause,
    /// Stops it and starts it again.
    Restart,
    /// Stops and starts the members of a group, one after the other.
    RollingRestart,
    /// Lets it have so much of the processors.
    CpuLimit,
    /// Lets it open few files and connections.
    Descriptors,
    /// Fills the disk of its data folder.
    DiskFull,
    /// Keeps the disk of its data folder busy.
    SlowDisk,
    /// Takes a container off its networks.
    Disconnect,
    /// Holds locks on rows.
    RowLock,
    /// Keeps a database busy with long queries.
    SlowQueries,
    /// Closes the connections that a database has.
    TerminateBackends,
    /// Has a replica no longer follow.
    ReplicaLag,
    /// Stops the primary and promotes the replica.
    Failover,
    /// Deletes all that a cache holds.
    Flush,
    /// Deletes a part of what a cache holds, again and again.
    Evict,
    /// Refuses the password that clients have.
    WrongPassword,
    /// Subscribes to everything and reads nothing.
    SlowConsumer,
    /// Puts a toxic on a proxy.
    Toxic,
    /// Has a proxy refuse connections.
    Down,
}

/// What must hold around the faults, and what ends the run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What must hold before the first fault, or none of them begins, and again after the last, in the grammar of gates.
    #[serde(default)]
    pub steady_state: Vec<At<String>>,
    /// What ends the run at once when it holds, in the grammar of gates: `rate(failed)>50%`.
    #[serde(default)]
    pub abort: Vec<At<String>>,
    /// Over how long all of these are looked at. Default: 5s.
    pub window: Option<At<DurationText>>,
    /// The greatest share of requests that the faults of a moment may be meant for, all together. Default: 100%.
    pub blast_radius: Option<At<Ratio>>,
    /// The only places where faults may act, as `store`, `proxy:front` or `group:zone-b`; a group stands for its members
    /// too. Default: anywhere.
    pub within: Option<At<Vec<At<String>>>>,
    /// The share of requests that no fault of the service or of an HTTP proxy meets, to compare with. Default: 0%.
    pub control: Option<At<Ratio>>,
}

/// Faults at times that the seed draws: which of them, when, and how many at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Monkey {
    /// The names of `[[fault]]` tables that it may choose from. They come when it says, each for as long as its `for` says.
    pub faults: At<Vec<At<String>>>,
    /// How often one comes, on average.
    pub every: At<DurationText>,
    /// How many may act at once. Default: 1.
    #[schemars(range(min = 1, max = 8))]
    pub at_most: Option<At<u32>>,
    /// The phase in which they come. Default: the whole run after its first warm-up phases.
    pub phase: Option<At<String>>,
}

/// Several places under one name: a zone, a region.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Unique; faults refer to it.
    pub name: At<String>,
    /// What belongs to it: containers and processes, as `container:payments-2`.
    pub members: At<Vec<At<String>>>,
}

/// A database, cache or queue that faults act on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Unique; faults refer to it.
    pub name: At<String>,
    /// The environment variable that holds its URL, as it may hold a password.
    pub url_env: At<String>,
}

/// A proxy of the run, between a client and whatever it connects to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyFile {
    /// Unique; faults refer to it.
    pub name: At<String>,
    /// Where it listens: `host:port` of loopback, or `unix:/path`. Default: a free port; with `upstream = "target"`, the load goes there.
    pub listen: Option<At<String>>,
    /// Whom it passes connections on to, or `target`. Default: target.
    pub upstream: Option<At<String>>,
    /// Whether it understands HTTP, so that toxics can act on single requests. Default: true for the target.
    pub http: Option<bool>,
}
