//! The queue in this process: three bounded lanes.
//!
//! Nothing here can reach back to the payment: a lane that is full loses the notice and counts it, and
//! what waits when the process ends is lost with it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::event::Notice;
use super::priority::{Priority, Thresholds, Turns};
use super::{Backlog, Letter, Retired, Taken};
use crate::limits::{DEAD_LETTERS, NOTIFY_QUEUE, NOTIFY_RETRIES};
use crate::wall;

/// A notice that waits, and how often a worker had it.
type Waiting = (Notice, u32);

/// The way of the store to the queue.
#[derive(Debug, Clone)]
pub struct Sender {
    lanes: [mpsc::Sender<Waiting>; 3],
    thresholds: Thresholds,
    lost: Counter,
}

impl Sender {
    /// Hands a notice over without waiting, or counts that it could not.
    pub fn offer(&self, notice: Notice) {
        let lane = self.thresholds.of(notice.order.amount) as usize;
        if self.lanes[lane].try_send((notice, 0)).is_err() {
            self.lost.inc();
        }
    }
}

/// A notice that will not be delivered.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// Of the event.
    pub id: String,
    /// How often it was tried.
    pub deliveries: u32,
    /// Why the last time failed.
    pub reason: String,
}

/// The workers' side of the queue.
#[derive(Debug)]
pub struct Local {
    lanes: Mutex<Lanes>,
    /// The ways back, which do not keep the queue from ending.
    back: [mpsc::WeakSender<Waiting>; 3],
    /// How many more of each lane may wait to be tried again.
    retries: [Arc<Semaphore>; 3],
    /// The latest, the oldest first.
    dead: StdMutex<VecDeque<DeadLetter>>,
    /// When the payment of the notice taken last was committed.
    last_taken_ms: AtomicU64,
    lost: Counter,
}

#[derive(Debug)]
struct Lanes {
    lanes: [mpsc::Receiver<Waiting>; 3],
    turns: Turns,
}

/// A queue, and the way to it. What it cannot take is counted in `lost`.
#[must_use]
pub fn queue(thresholds: Thresholds, lost: &Counter) -> (Sender, Local) {
    let [(high, h), (normal, n), (low, l)] = Priority::ALL.map(|_| mpsc::channel(NOTIFY_QUEUE));
    let back = [high.downgrade(), normal.downgrade(), low.downgrade()];
    let local = Local {
        lanes: Mutex::new(Lanes { lanes: [h, n, l], turns: Turns::default() }),
        back,
        retries: Priority::ALL.map(|_| Arc::new(Semaphore::new(NOTIFY_RETRIES))),
        dead: StdMutex::default(),
        last_taken_ms: AtomicU64::new(0),
        lost: lost.clone(),
    };
    (Sender { lanes: [high, normal, low], thresholds, lost: lost.clone() }, local)
}

impl Local {
    /// Takes up to `most`, waiting for the first; none when the worker is retired, or when the store
    /// has ended and nothing is left.
    pub async fn take(&self, most: usize, taken: &mut VecDeque<Taken>, retired: &mut Retired) {
        tokio::select! {
            biased;
            () = retired.wait() => {}
            // What it has received is in `taken`, wherever it is given up.
            () = self.fill(most, taken) => {}
        }
    }

    async fn fill(&self, most: usize, taken: &mut VecDeque<Taken>) {
        let mut lanes = self.lanes.lock().await;
        let Lanes { lanes, turns } = &mut *lanes;
        let order = turns.next_order();
        loop {
            let mut ended = 0;
            for priority in order {
                while taken.len() < most {
                    match lanes[priority as usize].try_recv() {
                        Ok(waiting) => taken.push_back(in_hand(priority, waiting)),
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => {
                            ended += 1;
                            break;
                        }
                    }
                }
            }
            if let Some(Taken { letter: Letter::Notice(notice), .. }) = taken.front() {
                self.last_taken_ms.store(notice.created_ms, Relaxed);
            }
            if !taken.is_empty() || ended == order.len() {
                return;
            }
            let [high, normal, low] = lanes;
            let (priority, waiting) = tokio::select! {
                biased;
                Some(waiting) = high.recv() => (Priority::High, waiting),
                Some(waiting) = normal.recv() => (Priority::Normal, waiting),
                Some(waiting) = low.recv() => (Priority::Low, waiting),
                else => return,
            };
            taken.push_back(in_hand(priority, waiting));
        }
    }

