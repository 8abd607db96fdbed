//! What can be set of who is let in; and the hash of a password.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use zeroize::Zeroizing;

use super::password::PasswordHash;
use crate::http::rates::Allowance;
use crate::http::tls::Tls;
use crate::limits::MAX_SECRET_BYTES;

/// Who is let in, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Security")]
pub struct SecurityArgs {
    /// The certificate that the API shows, with those that lead to its authority, in PEM; the API then speaks TLS alone.
    /// Read again on SIGHUP, and so is its key.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Wrong passwords of each user name, as in 10/h; further ones are answered 429 without a look.
    #[arg(long, value_name = "ALLOWANCE", default_value = "10/h")]
    pub wrong_passwords: Allowance,
}

impl SecurityArgs {
    /// What the API's connections are wrapped in, if anything.
    ///
    /// # Errors
    /// When certificate or key cannot be read, or do not belong together.
    pub fn tls(&self) -> anyhow::Result<Option<Tls>> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Tls::load(cert.clone(), key.clone()).map(Some),
            _ => Ok(None),
        }
    }
}

/// Reads a password, a line of standard input, and prints its hash.
///
/// # Errors
/// When there is none, or no randomness.
pub fn hash_password() -> anyhow::Result<()> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().take(MAX_SECRET_BYTES).read_to_string(&mut line).context("failed to read a password")?;
    let password = line.trim_end_matches(['\r', '\n']);
    ensure!(!password.is_empty(), "there is no password on standard input");
    ensure!(!password.contains('\n'), "a password is one line");
    println!("{}", PasswordHash::of(password.as_bytes())?);
    Ok(())
}
