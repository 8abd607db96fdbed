//! `squall chaos list`: every kind of fault, where it acts and what it takes.

use squall_record::fault::{Delay, Effect, FaultPoint, Place};
use squall_reports::exit;

use super::Stop;
use crate::stdout::print;

const DELAY: Delay = Delay::Fixed { ms: 0.0 };
const DELAY_KEYS: &str = "delay | min max | percentiles | lognormal | pareto";

/// A kind, the keys that it takes beside those of every fault, and what it does.
type Row = (Effect, &'static str, &'static str);

/// Every kind, in the order in which people look for them.
fn catalogue() -> Vec<Row> {
    let text = String::new;
    vec![
        (
            Effect::Latency { delay: DELAY },
            DELAY_KEYS,
            "makes a request wait, or a Redis pause again and again",
        ),
        (Effect::Error { status: 503 }, "status", "answers a request with an error"),
        (Effect::Hang, "", "never answers while the fault lasts"),
        (Effect::Panic, "", "panics in the middle of a request"),
        (Effect::SlowBody { bytes_per_s: 1 }, "bytes_per_s", "sends the body of an answer slowly"),
        (Effect::Lock { hold_ms: 1.0 }, "hold", "holds a lock that every request there needs"),
        (
            Effect::BrownOut { delay: DELAY, errors: 0.0, capacity: 1, ramp_ms: 0 },
            "delay … | errors capacity ramp",
            "slower, failing more, letting fewer in, all of it growing",
        ),
        (Effect::Starve { connections: 1 }, "connections", "takes connections and keeps them"),
        (Effect::Memory { mib: 1, over_ms: 0 }, "mib ramp", "takes memory, in the service or beside it"),
        (Effect::Cpu { cores: 1.0 }, "cores", "keeps processors busy, in the service or beside it"),
        (Effect::Skew { by_ms: 1 }, "by", "puts the wall clock wrong"),
        (Effect::Kill, "", "SIGKILL; started again at the end: target, containers"),
        (Effect::Terminate, "", "SIGTERM; started again likewise"),
        (Effect::Pause, "", "stops it where it stands; it goes on at the end"),
        (Effect::Restart, "", "stops it and starts it again: target, containers"),
        (Effect::RollingRestart, "", "restarts its containers, one after the other"),
        (Effect::CpuLimit { cores: 1.0 }, "cores", "lets it use so much of the processors"),
        (Effect::Descriptors { left: 0 }, "left", "lets it open few more files"),
        (Effect::DiskFull { left_mib: 0 }, "left_mib", "fills the disk of target's data"),
        (Effect::SlowDisk { writers: 1 }, "writers", "writes and syncs on the disk of target's data"),
        (Effect::Disconnect, "", "takes it off its networks"),
        (
            Effect::RowLock { table: text(), rows: 1 },
            "table rows",
            "locks rows in a transaction that stays open",
        ),
        (Effect::SlowQueries { sessions: 1 }, "sessions", "asks queries that take long"),
        (
            Effect::TerminateBackends { every_ms: 1 },
            "every",
            "closes the connections of others, again and again",
        ),
        (Effect::ReplicaLag, "", "has a replica stand still"),
        (
            Effect::Failover { replica: text() },
            "replica",
            "stops the primary and promotes the replica, for good",
        ),
        (Effect::Flush, "", "deletes everything in a cache"),
        (Effect::Evict { keys: 1, every_ms: 1 }, "keys every", "deletes a part of it, again and again"),
        (Effect::WrongPassword, "", "changes the password and closes connections"),
        (Effect::SlowConsumer, "", "subscribes to everything and reads nothing"),
        (Effect::Toxic { toxic: serde_json::Value::Null }, "toxic", "a toxic on the connections of a proxy"),
        (Effect::Down, "", "a proxy refuses connections"),
    ]
}

/// Where `effect` can be done, as a scenario names it.
fn places(effect: &Effect) -> String {
    let points = FaultPoint::ALL.into_iter().map(|p| (p.name(), Place::Point(p)));
    let named = Place::KINDS.into_iter().filter_map(|kind| Some((kind, Place::named(kind, "x")?)));
    let at: Vec<&str> =
        points.chain(named).filter(|(_, p)| effect.acts_at(p)).map(|(name, _)| name).collect();
    at.join(" ")
}

/// The table.
#[must_use]
pub fn table() -> String {
    let rows: Vec<_> =
        catalogue().into_iter().map(|(e, keys, does)| (e.name(), places(&e), keys, does)).collect();
    let wide = |f: fn(&(&'static str, String, &'static str, &'static str)) -> usize| {
        rows.iter().map(f).max().unwrap_or(0)
    };
    let (kinds, wheres) = (wide(|r| r.0.len()), wide(|r| r.1.len()));
    let mut text = format!("  {:<kinds$}  {:<wheres$}  what it does (keys)\n", "kind", "where");
    for (kind, places, keys, does) in &rows {
        let keys = if keys.is_empty() { String::new() } else { format!(" ({keys})") };
        text += &format!("  {kind:<kinds$}  {places:<wheres$}  {does}{keys}\n");
    }
    text
}

/// `squall chaos list`.
///
/// # Errors
/// When standard output cannot be written.
pub fn list() -> Result<u8, Stop> {
    print(&format!("Faults ([[fault]] in a scenario)\n{}", table()))?;
    Ok(exit::PASSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_a_scenario_knows_is_listed_and_acts_somewhere() {
        let schema = squall_scenarios::schema::json_schema().to_string();
        let all = catalogue();
        for (effect, _, _) in &all {
            assert!(schema.contains(&format!("\"{}\"", effect.name())), "{}", effect.name());
            assert!(!places(effect).is_empty(), "{}", effect.name());
        }
        let mut names: Vec<_> = all.iter().map(|(e, _, _)| e.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 32);
    }
}
