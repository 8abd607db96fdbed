//! `squall run`: from scenario to verdict.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use squall_engine::control::Control;
use squall_engine::endpoint::Endpoint;
use squall_engine::engine::{self, EngineError, Job};
use squall_engine::journey::users::JourneyJob;
use squall_record::clock::{self, Clock};
use squall_record::event::{Event, What};
use squall_record::fault::Place;
use squall_record::folder::{FolderWriter, RunFolder};
use squall_record::interval::Sink;
use squall_record::manifest::{Machine, Manifest, SCHEMA};
use squall_reports::report::build;
use squall_reports::text::render_text;
use squall_reports::write::write_all;
use squall_scenarios::closed::closed_loop;
use squall_scenarios::feeder::Feeders;
use squall_scenarios::host::TargetUrl;
use squall_scenarios::plan::{FaultPlan, Plan, ServicePlan, TargetPlan};
use squall_scenarios::workload::Workload;
use xxhash_rust::xxh3::xxh3_64;

use super::{Stop, scenario};
use crate::calibrate::saved;
use crate::cli::{RunArgs, Ui};
use crate::live::{Live, SharedView};
use crate::outputs::Outputs;
use crate::plain::Plain;
use crate::run::admin::Admin;
use crate::run::child::{ReferenceService, USERNAME, Wanted};
use crate::run::control::Pilot;
use crate::run::experiment::Judge;
use crate::run::holders::HitsLog;
use crate::run::outside::Guard;
use crate::run::places::Places;
use crate::run::proxies::Proxies;
use crate::run::stack::{self, Stack};
use crate::run::stream::Stream;
use crate::run::timeline::Hands;
use crate::run::users::Crowd;
use crate::run::watch::Watch;
use crate::run::{interrupt, preflight, timeline};
use crate::stdout::{print, remark, wants_colour};
use crate::tui::{self, Commands};

/// How far ahead the run's zero lies, so that every connection is open by then.
const LEAD: Duration = Duration::from_millis(500);

/// What is loaded, once it is there.
struct Target {
    endpoint: Endpoint,
    host: String,
    token: String,
    /// What journeys log in with; empty when squall knows of no user.
    username: &'static str,
    password: String,
    admin: Option<Admin>,
    /// What was started for the run; it ends when dropped.
    started: Started,
}

/// What squall has started to load it.
enum Started {
    Nothing,
    Service(ReferenceService),
    Stack(Stack),
}

impl Started {
    /// What faults can act on.
    fn places(&self) -> Places<'_> {
        match self {
            Started::Nothing => Places::default(),
            Started::Service(service) => Places { service: Some(service), stack: None },
            Started::Stack(stack) => Places { service: None, stack: Some(stack) },
        }
    }

    /// Lets it finish what it has, and ends it.
    fn stop(self) {
        match self {
            Started::Nothing => {}
            Started::Service(service) => service.stop(),
            Started::Stack(stack) => stack.stop(),
        }
    }
}

