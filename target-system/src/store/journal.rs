//! The journal on disk: what makes a commit durable.
//!
//! A commit is one frame at the end of a segment: one write and one `fdatasync`. A segment is a
//! file that was filled with zeros and synced before it is used, so that such a sync has data to
//! write and no metadata: no new size, no newly allocated blocks. One whose commits are elsewhere
//! gets another number and is filled again: to free its blocks and to allocate others holds a disk
//! up that commits wait for.
//!
//! A frame is `checksum u64, head u32, length u32, commit u64`, then `length` bytes of body. `head`
//! is a checksum of length and commit, `checksum` one of the body and all of the head but itself
//! (both XXH3, seeded with the segment's number), so what a file held under another number is
//! nothing now. Commits are numbered without gaps through all segments. One commit is under way at
//! a time, so a crash can break the last frame alone, and that one was not acknowledged. Whatever
//! else does not fit is damage, and damage is an error: no acknowledged commit is ever skipped.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::keyspaces::StoreError;
use crate::limits::SEGMENT_BYTES;

/// Bytes before a frame's body.
pub const HEAD_BYTES: usize = 24;
const SUFFIX: &str = "frames";
/// What the files of an earlier format end in.
const OLD_SUFFIX: &str = "segment";
/// The name of a file that is no segment at present.
const RETIRED: &str = "retired";
/// How much of a new segment is synced at once.
const PIECE_BYTES: usize = 1 << 20;

/// A segment that takes frames.
#[derive(Debug)]
pub struct SegmentFile {
    file: File,
    path: PathBuf,
    number: u64,
    end: u64,
}

impl SegmentFile {
    /// Makes segment `number` in `folder`, ready to be written without a change of metadata: of
    /// `retired`, which had another number, or else of a new file.
    ///
    /// # Errors
    /// When it is there already or the disk refuses.
    pub fn make(folder: &Path, number: u64, retired: Option<Retired>) -> io::Result<Self> {
        let path = folder.join(format!("{number:016x}.{SUFFIX}"));
        let file = match retired {
            Some(Retired(old)) => {
                // A rename would take its place.
                if path.try_exists()? {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                fs::rename(&old, &path)?;
                File::options().write(true).open(&path)?
            }
            None => filled(&path)?,
        };
        sync_folder(folder)?;
        Ok(Self { file, path, number, end: 0 })
    }

    /// Appends commit number `commit` and returns when it is on disk. `frame` is the body behind
    /// [`HEAD_BYTES`] of room for the head.
    ///
    /// # Errors
    /// When it is not known to be there.
    pub fn append(&mut self, commit: u64, frame: &mut [u8]) -> io::Result<()> {
        let length = frame.len() - HEAD_BYTES;
        frame[12..16].copy_from_slice(&(length as u32).to_be_bytes());
        frame[16..HEAD_BYTES].copy_from_slice(&commit.to_be_bytes());
        let head = head_checksum(&frame[12..HEAD_BYTES], self.number);
        frame[8..12].copy_from_slice(&head.to_be_bytes());
        let checksum = xxh3_64_with_seed(&frame[8..], self.number);
        frame[..8].copy_from_slice(&checksum.to_be_bytes());
        self.file.write_all_at(frame, self.end)?;
        self.file.sync_data()?;
        self.end += frame.len() as u64;
        Ok(())
    }

    /// Bytes of frames.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A file whose frames are elsewhere, to be a segment again.
#[derive(Debug)]
pub struct Retired(PathBuf);

/// A new file of zeros that is on disk.
fn filled(path: &Path) -> io::Result<File> {
    let file = File::create_new(path)?;
    let zeros = vec![0; PIECE_BYTES];
    for at in (0..SEGMENT_BYTES).step_by(PIECE_BYTES) {
        file.write_all_at(&zeros, at)?;
        // In pieces: a commit's sync would have to wait for one of all.
        file.sync_data()?;
    }
    file.sync_all()?;
    Ok(file)
}

/// The segments in `folder`, the oldest first.
///
/// # Errors
/// When the folder cannot be read, or holds segments of an earlier format.
pub fn segments(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == OLD_SUFFIX) {
            return Err(io::Error::other(format!(
                "{}: an earlier version wrote it and must move its payments to the tables: start and stop that \
                 version once",
                path.display()
            )));
        }
        if path.extension().is_some_and(|e| e == SUFFIX) {
            found.push(path);
        }
    }
    // Numbers of one width, so names sort as numbers do.
    found.sort_unstable();
    Ok(found)
}

