//! Load beside a process: processors kept busy, memory taken. Both are the guard's own, so that they are gone with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use squall_record::clock::Clock;

use super::error::ActError;
use super::running::Running;

/// How long one turn of work and rest takes, in nanoseconds.
const TURN_NS: u64 = 10_000_000;
/// The most processors that are kept busy.
const MAX_CORES: f64 = 256.0;
/// Memory is taken in pieces of so many bytes.
const PIECE_BYTES: u64 = 16 << 20;
/// What is left to the machine in any case, in MiB: without any memory the kernel would end a process, and perhaps not ours.
const RESERVE_MIB: u64 = 128;
/// How often memory that is held looks whether its time is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const PAGE_BYTES: usize = 4096;

/// Keeps `cores` processors busy; the last one a part of the time.
///
/// # Errors
/// When it is out of range, or there are no more threads.
pub fn cpu(cores: f64, running: &mut Running) -> Result<String, ActError> {
    if !(cores > 0.0 && cores <= MAX_CORES) {
        return Err(ActError::refused(format!("{cores} processors are outside 0 to {MAX_CORES}")));
    }
    let n = cores.ceil() as usize;
    running.threads(n, "burn", move |stop, i| burn((cores - i as f64).min(1.0), stop))?;
    Ok(format!("{cores} processors are kept busy by process {}", std::process::id()))
}

fn burn(share: f64, stop: &AtomicBool) {
    let clock = Clock::start();
    let work_ns = (TURN_NS as f64 * share) as u64;
    while !stop.load(Ordering::Relaxed) {
        let begun_ns = clock.now_ns();
        while clock.now_ns() - begun_ns < work_ns {
            std::hint::spin_loop();
        }
        clock.sleep_until(begun_ns + TURN_NS);
    }
}

/// Takes `mib` MiB of memory, evenly over `over_ms`.
///
/// # Errors
/// When the machine has not so much, or not a number of it.
pub fn memory(mib: u64, over_ms: u64, running: &mut Running) -> Result<String, ActError> {
    let free_mib = available_mib()?;
    if mib + RESERVE_MIB > free_mib {
        return Err(ActError::refused(format!(
            "{mib} MiB of memory and the {RESERVE_MIB} MiB that the machine keeps are more than the {free_mib} MiB that it has"
        )));
    }
    running.threads(1, "memory", move |stop, _| take(mib << 20, over_ms, stop))?;
    Ok(format!("process {} takes {mib} MiB", std::process::id()))
}

fn take(bytes: u64, over_ms: u64, stop: &AtomicBool) {
    let clock = Clock::start();
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let mut taken = 0;
    while taken < bytes && !stop.load(Ordering::Relaxed) {
        let n = PIECE_BYTES.min(bytes - taken);
        // As much of the time as of the memory.
        let due_ns = (over_ms as f64 * 1e6 * (taken as f64 / bytes as f64)) as u64;
        if clock.now_ns() < due_ns {
            thread::sleep(clock.until(due_ns).min(LOOK_EVERY));
            continue;
        }
        let mut piece = vec![0_u8; n as usize];
        // A page that nobody has written to takes no memory.
        piece.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
        pieces.push(piece);
        taken += n;
    }
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(LOOK_EVERY);
    }
}

/// How much memory the kernel thinks that can be had without swapping, in MiB.
fn available_mib() -> Result<u64, ActError> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(ActError::os("read /proc/meminfo"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.ok_or_else(|| ActError::refused("/proc/meminfo does not say what memory is available"))? >> 10)
}
