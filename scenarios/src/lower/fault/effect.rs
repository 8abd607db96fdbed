//! What a fault does: each kind with the keys that it takes.

use std::ops::Range;
use std::time::Duration;

use squall_record::fault::Effect;

use super::super::scalar::{duration, ratio, within};
use super::delay::delay;
use crate::error::tick;
use crate::file::faults::{Fault, FaultKind};
use crate::file::scalar::{At, DurationText};
use crate::findings::Findings;
use crate::units::duration::parse_duration;

/// The longest that a lock is held.
const MAX_HOLD: Duration = Duration::from_secs(300);
/// The longest ramp and the longest pause between two blows.
const MAX_SPAN: Duration = Duration::from_secs(3600);
/// What a clock can be wrong by: ten years.
const MAX_SKEW: Duration = Duration::from_secs(3650 * 86_400);
const DELAY_KEYS: [&str; 6] = ["delay", "min", "max", "percentiles", "lognormal", "pareto"];

/// The keys that a kind takes, beside those of every fault.
fn keys(kind: FaultKind) -> &'static [&'static str] {
    match kind {
        FaultKind::Latency => &DELAY_KEYS,
        FaultKind::Error => &["status"],
        FaultKind::SlowBody => &["bytes_per_s"],
        FaultKind::Lock => &["hold"],
        FaultKind::BrownOut => {
            &["delay", "min", "max", "percentiles", "lognormal", "pareto", "errors", "capacity", "ramp"]
        }
        FaultKind::Starve => &["connections"],
        FaultKind::Memory => &["mib", "ramp"],
        FaultKind::Cpu | FaultKind::CpuLimit => &["cores"],
        FaultKind::Skew => &["by"],
        FaultKind::Descriptors => &["left"],
        FaultKind::DiskFull => &["left_mib"],
        FaultKind::SlowDisk => &["writers"],
        FaultKind::RowLock => &["table", "rows"],
        FaultKind::SlowQueries => &["sessions"],
        FaultKind::TerminateBackends => &["every"],
        FaultKind::Evict => &["keys", "every"],
        FaultKind::Failover => &["replica"],
        FaultKind::Toxic => &["toxic"],
        FaultKind::Hang
        | FaultKind::Panic
        | FaultKind::Kill
        | FaultKind::Terminate
        | FaultKind::Pause
        | FaultKind::Restart
        | FaultKind::RollingRestart
        | FaultKind::Disconnect
        | FaultKind::ReplicaLag
        | FaultKind::Flush
        | FaultKind::WrongPassword
        | FaultKind::SlowConsumer
        | FaultKind::Down => &[],
    }
}

/// The keys that are typed and belong to some kinds only.
fn typed_keys(typed: &Fault) -> Vec<(&'static str, Range<usize>)> {
    macro_rules! spans {
        ($($key:ident),*) => { [$((stringify!($key), typed.$key.as_ref().map(At::span))),*] };
    }
    let all = spans![
        delay,
        min,
        max,
        percentiles,
        lognormal,
        pareto,
        status,
        bytes_per_s,
        hold,
        errors,
        capacity,
        ramp,
        connections,
        mib,
        cores,
        by,
        left,
        left_mib,
        writers,
        table,
        rows,
        sessions,
        every,
        keys,
        replica,
        toxic
    ];
    all.into_iter().filter_map(|(key, span)| Some((key, span?))).collect()
}

/// Every kind, as it is typed.
const KINDS: [(FaultKind, &str); 32] = [
    (FaultKind::Latency, "latency"),
    (FaultKind::Error, "error"),
    (FaultKind::Hang, "hang"),
    (FaultKind::Panic, "panic"),
    (FaultKind::SlowBody, "slow_body"),
    (FaultKind::Lock, "lock"),
    (FaultKind::BrownOut, "brown_out"),
    (FaultKind::Starve, "starve"),
    (FaultKind::Memory, "memory"),
    (FaultKind::Cpu, "cpu"),
    (FaultKind::Skew, "skew"),
    (FaultKind::Kill, "kill"),
    (FaultKind::Terminate, "terminate"),
    (FaultKind::Pause, "pause"),
    (FaultKind::Restart, "restart"),
    (FaultKind::RollingRestart, "rolling_restart"),
    (FaultKind::CpuLimit, "cpu_limit"),
    (FaultKind::Descriptors, "descriptors"),
    (FaultKind::DiskFull, "disk_full"),
    (FaultKind::SlowDisk, "slow_disk"),
    (FaultKind::Disconnect, "disconnect"),
    (FaultKind::RowLock, "row_lock"),
    (FaultKind::SlowQueries, "slow_queries"),
    (FaultKind::TerminateBackends, "terminate_backends"),
    (FaultKind::ReplicaLag, "replica_lag"),
    (FaultKind::Failover, "failover"),
    (FaultKind::Flush, "flush"),
    (FaultKind::Evict, "evict"),
    (FaultKind::WrongPassword, "wrong_password"),
    (FaultKind::SlowConsumer, "slow_consumer"),
    (FaultKind::Toxic, "toxic"),
    (FaultKind::Down, "down"),
];

