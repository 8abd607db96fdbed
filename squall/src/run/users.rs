//! The journeys' virtual users as a child of the run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use squall_engine::journey::users::{JourneyError, JourneyJob, Users};
use squall_record::clock::Clock;

use super::stream::Stream;

/// What the users' process prints, which is nothing unless it fails.
const LOG: &str = "journeys.log";

/// Users that are ready to begin.
pub struct Crowd {
    users: Users,
    log: PathBuf,
}

impl Crowd {
    /// Starts squall's own file once more, as the users of `job`; `run` is the run folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(job: &JourneyJob<'_>, run: &Path) -> anyhow::Result<Self> {
        let path = run.join(LOG);
        let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let mut command = Command::new(std::env::current_exe().context("find squall's own file")?);
        command.arg("journey-users");
        Ok(Self { users: Users::start(command, job, log)?, log: path })
    }

    /// Lets them go by `clock` until the last has ended, and ends the whole run by `stop` when they
    /// cannot go on. Gives the end of the last second in which one of them sent something, or in which they
    /// were stopped.
    pub fn walk(self, clock: Clock, stream: &Stream, stop: &AtomicBool) -> (f64, Result<(), JourneyError>) {
        let mut end_s = 0.0;
        let mut stopped = false;
        let walked = self.users.run(clock, stop, |tick| {
            let just_stopped = !stopped && stop.load(Ordering::Relaxed);
            stopped |= just_stopped;
            if just_stopped || tick.journeys.iter().flat_map(|j| &j.steps).any(|s| s.counts.sent > 0) {
                end_s = f64::from(tick.second) + 1.0;
            }
            stream.journeys(tick)
        });
        if walked.is_err() {
            stop.store(true, Ordering::Relaxed);
        } else if fs::metadata(&self.log).is_ok_and(|m| m.len() == 0) {
            let _ = fs::remove_file(&self.log);
        }
        (end_s, walked)
    }
}
