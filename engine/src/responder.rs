//! The smallest keep-alive HTTP server: one thread, one epoll, one canned answer.
//!
//! What generators are measured against, so that what is measured is the generator. It takes every
//! empty line for the end of a request without a body, which holds for what the measurements send,
//! and is no server for anything else. Pipelined requests that arrive together are answered together.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use memchr::memmem;
use rustix::event::epoll::{self, EventData, EventFlags};
use squall_record::clock::Clock;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
/// What ends a request.
const END: &[u8] = b"\r\n\r\n";
/// The bytes of an earlier read that can belong to an end.
const TAIL: usize = END.len() - 1;
const LISTENER: u64 = u64::MAX;
/// Connections at once; further ones are closed.
pub const MAX_CONNECTIONS: usize = 65_536;

/// A time in which the responder does nothing at all.
#[derive(Debug, Clone, Copy)]
pub struct Stall {
    /// How long after the first request it begins.
    pub after: Duration,
    /// How long it lasts.
    pub lasts: Duration,
}

/// Answers every request on every connection to `listener`, on the calling thread, for ever, but
/// for one `stall`.
///
/// # Errors
/// When the sockets cannot be watched.
pub fn serve(listener: &TcpListener, mut stall: Option<Stall>) -> io::Result<std::convert::Infallible> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let mut buffer = [0; 16 * 1024];
    let mut since_first: Option<Clock> = None;
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        if let (Some(clock), Some(Stall { after, lasts })) = (since_first, stall)
            && clock.until(after.as_nanos() as u64).is_zero()
        {
            stall = None;
            std::thread::sleep(clock.until((after + lasts).as_nanos() as u64));
        }
        for event in &events {
            let id = event.data.u64();
            if id != LISTENER {
                since_first.get_or_insert_with(Clock::start);
                let id = id as usize;
                if connections.get_mut(id).is_some_and(|slot| !answer(slot, &mut buffer)) {
                    free.push(id);
                }
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                if connections.len() - free.len() == MAX_CONNECTIONS {
                    continue;
                }
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let id = free.pop().unwrap_or_else(|| {
                    connections.push(None);
                    connections.len() - 1
                });
                epoll::add(&epoll, &stream, EventData::new_u64(id as u64), EventFlags::IN)?;
                connections[id] = Some(Connection { stream, tail: [0; TAIL] });
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    /// The last bytes it sent.
    tail: [u8; TAIL],
}

impl Connection {
    /// Answers the requests that end in what can be read; gives `false` when the peer is gone.
    fn answer(&mut self, buffer: &mut [u8]) -> bool {
        let n = match self.stream.read(&mut buffer[TAIL..]) {
            Ok(0) => return false,
            Ok(n) => n,
            Err(e) => return e.kind() == ErrorKind::WouldBlock,
        };
        buffer[..TAIL].copy_from_slice(&self.tail);
        self.tail.copy_from_slice(&buffer[n..n + TAIL]);
        match memmem::find_iter(&buffer[..TAIL + n], END).count() {
            1 => self.stream.write_all(ANSWER).is_ok(),
            requests => self.stream.write_all(&ANSWER.repeat(requests)).is_ok(),
        }
    }
}

/// Answers what a connection asks; closes it, and gives `false`, when it is gone.
fn answer(slot: &mut Option<Connection>, buffer: &mut [u8]) -> bool {
    // An event of a connection that was closed earlier in this pass.
    let Some(connection) = slot else { return true };
    let open = connection.answer(buffer);
    if !open {
        *slot = None;
    }
    open
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn every_request_is_answered_however_its_bytes_are_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || serve(&listener, None));
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut answered = [0; 2 * ANSWER.len()];
        let pieces = [
            ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r", 1),
            ("\n", 1),
            ("GET / HTTP/1.1\r\n\r\n".repeat(2).as_str(), 2),
        ]
        .map(|(piece, ends)| (piece.to_owned(), ends));
        for (piece, ends) in pieces {
            stream.write_all(piece.as_bytes()).unwrap();
            let answers = &mut answered[..ends * ANSWER.len()];
            stream.read_exact(answers).unwrap();
            assert_eq!(answers, ANSWER.repeat(ends));
        }
        // What is left over belongs to no request.
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert_eq!(stream.read(&mut answered).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
