//! The plan's curves as straight lines on the run's time axis.

use std::sync::Arc;

use crate::plan::Plan;

/// A straight line of a phase's curve.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) phase: u16,
    pub(super) start_s: f64,
    pub(super) end_s: f64,
    pub(super) from_rps: f64,
    /// Requests per second, per second.
    pub(super) slope: f64,
}

/// The lines of all phases, each beginning where the one before ends.
pub(super) fn pieces(plan: &Plan) -> Arc<[Piece]> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (phase, p) in plan.phases.iter().enumerate() {
        for w in p.curve.points().windows(2) {
            let length_s = w[1].at_s - w[0].at_s;
            // A jump takes no time.
            if length_s <= 0.0 {
                continue;
            }
            pieces.push(Piece {
                // At most `lower::MAX_PHASES`.
                phase: phase as u16,
                start_s: p.start_s + w[0].at_s,
                end_s: p.end_s.min(p.start_s + w[1].at_s),
                from_rps: w[0].rps,
                slope: (w[1].rps - w[0].rps) / length_s,
            });
        }
        // Sums round; no sliver of time may belong to nobody.
        if let Some(last) = pieces.last_mut() {
            last.end_s = p.end_s;
        }
    }
    pieces.into()
}