/// Takes a segment away whose commits are elsewhere. It is none any more for good when this
/// returns, so segments vanish in the order in which they are retired. One that is still retired
/// from before is gone.
///
/// # Errors
/// When the disk refuses.
pub fn retire(path: &Path) -> io::Result<Retired> {
    let retired = path.with_file_name(RETIRED);
    fs::rename(path, &retired)?;
    path.parent().map_or(Ok(()), sync_folder)?;
    Ok(Retired(retired))
}

/// Removes a segment whose commits are elsewhere, for good when this returns.
///
/// # Errors
/// When the disk refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Removes what is retired in `folder`: its frames' seeds are the numbers of segments to come when
/// numbers begin anew.
///
/// # Errors
/// When the disk refuses.
pub fn remove_retired(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(RETIRED)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => sync_folder(folder),
    }
}

/// Hands the body of every whole frame of the segment at `path` to `take`, in order. `last` is the
/// number of the commit before, when there was one, and then that of the last one here.
///
/// # Errors
/// When the segment cannot be read, `take` refuses, or an acknowledged commit is missing.
pub fn read(
    path: &Path,
    last: &mut Option<u64>,
    mut take: impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let damaged = |what: String| Err(StoreError::Contradiction(format!("{}: {what}", path.display())));
    let Some(number) = number(path) else { return damaged("no segment has such a name".to_owned()) };
    let bytes = fs::read(path)?;
    let mut at = 0;
    while let Some((commit, body)) = frame(&bytes[at..], number) {
        if let Some(before) = *last
            && commit != before + 1
        {
            return damaged(format!("commit {} is missing before {commit}", before + 1));
        }
        take(body)?;
        *last = Some(commit);
        at += HEAD_BYTES + body.len();
    }
    // A commit begins after the one before it is on disk: a whole frame behind a broken one shows
    // that the broken one had been acknowledged.
    let behind = (at + 1..bytes.len()).find_map(|behind| frame(&bytes[behind..], number));
    match behind {
        Some((commit, _)) => damaged(format!("byte {at} of a commit is damaged, commit {commit} follows it")),
        None => Ok(()),
    }
}

/// The number of the segment at `path`.
fn number(path: &Path) -> Option<u64> {
    u64::from_str_radix(path.file_stem()?.to_str()?, 16).ok()
}

/// The frame of segment `number` at the front of `bytes`: its commit number and body; `None` when
/// none is whole.
fn frame(bytes: &[u8], number: u64) -> Option<(u64, &[u8])> {
    let (head, _) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let field = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let wide = |at: usize| u64::from(field(at)) << 32 | u64::from(field(at + 4));
    // First: it tells a head from whatever else without reading what would be the body.
    if field(8) != head_checksum(&head[12..], number) {
        return None;
    }
    let covered = bytes.get(8..HEAD_BYTES + field(12) as usize)?;
    let whole = xxh3_64_with_seed(covered, number) == wide(0);
    whole.then(|| (wide(16), &covered[HEAD_BYTES - 8..]))
}

