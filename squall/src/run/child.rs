//! The reference service as a child of the run.
//!
//! It runs the same code as `squall target`, in a process group of its own (a Ctrl-C is for squall
//! to handle), and ends when its standard input closes, so it cannot outlive a killed squall.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use squall_scenarios::plan::ServicePlan;

use crate::stdout::remark;

/// How long the service may take to recover its data and listen.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections beyond the load's: health checks, and a person who looks.
const SPARE_CONNECTIONS: u32 = 64;
/// How long the service itself waits for requests under way.
const DRAIN_MS: u64 = 5000;
/// How long it may take to drain before it is killed: its own wait, and closing the ledger.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often its end is looked for while it drains.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// How often it is tried to start it again: its port may be somebody's for a moment.
const STARTS_AGAIN: u32 = 3;
/// How long it waits for the next try.
const START_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Who may log in, with a password that is drawn for each run.
pub const USERNAME: &str = "customer";
/// After how long a person is told what is waited for, and how long that may take.
const TELL_FLUSH: Duration = Duration::from_secs(1);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of its log is repeated when it does not start.
const LOG_TAIL_LINES: usize = 8;

/// What the service says when it is ready.
#[derive(Debug, Deserialize)]
struct Announcement {
    listening: SocketAddr,
    admin: SocketAddr,
}

/// A running reference service. It holds tokens, and so has no `Debug`.
pub struct ReferenceService {
    child: Mutex<Child>,
    /// That of the child, also while it is being started again.
    pid: AtomicU32,
    launch: Launch,
    /// Where it serves.
    pub addr: SocketAddr,
    /// Where it is administered.
    pub admin: SocketAddr,
    /// The bearer token that it accepts.
    pub token: String,
    /// The bearer token of its admin port.
    pub admin_token: String,
    /// The password of [`USERNAME`], who may log in.
    pub password: String,
    data: Data,
}

/// How it is started, the first time and again. It holds tokens, and so has no `Debug`.
struct Launch {
    service: ServicePlan,
    connections: u32,
    log: PathBuf,
    data: PathBuf,
    token: String,
    admin_token: String,
    password: String,
}

impl Launch {
    /// Starts it on these addresses and waits until it listens.
    fn start(&self, listen: SocketAddr, admin: SocketAddr) -> anyhow::Result<(Child, Announcement)> {
        let log = File::options().append(true).open(&self.log);
        let log = log.with_context(|| format!("write {}", self.log.display()))?;
        let mut child = Command::new(std::env::current_exe().context("find squall's own file")?)
            .arg("target")
            .args(["--listen", &listen.to_string(), "--admin", &admin.to_string()])
            .args(["--announce", "--exit-on-stdin-eof"])
            .arg("--data")
            .arg(&self.data)
            .args(["--accounts", &self.service.accounts.to_string()])
            .args(["--max-connections", &(self.connections + SPARE_CONNECTIONS).to_string()])
            .args(["--drain-timeout-ms", &DRAIN_MS.to_string()])
            .args(["--opening-balance", &self.service.opening_balance.to_string()])
            .args(["--profile", self.service.profile.name()])
            // The scenario says what goes wrong; a user's own settings must not.
            .env_remove("CHAOS_ENGINEERING_ENABLED")
            .env_remove("CHAOS_FAILURE_RATE")
            .env_remove("PAYMENTS_JWT_KEY")
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .env_remove("PAYMENTS_JWT_KEY_FILE")
            .env_remove("PAYMENTS_USERS_FILE")
            .env_remove("PAYMENTS_USER_ROLE")
            .env_remove("PAYMENTS_USER_ACCOUNTS")
            .env_remove("PAYMENTS_PASSWORD_FILE")
            .env_remove("PAYMENTS_TOKEN_FILE")
            .env_remove("PAYMENTS_ADMIN_TOKEN_FILE")
            .env("PAYMENTS_USER", USERNAME)
            .env("PAYMENTS_PASSWORD", &self.password)
            .env("PAYMENTS_TOKEN", &self.token)
            .env("PAYMENTS_ADMIN_TOKEN", &self.admin_token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("start the reference service")?;
        match announcement(&mut child) {
            Ok(a) => Ok((child, a)),
            Err(e) => {
                let _ = child.kill();
                let _ = child.wait();
                let tail = log_tail(&self.log);
                Err(e.context(format!("start the reference service; its log ends:\n{tail}")))
            }
        }
    }
}

/// Where its data lies, and whether it goes with the run.
#[derive(Debug)]
enum Data {
    Kept(PathBuf),
    Temporary(PathBuf),
}

impl Data {
    fn path(&self) -> &Path {
        match self {
            Data::Kept(path) | Data::Temporary(path) => path,
        }
    }
}

/// What to start.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The service.
    pub service: ServicePlan,
    /// How many connections the load opens.
    pub connections: u32,
    /// The run folder: for its log, and for its data unless `data` is given.
    pub run: &'a Path,
    /// Where to keep its data.
    pub data: Option<&'a Path>,
}

