//! A worker's connections: opening them, putting requests on them, giving up on slow ones.
//!
//! Connections are opened before the load begins and opened again when they end. While none is
//! open and the target refuses new ones, one connection keeps trying ([`RETRY_NS`]); arrivals
//! meanwhile fail as refused at once, as they would for any client.
//!
//! A connection carries one request at a time, or up to a depth of them when pipelining. Then
//! requests go behind others only when no connection is free, and what one pass puts on a
//! connection is written at once, before the next wait.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use socket2::SockAddr;
use squall_record::outcome::Failure;

use crate::answer::{Answer, MAX_HEAD_BYTES, Scan};
use crate::connection::{Connection, Received, State};
use crate::flights::Flights;
use crate::transport::{Finished, Flight, Noticed, Transport, shortage};

/// What epoll tells of an open connection, as it comes about: to look again at each socket that was
/// read a moment ago costs a tenth of a microsecond.
const READ: epoll::EventFlags =
    epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP).union(epoll::EventFlags::ET);
/// What it tells of one that has ended.
const HUNG_UP: epoll::EventFlags =
    epoll::EventFlags::RDHUP.union(epoll::EventFlags::HUP).union(epoll::EventFlags::ERR);

/// How long to wait before connecting again after a connection failed.
pub(crate) const RETRY_NS: u64 = 20_000_000;
/// The wait doubles up to this many times while a connection's sockets end before they carry a
/// request, as they do at a target that accepts and hangs up: 1.28 s at most.
const MAX_DOUBLINGS: u32 = 6;
/// Readiness events handled in one loop pass. A pass shares one clock reading, so it is short.
const EVENTS_PER_PASS: usize = 64;
/// The most read from a socket at once.
const READ_BYTES: usize = 64 * 1024;
/// How often a socket is read in one loop pass: one that has always more must not keep the loop from
/// the others.
const READS_PER_PASS: u32 = 4;

/// A worker's connections.
pub(crate) struct Pool {
    addr: SockAddr,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// How many requests a connection carries at once.
    depth: u32,
    /// Connections that can take a request: those with nothing on the wire, and those with room for
    /// more, each the longest unused first, so that all of them carry requests: a target that spreads
    /// its connections over threads or machines is loaded evenly. One that has changed while it waits
    /// here keeps its place and is passed over.
    free: VecDeque<u32>,
    roomy: VecDeque<u32>,
    /// How many of them there are.
    usable: u32,
    /// Connections with requests that their sockets were not given yet.
    corked: Vec<u32>,
    flights: Flights,
    open: u32,
    connecting: u32,
    /// The last attempt to connect failed.
    refused: bool,
    /// It failed on this machine (no ports, files or memory left), not at the target.
    exhausted: bool,
    next_attempt_ns: u64,
    noticed: Noticed,
    connect_timeout_ns: u64,
    events: Vec<epoll::Event>,
    scratch: Vec<u8>,
}

