//! Journeys: closed-loop users beside the open-loop load and alone, against the reference service
//! and against servers that misbehave. Nothing of theirs is in the load's figures, and nothing of
//! goose's reaches beyond the users' process.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::sync::Mutex;

use support::{
    Reaped, assert_complete, is_alive, only_load, reference_scenario, scenario_file, server, signal, squall,
    squall_ends, squall_runs, stdout, summary, told, wait_for,
};

const CUSTOMER: &str = r#"
[[journey]]
name = "customer"
ramp = { from = 1, to = 3, over = "500ms" }
for = "3s"
think = { min = "10ms", max = "30ms" }

[[journey.step]]
name = "log-in"
once = true
method = "POST"
path = "/v1/auth/login"
body = '{"username":"${username}","password":"${password}"}'
take = { access = "/access_token" }

[[journey.step]]
name = "balance"
method = "GET"
path = "/v1/accounts/${account}/balance"
headers = { Authorization = "Bearer ${access}" }
take = { currency = "/currency" }

[[journey.step]]
name = "pay"
method = "POST"
path = "/v1/payments"
headers = { Authorization = "Bearer ${access}", Idempotency-Key = "${key}" }
body = '{"from":"${account}","to":"${other}","amount":${amount},"currency":"${currency}"}'
expect = [201]
take = { payment = "/id" }

[[journey.step]]
name = "history"
method = "GET"
path = "/v1/accounts/${account}/payments?limit=1"
headers = { Authorization = "Bearer ${access}" }
take = { newest = "/data/0/id" }
"#;

fn run(dir: &Path, text: &str) -> Output {
    let file = scenario_file(dir, text);
    let out = dir.join("run");
    squall_runs(&out, ["run", file.to_str().unwrap(), "--ui", "plain", "--out", out.to_str().unwrap()])
}

fn step<'a>(summary: &'a serde_json::Value, journey: usize, name: &str) -> &'a serde_json::Value {
    let steps = summary["journeys"][journey]["steps"].as_array().unwrap();
    steps.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("no step {name}"))
}

