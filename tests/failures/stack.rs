//! The stack of docker compose, for as long as a test needs it, and what can be done to its parts.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use squall_record::clock::Clock;

use crate::support::wait_for;

/// What compose calls this stack: not the one of `squall run`, and not a person's own.
const PROJECT: &str = "squall-failures";
/// What to do when there is no engine.
const INSTALL: &str =
    "this needs a Docker engine and docker compose: apt-get install docker.io docker-compose";
/// The processes behind the load balancer.
pub const PROCESSES: [&str; 2] = ["payments-1", "payments-2"];
/// Asks a process from inside its container, where it has no HTTP client but a shell that speaks TCP.
const ASK_HEALTH: &str =
    "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3; timeout 2 cat <&3";
/// How long one question may take. Longer than the load balancer waits for a server.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a recount, which reads everything, may take.
const RECOUNT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the images and the containers together may take to come up.
const UP_TIMEOUT_S: f64 = 300.0;

/// A running stack. Taken down, with its volumes, when dropped.
pub struct Stack {
    tool: &'static [&'static str],
    env: Vec<(String, String)>,
    /// Where its load balancer serves.
    pub base: String,
    /// The bearer token that it takes.
    pub token: String,
    agent: ureq::Agent,
}

impl Stack {
    /// Starts it with the service in `binary`, a path below the project's folder, and waits until it is whole.
    pub fn start(binary: &str) -> Self {
        let tools: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
        let works = |tool: &&[&str]| {
            let mut c = Command::new(tool[0]);
            c.args(&tool[1..]).arg("version").stdout(Stdio::null()).stderr(Stdio::null());
            c.status().is_ok_and(|s| s.success())
        };
        let tool = tools.into_iter().find(works).expect(INSTALL);
        assert_eq!(containers(&[]), "", "a stack called {PROJECT} is up already");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let drawn = Command::new(root().join("deploy/env.sh")).output().unwrap();
        let mut env: Vec<(String, String)> = String::from_utf8(drawn.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let token = env.iter().find(|(name, _)| name == "PAYMENTS_TOKEN").unwrap().1.clone();
        for (name, value) in [
            ("PAYMENTS_PORT", port.to_string()),
            ("PAYMENTS_BUILD", "prebuilt".to_owned()),
            ("PAYMENTS_BINARY", binary.to_owned()),
        ] {
            env.push((name.to_owned(), value));
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ASK_TIMEOUT))
            .proxy(None)
            .build()
            .into();
        // From here on whatever goes wrong takes it down.
        let stack = Self { tool, env, base: format!("http://127.0.0.1:{port}"), token, agent };
        let up = stack.compose(&["up", "--build", "--detach"]);
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        let clock = Clock::start();
        while !stack.is_whole() {
            assert!(clock.now_s() < UP_TIMEOUT_S, "the stack is not whole: {:?}", stack.ails());
            std::thread::sleep(Duration::from_millis(200));
        }
        stack
    }

    fn compose(&self, args: &[&str]) -> std::process::Output {
        let mut c = Command::new(self.tool[0]);
        c.args(&self.tool[1..]).args(["-p", PROJECT]).args(args).current_dir(root());
        c.envs(self.env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null()).output().expect(INSTALL)
    }

    /// `docker ACTION` on the container of `service`.
    pub fn act(&self, action: &[&str], service: &str) {
        let did = docker(action, &[&id(service)]);
        assert!(did.is_some(), "docker {action:?} {service}");
    }

    /// A command in the container of `service`.
    pub fn exec(&self, service: &str, command: &[&str]) {
        assert!(docker(&["exec", &id(service)], command).is_some(), "{command:?} in {service}");
    }

    /// Since when the process of `service` runs.
    pub fn started_at(&self, service: &str) -> String {
        docker(&["inspect", "-f", "{{.State.StartedAt}}"], &[&id(service)]).unwrap()
    }

    /// Status and body of a question to the load balancer.
    pub fn get(&self, path: &str) -> (u16, Value) {
        let asked = self.agent.get(format!("{}{path}", self.base));
        let asked = asked.header("Authorization", format!("Bearer {}", self.token));
        let mut answer = asked.call().unwrap_or_else(|e| panic!("{path}: {e}"));
        let body = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Status of a payment with this key and body.
    pub fn pay(&self, key: &str, body: &str) -> u16 {
        let asked = self.agent.post(format!("{}/v1/payments", self.base));
        let asked = asked
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", key);
        asked.send(body).unwrap_or_else(|e| panic!("{key}: {e}")).status().as_u16()
    }

    /// What a recount finds.
    pub fn audit(&self) -> Value {
        let asked = self.agent.get(format!("{}/v1/audit?recount=true", self.base));
        let asked = asked.header("Authorization", format!("Bearer {}", self.token));
        let asked = asked.config().timeout_global(Some(RECOUNT_TIMEOUT)).build();
        asked.call().unwrap().body_mut().read_json().unwrap()
    }

    /// What each process says that is not as it should be; empty when all is.
    pub fn ails(&self) -> Vec<String> {
        PROCESSES.iter().flat_map(|process| self.ails_at(process)).collect()
    }

    /// Whether nothing is.
    pub fn is_whole(&self) -> bool {
        self.ails().is_empty() && self.ready()
    }

    /// Whether the load balancer has somebody who may take traffic.
    pub fn ready(&self) -> bool {
        self.agent.get(format!("{}/readyz", self.base)).call().is_ok_and(|a| a.status() == 200)
    }

    fn ails_at(&self, process: &str) -> Vec<String> {
        let said = docker(&["exec", &id(process), "bash", "-c"], &[ASK_HEALTH]).unwrap_or_default();
        let body = said.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let Ok(health) = serde_json::from_str::<Value>(body) else {
            return vec![format!("{process} does not answer")];
        };
        let checks = [
            ("status", &health["status"], Value::from("ok")),
            ("fraud breaker", &health["dependencies"]["fraud"]["breaker"], "closed".into()),
            ("network breaker", &health["dependencies"]["network"]["breaker"], "closed".into()),
            ("replica used", &health["replicas"][0]["used"], true.into()),
            ("cache open", &health["cache"]["open"], true.into()),
            ("queue connected", &health["outbox"]["connected"], true.into()),
        ];
        checks
            .into_iter()
            .filter(|(_, is, should)| *is != should)
            .map(|(what, is, _)| format!("{process}: {what} is {is}"))
            .collect()
    }

    /// Waits until no notice of a payment is left in the outbox.
    pub fn wait_until_all_is_told(&self) {
        wait_for("the outbox is empty", || (self.get("/health").1["outbox"]["rows"] == 0).then_some(()));
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let down = self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "5"]);
        if !down.status.success() {
            eprintln!("the stack could not be taken down: {}", String::from_utf8_lossy(&down.stderr));
        }
    }
}

/// The project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What `docker FIRST LAST` says; nothing when it fails.
fn docker(first: &[&str], last: &[&str]) -> Option<String> {
    let o = Command::new("docker").args(first).args(last).stdin(Stdio::null()).output().expect(INSTALL);
    o.status.success().then(|| String::from_utf8(o.stdout).unwrap().trim().to_owned())
}

/// The ids of the stack's containers with further filters, running or not.
fn containers(filters: &[&str]) -> String {
    let project = format!("label=com.docker.compose.project={PROJECT}");
    docker(&["ps", "--all", "--quiet", "--filter", &project], filters).expect(INSTALL)
}

fn id(service: &str) -> String {
    let service = format!("label=com.docker.compose.service={service}");
    containers(&["--filter", &service])
}
