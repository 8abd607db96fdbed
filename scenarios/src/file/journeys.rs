//! The tables of virtual users and their keys; as [`super::tables`], for the author of a scenario.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::scalar::{At, DurationText};

/// Virtual users that go through `step`s again and again, each asking only after its last answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Journey {
    /// Unique; letters, digits, `_` and `-`.
    pub name: At<String>,
    /// How many users. Either this or `ramp`.
    #[schemars(range(min = 1, max = 10000))]
    pub users: Option<At<u32>>,
    /// Users that begin one after the other.
    pub ramp: Option<At<UserRamp>>,
    /// The phase in which it goes on. Either this or `at` and `for`. Default: from the end of the
    /// warm-up phases that the run begins with to the end of the last phase.
    pub phase: Option<At<String>>,
    /// When it begins, from the start of the run. Default with `for`: 0s.
    pub at: Option<At<DurationText>>,
    /// How long it goes on. Needed when there is no phase.
    #[serde(rename = "for")]
    pub lasts: Option<At<DurationText>>,
    /// How long a user pauses after each step: always as long, `"500ms"`, or between `min` and
    /// `max`, all alike. Default: not at all.
    pub think: Option<At<Think>>,
    /// What a user does, one after the other; then again from the first. At least one.
    #[serde(default)]
    pub step: Vec<At<Step>>,
}

/// Users that begin one after the other: `from` at once, the others evenly over a time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRamp {
    /// How many begin at once.
    pub from: At<u32>,
    /// How many there are at last.
    #[schemars(range(min = 1, max = 10000))]
    pub to: At<u32>,
    /// Over how long the others begin.
    pub over: At<DurationText>,
}

/// How long a user pauses, as typed.
#[derive(Debug, JsonSchema)]
#[serde(untagged)]
pub enum Think {
    /// Always as long.
    Always(DurationText),
    /// Longer and shorter.
    Between(ThinkRange),
}

impl<'de> Deserialize<'de> for Think {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Think;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"500ms\", or a table { min = …, max = … }")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Think, E> {
                DurationText::deserialize(v.into_deserializer()).map(Think::Always)
            }

            // By hand, because what derive makes of `untagged` forgets where values stand.
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Think, A::Error> {
                ThinkRange::deserialize(MapAccessDeserializer::new(map)).map(Think::Between)
            }
        }
        d.deserialize_any(Either)
    }
}

/// A pause between `min` and `max`, all alike.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThinkRange {
    /// The shortest pause.
    pub min: At<DurationText>,
    /// The longest pause.
    pub max: At<DurationText>,
}

/// One step of a journey.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Unique within the journey; letters, digits, `_` and `-`.
    pub name: At<String>,
    /// Only at the beginning of a user's session: its values are kept over the iterations. An
    /// iteration that is abandoned ends the session. Default: false.
    #[serde(default)]
    pub once: bool,
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: At<String>,
    /// Path and query, with placeholders: `/v1/accounts/${account}`.
    pub path: At<String>,
    /// Further headers, values with placeholders; as of a `request`.
    #[serde(default)]
    pub headers: BTreeMap<At<String>, At<String>>,
    /// The body, with placeholders. A value in quotes is escaped; outside quotes it is JSON.
    pub body: Option<At<String>>,
    /// Statuses that count as ok. Default: every 2xx.
    #[serde(default)]
    pub expect: Vec<At<u16>>,
    /// Statuses that count as declined, a business answer and not a failure. Default: 402.
    pub declined: Option<Vec<At<u16>>>,
    /// Values for later steps, by JSON pointer: `{ access = "/access_token" }` becomes `${access}`.
    #[serde(default)]
    pub take: BTreeMap<At<String>, At<String>>,
}
