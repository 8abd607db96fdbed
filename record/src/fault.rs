//! What a fault is: where it acts, what it does, and to how many requests. The types are shared
//! by the scenario that asks for it, whoever makes it happen, and the record of the run.

use std::fmt;
use std::str::FromStr;

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
    /// While the ledger's store makes payments durable.
    Commit,
    /// The fraud check of a payment.
    Fraud,
    /// The notification sent after a payment.
    Notify,
    /// The process as a whole: its memory, its processors, its clock.
    Service,
}

impl FaultPoint {
    /// How many points there are.
    pub const COUNT: usize = 6;
    /// All points.
    pub const ALL: [FaultPoint; Self::COUNT] = [
        FaultPoint::Api,
        FaultPoint::Store,
        FaultPoint::Commit,
        FaultPoint::Fraud,
        FaultPoint::Notify,
        FaultPoint::Service,
    ];

    /// The name used in scenarios and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultPoint::Api => "api",
            FaultPoint::Store => "store",
            FaultPoint::Commit => "commit",
            FaultPoint::Fraud => "fraud",
            FaultPoint::Notify => "notify",
            FaultPoint::Service => "service",
        }
    }
}

/// Where a fault acts. Written as `store`, a point of the reference service, or as `kind:name`: `container:payments-2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// A point in the reference service.
    Point(FaultPoint),
    /// A process on this machine: `target`, which the run has started, or a process id.
    Process(String),
    /// A container, by its name, or by its service's where docker compose has started it.
    Container(String),
    /// A Postgres, by the name that the run knows it by.
    Postgres(String),
    /// A Redis, likewise.
    Redis(String),
    /// A NATS, likewise.
    Nats(String),
    /// A proxy between two others, by its name.
    Proxy(String),
    /// Several of these under one name: a zone, a region.
    Group(String),
}

impl Place {
    /// The kinds of place that have a name, as they are written.
    pub const KINDS: [&'static str; 7] =
        ["process", "container", "postgres", "redis", "nats", "proxy", "group"];

    /// The point in the reference service, when it is one.
    #[must_use]
    pub fn point(&self) -> Option<FaultPoint> {
        match self {
            Place::Point(point) => Some(*point),
            _ => None,
        }
    }

    /// What it is called among those of its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Place::Point(point) => point.name(),
            Place::Process(name)
            | Place::Container(name)
            | Place::Postgres(name)
            | Place::Redis(name)
            | Place::Nats(name)
            | Place::Proxy(name)
            | Place::Group(name) => name,
        }
    }

    /// The place of this kind and name; `None` when there is no such kind.
    #[must_use]
    pub fn named(kind: &str, name: &str) -> Option<Self> {
        let name = name.to_owned();
        Some(match kind {
            "process" => Place::Process(name),
            "container" => Place::Container(name),
            "postgres" => Place::Postgres(name),
            "redis" => Place::Redis(name),
            "nats" => Place::Nats(name),
            "proxy" => Place::Proxy(name),
            "group" => Place::Group(name),
            _ => return None,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Place::Point(point) => return f.write_str(point.name()),
            Place::Process(name) => ("process", name),
            Place::Container(name) => ("container", name),
            Place::Postgres(name) => ("postgres", name),
            Place::Redis(name) => ("redis", name),
            Place::Nats(name) => ("nats", name),
            Place::Proxy(name) => ("proxy", name),
            Place::Group(name) => ("group", name),
        };
        write!(f, "{kind}:{name}")
    }
}

/// What is written is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no place where a fault acts: it is api, store, commit, fraud, notify, service, or kind:name, such as container:payments-2"
)]
pub struct NoPlace(pub String);

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let place = match text.split_once(':') {
            None => FaultPoint::ALL.into_iter().find(|p| p.name() == text).map(Place::Point),
            Some((_, "")) => None,
            Some((kind, name)) => Place::named(kind, name),
        };
        place.ok_or_else(|| NoPlace(text.to_owned()))
    }
}

impl TryFrom<String> for Place {
    type Error = NoPlace;

    fn try_from(text: String) -> Result<Self, NoPlace> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> String {
        place.to_string()
    }
}

