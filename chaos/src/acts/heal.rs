//! Undoing what guards that are gone have left.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::journal;
use super::undo::Undone;
use super::who::ProcessId;

/// How long a guard that lives may take to write its name.
const NAMELESS: Duration = Duration::from_secs(60);

/// What became of one journal, or of one thing in it.
#[derive(Debug)]
pub enum Healed {
    /// Its guard is alive and undoes it itself.
    Lives {
        /// The guard.
        guard: ProcessId,
        /// How many things it has to undo.
        open: usize,
    },
    /// It would be undone.
    Would(String),
    /// It was undone.
    Undone {
        /// What.
        what: String,
        /// Whether there was anything left to undo.
        undone: Undone,
    },
    /// It was not.
    Failed {
        /// What.
        what: String,
        /// Why.
        why: String,
        /// What a person can do.
        by_hand: String,
    },
    /// A journal makes no sense, or some of its lines.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Healed {
    /// Whether something is left as it should not be.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Healed::Failed { .. } | Healed::Unreadable { .. })
    }
}

/// Undoes what the journals below the state folder `state` say, but for those of guards that live; only says so when it is
/// `dry`. Doing it twice, or two at once, is harmless.
///
/// # Errors
/// When the folder cannot be read.
pub async fn heal(state: &Path, dry: bool) -> io::Result<Vec<Healed>> {
    let mut all = Vec::new();
    for path in journal::journals(state)? {
        one(&path, dry, &mut all).await;
    }
    Ok(all)
}

async fn one(path: &Path, dry: bool, all: &mut Vec<Healed>) {
    let unreadable = |why: String| Healed::Unreadable { path: path.to_owned(), why };
    let left = match journal::read(path) {
        Ok(left) => left,
        // Another `heal` was faster.
        Err(journal::NoJournal::Io(e)) if e.kind() == io::ErrorKind::NotFound => return,
        Err(e) => return all.push(unreadable(e.to_string())),
    };
    match left.guard {
        Some(guard) if guard.lives() => {
            return all.push(Healed::Lives { guard, open: left.entries.len() });
        }
        // A guard that has not written its name yet has done nothing, and may still live.
        None if left.entries.is_empty() && left.strange.is_empty() => {
            let made = std::fs::symlink_metadata(path).and_then(|about| about.modified());
            if !dry && made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > NAMELESS)) {
                let _ = std::fs::remove_file(path);
            }
            return;
        }
        _ => {}
    }
    let mut clean = left.strange.is_empty();
    if !clean {
        let lines: Vec<String> = left.strange.iter().take(5).map(ToString::to_string).collect();
        all.push(unreadable(format!(
            "squall has not written line {}; look at it, and remove the file",
            lines.join(", ")
        )));
    }
    for (id, what, undo) in left.entries.into_iter().rev() {
        if dry {
            all.push(Healed::Would(what));
            continue;
        }
        match undo.go().await {
            Ok(undone) => {
                // What cannot be marked is undone once more next time, which is harmless.
                clean &= journal::mark(path, id).is_ok();
                all.push(Healed::Undone { what, undone });
            }
            Err(e) => {
                clean = false;
                all.push(Healed::Failed { what, why: e.to_string(), by_hand: undo.by_hand() });
            }
        }
    }
    if clean && !dry {
        // Gone already when another `heal` was faster.
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acts::journal::Journal;
    use crate::acts::undo::Undo;

    fn healed(state: &Path, dry: bool) -> Vec<Healed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(heal(state, dry)).unwrap()
    }

    #[test]
    fn what_a_living_guard_holds_is_left_to_it() {
        let state = tempfile::tempdir().unwrap();
        let this = ProcessId::this().unwrap();
        let journal = Journal::create(state.path(), this).unwrap();
        journal.write("x", &Undo::Continue { process: ProcessId { start: 0, ..this } }).unwrap();
        assert!(matches!(healed(state.path(), false)[..], [Healed::Lives { open: 1, .. }]));
    }

    #[test]
    fn what_a_guard_that_is_gone_has_left_is_undone_once_and_a_reused_id_gets_no_signal() {
        let state = tempfile::tempdir().unwrap();
        let gone = ProcessId { start: 0, ..ProcessId::this().unwrap() };
        let journal = Journal::create(state.path(), gone).unwrap();
        // The id is this very process's, and the start another's.
        journal.write("x", &Undo::Continue { process: gone }).unwrap();
        journal.write("y", &Undo::Continue { process: gone }).unwrap();
        let would = healed(state.path(), true);
        assert!(
            matches!(&would[..], [Healed::Would(y), Healed::Would(x)] if x == "x" && y == "y"),
            "{would:?}"
        );
        let done = healed(state.path(), false);
        let [Healed::Undone { what, undone: Undone::Before }, Healed::Undone { .. }] = &done[..] else {
            panic!("{done:?}")
        };
        assert_eq!(what, "y", "the last first");
        assert!(healed(state.path(), false).is_empty(), "twice is harmless");
    }

    #[test]
    fn what_cannot_be_undone_now_stays_for_the_next_time() {
        let state = tempfile::tempdir().unwrap();
        let gone = ProcessId { start: 0, ..ProcessId::this().unwrap() };
        let journal = Journal::create(state.path(), gone).unwrap();
        journal.write("x", &Undo::ResumeReplay { url_env: "SQUALL_NO_SUCH_URL".to_owned() }).unwrap();
        for _ in 0..2 {
            let failed = healed(state.path(), false);
            assert!(matches!(&failed[..], [Healed::Failed { what, .. }] if what == "x"), "{failed:?}");
            assert!(failed[0].is_failure());
        }
    }

    #[test]
    fn an_empty_journal_goes_once_its_guard_has_had_time_to_write_its_name() {
        let state = tempfile::tempdir().unwrap();
        drop(Journal::create(state.path(), ProcessId::this().unwrap()).unwrap());
        let folder = state.path().join("faults");
        let path = folder.join("1-1.jsonl");
        let file = std::fs::File::create(&path).unwrap();
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        healed(state.path(), false);
        assert!(path.exists(), "it may have been made just now");
        file.set_modified(squall_record::clock::wall_now() - 2 * NAMELESS).unwrap();
        healed(state.path(), true);
        assert!(path.exists(), "a dry run removes nothing");
        healed(state.path(), false);
        assert!(!path.exists());
    }
}
