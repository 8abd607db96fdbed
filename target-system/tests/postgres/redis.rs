//! A Redis server of a test's own, and a way to it that can be cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use redis::Value;
use rustix::process::{Pid, Signal, kill_process};
use testcontainers::GenericImage;

use crate::container::Container;
use crate::place::{Kind, Place};
use crate::support::wait_for;

/// What to do when there is none.
const INSTALL: &str = "these tests need a Docker engine that has or gets redis:7-bookworm, or Redis 6 or newer: \
                       apt-get install redis-server";

/// How long it may take to be spoken to.
const CONNECT: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What every server is started with: it saves when it is told to.
const SETTINGS: [&str; 6] = ["--save", "", "--appendonly", "no", "--dbfilename", "saved.rdb"];

/// A running server. It is killed when dropped.
pub struct Redis {
    pub port: u16,
    runs: Runs,
}

enum Runs {
    Container(Container),
    /// With the folder of what it saves.
    Installed(PathBuf, Option<Child>),
}

impl Redis {
    /// A server whose files, if it saves any, are in `folder`, or in its container.
    pub fn start(folder: &Path) -> Self {
        match Kind::Redis.place() {
            Place::Container => Self::contained(),
            Place::Installed => {
                let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                Self::started(port, Runs::Installed(folder.to_owned(), None))
            }
        }
    }

    /// A server in a container.
    pub fn contained() -> Self {
        let (name, tag) = Kind::Redis.image();
        let open = ["redis-server", "--protected-mode", "no", "--dir", "/tmp"];
        let command = [&open[..], &SETTINGS].concat();
        let container = Container::start(&GenericImage::new(name, tag), 6379, &command);
        Self::started(container.port, Runs::Container(container))
    }

    fn started(port: u16, runs: Runs) -> Self {
        let mut redis = Self { port, runs };
        redis.restart();
        redis
    }

    /// As a URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Starts it, with what it has saved, and waits until it answers.
    pub fn restart(&mut self) {
        match &mut self.runs {
            Runs::Container(container) => wait_for("Redis starts", || container.restart()),
            Runs::Installed(folder, child) => {
                let mut redis = Command::new("redis-server");
                redis.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"]);
                redis.arg(folder).args(SETTINGS).stdout(Stdio::null());
                *child = Some(redis.spawn().unwrap_or_else(|_| panic!("{INSTALL}")));
            }
        }
        wait_for("Redis answers", || self.ask(&["PING"]).as_deref() == Some("PONG"));
    }

    /// Ends the server without a chance to tidy up.
    pub fn kill(&mut self) {
        match &mut self.runs {
            Runs::Container(container) => container.kill(),
            Runs::Installed(_, child) => {
                if let Some(mut child) = child.take() {
                    child.kill().unwrap();
                    child.wait().unwrap();
                }
            }
        }
    }

    /// Has the server stand still, or go on.
    pub fn stand_still(&mut self, still: bool) {
        match &mut self.runs {
            Runs::Container(container) => container.stand_still(still),
            Runs::Installed(_, child) => {
                let pid = Pid::from_raw(child.as_ref().unwrap().id().try_into().unwrap()).unwrap();
                kill_process(pid, if still { Signal::STOP } else { Signal::CONT }).unwrap();
            }
        }
    }

    /// What the server says to `command`, a list in lines; `None` when it says nothing, or an error.
    pub fn ask(&self, command: &[&str]) -> Option<String> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection_with_timeout(CONNECT).ok()?;
        connection.set_read_timeout(Some(ANSWER)).unwrap();
        let mut asked = redis::cmd(command[0]);
        command[1..].iter().for_each(|part| {
            asked.arg(*part);
        });
        asked.query(&mut connection).ok().map(|said| text(&said))
    }
}

fn text(said: &Value) -> String {
    match said {
        Value::Okay => "OK".to_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Int(number) => number.to_string(),
        Value::Array(all) => all.iter().map(text).collect::<Vec<_>>().join("\n"),
        other => format!("{other:?}"),
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if matches!(self.runs, Runs::Installed(..)) {
            self.kill();
        }
    }
}

/// A way to a server through which nothing comes while it is cut.
pub struct Way {
    pub listening: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Way {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = listener.local_addr().unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let cutting = Arc::clone(&cut);
        // These threads end with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", port))) else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let cut = Arc::clone(&cutting);
                    std::thread::spawn(move || carry(&from, &to, &cut));
                }
            }
        });
        Self { listening, cut }
    }

    /// Nothing comes through from now on, and nobody is told.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Relaxed);
    }
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, cut: &AtomicBool) {
    let tick = Duration::from_millis(5);
    from.set_nodelay(true).unwrap();
    to.set_nodelay(true).unwrap();
    from.set_read_timeout(Some(tick)).unwrap();
    let mut bytes = [0; 65536];
    loop {
        if cut.load(Relaxed) {
            std::thread::sleep(tick);
            continue;
        }
        match from.read(&mut bytes) {
            Ok(n) if n > 0 => {
                while cut.load(Relaxed) {
                    std::thread::sleep(tick);
                }
                if to.write_all(&bytes[..n]).is_err() {
                    break;
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
