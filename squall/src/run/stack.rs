//! The reference service as a stack of docker compose, started for the run and taken down after it.
//!
//! The stack's file names its secrets and sizes as environment variables; they are drawn here, for this
//! run alone. Everything that compose and the stack say is in the run folder's `target.log`.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use squall_record::clock::Clock;
use squall_scenarios::plan::ServicePlan;
use ureq::Agent;

use super::child::{USERNAME, log_tail, random_token};
use crate::stdout::remark;

/// What compose calls the stack. One at a time: a second run would fight the first for this machine.
pub const PROJECT: &str = "squall-run";
/// How long the stack may take from its start to its first `ready`, once its images are there.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long one question whether it is ready may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is looked at while it starts.
const POLL: Duration = Duration::from_millis(200);
/// How often a person is told that it still starts.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long each container may take to end.
const STOP_TIMEOUT_S: &str = "10";
/// How much of each container's log is kept.
const LOG_LINES: &str = "2000";

/// What to start.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The service.
    pub service: ServicePlan,
    /// The stack's file; compose looks for it when none is given.
    pub file: Option<&'a Path>,
    /// The run folder, for the log.
    pub run: &'a Path,
    /// Whether the user wants to leave.
    pub stop: &'a AtomicBool,
}

/// A running stack. It holds tokens, and so has no `Debug`.
pub struct Stack {
    compose: Compose,
    /// Where its load balancer serves.
    pub addr: SocketAddr,
    /// The bearer token that it accepts.
    pub token: String,
    /// The password of [`USERNAME`], who may log in.
    pub password: String,
}

/// One way to call docker compose for this stack.
struct Compose {
    tool: &'static [&'static str],
    file: Option<PathBuf>,
    env: Vec<(&'static str, String)>,
    log: PathBuf,
}

impl Stack {
    /// Starts the stack and waits until it is ready.
    ///
    /// # Errors
    /// When there is no docker compose, the stack does not start or does not become ready; the last words
    /// are in the message.
    pub fn start(wanted: Wanted<'_>) -> anyhow::Result<Self> {
        let (token, password) = (random_token()?, random_token()?);
        let addr = free_port()?;
        let secret = |name| random_token().map(|token| (name, token));
        let env = vec![
            ("PAYMENTS_PORT", addr.port().to_string()),
            ("PAYMENTS_ACCOUNTS", wanted.service.accounts.to_string()),
            ("PAYMENTS_OPENING_BALANCE", wanted.service.opening_balance.to_string()),
            ("PAYMENTS_PROFILE", wanted.service.profile.name().to_owned()),
            ("PAYMENTS_USER", USERNAME.to_owned()),
            ("PAYMENTS_PASSWORD", password.clone()),
            ("PAYMENTS_TOKEN", token.clone()),
            secret("PAYMENTS_ADMIN_TOKEN")?,
            secret("PAYMENTS_INTERNAL_TOKEN")?,
            secret("PAYMENTS_JWT_KEY")?,
            secret("POSTGRES_PASSWORD")?,
        ];
        let log = wanted.run.join("target.log");
        File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let compose = Compose { tool: tool()?, file: wanted.file.map(Path::to_owned), env, log };
        compose.refuse_another()?;
        // From here on whatever goes wrong takes the stack down.
        let stack = Self { compose, addr, token, password };
        stack.up(wanted.stop)?;
        Ok(stack)
    }

