//! Every report of a run as files.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use squall_record::folder::SUMMARY;

use crate::charts::{Dress, charts};
use crate::error::ReportError;
use crate::html::render_html;
use crate::journal::chaos_journal;
use crate::junit::render_junit;
use crate::markdown::render_markdown;
use crate::report::Report;

/// `report.html`
pub const HTML: &str = "report.html";
/// `report.md`
pub const MARKDOWN: &str = "report.md";
/// `junit.xml`
pub const JUNIT: &str = "junit.xml";
/// `chaos-journal.json`, of a run with faults
pub const JOURNAL: &str = "chaos-journal.json";
/// `charts/`
pub const CHARTS: &str = "charts";

/// Writes every report of `report` into `dir` and returns the files' paths, `report.html` first.
///
/// Each file is written beside its place and then moved there, so a reader sees the old report
/// or the new one, never half of one. Charts that the run does not have are removed, so that
/// rebuilding leaves none of another version's.
///
/// # Errors
/// When a chart cannot be drawn or a file cannot be written.
pub fn write_all(report: &Report, dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let mut summary = serde_json::to_string_pretty(&report.summary)
        .map_err(|e| ReportError::Render { format: SUMMARY, problem: e.to_string() })?;
    summary.push('\n');
    let mut written = Vec::new();
    let mut put = |path: PathBuf, text: &str| -> Result<(), ReportError> {
        replace(&path, text.as_bytes())
            .map_err(|source| ReportError::Write { path: path.clone(), source })?;
        written.push(path);
        Ok(())
    };
    put(dir.join(HTML), &render_html(report)?)?;
    put(dir.join(SUMMARY), &summary)?;
    put(dir.join(MARKDOWN), &render_markdown(report))?;
    put(dir.join(JUNIT), &render_junit(report)?)?;
    if let Some(journal) = chaos_journal(report) {
        put(dir.join(JOURNAL), &format!("{journal:#}\n"))?;
    }

    let folder = dir.join(CHARTS);
    fs::create_dir_all(&folder).map_err(|source| ReportError::Write { path: folder.clone(), source })?;
    let mut kept = Vec::new();
    for chart in charts(report) {
        let path = folder.join(format!("{}.svg", chart.slug));
        put(path.clone(), &chart.svg(Dress::Standalone)?)?;
        kept.push(path);
    }
    remove_others(&folder, &kept).map_err(|source| ReportError::Write { path: folder.clone(), source })?;
    Ok(written)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().map(ToOwned::to_owned).unwrap_or_default();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let result = fs::File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
        .and_then(|()| fs::rename(&beside, path));
    if result.is_err() {
        // What is left of the attempt must not be found by the next reader.
        let _ = fs::remove_file(&beside);
    }
    result
}

fn remove_others(folder: &Path, kept: &[PathBuf]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "svg") && !kept.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
