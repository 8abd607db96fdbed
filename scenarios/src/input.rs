//! Files that a scenario names and that are read whole.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The bytes of the regular file at `path`, at most `most`; `None` when it is larger.
///
/// # Errors
/// When it cannot be read, or is no regular file.
pub(crate) fn read_at_most(path: &Path, most: usize) -> Result<Option<Vec<u8>>, String> {
    let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
    // Opening what is no regular file, a pipe for example, might wait for ever.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a file; name a CSV file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|f| f.take(most as u64 + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    Ok((bytes.len() <= most).then_some(bytes))
}

/// `bytes` without the mark that some programs begin a text with.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}
