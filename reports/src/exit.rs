//! What the process's exit code says. The numbers are k6's where k6 has one.
//!
//! Highest concern wins: [`AUDIT_INVALID`], [`INTERRUPTED`], [`RUN_INVALID`], [`ABORTED`],
//! [`GATE_FAILED`], [`INCONCLUSIVE`], [`PASSED`]. An interruption ranks above the verdicts on
//! generator and gates, because on a part of a run those are no conclusions; it ranks below lost
//! money, which is a fact however short the run was.

use crate::generator::RunVerdict;
use crate::summary::{AuditVerdict, GatesVerdict};

/// Everything that was asked for was shown.
pub const PASSED: u8 = 0;
/// squall itself failed.
pub const INTERNAL: u8 = 1;
/// A gate failed.
pub const GATE_FAILED: u8 = 99;
/// The scenario or the command line is wrong; nothing was sent.
pub const INVALID_SCENARIO: u8 = 104;
/// The user ended the run; the reports are written.
pub const INTERRUPTED: u8 = 105;
/// An abort condition ended the run.
pub const ABORTED: u8 = 108;
/// The generator, not the target, was the limit.
pub const RUN_INVALID: u8 = 120;
/// Payments were lost, doubled or invented.
pub const AUDIT_INVALID: u8 = 121;
/// The run is too short or too broken to tell.
pub const INCONCLUSIVE: u8 = 122;

/// The exit code of a run that was judged, by the order of concern above.
#[must_use]
pub fn code(
    interrupted: bool,
    aborted: bool,
    run: RunVerdict,
    gates: GatesVerdict,
    audit: AuditVerdict,
) -> u8 {
    if audit == AuditVerdict::Invalid {
        AUDIT_INVALID
    } else if interrupted {
        INTERRUPTED
    } else if run == RunVerdict::Invalid {
        RUN_INVALID
    } else if aborted {
        ABORTED
    } else if gates == GatesVerdict::Fail {
        GATE_FAILED
    } else if gates == GatesVerdict::Inconclusive || audit == AuditVerdict::Unknown {
        INCONCLUSIVE
    } else {
        PASSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_concern_wins() {
        use AuditVerdict as A;
        use GatesVerdict as G;
        use RunVerdict as R;
        let (no, yes) = (false, true);
        for (interrupted, aborted, run, gates, audit, expected) in [
            (yes, yes, R::Invalid, G::Fail, A::Invalid, AUDIT_INVALID),
            (yes, yes, R::Invalid, G::Fail, A::None, INTERRUPTED),
            (no, yes, R::Invalid, G::Fail, A::Unknown, RUN_INVALID),
            (no, yes, R::Suspect, G::Fail, A::Unknown, ABORTED),
            (no, no, R::Suspect, G::Fail, A::Unknown, GATE_FAILED),
            (no, no, R::Valid, G::Inconclusive, A::Valid, INCONCLUSIVE),
            (no, no, R::Valid, G::Pass, A::Unknown, INCONCLUSIVE),
            (no, no, R::Suspect, G::Pass, A::Valid, PASSED),
            (no, no, R::Valid, G::None, A::None, PASSED),
        ] {
            let got = code(interrupted, aborted, run, gates, audit);
            assert_eq!(got, expected, "{run:?} {gates:?} {audit:?}");
        }
    }
}
