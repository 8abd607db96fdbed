//! The process's end: from an order to goose and back.

use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use goose::GooseAttack;
use goose::client::GooseClientBuilder;
use goose::config::{GooseConfiguration, GooseDefault, GooseDefaultType};
use goose::prelude::{GooseError, Scenario, Transaction, TransactionFunction};
use squall_record::clock::{Clock, NANOS_PER_SEC, thread_cpu_ns};
use squall_record::journey::JourneyTick;
use squall_scenarios::feeder::Feeders;
use squall_scenarios::journey::{Draws, Script};
use tokio::sync::{Notify, oneshot, watch};

use super::board::Board;
use super::user::{Shared, iterate};
use super::wire::{Job, Order, Said, hear, say};
use crate::client::{self, base_url};
use crate::engine::raise_open_files;

/// Seconds that the parent may fall behind before the process gives up.
const SECONDS_BEHIND: usize = 128;
/// How long after the last answer can have come the users are given up.
const GRACE: Duration = Duration::from_secs(2);
/// An idle connection is closed by us before the target does.
const IDLE: Duration = Duration::from_secs(15);
/// File descriptors beside a connection for each user.
const SPARE_FILES: u64 = 64;
/// Longer than any run: the users end by themselves.
const GOOSE_RUN_S: u64 = 30 * 24 * 3600;

/// Says nothing. It stands where goose would put its own logger.
struct Silence;

impl log::Log for Silence {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        false
    }

    fn log(&self, _: &log::Record<'_>) {}

    fn flush(&self) {}
}

/// Carries out what comes over `socket`, and ends when it closes. Nothing else may go on in the
/// process: goose takes it over.
///
/// # Errors
/// When the socket fails. What is wrong with the job goes to the other end.
pub fn serve(socket: OwnedFd) -> io::Result<()> {
    // Fails when there is a logger already, and then goose's cannot be installed either.
    let _ = log::set_logger(&Silence);
    let mut writer = UnixStream::from(socket);
    let mut reader = BufReader::new(writer.try_clone()?);
    let mut line = Vec::new();
    let Some(Order::Job(job)) = hear(&mut reader, &mut line)? else {
        return Err(io::Error::other("the first order is no job"));
    };
    let reason = match carry_out(*job, reader, &mut writer) {
        Ok(()) => return say(&mut writer, &Said::Ended),
        Err(e) => e.to_string(),
    };
    say(&mut writer, &Said::Failed { reason })
}

fn carry_out(
    job: Job,
    reader: BufReader<UnixStream>,
    writer: &mut UnixStream,
) -> Result<(), Box<dyn std::error::Error>> {
    let users: u32 = job.plan.journeys.iter().map(|j| j.users).sum();
    raise_open_files(u64::from(users) + SPARE_FILES)?;
    let plan = &job.plan;
    let scripts = plan.journeys.iter().map(|j| Script::new(j, &plan.feeders));
    let scripts = scripts.collect::<Result<Vec<_>, _>>()?;
    let (draws, feeders) = (Draws::new(plan), Feeders::open(plan)?);
    let timeout = Duration::from_millis(job.plan.load.timeout_ms);
    let endpoint = job.endpoint()?;
    let base = base_url(&endpoint, &job.host)?;
    let client = client::builder(&endpoint, &base, job.plan.load.transport.http(), timeout)
        .timeout(timeout)
        .pool_idle_timeout(IDLE)
        .build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop_tx, stop) = watch::channel(false);
    let (start_tx, start) = oneshot::channel();
    thread::Builder::new().name("orders".into()).spawn(move || listen(reader, start_tx, &stop_tx))?;
    say(writer, &Said::Ready)?;

    let (seconds, out) = sync_channel::<JourneyTick>(SECONDS_BEHIND);
    let mut to_parent = writer.try_clone()?;
    // Compressing histograms takes time that the users must not wait for.
    let telling = thread::Builder::new().name("seconds".into()).spawn(move || -> io::Result<()> {
        for mut tick in out {
            let ops = std::mem::take(&mut tick.ops);
            say(&mut to_parent, &Said::Second { tick, ops })?;
        }
        Ok(())
    })?;
    let result = runtime.block_on(async move {
        let clock: Clock = start.await?;
        let shared = Arc::new(Shared {
            board: Mutex::new(Board::new(&job.plan)),
            next_user: job.plan.journeys.iter().map(|_| AtomicU32::new(0)).collect(),
            left: AtomicU32::new(users),
            all_ended: Notify::new(),
            job,
            base: base.as_str().trim_end_matches('/').to_owned(),
            scripts,
            draws,
            feeders,
            client,
            clock,
            stop,
        });
        let attack = attack(&shared, users, timeout)?;
        tokio::select! {
            told = tell(&shared, &seconds, timeout) => told,
            ended = attack.execute() => match ended {
                Ok(_) => Err("goose ended before its users".into()),
                Err(e) => Err(format!("goose: {e}").into()),
            },
        }
    });
    // The users that goose still holds end with the runtime.
    runtime.shutdown_background();
    telling.join().map_err(|_| "the thread that tells the seconds panicked")??;
    result
}

