//! A Postgres server of a test's own.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// What to do when there is none.
const INSTALL: &str = "these tests need the servers of PostgreSQL 15 or newer: apt-get install postgresql";

/// The password in its URL. It lets everybody in, and so does not ask for it.
pub const PASSWORD: &str = "password-of-the-database";

/// A running server. It is killed when dropped.
pub struct Server {
    data: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// A server on files in `folder`, which are made.
    pub fn start(folder: &Path) -> Self {
        let data = folder.join("postgres");
        copy(template(), &data);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Another user has to get there.
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
        let mut server = Self { data, port, child: None };
        server.restart();
        server
    }

    /// A server on files in `folder` that replicates this one.
    pub fn replica(&self, folder: &Path) -> Self {
        let data = folder.join("replica");
        // Made by the user that the server runs as.
        std::fs::create_dir(&data).unwrap();
        give(&data);
        let copied = as_owner("pg_basebackup")
            .args(["-d", &self.url(), "-D"])
            .arg(&data)
            // standby.signal, and where the primary is.
            .args(["-R", "-X", "stream", "-c", "fast"])
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { data, port, child: None };
        server.restart();
        server
    }

    /// As a URL.
    pub fn url(&self) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    /// Has it speak TLS, too, with this certificate and key, in PEM.
    pub fn speak_tls(&mut self, cert: &str, key: &str) {
        self.kill();
        for (name, pem) in [("server.crt", cert), ("server.key", key)] {
            let path = self.data.join(name);
            std::fs::write(&path, pem).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            give(&path);
        }
        let settings = self.data.join("postgresql.auto.conf");
        std::fs::write(settings, "ssl = on\n").unwrap();
        self.restart();
    }

    /// Ends the server without a chance to tidy up.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            // Its other processes notice by themselves; the next server waits for them.
            let _ = std::fs::remove_file(self.data.join("postmaster.pid"));
        }
    }

    /// Stops the processes of the server, or lets them go on.
    pub fn signal(&self, signal: Signal) {
        let all = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
        let server = self.child.as_ref().unwrap().id();
        for pid in all {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent =
                stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse::<u32>().ok());
            if pid == server || parent == Some(server) {
                let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
                // One that has ended by now needs no signal.
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// Starts it again on the same files, and waits until it takes connections.
    pub fn restart(&mut self) {
        let mut postgres = as_owner("postgres");
        postgres
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-c", "unix_socket_directories="])
            .args(["-c", "max_connections=60", "-c", "shared_buffers=32MB"]);
        for _ in 0..50 {
            let mut child = postgres.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            for _ in 0..200 {
                if self.sql("SELECT 1").is_some() {
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
        panic!("the server on {} does not start", self.data.display());
    }

    /// A transaction that has done `statement`, and stays open until what this returns is dropped.
    pub fn hold(&self, statement: &str) -> Held {
        let mut psql = Command::new(binary("psql"))
            .args([&self.url(), "-X", "-q"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // It goes on as long as its input is open, and its transaction with it.
        writeln!(psql.stdin.as_mut().unwrap(), "BEGIN; {statement};").unwrap();
        let done = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND query = '{statement};'"
        );
        crate::support::wait_for(statement, || self.sql(&done).as_deref() == Some("1"));
        Held(psql)
    }

    /// What `psql` says to `statement`; `None` when it fails.
    pub fn sql(&self, statement: &str) -> Option<String> {
        let psql = Command::new(binary("psql"))
            .args([&self.url(), "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement])
            .stderr(Stdio::null())
            .output()
            .unwrap();
        psql.status.success().then(|| String::from_utf8(psql.stdout).unwrap().trim().to_owned())
    }
}

/// A transaction that is left open, with what it has locked.
pub struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The files of a fresh server, made once.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        give(&data);
        let made = as_owner("initdb")
            .args(["-A", "trust", "-U", "postgres", "-N", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        folder
    });
    Box::leak(folder.path().join("data").into_boxed_path())
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// One of the server's programs, as a user that it runs as: not as root.
fn as_owner(program: &str) -> Command {
    let program = binary(program);
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut c = Command::new("setpriv");
    c.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program).current_dir("/");
    c
}

fn give(folder: &Path) {
    if rustix::process::geteuid().is_root() {
        let id = |flag| {
            let id = Command::new("id").args([flag, "postgres"]).output().unwrap();
            String::from_utf8(id.stdout)
                .unwrap()
                .trim()
                .parse::<u32>()
                .unwrap_or_else(|_| panic!("{INSTALL}"))
        };
        chown(folder, Some(id("-u")), Some(id("-g"))).unwrap();
    }
}

/// Where Debian puts the programs of the newest version.
fn binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").unwrap_or_else(|_| panic!("{INSTALL}"));
    let of_version =
        |folder: &PathBuf| -> u32 { folder.file_name().and_then(|n| n.to_str()?.parse().ok()).unwrap_or(0) };
    let mut folders: Vec<PathBuf> = versions.map(|v| v.unwrap().path()).collect();
    folders.sort_by_key(of_version);
    folders
        .into_iter()
        .rev()
        .map(|v| v.join("bin").join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{INSTALL}"))
}
