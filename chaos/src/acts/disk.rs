//! The disk of a data folder, full or slow.
//!
//! The files that do it are removed as soon as they are open: the kernel gives their room back when they are closed, and
//! they are closed when the guard ends, whichever way it does.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

use super::error::ActError;
use super::running::Running;

/// How often room that has become free is taken, too.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What is taken at once: the kernel answers in time, and little is lost where it says no.
const STEP_BYTES: u64 = 256 << 20;
/// Less than this is not worth a change.
const SLACK_BYTES: u64 = 1 << 20;
/// What a writer writes between two syncs, and how large its file gets.
const BLOCK_BYTES: usize = 256 << 10;
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Fills the file system of `folder` until `left_mib` MiB are left, and keeps it so.
///
/// # Errors
/// When the folder is not there or there is less left already.
pub fn fill(folder: &Path, left_mib: u64, running: &mut Running) -> Result<String, ActError> {
    let file = nameless(folder)?;
    let left = left_mib << 20;
    let free = free_bytes(&file)?;
    if free <= left {
        return Err(ActError::refused(format!(
            "the disk of {} has {} MiB left, which is not more than left_mib = {left_mib}",
            folder.display(),
            free >> 20
        )));
    }
    let mut taken = 0;
    grow(&file, left, &mut taken).map_err(ActError::os("fill the disk"))?;
    let what = format!("the disk of {} has {} MiB left", folder.display(), free_bytes(&file)? >> 20);
    running.threads(1, "disk", move |stop, _| {
        let mut taken = taken;
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY);
            // A disk that is fuller than asked for is full all the same.
            let _ = grow(&file, left, &mut taken);
        }
    })?;
    Ok(what)
}

fn grow(file: &File, left: u64, taken: &mut u64) -> std::io::Result<()> {
    loop {
        let free = free_bytes(file).map_err(std::io::Error::other)?;
        if free <= left + SLACK_BYTES {
            return Ok(());
        }
        let mut step = (free - left).min(STEP_BYTES);
        // Some room goes to the file system itself: a step that does not fit is halved.
        while let Err(e) = fallocate(file, FallocateFlags::empty(), *taken, step) {
            step /= 2;
            if e != rustix::io::Errno::NOSPC {
                return Err(e.into());
            }
            if step < SLACK_BYTES {
                return Ok(());
            }
        }
        *taken += step;
    }
}

/// Has `writers` threads write and sync on the disk of `folder`.
///
/// # Errors
/// When the folder cannot be written to.
pub fn slow(folder: &Path, writers: u32, running: &mut Running) -> Result<String, ActError> {
    let files: Result<Vec<File>, ActError> = (0..writers).map(|_| nameless(folder)).collect();
    let files = files?;
    running.threads(files.len(), "disk", move |stop, i| {
        if let Some(file) = files.get(i) {
            write_and_sync(file, stop);
        }
    })?;
    Ok(format!("{writers} writers sync on the disk of {}", folder.display()))
}

fn write_and_sync(mut file: &File, stop: &AtomicBool) {
    let block = vec![0x5A_u8; BLOCK_BYTES];
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        let written = file.write_all(&block).and_then(|()| file.sync_data());
        at += BLOCK_BYTES as u64;
        if written.is_err() || at >= MAX_FILE_BYTES {
            // A full disk is slow, too: it is tried again, though not in a tight loop.
            if written.is_err() {
                thread::sleep(LOOK_EVERY);
            }
            at = 0;
            let _ = file.seek(SeekFrom::Start(0));
        }
    }
}

/// An open file on the disk of `folder` that has no name any more.
fn nameless(folder: &Path) -> Result<File, ActError> {
    let mut drawn = [0; 8];
    getrandom::fill(&mut drawn).map_err(|e| ActError::refused(format!("draw a file name: {e}")))?;
    let path = folder.join(format!(".squall-disk-{:016x}", u64::from_ne_bytes(drawn)));
    let what = || format!("write to {}", folder.display());
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let file = made.map_err(ActError::os(what()))?;
    std::fs::remove_file(&path).map_err(ActError::os(what()))?;
    Ok(file)
}

/// What this user can still write to the disk of `file`.
fn free_bytes(file: &File) -> Result<u64, ActError> {
    let disk = fstatvfs(file).map_err(ActError::call("ask for the free room of a disk"))?;
    // A part is kept for root on some file systems.
    let blocks = if rustix::process::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
    Ok(blocks * disk.f_frsize)
}
