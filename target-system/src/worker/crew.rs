//! As many workers as are needed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use squall_record::clock::Clock;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::Delivery;
use super::args::Settings;
use super::scaling::Scale;
use crate::http::accept::begun;
use crate::queue::{Queue, Retired};

/// How often it is looked at what waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The workers of a process.
#[derive(Debug)]
pub struct Crew {
    delivery: Arc<Delivery>,
    ending: watch::Sender<bool>,
    foreman: JoinHandle<()>,
}

impl Crew {
    /// Starts the workers on the current runtime.
    #[must_use]
    pub fn start(delivery: Delivery, settings: &Settings) -> Self {
        let delivery = Arc::new(delivery);
        let (ending, ended) = watch::channel(false);
        let foreman = Foreman {
            delivery: Arc::clone(&delivery),
            target: watch::Sender::new(settings.bounds.min),
            scale: Scale::new(settings.bounds),
            scale_every: settings.scale_every,
            workers: JoinSet::new(),
            places: Vec::new(),
            clock: Clock::start(),
        };
        Self { delivery, ending, foreman: tokio::spawn(foreman.run(ended)) }
    }

    /// What the workers share.
    #[must_use]
    pub fn delivery(&self) -> &Arc<Delivery> {
        &self.delivery
    }

    /// Lets the workers end: those of a server after what they have in hand, those of this process after
    /// all that the store has left them. What takes longer than `patience` is given up; on a server it
    /// comes to other workers.
    pub async fn end(mut self, patience: Duration) {
        if matches!(self.delivery.queue, Queue::JetStream(_)) {
            self.ending.send_replace(true);
        }
        if tokio::time::timeout(patience, &mut self.foreman).await.is_err() {
            // Its workers are aborted with it.
            self.foreman.abort();
            let _ = self.foreman.await;
        }
        match &self.delivery.queue {
            Queue::Local(queue) => match queue.give_up().await {
                0 => {}
                left => tracing::warn!(left, "notices were not delivered, and end with the process"),
            },
            Queue::JetStream(queue) => queue.end().await,
        }
    }
}

/// Who sees to it that there are as many workers as are needed.
struct Foreman {
    delivery: Arc<Delivery>,
    /// How many there are to be; those beyond it end.
    target: watch::Sender<usize>,
    scale: Scale,
    scale_every: Duration,
    /// The workers. They end with the set; each says whether the queue has ended.
    workers: JoinSet<bool>,
    /// Who is at each place.
    places: Vec<AbortHandle>,
    clock: Clock,
}

impl Foreman {
    async fn run(mut self, mut ending: watch::Receiver<bool>) {
        let mut look = tokio::time::interval(LOOK_EVERY.min(self.scale_every));
        let mut decide_at = Duration::ZERO;
        loop {
            tokio::select! {
                () = begun(&mut ending) => break,
                Some(ended) = self.workers.join_next() => match ended {
                    Ok(false) => {}
                    Ok(true) => break,
                    // Another takes its place at the next look.
                    Err(error) => tracing::error!(%error, "a worker has panicked"),
                },
                _ = look.tick() => {
                    let now = Duration::from_nanos(self.clock.now_ns());
                    self.look(now >= decide_at).await;
                    if now >= decide_at {
                        decide_at = now + self.scale_every;
                    }
                }
            }
        }
        self.target.send_replace(0);
        while self.workers.join_next().await.is_some() {}
    }

    /// Shows what waits, and with `decides` has as many workers as that needs.
    async fn look(&mut self, decides: bool) {
        let (delivery, metrics) = (&self.delivery, &self.delivery.metrics);
        if let Some(backlog) = delivery.queue.backlog().await {
            metrics.backlog(&backlog);
            if decides {
                let now = Duration::from_nanos(self.clock.now_ns());
                let workers = self.scale.decide(now, backlog.depth(), delivery.each());
                if self.target.send_replace(workers) != workers {
                    tracing::info!(workers, waiting = backlog.depth(), "workers");
                }
            }
        }
        metrics.processing.set(delivery.each().unwrap_or_default().as_secs_f64());
        let target = *self.target.borrow();
        for place in 0..target {
            if self.places.get(place).is_none_or(AbortHandle::is_finished) {
                let retired = Retired { target: self.target.subscribe(), place };
                let worker = self.workers.spawn(work(Arc::clone(&self.delivery), retired));
                match self.places.get_mut(place) {
                    Some(at) => *at = worker,
                    None => self.places.push(worker),
                }
            }
        }
        metrics.workers.set(i64::try_from(self.workers.len()).unwrap_or(i64::MAX));
    }
}

/// Takes and delivers until it is retired or the queue has ended; whether it was the queue.
async fn work(delivery: Arc<Delivery>, mut retired: Retired) -> bool {
    let mut taken = VecDeque::new();
    loop {
        delivery.queue.take(delivery.at_once(), &mut taken, &mut retired).await;
        if taken.is_empty() {
            return *retired.target.borrow() > retired.place;
        }
        delivery.deliver(&mut taken).await;
    }
}
