//! The user and the password, kept as an Argon2id hash.

use argon2::Argon2;
use subtle::ConstantTimeEq as _;

use super::secret::Secret;

const HASH_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// Why a password cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// No salt.
    #[error("get random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// Argon2 itself.
    #[error("hash a password: {0}")]
    Argon2(argon2::Error),
}

/// The user of `PAYMENTS_USER`. The hash is made at start and lives in memory alone.
#[derive(Clone)]
pub struct User {
    /// The user's name: the caller of their tokens.
    pub name: String,
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

impl User {
    /// A user with this password. Takes some ten milliseconds and 19 MiB, on purpose.
    ///
    /// # Errors
    /// When there is no randomness or no memory.
    pub fn new(name: String, password: &Secret) -> Result<Self, HashError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)?;
        Ok(Self { name, hash: hash(password.expose(), &salt)?, salt })
    }

    /// Whether this is the user with their password. Takes the same time for a wrong name as for
    /// a wrong password. Blocks.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn is(&self, name: &str, password: &str) -> Result<bool, HashError> {
        let same_hash = hash(password.as_bytes(), &self.salt)?.ct_eq(&self.hash);
        let same_name = self.name.as_bytes().ct_eq(name.as_bytes());
        Ok((same_hash & same_name).into())
    }
}

/// Argon2id with the crate's defaults, which are OWASP's: 19 MiB, 2 passes, 1 lane.
fn hash(password: &[u8], salt: &[u8]) -> Result<[u8; HASH_BYTES], HashError> {
    let mut out = [0; HASH_BYTES];
    Argon2::default().hash_password_into(password, salt, &mut out).map_err(HashError::Argon2)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_name_with_the_right_password_is_the_user() {
        let user = User::new("ann".to_owned(), &Secret::new("correct horse".to_owned())).unwrap();
        assert!(user.is("ann", "correct horse").unwrap());
        assert!(!user.is("ann", "correct horsf").unwrap());
        assert!(!user.is("bob", "correct horse").unwrap());
        assert!(!format!("{user:?}").contains("hash"));
    }
}
