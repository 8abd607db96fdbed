//! A NATS server of a test's own.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What to do when there is none.
const INSTALL: &str = "these tests need a NATS server: apt-get install nats-server";

/// A running server with JetStream. It is killed when dropped.
pub struct Nats {
    store: PathBuf,
    port: u16,
    child: Option<Child>,
}

/// Whom the server knows. The password is written as URLs write it.
const USER: (&str, &str) = ("payments", "hunter2@nats");
const USER_INFO: &str = "payments:hunter2%40nats";

impl Nats {
    /// A server whose files are in `folder`, which are made.
    pub fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut nats = Self { store: folder.join("nats"), port, child: None };
        nats.restart();
        nats
    }

    /// As a URL, with the password.
    pub fn url(&self) -> String {
        format!("nats://{USER_INFO}@127.0.0.1:{}", self.port)
    }

    /// Ends the server without a chance to tidy up.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Has the server stand still, or go on.
    pub fn stand_still(&self, still: bool) {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = self.child.as_ref().unwrap().id().try_into().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), if still { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    /// Starts it again on the same files, and waits until it takes connections.
    pub fn restart(&mut self) {
        for _ in 0..20 {
            let mut child = Command::new("nats-server")
                .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js"])
                .args(["--user", USER.0, "--pass", USER.1, "-sd"])
                .arg(&self.store)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap_or_else(|_| panic!("{INSTALL}"));
            for _ in 0..200 {
                if self.greets() {
                    self.child = Some(child);
                    return;
                }
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("the server on port {} does not start", self.port);
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
        self.kill();
    }
}
