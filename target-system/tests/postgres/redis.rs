//! A Redis server of a test's own, and a way to it that can be cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// What to do when there is none.
const INSTALL: &str = "these tests need Redis 6 or newer: apt-get install redis-server";

/// A running server. It is killed when dropped.
pub struct Redis {
    folder: PathBuf,
    pub port: u16,
    child: Option<Child>,
}

impl Redis {
    /// A server whose files, if it saves any, are in `folder`.
    pub fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { folder: folder.to_owned(), port, child: None };
        redis.restart();
        redis
    }

    /// As a URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Starts it, with what it has saved, and waits until it answers.
    pub fn restart(&mut self) {
        let child = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--dbfilename", "saved.rdb", "--dir"])
            .arg(&self.folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|_| panic!("{INSTALL}"));
        self.child = Some(child);
        crate::support::wait_for("Redis answers", || self.ask(&["PING"]).as_deref() == Some("PONG"));
    }

    /// Ends the server without a chance to tidy up.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().unwrap().id();
        kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// What the server says to `command`; `None` when it says nothing.
    pub fn ask(&self, command: &[&str]) -> Option<String> {
        let cli = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(command)
            .stderr(Stdio::null())
            .output()
            .unwrap_or_else(|_| panic!("{INSTALL}"));
        cli.status.success().then(|| String::from_utf8(cli.stdout).unwrap().trim().to_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
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
