//! What must be undone elsewhere, written down and synced before it is done.
//!
//! A guard has a journal of its own, `faults/<pid>-<start>.jsonl` in the state folder, which only its user may read.
//! Its first line says whose it is, then there is one line for each thing that is done and one when it is undone. A
//! journal with nothing left to undo is removed. It holds no secrets.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::undo::Undo;
use super::who::ProcessId;

/// The largest journal that is read, and the longest line in it.
pub const MAX_JOURNAL_BYTES: u64 = 16 << 20;
const MAX_LINE_BYTES: usize = 16 << 10;
/// The most journals that are looked at.
pub const MAX_JOURNALS: usize = 1000;

/// A line of a journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Guard(ProcessId),
    Done { id: u64, what: String, undo: Undo },
    Undone { id: u64 },
}

/// Where squall keeps what outlives a run: `$SQUALL_STATE_DIR`, or `squall` in `$XDG_STATE_HOME`, or in
/// `~/.local/state` (XDG Base Directory Specification 0.8). `None` for a user without a home.
#[must_use]
pub fn state_folder() -> Option<PathBuf> {
    // A relative path is to be ignored, says the specification.
    let absolute = |name| Some(PathBuf::from(std::env::var_os(name)?)).filter(|p| p.is_absolute());
    absolute("SQUALL_STATE_DIR")
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("squall")))
        .or_else(|| Some(absolute("HOME")?.join(".local/state/squall")))
}

/// The journal of this process.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    file: File,
    /// How many bytes of it are whole lines.
    whole: u64,
    next: u64,
    open: usize,
}

impl Journal {
    /// A new journal of the process `guard` below the state folder `state`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(state: &Path, guard: ProcessId) -> io::Result<Self> {
        let folder = folder_of(state);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let path = folder.join(format!("{}-{}.jsonl", guard.pid, guard.start));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        // The file's name is to be found after a power cut, too.
        File::open(&folder)?.sync_all()?;
        let journal = Self { path, books: Mutex::new(Books { file, whole: 0, next: 0, open: 0 }) };
        journal.books().append(&Line::Guard(guard))?;
        Ok(journal)
    }

    /// Writes down how `what`, which is about to be done, is undone; gives its number.
    ///
    /// # Errors
    /// When it is not on the disk.
    pub fn write(&self, what: &str, undo: &Undo) -> io::Result<u64> {
        let mut books = self.books();
        let id = books.next;
        books.append(&Line::Done { id, what: what.to_owned(), undo: undo.clone() })?;
        books.next += 1;
        books.open += 1;
        Ok(id)
    }

    /// Writes down that number `id` is undone.
    ///
    /// # Errors
    /// When it is not on the disk.
    pub fn undone(&self, id: u64) -> io::Result<()> {
        let mut books = self.books();
        books.open = books.open.saturating_sub(1);
        books.append(&Line::Undone { id })
    }

    /// Removes it, unless something is left to undo.
    pub fn close(&self) {
        if self.books().open == 0 {
            // One that stays is empty, and is removed by the next `heal`.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // A line is written whole or not at all.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // What is there of the line would spoil the next one.
            let _ = self.file.set_len(self.whole);
            let _ = io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.whole));
            return written;
        }
        self.whole += text.len() as u64;
        Ok(())
    }
}

/// A journal, read back.
#[derive(Debug)]
pub struct Left {
    /// Whose it is; `None` when not even that was written.
    pub guard: Option<ProcessId>,
    /// What is not undone, in the order in which it was done.
    pub entries: Vec<(u64, String, Undo)>,
    /// The lines that say nothing, by number from 1. A last line without its end is not among them.
    pub strange: Vec<usize>,
}

/// Why a journal is not read.
#[derive(Debug, thiserror::Error)]
pub enum NoJournal {
    /// It cannot be.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It could be anybody's.
    #[error("it is no file that only you can write: it may be anybody's, and is left alone; remove it")]
    Strange,
    /// It is too large.
    #[error("it has more than {MAX_JOURNAL_BYTES} bytes, which no journal has; remove it")]
    Large,
}

/// The journals below the state folder `state`, the oldest names first.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn journals(state: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match std::fs::read_dir(folder_of(state)) {
        Ok(listed) => listed,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut paths = Vec::new();
    for entry in listed {
        let path = entry?.path();
        if paths.len() < MAX_JOURNALS && path.extension().is_some_and(|e| e == "jsonl") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads the journal at `path`.
///
/// # Errors
/// When it cannot be read or is none of this user's.
pub fn read(path: &Path) -> Result<Left, NoJournal> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)?;
    let about = file.metadata()?;
    let ours = about.uid() == rustix::process::geteuid().as_raw();
    if !about.is_file() || !ours || about.mode() & 0o022 != 0 {
        return Err(NoJournal::Strange);
    }
    let mut text = Vec::new();
    file.take(MAX_JOURNAL_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_JOURNAL_BYTES {
        return Err(NoJournal::Large);
    }
    Ok(parse(&text))
}

