//! Containers, by way of the Docker engine (`DOCKER_HOST`, or its socket).
//!
//! Processors and memory are taken beside containers, not inside them: a slim image has nothing to do it with.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerUpdateBody, EndpointIpamConfig, EndpointSettings, HealthStatusEnum,
    NetworkConnectRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptions, ListContainersOptions, RestartContainerOptions,
    StartContainerOptions,
};
use serde::{Deserialize, Serialize};
use squall_record::fault::Effect;

use super::begin::cannot;
use super::error::ActError;
use super::order::Target;
use super::running::Running;
use super::undo::{Undo, Undone, is_plain};

/// How long a container may take to end by itself before a restart kills it, in seconds.
const STOP_S: i32 = 5;
/// How long one of a rolling restart is waited for before the next one's turn, and how often it is looked at.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long one that was told to end may take to, before it is ended: as `docker stop` waits.
const ENDING_LOOKS: u32 = 100;
/// The kernel's period of processor time, in microseconds.
const PERIOD_US: i64 = 100_000;
/// The most names that a container has on a network.
const MAX_ALIASES: usize = 64;

/// What a container is on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// What else it is called there.
    pub aliases: Vec<String>,
    /// Its addresses, when they were chosen.
    pub ipv4: Option<IpAddr>,
    /// Likewise.
    pub ipv6: Option<IpAddr>,
}

impl Endpoint {
    /// Whether it is one that squall writes.
    pub(super) fn check(&self) -> bool {
        self.aliases.len() <= MAX_ALIASES && self.aliases.iter().all(|a| is_plain(a))
    }
}

/// A container as it was found.
struct Found {
    id: String,
    /// What people call it.
    name: String,
    seen: ContainerInspectResponse,
}

impl Found {
    fn runs(&self) -> bool {
        self.seen.state.as_ref().and_then(|s| s.running).unwrap_or(false)
    }

    fn is_paused(&self) -> bool {
        self.seen.state.as_ref().and_then(|s| s.paused).unwrap_or(false)
    }

    /// When it was started.
    fn since(&self) -> Option<&str> {
        self.seen.state.as_ref()?.started_at.as_deref()
    }

    /// The way back from its end.
    fn start(&self) -> Undo {
        Undo::Start { id: self.id.clone(), since: self.since().map(str::to_owned) }
    }

    /// Running, and healthy where it says how it is.
    fn is_ready(&self) -> bool {
        let health = self.seen.state.as_ref().and_then(|s| s.health.as_ref()?.status);
        self.runs() && !matches!(health, Some(HealthStatusEnum::STARTING | HealthStatusEnum::UNHEALTHY))
    }
}

fn engine() -> Result<Docker, ActError> {
    Docker::connect_with_defaults().map_err(said("reach the Docker engine"))
}

fn said(what: impl Into<String>) -> impl FnOnce(Error) -> ActError {
    let what = what.into();
    move |e| match e {
        Error::DockerResponseServerError { message, .. } => ActError::server(what)(message),
        e => ActError::server(what)(e),
    }
}

async fn inspect(docker: &Docker, name: &str) -> Result<Option<Found>, ActError> {
    match docker.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(seen) => {
            let id = seen.id.clone().unwrap_or_default();
            let name = seen.name.as_deref().unwrap_or(name).trim_start_matches('/').to_owned();
            Ok(Some(Found { id, name, seen }))
        }
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(e) => Err(said(format!("look at container {name}"))(e)),
    }
}

