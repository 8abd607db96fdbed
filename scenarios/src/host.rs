//! Where load may be sent: a URL taken apart strictly, because a host that looks like loopback and
//! is not would send thousands of requests a second to a stranger.
//!
//! Names are never resolved here. Only `localhost`, 127.0.0.0/8 and `::1` are loopback; every
//! other host, also one whose name merely begins so, must be listed by the scenario. Forms that
//! programs read differently (user information, numbers without four parts) are refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::tick;

/// The longest URL, in bytes.
pub const MAX_URL_LEN: usize = 300;
/// The longest path of a Unix socket, in bytes: `sun_path` of unix(7) less its end.
pub const MAX_SOCKET_PATH_LEN: usize = 107;

/// A host: an address, or a name in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// `10.0.0.5`, `::1`
    Address(IpAddr),
    /// `payments.internal`
    Name(String),
}

/// Why a text is not a host or a URL to load. Reads on after the text itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Something else than HTTP.
    #[error(
        "is not a URL that can be loaded; write it like http://127.0.0.1:8080, https://localhost:8443 or \
         unix:///run/payments.sock"
    )]
    NotHttp,
    /// `unix://relative`
    #[error("does not name a socket by its whole path; write it like unix:///run/payments.sock")]
    Socket,
    /// Longer than the system takes.
    #[error(
        "names a socket by {0} bytes, and the system takes at most {MAX_SOCKET_PATH_LEN}; use a shorter path"
    )]
    SocketTooLong(usize),
    /// More than scheme, host and port.
    #[error("holds more than scheme, host and port; put the path into the requests")]
    MoreThanOrigin,
    /// `user@host`
    #[error("holds user information before an @; pass a token with target.token_env")]
    UserInfo,
    /// Not a number from 1 to 65535.
    #[error("has the port {}, which is not a number from 1 to 65535", tick(.0))]
    Port(String),
    /// Neither a name nor an address.
    #[error("has the host {}, which is neither a name nor an address", tick(.0))]
    Host(String),
    /// `127.1`, `2130706433`, `0x7f000001`
    #[error("has the host {}, an address in a form that programs read differently; write it with four decimal numbers", tick(.0))]
    OddAddress(String),
}

impl Host {
    /// The host in `text`, an IPv6 address with or without brackets.
    ///
    /// # Errors
    /// When it is neither a name nor an address written in full.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let bracketed = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        if let Ok(v6) = bracketed.unwrap_or(text).parse::<Ipv6Addr>() {
            return Ok(Host::Address(IpAddr::V6(v6)));
        }
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Ok(Host::Address(IpAddr::V4(v4)));
        }
        let name = text.to_ascii_lowercase();
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(HostError::Host(text.to_owned()));
        }
        // The WHATWG rule: a host whose last label is a number is an IPv4 address, in whatever form.
        let last = name.rsplit('.').next().unwrap_or_default();
        let hex = last.strip_prefix("0x").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        if hex || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(HostError::OddAddress(text.to_owned()));
        }
        Ok(Host::Name(name))
    }

    /// Whether it is this machine beyond doubt.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            // `::ffff:127.0.0.1` is not: only `::1` of IPv6.
            Host::Address(ip) => ip.is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }
}

impl fmt::Display for Host {
    /// As it stands in a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Host::Address(ip) => write!(f, "{ip}"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// Where load goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetUrl {
    /// A host and a port.
    Http(HttpUrl),
    /// The path of a socket on this machine: `unix:///run/payments.sock`. HTTP without TLS.
    Unix(String),
}

impl TargetUrl {
    /// The target that `url` names.
    ///
    /// # Errors
    /// When it is neither an HTTP origin nor a socket's whole path.
    pub fn parse(url: &str) -> Result<Self, HostError> {
        if !url.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("unix:")) {
            return HttpUrl::parse(url).map(Self::Http);
        }
        let path = url["unix:".len()..].strip_prefix("//").ok_or(HostError::Socket)?;
        if !path.starts_with('/') || path.ends_with('/') || path.chars().any(char::is_control) {
            return Err(HostError::Socket);
        }
        if path.len() > MAX_SOCKET_PATH_LEN {
            return Err(HostError::SocketTooLong(path.len()));
        }
        Ok(Self::Unix(path.to_owned()))
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetUrl::Http(url) => url.fmt(f),
            TargetUrl::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

/// An HTTP origin: `http://host:port` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Where to connect.
    pub host: Host,
    /// 80 or, with TLS, 443 when the URL has none.
    pub port: u16,
}