impl Pool {
    pub(crate) fn new(
        addr: SockAddr,
        connections: u32,
        depth: u32,
        connect_timeout_ns: u64,
    ) -> io::Result<Self> {
        let mut pool = Self {
            addr,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: (0..connections).map(|_| Connection::new()).collect(),
            depth,
            free: VecDeque::with_capacity(connections as usize),
            roomy: VecDeque::new(),
            usable: 0,
            corked: Vec::new(),
            flights: Flights::default(),
            open: 0,
            connecting: 0,
            refused: false,
            exhausted: false,
            next_attempt_ns: 0,
            noticed: Noticed::default(),
            connect_timeout_ns,
            events: Vec::with_capacity(EVENTS_PER_PASS),
            // What an answer's head left over, and what comes after it.
            scratch: vec![0; MAX_HEAD_BYTES + READ_BYTES],
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
            let lacking = shortage(&e);
            self.exhausted = lacking.is_some();
            lacking.into_iter().for_each(|of| self.noticed.note_shortage(of));
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
    fn ready(
        &mut self,
        id: u32,
        flags: epoll::EventFlags,
        now_ns: u64,
        done: &mut impl FnMut(Finished, &[u8], u64),
    ) {
        let connection = &mut self.connections[id as usize];
        match connection.state {
            State::Down => {}
            State::Connecting(_) => {
                if connection.connected().and_then(|()| self.watch(id, READ)).is_err() {
                    self.connect_failed(id);
                    return;
                }
                self.connecting -= 1;
                self.open += 1;
                if self.refused {
                    // The target takes connections again: open the others without delay.
                    self.refused = false;
                    self.next_attempt_ns = now_ns;
                }
                let connection = &mut self.connections[id as usize];
                connection.state = State::Open;
                self.noticed.reopened += u64::from(std::mem::replace(&mut connection.was_open, true));
                self.note_room(id);
            }
            State::Open if connection.is_free() => {
                // Closed by the target, or bytes that nobody asked for: either way unusable.
                if let Received::Bytes(_) = connection.receive(&mut self.scratch) {
                    self.noticed.unasked += 1;
                }
                // A target that closes after an answer is not refusing; one that closes what it has just
                // accepted may be.
                let carried = connection.barren == 0;
                connection.retry_at_ns = now_ns + (RETRY_NS << connection.barren.min(MAX_DOUBLINGS));
                connection.barren += 1;
                self.close(id);
                if carried {
                    self.connect(id, now_ns);
                }
            }
            State::Open => {
                if flags.contains(epoll::EventFlags::OUT) {
                    self.write_on(id, now_ns, done);
                    if flags == epoll::EventFlags::OUT || self.connections[id as usize].state != State::Open {
                        return;
                    }
                }
                self.read_on(id, flags.intersects(HUNG_UP), now_ns, done);
            }
        }
    }

    /// Reads all there is: epoll tells of it once. A read that does not fill the buffer has emptied the
    /// socket (epoll(7), question 9), but for an end that came with the bytes.
    fn read_on(&mut self, id: u32, hung_up: bool, now_ns: u64, done: &mut impl FnMut(Finished, &[u8], u64)) {
        let generation = self.connections[id as usize].generation;
        for _ in 0..READS_PER_PASS {
            let (got, filled) = self.receive(id, hung_up, now_ns, done);
            let connection = &self.connections[id as usize];
            let is_same = connection.generation == generation && connection.state == State::Open;
            if !(is_same && got && (filled || hung_up)) {
                return;
            }
            if connection.is_free() {
                // Whatever is still there was not asked for.
                break;
            }
        }
        // Of what is still there epoll tells anew.
        let unsent = self.connections[id as usize].has_unsent();
        let _ = self.watch(id, if unsent { READ.union(epoll::EventFlags::OUT) } else { READ });
    }

    /// Gives the socket what it was not given or did not take yet.
    fn write_on(&mut self, id: u32, now_ns: u64, done: &mut impl FnMut(Finished, &[u8], u64)) {
        let wanted = match self.connections[id as usize].flush() {
            Ok(true) => Ok(READ),
            Ok(false) => Ok(READ.union(epoll::EventFlags::OUT)),
            Err(e) => Err(e),
        };
        if wanted.and_then(|flags| self.watch(id, flags)).is_err() {
            self.end(id, now_ns, done);
        }
    }

    /// Reads what has come on a connection and finishes what was answered. Whether there was anything,
    /// and whether there may be more.
    #[inline]
    fn receive(
        &mut self,
        id: u32,
        hung_up: bool,
        now_ns: u64,
        done: &mut impl FnMut(Finished, &[u8], u64),
    ) -> (bool, bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let connection = &mut self.connections[id as usize];
        let mut read = (false, false);
        match connection.receive(&mut scratch) {
            Received::Nothing => {}
            Received::Bytes(n) => {
                read = (true, n == scratch.len());
                self.answers(id, &scratch[..n], hung_up, now_ns, done);
            }
            Received::End => {
                if let Some(answer) = connection.closed() {
                    self.finish(id, Ok(answer), now_ns, done);
                    self.end(id, now_ns, done);
                    // A target that closes after each answer is not refusing.
                    self.connect(id, now_ns);
                } else {
                    self.end(id, now_ns, done);
                }
            }
            Received::Broken => self.end(id, now_ns, done),
        }
        self.scratch = scratch;
        read
    }

    /// Finishes the requests whose answers end in `bytes`.
    fn answers(
        &mut self,
        id: u32,
        mut bytes: &[u8],
        hung_up: bool,
        now_ns: u64,
        done: &mut impl FnMut(Finished, &[u8], u64),
    ) {
        while !bytes.is_empty() {
            let connection = &mut self.connections[id as usize];
            match connection.scan(bytes) {
                Ok(Scan::Partial(_)) => return,
                Ok(Scan::Complete(answer, used)) => {
                    bytes = &bytes[used..];
                    // Behind the last answer of a target that has hung up comes nothing more.
                    let is_over = hung_up && connection.is_last();
                    let goes_on = connection.goes_on(answer, bytes) && !is_over;
                    self.noticed.unasked += u64::from(connection.is_unasked(bytes));
                    connection.barren = 0;
                    self.finish(id, Ok(answer), now_ns, done);
                    if !goes_on {
                        self.end(id, now_ns, done);
                        self.connect(id, now_ns);
                        return;
                    }
                    self.note_room(id);
                }
                Err(_) => {
                    self.finish(id, Err(Failure::BadAnswer), now_ns, done);
                    self.end(id, now_ns, done);
                    return;
                }
            }
        }
    }

    /// Ends the request that is first in line, unless it was given up before.
    #[inline]
    fn finish(
        &mut self,
        id: u32,
        result: Result<Answer, Failure>,
        now_ns: u64,
        done: &mut impl FnMut(Finished, &[u8], u64),
    ) {
        let connection = &mut self.connections[id as usize];
        if let Some(key) = connection.take_first() {
            let (flight, _) = self.flights.remove(key);
            done(Finished { flight, result }, connection.body(), now_ns);
        }
        connection.next_answer();
    }

    /// Ends a connection. What is still on its wire may or may not have been done: it has failed.
    fn end(&mut self, id: u32, now_ns: u64, done: &mut impl FnMut(Finished, &[u8], u64)) {
        while !self.connections[id as usize].is_free() {
            self.finish(id, Err(Failure::Reset), now_ns, done);
        }
        self.close(id);
    }

    fn close(&mut self, id: u32) {
        self.connections[id as usize].close();
        self.open -= 1;
        self.note_room(id);
    }

    fn watch(&self, id: u32, flags: epoll::EventFlags) -> io::Result<()> {
        let connection = &self.connections[id as usize];
        match &connection.socket {
            Some(s) => Ok(epoll::modify(&self.epoll, s, event_data(id, connection.generation), flags)?),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Notes whether a connection that has changed can take a request. To be called after each
    /// change, so that `usable` is right and each that can is found.
    #[inline]
    fn note_room(&mut self, id: u32) {
        let connection = &mut self.connections[id as usize];
        let has_room = connection.has_room(self.depth);
        if std::mem::replace(&mut connection.counted, has_room) != has_room {
            self.usable = if has_room { self.usable + 1 } else { self.usable - 1 };
        }
        if has_room {
            let (queue, queued) = if connection.is_free() {
                (&mut self.free, &mut connection.in_free)
            } else {
                (&mut self.roomy, &mut connection.in_roomy)
            };
            if !std::mem::replace(queued, true) {
                queue.push_back(id);
            }
        }
    }

    /// The connection for the next request: a free one if there is one, else one with room.
    #[inline]
    fn take(&mut self) -> Option<u32> {
        while let Some(id) = self.free.pop_front() {
            let connection = &mut self.connections[id as usize];
            connection.in_free = false;
            if connection.is_free() && connection.has_room(self.depth) {
                return Some(id);
            }
        }
        while let Some(id) = self.roomy.pop_front() {
            let connection = &mut self.connections[id as usize];
            connection.in_roomy = false;
            if !connection.is_free() && connection.has_room(self.depth) {
                return Some(id);
            }
        }
        None
    }
}

impl Transport for Pool {
    fn open(&self) -> u32 {
        self.open
    }

    fn in_flight(&self) -> u32 {
        self.flights.len()
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

    fn take_noticed(&mut self) -> Noticed {
        std::mem::take(&mut self.noticed)
    }

    fn oldest_fired_ns(&self) -> Option<u64> {
        self.flights.oldest().map(|oldest| oldest.fired_ns)
    }

    fn next_maintenance_ns(&self) -> Option<u64> {
        ((self.open as usize) < self.connections.len()).then_some(self.next_attempt_ns)
    }

    fn send(&mut self, bytes: &[u8], flight: Flight) -> Result<(), Finished> {
        let Some(id) = self.take() else {
            return Err(Finished { flight, result: Err(Failure::Refused) });
        };
        let key = self.flights.push(flight, id);
        let connection = &mut self.connections[id as usize];
        connection.line_up(key, &flight);
        if self.depth > 1 {
            if connection.keep(bytes) {
                self.corked.push(id);
            }
        } else {
            let outcome = match connection.send(bytes) {
                Ok(true) => Ok(()),
                Ok(false) => self.watch(id, READ.union(epoll::EventFlags::OUT)),
                Err(e) => Err(e),
            };
            if outcome.is_err() {
                // It is alone on the connection.
                let mut broken = None;
                self.end(id, flight.fired_ns, &mut |finished, _, _| broken = Some(finished));
                return broken.map_or(Ok(()), Err);
            }
        }
        self.note_room(id);
        Ok(())
    }

    #[inline]
    fn flush(&mut self) {
        while let Some(id) = self.corked.pop() {
            // Of a broken connection epoll tells.
            if let Ok(false) = self.connections[id as usize].flush() {
                let _ = self.watch(id, READ.union(epoll::EventFlags::OUT));
            }
        }
    }

    fn poll(
        &mut self,
        timeout: Duration,
        clock: impl FnOnce() -> u64,
        done: &mut impl FnMut(Finished, &[u8], u64),
    ) -> io::Result<u64> {
        self.flush();
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
                self.ready(id, event.flags, now_ns, done);
            }
        }
        events.clear();
        self.events = events;
        Ok(now_ns)
    }

    fn expire(&mut self, before_ns: u64) -> Option<Finished> {
        let key = self.flights.oldest().filter(|oldest| oldest.fired_ns <= before_ns)?.key;
        let (flight, id) = self.flights.remove(key);
        // Others on the connection have time left, and their answers may come.
        if self.connections[id as usize].give_up(key) {
            self.note_room(id);
        } else {
            self.connections[id as usize].clear_line();
            self.close(id);
        }
        Some(Finished { flight, result: Err(Failure::Timeout) })
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

fn event_data(id: u32, generation: u32) -> epoll::EventData {
    epoll::EventData::new_u64(u64::from(generation) << 32 | u64::from(id))
}