    /// Puts a notice back after `pause`. One too many becomes a dead letter.
    pub fn retry(&self, notice: Notice, priority: Priority, deliveries: u32, pause: Duration) {
        let Ok(permit) = Arc::clone(&self.retries[priority as usize]).try_acquire_owned() else {
            self.bury(&notice, deliveries, "too many wait to be tried again".to_owned());
            return;
        };
        let (back, lost) = (self.back[priority as usize].clone(), self.lost.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // Behind what has come meanwhile; the permit is held while the lane is full.
            let sent = match back.upgrade() {
                Some(lane) => lane.send((notice, deliveries)).await.is_ok(),
                None => false,
            };
            if !sent {
                lost.inc();
            }
            drop(permit);
        });
    }

    /// Keeps a notice as a dead letter; the oldest makes room.
    pub fn bury(&self, notice: &Notice, deliveries: u32, reason: String) {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if dead.len() == DEAD_LETTERS {
            dead.pop_front();
        }
        dead.push_back(DeadLetter { id: notice.id(), deliveries, reason });
    }

    /// The dead letters that are kept, the oldest first.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// What waits, those between two tries included.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let waiting = Priority::ALL.map(|priority| {
            let lane = self.back[priority as usize].upgrade();
            let depth = lane.map_or(0, |lane| lane.max_capacity() - lane.capacity());
            (depth + self.retrying(priority)) as u64
        });
        let dead_letters = self.dead.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        let mut backlog = Backlog { waiting, oldest_s: 0.0, dead_letters };
        let taken_ms = self.last_taken_ms.load(Relaxed);
        if backlog.depth() > 0 && taken_ms > 0 {
            // The heads of the lanes cannot be looked at: they came behind the one taken last.
            let age_ms = wall::now_ms().saturating_sub(taken_ms);
            backlog.oldest_s = age_ms as f64 / 1000.0;
        }
        backlog
    }

    /// Notices between two tries.
    fn retrying(&self, priority: Priority) -> usize {
        NOTIFY_RETRIES - self.retries[priority as usize].available_permits()
    }

    /// Gives up what waits; how much that was.
    pub async fn give_up(&self) -> usize {
        let mut left: usize = Priority::ALL.into_iter().map(|p| self.retrying(p)).sum();
        let mut lanes = self.lanes.lock().await;
        for lane in &mut lanes.lanes {
            lane.close();
            while lane.try_recv().is_ok() {
                left += 1;
            }
        }
        left
    }
}

