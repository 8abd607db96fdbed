//! The API over TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::support::{Service, TOKEN, command, wait_for};

/// A certificate for localhost in a folder.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> (Self, CertifiedKey<KeyPair>) {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        let made = files.replace();
        (files, made)
    }

    fn replace(&self) -> CertifiedKey<KeyPair> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.key(), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(self.cert(), made.cert.pem()).unwrap();
        made
    }

    fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    fn args(&self) -> [String; 4] {
        let path = |path: PathBuf| path.display().to_string();
        ["--tls-cert".to_owned(), path(self.cert()), "--tls-key".to_owned(), path(self.key())]
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(
    to: SocketAddr,
    trusted: &CertifiedKey<KeyPair>,
    version: &'static SupportedProtocolVersion,
) -> Stream {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.cert.der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tcp = TcpStream::connect(to).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let tls = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    StreamOwned::new(tls, tcp)
}

/// Pays, and returns the whole answer; an error when there is no TLS.
fn pay(stream: &mut Stream, key: &str) -> std::io::Result<String> {
    let body = r#"{"from":"acc_00000001","to":"acc_00000002","amount":100,"currency":"EUR"}"#;
    let request = format!(
        "POST /v1/payments HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nIdempotency-Key: {key}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn start(files: &Files) -> Service {
    let args = files.args();
    Service::start(&args.each_ref().map(String::as_str))
}

#[test]
fn payments_are_made_over_tls_and_nothing_is_said_without_it() {
    let (files, made) = Files::new();
    let mut service = start(&files);
    for (n, version) in [&rustls::version::TLS12, &rustls::version::TLS13].into_iter().enumerate() {
        let mut stream = connect(service.listening, &made, version);
        let answer = pay(&mut stream, &format!("k{n}")).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 ") && answer.contains("\r\nrequest-id: req_"), "{answer}");
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
    }
    let mut plain = TcpStream::connect(service.listening).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // One that says nothing does not hold up a drain.
    let _silent = TcpStream::connect(service.listening).unwrap();
    service.terminate();
    assert_eq!(service.exit_code(), Some(0));
}

#[test]
fn another_certificate_is_read_on_a_signal_while_connections_go_on() {
    let (files, old) = Files::new();
    let service = start(&files);
    let mut before = connect(service.listening, &old, &rustls::version::TLS13);
    before.conn.complete_io(&mut before.sock).unwrap();
    let new = files.replace();
    let good = |trusted| pay(&mut connect(service.listening, trusted, &rustls::version::TLS13), "k").is_ok();
    assert!(good(&old) && !good(&new), "not before the signal");
    service.signal(Signal::HUP);
    wait_for("the new certificate is shown", || good(&new));
    assert!(!good(&old));
    assert!(pay(&mut before, "before").unwrap().starts_with("HTTP/1.1 201 "));
    // Files that make no sense change nothing.
    std::fs::write(files.cert(), "").unwrap();
    service.signal(Signal::HUP);
    assert!((0..5).all(|_| good(&new)));
}

#[test]
fn wrong_files_end_the_start() {
    let (files, _) = Files::new();
    let folder = tempfile::tempdir().unwrap();
    let fails = |change: &dyn Fn(&mut Command), why: &str| {
        let mut c = command(folder.path());
        change(&mut c);
        let out = c.output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(why), "{said}");
    };
    let with = |cert: &Path, key: &Path| {
        let (cert, key) = (cert.to_owned(), key.to_owned());
        move |c: &mut Command| {
            c.arg("--tls-cert").arg(&cert).arg("--tls-key").arg(&key);
        }
    };
    fails(&with(Path::new("/nowhere"), &files.key()), "--tls-cert /nowhere: No such file");
    fails(&with(&files.cert(), &files.cert()), "no private key");
    fails(
        &|c| {
            c.arg("--tls-cert").arg(files.cert());
        },
        "--tls-key",
    );
}
