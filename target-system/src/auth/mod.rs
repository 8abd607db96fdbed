//! Who is calling, and what they may do.
//!
//! # Layout
//!
//! * [`secret`]: a string that no log shows, and where it comes from.
//! * [`role`]: callers, their roles and their accounts.
//! * [`users`]: who may log in.
//! * [`password`]: what is kept of a password.
//! * [`attempts`]: how many wrong ones a name may have.
//! * [`jwt`]: signed tokens with an end.
//! * [`logins`]: logins, and their refresh tokens.
//! * [`args`]: what can be set.
//! * [`bearer`]: the callers that a token stands for.
//! * `figures`: what authentication says of itself.

pub mod args;
pub mod attempts;
pub mod bearer;
mod figures;
pub mod jwt;
pub mod logins;
pub mod password;
pub mod role;
pub mod secret;
pub mod users;
