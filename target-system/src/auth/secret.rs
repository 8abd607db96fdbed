//! A string that no log shows and no timing tells.

use subtle::ConstantTimeEq as _;

/// A secret from the environment.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` to itself.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_compares_and_does_not_show() {
        let s = Secret::new("hunter2hunter2".to_owned());
        assert!(s.is(b"hunter2hunter2") && !s.is(b"hunter2hunter3") && !s.is(b"hunter2"));
        assert!(!format!("{s:?}").contains("hunter"));
    }
}
