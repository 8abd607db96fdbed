//! Arrivals of a plan that replays a trace: read ahead by one thread, handed to the workers in
//! batches.
//!
//! Where an arrival of a trace lies is known when its line is read, so no worker can work it out
//! alone, and none may wait for a disk. One thread reads ahead, numbers the arrivals of all phases
//! in one row, and gives each worker those whose number is its own: the same requests at the same
//! instants whatever the number of workers. It runs up to [`BATCHES_AHEAD`] batches ahead and then
//! waits. When it cannot keep up, arrivals come late to their worker, which counts them as what
//! they are: late by the generator's own fault, and never skipped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::time::Duration;

use squall_record::clock::{Clock, NANOS_PER_SEC};
use squall_record::event::{Event, What};
use squall_record::trace::{TraceEnd, TraceReplay};
use squall_scenarios::plan::Plan;
use squall_scenarios::schedule::{Arrival, Schedule};
use squall_scenarios::trace::error::TraceError;
use squall_scenarios::trace::open::{TraceFile, open};
use squall_scenarios::trace::replay::Replay;

/// Arrivals in a batch.
const BATCH_ARRIVALS: usize = 512;
/// A batch with this many bytes of requests is full.
const BATCH_BYTES: usize = 64 * 1024;
/// Batches that wait for a worker: at least half a second of 64,000 arrivals a second.
const BATCHES_AHEAD: usize = 64;
/// When a worker that has run out of arrivals looks again, in nanoseconds.
const LOOK_AGAIN_NS: u64 = 200_000;
/// How long after the last arrival of a trace that cannot be read on the run is stopped.
const GRACE_NS: u64 = 20_000_000;
/// How long one sleep of the reader may last, so that the end of the run is noticed.
const NAP: Duration = Duration::from_millis(20);

/// Arrivals in order, and what each of them asks.
#[derive(Debug, Default)]
struct Batch {
    /// With where each request ends in `requests`.
    arrivals: Vec<(Arrival, usize)>,
    requests: Vec<u8>,
}

impl Batch {
    fn push(&mut self, arrival: Arrival, request: &[u8]) {
        self.requests.extend_from_slice(request);
        self.arrivals.push((arrival, self.requests.len()));
    }

    fn is_full(&self) -> bool {
        self.arrivals.len() >= BATCH_ARRIVALS || self.requests.len() >= BATCH_BYTES
    }

    fn clear(&mut self) {
        self.arrivals.clear();
        self.requests.clear();
    }
}

/// A worker's end: its arrivals, in order.
pub(crate) struct Feed {
    full: Receiver<Batch>,
    empty: Sender<Batch>,
    batch: Batch,
    next: usize,
    ended: bool,
}

impl Feed {
    /// The next arrival, when it has been read already.
    pub(crate) fn peek(&mut self) -> Option<Arrival> {
        if self.next >= self.batch.arrivals.len() && !self.ended {
            match self.full.try_recv() {
                Ok(batch) => {
                    let used = std::mem::replace(&mut self.batch, batch);
                    self.next = 0;
                    // Whoever has read everything needs no memory back.
                    let _ = self.empty.send(used);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.ended = true,
            }
        }
        self.batch.arrivals.get(self.next).map(|(arrival, _)| *arrival)
    }

    /// Takes the next arrival, when it has been read already.
    pub(crate) fn take(&mut self) -> Option<Arrival> {
        let arrival = self.peek()?;
        self.next += 1;
        Some(arrival)
    }

    /// When the next arrival is intended, or may have been read.
    pub(crate) fn next_ns(&mut self, now_ns: u64) -> Option<u64> {
        match self.peek() {
            Some(arrival) => Some(arrival.at_ns),
            None => (!self.ended).then_some(now_ns + LOOK_AGAIN_NS),
        }
    }

    /// Method and path of the arrival taken last, `GET /path`; empty when the workload says what is
    /// asked.
    pub(crate) fn recorded(&self) -> &[u8] {
        let ends = |i: usize| self.batch.arrivals[i].1;
        match self.next {
            0 => &[],
            1 => &self.batch.requests[..ends(0)],
            n => &self.batch.requests[ends(n - 2)..ends(n - 1)],
        }
    }

    /// Whether no arrival is left.
    pub(crate) fn is_exhausted(&mut self) -> bool {
        self.peek().is_none() && self.ended
    }
}

/// The reader's end of a [`Feed`].
struct Hand {
    full: SyncSender<Batch>,
    empty: Receiver<Batch>,
    batch: Batch,
}

impl Hand {
    /// Hands over what there is. False when the worker has ended.
    fn flush(&mut self) -> bool {
        let mut next = self.empty.try_recv().unwrap_or_default();
        next.clear();
        self.full.send(std::mem::replace(&mut self.batch, next)).is_ok()
    }
}

/// The workers have ended: nobody wants further arrivals.
struct NobodyListens;

/// Reads the traces of a plan and gives every arrival to its worker.
pub(crate) struct Reader<'a> {
    plan: &'a Plan,
    clock: Clock,
    /// For each phase.
    traces: Vec<Option<Replay<TraceFile>>>,
    hands: Vec<Hand>,
    events: Sender<Event>,
    index: u64,
}

