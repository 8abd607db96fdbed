//! The other roles of the program as child processes, and a wire between them and the service that loses
//! answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Client, Reply};

/// A fraud service or a network. Killed when dropped.
pub struct Role {
    name: &'static str,
    args: Vec<String>,
    token: Option<&'static str>,
    child: Child,
    pub listening: SocketAddr,
}

impl Role {
    /// `payments fraud` or `payments network`, on a free port.
    pub fn start(name: &'static str, args: &[&str]) -> Self {
        Self::with_token(name, args, None)
    }

    pub fn with_token(name: &'static str, args: &[&str], token: Option<&'static str>) -> Self {
        let args: Vec<String> = args.iter().map(|&a| a.to_owned()).collect();
        let (child, listening) = launch(name, "127.0.0.1:0", &args, token);
        Self { name, args, token, child, listening }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.listening)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was.
    pub fn restart(&mut self) {
        let at = self.listening.to_string();
        (self.child, self.listening) = launch(self.name, &at, &self.args, self.token);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.listening)
    }

    /// Posts to it as the service does.
    pub fn post(&self, path: &str, key: Option<&str>, body: &str) -> Reply {
        let headers: Vec<_> = key.map(|key| ("Idempotency-Key", key)).into_iter().collect();
        self.client().send("POST", path, &headers, body.as_bytes())
    }

    /// What its `/metrics` says of `name`; 0 when it says nothing.
    pub fn figure(&self, name: &str) -> f64 {
        figure(self.listening, name)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(name: &str, listen: &str, args: &[String], token: Option<&str>) -> (Child, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payments"));
    command
        .args([name, "--announce", "--listen", listen])
        .args(args)
        .env_clear()
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command.envs(token.map(|token| ("PAYMENTS_INTERNAL_TOKEN", token)));
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).expect("the announcement is one JSON line");
    assert_eq!(said["pid"], child.id());
    (child, said["listening"].as_str().unwrap().parse().unwrap())
}

/// What `/metrics` of `at` says of `name`, labels included; 0 when it says nothing.
pub fn figure(at: SocketAddr, name: &str) -> f64 {
    let text = Client::connect(at).get("/metrics").body;
    let line = text.lines().find_map(|l| l.strip_prefix(&format!("{name} ")).map(str::to_owned));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// A wire to `to` that loses the next answers when it is told to: what was asked arrives, and then the
/// connection ends.
pub struct Wire {
    pub listening: SocketAddr,
    lose: Arc<AtomicU32>,
}

impl Wire {
    pub fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (listening, lose) = (listener.local_addr().unwrap(), Arc::new(AtomicU32::new(0)));
        let losing = Arc::clone(&lose);
        std::thread::spawn(move || {
            for from in listener.incoming() {
                let (from, to) = (from.unwrap(), TcpStream::connect(to).unwrap());
                let (asking, asked) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || carry(asking, asked, || false));
                let losing = Arc::clone(&losing);
                let lost = move || losing.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok();
                std::thread::spawn(move || carry(to, from, lost));
            }
        });
        Self { listening, lose }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.listening)
    }

    pub fn lose(&self, answers: u32) {
        self.lose.store(answers, Relaxed);
    }

    pub fn still_to_lose(&self) -> u32 {
        self.lose.load(Relaxed)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, lost: impl Fn() -> bool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        if lost() || to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
