//! A partition between named ends: every proxy between them lets nothing through, in one direction or both.
//!
//! What is sent meanwhile is held, not lost, and new connections wait: as in a network that does not carry packets for a while, where TCP sends
//! them again. It is made of toxics, and so is undone with them.

use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::object::Object;
use super::one::Proxy;
use super::toxic::{Stream, Typed as TypedToxic, name_is_wrong};

/// The most partitions.
pub const MAX_PARTITIONS: usize = 64;
/// The most ends on a side.
const MAX_ENDS: usize = 64;

/// A partition as it is typed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Typed {
    /// Unique.
    pub name: String,
    /// Ends on one side, by the names that proxies give them.
    pub from: Vec<String>,
    /// Ends on the other.
    pub to: Vec<String>,
    /// Whether data still flows from the second side to the first.
    pub one_way: bool,
    /// After how many milliseconds it ends by itself.
    pub ttl: Option<u64>,
}

/// A partition as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Unique.
    pub name: String,
    /// Ends on one side.
    pub from: Vec<String>,
    /// Ends on the other.
    pub to: Vec<String>,
    /// Whether data still flows from the second side to the first.
    pub one_way: bool,
    /// The proxies between them.
    pub proxies: Vec<String>,
}

impl Typed {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// 400 when it does not.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        if self.name.is_empty() {
            return Err(ApiError::missing("name"));
        }
        if let Some(why) = name_is_wrong(&self.name) {
            return Err(ApiError::bad_body(format_args!("partition {:?}: {why}", self.name)));
        }
        for (field, ends) in [("from", &self.from), ("to", &self.to)] {
            match ends.len() {
                0 => return Err(ApiError::missing(field)),
                1..=MAX_ENDS => {}
                _ => return Err(ApiError::too_many("ends of a side", MAX_ENDS)),
            }
        }
        if let Some(both) = self.from.iter().find(|end| self.to.contains(end)) {
            return Err(ApiError::bad_body(format_args!("end {both:?} is on both sides")));
        }
        Ok(())
    }

    /// Which streams of a proxy between `from` and `to` carry nothing.
    #[must_use]
    pub fn blocks(&self, (from, to): (&str, &str)) -> Vec<Stream> {
        let is = |ends: &[String], end: &str| ends.iter().any(|e| e == end);
        let (along, against) =
            (is(&self.from, from) && is(&self.to, to), is(&self.to, from) && is(&self.from, to));
        match (along, against, self.one_way) {
            (false, false, _) => vec![],
            (_, _, false) => vec![Stream::Upstream, Stream::Downstream],
            (true, ..) => vec![Stream::Upstream],
            (false, ..) => vec![Stream::Downstream],
        }
    }

    /// The name of its toxic on `stream`.
    #[must_use]
    pub fn toxic_name(name: &str, stream: Stream) -> String {
        format!("partition-{name}-{}", stream.name())
    }

    /// Acts on `proxy`. Whether that lies between the sides.
    ///
    /// # Errors
    /// As for a toxic.
    pub(super) fn act_on(&self, proxy: &Proxy) -> Result<bool, ApiError> {
        let streams = proxy.ends().map(|ends| self.blocks(ends)).unwrap_or_default();
        for stream in &streams {
            let name = Self::toxic_name(&self.name, *stream);
            let toxic = serde_json::json!({
                "name": name, "type": "partition", "stream": stream.name(), "ttl": self.ttl,
            });
            let Object(typed): Object<TypedToxic> =
                serde_json::from_value(toxic).map_err(ApiError::bad_body)?;
            proxy.add(typed)?;
        }
        Ok(!streams.is_empty())
    }
}

impl Shown {
    /// Whether it still acts on `proxy`, one of its own.
    #[must_use]
    pub fn acts_on(&self, proxy: &Proxy) -> bool {
        [Stream::Upstream, Stream::Downstream]
            .into_iter()
            .any(|stream| proxy.toxic(&Typed::toxic_name(&self.name, stream)).is_ok())
    }

    /// Ends it on `proxy`.
    pub(super) fn leave(&self, proxy: &Proxy) {
        for stream in [Stream::Upstream, Stream::Downstream] {
            // One that is over by itself is over.
            let _ = proxy.remove(&Typed::toxic_name(&self.name, stream));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_is_the_way_that_is_named() {
        let split = |one_way| Typed {
            name: "p".into(),
            from: vec!["app".into()],
            to: vec!["db".into(), "cache".into()],
            one_way,
            ttl: None,
        };
        let both = vec![Stream::Upstream, Stream::Downstream];
        assert_eq!(split(false).blocks(("app", "cache")), both);
        assert_eq!(split(false).blocks(("db", "app")), both);
        assert_eq!(split(false).blocks(("app", "queue")), vec![]);
        assert_eq!(split(false).blocks(("db", "cache")), vec![]);
        assert_eq!(split(true).blocks(("app", "db")), vec![Stream::Upstream]);
        assert_eq!(split(true).blocks(("db", "app")), vec![Stream::Downstream]);
    }
}
