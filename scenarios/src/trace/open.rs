//! A trace's file, and what its beginning tells.

use std::fs::File;
use std::io::{BufReader, Read, Take};

use squall_record::clock::NANOS_PER_SEC;

use super::error::{TraceError, TraceProblem};
use super::reader::TraceReader;
use super::replay::Replay;
use crate::plan::{TraceHead, TracePlan};

/// How many lines a scenario's check looks at; the rest is read while it is replayed.
pub const HEAD_LINES: u64 = 1000;
/// How many bytes a scenario's check looks at.
pub const HEAD_BYTES: u64 = 4 << 20;
/// How much is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// A trace's file, no longer than it was when the scenario was read.
pub type TraceFile = BufReader<Take<File>>;

/// Compressed formats and the bytes that they begin with.
const COMPRESSED: [(&str, &[u8]); 4] =
    [("gzip", b"\x1f\x8b"), ("zstd", b"\x28\xb5\x2f\xfd"), ("bzip2", b"BZh"), ("xz", b"\xfd7zXZ\0")];

/// Opens the file of `plan` for a phase of `duration_ns`.
///
/// # Errors
/// When it is not there, or no regular file.
pub fn open(plan: &TracePlan, duration_ns: u64) -> Result<Replay<TraceFile>, TraceError> {
    let told = |problem| TraceError { file: plan.file.clone(), line: None, problem };
    let (file, _) = regular(&plan.file).map_err(told)?;
    let source = BufReader::with_capacity(READ_BYTES, file.take(plan.head.size_bytes));
    Ok(Replay::new(plan, duration_ns, source))
}

/// What the first [`HEAD_LINES`] of the file of `plan` tell.
///
/// # Errors
/// When there is nothing to replay in them, or they break a rule of the trace.
pub fn look(plan: &TracePlan) -> Result<TraceHead, TraceError> {
    let told = |problem| TraceError { file: plan.file.clone(), line: None, problem };
    let (mut file, size_bytes) = regular(&plan.file).map_err(told)?;
    if size_bytes == 0 {
        return Err(told(TraceProblem::Empty));
    }
    let mut beginning = Vec::new();
    (&mut file).take(HEAD_BYTES).read_to_end(&mut beginning).map_err(|e| told(e.into()))?;
    if let Some((name, _)) = COMPRESSED.iter().find(|(_, magic)| beginning.starts_with(magic)) {
        return Err(told(TraceProblem::Compressed(name)));
    }
    if beginning.starts_with(b"\xff\xfe") || beginning.starts_with(b"\xfe\xff") {
        return Err(told(TraceProblem::Utf16));
    }
    if beginning.contains(&b'\r') && !beginning.contains(&b'\n') {
        return Err(told(TraceProblem::CarriageReturns));
    }
    // A last line that is cut off would be called broken.
    if beginning.len() as u64 == HEAD_BYTES
        && let Some(end) = beginning.iter().rposition(|b| *b == b'\n')
    {
        beginning.truncate(end + 1);
    }
    let mut reader = TraceReader::new(plan, &beginning[..]);
    let (mut records, mut first_ns, mut latest_ns) = (0u64, 0, i64::MIN);
    while reader.line() < HEAD_LINES
        && let Some(record) = reader.read()?
    {
        if records == 0 {
            first_ns = record.stamp.ns;
        }
        latest_ns = latest_ns.max(record.stamp.ns);
        records += 1;
    }
    if records == 0 {
        let first = reader.totals().first_broken.clone().map(|b| (b.line, b.problem));
        return Err(told(TraceProblem::NoRecord { lines: reader.totals().lines, first }));
    }
    let span_s = latest_ns.abs_diff(first_ns) as f64 / NANOS_PER_SEC as f64;
    Ok(TraceHead {
        size_bytes,
        records: (records as f64 * size_bytes as f64 / reader.bytes().max(1) as f64).round() as u64,
        // Stamps in whole seconds say nothing about less than one.
        rate_rps: (records as f64 / span_s.max(1.0) * plan.speed).round(),
    })
}

