//! Where a scenario's text comes from: a file, or what is shipped.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::ScenarioError;
use crate::library;

/// The largest scenario file, in bytes.
pub const MAX_SOURCE_BYTES: usize = 1 << 20;

/// A scenario's text and what to call it in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path as given, or the shipped file's name.
    pub name: String,
    /// TOML.
    pub text: String,
}

impl Source {
    /// Where the files lie that the scenario names by relative paths: the folder of its own, the
    /// current one when it is not a file.
    #[must_use]
    pub fn folder(&self) -> &Path {
        Path::new(&self.name).parent().unwrap_or(Path::new(""))
    }
}

/// The scenario called `name_or_path`: a file when one is there, else a shipped one.
///
/// # Errors
/// When there is neither, or the file cannot be read, is larger than [`MAX_SOURCE_BYTES`], or is
/// not UTF-8.
pub fn resolve(name_or_path: &str) -> Result<Source, ScenarioError> {
    let path = Path::new(name_or_path);
    let shipped = library::find(name_or_path);
    // A folder that happens to be called like a shipped scenario is not meant.
    if path.is_file() || (path.exists() && shipped.is_none()) {
        return read(name_or_path);
    }
    match shipped {
        Some(s) => Ok(s.source()),
        None => Err(ScenarioError::Unknown {
            name: name_or_path.to_owned(),
            shipped: library::SHIPPED.iter().map(|s| s.name).collect(),
        }),
    }
}

fn read(path: &str) -> Result<Source, ScenarioError> {
    let unreadable = |cause| ScenarioError::Unreadable { path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    // One byte more than allowed shows that there is more, however large the file is.
    File::open(path)
        .and_then(|f| f.take(MAX_SOURCE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() > MAX_SOURCE_BYTES {
        return Err(ScenarioError::TooLarge { path: path.to_owned(), limit: MAX_SOURCE_BYTES });
    }
    let text = String::from_utf8(bytes)
        .map_err(|e| ScenarioError::NotText { path: path.to_owned(), at: e.utf8_error().valid_up_to() })?;
    Ok(Source { name: path.to_owned(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shipped_name_is_found_and_a_near_one_offered() {
        assert_eq!(resolve("quickstart").unwrap().name, "quickstart.toml");
        let message = resolve("quikstart").unwrap_err().to_string();
        assert!(message.contains("did you mean `quickstart`?"), "{message}");
        assert!(message.contains("steady-10k"), "{message}");
    }

    #[test]
    fn a_file_that_is_no_text_too_large_or_a_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("a"), b"name = \xff").unwrap();
        assert!(matches!(resolve(&path("a")), Err(ScenarioError::NotText { at: 7, .. })));
        std::fs::write(path("b"), vec![b'#'; MAX_SOURCE_BYTES + 1]).unwrap();
        assert!(matches!(resolve(&path("b")), Err(ScenarioError::TooLarge { .. })));
        std::fs::write(path("c"), vec![b'#'; MAX_SOURCE_BYTES]).unwrap();
        assert!(resolve(&path("c")).is_ok());
        assert!(matches!(resolve(&path(".")), Err(ScenarioError::Unreadable { .. })));
        assert!(matches!(resolve(&path("none")), Err(ScenarioError::Unknown { .. })));
    }
}
