//! From start to drain, as a story.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use squall_chaos::host::Host;
use squall_chaos::leases::Leases;
use squall_chaos::switches;
use tokio::net::TcpListener;

use crate::admission::{self, Admission};
use crate::auth::bearer::Auth;
use crate::auth::logins::Logins;
use crate::bank::embedded::Embedded;
use crate::bank::{Bank, Kind};
use crate::cards::vault::Vault;
use crate::cli::ServeArgs;
use crate::fraud::Rules;
use crate::http::accept::{Drain, Listener, listen};
use crate::http::app::App;
use crate::http::tls::Tls;
use crate::http::{admin, api};
use crate::idempotency::InFlight;
use crate::limits::{
    AUDITS_AT_ONCE, LAST_NOTICES, LAST_SPANS, MAX_ADMIN_CONNECTIONS, OTHER_FILES, STORE_FILES,
};
use crate::metrics::Metrics;
use crate::postgres;
use crate::postgres::notices::Notices;
use crate::postgres::relay::Destination;
use crate::process::allow_open_files;
use crate::profile::Profile;
use crate::queue::{self, Queue as NoticeQueue, local, nats};
use crate::shards;
use crate::shards::metrics::ShardMetrics;
use crate::store::Store;
use crate::store::recovery::Recovered;
use crate::strain::{self, Strain};
use crate::wall;
use crate::worker::crew::Crew;
use crate::worker::{self, Delivery};
use crate::writer::{self, Queue, WriterSettings};

/// How long work that nobody waits for any more may delay the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The line that `--announce` prints.
#[derive(serde::Serialize)]
struct Announcement {
    listening: SocketAddr,
    admin: SocketAddr,
    pid: u32,
}

/// Serves until it is drained.
///
/// # Errors
/// When a setting makes no sense, a secret is missing, the ledger cannot be recovered or an
/// address cannot be listened on.
pub fn serve(mut args: ServeArgs) -> anyhow::Result<()> {
    args.profile.apply(&mut args);
    let auth = Auth::from_env(|name| std::env::var(name).ok(), args.security.wrong_passwords)?;
    let tls = args.security.tls()?.map(Arc::new);
    let leases = Arc::new(Leases::new());
    if let Some(fault) = switches::from_env(|name| std::env::var(name).ok())? {
        tracing::warn!(fraction = fault.fraction, "requests will fail: {} is set", switches::ENABLED_VAR);
        leases.arm_for_life(&fault, 0)?;
    }
    wall::follow(&leases);
    ensure!(args.admin.ip().is_loopback(), "--admin {} is not a loopback address", args.admin);
    if args.profile == Profile::Hardened {
        args.dependencies.check(args.request_timeout())?;
    }
    allow_connections(args.max_connections, args.dependencies.connections())?;

    let keeping = Keeping::prepare(&args)?;
    let telling = Telling::prepare(&args)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.worker_threads())
        .thread_name("serve")
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let done = runtime.block_on(async {
        let mut metrics = Metrics::new(args.store, args.queue.queue);
        let dependencies = args.dependencies.connect(metrics.registry())?;
        auth.figures.register(metrics.registry());
        if let Some(tls) = &tls {
            let help = "Connections that were none: no handshake in time, or a bad one";
            metrics.registry().register("tls_handshake_failures", help, tls.failed.clone());
        }
        let figures = ShardMetrics::default();
        if keeping.is_divided() {
            figures.register(metrics.registry());
        }
        let tracing = args.trace.start("payments", metrics.registry());
        let (tracer, exporter) = tracing.map(|t| (t.tracer, t.exporter)).unzip();
        let metrics = Arc::new(metrics);
        let (notices, crew) = telling.start(&args, &leases, &metrics).await?;
        let (bank, end) = keeping.start(&args, notices, Arc::clone(&metrics), figures, &leases).await?;
        leases.provide(Host { commits: true, wall_clock: true, starve: bank.starve() });
        let app = Arc::new(App {
            keys: Arc::new(InFlight::new(args.profile.locks_keys())),
            rules: Rules {
                limit: args.fraud_limit,
                review: args.dependencies.review(),
                patience: args.profile.fraud_patience(args.request_timeout()),
            },
            fee: args.profile.fee(),
            dependencies,
            recounts: Arc::new(tokio::sync::Semaphore::new(AUDITS_AT_ONCE)),
            audits: Arc::new(tokio::sync::Semaphore::new(AUDITS_AT_ONCE)),
            drain: Drain::new(),
            started: squall_record::clock::Clock::start(),
            request_timeout: args.request_timeout(),
            key_window: Duration::from_secs(args.key_window_s),
            auth,
            logins: Logins::beside(&bank),
            vault: Vault::beside(&bank),
            leases,
            bank,
            metrics,
            workers: crew.as_ref().map(|crew| Arc::clone(crew.delivery())),
            outbox_limit: args.queue.outbox_limit,
            connections: Arc::default(),
            admission: Arc::new(Admission::new(args.overload.max_wait())),
            rates: args.overload.rates(),
            tracer,
            strain: Strain::new(args.overload.strain()),
        });
        let watching = [
            tokio::spawn(admission::follow(Arc::clone(&app.admission))),
            tokio::spawn(strain::watch(Arc::clone(&app))),
        ];
        let drained = serve_until_drained(&args, &app, tls).await;
        // Every connection is closed: what is queued is committed, and then the store ends.
        end.end().await?;
        if let Some(dependencies) = &app.dependencies {
            dependencies.end().await;
        }
        watching.iter().for_each(tokio::task::JoinHandle::abort);
        if let Some(crew) = crew {
            crew.end(LAST_NOTICES).await;
        }
        // The last deliveries are steps, too.
        if let Some(exporter) = exporter {
            exporter.end(LAST_SPANS).await;
        }
        drained
    });
    runtime.shutdown_timeout(LAST_WAIT);
    done?;
    tracing::info!("drained");
    Ok(())
}

