//! One socket and what it is doing.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use socket2::{SockAddr, Socket, Type};
use squall_scenarios::check::MAX_CHECKED_BYTES;

use crate::answer::{Answer, BadAnswer, Scan, Scanner};
use crate::transport::Flight;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No socket.
    Down,
    /// Connecting since this instant.
    Connecting(u64),
    /// Open.
    Open,
}

/// What reading brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// Nothing yet.
    Nothing,
    /// This many bytes, from the beginning of the scratch.
    Bytes(usize),
    /// The end: nothing more will come.
    End,
    /// The connection broke.
    Broken,
}

/// A request on the wire, as its connection sees it.
#[derive(Debug, Clone, Copy)]
struct InLine {
    /// Its key among the flights; `None` when it was given up and nobody waits for the answer.
    key: Option<u32>,
    head_request: bool,
    keep_body: bool,
}

/// A keep-alive connection. Requests on it are answered in the order they were sent in.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Option<Socket>,
    pub(crate) state: State,
    /// Counts sockets, so that an event of an earlier one is recognised.
    pub(crate) generation: u32,
    /// Whether a socket of it was open before.
    pub(crate) was_open: bool,
    /// Sockets in a row that ended without carrying a request.
    pub(crate) barren: u32,
    /// When it may connect again.
    pub(crate) retry_at_ns: u64,
    /// Whether the pool counts it as able to take a request.
    pub(crate) counted: bool,
    /// Whether the pool's queue of free connections holds it.
    pub(crate) in_free: bool,
    /// Whether the pool's queue of those with room holds it.
    pub(crate) in_roomy: bool,
    /// Requests on the wire, the one that is answered next first. Those that were given up come
    /// first, because they were sent first.
    line: VecDeque<InLine>,
    scanner: Scanner,
    /// Bytes of an answer's head that is not whole yet.
    partial: Vec<u8>,
    /// What the socket would not take yet, or was not given yet.
    unsent: Vec<u8>,
    /// The body of the answer that is read, as far as it is wanted.
    body: Vec<u8>,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self {
            socket: None,
            state: State::Down,
            generation: 0,
            was_open: false,
            barren: 0,
            retry_at_ns: 0,
            counted: false,
            in_free: false,
            in_roomy: false,
            line: VecDeque::new(),
            scanner: Scanner::default(),
            partial: Vec::new(),
            unsent: Vec::new(),
            body: Vec::new(),
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

    /// Drops the socket. Nothing is in line any more.
    pub(crate) fn close(&mut self) {
        self.socket = None;
        self.state = State::Down;
        self.partial.clear();
        self.unsent.clear();
    }

    /// Whether nothing is on the wire.
    pub(crate) fn is_free(&self) -> bool {
        self.line.is_empty()
    }

    /// Whether it takes another request, with at most `depth` on the wire. One on which a request
    /// was given up takes none: the target may never answer there again.
    pub(crate) fn has_room(&self, depth: u32) -> bool {
        self.state == State::Open
            && self.line.len() < depth as usize
            && self.line.front().is_none_or(|first| first.key.is_some())
    }

    /// Begins with the answer to the first in line.
    pub(crate) fn next_answer(&mut self) {
        let head_request = self.line.front().is_some_and(|first| first.head_request);
        self.scanner.reset(head_request);
        self.body.clear();
    }

    /// Takes the first out of the line: its key, unless it was given up. Then comes
    /// [`next_answer`](Self::next_answer).
    pub(crate) fn take_first(&mut self) -> Option<u32> {
        self.line.pop_front().and_then(|first| first.key)
    }

    /// Forgets those in line, which were all given up.
    pub(crate) fn clear_line(&mut self) {
        self.line.clear();
    }

    /// Nobody waits any more for the answer to the request of `key`. Whether any other is waited
    /// for.
    pub(crate) fn give_up(&mut self, key: u32) -> bool {
        if let Some(given_up) = self.line.iter_mut().find(|r| r.key == Some(key)) {
            given_up.key = None;
        }
        self.line.back().is_some_and(|last| last.key.is_some())
    }

    /// The body of the last answer, when its request wanted it: one byte longer than is checked when
    /// it is too long.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Puts a request in line whose key is `key`.
    pub(crate) fn line_up(&mut self, key: u32, flight: &Flight) {
        self.line.push_back(InLine {
            key: Some(key),
            head_request: flight.head_request,
            keep_body: flight.keep_body,
        });
        if self.line.len() == 1 {
            self.next_answer();
        }
    }

    /// Gives the socket a request. `Ok(false)` when it did not take all of it: call
    /// [`flush`](Self::flush) when it is writable.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let socket = self.socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let n = match socket.write(bytes) {
            Ok(n) => n,
            Err(e) if would_block(&e) => 0,
            Err(e) => return Err(e),
        };
        self.unsent.extend_from_slice(&bytes[n..]);
        Ok(self.unsent.is_empty())
    }

    /// Keeps a request for the next [`flush`](Self::flush). Whether nothing was kept before.
    pub(crate) fn keep(&mut self, bytes: &[u8]) -> bool {
        let first = self.unsent.is_empty();
        self.unsent.extend_from_slice(bytes);
        first
    }

    /// Whether there is something that the socket has not taken.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
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

    /// Reads what has come into `scratch`, after what an answer's head had left over. One read a
    /// call.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> Received {
        let Some(socket) = self.socket.as_mut() else { return Received::Broken };
        let left_over = self.partial.len();
        match socket.read(&mut scratch[left_over..]) {
            Ok(0) => Received::End,
            Ok(n) => {
                scratch[..left_over].copy_from_slice(&self.partial);
                self.partial.clear();
                Received::Bytes(left_over + n)
            }
            Err(e) if would_block(&e) => Received::Nothing,
            Err(_) => Received::Broken,
        }
    }

    /// Reads on in `bytes` to the end of the answer to the first in line. What is used of a part of
    /// an answer is all of it: what cannot be used yet is kept.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<Scan, BadAnswer> {
        let keep_body = self.line.front().is_some_and(|first| first.keep_body);
        let scan = if keep_body {
            let body = &mut self.body;
            // One byte too many shows that the body is too long.
            self.scanner.scan_with(bytes, |piece| {
                let room = (MAX_CHECKED_BYTES + 1).saturating_sub(body.len());
                body.extend_from_slice(&piece[..room.min(piece.len())]);
            })
        } else {
            self.scanner.scan(bytes)
        }?;
        if let Scan::Partial(used) = scan {
            self.partial.extend_from_slice(&bytes[used..]);
        }
        Ok(scan)
    }

    /// The answer to the first in line that the end of the connection makes whole, if it does.
    pub(crate) fn closed(&self) -> Option<Answer> {
        self.scanner.closed()
    }

    /// Whether no request is behind the first in line.
    pub(crate) fn is_last(&self) -> bool {
        self.line.len() <= 1
    }

    /// Whether `rest`, behind the answer to the first in line, is more than was asked for.
    pub(crate) fn is_unasked(&self, rest: &[u8]) -> bool {
        self.is_last() && !rest.is_empty()
    }

    /// Whether the connection can be used on after `answer` to the first in line, of which `rest`
    /// was left over. Bytes that nobody asked for end its use, and so does an answer to a request
    /// that was not sent whole.
    pub(crate) fn goes_on(&self, answer: Answer, rest: &[u8]) -> bool {
        let unsent = self.is_last() && !self.unsent.is_empty();
        answer.keep_alive && !unsent && !self.is_unasked(rest)
    }
}

fn would_block(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