/// The container of this name, or the one of the service of this name in the project.
async fn find(docker: &Docker, name: &str, project: Option<&str>) -> Result<Found, ActError> {
    if !is_plain(name) {
        return Err(ActError::refused(format!("{name:?} is no name of a container")));
    }
    if let Some(found) = inspect(docker, name).await? {
        return Ok(found);
    }
    let Some(project) = project else {
        return Err(ActError::refused(format!("there is no container {name}")));
    };
    let labels =
        vec![format!("com.docker.compose.project={project}"), format!("com.docker.compose.service={name}")];
    let filters = Some(HashMap::from([("label".to_owned(), labels)]));
    let wanted = ListContainersOptions { all: true, filters, ..Default::default() };
    let listed = docker.list_containers(Some(wanted)).await.map_err(said("list the containers"))?;
    let ids: Vec<String> = listed.into_iter().filter_map(|c| c.id).collect();
    let missing =
        || ActError::refused(format!("there is no container {name}, and no service {name} in {project}"));
    match &ids[..] {
        [] => Err(missing()),
        [id] => inspect(docker, id).await?.ok_or_else(missing),
        more => {
            let n = more.len();
            Err(ActError::refused(format!("service {name} has {n} containers; name one of them")))
        }
    }
}

/// An address of the container of this name or service, for who runs beside the engine.
///
/// # Errors
/// When there is no such container, or it is on no network.
pub async fn address(name: &str, project: Option<&str>) -> Result<IpAddr, ActError> {
    let found = find(&engine()?, name, project).await?;
    let networks = found.seen.network_settings.and_then(|s| s.networks).unwrap_or_default();
    let mut addresses = networks.into_values().filter_map(|n| n.ip_address?.parse().ok());
    addresses.next().ok_or_else(|| ActError::refused(format!("container {} is on no network", found.name)))
}

/// Begins a fault at one container.
///
/// # Errors
/// When it cannot be begun there.
pub async fn begin(
    effect: &Effect,
    name: &str,
    project: Option<&str>,
    running: &mut Running,
) -> Result<String, ActError> {
    let docker = engine()?;
    let found = find(&docker, name, project).await?;
    let name = &found.name;
    if !found.runs() || found.is_paused() {
        return Err(ActError::refused(format!("container {name} does not run")));
    }
    match effect {
        Effect::Kill => finish(&docker, &found, "SIGKILL", running).await,
        Effect::Terminate => finish(&docker, &found, "SIGTERM", running).await,
        Effect::Pause => {
            running.promise(format!("container {name} goes on"), Undo::Unpause { id: found.id.clone() })?;
            docker.pause_container(&found.id).await.map_err(said(format!("pause container {name}")))?;
            Ok(format!("paused container {name}"))
        }
        Effect::Restart => {
            let done = format!("container {name} is restarted");
            restart_each(docker, vec![found], running)?;
            Ok(done)
        }
        Effect::Disconnect => disconnect(&docker, &found, running).await,
        Effect::CpuLimit { cores } => limit_cpu(&docker, &found, *cores, running).await,
        other => Err(cannot(other, "a container")),
    }
}

async fn finish(
    docker: &Docker,
    found: &Found,
    signal: &str,
    running: &mut Running,
) -> Result<String, ActError> {
    let name = &found.name;
    running.promise(format!("container {name} runs again"), found.start())?;
    kill(docker, found, signal).await?;
    Ok(format!("sent {signal} to container {name}"))
}

async fn kill(docker: &Docker, found: &Found, signal: &str) -> Result<(), ActError> {
    let options = KillContainerOptions { signal: signal.to_owned() };
    let what = format!("send {signal} to container {}", found.name);
    docker.kill_container(&found.id, Some(options)).await.map_err(said(what))
}

/// Ends a container for good: nothing starts it again.
pub(super) async fn kill_for_good(name: &str, project: Option<&str>) -> Result<String, ActError> {
    let docker = engine()?;
    let found = find(&docker, name, project).await?;
    kill(&docker, &found, "SIGKILL").await?;
    Ok(format!("killed container {}", found.name))
}

/// Restarts the containers one after the other: the next one when the last is running, and healthy where it says so.
///
/// # Errors
/// When one of them is no container, or is not there.
pub async fn rolling_restart(targets: &[Target], running: &mut Running) -> Result<String, ActError> {
    let docker = engine()?;
    let mut all = Vec::with_capacity(targets.len());
    for target in targets {
        let Target::Container { name, project } = target else {
            return Err(ActError::refused(
                "a rolling restart is of containers: squall cannot start other processes again",
            ));
        };
        all.push(find(&docker, name, project.as_deref()).await?);
    }
    let names: Vec<&str> = all.iter().map(|found| found.name.as_str()).collect();
    let done = format!("one after the other is restarted: {}", names.join(", "));
    restart_each(docker, all, running)?;
    Ok(done)
}