impl<'a> Reader<'a> {
    /// Opens the traces of `plan` and gives a reader, and the ends of `workers` workers. Events
    /// go to `events` ahead of their time.
    ///
    /// # Errors
    /// When a trace is not there any more.
    pub(crate) fn open(
        plan: &'a Plan,
        clock: Clock,
        workers: u32,
        events: Sender<Event>,
    ) -> Result<(Self, Vec<Feed>), TraceError> {
        let traces = plan
            .phases
            .iter()
            .map(|p| {
                p.trace.as_ref().map(|t| open(t, (p.duration_s() * NANOS_PER_SEC as f64) as u64)).transpose()
            })
            .collect::<Result<_, _>>()?;
        let (hands, feeds) = (0..workers)
            .map(|_| {
                let (full_tx, full_rx) = sync_channel(BATCHES_AHEAD);
                let (empty_tx, empty_rx) = channel();
                let feed =
                    Feed { full: full_rx, empty: empty_tx, batch: Batch::default(), next: 0, ended: false };
                (Hand { full: full_tx, empty: empty_rx, batch: Batch::default() }, feed)
            })
            .unzip();
        Ok((Self { plan, clock, traces, hands, events, index: 0 }, feeds))
    }

    /// Reads until everything is handed over, or the workers have ended. A trace that cannot be
    /// read on ends the run by `stop` when what was read of it is due.
    ///
    /// # Errors
    /// When a trace cannot be read on.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Result<(), TraceError> {
        let mut schedule = Schedule::new(self.plan).peekable();
        let mut traces = std::mem::take(&mut self.traces);
        for (phase, trace) in traces.iter_mut().enumerate() {
            let phase = phase as u16;
            let listened = match trace {
                Some(replay) => self.replay(phase, replay, stop)?,
                None => {
                    let mut listened = Ok(());
                    while let (Ok(()), Some(a)) = (&listened, schedule.next_if(|a| a.phase == phase)) {
                        listened = self.give(a.at_ns, phase, &[]);
                    }
                    listened
                }
            };
            if listened.is_err() {
                return Ok(());
            }
        }
        self.flush();
        Ok(())
    }

    /// Replays the trace of `phase`, and tells what became of it.
    fn replay(
        &mut self,
        phase: u16,
        replay: &mut Replay<TraceFile>,
        stop: &AtomicBool,
    ) -> Result<Result<(), NobodyListens>, TraceError> {
        let plan = &self.plan.phases[usize::from(phase)];
        let start_ns = (plan.start_s * NANOS_PER_SEC as f64) as u64;
        let mut last_ns = start_ns;
        let mut listened = Ok(());
        let failed = loop {
            match replay.next_due() {
                Ok(Some(due)) => {
                    last_ns = start_ns + due.at_ns;
                    listened = self.give(last_ns, phase, due.request);
                    if listened.is_err() {
                        break None;
                    }
                }
                Ok(None) => break None,
                Err(e) => break Some(e),
            }
        };
        let (totals, end) = replay.finish(listened.is_err());
        let (end, at_s) = match (&failed, end) {
            (Some(e), _) => {
                (TraceEnd::Failed { problem: e.to_string() }, last_ns as f64 / NANOS_PER_SEC as f64)
            }
            (None, end @ TraceEnd::Exhausted { last_s }) => (end, plan.start_s + last_s),
            (None, end @ TraceEnd::Interrupted) => (end, self.clock.now_s()),
            (None, end) => (end, plan.end_s),
        };
        // Fails only when the run is being torn down.
        let _ = self.events.send(Event {
            at_s,
            what: What::Trace { phase: plan.name.clone(), replay: TraceReplay { totals, end } },
        });
        let Some(e) = failed else { return Ok(listened) };
        self.flush();
        // The workers fire what was read before they are stopped.
        let until_ns = last_ns + GRACE_NS;
        while self.clock.now_ns() < until_ns && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(self.clock.until(until_ns).min(NAP));
        }
        stop.store(true, Ordering::Relaxed);
        Err(e)
    }

    fn give(&mut self, at_ns: u64, phase: u16, request: &[u8]) -> Result<(), NobodyListens> {
        let index = self.index;
        self.index += 1;
        let worker = (index % self.hands.len() as u64) as usize;
        let hand = &mut self.hands[worker];
        hand.batch.push(Arrival { index, at_ns, phase }, request);
        if hand.batch.is_full() && !hand.flush() { Err(NobodyListens) } else { Ok(()) }
    }

    /// Hands over what every worker still lacks.
    fn flush(&mut self) {
        for hand in &mut self.hands {
            hand.flush();
        }
    }
}

