//! TLS: whom to trust, and what to say when a target is not to be trusted.
//!
//! Certificates are always verified: against what this machine trusts (its own store, as `curl`
//! does, so that a company's root that is installed once holds here too) and against the file
//! that the scenario names. There is no switch to turn that off: a bearer token would go to
//! whoever answers, and a test certificate's authority is named in one line.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, Error, RootCertStore};
use squall_scenarios::plan::Http;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::endpoint::Unreachable;

/// A file of authorities larger than this many bytes is refused.
pub const MAX_CA_BYTES: u64 = 4 << 20;

/// How to speak TLS with one target.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    http: Http,
}

/// Why TLS with a target does not work.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities cannot be read.
    #[error("read target.ca_file {}: {cause}", path.display())]
    Unreadable {
        /// As the scenario names it.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is larger than any such file is.
    #[error("read target.ca_file {}: it is larger than {MAX_CA_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    /// It holds no certificate.
    #[error(
        "read target.ca_file {}: it holds no certificate in PEM (-----BEGIN CERTIFICATE-----) that can be trusted",
        .0.display()
    )]
    NoCertificate(PathBuf),
    /// Nobody is trusted.
    #[error(
        "find a certificate authority to trust: this machine has none; install its ca-certificates, or name the \
         target's own as target.ca_file"
    )]
    NobodyTrusted,
    /// The host cannot stand in a certificate.
    #[error("speak TLS with {0}: it is not a name that a certificate can hold")]
    Name(String),
    /// The target's certificate was looked at and not accepted.
    #[error("trust the certificate of {name}: {why}")]
    Untrusted {
        /// Whom the target claims to be.
        name: String,
        /// What is wrong, and the way out.
        why: String,
    },
    /// The handshake failed for another reason.
    #[error("speak TLS with {name}: {why}")]
    Handshake {
        /// The target.
        name: String,
        /// Why.
        why: String,
    },
    /// The target does not offer HTTP/2.
    #[error("speak HTTP/2 with {0}: it does not offer it (ALPN h2); write load.http = \"1.1\"")]
    NoHttp2(String),
}

impl Tls {
    /// TLS with the target called `host`, offering `http` (ALPN) and nothing else; authorities in
    /// `ca_file` are trusted besides this machine's.
    ///
    /// # Errors
    /// When the file cannot be used, or nobody would be trusted.
    pub fn new(host: &str, ca_file: Option<&Path>, http: Http) -> Result<Self, TlsError> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| TlsError::Name(host.to_owned()))?;
        let mut roots = RootCertStore::empty();
        // What of the machine's store cannot be read is not trusted, and no more.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            let (added, _) = roots.add_parsable_certificates(authorities(path)?);
            if added == 0 {
                return Err(TlsError::NoCertificate(path.to_owned()));
            }
        }
        if roots.is_empty() {
            return Err(TlsError::NobodyTrusted);
        }
        let mut config = trusting(roots);
        config.alpn_protocols = vec![match http {
            Http::V1 => b"http/1.1".to_vec(),
            Http::V2 => b"h2".to_vec(),
        }];
        Ok(Self { config: Arc::new(config), name, http })
    }

    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig::clone(&self.config)
    }

    /// Shakes hands over `stream`, and closes it.
    pub(crate) async fn handshake(&self, stream: TcpStream) -> Result<(), Unreachable> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let name = self.name.to_str().into_owned();
        let done = connector.connect(self.name.clone(), stream).await.map_err(|e| self.refusal(e))?;
        let agreed = done.get_ref().1.alpn_protocol();
        // A server without ALPN speaks HTTP/1.1.
        match (self.http, agreed) {
            (Http::V2, Some(b"h2")) | (Http::V1, _) => Ok(()),
            (Http::V2, _) => Err(Unreachable::Tls(TlsError::NoHttp2(name))),
        }
    }

    /// What a failed handshake means for whoever wrote the scenario.
    fn refusal(&self, e: io::Error) -> Unreachable {
        let name = self.name.to_str().into_owned();
        let Some(tls) = e.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Unreachable::Connect(e);
        };
        let untrusted = |why: &str| TlsError::Untrusted { name: name.clone(), why: why.to_owned() };
        Unreachable::Tls(match tls {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                untrusted("nobody trusted has issued it; name its authority as target.ca_file")
            }
            Error::InvalidCertificate(CertificateError::BadSignature) => untrusted(
                "it names an issuer that is trusted and has not signed it; name the right authority as target.ca_file",
            ),
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => untrusted("it is for another name; load the target by a name that it holds"),
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => untrusted("it has expired; renew it"),
            Error::InvalidCertificate(other) => untrusted(&other.to_string()),
            Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)
                if self.http == Http::V2 =>
            {
                TlsError::NoHttp2(name)
            }
            other => TlsError::Handshake { name, why: other.to_string() },
        })
    }
}

/// Holds no secret; the long lists behind it say nothing to a reader.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).field("http", &self.http).finish_non_exhaustive()
    }
}

/// For a client that never speaks TLS, and so trusts nobody.
pub(crate) fn unused() -> ClientConfig {
    trusting(RootCertStore::empty())
}

/// *ring* does the cryptography: the default, aws-lc-rs, needs a much larger C build.
fn trusting(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks every version of TLS that rustls calls safe")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |cause| TlsError::Unreadable { path: path.to_owned(), cause };
    let mut pem = Vec::new();
    File::open(path).and_then(|f| f.take(MAX_CA_BYTES + 1).read_to_end(&mut pem)).map_err(unreadable)?;
    if pem.len() as u64 > MAX_CA_BYTES {
        return Err(TlsError::TooLarge(path.to_owned()));
    }
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::NoCertificate(path.to_owned()))
}
