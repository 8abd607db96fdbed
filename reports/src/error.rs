//! Why a report could not be made.

use std::io;
use std::path::PathBuf;

use squall_record::folder::FolderError;

/// Why a report could not be built or written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The run folder could not be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The manifest holds no plan that this version understands.
    #[error(
        "read the scenario in {}: {source}; rebuild the report with squall {written_by}, which wrote it",
        path.display()
    )]
    Plan {
        /// The manifest.
        path: PathBuf,
        /// The version that wrote it.
        written_by: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A chart could not be drawn.
    #[error("draw the chart `{chart}`: {problem}")]
    Chart {
        /// Which chart.
        chart: &'static str,
        /// What the drawing library said.
        problem: String,
    },
    /// A report could not be rendered.
    #[error("render {format}: {problem}")]
    Render {
        /// Which format.
        format: &'static str,
        /// What the library behind it said.
        problem: String,
    },
    /// A report file could not be written.
    #[error("write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}
