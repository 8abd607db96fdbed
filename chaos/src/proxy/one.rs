//! One proxy: where it listens, whom it passes connections on to, and what acts on them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use squall_record::clock::Clock;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

use super::acting::{Acting, Hits};
use super::door::Door;
use super::error::ApiError;
use super::object::Object;
use super::shared::{MAX_TOXICS, Shared, lock};
use super::socket::{self, ListenError, Listener};
use super::toxic::{Stream, Toxic, Typed as TypedToxic, check_ttl, name_is_wrong};

/// Connections of all proxies together; further ones are closed at once. Fewer where there are not two files for each.
pub const MAX_CONNECTIONS: usize = 65_536;
/// How often a proxy that is to listen again tries to, where somebody else listens.
const RELISTEN: Duration = Duration::from_millis(100);
const ONLY_OFF: &str = "a ttl is for a proxy that is switched off: change it with \"enabled\": false";

/// What all proxies share.
#[derive(Debug)]
pub struct House {
    /// The threads that connections live on.
    pub workers: Vec<Handle>,
    /// Toxics end on it.
    pub clock: Clock,
    /// Decides what chance would.
    pub seed: u64,
    /// Connections of all proxies.
    pub connections: AtomicUsize,
    /// The most that there may be of them.
    pub most: usize,
    /// Toxics that there have been.
    pub toxics: AtomicU64,
    /// Times that a proxy has begun to listen.
    pub starts: AtomicU64,
}

/// A proxy as it is typed. What is not typed stays, or has its default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Typed {
    /// Unique.
    pub name: Option<String>,
    /// Where it listens.
    pub listen: Option<String>,
    /// Whom it passes connections on to.
    pub upstream: Option<String>,
    /// Whether it listens at all.
    pub enabled: Option<bool>,
    /// With `"enabled": false`: after so many milliseconds it listens again by itself.
    pub ttl: Option<u64>,
    /// What acts from the first connection on.
    pub toxics: Option<Vec<Object<TypedToxic>>>,
    /// What is spoken through it: `tcp`, or `http`, of which toxics can meet single requests.
    pub protocol: Option<Protocol>,
    /// Who connects to it, for partitions.
    pub from: Option<String>,
    /// Who is behind it, for partitions.
    pub to: Option<String>,
}

/// What is spoken through a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Anything.
    #[default]
    Tcp,
    /// HTTP/1, without TLS.
    Http,
}

impl Protocol {
    fn is_tcp(&self) -> bool {
        *self == Protocol::Tcp
    }
}

/// A proxy as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// Unique.
    pub name: String,
    /// Where it listens: resolved once it does.
    pub listen: String,
    /// Whom it passes connections on to.
    pub upstream: String,
    /// Whether it listens.
    pub enabled: bool,
    /// After how many milliseconds it listens again by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// What acts on its connections.
    pub toxics: Vec<Toxic>,
    /// What is spoken through it; not shown for `tcp`, which is all that Toxiproxy knows.
    #[serde(skip_serializing_if = "Protocol::is_tcp")]
    pub protocol: Protocol,
    /// Who connects to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who is behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    listen: String,
    upstream: String,
    enabled: bool,
    /// When it listens again by itself.
    back_ns: Option<u64>,
}

/// What has a proxy listen.
#[derive(Debug, Default)]
struct Accepting {
    task: Option<JoinHandle<()>>,
    /// Waits to have it listen again.
    back: Option<AbortHandle>,
    /// Whether the proxy has been removed, and never listens again.
    removed: bool,
}

/// A proxy.
#[derive(Debug)]
pub struct Proxy {
    name: String,
    protocol: Protocol,
    from: Option<String>,
    to: Option<String>,
    house: Arc<House>,
    shared: Arc<Shared>,
    numbers: Arc<AtomicU64>,
    /// As it is shown: read by whoever asks, also while it is being changed.
    place: Mutex<Place>,
    /// Held while it is started or stopped.
    accepting: tokio::sync::Mutex<Accepting>,
}

