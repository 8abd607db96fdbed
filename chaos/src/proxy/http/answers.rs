//! From the upstream to the client: the answers, in the order of the requests, after what their toxics make of them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::body::{Framing, Next};
use super::head::{self, AnswerHead};
use super::inlet::{Delay, Inlet};
use super::requests::own;
use super::{Expected, Met, Pending};
use crate::decision::draw_delay;
use crate::proxy::acting::Acting;
use crate::proxy::stage::{End, Out};
use crate::proxy::toxic::Kind;

/// Near its beginning a body is changed: in so many bytes of it, unless it has fewer.
const CHANGED_WITHIN: u64 = 64;

/// The direction of the answers.
#[derive(Debug, Default)]
pub struct Answers {
    pub(super) inlet: Inlet,
    state: State,
    refused: bool,
}

#[derive(Debug, Default)]
enum State {
    /// Before an answer.
    #[default]
    Head,
    /// In the body of one.
    Body(Body),
    /// What comes is HTTP no more.
    Tunnel,
    /// All has been said.
    Over(End),
}

/// A body, and what becomes of it.
#[derive(Debug)]
struct Body {
    framing: Framing,
    change: Change,
    /// Bytes of its content so far.
    read: u64,
}

#[derive(Debug)]
enum Change {
    None,
    /// Only so many bytes are passed on, and then the connection ends.
    Truncate(u64),
    /// These bytes are changed; counted from the beginning, in order.
    Corrupt(VecDeque<u64>),
    /// Something else has been passed on.
    Replaced,
}

