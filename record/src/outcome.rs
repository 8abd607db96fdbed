//! What became of one request.

use serde::{Deserialize, Serialize};

/// Why a request failed. The order is the order of [`crate::counts::Counts::failed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Failure {
    /// No complete answer within the scenario's timeout.
    Timeout = 0,
    /// No connection could be made.
    Refused = 1,
    /// The connection ended before the answer was complete.
    Reset = 2,
    /// A 5xx answer that is not marked "not executed".
    ServerError = 3,
    /// A status that the scenario neither expects nor declares a decline.
    UnexpectedStatus = 4,
    /// Bytes that are not an HTTP answer.
    BadAnswer = 5,
    /// An expected status with a body that is not what the scenario's check asks.
    CheckFailed = 6,
}

impl Failure {
    /// How many kinds there are.
    pub const COUNT: usize = 7;

    /// All kinds, in the order of [`crate::counts::Counts::failed`].
    pub const ALL: [Failure; Self::COUNT] = [
        Failure::Timeout,
        Failure::Refused,
        Failure::Reset,
        Failure::ServerError,
        Failure::UnexpectedStatus,
        Failure::BadAnswer,
        Failure::CheckFailed,
    ];

    /// The name used in every record and report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Failure::Timeout => "timeout",
            Failure::Refused => "refused",
            Failure::Reset => "reset",
            Failure::ServerError => "server_error",
            Failure::UnexpectedStatus => "unexpected_status",
            Failure::BadAnswer => "bad_answer",
            Failure::CheckFailed => "check_failed",
        }
    }

    /// The kind called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }
}

/// What became of one request that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered as expected.
    Ok,
    /// Answered with a declared business refusal (402 unless the scenario says otherwise).
    Declined,
    /// Refused by an overloaded target that says the request was not executed.
    Shed,
    /// Anything else.
    Failed(Failure),
}

impl Outcome {
    /// A stable code: 0 ok, 1 declined, 2 shed, 16 + kind for failures.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Outcome::Ok => 0,
            Outcome::Declined => 1,
            Outcome::Shed => 2,
            Outcome::Failed(f) => 16 + f as u8,
        }
    }

    /// The outcome with this [`code`](Self::code).
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Outcome::Ok),
            1 => Some(Outcome::Declined),
            2 => Some(Outcome::Shed),
            c => Failure::ALL.get(usize::from(c.checked_sub(16)?)).copied().map(Outcome::Failed),
        }
    }

    /// `ok`, `declined`, `shed`, or the name of the failure.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Declined => "declined",
            Outcome::Shed => "shed",
            Outcome::Failed(f) => f.name(),
        }
    }

    /// The outcome called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Outcome::Ok, Outcome::Declined, Outcome::Shed]
            .into_iter()
            .find(|o| o.name() == name)
            .or_else(|| Failure::from_name(name).map(Outcome::Failed))
    }

    /// Whether the target did what it was asked, including a declared refusal.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Outcome::Ok | Outcome::Declined)
    }
}

impl Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = String::deserialize(d)?;
        Outcome::from_name(&name)
            .ok_or_else(|| serde::de::Error::custom(format_args!("unknown outcome `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_round_trip() {
        let mut all = vec![Outcome::Ok, Outcome::Declined, Outcome::Shed];
        all.extend(Failure::ALL.map(Outcome::Failed));
        for o in all {
            assert_eq!(Outcome::from_code(o.code()), Some(o));
            assert_eq!(Outcome::from_name(o.name()), Some(o));
        }
        for f in Failure::ALL {
            assert_eq!(Failure::from_name(f.name()), Some(f));
            assert_eq!(Failure::ALL[f as usize], f);
        }
        assert_eq!(Outcome::from_code(3), None);
        assert_eq!(Outcome::from_code(16 + Failure::COUNT as u8), None);
    }
}
