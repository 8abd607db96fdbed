//! A toxic at work on one direction of one connection.
//!
//! A stage takes pieces of data in and gives them out again, later, smaller, fewer or not at all. It reads no clock
//! and draws no random numbers: whoever asks says how late it is, and what chance decides is a hash of
//! (seed, proxy and toxic, connection, piece).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::acting::{Acting, Client};
use super::attributes::{Bandwidth, Latency, Loss};
use super::toxic::Kind;
use crate::decision::draw_delay;

const NANOS_PER_MS: u64 = 1_000_000;
const NANOS_PER_US: u64 = 1_000;
/// A slow connection gives out its data in slices of so long.
const SLICE_MS: u64 = 100;
/// What a stage that delays data holds of it at most: as much as a kernel lets a connection have under way.
pub const MAX_HELD_BYTES: usize = 4 << 20;
/// How often a packet is lost at the most.
const MAX_RESENDS: u32 = 6;
/// And in how many pieces.
pub const MAX_HELD_PIECES: usize = 1024;

/// Data as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The bytes; some.
    pub data: Bytes,
    /// When they were received, and what they have been delayed by since.
    pub at_ns: u64,
}

/// How a direction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The sender has nothing more to say.
    Finished,
    /// The connection is closed, in both directions.
    Closed,
    /// The connection is reset: what is on its way is lost.
    Reset,
}

/// What there is to give out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// Data.
    Piece(Piece),
    /// Nothing before this instant.
    Wait(u64),
    /// Nothing, until more has come in.
    Empty,
    /// Nothing ever again.
    End(End),
}

/// A toxic at work.
#[derive(Debug)]
pub struct Stage {
    acting: Arc<Acting>,
    client: Client,
    /// Whether it does anything to this connection.
    met: bool,
    /// Whether it has been removed, and only what it holds is still to go.
    removed: bool,
    began_ns: u64,
    held: VecDeque<(u32, Piece)>,
    held_bytes: usize,
    ended: Option<(End, u64)>,
    /// Pieces taken in, and cuts made.
    drawn: u32,
    /// Bytes given out.
    given: u64,
    /// Nothing is given out before.
    free_ns: u64,
    /// When the first data came that will not be given out.
    dropped_ns: Option<u64>,
    /// Packets given out, and whether it is decided how often the next is lost.
    packets: u32,
    decided: bool,
}

impl Stage {
    /// `acting` on the connection of `client`, from `now_ns` on.
    #[must_use]
    pub fn new(acting: Arc<Acting>, client: Client, now_ns: u64) -> Self {
        Self {
            met: acting.meets(client),
            acting,
            client,
            removed: false,
            began_ns: now_ns,
            held: VecDeque::new(),
            held_bytes: 0,
            ended: None,
            drawn: 0,
            given: 0,
            free_ns: 0,
            dropped_ns: None,
            packets: 0,
            decided: false,
        }
    }

