//! A toxic as it is asked for and shown: Toxiproxy's JSON, and a time to live.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use squall_record::fault::Delay;

use super::attributes::{
    Bandwidth, HttpAbort, HttpBody, Latency, LimitData, Loss, Noop, Partition, Refuse, ResetPeer, Slicer,
    SlowClose, SlowConnect, Timeout,
};
use super::error::ApiError;
use super::matching::Match;
use crate::lease::{MAX_NAME_BYTES, MAX_TTL_MS, check_delay};

/// The most bytes of a body that `http_body` makes others of.
pub const MAX_CORRUPT: u64 = 4096;
/// The longest time that a toxic holds anything, in milliseconds: a day.
pub const MAX_WAIT_MS: u64 = 86_400_000;

/// Which way data flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// From the client to the upstream.
    Upstream,
    /// From the upstream to the client.
    Downstream,
}

impl Stream {
    /// The stream called `name`, in letters of either case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Stream::Upstream, Stream::Downstream].into_iter().find(|s| name.eq_ignore_ascii_case(s.name()))
    }

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stream::Upstream => "upstream",
            Stream::Downstream => "downstream",
        }
    }
}

/// What a toxic does to the data that passes it. A missing attribute is 0, as in Toxiproxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "attributes", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// Nothing.
    Noop(Noop),
    /// Holds it for a while.
    Latency(Latency),
    /// Lets it through at a limited rate.
    Bandwidth(Bandwidth),
    /// Holds the end of the connection for a while.
    SlowClose(SlowClose),
    /// Lets nothing through, and closes the connection after a while.
    Timeout(Timeout),
    /// Resets the connection.
    ResetPeer(ResetPeer),
    /// Cuts it into small pieces.
    Slicer(Slicer),
    /// Closes the connection after so much of it.
    LimitData(LimitData),
    /// Holds it for a while that is drawn from a distribution.
    Delay(Delay),
    /// Loses packets, as a network does: what is lost comes later, and holds up what comes after it.
    Loss(Loss),
    /// Has the connection to the upstream take a while.
    SlowConnect(SlowConnect),
    /// Resets a connection as soon as it is made.
    Refuse(Refuse),
    /// Holds everything until it is gone, and connects nobody meanwhile.
    Partition(Partition),
    /// Holds a request, or its answer.
    HttpDelay(Delay),
    /// Answers in the upstream's place.
    HttpAbort(HttpAbort),
    /// Changes the body of an answer.
    HttpBody(HttpBody),
}

/// A toxic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Toxic {
    /// Unique among those of its proxy, in both streams.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub kind: Kind,
    /// What it does it to.
    pub stream: Stream,
    /// The share of connections that it meets, or of requests, 0..=1.
    pub toxicity: f64,
    /// Which connections or requests it can meet at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#match: Option<Match>,
    /// It can meet only so many requests, the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// It can meet only every so-many-th request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// After how many milliseconds it ends by itself; shown is what remains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// A toxic as it is typed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Typed {
    name: Option<String>,
    r#type: Option<String>,
    stream: Option<String>,
    /// What noxious, another proxy with this API, calls the stream.
    direction: Option<String>,
    toxicity: Option<f64>,
    attributes: Option<Map<String, Value>>,
    r#match: Option<Match>,
    first: Option<u64>,
    every: Option<u64>,
    ttl: Option<u64>,
}

impl Typed {
    /// The toxic that is asked for.
    ///
    /// # Errors
    /// 400 when it makes no sense.
    pub fn create(self) -> Result<Toxic, ApiError> {
        let stream = match self.stream.or(self.direction).as_deref() {
            None => Stream::Downstream,
            Some(name) => Stream::parse(name).ok_or_else(ApiError::invalid_stream)?,
        };
        let kind = self.r#type.unwrap_or_default();
        let name = match self.name {
            Some(name) if !name.is_empty() => name,
            _ => format!("{kind}_{}", stream.name()),
        };
        let kind = Kind::of(&kind, self.attributes.unwrap_or_default())?;
        let toxic = Toxic {
            name,
            kind,
            stream,
            toxicity: self.toxicity.unwrap_or(1.0),
            r#match: self.r#match,
            first: self.first,
            every: self.every,
            ttl: self.ttl,
        };
        toxic.check()?;
        Ok(toxic)
    }