impl ReferenceService {
    /// Starts the service and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started or does not become ready; its last words are in the message.
    pub fn start(wanted: Wanted<'_>) -> anyhow::Result<Self> {
        let data = match wanted.data {
            Some(path) => Data::Kept(path.to_owned()),
            None => Data::Temporary(wanted.run.join("target-data")),
        };
        let launch = Launch {
            service: wanted.service,
            connections: wanted.connections,
            log: wanted.run.join("target.log"),
            data: data.path().to_owned(),
            token: random_token()?,
            admin_token: random_token()?,
            password: random_token()?,
        };
        File::create(&launch.log).with_context(|| format!("create {}", launch.log.display()))?;
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        match launch.start(anywhere, anywhere) {
            Ok((child, a)) => Ok(Self {
                pid: AtomicU32::new(child.id()),
                child: Mutex::new(child),
                addr: a.listening,
                admin: a.admin,
                token: launch.token.clone(),
                admin_token: launch.admin_token.clone(),
                password: launch.password.clone(),
                launch,
                data,
            }),
            Err(e) => {
                remove(&data);
                Err(e)
            }
        }
    }

    /// Starts it again after it has ended, or has been asked to: on the same data, ports and tokens. One that does not end
    /// within its time to drain is killed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&self) -> anyhow::Result<()> {
        // Whoever panicked while he held it has left a child, running or not.
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waited = Duration::ZERO;
        while waited < DRAIN_TIMEOUT && child.try_wait().context("wait for the service")?.is_none() {
            thread::sleep(DRAIN_POLL);
            waited += DRAIN_POLL;
        }
        let _ = child.kill();
        child.wait().context("wait for the service")?;
        let mut last = None;
        for attempt in 0..STARTS_AGAIN {
            if attempt > 0 {
                thread::sleep(START_AGAIN_AFTER);
            }
            match self.launch.start(self.addr, self.admin) {
                Ok((started, _)) => {
                    self.pid.store(started.id(), Ordering::Relaxed);
                    *child = started;
                    return Ok(());
                }
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("start the reference service again")))
    }

    /// The folder of its data.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// The service's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Has the disk write what others have left to it. A ledger's sync waits behind all that is being
    /// written: what a build has just left, gigabytes of it, would be measured as the service's latency.
    pub fn quieten_disk(&self) {
        let (done, waited) = channel();
        let path = self.data.path().to_owned();
        // Such a wait cannot be given up; the thread ends with it.
        let flushing = thread::Builder::new().name("flush".into()).spawn(move || {
            let flushed = File::open(path).map(|folder| rustix::fs::syncfs(folder).is_ok());
            let _ = done.send(flushed);
        });
        if flushing.is_err() {
            return;
        }
        if waited.recv_timeout(TELL_FLUSH).is_err() {
            remark("waiting until the disk has written what was left to it …");
            if waited.recv_timeout(FLUSH_TIMEOUT).is_err() {
                remark(&format!(
                    "the disk still writes after {} s: commits may wait for it",
                    FLUSH_TIMEOUT.as_secs()
                ));
            }
        }
    }

    /// Lets the service finish what it has, and ends it.
    pub fn stop(mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(child.stdin.take());
        let mut waited = Duration::ZERO;
        while waited < DRAIN_TIMEOUT {
            match child.try_wait() {
                Ok(Some(_)) => return,
                Ok(None) => thread::sleep(DRAIN_POLL),
                Err(_) => break,
            }
            waited += DRAIN_POLL;
        }
        remark(&format!(
            "the reference service did not drain within {} s and was killed",
            DRAIN_TIMEOUT.as_secs()
        ));
    }
}

impl Drop for ReferenceService {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
        remove(&self.data);
    }
}

fn remove(data: &Data) {
    if let Data::Temporary(path) = data {
        let _ = std::fs::remove_dir_all(path);
    }
}

/// Waits for the line that says where the service listens.
fn announcement(child: &mut Child) -> anyhow::Result<Announcement> {
    let stdout = child.stdout.take().context("read what the service prints")?;
    let (tx, rx) = channel();
    // The thread ends with the service's standard output; it also keeps that pipe empty.
    thread::Builder::new().name("target-stdout".into()).spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = tx.send(line);
        }
    })?;
    let line = match rx.recv_timeout(READY_TIMEOUT) {
        Ok(line) => line,
        Err(_) => bail!("it ended, or was not ready within {} s", READY_TIMEOUT.as_secs()),
    };
    serde_json::from_str(&line).with_context(|| format!("understand its announcement `{line}`"))
}

/// The last lines of the log at `path`.
pub(super) fn log_tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

/// 32 hexadecimal digits from the kernel's random numbers.
pub(super) fn random_token() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("draw a token: {e}"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
