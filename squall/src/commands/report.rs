//! `squall report`.

use std::path::Path;

use anyhow::Context;
use squall_record::folder::RunFolder;
use squall_reports::report::build;
use squall_reports::text::render_text;
use squall_reports::write::write_all;

use super::Stop;
use crate::stdout::{print, remark, wants_colour};

/// Rebuilds every report of the run folder at `path` and prints the summary.
///
/// # Errors
/// When the folder is not a run, is broken, or the reports cannot be written.
pub fn report(path: &Path) -> Result<u8, Stop> {
    let run = RunFolder::open(path).context("open the run")?;
    let report = build(&run).context("rebuild the report")?;
    let written = write_all(&report, path).context("write the reports")?;
    print(&render_text(&report, wants_colour()))?;
    for file in written {
        remark(&format!("wrote {}", file.display()));
    }
    Ok(report.exit_code())
}