    /// `toxic` as it is changed: attributes that are not typed stay, its name, type and stream always.
    ///
    /// # Errors
    /// 400 when it makes no sense.
    pub fn update(self, toxic: &Toxic) -> Result<Toxic, ApiError> {
        let (name, mut attributes) = toxic.kind.parts();
        attributes.extend(self.attributes.unwrap_or_default());
        let updated = Toxic {
            kind: Kind::of(&name, attributes)?,
            toxicity: self.toxicity.unwrap_or(toxic.toxicity),
            r#match: self.r#match.or_else(|| toxic.r#match.clone()),
            first: self.first.or(toxic.first),
            every: self.every.or(toxic.every),
            ttl: self.ttl.or(toxic.ttl),
            ..toxic.clone()
        };
        updated.check()?;
        Ok(updated)
    }

    /// Whether a new time to live is asked for.
    #[must_use]
    pub fn renews(&self) -> bool {
        self.ttl.is_some()
    }
}

impl Kind {
    /// The names of all kinds.
    pub const NAMES: [&'static str; 16] = [
        "noop",
        "latency",
        "bandwidth",
        "slow_close",
        "timeout",
        "reset_peer",
        "slicer",
        "limit_data",
        "delay",
        "loss",
        "slow_connect",
        "refuse",
        "partition",
        "http_delay",
        "http_abort",
        "http_body",
    ];

    /// Whether it acts on single requests.
    #[must_use]
    pub fn is_http(&self) -> bool {
        matches!(self, Kind::HttpDelay(_) | Kind::HttpAbort(_) | Kind::HttpBody(_))
    }

    /// Whether it acts before a connection is passed on.
    #[must_use]
    pub fn is_at_the_door(&self) -> bool {
        matches!(self, Kind::SlowConnect(_) | Kind::Refuse(_))
    }

    fn of(name: &str, attributes: Map<String, Value>) -> Result<Self, ApiError> {
        if !Self::NAMES.contains(&name) {
            return Err(ApiError::invalid_type());
        }
        let tagged = Value::Object(Map::from_iter([
            ("type".to_owned(), Value::from(name)),
            ("attributes".to_owned(), Value::Object(attributes)),
        ]));
        serde_json::from_value(tagged)
            .map_err(|e| ApiError::bad_body(format_args!("attributes of {name}: {e}")))
    }

    fn parts(&self) -> (String, Map<String, Value>) {
        let Ok(Value::Object(mut tagged)) = serde_json::to_value(self) else { return Default::default() };
        let (name, attributes) = (tagged.remove("type"), tagged.remove("attributes"));
        match (name, attributes) {
            (Some(Value::String(name)), Some(Value::Object(attributes))) => (name, attributes),
            _ => Default::default(),
        }
    }

    fn check(&self) -> Result<(), String> {
        let wait = |name: &str, ms: u64| match ms {
            0..=MAX_WAIT_MS => Ok(()),
            _ => Err(format!("{name} of {ms} ms is above a day, {MAX_WAIT_MS} ms")),
        };
        match self {
            Kind::Noop(_) | Kind::LimitData(_) | Kind::Refuse(_) | Kind::Partition(_) => Ok(()),
            Kind::Bandwidth(b) if b.to.is_some() != b.over.is_some() || b.over == Some(0) => {
                Err("a bandwidth that changes needs both `to` and `over`, above 0".to_owned())
            }
            Kind::Bandwidth(b) => wait("over", b.over.unwrap_or(0)),
            Kind::Delay(d) | Kind::HttpDelay(d) => check_delay("delay", d).map_err(|e| e.to_string()),
            Kind::Loss(l) if !(0.0..=0.9).contains(&l.loss) => {
                Err(format!("loss {} is outside 0..=0.9", l.loss))
            }
            Kind::Loss(l) if l.rto == 0 || l.rto > 60_000 => {
                Err(format!("rto of {} ms is outside 1..=60000", l.rto))
            }
            Kind::Loss(l) if !(64..=65_536).contains(&l.size) => {
                Err(format!("size {} of a packet is outside 64..=65536", l.size))
            }
            Kind::Loss(_) => Ok(()),
            Kind::SlowConnect(s) => wait("delay", s.delay),
            Kind::HttpAbort(a) if a.status != 0 && !(200..=599).contains(&a.status) => {
                Err(format!("status {} is neither 0 nor in 200..=599", a.status))
            }
            Kind::HttpAbort(a) if matches!(a.status, 204 | 304) && !a.body.is_empty() => {
                Err(format!("an answer {} has no body", a.status))
            }
            Kind::HttpAbort(_) => Ok(()),
            Kind::HttpBody(b) => {
                let typed = [b.truncate.is_some(), b.corrupt.is_some(), b.replace.is_some()];
                match typed.into_iter().filter(|typed| *typed).count() {
                    1 if b.corrupt.is_some_and(|n| !(1..=MAX_CORRUPT).contains(&n)) => {
                        Err(format!("corrupt {} is outside 1..={MAX_CORRUPT}", b.corrupt.unwrap_or(0)))
                    }
                    1 => Ok(()),
                    _ => Err("http_body needs exactly one of truncate, corrupt and replace".to_owned()),
                }
            }
            Kind::Latency(l) => wait("latency", l.latency).and_then(|()| wait("jitter", l.jitter)),
            Kind::SlowClose(s) => wait("delay", s.delay),
            Kind::Timeout(t) => wait("timeout", t.timeout),
            Kind::ResetPeer(r) => wait("timeout", r.timeout),
            Kind::Slicer(s) if s.average_size == 0 => {
                Err("average_size of a slicer is 0, must be 1 or more bytes".to_owned())
            }
            Kind::Slicer(s) if s.size_variation >= s.average_size => {
                let (variation, average) = (s.size_variation, s.average_size);
                Err(format!("size_variation {variation} of a slicer is not below its average_size {average}"))
            }
            Kind::Slicer(s) => wait("delay", s.delay / 1000),
        }
    }
}

