//! The way back, as it is written into the journal: small, without secrets, and harmless to go twice.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::container::Endpoint;
use super::error::ActError;
use super::who::ProcessId;
use super::{container, postgres, process, redis};

/// How long undoing one thing may take.
const UNDO_TIMEOUT: Duration = Duration::from_secs(15);

/// How one thing is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "snake_case", deny_unknown_fields)]
pub enum Undo {
    /// Lets a stopped process go on.
    Continue {
        /// Which.
        process: ProcessId,
    },
    /// Gives a process its file descriptors back.
    Descriptors {
        /// Which.
        process: ProcessId,
        /// The soft limit that it had; `None` is no limit.
        soft: Option<u64>,
    },
    /// Starts a container.
    Start {
        /// Its id.
        id: String,
        /// When it had been started: while it says so, it is the one that was told to end.
        #[serde(default)]
        since: Option<String>,
    },
    /// Lets a paused container go on.
    Unpause {
        /// Its id.
        id: String,
    },
    /// Puts a container back on a network.
    Connect {
        /// Its id.
        id: String,
        /// The network, by name.
        network: String,
        /// What it was called there.
        endpoint: Endpoint,
    },
    /// Gives a container its processors back.
    Cpu {
        /// Its id.
        id: String,
        /// Billionths of a processor that it may use; 0 where that is not set.
        nano_cpus: i64,
        /// Microseconds in each period, when they are set; 0 is no limit.
        quota_us: i64,
        /// How long a period is, in microseconds; 0 is the kernel's.
        period_us: i64,
    },
    /// Has a Postgres replica follow its primary again.
    ResumeReplay {
        /// The environment variable that holds its URL.
        url_env: String,
    },
    /// Gives a Redis the password that its URL names.
    Password {
        /// The environment variable that holds its URL.
        url_env: String,
        /// From it and the URL the password is computed that it has meanwhile.
        nonce: String,
    },
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undone {
    /// It was undone.
    Now,
    /// There was nothing to undo any more: it was undone before, or its place is gone.
    Before,
}

impl Undo {
    /// Goes the way back.
    ///
    /// # Errors
    /// When it cannot be gone now.
    pub async fn go(&self) -> Result<Undone, ActError> {
        let limit_s = UNDO_TIMEOUT.as_secs();
        let late = || ActError::Late { what: self.by_hand(), limit_s };
        tokio::time::timeout(UNDO_TIMEOUT, self.try_it()).await.map_err(|_| late())?
    }

    async fn try_it(&self) -> Result<Undone, ActError> {
        match self {
            Undo::Continue { process } => process::go_on(process),
            Undo::Descriptors { process, soft } => process::restore_descriptors(process, *soft),
            Undo::Start { id, since } => container::start(id, since.as_deref()).await,
            Undo::Unpause { id } => container::unpause(id).await,
            Undo::Connect { id, network, endpoint } => container::connect(id, network, endpoint).await,
            Undo::Cpu { id, nano_cpus, quota_us, period_us } => {
                container::restore_cpu(id, *nano_cpus, *quota_us, *period_us).await
            }
            Undo::ResumeReplay { url_env } => postgres::resume_replay(url_env).await,
            Undo::Password { url_env, nonce } => redis::restore_password(url_env, nonce).await,
        }
    }

    /// What a person can do when it cannot be undone by squall.
    #[must_use]
    pub fn by_hand(&self) -> String {
        match self {
            Undo::Continue { process } => format!("kill -CONT {}", process.pid),
            Undo::Descriptors { process, soft } => {
                let soft = soft.map_or("unlimited".to_owned(), |n| n.to_string());
                format!("prlimit --pid {} --nofile={soft}:", process.pid)
            }
            Undo::Start { id, .. } => format!("docker start {}", short(id)),
            Undo::Unpause { id } => format!("docker unpause {}", short(id)),
            Undo::Connect { id, network, .. } => format!("docker network connect {network} {}", short(id)),
            Undo::Cpu { id, .. } => format!("docker update --cpu-quota=-1 {}", short(id)),
            Undo::ResumeReplay { url_env } => {
                format!(
                    "set {url_env} to the replica's URL and heal again, or there: SELECT pg_wal_replay_resume()"
                )
            }
            Undo::Password { url_env, .. } => {
                format!("set {url_env} to its URL and heal again, or restart that Redis")
            }
        }
    }

    /// Whether it is one that squall writes: what a journal holds may be anybody's.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), ActError> {
        let is_id = |id: &str| (12..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
        let fine = match self {
            Undo::Continue { process } | Undo::Descriptors { process, .. } => process.pid > 1,
            Undo::Start { id, since } => is_id(id) && since.as_ref().is_none_or(|s| s.len() <= 64),
            Undo::Unpause { id } | Undo::Cpu { id, .. } => is_id(id),
            Undo::Connect { id, network, endpoint } => is_id(id) && endpoint.check() && is_plain(network),
            Undo::ResumeReplay { url_env } => super::lookup::is_name(url_env),
            Undo::Password { url_env, nonce } => super::lookup::is_name(url_env) && is_plain(nonce),
        };
        match fine {
            true => Ok(()),
            false => Err(ActError::refused("it names nothing that squall acts on")),
        }
    }
}

/// Names of networks and aliases, as Docker takes them, and what goes into its URLs.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=128).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