fn in_hand(priority: Priority, (notice, deliveries): Waiting) -> Taken {
    Taken { priority, deliveries: deliveries + 1, letter: Letter::Notice(notice) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AccountId;
    use crate::money::Currency;
    use crate::record::Order;
    use tokio::sync::watch;

    const THRESHOLDS: Thresholds = Thresholds { high_from: 1000, low_below: 10 };
    const S: Duration = Duration::from_secs(1);

    fn notice(seq: u64, amount: i64) -> Notice {
        let currency = Currency::parse("EUR").unwrap();
        let order = Order { from: AccountId(1), to: AccountId(2), amount, currency };
        Notice { seq, order, created_ms: 1, request_id: 0, trace: None }
    }

    fn seqs(taken: &VecDeque<Taken>) -> Vec<(u64, u32)> {
        let seq = |t: &Taken| match &t.letter {
            Letter::Notice(notice) => (notice.seq, t.deliveries),
            Letter::Message(_) => unreachable!(),
        };
        taken.iter().map(seq).collect()
    }

    /// Nobody retires while the sender lives.
    fn worker() -> (watch::Sender<usize>, Retired) {
        let (target, workers) = watch::channel(1);
        (target, Retired { target: workers, place: 0 })
    }

    async fn take(queue: &Local, most: usize) -> Vec<(u64, u32)> {
        let (_target, mut retired) = worker();
        let mut taken = VecDeque::new();
        queue.take(most, &mut taken, &mut retired).await;
        seqs(&taken)
    }

    #[tokio::test]
    async fn the_urgent_come_first_and_what_finds_its_lane_full_is_lost() {
        let lost = Counter::default();
        let (sender, queue) = queue(THRESHOLDS, &lost);
        for seq in 0..NOTIFY_QUEUE as u64 + 3 {
            sender.offer(notice(seq, 5));
        }
        assert_eq!((lost.get(), queue.backlog().waiting), (3, [0, 0, NOTIFY_QUEUE as u64]));
        sender.offer(notice(9001, 50));
        sender.offer(notice(9002, 5000));
        assert_eq!(take(&queue, 3).await, [(9002, 1), (9001, 1), (0, 1)]);
        assert_eq!(lost.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_comes_back_after_its_pause_and_waits_meanwhile() {
        let (sender, queue) = queue(THRESHOLDS, &Counter::default());
        sender.offer(notice(1, 5));
        assert_eq!(take(&queue, 10).await, [(1, 1)]);
        queue.retry(notice(1, 5), Priority::Low, 1, 60 * S);
        let too_early = tokio::time::timeout(59 * S, take(&queue, 10)).await;
        assert!(too_early.is_err());
        assert_eq!(queue.backlog().waiting, [0, 0, 1]);
        assert_eq!(tokio::time::timeout(2 * S, take(&queue, 10)).await.unwrap(), [(1, 2)]);
        // The permit is given back.
        tokio::task::yield_now().await;
        assert_eq!(queue.backlog().waiting, [0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_and_dead_letters_are_bounded() {
        let (_sender, queue) = queue(THRESHOLDS, &Counter::default());
        for seq in 0..NOTIFY_RETRIES as u64 + 1 {
            queue.retry(notice(seq, 5), Priority::Low, 1, S);
        }
        let letters = queue.dead_letters();
        assert_eq!(letters.len(), 1);
        assert_eq!((letters[0].id.as_str(), letters[0].deliveries), ("evt_0000000000004096_1", 1));
        for seq in 0..DEAD_LETTERS as u64 {
            queue.bury(&notice(seq, 5), 3, "poison".to_owned());
        }
        let letters = queue.dead_letters();
        assert_eq!(letters.len(), DEAD_LETTERS);
        assert!(letters.iter().all(|letter| letter.reason == "poison"), "the oldest is gone");
        assert_eq!(queue.backlog().dead_letters, DEAD_LETTERS as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_ends_when_the_store_has_and_all_is_taken() {
        let lost = Counter::default();
        let (sender, queue) = queue(THRESHOLDS, &lost);
        sender.offer(notice(1, 5));
        sender.offer(notice(2, 5));
        queue.retry(notice(3, 5), Priority::Low, 1, S);
        drop(sender);
        assert_eq!(take(&queue, 1).await, [(1, 1)]);
        assert_eq!(queue.give_up().await, 2);
        assert_eq!(take(&queue, 1).await, []);
        tokio::time::sleep(2 * S).await;
        assert_eq!(lost.get(), 1, "what comes back finds nobody");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_retires_takes_nothing_with_it() {
        let (sender, queue) = queue(THRESHOLDS, &Counter::default());
        let (target, mut retired) = worker();
        let mut taken = VecDeque::new();
        tokio::join!(queue.take(1, &mut taken, &mut retired), async {
            tokio::task::yield_now().await;
            target.send_replace(0);
        });
        assert!(taken.is_empty());
        sender.offer(notice(1, 5));
        queue.take(1, &mut taken, &mut retired).await;
        assert!(taken.is_empty(), "it is retired");
        assert_eq!(take(&queue, 1).await, [(1, 1)]);
    }
}