/// What a journal's text says.
#[must_use]
pub fn parse(text: &[u8]) -> Left {
    let mut left = Left { guard: None, entries: Vec::new(), strange: Vec::new() };
    let mut open = BTreeMap::new();
    // What follows the last line break is a line that was never finished: nothing was done for it.
    let whole = text.iter().rposition(|b| *b == b'\n').map_or(&text[..0], |end| &text[..end]);
    for (i, line) in whole.split(|b| *b == b'\n').enumerate() {
        let known =
            (line.len() <= MAX_LINE_BYTES).then(|| serde_json::from_slice::<Line>(line).ok()).flatten();
        match known {
            Some(Line::Guard(guard)) if i == 0 => left.guard = Some(guard),
            Some(Line::Done { id, what, undo }) if undo.check().is_ok() && !open.contains_key(&id) => {
                // It is shown to a person, on a terminal.
                let what = what.chars().filter(|c| !c.is_control()).take(500).collect();
                open.insert(id, (what, undo));
            }
            Some(Line::Undone { id }) => drop(open.remove(&id)),
            _ if line.is_empty() && whole.is_empty() => {}
            _ => left.strange.push(i + 1),
        }
    }
    left.entries = open.into_iter().map(|(id, (what, undo))| (id, what, undo)).collect();
    left
}

/// Marks what is undone in a journal of a guard that is gone.
///
/// # Errors
/// When it cannot be written.
pub fn mark(path: &Path, id: u64) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW.bits() as i32;
    let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    let mut text = Vec::new();
    (&mut file).take(MAX_JOURNAL_BYTES).read_to_end(&mut text)?;
    // A last line without its end would spoil this one.
    let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1) as u64;
    file.set_len(whole)?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(whole))?;
    let mut text = serde_json::to_vec(&Line::Undone { id })?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_data()
}

fn folder_of(state: &Path) -> PathBuf {
    state.join("faults")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(pid: i32) -> Undo {
        Undo::Continue { process: ProcessId { pid, start: 1, boot: 2 } }
    }

    #[test]
    fn what_is_done_is_read_back_until_it_is_undone() {
        let state = tempfile::tempdir().unwrap();
        let guard = ProcessId::this().unwrap();
        let journal = Journal::create(state.path(), guard).unwrap();
        let (a, b) = (journal.write("a", &stopped(7)).unwrap(), journal.write("b", &stopped(8)).unwrap());
        journal.undone(a).unwrap();
        journal.close();
        let paths = journals(state.path()).unwrap();
        assert_eq!(paths.len(), 1, "something is left to undo");
        let left = read(&paths[0]).unwrap();
        assert_eq!((left.guard, left.strange.len()), (Some(guard), 0));
        assert_eq!(left.entries, [(b, "b".to_owned(), stopped(8))]);
        assert_eq!(paths[0].metadata().unwrap().mode() & 0o777, 0o600);
        mark(&paths[0], b).unwrap();
        assert_eq!(read(&paths[0]).unwrap().entries, []);
        journal.undone(b).unwrap();
        journal.close();
        assert!(journals(state.path()).unwrap().is_empty());
    }

    #[test]
    fn a_torn_last_line_is_harmless_at_every_byte() {
        let state = tempfile::tempdir().unwrap();
        let journal = Journal::create(state.path(), ProcessId::this().unwrap()).unwrap();
        journal.write("a", &stopped(7)).unwrap();
        journal.write("b", &stopped(8)).unwrap();
        let text = std::fs::read(&journal.path).unwrap();
        for end in 0..=text.len() {
            let left = parse(&text[..end]);
            let whole = text[..end].iter().filter(|b| **b == b'\n').count();
            assert_eq!(left.entries.len(), whole.saturating_sub(1), "cut at {end}");
            assert_eq!(left.strange, [0usize; 0], "cut at {end}");
        }
    }

    #[test]
    fn lines_that_squall_does_not_write_are_told_and_do_nothing() {
        let hostile = [
            r#"{"done":{"id":1,"what":"x","undo":{"undo":"continue","process":{"pid":1,"start":1,"boot":1}}}}"#,
            r#"{"done":{"id":1,"what":"x","undo":{"undo":"continue","process":{"pid":-1,"start":1,"boot":1}}}}"#,
            r#"{"done":{"id":2,"what":"x","undo":{"undo":"start","id":"../../images/json"}}}"#,
            r#"{"done":{"id":3,"what":"x","undo":{"undo":"password","url_env":"A=B","nonce":"n"}}}"#,
            r#"{"done":{"id":4,"what":"x","undo":{"undo":"run","command":"rm -rf /"}}}"#,
            r#"{"done":{"id":5,"what":"x"}}"#,
            "\u{0}\u{1}not json",
            "[[[[[[[[",
        ];
        let left = parse((hostile.join("\n") + "\n").as_bytes());
        assert_eq!(left.entries, []);
        assert_eq!(left.strange, [1, 2, 3, 4, 5, 6, 7, 8]);
        // Nor does it write one number twice.
        let done = r#"{"done":{"id":1,"what":"x","undo":{"undo":"continue","process":{"pid":7,"start":1,"boot":1}}}}"#;
        let left = parse(format!("{done}\n{done}\n").as_bytes());
        assert_eq!((left.entries.len(), left.strange), (1, vec![2]));
        // Whose it is is said once.
        let guard = r#"{"guard":{"pid":7,"start":1,"boot":2}}"#;
        let left = parse(format!("{guard}\n{}\n", guard.replace('7', "8")).as_bytes());
        assert_eq!((left.guard.map(|g| g.pid), left.strange), (Some(7), vec![2]));
    }

    #[test]
    fn a_file_that_others_can_write_is_no_journal() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1-1.jsonl");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        assert!(matches!(read(&path), Err(NoJournal::Strange)));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(read(&path).unwrap().entries.is_empty());
        let link = folder.path().join("2-2.jsonl");
        symlink(&path, &link).unwrap();
        assert!(matches!(read(&link), Err(NoJournal::Io(_))));
        assert!(matches!(read(folder.path()), Err(NoJournal::Strange)));
        // Who may give files away can be given one.
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
            assert!(matches!(read(&path), Err(NoJournal::Strange)));
        }
    }
}
