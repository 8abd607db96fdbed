//! Everything that a notice goes through: payments, a database, a NATS server, workers and a receiver.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use async_nats::jetstream;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::keeping::point;
use crate::nats::Nats;
use crate::receiver::{Delivery, Receiver};
use crate::server::Server;
use crate::support::{ADMIN_TOKEN, Client, Service, TOKEN, wait_for};

/// Everything that a notice goes through, and the folder of its files.
pub struct Stack {
    pub server: Server,
    pub nats: Nats,
    pub receiver: Receiver,
    _folder: tempfile::TempDir,
}

impl Stack {
    pub fn start(receiver: Receiver) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path());
        let nats = Nats::start(folder.path());
        Self { server, nats, receiver, _folder: folder }
    }

    pub fn command(&self, role: &str, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_payments"));
        c.args([role, "--announce", "--listen", "127.0.0.1:0"])
            .args(args)
            .env_clear()
            .env("PAYMENTS_NATS", self.nats.url())
            .env("RUST_LOG", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        c
    }

    /// A process that takes payments.
    pub fn serve(&self, args: &[&str]) -> Service {
        let mut c = self.command("serve", &["--admin", "127.0.0.1:0", "--accounts", "10"]);
        c.args(["--opening-balance", "1000000000", "--fraud-limit", "1000000000"]).args(args);
        c.env("PAYMENTS_TOKEN", TOKEN).env("PAYMENTS_ADMIN_TOKEN", ADMIN_TOKEN);
        point(&mut c, &self.server);
        Service::launch(&mut c)
    }

    /// A process of workers. It gives the receiver, and the server it, as much time as they do by default: on a busy
    /// machine a worker that does not would deliver again what has only taken long.
    pub fn work(&self, args: &[&str]) -> Worker {
        let mut c = self.command("worker", &["--retry-base-ms", "20", "--deliver-to", &self.receiver.url()]);
        Worker::launch(c.args(args))
    }

    /// The same, and what it has in hand comes to others soon: it may be delivered more than once.
    pub fn work_hastily(&self, args: &[&str]) -> Worker {
        let hastily = ["--deliver-timeout-ms", "500", "--ack-wait-ms", "1000"];
        self.work(&[&hastily, args].concat())
    }

    /// Asks JetStream.
    pub fn ask<T>(&self, asks: impl AsyncFnOnce(jetstream::Context) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = async_nats::ConnectOptions::new()
                .user_and_password("payments".to_owned(), "hunter2@nats".to_owned());
            let url = self.nats.url();
            let host = url.rsplit_once('@').unwrap().1;
            asks(jetstream::new(options.connect(host).await.unwrap())).await
        })
    }

    pub fn in_outbox(&self) -> u64 {
        self.server.sql("SELECT count(*) FROM outbox").unwrap().parse().unwrap()
    }

    /// Every payment of the ledger was delivered at least once, and each under one id.
    pub fn assert_all_delivered(&self) {
        let seqs = self.server.sql("SELECT seq FROM payments").unwrap();
        let paid: HashSet<String> =
            seqs.lines().map(|seq| format!("pay_{:016}", seq.parse::<u64>().unwrap())).collect();
        wait_for("all payments are delivered", || self.receiver.ids() >= paid.len());
        let accepted = self.receiver.accepted();
        let ids: HashSet<_> = accepted.iter().map(|d| &d.id).collect();
        let told: HashSet<String> = accepted.iter().map(Delivery::payment).collect();
        assert_eq!((ids.len(), told), (paid.len(), paid));
        wait_for("the outbox is empty", || self.in_outbox() == 0);
    }
}

/// A running `payments worker`. Killed when dropped.
pub struct Worker {
    child: Child,
    pub listening: SocketAddr,
}

impl Worker {
    pub fn launch(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the announcement is one JSON line");
        Self { child, listening: said["listening"].as_str().unwrap().parse().unwrap() }
    }

    pub fn health(&self) -> Value {
        Client::connect(self.listening).get("/health").json()
    }

    pub fn wait_until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        wait_for(what, || holds(&self.health()["notifications"]));
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns when it takes no more.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        wait_for("it drains", || TcpStream::connect(self.listening).is_err());
    }

    /// Waits for the end; the exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Holds up whoever comes to it until it is opened.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn pass(&self) {
        drop(self.opened.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
    }

    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

pub const NATS: &[&str] = &["--queue", "nats"];

/// Pays `n` times, under keys of `name`.
pub fn pay(service: &Service, name: &str, n: u32, amount: i64) {
    let mut client = service.client();
    for i in 0..n {
        let reply = client.pay(&format!("{name}-{i}"), 1 + i % 5, 6 + i % 5, amount);
        assert_eq!(reply.status, 201, "{}", reply.body);
    }
}

/// Pays over four connections until told to stop; 503 and broken connections are tried again.
pub fn pay_until(over: &AtomicBool, paid: &AtomicU32, service: impl Fn() -> SocketAddr + Sync) {
    std::thread::scope(|s| {
        for c in 0..4_u32 {
            let service = &service;
            s.spawn(move || {
                let mut n = 0;
                while !over.load(Relaxed) {
                    let mut client = Client::connect(service());
                    while !over.load(Relaxed) {
                        let key = format!("c{c}-{n}");
                        let (from, to) = ((c + n) % 10 + 1, (c + n + 1) % 10 + 1);
                        if client.try_write_payment(&key, from, to, 100).is_err() {
                            break;
                        }
                        match client.read() {
                            Ok(reply) if reply.status == 201 => {
                                n += 1;
                                paid.fetch_add(1, Relaxed);
                            }
                            _ => break,
                        }
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
    });
}