/// How long an injected delay lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case", deny_unknown_fields)]
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
    /// Lognormal, through its median and its 99th percentile: what the latency of a healthy service looks like.
    LogNormal {
        /// The median in milliseconds, above 0.
        p50_ms: f64,
        /// The 99th percentile in milliseconds, at least the median.
        p99_ms: f64,
    },
    /// Pareto: a floor and a heavy tail. The share of delays above `x` is `(min / x)^alpha` (Pareto, 1896).
    Pareto {
        /// The shortest delay in milliseconds, above 0.
        min_ms: f64,
        /// How light the tail is, above 0: at 1 the mean is already infinite, but for `max_ms`.
        alpha: f64,
        /// What longer ones are cut to, in milliseconds.
        max_ms: f64,
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
            Delay::LogNormal { p50_ms, p99_ms } => {
                p50_ms * ((p99_ms / p50_ms).ln() * normal_quantile(u) / NORMAL_P99).exp()
            }
            Delay::Pareto { min_ms, alpha, max_ms } => (min_ms * (1.0 - u).powf(-1.0 / alpha)).min(*max_ms),
        }
    }
}

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

/// The quantile of the standard normal distribution at `u`, to within 4.5e-4: Abramowitz and Stegun, Handbook of
/// Mathematical Functions (1964), 26.2.23. Held at eight standard deviations.
fn normal_quantile(u: f64) -> f64 {
    let tail = if u < 0.5 { u } else { 1.0 - u };
    let t = (-2.0 * tail.max(1e-16).ln()).sqrt();
    let x = t
        - (2.515_517 + t * (0.802_853 + t * 0.010_328))
            / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)));
    if u < 0.5 { -x } else { x }
}

/// What a fault does: to a request that it hits, or to the place where it acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Effect {
    /// Makes a request wait, then lets it go on.
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
    /// Panics in the middle of it.
    Panic,
    /// Sends the body of its answer slowly.
    SlowBody {
        /// Bytes a second.
        bytes_per_s: u64,
    },
    /// Holds, while it is handled, a lock that every request at this point needs.
    Lock {
        /// For how long, in milliseconds.
        hold_ms: f64,
    },
    /// A dependency that is overloaded: slower, failing more, letting fewer in, all of it growing.
    BrownOut {
        /// The delay at its worst.
        delay: Delay,
        /// The share of requests that are answered 503 at its worst, 0..=1.
        errors: f64,
        /// How many requests at a time are let through; at the beginning all are.
        capacity: u32,
        /// How long it takes to get that bad, in milliseconds.
        ramp_ms: u64,
    },
    /// Takes connections, and keeps them: from a service's pool, or from a database.
    Starve {
        /// How many.
        connections: u32,
    },
    /// Takes memory.
    Memory {
        /// How much in the end, in MiB.
        mib: u64,
        /// How long it takes to get there, in milliseconds.
        over_ms: u64,
    },
    /// Keeps processors busy.
    Cpu {
        /// How many of them; 0.5 is one, half of the time.
        cores: f64,
    },
    /// Puts the wall clock wrong.
    Skew {
        /// By how much, in milliseconds; back when negative.
        by_ms: i64,
    },
    /// Ends a process at once (SIGKILL), as a crash does.
    Kill,
    /// Asks a process to end (SIGTERM).
    Terminate,
    /// Stops a process where it stands; it goes on at the end.
    Pause,
    /// Stops it and starts it again.
    Restart,
    /// Stops the members of a group and starts them again, one after the other.
    RollingRestart,
    /// Lets it have so much of the processors.
    CpuLimit {
        /// How many of them.
        cores: f64,
    },
    /// Lets a process have few file descriptors beyond those that it has.
    Descriptors {
        /// How many more.
        left: u32,
    },
    /// Fills the disk of the data folder.
    DiskFull {
        /// What is left free, in MiB.
        left_mib: u64,
    },
    /// Keeps the disk of the data folder busy with synced writes.
    SlowDisk {
        /// How many writers at once.
        writers: u32,
    },
    /// Takes it off its networks.
    Disconnect,
    /// Locks rows, as a transaction does that nobody ends.
    RowLock {
        /// Of this table.
        table: String,
        /// The first so many by primary key.
        rows: u32,
    },
    /// Keeps a database busy with queries that take long.
    SlowQueries {
        /// How many at once.
        sessions: u32,
    },
    /// Closes the connections that others have to a database, again and again.
    TerminateBackends {
        /// How often, in milliseconds.
        every_ms: u64,
    },
    /// Has a replica no longer follow its primary.
    ReplicaLag,
    /// Stops the primary and makes the replica one. The way back is not taken.
    Failover {
        /// The replica's name.
        replica: String,
    },
    /// Deletes everything that a cache holds.
    Flush,
    /// Deletes a part of what a cache holds, again and again.
    Evict {
        /// Keys at a time.
        keys: u32,
        /// How often, in milliseconds.
        every_ms: u64,
    },
    /// Refuses the password that clients have.
    WrongPassword,
    /// A subscriber that does not read what it has subscribed to.
    SlowConsumer,
    /// Something on the connections of a proxy.
    Toxic {
        /// As the proxy's API takes it.
        toxic: serde_json::Value,
    },
    /// A proxy refuses connections and closes those that there are.
    Down,
}