    fn up(&self, stop: &AtomicBool) -> anyhow::Result<()> {
        self.compose.waited(&["build"], "its images are being built", stop)?;
        self.compose.waited(&["up", "--detach", "--no-build"], "its containers are being started", stop)?;
        let clock = Clock::start();
        let agent: Agent = Agent::config_builder()
            .timeout_global(Some(ASK_TIMEOUT))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        let url = format!("http://{}/readyz", self.addr);
        while clock.now_s() < READY_TIMEOUT.as_secs_f64() {
            if stop.load(Ordering::Relaxed) {
                bail!("start the stack: interrupted");
            }
            if agent.get(&url).call().is_ok_and(|answer| answer.status() == 200) {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        self.compose.keep_logs();
        bail!(
            "start the stack: {url} did not answer 200 within {} s; its log ends:\n{}",
            READY_TIMEOUT.as_secs(),
            log_tail(&self.compose.log)
        )
    }

    /// The URL of one of its databases, caches and queues, for who runs beside the engine. It may hold a password.
    ///
    /// # Errors
    /// When the stack has none of that name, or its container is not on a network.
    pub fn url_of(&self, name: &str) -> anyhow::Result<String> {
        let password = self.compose.env.iter().find(|(name, _)| *name == "POSTGRES_PASSWORD");
        let (_, password) = password.context("find the password of the stack's Postgres")?;
        let (service, before, after) = match name {
            "primary" => ("postgres", format!("postgres://payments:{password}@"), ":5432/payments"),
            "replica" => ("replica", format!("postgres://payments:{password}@"), ":5432/payments"),
            "redis" => ("redis", "redis://".to_owned(), ":6379/0"),
            "nats" => ("nats", "nats://".to_owned(), ":4222"),
            other => bail!("find {other}: the stack has primary, replica, redis and nats"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("ask the Docker engine")?;
        let address = runtime.block_on(squall_chaos::acts::container::address(service, Some(PROJECT)));
        let address = address.with_context(|| format!("find the stack's {name}"))?;
        Ok(format!("{before}{address}{after}"))
    }

    /// Keeps its logs and takes it down, with its volumes.
    pub fn stop(self) {
        self.compose.keep_logs();
        remark("taking the stack down …");
        drop(self);
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let down = ["down", "--volumes", "--remove-orphans", "--timeout", STOP_TIMEOUT_S];
        let ended = self.compose.command(&down).and_then(|mut c| Ok(c.status()?));
        if !ended.is_ok_and(|status| status.success()) {
            remark(&format!(
                "the stack could not be taken down (see {}); end it with `{}`",
                self.compose.log.display(),
                by_hand()
            ));
        }
    }
}

/// What ends a stack without the secrets that were drawn for it, which compose asks for.
fn by_hand() -> String {
    format!(
        "own=label=com.docker.compose.project={PROJECT}; docker ps -aq --filter $own | xargs -r docker rm -f -v; \
         docker volume ls -q --filter $own | xargs -r docker volume rm"
    )
}

impl Compose {
    /// `compose ARGS` in a process group of its own, as a Ctrl-C is for squall to handle; it speaks into the
    /// log.
    fn command(&self, args: &[&str]) -> anyhow::Result<Command> {
        let append = || File::options().append(true).open(&self.log);
        let log = append().with_context(|| format!("write {}", self.log.display()))?;
        let mut c = self.quiet(args);
        c.stdout(log.try_clone().context("write the log")?).stderr(log);
        Ok(c)
    }

    fn quiet(&self, args: &[&str]) -> Command {
        let mut c = Command::new(self.tool[0]);
        c.args(&self.tool[1..]).args(["-p", PROJECT]);
        if let Some(file) = &self.file {
            c.arg("-f").arg(file);
        }
        c.args(args).envs(self.env.iter().map(|(k, v)| (k, OsStr::new(v))));
        c.stdin(Stdio::null()).process_group(0);
        c
    }

    /// Runs `compose ARGS` to its end, telling every while that `what` goes on.
    fn waited(&self, args: &[&str], what: &str, stop: &AtomicBool) -> anyhow::Result<()> {
        let mut child = self.command(args)?.spawn().context("start docker compose")?;
        let clock = Clock::start();
        let mut told_s = 0.0;
        loop {
            if let Some(status) = child.try_wait().context("wait for docker compose")? {
                if status.success() {
                    return Ok(());
                }
                self.keep_logs();
                bail!("start the stack: {what}: {status}; its log ends:\n{}", log_tail(&self.log));
            }
            if stop.load(Ordering::Relaxed) {
                end(&mut child);
                bail!("start the stack: interrupted while {what}");
            }
            if clock.now_s() - told_s >= TELL_EVERY.as_secs_f64() {
                told_s = clock.now_s();
                remark(&format!("{what} … ({told_s:.0} s, log in {})", self.log.display()));
            }
            thread::sleep(POLL);
        }
    }

    /// Refuses while a stack of this name is up: it belongs to another run, or to one that was killed.
    fn refuse_another(&self) -> anyhow::Result<()> {
        let listed = self.quiet(&["ps", "-q"]).output().context("ask docker compose what is up")?;
        if !listed.status.success() {
            bail!(
                "start the stack: {}",
                String::from_utf8_lossy(&listed.stderr).trim().lines().last().unwrap_or("it fails")
            );
        }
        if !listed.stdout.trim_ascii().is_empty() {
            bail!(
                "start the stack: one called {PROJECT} is up, of another run or left behind by one that was killed; \
                 wait for it, or end it with `{}`",
                by_hand()
            );
        }
        Ok(())
    }

    /// Adds what the containers have said to the log.
    fn keep_logs(&self) {
        if let Ok(mut logs) = self.command(&["logs", "--no-color", "--timestamps", "--tail", LOG_LINES]) {
            // Logs that cannot be had are no reason to fail a run.
            let _ = logs.status();
        }
    }
}

/// docker's own compose, or the older program of that name.
fn tool() -> anyhow::Result<&'static [&'static str]> {
    let there = |tool: &&&[&str]| {
        let mut c = Command::new(tool[0]);
        c.args(&tool[1..]).arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        c.status().is_ok_and(|status| status.success())
    };
    let tools: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    tools.iter().find(there).copied().context(
        "start the stack: neither `docker compose` nor `docker-compose` works here; install one, \
         or start the service yourself and name it with --target",
    )
}

/// Ends compose and what it has started.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::TERM);
    }
    let _ = child.wait();
}

/// A port of this machine that nobody listens on.
fn free_port() -> anyhow::Result<SocketAddr> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
    free.context("find a free port")
}
