//! Where the database is, and whether it is spoken to over TLS.

use std::path::Path;

use anyhow::{Context as _, anyhow, ensure};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::http::tls::certificates;

/// The variable with the file of the authority that the database's certificate is from.
pub const CA_VAR: &str = "PAYMENTS_POSTGRES_CA";

/// Where the database is, and how it is spoken to.
#[derive(Clone)]
pub struct Database {
    /// Where it is. It holds a password.
    pub config: Config,
    /// Whom to trust, when it is spoken to over TLS.
    pub(super) tls: Option<MakeRustlsConnect>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration hides its password.
        f.debug_struct("Database").field("config", &self.config).field("tls", &self.tls.is_some()).finish()
    }
}

impl Database {
    /// Reads what `variable` has: a URL, or keys and values as libpq has them. With `sslmode=require` or `verify-full` it is spoken to over
    /// TLS, and its certificate has to be for its host and from an authority in the file `ca`: what is encrypted for
    /// just anybody is no secret.
    ///
    /// # Errors
    /// When that makes no sense. What the text holds is not told: a password is part of it.
    pub fn parse(variable: &str, text: &str, ca: Option<&Path>) -> anyhow::Result<Self> {
        // libpq knows a mode more than the driver.
        let text = text.replace("sslmode=verify-full", "sslmode=require");
        let config: Config = text.parse().map_err(|_| {
            anyhow!("{variable} makes no sense; write postgres://user:password@host:5432/name")
        })?;
        ensure!(
            !config.get_hosts().is_empty() || !config.get_hostaddrs().is_empty(),
            "{variable} names no host; write postgres://user:password@host:5432/name"
        );
        let tls = match (config.get_ssl_mode() == SslMode::Require, ca) {
            (true, Some(ca)) => {
                let trusting = trusting(ca).with_context(|| format!("{CA_VAR} {}", ca.display()))?;
                Some(MakeRustlsConnect::new(trusting))
            }
            (true, None) => {
                return Err(anyhow!(
                    "{variable} asks for TLS: name the file of the authority to trust as {CA_VAR}"
                ));
            }
            (false, ca) => {
                ensure!(
                    ca.is_none(),
                    "{CA_VAR} is set and {variable} asks for no TLS: add sslmode=verify-full"
                );
                None
            }
        };
        Ok(Self { config, tls })
    }
}

/// Trusts the authorities in the file `ca`, and nobody else.
fn trusting(ca: &Path) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(ca)?);
    ensure!(added > 0, "it holds no certificate that can be trusted");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_asked_for_by_the_url_and_needs_an_authority() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&ca, made.cert.pem()).unwrap();
        let tls = |url: &str, ca: Option<&Path>| {
            Database::parse("PAYMENTS_POSTGRES", url, ca).map(|d| d.tls.is_some())
        };
        assert!(!tls("postgres://u:p@h/n", None).unwrap());
        assert!(tls("postgres://u:p@h/n?sslmode=require", Some(&ca)).unwrap());
        assert!(tls("postgres://u:p@h/n?application_name=x&sslmode=verify-full", Some(&ca)).unwrap());
        assert!(tls("host=h user=u sslmode=verify-full", Some(&ca)).unwrap());
        let fails = |url: &str, ca: Option<&Path>, why: &str| {
            let told = format!("{:#}", tls(url, ca).unwrap_err());
            assert!(told.contains(why) && !told.contains("hunter2"), "{told}");
        };
        fails("postgres://u:hunter2@h/n?sslmode=require", None, "asks for TLS");
        fails("postgres://u:hunter2@h/n", Some(&ca), "asks for no TLS");
        fails("postgres://u:hunter2@h/n?sslmode=maybe", None, "makes no sense");
        fails("postgres://u:hunter2@h/n?sslmode=require", Some(Path::new("/nowhere")), "/nowhere");
        std::fs::write(&ca, "nothing").unwrap();
        fails("postgres://u:hunter2@h/n?sslmode=require", Some(&ca), "no certificate in PEM");
        let shown =
            format!("{:?}", Database::parse("PAYMENTS_POSTGRES", "postgres://u:hunter2@h/n", None).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
