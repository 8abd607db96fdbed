//! A fault while it lasts: what goes on for it, and what has to be undone after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::task::JoinHandle;

use super::error::ActError;
use super::journal::Journal;
use super::undo::{Undo, Undone};

/// Something that goes on while a fault lasts.
enum Worker {
    /// Threads that look at a flag.
    Threads(Arc<AtomicBool>, Vec<thread::JoinHandle<()>>),
    /// A task, which is dropped where it waits.
    Task {
        task: JoinHandle<()>,
        /// Whether the fault acts no longer than it does.
        lasts: bool,
    },
    /// What acts by being held.
    Held(Box<dyn Send>),
}

/// A fault while it lasts. It is ended with [`end`](Self::end); dropped, its workers end and its journal stays.
pub struct Running {
    journal: Arc<Journal>,
    entries: Vec<Entry>,
    workers: Vec<Worker>,
}

struct Entry {
    id: u64,
    what: String,
    undo: Undo,
}

/// What ending a fault came to, in words.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct End {
    /// What was undone.
    pub undone: Vec<String>,
    /// What was not, and why.
    pub failed: Vec<String>,
}

impl Running {
    /// One of which nothing acts yet.
    #[must_use]
    pub fn new(journal: Arc<Journal>) -> Self {
        Self { journal, entries: Vec::new(), workers: Vec::new() }
    }

    /// Promises to undo what is about to be done: it is in the journal, synced, when this returns.
    ///
    /// # Errors
    /// When it cannot be written; then it must not be done.
    pub fn promise(&mut self, what: impl Into<String>, undo: Undo) -> Result<(), ActError> {
        let what = what.into();
        let id = self.journal.write(&what, &undo).map_err(ActError::os("write the journal"))?;
        self.entries.push(Entry { id, what, undo });
        Ok(())
    }

    /// Runs `work` on `n` threads until the fault ends: each call gets the flag that is set then, and its number.
    ///
    /// # Errors
    /// When there are no more threads to be had.
    pub fn threads<F>(&mut self, n: usize, name: &str, work: F) -> Result<(), ActError>
    where
        F: Fn(&AtomicBool, usize) + Send + Sync + 'static,
    {
        let (stop, work) = (Arc::new(AtomicBool::new(false)), Arc::new(work));
        let mut handles = Vec::with_capacity(n);
        let mut started = Ok(());
        for i in 0..n {
            let (stop, work) = (Arc::clone(&stop), Arc::clone(&work));
            match thread::Builder::new().name(name.to_owned()).spawn(move || work(&stop, i)) {
                Ok(handle) => handles.push(handle),
                Err(e) => started = Err(ActError::os("start a thread")(e)),
            }
        }
        self.workers.push(Worker::Threads(stop, handles));
        started
    }

    /// Goes on with `task` until it or the fault ends.
    pub fn task(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.workers.push(Worker::Task { task: tokio::spawn(task), lasts: false });
    }

    /// Goes on with `task` until the fault ends, which is lost when the task ends before.
    pub fn lasting(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.workers.push(Worker::Task { task: tokio::spawn(task), lasts: true });
    }

    /// Keeps `held` until the fault ends.
    pub fn hold(&mut self, held: impl Send + 'static) {
        self.workers.push(Worker::Held(Box::new(held)));
    }

    /// Says that what goes on has ended by itself, when it has: the fault acts no more.
    ///
    /// Of what cannot end by itself nothing is said.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.workers
            .iter()
            .any(|worker| matches!(worker, Worker::Task { task, lasts: true } if task.is_finished()))
    }

    /// Ends what goes on and undoes what was done, the last first.
    pub async fn end(&mut self) -> End {
        for worker in &self.workers {
            match worker {
                Worker::Threads(stop, _) => stop.store(true, Ordering::Relaxed),
                Worker::Task { task, .. } => task.abort(),
                Worker::Held(_) => {}
            }
        }
        for worker in self.workers.drain(..) {
            match worker {
                // They look at the flag every few milliseconds; one that is in a write ends with it.
                Worker::Threads(_, handles) => {
                    let joined =
                        tokio::task::spawn_blocking(move || handles.into_iter().for_each(|h| drop(h.join())));
                    let _ = joined.await;
                }
                Worker::Task { task, .. } => drop(task.await),
                Worker::Held(held) => drop(held),
            }
        }
        let mut end = End::default();
        for entry in self.entries.drain(..).rev() {
            match entry.undo.go().await {
                Ok(undone) => {
                    // What cannot be marked is undone once more by `heal`, which is harmless.
                    let _ = self.journal.undone(entry.id);
                    let before =
                        if undone == Undone::Before { " (there was nothing left to undo)" } else { "" };
                    end.undone.push(format!("{}{before}", entry.what));
                }
                Err(e) => end.failed.push(format!("{}: {e}; by hand: {}", entry.what, entry.undo.by_hand())),
            }
        }
        end
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for worker in &self.workers {
            match worker {
                Worker::Threads(stop, _) => stop.store(true, Ordering::Relaxed),
                Worker::Task { task, .. } => task.abort(),
                Worker::Held(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acts::who::ProcessId;

    #[test]
    fn what_was_done_last_is_undone_first() {
        let state = tempfile::tempdir().unwrap();
        let this = ProcessId::this().unwrap();
        let gone = ProcessId { start: 0, ..this };
        let mut running = Running::new(Arc::new(Journal::create(state.path(), this).unwrap()));
        for what in ["first", "then"] {
            running.promise(what, Undo::Continue { process: gone }).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let End { undone, failed } = runtime.block_on(running.end());
        assert!(undone[0].starts_with("then") && undone[1].starts_with("first"), "{undone:?}");
        assert_eq!(failed, [""; 0]);
    }
}