impl Proxy {
    /// The proxy that is asked for, with its toxics; it does not listen yet.
    ///
    /// # Errors
    /// 400 when it makes no sense. `nth` is which of several it is.
    pub fn new(house: &Arc<House>, typed: Typed, nth: Option<usize>) -> Result<Self, ApiError> {
        let missing = |field: &str| match nth {
            Some(nth) => ApiError::missing(format_args!("{field} at proxy {nth}")),
            None => ApiError::missing(field),
        };
        check_off(&typed)?;
        let name = typed.name.filter(|name| !name.is_empty()).ok_or_else(|| missing("name"))?;
        let upstream = typed.upstream.filter(|u| !u.is_empty()).ok_or_else(|| missing("upstream"))?;
        if let Some(why) = name_is_wrong(&name) {
            return Err(ApiError::bad_body(format_args!("proxy {name:?}: {why}")));
        }
        let listen = typed.listen.unwrap_or_default();
        if !listen.is_empty() {
            socket::check(&listen).map_err(|why| ApiError::bad_body(format_args!("listen: {why}")))?;
        }
        socket::check(&upstream).map_err(|why| ApiError::bad_body(format_args!("upstream: {why}")))?;
        let proxy = Self {
            name,
            protocol: typed.protocol.unwrap_or_default(),
            from: typed.from,
            to: typed.to,
            house: Arc::clone(house),
            shared: Arc::default(),
            numbers: Arc::default(),
            place: Mutex::new(Place { listen, upstream, enabled: false, back_ns: None }),
            accepting: tokio::sync::Mutex::default(),
        };
        proxy.replace(typed.toxics.unwrap_or_default())?;
        Ok(proxy)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its connections look at.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// As it is shown.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let Place { listen, upstream, enabled, back_ns } = lock(&self.place).clone();
        let now_ns = self.house.clock.now_ns();
        Shown {
            name: self.name.clone(),
            listen,
            upstream,
            enabled,
            ttl: back_ns.map(|back_ns| left_ms(now_ns, back_ns)),
            toxics: self.toxics(),
            protocol: self.protocol,
            from: self.from.clone(),
            to: self.to.clone(),
        }
    }

    /// Who connects to it and who is behind it, when both have a name.
    #[must_use]
    pub fn ends(&self) -> Option<(&str, &str)> {
        Some((self.from.as_deref()?, self.to.as_deref()?))
    }

    /// Whether `other` listens elsewhere or passes connections on elsewhere.
    pub async fn differs(&self, other: &Proxy) -> bool {
        let names = |proxy: &Proxy| (proxy.protocol, proxy.from.clone(), proxy.to.clone());
        if names(self) != names(other) {
            return true;
        }
        let other = lock(&other.place).clone();
        lock(&self.place).upstream != other.upstream || !self.listens_at(&other.listen).await
    }

    /// Whether `typed` is where it listens, however it is written.
    async fn listens_at(&self, typed: &str) -> bool {
        let own = lock(&self.place).listen.clone();
        own == typed || socket::resolved(typed).await.as_ref() == Some(&own)
    }

    /// Has it listen, unless it does.
    ///
    /// # Errors
    /// 500 when it cannot.
    pub async fn start(&self) -> Result<(), ApiError> {
        let mut accepting = self.accepting.lock().await;
        self.stay(&mut accepting);
        self.begin(&mut accepting).await
    }

    /// Has it listen again in `ttl_ms`.
    pub async fn come_back_in(self: &Arc<Self>, ttl_ms: u64) {
        let mut accepting = self.accepting.lock().await;
        self.stay(&mut accepting);
        self.come_back(&mut accepting, ttl_ms);
    }

    async fn begin(&self, accepting: &mut Accepting) -> Result<(), ApiError> {
        if accepting.removed {
            return Err(ApiError::no_proxy());
        }
        if accepting.task.is_none() {
            accepting.task = Some(self.listen().await?);
        }
        Ok(())
    }

