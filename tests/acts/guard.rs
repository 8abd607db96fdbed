//! A guard of a test's own, spoken to as a run does.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::Signal;
use squall_chaos::acts::order::{Answer, Begin, Order, Target, Why};
use squall_chaos::acts::who::ProcessId;
use squall_record::clock::Clock;
use squall_record::fault::{Effect, FaultSpec, Place};

use crate::harness::{PATIENCE, is_alive, signal, squall, wait_for};

/// How soon after the end of its lease a place is clean, in seconds: what the lease itself lasts comes on top.
pub const CLEAN_WITHIN_S: f64 = 1.0;

pub struct Guard {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<Answer>,
}

impl Guard {
    pub fn start(state: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = squall();
        command.args(["chaos", "guard"]).env("SQUALL_STATE_DIR", state).envs(env.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (said, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = said.send(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}")));
            }
        });
        Self { input: child.stdin.take(), child, answers }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn order(&mut self, order: &Order) {
        let line = serde_json::to_string(order).unwrap();
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn hear(&self) -> Answer {
        self.answers.recv_timeout(PATIENCE).unwrap()
    }

    /// Asks for a fault.
    pub fn ask(&mut self, name: &str, effect: Effect, targets: Vec<Target>, ttl_ms: u64) {
        // The guard acts on the targets; the place is what people read.
        let place = Place::Process("test".to_owned());
        let fault = FaultSpec { name: name.to_owned(), place, effect, fraction: 1.0 };
        self.order(&Order::Begin(Begin { fault, targets, ttl_ms, seed: 7 }));
    }

    /// Ends the fault `one` and begins `next` at the same instant.
    pub fn exchange(&mut self, one: &str, next: &str, effect: Effect, targets: Vec<Target>) {
        self.order(&Order::End { name: one.to_owned() });
        self.ask(next, effect, targets, 60_000);
        let heard = [self.hear(), self.hear()];
        let [Answer::Ended { name, failed, .. }, Answer::Begun { .. }] = &heard else { panic!("{heard:?}") };
        assert!(name == one && failed.is_empty(), "{heard:?}");
    }

    /// Begins a fault and says what was done, or why not.
    pub fn begin(
        &mut self,
        name: &str,
        effect: Effect,
        targets: Vec<Target>,
        ttl_ms: u64,
    ) -> Result<String, String> {
        self.ask(name, effect, targets, ttl_ms);
        match self.hear() {
            Answer::Begun { what, .. } => Ok(what),
            Answer::Refused { reason, .. } => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    /// Ends a fault and says what was undone.
    pub fn end(&mut self, name: &str) -> Vec<String> {
        self.order(&Order::End { name: name.to_owned() });
        match self.hear() {
            Answer::Ended { why: Why::Asked, undone, failed, .. } if failed.is_empty() => undone,
            other => panic!("{other:?}"),
        }
    }

    /// What a run does that is killed: this end of the pipe is closed. Waits until the guard is gone.
    pub fn left_alone(&mut self) {
        let clock = Clock::start();
        drop(self.input.take());
        wait_for("the guard's end", || self.child.try_wait().unwrap());
        let took_s = clock.now_s();
        assert!(took_s < CLEAN_WITHIN_S * 10.0, "it took {took_s} s");
    }

    /// Kills the guard itself.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.input.take());
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// `squall chaos heal`.
pub fn heal(state: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = squall();
    command.args(["chaos", "heal"]).args(args).env("SQUALL_STATE_DIR", state).envs(env.iter().copied());
    command.output().unwrap()
}

/// A process that a fault may do anything to.
pub struct Victim(pub Child);

impl Victim {
    /// One that does nothing.
    pub fn idle() -> Self {
        Self(std::process::Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
    }

    /// One that keeps a processor busy.
    pub fn busy() -> Self {
        let mut sh = std::process::Command::new("sh");
        Self(sh.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap())
    }

    pub fn id(&self) -> ProcessId {
        ProcessId::of(i32::try_from(self.0.id()).unwrap()).unwrap()
    }

    pub fn target(&self, data: Option<&Path>) -> Target {
        Target::Process { process: self.id(), data: data.map(Path::to_owned), comes_back: false }
    }

    pub fn is_alive(&self) -> bool {
        is_alive(self.0.id())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            signal(self.0.id(), Signal::KILL);
            let _ = self.0.wait();
        }
    }
}
