//! What a fault does.

use serde::{Deserialize, Serialize};

use super::delay::Delay;
use super::place::{FaultPoint, Place};

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
    fn restores(&self) -> Option<&'static str> {
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

    /// What of a place both change and put back, so that two at once would undo each other.
    #[must_use]
    pub fn undoes(&self, other: &Effect) -> Option<&'static str> {
        self.restores().filter(|_| self.restores() == other.restores())
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
