//! What one direction has received and not passed on, and what of it is held for toxics.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::head::MAX_HEAD_BYTES;
use crate::proxy::acting::Acting;
use crate::proxy::stage::{End, Out, Piece};

/// One direction's bytes on their way.
#[derive(Debug, Default)]
pub(super) struct Inlet {
    /// Received and not looked at.
    pub buffer: BytesMut,
    /// When the last of it was received.
    pub at_ns: u64,
    /// Whether no more will be.
    pub ended: bool,
    /// To be passed on, in order.
    held: VecDeque<Held>,
}

/// What is held, for toxics.
#[derive(Debug)]
struct Held {
    piece: Piece,
    delays: Vec<Delay>,
}

/// For how long a toxic holds something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delay {
    toxic: u64,
    ns: u64,
    /// When the toxic ends.
    ends_ns: u64,
}

impl Delay {
    /// `ms` by `acting`.
    pub fn new(ms: f64, acting: &Acting) -> Self {
        Self { toxic: acting.id, ns: (ms.max(0.0) * 1e6) as u64, ends_ns: acting.ends_ns }
    }
}

impl Held {
    /// One delay after another, none longer than its toxic acts.
    fn due_ns(&self) -> u64 {
        self.delays.iter().fold(self.piece.at_ns, |at, d| at.saturating_add(d.ns).min(d.ends_ns.max(at)))
    }
}

impl Inlet {
    /// Whether more may be received.
    pub fn has_room(&self) -> bool {
        !self.ended && self.held.is_empty() && self.buffer.len() <= MAX_HEAD_BYTES
    }

    /// Takes what was received.
    pub fn put(&mut self, data: &[u8], now_ns: u64) {
        self.buffer.extend_from_slice(data);
        self.at_ns = now_ns;
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Bytes {
        self.buffer.split_to(count).freeze()
    }

    /// Passes `data` on, next.
    pub fn pass(&mut self, data: Bytes) {
        self.hold(data, Vec::new());
    }

    /// Passes on what nobody has sent: it is made at `now_ns`.
    pub fn pass_own(&mut self, data: Bytes, now_ns: u64) {
        self.held.push_back(Held { piece: Piece { data, at_ns: now_ns }, delays: Vec::new() });
    }

    /// Passes everything on that there is.
    pub fn pass_all(&mut self) {
        let all = self.buffer.split().freeze();
        self.pass(all);
    }

    /// Passes `data` on after its `delays`.
    pub fn hold(&mut self, data: Bytes, delays: Vec<Delay>) {
        self.held.push_back(Held { piece: Piece { data, at_ns: self.at_ns }, delays });
    }

    /// What is to be done with what is passed on; `None` when that is nothing.
    pub fn next(&mut self, now_ns: u64) -> Option<Out> {
        let first = self.held.front()?;
        let due_ns = first.due_ns();
        if now_ns < due_ns {
            return Some(Out::Wait(due_ns));
        }
        let Held { piece, .. } = self.held.pop_front()?;
        Some(Out::Piece(Piece { at_ns: due_ns, ..piece }))
    }

    /// Nothing can be done with what there is.
    pub fn idle(&self) -> Out {
        if self.ended { Out::End(End::Finished) } else { Out::Empty }
    }

    /// Takes notice of toxics that have ended or been given longer to live.
    pub fn let_go(&mut self, toxics: &[Arc<Acting>]) {
        for held in &mut self.held {
            for delay in &mut held.delays {
                // One that is gone has ended; another may have been given longer to live.
                let found = toxics.iter().find(|toxic| toxic.id == delay.toxic);
                delay.ends_ns = found.map_or(0, |toxic| toxic.ends_ns);
            }
        }
    }
}
