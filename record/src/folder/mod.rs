//! The run folder: appended each second, readable after a `kill -9` but for the last second.
//!
//! A second is written in the order `latency.hlog`, `intervals.jsonl`, `ops.bin`,
//! `generator.jsonl`, each with one write. The line in `generator.jsonl` therefore says that its
//! second is complete, and the reader stops at the last such line.
//!
//! The histograms of a second stand in `latency.hlog` in the order of that second's lines in
//! `intervals.jsonl`: for each of them `CLASS.response`, `CLASS.service` and `schedule_lag`, and
//! one `pacing` at the end. The tags are plain, so the standard HdrHistogram tools read the file;
//! the order is what ties a histogram to its phase.
//!
//! Journeys are apart from all of that: a second is one line of `journeys.jsonl`, histograms
//! included, written after the second's lines of `journey_ops.jsonl`. A run without journeys has
//! neither file.
mod read;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::counts::Counts;

pub use read::{JourneyTicks, RunFolder, Ticks};
pub use write::FolderWriter;

/// `manifest.json`
pub const MANIFEST: &str = "manifest.json";
/// `intervals.jsonl`
pub const INTERVALS: &str = "intervals.jsonl";
/// `latency.hlog`
pub const HLOG: &str = "latency.hlog";
/// `events.jsonl`
pub const EVENTS: &str = "events.jsonl";
/// `target.jsonl`
pub const TARGET: &str = "target.jsonl";
/// `generator.jsonl`
pub const GENERATOR: &str = "generator.jsonl";
/// `ops.bin`
pub const OPS: &str = "ops.bin";
/// `journeys.jsonl`
pub const JOURNEYS: &str = "journeys.jsonl";
/// `journey_ops.jsonl`
pub const JOURNEY_OPS: &str = "journey_ops.jsonl";
/// `summary.json`
pub const SUMMARY: &str = "summary.json";

/// Why a run folder could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The operating system said no.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// The folder exists and holds a run already.
    #[error("{} already holds a run; choose another folder with --out or remove it", .0.display())]
    Occupied(PathBuf),
    /// The files together say something that no run does.
    #[error("{}: {problem}", path.display())]
    Impossible {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file holds something that no run writes.
    #[error("{}:{line}: {problem}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
}

fn io_err<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FolderError + 'a {
    move |source| FolderError::Io { action, path: path.to_owned(), source }
}

/// One line of `intervals.jsonl`.
#[derive(Serialize, Deserialize)]
struct IntervalLine {
    second: u32,
    request: String,
    phase: u16,
    // Flat, because scripts read `.planned`; nobody types this file, so the poor messages that
    // flattening costs are met by nobody.
    #[serde(flatten)]
    counts: Counts,
    /// Values past the histograms' range: response, service, lag.
    #[serde(default, skip_serializing_if = "none_clipped")]
    clipped: [u64; 3],
}

