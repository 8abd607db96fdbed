//! NATS: a subscriber to everything that reads nothing, by the protocol itself
//! (<https://docs.nats.io/reference/reference-protocols/nats-protocol>).
//!
//! What the server cannot get rid of it keeps, and after a while it drops the subscriber as a slow consumer; it comes again.

use std::time::Duration;

use squall_record::fault::Effect;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use super::begin::cannot;
use super::error::ActError;
use super::lookup;
use super::running::Running;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much the kernel takes for a subscriber that does not read, in bytes: as little as it does.
const RECEIVE_BYTES: u32 = 4096;
/// How often it is looked whether the server has dropped it.
const BEAT: Duration = Duration::from_millis(500);
/// The longest line of a server that says who it is.
const MAX_LINE_BYTES: u64 = 64 << 10;
/// How many lines may come before the answer.
const MAX_LINES: usize = 1000;

/// Begins a fault at the NATS whose URL is in `url_env`.
///
/// # Errors
/// When it cannot be begun there.
pub async fn begin(effect: &Effect, url_env: &str, running: &mut Running) -> Result<String, ActError> {
    let Effect::SlowConsumer = effect else { return Err(cannot(effect, "a NATS")) };
    let url = lookup::url(url_env)?;
    let server = Server::parse(&url).ok_or_else(|| lookup::unreadable(url_env, "NATS"))?;
    let mut subscribed = Some(subscribe(&server).await?);
    running.task(async move {
        loop {
            let connection = match subscribed.take() {
                Some(connection) => Some(connection),
                None => subscribe(&server).await.ok(),
            };
            if let Some(mut connection) = connection {
                // It answers what the server asks now and then, and reads nothing.
                while connection.write_all(b"PONG\r\n").await.is_ok() {
                    tokio::time::sleep(BEAT).await;
                }
            }
            tokio::time::sleep(BEAT).await;
        }
    });
    Ok("subscribed to everything, and reads nothing".to_owned())
}

/// Where a server is, and what it is told. It may hold a password, and so has no `Debug`.
struct Server {
    address: String,
    connect: serde_json::Value,
}

impl Server {
    fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("nats://")?.trim_end_matches('/');
        let (who, address) = rest.rsplit_once('@').map_or((None, rest), |(who, at)| (Some(who), at));
        let has_port = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if address.is_empty() || address.contains(['/', ',', '?']) {
            return None;
        }
        let address = if has_port { address.to_owned() } else { format!("{address}:4222") };
        let mut connect = serde_json::json!({
            "verbose": false, "pedantic": false, "tls_required": false, "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
            "name": "squall chaos", "protocol": 0,
        });
        match who.map(|who| who.split_once(':').ok_or(who)) {
            None => {}
            Some(Ok((user, password))) => {
                connect["user"] = decoded(user)?.into();
                connect["pass"] = decoded(password)?.into();
            }
            Some(Err(token)) => connect["auth_token"] = decoded(token)?.into(),
        }
        Some(Self { address, connect })
    }
}

/// What a part of a URL means (RFC 3986, percent-encoding).
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(b) = rest.next() {
        bytes.push(match b {
            b'%' => {
                let (high, low) =
                    (char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?);
                (high * 16 + low) as u8
            }
            b => b,
        });
    }
    String::from_utf8(bytes).ok()
}

async fn subscribe(server: &Server) -> Result<TcpStream, ActError> {
    let what = "subscribe at the NATS";
    match tokio::time::timeout(CONNECT_TIMEOUT, greet(server)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(e)) => Err(ActError::server(what)(e)),
        Err(_) => Err(ActError::Late { what: what.to_owned(), limit_s: CONNECT_TIMEOUT.as_secs() }),
    }
}

async fn greet(server: &Server) -> std::io::Result<TcpStream> {
    let other = std::io::Error::other::<String>;
    let at = lookup_host(&server.address)
        .await?
        .next()
        .ok_or_else(|| other("its name has no address".to_owned()))?;
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    let mut connection = BufReader::new(socket.connect(at).await?);
    let hello = format!("CONNECT {}\r\nPING\r\n", server.connect);
    connection.write_all(hello.as_bytes()).await?;
    for _ in 0..MAX_LINES {
        let mut line = String::new();
        (&mut connection).take(MAX_LINE_BYTES).read_line(&mut line).await?;
        let line = line.trim();
        if line == "PONG" {
            connection.write_all(b"SUB > 1\r\nPING\r\n").await?;
            return Ok(connection.into_inner());
        }
        match line.strip_prefix("-ERR") {
            Some(why) => return Err(other(why.trim().trim_matches('\'').to_owned())),
            None if line.is_empty() => return Err(other("it closed the connection".to_owned())),
            None => {}
        }
    }
    Err(other("it does not answer".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_as_whom() {
        let of = |url: &str| Server::parse(url).map(|s| (s.address, s.connect));
        let (address, connect) = of("nats://u:p%40ss@queue:5222").unwrap();
        assert_eq!((address.as_str(), connect["pass"].as_str()), ("queue:5222", Some("p@ss")));
        let (address, connect) = of("nats://secret@127.0.0.1").unwrap();
        assert_eq!((address.as_str(), connect["auth_token"].as_str()), ("127.0.0.1:4222", Some("secret")));
        assert_eq!(of("nats://queue:4222/").unwrap().1.get("user"), None);
        for wrong in ["queue:4222", "nats://", "nats://a,b", "nats://%zz@queue", "tls://queue"] {
            assert!(of(wrong).is_none(), "{wrong}");
        }
    }
}
