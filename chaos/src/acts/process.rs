//! What is done to a process itself: signals and limits.

use rustix::process::{Resource, Rlimit, Signal, prlimit};

use super::error::ActError;
use super::running::Running;
use super::undo::{Undo, Undone};
use super::who::ProcessId;

/// Sends it `signal`, which ends it. There is no way back: whoever has started it starts it again.
///
/// # Errors
/// When it is gone, or not ours to signal.
pub fn finish(process: &ProcessId, signal: Signal) -> Result<String, ActError> {
    match process.signal(signal)? {
        true if signal == Signal::KILL => Ok(format!("killed process {}", process.pid)),
        true => Ok(format!("asked process {} to end", process.pid)),
        false => Err(gone(process)),
    }
}

/// Stops it where it stands.
///
/// # Errors
/// As [`finish`], and when the journal cannot be written.
pub fn pause(process: &ProcessId, running: &mut Running) -> Result<String, ActError> {
    let what = format!("process {} goes on", process.pid);
    running.promise(what, Undo::Continue { process: *process })?;
    match process.signal(Signal::STOP)? {
        true => Ok(format!("stopped process {}", process.pid)),
        false => Err(gone(process)),
    }
}

/// Lets it go on.
///
/// # Errors
/// When it may not be signalled.
pub fn go_on(process: &ProcessId) -> Result<Undone, ActError> {
    // One that was not stopped takes the signal for nothing.
    let stopped = process.is_stopped();
    let there = process.signal(Signal::CONT)?;
    Ok(if stopped && there { Undone::Now } else { Undone::Before })
}

/// Lets it open `left` more file descriptors than it has. What it has open stays open.
///
/// # Errors
/// As [`pause`].
pub fn limit_descriptors(process: &ProcessId, left: u32, running: &mut Running) -> Result<String, ActError> {
    let pid = process.pid;
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .map_err(ActError::os(format!("count the file descriptors of process {pid}")))?;
    // The kernel compares the number of a new descriptor, not how many there are.
    let highest = open.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u64>().ok()).max();
    let soft = highest.map_or(0, |n| n + 1) + u64::from(left);
    let had = limits(process)?;
    if had.current.is_some_and(|had| had <= soft) {
        return Err(ActError::refused(format!(
            "process {pid} may have {} file descriptors as it is: left = {left} would take nothing from it",
            had.current.unwrap_or_default()
        )));
    }
    let what = format!("process {pid} may open as many files as before");
    running.promise(what, Undo::Descriptors { process: *process, soft: had.current })?;
    set(process, Rlimit { current: Some(soft), maximum: had.maximum })?;
    Ok(format!("process {pid} can have {soft} file descriptors, numbered from 0"))
}

/// Gives it back the limit that it had.
///
/// # Errors
/// When its limits may not be changed.
pub fn restore_descriptors(process: &ProcessId, soft: Option<u64>) -> Result<Undone, ActError> {
    if !process.lives() {
        return Ok(Undone::Before);
    }
    let has = limits(process)?;
    if has.current == soft {
        return Ok(Undone::Before);
    }
    set(process, Rlimit { current: soft, maximum: has.maximum })?;
    Ok(Undone::Now)
}

fn limits(process: &ProcessId) -> Result<Rlimit, ActError> {
    if !process.lives() {
        return Err(gone(process));
    }
    // The kernel reads and sets in one call; this library has no call that reads another's alone.
    let text = std::fs::read_to_string(format!("/proc/{}/limits", process.pid))
        .map_err(ActError::os(format!("read the limits of process {}", process.pid)))?;
    let line = text.lines().find_map(|l| l.strip_prefix("Max open files"));
    let mut numbers = line.unwrap_or_default().split_whitespace().map(|n| n.parse::<u64>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(current), Some(maximum)) => Ok(Rlimit { current, maximum }),
        _ => Err(ActError::refused(format!("the limits of process {} make no sense", process.pid))),
    }
}

fn set(process: &ProcessId, limit: Rlimit) -> Result<(), ActError> {
    let what = format!("set the limits of process {}", process.pid);
    prlimit(Some(process.raw()?), Resource::Nofile, limit).map(drop).map_err(ActError::call(what))
}

/// What is said of a process that is no more.
#[must_use]
pub fn gone(process: &ProcessId) -> ActError {
    ActError::refused(format!("process {} is gone", process.pid))
}