impl HttpUrl {
    /// Host and port, as they stand in `Host`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The origin in `url`; a single `/` after it is allowed.
    ///
    /// # Errors
    /// When `url` is anything else.
    pub fn parse(url: &str) -> Result<Self, HostError> {
        if url.len() > MAX_URL_LEN {
            return Err(HostError::NotHttp);
        }
        let after = |scheme: &str| {
            url.get(..scheme.len()).filter(|s| s.eq_ignore_ascii_case(scheme)).map(|s| &url[s.len()..])
        };
        let (tls, rest) = match (after("http://"), after("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            (None, None) => return Err(HostError::NotHttp),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(HostError::UserInfo);
        }
        if rest.contains(['/', '?', '#', '\\']) {
            return Err(HostError::MoreThanOrigin);
        }
        // The colons within the brackets of an IPv6 address are not the port's.
        let after_brackets = rest.rfind(']').map_or(0, |i| i + 1);
        let (host, port) = match rest[after_brackets..].find(':') {
            Some(i) => (&rest[..after_brackets + i], Some(&rest[after_brackets + i + 1..])),
            None => (rest, None),
        };
        if host.contains(':') && !host.starts_with('[') {
            return Err(HostError::Host(host.to_owned()));
        }
        let port = match port {
            None if tls => 443,
            None => 80,
            Some(digits) => digits
                .parse::<u16>()
                .ok()
                .filter(|p| *p > 0 && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| HostError::Port(digits.to_owned()))?,
        };
        Ok(Self { tls, host: Host::parse(host)?, port })
    }
}

impl fmt::Display for HttpUrl {
    /// `http://host:port`, the port always written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loopback_is_loopback() {
        for url in [
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://localhost:1/",
            "HTTP://LOCALHOST",
            "http://[::1]:65535",
            "https://localhost",
        ] {
            assert!(HttpUrl::parse(url).unwrap().host.is_loopback(), "{url}");
        }
        assert_eq!(HttpUrl::parse("http://LocalHost/").unwrap().to_string(), "http://localhost:80");
        assert_eq!(HttpUrl::parse("http://[::1]:8").unwrap().to_string(), "http://[::1]:8");
        assert_eq!(HttpUrl::parse("HTTPS://LocalHost/").unwrap().to_string(), "https://localhost:443");
    }

    #[test]
    fn what_merely_looks_like_loopback_is_not() {
        for url in [
            "http://127.0.0.1.evil.com",
            "http://localhost.evil.com",
            "http://xlocalhost",
            "http://0.0.0.0",
            "http://[::]",
            "http://[::ffff:127.0.0.1]",
            "http://128.0.0.1",
            "https://localhost.evil.com",
        ] {
            assert!(!HttpUrl::parse(url).unwrap().host.is_loopback(), "{url}");
        }
    }

    #[test]
    fn forms_that_programs_read_differently_are_refused() {
        for url in [
            "http://127.0.0.1@evil.com",
            "http://127.0.0.1:80@evil.com",
            "http://evil.com#127.0.0.1",
            "http://evil.com/127.0.0.1",
            "http://evil.com\\@127.0.0.1",
            "http://2130706433",
            "http://0x7f000001",
            "http://127.1",
            "http://0177.0.0.1",
            "http://127.0.0.1%2eevil.com",
            "http://127.0.0.1 .evil.com",
            "http://localhost\r\nHost: x",
            "http://localhost.",
            "http://[::1",
            "http://::1",
            "http://::1:80",
            "http://[127.0.0.1]",
            "http://[::1]x:80",
            "http://[fe80::1%25eth0]",
            "http://localhost:0",
            "http://localhost:+8",
            "http://localhost:65536",
            "http://localhost:",
            "http://",
            "http:///",
            "//localhost",
            "localhost:80",
            "https:/localhost",
            "httpss://localhost",
            "ftp://localhost",
            "http://ⓛocalhost",
            "http://a..b",
        ] {
            assert!(HttpUrl::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        let message = |t: &str| HttpUrl::parse(t).unwrap_err().to_string();
        assert_eq!(
            message("localhost:80"),
            "is not a URL that can be loaded; write it like http://127.0.0.1:8080, https://localhost:8443 or \
             unix:///run/payments.sock"
        );
        assert_eq!(
            message("http://127.1"),
            "has the host `127.1`, an address in a form that programs read differently; \
             write it with four decimal numbers"
        );
        assert_eq!(
            message("http://localhost:99999"),
            "has the port `99999`, which is not a number from 1 to 65535"
        );
    }

    #[test]
    fn a_socket_is_named_by_its_whole_path() {
        let path = |url: &str| TargetUrl::parse(url).map(|t| t.to_string());
        assert_eq!(path("unix:///run/pay.sock"), Ok("unix:///run/pay.sock".to_owned()));
        assert_eq!(path("UNIX:///run/pay.sock"), Ok("unix:///run/pay.sock".to_owned()));
        for url in [
            "unix://pay.sock",
            "unix:/run/pay.sock",
            "unix:",
            "unix://",
            "unix:///",
            "unix:///run/",
            "unix:///a\nb",
        ] {
            assert_eq!(path(url), Err(HostError::Socket), "{url}");
        }
        let long = format!("unix:///{}", "a".repeat(MAX_SOCKET_PATH_LEN));
        assert_eq!(path(&long), Err(HostError::SocketTooLong(MAX_SOCKET_PATH_LEN + 1)));
    }

    proptest! {
        #[test]
        fn what_is_accepted_reads_back_the_same(url in "https?://[a-z0-9.:\\[\\]@/x]{0,20}|unix://[/a-z]{0,9}|\\PC*") {
            if let Ok(parsed) = TargetUrl::parse(&url) {
                prop_assert_eq!(TargetUrl::parse(&parsed.to_string()), Ok(parsed));
            }
        }
    }
}
