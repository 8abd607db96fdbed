//! The embedded store: fjall, a log-structured merge tree, behind what is in memory. Why it:
//! `docs/decisions/0001-embedded-store.md`; why not on a commit's way:
//! `docs/decisions/0002-own-journal.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Snapshot};

use super::recent::{Recent, Segment};
use super::rows::{DeclineRow, KeyRow, Meta, PaymentRow, bytes, decode_account, encode_account};
use super::settle;
use crate::idempotency::ScopedKey;
use crate::ids::AccountId;
use crate::ledger::Account;
use crate::limits::{MEMTABLE_BYTES, STORE_CACHE_BYTES, STORE_FILES, STORE_JOURNAL_BYTES};
use crate::record::Record;

/// The key of the one row in `meta`.
const META_KEY: &[u8] = b"ledger";

/// The folder of the journal, within that of the store.
const JOURNAL: &str = "journal";

/// Why the store cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store itself.
    #[error("use the embedded store: {0}")]
    Fjall(#[from] fjall::Error),
    /// The journal.
    #[error("use the journal: {0}")]
    Journal(#[from] std::io::Error),
    /// The thread behind the commits has ended. What it could not do is in the log.
    #[error("move commits from the journal to the store: the thread for it has ended")]
    Behind,
    /// A row that this version cannot have written.
    #[error("read the row {row} of `{keyspace}`: it is damaged or of another version")]
    Row {
        /// Where it is.
        keyspace: &'static str,
        /// Which it is.
        row: u64,
    },
    /// The rows contradict each other.
    #[error("recover the ledger: {0}")]
    Contradiction(String),
}

/// Everything that is committed. Clones share it; reading is open to every thread, writing is the
/// writer's, through [`super::Journal`].
#[derive(Clone)]
pub struct Store {
    db: Database,
    pub(super) journal: PathBuf,
    pub(super) recent: Arc<Recent>,
    pub(super) payments: Keyspace,
    pub(super) declines: Keyspace,
    pub(super) keys: Keyspace,
    pub(super) accounts: Keyspace,
    pub(super) meta: Keyspace,
    pub(super) methods: Keyspace,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `folder`, or makes one there, and moves what a crash has left in the
    /// journal to where it belongs.
    ///
    /// # Errors
    /// When the folder cannot be used, another process has it open, or the journal is damaged.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let db = in_idle_time(|| {
            Database::builder(folder)
                .cache_size(STORE_CACHE_BYTES)
                .max_cached_files(Some(STORE_FILES))
                .max_journaling_size(STORE_JOURNAL_BYTES)
                .worker_threads(1)
                .open()
        })?;
        // Whoever reads by number knows that there is such a row: no filter has to say so.
        let open = |name, by_number| {
            let options = KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
            db.keyspace(name, || options.expect_point_read_hits(by_number))
        };
        let store = Self {
            payments: open("payments", true)?,
            declines: open("declines", true)?,
            keys: open("keys", false)?,
            accounts: open("accounts", true)?,
            meta: open("meta", true)?,
            methods: open("methods", false)?,
            journal: folder.join(JOURNAL),
            recent: Arc::default(),
            db,
        };
        std::fs::create_dir_all(&store.journal)?;
        settle::leftovers(&store)?;
        Ok(store)
    }

    /// What the key stands for, if it is known.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn by_key(&self, key: &ScopedKey) -> Result<Option<Record>, StoreError> {
        let recent = self.recent.read().key(key);
        let row = match recent {
            Some(known) => known,
            None => match self.keys.get(key.as_bytes())? {
                Some(row) => Some(KeyRow::decode(&row).ok_or(StoreError::Row { keyspace: "keys", row: 0 })?),
                None => None,
            },
        };
        match row {
            None => Ok(None),
            Some(KeyRow::Payment(seq)) => Ok(self.payment(seq)?.map(|p| p.record(seq))),
            Some(KeyRow::Decline(number)) => Ok(self.decline(number)?.map(|d| d.record())),
        }
    }

    /// The payment with commit number `seq`, if there is one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn payment(&self, seq: u64) -> Result<Option<PaymentRow>, StoreError> {
        let recent = self.recent.read().payment(seq).cloned();
        if recent.is_some() {
            return Ok(recent);
        }
        let row = self.payments.get(seq.to_be_bytes())?;
        row.map(|row| decode_payment(seq, &row)).transpose()
    }

    /// The decline `number`, unless its key has expired.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn decline(&self, number: u64) -> Result<Option<DeclineRow>, StoreError> {
        let recent = self.recent.read().decline(number).map(Option::<&DeclineRow>::cloned);
        if let Some(known) = recent {
            return Ok(known);
        }
        let damaged = StoreError::Row { keyspace: "declines", row: number };
        let row = self.declines.get(number.to_be_bytes())?;
        row.map(|row| DeclineRow::decode(&row).ok_or(damaged)).transpose()
    }

    /// All rows as of the last commit that was sealed.
    #[must_use]
    pub fn rows(&self) -> Rows {
        // A segment leaves the memory after it is in the tables: what is missing here is there.
        let segments = self.recent.read();
        Rows { sealed: segments.sealed(), tables: self.db.snapshot() }
    }

    pub(super) fn batch(&self) -> Batch<'_> {
        Batch { store: self, rows: self.db.batch().durability(Some(PersistMode::SyncData)) }
    }

    pub(super) fn read_meta(&self) -> Result<Option<Meta>, StoreError> {
        let row = self.meta.get(META_KEY)?;
        row.map(|row| Meta::decode(&row).ok_or(StoreError::Row { keyspace: "meta", row: 0 })).transpose()
    }
}