/// The checksum of `length` and `commit` in a head of segment `number`.
fn head_checksum(length_and_commit: &[u8], number: u64) -> u32 {
    xxh3_64_with_seed(length_and_commit, number) as u32
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(folder: &Path, number: u64, commits: std::ops::Range<u64>) -> SegmentFile {
        let mut segment = SegmentFile::make(folder, number, None).unwrap();
        fill(&mut segment, commits);
        segment
    }

    fn fill(segment: &mut SegmentFile, commits: std::ops::Range<u64>) {
        for commit in commits {
            let mut frame = vec![0; HEAD_BYTES];
            frame.extend(vec![commit as u8; 10 + commit as usize % 7]);
            segment.append(commit, &mut frame).unwrap();
        }
    }

    fn read_all(folder: &Path) -> Result<Vec<u8>, StoreError> {
        let (mut last, mut found) = (None, Vec::new());
        for path in segments(folder).unwrap() {
            read(&path, &mut last, |body| {
                found.push(body[0]);
                Ok(())
            })?;
        }
        Ok(found)
    }

    #[test]
    fn commits_are_read_back_in_order_through_all_segments() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 9, 1..4);
        let second = write(folder.path(), 10, 4..6);
        write(folder.path(), 11, 6..6);
        assert_eq!(read_all(folder.path()).unwrap(), [1, 2, 3, 4, 5]);
        remove(second.path()).unwrap();
        assert_eq!(read_all(folder.path()).unwrap(), [1, 2, 3]);
        write(folder.path(), 12, 6..8);
        let error = read_all(folder.path()).unwrap_err().to_string();
        assert!(error.contains("commit 4 is missing before 6"), "{error}");
    }

    #[test]
    fn what_a_retired_segment_held_is_nothing_under_its_next_number() {
        let folder = tempfile::tempdir().unwrap();
        let first = write(folder.path(), 1, 1..8);
        let retired = retire(first.path()).unwrap();
        assert!(read_all(folder.path()).unwrap().is_empty());
        let mut second = SegmentFile::make(folder.path(), 2, Some(retired)).unwrap();
        // Nothing is written to it yet; then its frames end exactly where an old one begins.
        assert!(read_all(folder.path()).unwrap().is_empty());
        fill(&mut second, 8..11);
        assert_eq!(second.end(), write(tempfile::tempdir().unwrap().path(), 1, 1..4).end());
        assert_eq!(read_all(folder.path()).unwrap(), [8, 9, 10]);
        assert!(!folder.path().join(RETIRED).exists());
    }

    #[test]
    fn segments_of_an_earlier_format_are_refused_and_not_taken_for_empty() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("0000000000000001.segment"), "x").unwrap();
        assert!(segments(folder.path()).unwrap_err().to_string().contains("start and stop that version"));
    }

    #[test]
    fn a_retired_file_takes_no_segments_place_and_can_be_removed_twice() {
        let folder = tempfile::tempdir().unwrap();
        let retired = retire(write(folder.path(), 1, 1..3).path()).unwrap();
        write(folder.path(), 2, 3..5);
        let taken = SegmentFile::make(folder.path(), 2, Some(retired)).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_all(folder.path()).unwrap(), [3, 4]);
        for _ in 0..2 {
            remove_retired(folder.path()).unwrap();
            assert!(!folder.path().join(RETIRED).exists());
        }
    }

    fn damage(segment: &SegmentFile, at: u64) {
        let mut byte = [0];
        segment.file.read_exact_at(&mut byte, at).unwrap();
        segment.file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    }

    // `File::create_new` opens for writing alone.
    fn reopened(mut segment: SegmentFile) -> SegmentFile {
        segment.file = File::options().read(true).write(true).open(&segment.path).unwrap();
        segment
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn only_the_last_commit_may_be_broken(at in 0u64..220, first in prop_oneof![Just(1u64), 2u64..1 << 40]) {
            let folder = tempfile::tempdir().unwrap();
            let mut ends = vec![0];
            let mut segment = SegmentFile::make(folder.path(), 1, None).unwrap();
            for nth in 1..=6u8 {
                let mut frame = vec![nth; HEAD_BYTES + 12];
                segment.append(first + u64::from(nth), &mut frame).unwrap();
                ends.push(segment.end());
            }
            let segment = reopened(segment);
            let at = at.min(segment.end() - 1);
            damage(&segment, at);
            let hit = ends.iter().rposition(|end| *end <= at).unwrap();
            match read_all(folder.path()) {
                Ok(found) => prop_assert_eq!((hit, found), (5, vec![1, 2, 3, 4, 5])),
                Err(error) => prop_assert!(hit < 5, "{error}"),
            }
        }
    }
}
