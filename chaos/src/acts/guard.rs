//! The guard: it holds the leases of faults outside, and ends them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use squall_record::clock::{Clock, NANOS_PER_SEC};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::begin::begin;
use super::error::ActError;
use super::journal::Journal;
use super::order::{Answer, Begin, MAX_ORDER_BYTES, Order, Target, Why, check_ttl};
use super::running::Running;

/// The most faults at once.
pub const MAX_FAULTS: usize = 32;
/// How long beginning a fault may take: a container that is asked to end has ten seconds of that.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How many orders wait, and answers that nobody reads.
const MAX_WAITING: usize = 256;
/// How often it is looked whether what a fault holds is held still.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const NANOS_PER_MS: u64 = NANOS_PER_SEC / 1000;

/// When a fault ends.
#[derive(Debug, Clone, Copy)]
struct Lease {
    /// On the guard's clock; 0 is at once.
    ends_ns: u64,
    why: Why,
}

struct Held {
    lease: watch::Sender<Lease>,
    keeper: JoinHandle<()>,
    /// What it acts on.
    targets: Vec<Target>,
    /// Closed when nothing of it acts any more.
    over: watch::Receiver<()>,
}

impl Held {
    fn acts(&self) -> bool {
        self.over.has_changed().is_ok()
    }

    /// Whether it is being undone, or about to be, where `targets` are.
    fn is_ending_at(&self, targets: &[Target], now_ns: u64) -> bool {
        self.lease.borrow().ends_ns <= now_ns && self.targets.iter().any(|own| targets.contains(own))
    }
}

struct Guard {
    clock: Clock,
    journal: Arc<Journal>,
    answers: SyncSender<Answer>,
    held: HashMap<String, Held>,
}

/// Carries out the orders in `input` until it ends or `over` does, then ends every fault.
pub async fn serve<I, O>(input: I, output: O, journal: Arc<Journal>, over: impl Future<Output = ()>)
where
    I: Read + Send + 'static,
    O: Write + Send + 'static,
{
    let (orders, mut lines) = mpsc::channel(MAX_WAITING);
    // Neither can be given up while it waits; both end with this process.
    thread::spawn(move || read(input, &orders));
    let (answers, said) = sync_channel::<Answer>(MAX_WAITING);
    let writer = thread::spawn(move || write(output, said));
    let mut guard =
        Guard { clock: Clock::start(), journal: Arc::clone(&journal), answers, held: HashMap::new() };
    tokio::pin!(over);
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(order) => guard.take(order),
                None => break,
            },
            () = &mut over => break,
        }
    }
    for held in guard.held.values() {
        held.lease.send_replace(Lease { ends_ns: 0, why: Why::Closed });
    }
    for (_, held) in guard.held.drain() {
        let _ = held.keeper.await;
    }
    journal.close();
    drop(guard);
    // Whoever reads the answers may be gone; the last of them are not worth waiting for then.
    let _ = tokio::time::timeout(Duration::from_secs(1), tokio::task::spawn_blocking(move || writer.join()))
        .await;
}

impl Guard {
    fn take(&mut self, order: Result<Order, String>) {
        self.held.retain(|_, held| held.acts());
        let now_ns = self.clock.now_ns();
        match order {
            Ok(Order::Begin(order)) => {
                let name = order.fault.name.clone();
                if let Err(e) = self.begin(order, now_ns) {
                    self.refuse(name, e.to_string());
                }
            }
            Ok(Order::Renew { name, ttl_ms }) => match (check_ttl(ttl_ms), self.held.get(&name)) {
                (Err(e), _) => self.refuse(name, e.to_string()),
                // It has ended, which was said.
                (Ok(()), None) => {}
                (Ok(()), Some(held)) => held.lease.send_modify(|lease| {
                    // A lease that is over is not renewed.
                    if lease.ends_ns > now_ns {
                        lease.ends_ns = now_ns + ttl_ms * NANOS_PER_MS;
                    }
                }),
            },
            Ok(Order::End { name }) => match self.held.get(&name) {
                Some(held) => drop(held.lease.send_replace(Lease { ends_ns: 0, why: Why::Asked })),
                None => self.refuse(name, "there is no such fault, or it has ended".to_owned()),
            },
            Err(why) => self.refuse(String::new(), why),
        }
    }

