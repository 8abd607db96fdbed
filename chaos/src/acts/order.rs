//! What is asked of the guard, and what it answers: a line of JSON each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use squall_record::fault::FaultSpec;

use super::error::ActError;
use super::who::ProcessId;
use crate::lease::{MAX_NAME_BYTES, MAX_TTL_MS};

/// The longest line that the guard reads.
pub const MAX_ORDER_BYTES: u64 = 64 << 10;
/// The most places that one fault acts on.
pub const MAX_TARGETS: usize = 64;

/// Asks the guard for something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Begins a fault.
    Begin(Begin),
    /// Puts off the end of one.
    Renew {
        /// The fault.
        name: String,
        /// From now on so long, in milliseconds.
        ttl_ms: u64,
    },
    /// Ends one.
    End {
        /// The fault.
        name: String,
    },
}

/// A fault to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// What goes wrong.
    pub fault: FaultSpec,
    /// Where: what the fault's place has been resolved to. Of a failover the primary, the replica, and, where squall can
    /// stop it, the primary's container.
    pub targets: Vec<Target>,
    /// After how long it ends by itself, in milliseconds: 1..=[`MAX_TTL_MS`].
    pub ttl_ms: u64,
    /// Decides what is random.
    pub seed: u64,
}

/// Something that faults act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// A process of this machine.
    Process {
        /// Which.
        process: ProcessId,
        /// Where it keeps its data, when that is known.
        data: Option<PathBuf>,
        /// Whether whoever asks starts it again once it has ended.
        comes_back: bool,
    },
    /// A container.
    Container {
        /// Its name, or that of its service.
        name: String,
        /// The project of docker compose that a service is looked for in.
        project: Option<String>,
    },
    /// A Postgres.
    Postgres {
        /// The environment variable that holds its URL.
        url_env: String,
    },
    /// A Redis.
    Redis {
        /// As of Postgres.
        url_env: String,
    },
    /// A NATS.
    Nats {
        /// As of Postgres.
        url_env: String,
    },
}

/// What the guard says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// A fault acts.
    Begun {
        /// The fault.
        name: String,
        /// Since when, in nanoseconds of the machine's monotonic clock.
        at_ns: u64,
        /// What was done, in words.
        what: String,
    },
    /// A fault was not begun, or what was begun of it has been undone.
    Refused {
        /// The fault; empty when the line was not understood.
        name: String,
        /// Why.
        reason: String,
    },
    /// A fault has ended.
    Ended {
        /// The fault.
        name: String,
        /// Since when nothing of it acts, likewise.
        at_ns: u64,
        /// What ended it.
        why: Why,
        /// What was undone, in words.
        undone: Vec<String>,
        /// What could not be undone, and why; `squall chaos heal` tries again.
        failed: Vec<String>,
    },
}

/// What ended a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Somebody asked for it.
    Asked,
    /// Its lease ran out.
    Lease,
    /// The guard was left alone.
    Closed,
    /// What it held was taken from it: a connection broke, say.
    Lost,
}

impl Begin {
    /// Whether it may be begun.
    ///
    /// # Errors
    /// The first thing that is out of range.
    pub fn check(&self) -> Result<(), ActError> {
        let name = &self.fault.name;
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            return Err(ActError::refused(format!(
                "the fault's name must be 1 to {MAX_NAME_BYTES} printable bytes"
            )));
        }
        check_ttl(self.ttl_ms)?;
        if !(1..=MAX_TARGETS).contains(&self.targets.len()) {
            let n = self.targets.len();
            return Err(ActError::refused(format!("it acts on {n} places, and may on 1 to {MAX_TARGETS}")));
        }
        let none = |target: &&Target| matches!(target, Target::Process { process, .. } if process.pid <= 1);
        if let Some(Target::Process { process, .. }) = self.targets.iter().find(none) {
            return Err(ActError::refused(format!("process {} is none that faults act on", process.pid)));
        }
        Ok(())
    }
}

/// Whether a lease may last so long.
///
/// # Errors
/// When it may not.
pub fn check_ttl(ttl_ms: u64) -> Result<(), ActError> {
    match (1..=MAX_TTL_MS).contains(&ttl_ms) {
        true => Ok(()),
        false => Err(ActError::refused(format!("ttl of {ttl_ms} ms is outside 1..={MAX_TTL_MS}"))),
    }
}
