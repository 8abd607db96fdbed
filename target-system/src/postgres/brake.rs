//! The `commit` fault point of a transaction: it waits before its COMMIT, with all that it holds.

use deadpool_postgres::Client;
use squall_chaos::leases::Leases;
use squall_record::fault::FaultPoint;
use tokio_postgres::Error;

/// What may hold up a transaction's commit.
#[derive(Debug, Clone, Copy)]
pub struct Brake<'l> {
    /// The faults in force.
    pub leases: &'l Leases,
    /// The request of its first payment: what is decided about.
    pub request_id: u64,
}

impl Brake<'_> {
    /// Whether something may be armed.
    pub(super) fn is_on(self) -> bool {
        self.leases.any_at(FaultPoint::Commit)
    }

    /// Waits for as long as a fault says; at once when none is armed.
    pub(super) async fn hold(self) {
        // Nothing but latency is armed there.
        let _ = self.leases.pass(FaultPoint::Commit, self.request_id, 0).await;
    }

    /// Commits, later when a fault says so.
    ///
    /// # Errors
    /// When the database gives one.
    pub(super) async fn commit(self, client: &Client) -> Result<(), Error> {
        self.hold().await;
        client.batch_execute("COMMIT").await
    }
}
