//! Values as typed: where they stand in the text, and what a text must hold.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_spanned::Spanned;

/// A value and the bytes of the text that it was typed in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(transparent)]
pub struct At<T>(Spanned<T>);

impl<T> At<T> {
    /// `value`, as typed in the bytes `span`.
    #[must_use]
    pub fn new(span: Range<usize>, value: T) -> Self {
        Self(Spanned::new(span, value))
    }

    /// The bytes it was typed in.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.0.span()
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get_ref()
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $expecting:literal, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, v: &str) -> Result<$name, E> {
                        Ok($name(v.to_owned()))
                    }
                }
                d.deserialize_str(Text)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

text!(
    /// Requests per time, as typed: `10k/s`. See [`crate::units::rate`].
    RateText,
    "a rate such as \"10k/s\"",
    r"^[0-9]+(\.[0-9]+)?[kM]?/(s|min|h)$"
);
text!(
    /// A span of time, as typed: `1m30s`. See [`crate::units::duration`].
    DurationText,
    "a duration such as \"30s\"",
    r"^([0-9]+(\.[0-9]+)?(d|h|m|s|ms|us|µs|ns))+$"
);

/// A rate, or the number that a rate is multiplied by, as typed: `10k/s` or `1.5`.
#[derive(Debug, Clone, PartialEq)]
pub enum Level {
    /// `1.5`
    Factor(f64),
    /// `"10k/s"`
    Rate(String),
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Level;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate such as \"10k/s\"")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Level, E> {
                Ok(Level::Rate(v.to_owned()))
            }

            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Level, E> {
                Ok(Level::Factor(v))
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Level, E> {
                Ok(Level::Factor(v as f64))
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Level, E> {
                Ok(Level::Factor(v as f64))
            }
        }
        d.deserialize_any(Either)
    }
}

impl JsonSchema for Level {
    fn schema_name() -> Cow<'static, str> {
        "Level".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A rate such as \"10k/s\"; in the later terms of a product a factor, a number.",
            "anyOf": [
                { "type": "number", "minimum": 0, "maximum": 1000 },
                { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?[kM]?/(s|min|h)$" },
            ]
        })
    }
}

/// A plain value, as typed.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// Text in quotes.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// Any other number.
    Number(f64),
    /// `true` or `false`
    Bool(bool),
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Plain;
        impl Visitor<'_> for Plain {
            type Value = Literal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a finite number, true or false")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Literal, E> {
                Ok(Literal::Text(v.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Literal, E> {
                Ok(Literal::Whole(v))
            }

            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Literal, E> {
                // JSON has no others, so nothing could be equal to them.
                if !v.is_finite() {
                    return Err(E::invalid_value(de::Unexpected::Float(v), &self));
                }
                Ok(Literal::Number(v))
            }

            fn visit_bool<E: de::Error>(self, v: bool) -> Result<Literal, E> {
                Ok(Literal::Bool(v))
            }
        }
        d.deserialize_any(Plain)
    }
}

impl JsonSchema for Literal {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Literal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// A share, as typed: `99.9%`, or a number from 0 to 1. See [`crate::units::ratio`].
#[derive(Debug, Clone, PartialEq)]
pub enum Ratio {
    /// `0.999`
    Number(f64),
    /// `"99.9%"`
    Text(String),
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Ratio;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share such as \"99.9%\", or a number from 0 to 1")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Ratio, E> {
                Ok(Ratio::Text(v.to_owned()))
            }

            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Ratio, E> {
                Ok(Ratio::Number(v))
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Ratio, E> {
                Ok(Ratio::Number(v as f64))
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Ratio, E> {
                Ok(Ratio::Number(v as f64))
            }
        }
        d.deserialize_any(Either)
    }
}

impl JsonSchema for Ratio {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "number", "minimum": 0, "maximum": 1 },
                { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%?$" },
            ]
        })
    }
}

/// A column or key, as typed: a name, or a position from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnText {
    /// `"time"`
    Name(String),
    /// `3`
    Position(u64),
}

impl<'de> Deserialize<'de> for ColumnText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = ColumnText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name in quotes, or a column's number from 1")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<ColumnText, E> {
                Ok(ColumnText::Name(v.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<ColumnText, E> {
                Ok(ColumnText::Position(v))
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<ColumnText, E> {
                u64::try_from(v)
                    .map(ColumnText::Position)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(v), &self))
            }
        }
        d.deserialize_any(Either)
    }
}

impl JsonSchema for ColumnText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ColumnText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "string", "minLength": 1 }, { "type": "integer", "minimum": 1 }]
        })
    }
}
