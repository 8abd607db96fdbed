//! The one thread that commits.
//!
//! Commands wait in a bounded queue. The writer takes what has arrived, decides it in order on
//! the ledger in memory, writes all of it to the journal with one sync, publishes the new balances
//! and then answers. Nothing is visible or acknowledged before it is durable. The command is
//! the writer's once it is queued: whether somebody still waits for the answer is not asked.
//!
//! Group commit needs a group. A commit begins no sooner than `commit_interval` after the one
//! before began, so under load a sync is shared by what arrives in that time, and an idle
//! service still commits a lone payment at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use squall_chaos::leases::Leases;
use squall_record::clock::Clock;
use squall_record::fault::FaultPoint;
use tokio::sync::oneshot;

use crate::decline::Decline;
use crate::idempotency::{Claim, ScopedKey};
use crate::ids::AccountId;
use crate::ledger::{Account, Ledger, OpenError, Volume};
use crate::limits::{EXPIRE_PER_COMMIT, MAX_BATCH};
use crate::metrics::Metrics;
use crate::money::Currency;
use crate::queue::event::Notice;
use crate::queue::local;
use crate::record::{Order, Record, Verdict};
use crate::store::recount::Cut;
use crate::store::recovery::Recovered;
use crate::store::rows::{DeclineRow, Meta, PaymentRow};
use crate::store::{Batch, Journal, Store, StoreError};
use crate::trace::span::Trace;
use crate::wall;

/// How often an idle writer looks for expired keys.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// How the writer works.
#[derive(Debug, Clone, Copy)]
pub struct WriterSettings {
    /// Commands that may wait; more are shed.
    pub queue_limit: usize,
    /// The least time from the beginning of one commit to that of the next.
    pub commit_interval: Duration,
    /// How long a key is kept.
    pub key_window: Duration,
    /// How many keys are kept; the oldest go first.
    pub key_limit: u64,
}

/// The way back to whoever asked for an account.
pub type OpenReply = oneshot::Sender<Result<AccountId, OpenError>>;

/// A payment on its way.
#[derive(Debug)]
pub struct Pay {
    /// What is asked.
    pub order: Order,
    /// A decline that was decided before; the ledger is not asked then.
    pub declined: Option<Decline>,
    /// The right to use the key; dropped after the commit.
    pub claim: Claim,
    /// For fault decisions about the notification.
    pub request_id: u64,
    /// Where its commit and its notice's deliveries are told, when the request is sampled.
    pub trace: Option<Box<Trace>>,
    /// Who waits, if anybody still does. It is dropped without an answer when the store fails:
    /// whether the payment was executed is not known then.
    pub reply: oneshot::Sender<Record>,
}

/// What the writer is asked to do.
pub enum Command {
    /// Decide and commit a payment.
    Pay(Pay),
    /// Open the next account.
    Open {
        /// What it holds.
        currency: Currency,
        /// From the world, in minor units.
        opening: i64,
        /// Who waits.
        reply: OpenReply,
    },
    /// Cut the ledger and its rows at one commit.
    Cut(oneshot::Sender<Cut>),
    /// Commit what has been queued before and end.
    End,
}

/// Counters as of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Payments, which is also the highest commit number.
    pub payments: u64,
    /// Declines.
    pub declines: u64,
    /// The keys of payments up to this one are gone.
    pub freed_payments: u64,
    /// Declines up to this one are gone.
    pub freed_declines: u64,
    /// What all payments come to.
    pub volumes: Vec<Volume>,
}

impl Totals {
    /// Keys that are kept.
    #[must_use]
    pub fn keys(&self) -> u64 {
        (self.payments - self.freed_payments) + (self.declines - self.freed_declines)
    }
}

/// What everybody may read: the state as of the last durable commit.
#[derive(Debug, Default)]
pub struct Board {
    view: RwLock<View>,
    /// Whether the store takes commits.
    pub healthy: AtomicBool,
    /// Commits so far.
    pub commits: AtomicU64,
    /// How long the last commit took, in microseconds.
    pub last_sync_us: AtomicU64,
    /// When the oldest key that is kept was taken, in milliseconds since the Unix epoch; 0 when
    /// none is kept.
    pub oldest_key_ms: AtomicU64,
}