impl Effect {
    /// The name used in scenarios and records.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Effect::Latency { .. } => "latency",
            Effect::Error { .. } => "error",
            Effect::Hang => "hang",
            Effect::Panic => "panic",
            Effect::SlowBody { .. } => "slow_body",
            Effect::Lock { .. } => "lock",
            Effect::BrownOut { .. } => "brown_out",
            Effect::Starve { .. } => "starve",
            Effect::Memory { .. } => "memory",
            Effect::Cpu { .. } => "cpu",
            Effect::Skew { .. } => "skew",
            Effect::Kill => "kill",
            Effect::Terminate => "terminate",
            Effect::Pause => "pause",
            Effect::Restart => "restart",
            Effect::RollingRestart => "rolling_restart",
            Effect::CpuLimit { .. } => "cpu_limit",
            Effect::Descriptors { .. } => "descriptors",
            Effect::DiskFull { .. } => "disk_full",
            Effect::SlowDisk { .. } => "slow_disk",
            Effect::Disconnect => "disconnect",
            Effect::RowLock { .. } => "row_lock",
            Effect::SlowQueries { .. } => "slow_queries",
            Effect::TerminateBackends { .. } => "terminate_backends",
            Effect::ReplicaLag => "replica_lag",
            Effect::Failover { .. } => "failover",
            Effect::Flush => "flush",
            Effect::Evict { .. } => "evict",
            Effect::WrongPassword => "wrong_password",
            Effect::SlowConsumer => "slow_consumer",
            Effect::Toxic { .. } => "toxic",
            Effect::Down => "down",
        }
    }

    /// Whether it can be done at `place`.
    #[must_use]
    pub fn acts_at(&self, place: &Place) -> bool {
        use FaultPoint::{Api, Commit, Service, Store};
        match place {
            Place::Point(point) => match self {
                Effect::Latency { .. } => *point != Service,
                Effect::Error { .. }
                | Effect::Hang
                | Effect::Panic
                | Effect::Lock { .. }
                | Effect::BrownOut { .. } => !matches!(point, Commit | Service),
                Effect::SlowBody { .. } => *point == Api,
                Effect::Starve { .. } => *point == Store,
                Effect::Memory { .. } | Effect::Cpu { .. } | Effect::Skew { .. } => *point == Service,
                _ => false,
            },
            Place::Process(_) | Place::Container(_) => self.acts_on_a_process(place),
            Place::Group(_) => {
                self.acts_on_a_process(&Place::Container(String::new())) || *self == Effect::RollingRestart
            }
            Place::Postgres(_) => matches!(
                self,
                Effect::Starve { .. }
                    | Effect::RowLock { .. }
                    | Effect::SlowQueries { .. }
                    | Effect::TerminateBackends { .. }
                    | Effect::ReplicaLag
                    | Effect::Failover { .. }
            ),
            Place::Redis(_) => matches!(
                self,
                Effect::Flush
                    | Effect::Evict { .. }
                    | Effect::Latency { .. }
                    | Effect::Hang
                    | Effect::WrongPassword
            ),
            Place::Nats(_) => matches!(self, Effect::SlowConsumer),
            Place::Proxy(_) => matches!(self, Effect::Toxic { .. } | Effect::Down),
        }
    }

    fn acts_on_a_process(&self, place: &Place) -> bool {
        let contained = matches!(place, Place::Container(_));
        match self {
            Effect::Kill
            | Effect::Terminate
            | Effect::Pause
            | Effect::Restart
            | Effect::CpuLimit { .. }
            | Effect::Cpu { .. }
            | Effect::Memory { .. } => true,
            Effect::Disconnect => contained,
            Effect::Descriptors { .. } | Effect::DiskFull { .. } | Effect::SlowDisk { .. } => !contained,
            _ => false,
        }
    }

    /// What it changes that is put back when it ends, where the first of two that ends would put it back for both.
    #[must_use]
    pub fn restores(&self) -> Option<&'static str> {
        Some(match self {
            // A share of the processors is had by stopping and going on.
            Effect::Pause | Effect::CpuLimit { .. } => "whether it runs",
            Effect::Kill
            | Effect::Terminate
            | Effect::Restart
            | Effect::RollingRestart
            | Effect::Failover { .. } => "whether it is there",
            Effect::Descriptors { .. } => "its limit of descriptors",
            Effect::Disconnect => "its network",
            Effect::ReplicaLag => "whether it follows",
            Effect::WrongPassword => "its password",
            Effect::Down => "whether it listens",
            _ => return None,
        })
    }

    /// Whether it decides about each request by itself, so that a fraction of them means something.
    #[must_use]
    pub fn is_per_request(&self) -> bool {
        matches!(
            self,
            Effect::Latency { .. }
                | Effect::Error { .. }
                | Effect::Hang
                | Effect::Panic
                | Effect::SlowBody { .. }
                | Effect::Lock { .. }
                | Effect::BrownOut { .. }
        )
    }
}

