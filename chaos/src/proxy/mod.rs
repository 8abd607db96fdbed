//! A TCP proxy that speaks Toxiproxy's API: clients of that work unchanged.
//!
//! The control plane never waits for data. A change is written down and told to the connections, which take notice when they
//! next have something to do; reads of the state wait for no change. Toxics end by themselves at the end of their
//! time to live, where they act. Which connections a toxic meets is a hash of (seed, proxy, toxic, number of the connection).
//!
//! # Layout
//!
//! * [`api`]: HTTP; [`server`]: on a socket.
//! * [`one`]: one proxy; [`toxic`]: what acts on it, as it is typed and shown; [`attributes`]: of each kind; [`object`]: how that is read.
//! * [`acting`]: a toxic that acts; [`shared`]: what the connections of a proxy look at.
//! * [`partition`]: several proxies that let nothing through. [`door`]: what acts before a connection is passed on; [`connection`]: two sockets, and a [`pipe`] each way; [`stage`]: a toxic at work in one.
//! * [`matching`]: whom a toxic can meet; [`http`]: requests and answers in what passes, for toxics that act on single ones.
//! * [`socket`]: TCP and Unix sockets as one thing.

pub mod acting;
pub mod api;
pub mod attributes;
pub mod connection;
pub mod door;
pub mod error;
pub mod http;
pub mod matching;
pub mod object;
pub mod one;
pub mod partition;
pub mod pipe;
pub mod server;
pub mod shared;
pub mod socket;
pub mod stage;
pub mod toxic;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use squall_record::clock::Clock;
use tokio::runtime;
use tokio::sync::watch;

use error::ApiError;
use object::Object;
use one::{House, Proxy, Shown, Typed};
use shared::lock;

/// The most proxies.
pub const MAX_PROXIES: usize = 4096;

/// Threads that connections live on, each with a runtime of its own: a connection never changes threads.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<runtime::Handle>,
    /// Closed when the threads are to end.
    _open: watch::Sender<()>,
}

impl Workers {
    /// `count` threads, which end when this is dropped.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(count: usize) -> io::Result<Self> {
        let (open, closed) = watch::channel(());
        let mut handles = Vec::new();
        for nth in 0..count.max(1) {
            let worker = runtime::Builder::new_current_thread().enable_all().build()?;
            handles.push(worker.handle().clone());
            let mut closed = closed.clone();
            std::thread::Builder::new().name(format!("proxy-{nth}")).spawn(move || {
                // An error is what it waits for.
                let _ = worker.block_on(closed.changed());
            })?;
        }
        Ok(Self { handles, _open: open })
    }
}

/// All proxies.
#[derive(Debug)]
pub struct Proxies {
    house: Arc<House>,
    all: Mutex<BTreeMap<String, Arc<Proxy>>>,
    partitions: Mutex<BTreeMap<String, partition::Shown>>,
    /// Held while one is made or removed.
    changing: tokio::sync::Mutex<()>,
}

impl Proxies {
    /// None yet; their connections will live on `workers`, and `seed` decides what chance would.
    #[must_use]
    pub fn new(workers: &Workers, seed: u64) -> Self {
        let house = House {
            workers: workers.handles.clone(),
            clock: Clock::start(),
            seed,
            connections: Default::default(),
            most: door::connections_allowed(),
            toxics: AtomicU64::default(),
            starts: AtomicU64::default(),
        };
        Self {
            house: Arc::new(house),
            all: Mutex::default(),
            partitions: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Proxy>> {
        lock(&self.all).values().cloned().collect()
    }

    /// The one called `name`.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn get(&self, name: &str) -> Result<Arc<Proxy>, ApiError> {
        lock(&self.all).get(name).cloned().ok_or_else(ApiError::no_proxy)
    }

    /// Makes a proxy.
    ///
    /// # Errors
    /// 400 when it makes no sense, 409 when there is one of that name, 500 when it cannot listen.
    pub async fn create(&self, typed: Typed) -> Result<Arc<Proxy>, ApiError> {
        let _changing = self.changing.lock().await;
        let (enabled, ttl) = (typed.enabled.unwrap_or(true), typed.ttl);
        let proxy = Arc::new(Proxy::new(&self.house, typed, None)?);
        if self.get(proxy.name()).is_ok() {
            return Err(ApiError::proxy_exists());
        }
        self.put(proxy, enabled, ttl).await
    }

    async fn put(&self, proxy: Arc<Proxy>, enabled: bool, ttl: Option<u64>) -> Result<Arc<Proxy>, ApiError> {
        if lock(&self.all).len() >= MAX_PROXIES {
            return Err(ApiError::too_many("proxies", MAX_PROXIES));
        }
        if enabled {
            proxy.start().await?;
        } else if let Some(ttl_ms) = ttl {
            proxy.come_back_in(ttl_ms).await;
        }
        lock(&self.all).insert(proxy.name().to_owned(), Arc::clone(&proxy));
        Ok(proxy)
    }

    /// Removes the proxy called `name` and closes its connections.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn remove(&self, name: &str) -> Result<(), ApiError> {
        let _changing = self.changing.lock().await;
        let proxy = lock(&self.all).remove(name).ok_or_else(ApiError::no_proxy)?;
        proxy.remove_for_good().await;
        Ok(())
    }