/// Carries out a scenario and writes its reports.
///
/// # Errors
/// When the scenario is invalid, or the run cannot be carried out or recorded.
pub fn run(args: &RunArgs) -> Result<u8, Stop> {
    let mut plan = scenario::plan(&args.scenario)?;
    if let Some(duration) = args.closed {
        let (closed, left_out) = closed_loop(plan, duration.as_secs_f64());
        plan = closed;
        remark(&format!(
            "closed loop for {duration:?}: a maximum throughput, not a load; left out: {}",
            left_out.join(", ")
        ));
    }
    let out = args.out.clone().unwrap_or_else(|| default_folder(&plan));
    let ui = match args.ui {
        Some(Ui::Tui) if !has_screen() => {
            remark("there is no terminal for a full screen: showing plain lines");
            Ui::Plain
        }
        Some(ui) => ui,
        None if has_screen() => Ui::Tui,
        None => Ui::Plain,
    };

    if args.data.is_some() && !matches!(plan.target, TargetPlan::Reference(_)) {
        return Err(Stop::Invalid(format!(
            "failed to run {}: --data is the folder of the reference service, and the target is another; leave it out",
            plan.name
        )));
    }
    if let Some(data) = &args.data {
        preflight::fresh_ledger(data).map_err(Stop::asked)?;
    }
    urls_are_set(&plan)?;
    let stranger = stranger(&plan)?;
    let feeders = Feeders::open(&plan).map_err(|e| Stop::Invalid(format!("failed to {e}")))?;
    if let Some(note) = saved::note(plan.estimated_peak_rps()) {
        remark(&note);
    }
    preflight::disk(&plan, &out, args.data.as_deref()).map_err(Stop::asked)?;
    if plan.has_load() {
        engine::allow_open_files(&plan).map_err(Stop::asked)?;
    }
    let mut outputs = Outputs::open(&args.outputs, &plan).map_err(Stop::asked)?;
    let is_new = !out.exists();
    let writer = FolderWriter::create(&out, &manifest(&plan)?)
        .context("prepare the run folder")
        .map_err(Stop::asked)?;
    let stop = Arc::new(AtomicBool::new(false));
    interrupt::install(Arc::clone(&stop)).context("handle Ctrl-C")?;
    let target = match start_target(&plan, stranger, &out, args.data.as_deref(), &stop) {
        Ok(target) => target,
        Err(e) => {
            // Nothing was sent: a folder that says otherwise would only be in the way.
            drop(writer);
            if is_new {
                let _ = std::fs::remove_dir_all(&out);
            }
            return Err(e.into());
        }
    };
    let steady = plan.experiment.as_ref().is_some_and(|e| !e.steady_state.is_empty());
    if plan.gates.is_empty() && !steady {
        remark(&format!("note: {} has no gates, so this run passes whatever happens", plan.name));
    }
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(writer)];
    sinks.extend(outputs.sink());
    let loaded = load(&plan, &target, feeders, sinks, ui, &stop, &out);
    outputs.end();
    target.started.stop();

    // A run that could not go on is reported as far as it went.
    let report = RunFolder::open(&out)
        .context("read the run back")
        .and_then(|folder| build(&folder).context("judge the run"))
        .and_then(|report| write_all(&report, &out).context("write the reports").map(|_| report));
    if loaded.is_err() && report.is_ok() {
        remark(&format!("report of the part that was run: {}", out.join("report.html").display()));
    }
    let interrupted = loaded.map_err(|e| match e.downcast_ref::<EngineError>() {
        // What was asked for cannot be replayed; nothing of squall's has failed.
        Some(EngineError::Trace(broken)) => Stop::Invalid(format!("failed to {broken}")),
        _ => Stop::Failed(e),
    })?;
    let report = report?;
    print(&render_text(&report, wants_colour()))?;
    remark(&format!("report: {}", out.join("report.html").display()));
    let aborted = report.events.iter().any(|e| matches!(e.what, What::Aborted { .. }));
    if interrupted && !aborted {
        remark("interrupted: the reports cover the part that was run");
    }
    Ok(report.exit_code())
}

/// Whether a full screen makes sense: a terminal on both sides that is not a dumb one.
fn has_screen() -> bool {
    std::io::stdin().is_terminal()
        && std::io::stderr().is_terminal()
        && std::env::var_os("TERM").is_some_and(|t| t != "dumb")
}

fn default_folder(plan: &Plan) -> PathBuf {
    let stamp = clock::folder_stamp(clock::wall_now());
    let name = format!("{stamp}-{}", plan.name);
    // Two runs in one second get two folders.
    (1..)
        .map(|n| Path::new("runs").join(if n == 1 { name.clone() } else { format!("{name}-{n}") }))
        .find(|p| !p.exists())
        .unwrap_or_else(|| Path::new("runs").join(name))
}

