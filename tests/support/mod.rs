//! What the end-to-end tests share: the binary, small scenarios, run folders.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use squall_record::clock::Clock;

/// How long a test waits for something that must happen. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The `squall` binary, quiet and away from any terminal.
pub fn squall() -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_squall"));
    // What the machine's user has calibrated is none of a test's business.
    c.env("XDG_STATE_HOME", "/nonexistent");
    c.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    c
}

/// One load at a time in a test process, so that tests do not make each other's generators late.
static ONE_LOAD: Mutex<()> = Mutex::new(());

/// Keeps other tests' loads waiting until it is dropped.
pub fn only_load() -> MutexGuard<'static, ()> {
    // A test that failed while it held the lock has nothing to do with the next one.
    ONE_LOAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a run is repeated when its own verdict is that the machine was too busy for it.
const TRIES: u32 = 4;

/// Runs `squall ARGS` into the run folder `run` to its end, alone. A run that calls its own
/// generator INVALID tells of the machine and of nothing else, so it is repeated.
pub fn squall_runs<A: AsRef<std::ffi::OsStr>>(
    run: &Path,
    args: impl IntoIterator<Item = A> + Clone,
) -> Output {
    let _alone = only_load();
    for _ in 1..TRIES {
        let o = squall_ends(args.clone());
        if o.status.code() != Some(120) {
            return o;
        }
        std::fs::remove_dir_all(run).unwrap();
    }
    squall_ends(args)
}

/// Runs `squall ARGS` to its end.
pub fn squall_ends<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    squall().args(args).output().unwrap()
}

pub fn stderr(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

pub fn stdout(o: &Output) -> String {
    String::from_utf8_lossy(&o.stdout).into_owned()
}

/// Everything about a finished process, for a failed assertion.
pub fn told(o: &Output) -> String {
    format!("{}\n--- stdout\n{}\n--- stderr\n{}", o.status, stdout(o), stderr(o))
}

/// A scenario against the reference service: `rate` payments a second for `seconds`, after a
/// second of warm-up. It is light enough for an unoptimised build on a busy machine.
pub fn reference_scenario(rate_rps: u32, seconds: u32) -> String {
    format!(
        r#"
name = "small"
summary = "a small run for the tests"
gates = ["count(failed)==0"]

[target]
system = "reference"
accounts = 50
opening_balance = 100_000_000

[load]
connections = 16
max_in_flight = 5000
timeout = "5s"

[[phase]]
name = "warm-up"
duration = "1s"
warmup = true
rate = "{rate_rps}/s"

[[phase]]
name = "hold"
duration = "{seconds}s"
rate = "{rate_rps}/s"

[[request]]
name = "pay"
weight = 1
method = "POST"
path = "/v1/payments"
headers = {{ Idempotency-Key = "${{key}}" }}
body = '{{"from":"${{account}}","to":"${{other}}","amount":${{amount}},"currency":"EUR"}}'
expect = [201]
declined = [402]

[data]
accounts = 50
amount_min = 100
amount_max = 999
"#
    )
}

/// A scenario against whatever listens on `addr`.
pub fn url_scenario(addr: SocketAddr, rate_rps: u32, seconds: u32) -> String {
    format!(
        r#"
name = "url"
summary = "a small run against a stranger"

[target]
url = "http://{addr}"

[load]
connections = 8
max_in_flight = 500
timeout = "500ms"

[[phase]]
name = "hold"
duration = "{seconds}s"
rate = "{rate_rps}/s"

[[request]]
name = "get"
weight = 1
method = "GET"
path = "/"
"#
    )
}

/// Serves each connection with `serve` until the test process ends.
pub fn server(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    addr
}

/// Writes `text` as a scenario file in `dir`.
pub fn scenario_file(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("scenario.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// `summary.json` of a run folder.
pub fn summary(run: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(run.join("summary.json")).unwrap()).unwrap()
}

/// Every file that the run folder of the contract holds.
pub const RUN_FILES: [&str; 11] = [
    "manifest.json",
    "intervals.jsonl",
    "latency.hlog",
    "events.jsonl",
    "target.jsonl",
    "ops.bin",
    "summary.json",
    "report.html",
    "report.md",
    "junit.xml",
    "charts",
];

pub fn assert_complete(run: &Path) {
    for f in RUN_FILES {
        assert!(run.join(f).exists(), "{f} is missing from {}", run.display());
    }
}

/// Waits until `check` gives something.
pub fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::start();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(clock.now_s() < PATIENCE.as_secs_f64(), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `run` holds at least `lines` whole seconds.
pub fn wait_for_seconds(run: &Path, lines: usize) {
    wait_for("the run's seconds", || {
        let text = std::fs::read_to_string(run.join("generator.jsonl")).ok()?;
        (text.lines().count() >= lines).then_some(())
    });
}

pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Whether a process with this id runs (a zombie does not).
pub fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|s| !s.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']))
}

/// A child that is killed when the test ends early.
pub struct Reaped(pub Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service that goes on with the ledger of one that has ended, and says what is in it.
pub struct SecondLife {
    base: String,
    agent: ureq::Agent,
    _service: Reaped,
}

impl SecondLife {
    pub fn of(ledger: &Path) -> Self {
        let mut service = Reaped(
            squall()
                .args(["target", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--announce"])
                .args(["--data", ledger.to_str().unwrap()])
                .env("PAYMENTS_TOKEN", "a-token-for-the-second-life")
                .env("PAYMENTS_ADMIN_TOKEN", "an-admin-token-for-it")
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let mut line = String::new();
        BufReader::new(service.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let announced: serde_json::Value = serde_json::from_str(&line).unwrap();
        let base = format!("http://{}", announced["listening"].as_str().unwrap());
        Self { base, agent: ureq::Agent::new_with_defaults(), _service: service }
    }

    pub fn get(&self, path: &str) -> serde_json::Value {
        let asked = self.agent.get(format!("{}{path}", self.base));
        let mut answer = asked.header("Authorization", "Bearer a-token-for-the-second-life").call().unwrap();
        answer.body_mut().read_json().unwrap()
    }
}

/// The process id that `squall run` printed for its reference service, read from the log file
/// that its standard error goes to.
pub fn service_pid(log: &Path) -> u32 {
    wait_for("the service's process id", || {
        let text = std::fs::read_to_string(log).ok()?;
        let rest = text.split("(process ").nth(1)?;
        rest.split(')').next()?.parse().ok()
    })
}