    /// Which toxic it is.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.acting.id
    }

    /// Whether it acts on this connection.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.met && !self.removed
    }

    /// Takes the toxic's new attributes. A connection that data has been taken from is met for good.
    pub fn update(&mut self, acting: &Arc<Acting>, now_ns: u64) {
        if !Arc::ptr_eq(&self.acting, acting) {
            // Other attributes begin anew; a renewed lease does not.
            if self.acting.toxic.kind != acting.toxic.kind {
                self.began_ns = now_ns;
            }
            self.met = self.dropped_ns.is_some() || acting.meets(self.client);
            self.acting = Arc::clone(acting);
        }
    }

    /// Lets go of what it holds. A connection that it has taken data from cannot go on: `Some` then, and always
    /// for `timeout`, as Toxiproxy has it.
    pub fn remove(&mut self) -> Option<End> {
        self.removed = true;
        match self.acting.toxic.kind {
            Kind::Timeout(_) if self.met => Some(End::Closed),
            Kind::ResetPeer(_) if self.dropped_ns.is_some() => Some(End::Reset),
            _ => None,
        }
    }

    /// Whether nothing is left of it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.removed && self.held.is_empty() && self.ended.is_none()
    }

    /// Whether it takes more in.
    #[must_use]
    pub fn wants(&self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        match self.acting.toxic.kind {
            Kind::Latency(_) | Kind::Delay(_) if self.acts() => {
                self.held_bytes < MAX_HELD_BYTES && self.held.len() < MAX_HELD_PIECES
            }
            Kind::ResetPeer(_) if self.acts() => self.dropped_ns.is_none(),
            _ => self.held.is_empty(),
        }
    }

    /// Takes `piece` in.
    pub fn put(&mut self, piece: Piece, now_ns: u64) {
        if self.acts() && matches!(self.acting.toxic.kind, Kind::Timeout(_) | Kind::ResetPeer(_)) {
            self.dropped_ns.get_or_insert(now_ns);
            if let Kind::Timeout(_) = self.acting.toxic.kind {
                self.began_ns = now_ns;
            }
            return;
        }
        if self.held.is_empty() {
            // What was not used of a rate is not saved up.
            self.free_ns = self.free_ns.max(now_ns);
        }
        self.held_bytes += piece.data.len();
        self.held.push_back((self.drawn, piece));
        self.drawn = self.drawn.wrapping_add(1);
    }

    /// Takes in that nothing more will come.
    pub fn end(&mut self, end: End, now_ns: u64) {
        self.ended.get_or_insert((end, now_ns));
        if self.acts() && matches!(self.acting.toxic.kind, Kind::ResetPeer(_)) {
            self.dropped_ns.get_or_insert(now_ns);
        }
    }

    /// What it gives out at `now_ns`.
    pub fn give(&mut self, now_ns: u64) -> Out {
        if !self.acts() {
            return self.pass();
        }
        let acting = Arc::clone(&self.acting);
        match &acting.toxic.kind {
            Kind::Noop(_)
            | Kind::SlowConnect(_)
            | Kind::Refuse(_)
            | Kind::HttpDelay(_)
            | Kind::HttpAbort(_)
            | Kind::HttpBody(_) => self.pass(),
            Kind::Latency(latency) => self.jitter(latency, now_ns),
            Kind::Delay(delay) => self.delay(now_ns, |drawn| delay.at_ms(drawn)),
            Kind::Bandwidth(bandwidth) => self.slow(bandwidth, now_ns),
            Kind::Loss(loss) => self.lose(loss, now_ns),
            Kind::Partition(_) => Out::Wait(u64::MAX),
            Kind::SlowClose(close) if self.held.is_empty() => {
                let due = self.ended.map(|(_, ended_ns)| after(ended_ns, close.delay, NANOS_PER_MS));
                match due {
                    Some(due) if now_ns < due => Out::Wait(due),
                    _ => self.pass(),
                }
            }
            Kind::SlowClose(_) => self.pass(),
            Kind::Timeout(timeout) => {
                let due = after(self.began_ns, timeout.timeout, NANOS_PER_MS);
                match (self.pass(), timeout.timeout) {
                    (Out::Empty, 1..) if now_ns < due => Out::Wait(due),
                    (Out::Empty, 1..) => Out::End(End::Closed),
                    (out, _) => out,
                }
            }
            Kind::ResetPeer(reset) => {
                let due = self.dropped_ns.map(|dropped_ns| after(dropped_ns, reset.timeout, NANOS_PER_MS));
                match due {
                    None => self.pass(),
                    Some(due) if now_ns < due => Out::Wait(due),
                    Some(_) => Out::End(End::Reset),
                }
            }
            Kind::Slicer(slicer) => {
                self.slice(slicer.average_size, slicer.size_variation, slicer.delay, now_ns)
            }
            Kind::LimitData(limit) => self.limit(limit.bytes),
        }
    }

    /// The next of what it holds, at once.
    fn pass(&mut self) -> Out {
        match self.take() {
            Some(piece) => Out::Piece(piece),
            None => self.ended.map_or(Out::Empty, |(end, _)| Out::End(end)),
        }
    }

    fn take(&mut self) -> Option<Piece> {
        let (_, piece) = self.held.pop_front()?;
        self.held_bytes -= piece.data.len();
        self.given += piece.data.len() as u64;
        Some(piece)
    }

    /// The first `bytes` of what it holds, or all of the first piece when that has no more.
    fn take_some(&mut self, bytes: u64) -> Option<Piece> {
        let (_, first) = self.held.front_mut()?;
        match usize::try_from(bytes) {
            Ok(bytes) if bytes < first.data.len() => {
                let piece = Piece { data: first.data.split_to(bytes), at_ns: first.at_ns };
                self.held_bytes -= bytes;
                self.given += bytes as u64;
                Some(piece)
            }
            _ => self.take(),
        }
    }

    fn jitter(&mut self, latency: &Latency, now_ns: u64) -> Out {
        let (around, by) = (latency.latency as f64, latency.jitter as f64);
        self.delay(now_ns, |drawn| around + (2.0 * drawn - 1.0) * by)
    }

    /// Holds each piece for as long as `ms` says of what is drawn for it.
    fn delay(&mut self, now_ns: u64, ms: impl Fn(f64) -> f64) -> Out {
        let Some((nth, piece)) = self.held.front() else { return self.pass() };
        let drawn = draw_delay(self.acting.seed, &self.acting.fault, self.client.number, *nth);
        let due = piece.at_ns.saturating_add((ms(drawn).max(0.0) * NANOS_PER_MS as f64) as u64);
        if now_ns < due {
            return Out::Wait(due);
        }
        match self.take() {
            // The next such toxic counts from here.
            Some(piece) => Out::Piece(Piece { at_ns: due, ..piece }),
            None => Out::Empty,
        }
    }

    fn slow(&mut self, bandwidth: &Bandwidth, now_ns: u64) -> Out {
        let Some((_, piece)) = self.held.front() else { return self.pass() };
        let since_ns = now_ns.saturating_sub(self.acting.armed_ns);
        let rate = bandwidth.rate_after(since_ns);
        if rate == 0 {
            let again_ns = now_ns.saturating_add(SLICE_MS * NANOS_PER_MS);
            return Out::Wait(if bandwidth.changes_after(since_ns) { again_ns } else { u64::MAX });
        }
        // A thousand bytes a second are a byte a millisecond.
        let bytes = (piece.data.len() as u64).min(rate.saturating_mul(SLICE_MS));
        let due = self.free_ns.saturating_add(bytes.saturating_mul(NANOS_PER_MS) / rate);
        if now_ns < due {
            // What was a slow second at the beginning of a ramp need not be waited for at its end.
            let again_ns = now_ns.saturating_add(SLICE_MS * NANOS_PER_MS);
            return Out::Wait(if bandwidth.changes_after(since_ns) { due.min(again_ns) } else { due });
        }
        self.free_ns = due;
        self.take_some(bytes).map_or(Out::Empty, Out::Piece)
    }

    /// Packet by packet; one that is lost holds up all behind it until it has been sent again.
    fn lose(&mut self, loss: &Loss, now_ns: u64) -> Out {
        if self.held.is_empty() {
            return self.pass();
        }
        if now_ns < self.free_ns {
            return Out::Wait(self.free_ns);
        }
        if !self.decided {
            self.decided = true;
            let drawn = draw_delay(self.acting.seed, &self.acting.fault, self.client.number, self.packets);
            let mut wait_ms = 0_u64;
            let mut share = loss.loss;
            for again in 0..MAX_RESENDS {
                if drawn >= share {
                    break;
                }
                wait_ms = wait_ms.saturating_add(loss.rto << again);
                share *= loss.loss;
            }
            if wait_ms > 0 {
                self.free_ns = after(now_ns, wait_ms, NANOS_PER_MS);
                return Out::Wait(self.free_ns);
            }
        }
        self.decided = false;
        self.packets = self.packets.wrapping_add(1);
        self.take_some(loss.size).map_or(Out::Empty, Out::Piece)
    }

    fn slice(&mut self, average: u64, variation: u64, delay_us: u64, now_ns: u64) -> Out {
        let Some((_, piece)) = self.held.front() else { return self.pass() };
        if now_ns < self.free_ns {
            return Out::Wait(self.free_ns);
        }
        let left = piece.data.len() as u64;
        let drawn = draw_delay(self.acting.seed, &self.acting.fault, self.client.number, self.drawn);
        self.drawn = self.drawn.wrapping_add(1);
        // From the average less the variation to the average and the variation, each as likely.
        let size = average - variation + (drawn * (2 * variation + 1) as f64) as u64;
        // From when it was to be, not from now: timers of a millisecond add up to the time that was asked for.
        self.free_ns = after(self.free_ns, delay_us, NANOS_PER_US);
        self.take_some(size.clamp(1, left)).map_or(Out::Empty, Out::Piece)
    }

    fn limit(&mut self, bytes: u64) -> Out {
        let left = bytes.saturating_sub(self.given);
        if left == 0 {
            // As Toxiproxy has it: with the first data past it, or with the last within it.
            return if bytes > 0 || !self.held.is_empty() { Out::End(End::Closed) } else { self.pass() };
        }
        if self.held.is_empty() {
            return self.pass();
        }
        self.take_some(left).map_or(Out::Empty, Out::Piece)
    }
}

fn after(ns: u64, amount: u64, unit_ns: u64) -> u64 {
    ns.saturating_add(amount.saturating_mul(unit_ns))
}