/// Accounts and counters as of one commit.
#[derive(Debug, Default)]
pub struct View {
    /// All accounts, account n at n − 1.
    pub accounts: Vec<Account>,
    /// The counters.
    pub totals: Totals,
}

impl View {
    /// The account `id`, if it was opened.
    #[must_use]
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get((id.0 as usize).checked_sub(1)?)
    }
}

impl Board {
    /// The view. Held only to copy a few words out of it, never across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, View> {
        // Only the writer writes it, and its panic ends all commits.
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotQueued {
    /// The queue is full; nothing was executed.
    #[error("queue: it is full")]
    Full,
    /// The writer has ended; nothing was executed.
    #[error("queue: the writer has ended")]
    Ended,
}

/// The way to the writer.
#[derive(Debug, Clone)]
pub struct Queue {
    commands: Sender<Command>,
}

impl Queue {
    /// Hands a command over, without waiting.
    ///
    /// # Errors
    /// When the queue is full or the writer has ended; the command was not executed.
    pub fn offer(&self, command: Command) -> Result<(), NotQueued> {
        self.commands.try_send(command).map_err(|e| match e {
            TrySendError::Full(_) => NotQueued::Full,
            TrySendError::Disconnected(_) => NotQueued::Ended,
        })
    }

    /// Commands that wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.commands.len()
    }

    /// Commits what is queued and ends the writer. Blocks while the queue is full.
    pub fn end(&self) {
        // An error means that it has ended already.
        let _ = self.commands.send(Command::End);
    }
}

/// Starts the writer on what recovery found.
///
/// # Errors
/// When the store cannot be read or no thread can be made.
pub fn start(
    store: Store,
    found: Recovered,
    settings: WriterSettings,
    notices: local::Sender,
    metrics: Arc<Metrics>,
    leases: Arc<Leases>,
) -> anyhow::Result<(Queue, Arc<Board>, JoinHandle<()>)> {
    let board = Arc::new(Board { healthy: AtomicBool::new(true), ..Board::default() });
    let (commands, queued) = crossbeam_channel::bounded(settings.queue_limit);
    let mut writer = Writer {
        journal: Journal::start(&store)?,
        ledger: found.ledger,
        meta: found.meta,
        oldest_payment: None,
        oldest_decline: None,
        board: Arc::clone(&board),
        clock: Clock::start(),
        store,
        settings,
        notices,
        metrics,
        leases,
    };
    writer.load_oldest()?;
    writer.publish(&Answers::default());
    let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
        // However the writer ends, nobody may take the service for healthy afterwards.
        let _unhealthy = Unhealthy(Arc::clone(&writer.board));
        match writer.run(&queued) {
            Ok(()) => writer.end(),
            Err(error) => {
                tracing::error!(%error, "the store has failed; no more payments are taken");
                writer.board.healthy.store(false, Relaxed);
                // Whoever has queued, or still does, learns it at once: a queue that nobody reads
                // would keep them until their time is over.
                while queued.recv().is_ok_and(|command| !matches!(command, Command::End)) {}
            }
        }
    })?;
    Ok((Queue { commands }, board, thread))
}

struct Unhealthy(Arc<Board>);

impl Drop for Unhealthy {
    fn drop(&mut self) {
        self.0.healthy.store(false, Relaxed);
    }
}

struct Writer {
    store: Store,
    journal: Journal,
    ledger: Ledger,
    meta: Meta,
    settings: WriterSettings,
    /// The oldest payment and decline whose keys are kept: when it was, and its key.
    oldest_payment: Option<(u64, ScopedKey)>,
    oldest_decline: Option<(u64, ScopedKey)>,
    board: Arc<Board>,
    notices: local::Sender,
    metrics: Arc<Metrics>,
    /// The faults in force: the `commit` point is here.
    leases: Arc<Leases>,
    clock: Clock,
}

/// Answers that wait for the commit.
#[derive(Default)]
struct Answers {
    paid: Vec<(Pay, Record)>,
    opened: Vec<(Result<AccountId, OpenError>, OpenReply)>,
    cuts: Vec<oneshot::Sender<Cut>>,
}

