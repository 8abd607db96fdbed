//! Where a proxy listens and what it passes connections on to: TCP, or a Unix socket.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream, lookup_host};

/// How a Unix socket's address begins.
const UNIX: &str = "unix:";
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;
/// After so long without a word from the other side it is asked for one.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// An address as it is typed: `host:port`, `:port` or `unix:/path`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address<'a> {
    Tcp { host: &'a str, port: u16 },
    Unix(&'a Path),
}

impl<'a> Address<'a> {
    fn parse(typed: &'a str) -> Result<Self, &'static str> {
        if let Some(path) = typed.strip_prefix(UNIX) {
            return if path.is_empty() {
                Err("missing path in address")
            } else if path.contains('\0') {
                Err("a path holds no zero byte")
            } else {
                Ok(Address::Unix(Path::new(path)))
            };
        }
        let (host, port) = typed.rsplit_once(':').ok_or("missing port in address")?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_none() && host.contains(':') {
            return Err("too many colons in address");
        }
        let port = port.parse().map_err(|_| "invalid port")?;
        Ok(Address::Tcp { host: bracketed.unwrap_or(host), port })
    }
}

/// Whether `typed` can be an address at all.
///
/// # Errors
/// What is wrong with it.
pub fn check(typed: &str) -> Result<(), String> {
    Address::parse(typed).map(|_| ()).map_err(|why| format!("address {typed}: {why}"))
}

/// Why nothing listens at an address, as Go words it: clients look for that.
#[derive(Debug)]
pub struct ListenError {
    at: String,
    why: String,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, why } = self;
        write!(f, "listen {at}: {why}")
    }
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// At an address of this machine.
    Tcp(TcpListener),
    /// In a file, which goes with it.
    Unix(UnixListener, PathBuf),
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    /// Listens at `typed`; with nothing typed at a free port of this machine's loopback. Gives also how that address is shown: resolved.
    ///
    /// # Errors
    /// When it makes no sense, or nobody may listen there.
    pub async fn bind(typed: &str) -> Result<(Self, String), ListenError> {
        let typed = if typed.is_empty() { "127.0.0.1:0" } else { typed };
        let address = Address::parse(typed)
            .map_err(|why| ListenError { at: "tcp".to_owned(), why: format!("address {typed}: {why}") })?;
        match address {
            Address::Unix(path) => {
                let failed =
                    |e: io::Error| ListenError { at: typed.to_owned(), why: format!("bind: {}", told(&e)) };
                let listener = bind_unix(path).map_err(failed)?;
                Ok((Listener::Unix(listener, path.to_owned()), typed.to_owned()))
            }
            Address::Tcp { host, port } => {
                let at = own(host, port).await.map_err(|why| ListenError { at: "tcp".to_owned(), why })?;
                let failed = |e: io::Error| ListenError {
                    at: format!("tcp {at}"),
                    why: format!("bind: {}", told(&e)),
                };
                let listener = bind_tcp(at).map_err(failed)?;
                let shown = listener.local_addr().map_err(failed)?.to_string();
                Ok((Listener::Tcp(listener), shown))
            }
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// When there are no file descriptors left, or the client has gone already.
    pub async fn accept(&self) -> io::Result<Raw> {
        Ok(match self {
            Listener::Tcp(listener) => Raw::Tcp(listener.accept().await?.0.into_std()?),
            Listener::Unix(listener, _) => Raw::Unix(listener.accept().await?.0.into_std()?),
        })
    }
}

/// How the address `typed` is shown once somebody listens there; `None` when that is no address.
pub async fn resolved(typed: &str) -> Option<String> {
    match Address::parse(typed).ok()? {
        Address::Unix(_) => Some(typed.to_owned()),
        Address::Tcp { host, port } => Some(own(host, port).await.ok()?.to_string()),
    }
}

/// The address to listen at; without a host every one of this machine, as Go has it.
async fn own(host: &str, port: u16) -> Result<SocketAddr, String> {
    match host {
        "" => Ok(SocketAddr::from(([0_u16; 8], port))),
        _ => resolve(host, port).await,
    }
}

/// The first of a host's addresses, one of IPv4 before others.
async fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = lookup_host((host, port)).await.map_err(|_| format!("lookup {host}: no such host"))?;
    let found: Vec<_> = found.collect();
    let first = found.iter().find(|a| a.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("lookup {host}: no such host"))
}

fn bind_tcp(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// A file that nobody listens at any more is replaced.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            match std::os::unix::net::UnixStream::connect(path) {
                Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                    UnixListener::bind(path)
                }
                _ => Err(e),
            }
        }
        bound => bound,
    }
}