    /// Has it never listen again, and closes its connections.
    pub async fn remove_for_good(&self) {
        let mut accepting = self.accepting.lock().await;
        accepting.removed = true;
        self.stay(&mut accepting);
        self.end(&mut accepting).await;
    }

    /// Whether it listens changes no more by itself.
    fn stay(&self, accepting: &mut Accepting) {
        lock(&self.place).back_ns = None;
        if let Some(back) = accepting.back.take() {
            back.abort();
        }
    }

    /// Has it listen again in `ttl_ms`, wherever it is then supposed to.
    fn come_back(self: &Arc<Self>, accepting: &mut Accepting, ttl_ms: u64) {
        let back_ns = ends_ns(self.house.clock.now_ns(), Some(ttl_ms));
        lock(&self.place).back_ns = Some(back_ns);
        let proxy = Arc::clone(self);
        let waiting = self.house.worker(0).spawn(async move {
            tokio::time::sleep(proxy.house.clock.until(back_ns)).await;
            loop {
                // Whoever has this changes its mind before or after, never meanwhile.
                let mut accepting = proxy.accepting.lock().await;
                if proxy.begin(&mut accepting).await.is_ok() {
                    lock(&proxy.place).back_ns = None;
                    accepting.back = None;
                    return;
                }
                drop(accepting);
                // Somebody else listens there.
                tokio::time::sleep(RELISTEN).await;
            }
        });
        accepting.back = Some(waiting.abort_handle());
    }

    /// Changes what is typed; its name stays.
    ///
    /// # Errors
    /// 400 when it makes no sense, 500 when it cannot listen there.
    pub async fn update(self: &Arc<Self>, typed: Typed) -> Result<(), ApiError> {
        if typed.protocol.is_some_and(|protocol| protocol != self.protocol) {
            return Err(ApiError::bad_body("the protocol of a proxy stays: delete it and make another"));
        }
        let differs = |typed: &Option<String>, own: &Option<String>| typed.is_some() && typed != own;
        if differs(&typed.from, &self.from) || differs(&typed.to, &self.to) {
            return Err(ApiError::bad_body("the ends of a proxy stay: delete it and make another"));
        }
        check_off(&typed)?;
        let mut accepting = self.accepting.lock().await;
        let before = lock(&self.place).clone();
        let after = Place {
            listen: typed.listen.unwrap_or_else(|| before.listen.clone()),
            upstream: typed.upstream.unwrap_or_else(|| before.upstream.clone()),
            enabled: typed.enabled.unwrap_or(before.enabled),
            back_ns: before.back_ns,
        };
        for (field, typed) in [("listen", &after.listen), ("upstream", &after.upstream)] {
            if !typed.is_empty() || field == "upstream" {
                socket::check(typed).map_err(|why| ApiError::bad_body(format_args!("{field}: {why}")))?;
            }
        }
        if let Some(toxics) = typed.toxics {
            self.replace(toxics)?;
        }
        let same = before.listen == after.listen || self.listens_at(&after.listen).await;
        if !same || before.upstream != after.upstream {
            self.end(&mut accepting).await;
            let mut place = lock(&self.place);
            if !same {
                place.listen = after.listen;
            }
            place.upstream = after.upstream;
        }
        if typed.enabled.is_some() {
            self.stay(&mut accepting);
        }
        if after.enabled {
            return self.begin(&mut accepting).await;
        }
        self.end(&mut accepting).await;
        if let Some(ttl) = typed.ttl {
            self.come_back(&mut accepting, ttl);
        }
        Ok(())
    }

    async fn end(&self, accepting: &mut Accepting) {
        lock(&self.place).enabled = false;
        if let Some(task) = accepting.task.take() {
            task.abort();
            // Once it is over nobody listens there any more.
            let _ = task.await;
            self.shared.close();
        }
    }

