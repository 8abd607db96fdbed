//! The thread behind the commits: moves full segments to the tables, and makes new ones ahead.
//!
//! A segment is written sorted, as whole tables, past the store's own journal and buffers. Each
//! step can be done twice, so a crash in the middle needs no trace: the segment's file is retired
//! after all of it is on disk, and at the next start whatever is left is settled again, the oldest
//! first.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use fjall::{Keyspace, Slice};
use itertools::Itertools as _;

use super::journal::{self, SegmentFile};
use super::keyspaces::{Store, StoreError};
use super::recent::{Change, Segment};
use super::rows::{KeyRow, bytes, encode_account};
use crate::limits::MAX_UNMERGED_TABLES;

/// How often a segment that waits for tables to be merged looks again.
const MERGE_TICK: Duration = Duration::from_millis(20);

/// Work that may wait. The writer takes the segment it has asked for before it asks for more, so
/// there is less.
const MAX_WORK: usize = 4;

/// Its nice value: it yields to payments, and still gets a quarter of a core of which payments want
/// all: commits wait for it in the end.
const NICE: i32 = 5;

/// Rows that are written, or sorted, in one go: some hundreds of microseconds of work.
const STRETCH_ROWS: usize = 256;
/// How long it then leaves the core to others. With this it takes less than a second for a segment,
/// which payments need more than a second to fill.
const REST: Duration = Duration::from_micros(300);

/// The thread.
#[derive(Debug)]
pub struct Settler(JoinHandle<Result<(), StoreError>>);

impl Settler {
    /// Whether it does nothing any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for its end, which comes when nobody can send it a segment any more.
    ///
    /// # Errors
    /// When a segment could not be settled.
    pub fn join(self) -> Result<(), StoreError> {
        self.0.join().unwrap_or(Err(StoreError::Behind))
    }
}

/// What the thread is asked to do, in this order.
#[derive(Debug)]
pub(super) enum Work {
    /// Make a segment ready.
    Make,
    /// Move a full segment, which is in this file as well, to the tables.
    Settle(Arc<Segment>, PathBuf),
}

/// A segment to be filled: its file, and its memory.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) file: SegmentFile,
    pub(super) memory: Segment,
}

/// Starts the thread: where work goes in and new segments come out.
///
/// # Errors
/// When there is none.
pub(super) fn start(store: &Store) -> Result<(Settler, Sender<Work>, Receiver<Spare>), StoreError> {
    let (ask, asked) = bounded(MAX_WORK);
    let (spare, spares) = bounded(1);
    let store = store.clone();
    let body = move || {
        // On Linux a "process" priority of none is that of the calling thread alone (setpriority(2),
        // "C library/kernel differences"). Without it the thread is only more intrusive.
        let _ = rustix::process::setpriority_process(None, NICE);
        run(&store, &asked, &spare).inspect_err(|error| tracing::error!(%error, "settle"))
    };
    let thread = std::thread::Builder::new().name("settle".to_owned()).spawn(body)?;
    Ok((Settler(thread), ask, spares))
}

fn run(store: &Store, asked: &Receiver<Work>, spare: &Sender<Spare>) -> Result<(), StoreError> {
    let mut made = 0;
    // Memory that was used before: the kernel need not clear tens of megabytes of new pages for each
    // segment, which it does on the writer's time.
    let mut used = None;
    let mut retired = None;
    for work in asked {
        match work {
            Work::Make => {
                made += 1;
                let file = SegmentFile::make(&store.journal, made, retired.take())?;
                let memory = used.take().unwrap_or_else(Segment::with_room);
                // An error means that the writer has ended; what it has sealed is still to come.
                let _ = spare.send(Spare { file, memory });
            }
            Work::Settle(segment, path) => {
                settle(store, &segment)?;
                retired = Some(journal::retire(&path)?);
                store.recent.settled();
                // Unless a recount is still reading it.
                used = Arc::into_inner(segment).map(|mut segment| {
                    segment.clear();
                    segment
                });
            }
        }
    }
    Ok(())
}

