//! The environment's switches: `CHAOS_ENGINEERING_ENABLED` and `CHAOS_FAILURE_RATE`.
//!
//! They arm one fault when the process starts, for as long as it lives: the only lease whose
//! holder is the process itself. Everything else is armed over the admin port.

use squall_record::fault::{Effect, FaultPoint, FaultSpec, Place};

/// `true` arms the fault; `false` or absence does not.
pub const ENABLED_VAR: &str = "CHAOS_ENGINEERING_ENABLED";
/// The share of requests that fail, 0..=1.
pub const RATE_VAR: &str = "CHAOS_FAILURE_RATE";
/// The share when [`RATE_VAR`] is absent.
pub const DEFAULT_RATE: f64 = 0.01;
/// The name of the fault.
pub const FAULT_NAME: &str = "chaos-failure-rate";

/// Why the switches cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSwitch {
    /// Neither `true` nor `false`.
    #[error("{ENABLED_VAR} is `{0}`: use `true` or `false`")]
    Enabled(String),
    /// Not a share.
    #[error("{RATE_VAR} is `{0}`: use a number from 0 to 1")]
    Rate(String),
}

/// The fault that the environment asks for, read through `var`; `None` when it asks for none.
/// Requests at the `api` point then answer 500.
///
/// # Errors
/// When a switch is set to something that it does not know.
pub fn from_env(var: impl Fn(&str) -> Option<String>) -> Result<Option<FaultSpec>, BadSwitch> {
    let enabled = var(ENABLED_VAR).unwrap_or_default();
    match enabled.to_ascii_lowercase().as_str() {
        "true" => {}
        "false" | "" => return Ok(None),
        _ => return Err(BadSwitch::Enabled(enabled)),
    }
    let fraction = match var(RATE_VAR) {
        None => DEFAULT_RATE,
        Some(text) => match text.trim().parse::<f64>() {
            Ok(rate) if (0.0..=1.0).contains(&rate) => rate,
            _ => return Err(BadSwitch::Rate(text)),
        },
    };
    Ok(Some(FaultSpec {
        name: FAULT_NAME.to_owned(),
        place: Place::Point(FaultPoint::Api),
        effect: Effect::Error { status: 500 },
        fraction,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(enabled: Option<&str>, rate: Option<&str>) -> Result<Option<f64>, BadSwitch> {
        let var = |name: &str| {
            match name {
                ENABLED_VAR => enabled,
                RATE_VAR => rate,
                _ => None,
            }
            .map(str::to_owned)
        };
        from_env(var).map(|f| f.map(|f| f.fraction))
    }

    #[test]
    fn nothing_is_armed_unless_enabled() {
        assert_eq!(read(None, Some("0.5")), Ok(None));
        assert_eq!(read(Some("false"), Some("0.5")), Ok(None));
        assert_eq!(read(Some("True"), None), Ok(Some(DEFAULT_RATE)));
        assert_eq!(read(Some("true"), Some("0.25")), Ok(Some(0.25)));
    }

    #[test]
    fn a_switch_that_makes_no_sense_is_an_error() {
        assert!(read(Some("yes"), None).unwrap_err().to_string().contains("`yes`"));
        for rate in ["1.5", "-1", "NaN", "one"] {
            assert_eq!(read(Some("true"), Some(rate)), Err(BadSwitch::Rate(rate.to_owned())));
        }
    }
}
