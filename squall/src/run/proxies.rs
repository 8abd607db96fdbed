//! The proxies of a run: `squall chaos proxy` as a child, and faults on them over its API.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use squall_chaos::lease::ArmRequest;
use squall_chaos::proxy::socket;
use squall_chaos::proxy::toxic::Typed;
use squall_record::fault::{Effect, Place};
use squall_scenarios::plan::{FaultPlan, Plan, ProxyPlan};
use ureq::Agent;

use super::admin::agent;
use super::holders::Holder;

/// How long the child may take to listen.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long its API may take to answer.
const API_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer: the requests that a toxic has met.
const MAX_ANSWER_BYTES: u64 = 8 << 20;

/// What the child says when it is ready.
#[derive(Debug, Deserialize)]
struct Announcement {
    api: SocketAddr,
}

/// The proxies of a run; they end with it, and when squall is killed.
pub struct Proxies {
    child: Child,
    /// Closed, it tells the child to end.
    _input: Option<ChildStdin>,
    agent: Agent,
    base: String,
    /// Where each listens.
    listens: BTreeMap<String, String>,
    /// Where the load goes instead of the target, when a proxy is in front of that.
    pub front: Option<SocketAddr>,
    /// Where each fault acts.
    held: Mutex<BTreeMap<String, Held>>,
}

/// A fault that acts on a proxy.
#[derive(Debug, Clone)]
struct Held {
    proxy: String,
    /// None for one that is down.
    toxic: Option<String>,
    /// Whether it counts whom it meets: toxics on bytes do not.
    counts: bool,
}