    /// Listens on one of the workers.
    async fn listen(&self) -> Result<JoinHandle<()>, ApiError> {
        let Place { listen, upstream, .. } = lock(&self.place).clone();
        let door = Door {
            house: Arc::clone(&self.house),
            shared: Arc::clone(&self.shared),
            numbers: Arc::clone(&self.numbers),
            generation: self.shared.generation(),
            is_http: self.protocol == Protocol::Http,
            upstream: upstream.into(),
        };
        let (told, bound) = oneshot::channel();
        let worker = self.house.worker(self.house.starts.fetch_add(1, Ordering::Relaxed));
        let task = worker.spawn(async move {
            match Listener::bind(&listen).await {
                Ok((listener, shown)) => {
                    if told.send(Ok(shown)).is_ok() {
                        door.accept(&listener).await;
                    }
                }
                Err(e) => drop(told.send(Err(e))),
            }
        });
        let bound: Result<String, ListenError> =
            bound.await.map_err(|_| ApiError::failed("the proxy's threads have ended"))?;
        let mut place = lock(&self.place);
        place.listen = bound.map_err(ApiError::failed)?;
        place.enabled = true;
        Ok(task)
    }

    /// Its toxics, those of the upstream stream first, each with the time that remains to it.
    #[must_use]
    pub fn toxics(&self) -> Vec<Toxic> {
        let now_ns = self.house.clock.now_ns();
        let mut toxics: Vec<Toxic> = self.shared.toxics(now_ns).iter().map(|t| t.shown(now_ns)).collect();
        toxics.sort_by_key(|toxic| toxic.stream == Stream::Downstream);
        toxics
    }

