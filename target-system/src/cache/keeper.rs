//! Takes part in epochs, one after another.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::ensure;
use deadpool_postgres::Pool;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::link::{Address, Link};
use super::session::Session;
use super::{Cache, warm};
use crate::limits::{
    CACHE_LINGER, CACHE_REJOIN, CACHE_REJOIN_MOST, CACHE_RENEW_EVERY, CACHE_STEADY, SESSION_START,
};

/// What keeps the cache open.
#[derive(Debug)]
pub struct Keeper {
    task: JoinHandle<()>,
    closing: watch::Sender<bool>,
}

/// Why a part in an epoch is over.
enum Over {
    /// Redis does not answer over this connection any more.
    Lost,
    /// The epoch is over.
    Ended,
    /// The process ends.
    Closing,
}

impl Keeper {
    /// Begins to take part, when `cache` is on. Waits for the first epoch, though not for long; then the most active
    /// accounts are read, through `database`.
    pub async fn start(cache: &Arc<Cache>, database: Pool) -> Option<Self> {
        let address = cache.settings.redis.clone().filter(|_| cache.is_on())?;
        let (closing, closed) = watch::channel(false);
        let task = tokio::spawn(keep(Arc::clone(cache), address, closed));
        let mut sessions = cache.session.subscribe();
        let first = tokio::time::timeout(SESSION_START, sessions.wait_for(Option::is_some));
        if first.await.is_err() {
            tracing::warn!("the cache is not open yet: the database answers");
        }
        tokio::spawn(warm::warm(Arc::clone(cache), database));
        Some(Self { task, closing })
    }

    /// Gives the part back.
    pub async fn end(self) {
        self.closing.send_replace(true);
        // One that has panicked gives nothing back.
        let _ = self.task.await;
    }
}

async fn keep(cache: Arc<Cache>, address: Address, mut closing: watch::Receiver<bool>) {
    let mut pause = CACHE_REJOIN;
    // Of what keeps it closed each reason is told once.
    let mut told = String::new();
    loop {
        let began_ns = cache.lease.now_ns();
        let over = match take_part(&cache, &address, &mut closing).await {
            Ok(over) => {
                told.clear();
                over
            }
            Err(error) => {
                cache.metrics.redis_errors.inc();
                let why = error.to_string();
                if why != told {
                    tracing::warn!(error = why, "the cache cannot be opened");
                    told = why;
                }
                Over::Lost
            }
        };
        let lasted = Duration::from_nanos(cache.lease.now_ns() - began_ns);
        pause = match over {
            Over::Closing => return,
            _ if lasted >= CACHE_STEADY => CACHE_REJOIN,
            Over::Lost => pause,
            // Somebody who cannot be told waits for a lease each time that this begins again.
            Over::Ended => (pause * 2).min(CACHE_REJOIN_MOST),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = closing.wait_for(|closing| *closing) => return,
        }
    }
}

/// Takes part in the epoch that is now, until it is over.
async fn take_part(
    cache: &Arc<Cache>,
    address: &Address,
    closing: &mut watch::Receiver<bool>,
) -> anyhow::Result<Over> {
    let (link, pushes) = Link::connect(address, cache.metrics.clone()).await?;
    let mut seen = cache.epochs.current().await?;
    if seen.redis.as_ref().is_some_and(|run| *run != link.run) || cache.in_doubt.load(Relaxed) {
        // Whatever that server holds was true in its time.
        seen = cache.end(seen.id, "it belongs to another run of Redis").await?;
    }
    let mut holder = [0; 8];
    getrandom::fill(&mut holder)?;
    let run = link.run.clone();
    let session = Session::new(&cache.name, seen.id, i64::from_le_bytes(holder), cache.lease.turn(), link);
    let session = Arc::new(session);
    session.link.subscribe(&session.channels()).await?;
    let hearing = tokio::spawn(Arc::clone(&session).hear(pushes, Arc::clone(&cache.l1)));
    // Whoever is told of from here on says so; what is read from here on is cached.
    let asked_ns = cache.lease.now_ns();
    let joined = cache.epochs.join(session.holder, session.epoch, &run).await;
    let over = match joined {
        Ok(true) => {
            cache.lease.renew(asked_ns);
            cache.session.send_replace(Some(Arc::clone(&session)));
            cache.metrics.opened.inc();
            tracing::info!("the cache is open");
            stay(cache, &session, closing).await
        }
        Ok(false) => Over::Ended,
        Err(_) => Over::Lost,
    };
    cache.lease.end();
    cache.session.send_replace(None);
    cache.l1.clear();
    if let Err(error) = cache.epochs.leave(session.holder).await {
        // Then whoever waits for this process to hear ends the epoch.
        tracing::warn!(%error, "the cache was not left");
    }
    if !matches!(over, Over::Lost) {
        // Whoever has read before that this process takes part still waits for its word.
        tokio::time::sleep(CACHE_LINGER).await;
    }
    hearing.abort();
    ensure!(joined.is_ok(), "the database does not answer");
    Ok(over)
}

/// Renews the lease for as long as the epoch is the current one.
async fn stay(cache: &Cache, session: &Session, closing: &mut watch::Receiver<bool>) -> Over {
    loop {
        tokio::select! {
            () = session.link.lost() => return Over::Lost,
            _ = closing.wait_for(|closing| *closing) => return Over::Closing,
            () = tokio::time::sleep(CACHE_RENEW_EVERY) => {}
        }
        let asked_ns = cache.lease.now_ns();
        match cache.epochs.current().await {
            Ok(seen) if seen.id != session.epoch => return Over::Ended,
            Ok(_) if cache.in_doubt.load(Relaxed) => {
                // When that fails, it is tried again before the next part.
                let _ = cache.end(session.epoch, "it is not known what was committed").await;
                return Over::Ended;
            }
            Ok(_) => cache.lease.renew(asked_ns),
            // The lease is lost by itself. What is cached stays right: nothing is acknowledged that this
            // process has not heard of.
            Err(_) => {}
        }
    }
}
