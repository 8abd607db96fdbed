//! A Postgres server from the binaries that are installed on the machine, in a temporary folder.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};

use crate::server::SETTINGS;

/// What to do when there is none.
const INSTALL: &str = "these tests need a Docker engine that has or gets postgres:15-bookworm, or the servers of \
                       PostgreSQL 15 or newer: apt-get install postgresql";

/// A server, running or not. It is killed when dropped.
pub struct Postgres {
    data: PathBuf,
    pub port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// One on files in `folder`, which are made.
    pub fn fresh(folder: &Path) -> Self {
        let data = folder.join("postgres");
        copy(template(), &data);
        // Another user has to get there.
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
        Self::on(data)
    }

    /// One on files in `folder` that replicates the one at `url`.
    pub fn copy(folder: &Path, url: &str) -> Self {
        let data = folder.join("replica");
        // Made by the user that the server runs as.
        std::fs::create_dir(&data).unwrap();
        give(&data);
        let copied = as_owner("pg_basebackup")
            .args(["-d", url, "-D"])
            .arg(&data)
            // standby.signal, and where the primary is.
            .args(["-R", "-X", "stream", "-c", "fast"])
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
        Self::on(data)
    }

    fn on(data: PathBuf) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { data, port, child: None }
    }

    /// Writes a file that the server reads, and nobody else.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.data.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        give(&path);
    }

    /// Starts it, unless it runs.
    pub fn start(&mut self) -> bool {
        if self.child.is_none() {
            let mut postgres = as_owner("postgres");
            postgres
                .arg("-D")
                .arg(&self.data)
                .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-c", "unix_socket_directories="])
                .args(SETTINGS);
            let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
            self.child = Some(postgres.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        }
        true
    }

    /// What it has said since its first start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap()
    }

    fn log_file(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    pub fn lives(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
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
}

impl Drop for Postgres {
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