fn restart_each(docker: Docker, all: Vec<Found>, running: &mut Running) -> Result<(), ActError> {
    for found in &all {
        running.promise(format!("container {} runs", found.name), found.start())?;
    }
    running.task(async move {
        for found in all {
            let options = RestartContainerOptions { t: Some(STOP_S), ..Default::default() };
            // One that cannot be restarted is started at the end of the fault, and what is wrong is told then.
            let _ = docker.restart_container(&found.id, Some(options)).await;
            let ready = async {
                while !inspect(&docker, &found.id).await.ok().flatten().is_some_and(|f| f.is_ready()) {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            let _ = tokio::time::timeout(READY_TIMEOUT, ready).await;
        }
    });
    Ok(())
}

async fn disconnect(docker: &Docker, found: &Found, running: &mut Running) -> Result<String, ActError> {
    let name = &found.name;
    let networks = found.seen.network_settings.as_ref().and_then(|s| s.networks.clone()).unwrap_or_default();
    let mut names: Vec<&String> = networks.keys().collect();
    names.sort();
    if names.is_empty() || names.iter().any(|n| *n == "host" || *n == "none") {
        return Err(ActError::refused(format!("container {name} is on no network that it can be taken off")));
    }
    for network in &names {
        let was = &networks[*network];
        let chosen = was.ipam_config.clone().unwrap_or_default();
        let address = |text: Option<String>| text.and_then(|t| t.parse().ok());
        let aliases = was.aliases.clone().unwrap_or_default();
        let endpoint = Endpoint {
            // The engine adds the short form of the id by itself.
            aliases: aliases.into_iter().filter(|a| !found.id.starts_with(a.as_str())).collect(),
            ipv4: address(chosen.ipv4_address),
            ipv6: address(chosen.ipv6_address),
        };
        let undo = Undo::Connect { id: found.id.clone(), network: (*network).clone(), endpoint };
        running.promise(format!("container {name} is back on network {network}"), undo)?;
        let request = NetworkDisconnectRequest { container: found.id.clone(), force: Some(true) };
        let what = format!("take container {name} off network {network}");
        docker.disconnect_network(network, request).await.map_err(said(what))?;
    }
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    Ok(format!("took container {name} off {}", names.join(", ")))
}

/// A container that has a number of processors keeps being told in those, any other in quotas: the engine refuses the one
/// where the other is set, and takes no number of processors for "without limit".
async fn limit_cpu(
    docker: &Docker,
    found: &Found,
    cores: f64,
    running: &mut Running,
) -> Result<String, ActError> {
    let name = &found.name;
    let had = found.seen.host_config.clone().unwrap_or_default();
    let (nano_cpus, quota_us, period_us) =
        (had.nano_cpus.unwrap_or(0), had.cpu_quota.unwrap_or(0), had.cpu_period.unwrap_or(0));
    let undo = Undo::Cpu { id: found.id.clone(), nano_cpus, quota_us, period_us };
    running.promise(format!("container {name} may use as many processors as before"), undo)?;
    let limited = match nano_cpus {
        0 => {
            let period_us = if period_us > 0 { period_us } else { PERIOD_US };
            let quota_us = ((cores * period_us as f64) as i64).max(1000);
            ContainerUpdateBody {
                cpu_quota: Some(quota_us),
                cpu_period: Some(period_us),
                ..Default::default()
            }
        }
        _ => ContainerUpdateBody {
            nano_cpus: Some(((cores * 1e9) as i64).max(10_000_000)),
            ..Default::default()
        },
    };
    let what = format!("limit the processors of container {name}");
    docker.update_container(&found.id, limited).await.map_err(said(what))?;
    Ok(format!("container {name} may use {cores} processors"))
}

/// Starts it, unless it runs or is no more. One that has run since `since` was told to end: that is waited for, and then made so.
///
/// # Errors
/// When the engine does not answer, or the container does not start.
pub async fn start(id: &str, since: Option<&str>) -> Result<Undone, ActError> {
    let docker = engine()?;
    for _ in 0..ENDING_LOOKS {
        let Some(found) = inspect(&docker, id).await? else { return Ok(Undone::Before) };
        if !found.runs() {
            let what = format!("start container {}", found.name);
            docker.start_container(id, None::<StartContainerOptions>).await.map_err(said(what))?;
            return Ok(Undone::Now);
        }
        if since.is_none() || found.since() != since {
            return Ok(Undone::Before);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // As `docker stop` does with one that does not listen. It may yet, when nobody is there to start it again.
    let what = "end and start a container that does not end by itself";
    let options = RestartContainerOptions { t: Some(0), ..Default::default() };
    docker.restart_container(id, Some(options)).await.map_err(said(what))?;
    Ok(Undone::Now)
}

/// Lets it go on, unless it does or is no more.
///
/// # Errors
/// As [`start`].
pub async fn unpause(id: &str) -> Result<Undone, ActError> {
    let docker = engine()?;
    match inspect(&docker, id).await? {
        Some(found) if found.is_paused() => {
            docker
                .unpause_container(id)
                .await
                .map_err(said(format!("let container {} go on", found.name)))?;
            Ok(Undone::Now)
        }
        _ => Ok(Undone::Before),
    }
}

/// Puts it back on a network, unless it is on it, or one of them is no more.
///
/// # Errors
/// As [`start`].
pub async fn connect(id: &str, network: &str, endpoint: &Endpoint) -> Result<Undone, ActError> {
    let docker = engine()?;
    let Some(found) = inspect(&docker, id).await? else { return Ok(Undone::Before) };
    let on = found.seen.network_settings.and_then(|s| s.networks).unwrap_or_default();
    if on.contains_key(network) {
        return Ok(Undone::Before);
    }
    let chosen = (endpoint.ipv4.is_some() || endpoint.ipv6.is_some()).then(|| EndpointIpamConfig {
        ipv4_address: endpoint.ipv4.map(|a| a.to_string()),
        ipv6_address: endpoint.ipv6.map(|a| a.to_string()),
        ..Default::default()
    });
    let settings = EndpointSettings {
        aliases: Some(endpoint.aliases.clone()).filter(|a| !a.is_empty()),
        ipam_config: chosen,
        ..Default::default()
    };
    let request = NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(settings) };
    match docker.connect_network(network, request).await {
        Ok(()) => Ok(Undone::Now),
        // The network was removed, and nobody is on it any more.
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(Undone::Before),
        Err(e) => Err(said(format!("put container {} back on network {network}", found.name))(e)),
    }
}

/// Gives it back the processors that it had, unless it is no more.
///
/// # Errors
/// As [`start`].
pub async fn restore_cpu(
    id: &str,
    nano_cpus: i64,
    quota_us: i64,
    period_us: i64,
) -> Result<Undone, ActError> {
    let docker = engine()?;
    let Some(found) = inspect(&docker, id).await? else { return Ok(Undone::Before) };
    let has = found.seen.host_config.unwrap_or_default();
    // Without limit is written as -1, and read as either.
    let limit = |quota: Option<i64>| quota.filter(|q| *q > 0);
    if has.nano_cpus.unwrap_or(0) == nano_cpus && limit(has.cpu_quota) == limit(Some(quota_us)) {
        return Ok(Undone::Before);
    }
    let restored = match nano_cpus {
        0 => ContainerUpdateBody {
            cpu_quota: Some(limit(Some(quota_us)).unwrap_or(-1)),
            cpu_period: Some(if period_us > 0 { period_us } else { PERIOD_US }),
            ..Default::default()
        },
        _ => ContainerUpdateBody { nano_cpus: Some(nano_cpus), ..Default::default() },
    };
    let what = format!("give container {} its processors back", found.name);
    docker.update_container(id, restored).await.map_err(said(what))?;
    Ok(Undone::Now)
}
