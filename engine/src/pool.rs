//! A worker's connections: opening them, putting requests on them, giving up on slow ones.
//!
//! Connections are opened before the load begins and opened again when they end. While none is
//! open and the target refuses new ones, one connection keeps trying ([`RETRY_NS`]); arrivals
//! meanwhile fail as refused at once, as they would for any client.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use socket2::SockAddr;
use squall_record::outcome::Failure;

use crate::connection::{Connection, Progress, State};
use crate::transport::{Finished, Flight, Transport};

/// How long to wait before connecting again after a connection failed.
pub(crate) const RETRY_NS: u64 = 20_000_000;
/// The wait doubles up to this many times while a connection's sockets end before they carry a
/// request, as they do at a target that accepts and hangs up: 1.28 s at most.
const MAX_DOUBLINGS: u32 = 6;
/// Readiness events handled in one loop pass. A pass shares one clock reading, so it is short.
const EVENTS_PER_PASS: usize = 64;
/// The most read from a socket at once.
const SCRATCH_BYTES: usize = 64 * 1024;

/// A worker's connections.
pub(crate) struct Pool {
    addr: SockAddr,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Free connections, the longest unused first, so that all of them carry requests: a target
    /// that spreads its connections over threads or machines is loaded evenly. A connection that
    /// closes while it waits here keeps its place and is passed over.
    idle: VecDeque<u32>,
    /// How many of them can be used.
    usable: u32,
    /// Requests on the wire in the order of sending, as a list through the connections.
    oldest: Option<u32>,
    newest: Option<u32>,
    in_flight: u32,
    open: u32,
    connecting: u32,
    /// The last attempt to connect failed.
    refused: bool,
    /// It failed on this machine (no ports, files or memory left), not at the target.
    exhausted: bool,
    next_attempt_ns: u64,
    connect_timeout_ns: u64,
    events: Vec<epoll::Event>,
    scratch: Vec<u8>,
}

impl Pool {
    pub(crate) fn new(addr: SockAddr, connections: u32, connect_timeout_ns: u64) -> io::Result<Self> {
        let mut pool = Self {
            addr,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: (0..connections).map(|_| Connection::new()).collect(),
            idle: VecDeque::with_capacity(connections as usize),
            usable: 0,
            oldest: None,
            newest: None,
            in_flight: 0,
            open: 0,
            connecting: 0,
            refused: false,
            exhausted: false,
            next_attempt_ns: 0,
            connect_timeout_ns,
            events: Vec::with_capacity(EVENTS_PER_PASS),
            scratch: vec![0; SCRATCH_BYTES],
        };
        pool.open_missing(0);
        Ok(pool)
    }

    /// Connects every connection that is down; only one while the target refuses.
    fn open_missing(&mut self, now_ns: u64) {
        for id in 0..self.connections.len() as u32 {
            let connection = &self.connections[id as usize];
            if connection.state == State::Down && connection.retry_at_ns <= now_ns {
                if self.refused && self.connecting > 0 {
                    return;
                }
                self.connect(id, now_ns);
                if self.refused {
                    return;
                }
            }
        }
    }

    fn connect(&mut self, id: u32, now_ns: u64) {
        let connection = &mut self.connections[id as usize];
        let begun = connection.connect(&self.addr, now_ns);
        self.connecting += u32::from(begun.is_ok());
        let watched = begun.and_then(|()| {
            let data = event_data(id, self.connections[id as usize].generation);
            match &self.connections[id as usize].socket {
                Some(s) => Ok(epoll::add(&self.epoll, s, data, epoll::EventFlags::OUT)?),
                None => Err(io::ErrorKind::NotConnected.into()),
            }
        });
        if let Err(e) = watched {
            self.connect_failed(id);
            self.exhausted = is_local(&e);
        }
    }

    fn connect_failed(&mut self, id: u32) {
        if matches!(self.connections[id as usize].state, State::Connecting(_)) {
            self.connecting -= 1;
        }
        self.connections[id as usize].close();
        self.refused = true;
        self.exhausted = false;
    }

    /// Handles what epoll says of a connection.
    fn ready(&mut self, id: u32, flags: epoll::EventFlags, now_ns: u64) -> Option<Finished> {
        match self.connections[id as usize].state {
            State::Down => None,
            State::Connecting(_) => {
                if self.connections[id as usize]
                    .connected()
                    .and_then(|()| self.watch(id, epoll::EventFlags::IN))
                    .is_err()
                {
                    self.connect_failed(id);
                    return None;
                }
                self.connecting -= 1;
                self.open += 1;
                if self.refused {
                    // The target takes connections again: open the others without delay.
                    self.refused = false;
                    self.next_attempt_ns = now_ns;
                }
                self.release(id);
                None
            }
            State::Idle => {
                // Closed by the target, or bytes that nobody asked for: either way unusable.
                self.usable -= 1;
                self.close(id);
                let connection = &mut self.connections[id as usize];
                connection.retry_at_ns = now_ns + (RETRY_NS << connection.barren.min(MAX_DOUBLINGS));
                connection.barren += 1;
                None
            }
            State::Busy(flight) => {
                if flags.contains(epoll::EventFlags::OUT) {
                    match self.connections[id as usize].flush() {
                        Ok(true) if self.watch(id, epoll::EventFlags::IN).is_ok() => {}
                        Ok(false) => {}
                        Ok(true) | Err(_) => return Some(self.fail(id, flight, Failure::Reset)),
                    }
                    if flags == epoll::EventFlags::OUT {
                        return None;
                    }
                }
                match self.connections[id as usize].receive(&mut self.scratch) {
                    Progress::Wait => None,
                    Progress::Reset => Some(self.fail(id, flight, Failure::Reset)),
                    Progress::Garbage => Some(self.fail(id, flight, Failure::BadAnswer)),
                    Progress::Answered(answer, usable) => {
                        self.remove(id);
                        self.connections[id as usize].barren = 0;
                        if usable {
                            self.release(id);
                        } else {
                            self.close(id);
                            // A target that closes after each answer is not refusing.
                            self.connect(id, now_ns);
                        }
                        Some(Finished { flight, result: Ok(answer) })
                    }
                }
            }
        }
    }