fn manifest(plan: &Plan) -> anyhow::Result<Manifest> {
    let scenario = serde_json::to_value(plan).context("write the plan down")?;
    let scenario_hash = format!("{:016x}", xxh3_64(scenario.to_string().as_bytes()));
    Ok(Manifest {
        schema: SCHEMA,
        name: plan.name.clone(),
        seed: plan.seed,
        started_at: Manifest::stamp(),
        squall_version: env!("CARGO_PKG_VERSION").to_owned(),
        scenario,
        scenario_hash,
        classes: plan.requests.iter().map(|r| r.name.clone()).collect(),
        machine: Machine::this(),
    })
}

/// Whether the environment has the URLs of all that faults act on.
fn urls_are_set(plan: &Plan) -> Result<(), Stop> {
    let missing = plan.places.resources.iter().find(|r| std::env::var(&r.url_env).is_err());
    missing.map_or(Ok(()), |r| {
        Err(Stop::Invalid(format!(
            "failed to run {}: resource {}: url_env names the environment variable {}, which is not set",
            plan.name, r.name, r.url_env
        )))
    })
}

/// The target that is not squall's own, when the plan names one: everything about it that can be
/// wrong shows before the run folder is made.
fn stranger(plan: &Plan) -> Result<Option<Target>, Stop> {
    let TargetPlan::Url { url, ca_file, token_env, allow } = &plan.target else { return Ok(None) };
    let invalid = |problem: String| Stop::Invalid(format!("failed to run {}: {problem}", plan.name));
    let token = match token_env {
        None => String::new(),
        Some(name) => std::env::var(name).map_err(|_| {
            invalid(format!("target.token_env names the environment variable {name}, which is not set"))
        })?,
    };
    if token.bytes().any(|b| b.is_ascii_control()) {
        let name = token_env.as_deref().unwrap_or_default();
        return Err(invalid(format!("the bearer token in {name} holds control characters")));
    }
    let parsed = TargetUrl::parse(url).map_err(|e| invalid(e.to_string()))?;
    let http = plan.load.transport.http();
    let (endpoint, host) = preflight::endpoint(&parsed, allow, ca_file.as_ref().map(Path::new), http)
        .and_then(|(endpoint, host)| preflight::trust(&endpoint).map(|()| (endpoint, host)))
        .map_err(|e| invalid(format!("{e:#}")))?;
    Ok(Some(Target {
        endpoint,
        host,
        token,
        username: "",
        password: String::new(),
        admin: None,
        started: Started::Nothing,
    }))
}

/// The stranger, or what squall starts itself, once it is ready.
fn start_target(
    plan: &Plan,
    stranger: Option<Target>,
    run: &Path,
    data: Option<&Path>,
    stop: &AtomicBool,
) -> anyhow::Result<Target> {
    match &plan.target {
        TargetPlan::Url { .. } => stranger.context("find the target"),
        TargetPlan::Reference(service) => start_service(plan, *service, run, data),
        TargetPlan::Compose { service, file } => {
            let accounts = service.accounts;
            remark(&format!("starting the reference payment service as a stack, with {accounts} accounts …"));
            let file = file.as_deref().map(Path::new);
            let wanted = stack::Wanted { service: *service, file, run, stop };
            let stack = Stack::start(wanted)?;
            remark(&format!("its load balancer listens on {}", stack.addr));
            Ok(Target {
                endpoint: Endpoint::Tcp(stack.addr),
                host: stack.addr.to_string(),
                token: stack.token.clone(),
                username: USERNAME,
                password: stack.password.clone(),
                admin: None,
                started: Started::Stack(stack),
            })
        }
    }
}

