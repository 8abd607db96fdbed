//! Takes what has arrived and commits it, again and again.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use squall_chaos::leases::Leases;
use squall_record::clock::Clock;
use tokio::sync::{Mutex, mpsc, watch};

use super::brake::Brake;
use super::commit::{self, Committed};
use super::job::{Batch, Job, gather};
use super::layout::Layout;
use super::notices::Told;
use super::replicas::Recent;
use super::{State, striped};
use crate::bank::BankError;
use crate::cache::Cache;
use crate::metrics::Metrics;
use crate::queue::event::Notice;
use crate::record::Verdict;
use crate::shards::map::Place;

/// How often a batch is tried while others are in its way.
const TRIES: u32 = 5;

/// One of those who take what has arrived.
pub(super) struct Committer {
    pub(super) queued: Arc<Mutex<mpsc::Receiver<Job>>>,
    pub(super) ended: watch::Receiver<bool>,
    pub(super) place: Place,
    pub(super) pool: Pool,
    pub(super) state: Arc<State>,
    pub(super) told: Arc<Told>,
    pub(super) recent: Option<Arc<Recent>>,
    pub(super) cache: Arc<Cache>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    /// Jobs of one transaction.
    pub(super) most: usize,
    pub(super) layout: Layout,
    pub(super) time_limit: Duration,
    pub(super) leases: Arc<Leases>,
}

impl Committer {
    /// Commits until the end has come and nothing is left.
    pub(super) async fn run(mut self) {
        let mut taken = Vec::new();
        while self.take(&mut taken).await > 0 {
            let (batch, replies) = gather(taken.drain(..));
            let began_ns = self.clock.now_ns();
            match self.settle(&batch, began_ns).await {
                Ok(committed) => {
                    let took_ns = self.clock.now_ns() - began_ns;
                    for trace in batch.asked.iter().filter_map(|asked| asked.trace.as_deref()) {
                        trace.committed(batch.jobs(), took_ns);
                    }
                    // Claims of keys are dropped before anybody is told: a client that asks again at once is not in
                    // its own way.
                    drop(batch);
                    replies.committed(committed);
                }
                Err(error) => {
                    tracing::error!(%error, jobs = batch.jobs(), "orders were not settled");
                    drop(batch);
                    replies.failed();
                }
            }
        }
    }

    /// Takes what has arrived, or waits for it; nothing when the end has come.
    async fn take(&mut self, taken: &mut Vec<Job>) -> usize {
        let mut queued = self.queued.lock().await;
        tokio::select! {
            biased;
            n = queued.recv_many(taken, self.most) => return n,
            _ = self.ended.wait_for(|ended| *ended) => {}
        }
        // What is in the queue is still given out.
        queued.close();
        queued.recv_many(taken, self.most).await
    }

    /// Commits all of `batch`, which was begun at `began_ns`. What it returns may be acknowledged: nobody will be shown what was
    /// before.
    async fn settle(&self, batch: &Batch, began_ns: u64) -> Result<Committed, BankError> {
        let committed = self.commit(batch).await.inspect_err(|error| {
            // Without a connection nothing was begun; else the commit's answer may be what was lost.
            if !matches!(error, BankError::Pool(_)) {
                self.cache.doubt();
            }
        })?;
        // Also when it cannot be acknowledged: who asks again is told of a payment that was made.
        self.count(batch, &committed, self.clock.now_ns() - began_ns);
        if let Some(recent) = &self.recent {
            recent.note(committed.changes.iter().map(|change| (change.account, change.seq)));
        }
        let seen = committed.cache.as_ref().ok_or(BankError::Row("cache_epoch"))?;
        self.cache.tell(seen, &committed.changes).await?;
        Ok(committed)
    }

    /// Commits all of `batch` in one transaction, whatever is in its way at first.
    async fn commit(&self, batch: &Batch) -> Result<Committed, BankError> {
        let notices = self.told.by_outbox();
        // Decided about by its first payment; a batch without one by its number.
        let first = batch.asked.first().map(|asked| asked.request_id);
        let first = first.or_else(|| batch.credits.first().map(|credit| credit.request_id));
        let request_id = first.unwrap_or_else(|| self.state.commits.load(Relaxed));
        let brake = Brake { leases: &self.leases, request_id };
        let mut tries = 0;
        loop {
            tries += 1;
            let connection = self.pool.get().await?;
            let committing = async {
                match (self.layout, &batch.asked[..]) {
                    (Layout::Striped, [asked]) => striped::commit(&connection, asked, notices, brake).await,
                    _ => commit::commit(&connection, batch, self.place, notices, brake).await,
                }
            };
            match tokio::time::timeout(self.time_limit, committing).await {
                Ok(Ok(committed)) => return Ok(committed),
                Ok(Err(e)) if commit::was_in_the_way(&e) && tries < TRIES => {
                    // Its transaction is over or has to be.
                    if connection.batch_execute("ROLLBACK").await.is_err() {
                        drop(Object::take(connection));
                    }
                }
                Ok(Err(e)) => {
                    drop(Object::take(connection));
                    return Err(e.into());
                }
                Err(_) => {
                    drop(Object::take(connection));
                    return Err(BankError::Slow(self.time_limit));
                }
            }
        }
    }

    fn count(&self, batch: &Batch, committed: &Committed, took_ns: u64) {
        let mut fresh = 0;
        for (asked, settled) in batch.asked.iter().zip(&committed.outcomes) {
            let Some(settled) = settled.ok().filter(|settled| !settled.replayed) else { continue };
            fresh += 1;
            self.metrics.settled(&settled.record);
            match settled.record.verdict {
                Verdict::Succeeded { .. } => {
                    self.state.payments.fetch_add(1, Relaxed);
                    // What goes to another database is told of there, once the payee has it.
                    if self.place.holds(asked.order.to) {
                        self.told.paid(|| Notice::of(&settled.record, asked.request_id, asked.trace.clone()));
                    }
                }
                Verdict::Declined { .. } => {
                    self.state.declines.fetch_add(1, Relaxed);
                }
            }
        }
        for (credit, _) in
            batch.credits.iter().zip(&committed.credited).filter(|(_, given)| **given == Ok(true))
        {
            fresh += 1;
            self.told.paid(|| {
                let (seq, order, created_ms) = (credit.origin, credit.order, credit.made_ms);
                let (request_id, trace) = (credit.request_id, credit.trace.clone());
                Some(Notice { seq, order, created_ms, request_id, trace })
            });
        }
        self.state.healthy.store(true, Relaxed);
        if fresh == 0 {
            // No money has moved.
            return;
        }
        self.told.committed();
        self.state.commits.fetch_add(1, Relaxed);
        self.state.last_commit_us.store(took_ns / 1000, Relaxed);
        self.metrics.committed(fresh, took_ns, 0);
    }
}