/// Events that were made ahead of their time.
pub(crate) struct Ahead {
    events: Receiver<Event>,
    next: Option<Event>,
}

impl Ahead {
    pub(crate) fn new(events: Receiver<Event>) -> Self {
        Self { events, next: None }
    }

    /// The next event that lies before `until_s`, when there is one.
    pub(crate) fn before(&mut self, until_s: f64) -> Option<Event> {
        if self.next.is_none() {
            self.next = self.events.try_recv().ok();
        }
        self.next.take_if(|e| e.at_s < until_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_scenarios::load::load;
    use squall_scenarios::source::Source;
    use std::path::Path;

    /// A plan of `phases`, whose relative files lie in `folder`.
    fn plan(folder: &Path, phases: &str) -> Plan {
        let text = format!(
            "name = \"t\"\n[target]\nurl = \"http://127.0.0.1:9\"\n{phases}\n\
             [[request]]\nname = \"other\"\nmethod = \"GET\"\npath = \"/\"\n\
             [[request]]\nname = \"replay\"\nweight = 0\nmethod = \"GET\"\npath = \"/\"\n"
        );
        let name = folder.join("t.toml").to_str().unwrap().to_owned();
        load(&Source { name, text }, &[]).unwrap_or_else(|e| panic!("{e}"))
    }

    fn three_phases(folder: &Path) -> Plan {
        let lines: String = (0..5000).map(|i| format!("{}.{:03},/{i}\n", 100 + i / 1000, i % 1000)).collect();
        std::fs::write(folder.join("trace.csv"), lines).unwrap();
        plan(
            folder,
            "[[phase]]\nname = \"before\"\nduration = \"1s\"\nrate = \"500/s\"\n\
             [[phase]]\nname = \"replay\"\nduration = \"10s\"\n\
             trace = { file = \"trace.csv\", format = \"csv\", time = 1, path = 2, request = \"replay\" }\n\
             [[phase]]\nname = \"after\"\nduration = \"1s\"\nrate = \"500/s\"\n",
        )
    }

    /// Everything that `workers` workers are given, in the order of its numbers.
    fn all(plan: &Plan, workers: u32) -> (Vec<(Arrival, Vec<u8>)>, Vec<Event>) {
        let (events_tx, events_rx) = channel();
        let (reader, feeds) = Reader::open(plan, Clock::start(), workers, events_tx).unwrap();
        let mut union = std::thread::scope(|scope| {
            scope.spawn(move || reader.run(&AtomicBool::new(false)).unwrap());
            let drains: Vec<_> = feeds
                .into_iter()
                .zip(0u64..)
                .map(|(mut feed, w)| {
                    scope.spawn(move || {
                        let mut given = Vec::new();
                        while !feed.is_exhausted() {
                            if let Some(a) = feed.take() {
                                assert_eq!(a.index % u64::from(workers), w);
                                given.push((a, feed.recorded().to_vec()));
                            }
                        }
                        given
                    })
                })
                .collect();
            drains.into_iter().flat_map(|d| d.join().unwrap()).collect::<Vec<_>>()
        });
        union.sort_by_key(|(a, _)| a.index);
        (union, events_rx.try_iter().collect())
    }

    #[test]
    fn the_same_requests_at_the_same_instants_whatever_the_number_of_workers() {
        let dir = tempfile::tempdir().unwrap();
        let plan = three_phases(dir.path());
        let (one, events) = all(&plan, 1);
        for workers in [2, 4, 7] {
            assert_eq!(all(&plan, workers), (one.clone(), events.clone()), "{workers} workers");
        }
    }

    #[test]
    fn numbers_go_on_through_phases_and_ordinary_ones_keep_their_schedule() {
        let dir = tempfile::tempdir().unwrap();
        let plan = three_phases(dir.path());
        let (all, events) = all(&plan, 2);
        assert!(all.iter().zip(0u64..).all(|((a, _), i)| a.index == i));
        assert!(all.windows(2).all(|w| w[0].0.at_ns <= w[1].0.at_ns && w[0].0.phase <= w[1].0.phase));

        let ordinary: Vec<(u64, u16)> = Schedule::new(&plan).map(|a| (a.at_ns, a.phase)).collect();
        let (traced, others): (Vec<_>, Vec<_>) = all.iter().partition(|(a, _)| a.phase == 1);
        assert_eq!(others.iter().map(|(a, _)| (a.at_ns, a.phase)).collect::<Vec<_>>(), ordinary);
        assert!(others.iter().all(|(_, request)| request.is_empty()));

        assert_eq!(traced.len(), 5000);
        for (i, (a, request)) in traced.iter().enumerate() {
            assert_eq!(a.at_ns, NANOS_PER_SEC + i as u64 * 1_000_000);
            assert_eq!(*request, format!("GET /{i}").into_bytes());
        }
        let [Event { at_s, what: What::Trace { phase, replay: TraceReplay { totals, end } } }] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!((phase.as_str(), totals.replayed, totals.lines), ("replay", 5000, 5000));
        assert_eq!(*end, TraceEnd::Exhausted { last_s: 4.999 });
        assert!((at_s - 5.999).abs() < 1e-9);
    }

    #[test]
    fn a_worker_whose_arrivals_are_not_read_yet_looks_again_and_is_not_done() {
        let (full, full_rx) = sync_channel(1);
        let (empty, _empty_rx) = channel();
        let mut feed = Feed { full: full_rx, empty, batch: Batch::default(), next: 0, ended: false };
        assert_eq!((feed.next_ns(7), feed.take()), (Some(7 + LOOK_AGAIN_NS), None));
        assert!(!feed.is_exhausted() && feed.recorded().is_empty());
        let mut batch = Batch::default();
        let at = |index, at_ns| Arrival { index, at_ns, phase: 0 };
        batch.push(at(0, 5), b"GET /a");
        batch.push(at(1, 6), b"GET /bc");
        full.send(batch).unwrap();
        assert_eq!((feed.take(), feed.recorded()), (Some(at(0, 5)), &b"GET /a"[..]));
        assert_eq!((feed.take(), feed.recorded()), (Some(at(1, 6)), &b"GET /bc"[..]));
        // The last request stays readable while the next batch is not there.
        assert_eq!((feed.peek(), feed.recorded()), (None, &b"GET /bc"[..]));
        drop(full);
        assert!(feed.is_exhausted());
        assert_eq!(feed.next_ns(7), None);
    }

    #[test]
    fn a_reader_whose_workers_have_ended_ends() {
        let dir = tempfile::tempdir().unwrap();
        let plan = three_phases(dir.path());
        let (events_tx, events_rx) = channel();
        let (reader, feeds) = Reader::open(&plan, Clock::start(), 1, events_tx).unwrap();
        drop(feeds);
        reader.run(&AtomicBool::new(false)).unwrap();
        // It never came to the trace's end, so it tells of none.
        assert!(events_rx.try_iter().all(|e| !matches!(&e.what, What::Trace { replay, .. } if matches!(replay.end, TraceEnd::Exhausted { .. }))));
    }

    #[test]
    fn events_made_ahead_are_given_out_at_their_time() {
        let (tx, rx) = channel();
        let mut ahead = Ahead::new(rx);
        let mark = |at_s| Event { at_s, what: What::Mark { text: String::new() } };
        tx.send(mark(1.5)).unwrap();
        tx.send(mark(2.5)).unwrap();
        assert_eq!(ahead.before(1.0), None);
        assert_eq!(ahead.before(2.0), Some(mark(1.5)));
        assert_eq!(ahead.before(2.0), None);
        assert_eq!(ahead.before(f64::INFINITY), Some(mark(2.5)));
        assert_eq!(ahead.before(f64::INFINITY), None);
    }
}