    fn begin(&mut self, order: Begin, now_ns: u64) -> Result<(), ActError> {
        order.check()?;
        let name = order.fault.name.clone();
        if self.held.contains_key(&name) {
            return Err(ActError::refused("a fault of that name acts already"));
        }
        if self.held.len() >= MAX_FAULTS {
            return Err(ActError::refused(format!("{MAX_FAULTS} faults act already, end one first")));
        }
        let ends_ns = now_ns + order.ttl_ms * NANOS_PER_MS;
        let (lease, watched) = watch::channel(Lease { ends_ns, why: Why::Lease });
        let (acts, over) = watch::channel(());
        let targets = order.targets.clone();
        let before = self.held.values().filter(|held| held.is_ending_at(&targets, now_ns));
        let before: Vec<_> = before.map(|held| held.over.clone()).collect();
        let running = Running::new(Arc::clone(&self.journal));
        let (clock, answers) = (self.clock, self.answers.clone());
        let keeper = tokio::spawn(async move {
            // What is put back first is not taken for what there was before.
            for mut over in before {
                // An error is what it waits for.
                let _ = over.changed().await;
            }
            let ended = keep(order, running, clock, watched, &answers).await;
            // Whoever hears of its end may begin another of its name.
            drop(acts);
            let _ = answers.try_send(ended);
        });
        self.held.insert(name, Held { lease, keeper, targets, over });
        Ok(())
    }

    fn refuse(&self, name: String, reason: String) {
        let _ = self.answers.try_send(Answer::Refused { name, reason });
    }
}

/// A fault from its beginning to its end, of which it gives the word.
async fn keep(
    order: Begin,
    mut running: Running,
    clock: Clock,
    mut lease: watch::Receiver<Lease>,
    answers: &SyncSender<Answer>,
) -> Answer {
    let name = order.fault.name.clone();
    let at_ns = |ns: u64| clock.origin_monotonic_ns() + ns;
    if lease.borrow().ends_ns <= clock.now_ns() {
        return Answer::Refused { name, reason: "it was ended before it could be begun".to_owned() };
    }
    // It is never left half begun: an end that comes meanwhile waits for it.
    let begun = tokio::time::timeout(BEGIN_TIMEOUT, begin(&order, &mut running)).await;
    let late = |_| ActError::Late { what: "begin".to_owned(), limit_s: BEGIN_TIMEOUT.as_secs() };
    match begun.map_err(late).and_then(|begun| begun) {
        Ok(what) => {
            let _ =
                answers.try_send(Answer::Begun { name: name.clone(), at_ns: at_ns(clock.now_ns()), what });
        }
        Err(e) => {
            let end = running.end().await;
            let left = end.failed.iter().map(|f| format!("; and not undone: {f}")).collect::<String>();
            return Answer::Refused { name, reason: format!("{e}{left}") };
        }
    }
    let why = loop {
        if running.is_lost() {
            break Why::Lost;
        }
        let Lease { ends_ns, why } = *lease.borrow_and_update();
        let left = clock.until(ends_ns);
        if left.is_zero() {
            break why;
        }
        tokio::select! {
            () = tokio::time::sleep(left.min(LOOK_EVERY)) => {}
            changed = lease.changed() => if changed.is_err() { break Why::Closed },
        }
    };
    let end = running.end().await;
    Answer::Ended { name, at_ns: at_ns(clock.now_ns()), why, undone: end.undone, failed: end.failed }
}

/// Hands over each line of `input` until it ends.
fn read(input: impl Read, orders: &mpsc::Sender<Result<Order, String>>) {
    let mut input = BufReader::new(input);
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(MAX_ORDER_BYTES + 1).read_until(b'\n', &mut line);
        let order = match read {
            Ok(0) | Err(_) => return,
            // What follows is the rest of something unknown.
            Ok(_) if line.len() as u64 > MAX_ORDER_BYTES => return,
            Ok(_) if line.trim_ascii().is_empty() => continue,
            Ok(_) => serde_json::from_slice(&line).map_err(|e| format!("this is no order: {e}")),
        };
        if orders.blocking_send(order).is_err() {
            return;
        }
    }
}

fn write(mut output: impl Write, said: std::sync::mpsc::Receiver<Answer>) {
    for answer in said {
        let Ok(mut line) = serde_json::to_vec(&answer) else { continue };
        line.push(b'\n');
        // Nobody listens: the faults end all the same.
        if output.write_all(&line).and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}