/// Runs `open` on a thread that runs when no other wants to. The threads that it starts inherit that,
/// so flushing and compaction, which take a core for hundreds of milliseconds at a time, leave it to
/// payments at once (sched(7), `SCHED_IDLE`). On a machine that is busy all the time they hardly run;
/// then tables pile up, and payments wait when there are
/// [`MAX_UNMERGED_TABLES`](crate::limits::MAX_UNMERGED_TABLES).
///
/// Lowering needs no privilege; raising again would, which is why it is not done on the calling
/// thread.
fn in_idle_time<T: Send>(open: impl FnOnce() -> T + Send) -> T {
    use thread_priority::unix::{NormalThreadSchedulePolicy, ThreadSchedulePolicy};
    use thread_priority::{ThreadPriority, set_thread_priority_and_policy, thread_native_id};
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| {
            let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
            // Without it the store is only more intrusive.
            if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle)
            {
                tracing::warn!(?error, "the store's own threads run at the priority of payments");
            }
            open()
        });
        match opened.join() {
            Ok(opened) => opened,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Rows for whoever reads all of them. A segment's rows may be in the tables as well.
pub struct Rows {
    /// The oldest first.
    pub sealed: Vec<Arc<Segment>>,
    /// What is in the tables.
    pub tables: Snapshot,
}

/// Some rows for the tables: all of them become durable, or none.
pub(super) struct Batch<'a> {
    store: &'a Store,
    rows: OwnedWriteBatch,
}

impl Batch<'_> {
    /// A decline; `None` when it is forgotten.
    pub fn decline(&mut self, number: u64, row: Option<&DeclineRow>) {
        let declines = &self.store.declines;
        match row {
            Some(row) => self.rows.insert(declines, number.to_be_bytes(), bytes(|b| row.encode(b))),
            None => self.rows.remove(declines, number.to_be_bytes()),
        }
    }

    /// An account as it is now.
    pub fn account(&mut self, id: AccountId, account: &Account) {
        let row = bytes(|b| encode_account(account, b));
        self.rows.insert(&self.store.accounts, id.0.to_be_bytes(), row);
    }

    /// A payment method.
    pub fn method(&mut self, id: [u8; 16], row: Vec<u8>) {
        self.rows.insert(&self.store.methods, id, row);
    }

    /// The counters.
    pub fn meta(&mut self, meta: &Meta) {
        self.rows.insert(&self.store.meta, META_KEY, bytes(|b| meta.encode(b)));
    }

    /// Returns when every row is on disk.
    ///
    /// # Errors
    /// When that is not known.
    pub fn commit(self) -> Result<(), StoreError> {
        Ok(self.rows.commit()?)
    }
}

pub(super) fn decode_payment(seq: u64, row: &[u8]) -> Result<PaymentRow, StoreError> {
    PaymentRow::decode(row).ok_or(StoreError::Row { keyspace: "payments", row: seq })
}

/// A key of eight bytes as the number it is.
pub(super) fn number(key: &[u8], keyspace: &'static str) -> Result<u64, StoreError> {
    Ok(u64::from_be_bytes(key.try_into().map_err(|_| StoreError::Row { keyspace, row: 0 })?))
}

/// One row of `accounts`.
pub(super) fn account(key: &[u8], row: &[u8]) -> Result<(AccountId, Account), StoreError> {
    let damaged = || StoreError::Row { keyspace: "accounts", row: 0 };
    let id = u32::from_be_bytes(key.try_into().map_err(|_| damaged())?);
    Ok((AccountId(id), decode_account(row).ok_or_else(damaged)?))
}
