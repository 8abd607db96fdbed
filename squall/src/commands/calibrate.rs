//! `squall calibrate`.

use anyhow::Context;
use squall_record::manifest::Manifest;
use squall_reports::exit;

use super::Stop;
use crate::calibrate::ladder::Ladder;
use crate::calibrate::measure::{Settings, timers};
use crate::calibrate::responder::{self, Responder};
use crate::calibrate::result::{Calibration, Fingerprint, SCHEMA};
use crate::calibrate::{saved, show};
use crate::cli::CalibrateArgs;
use crate::stdout::{print, remark};
use crate::text::Charset;

/// Measures this machine, prints what was found and keeps it for later runs.
///
/// # Errors
/// When the load cannot be carried at all, or standard output cannot be written.
pub fn calibrate(args: &CalibrateArgs) -> Result<u8, Stop> {
    remark(
        "measuring the timers, a closed loop and one rate after the other, against a built-in responder …",
    );
    let timers = timers();
    let responder = Responder::start()?;
    let settings = Settings {
        addr: responder.addr,
        workers: args.workers,
        connections: args.connections,
        seconds: args.seconds,
    };
    let closed_loop = settings.closed_loop()?;
    remark(&format!("  closed loop: {:.0}/s at most", closed_loop.max_rps));
    let mut ladder = Ladder::new(args.rates.as_ref().map(|r| r.iter().map(|r| r.0).collect()));
    while let Some(rate_rps) = ladder.next_rps() {
        let step = settings.open_loop(rate_rps)?;
        remark(&Charset::of_environment().show(&show::line(&step)));
        ladder.add(step);
    }
    let found = Calibration {
        schema: SCHEMA,
        at: Manifest::stamp(),
        fingerprint: Fingerprint::this(),
        workers: args.workers,
        connections: args.connections,
        seconds: args.seconds,
        limit_rps: ladder.kept_rps(),
        at_least: ladder.failed_rps().is_none(),
        steps: ladder.into_steps(),
        closed_loop: Some(closed_loop),
        timers,
    };
    if args.json {
        let text = serde_json::to_string_pretty(&found).context("write the calibration down")?;
        print(&(text + "\n"))?;
    } else {
        print(&Charset::of_environment().show(&show::text(&found)))?;
    }
    keep(&found);
    Ok(exit::PASSED)
}

/// The result was told: that it cannot be kept is no reason to fail.
fn keep(found: &Calibration) {
    let Some(path) = saved::place() else {
        remark("not kept: neither XDG_STATE_HOME nor HOME says where");
        return;
    };
    match saved::save(&path, found) {
        Ok(()) => {
            remark(&format!("kept in {}: runs that peak higher say so before they start", path.display()));
        }
        Err(e) => remark(&format!("not kept: {e:#}")),
    }
}

/// The process that answers.
///
/// # Errors
/// When no port can be listened on.
pub fn respond() -> Result<u8, Stop> {
    responder::serve()?;
    Ok(exit::PASSED)
}
