//! What can be known to fail before the first request.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use squall_engine::endpoint::{Endpoint, Unreachable};
use squall_engine::tls::Tls;
use squall_scenarios::host::TargetUrl;
use squall_scenarios::plan::{Http, JourneyPlan, Plan, TargetPlan};

/// How long the target may take to accept a connection before the run begins.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// What a run folder takes for each second and request class: three histograms and a line.
const BYTES_PER_INTERVAL: u64 = 8 * 1024;
/// What a run folder takes for each attempt at a payment.
const BYTES_PER_OP: u64 = squall_record::ops::RECORD_LEN as u64;
/// What a journey's second takes for each step: a histogram and its counts.
const BYTES_PER_STEP: u64 = 4 * 1024;
/// What it takes for each payment attempted.
const BYTES_PER_JOURNEY_OP: u64 = 320;
/// More than one thread of users can do in a second.
const MOST_STEPS_RPS: f64 = 20_000.0;
/// A user that does not pause is taken to need this long for a step.
const LEAST_STEP_MS: f64 = 5.0;
/// What the reports take, and a margin.
const BYTES_FOR_REPORTS: u64 = 16 << 20;

/// What the reference service's ledger takes for each payment.
const BYTES_PER_PAYMENT: u64 = 256;
/// What it takes however few there are: its journals.
const BYTES_OF_LEDGER: u64 = 256 << 20;

/// Refuses a run whose record, or whose reference service's ledger, would not fit on the disk
/// that holds the run folder `path`; a ledger in `data` is judged where that lies.
///
/// # Errors
/// When there is less room than is needed.
pub fn disk(plan: &Plan, path: &Path, data: Option<&Path>) -> anyhow::Result<()> {
    let record = (plan.duration_s() as u64 + 1) * plan.requests.len() as u64 * BYTES_PER_INTERVAL
        + plan.estimated_arrivals() as u64 * u64::from(plan.max_attempts()) * BYTES_PER_OP
        + plan.journeys.iter().map(journey_bytes).sum::<u64>()
        + BYTES_FOR_REPORTS;
    let ledger = match plan.target {
        TargetPlan::Reference(_) => plan.estimated_arrivals() as u64 * BYTES_PER_PAYMENT + BYTES_OF_LEDGER,
        // What a stack keeps lies where Docker keeps it.
        TargetPlan::Compose { .. } | TargetPlan::Url { .. } => 0,
    };
    match data {
        None => room(path, record + ledger, "--out"),
        Some(data) => room(path, record, "--out").and_then(|()| room(data, ledger, "--data")),
    }
}

/// What a journey's record takes: its seconds, and a line for each payment if every step were one.
fn journey_bytes(j: &JourneyPlan) -> u64 {
    let seconds = (j.end_s - j.start_s).ceil() as u64 + 1;
    let pause_ms = ((j.think_min_ms + j.think_max_ms) / 2.0).max(LEAST_STEP_MS);
    let requests = (f64::from(j.users) * 1e3 / pause_ms).min(MOST_STEPS_RPS) * seconds as f64;
    seconds * j.steps.len() as u64 * BYTES_PER_STEP + requests as u64 * BYTES_PER_JOURNEY_OP
}

/// Refuses a ledger that holds payments already: idempotency keys are a function of seed and
/// index, so a second run of the same scenario on it would measure replays of the first.
///
/// # Errors
/// When `data` is there and not an empty folder.
pub fn fresh_ledger(data: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(data).map(|mut entries| entries.next().is_some()) {
        Ok(true) => bail!(
            "keep the service's data in {}: it is not empty, and a run on a ledger that knows its keys \
             measures replays; choose another folder, or serve the old one with `squall target --data`",
            data.display()
        ),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
            Err(e).with_context(|| format!("keep the service's data in {}", data.display()))
        }
        _ => Ok(()),
    }
}

/// Refuses when there are less than `needed` bytes free on the disk that holds `path`, or will.
fn room(path: &Path, needed: u64, option: &str) -> anyhow::Result<()> {
    let path = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("."));
    let stat =
        rustix::fs::statvfs(path).with_context(|| format!("ask for the free space of {}", path.display()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        bail!(
            "keep the run: about {} MiB are needed and {} has {} MiB free; make room or choose another folder with {option}",
            needed >> 20,
            path.display(),
            free >> 20
        );
    }
    Ok(())
}

/// The address behind `host:port`. The scenario allowed the name; a name that is not listed in
/// `target.allow` must also lead to this machine and nowhere else.
///
/// # Errors
/// When the name does not resolve, or leads elsewhere.
pub fn address(host_port: &str, allow: &[String]) -> anyhow::Result<SocketAddr> {
    let addr = host_port
        .to_socket_addrs()
        .with_context(|| format!("resolve {host_port}"))?
        .next()
        .with_context(|| format!("resolve {host_port}: it has no address"))?;
    let host = host_port.rsplit_once(':').map_or(host_port, |(h, _)| h).trim_matches(['[', ']']);
    if !addr.ip().to_canonical().is_loopback() && !allow.iter().any(|a| a == host) {
        bail!(
            "load {host}: it leads to {}, which is not this machine; list it in target.allow if it may be loaded",
            addr.ip()
        );
    }
    Ok(addr)
}

/// Where the target called `url` listens, and what it calls itself.
///
/// # Errors
/// When its name leads where it must not, or nobody could be trusted there.
pub fn endpoint(
    url: &TargetUrl,
    allow: &[String],
    ca_file: Option<&Path>,
    http: Http,
) -> anyhow::Result<(Endpoint, String)> {
    match url {
        TargetUrl::Unix(path) => Ok((Endpoint::Unix(path.into()), "localhost".to_owned())),
        TargetUrl::Http(at) => {
            let authority = at.authority();
            let addr = address(&authority, allow)?;
            let endpoint = if at.tls {
                Endpoint::Tls(addr, Tls::new(&at.host.to_string(), ca_file, http)?)
            } else {
                Endpoint::Tcp(addr)
            };
            Ok((endpoint, authority))
        }
    }
}

/// Whether the target accepts a connection now; if not, why.
#[must_use]
pub fn unreachable(endpoint: &Endpoint) -> Option<String> {
    endpoint.try_connect(CONNECT_TIMEOUT).err().map(|e| e.to_string())
}

/// Refuses a target that accepts connections and with which TLS fails on them: that is nothing
/// that time mends, and every request would fail of it.
///
/// # Errors
/// What is wrong, and the way out.
pub fn trust(endpoint: &Endpoint) -> anyhow::Result<()> {
    match endpoint {
        Endpoint::Tls(..) => match endpoint.try_connect(CONNECT_TIMEOUT) {
            Err(Unreachable::Tls(e)) => Err(e.into()),
            Ok(()) | Err(Unreachable::Connect(_)) => Ok(()),
        },
        Endpoint::Tcp(_) | Endpoint::Unix(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loaded_unless_the_scenario_allows_another() {
        assert!(address("127.0.0.1:80", &[]).is_ok());
        assert!(address("[::1]:80", &[]).is_ok());
        assert!(address("[::ffff:127.0.0.1]:80", &[]).is_ok());
        // 192.0.2.0/24 is reserved for documentation; resolving a literal sends nothing.
        assert!(address("192.0.2.1:80", &[]).unwrap_err().to_string().contains("target.allow"));
        assert!(address("192.0.2.1:80", &["192.0.2.1".into()]).is_ok());
    }
}