fn none_clipped(c: &[u64; 3]) -> bool {
    c.iter().all(|n| *n == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::event::What;
    use crate::interval::{GeneratorSample, Interval, Sink, Tick};
    use crate::latency::Latency;
    use crate::manifest::Machine;
    use crate::manifest::{Manifest, SCHEMA};
    use crate::ops::Op;
    use crate::outcome::Outcome;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use std::fs::{self, OpenOptions};

    fn manifest() -> Manifest {
        Manifest {
            schema: SCHEMA,
            name: "t".into(),
            seed: 7,
            started_at: "2026-11-21T01:02:03.004Z".into(),
            squall_version: "0".into(),
            scenario: serde_json::Value::Null,
            scenario_hash: String::new(),
            classes: vec!["pay".into(), "balance".into()],
            machine: Machine::this(),
        }
    }

    fn tick(second: u32) -> Tick {
        let mut pay = Interval::new(second, 0, 1);
        pay.counts.planned = 3;
        pay.counts.sent = 3;
        pay.counts.ok = 3;
        for us in [100, 2_000, crate::latency::HIGHEST_US + 5] {
            pay.response.record_us(us);
            pay.service.record_us(us.min(50));
            pay.lag.record_us(7);
        }
        let mut balance = Interval::new(second, 1, 1);
        balance.counts.planned = 1;
        balance.counts.dropped = 1;
        let mut pacing = Latency::new();
        pacing.record_us(3);
        let generator = GeneratorSample { second, workers: 1, ..GeneratorSample::default() };
        let ops = vec![Op {
            index: u64::from(second),
            attempt: 2,
            fired_ns: 1,
            took_us: 2,
            status: 201,
            class: 0,
            outcome: Outcome::Ok,
        }];
        Tick { second, intervals: vec![pay, balance], generator, pacing, ops }
    }

    fn written(seconds: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        let mut w = FolderWriter::create(&path, &manifest()).unwrap();
        w.event(&Event { at_s: 0.0, what: What::Started }).unwrap();
        for s in 0..seconds {
            w.tick(&tick(s)).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn a_folder_reads_back_as_written() {
        let (_dir, path) = written(3);
        let run = RunFolder::open(&path).unwrap();
        let ticks: Vec<Tick> = run.ticks().unwrap().map(Result::unwrap).collect();
        assert_eq!(ticks.len(), 3);
        let (t, expected) = (&ticks[2], tick(2));
        assert_eq!(t.generator, expected.generator);
        for (a, b) in t.intervals.iter().zip(&expected.intervals) {
            assert_eq!((a.second, a.class, a.phase, a.counts), (b.second, b.class, b.phase, b.counts));
            assert_eq!(a.response.quantile(0.99), b.response.quantile(0.99));
            assert_eq!(a.response.clipped(), b.response.clipped());
            assert_eq!(a.lag.max(), b.lag.max());
        }
        assert_eq!(t.pacing.max(), expected.pacing.max());
        assert_eq!(run.ops().unwrap().len(), 3);
        assert_eq!(run.events().unwrap().len(), 1);
    }

    #[test]
    fn a_second_cut_short_by_a_kill_is_left_out_and_the_rest_stands() {
        for (file, cut) in [(GENERATOR, 5), (EVENTS, 3), (OPS, 7)] {
            let (_dir, path) = written(3);
            let p = path.join(file);
            let len = fs::metadata(&p).unwrap().len();
            OpenOptions::new().write(true).open(&p).unwrap().set_len(len - cut).unwrap();
            let run = RunFolder::open(&path).unwrap();
            let ticks: Vec<Tick> = run.ticks().unwrap().map(Result::unwrap).collect();
            assert_eq!(ticks.len(), if file == GENERATOR { 2 } else { 3 });
            run.events().unwrap();
            run.ops().unwrap();
        }
    }

    #[test]
    fn what_a_loss_of_power_tore_off_ends_the_record_before_it_and_is_told() {
        // With the seconds that are left when so many bytes are gone from the end.
        for (file, cuts) in
            [(GENERATOR, &[(1, 2), (5, 2)][..]), (INTERVALS, &[(1, 2), (40, 2)]), (HLOG, &[(1, 2), (300, 2)])]
        {
            let (_dir, path) = written(3);
            let whole = fs::read(path.join(file)).unwrap();
            let seconds_left = |gone: usize| {
                fs::write(path.join(file), &whole[..whole.len() - gone]).unwrap();
                let mut ticks = RunFolder::open(&path).unwrap().ticks().unwrap();
                let read: Result<Vec<Tick>, FolderError> = ticks.by_ref().collect();
                (read.unwrap_or_else(|e| panic!("{file} {gone}: {e}")).len(), ticks.is_torn())
            };
            for (gone, left) in cuts {
                assert_eq!(seconds_left(*gone), (*left, true), "{file} without its last {gone} bytes");
            }
            // Whatever is gone, what is left is given.
            let mut most = 3;
            for gone in 0..whole.len() {
                let (left, torn) = seconds_left(gone);
                assert!(left <= most, "{file} {gone}: {left}");
                assert!(torn || left == 3 || file == GENERATOR, "{file} {gone}: {left}");
                most = left;
            }
        }
    }

    #[test]
    fn journeys_lie_beside_the_load_and_a_torn_second_is_left_out() {
        use crate::journey::{Iterations, JourneyOp, JourneySecond, JourneyTick, StepSecond};
        let (_dir, path) = written(0);
        let run = RunFolder::open(&path).unwrap();
        assert_eq!((run.journeys().unwrap().count(), run.journey_ops().unwrap().len()), (0, 0));
        fs::remove_dir_all(&path).unwrap();
        let mut w = FolderWriter::create(&path, &manifest()).unwrap();
        for second in 0..3 {
            let mut step = StepSecond::new("pay");
            step.counts.sent = 1;
            step.counts.finish(Outcome::Declined);
            step.closed_service.record_us(500);
            let iterations = Iterations { started: 1, completed: 1, abandoned: 0 };
            let op = JourneyOp {
                journey: "customer".into(),
                step: "pay".into(),
                user: 4,
                iteration: u64::from(second),
                key: format!("{second:032x}"),
                account: "acc_00000001".into(),
                other: "acc_00000002".into(),
                amount: 950,
                fired_ns: 1,
                took_us: 500,
                status: 402,
                outcome: Outcome::Declined,
            };
            let journeys =
                vec![JourneySecond { journey: "customer".into(), users: 2, iterations, steps: vec![step] }];
            w.journeys(&JourneyTick { second, cpu_ns: 1, wall_ns: 2, journeys, ops: vec![op] }).unwrap();
        }
        assert_eq!(run.ticks().unwrap().count(), 0, "the load knows nothing of it");
        assert_eq!(run.journeys().unwrap().map(Result::unwrap).count(), 3);
        assert_eq!(run.journey_ops().unwrap()[2].iteration, 2);
        let p = path.join(JOURNEYS);
        let len = fs::metadata(&p).unwrap().len();
        OpenOptions::new().write(true).open(&p).unwrap().set_len(len - 3).unwrap();
        let read: Vec<JourneyTick> = run.journeys().unwrap().map(Result::unwrap).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].journeys[0].steps[0].closed_service.len(), 1);
    }

    #[test]
    fn the_latency_log_is_read_by_the_standard_reader() {
        let (_dir, path) = written(2);
        let text = fs::read(path.join(HLOG)).unwrap();
        let tags: Vec<String> = IntervalLogIterator::new(&text)
            .filter_map(|e| match e.unwrap() {
                LogEntry::Interval(i) => Some(i.tag().unwrap().as_str().to_owned()),
                _ => None,
            })
            .collect();
        let second = [
            "pay.response",
            "pay.service",
            "schedule_lag",
            "balance.response",
            "balance.service",
            "schedule_lag",
            "pacing",
        ];
        assert_eq!(tags, [second, second].concat());
    }

    #[test]
    fn a_broken_line_is_named_by_file_and_line() {
        let (_dir, path) = written(2);
        let p = path.join(INTERVALS);
        let text = fs::read_to_string(&p).unwrap().replacen("\"planned\":3", "\"planned\":-3", 1);
        fs::write(&p, text).unwrap();
        let err = RunFolder::open(&path).unwrap().ticks().unwrap().find_map(Result::err).unwrap().to_string();
        assert!(err.contains("intervals.jsonl:1:"), "{err}");
    }

    #[test]
    fn a_folder_that_holds_a_run_is_not_written_over() {
        let (_dir, path) = written(1);
        assert!(matches!(FolderWriter::create(&path, &manifest()), Err(FolderError::Occupied(_))));
    }
}