impl Writer {
    fn run(&mut self, queued: &Receiver<Command>) -> Result<(), StoreError> {
        let mut commands = Vec::new();
        let mut not_before_ns = 0;
        let mut ended = false;
        while !ended {
            match queued.recv_timeout(IDLE_TICK) {
                Ok(command) => commands.push(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => ended = true,
            }
            let wait = self.clock.until(not_before_ns);
            if !wait.is_zero() && !commands.is_empty() {
                std::thread::sleep(wait);
            }
            while commands.len() < MAX_BATCH
                && let Ok(command) = queued.try_recv()
            {
                commands.push(command);
            }
            not_before_ns = self.clock.now_ns() + self.settings.commit_interval.as_nanos() as u64;
            ended |= commands.iter().any(|c| matches!(c, Command::End));
            self.commit(&mut commands)?;
        }
        Ok(())
    }

    /// Leaves nothing to do for the next start.
    fn end(mut self) {
        if let Err(error) = self.journal.end(&mut self.ledger) {
            tracing::warn!(%error, "the journal is not empty; the next start takes longer");
        }
    }

    /// Decides the commands in order, makes them durable, answers.
    fn commit(&mut self, commands: &mut Vec<Command>) -> Result<(), StoreError> {
        let began_ns = self.clock.now_ns();
        // A change for each command, one for the counters, and those of keys that are over.
        let mut batch = Batch::with_room(2 * commands.len() + 1);
        let mut answers = Answers { paid: Vec::with_capacity(commands.len()), ..Answers::default() };
        self.meta.at_ms = self.meta.at_ms.max(wall::now_ms());
        for command in commands.drain(..) {
            match command {
                Command::Pay(pay) => {
                    let record = self.decide(&pay, &mut batch);
                    answers.paid.push((pay, record));
                }
                Command::Open { currency, opening, reply } => {
                    let opened = self.ledger.open(currency, opening);
                    if let Some((id, account)) = opened.ok().and_then(|id| Some((id, self.ledger.get(id)?))) {
                        batch.opened(id, *account);
                    }
                    answers.opened.push((opened, reply));
                }
                Command::Cut(reply) => answers.cuts.push(reply),
                Command::End => {}
            }
        }
        let freed = self.expire(&mut batch, answers.paid.len())?;
        if !batch.is_empty() {
            self.meta.volumes.clear();
            self.meta.volumes.extend_from_slice(self.ledger.volumes());
            // Decided about by its first payment; a batch without one by its number.
            let first = answers.paid.first().map(|(pay, _)| pay.request_id);
            let subject = first.unwrap_or_else(|| self.board.commits.load(Relaxed));
            self.leases.pass_thread(FaultPoint::Commit, subject, 0);
            self.journal.commit(batch, self.meta.clone())?;
            let took_ns = self.clock.now_ns() - began_ns;
            self.board.commits.fetch_add(1, Relaxed);
            self.board.last_sync_us.store(took_ns / 1000, Relaxed);
            self.metrics.committed(answers.paid.len(), took_ns, freed);
            for trace in answers.paid.iter().filter_map(|(pay, _)| pay.trace.as_deref()) {
                trace.committed(answers.paid.len(), took_ns);
            }
            self.load_oldest()?;
        }
        self.publish(&answers);
        let cuts = std::mem::take(&mut answers.cuts);
        self.answer(answers);
        if self.journal.is_full() || !cuts.is_empty() {
            self.journal.seal(&mut self.ledger)?;
        }
        self.cut(cuts);
        Ok(())
    }

    fn decide(&mut self, pay: &Pay, batch: &mut Batch) -> Record {
        let (order, created_ms) = (pay.order, self.meta.at_ms);
        let moved = match pay.declined {
            Some(why) => Err(why),
            None => self.ledger.transfer(&order),
        };
        let verdict = match moved {
            Ok((seq, links)) => {
                let key = pay.claim.key().clone();
                batch.payment(seq, PaymentRow { order, created_ms, links, key });
                Verdict::Succeeded { seq }
            }
            Err(why) => {
                let key = pay.claim.key().clone();
                self.meta.declines += 1;
                batch.decline(self.meta.declines, DeclineRow { order, created_ms, why, key });
                Verdict::Declined { why }
            }
        };
        Record { order, verdict, created_ms }
    }

    /// Forgets keys beyond the window, oldest first; returns how many. What is known as oldest
    /// was read from an earlier commit, so a key of this very batch is never reached.
    fn expire(&mut self, batch: &mut Batch, payments: usize) -> Result<u64, StoreError> {
        let window_ms = self.settings.key_window.as_millis() as u64;
        let keys = self.board.read().totals.keys();
        let mut freed = 0;
        while freed < (EXPIRE_PER_COMMIT + 2 * payments) as u64 {
            let payment_is_older = match (&self.oldest_payment, &self.oldest_decline) {
                (Some((p, _)), Some((d, _))) => p <= d,
                (payment, _) => payment.is_some(),
            };
            let oldest = if payment_is_older { &mut self.oldest_payment } else { &mut self.oldest_decline };
            let is_over = |(at_ms, _): &mut (u64, ScopedKey)| {
                let in_window = at_ms.saturating_add(window_ms) > self.meta.at_ms;
                !in_window || keys.saturating_sub(freed) > self.settings.key_limit
            };
            let Some((_, key)) = oldest.take_if(is_over) else { break };
            if payment_is_older {
                self.meta.freed_payments += 1;
                batch.free_payment_key(key);
            } else {
                self.meta.freed_declines += 1;
                batch.free_decline(self.meta.freed_declines, key);
            }
            self.load_oldest()?;
            freed += 1;
        }
        Ok(freed)
    }

    /// Reads the oldest payment and decline whose keys are kept, where they are not known.
    fn load_oldest(&mut self) -> Result<(), StoreError> {
        if self.oldest_payment.is_none() && self.meta.freed_payments < self.ledger.seq() {
            let row = self.store.payment(self.meta.freed_payments + 1)?;
            self.oldest_payment = row.map(|row| (row.created_ms, row.key));
        }
        if self.oldest_decline.is_none() && self.meta.freed_declines < self.meta.declines {
            let row = self.store.decline(self.meta.freed_declines + 1)?;
            self.oldest_decline = row.map(|row| (row.created_ms, row.key));
        }
        Ok(())
    }

    fn totals(&self) -> Totals {
        Totals {
            payments: self.ledger.seq(),
            declines: self.meta.declines,
            freed_payments: self.meta.freed_payments,
            freed_declines: self.meta.freed_declines,
            volumes: self.ledger.volumes().to_vec(),
        }
    }

    fn publish(&mut self, answers: &Answers) {
        let totals = self.totals();
        let board = Arc::clone(&self.board);
        let mut view = board.view.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = view.accounts.len();
        view.accounts.extend(self.ledger.iter_after(fresh).map(|(_, a)| *a));
        for (_, record) in &answers.paid {
            for id in [record.order.from, record.order.to] {
                if let (Some(account), Some(at)) = (self.ledger.get(id), (id.0 as usize).checked_sub(1)) {
                    view.accounts[at] = *account;
                }
            }
        }
        view.totals = totals;
        drop(view);
        let oldest =
            [&self.oldest_payment, &self.oldest_decline].into_iter().flatten().map(|(ms, _)| *ms).min();
        board.oldest_key_ms.store(oldest.unwrap_or(0), Relaxed);
    }

    fn answer(&mut self, answers: Answers) {
        for (pay, record) in answers.paid {
            self.metrics.settled(&record);
            if let Some(notice) = Notice::of(&record, pay.request_id, pay.trace) {
                self.notices.offer(notice);
            }
            // The key is free before the client knows, so that its retry finds the record.
            drop(pay.claim);
            // Whoever waited may have hung up; the payment stands.
            let _ = pay.reply.send(record);
        }
        for (opened, reply) in answers.opened {
            let _ = reply.send(opened);
        }
    }

    /// The ledger and its rows as of now; the journal is sealed.
    fn cut(&self, cuts: Vec<oneshot::Sender<Cut>>) {
        for reply in cuts {
            let accounts = self.ledger.iter().map(|(_, a)| *a).collect();
            let _ = reply.send(Cut { accounts, totals: self.totals(), rows: self.store.rows() });
        }
    }
}
