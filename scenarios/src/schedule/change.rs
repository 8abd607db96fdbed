//! Live changes of the rate.

use crate::units::rate::{MAX_RATE_RPS, format_rate};

/// The most changes that wait for their instant.
pub const MAX_PENDING_CHANGES: usize = 1024;

/// What becomes of the rate from an instant on. Phases stay where they are on the time axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// The plan's rate times this, to the end. `Scale(1.0)` is the way back to the plan.
    Scale(f64),
    /// This many requests per second instead of the plan's rate, to the end.
    Rate(f64),
    /// No arrivals until [`Resume`](Change::Resume). `Scale` and `Rate` are remembered meanwhile.
    Pause,
    /// The rate that would be in force without the pause.
    Resume,
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChangeError {
    /// Negative, infinite or no number.
    #[error("{0} is neither a rate nor a scale; give a number from 0 up")]
    NotANumber(f64),
    /// Above [`MAX_RATE_RPS`].
    #[error("the rate would reach {}, above the highest rate, {}", format_rate(*.0), format_rate(MAX_RATE_RPS))]
    TooHigh(f64),
    /// [`MAX_PENDING_CHANGES`]
    #[error("{MAX_PENDING_CHANGES} changes wait for their instant already; wait for some of them")]
    TooMany,
}

/// What all changes up to an instant make of the plan's rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Setting {
    paused: bool,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Plan { scale: f64 },
    Hold { rps: f64 },
}

impl Setting {
    /// The plan as it is.
    pub(super) const PLAN: Self = Self { paused: false, form: Form::Plan { scale: 1.0 } };

    /// The setting after `change` of a plan that peaks at `peak_rps`.
    pub(super) fn after(self, change: Change, peak_rps: f64) -> Result<Self, ChangeError> {
        let checked = |value: f64, rps: f64| {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(ChangeError::NotANumber(value));
            }
            if rps > MAX_RATE_RPS { Err(ChangeError::TooHigh(rps)) } else { Ok(value) }
        };
        Ok(match change {
            Change::Scale(scale) => {
                Self { form: Form::Plan { scale: checked(scale, scale * peak_rps)? }, ..self }
            }
            Change::Rate(rps) => Self { form: Form::Hold { rps: checked(rps, rps)? }, ..self },
            Change::Pause => Self { paused: true, ..self },
            Change::Resume => Self { paused: false, ..self },
        })
    }

    /// The rate and its slope where the plan's are `rps` and `slope`.
    pub(super) fn apply(self, rps: f64, slope: f64) -> (f64, f64) {
        match self {
            Self { paused: true, .. } => (0.0, 0.0),
            Self { form: Form::Plan { scale }, .. } => (rps * scale, slope * scale),
            Self { form: Form::Hold { rps }, .. } => (rps, 0.0),
        }
    }
}
