//! What the API answers when it refuses: Toxiproxy's wordings and codes.

use std::fmt;

use serde::Serialize;

/// A refusal, as `{"error":…,"status":…}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What for, in words.
    #[serde(rename = "error")]
    pub message: String,
    /// The HTTP status.
    pub status: u16,
}

impl ApiError {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self { message: message.into(), status }
    }

    /// The body is not what is asked for.
    pub fn bad_body(why: impl fmt::Display) -> Self {
        Self::new(400, format!("bad request body: {why}"))
    }

    /// `field` is missing.
    pub fn missing(field: impl fmt::Display) -> Self {
        Self::new(400, format!("missing required field: {field}"))
    }

    /// There is no such stream.
    #[must_use]
    pub fn invalid_stream() -> Self {
        Self::new(400, "stream was invalid, can be either upstream or downstream")
    }

    /// There is no such kind of toxic.
    #[must_use]
    pub fn invalid_type() -> Self {
        Self::new(400, "invalid toxic type")
    }

    /// There is no such proxy.
    #[must_use]
    pub fn no_proxy() -> Self {
        Self::new(404, "proxy not found")
    }

    /// There is no such toxic.
    #[must_use]
    pub fn no_toxic() -> Self {
        Self::new(404, "toxic not found")
    }

    /// There is such a proxy.
    #[must_use]
    pub fn proxy_exists() -> Self {
        Self::new(409, "proxy already exists")
    }

    /// There is such a toxic.
    #[must_use]
    pub fn toxic_exists() -> Self {
        Self::new(409, "toxic already exists")
    }

    /// There is no such partition.
    #[must_use]
    pub fn no_partition() -> Self {
        Self::new(404, "partition not found")
    }

    /// There is such a partition.
    #[must_use]
    pub fn partition_exists() -> Self {
        Self::new(409, "partition already exists")
    }

    /// No more of `what` than `limit`.
    #[must_use]
    pub fn too_many(what: &str, limit: usize) -> Self {
        Self::new(400, format!("{limit} {what} are the most there can be: delete one first"))
    }

    /// The machine refuses.
    pub fn failed(why: impl fmt::Display) -> Self {
        Self::new(500, why.to_string())
    }
}
