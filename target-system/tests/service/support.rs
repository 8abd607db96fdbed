//! A service as a child process, and a client small enough to be sure of.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

use crate::keeping;

pub const TOKEN: &str = "service-token-for-tests";
pub const ADMIN_TOKEN: &str = "admin-token-for-tests";

/// Long enough for a loaded machine; only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running service. Killed when dropped.
pub struct Service {
    child: Child,
    pub listening: SocketAddr,
    pub admin: SocketAddr,
    folder: Option<tempfile::TempDir>,
    pub kept: Option<keeping::Kept>,
}

/// The binary with test tokens, quiet logs, free ports and ten accounts.
pub fn command(data: &Path) -> Command {
    command_with(data, "127.0.0.1:0", 10)
}

pub fn command_with(data: &Path, admin: &str, accounts: u32) -> Command {
    let mut c = bare(admin, accounts);
    c.arg("--data").arg(data);
    c
}

/// The binary, which is not told where to keep payments.
fn bare(admin: &str, accounts: u32) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_payments"));
    c.args(["serve", "--announce", "--listen", "127.0.0.1:0", "--admin", admin])
        .args(["--accounts", &accounts.to_string(), "--opening-balance", "1000000"])
        .env_clear()
        .env("PAYMENTS_TOKEN", TOKEN)
        .env("PAYMENTS_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    c
}

/// `plain`, started by a shell after `prelude`, which changes what it inherits.
pub fn after(prelude: &str, plain: &Command) -> Command {
    let mut c = Command::new("sh");
    c.args(["-c", &format!("{prelude}; exec \"$0\" \"$@\"")]).arg(plain.get_program()).args(plain.get_args());
    c.env_clear().envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
    c.stdin(Stdio::null()).stdout(Stdio::piped());
    c
}

impl Service {
    /// A service on a new ledger, with further arguments.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, |_| {})
    }

    /// The same with something else about its command, which `set` changes.
    pub fn start_with(args: &[&str], set: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = bare("127.0.0.1:0", 10);
        let kept = keeping::keep(&mut command, folder.path());
        set(&mut command);
        let mut service = Self::launch(command.args(args));
        (service.folder, service.kept) = (Some(folder), Some(kept));
        service
    }

    /// A service on a ledger that may be there already.
    pub fn on(data: &Path) -> Self {
        Self::launch(&mut command(data))
    }

    pub fn launch(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the announcement is one JSON line");
        assert_eq!(said["pid"], child.id());
        let addr = |name: &str| said[name].as_str().unwrap().parse().unwrap();
        Self { listening: addr("listening"), admin: addr("admin"), child, folder: None, kept: None }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.listening)
    }

    /// The folder of a new ledger.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// From now on no file of the service grows beyond `bytes`.
    pub fn limit_file_size(&self, bytes: u64) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        prlimit(Some(pid), Resource::Fsize, limit).unwrap();
    }

    /// Waits for the end; the exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub fn health(&self) -> Value {
        self.client().get("/health").json()
    }

    pub fn audit(&self) -> Value {
        self.client().get("/v1/audit?recount=true").json()
    }

    /// Arms a fault over the admin port.
    pub fn arm(&self, name: &str, point: &str, effect: &str, ttl_ms: u64) -> Reply {
        let body = format!(
            r#"{{"fault":{{"name":"{name}","point":"{point}","effect":{effect},"fraction":1.0}},"ttl_ms":{ttl_ms},"seed":7}}"#
        );
        self.administer("POST", "/admin/faults", &body)
    }

    /// The same of one that meets half of the requests.
    pub fn arm_half(&self, name: &str, point: &str, effect: &str) -> Reply {
        let body = format!(
            r#"{{"fault":{{"name":"{name}","point":"{point}","effect":{effect},"fraction":0.5}},"ttl_ms":60000,"seed":7}}"#
        );
        self.administer("POST", "/admin/faults", &body)
    }

    pub fn end(&self, name: &str) -> Reply {
        self.administer("DELETE", &format!("/admin/faults/{name}"), "")
    }

    pub fn administer(&self, method: &str, path: &str, body: &str) -> Reply {
        let auth = format!("Bearer {ADMIN_TOKEN}");
        Client::connect(self.admin).send(method, path, &[("Authorization", &auth)], body.as_bytes())
    }

    /// Asks `/health` until `holds`.
    pub fn wait_until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        wait_for(what, || holds(&self.health()));
    }

    /// Waits until the fault has hit `n` requests.
    pub fn wait_for_hits(&self, n: u64) {
        wait_for("the fault hits", || {
            let armed: Value = self.administer("GET", "/admin/faults", "").json();
            armed[0]["affected"].as_u64() >= Some(n)
        });
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until `holds`, a hundred times a second at most.
pub fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let tick = Duration::from_millis(10);
    for _ in 0..PATIENCE.as_millis() / tick.as_millis() {
        if holds() {
            return;
        }
        std::thread::sleep(tick);
    }
    panic!("waited in vain: {what}");
}

