//! What is shipped: the scenarios of `library/`, the experiments of `chaos/library/`, and the commented scenario to begin from.

use crate::edited::EditedText;
use crate::overrides::{Override, apply};
use crate::source::Source;

/// A shipped scenario: a file of `library/`, with some of its values set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// What `squall run` calls it.
    pub name: &'static str,
    /// The file's TOML.
    pub text: &'static str,
    /// Key paths and the values that they are set to, as by `--set`.
    pub set: &'static [(&'static str, &'static str)],
}

impl Shipped {
    /// The scenario as a source to load.
    #[must_use]
    pub fn source(&self) -> Source {
        let name = format!("{}.toml", self.name);
        let mut set: Vec<Override> =
            self.set.iter().map(|(key, value)| Override::new(*key, *value)).collect();
        if !set.is_empty() {
            set.push(Override::new("name", self.name));
        }
        let mut text = EditedText::new(&name, self.text);
        // Tests load every one, so a value that cannot be set is never shipped.
        let _ = apply(&mut text, &name, &set);
        let text = text.as_str().to_owned();
        Source { name, text }
    }
}

/// Files as they are, and profiles: files whose highest rate is set to 10,000, 50,000 and 100,000 requests
/// a second by the three factors given, with the connections, the room and the threads that they need.
macro_rules! shipped {
    (
        files: $($file:literal),*;
        profiles: $($base:literal as $name:literal: $summary:literal, by $k10:literal $k50:literal $k100:literal;)*
    ) => {
        &[
            $(Shipped { name: $file, text: shipped!(text $file), set: &[] },)*
            $(
                Shipped {
                    name: concat!($name, "-10k"),
                    text: shipped!(text $base),
                    set: &[("summary", concat!($summary, ", up to 10,000 a second")), ("load.scale", $k10)],
                },
                Shipped {
                    name: concat!($name, "-50k"),
                    text: shipped!(text $base),
                    set: &[
                        ("summary", concat!($summary, ", up to 50,000 a second")),
                        ("load.scale", $k50),
                        // As a gateway in front of payments does: few connections, many requests on each.
                        ("load.connections", "32"),
                        ("load.pipeline", "16"),
                        ("load.max_in_flight", "100000"),
                    ],
                },
                Shipped {
                    name: concat!($name, "-100k"),
                    text: shipped!(text $base),
                    set: &[
                        ("summary", concat!($summary, ", up to 100,000 a second")),
                        ("load.scale", $k100),
                        ("load.connections", "64"),
                        ("load.pipeline", "32"),
                        ("load.coalesce", "200us"),
                        ("load.max_in_flight", "200000"),
                        ("load.workers", "2"),
                    ],
                },
            )*
        ]
    };
    (text $file:literal) => { include_str!(concat!("../library/", $file, ".toml")) };
}

/// Every shipped scenario, the one to begin with first.
pub const SHIPPED: &[Shipped] = shipped! {
    files: "quickstart", "ramp-to-knee", "spike-10x", "soak", "failover-1k", "weak-spots", "customer-journey", "journey-under-load";
    profiles:
        "steady-10k" as "steady": "A constant rate for half a minute, nothing broken", by "1" "5" "10";
        "ramp" as "ramp": "From a tenth of the peak to the peak along a line, and back", by "1" "5" "10";
        "spike-10x" as "spike-10x": "Ten times the load within a second, and back", by "1" "5" "10";
        "black-friday" as "black-friday": "A sale opens at five times its eve, and a busy day follows", by "1" "5" "10";
        "payday" as "payday": "A day in five minutes: salaries at six, spent in the evening", by "1" "5" "10";
        "lunch-and-evening" as "lunch-and-evening": "A day in five minutes, with two peaks", by "1" "5" "10";
        "soak" as "soak": "An hour at one rate, to find leaks and drift", by "5" "25" "50";
};

macro_rules! experiments {
    ($($file:literal),* $(,)?) => {
        &[$(Shipped {
            name: $file,
            text: include_str!(concat!("../../chaos/library/", $file, ".toml")),
            set: &[],
        },)*]
    };
}

/// Every shipped experiment: a load, something that goes wrong in its middle, and what must hold around it.
pub const EXPERIMENTS: &[Shipped] = experiments! {
    "answers-cut",
    "api-errors",
    "api-panics",
    "backends-terminated",
    "cache-cold",
    "cache-down",
    "cache-evicts",
    "cache-hangs",
    "cache-refuses",
    "clock-wrong",
    "commits-slow",
    "connections-exhausted",
    "connections-reset",
    "database-brown-out",
    "database-down",
    "database-slow",
    "disk-busy",
    "fraud-check-browns-out",
    "fraud-check-down",
    "gateway-errors",
    "hot-lock",
    "memory-leak",
    "network-gone",
    "network-slow",
    "noisy-neighbour",
    "notifications-down",
    "out-of-descriptors",
    "packets-lost",
    "primary-killed",
    "primary-stands-still",
    "processors-gone",
    "queries-slow",
    "queue-consumer-slow",
    "queue-down",
    "refused",
    "region-lost",
    "replica-lags",
    "retry-storm",
    "rolling-restart",
    "rows-locked",
    "service-killed",
    "service-pauses",
    "service-unreachable",
    "slow-answers",
    "spike-with-slow-database",
    "zone-lost",
};

/// The commented scenario that `squall init` writes.
pub const TEMPLATE: &str = include_str!("../library/template/scenario.toml");

/// The shipped scenario or experiment called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Shipped> {
    SHIPPED.iter().chain(EXPERIMENTS).find(|s| s.name == name)
}