/// The reference service as a child, once it listens.
fn start_service(plan: &Plan, asked: ServicePlan, run: &Path, data: Option<&Path>) -> anyhow::Result<Target> {
    remark(&format!("starting the reference payment service with {} accounts …", asked.accounts));
    let wanted = Wanted {
        service: asked,
        connections: plan.load.connections + plan.journeys.iter().map(|j| j.users).sum::<u32>(),
        run,
        data,
    };
    let service = ReferenceService::start(wanted)?;
    remark(&format!("it listens on {} (process {})", service.addr, service.pid()));
    service.quieten_disk();
    Ok(Target {
        endpoint: Endpoint::Tcp(service.addr),
        host: service.addr.to_string(),
        token: service.token.clone(),
        username: USERNAME,
        password: service.password.clone(),
        admin: Some(Admin::new(service.admin, &service.admin_token)),
        started: Started::Service(service),
    })
}

/// Loads the target, telling `sinks`, while the timeline, the watcher and the display go on beside it. Gives
/// whether the run was interrupted.
fn load(
    plan: &Plan,
    target: &Target,
    feeders: Feeders,
    mut sinks: Vec<Box<dyn Sink>>,
    ui: Ui,
    stop: &Arc<AtomicBool>,
    out: &Path,
) -> anyhow::Result<bool> {
    let done = Arc::new(AtomicBool::new(false));
    let mut view = None;
    match ui {
        Ui::None => {}
        Ui::Plain => sinks.push(Box::new(Plain::stderr(plan))),
        Ui::Tui => {
            let live = Live::new(plan);
            view = Some(live.shared());
            sinks.push(Box::new(live));
        }
    }
    let workload = Workload::filled_from(feeders, plan, &target.host, &target.token)?;
    // Both may take seconds, and so come before the clock starts.
    let crowd = crowd(plan, target, out)?;
    let unreachable = preflight::unreachable(&target.endpoint);
    let proxies = Proxies::start(plan, behind(&target.endpoint))?;
    for shown in proxies.iter().flat_map(Proxies::shown) {
        remark(&format!("proxy {shown}"));
    }
    // Where the load goes: to the proxy that is in front of the target, if one is.
    let front = proxies.as_ref().and_then(|p| p.front).map(Endpoint::Tcp);
    let endpoint = front.as_ref().unwrap_or(&target.endpoint);
    let judge = Judge::new(plan);
    sinks.push(judge.sink());
    let log = HitsLog::in_folder(out);
    let hands = hands(plan, target, proxies.as_ref(), (judge.clone(), stop, log))?;
    let stream = Stream::new(sinks);
    let watch = Watch::new(&target.endpoint, &target.host, plan.load.transport.http())?;
    let clock = Clock::starting_in(LEAD);
    let control = Control::new();
    let pilot = Pilot::new(plan, control.clone(), clock, stream.clone());
    let screen = view.map(|v| show(v, pilot, stop, &done)).transpose()?;
    if let Some(reason) = unreachable {
        let reason = format!("{} does not accept connections: {reason}", target.endpoint);
        stream.event(0.0, What::Target { up: false, reason })?;
    }

    // What is on the wire may take a while to end; an interrupted load ended before that, with the second in
    // which it was interrupted, whether or not arrivals were planned then.
    let mut load_end_s = 0.0;
    let mut stopped = false;
    let loaded = thread::scope(|scope| {
        let (stream, done) = (&stream, &*done);
        // Whatever ends the load, also a panic, ends what goes on beside it.
        let _beside_ends = SetOnDrop(done);
        let kept = scope.spawn(|| {
            let kept = timeline::keep(plan, hands, clock, stream, done);
            if kept.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            kept
        });
        scope.spawn(|| watch.keep(clock, stream, done));
        scope.spawn(|| judge.keep(clock, stream, stop, done));
        let job = Job { plan, endpoint, host: &target.host, workload: &workload, clock };
        let on_event = |e: Event| stream.event(e.at_s, e.what);
        let walking = crowd.map(|crowd| scope.spawn(|| crowd.walk(clock, stream, stop)));
        let loaded = if plan.has_load() {
            engine::run_with(&job, &control, stop, on_event, |tick| {
                let just_stopped = !stopped && stop.load(Ordering::Relaxed);
                stopped |= just_stopped;
                if just_stopped || tick.intervals.iter().any(|i| i.counts.planned > 0) {
                    load_end_s = f64::from(tick.second) + 1.0;
                }
                stream.tick(tick)
            })
        } else {
            Ok(())
        };
        let walked = walking.map_or(Ok(()), |w| {
            let (end_s, walked) = w.join().map_err(|_| anyhow::anyhow!("the journeys' thread panicked"))?;
            load_end_s = f64::max(load_end_s, end_s);
            walked.map_err(anyhow::Error::from)
        });
        done.store(true, Ordering::Relaxed);
        let kept = kept.join().unwrap_or_else(|_| Err(std::io::Error::other("the timeline panicked")));
        loaded.map_err(anyhow::Error::from).and(walked).and(kept.context("record the run"))
    });
    // What ended the run by itself is not an interruption by the user.
    let interrupted = loaded.is_ok() && stop.load(Ordering::Relaxed);
    let end_s = if interrupted { load_end_s.min(clock.now_s()) } else { clock.now_s() };
    let ended = stream.event(end_s, What::Ended { interrupted });
    if let Some(screen) = screen {
        match screen.join() {
            Ok(Ok(())) => {}
            Ok(Err(e)) => remark(&format!("the terminal UI ended early: {e}")),
            Err(_) => remark("the terminal UI ended early; the run and its record did not"),
        }
    }
    loaded?;
    ended.context("record the end of the run")?;
    Ok(interrupted)
}