/// What a fault of this kind has done `count` times, in words: `hit 20 requests`, `took 512 MiB`. `kind` is an effect's name,
/// `place` a place as it is written.
#[must_use]
pub fn affected(kind: &str, place: &str, count: &str) -> String {
    match (kind, place) {
        ("memory", _) => format!("took {count} MiB"),
        ("cpu", _) => format!("kept {count} threads busy"),
        ("skew", _) => format!("changed {count} readings of the clock"),
        ("starve", _) => format!("held {count} connections"),
        ("toxic", _) => format!("met {count} requests or connections"),
        (_, "commit") => format!("held up {count} commits"),
        _ => format!("hit {count} requests"),
    }
}

/// A fault: what a scenario schedules, whoever makes it happen does, and a run records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// Unique within a run.
    pub name: String,
    /// Where it acts.
    #[serde(rename = "point")]
    pub place: Place,
    /// What it does.
    pub effect: Effect,
    /// The share of requests it hits, 0..=1.
    pub fraction: f64,
}

impl FaultSpec {
    /// The share of all requests that it is meant for, 0..=1: all, when it does not decide about each.
    #[must_use]
    pub fn meant_for(&self) -> f64 {
        let share = match &self.effect {
            Effect::Toxic { toxic } => {
                toxic.get("toxicity").and_then(serde_json::Value::as_f64).unwrap_or(1.0)
            }
            effect if effect.is_per_request() && self.place.point().is_some() => self.fraction,
            _ => 1.0,
        };
        share.clamp(0.0, 1.0)
    }
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

    #[test]
    fn a_lognormal_delay_goes_through_its_two_percentiles() {
        let d = Delay::LogNormal { p50_ms: 20.0, p99_ms: 200.0 };
        for (u, ms) in [(0.5, 20.0), (0.99, 200.0), (0.01, 2.0)] {
            assert!((d.at_ms(u) / ms - 1.0).abs() < 0.002, "{u}: {}", d.at_ms(u));
        }
        assert!(d.at_ms(0.0) > 0.0 && d.at_ms(1.0).is_finite());
        assert_eq!(Delay::LogNormal { p50_ms: 7.0, p99_ms: 7.0 }.at_ms(0.9), 7.0);
    }

    #[test]
    fn a_pareto_delay_has_a_floor_a_tail_and_an_end() {
        let d = Delay::Pareto { min_ms: 10.0, alpha: 2.0, max_ms: 500.0 };
        assert_eq!(d.at_ms(0.0), 10.0);
        // A quarter is above twice the floor.
        assert!((d.at_ms(0.75) - 20.0).abs() < 1e-9);
        assert_eq!(d.at_ms(1.0), 500.0);
    }

    #[test]
    fn a_place_reads_back_as_it_is_written() {
        for text in ["store", "service", "process:target", "container:payments-2", "group:zone:b"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for wrong in ["", "stor", "process", "process:", "planet:mars"] {
            assert_eq!(wrong.parse::<Place>(), Err(NoPlace(wrong.to_owned())));
        }
    }
}