/// Settles what the journal holds when the service starts, and empties it.
///
/// # Errors
/// When the journal is damaged, or the store cannot be written.
pub(super) fn leftovers(store: &Store) -> Result<(), StoreError> {
    let mut last = None;
    for path in journal::segments(&store.journal)? {
        let mut segment = Segment::default();
        journal::read(&path, &mut last, |mut body| {
            while !body.is_empty() {
                let known = match Change::decode(&mut body) {
                    // Its row is there already, and may be newer.
                    Some(Change::Opened(id, _)) if store.accounts.contains_key(id.0.to_be_bytes())? => true,
                    Some(change) => segment.apply(change),
                    None => false,
                };
                if !known {
                    let what = format!("{}: a commit makes no sense", path.display());
                    return Err(StoreError::Contradiction(what));
                }
            }
            Ok(())
        })?;
        // The journal has payments and no accounts: recovery applies them.
        segment.set_saved_seq(store.read_meta()?.map_or(0, |meta| meta.saved_seq));
        settle(store, &segment)?;
        journal::remove(&path)?;
    }
    Ok(journal::remove_retired(&store.journal)?)
}

fn settle(store: &Store, segment: &Segment) -> Result<(), StoreError> {
    let Some(meta) = segment.meta() else { return Ok(()) };
    let sorted_later = [&store.payments, &store.keys, &store.accounts];
    while sorted_later.iter().any(|tables| tables.l0_table_count() > MAX_UNMERGED_TABLES) {
        std::thread::sleep(MERGE_TICK);
    }
    // Evenly, not at once: on a machine whose cores are all busy, work of a quarter of a second would
    // hold up a second's worth of payments.
    let mut rows = 0;
    let mut rest = |done: usize| {
        rows += done;
        if rows >= STRETCH_ROWS {
            rows = 0;
            // With two full ones payments are about to wait for this.
            if store.recent.waiting() < 2 {
                std::thread::sleep(REST);
            }
        }
    };
    let payments = segment.payments().map(|(seq, row)| (seq.to_be_bytes(), Some(bytes(|b| row.encode(b)))));
    ingest(&store.payments, payments.inspect(|_| rest(1)))?;

    let mut keys: Vec<_> = segment.keys().inspect(|_| rest(1)).collect();
    for stretch in keys.chunks_mut(STRETCH_ROWS) {
        stretch.sort_unstable_by_key(|(key, _)| key.as_bytes());
        rest(stretch.len());
    }
    let keys = keys.chunks(STRETCH_ROWS).kmerge_by(|(a, _), (b, _)| a.as_bytes() < b.as_bytes());
    let keys = keys.map(|(key, row)| (key.as_bytes(), row.map(KeyRow::encode)));
    ingest(&store.keys, keys.inspect(|_| rest(1)))?;

    let mut accounts = segment.accounts().to_vec();
    // Stable: the later of two entries for one account stays the later one.
    accounts.sort_by_key(|(id, _)| *id);
    accounts.reverse();
    accounts.dedup_by_key(|(id, _)| *id);
    let accounts = accounts.iter().rev();
    let row = |account| Some(bytes(|b| encode_account(account, b)));
    ingest(&store.accounts, accounts.map(|(id, account)| (id.0.to_be_bytes(), row(account))))?;

    let mut batch = store.batch();
    segment.declines().for_each(|(number, row)| batch.decline(number, row));
    // Last: it says that the accounts' rows are there.
    batch.meta(meta);
    batch.commit()
}

/// Writes sorted rows as a table of their own; `None` removes one. They are on disk when this
/// returns.
fn ingest<K: Into<Slice>, V: Into<Slice>>(
    keyspace: &Keyspace,
    rows: impl Iterator<Item = (K, Option<V>)>,
) -> Result<(), StoreError> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut table = keyspace.start_ingestion()?;
    for (key, row) in rows {
        match row {
            Some(row) => table.write(key, row)?,
            None => table.write_tombstone(key)?,
        }
    }
    Ok(table.finish()?)
}
