//! Starts the workers, merges their seconds, ends the run.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use squall_record::clock::{Clock, NANOS_PER_SEC};
use squall_record::event::Event;
use squall_record::interval::{GeneratorSample, Interval, Tick};
use squall_record::latency::Latency;
use squall_scenarios::plan::{self, Mode, Plan};
use squall_scenarios::schedule::Schedule;
use squall_scenarios::trace::error::TraceError;
use squall_scenarios::workload::Workload;

use crate::control::Control;
use crate::endpoint::Endpoint;
use crate::feed::{Ahead, Reader};
use crate::general::General;
use crate::pool::Pool;
use crate::slice::Slice;
use crate::source::Source;
use crate::worker::{Setup, Worker};

/// Seconds that the record may fall behind before a worker waits for it.
const SLICES_BEHIND: usize = 128;
/// File descriptors that a run needs beside its connections.
const SPARE_FILES: u64 = 128;
/// What each worker needs to wait with: its pool's, or its runtime's.
const FILES_PER_WORKER: u64 = 4;
/// A request class's index is written in one byte of `ops.bin`.
pub const MAX_CLASSES: usize = 256;

/// What to load, and how. Its requests hold a token, and so it has no `Debug`.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Where the target listens.
    pub endpoint: &'a Endpoint,
    /// What the target is called.
    pub host: &'a str,
    /// What is asked.
    pub workload: &'a Workload,
    /// The run's clock. Let its zero lie a little ahead, so that connections are open by then.
    pub clock: Clock,
}

/// Why a run could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// More request classes than the record can tell apart.
    #[error("{0} request classes are more than the {MAX_CLASSES} that a run can record")]
    TooManyClasses(usize),
    /// The process may not open enough files.
    #[error(
        "open enough files: {needed} are needed for the connections, and the limit is {limit}; raise it (ulimit -Hn) or lower load.connections"
    )]
    OpenFiles {
        /// Connections and what else is open.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// A worker could not go on.
    #[error("carry the load: {0}")]
    Worker(io::Error),
    /// A trace is not there, or cannot be read on.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A second could not be recorded.
    #[error("record the run: {0}")]
    Record(io::Error),
}

/// Carries out `job`, giving every complete second to `on_tick` and what happened in it before
/// that to `on_event`, in order, until the schedule is exhausted or `stop` is set and what is on
/// the wire has ended or timed out.
///
/// # Errors
/// When the plan cannot be carried out on this machine, a trace cannot be read on, a worker fails,
/// or `on_event` or `on_tick` does; the load is ended first.
pub fn run(
    job: &Job<'_>,
    stop: &AtomicBool,
    on_tick: impl FnMut(&Tick) -> io::Result<()>,
) -> Result<(), EngineError> {
    run_with(job, &Control::new(), stop, |_| Ok(()), on_tick)
}

