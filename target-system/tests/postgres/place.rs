//! Where the servers of these tests run: in containers, or from the binaries that are installed on the machine.
//! `TEST_SERVERS` (`docker` or `installed`) chooses. Where it does not, the tests of [`crate::contained`] take
//! containers, if a Docker engine answers, and the others what is installed, which starts in less time and leaves a
//! small machine to the tests; what is not installed is a container, too.

use std::io::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt as _;
use testcontainers::bollard::query_parameters::CreateImageOptionsBuilder;
use testcontainers::core::client::docker_client_instance;

use crate::container::block_on;

/// How long an engine may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(10);
/// How long an image may take to come.
const PULL: Duration = Duration::from_secs(180);

/// A kind of server.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Postgres,
    Redis,
    Nats,
}

/// Where one runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Container,
    Installed,
}

impl Kind {
    /// Name and tag of its image: those of docker-compose.yml.
    pub fn image(self) -> (&'static str, &'static str) {
        match self {
            Kind::Postgres => ("postgres", "15-bookworm"),
            Kind::Redis => ("redis", "7-bookworm"),
            Kind::Nats => ("nats", "2.9"),
        }
    }

    /// Where servers of this kind run: decided, and told, once in a test process.
    pub fn place(self) -> Place {
        static PLACES: [OnceLock<Place>; 3] = [const { OnceLock::new() }; 3];
        *PLACES[self as usize].get_or_init(|| {
            let (place, why) = self.decide(std::env::var("TEST_SERVERS").ok().as_deref());
            // Not by a macro: those are kept from who looks at a test that passes.
            let _ = writeln!(std::io::stderr(), "{self:?} of these tests: {place:?} ({why})");
            place
        })
    }

    fn is_installed(self) -> bool {
        let on_path = |program: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).exists())
        };
        match self {
            Kind::Postgres => std::path::Path::new("/usr/lib/postgresql").exists(),
            Kind::Redis => on_path("redis-server"),
            Kind::Nats => on_path("nats-server"),
        }
    }

    fn decide(self, asked: Option<&str>) -> (Place, String) {
        let (name, tag) = self.image();
        match asked {
            Some("installed") => (Place::Installed, "TEST_SERVERS=installed".to_owned()),
            Some("docker") => match image_is_there(name, tag) {
                Ok(()) => (Place::Container, format!("TEST_SERVERS=docker, {name}:{tag}")),
                Err(why) => panic!("TEST_SERVERS=docker, but {why}"),
            },
            Some(other) => panic!("TEST_SERVERS is {other}: it is docker, installed, or not set"),
            None if self.is_installed() => {
                (Place::Installed, "it is; TEST_SERVERS=docker takes containers".to_owned())
            }
            None => match image_is_there(name, tag) {
                Ok(()) => (Place::Container, format!("{name}:{tag}; none is installed")),
                // Starting it says what to install.
                Err(why) => (Place::Installed, why),
            },
        }
    }
}

/// Whether the tests of containers can run: an engine answers and has every image, or gets it. Told when not.
pub fn containers() -> bool {
    if std::env::var_os("TEST_SERVERS").is_some_and(|v| v == "installed") {
        eprintln!("left out: TEST_SERVERS=installed");
        return false;
    }
    let lacks = [Kind::Postgres, Kind::Redis, Kind::Nats].into_iter().find_map(|kind| {
        let (name, tag) = kind.image();
        image_is_there(name, tag).err()
    });
    if let Some(why) = &lacks {
        let _ = writeln!(std::io::stderr(), "tests of containers are left out: {why}");
    }
    lacks.is_none()
}

/// Whether an engine answers and has the image, or gets it; if not, why not.
fn image_is_there(name: &str, tag: &str) -> Result<(), String> {
    block_on(async {
        let no_engine = "no Docker engine answers";
        let docker = docker_client_instance().await.map_err(|e| format!("{no_engine}: {e}"))?;
        match tokio::time::timeout(ANSWER, docker.ping()).await {
            Ok(Ok(_)) => {}
            Ok(Err(e)) => return Err(format!("{no_engine}: {e}")),
            Err(_) => return Err(no_engine.to_owned()),
        }
        if docker.inspect_image(&format!("{name}:{tag}")).await.is_ok() {
            return Ok(());
        }
        let wanted = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let pull = async {
            let mut steps = docker.create_image(Some(wanted), None, None);
            while let Some(step) = steps.next().await {
                step.map_err(|e| format!("{name}:{tag} cannot be pulled: {e}"))?;
            }
            Ok(())
        };
        let late = format!("{name}:{tag} was not pulled within {PULL:?}");
        tokio::time::timeout(PULL, pull).await.unwrap_or(Err(late))
    })
}

#[test]
fn servers_run_where_they_are_told_to() {
    assert_eq!(Kind::Redis.decide(Some("installed")).0, Place::Installed);
    assert!(std::panic::catch_unwind(|| Kind::Redis.decide(Some("podman"))).is_err());
    // No such image can be had, whether there is an engine or not.
    assert!(image_is_there("localhost:1/squall-no-such-image", "0").is_err());
}