/// Ends a load when it is dropped: also when the test fails, which would wait for it otherwise.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(name, _)| name.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// `error.code`
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// `error.param`
    pub fn param(&self) -> String {
        self.json()["error"]["param"].as_str().unwrap_or_default().to_owned()
    }
}

/// A keep-alive connection.
pub struct Client {
    pub stream: TcpStream,
    token: String,
    /// What was read behind an answer.
    rest: Vec<u8>,
}

impl Client {
    pub fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, token: TOKEN.to_owned(), rest: Vec::new() }
    }

    /// The same connection as somebody else.
    pub fn with_token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    pub fn token(&self) -> String {
        self.token.clone()
    }

    pub fn get(&mut self, path: &str) -> Reply {
        let auth = format!("Bearer {}", self.token);
        self.send("GET", path, &[("Authorization", &auth)], b"")
    }

    pub fn post(&mut self, path: &str, body: &str) -> Reply {
        let auth = format!("Bearer {}", self.token);
        self.send("POST", path, &[("Authorization", &auth)], body.as_bytes())
    }

    pub fn pay(&mut self, key: &str, from: u32, to: u32, amount: i64) -> Reply {
        self.write_payment(key, from, to, amount);
        self.read().unwrap()
    }

    /// Sends a payment without waiting for the answer.
    pub fn write_payment(&mut self, key: &str, from: u32, to: u32, amount: i64) {
        self.try_write_payment(key, from, to, amount).unwrap();
    }

    pub fn try_write_payment(&mut self, key: &str, from: u32, to: u32, amount: i64) -> std::io::Result<()> {
        let body =
            format!(r#"{{"from":"acc_{from:08}","to":"acc_{to:08}","amount":{amount},"currency":"EUR"}}"#);
        let auth = format!("Bearer {}", self.token);
        let headers = [("Authorization", auth.as_str()), ("Idempotency-Key", key)];
        self.write("POST", "/v1/payments", &headers, body.as_bytes())
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.write(method, path, headers, body).unwrap();
        self.read().unwrap()
    }

    /// Sends a request without waiting for the answer.
    pub fn write(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<()> {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        self.stream.write_all(&[head.as_bytes(), body].concat())
    }

    /// Reads one answer; an error when the connection ends first.
    pub fn read(&mut self) -> std::io::Result<Reply> {
        let mut bytes = std::mem::take(&mut self.rest);
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut answer = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(head) = answer.parse(&bytes).expect("an HTTP answer") {
                let headers: Vec<(String, String)> = answer
                    .headers
                    .iter()
                    .map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned()))
                    .collect();
                let length = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("content-length"));
                let length: usize = length.map_or(0, |(_, v)| v.parse().unwrap());
                if bytes.len() >= head + length {
                    self.rest = bytes[head + length..].to_vec();
                    let body = String::from_utf8(bytes[head..head + length].to_vec()).unwrap();
                    return Ok(Reply { status: answer.code.unwrap(), headers, body });
                }
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => bytes.extend(&chunk[..n]),
            }
        }
    }
}