/// As [`run`], with a load that `control` may change while it runs, and giving what happened by itself
/// to `on_event`, before the second in which it did. A closed loop has no schedule
/// to change and takes no notice.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    job: &Job<'_>,
    control: &Control,
    stop: &AtomicBool,
    mut on_event: impl FnMut(Event) -> io::Result<()>,
    mut on_tick: impl FnMut(&Tick) -> io::Result<()>,
) -> Result<(), EngineError> {
    let plan = job.plan;
    if plan.requests.len() > MAX_CLASSES {
        return Err(EngineError::TooManyClasses(plan.requests.len()));
    }
    allow_open_files(plan)?;
    let workers = plan.load.workers.clamp(1, plan.load.connections.min(plan.load.max_in_flight).max(1));
    thread::scope(|scope| {
        let (slices_tx, slices_rx) = sync_channel::<Slice>(SLICES_BEHIND * workers as usize);
        let mut backs: Vec<Sender<Slice>> = Vec::new();
        // Until the seconds are recorded, whatever goes wrong here ends the load.
        let ends_all = StopUnlessDone(stop);
        let (events_tx, events_rx) = channel();
        let (reader, sources) = sources(job, workers, events_tx)?;
        let mut threads = Vec::new();
        for (w, source) in (0..).zip(sources) {
            let (back_tx, back_rx) = channel();
            backs.push(back_tx);
            let setup = Setup {
                plan,
                workload: job.workload,
                clock: job.clock,
                stop,
                connections: share(plan.load.connections, w, workers),
                max_in_flight: share(plan.load.max_in_flight, w, workers),
                spin_ns: plan.load.spin_us * 1_000,
                coalesce_ns: plan.load.coalesce_us * 1_000,
                control,
                open: plan.load.mode == Mode::Open,
                end_ns: end_ns(job),
            };
            let out = slices_tx.clone();
            let thread = thread::Builder::new()
                .name(format!("load-{w}"))
                .spawn_scoped(scope, move || work(setup, job, source, &out, &back_rx, stop))
                .map_err(EngineError::Worker)?;
            threads.push(thread);
        }
        drop(slices_tx);
        let reader = reader
            .map(|r| thread::Builder::new().name("traces".into()).spawn_scoped(scope, move || r.run(stop)))
            .transpose()
            .map_err(EngineError::Worker)?;
        let mut ahead = Ahead::new(events_rx);
        let mut recorded = Ok(());
        conduct(plan, workers, &slices_rx, &backs, &mut |tick| {
            if recorded.is_ok() {
                let mut events = std::iter::from_fn(|| ahead.before(f64::from(tick.second) + 1.0));
                recorded = events.try_for_each(&mut on_event).and_then(|()| on_tick(tick));
                if recorded.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        ends_all.done();
        let read = reader.map_or(Ok(Ok(())), thread::ScopedJoinHandle::join);
        let mut rest = std::iter::from_fn(|| ahead.before(f64::INFINITY));
        let recorded = recorded.and_then(|()| rest.try_for_each(&mut on_event));
        let mut ended = recorded.map_err(EngineError::Record);
        ended = ended.and(match read {
            Ok(read) => read.map_err(EngineError::Trace),
            Err(_) => Err(EngineError::Worker(io::Error::other("the reader of the traces panicked"))),
        });
        for t in threads {
            let result = t.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            ended = ended.and(result.map_err(EngineError::Worker));
        }
        ended
    })
}

fn work(
    setup: Setup<'_>,
    job: &Job<'_>,
    source: Source,
    out: &SyncSender<Slice>,
    back: &Receiver<Slice>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let ends_all = StopUnlessDone(stop);
    let timeout = Duration::from_millis(setup.plan.load.timeout_ms);
    let connections = setup.connections;
    let result = match setup.plan.load.transport {
        plan::Transport::Own => job
            .endpoint
            .address()
            .and_then(|addr| {
                Pool::new(addr, connections, setup.plan.load.pipeline, timeout.as_nanos() as u64)
            })
            .and_then(|pool| Worker::new(setup, source, pool).run(out, back)),
        plan::Transport::General { http } => {
            General::new(job.endpoint, job.host, http, connections, setup.max_in_flight, timeout)
                .and_then(|general| Worker::new(setup, source, general).run(out, back))
        }
    };
    if result.is_ok() {
        ends_all.done();
    }
    result
}

/// Ends the whole load when it is dropped before it is told that all is done: a worker that fails
/// or panics must not leave the others running.
struct StopUnlessDone<'a>(&'a AtomicBool);

impl StopUnlessDone<'_> {
    fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for StopUnlessDone<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where each worker's arrivals come from, and who reads them ahead when the plan has a trace.
fn sources<'a>(
    job: &Job<'a>,
    workers: u32,
    events: Sender<Event>,
) -> Result<(Option<Reader<'a>>, Vec<Source>), TraceError> {
    if job.plan.load.mode == Mode::Open && job.plan.has_trace() {
        let (reader, feeds) = Reader::open(job.plan, job.clock, workers, events)?;
        let sources = feeds.into_iter().map(|feed| Source::Fed { feed, end_ns: end_ns(job) });
        return Ok((Some(reader), sources.collect()));
    }
    Ok((None, (0..workers).map(|w| source(job, w, workers)).collect()))
}

fn source(job: &Job<'_>, worker: u32, workers: u32) -> Source {
    match job.plan.load.mode {
        Mode::Open => {
            let schedule = Box::new(Schedule::for_worker(job.plan, worker, workers));
            Source::Open { schedule, end_ns: end_ns(job) }
        }
        Mode::Closed => {
            Source::Closed { until_ns: end_ns(job), next: u64::from(worker), stride: u64::from(workers) }
        }
    }
}

/// When the last arrival may be.
fn end_ns(job: &Job<'_>) -> u64 {
    (job.plan.duration_s() * NANOS_PER_SEC as f64) as u64
}

/// The share of `total` that falls to one of `workers`, at least 1.
fn share(total: u32, worker: u32, workers: u32) -> u32 {
    (total / workers + u32::from(worker < total % workers)).max(1)
}

/// Merges the workers' slices into ticks, in order of seconds, until every worker has ended.
fn conduct(
    plan: &Plan,
    workers: u32,
    slices: &Receiver<Slice>,
    backs: &[Sender<Slice>],
    on_tick: &mut dyn FnMut(&Tick),
) {
    let mut pending: BTreeMap<u32, Vec<Slice>> = BTreeMap::new();
    // Each worker's last second, once it is known: later seconds do not wait for it.
    let mut ended: Vec<u32> = Vec::new();
    let mut turn = 0;
    let mut publish = |group: Vec<Slice>| {
        let tick = merge(plan, workers, &group);
        on_tick(&tick);
        for mut slice in group {
            slice.clear();
            // Whose memory it was does not matter; a worker that has ended needs none.
            let _ = backs[turn % backs.len()].send(slice);
            turn += 1;
        }
    };
    while let Ok(slice) = slices.recv() {
        if slice.last {
            ended.push(slice.second);
        }
        pending.entry(slice.second).or_default().push(slice);
        while let Some(first) = pending.first_entry() {
            let still_running = workers as usize - ended.iter().filter(|s| **s < *first.key()).count();
            if first.get().len() < still_running {
                break;
            }
            publish(first.remove());
        }
    }
    // A worker that failed leaves its seconds without its slices.
    for group in pending.into_values() {
        publish(group);
    }
}

fn merge(plan: &Plan, workers: u32, group: &[Slice]) -> Tick {
    let second = group.first().map_or(0, |s| s.second);
    let mut merged: BTreeMap<(u16, u16), Interval> = BTreeMap::new();
    let mut pacing = Latency::new();
    let mut ops = Vec::new();
    let phase = plan.phase_at(f64::from(second)) as u16;
    let mut generator = GeneratorSample { second, phase, workers, ..GeneratorSample::default() };
    for slice in group {
        for i in &slice.intervals {
            merged
                .entry((i.phase, i.class))
                .or_insert_with(|| Interval::new(second, i.class, i.phase))
                .merge(i);
        }
        pacing.merge(&slice.pacing);
        ops.extend_from_slice(&slice.ops);
        generator.connections += slice.connections;
        generator.reopened += slice.noticed.reopened;
        generator.unasked += slice.noticed.unasked;
        generator.unopened += slice.noticed.unopened;
        generator.shortage = slice.noticed.shortage.or(generator.shortage);
        generator.in_flight += slice.in_flight;
        generator.waiting += slice.waiting;
        generator.pausing += slice.pausing;
        generator.cpu_ns += slice.cpu_ns;
        generator.wall_ns += slice.wall_ns;
        generator.starved += slice.starved;
        generator.starved_drops += slice.starved_drops;
        let health = &slice.loop_health;
        generator.cpu_wait_ns += health.cpu_wait_ns;
        generator.sleeps += health.sleeps;
        generator.overslept_ns += health.overslept_ns;
        // Every worker notices the same suspension: the longest is the one.
        generator.stood_still_ns = generator.stood_still_ns.max(health.stood_still_ns);
        generator.suspended_ns = generator.suspended_ns.max(health.suspended_ns);
        generator.clock_step_ns = generator.clock_step_ns.max(health.clock_step_ns);
    }
    Tick { second, intervals: merged.into_values().collect(), generator, pacing, ops }
}

/// Raises the soft limit on open files to `needed`, when the hard limit allows it.
/// Raises the process's limit of open files to what `plan` needs.
///
/// # Errors
/// [`EngineError::OpenFiles`] when it may not have as many.
pub fn allow_open_files(plan: &Plan) -> Result<(), EngineError> {
    let waiting = u64::from(plan.load.workers) * FILES_PER_WORKER;
    raise_open_files(u64::from(plan.load.connections) + waiting + SPARE_FILES)
}

pub(crate) fn raise_open_files(needed: u64) -> Result<(), EngineError> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    if let Some(hard) = limit.maximum
        && hard < needed
    {
        return Err(EngineError::OpenFiles { needed, limit: hard });
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })
        .map_err(|e| EngineError::Worker(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_scenarios::curve::Curve;
    use squall_scenarios::plan::{
        AmountLaw, Arrivals, DataPlan, LoadPlan, Mode, PhasePlan, Pick, TargetPlan,
    };

    fn plan() -> Plan {
        Plan {
            name: "t".into(),
            summary: String::new(),
            seed: 1,
            target: TargetPlan::Url { url: String::new(), ca_file: None, token_env: None, allow: vec![] },
            load: LoadPlan {
                arrivals: Arrivals::Uniform,
                connections: 2,
                max_in_flight: 2,
                timeout_ms: 1,
                workers: 2,
                max_rate_rps: 1e6,
                mode: Mode::Open,
                spin_us: 0,
                coalesce_us: 0,
                pipeline: 1,
                transport: plan::Transport::Own,
            },
            phases: vec![PhasePlan {
                name: "all".into(),
                warmup: false,
                start_s: 0.0,
                end_s: 9.0,
                curve: Curve::hold(9.0, 1.0),
                step: false,
                mix: vec![],
                trace: None,
            }],
            requests: vec![],
            data: DataPlan {
                accounts: 2,
                pick: Pick::Uniform,
                account_prefix: String::new(),
                account_digits: 1,
                amount_min: 1,
                amount_max: 1,
                amount: AmountLaw::Uniform,
            },
            journeys: vec![],
            feeders: vec![],
            faults: vec![],
            places: Default::default(),
            experiment: None,
            slos: vec![],
            gates: vec![],
        }
    }

    fn slice(second: u32, last: bool) -> Slice {
        Slice { second, last, ..Slice::new() }
    }

    #[test]
    fn seconds_are_published_in_order_and_do_not_wait_for_a_worker_that_has_ended() {
        let plan = plan();
        let (slices, rx) = sync_channel(16);
        let (ticks, published) = channel();
        thread::scope(|scope| {
            let plan = &plan;
            scope.spawn(move || {
                let (back, _keep) = channel();
                conduct(plan, 2, &rx, &[back], &mut |t: &Tick| ticks.send(t.second).unwrap());
            });
            let next = || published.recv_timeout(Duration::from_secs(20));
            // One worker is a second ahead of the other.
            for s in [slice(0, false), slice(1, true), slice(0, false)] {
                slices.send(s).unwrap();
            }
            assert_eq!(next(), Ok(0));
            slices.send(slice(1, false)).unwrap();
            assert_eq!(next(), Ok(1));
            // The other goes on alone, and its channel is still open.
            slices.send(slice(2, false)).unwrap();
            assert_eq!(next(), Ok(2));
            drop(slices);
        });
    }

    #[test]
    fn shares_add_up_to_the_whole() {
        for (total, workers) in [(7, 3), (64, 4), (1, 1), (1000, 7)] {
            assert_eq!((0..workers).map(|w| share(total, w, workers)).sum::<u32>(), total);
        }
    }
}