/// Passes orders on. The end of the orders is the end of the process: nobody is left to hear it.
fn listen(mut reader: BufReader<UnixStream>, start: oneshot::Sender<Clock>, stop: &watch::Sender<bool>) {
    let mut start = Some(start);
    let mut line = Vec::new();
    while let Ok(Some(order)) = hear(&mut reader, &mut line) {
        match order {
            Order::Start { origin_monotonic_ns } => {
                let clock = Clock::with_origin(origin_monotonic_ns);
                // The run may have ended meanwhile.
                let _ = start.take().map(|s| s.send(clock));
            }
            Order::Stop => {
                stop.send_replace(true);
            }
            Order::Job(_) => {}
        }
    }
    std::process::exit(0);
}

/// goose with a scenario for each journey, as many users as it has, and nothing that reaches
/// beyond the process.
fn attack(shared: &Arc<Shared>, users: u32, timeout: Duration) -> Result<GooseAttack, GooseError> {
    let mut configuration = GooseConfiguration::default();
    configuration.host = Some(shared.base.clone());
    configuration.quiet = 2;
    configuration.no_telnet = true;
    configuration.no_metrics = true;
    configuration.no_print_metrics = true;
    configuration.no_error_summary = true;
    let client = GooseClientBuilder::new().without_cookies().timeout(timeout);
    let plan = format!("{users},0;{users},{GOOSE_RUN_S};0,0");
    let attack =
        GooseAttack::initialize_with_config(configuration)?.set_client_builder_without_cookies(client)?;
    let mut attack = *attack.set_default(GooseDefault::TestPlan, plan.as_str())?;
    for (journey, plan) in shared.job.plan.journeys.iter().enumerate() {
        let shared = Arc::clone(shared);
        let iteration: TransactionFunction = Arc::new(move |user| {
            let shared = Arc::clone(&shared);
            Box::pin(async move {
                iterate(user, &shared, journey).await;
                Ok(())
            })
        });
        let transaction = Transaction::new(iteration).set_name("iteration");
        let scenario = Scenario::new(&plan.name).register_transaction(transaction);
        attack = attack.register_scenario(scenario.set_weight(plan.users as usize)?);
    }
    Ok(attack)
}

/// Hands over each second when it is complete, until all users have ended or are given up.
async fn tell(
    shared: &Shared,
    seconds: &SyncSender<JourneyTick>,
    timeout: Duration,
) -> Result<(), Box<dyn std::error::Error>> {
    let clock = shared.clock;
    let end_s = shared.job.plan.journeys.iter().map(|j| j.end_s).fold(0.0, f64::max);
    let patience_s = (timeout + GRACE).as_secs_f64();
    let (mut cpu_before_ns, mut told_ns, mut over_s) = (thread_cpu_ns(), 0, end_s);
    let mut second = 1;
    loop {
        let ended = tokio::select! {
            () = tokio::time::sleep(clock.until(u64::from(second) * NANOS_PER_SEC)) => false,
            () = shared.all_ended.notified() => true,
        };
        let (cpu_ns, now_ns) = (thread_cpu_ns(), clock.now_ns());
        if *shared.stop.borrow() {
            over_s = over_s.min(clock.now_s());
        }
        let given_up = clock.now_s() > over_s + patience_s;
        // The second that is under way is the last one.
        let until = (now_ns / NANOS_PER_SEC) as u32 + u32::from(ended || given_up);
        let (cpu_spent_ns, wall_ns) = (cpu_ns.saturating_sub(cpu_before_ns), now_ns.saturating_sub(told_ns));
        let ticks = shared.board().take_before(until, cpu_spent_ns, wall_ns);
        if !ticks.is_empty() {
            (cpu_before_ns, told_ns) = (cpu_ns, now_ns);
        }
        for tick in ticks {
            seconds.try_send(tick).map_err(|_| "nobody takes the seconds")?;
        }
        if ended || given_up {
            return Ok(());
        }
        second = until.max(second - 1) + 1;
    }
}
