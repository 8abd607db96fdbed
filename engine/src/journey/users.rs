//! The parent's end: starting the users' process, listening to it, stopping it.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use squall_record::clock::Clock;
use squall_record::journey::JourneyTick;
use squall_scenarios::plan::Plan;

use super::wire::{Job, Order, Said, hear, say};
use crate::endpoint::Endpoint;

/// How long the process may take to understand its job.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the end of the run is looked for.
const NAP: Duration = Duration::from_millis(50);
/// How long beyond the last time-out the process may take before it is killed.
const GRACE_S: f64 = 10.0;

/// What the users do, and to whom. It holds secrets, and so has no `Debug`.
#[derive(Clone, Copy)]
pub struct JourneyJob<'a> {
    /// The plan, with its journeys.
    pub plan: &'a Plan,
    /// Where the target listens.
    pub endpoint: &'a Endpoint,
    /// What the target is called.
    pub host: &'a str,
    /// What `${token}` becomes.
    pub token: &'a str,
    /// What `${username}` becomes.
    pub username: &'a str,
    /// What `${password}` becomes.
    pub password: &'a str,
}

/// Why the users could not go on.
#[derive(Debug, thiserror::Error)]
pub enum JourneyError {
    /// The process could not be started or spoken to.
    #[error("run the journeys: {0}")]
    Process(#[from] io::Error),
    /// It ended without being told to.
    #[error(
        "run the journeys: their process ended before its time; its last words are in the run folder's journeys.log"
    )]
    Gone,
    /// It did not end in time and was killed.
    #[error("run the journeys: their process did not end {GRACE_S} s after the last time-out and was killed")]
    Overdue,
    /// It said what is wrong.
    #[error("run the journeys: {0}")]
    Failed(String),
    /// A second could not be recorded.
    #[error("record the journeys: {0}")]
    Record(io::Error),
}

/// The process of the virtual users, ready to begin. It ends when this is dropped.
pub struct Users {
    child: Child,
    writer: UnixStream,
    reader: BufReader<UnixStream>,
    line: Vec<u8>,
    /// When the last journey ends.
    end_s: f64,
    timeout_s: f64,
}

impl Users {
    /// Starts `command`, which must do [`serve`](super::process::serve) with its standard input,
    /// and waits until it has understood `job`. What it prints goes into `log`.
    ///
    /// # Errors
    /// When it cannot be started or does not understand.
    pub fn start(mut command: Command, job: &JourneyJob<'_>, log: File) -> Result<Self, JourneyError> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(log)
            .env_clear()
            .process_group(0)
            .spawn()?;
        // With it goes our copy of their end, so that its closing shows.
        drop(command);
        ours.set_read_timeout(Some(READY_TIMEOUT))?;
        let plan = job.plan;
        let mut users = Self {
            child,
            reader: BufReader::new(ours.try_clone()?),
            writer: ours,
            line: Vec::new(),
            end_s: plan.journeys.iter().map(|j| j.end_s).fold(0.0, f64::max),
            timeout_s: plan.load.timeout_ms as f64 / 1e3,
        };
        let order = Order::Job(Box::new(Job {
            plan: plan.clone(),
            address: job.endpoint.into(),
            host: job.host.to_owned(),
            token: job.token.to_owned(),
            username: job.username.to_owned(),
            password: job.password.to_owned(),
        }));
        say(&mut users.writer, &order)?;
        match hear(&mut users.reader, &mut users.line)? {
            Some(Said::Ready) => {}
            Some(Said::Failed { reason }) => return Err(JourneyError::Failed(reason)),
            _ => return Err(JourneyError::Gone),
        }
        users.writer.set_read_timeout(Some(NAP))?;
        Ok(users)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets the users go by `clock`, giving every complete second to `on_tick` in order, until all
    /// of them have ended. When `stop` is set they send no more, and end with their last answers.
    ///
    /// # Errors
    /// When the process fails, or `on_tick` does; the users are ended then.
    pub fn run(
        mut self,
        clock: Clock,
        stop: &AtomicBool,
        mut on_tick: impl FnMut(&JourneyTick) -> io::Result<()>,
    ) -> Result<(), JourneyError> {
        say(&mut self.writer, &Order::Start { origin_monotonic_ns: clock.origin_monotonic_ns() })?;
        let mut over_s = self.end_s;
        let mut stopped = false;
        loop {
            if !stopped && stop.load(Ordering::Relaxed) {
                say(&mut self.writer, &Order::Stop)?;
                stopped = true;
                over_s = over_s.min(clock.now_s());
            }
            if clock.now_s() > over_s + self.timeout_s + GRACE_S {
                return Err(JourneyError::Overdue);
            }
            match hear(&mut self.reader, &mut self.line) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) => return Err(e.into()),
                Ok(Some(Said::Ready)) => {}
                Ok(Some(Said::Second { tick, ops })) => {
                    on_tick(&JourneyTick { ops, ..tick }).map_err(JourneyError::Record)?;
                }
                Ok(Some(Said::Ended)) => return Ok(()),
                Ok(Some(Said::Failed { reason })) => return Err(JourneyError::Failed(reason)),
                Ok(None) => return Err(JourneyError::Gone),
            }
        }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        // One that has ended by itself is only waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
