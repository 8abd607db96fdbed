//! A process gets so much of the processors: it is stopped whenever it has used more, and goes on when time has made up for
//! it. This is what cpulimit does; it needs no rights over control groups, and it shows as short pauses of the whole
//! process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use squall_record::clock::Clock;

use super::error::ActError;
use super::process::gone;
use super::running::Running;
use super::undo::Undo;
use super::who::ProcessId;

/// How often it is looked at what the process has used.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How much it may have saved up while it was idle, in nanoseconds of each of its processors.
const MAX_CREDIT_NS: f64 = 50e6;

/// Lets the process use `cores` processors on average.
///
/// # Errors
/// When it is gone, or the journal cannot be written.
pub fn limit(process: &ProcessId, cores: f64, running: &mut Running) -> Result<String, ActError> {
    if !(cores > 0.0 && cores.is_finite()) {
        return Err(ActError::refused(format!("{cores} processors is none; pause it instead")));
    }
    if process.cpu_ns().is_none() || !process.lives() {
        return Err(gone(process));
    }
    let what = format!("process {} goes on", process.pid);
    running.promise(what, Undo::Continue { process: *process })?;
    // Tried once here, so that one that is not ours to signal is told.
    process.signal(Signal::CONT)?;
    let process = *process;
    running.threads(1, "throttle", move |stop, _| hold_back(&process, cores, stop))?;
    Ok(format!("process {} may use {cores} processors", process.pid))
}

fn hold_back(process: &ProcessId, cores: f64, stop: &AtomicBool) {
    let clock = Clock::start();
    let Some(mut used_ns) = process.cpu_ns() else { return };
    let (mut then_ns, mut credit_ns, mut stopped) = (clock.now_ns(), 0.0_f64, false);
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(LOOK_EVERY);
        let (now_ns, Some(uses_ns)) = (clock.now_ns(), process.cpu_ns()) else { return };
        credit_ns += (now_ns - then_ns) as f64 * cores - uses_ns.saturating_sub(used_ns) as f64;
        credit_ns = credit_ns.min(MAX_CREDIT_NS * cores);
        (then_ns, used_ns) = (now_ns, uses_ns);
        let owes = credit_ns < 0.0;
        if owes != stopped {
            stopped = owes;
            let signal = if owes { Signal::STOP } else { Signal::CONT };
            if !process.signal(signal).unwrap_or(false) {
                return;
            }
        }
    }
}