impl Proxies {
    /// Starts the proxies of `plan`; those without an upstream are in front of `target`. None when it has none.
    ///
    /// # Errors
    /// When they cannot be started, or cannot listen where they are to.
    pub fn start(plan: &Plan, target: Option<SocketAddr>) -> anyhow::Result<Option<Self>> {
        let wanted = &plan.places.proxies;
        if wanted.is_empty() {
            return Ok(None);
        }
        let mut child = Command::new(std::env::current_exe().context("find squall's own file")?)
            .args(["chaos", "proxy", "--port", "0", "--announce", "--exit-on-stdin-eof"])
            .args(["--seed", &plan.seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start the proxies")?;
        let input = child.stdin.take();
        let announced = announcement(&mut child);
        let api = announced.as_ref().map_or(SocketAddr::from(([127, 0, 0, 1], 0)), |a| a.api);
        let mut proxies = Self {
            child,
            _input: input,
            agent: agent(API_TIMEOUT),
            base: format!("http://{api}"),
            listens: BTreeMap::new(),
            front: None,
            held: Mutex::default(),
        };
        announced?;
        for one in wanted {
            proxies.make(one, target).with_context(|| format!("make proxy {}", one.name))?;
        }
        Ok(Some(proxies))
    }

    fn make(&mut self, one: &ProxyPlan, target: Option<SocketAddr>) -> anyhow::Result<()> {
        let upstream = match (&one.upstream, target) {
            (Some(upstream), _) => upstream.clone(),
            (None, Some(target)) => target.to_string(),
            (None, None) => bail!(
                "it is to be in front of the target, which is not one of HTTP over TCP without TLS; name its upstream"
            ),
        };
        let protocol = if one.http { "http" } else { "tcp" };
        let asked = json!({
            "name": one.name, "listen": one.listen.as_deref().unwrap_or("127.0.0.1:0"), "upstream": upstream, "protocol": protocol,
        });
        let made = self.call("POST", "/proxies", Some(&asked))?;
        let listen = made["listen"].as_str().context("read where it listens")?.to_owned();
        if one.upstream.is_none() && self.front.is_none() {
            let listens = listen.parse().with_context(|| format!("send the load to {listen}"))?;
            self.front = Some(listens);
        }
        self.listens.insert(one.name.clone(), listen);
        Ok(())
    }

    /// Where each listens, for people.
    #[must_use]
    pub fn shown(&self) -> Vec<String> {
        self.listens.iter().map(|(name, listen)| format!("{name} on {listen}")).collect()
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(body).context("ask the proxies")?;
        let mut answer = self.agent.run(request).context("reach the proxies")?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let text = text.context("read what the proxies answer")?;
        ensure!(status.is_success(), "the proxies answered {status}: {}", text.trim());
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Held>> {
        // One entry at a time: nothing is half done after a panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder for Proxies {
    fn arm(&self, request: &ArmRequest) -> anyhow::Result<Option<u64>> {
        let fault = &request.fault;
        let Place::Proxy(proxy) = &fault.place else { bail!("{} is no proxy", fault.place) };
        if let Some(Held { proxy, toxic: Some(toxic), .. }) = self.held().get(&fault.name).cloned() {
            let renewed = json!({ "ttl": request.ttl_ms });
            if self.call("PATCH", &format!("/proxies/{proxy}/toxics/{toxic}"), Some(&renewed)).is_ok() {
                return Ok(None);
            }
            // Its lease has run out while squall stood still: it is made again.
        }
        let (toxic, counts) = match &fault.effect {
            Effect::Toxic { toxic } => {
                let mut asked = toxic.clone();
                let name = toxic_name(&fault.name);
                let fields = asked.as_object_mut().context("read the toxic, which is no table")?;
                fields.insert("name".to_owned(), Value::from(name.clone()));
                fields.insert("ttl".to_owned(), Value::from(request.ttl_ms));
                let typed: Typed = serde_json::from_value(asked.clone()).context("read the toxic")?;
                let kind = typed.create().map_err(|e| anyhow::anyhow!("{e}"))?.kind;
                self.call("POST", &format!("/proxies/{proxy}/toxics"), Some(&asked))?;
                (Some(name), kind.is_http() || kind.is_at_the_door())
            }
            Effect::Down => {
                let down = json!({ "enabled": false, "ttl": request.ttl_ms });
                self.call("PATCH", &format!("/proxies/{proxy}"), Some(&down))?;
                (None, false)
            }
            other => bail!("{} is nothing that can be done on a proxy", other.name()),
        };
        self.held().insert(fault.name.clone(), Held { proxy: proxy.clone(), toxic, counts });
        Ok(None)
    }

    fn end(&self, name: &str) -> anyhow::Result<Option<u64>> {
        let Some(Held { proxy, toxic, counts }) = self.held().get(name).cloned() else {
            bail!("no fault {name} is on a proxy")
        };
        let Some(toxic) = toxic else {
            self.call("PATCH", &format!("/proxies/{proxy}"), Some(&json!({ "enabled": true })))?;
            self.held().remove(name);
            return Ok(None);
        };
        let path = format!("/proxies/{proxy}/toxics/{toxic}");
        let met = self.call("GET", &format!("{path}/hits"), None).ok().filter(|_| counts);
        let met = met.and_then(|hits| hits["met"].as_u64());
        self.call("DELETE", &path, None)?;
        self.held().remove(name);
        Ok(met)
    }

    fn hits(&self, name: &str) -> anyhow::Result<Option<String>> {
        let held = self.held().get(name).cloned();
        let Some(Held { proxy, toxic: Some(toxic), counts: true }) = held else { return Ok(None) };
        let hits = self.call("GET", &format!("/proxies/{proxy}/toxics/{toxic}/hits"), None)?;
        Ok(Some(hits.to_string()))
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a fault's toxic is called: its name, with `_` and two digits for each byte that no path of the API could hold.
fn toxic_name(fault: &str) -> String {
    let kept = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    fault.bytes().map(|b| if kept(b) { char::from(b).to_string() } else { format!("_{b:02x}") }).collect()
}

/// Whether the proxies of `plan` and the toxics on them are what `squall chaos proxy` takes.
///
/// # Errors
/// What is wrong with the first that is not.
pub fn check(plan: &Plan) -> anyhow::Result<()> {
    let mut listens = BTreeMap::new();
    for one in &plan.places.proxies {
        let what = || format!("make sense of proxy {}", one.name);
        for typed in one.listen.iter().chain(&one.upstream) {
            socket::check(typed).map_err(anyhow::Error::msg).with_context(what)?;
        }
        let fixed = one.listen.as_deref().filter(|l| !l.ends_with(":0"));
        if let Some(other) = fixed.and_then(|listen| listens.insert(listen, &one.name)) {
            bail!("make sense of proxy {}: proxy {other} listens there as well", one.name);
        }
    }
    for FaultPlan { fault, .. } in &plan.faults {
        let (Effect::Toxic { toxic }, Place::Proxy(proxy)) = (&fault.effect, &fault.place) else { continue };
        let what = || format!("make sense of the toxic of fault {}", fault.name);
        let fields = toxic.as_object().context("it is no table").with_context(what)?;
        if let Some(own) = ["name", "ttl"].into_iter().find(|own| fields.contains_key(*own)) {
            return Err(anyhow::anyhow!("{own} is the fault's, remove it")).with_context(what);
        }
        let typed: Typed = serde_json::from_value(toxic.clone()).with_context(what)?;
        let made = typed.create().map_err(|e| anyhow::anyhow!("{e}")).with_context(what)?;
        let understands = plan.places.proxies.iter().any(|p| p.name == *proxy && p.http);
        if made.kind.is_http() && !understands {
            return Err(anyhow::anyhow!("proxy {proxy} does not understand HTTP; give it http = true"))
                .with_context(what);
        }
    }
    Ok(())
}

/// Waits for the line that says where the API listens.
fn announcement(child: &mut Child) -> anyhow::Result<Announcement> {
    let stdout = child.stdout.take().context("read what the proxies print")?;
    let (tx, rx) = channel();
    // The thread ends with the child's standard output.
    std::thread::Builder::new().name("proxy-stdout".into()).spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = tx.send(line);
        }
    })?;
    let line =
        rx.recv_timeout(READY_TIMEOUT).context("wait for the proxies, which have ended or do not listen")?;
    serde_json::from_str(&line).with_context(|| format!("understand their announcement `{line}`"))
}

#[cfg(test)]
mod tests {
    use squall_record::fault::FaultSpec;

    use super::*;
    use crate::live::sample;

    /// What is wrong with a run of one proxy and a toxic on it.
    fn wrong(listen: Option<&str>, http: bool, toxic: Value) -> Option<String> {
        let mut plan = sample::quickstart();
        let upstream = Some("127.0.0.1:1".to_owned());
        let listen = listen.map(str::to_owned);
        plan.places.proxies = vec![ProxyPlan { name: "front".to_owned(), listen, upstream, http }];
        let place = Place::Proxy("front".to_owned());
        let fault =
            FaultSpec { name: "slow".to_owned(), place, effect: Effect::Toxic { toxic }, fraction: 1.0 };
        plan.faults = vec![FaultPlan { fault, start_s: 1.0, end_s: 2.0, when: None }];
        check(&plan).err().map(|e| format!("{e:#}"))
    }

    #[test]
    fn what_a_proxy_would_refuse_is_told_before_the_run() {
        let latency = json!({"type": "latency", "attributes": {"latency": 5}});
        assert_eq!(wrong(None, false, latency.clone()), None);
        for (listen, http, toxic, told) in [
            (None, true, json!({"type": "nope"}), "toxic type"),
            (None, true, json!({"type": "latency", "attributes": {"latency": -5}}), "latency"),
            (None, true, json!({"type": "latency", "toxicity": 2}), "toxicity"),
            (None, true, json!({"type": "latency", "ttl": 5}), "ttl is the fault's"),
            (None, false, json!({"type": "http_abort"}), "does not understand HTTP"),
            (Some("x"), false, latency, "address x"),
        ] {
            let wrong = wrong(listen, http, toxic.clone()).unwrap_or_else(|| panic!("{toxic} is fine"));
            assert!(wrong.contains(told), "{toxic}: {wrong}");
        }
    }

    #[test]
    fn no_two_faults_have_toxics_of_one_name() {
        assert_eq!(toxic_name("api-errors"), "api-errors");
        assert_ne!(toxic_name("a b"), toxic_name("a_b"));
        assert_ne!(toxic_name("a_20b"), toxic_name("a b"));
    }
}
