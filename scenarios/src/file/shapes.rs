//! Traffic shapes as typed: the keys of a phase that say how its rate moves.

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{At, DurationText, Level, Ratio};

/// One term of a sum or a product: exactly one shape.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// Holds this rate, or this factor.
    pub rate: Option<At<Level>>,
    /// Moves from one rate to another along a line.
    pub ramp: Option<At<Ramp>>,
    /// Rises from a base to a peak, holds it, and falls back.
    pub spike: Option<At<Spike>>,
    /// Switches between two rates, again and again.
    pub pulse: Option<At<Pulse>>,
    /// Swings between two rates as a sine.
    pub sine: Option<At<Sine>>,
    /// A day from midnight to midnight.
    pub daily: Option<At<Daily>>,
    /// A week from Monday to Sunday.
    pub weekly: Option<At<Weekly>>,
    /// A year from January to December.
    pub seasonal: Option<At<Seasonal>>,
    /// Points of time and rate from a CSV file.
    pub curve: Option<At<CurveFile>>,
    /// These curves added up.
    pub sum: Option<At<Vec<At<Term>>>>,
    /// These curves multiplied: the first is the rate, every other one a factor, written as a number.
    pub product: Option<At<Vec<At<Term>>>>,
}

/// A line from one rate to another.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// The rate at its beginning.
    pub from: At<Level>,
    /// The rate at its end.
    pub to: At<Level>,
}

/// A rise, a hold and a fall.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spike {
    /// The rate before and after.
    pub base: At<Level>,
    /// The rate at the top.
    pub peak: At<Level>,
    /// When it begins to rise, from the beginning of the phase.
    pub at: At<DurationText>,
    /// How long it stays at the top.
    pub hold: At<DurationText>,
    /// How long the rise takes. Default: 0s.
    pub rise: Option<At<DurationText>>,
    /// How long the fall takes. Default: as long as the rise.
    pub fall: Option<At<DurationText>>,
}

/// Two rates in turn, the high one first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pulse {
    /// The lower rate.
    pub low: At<Level>,
    /// The higher rate.
    pub high: At<Level>,
    /// From one beginning of the high rate to the next.
    pub period: At<DurationText>,
    /// The share of the period at the high rate. Default: 50%.
    pub duty: Option<At<Ratio>>,
}

/// A sine, which begins at its mean and rises.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sine {
    /// Its lowest rate.
    pub low: At<Level>,
    /// Its highest rate.
    pub high: At<Level>,
    /// From one rise through the mean to the next.
    pub period: At<DurationText>,
}

/// A day: lowest at four in the morning, a peak at lunch, a dip in the afternoon, the highest peak in
/// the evening.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Daily {
    /// The rate at 04:00.
    pub trough: At<Level>,
    /// The rate of the evening peak.
    pub peak: At<Level>,
    /// The rate of the lunch peak. Default: four fifths of the way from trough to peak.
    pub lunch: Option<At<Level>>,
    /// When the lunch peak is, from midnight. Default: 12h30m.
    pub lunch_at: Option<At<DurationText>>,
    /// When the evening peak is, from midnight. Default: 19h30m.
    pub evening_at: Option<At<DurationText>>,
}

/// Seven days, the last two of them a weekend.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Weekly {
    /// A day of the working week.
    pub day: At<Daily>,
    /// What Saturday and Sunday are multiplied by, 0 to 10.
    #[schemars(range(min = 0, max = 10))]
    pub weekend: At<f64>,
}

/// A year of 365 days that begins on a Monday: low after New Year and in summer, Black Friday on 23
/// November with its Cyber week, the holidays from 1 to 22 December, Christmas.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seasonal {
    /// The rate of an ordinary day.
    pub ordinary: At<Level>,
    /// What Black Friday multiplies it by, 1 to 100. Default: 4.
    #[schemars(range(min = 1, max = 100))]
    pub black_friday: Option<At<f64>>,
    /// What the weeks before Christmas multiply it by, 0 to 100. Default: 1.6.
    #[schemars(range(min = 0, max = 100))]
    pub holidays: Option<At<f64>>,
    /// By how much it grows in a year, -0.9 to 10: 0.3 is 30 %. Default: 0.
    #[schemars(range(min = -0.9, max = 10))]
    pub growth: Option<At<f64>>,
}

/// A curve read from a CSV file, such as a monitoring export: straight lines from row to row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurveFile {
    /// The file, relative to the scenario's folder.
    pub file: At<String>,
    /// The column of times: seconds, or RFC 3339 timestamps. Default: the first.
    pub time: Option<At<String>>,
    /// The column of rates, in requests per second. Default: the second.
    pub rate: Option<At<String>>,
    /// The longest time from one row to the next; a longer one is a hole, and refused. Default: any.
    pub longest_gap: Option<At<DurationText>>,
}
