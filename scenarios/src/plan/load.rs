//! Who is loaded, and by what: the target, the connections, who sets the pace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bursts::Bursts;

/// What is loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "system", rename_all = "snake_case")]
pub enum TargetPlan {
    /// The reference payment service, started as a child of the run.
    Reference(ServicePlan),
    /// The reference payment service on the parts that a real one stands on, started by docker compose
    /// for the run.
    Compose {
        /// The service.
        #[serde(flatten)]
        service: ServicePlan,
        /// The stack's file; docker compose looks for it when none is given.
        file: Option<String>,
    },
    /// A service that runs already.
    Url {
        /// Scheme, host and port, or a socket: `http://127.0.0.1:8080`, `unix:///run/pay.sock`.
        url: String,
        /// A file of certificate authorities to trust besides this machine's, in PEM.
        #[serde(default)]
        ca_file: Option<String>,
        /// The environment variable that holds the bearer token; its value is never recorded.
        token_env: Option<String>,
        /// Hosts beyond loopback to which the scenario allows load.
        allow: Vec<String>,
    },
}

impl TargetPlan {
    /// The reference payment service, when squall starts it.
    #[must_use]
    pub fn service(&self) -> Option<ServicePlan> {
        match self {
            TargetPlan::Reference(service) | TargetPlan::Compose { service, .. } => Some(*service),
            TargetPlan::Url { .. } => None,
        }
    }
}

/// The reference payment service as a run needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// How many accounts it opens before the run.
    pub accounts: u64,
    /// What each of them holds at first, in minor units.
    pub opening_balance: i64,
    /// How it stands up to failures around it.
    #[serde(default)]
    pub profile: Profile,
}

/// How the reference payment service stands up to failures around it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// As well as it can.
    #[default]
    Hardened,
    /// With planted flaws that a load finds.
    Naive,
}

impl Profile {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Profile::Hardened => "hardened",
            Profile::Naive => "naive",
        }
    }
}

/// How the load is carried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadPlan {
    /// How arrivals are spaced.
    pub arrivals: Arrivals,
    /// Keep-alive connections in all.
    pub connections: u32,
    /// How many requests a connection of the own transport carries at once: more than 1 is HTTP/1.1
    /// pipelining.
    #[serde(default = "no_pipelining")]
    pub pipeline: u32,
    /// Requests on the wire or waiting for a connection; an arrival beyond it is dropped.
    pub max_in_flight: u32,
    /// After how long a request on the wire is given up.
    pub timeout_ms: u64,
    /// Worker threads.
    pub workers: u32,
    /// The highest rate that may be asked for, also while the run goes on.
    #[serde(default = "highest_rate_rps")]
    pub max_rate_rps: f64,
    /// Who sets the pace.
    #[serde(default, skip_serializing_if = "Mode::is_open")]
    pub mode: Mode,
    /// How long before an arrival is due a worker stops sleeping and polls, in microseconds: more
    /// punctual, for CPU that a target on the same machine would use.
    #[serde(default)]
    pub spin_us: u64,
    /// The least time between two looks of a worker at its clock and its sockets, in microseconds:
    /// fewer wake-ups, for arrivals and answers that are dealt with so much later.
    #[serde(default)]
    pub coalesce_us: u64,
    /// What carries the requests.
    #[serde(default)]
    pub transport: Transport,
}

/// What carries the requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transport {
    /// squall's own HTTP/1.1, over TCP or a Unix socket.
    #[default]
    Own,
    /// reqwest: TLS, HTTP/2 and everything else, for at least twice the CPU per request.
    General {
        /// The version spoken.
        http: Http,
    },
}

impl Transport {
    /// The name used in every record and report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Transport::Own => "own",
            Transport::General { .. } => "general",
        }
    }

    /// The version of HTTP that it speaks.
    #[must_use]
    pub fn http(self) -> Http {
        match self {
            Transport::Own => Http::V1,
            Transport::General { http } => http,
        }
    }
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Http {
    /// HTTP/1.1: one request at a time on a connection.
    #[serde(rename = "1.1")]
    V1,
    /// HTTP/2: many at a time. Without TLS the target must know that it comes (h2c with prior
    /// knowledge).
    #[serde(rename = "2")]
    V2,
}

impl Http {
    /// `1.1` or `2`.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Http::V1 => "1.1",
            Http::V2 => "2",
        }
    }
}

/// Of a plan that does not say: that of a manifest written before there was a field for it.
fn no_pipelining() -> u32 {
    1
}

fn highest_rate_rps() -> f64 {
    crate::units::rate::MAX_RATE_RPS
}

/// Who sets the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The plan's schedule, whatever the target does.
    #[default]
    Open,
    /// The target: each connection sends its next request when the last is answered. What it
    /// measures is a maximum throughput and says nothing about response time under a load.
    Closed,
}

impl Mode {
    fn is_open(&self) -> bool {
        *self == Mode::Open
    }

    /// Whether the target sets the pace.
    #[must_use]
    pub fn is_closed(self) -> bool {
        self == Mode::Closed
    }
}

/// How arrivals are spaced around the planned rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Evenly.
    Uniform,
    /// As independent clients would: a Poisson process with the planned rate.
    Poisson,
    /// In bursts: a Markov-modulated Poisson process whose mean is the planned rate.
    Bursty(Bursts),
}
