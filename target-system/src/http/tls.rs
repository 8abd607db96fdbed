//! TLS 1.2 and 1.3 around the API's connections, with certificate and key from files that can be read again.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, ensure};
use prometheus_client::metrics::counter::Counter;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::limits::{MAX_PEM_BYTES, TLS_HANDSHAKE_TIME, TLS_HANDSHAKES};

/// What connections are wrapped in.
#[derive(Debug)]
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
    handshakes: Semaphore,
    /// Connections that ended before they were any.
    pub failed: Counter,
}

impl Tls {
    /// With the certificate and the key in these files.
    ///
    /// # Errors
    /// When one cannot be read or holds nothing of the kind, or they do not belong together.
    pub fn load(cert: PathBuf, key: PathBuf) -> anyhow::Result<Self> {
        let config = RwLock::new(config(&cert, &key)?);
        Ok(Self { cert, key, config, handshakes: Semaphore::new(TLS_HANDSHAKES), failed: Counter::default() })
    }

    /// Reads both files again. Connections that there are go on with what they have.
    ///
    /// # Errors
    /// As with [`load`](Self::load). Then everything stays as it is.
    pub fn reload(&self) -> anyhow::Result<()> {
        let config = config(&self.cert, &self.key)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// What is said inside of `stream`, after the handshake; `None` when there is none in time.
    pub async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        let accepted = match self.handshakes.try_acquire() {
            Ok(_one) => {
                tokio::time::timeout(TLS_HANDSHAKE_TIME, TlsAcceptor::from(config).accept(stream)).await
            }
            Err(_) => {
                self.failed.inc();
                return None;
            }
        };
        match accepted {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS");
                self.failed.inc();
                None
            }
            Err(_) => {
                self.failed.inc();
                None
            }
        }
    }
}

fn config(cert: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = certificates(cert).with_context(|| format!("--tls-cert {}", cert.display()))?;
    let at_key = || format!("--tls-key {}", key.display());
    let private = PrivateKeyDer::from_pem_slice(&read(key).with_context(at_key)?);
    let private = private.ok().context("it holds no private key in PEM that is not encrypted");
    let private = private.with_context(at_key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| {
            format!("--tls-cert {} and --tls-key {} do not go together", cert.display(), key.display())
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificates in the file at `path`, in PEM.
///
/// # Errors
/// When it cannot be read or holds none.
pub fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    chain.context("it holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut pem = Zeroizing::new(Vec::new());
    std::fs::File::open(path)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut pem)?;
    ensure!(pem.len() as u64 <= MAX_PEM_BYTES, "it is longer than {MAX_PEM_BYTES} bytes");
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_files_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (one, other) = (made(), made());
        let cert = file("cert.pem", &one.cert.pem());
        let key = file("key.pem", &one.signing_key.serialize_pem());
        let stranger = file("other.pem", &other.signing_key.serialize_pem());
        let (empty, nowhere) = (file("empty.pem", ""), folder.path().join("nowhere.pem"));
        let tls = Tls::load(cert.clone(), key.clone()).unwrap();
        for (cert, key, why) in [
            (&nowhere, &key, "nowhere.pem: No such file"),
            (&cert, &nowhere, "nowhere.pem: No such file"),
            (&empty, &key, "no certificate in PEM"),
            (&key, &key, "no certificate in PEM"),
            (&cert, &empty, "no private key in PEM"),
            (&cert, &cert, "no private key in PEM"),
            (&cert, &stranger, "do not go together"),
        ] {
            let told = format!("{:#}", Tls::load(cert.clone(), key.clone()).unwrap_err());
            assert!(told.contains(why) && !told.contains("BEGIN PRIVATE"), "{told}");
        }
        std::fs::write(&key, "").unwrap();
        let before = Arc::clone(&tls.config.read().unwrap());
        assert!(tls.reload().is_err());
        assert!(Arc::ptr_eq(&before, &tls.config.read().unwrap()), "the old one stays");
        std::fs::write(&key, one.signing_key.serialize_pem()).unwrap();
        tls.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.config.read().unwrap()));
    }
}