    /// Makes each of `typed` be there. One that is there already, with the same addresses, keeps its connections and toxics, unless
    /// toxics are typed; one with others is replaced; those that are not typed stay.
    ///
    /// # Errors
    /// The first one's, and those that are there before it. Nothing is changed when any of them makes no sense.
    pub async fn populate(&self, typed: Vec<Object<Typed>>) -> Result<Vec<Shown>, (ApiError, Vec<Shown>)> {
        let _changing = self.changing.lock().await;
        let mut wanted = Vec::new();
        let mut names = HashSet::new();
        for (Object(typed), nth) in typed.into_iter().zip(1..) {
            let only = Typed {
                enabled: Some(typed.enabled.unwrap_or(true)),
                ttl: typed.ttl,
                toxics: typed.toxics.clone(),
                ..Typed::default()
            };
            let proxy = Proxy::new(&self.house, typed, Some(nth)).map_err(|e| (e, Vec::new()))?;
            if !names.insert(proxy.name().to_owned()) {
                let twice = format_args!("duplicate proxy name {:?}", proxy.name()).to_string();
                return Err((ApiError::bad_body(twice), Vec::new()));
            }
            wanted.push((Arc::new(proxy), only));
        }
        let mut done = Vec::new();
        for (proxy, only) in wanted {
            match self.make_be(proxy, only).await {
                Ok(shown) => done.push(shown),
                Err(e) => return Err((e, done)),
            }
        }
        Ok(done)
    }

    async fn make_be(&self, proxy: Arc<Proxy>, only: Typed) -> Result<Shown, ApiError> {
        if let Ok(there) = self.get(proxy.name()) {
            if !there.differs(&proxy).await {
                there.update(only).await?;
                return Ok(there.shown());
            }
            there.remove_for_good().await;
            lock(&self.all).remove(there.name());
        }
        Ok(self.put(proxy, only.enabled.unwrap_or(true), only.ttl).await?.shown())
    }

    /// The partitions in force, by name.
    #[must_use]
    pub fn partitions(&self) -> Vec<partition::Shown> {
        let mut partitions = lock(&self.partitions);
        // They end with their toxics, however those end.
        partitions.retain(|_, one| {
            one.proxies.iter().any(|name| self.get(name).is_ok_and(|proxy| one.acts_on(&proxy)))
        });
        partitions.values().cloned().collect()
    }

    /// Parts some ends from others.
    ///
    /// # Errors
    /// 400 when it makes no sense or no proxy lies between them, 409 when there is one of that name.
    pub async fn part(&self, typed: partition::Typed) -> Result<partition::Shown, ApiError> {
        let _changing = self.changing.lock().await;
        typed.check()?;
        let there = self.partitions();
        if there.iter().any(|one| one.name == typed.name) {
            return Err(ApiError::partition_exists());
        }
        if there.len() >= partition::MAX_PARTITIONS {
            return Err(ApiError::too_many("partitions", partition::MAX_PARTITIONS));
        }
        let partition::Typed { name, from, to, one_way, .. } = typed.clone();
        let mut shown = partition::Shown { name, from, to, one_way, proxies: Vec::new() };
        for proxy in self.all() {
            match typed.act_on(&proxy) {
                Ok(true) => shown.proxies.push(proxy.name().to_owned()),
                Ok(false) => {}
                Err(e) => {
                    // All of it or nothing.
                    self.leave(&shown);
                    shown.leave(&proxy);
                    return Err(e);
                }
            }
        }
        if shown.proxies.is_empty() {
            return Err(ApiError::bad_body(
                "no proxy lies between them: make proxies with the ends' names as \"from\" and \"to\"",
            ));
        }
        lock(&self.partitions).insert(shown.name.clone(), shown.clone());
        Ok(shown)
    }

    fn leave(&self, partition: &partition::Shown) {
        for name in &partition.proxies {
            if let Ok(proxy) = self.get(name) {
                partition.leave(&proxy);
            }
        }
    }

    /// Ends the partition called `name`.
    ///
    /// # Errors
    /// 404 when there is none.
    pub async fn heal(&self, name: &str) -> Result<(), ApiError> {
        let _changing = self.changing.lock().await;
        let partition = lock(&self.partitions).remove(name).ok_or_else(ApiError::no_partition)?;
        self.leave(&partition);
        Ok(())
    }

    /// Has every proxy listen, without toxics.
    ///
    /// # Errors
    /// 500 when one cannot.
    pub async fn reset(&self) -> Result<(), ApiError> {
        let _changing = self.changing.lock().await;
        for proxy in self.all() {
            proxy.start().await?;
            proxy.clean();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_proxy_that_was_removed_listens_no_more_for_whoever_still_knows_it() {
        let workers = Workers::start(1).unwrap();
        let proxies = Proxies::new(&workers, 7);
        let typed = |json: &str| serde_json::from_str::<Typed>(json).unwrap();
        let off = typed(r#"{"name":"p","upstream":"127.0.0.1:1","enabled":false,"ttl":60000}"#);
        let proxy = proxies.create(off).await.unwrap();
        proxies.remove("p").await.unwrap();
        let on = proxy.update(typed(r#"{"enabled":true}"#)).await.unwrap_err();
        assert_eq!(on.status, 404);
        assert_eq!((proxy.shown().enabled, proxy.start().await.unwrap_err().status), (false, 404));
    }
}
