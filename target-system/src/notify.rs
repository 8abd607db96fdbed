//! Notifications after a payment: a bounded queue in process and one worker behind the `notify`
//! fault point.
//!
//! Nothing here can reach back to the payment: a full queue loses the notification and counts
//! it. Delivery ends in the counter; a broker to deliver to is not part of this service yet.

use std::sync::Arc;

use squall_chaos::leases::Leases;
use squall_record::fault::FaultPoint;
use tokio::sync::mpsc;

use crate::limits::NOTIFY_QUEUE;
use crate::metrics::Metrics;

/// Notifications that the worker takes at once.
const TAKE: usize = 256;

/// One payment to tell about.
#[derive(Debug, Clone, Copy)]
struct Notice {
    seq: u64,
    request_id: u64,
}

/// The way to the worker.
#[derive(Debug)]
pub struct Notifier {
    notices: mpsc::Sender<Notice>,
    metrics: Arc<Metrics>,
}

impl Notifier {
    /// Tells about payment `seq`, or counts that it could not.
    pub fn offer(&self, seq: u64, request_id: u64) {
        if self.notices.try_send(Notice { seq, request_id }).is_err() {
            self.metrics.notifications_lost.inc();
        }
    }
}

/// Starts the worker on the current runtime. It ends when the notifier is dropped and everything
/// is delivered.
#[must_use]
pub fn start(leases: Arc<Leases>, metrics: Arc<Metrics>) -> (Notifier, tokio::task::JoinHandle<()>) {
    let (notices, queued) = mpsc::channel(NOTIFY_QUEUE);
    let worker = tokio::spawn(deliver(queued, leases, Arc::clone(&metrics)));
    (Notifier { notices, metrics }, worker)
}

async fn deliver(mut queued: mpsc::Receiver<Notice>, leases: Arc<Leases>, metrics: Arc<Metrics>) {
    let mut taken = Vec::with_capacity(TAKE);
    while queued.recv_many(&mut taken, TAKE).await > 0 {
        for notice in taken.drain(..) {
            match leases.pass(FaultPoint::Notify, notice.request_id, 0).await {
                Ok(()) => metrics.notifications_sent.inc(),
                Err(injected) => {
                    tracing::debug!(seq = notice.seq, fault = injected.fault, "notification failed");
                    metrics.notifications_failed.inc()
                }
            };
        }
    }
}
