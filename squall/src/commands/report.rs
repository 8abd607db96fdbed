//! `squall report`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use squall_record::folder::RunFolder;
use squall_reports::csv::{Lines, write_csv};
use squall_reports::exit;
use squall_reports::report::build;
use squall_reports::text::render_text;
use squall_reports::write::write_all;

use super::Stop;
use crate::cli::{By, ReportArgs};
use crate::stdout::{print, remark, wants_colour};

/// Rebuilds every report of a run folder and prints the summary, or writes its seconds as CSV.
///
/// # Errors
/// When the folder is not a run, is broken, or what was asked for cannot be written.
pub fn report(args: &ReportArgs) -> Result<u8, Stop> {
    let run = RunFolder::open(&args.run).context("open the run").map_err(Stop::asked)?;
    if let Some(file) = &args.csv {
        let lines = match args.by {
            By::Second => Lines::Seconds,
            By::Request => Lines::Requests,
        };
        csv(&run, lines, file)?;
        return Ok(exit::PASSED);
    }
    let report = build(&run).context("rebuild the report")?;
    let written = write_all(&report, &args.run).context("write the reports")?;
    print(&render_text(&report, wants_colour()))?;
    for file in written {
        remark(&format!("wrote {}", file.display()));
    }
    Ok(report.exit_code())
}

fn csv(run: &RunFolder, lines: Lines, file: &Path) -> Result<(), Stop> {
    if file == Path::new("-") {
        let mut out = BufWriter::new(UntilClosed(io::stdout().lock()));
        return Ok(write_csv(run, lines, &mut out).context("write the CSV")?);
    }
    let to = || format!("write the CSV to {}", file.display());
    let out = File::create(file).with_context(to).map_err(Stop::asked)?;
    write_csv(run, lines, BufWriter::new(out)).with_context(to)?;
    remark(&format!("wrote {}", file.display()));
    Ok(())
}

/// Standard output whose reader may go away (`| head`): the rest is then written to nobody.
struct UntilClosed<W>(W);

impl<W: Write> Write for UntilClosed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}
