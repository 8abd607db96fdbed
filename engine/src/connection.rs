//! One socket and what it is doing.

use std::io::{self, Read, Write};

use socket2::{SockAddr, Socket, Type};
use squall_scenarios::check::MAX_CHECKED_BYTES;

use crate::answer::{Answer, Scan, Scanner};
use crate::transport::Flight;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No socket.
    Down,
    /// Connecting since this instant.
    Connecting(u64),
    /// Open, with nothing on the wire.
    Idle,
    /// Open, with a request on the wire.
    Busy(Flight),
}

/// What reading brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More is to come.
    Wait,
    /// A whole answer; whether the connection can go on.
    Answered(Answer, bool),
    /// The connection ended, or was ended, before the answer was whole.
    Reset,
    /// Bytes that are not an answer.
    Garbage,
}

/// A keep-alive connection that carries one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Option<Socket>,
    pub(crate) state: State,
    /// Counts sockets, so that an event of an earlier one is recognised.
    pub(crate) generation: u32,
    /// Sockets in a row that ended without carrying a request.
    pub(crate) barren: u32,
    /// When it may connect again.
    pub(crate) retry_at_ns: u64,
    /// Whether the pool's queue of free connections holds it.
    pub(crate) queued: bool,
    /// Neighbours in the list of requests on the wire, oldest first.
    pub(crate) older: Option<u32>,
    pub(crate) newer: Option<u32>,
    scanner: Scanner,
    /// Bytes of an answer's head that is not whole yet.
    partial: Vec<u8>,
    /// What the socket would not take yet.
    unsent: Vec<u8>,
    /// The answer's body as far as it is wanted.
    body: Vec<u8>,
    keep_body: bool,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self {
            socket: None,
            state: State::Down,
            generation: 0,
            barren: 0,
            retry_at_ns: 0,
            queued: false,
            older: None,
            newer: None,
            scanner: Scanner::default(),
            partial: Vec::new(),
            unsent: Vec::new(),
            body: Vec::new(),
            keep_body: false,
        }
    }

    /// Begins to connect. The socket is writable when that has succeeded or failed.
    pub(crate) fn connect(&mut self, addr: &SockAddr, now_ns: u64) -> io::Result<()> {
        let socket = Socket::new(addr.domain(), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if !addr.is_unix() {
            socket.set_tcp_nodelay(true)?;
        }
        match socket.connect(addr) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(e) => return Err(e),
        }
        self.socket = Some(socket);
        self.state = State::Connecting(now_ns);
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    /// Whether connecting succeeded, once the socket is writable.
    pub(crate) fn connected(&self) -> io::Result<()> {
        match self.socket.as_ref().map(Socket::take_error) {
            Some(Ok(None)) => Ok(()),
            Some(Ok(Some(e)) | Err(e)) => Err(e),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Drops the socket.
    pub(crate) fn close(&mut self) {
        self.socket = None;
        self.state = State::Down;
        self.partial.clear();
        self.unsent.clear();
    }

    /// The body of the last answer, when its request wanted it: one byte longer than is checked when
    /// it is too long.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Puts a request on the wire. `Ok(false)` when the socket did not take all of it: call
    /// [`flush`](Self::flush) when it is writable.
    pub(crate) fn send(&mut self, bytes: &[u8], flight: Flight, head_request: bool) -> io::Result<bool> {
        self.state = State::Busy(flight);
        self.scanner.reset(head_request);
        self.keep_body = flight.keep_body;
        self.body.clear();
        self.partial.clear();
        self.unsent.clear();
        let n = match self.stream()?.write(bytes) {
            Ok(n) => n,
            Err(e) if would_block(&e) => 0,
            Err(e) => return Err(e),
        };
        if n < bytes.len() {
            self.unsent.extend_from_slice(&bytes[n..]);
        }
        Ok(self.unsent.is_empty())
    }

    /// Sends on what the socket had not taken. `Ok(true)` when all of it is gone.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            let socket = self.socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            match socket.write(&self.unsent) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(e) if would_block(&e) => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Reads what has come, through `scratch`. One read a call: the rest is announced again.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> Progress {
        let Some(socket) = self.socket.as_mut() else { return Progress::Reset };
        let n = match socket.read(scratch) {
            Ok(0) => {
                return match self.scanner.closed() {
                    Some(answer) => Progress::Answered(answer, false),
                    None => Progress::Reset,
                };
            }
            Ok(n) => n,
            Err(e) if would_block(&e) => return Progress::Wait,
            Err(_) => return Progress::Reset,
        };
        // The common case never copies: the whole answer is in `scratch`.
        let copied = !self.partial.is_empty();
        if copied {
            self.partial.extend_from_slice(&scratch[..n]);
        }
        let bytes = if copied { &self.partial[..] } else { &scratch[..n] };
        let len = bytes.len();
        let scanned = if self.keep_body {
            let body = &mut self.body;
            // One byte too many shows that the body is too long.
            self.scanner.scan_with(bytes, |piece| {
                let room = (MAX_CHECKED_BYTES + 1).saturating_sub(body.len());
                body.extend_from_slice(&piece[..room.min(piece.len())]);
            })
        } else {
            self.scanner.scan(bytes)
        };
        match scanned {
            Err(_) => Progress::Garbage,
            // Bytes beyond the answer were never asked for: the connection is not trusted on.
            Ok(Scan::Complete(answer, used)) => {
                Progress::Answered(answer, answer.keep_alive && used == len && self.unsent.is_empty())
            }
            Ok(Scan::Partial(used)) => {
                if copied {
                    self.partial.drain(..used);
                } else {
                    self.partial.extend_from_slice(&scratch[used..n]);
                }
                Progress::Wait
            }
        }
    }

    fn stream(&mut self) -> io::Result<&mut Socket> {
        self.socket.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

fn would_block(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
