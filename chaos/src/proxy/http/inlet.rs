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

/// What is held until an instant, for toxics.
#[derive(Debug)]
struct Held {
    piece: Piece,
    due_ns: u64,
    /// It is let go with any of these.
    by: Vec<u64>,
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
        self.hold(data, 0, Vec::new());
    }

    /// Passes on what nobody has sent: it is made at `now_ns`.
    pub fn pass_own(&mut self, data: Bytes, now_ns: u64) {
        self.held.push_back(Held { piece: Piece { data, at_ns: now_ns }, due_ns: 0, by: Vec::new() });
    }

    /// Passes everything on that there is.
    pub fn pass_all(&mut self) {
        let all = self.buffer.split().freeze();
        self.pass(all);
    }

    /// Passes `data` on, not before `due_ns` while the toxics `by` are all there.
    pub fn hold(&mut self, data: Bytes, due_ns: u64, by: Vec<u64>) {
        self.held.push_back(Held { piece: Piece { data, at_ns: self.at_ns }, due_ns, by });
    }

    /// What is to be done with what is passed on; `None` when that is nothing.
    pub fn next(&mut self, now_ns: u64) -> Option<Out> {
        let first = self.held.front()?;
        if now_ns < first.due_ns {
            return Some(Out::Wait(first.due_ns));
        }
        let Held { piece, due_ns, .. } = self.held.pop_front()?;
        Some(Out::Piece(Piece { at_ns: piece.at_ns.max(due_ns), ..piece }))
    }

    /// Nothing can be done with what there is.
    pub fn idle(&self) -> Out {
        if self.ended { Out::End(End::Finished) } else { Out::Empty }
    }

    /// Lets go what not all of its toxics hold any more.
    pub fn let_go(&mut self, toxics: &[Arc<Acting>]) {
        for held in &mut self.held {
            if !held.by.iter().all(|id| toxics.iter().any(|toxic| toxic.id == *id)) {
                held.due_ns = 0;
            }
        }
    }
}
