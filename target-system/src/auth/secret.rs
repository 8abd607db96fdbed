//! A string that no log shows and no timing tells.

use std::io::Read as _;

use anyhow::{Context as _, bail, ensure};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::limits::MAX_SECRET_BYTES;

/// A secret from the environment. Its memory is wiped when nobody needs it any more.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps `text` to itself.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Whether `other` is the same, in a time that depends on the lengths alone.
    #[must_use]
    pub fn is(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }

    /// The secret's bytes, for hashing.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What the variable `name` holds, or the file that the variable `name` with `_FILE` behind it names, as Docker and
/// Kubernetes hand out secrets. A line break at the file's end is none of the secret's.
///
/// # Errors
/// When both are set, or the file cannot be read. What it holds is not told.
pub fn variable(name: &str, var: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<String>> {
    let file = format!("{name}_FILE");
    match (var(name), var(&file)) {
        (Some(_), Some(_)) => bail!("{name} and {file} are both set: leave one out"),
        (Some(text), None) => Ok(Some(text)),
        (None, Some(path)) => read(&path).with_context(|| format!("failed to read {file}, {path}")).map(Some),
        (None, None) => Ok(None),
    }
}

fn read(path: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= MAX_SECRET_BYTES, "it is longer than {MAX_SECRET_BYTES} bytes");
    let line_break = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).len());
    text.truncate(line_break.unwrap_or(text.len()));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_compares_and_does_not_show() {
        let s = Secret::new("hunter2hunter2".to_owned());
        assert!(s.is(b"hunter2hunter2") && !s.is(b"hunter2hunter3") && !s.is(b"hunter2"));
        assert!(!format!("{s:?}").contains("hunter"));
    }

    #[test]
    fn a_secret_lies_in_its_variable_or_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token").display().to_string();
        let from = |vars: &[(&str, &str)]| {
            variable("T", |name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(from(&[]).unwrap(), None);
        assert_eq!(from(&[("T", "a\n")]).unwrap().as_deref(), Some("a\n"));
        for (text, is) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), ("", "")]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(from(&[("T_FILE", &path)]).unwrap().as_deref(), Some(is), "{text:?}");
        }
        let fails = |vars: &[(&str, &str)], why: &str| {
            let told = format!("{:#}", from(vars).unwrap_err());
            assert!(told.contains(why) && !told.contains("hunter2"), "{told}");
        };
        fails(&[("T", "hunter2"), ("T_FILE", &path)], "T and T_FILE are both set");
        fails(&[("T_FILE", "/nowhere")], "failed to read T_FILE, /nowhere");
        std::fs::write(&path, b"hunter2\xff").unwrap();
        fails(&[("T_FILE", &path)], "UTF-8");
        std::fs::write(&path, "hunter2".repeat(10_000)).unwrap();
        fails(&[("T_FILE", &path)], "longer than");
    }
}
