//! A NATS server of a test's own.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testcontainers::GenericImage;

use crate::container::Container;
use crate::place::{Kind, Place};

/// What to do when there is none.
const INSTALL: &str = "these tests need a Docker engine that has or gets nats:2.9, or a NATS server: \
                       apt-get install nats-server";

/// How often it is started, and for how long it is waited for each time.
const STARTS: u32 = 20;
const LOOKS: u32 = 200;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whom the server knows. The password is written as URLs write it.
const USER: (&str, &str) = ("payments", "hunter2@nats");
const USER_INFO: &str = "payments:hunter2%40nats";

/// What every server is started with.
const SETTINGS: [&str; 5] = ["-js", "--user", USER.0, "--pass", USER.1];

/// A running server with JetStream. It is killed when dropped.
pub struct Nats {
    port: u16,
    runs: Runs,
}

enum Runs {
    Container(Container),
    /// With the folder of its streams.
    Installed(PathBuf, Option<Child>),
}

impl Nats {
    /// A server whose files are in `folder`, which are made, or in its container.
    pub fn start(folder: &Path) -> Self {
        match Kind::Nats.place() {
            Place::Container => Self::contained(),
            Place::Installed => {
                let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                Self::started(port, Runs::Installed(folder.join("nats"), None))
            }
        }
    }

    /// A server in a container.
    pub fn contained() -> Self {
        let (name, tag) = Kind::Nats.image();
        let command = [&["-sd", "/streams"][..], &SETTINGS].concat();
        let container = Container::start(&GenericImage::new(name, tag), 4222, &command);
        Self::started(container.port, Runs::Container(container))
    }

    fn started(port: u16, runs: Runs) -> Self {
        let mut nats = Self { port, runs };
        nats.restart();
        nats
    }

    /// As a URL, with the password.
    pub fn url(&self) -> String {
        format!("nats://{USER_INFO}@127.0.0.1:{}", self.port)
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

    /// Starts it again on the same files, and waits until it takes connections.
    pub fn restart(&mut self) {
        for _ in 0..STARTS {
            let starts = match &mut self.runs {
                Runs::Container(container) => container.restart(),
                Runs::Installed(store, child) => {
                    let mut nats = Command::new("nats-server");
                    nats.args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-sd"])
                        .arg(store)
                        .args(SETTINGS);
                    nats.stdout(Stdio::null()).stderr(Stdio::null());
                    *child = Some(nats.spawn().unwrap_or_else(|_| panic!("{INSTALL}")));
                    true
                }
            };
            for _ in 0..LOOKS {
                if self.greets() {
                    return;
                }
                if !starts || !self.lives() {
                    break;
                }
                std::thread::sleep(LOOK_EVERY);
            }
            self.kill();
        }
        panic!("the server on port {} does not start", self.port);
    }

    fn lives(&mut self) -> bool {
        match &mut self.runs {
            Runs::Container(container) => container.lives(),
            Runs::Installed(_, child) => {
                child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
            }
        }
    }

    fn greets(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut first = [0; 4];
        stream.read_exact(&mut first).is_ok() && &first == b"INFO"
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if matches!(self.runs, Runs::Installed(..)) {
            self.kill();
        }
    }
}