/// An error of the system in its own words, without the number.
fn told(e: &io::Error) -> String {
    let text = e.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// A connection that belongs to no runtime.
#[derive(Debug)]
pub enum Raw {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Over a Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Raw {
    /// The client's address, but for a Unix socket.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        match self {
            Raw::Tcp(stream) => Some(stream.peer_addr().ok()?.ip()),
            Raw::Unix(_) => None,
        }
    }

    /// The same in this runtime.
    ///
    /// # Errors
    /// When the runtime cannot take it.
    pub fn open(self) -> io::Result<Socket> {
        match self {
            Raw::Tcp(stream) => Socket::tcp(TcpStream::from_std(stream)?),
            Raw::Unix(stream) => Ok(Socket::Unix(UnixStream::from_std(stream)?)),
        }
    }
}

/// Whether somebody is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// As far as is known.
    There,
    /// It sends no more, and may still read.
    Mute,
    /// It has broken off.
    Gone,
}

/// A connection.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// The same for both kinds of stream.
macro_rules! either {
    ($self:expr, $stream:ident => $what:expr) => {
        match $self {
            Socket::Tcp($stream) => $what,
            Socket::Unix($stream) => $what,
        }
    };
}

impl Socket {
    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        SockRef::from(&stream)
            .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
        Ok(Socket::Tcp(stream))
    }

    /// Connects to `typed`.
    ///
    /// # Errors
    /// When nobody is there.
    pub async fn connect(typed: &str) -> io::Result<Self> {
        let address =
            Address::parse(typed).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        match address {
            Address::Tcp { host: "", port } => Self::tcp(TcpStream::connect(("localhost", port)).await?),
            Address::Tcp { host, port } => Self::tcp(TcpStream::connect((host, port)).await?),
            Address::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Whether there may be something to read.
    ///
    /// # Errors
    /// When the runtime is gone.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read_ready(cx))
    }

    /// Whether something may be written.
    ///
    /// # Errors
    /// When the runtime is gone.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_write_ready(cx))
    }

    /// Reads what there is.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; what has become of the connection.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => stream.try_read(into))
    }

    /// Writes what it takes.
    ///
    /// # Errors
    /// `WouldBlock` when that is nothing; what has become of the connection.
    pub fn try_write(&self, from: &[u8]) -> io::Result<usize> {
        either!(self, stream => stream.try_write(from))
    }

    /// What is known of the other end, whatever there is to be read.
    #[must_use]
    pub fn presence(&self) -> Presence {
        let asked = PollFlags::RDHUP;
        let polled = either!(self, stream => {
            let mut fds = [PollFd::new(stream, asked)];
            // It waits for nothing.
            poll(&mut fds, Some(&Timespec::default())).map(|_| fds[0].revents())
        });
        match polled {
            Ok(seen) if seen.intersects(PollFlags::HUP | PollFlags::ERR) => Presence::Gone,
            Ok(seen) if seen.contains(PollFlags::RDHUP) => Presence::Mute,
            _ => Presence::There,
        }
    }

    /// Says that no more will be written.
    pub fn finish(&self) {
        // One that is over already is finished too.
        let _ = match self {
            Socket::Tcp(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
            Socket::Unix(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
        };
    }

    /// Has the connection be reset when it is closed, and what is on its way be lost.
    pub fn reset_on_close(&self) {
        if let Socket::Tcp(stream) = self {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_go_reads_them() {
        let tcp = |host, port| Ok(Address::Tcp { host, port });
        assert_eq!(Address::parse("localhost:1"), tcp("localhost", 1));
        assert_eq!(Address::parse(":6379"), tcp("", 6379));
        assert_eq!(Address::parse("[::1]:5"), tcp("::1", 5));
        assert_eq!(Address::parse("unix:/tmp/a"), Ok(Address::Unix(Path::new("/tmp/a"))));
        for (typed, why) in [
            ("localhost", "missing port in address"),
            ("::1:5", "too many colons in address"),
            ("localhost:http", "invalid port"),
            ("localhost:65536", "invalid port"),
            ("unix:", "missing path in address"),
            ("unix:/tmp/x\0y", "a path holds no zero byte"),
        ] {
            assert_eq!(Address::parse(typed), Err(why), "{typed}");
            assert!(check(typed).unwrap_err().contains(typed));
        }
    }

    #[tokio::test]
    async fn what_is_in_use_is_told_in_gos_words() {
        let (_held, shown) = Listener::bind("localhost:0").await.unwrap();
        assert!(shown.starts_with("127.0.0.1:"), "{shown}");
        let error = Listener::bind(&shown).await.unwrap_err().to_string();
        assert_eq!(error, format!("listen tcp {shown}: bind: address already in use"));
        let error = Listener::bind("no such host:1").await.unwrap_err().to_string();
        assert_eq!(error, "listen tcp: lookup no such host: no such host");
    }

    #[tokio::test]
    async fn a_socket_file_that_nobody_listens_at_is_replaced_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.sock");
        let typed = format!("unix:{}", path.display());
        let (held, shown) = Listener::bind(&typed).await.unwrap();
        assert_eq!(shown, typed);
        assert!(
            Listener::bind(&typed).await.unwrap_err().to_string().ends_with("bind: address already in use")
        );
        drop(held);
        // Left behind, as by a process that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (second, _) = Listener::bind(&typed).await.unwrap();
        drop(second);
        assert!(!path.exists());
    }
}