fn json_lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn customers_log_in_pay_and_read_their_history_without_any_load() {
    let dir = tempfile::tempdir().unwrap();
    let gates =
        "gates = [\"rate(failed){journey:customer}<50%\", \"count(ok){journey:customer,step:history}>0\"]\n";
    let head = "name = \"alone\"\n[target]\naccounts = 50\n[load]\ntimeout = \"5s\"\n";
    let o = run(dir.path(), &format!("{}{CUSTOMER}", head.replace("[target]", &format!("{gates}[target]"))));
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    let run = dir.path().join("run");
    let s = summary(&run);
    assert_eq!(s["load"]["planned"], 0, "nothing of a journey is in the load");
    assert_eq!(s["latency_ms"]["service"]["n"], 0);
    assert_eq!(s["verdict"]["run"], "valid", "{}", s["verdict"]);
    assert_eq!((&s["verdict"]["gates"], &s["complete"]), (&"pass".into(), &true.into()), "{}", s["verdict"]);
    let customer = &s["journeys"][0];
    assert_eq!(customer["users"], 3);
    let iterations = &customer["iterations"];
    let n = |v: &serde_json::Value| v.as_u64().unwrap();
    assert!(n(&iterations["completed"]) > 3, "{iterations}");
    assert_eq!(
        n(&iterations["started"]),
        n(&iterations["completed"]) + n(&iterations["abandoned"]) + n(&iterations["unfinished"])
    );
    let (login, pay, history) = (step(&s, 0, "log-in"), step(&s, 0, "pay"), step(&s, 0, "history"));
    assert!(
        n(&login["load"]["ok"]) >= 1 && n(&login["load"]["ok"]) < n(&pay["load"]["ok"]),
        "once a session: {s}"
    );
    assert!(
        n(&history["load"]["ok"]) > 0 && history["closed_loop_service_ms"]["p99"].as_f64().unwrap() > 0.0
    );

    // Every payment attempted is there, with its own key.
    let ops = json_lines(&run.join("journey_ops.jsonl"));
    assert_eq!(ops.len() as u64, n(&pay["load"]["completed"]) + n(&pay["load"]["failed"]));
    let keys: std::collections::HashSet<&str> = ops.iter().map(|o| o["key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), ops.len());
    assert!(ops.iter().all(|o| o["step"] == "pay" && o["account"] != o["other"]), "{ops:?}");

    // Nothing of goose's, and nobody's password.
    assert!(!stdout(&o).to_lowercase().contains("goose"), "{}", told(&o));
    assert!(stdout(&o).contains("journeys (closed loop)") && stdout(&o).contains("coordinated omission"));
    let log = std::fs::read_to_string(run.join("journeys.log")).unwrap_or_default();
    assert_eq!(log, "", "the users' process said something");
    let names: Vec<String> = std::fs::read_dir(&run)
        .unwrap()
        .chain(std::fs::read_dir(dir.path()).unwrap())
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.iter().any(|n| n.contains("goose")), "{names:?}");
    assert!(!std::fs::read_to_string(run.join("manifest.json")).unwrap().contains("access_token\":\""));

    // The folder alone gives the same report.
    std::fs::remove_file(run.join("summary.json")).unwrap();
    let again = squall_ends(["report", run.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(0), "{}", told(&again));
    assert_eq!(summary(&run), s);
    let html = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(html.contains("Journeys (closed loop)") && html.contains("coordinated omission"));
}

#[test]
fn the_load_beside_a_journey_is_the_load_without_it() {
    let load = reference_scenario(100, 3).replace(
        "gates = [\"count(failed)==0\"]",
        "gates = [\"count(failed){journey:customer,step:pay}==0\"]",
    );
    let load = load.replace("[load]", "[load]\narrivals = \"uniform\"");
    let classes = |with: &str| {
        let dir = tempfile::tempdir().unwrap();
        let o = run(dir.path(), with);
        // 120 tells that the machine was busy; what was counted is the same.
        assert!(matches!(o.status.code(), Some(0 | 120)), "{}", told(&o));
        let run = dir.path().join("run");
        assert_complete(&run);
        let hlog = std::fs::read_to_string(run.join("latency.hlog")).unwrap();
        assert!(!hlog.contains("customer") && !hlog.contains("history"));
        let intervals = json_lines(&run.join("intervals.jsonl"));
        assert!(intervals.iter().all(|i| i["request"] == "pay"), "only the load's request");
        let ops = std::fs::metadata(run.join("ops.bin")).unwrap().len();
        (summary(&run), ops)
    };
    let (alone, alone_ops) = classes(&load.replace("{journey:customer,step:pay}", ""));
    let (beside, beside_ops) =
        classes(&format!("{load}{}", CUSTOMER.replace("for = \"3s\"", "phase = \"hold\"")));
    assert_eq!(alone["load"]["planned"], beside["load"]["planned"]);
    assert_eq!(alone_ops, beside_ops, "the load's payments and no others");
    let timed = |s: &serde_json::Value| s["latency_ms"]["response"]["n"].as_u64().unwrap();
    assert_eq!(
        timed(&beside),
        beside["load"]["ok"].as_u64().unwrap() + beside["load"]["declined"].as_u64().unwrap()
    );
    assert!(beside["journeys"][0]["iterations"]["completed"].as_u64().unwrap() > 0, "{}", beside["journeys"]);
    assert_eq!(alone["journeys"].as_array().unwrap().len(), 0);
    assert!(beside["generator"]["journeys_cpu_utilisation"].as_f64().unwrap() > 0.0);
}

/// Heads that the strange server below received.
static HEADS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            return Some(head);
        }
        head.push_str(&line);
    }
}