impl Toxic {
    /// Whether it acts on the data of `stream`.
    #[must_use]
    pub fn acts_on(&self, stream: Stream) -> bool {
        self.stream == stream && !self.kind.is_at_the_door() && !self.kind.is_http()
    }

    fn check(&self) -> Result<(), ApiError> {
        let bad = |why: String| Err(ApiError::bad_body(format_args!("toxic {:?}: {why}", self.name)));
        if let Some(why) = name_is_wrong(&self.name) {
            return bad(why);
        }
        if !(0.0..=1.0).contains(&self.toxicity) {
            return bad(format!("toxicity {} is outside 0..=1", self.toxicity));
        }
        if let Some(wanted) = &self.r#match
            && let Err(why) = wanted.check(self.kind.is_http())
        {
            return bad(why);
        }
        if (self.first.is_some() || self.every.is_some()) && !self.kind.is_http() {
            return bad("first and every count requests, and so are of http_delay, http_abort and http_body"
                .to_owned());
        }
        if self.first == Some(0) || self.every == Some(0) {
            return bad("first and every are at least 1".to_owned());
        }
        if let Kind::HttpAbort(_) | Kind::HttpBody(_) = self.kind
            && self.stream == Stream::Upstream
        {
            return bad("it acts on answers, so its stream is downstream".to_owned());
        }
        self.ttl.map_or(Ok(()), check_ttl).and_then(|()| self.kind.check()).or_else(bad)
    }
}

/// Whether something may last so long.
///
/// # Errors
/// Why it may not.
pub fn check_ttl(ttl_ms: u64) -> Result<(), String> {
    match (1..=MAX_TTL_MS).contains(&ttl_ms) {
        true => Ok(()),
        false => Err(format!("ttl of {ttl_ms} ms is outside 1..={MAX_TTL_MS}")),
    }
}

