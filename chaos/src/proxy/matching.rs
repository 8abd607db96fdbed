//! Which connections and requests a toxic can meet.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The most headers of a match, and the longest of its texts.
const MAX_HEADERS: usize = 16;
const MAX_TEXT_BYTES: usize = 1024;

/// What has to hold, all of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// The client's address, or a network: `10.0.0.0/8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The request's method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The request's path, without what is behind a `?`; a `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Headers of the request and what they say; a `*` stands for anything.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Match {
    /// Whether it makes sense; for toxics that do not act on requests only the source does.
    pub(super) fn check(&self, http: bool) -> Result<(), String> {
        if let Some(source) = &self.source
            && network(source).is_none()
        {
            return Err(format!("source {source:?} is neither an address nor a network such as 10.0.0.0/8"));
        }
        if !http && (self.method.is_some() || self.path.is_some() || !self.headers.is_empty()) {
            return Err("method, path and headers are of http_delay, http_abort and http_body".to_owned());
        }
        if self.headers.len() > MAX_HEADERS {
            return Err(format!("a match has at most {MAX_HEADERS} headers"));
        }
        let texts = self.headers.iter().flat_map(|(name, value)| [name, value]);
        if texts.chain(&self.method).chain(&self.path).any(|text| text.len() > MAX_TEXT_BYTES) {
            return Err(format!("a text of a match has at most {MAX_TEXT_BYTES} bytes"));
        }
        Ok(())
    }

    /// Whether a connection from `source` can be met; one over a Unix socket has none.
    #[must_use]
    pub fn is_from(&self, source: Option<IpAddr>) -> bool {
        let Some(wanted) = &self.source else { return true };
        source.zip(network(wanted)).is_some_and(|(source, (address, bits))| {
            match (source.to_canonical(), address) {
                (IpAddr::V4(source), IpAddr::V4(address)) => {
                    let differing = u32::from(source) ^ u32::from(address);
                    differing.checked_shr(32 - bits).unwrap_or(0) == 0
                }
                (IpAddr::V6(source), IpAddr::V6(address)) => {
                    let differing = u128::from(source) ^ u128::from(address);
                    differing.checked_shr(128 - bits).unwrap_or(0) == 0
                }
                _ => false,
            }
        })
    }

    /// Whether a request can be met: of this method and target, `header` gives what its headers say.
    #[must_use]
    pub fn is_of<'a>(&self, method: &str, target: &str, header: impl Fn(&str) -> Option<&'a [u8]>) -> bool {
        // A target may name the host, as a client of a proxy writes it (RFC 9112, 3.2.2).
        let target = match target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains('/') => {
                rest.find(['/', '?']).map_or("/", |at| &rest[at..])
            }
            _ => target,
        };
        let path = target.split('?').next().unwrap_or_default();
        self.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path.as_ref().is_none_or(|wanted| is_like(path.as_bytes(), wanted.as_bytes()))
            && self
                .headers
                .iter()
                .all(|(name, wanted)| header(name).is_some_and(|said| is_like(said, wanted.as_bytes())))
    }
}

/// An address and how many of its bits count.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u32>().ok()?)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}

/// Whether `text` is like `pattern`, in which a `*` stands for any bytes. Takes at most the product of their lengths.
fn is_like(text: &[u8], pattern: &[u8]) -> bool {
    let (mut t, mut p) = (0, 0);
    // Where the last `*` stood, and what of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (t, p) = (t + 1, p + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (t, p) = (taken + 1, at + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(wanted: &str, source: &str) -> bool {
        let wanted = Match { source: Some(wanted.to_owned()), ..Match::default() };
        wanted.check(false).unwrap();
        wanted.is_from(Some(source.parse().unwrap()))
    }

    #[test]
    fn a_source_is_an_address_or_a_network() {
        assert!(from("10.1.2.3", "10.1.2.3") && !from("10.1.2.3", "10.1.2.4"));
        assert!(from("10.0.0.0/8", "10.200.1.1") && !from("10.0.0.0/8", "11.0.0.1"));
        assert!(from("0.0.0.0/0", "1.2.3.4") && from("::/0", "fe80::1"));
        assert!(from("fe80::/10", "fe80::1") && !from("fe80::/10", "::1"));
        assert!(from("127.0.0.1", "::ffff:127.0.0.1"), "IPv4 in IPv6 is IPv4");
        for wrong in ["", "10.0.0.0/33", "localhost", "10.0.0.0/", "::/129"] {
            let wanted = Match { source: Some(wrong.to_owned()), ..Match::default() };
            assert!(wanted.check(false).unwrap_err().contains("is neither"), "{wrong}");
        }
        assert!(!Match { source: Some("127.0.0.1".into()), ..Match::default() }.is_from(None));
        assert!(Match::default().is_from(None));
    }

    #[test]
    fn a_star_stands_for_anything() {
        let like = |text: &str, pattern: &str| is_like(text.as_bytes(), pattern.as_bytes());
        assert!(like("/v1/payments", "/v1/payments") && !like("/v1/payments/7", "/v1/payments"));
        assert!(like("/v1/payments/7", "/v1/payments/*") && like("/v1/accounts/7/balance", "/v1/*/balance"));
        assert!(like("", "*") && like("", "") && like("abc", "**c") && !like("abc", "*b"));
        assert!(like("aaab", "*ab") && like("abcbcd", "a*bcd"));
        let (text, pattern) = ("a".repeat(4096), "*a".repeat(500) + "b");
        assert!(!like(&text, &pattern), "and not in a lifetime");
    }

    #[test]
    fn all_that_is_named_has_to_hold() {
        let wanted: Match = serde_json::from_str(
            r#"{"method":"post","path":"/v1/*","headers":{"X-Tenant":"acme*","Accept":"*"}}"#,
        )
        .unwrap();
        wanted.check(true).unwrap();
        let asked = |method, target, tenant: &'static str| {
            wanted.is_of(method, target, |name| match name {
                "X-Tenant" => Some(tenant.as_bytes()),
                "Accept" => Some(b""),
                _ => None,
            })
        };
        assert!(asked("POST", "/v1/payments?x=/v2", "acme-eu"));
        assert!(!asked("GET", "/v1/payments", "acme"));
        assert!(!asked("POST", "/v2/payments?/v1/", "acme"));
        assert!(!asked("POST", "/v1/payments", "other"));
    }
}