/// Opens a regular file and gives its size. Opening a pipe would wait for whoever writes to it, so
/// what it is comes first.
fn regular(path: &str) -> Result<(File, u64), TraceProblem> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(TraceProblem::NotAFile);
    }
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TraceFormat;
    use crate::trace::testing::plan;
    use std::io::Write;

    fn line(second: u32, path: &str) -> String {
        let (m, s) = (second / 60, second % 60);
        format!("127.0.0.1 - - [10/Oct/2000:13:{m:02}:{s:02} +0000] \"GET {path} HTTP/1.1\" 200 5\n")
    }

    fn combined(path: &std::path::Path) -> TracePlan {
        TracePlan { file: path.to_str().unwrap().to_owned(), ..plan(TraceFormat::Combined) }
    }

    fn told(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        std::fs::write(&path, bytes).unwrap();
        look(&combined(&path)).unwrap_err().to_string().replace(path.to_str().unwrap(), "access.log")
    }

    #[test]
    fn the_beginning_tells_size_rate_and_about_how_many() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let text: String = (0..3000).map(|i| line(i / 10, "/a")).collect();
        std::fs::write(&path, &text).unwrap();
        let mut plan = combined(&path);
        plan.speed = 2.0;
        let head = look(&plan).unwrap();
        assert_eq!(head.size_bytes, text.len() as u64);
        assert_eq!(head.records, 3000);
        // 1,000 lines in 99 s, twice as fast.
        assert_eq!(head.rate_rps, 20.0);
    }

    #[test]
    fn what_cannot_be_replayed_is_told_before_the_run() {
        assert_eq!(told(b""), "replay trace `access.log`: it is empty, so there is nothing to replay");
        assert_eq!(
            told(b"hello\n\nworld\n"),
            "replay trace `access.log`: none of its first 3 lines is a record to replay; line 1 holds no time in \
             brackets like [10/Oct/2000:13:55:36 -0700]"
        );
        assert!(
            told(b"\x1f\x8b\x08\0")
                .contains("it is compressed (gzip), which is not read here; unpack it first")
        );
        assert!(told(b"\xff\xfea\0b\0\n\0").contains("it is UTF-16 text"));
        assert!(told(b"a\0b\0\n\0").contains("holds a NUL byte"));
        assert!(told(b"1\r2\r3\r").contains("carriage returns alone"));
        let many = "no log\n".repeat(500);
        assert!(
            told(many.as_bytes()).contains("line 101: it holds no time in brackets"),
            "{}",
            told(many.as_bytes())
        );
        let folder = look(&combined(&std::env::temp_dir())).unwrap_err().to_string();
        assert!(folder.contains("it is no regular file"), "{folder}");
        let device = look(&combined(std::path::Path::new("/dev/zero"))).unwrap_err().to_string();
        assert!(device.contains("it is no regular file"), "{device}");
        let missing = look(&combined(std::path::Path::new("/no/such.log"))).unwrap_err().to_string();
        assert_eq!(missing, "replay trace `/no/such.log`: No such file or directory (os error 2)");
    }

    #[test]
    fn only_the_beginning_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut file = File::create(&path).unwrap();
        file.write_all(line(0, "/a").as_bytes()).unwrap();
        // A terabyte of nothing, which takes no room on the disk.
        file.set_len(1 << 40).unwrap();
        let head = look(&combined(&path)).unwrap();
        assert_eq!(head.size_bytes, 1 << 40);
    }

    #[test]
    fn what_is_added_later_is_not_replayed_and_what_is_taken_away_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        std::fs::write(&path, line(0, "/a") + &line(1, "/b")).unwrap();
        let mut plan = combined(&path);
        plan.head = look(&plan).unwrap();
        let mut grown = File::options().append(true).open(&path).unwrap();
        grown.write_all(line(2, "/c").as_bytes()).unwrap();
        let mut replay = open(&plan, u64::MAX).unwrap();
        let mut count = 0;
        while replay.next_due().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 2);
        std::fs::write(&path, line(0, "/a")).unwrap();
        let mut replay = open(&plan, u64::MAX).unwrap();
        let ended = std::iter::repeat_with(|| replay.next_due().map(|d| d.is_some()))
            .find(|d| !matches!(d, Ok(true)));
        assert!(ended.unwrap().unwrap_err().to_string().contains("leave it alone while it is replayed"));
        std::fs::remove_file(&path).unwrap();
        assert!(open(&plan, u64::MAX).is_err());
    }
}
