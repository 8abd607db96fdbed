//! Where a fault acts.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named place in the reference service where faults act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultPoint {
    /// Before a request is handled at all.
    Api,
    /// Before the ledger's store is asked to commit.
    Store,
    /// While the ledger's store makes payments durable.
    Commit,
    /// The fraud check of a payment.
    Fraud,
    /// The notification sent after a payment.
    Notify,
    /// The process as a whole: its memory, its processors, its clock.
    Service,
}

impl FaultPoint {
    /// How many points there are.
    pub const COUNT: usize = 6;
    /// All points.
    pub const ALL: [FaultPoint; Self::COUNT] = [
        FaultPoint::Api,
        FaultPoint::Store,
        FaultPoint::Commit,
        FaultPoint::Fraud,
        FaultPoint::Notify,
        FaultPoint::Service,
    ];

    /// The name used in scenarios and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultPoint::Api => "api",
            FaultPoint::Store => "store",
            FaultPoint::Commit => "commit",
            FaultPoint::Fraud => "fraud",
            FaultPoint::Notify => "notify",
            FaultPoint::Service => "service",
        }
    }
}

/// Where a fault acts. Written as `store`, a point of the reference service, or as `kind:name`: `container:payments-2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// A point in the reference service.
    Point(FaultPoint),
    /// A process on this machine: `target`, which the run has started, or a process id.
    Process(String),
    /// A container, by its name, or by its service's where docker compose has started it.
    Container(String),
    /// A Postgres, by the name that the run knows it by.
    Postgres(String),
    /// A Redis, likewise.
    Redis(String),
    /// A NATS, likewise.
    Nats(String),
    /// A proxy between two others, by its name.
    Proxy(String),
    /// Several of these under one name: a zone, a region.
    Group(String),
}

impl Place {
    /// The kinds of place that have a name, as they are written.
    pub const KINDS: [&'static str; 7] =
        ["process", "container", "postgres", "redis", "nats", "proxy", "group"];

    /// The point in the reference service, when it is one.
    #[must_use]
    pub fn point(&self) -> Option<FaultPoint> {
        match self {
            Place::Point(point) => Some(*point),
            _ => None,
        }
    }

    /// What it is called among those of its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Place::Point(point) => point.name(),
            Place::Process(name)
            | Place::Container(name)
            | Place::Postgres(name)
            | Place::Redis(name)
            | Place::Nats(name)
            | Place::Proxy(name)
            | Place::Group(name) => name,
        }
    }

    /// The place of this kind and name; `None` when there is no such kind.
    #[must_use]
    pub fn named(kind: &str, name: &str) -> Option<Self> {
        let name = name.to_owned();
        Some(match kind {
            "process" => Place::Process(name),
            "container" => Place::Container(name),
            "postgres" => Place::Postgres(name),
            "redis" => Place::Redis(name),
            "nats" => Place::Nats(name),
            "proxy" => Place::Proxy(name),
            "group" => Place::Group(name),
            _ => return None,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Place::Point(point) => return f.write_str(point.name()),
            Place::Process(name) => ("process", name),
            Place::Container(name) => ("container", name),
            Place::Postgres(name) => ("postgres", name),
            Place::Redis(name) => ("redis", name),
            Place::Nats(name) => ("nats", name),
            Place::Proxy(name) => ("proxy", name),
            Place::Group(name) => ("group", name),
        };
        write!(f, "{kind}:{name}")
    }
}

/// What is written is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no place where a fault acts: it is api, store, commit, fraud, notify, service, or kind:name, such as container:payments-2"
)]
pub struct NoPlace(pub String);

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let place = match text.split_once(':') {
            None => FaultPoint::ALL.into_iter().find(|p| p.name() == text).map(Place::Point),
            Some((_, "")) => None,
            Some((kind, name)) => Place::named(kind, name),
        };
        place.ok_or_else(|| NoPlace(text.to_owned()))
    }
}

impl TryFrom<String> for Place {
    type Error = NoPlace;

    fn try_from(text: String) -> Result<Self, NoPlace> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> String {
        place.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_as_it_is_written() {
        for text in ["store", "service", "process:target", "container:payments-2", "group:zone:b"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for wrong in ["", "stor", "process", "process:", "planet:mars"] {
            assert_eq!(wrong.parse::<Place>(), Err(NoPlace(wrong.to_owned())));
        }
    }
}