    /// Ends a request on the wire as failed; its connection cannot be used on.
    fn fail(&mut self, id: u32, flight: Flight, why: Failure) -> Finished {
        self.remove(id);
        self.close(id);
        Finished { flight, result: Err(why) }
    }

    fn close(&mut self, id: u32) {
        self.connections[id as usize].close();
        self.open -= 1;
    }

    fn watch(&self, id: u32, flags: epoll::EventFlags) -> io::Result<()> {
        let connection = &self.connections[id as usize];
        match &connection.socket {
            Some(s) => Ok(epoll::modify(&self.epoll, s, event_data(id, connection.generation), flags)?),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Makes an open connection free.
    fn release(&mut self, id: u32) {
        let connection = &mut self.connections[id as usize];
        connection.state = State::Idle;
        self.usable += 1;
        if !std::mem::replace(&mut connection.queued, true) {
            self.idle.push_back(id);
        }
    }

    /// The free connection that has been unused for longest.
    #[inline]
    fn take_idle(&mut self) -> Option<u32> {
        loop {
            let id = self.idle.pop_front()?;
            let connection = &mut self.connections[id as usize];
            connection.queued = false;
            if connection.state == State::Idle {
                self.usable -= 1;
                return Some(id);
            }
        }
    }

    fn append(&mut self, id: u32) {
        let older = self.newest.replace(id);
        match older {
            Some(o) => self.connections[o as usize].newer = Some(id),
            None => self.oldest = Some(id),
        }
        let connection = &mut self.connections[id as usize];
        (connection.older, connection.newer) = (older, None);
        self.in_flight += 1;
    }

    fn remove(&mut self, id: u32) {
        let connection = &mut self.connections[id as usize];
        let (older, newer) = (connection.older.take(), connection.newer.take());
        match older {
            Some(o) => self.connections[o as usize].newer = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(n) => self.connections[n as usize].older = older,
            None => self.newest = older,
        }
        self.in_flight -= 1;
    }
}

impl Transport for Pool {
    fn open(&self) -> u32 {
        self.open
    }

    fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn has_idle(&self) -> bool {
        self.usable > 0
    }

    fn is_refusing(&self) -> bool {
        self.refused && self.open == 0
    }

    fn is_exhausted(&self) -> bool {
        self.exhausted && self.is_refusing()
    }

    fn oldest_fired_ns(&self) -> Option<u64> {
        match self.connections[self.oldest? as usize].state {
            State::Busy(flight) => Some(flight.fired_ns),
            _ => None,
        }
    }

    fn next_maintenance_ns(&self) -> Option<u64> {
        ((self.open as usize) < self.connections.len()).then_some(self.next_attempt_ns)
    }

    fn send(&mut self, bytes: &[u8], flight: Flight, head_request: bool) -> Result<(), Finished> {
        let Some(id) = self.take_idle() else {
            return Err(Finished { flight, result: Err(Failure::Refused) });
        };
        let sent = self.connections[id as usize].send(bytes, flight, head_request);
        self.append(id);
        let outcome = match sent {
            Ok(true) => Ok(()),
            Ok(false) => self.watch(id, epoll::EventFlags::IN | epoll::EventFlags::OUT),
            Err(e) => Err(e),
        };
        outcome.map_err(|_| self.fail(id, flight, Failure::Reset))
    }

    fn poll(
        &mut self,
        timeout: Duration,
        clock: impl FnOnce() -> u64,
        done: &mut impl FnMut(Finished, &[u8], u64),
    ) -> io::Result<u64> {
        self.events.clear();
        let limit = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let now_ns = clock();
        let mut events = std::mem::take(&mut self.events);
        for event in &events {
            let (id, generation) = (event.data.u64() as u32, (event.data.u64() >> 32) as u32);
            if self.connections[id as usize].generation == generation {
                let flags = event.flags;
                if let Some(finished) = self.ready(id, flags, now_ns) {
                    done(finished, self.connections[id as usize].body(), now_ns);
                }
            }
        }
        events.clear();
        self.events = events;
        Ok(now_ns)
    }

    fn expire(&mut self, before_ns: u64) -> Option<Finished> {
        let id = self.oldest?;
        let State::Busy(flight) = self.connections[id as usize].state else { return None };
        (flight.fired_ns <= before_ns).then(|| self.fail(id, flight, Failure::Timeout))
    }

    fn maintain(&mut self, now_ns: u64) {
        if now_ns < self.next_attempt_ns || self.open as usize == self.connections.len() {
            return;
        }
        self.next_attempt_ns = now_ns + RETRY_NS;
        if self.connecting > 0 {
            for id in 0..self.connections.len() as u32 {
                if let State::Connecting(since_ns) = self.connections[id as usize].state
                    && now_ns.saturating_sub(since_ns) > self.connect_timeout_ns
                {
                    self.connect_failed(id);
                }
            }
        }
        self.open_missing(now_ns);
    }
}

/// Whether connecting failed for want of something on this machine.
pub(crate) fn is_local(e: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::PERM, Errno::ACCESS]
        .iter()
        .any(|errno| e.raw_os_error() == Some(errno.raw_os_error()))
}

fn event_data(id: u32, generation: u32) -> epoll::EventData {
    epoll::EventData::new_u64(u64::from(generation) << 32 | u64::from(id))
}