/// Where payments will be kept.
#[expect(clippy::large_enum_variant, reason = "there is one, for a moment")]
enum Keeping {
    Embedded(Store, Recovered),
    Postgres(Vec<postgres::Settings>),
}

/// Why the embedded store has no queue but that of its process.
const NO_OUTBOX: &str = "--queue nats needs --store postgres: the embedded store has no outbox";

/// Where notices of payments will go.
enum Telling {
    /// To the queue of this process, and its workers.
    Process(Box<worker::args::Settings>),
    /// To a server's, by way of the outbox.
    Nats(nats::Address),
}

impl Telling {
    /// What can be found to be wrong before anything listens.
    fn prepare(args: &ServeArgs) -> anyhow::Result<Self> {
        let workers = args.notify.settings()?;
        match (args.queue.queue, args.store) {
            (queue::args::Kind::Process, _) => Ok(Telling::Process(Box::new(workers))),
            (queue::args::Kind::Nats, Kind::Embedded) => bail!("{NO_OUTBOX}"),
            (queue::args::Kind::Nats, Kind::Postgres) => {
                ensure!(
                    workers.receiver.is_none(),
                    "with --queue nats it is `payments worker` that takes --deliver-to"
                );
                Ok(Telling::Nats(queue::args::address()?))
            }
        }
    }

    async fn start(
        self,
        args: &ServeArgs,
        leases: &Arc<Leases>,
        metrics: &Metrics,
    ) -> anyhow::Result<(Notices, Option<Crew>)> {
        let thresholds = args.queue.thresholds();
        match self {
            Telling::Process(settings) => {
                let metrics = metrics.notify.clone().unwrap_or_default();
                let (sender, queue) = local::queue(thresholds, &metrics.lost);
                let queue = NoticeQueue::Local(queue);
                let delivery = Delivery::new(queue, &settings, Some(Arc::clone(leases)), metrics, None);
                Ok((Notices::Process(sender), Some(Crew::start(delivery, &settings))))
            }
            Telling::Nats(address) => {
                let metrics = metrics.outbox.clone().unwrap_or_default();
                let nats = nats::connect(address).await?;
                Ok((Notices::Outbox(Box::new(Destination { nats, thresholds, metrics })), None))
            }
        }
    }
}

