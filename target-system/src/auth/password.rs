//! Passwords, kept as Argon2id hashes in the PHC string format.

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};

/// What a hash costs that is made here, as OWASP recommends: memory in KiB, passes over it, lanes.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The least that a hash made elsewhere may cost, memory times passes: what OWASP's cheapest choices come to.
const LEAST_COST_KIB: u32 = 35_840;
const LEAST_MEMORY_KIB: u32 = 7 * 1024;
/// The most: each log-in takes that much memory.
const MOST_MEMORY_KIB: u32 = 64 * 1024;
const MOST_PASSES: u32 = 10;
const MOST_LANES: u32 = 4;

/// Why there is no hash, or no answer from it.
#[derive(Debug, thiserror::Error)]
#[error("hash a password: {0}")]
pub struct HashError(argon2::password_hash::Error);

/// A text that is no [`PasswordHash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// No PHC string of Argon2id.
    #[error("write the Argon2id hash of a password, as `payments hash-password` prints it")]
    Form,
    /// Cheaper to try than OWASP allows, or dearer than a log-in may be.
    #[error("this hash costs too little or too much: make it with `payments hash-password`")]
    Cost,
}

/// What is kept of a password.
#[derive(Clone)]
pub struct PasswordHash(phc::PasswordHash);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl PasswordHash {
    /// The hash of `password`, with a salt of its own. Takes some ten milliseconds and 19 MiB, on purpose.
    ///
    /// # Errors
    /// When there is no randomness or no memory.
    pub fn of(password: &[u8]) -> Result<Self, HashError> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("these are in range");
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|_| HashError(argon2::password_hash::Error::RngFailure))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_with_salt(password, &salt).map(Self).map_err(HashError)
    }

    /// Reads `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
    ///
    /// # Errors
    /// [`BadHash`]
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        let hash = phc::PasswordHash::new(text).map_err(|_| BadHash::Form)?;
        let whole = hash.salt.is_some() && hash.hash.is_some_and(|output| output.len() >= 16);
        if !whole || hash.algorithm.as_str() != "argon2id" || hash.version != Some(Version::V0x13.into()) {
            return Err(BadHash::Form);
        }
        let params = Params::try_from(&hash).map_err(|_| BadHash::Form)?;
        let (memory, passes) = (params.m_cost(), params.t_cost());
        let dear = memory >= LEAST_MEMORY_KIB && memory.saturating_mul(passes) >= LEAST_COST_KIB;
        let cheap = memory <= MOST_MEMORY_KIB && passes <= MOST_PASSES && params.p_cost() <= MOST_LANES;
        if dear && cheap { Ok(Self(hash)) } else { Err(BadHash::Cost) }
    }

    /// Whether this is the hash of `password`. Blocks.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn is_of(&self, password: &[u8]) -> Result<bool, HashError> {
        match Argon2::default().verify_password(password, &self.0) {
            Ok(()) => Ok(true),
            Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(HashError(error)),
        }
    }
}

impl std::fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_one_password_and_reads_back() {
        let hash = PasswordHash::of(b"correct horse").unwrap();
        let text = hash.to_string();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let hash = PasswordHash::parse(&text).unwrap();
        assert!(hash.is_of(b"correct horse").unwrap());
        assert!(!hash.is_of(b"correct horsf").unwrap() && !hash.is_of(b"").unwrap());
        assert_ne!(PasswordHash::of(b"correct horse").unwrap().to_string(), text, "each has its own salt");
        assert!(!format!("{hash:?}").contains("argon2id"));
    }

    #[test]
    fn a_hash_that_is_none_or_of_another_cost_is_refused() {
        let good = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo";
        assert!(PasswordHash::parse(good).is_ok());
        for (from, to, why) in [
            ("argon2id", "argon2i", BadHash::Form),
            ("v=19$", "", BadHash::Form),
            ("v=19", "v=16", BadHash::Form),
            ("$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo", "", BadHash::Form),
            ("aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo", "aGFzaGhhc2g", BadHash::Form),
            ("$argon2id", "hunter2", BadHash::Form),
            ("m=19456", "m=8192", BadHash::Cost),
            ("t=2", "t=1", BadHash::Cost),
            ("m=19456", "m=4194304", BadHash::Cost),
            ("t=2", "t=1000", BadHash::Cost),
            ("p=1", "p=64", BadHash::Cost),
        ] {
            assert_eq!(PasswordHash::parse(&good.replace(from, to)).err(), Some(why), "{to}");
        }
    }
}
