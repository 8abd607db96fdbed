//! What carries a worker's requests.
//!
//! A worker knows when to fire and how to count; how the bytes reach the target it leaves to a
//! [`Transport`]. The worker is generic over it, so the fast one pays nothing for the choice.

use std::io;
use std::time::Duration;

use squall_record::interval::Shortage;
use squall_record::outcome::Failure;

use crate::answer::Answer;

/// A request on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) index: u64,
    pub(crate) intended_ns: u64,
    pub(crate) fired_ns: u64,
    pub(crate) phase: u16,
    pub(crate) class: u16,
    /// Which attempt of its arrival it is, from 1.
    pub(crate) attempt: u8,
    /// Whether it asks for a head alone, so that its answer has no body.
    pub(crate) head_request: bool,
    /// Whether the answer's body is wanted.
    pub(crate) keep_body: bool,
}

/// How a request on the wire ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finished {
    pub(crate) flight: Flight,
    pub(crate) result: Result<Answer, Failure>,
}

/// What a transport noticed of its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Noticed {
    /// Connections that were opened in the place of one that had ended.
    pub(crate) reopened: u64,
    /// Connections that ended because the target sent what nobody had asked for: bytes beyond the last
    /// answer, or before a request.
    pub(crate) unasked: u64,
    /// Attempts to open one that failed on this machine.
    pub(crate) unopened: u64,
    /// What the newest of those failed for want of.
    pub(crate) shortage: Option<Shortage>,
}

impl Noticed {
    /// Counts an attempt that failed for want of something here.
    pub(crate) fn note_shortage(&mut self, of: Shortage) {
        self.unopened += 1;
        self.shortage = Some(of);
    }
}

/// What this machine lacked when connecting failed with `e`, if that is why.
pub(crate) fn shortage(e: &io::Error) -> Option<Shortage> {
    use rustix::io::Errno;
    Some(match Errno::from_io_error(e)? {
        Errno::ADDRNOTAVAIL => Shortage::Ports,
        Errno::MFILE | Errno::NFILE => Shortage::Files,
        Errno::NOBUFS | Errno::NOMEM => Shortage::Memory,
        Errno::PERM | Errno::ACCESS => Shortage::Permission,
        _ => return None,
    })
}

/// One worker's way to the target. Every flight given to [`send`](Self::send) ends exactly once:
/// by its error, by `poll`, or by `expire`.
pub(crate) trait Transport {
    /// Open connections.
    fn open(&self) -> u32;

    /// Requests on the wire.
    fn in_flight(&self) -> u32;

    /// Whether a request can be sent now.
    fn has_idle(&self) -> bool;

    /// No connection is open and the last attempt failed: a request now cannot be carried.
    fn is_refusing(&self) -> bool;

    /// That attempt failed for want of something on this machine: the target was not asked.
    fn is_exhausted(&self) -> bool;

    /// What was noticed since it was asked last, as far as the transport sees it.
    fn take_noticed(&mut self) -> Noticed;

    /// When the oldest request on the wire was sent.
    fn oldest_fired_ns(&self) -> Option<u64>;

    /// When [`maintain`](Self::maintain) is wanted next, if it is.
    fn next_maintenance_ns(&self) -> Option<u64>;

    /// Sends the rendered request `bytes`; gives the flight back as finished when it breaks. It may be
    /// kept until the next [`flush`](Self::flush) or [`poll`](Self::poll).
    fn send(&mut self, bytes: &[u8], flight: Flight) -> Result<(), Finished>;

    /// Lets go of what `send` has kept.
    fn flush(&mut self);

    /// Waits up to `timeout` for something to end; the time is read by `clock` after the wait,
    /// once. Every request that ended is given to `done`, with the body when it was wanted: whole
    /// up to [`MAX_CHECKED_BYTES`](squall_scenarios::check::MAX_CHECKED_BYTES), longer when it is
    /// too long. Returns that time.
    fn poll(
        &mut self,
        timeout: Duration,
        clock: impl FnOnce() -> u64,
        done: &mut impl FnMut(Finished, &[u8], u64),
    ) -> io::Result<u64>;

    /// Gives up on the oldest request on the wire when it was sent before `before_ns`.
    fn expire(&mut self, before_ns: u64) -> Option<Finished>;

    /// Connects again what is not open.
    fn maintain(&mut self, now_ns: u64);
}
