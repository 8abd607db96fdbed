//! The guard: the process in which faults outside the service act.
//!
//! It is `squall chaos guard`, with its leases renewed by a thread of its own here. When this end of it is dropped, or squall
//! is killed, its standard input closes and it ends every fault.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use squall_chaos::acts::order::{Answer, Begin, Order};

use crate::stdout::remark;

/// How long a lease lasts, and how often it is renewed: a fault whose holder is gone ends within the one.
pub const LEASE_MS: u64 = 5000;
/// See [`LEASE_MS`].
pub const BEAT: Duration = Duration::from_secs(1);
/// How many answers wait to be heard.
const MAX_WAITING: usize = 256;
/// How long the guard may take to end everything, and how often it is looked whether it has.
const END_TIMEOUT: Duration = Duration::from_secs(30);
const END_POLL: Duration = Duration::from_millis(10);

/// What is written to the guard.
struct Line {
    input: Option<ChildStdin>,
    /// The faults whose leases are renewed.
    held: Vec<String>,
}

/// The guard of a run.
pub struct Guard {
    child: Child,
    line: Arc<Mutex<Line>>,
}

impl Guard {
    /// Starts it with `env` in its environment, and gives where it answers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(env: Vec<(String, String)>) -> anyhow::Result<(Self, Receiver<Answer>)> {
        let mut child = Command::new(std::env::current_exe().context("find squall's own file")?)
            .args(["chaos", "guard"])
            .envs(env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start the guard")?;
        let output = child.stdout.take().context("read what the guard says")?;
        let line = Arc::new(Mutex::new(Line { input: child.stdin.take(), held: Vec::new() }));
        let guard = Self { child, line };
        let (said, answers) = sync_channel(MAX_WAITING);
        // It ends with the guard's standard output.
        thread::Builder::new().name("guard-says".into()).spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(answer) = serde_json::from_str(&line) else { continue };
                if said.send(answer).is_err() {
                    return;
                }
            }
        })?;
        let line = Arc::downgrade(&guard.line);
        thread::Builder::new().name("guard-beat".into()).spawn(move || {
            while let Some(line) = line.upgrade() {
                let mut line = locked(&line);
                for name in line.held.clone() {
                    // A guard that is gone is noticed by what it says.
                    let _ = line.write(&Order::Renew { name, ttl_ms: LEASE_MS });
                }
                drop(line);
                thread::sleep(BEAT);
            }
        })?;
        Ok((guard, answers))
    }

    /// Asks for a fault, whose lease is renewed from now on.
    ///
    /// # Errors
    /// When the guard is gone.
    pub fn begin(&self, begin: Begin) -> io::Result<()> {
        let mut line = locked(&self.line);
        let name = begin.fault.name.clone();
        line.write(&Order::Begin(begin))?;
        line.held.push(name);
        Ok(())
    }

    /// Asks for the end of one.
    ///
    /// # Errors
    /// When the guard is gone.
    pub fn end(&self, name: &str) -> io::Result<()> {
        let mut line = locked(&self.line);
        line.held.retain(|held| held != name);
        line.write(&Order::End { name: name.to_owned() })
    }

    /// Renews it no more: it has ended.
    pub fn forget(&self, name: &str) {
        locked(&self.line).held.retain(|held| held != name);
    }
}

impl Line {
    fn write(&mut self, order: &Order) -> io::Result<()> {
        let mut text = serde_json::to_vec(order)?;
        text.push(b'\n');
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(&text).and_then(|()| input.flush())
    }
}

fn locked(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    // A line is written whole, or the guard is gone.
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(locked(&self.line).input.take());
        let mut waited = Duration::ZERO;
        while waited < END_TIMEOUT {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(END_POLL),
                Ok(Some(_)) | Err(_) => return,
            }
            waited += END_POLL;
        }
        // Killed, it would leave behind what it is undoing.
        remark(&format!(
            "faults are still being ended after {} s, by process {}; see `squall chaos heal --dry-run`",
            END_TIMEOUT.as_secs(),
            self.child.id()
        ));
    }
}
