//! What parent and process say to each other: a JSON value a line.

use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squall_record::journey::{JourneyOp, JourneyTick};
use squall_scenarios::plan::{Plan, TargetPlan};

use crate::endpoint::Endpoint;
use crate::tls::{Tls, TlsError};

/// The longest line: a second with a histogram for each of some hundred steps.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// From the parent. It holds secrets, and so has no `Debug`.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    /// What there is to do; the first.
    Job(Box<Job>),
    /// The run's zero, on the kernel's monotonic clock; the second.
    Start { origin_monotonic_ns: u64 },
    /// Send no more.
    Stop,
}

/// What there is to do.
#[derive(Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) plan: Plan,
    pub(super) address: Address,
    /// What the target is called.
    pub(super) host: String,
    pub(super) token: String,
    pub(super) username: String,
    pub(super) password: String,
}

/// Where the target listens.
#[derive(Serialize, Deserialize)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Tls(SocketAddr),
    Unix(PathBuf),
}

impl From<&Endpoint> for Address {
    fn from(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Tcp(addr) => Address::Tcp(*addr),
            Endpoint::Tls(addr, _) => Address::Tls(*addr),
            Endpoint::Unix(path) => Address::Unix(path.clone()),
        }
    }
}

impl Job {
    /// Where the target listens, and whom to trust there: as the plan says.
    pub(super) fn endpoint(&self) -> Result<Endpoint, TlsError> {
        let ca_file = match &self.plan.target {
            TargetPlan::Url { ca_file, .. } => ca_file.as_deref(),
            TargetPlan::Reference(_) | TargetPlan::Compose { .. } => None,
        };
        Ok(match &self.address {
            Address::Tcp(addr) => Endpoint::Tcp(*addr),
            Address::Tls(addr) => {
                let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, port)| {
                    // The colons of a bare IPv6 address stand in brackets.
                    if port.bytes().all(|b| b.is_ascii_digit()) { name } else { &self.host }
                });
                Endpoint::Tls(*addr, Tls::new(name, ca_file.map(Path::new), self.plan.load.transport.http())?)
            }
            Address::Unix(path) => Endpoint::Unix(path.clone()),
        })
    }
}

/// From the process.
#[derive(Serialize, Deserialize)]
pub(super) enum Said {
    /// The job is understood; only the zero is missing.
    Ready,
    /// A second is complete.
    Second { tick: JourneyTick, ops: Vec<JourneyOp> },
    /// Every user has ended; the last.
    Ended,
    /// It cannot go on; the last.
    Failed { reason: String },
}

/// Writes one line.
pub(super) fn say(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what).map_err(io::Error::other)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Reads on in `line` until it is complete; `None` when the other end has closed. An error of
/// kind `WouldBlock` leaves what was read in `line`, so that the next call goes on with it.
pub(super) fn hear<T: DeserializeOwned>(
    from: &mut impl BufRead,
    line: &mut Vec<u8>,
) -> io::Result<Option<T>> {
    let left = MAX_LINE_BYTES.saturating_sub(line.len() as u64);
    from.take(left).read_until(b'\n', line)?;
    if line.last() != Some(&b'\n') {
        return if line.len() as u64 >= MAX_LINE_BYTES {
            Err(io::Error::other(format!("a line is longer than {MAX_LINE_BYTES} bytes")))
        } else {
            Ok(None)
        };
    }
    let heard = serde_json::from_slice(line).map_err(io::Error::other);
    line.clear();
    heard.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its pieces one by one, and blocks in between.
    struct Halting(Vec<&'static [u8]>);

    impl Read for Halting {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            match self.0.pop() {
                None => Ok(0),
                Some([]) => Err(io::ErrorKind::WouldBlock.into()),
                Some(piece) => {
                    to[..piece.len()].copy_from_slice(piece);
                    Ok(piece.len())
                }
            }
        }
    }

    #[test]
    fn a_line_that_comes_in_pieces_is_one_line() {
        let mut from = io::BufReader::new(Halting(vec![b"\"St", b"op\"\n", b"", b"\"St"]));
        let mut line = Vec::new();
        let first = hear::<Order>(&mut from, &mut line);
        assert!(first.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock));
        assert!(matches!(hear::<Order>(&mut from, &mut line), Ok(Some(Order::Stop))));
        assert!(matches!(hear::<Order>(&mut from, &mut line), Ok(None)), "torn, and so nothing");
    }
}