/// What it does; keys of other kinds are told.
pub(super) fn effect(typed: &Fault, what: &str, findings: &mut Findings) -> Option<Effect> {
    let kind = *typed.kind;
    for (key, span) in typed_keys(typed) {
        if !keys(kind).contains(&key) {
            let of = KINDS.iter().filter(|(kind, _)| keys(*kind).contains(&key));
            let of: Vec<String> = of.map(|(_, name)| format!("\"{name}\"")).collect();
            let of = of.join(" or ");
            findings.add(span, format!("{what} {key} is of kind = {of}; change the kind or remove it"));
        }
    }
    let key = |name: &str| format!("{what} {name}");
    Some(match kind {
        FaultKind::Latency => Effect::Latency { delay: delay(typed, what, findings)? },
        FaultKind::Error => {
            Effect::Error { status: within(typed.status.as_ref(), 503, 400..=599, &key("status"), findings)? }
        }
        FaultKind::Hang => Effect::Hang,
        FaultKind::Panic => Effect::Panic,
        FaultKind::SlowBody => {
            let typed = needed(typed.bytes_per_s.as_ref(), typed, "bytes_per_s", what, findings)?;
            let key = key("bytes_per_s");
            Effect::SlowBody { bytes_per_s: within(Some(typed), 0, 1..=1_000_000_000, &key, findings)? }
        }
        FaultKind::Lock => {
            let hold = needed(typed.hold.as_ref(), typed, "hold", what, findings)?;
            Effect::Lock {
                hold_ms: span(Some(hold), 0, MAX_HOLD, &key("hold"), findings)?.as_secs_f64() * 1e3,
            }
        }
        FaultKind::BrownOut => {
            let delay = delay(typed, what, findings);
            let errors = typed.errors.as_ref().map_or(Some(0.0), |e| ratio(e, key("errors"), findings));
            let capacity =
                within(typed.capacity.as_ref(), 1_000_000, 1..=1_000_000, &key("capacity"), findings);
            let ramp = span(typed.ramp.as_ref(), 0, MAX_SPAN, &key("ramp"), findings);
            Effect::BrownOut { delay: delay?, errors: errors?, capacity: capacity?, ramp_ms: ms(ramp?) }
        }
        FaultKind::Starve => {
            let typed = needed(typed.connections.as_ref(), typed, "connections", what, findings)?;
            let key = key("connections");
            Effect::Starve { connections: within(Some(typed), 0, 1..=10_000, &key, findings)? }
        }
        FaultKind::Memory => {
            let mib = needed(typed.mib.as_ref(), typed, "mib", what, findings)?;
            let mib = within(Some(mib), 0, 1..=65_536, &key("mib"), findings);
            let ramp = span(typed.ramp.as_ref(), 0, MAX_SPAN, &key("ramp"), findings);
            Effect::Memory { mib: mib?, over_ms: ms(ramp?) }
        }
        FaultKind::Cpu => Effect::Cpu { cores: cores(typed, what, findings)? },
        FaultKind::CpuLimit => Effect::CpuLimit { cores: cores(typed, what, findings)? },
        FaultKind::Skew => Effect::Skew { by_ms: skew(typed, what, findings)? },
        FaultKind::Kill => Effect::Kill,
        FaultKind::Terminate => Effect::Terminate,
        FaultKind::Pause => Effect::Pause,
        FaultKind::Restart => Effect::Restart,
        FaultKind::RollingRestart => Effect::RollingRestart,
        FaultKind::Descriptors => Effect::Descriptors {
            left: within(typed.left.as_ref(), 0, 0..=1_000_000, &key("left"), findings)?,
        },
        FaultKind::DiskFull => Effect::DiskFull {
            left_mib: within(typed.left_mib.as_ref(), 0, 0..=10_000_000, &key("left_mib"), findings)?,
        },
        FaultKind::SlowDisk => Effect::SlowDisk {
            writers: within(typed.writers.as_ref(), 4, 1..=64, &key("writers"), findings)?,
        },
        FaultKind::Disconnect => Effect::Disconnect,
        FaultKind::RowLock => Effect::RowLock {
            table: table(typed, what, findings)?,
            rows: within(typed.rows.as_ref(), 1, 1..=100_000, &key("rows"), findings)?,
        },
        FaultKind::SlowQueries => Effect::SlowQueries {
            sessions: within(typed.sessions.as_ref(), 4, 1..=1000, &key("sessions"), findings)?,
        },
        FaultKind::TerminateBackends => {
            let every = span(typed.every.as_ref(), 1000, MAX_SPAN, &key("every"), findings)?;
            Effect::TerminateBackends { every_ms: blows(every, typed, what, findings)? }
        }
        FaultKind::ReplicaLag => Effect::ReplicaLag,
        FaultKind::Failover => {
            let replica = needed(typed.replica.as_ref(), typed, "replica", what, findings)?;
            Effect::Failover { replica: replica.to_string() }
        }
        FaultKind::Flush => Effect::Flush,
        FaultKind::Evict => {
            let keys = within(typed.keys.as_ref(), 1000, 1..=1_000_000, &key("keys"), findings);
            let every = span(typed.every.as_ref(), 1000, MAX_SPAN, &key("every"), findings)?;
            Effect::Evict { keys: keys?, every_ms: blows(every, typed, what, findings)? }
        }
        FaultKind::WrongPassword => Effect::WrongPassword,
        FaultKind::SlowConsumer => Effect::SlowConsumer,
        FaultKind::Toxic => {
            let toxic = needed(typed.toxic.as_ref(), typed, "toxic", what, findings)?;
            Effect::Toxic { toxic: (**toxic).clone().into_iter().collect() }
        }
        FaultKind::Down => Effect::Down,
    })
}

