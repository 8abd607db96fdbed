//! What the target says of itself, each second.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use squall_engine::client::{Client, Url, base_url, client};
use squall_engine::endpoint::Endpoint;
use squall_record::clock::Clock;
use squall_record::event::What;
use squall_record::interval::TargetSample;
use squall_scenarios::plan::Http;
use tokio::runtime::{Builder, Runtime};

use super::stream::Stream;

/// How long the health check may take before the target counts as down.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(900);
/// How often the end of the run is looked for.
const NAP: Duration = Duration::from_millis(20);
/// The longest health answer that is kept.
const MAX_HEALTH_BYTES: usize = 64 * 1024;

/// Asks a target for its health, over a connection of its own.
pub struct Watch {
    runtime: Runtime,
    client: Client,
    url: Url,
}

impl Watch {
    /// A watch over the target called `host` at `endpoint`, which speaks `http`.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(endpoint: &Endpoint, host: &str, http: Http) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("watch the target")?;
        let mut url = base_url(endpoint, host)?;
        let client = client(endpoint, &url, http, HEALTH_TIMEOUT)?;
        url.set_path("/health");
        Ok(Self { runtime, client, url })
    }

    /// Asks the target for its health at every whole second until `done`. A target that has no
    /// `/health` is "up" when it answers at all.
    pub fn keep(&self, clock: Clock, stream: &Stream, done: &AtomicBool) {
        let mut was_up = None;
        let mut next_s = 0.0;
        while !done.load(Ordering::Relaxed) {
            if clock.now_s() < next_s {
                std::thread::sleep(NAP);
                continue;
            }
            let (up, reason, health) = match self.ask() {
                Ok((status, health)) => (true, format!("its health check answers {status}"), health),
                Err(e) => (false, format!("its health check fails: {e:#}"), serde_json::Value::Null),
            };
            let at_s = clock.now_s();
            next_s = at_s.floor() + 1.0;
            if was_up != Some(up) && (was_up.is_some() || !up) {
                // A sink that fails ends the run through the next tick.
                let _ = stream.event(at_s, What::Target { up, reason });
            }
            was_up = Some(up);
            let _ = stream.target(&TargetSample { at_s, up, health });
        }
    }

    /// The status and what was said with it.
    fn ask(&self) -> anyhow::Result<(String, serde_json::Value)> {
        self.runtime.block_on(async {
            let asked = async {
                let mut answer = self.client.get(self.url.clone()).send().await?;
                let mut body = Vec::new();
                while body.len() < MAX_HEALTH_BYTES
                    && let Some(more) = answer.chunk().await?
                {
                    body.extend_from_slice(&more[..more.len().min(MAX_HEALTH_BYTES - body.len())]);
                }
                anyhow::Ok((answer.status().to_string(), body))
            };
            let (status, body) = tokio::time::timeout(HEALTH_TIMEOUT, asked)
                .await
                .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))?;
            Ok((status, serde_json::from_slice(&body).unwrap_or(serde_json::Value::Null)))
        })
    }
}
