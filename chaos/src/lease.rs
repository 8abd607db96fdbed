//! What a run sends to a service to arm a fault, what it gets back, and what may be asked.

use serde::{Deserialize, Serialize};
use squall_record::fault::{Delay, Effect, FaultPoint, FaultSpec, Place};

/// The longest time to live of a lease. A longer fault is renewed, so that one that nobody
/// holds any more ends within the hour.
pub const MAX_TTL_MS: u64 = 3_600_000;
/// The longest injected delay. Longer ones are what [`Effect::Hang`] is for.
pub const MAX_DELAY_MS: f64 = 300_000.0;
/// The longest fault name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The most points of a percentile curve.
pub const MAX_CURVE_POINTS: usize = 64;

/// Asks for a fault: the body of `POST /admin/faults`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmRequest {
    /// What goes wrong.
    pub fault: FaultSpec,
    /// After how long it ends by itself, in milliseconds: 1..=[`MAX_TTL_MS`].
    pub ttl_ms: u64,
    /// Decides, with the fault's name, which requests are hit.
    pub seed: u64,
}

/// A fault that is or was armed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultStatus {
    /// What goes wrong.
    pub fault: FaultSpec,
    /// How long it still lasts, in milliseconds; 0 once it has ended.
    pub remaining_ms: u64,
    /// How many requests it has hit. Of a fault that acts on no requests: connections or MiB taken, threads that burn,
    /// readings of the clock.
    pub affected: u64,
}

/// Which requests a fault has hit: the answer to `GET /admin/faults/{name}/hits`. The same requests and seed give the
/// same, byte for byte, as long as nothing is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hits {
    /// The fault.
    pub fault: String,
    /// What decided.
    pub seed: u64,
    /// Id and attempt of each, in this order.
    pub hits: Vec<(u64, u32)>,
    /// How many more there were.
    pub left_out: u64,
}

/// Why a fault cannot be armed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The name is empty, too long or not printable.
    #[error("fault name must be 1 to {MAX_NAME_BYTES} bytes without control characters")]
    Name,
    /// The fraction is not a share.
    #[error("fault `{name}`: fraction {fraction} is outside 0..=1")]
    Fraction {
        /// The fault.
        name: String,
        /// What was asked.
        fraction: f64,
    },
    /// The status is not one of an error.
    #[error("fault `{name}`: status {status} is outside 400..=599")]
    Status {
        /// The fault.
        name: String,
        /// What was asked.
        status: u16,
    },
    /// A delay is negative, not a number or too long.
    #[error("fault `{name}`: delay {delay_ms} ms is outside 0..={MAX_DELAY_MS}")]
    Delay {
        /// The fault.
        name: String,
        /// What was asked.
        delay_ms: f64,
    },
    /// The bounds or the curve do not rise.
    #[error("fault `{name}`: {why}")]
    Shape {
        /// The fault.
        name: String,
        /// What does not rise.
        why: &'static str,
    },
    /// The time to live is zero or too long.
    #[error("fault `{name}`: ttl of {ttl_ms} ms is outside 1..={MAX_TTL_MS}")]
    Ttl {
        /// The fault.
        name: String,
        /// What was asked.
        ttl_ms: u64,
    },
    /// It cannot be done there.
    #[error("fault `{name}`: {kind} is not something that can be done at {place}")]
    Place {
        /// The fault.
        name: String,
        /// What it does.
        kind: &'static str,
        /// Where.
        place: Place,
    },
    /// A number of its is out of range.
    #[error("fault `{name}`: {what} {value} is outside {range}")]
    Range {
        /// The fault.
        name: String,
        /// What of it.
        what: &'static str,
        /// What was asked.
        value: f64,
        /// What may be.
        range: &'static str,
    },
    /// It acts elsewhere than in this process.
    #[error("fault `{name}`: {place} is no point of this service")]
    Elsewhere {
        /// The fault.
        name: String,
        /// Where it acts.
        place: Place,
    },
    /// It needs what the process does not provide.
    #[error("fault `{name}`: {kind} at {place} cannot be done here: {lacks}")]
    NotProvided {
        /// The fault.
        name: String,
        /// What it does.
        kind: &'static str,
        /// Where.
        place: Place,
        /// What there would have to be.
        lacks: &'static str,
    },
    /// The system does not give what it takes.
    #[error("fault `{name}`: {why}")]
    Resources {
        /// The fault.
        name: String,
        /// What is not given.
        why: String,
    },
    /// Too many faults are armed already.
    #[error("fault `{name}`: {limit} faults are armed already, end one first")]
    TooMany {
        /// The fault.
        name: String,
        /// How many may be.
        limit: usize,
    },
}

