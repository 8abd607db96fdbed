//! The guard: the process in which faults outside the service act.
//!
//! It is `squall chaos guard`, with its leases renewed by a thread of its own here. When this end of it is dropped, or squall
//! is killed, its standard input closes and it ends every fault.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
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
/// How many answers wait to be heard, and orders to be taken.
const MAX_WAITING: usize = 256;
/// How long the guard may take to end everything, and how often it is looked whether it has.
const END_TIMEOUT: Duration = Duration::from_secs(30);
const END_POLL: Duration = Duration::from_millis(10);

/// What the guard is asked.
struct Line {
    /// To the thread that writes to it: a guard that stands still holds up nobody else. Dropped, its input closes.
    orders: Option<SyncSender<Order>>,
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
        let input = child.stdin.take().context("write to the guard")?;
        let (orders, asked) = sync_channel(MAX_WAITING);
        let line = Arc::new(Mutex::new(Line { orders: Some(orders), held: Vec::new() }));
        let guard = Self { child, line };
        thread::Builder::new().name("guard-asked".into()).spawn(move || write(input, &asked))?;
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
                let line = locked(&line);
                for name in line.held.clone() {
                    // A guard that is gone is noticed by what it says, and one that stands still by what it does not.
                    let _ = line.ask(Order::Renew { name, ttl_ms: LEASE_MS });
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
        line.ask(Order::Begin(begin))?;
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
        line.ask(Order::End { name: name.to_owned() })
    }

    /// Renews it no more: it has ended.
    pub fn forget(&self, name: &str) {
        locked(&self.line).held.retain(|held| held != name);
    }
}

impl Line {
    fn ask(&self, order: Order) -> io::Result<()> {
        let orders = self.orders.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        orders.try_send(order).map_err(|e| match e {
            TrySendError::Full(_) => {
                io::Error::other("the guard has taken nothing for a while: it stands still")
            }
            TrySendError::Disconnected(_) => io::ErrorKind::BrokenPipe.into(),
        })
    }
}

/// Writes each order to the guard, until nobody has more or the guard is gone.
fn write(mut input: ChildStdin, asked: &Receiver<Order>) {
    for order in asked {
        let Ok(mut text) = serde_json::to_vec(&order) else { continue };
        text.push(b'\n');
        if input.write_all(&text).and_then(|()| input.flush()).is_err() {
            return;
        }
    }
}

fn locked(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    // Nothing is half done after a panic.
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(locked(&self.line).orders.take());
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
