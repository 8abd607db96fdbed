//! A Postgres server of a test's own.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::Signal;
use testcontainers::runners::AsyncBuilder;
use testcontainers::{GenericBuildableImage, GenericImage};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::container::{Container, block_on};
use crate::installed;
use crate::place::{Kind, Place};

/// The password in its URL. It lets everybody in, and so does not ask for it.
pub const PASSWORD: &str = "password-of-the-database";

/// How long it may take to be spoken to.
const CONNECT: Duration = Duration::from_secs(10);
/// How often it is started, and for how long it is waited for each time.
const STARTS: u32 = 50;
const LOOKS: u32 = 1000;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What every server is started with.
pub const SETTINGS: [&str; 4] = ["-c", "max_connections=60", "-c", "shared_buffers=32MB"];

/// The image with the files of a fresh server in it, where no volume hides them: made once on a machine.
const FRESH: &str = "
RUN mkdir /pg && chown postgres /pg && chmod 700 /pg
USER postgres
ENV PGDATA=/pg
RUN initdb -A trust -U postgres -N && \\
    echo 'host all,replication all all trust' >>/pg/pg_hba.conf
ENTRYPOINT []
";
/// A replica copies the primary at its first start.
const REPLICATE: &str = r#"
if [ ! -e /pg/standby.signal ]; then
  rm -rf /pg/*
  pg_basebackup -h "$0" -U postgres -D /pg -R -X stream -c fast
fi
exec postgres "$@""#;
const LISTENING: [&str; 4] = ["-c", "listen_addresses=*", "-c", "unix_socket_directories="];

/// A running server. It is killed when dropped.
pub struct Server {
    runs: Runs,
}

enum Runs {
    Container(Container),
    Installed(installed::Postgres),
}

impl Server {
    /// A server on files in `folder`, which are made; in a container they are its own.
    pub fn start(folder: &Path) -> Self {
        match Kind::Postgres.place() {
            Place::Container => Self::contained(),
            Place::Installed => Self::started(Runs::Installed(installed::Postgres::fresh(folder))),
        }
    }

    /// A server in a container.
    pub fn contained() -> Self {
        let command = [&["postgres"][..], &LISTENING, &SETTINGS].concat();
        Self::started(Runs::Container(Container::start(fresh_image(), 5432, &command)))
    }

    fn started(runs: Runs) -> Self {
        let mut server = Self { runs };
        server.restart();
        server
    }

    /// Copies its files into `folder`, if they are not there.
    pub fn copy_files(&self, folder: &Path) {
        if let Runs::Container(container) = &self.runs {
            container.copy("/pg", folder);
        }
    }

    /// A server on files in `folder` that replicates this one, which is not restarted meanwhile.
    pub fn replica(&self, folder: &Path) -> Self {
        Self::started(match &self.runs {
            Runs::Installed(_) => Runs::Installed(installed::Postgres::copy(folder, &self.url())),
            Runs::Container(primary) => {
                let primary = primary.address();
                let shell = ["sh", "-ec", REPLICATE, &primary];
                let command = [&shell[..], &LISTENING, &SETTINGS].concat();
                Runs::Container(Container::start(fresh_image(), 5432, &command))
            }
        })
    }

    fn port(&self) -> u16 {
        match &self.runs {
            Runs::Container(container) => container.port,
            Runs::Installed(postgres) => postgres.port,
        }
    }

    /// As a URL.
    pub fn url(&self) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/postgres", self.port())
    }

    /// Has it speak TLS, too, with this certificate and key, in PEM.
    pub fn speak_tls(&mut self, cert: &str, key: &str) {
        let settings = "ssl = on\n";
        let files = [("server.crt", cert), ("server.key", key), ("postgresql.auto.conf", settings)];
        if let Runs::Container(container) = &self.runs {
            for (name, text) in files {
                let write = "umask 077; printf %s \"$1\" >\"/pg/$0\"";
                container.exec(&["sh", "-ec", write, name, text]);
            }
        }
        self.kill();
        if let Runs::Installed(postgres) = &self.runs {
            files.iter().for_each(|(name, text)| postgres.write(name, text));
        }
        self.restart();
    }

    /// What it has said; nothing of one in a container.
    pub fn log(&self) -> String {
        match &self.runs {
            Runs::Container(_) => String::new(),
            Runs::Installed(postgres) => postgres.log(),
        }
    }

    /// Ends the server without a chance to tidy up.
    pub fn kill(&mut self) {
        match &mut self.runs {
            Runs::Container(container) => container.kill(),
            Runs::Installed(postgres) => postgres.kill(),
        }
    }

    /// Stops the processes of the server, or lets them go on.
    pub fn stand_still(&mut self, still: bool) {
        match &mut self.runs {
            Runs::Container(container) => container.stand_still(still),
            Runs::Installed(postgres) => postgres.signal(if still { Signal::STOP } else { Signal::CONT }),
        }
    }

    /// Starts it again on the same files, and waits until it takes connections.
    pub fn restart(&mut self) {
        for _ in 0..STARTS {
            let starts = match &mut self.runs {
                Runs::Container(container) => container.restart(),
                Runs::Installed(postgres) => postgres.start(),
            };
            for _ in 0..LOOKS {
                if self.sql("SELECT 1").is_some() {
                    return;
                }
                if !starts || !self.lives() {
                    break;
                }
                std::thread::sleep(LOOK_EVERY);
            }
            self.kill();
        }
        panic!("the server on port {} does not start", self.port());
    }

    /// A transaction that has done `statement`, and stays open until what this returns is dropped.
    pub fn hold(&self, statement: &str) -> Held {
        block_on(async {
            let config: tokio_postgres::Config = self.url().parse().unwrap();
            let (client, connection) = config.connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute("BEGIN").await.unwrap();
            client.batch_execute(statement).await.unwrap();
            Held(client)
        })
    }

    fn lives(&mut self) -> bool {
        match &mut self.runs {
            Runs::Container(container) => container.lives(),
            Runs::Installed(postgres) => postgres.lives(),
        }
    }

    /// What the server says to `statement`, as `psql -At` writes it: columns apart by a bar; `None` when it fails.
    pub fn sql(&self, statement: &str) -> Option<String> {
        block_on(async {
            let config: tokio_postgres::Config = self.url().parse().unwrap();
            let (client, connection) =
                tokio::time::timeout(CONNECT, config.connect(NoTls)).await.ok()?.ok()?;
            tokio::spawn(connection);
            let said = client.simple_query(statement).await.ok()?;
            let lines: Vec<String> = said
                .iter()
                .filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                })
                .map(|row| {
                    let columns: Vec<_> = (0..row.len()).map(|n| row.get(n).unwrap_or_default()).collect();
                    columns.join("|")
                })
                .collect();
            Some(lines.join("\n"))
        })
    }
}

/// A transaction that is left open, with what it has locked: it ends with its connection.
pub struct Held(#[expect(dead_code, reason = "it is kept, not used")] tokio_postgres::Client);

/// The image of [`FRESH`].
fn fresh_image() -> &'static GenericImage {
    static IMAGE: LazyLock<GenericImage> = LazyLock::new(|| {
        let (name, tag) = Kind::Postgres.image();
        let recipe = format!("FROM {name}:{tag}{FRESH}");
        let image = GenericBuildableImage::new("squall-tests-postgres", tag).with_dockerfile_string(recipe);
        block_on(image.build_image()).unwrap_or_else(|e| panic!("the image of a fresh server: {e}"))
    });
    &IMAGE
}