/// What has to end after the last answer.
enum End {
    Embedded(Queue, JoinHandle<()>),
    Postgres(shards::Tasks),
}

impl Keeping {
    /// What can be done, or found to be wrong, before anything listens.
    fn prepare(args: &ServeArgs) -> anyhow::Result<Self> {
        let var = |name: &str| std::env::var(name).ok();
        if args.store == Kind::Postgres {
            return Ok(Keeping::Postgres(args.postgres.settings(var, args)?));
        }
        args.refuse_copies(var)?;
        let data = args.data.as_ref().context("--data is missing: name the ledger's folder")?;
        std::fs::create_dir_all(data)
            .with_context(|| format!("failed to make the folder {}", data.display()))?;
        let at = || format!("failed to open the ledger in {}", data.display());
        let store = Store::open(data).with_context(at)?;
        let mut found = store.recover().with_context(at)?;
        store
            .open_accounts(&mut found, args.accounts as usize, args.currency, args.opening_balance)
            .with_context(at)?;
        tracing::info!(
            accounts = found.ledger.accounts(),
            payments = found.ledger.seq(),
            replayed = found.replayed,
            "ledger recovered"
        );
        Ok(Keeping::Embedded(store, found))
    }

    /// Whether accounts are divided among several databases.
    fn is_divided(&self) -> bool {
        matches!(self, Keeping::Postgres(databases) if databases.len() > 1)
    }

    async fn start(
        self,
        args: &ServeArgs,
        notices: Notices,
        metrics: Arc<Metrics>,
        figures: ShardMetrics,
        leases: &Arc<Leases>,
    ) -> anyhow::Result<(Bank, End)> {
        match self {
            Keeping::Embedded(store, found) => {
                let Notices::Process(notices) = notices else { bail!("{NO_OUTBOX}") };
                let settings = WriterSettings {
                    queue_limit: args.queue_limit as usize,
                    commit_interval: Duration::from_micros(args.commit_interval_us),
                    key_window: Duration::from_secs(args.key_window_s),
                    key_limit: args.key_limit,
                };
                let (queue, board, thread) =
                    writer::start(store.clone(), found, settings, notices, metrics, Arc::clone(leases))?;
                let bank = Embedded { store, queue: queue.clone(), board, settings };
                Ok((Bank::Embedded(bank), End::Embedded(queue, thread)))
            }
            Keeping::Postgres(settings) => {
                let opening = postgres::Opening {
                    accounts: args.accounts,
                    currency: args.currency,
                    balance: args.opening_balance,
                };
                let (bank, tasks) =
                    shards::start(settings, opening, notices, metrics, figures, leases).await?;
                Ok((Bank::Postgres(bank), End::Postgres(tasks)))
            }
        }
    }
}

impl End {
    async fn end(self) -> anyhow::Result<()> {
        match self {
            End::Embedded(queue, thread) => {
                let joined = tokio::task::spawn_blocking(move || {
                    queue.end();
                    thread.join()
                });
                ensure!(joined.await?.is_ok(), "the writer has panicked");
            }
            End::Postgres(tasks) => tasks.end().await,
        }
        Ok(())
    }
}

/// Every connection is an open file, beside those of the store.
fn allow_connections(max_connections: u32, to_dependencies: usize) -> anyhow::Result<()> {
    let others = (MAX_ADMIN_CONNECTIONS + STORE_FILES + OTHER_FILES + to_dependencies) as u64;
    let needed = u64::from(max_connections) + others;
    allow_open_files(needed).map_err(|hard| {
        let lower = match hard.saturating_sub(others) {
            0 => String::new(),
            most => format!("lower it to {most} or "),
        };
        anyhow!(
            "--max-connections {max_connections} needs {needed} open files, above the hard limit of {hard}: \
             {lower}raise the limit (`ulimit -Hn`)"
        )
    })
}

