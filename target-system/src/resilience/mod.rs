//! What stands between this service and one that it calls, so that neither takes the other down.
//!
//! A call goes through a [`guard`]: its time limit, then its retries, and each attempt through the
//! breaker and the bulkhead. Each mechanism is a state machine that is told the time and does nothing
//! but decide; the guard alone waits.
//!
//! # Layout
//!
//! * [`breaker`]: asks nobody who has just failed again and again.
//! * [`budget`]: retries are a share of calls, so that they do not multiply an overload.
//! * [`backoff`]: how long to wait before a retry.
//! * [`bulkhead`]: so many calls at once, so that one slow dependency does not take what others need.
//! * [`guard`]: a call through all of them.
//! * [`figures`]: what they say of themselves.

pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod bulkhead;
pub mod figures;
pub mod guard;
