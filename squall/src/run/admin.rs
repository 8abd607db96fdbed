//! Arming and ending faults over the service's admin port.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use squall_chaos::lease::{ArmRequest, FaultStatus};
use ureq::Agent;

/// How long the admin port may take to answer. It shares the target's CPU, which is loaded.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest list of hits: a million of them.
const MAX_HITS_BYTES: u64 = 64 << 20;
/// The longest error body that is repeated in a message.
const MAX_ERROR_BYTES: u64 = 4096;

/// An HTTP client that talks to the address it is given and to nobody else: no proxy from the
/// environment, no redirects, or a target could send squall and its tokens off this machine.
pub(crate) fn agent(timeout: Duration) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build()
        .into()
}

/// A client of the admin port. It holds a token, and so has no `Debug`.
#[derive(Clone)]
pub struct Admin {
    agent: Agent,
    base: String,
    authorization: String,
}

impl Admin {
    /// A client of the admin port at `addr`.
    #[must_use]
    pub fn new(addr: SocketAddr, token: &str) -> Self {
        Self {
            agent: agent(ADMIN_TIMEOUT),
            base: format!("http://{addr}"),
            authorization: format!("Bearer {token}"),
        }
    }

    /// Arms a fault.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    pub fn arm(&self, request: &ArmRequest) -> anyhow::Result<FaultStatus> {
        let answer = self
            .agent
            .post(format!("{}/admin/faults", self.base))
            .header("Authorization", &self.authorization)
            .send_json(request)
            .context("reach the admin port")?;
        read(answer)
    }

    /// Ends a fault and says how many requests it hit.
    ///
    /// # Errors
    /// When the service does not answer or never had the fault.
    pub fn end(&self, name: &str) -> anyhow::Result<FaultStatus> {
        let answer = self
            .agent
            .delete(format!("{}/admin/faults/{}", self.base, percent_encode(name)))
            .header("Authorization", &self.authorization)
            .call()
            .context("reach the admin port")?;
        read(answer)
    }
}

impl Admin {
    /// Which requests a fault has hit, as the service says it.
    ///
    /// # Errors
    /// When the service does not answer or never had the fault.
    pub fn hits(&self, name: &str) -> anyhow::Result<String> {
        let url = format!("{}/admin/faults/{}/hits", self.base, percent_encode(name));
        let answer = self.agent.get(url).header("Authorization", &self.authorization).call();
        let mut answer = answer.context("reach the admin port")?;
        let status = answer.status();
        if !status.is_success() {
            bail!("the admin port answered {status}");
        }
        answer.body_mut().with_config().limit(MAX_HITS_BYTES).read_to_string().context("read the hits")
    }
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> anyhow::Result<FaultStatus> {
    let status = answer.status();
    if !status.is_success() {
        let body =
            answer.body_mut().with_config().limit(MAX_ERROR_BYTES).read_to_string().unwrap_or_default();
        bail!("the admin port answered {status}: {}", body.trim());
    }
    answer.body_mut().read_json().context("read the admin port's answer")
}

/// `name` as one segment of a path (RFC 3986: everything but unreserved characters is encoded).
fn percent_encode(name: &str) -> String {
    name.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_fault_name_stays_one_path_segment() {
        assert_eq!(super::percent_encode("slow store/é"), "slow%20store%2F%C3%A9");
    }
}
