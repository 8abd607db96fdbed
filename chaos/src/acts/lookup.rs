//! Databases are named by the environment variable that holds their URL, which may hold a password: the URL itself is
//! in no order, no journal, no message.

use super::error::ActError;

/// The longest name of a variable.
const MAX_ENV_BYTES: usize = 128;

/// Whether this is a plain name of an environment variable.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=MAX_ENV_BYTES).contains(&name.len()) && name.bytes().all(plain)
}

/// The URL in the environment variable `name`.
///
/// # Errors
/// When it is not set, or no text.
pub fn url(name: &str) -> Result<String, ActError> {
    if !is_name(name) {
        return Err(ActError::refused("the resource's url_env is no name of an environment variable"));
    }
    std::env::var(name).map_err(|_| {
        ActError::refused(format!("the environment variable {name}, which holds the URL, is not set"))
    })
}

/// What is said of a URL that cannot be read. What is wrong with it might quote a password.
#[must_use]
pub fn unreadable(name: &str, kind: &str) -> ActError {
    ActError::refused(format!("the environment variable {name} holds no URL of a {kind}"))
}