/// What is wrong with a name that an address has to hold, if anything.
#[must_use]
pub fn name_is_wrong(name: &str) -> Option<String> {
    if name.len() > MAX_NAME_BYTES {
        Some(format!("a name has at most {MAX_NAME_BYTES} bytes"))
    } else if name.chars().any(|c| c.is_control() || c == '/') {
        Some("a name has no control characters and no `/`".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(json: &str) -> Result<Toxic, ApiError> {
        serde_json::from_str::<Typed>(json).map_err(ApiError::bad_body).and_then(Typed::create)
    }

    fn shown(toxic: &Toxic) -> String {
        serde_json::to_string(toxic).unwrap()
    }

    #[test]
    fn what_is_not_typed_has_toxiproxys_defaults() {
        let toxic = create(r#"{"type":"latency","attributes":{"latency":100}}"#).unwrap();
        assert_eq!(
            shown(&toxic),
            r#"{"name":"latency_downstream","type":"latency","attributes":{"latency":100,"jitter":0},"stream":"downstream","toxicity":1.0}"#
        );
        let toxic = create(r#"{"type":"noop","stream":"UPSTREAM","attributes":null}"#).unwrap();
        assert_eq!((toxic.name.as_str(), toxic.stream), ("noop_upstream", Stream::Upstream));
        let toxic = create(r#"{"type":"noop","direction":"upstream"}"#).unwrap();
        assert_eq!(toxic.stream, Stream::Upstream);
    }

    #[test]
    fn every_kind_reads_back_as_it_is_shown() {
        for name in Kind::NAMES {
            let attributes = match name {
                "slicer" => r#"{"average_size":7}"#,
                "delay" => r#"{"shape":"fixed","ms":5.0}"#,
                "http_delay" => r#"{"shape":"log_normal","p50_ms":5.0,"p99_ms":50.0}"#,
                "http_body" => r#"{"truncate":7}"#,
                _ => "{}",
            };
            let toxic = create(&format!(r#"{{"type":"{name}","attributes":{attributes},"ttl":5}}"#)).unwrap();
            assert_eq!(create(&shown(&toxic)).unwrap(), toxic);
        }
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let toxic =
            create(r#"{"type":"latency","attributes":{"latency":100,"jitter":7},"toxicity":0.5}"#).unwrap();
        let typed: Typed =
            serde_json::from_str(r#"{"attributes":{"latency":3},"name":"other","type":"noop"}"#).unwrap();
        let updated = typed.update(&toxic).unwrap();
        assert_eq!(updated.kind, Kind::Latency(Latency { latency: 3, jitter: 7 }));
        assert_eq!((updated.name.as_str(), updated.toxicity), ("latency_downstream", 0.5));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_value() {
        for (json, status, text) in [
            (
                r#"{"type":"latency","stream":"sideways"}"#,
                400,
                "stream was invalid, can be either upstream or downstream",
            ),
            (r#"{"type":"slow"}"#, 400, "invalid toxic type"),
            (r#"{}"#, 400, "invalid toxic type"),
            (r#"{"type":"latency","atributes":{}}"#, 400, "bad request body: unknown field `atributes`"),
            (r#"{"type":"latency","attributes":{"latncy":1}}"#, 400, "unknown field `latncy`"),
            (r#"{"type":"latency","attributes":{"latency":-1}}"#, 400, "integer `-1`"),
            (r#"{"type":"latency","attributes":{"latency":"1"}}"#, 400, "string \"1\""),
            (
                r#"{"type":"latency","attributes":{"latency":99999999999}}"#,
                400,
                "latency of 99999999999 ms is above a day",
            ),
            (r#"{"type":"slicer"}"#, 400, "average_size of a slicer is 0"),
            (
                r#"{"type":"slicer","attributes":{"average_size":5,"size_variation":5}}"#,
                400,
                "size_variation 5",
            ),
            (r#"{"type":"noop","toxicity":1.5}"#, 400, "toxicity 1.5 is outside 0..=1"),
            (r#"{"type":"noop","ttl":0}"#, 400, "ttl of 0 ms"),
            (r#"{"type":"delay"}"#, 400, "missing field `shape`"),
            (r#"{"type":"delay","attributes":{"shape":"fixed","ms":-1}}"#, 400, "delay -1 ms"),
            (r#"{"type":"delay","attributes":{"shape":"fixed","ms":1,"m":2}}"#, 400, "unknown field `m`"),
            (r#"{"type":"bandwidth","attributes":{"rate":1,"to":5}}"#, 400, "both `to` and `over`"),
            (r#"{"type":"loss","attributes":{"loss":1}}"#, 400, "loss 1 is outside"),
            (r#"{"type":"http_abort","attributes":{"status":99}}"#, 400, "status 99"),
            (r#"{"type":"http_abort","stream":"upstream"}"#, 400, "its stream is downstream"),
            (r#"{"type":"http_body"}"#, 400, "exactly one of truncate"),
            (r#"{"type":"latency","first":3}"#, 400, "first and every count requests"),
            (r#"{"type":"latency","match":{"path":"/x"}}"#, 400, "path"),
            (r#"{"type":"http_delay","attributes":{"shape":"fixed","ms":1},"every":0}"#, 400, "at least 1"),
            (r#"{"type":"noop","name":"a/b"}"#, 400, "no `/`"),
        ] {
            let error = create(json).unwrap_err();
            assert_eq!(error.status, status, "{json}");
            assert!(error.message.contains(text), "{json}: {}", error.message);
        }
    }
}