fn needed<'a, T>(
    value: Option<&'a At<T>>,
    typed: &Fault,
    key: &str,
    what: &str,
    findings: &mut Findings,
) -> Option<&'a At<T>> {
    if value.is_none() {
        findings.add(typed.kind.span(), format!("{what} it needs {key}"));
    }
    value
}

fn span(
    typed: Option<&At<DurationText>>,
    default_ms: u64,
    most: Duration,
    what: &str,
    findings: &mut Findings,
) -> Option<Duration> {
    let Some(typed) = typed else { return Some(Duration::from_millis(default_ms)) };
    let d = duration(typed, what, findings)?;
    if d > most {
        let most = crate::units::duration::format_duration(most);
        findings.add(typed.span(), format!("{what} {} is above the limit, {most}", tick(typed)));
        return None;
    }
    Some(d)
}

fn ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// The pause between two blows: long enough not to be a load of its own.
fn blows(every: Duration, typed: &Fault, what: &str, findings: &mut Findings) -> Option<u64> {
    if every < Duration::from_millis(10) {
        findings.add(typed.span_of_every(), format!("{what} every must be at least 10ms"));
        return None;
    }
    Some(ms(every))
}

fn cores(typed: &Fault, what: &str, findings: &mut Findings) -> Option<f64> {
    let cores = needed(typed.cores.as_ref(), typed, "cores", what, findings)?;
    within(Some(cores), 1.0, 0.01..=256.0, &format!("{what} cores"), findings)
}

/// `5m` is ahead, `-5m` back.
fn skew(typed: &Fault, what: &str, findings: &mut Findings) -> Option<i64> {
    let by = needed(typed.by.as_ref(), typed, "by", what, findings)?;
    let (back, text) = match by.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, by.strip_prefix('+').unwrap_or(by)),
    };
    let d = findings.check(by.span(), format_args!("{what} by"), parse_duration(text))?;
    if d.is_zero() || d > MAX_SKEW {
        findings.add(by.span(), format!("{what} by {} must be above zero and at most ten years", tick(by)));
        return None;
    }
    let by_ms = i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    Some(if back { -by_ms } else { by_ms })
}

/// A table's name, which goes into SQL.
fn table(typed: &Fault, what: &str, findings: &mut Findings) -> Option<String> {
    let Some(name) = &typed.table else { return Some("accounts".to_owned()) };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    if name.is_empty() || name.len() > 128 || !name.bytes().all(plain) {
        findings.add(
            name.span(),
            format!("{what} table {} must be a plain name: letters, digits, _ and .", tick(name)),
        );
        return None;
    }
    Some(name.to_string())
}

impl Fault {
    fn span_of_every(&self) -> Range<usize> {
        self.every.as_ref().map_or_else(|| self.kind.span(), At::span)
    }
}
