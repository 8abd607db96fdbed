//! Where connections come in: what acts on them before they are passed on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use squall_record::clock::Clock;

use super::acting::Client;
use super::connection::Connection;
use super::one::{House, MAX_CONNECTIONS};
use super::shared::Shared;
use super::socket::{Listener, Presence, Raw, Socket};
use super::toxic::Kind;

/// How long a connection to an upstream may take.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is looked whether a client that waits is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For how long one that sends no more is waited for: it may have said all that it has to say, or have gone.
const MUTE: Duration = Duration::from_secs(10);
/// Files that connections leave alone: those of the API, of listeners, and of the process itself.
const SPARE_FILES: u64 = 512;
/// How long nothing is accepted when there are no file descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Who lets connections in.
#[derive(Debug)]
pub struct Door {
    /// What all proxies share.
    pub house: Arc<House>,
    /// What its connections look at.
    pub shared: Arc<Shared>,
    /// Numbers them.
    pub numbers: Arc<AtomicU64>,
    /// Their generation.
    pub generation: u64,
    /// Whether they speak HTTP.
    pub is_http: bool,
    /// Whom they are passed on to.
    pub upstream: Arc<str>,
}

impl Door {
    /// Lets connections in, one after another.
    pub async fn accept(&self, listener: &Listener) {
        loop {
            match listener.accept().await {
                Ok(client) => self.let_in(client),
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                    ) => {}
                Err(_) => tokio::time::sleep(ACCEPT_REST).await,
            }
        }
    }

    /// Has a worker connect it to the upstream: a slow one holds up no other client.
    fn let_in(&self, client: Raw) {
        let Some(guest) = Guest::enter(&self.house) else { return };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (shared, clock, generation) = (Arc::clone(&self.shared), self.house.clock, self.generation);
        let (upstream, is_http) = (Arc::clone(&self.upstream), self.is_http);
        self.house.worker(number).spawn(async move {
            let _guest = guest;
            let whose = Client { number, source: client.source() };
            let Ok(client) = client.open() else { return };
            if pass(&shared, &clock, whose, generation, &client).await.is_err() {
                client.reset_on_close();
                return;
            }
            let Ok(Ok(upstream)) = tokio::time::timeout(DIAL_TIMEOUT, Socket::connect(&upstream)).await
            else {
                return;
            };
            Connection::new((shared, clock), whose, generation, is_http, [client, upstream]).await;
        });
    }
}

/// How many connections there may be at once: two files for each, and some to spare. The limit of files is raised as far as it may be.
#[must_use]
pub fn connections_allowed() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let spare = SPARE_FILES.min(files / 2);
    usize::try_from((files - spare) / 2).map_or(MAX_CONNECTIONS, |most| most.min(MAX_CONNECTIONS))
}

/// A connection is not passed on.
struct TurnedAway;

/// Holds the connection of `client` for as long as the toxics at the door want it to.
async fn pass(
    shared: &Shared,
    clock: &Clock,
    client: Client,
    generation: u64,
    socket: &Socket,
) -> Result<(), TurnedAway> {
    let came_ns = clock.now_ns();
    let mut mute_ns = None;
    // Each of them meets it once, however often the toxics change meanwhile.
    let mut met: Vec<u64> = Vec::new();
    loop {
        let version = shared.version();
        if shared.generation() != generation {
            return Err(TurnedAway);
        }
        let now_ns = clock.now_ns();
        let mut until_ns = now_ns;
        for acting in shared.toxics(now_ns) {
            let due_ns = match &acting.toxic.kind {
                Kind::Refuse(_) => 0,
                Kind::SlowConnect(slow) => came_ns.saturating_add(slow.delay.saturating_mul(1_000_000)),
                Kind::Partition(_) => u64::MAX,
                _ => continue,
            };
            if !acting.meets(client) {
                continue;
            }
            if !met.contains(&acting.id) {
                met.push(acting.id);
                acting.count(client.number, 0);
            }
            if due_ns == 0 {
                return Err(TurnedAway);
            }
            until_ns = until_ns.max(due_ns.min(acting.ends_ns));
        }
        if until_ns <= now_ns {
            return Ok(());
        }
        // Who has given up is not held for: nobody else would ever notice.
        mute_ns = match socket.presence() {
            Presence::Gone => return Err(TurnedAway),
            Presence::Mute => mute_ns.or(Some(now_ns)),
            Presence::There => None,
        };
        if mute_ns.is_some_and(|since_ns| clock.now_ns() - since_ns >= MUTE.as_nanos() as u64) {
            return Err(TurnedAway);
        }
        // An end of the wait is as good as a change: both are looked at.
        let _ = tokio::time::timeout(clock.until(until_ns).min(LOOK_EVERY), shared.changed(version)).await;
    }
}

/// A connection, counted while it is open.
struct Guest(Arc<House>);

impl Guest {
    fn enter(house: &Arc<House>) -> Option<Self> {
        let guest = Guest(Arc::clone(house));
        (house.connections.fetch_add(1, Ordering::Relaxed) < house.most).then_some(guest)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
