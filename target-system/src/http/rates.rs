//! Token buckets, for each user and for each address.
//!
//! There is a fixed number of buckets, and which is whose is a hash under a secret of the process: memory does
//! not grow with the number of callers, and at worst two of them share one.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Requests in a time, all of which may come at once: `100/min`, `20/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    requests: NonZeroU32,
    every: Duration,
}

impl Allowance {
    /// How many.
    #[must_use]
    pub fn requests(self) -> NonZeroU32 {
        self.requests
    }

    /// In which time.
    #[must_use]
    pub fn every(self) -> Duration {
        self.every
    }
}

/// A text that is no [`Allowance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write requests per second, minute or hour, as in 100/min or 20/s")]
pub struct BadAllowance;

impl FromStr for Allowance {
    type Err = BadAllowance;

    fn from_str(text: &str) -> Result<Self, BadAllowance> {
        let (requests, unit) = text.split_once('/').ok_or(BadAllowance)?;
        let every = Duration::from_secs(match unit {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            _ => return Err(BadAllowance),
        });
        Ok(Self { requests: requests.parse().map_err(|_| BadAllowance)?, every })
    }
}

/// The limits that are kept to.
#[derive(Debug)]
pub struct Rates {
    user: Option<Buckets>,
    address: Option<Buckets>,
    /// Whether the last address in `X-Forwarded-For` is the client's: a load balancer of ours has put it there.
    trust_forwarded: bool,
}

impl Rates {
    /// `None` when nothing is limited.
    #[must_use]
    pub fn new(user: Option<Allowance>, address: Option<Allowance>, trust_forwarded: bool) -> Option<Self> {
        (user.is_some() || address.is_some()).then(|| Self {
            user: user.map(Buckets::new),
            address: address.map(Buckets::new),
            trust_forwarded,
        })
    }

    /// Takes a token of the client at `peer`, who may have been forwarded.
    ///
    /// # Errors
    /// How long it will be until there is one.
    pub fn take_of_address(&self, peer: IpAddr, forwarded: Option<&[u8]>) -> Result<(), Duration> {
        let Some(buckets) = &self.address else { return Ok(()) };
        let client = forwarded.filter(|_| self.trust_forwarded).and_then(last_address).unwrap_or(peer);
        match client.to_canonical() {
            IpAddr::V4(v4) => buckets.take(v4),
            // Whoever has one address of a network has all of them.
            IpAddr::V6(v6) => buckets.take(&v6.octets()[..8]),
        }
    }

    /// Takes a token of the user called `name`.
    ///
    /// # Errors
    /// How long it will be until there is one.
    pub fn take_of_user(&self, name: &str) -> Result<(), Duration> {
        self.user.as_ref().map_or(Ok(()), |buckets| buckets.take(name))
    }
}

/// The address that the nearest proxy has added.
fn last_address(forwarded: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(forwarded).ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// As many buckets as a `u16` counts.
#[derive(Debug)]
struct Buckets {
    limiter: DefaultKeyedRateLimiter<u16>,
    secret: RandomState,
    clock: DefaultClock,
}

impl Buckets {
    fn new(allowance: Allowance) -> Self {
        let quota = Quota::with_period(allowance.every / allowance.requests.get())
            // More than a token a nanosecond is no limit that anybody could tell from this.
            .unwrap_or_else(|| Quota::per_second(allowance.requests))
            .allow_burst(allowance.requests);
        Self {
            limiter: RateLimiter::keyed(quota),
            secret: RandomState::new(),
            clock: DefaultClock::default(),
        }
    }

    fn take(&self, whose: impl Hash) -> Result<(), Duration> {
        let bucket = (self.secret.hash_one(whose) & 0xffff) as u16;
        self.limiter.check_key(&bucket).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_number_and_a_unit() {
        let of = |text: &str| text.parse::<Allowance>();
        assert_eq!(of("100/min").map(|a| (a.requests.get(), a.every.as_secs())), Ok((100, 60)));
        assert_eq!(of("20/s").map(|a| (a.requests.get(), a.every.as_secs())), Ok((20, 1)));
        for bad in ["", "20", "/s", "0/s", "-1/s", "1/day", "1.5/s", "99999999999/s"] {
            assert_eq!(of(bad), Err(BadAllowance), "{bad}");
        }
    }

    fn rates(trust_forwarded: bool) -> Rates {
        let allowance = "3/h".parse().ok();
        Rates::new(allowance, allowance, trust_forwarded).expect("something is limited")
    }

    fn taken(mut take: impl FnMut() -> Result<(), Duration>) -> usize {
        (0..10).filter(|_| take().is_ok()).count()
    }

    #[test]
    fn each_has_a_bucket_and_is_told_when_it_has_a_token_again() {
        let rates = rates(false);
        assert_eq!(taken(|| rates.take_of_user("ada")), 3);
        let wait = rates.take_of_user("ada").expect_err("it is empty");
        assert!(wait > Duration::from_secs(1100) && wait <= Duration::from_secs(1200), "{wait:?}");
        let at = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(taken(|| rates.take_of_address(at("192.0.2.1"), None)), 3);
        assert_eq!(taken(|| rates.take_of_address(at("::ffff:192.0.2.1"), None)), 0);
        assert_eq!(taken(|| rates.take_of_address(at("2001:db8::1"), None)), 3);
        assert_eq!(taken(|| rates.take_of_address(at("2001:db8::2"), None)), 0);
    }

    #[test]
    fn a_forwarded_address_counts_only_when_it_is_trusted() {
        let peer: IpAddr = "10.0.0.1".parse().expect("an address");
        let forged = |n: usize| format!("198.51.100.7, 203.0.113.{n}");
        let trusting = rates(true);
        assert_eq!(
            (0..9).filter(|n| trusting.take_of_address(peer, Some(forged(*n).as_bytes())).is_ok()).count(),
            9
        );
        assert_eq!(taken(|| trusting.take_of_address(peer, Some(b"203.0.113.200, nonsense"))), 3);
        let wary = rates(false);
        assert_eq!(
            (0..9).filter(|n| wary.take_of_address(peer, Some(forged(*n).as_bytes())).is_ok()).count(),
            3
        );
    }
}
