//! The clock of tokio's timers, which a test can stop.

use tokio::time::Instant;

/// Now, as tokio's timers take it.
#[expect(clippy::disallowed_methods, reason = "tokio's timers take no other instants")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
