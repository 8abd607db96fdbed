//! What each kind of toxic can be told. A missing attribute is 0, as in Toxiproxy, but for those kinds that Toxiproxy does not have.

use serde::{Deserialize, Serialize};

/// Attributes of `noop`: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Noop {}

/// Attributes of `latency`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// In milliseconds, from when the data was received.
    pub latency: u64,
    /// Added or taken, evenly, in milliseconds.
    pub jitter: u64,
}

/// Attributes of `bandwidth`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bandwidth {
    /// In thousands of bytes a second; at 0 nothing passes.
    pub rate: u64,
    /// What the rate becomes, evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// How long that takes, in milliseconds from when the toxic was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<u64>,
}

impl Bandwidth {
    /// The rate so long after the toxic was made.
    #[must_use]
    pub fn rate_after(&self, ns: u64) -> u64 {
        let (Some(to), Some(over)) = (self.to, self.over) else { return self.rate };
        let done = (ns as f64 / (over as f64 * 1e6)).clamp(0.0, 1.0);
        (self.rate as f64 + (to as f64 - self.rate as f64) * done) as u64
    }

    /// Whether it is still to change so long after the toxic was made.
    #[must_use]
    pub fn changes_after(&self, ns: u64) -> bool {
        self.to.is_some() && self.over.is_some_and(|over| ns < over.saturating_mul(1_000_000))
    }
}

/// Attributes of `slow_close`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlowClose {
    /// In milliseconds.
    pub delay: u64,
}

/// Attributes of `timeout`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeout {
    /// In milliseconds; with 0 the connection stays open.
    pub timeout: u64,
}

/// Attributes of `reset_peer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResetPeer {
    /// In milliseconds, from the first data.
    pub timeout: u64,
}

/// Attributes of `slicer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slicer {
    /// Of a piece, in bytes.
    pub average_size: u64,
    /// By how much sizes differ from that, in bytes.
    pub size_variation: u64,
    /// Between two pieces, in microseconds.
    pub delay: u64,
}

/// Attributes of `limit_data`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitData {
    /// Of one connection.
    pub bytes: u64,
}

/// Attributes of `loss`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Loss {
    /// The share of packets that is lost, 0..=0.9.
    pub loss: f64,
    /// After how many milliseconds a lost packet is sent again; doubled each time that it is lost again, as in RFC 6298.
    pub rto: u64,
    /// Of a packet, in bytes.
    pub size: u64,
}

impl Default for Loss {
    fn default() -> Self {
        Self { loss: 0.01, rto: 200, size: 1460 }
    }
}

/// Attributes of `slow_connect`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlowConnect {
    /// In milliseconds.
    pub delay: u64,
}

/// Attributes of `refuse`: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refuse {}

/// Attributes of `partition`: none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Partition {}

/// Attributes of `http_abort`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpAbort {
    /// Of the answer, 200..=599; at 0 there is none, and the connection is reset.
    pub status: u16,
    /// Of the answer.
    pub body: String,
}

impl Default for HttpAbort {
    fn default() -> Self {
        Self { status: 503, body: String::new() }
    }
}

/// Attributes of `http_body`: exactly one of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpBody {
    /// Ends the connection after so many bytes of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate: Option<u64>,
    /// Changes so many bytes near its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<u64>,
    /// Puts this in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<String>,
}