/// Answers each path in its own wrong way.
fn strange(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(head) = head(&mut reader) {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        HEADS.lock().unwrap().push(head);
        let json = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = match path.as_str() {
            "/wicked" => json(r#"{"id":"x\r\nInjected: yes"}"#),
            "/slashes" => json(r#"{"id":"../admin?a=b#c"}"#),
            "/dots" => json(r#"{"id":".."}"#),
            "/none" => json(r#"{"other":1}"#),
            "/list" => json(r#"{"id":[1]}"#),
            "/text" => json("hello"),
            "/redirect" => "HTTP/1.1 302 Found\r\nLocation: /landed\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/shed" => "HTTP/1.1 503 Busy\r\nNot-Executed: true\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "/garbage" => "\u{1}\u{2}<html>\r\n\r\n".to_owned(),
            "/cut" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_owned(),
            "/silent" => {
                let _ = reader.read(&mut [0; 1]);
                return;
            }
            "/endless" => {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let chunk = format!("1000\r\n{}\r\n", "a".repeat(0x1000));
                let _ = stream.write_all(head.as_bytes());
                while stream.write_all(chunk.as_bytes()).is_ok() {}
                return;
            }
            _ => json("{}"),
        };
        if stream.write_all(answer.as_bytes()).is_err() || matches!(path.as_str(), "/cut" | "/garbage") {
            return;
        }
    }
}

#[test]
fn whatever_a_target_answers_is_counted_as_what_it_is_and_leads_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let addr = server(strange);
    let cases = [
        ("wicked", "check_failed"),
        ("dots", "check_failed"),
        ("none", "check_failed"),
        ("list", "check_failed"),
        ("text", "check_failed"),
        ("redirect", "unexpected_status"),
        ("garbage", "bad_answer"),
        ("cut", "reset"),
        ("silent", "timeout"),
        ("endless", "bad_answer"),
        ("shed", "shed"),
    ];
    let mut text =
        format!("name = \"strange\"\n[target]\nurl = \"http://{addr}\"\n[load]\ntimeout = \"1s\"\n");
    for name in cases.map(|c| c.0).into_iter().chain(["slashes"]) {
        text.push_str(&format!(
            r#"
[[journey]]
name = "{name}"
users = 1
for = "2s"
think = {{ min = "200ms", max = "200ms" }}
[[journey.step]]
name = "first"
method = "GET"
path = "/{name}"
take = {{ id = "/id" }}
[[journey.step]]
name = "then"
method = "GET"
path = "/then/${{id}}"
{}
"#,
            // A header cannot be escaped, so what does not fit it is refused.
            if name == "wicked" { "headers = { X-Id = \"${id}\" }" } else { "" },
        ));
    }
    let o = run(dir.path(), &text);
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    let s = summary(&dir.path().join("run"));
    for (i, (name, kind)) in cases.into_iter().enumerate() {
        let journey = &s["journeys"][i];
        let first = &step(&s, i, "first")["load"];
        assert!(first["sent"].as_u64().unwrap() > 0, "{name}: {first}");
        if kind == "shed" {
            assert_eq!(first["shed"], first["sent"], "{name}: {first}");
        } else {
            assert_eq!(first["failures"][kind], first["sent"], "{name}: {first}");
        }
        assert_eq!(step(&s, i, "then")["load"]["sent"], 0, "{name}: the iteration ends there");
        assert_eq!(journey["iterations"]["completed"], 0, "{name}");
        assert_eq!(journey["iterations"]["abandoned"], first["sent"], "{name}: {journey}");
    }
    let timed_out = &step(&s, 8, "first")["closed_loop_service_ms"];
    assert!(
        timed_out["p50"].as_f64().unwrap() >= 900.0,
        "timed at the age at which it was given up: {timed_out}"
    );
    assert!(
        s["journeys"][cases.len()]["iterations"]["completed"].as_u64().unwrap() > 0,
        "slashes are escaped"
    );
    let heads = HEADS.lock().unwrap();
    assert!(heads.iter().any(|h| h.starts_with("GET /then/..%2Fadmin%3Fa%3Db%23c ")), "{heads:?}");
    assert!(!heads.iter().any(|h| h.contains("Injected") || h.starts_with("GET /landed")), "{heads:?}");
}

#[test]
fn nobody_listens_and_users_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let addr: SocketAddr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "name = \"refused\"\n[target]\nurl = \"http://{addr}\"\n[[journey]]\nname = \"visitor\"\nusers = 2\nfor = \"1s\"\n\
         think = {{ min = \"50ms\", max = \"50ms\" }}\nstep = [{{ name = \"look\", method = \"GET\", path = \"/\" }}]\n"
    );
    let o = run(dir.path(), &text);
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    let s = summary(&dir.path().join("run"));
    let look = &step(&s, 0, "look")["load"];
    assert!(look["sent"].as_u64().unwrap() > 0 && look["failures"]["refused"] == look["sent"], "{look}");
}

/// The processes that `pid` has started.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|p| p.parse().ok()).collect()
}

/// Starts a long run of a journey beside a load and waits until users have sent something.
fn begun(dir: &Path) -> (Reaped, Vec<u32>) {
    let text = reference_scenario(20, 50).replace("gates = [\"count(failed)==0\"]", "");
    let file = scenario_file(dir, &format!("{text}{}", CUSTOMER.replace("for = \"3s\"", "for = \"50s\"")));
    let out = dir.join("run");
    let child = squall()
        .args(["run", file.to_str().unwrap(), "--ui", "plain", "--out", out.to_str().unwrap()])
        .spawn()
        .unwrap();
    let child = Reaped(child);
    wait_for("a payment of a customer", || {
        let ops = std::fs::read_to_string(out.join("journey_ops.jsonl")).ok()?;
        let seconds = std::fs::read_to_string(out.join("journeys.jsonl")).ok()?;
        // A second's payments are written before the second.
        let started = seconds.lines().any(|l| l.ends_with('}') && !l.contains("\"started\":0,"));
        (started && ops.ends_with('\n')).then_some(())
    });
    let started = children(child.0.id());
    (child, started)
}

#[test]
fn ctrl_c_is_squalls_to_handle_and_goose_leaves_nothing_behind() {
    let _alone = only_load();
    let dir = tempfile::tempdir().unwrap();
    let (mut child, started) = begun(dir.path());
    assert_eq!(started.len(), 2, "the service and the users");
    // goose's telnet and WebSocket controllers would listen on 5116 and 5117.
    let listening = |pid: u32| {
        let sockets = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
        sockets.lines().any(|l| (l.contains(":13FC ") || l.contains(":13FD ")) && l.contains(" 0A "))
    };
    assert!(started.iter().all(|p| !listening(*p)));
    signal(child.0.id(), rustix::process::Signal::INT);
    let status = wait_for("the end after Ctrl-C", || child.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(105));
    let run = dir.path().join("run");
    assert_complete(&run);
    let s = summary(&run);
    assert_eq!(s["complete"], false);
    assert!(s["journeys"][0]["iterations"]["started"].as_u64().unwrap() > 0, "{}", s["journeys"]);
    let mut out = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(out.starts_with("small ·"), "standard output holds the report alone: {out}");
    assert!(started.iter().all(|p| !is_alive(*p)), "no child outlives the run");
}

#[test]
fn users_do_not_outlive_a_squall_that_was_killed() {
    let _alone = only_load();
    let dir = tempfile::tempdir().unwrap();
    let (mut child, started) = begun(dir.path());
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    wait_for("the children's end", || started.iter().all(|p| !is_alive(*p)).then_some(()));
    let run = dir.path().join("run");
    let o = squall_ends(["report", run.to_str().unwrap()]);
    assert!(o.status.code().is_some(), "{}", told(&o));
    let s = summary(&run);
    assert!(s["journeys"][0]["iterations"]["started"].as_u64().unwrap() > 0, "{}", s["journeys"]);
}
