//! Where the target listens, and whether it can be reached there.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use socket2::SockAddr;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::tls::{Tls, TlsError};

/// Where the target listens, and what is spoken below HTTP.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A TCP port behind TLS.
    Tls(SocketAddr, Tls),
    /// A socket in the file system of this machine.
    Unix(PathBuf),
}

/// Why the target cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// It does not accept connections, or not in time.
    #[error(transparent)]
    Connect(#[from] io::Error),
    /// It accepts them, and TLS on them fails: waiting for it does not help.
    #[error(transparent)]
    Tls(TlsError),
}

impl Endpoint {
    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self {
            Endpoint::Tls(..) => "https",
            Endpoint::Tcp(_) | Endpoint::Unix(_) => "http",
        }
    }

    /// Opens one connection within `limit`, TLS included, and closes it: nothing is asked.
    ///
    /// # Errors
    /// When that fails, and why.
    pub fn try_connect(&self, limit: Duration) -> Result<(), Unreachable> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match timeout(limit, self.connect()).await {
                Ok(result) => result,
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }

    async fn connect(&self) -> Result<(), Unreachable> {
        match self {
            Endpoint::Tcp(addr) => drop(TcpStream::connect(addr).await?),
            Endpoint::Tls(addr, tls) => {
                let stream = TcpStream::connect(addr).await?;
                tls.handshake(stream).await?;
            }
            Endpoint::Unix(path) => drop(UnixStream::connect(path).await?),
        }
        Ok(())
    }

    /// The address that the own transport connects to; it speaks no TLS.
    pub(crate) fn address(&self) -> io::Result<SockAddr> {
        match self {
            Endpoint::Tcp(addr) => Ok((*addr).into()),
            Endpoint::Unix(path) => SockAddr::unix(path),
            Endpoint::Tls(..) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the own transport speaks no TLS; load with the general one",
            )),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Endpoint::Tcp(addr)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(addr) => write!(f, "{addr}"),
            Endpoint::Tls(addr, _) => write!(f, "{addr} (TLS)"),
            Endpoint::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}
