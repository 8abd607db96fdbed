//! How people write rates, durations and shares: `10k/s`, `1m30s`, `99.9%`.
//!
//! Plain functions over `&str`; nothing here knows of TOML.
//!
//! # Layout
//!
//! * [`rate`]: requests per time.
//! * [`duration`]: spans of time.
//! * [`ratio`]: shares of a whole.
//! * [`number`]: the decimal number that all of them begin with.

pub mod duration;
pub mod number;
pub mod rate;
pub mod ratio;
