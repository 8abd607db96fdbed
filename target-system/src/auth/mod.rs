//! Who is calling.
//!
//! # Layout
//!
//! * [`secret`]: a string that no log shows.
//! * [`bearer`]: the callers that a token stands for.
//! * [`jwt`]: signed tokens with an end.
//! * [`password`]: users and their passwords.

pub mod bearer;
pub mod jwt;
pub mod password;
pub mod secret;
