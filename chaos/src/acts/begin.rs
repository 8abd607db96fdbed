//! Which family does what.

use std::path::Path;

use rustix::process::Signal;
use squall_record::fault::Effect;

use super::error::ActError;
use super::order::{Begin, Target};
use super::running::Running;
use super::who::ProcessId;
use super::{burn, container, disk, nats, postgres, process, redis, throttle};

/// Begins a fault at each of its places and says what was done. What was begun when it fails is for `running` to end.
///
/// # Errors
/// When it cannot be begun everywhere.
pub async fn begin(order: &Begin, running: &mut Running) -> Result<String, ActError> {
    order.check()?;
    if let Effect::Failover { .. } = order.fault.effect {
        return postgres::failover(&order.targets).await;
    }
    if order.fault.effect == Effect::RollingRestart {
        return container::rolling_restart(&order.targets, running).await;
    }
    // Load beside several places of one machine is not as many loads.
    if let Some(done) = beside(&order.fault.effect, running)? {
        return Ok(done);
    }
    let mut done = Vec::with_capacity(order.targets.len());
    for target in &order.targets {
        done.push(match target {
            Target::Process { process, data, comes_back } => {
                on_process(order, process, data.as_deref(), *comes_back, running)?
            }
            Target::Container { name, project } => {
                container::begin(&order.fault.effect, name, project.as_deref(), running).await?
            }
            Target::Postgres { url_env } => postgres::begin(&order.fault.effect, url_env, running).await?,
            Target::Redis { url_env } => redis::begin(order, url_env, running).await?,
            Target::Nats { url_env } => nats::begin(&order.fault.effect, url_env, running).await?,
        });
    }
    Ok(done.join("; "))
}

/// What acts beside processes and containers alike: on the machine that they run on.
fn beside(effect: &Effect, running: &mut Running) -> Result<Option<String>, ActError> {
    match *effect {
        Effect::Cpu { cores } => burn::cpu(cores, running).map(Some),
        Effect::Memory { mib, over_ms } => burn::memory(mib, over_ms, running).map(Some),
        _ => Ok(None),
    }
}

fn on_process(
    order: &Begin,
    target: &ProcessId,
    data: Option<&Path>,
    comes_back: bool,
    running: &mut Running,
) -> Result<String, ActError> {
    let folder = || {
        data.ok_or_else(|| {
            ActError::refused(format!(
                "where process {} keeps its data is not known: only that of \"target\" is",
                target.pid
            ))
        })
    };
    match &order.fault.effect {
        Effect::Kill => process::finish(target, Signal::KILL),
        Effect::Terminate => process::finish(target, Signal::TERM),
        Effect::Restart if comes_back => process::finish(target, Signal::TERM),
        Effect::Restart => Err(ActError::refused(format!(
            "squall has not started process {} and cannot start it again; terminate it, or name a container",
            target.pid
        ))),
        Effect::Pause => process::pause(target, running),
        Effect::CpuLimit { cores } => throttle::limit(target, *cores, running),
        Effect::Descriptors { left } => process::limit_descriptors(target, *left, running),
        Effect::DiskFull { left_mib } => disk::fill(folder()?, *left_mib, running),
        Effect::SlowDisk { writers } => disk::slow(folder()?, *writers, running),
        other => Err(cannot(other, "a process")),
    }
}

/// What is said of something that cannot be done there.
pub(super) fn cannot(effect: &Effect, place: &str) -> ActError {
    ActError::refused(format!("{} is not something that can be done to {place}", effect.name()))
}
