//! What the target says of itself, each second.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use squall_record::clock::Clock;
use squall_record::event::What;
use squall_record::interval::TargetSample;
use ureq::Agent;

use super::admin::agent;
use super::stream::Stream;

/// How long the health check may take before the target counts as down.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(900);
/// How often the end of the run is looked for.
const NAP: Duration = Duration::from_millis(20);
/// The longest health answer that is kept.
const MAX_HEALTH_BYTES: u64 = 64 * 1024;

/// Asks the target at `addr` for its health at every whole second until `done`. A target that has
/// no `/health` is "up" when it answers at all.
pub fn watch(addr: SocketAddr, clock: Clock, stream: &Stream, done: &AtomicBool) {
    let agent = agent(HEALTH_TIMEOUT);
    let url = format!("http://{addr}/health");
    let mut was_up = None;
    let mut next_s = 0.0;
    while !done.load(Ordering::Relaxed) {
        if clock.now_s() < next_s {
            std::thread::sleep(NAP);
            continue;
        }
        let (up, reason, health) = ask(&agent, &url);
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

fn ask(agent: &Agent, url: &str) -> (bool, String, serde_json::Value) {
    match agent.get(url).call() {
        Ok(mut answer) => {
            let status = answer.status();
            let body =
                answer.body_mut().with_config().limit(MAX_HEALTH_BYTES).read_to_vec().unwrap_or_default();
            let health = serde_json::from_slice(&body).unwrap_or(serde_json::Value::Null);
            (true, format!("its health check answers {status}"), health)
        }
        Err(e) => (false, format!("its health check fails: {e}"), serde_json::Value::Null),
    }
}
