//! The wall clock, as this service reads it: everything that has a date asks here, so that a fault can put it wrong.
//!
//! Durations are measured by a clock that nobody sets, and are not concerned.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use squall_chaos::leases::Leases;
use squall_record::clock;

static LEASES: OnceLock<Arc<Leases>> = OnceLock::new();

/// From now on the faults of `leases` may put the clock wrong. Once for a process.
pub fn follow(leases: &Arc<Leases>) {
    let _ = LEASES.set(Arc::clone(leases));
}

/// Now, as far as this service knows.
#[must_use]
pub fn now() -> SystemTime {
    skewed(clock::wall_now(), LEASES.get().map_or(0, |leases| leases.skew_ms()))
}

/// Milliseconds since the Unix epoch, as far as this service knows.
#[must_use]
pub fn now_ms() -> u64 {
    clock::unix_ms(now())
}

fn skewed(now: SystemTime, by_ms: i64) -> SystemTime {
    let by = Duration::from_millis(by_ms.unsigned_abs());
    // What no date can say is not said.
    let wrong = if by_ms < 0 { now.checked_sub(by) } else { now.checked_add(by) };
    wrong.unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_wrong_clock_is_ahead_or_behind() {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        assert_eq!(skewed(at(100), 7_000), at(107));
        assert_eq!(skewed(at(100), -7_000), at(93));
        assert_eq!(skewed(at(100), 0), at(100));
        let beyond = SystemTime::UNIX_EPOCH + Duration::from_secs(i64::MAX as u64 - 1);
        assert_eq!(skewed(beyond, i64::MAX), beyond, "no date can say it");
    }

    fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn nobody_else_reads_the_wall_clock() {
        let mut all = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
        assert!(all.len() > 100);
        let reads = |path: &std::path::PathBuf| std::fs::read_to_string(path).unwrap().contains("wall_now(");
        let readers: Vec<_> =
            all.iter().filter(|path| reads(path)).filter_map(|path| path.file_name()).collect();
        assert_eq!(readers, ["wall.rs"]);
    }
}