async fn serve_until_drained(args: &ServeArgs, app: &Arc<App>, tls: Option<Arc<Tls>>) -> anyhow::Result<()> {
    let bind = async |addr: SocketAddr| {
        TcpListener::bind(addr).await.with_context(|| format!("failed to listen on {addr}"))
    };
    let (api_socket, admin_socket) = (bind(args.listen).await?, bind(args.admin).await?);
    let announcement = Announcement {
        listening: api_socket.local_addr()?,
        admin: admin_socket.local_addr()?,
        pid: std::process::id(),
    };
    let header_timeout = Duration::from_millis(args.header_timeout_ms);
    let drain_timeout = Duration::from_millis(args.drain_timeout_ms);
    let api = Arc::new(api::Api::new(app));
    let api_listener = Listener {
        socket: api_socket,
        max_connections: args.max_connections as usize,
        header_timeout,
        drain_timeout,
        connections: Arc::clone(&app.connections),
        refused: app.metrics.connections_refused.clone(),
        express: Some(Arc::clone(&api)),
        tls: tls.clone(),
    };
    let admin_listener = Listener {
        socket: admin_socket,
        max_connections: MAX_ADMIN_CONNECTIONS,
        header_timeout,
        drain_timeout,
        connections: Arc::default(),
        refused: app.metrics.connections_refused.clone(),
        express: None,
        tls: None,
    };
    let admin = Arc::new(admin::Admin::new(app));
    let served = listen(api_listener, move |r, peer| Arc::clone(&api).answer(r, peer), app.drain.subscribe());
    let administered =
        listen(admin_listener, move |r, _| Arc::clone(&admin).answer(r), app.drain.subscribe());
    let (served, administered) = (tokio::spawn(served), tokio::spawn(administered));
    let drained = Arc::clone(app);
    drain_on_signals(move || drained.drain.begin())?;
    reload_on_hangup(Arc::clone(app), tls)?;
    if args.exit_on_stdin_eof {
        let drained = Arc::clone(app);
        drain_on_stdin_eof(move || drained.drain.begin())?;
    }
    tracing::info!(listening = %announcement.listening, admin = %announcement.admin, "ready");
    if args.announce {
        announce(&announcement)?;
    }
    served.await?;
    administered.await?;
    Ok(())
}

/// Prints `announcement` as a line of JSON.
pub(crate) fn announce(announcement: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(announcement)?;
    line.push('\n');
    let mut out = std::io::stdout();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).context("failed to announce the service")
}

pub(crate) fn drain_on_signals(drain: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        drain();
    });
    Ok(())
}

/// Reads the files of users, certificate and key again on each SIGHUP, when there are any: without them that signal
/// ends the process, as ever.
fn reload_on_hangup(app: Arc<App>, tls: Option<Arc<Tls>>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    if tls.is_none() && !app.auth.has_file() {
        return Ok(());
    }
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let reloaded = app.auth.reload().and_then(|()| tls.as_ref().map_or(Ok(()), |tls| tls.reload()));
            match reloaded {
                Ok(()) => tracing::info!("users and certificates read again"),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "what could not be read again stays");
                }
            }
        }
    });
    Ok(())
}

/// Reads standard input to its end, in a thread of its own: such a read cannot be given up.
pub(crate) fn drain_on_stdin_eof(drain: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut ignored = [0; 4096];
        let mut stdin = std::io::stdin().lock();
        loop {
            match stdin.read(&mut ignored) {
                Ok(0) => break,
                Err(e) if e.kind() != std::io::ErrorKind::Interrupted => break,
                _ => {}
            }
        }
        drain();
    })?;
    Ok(())
}