/// What the plan's faults are made with: a guard only where one is needed.
fn hands<'a>(
    plan: &Plan,
    target: &'a Target,
    proxies: Option<&'a Proxies>,
    (judge, stop, log): (Judge, &'a AtomicBool, HitsLog),
) -> anyhow::Result<Hands<'a>> {
    let places = target.started.places();
    let outside = |f: &FaultPlan| !matches!(f.fault.place, Place::Point(_) | Place::Proxy(_));
    let outside = plan.faults.iter().any(outside);
    let guard = outside.then(|| Guard::start(places.environment(plan)?)).transpose()?;
    Ok(Hands { admin: target.admin.as_ref(), places, guard, proxies, judge, stop, log })
}

/// The address of a target that a proxy can be in front of: HTTP over TCP without TLS.
fn behind(endpoint: &Endpoint) -> Option<SocketAddr> {
    match endpoint {
        Endpoint::Tcp(addr) => Some(*addr),
        _ => None,
    }
}

/// The plan's virtual users, ready to begin; none when it has no journeys.
fn crowd(plan: &Plan, target: &Target, out: &Path) -> anyhow::Result<Option<Crowd>> {
    if plan.journeys.is_empty() {
        return Ok(None);
    }
    let job = JourneyJob {
        plan,
        endpoint: &target.endpoint,
        host: &target.host,
        token: &target.token,
        username: target.username,
        password: &target.password,
    };
    Crowd::start(&job, out).map(Some)
}

/// Sets its flag when it goes out of scope.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Shows the run on the terminal, on a thread of its own.
fn show(
    view: SharedView,
    pilot: Pilot,
    stop: &Arc<AtomicBool>,
    done: &Arc<AtomicBool>,
) -> anyhow::Result<JoinHandle<std::io::Result<()>>> {
    let (stop, done) = (Arc::clone(stop), Arc::clone(done));
    let commands = Commands::new(move || interrupt::ask(&stop))
        .with_pilot(move |command| pilot.ask(&command).map(|_| ()).map_err(|e| e.to_string()));
    thread::Builder::new()
        .name("tui".into())
        .spawn(move || tui::run(&view, &commands, &done))
        .context("start the terminal UI")
}
