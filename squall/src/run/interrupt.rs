//! Ctrl-C once ends the run and still writes every report; twice leaves at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use squall_reports::exit;

use crate::stdout::remark;
use crate::tui;

/// Asks for the end of the run: the first time by setting `stop`, the second time by leaving the
/// process, after the terminal was given back.
pub fn ask(stop: &AtomicBool) {
    if stop.swap(true, Ordering::Relaxed) {
        tui::restore();
        remark("left at once; `squall report` rebuilds the reports from the run folder");
        std::process::exit(i32::from(exit::INTERRUPTED));
    }
}

/// [`ask`]s on every SIGINT, SIGTERM and SIGHUP (the terminal was closed).
///
/// # Errors
/// When the handlers cannot be installed.
pub fn install(stop: Arc<AtomicBool>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            ask(&stop);
        }
    })?;
    Ok(())
}