impl ArmRequest {
    /// Whether it may be armed.
    ///
    /// # Errors
    /// The first thing that is out of range.
    pub fn check(&self) -> Result<(), Refused> {
        check_spec(&self.fault)?;
        self.point()?;
        if !(1..=MAX_TTL_MS).contains(&self.ttl_ms) {
            return Err(Refused::Ttl { name: self.fault.name.clone(), ttl_ms: self.ttl_ms });
        }
        Ok(())
    }
}

impl ArmRequest {
    /// The point of the service where it acts.
    ///
    /// # Errors
    /// When it acts elsewhere.
    pub fn point(&self) -> Result<FaultPoint, Refused> {
        let FaultSpec { name, place, .. } = &self.fault;
        place.point().ok_or_else(|| Refused::Elsewhere { name: name.clone(), place: place.clone() })
    }
}

/// Whether a fault says something that can be done.
///
/// # Errors
/// The first thing that is out of range.
pub fn check_spec(spec: &FaultSpec) -> Result<(), Refused> {
    let name = || spec.name.clone();
    if !(1..=MAX_NAME_BYTES).contains(&spec.name.len()) || spec.name.chars().any(char::is_control) {
        return Err(Refused::Name);
    }
    if !(0.0..=1.0).contains(&spec.fraction) {
        return Err(Refused::Fraction { name: name(), fraction: spec.fraction });
    }
    if !spec.effect.acts_at(&spec.place) {
        let (kind, place) = (spec.effect.name(), spec.place.clone());
        return Err(Refused::Place { name: name(), kind, place });
    }
    let within = |what, value: f64, range: std::ops::RangeInclusive<f64>, shown| match range.contains(&value)
    {
        true => Ok(()),
        false => Err(Refused::Range { name: name(), what, value, range: shown }),
    };
    match &spec.effect {
        Effect::Error { status } if !(400..=599).contains(status) => {
            Err(Refused::Status { name: name(), status: *status })
        }
        Effect::Latency { delay } => check_delay(&spec.name, delay),
        Effect::SlowBody { bytes_per_s } => {
            within("bytes_per_s", *bytes_per_s as f64, 1.0..=1e9, "1..=1000000000")
        }
        Effect::Lock { hold_ms } => within("hold_ms", *hold_ms, 0.0..=MAX_DELAY_MS, "0..=300000"),
        Effect::BrownOut { delay, errors, capacity, ramp_ms } => {
            check_delay(&spec.name, delay)?;
            within("errors", *errors, 0.0..=1.0, "0..=1")?;
            within("capacity", f64::from(*capacity), 1.0..=1e6, "1..=1000000")?;
            within("ramp_ms", *ramp_ms as f64, 0.0..=MAX_TTL_MS as f64, "0..=3600000")
        }
        Effect::Starve { connections } => {
            within("connections", f64::from(*connections), 1.0..=1e4, "1..=10000")
        }
        Effect::Memory { mib, over_ms } => {
            within("mib", *mib as f64, 1.0..=65_536.0, "1..=65536")?;
            within("over_ms", *over_ms as f64, 0.0..=MAX_TTL_MS as f64, "0..=3600000")
        }
        Effect::Cpu { cores } | Effect::CpuLimit { cores } => {
            within("cores", *cores, 0.01..=256.0, "0.01..=256")
        }
        Effect::Skew { by_ms } => within("by_ms", *by_ms as f64, -3.2e11..=3.2e11, "ten years"),
        Effect::Descriptors { left } => within("left", f64::from(*left), 0.0..=1e6, "0..=1000000"),
        Effect::DiskFull { left_mib } => within("left_mib", *left_mib as f64, 0.0..=1e7, "0..=10000000"),
        Effect::SlowDisk { writers } => within("writers", f64::from(*writers), 1.0..=64.0, "1..=64"),
        Effect::RowLock { rows, .. } => within("rows", f64::from(*rows), 1.0..=1e5, "1..=100000"),
        Effect::SlowQueries { sessions } => {
            within("sessions", f64::from(*sessions), 1.0..=1000.0, "1..=1000")
        }
        Effect::TerminateBackends { every_ms } => {
            within("every_ms", *every_ms as f64, 10.0..=MAX_TTL_MS as f64, "10..=3600000")
        }
        Effect::Evict { keys, every_ms } => {
            within("keys", f64::from(*keys), 1.0..=1e6, "1..=1000000")?;
            within("every_ms", *every_ms as f64, 10.0..=MAX_TTL_MS as f64, "10..=3600000")
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_delay(name: &str, delay: &Delay) -> Result<(), Refused> {
    let in_range = |ms: f64| {
        if (0.0..=MAX_DELAY_MS).contains(&ms) {
            Ok(())
        } else {
            Err(Refused::Delay { name: name.to_owned(), delay_ms: ms })
        }
    };
    let shape = |why| Err(Refused::Shape { name: name.to_owned(), why });
    match delay {
        Delay::Fixed { ms } => in_range(*ms),
        Delay::Uniform { min_ms, max_ms } => {
            in_range(*min_ms)?;
            in_range(*max_ms)?;
            if min_ms > max_ms { shape("min_ms is above max_ms") } else { Ok(()) }
        }
        Delay::Curve { points } => {
            if !(1..=MAX_CURVE_POINTS).contains(&points.len()) {
                return shape("a curve has 1 to 64 points");
            }
            for (q, ms) in points {
                if !(0.0..=1.0).contains(q) {
                    return shape("a curve's quantiles lie in 0..=1");
                }
                in_range(*ms)?;
            }
            if points.windows(2).any(|w| w[0].0 >= w[1].0 || w[0].1 > w[1].1) {
                return shape("a curve rises: quantiles strictly, delays at least not falling");
            }
            Ok(())
        }
        Delay::LogNormal { p50_ms, p99_ms } => {
            in_range(*p50_ms)?;
            in_range(*p99_ms)?;
            match *p50_ms > 0.0 && p50_ms <= p99_ms {
                true => Ok(()),
                false => shape("a lognormal delay has a p50_ms above 0 and a p99_ms not below it"),
            }
        }
        Delay::Pareto { min_ms, alpha, max_ms } => {
            in_range(*min_ms)?;
            in_range(*max_ms)?;
            match *min_ms > 0.0 && min_ms <= max_ms && (0.1..=100.0).contains(alpha) {
                true => Ok(()),
                false => {
                    shape("a Pareto delay has a min_ms above 0, a max_ms not below it, an alpha in 0.1..=100")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(effect: Effect) -> ArmRequest {
        ArmRequest {
            fault: FaultSpec {
                name: "f".to_owned(),
                place: Place::Point(FaultPoint::Store),
                effect,
                fraction: 0.5,
            },
            ttl_ms: 1000,
            seed: 1,
        }
    }

    fn latency(delay: Delay) -> Result<(), Refused> {
        request(Effect::Latency { delay }).check()
    }

    #[test]
    fn what_is_in_range_is_accepted() {
        assert_eq!(request(Effect::Hang).check(), Ok(()));
        assert_eq!(request(Effect::Error { status: 503 }).check(), Ok(()));
        assert_eq!(latency(Delay::Fixed { ms: 0.0 }), Ok(()));
        assert_eq!(latency(Delay::Curve { points: vec![(0.5, 1.0), (0.9, 1.0), (1.0, 7.5)] }), Ok(()));
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        let is = |r: Result<(), Refused>, text: &str| {
            let got = r.unwrap_err().to_string();
            assert!(got.contains(text), "{got}");
        };
        is(request(Effect::Error { status: 200 }).check(), "status 200");
        is(latency(Delay::Fixed { ms: f64::NAN }), "delay NaN");
        is(latency(Delay::Fixed { ms: -1.0 }), "delay -1");
        is(latency(Delay::Fixed { ms: MAX_DELAY_MS * 2.0 }), "outside 0..=300000");
        is(latency(Delay::Uniform { min_ms: 2.0, max_ms: 1.0 }), "above max_ms");
        is(latency(Delay::Curve { points: vec![] }), "1 to 64 points");
        is(latency(Delay::Curve { points: vec![(0.9, 1.0), (0.5, 2.0)] }), "rises");
        is(latency(Delay::Curve { points: vec![(0.5, 2.0), (0.9, 1.0)] }), "rises");
        is(latency(Delay::Curve { points: vec![(1.5, 2.0)] }), "quantiles");
        is(ArmRequest { ttl_ms: 0, ..request(Effect::Hang) }.check(), "ttl of 0 ms");
        is(ArmRequest { ttl_ms: MAX_TTL_MS + 1, ..request(Effect::Hang) }.check(), "outside 1..=3600000");
        let mut r = request(Effect::Hang);
        r.fault.fraction = f64::INFINITY;
        is(r.check(), "fraction inf");
        r.fault.name = "line\nbreak".to_owned();
        is(r.check(), "fault name");
    }

    #[test]
    fn unknown_fields_are_refused() {
        let text = serde_json::to_string(&request(Effect::Hang)).unwrap();
        assert_eq!(serde_json::from_str::<ArmRequest>(&text).unwrap(), request(Effect::Hang));
        assert!(serde_json::from_str::<ArmRequest>(&text.replace("ttl_ms", "ttl")).is_err());
    }
}
