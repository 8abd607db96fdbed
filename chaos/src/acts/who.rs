//! A process that is not taken for another.
//!
//! The kernel gives a process id to somebody else once its process is gone. A process is known here by its id, the
//! instant at which it started and the boot in which it did (proc(5), field 22 of `/proc/<pid>/stat`); signals go
//! through a file descriptor of the process (`pidfd_open(2)`), so that no other can slip in between the look and the
//! signal.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::error::ActError;

/// A process of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessId {
    /// Its id.
    pub pid: i32,
    /// When it started, in clock ticks since the boot.
    pub start: u64,
    /// In which boot: a hash of the kernel's `boot_id`.
    pub boot: u64,
}

impl ProcessId {
    /// The process that has this id now; `None` when there is none, or only what is left of one.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let (state, start) = stat(pid)?;
        (!matches!(state, 'Z' | 'X')).then(|| Self { pid, start, boot: boot() })
    }

    /// This process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn this() -> Result<Self, ActError> {
        Self::of(rustix::process::getpid().as_raw_pid())
            .ok_or_else(|| ActError::refused("/proc cannot be read: faults on processes need it"))
    }

    /// Whether it still runs.
    #[must_use]
    pub fn lives(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Sends it a signal. Gives whether it was still there to get it.
    ///
    /// # Errors
    /// When it may not be signalled.
    pub fn signal(&self, signal: Signal) -> Result<bool, ActError> {
        let what = || format!("signal process {}", self.pid);
        let is_this = self.pid == rustix::process::getpid().as_raw_pid() && self.lives();
        if self.pid <= 1 || is_this {
            return Err(ActError::refused(format!("process {} is none to be signalled", self.pid)));
        }
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(false) };
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            Err(e) => return Err(ActError::call(what())(e)),
        };
        // From here on the descriptor means whoever has the id now.
        if !self.lives() {
            return Ok(false);
        }
        match pidfd_send_signal(&process, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(e) => Err(ActError::call(what())(e)),
        }
    }

    /// Whether it is stopped by a signal.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        stat(self.pid).is_some_and(|(state, start)| state == 'T' && start == self.start)
    }

    /// Its id as the kernel's calls take it.
    pub(super) fn raw(&self) -> Result<Pid, ActError> {
        Pid::from_raw(self.pid).ok_or_else(|| ActError::refused(format!("{} is no process id", self.pid)))
    }

    /// The processor time that its threads have used, in nanoseconds; `None` once it is gone.
    pub(super) fn cpu_ns(&self) -> Option<u64> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid)).ok()?;
        let of = |thread: std::fs::DirEntry| -> Option<u64> {
            // A thread that has just ended is not missed.
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        Some(threads.flatten().filter_map(of).sum())
    }
}

/// The state and the start of the process.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything, also brackets and spaces.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    // The state is the third field, the start the twenty-second.
    Some((state, fields.nth(18)?.parse().ok()?))
}

fn boot() -> u64 {
    xxh3_64(std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_known_until_it_is_gone_and_its_id_alone_is_not_enough() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let who = ProcessId::of(child.id() as i32).unwrap();
        assert!(who.lives());
        let other = ProcessId { start: who.start + 1, ..who };
        assert!(!other.lives());
        assert!(!other.signal(Signal::KILL).unwrap(), "somebody else has this id");
        assert!(child.try_wait().unwrap().is_none());
        assert!(!ProcessId { boot: who.boot + 1, ..who }.signal(Signal::KILL).unwrap());
        assert!(who.signal(Signal::KILL).unwrap());
        child.wait().unwrap();
        assert!(!who.lives() && !who.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn neither_the_first_process_nor_this_one_is_signalled() {
        let this = ProcessId::this().unwrap();
        assert!(this.lives() && this.signal(Signal::CONT).is_err());
        assert!(ProcessId { pid: 1, ..this }.signal(Signal::CONT).is_err());
        assert!(ProcessId { pid: -1, ..this }.signal(Signal::CONT).is_err());
    }
}
