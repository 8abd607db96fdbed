//! The smallest keep-alive HTTP server: one thread, one epoll, one canned answer.
//!
//! What generators are measured against, so that what is measured is the generator. It takes a
//! request to arrive in one piece and without a body, which holds for what the measurements send,
//! and is no server for anything else.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use squall_record::clock::Clock;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
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
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
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
                connections[id] = Some(stream);
            }
        }
    }
}

/// Answers what a connection asks; closes it, and gives `false`, when it is gone.
fn answer(slot: &mut Option<TcpStream>, buffer: &mut [u8]) -> bool {
    // An event of a connection that was closed earlier in this pass.
    let Some(stream) = slot else { return true };
    let open = match stream.read(buffer) {
        Ok(0) => false,
        Ok(_) => stream.write_all(ANSWER).is_ok(),
        Err(e) => e.kind() == ErrorKind::WouldBlock,
    };
    if !open {
        *slot = None;
    }
    open
}
