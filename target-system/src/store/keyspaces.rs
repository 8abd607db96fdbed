//! The embedded store: fjall, a log-structured merge tree. Why it, and how fast:
//! `docs/decisions/0001-embedded-store.md`.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Snapshot};

use super::rows::{DeclineRow, KeyRow, Meta, PaymentRow, decode_account, encode_account};
use crate::idempotency::ScopedKey;
use crate::ids::AccountId;
use crate::ledger::Account;
use crate::limits::{JOURNAL_BYTES, MEMTABLE_BYTES, STORE_CACHE_BYTES};
use crate::record::Record;

/// The key of the one row in `meta`.
const META_KEY: &[u8] = b"ledger";

/// The nice value of the store's own threads: they get what nobody else wants.
const BACKGROUND_NICE: i32 = 19;

/// Why the store cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store itself.
    #[error("use the embedded store: {0}")]
    Fjall(#[from] fjall::Error),
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

/// The keyspaces. Clones share them; reading is open to every thread, writing is the writer's.
#[derive(Clone)]
pub struct Store {
    db: Database,
    pub(super) payments: Keyspace,
    pub(super) declines: Keyspace,
    pub(super) keys: Keyspace,
    pub(super) accounts: Keyspace,
    pub(super) meta: Keyspace,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in `folder`, or makes one there.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process has it open.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let db = in_the_background(|| {
            Database::builder(folder)
                .cache_size(STORE_CACHE_BYTES)
                .max_journaling_size(JOURNAL_BYTES)
                .worker_threads(1)
                .open()
        })?;
        let open =
            |name| db.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES));
        Ok(Self {
            payments: open("payments")?,
            declines: open("declines")?,
            keys: open("keys")?,
            accounts: open("accounts")?,
            meta: open("meta")?,
            db,
        })
    }

    /// What the key stands for, if it is known.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn by_key(&self, key: &ScopedKey) -> Result<Option<Record>, StoreError> {
        let Some(row) = self.keys.get(key.as_bytes())? else { return Ok(None) };
        match KeyRow::decode(&row).ok_or(StoreError::Row { keyspace: "keys", row: 0 })? {
            KeyRow::Payment(seq) => Ok(self.payment(seq)?.map(|p| p.record(seq))),
            KeyRow::Decline(number) => Ok(self.decline(number)?.map(|d| d.record())),
        }
    }

    /// The payment with commit number `seq`, if there is one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn payment(&self, seq: u64) -> Result<Option<PaymentRow>, StoreError> {
        let row = self.payments.get(seq.to_be_bytes())?;
        row.map(|row| decode_payment(seq, &row)).transpose()
    }

    /// The decline `number`, unless its key has expired.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn decline(&self, number: u64) -> Result<Option<DeclineRow>, StoreError> {
        let damaged = StoreError::Row { keyspace: "declines", row: number };
        let row = self.declines.get(number.to_be_bytes())?;
        row.map(|row| DeclineRow::decode(&row).ok_or(damaged)).transpose()
    }

    /// All rows as of the last commit.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.db.snapshot()
    }

    /// An empty batch.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch { store: self, rows: self.db.batch().durability(Some(PersistMode::SyncData)) }
    }

    pub(super) fn read_meta(&self) -> Result<Option<Meta>, StoreError> {
        let row = self.meta.get(META_KEY)?;
        row.map(|row| Meta::decode(&row).ok_or(StoreError::Row { keyspace: "meta", row: 0 })).transpose()
    }
}

/// Runs `open` on a thread of low priority. The threads that it starts inherit that, so flushing
/// and compaction, which take a core for hundreds of milliseconds at a time, yield it to payments.
/// Lowering needs no privilege; raising again would, which is why it is not done on the calling
/// thread.
fn in_the_background<T: Send>(open: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| {
            // On Linux a "process" priority of none is that of the calling thread alone
            // (setpriority(2), "C library/kernel differences"). Without it the store is only
            // more intrusive.
            let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
            open()
        });
        match opened.join() {
            Ok(opened) => opened,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The rows of one commit: all of them become durable, or none.
pub struct Batch<'a> {
    store: &'a Store,
    rows: OwnedWriteBatch,
}

impl Batch<'_> {
    /// A payment with its key.
    pub fn payment(&mut self, seq: u64, row: &PaymentRow) {
        self.rows.insert(&self.store.payments, seq.to_be_bytes(), row.encode());
        self.rows.insert(&self.store.keys, row.key.as_bytes(), KeyRow::Payment(seq).encode());
    }

    /// A decline with its key.
    pub fn decline(&mut self, number: u64, row: &DeclineRow) {
        self.rows.insert(&self.store.declines, number.to_be_bytes(), row.encode());
        self.rows.insert(&self.store.keys, row.key.as_bytes(), KeyRow::Decline(number).encode());
    }

    /// An account as it is now.
    pub fn account(&mut self, id: AccountId, account: &Account) {
        self.rows.insert(&self.store.accounts, id.0.to_be_bytes(), encode_account(account));
    }

    /// The key of a payment is forgotten.
    pub fn free_payment_key(&mut self, key: &ScopedKey) {
        self.rows.remove(&self.store.keys, key.as_bytes());
    }

    /// A decline is forgotten with its key: nothing else needs it.
    pub fn free_decline(&mut self, number: u64, key: &ScopedKey) {
        self.rows.remove(&self.store.keys, key.as_bytes());
        self.rows.remove(&self.store.declines, number.to_be_bytes());
    }

    /// The counters after this batch.
    pub fn meta(&mut self, meta: &Meta) {
        self.rows.insert(&self.store.meta, META_KEY, meta.encode());
    }

    /// Returns when every row is on disk (`fdatasync` of the store's journal).
    ///
    /// # Errors
    /// When that is not known. Rows may or may not be there after a restart; the store takes no
    /// more.
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
