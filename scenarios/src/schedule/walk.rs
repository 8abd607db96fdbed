//! The rate over time, walked forward from stretch to stretch: the plan's pieces, cut where a
//! burst begins or ends and where a change takes effect.

use std::sync::Arc;

use super::change::{Change, ChangeError, MAX_PENDING_CHANGES, Setting};
use super::pieces::{Piece, pieces};
use super::spells::{Spell, Spells};
use super::{nanos, seconds};
use crate::plan::Plan;

/// What decides about the rate.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    pieces: Arc<[Piece]>,
    peak_rps: f64,
    spells: Spells,
    /// Those that a walk may still come to, in order of time.
    changes: Vec<Changed>,
    /// When the last change takes effect, and what holds then.
    last_ns: u64,
    last: Setting,
}

#[derive(Debug, Clone, Copy)]
struct Changed {
    at_ns: u64,
    setting: Setting,
}

impl Rate {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            pieces: pieces(plan),
            peak_rps: plan.peak_rps(),
            spells: Spells::new(plan),
            changes: Vec::new(),
            last_ns: 0,
            last: Setting::PLAN,
        }
    }

    /// A walk that stands at the beginning.
    pub(super) fn start(&self) -> Walk {
        Walk {
            stretch: Stretch::default(),
            piece: 0,
            spell: self.spells.first(),
            changes: 0,
            setting: Setting::PLAN,
        }
    }

    /// Forgets the changes that `earliest` has behind it; `latest` stands behind it on the way.
    pub(super) fn forget_changes(&mut self, earliest: &mut Walk, latest: &mut Walk) {
        latest.changes -= earliest.changes;
        self.changes.drain(..std::mem::take(&mut earliest.changes));
    }

    /// Adds a change from `at_ns` or the last change on, whichever is later; returns which.
    pub(super) fn change(&mut self, at_ns: u64, change: Change) -> Result<u64, ChangeError> {
        if self.changes.len() >= MAX_PENDING_CHANGES {
            return Err(ChangeError::TooMany);
        }
        self.last = self.last.after(change, self.peak_rps)?;
        self.last_ns = self.last_ns.max(at_ns);
        self.changes.push(Changed { at_ns: self.last_ns, setting: self.last });
        Ok(self.last_ns)
    }
}

/// A stretch of time in which the rate is a straight line.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    phase: u16,
    start_ns: u64,
    start_s: f64,
    end_s: f64,
    from_rps: f64,
    /// Requests per second, per second.
    slope: f64,
    /// Λ at its start and end.
    mass_start: f64,
    mass_end: f64,
}

impl Stretch {
    fn ending_at(self, end_s: f64) -> Self {
        let length_s = end_s - self.start_s;
        let mass = (self.from_rps + self.slope * length_s / 2.0) * length_s;
        Self { end_s, mass_end: self.mass_start + mass.max(0.0), ..self }
    }
}

/// A place on the way along a [`Rate`]: the stretch it stands in and what comes after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    stretch: Stretch,
    piece: usize,
    spell: Spell,
    /// How many of the rate's changes are in force.
    changes: usize,
    setting: Setting,
}

impl Walk {
    /// Λ at the end of the stretch.
    #[inline]
    pub(super) fn mass_end(&self) -> f64 {
        self.stretch.mass_end
    }

    pub(super) fn phase(&self) -> u16 {
        self.stretch.phase
    }

    /// The instant at which Λ reaches `mass`, which lies in the stretch.
    #[inline]
    pub(super) fn at_ns(&self, mass: f64) -> u64 {
        let s = &self.stretch;
        let m = (mass - s.mass_start).max(0.0);
        // Root of from·t + slope·t²/2 = m, in the form that does not cancel when slope is small.
        let root = (s.from_rps * s.from_rps + 2.0 * s.slope * m).max(0.0).sqrt();
        let denominator = s.from_rps + root;
        let t = if denominator > 0.0 { 2.0 * m / denominator } else { 0.0 };
        // Rounding may not push an arrival out of its stretch, nor before a change.
        nanos((s.start_s + t).min(s.end_s)).max(s.start_ns)
    }

    /// Lets the stretch end at `at_ns`, if it lasts longer.
    pub(super) fn cut(&mut self, at_ns: u64) {
        let end_s = seconds(at_ns).max(self.stretch.start_s);
        if end_s < self.stretch.end_s {
            self.stretch = self.stretch.ending_at(end_s);
        }
    }

    /// Goes on to the next stretch. `false` when there is none, and then stays.
    pub(super) fn advance(&mut self, rate: &Rate) -> bool {
        let start_s = self.stretch.end_s;
        while rate.pieces.get(self.piece).is_some_and(|p| p.end_s <= start_s) {
            self.piece += 1;
        }
        let Some(piece) = rate.pieces.get(self.piece) else { return false };
        while self.spell.end_s <= start_s {
            self.spell = rate.spells.after(&self.spell);
        }
        let mut start_ns = nanos(start_s);
        while let Some(c) = rate.changes.get(self.changes).filter(|c| seconds(c.at_ns) <= start_s) {
            start_ns = start_ns.max(c.at_ns);
            self.setting = c.setting;
            self.changes += 1;
        }
        let change_s = rate.changes.get(self.changes).map_or(f64::INFINITY, |c| seconds(c.at_ns));
        let planned_rps = (piece.from_rps + piece.slope * (start_s - piece.start_s)).max(0.0);
        let (rps, slope) = self.setting.apply(planned_rps, piece.slope);
        self.stretch = Stretch {
            phase: piece.phase,
            start_ns,
            start_s,
            from_rps: rps * self.spell.factor,
            slope: slope * self.spell.factor,
            mass_start: self.stretch.mass_end,
            ..Stretch::default()
        }
        .ending_at(piece.end_s.min(self.spell.end_s).min(change_s));
        true
    }
}