    /// The toxic called `name`.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn toxic(&self, name: &str) -> Result<Toxic, ApiError> {
        self.toxics().into_iter().find(|toxic| toxic.name == name).ok_or_else(ApiError::no_toxic)
    }

    /// Adds a toxic.
    ///
    /// # Errors
    /// 400 when it makes no sense, 409 when there is one of that name.
    pub fn add(&self, typed: TypedToxic) -> Result<Toxic, ApiError> {
        let toxic = typed.create()?;
        let now_ns = self.house.clock.now_ns();
        self.shared.change(now_ns, |toxics| self.push(toxics, toxic.clone(), now_ns))?;
        Ok(toxic)
    }

    /// Has its toxics be these and no others.
    ///
    /// # Errors
    /// As [`add`](Self::add); then nothing is changed.
    pub fn replace(&self, typed: Vec<Object<TypedToxic>>) -> Result<(), ApiError> {
        let now_ns = self.house.clock.now_ns();
        let mut wanted = Vec::new();
        for Object(typed) in typed {
            self.push(&mut wanted, typed.create()?, now_ns)?;
        }
        self.shared.change(now_ns, |toxics| *toxics = wanted);
        Ok(())
    }

    fn push(&self, toxics: &mut Vec<Arc<Acting>>, toxic: Toxic, now_ns: u64) -> Result<(), ApiError> {
        if toxics.iter().any(|other| other.toxic.name == toxic.name) {
            return Err(ApiError::toxic_exists());
        }
        if toxics.len() >= MAX_TOXICS {
            return Err(ApiError::too_many("toxics of a proxy", MAX_TOXICS));
        }
        if toxic.kind.is_http() && self.protocol != Protocol::Http {
            let (toxic, proxy) = (&toxic.name, &self.name);
            return Err(ApiError::bad_body(format_args!(
                "toxic {toxic:?} acts on requests, and proxy {proxy:?} passes bytes: make it with \"protocol\": \"http\""
            )));
        }
        toxics.push(Arc::new(Acting {
            id: self.house.toxics.fetch_add(1, Ordering::Relaxed),
            fault: format!("{}/{}", self.name, toxic.name),
            seed: self.house.seed,
            armed_ns: now_ns,
            ends_ns: ends_ns(now_ns, toxic.ttl),
            tally: Arc::default(),
            toxic,
        }));
        Ok(())
    }

    /// Changes a toxic.
    ///
    /// # Errors
    /// 404 when there is none of that name, 400 when it makes no sense.
    pub fn change(&self, name: &str, typed: TypedToxic) -> Result<Toxic, ApiError> {
        let now_ns = self.house.clock.now_ns();
        self.shared.change(now_ns, |toxics| {
            let found =
                toxics.iter_mut().find(|toxic| toxic.toxic.name == name).ok_or_else(ApiError::no_toxic)?;
            let renewed = typed.renews();
            let toxic = typed.update(&found.toxic)?;
            *found = Arc::new(Acting {
                id: found.id,
                fault: found.fault.clone(),
                seed: found.seed,
                armed_ns: found.armed_ns,
                tally: Arc::clone(&found.tally),
                ends_ns: if renewed { ends_ns(now_ns, toxic.ttl) } else { found.ends_ns },
                toxic,
            });
            Ok(found.shown(now_ns))
        })
    }

    /// Removes a toxic.
    ///
    /// # Errors
    /// 404 when there is none of that name.
    pub fn remove(&self, name: &str) -> Result<(), ApiError> {
        self.shared.change(self.house.clock.now_ns(), |toxics| {
            let at =
                toxics.iter().position(|toxic| toxic.toxic.name == name).ok_or_else(ApiError::no_toxic)?;
            toxics.remove(at);
            Ok(())
        })
    }

    /// How many requests and connections each toxic has met that counts them: those that act on requests or at the door.
    #[must_use]
    pub fn met(&self) -> Vec<(String, u64)> {
        let toxics = self.shared.toxics(self.house.clock.now_ns());
        let counting = toxics.iter().filter(|t| t.toxic.kind.is_http() || t.toxic.kind.is_at_the_door());
        counting.map(|acting| (acting.toxic.name.clone(), acting.met())).collect()
    }

    /// Whom the toxic called `name` has met.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn hits(&self, name: &str) -> Result<Hits, ApiError> {
        let toxics = self.shared.toxics(self.house.clock.now_ns());
        let found = toxics.iter().find(|toxic| toxic.toxic.name == name);
        found.map(|acting| acting.hits()).ok_or_else(ApiError::no_toxic)
    }

    /// Removes all toxics.
    pub fn clean(&self) {
        self.shared.change(self.house.clock.now_ns(), Vec::clear);
    }
}

/// Whether its `ttl` is of a proxy that is off, and one that may be.
fn check_off(typed: &Typed) -> Result<(), ApiError> {
    match typed.ttl {
        Some(_) if typed.enabled != Some(false) => Err(ApiError::bad_body(ONLY_OFF)),
        Some(ttl) => check_ttl(ttl).map_err(ApiError::bad_body),
        None => Ok(()),
    }
}

/// Until then so many milliseconds, of which a part counts as one.
fn left_ms(now_ns: u64, until_ns: u64) -> u64 {
    until_ns.saturating_sub(now_ns).div_ceil(1_000_000)
}

fn ends_ns(now_ns: u64, ttl_ms: Option<u64>) -> u64 {
    ttl_ms.map_or(u64::MAX, |ttl_ms| now_ns.saturating_add(ttl_ms.saturating_mul(1_000_000)))
}

impl Acting {
    /// As it is shown at `now_ns`.
    fn shown(&self, now_ns: u64) -> Toxic {
        let left = |_| left_ms(now_ns, self.ends_ns);
        Toxic { ttl: self.toxic.ttl.map(left), ..self.toxic.clone() }
    }
}

impl House {
    /// The worker of the connection numbered `number`.
    pub fn worker(&self, number: u64) -> &Handle {
        let count = self.workers.len() as u64;
        &self.workers[usize::try_from(number % count).unwrap_or_default()]
    }
}