impl Answers {
    /// Whether what comes is HTTP no more.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Tunnel)
    }

    /// Whether an answer was none that could be passed on: the client was told that the connection ends.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// What is to be passed on at `now_ns`.
    pub fn next(&mut self, toxics: &[Arc<Acting>], pending: &mut VecDeque<Pending>, now_ns: u64) -> Out {
        loop {
            if let Some(out) = self.inlet.next(now_ns) {
                return out;
            }
            match &mut self.state {
                State::Over(end) => return Out::End(*end),
                State::Tunnel if self.inlet.buffer.is_empty() => return self.inlet.idle(),
                State::Tunnel => self.inlet.pass_all(),
                State::Body(_) => {
                    if !self.body() {
                        return self.inlet.idle();
                    }
                }
                State::Head => {
                    if !self.head(toxics, pending, now_ns) {
                        return self.inlet.idle();
                    }
                }
            }
        }
    }

    /// Takes an own answer, or the head of one of the upstream's. Whether there was any.
    fn head(&mut self, toxics: &[Arc<Acting>], pending: &mut VecDeque<Pending>, now_ns: u64) -> bool {
        match pending.front() {
            Some(Pending { answer: Expected::Own { answer, last }, .. }) => {
                let answer = answer.clone();
                self.inlet.pass_own(answer, now_ns);
                if *last {
                    self.state = State::Over(End::Finished);
                }
                pending.pop_front();
                true
            }
            // An answer that nobody has asked for would be taken for that of the next request.
            None if !self.inlet.buffer.is_empty() => {
                self.state = State::Over(super::BROKEN);
                true
            }
            None => false,
            Some(Pending { answer: Expected::Upstream { is_head, is_connect }, .. }) => {
                let (is_head, is_connect) = (*is_head, *is_connect);
                match head::answer(&self.inlet.buffer) {
                    Ok(None) => false,
                    Ok(Some(head)) => {
                        let bytes = self.inlet.take(head.length);
                        self.answered(head, bytes, [is_head, is_connect], toxics, pending);
                        true
                    }
                    Err(why) => {
                        let body = format!("of the upstream's answer: {why}\n");
                        let answer = own(502, &body, body.len(), "", true);
                        self.inlet.pass_own(answer, now_ns);
                        self.state = State::Over(End::Finished);
                        self.refused = true;
                        true
                    }
                }
            }
        }
    }

    fn answered(
        &mut self,
        head: AnswerHead,
        bytes: Bytes,
        [is_head, is_connect]: [bool; 2],
        toxics: &[Arc<Acting>],
        pending: &mut VecDeque<Pending>,
    ) {
        let AnswerHead { status, framing, .. } = head;
        if status == 101 || is_connect && (200..300).contains(&status) {
            self.inlet.pass(bytes);
            self.state = State::Tunnel;
            pending.pop_front();
            return;
        }
        if status < 200 {
            // Another will follow.
            self.inlet.pass(bytes);
            return;
        }
        let framing = if is_head || matches!(status, 204 | 304) { Framing::None } else { framing };
        let met = pending.pop_front().map(|pending| still(pending.met, toxics)).unwrap_or_default();
        let mut change = Change::None;
        let mut replaced = None;
        for Met { acting, request, attempt } in &met {
            let Kind::HttpBody(wanted) = &acting.toxic.kind else { continue };
            if framing == Framing::None {
                continue;
            }
            if let Some(bytes) = wanted.truncate {
                change = Change::Truncate(bytes);
            } else if let Some(count) = wanted.corrupt {
                let within = if let Framing::Length(length) = framing { length } else { CHANGED_WITHIN };
                change = Change::Corrupt(places(acting, *request, *attempt, count, within));
            } else if let Some(text) = &wanted.replace {
                (change, replaced) = (Change::Replaced, Some(text.clone()));
            }
        }
        let first = match &replaced {
            Some(text) => [&head::with_length(&bytes, text.len()), text.as_bytes()].concat().into(),
            None => bytes,
        };
        self.inlet.hold(first, delays(&met));
        self.state = State::Body(Body { framing, change, read: 0 });
    }

    /// Takes the next of a body. Whether there was any.
    fn body(&mut self) -> bool {
        let State::Body(body) = &mut self.state else { return true };
        let (count, is_content) = match body.framing.next(&self.inlet.buffer) {
            Ok(Next::Content(count)) => (count, true),
            Ok(Next::Between(count)) => (count, false),
            Ok(Next::More) => return false,
            Ok(Next::Over) => {
                self.state = State::Head;
                return true;
            }
            Err(_) => {
                self.state = State::Over(super::BROKEN);
                return true;
            }
        };
        let mut data = self.inlet.buffer.split_to(count);
        let before = body.read;
        body.read += if is_content { count as u64 } else { 0 };
        match &mut body.change {
            Change::Replaced => return true,
            Change::Corrupt(places) if is_content => {
                while let Some(at) = places.pop_front_if(|at| *at < body.read) {
                    let at = usize::try_from(at.saturating_sub(before)).unwrap_or(0);
                    // Every bit of it, so that it is another one whatever it was.
                    data[at] = !data[at];
                }
            }
            Change::Truncate(most) if body.read > *most => {
                let left = usize::try_from(most.saturating_sub(before)).unwrap_or(usize::MAX);
                data.truncate(if is_content { left } else { 0 });
                self.state = State::Over(End::Closed);
            }
            _ => {}
        }
        if !data.is_empty() {
            self.inlet.pass(data.freeze());
        }
        true
    }
}

/// Those of `met` that still act, as they are now: one that is over meanwhile leaves the answer alone.
fn still(met: Vec<Met>, toxics: &[Arc<Acting>]) -> Vec<Met> {
    let now = |met: Met| {
        let acting = toxics.iter().find(|toxic| toxic.id == met.acting.id)?;
        Some(Met { acting: Arc::clone(acting), ..met })
    };
    met.into_iter().filter_map(now).collect()
}

/// For how long an answer is held that has met these.
fn delays(met: &[Met]) -> Vec<Delay> {
    let held = |Met { acting, request, attempt }: &Met| match &acting.toxic.kind {
        Kind::HttpDelay(delay) => {
            Some(Delay::new(delay.at_ms(draw_delay(acting.seed, &acting.fault, *request, *attempt)), acting))
        }
        _ => None,
    };
    met.iter().filter_map(held).collect()
}

/// Which bytes of a body are changed: `count` of its first ones.
fn places(acting: &Acting, request: u64, attempt: u32, count: u64, length: u64) -> VecDeque<u64> {
    // `count` has a limit of its own; whatever the upstream's length says, no more is drawn.
    let within = length.min(CHANGED_WITHIN.max(count));
    let mut places: Vec<u64> = (0..count.min(within))
        .map(|nth| {
            let fault = format!("{}/{nth}", acting.fault);
            (draw_delay(acting.seed, &fault, request, attempt) * within as f64) as u64
        })
        .collect();
    places.sort_unstable();
    places.dedup();
    places.into()
}
