//! Targets behind TLS and on Unix sockets: how a run reaches them is chosen by the URL, said in
//! its records, and told when it cannot be.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use support::{
    assert_complete, only_load, scenario_file, squall, squall_runs, stderr, stdout, summary, told,
    url_scenario,
};

const TOKEN: &str = "a-token-that-nobody-may-read";

/// Answers every request on `stream` until it ends.
fn answer(mut stream: impl Read + Write) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0)
        && stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    {}
}

/// A target behind TLS with a certificate for localhost, whose authority is `ca.pem` in `dir`.
fn behind_tls(dir: &Path) -> SocketAddr {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(dir.join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            thread::spawn(move || answer(StreamOwned::new(connection, stream)));
        }
    });
    addr
}

/// A small scenario in `dir` whose `[target]` is `target`.
fn scenario(dir: &Path, target: &str) -> PathBuf {
    let any = url_scenario(([127, 0, 0, 1], 1).into(), 50, 2);
    scenario_file(dir, &any.replace("url = \"http://127.0.0.1:1\"", target))
}

fn run(scenario: &Path, run: &Path) -> Output {
    squall_runs(run, ["run", scenario.to_str().unwrap(), "--ui", "plain", "--out", run.to_str().unwrap()])
}

fn carried_by(run: &Path) -> (String, String) {
    let s = summary(run);
    assert_eq!(s["load"]["ok"], s["load"]["planned"], "{}", s["load"]);
    assert!(s["load"]["ok"].as_u64().unwrap() > 50, "{}", s["load"]);
    let text = |key: &str| s["generator"][key].as_str().unwrap().to_owned();
    (text("transport"), text("http"))
}

#[test]
fn a_target_behind_tls_is_loaded_by_the_general_transport_and_every_report_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let addr = behind_tls(dir.path());
    let url = format!("url = \"https://localhost:{}\"\nca_file = \"ca.pem\"", addr.port());
    let (file, out) = (scenario(dir.path(), &url), dir.path().join("run"));
    let o = run(&file, &out);
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    assert_complete(&out);
    assert_eq!(carried_by(&out), ("general".to_owned(), "1.1".to_owned()));
    assert!(stdout(&o).contains("transport general, HTTP/1.1"), "{}", stdout(&o));
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    assert!(read("report.md").contains("general transport over HTTP/1.1"));
    assert!(read("report.html").contains("general, HTTP/1.1: at least twice the CPU"));
    assert!(read("manifest.json").contains("\"general\""));
}

#[test]
fn a_certificate_that_nobody_trusts_ends_the_run_before_it_begins_and_before_a_token_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let addr = behind_tls(dir.path());
    let url = format!("url = \"https://localhost:{}\"\ntoken_env = \"SQUALL_TEST_TOKEN\"", addr.port());
    let (file, out) = (scenario(dir.path(), &url), dir.path().join("run"));
    let o = squall()
        .args(["run", file.to_str().unwrap(), "--ui", "plain", "--out", out.to_str().unwrap()])
        .env("SQUALL_TEST_TOKEN", TOKEN)
        .output()
        .unwrap();
    assert_eq!(o.status.code(), Some(104), "{}", told(&o));
    assert!(stderr(&o).contains("trust the certificate of localhost"), "{}", stderr(&o));
    assert!(stderr(&o).contains("target.ca_file"), "{}", stderr(&o));
    assert!(!told(&o).contains(TOKEN));
    assert!(!out.exists(), "a run that did not take place has a folder");
}

#[test]
fn a_token_sent_over_tls_is_in_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let addr = behind_tls(dir.path());
    let url = format!(
        "url = \"https://localhost:{}\"\nca_file = \"ca.pem\"\ntoken_env = \"SQUALL_TEST_TOKEN\"",
        addr.port()
    );
    let (file, out) = (scenario(dir.path(), &url), dir.path().join("run"));
    let _alone = only_load();
    let o = squall()
        .args(["run", file.to_str().unwrap(), "--ui", "plain", "--out", out.to_str().unwrap()])
        .env("SQUALL_TEST_TOKEN", TOKEN)
        .env("RUST_LOG", "trace")
        .output()
        .unwrap();
    assert!(matches!(o.status.code(), Some(0 | 120)), "{}", told(&o));
    assert!(!told(&o).contains(TOKEN));
    for entry in std::fs::read_dir(&out).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        let found = bytes.windows(TOKEN.len()).any(|w| w == TOKEN.as_bytes());
        assert!(!found, "the token is in {}", entry.path().display());
    }
}

#[test]
fn a_unix_socket_is_loaded_by_the_own_transport_unless_the_scenario_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("target.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    let file = scenario(dir.path(), &format!("url = \"unix://{}\"", socket.display()));
    for (extra, transport) in [(&[][..], "own"), (&["--set", "load.transport=general"][..], "general")] {
        let out = dir.path().join(transport);
        let args = ["run", file.to_str().unwrap(), "--ui", "plain", "--out", out.to_str().unwrap()];
        let o = squall_runs(&out, args.into_iter().chain(extra.iter().copied()));
        assert_eq!(o.status.code(), Some(0), "{}", told(&o));
        assert_eq!(carried_by(&out), (transport.to_owned(), "1.1".to_owned()));
        assert!(!stderr(&o).contains("does not accept connections"), "{}", stderr(&o));
    }
}
