//! A container of a test's own, by testcontainers. It is removed when dropped, and also when this process is killed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use testcontainers::bollard::Docker;
use testcontainers::bollard::models::PortBinding;
use testcontainers::bollard::query_parameters::{InspectContainerOptions, KillContainerOptions};
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::{ExecCommand, IntoContainerPort};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::runtime::Runtime;

/// Containers of tests have this label; its value belongs to one process.
pub const LABEL: &str = "squall.tests";
/// How often a port of this machine is looked for that nobody takes meanwhile.
const TRIES: u32 = 5;

/// A container, running or not.
pub struct Container {
    /// `None` once it is removed.
    running: Option<Box<ContainerAsync<GenericImage>>>,
    /// Where it listens, on loopback: the same after a restart.
    pub port: u16,
    paused: bool,
}

impl Container {
    /// Starts `command` in `image`, which listens on `inner`.
    pub fn start(image: &GenericImage, inner: u16, command: &[&str]) -> Self {
        reaper();
        let mut last = None;
        for _ in 0..TRIES {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let binding =
                PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(port.to_string()) };
            let wanted = image
                .clone()
                .with_exposed_port(inner.tcp())
                .with_cmd(command.iter().copied())
                .with_label(LABEL, ours())
                // Published on loopback alone, and where a restart finds it again.
                .with_host_config_modifier(move |host| {
                    host.publish_all_ports = Some(false);
                    host.port_bindings =
                        Some(HashMap::from([(format!("{inner}/tcp"), Some(vec![binding.clone()]))]));
                });
            match block_on(wanted.start()) {
                Ok(running) => return Self { running: Some(Box::new(running)), port, paused: false },
                Err(e) => last = Some(e),
            }
        }
        panic!("no container starts: {}", last.unwrap())
    }

    /// Ends what runs in it without a chance to tidy up.
    pub fn kill(&mut self) {
        self.stand_still(false);
        let kill = KillContainerOptions { signal: "SIGKILL".to_owned() };
        block_on(async {
            let docker = docker().await;
            // One that has ended needs no signal.
            let _ = docker.kill_container(self.running().id(), Some(kill)).await;
        });
        while self.lives() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it again on the same files; whether that worked.
    pub fn restart(&self) -> bool {
        block_on(self.running().start()).is_ok()
    }

    pub fn lives(&self) -> bool {
        block_on(self.running().is_running()).unwrap()
    }

    /// Stops everything in it where it is, or lets it go on.
    pub fn stand_still(&mut self, still: bool) {
        if still != self.paused {
            let running = self.running();
            block_on(async { if still { running.pause().await } else { running.unpause().await } }).unwrap();
            self.paused = still;
        }
    }

    /// Runs `command` in it.
    pub fn exec(&self, command: &[&str]) {
        let done = block_on(async {
            let mut ran = self.running().exec(ExecCommand::new(command.iter().copied())).await.unwrap();
            let said = ran.stderr_to_vec().await.unwrap();
            (ran.exit_code().await.unwrap(), said)
        });
        assert_eq!(done.0, Some(0), "{}", String::from_utf8_lossy(&done.1));
    }

    /// Copies a folder in it into `to`.
    pub fn copy(&self, from: &str, to: &Path) {
        let from = format!("{}:{from}", self.running().id());
        let copied = Command::new("docker").arg("cp").arg(from).arg(to).output().unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    }

    /// Where other containers reach it, until it is restarted.
    pub fn address(&self) -> String {
        let seen = block_on(async {
            let docker = docker().await;
            docker.inspect_container(self.running().id(), None::<InspectContainerOptions>).await.unwrap()
        });
        let networks = seen.network_settings.unwrap().networks.unwrap();
        networks.into_values().find_map(|network| network.ip_address).unwrap()
    }

    fn running(&self) -> &ContainerAsync<GenericImage> {
        self.running.as_ref().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(running) = self.running.take()
            && let Err(e) = block_on(running.rm())
        {
            eprintln!("a container could not be removed: {e}");
        }
    }
}

async fn docker() -> Docker {
    docker_client_instance().await.unwrap()
}

/// The containers' own runtime: tests are not asynchronous.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    });
    RUNTIME.block_on(future)
}

/// The label's value for this process.
fn ours() -> &'static str {
    static OURS: LazyLock<String> =
        LazyLock::new(|| format!("{}-{:016x}", std::process::id(), RandomState::new().hash_one(0)));
    &OURS
}

/// Starts whoever removes this process's containers when it is gone, however it went: its standard input ends with
/// this process, and a signal to this process's group does not reach it.
fn reaper() {
    static REAPER: OnceLock<Child> = OnceLock::new();
    REAPER.get_or_init(|| {
        let script = format!(
            "cat; docker ps --all --quiet --filter label={LABEL}={} | xargs --no-run-if-empty docker rm --force --volumes",
            ours()
        );
        let mut sh = Command::new("sh");
        sh.args(["-c", &script]).process_group(0);
        sh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    });
}
