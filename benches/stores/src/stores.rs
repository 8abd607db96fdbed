//! The libraries, each as its documentation recommends for durable batches.

use std::collections::BTreeSet;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{Durability, ReadableDatabase as _, TableDefinition};

use crate::payment::Payment;

/// What is compared.
pub trait Store {
    /// Makes a batch durable: nothing of it is acknowledged before this returns. `balances` is
    /// indexed by account and holds the state after the batch.
    fn commit(&mut self, batch: &[Payment], balances: &[i64]) -> anyhow::Result<()>;

    /// How many payments it holds, read back after the run.
    fn payments(&mut self) -> anyhow::Result<u64>;
}

/// The accounts that a batch touches: each balance is written once.
pub fn touched(batch: &[Payment]) -> BTreeSet<u32> {
    batch.iter().flat_map(|p| [p.from, p.to]).collect()
}

/// Keeps nothing.
pub struct Null;

impl Store for Null {
    fn commit(&mut self, _batch: &[Payment], _balances: &[i64]) -> anyhow::Result<()> {
        Ok(())
    }

    fn payments(&mut self) -> anyhow::Result<u64> {
        Ok(0)
    }
}

pub struct Fjall {
    db: Database,
    payments: Keyspace,
    keys: Keyspace,
    index: Keyspace,
    balances: Keyspace,
}

impl Fjall {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let db = Database::builder(folder).open()?;
        let open = |name| db.keyspace(name, KeyspaceCreateOptions::default);
        let (payments, keys) = (open("payments")?, open("keys")?);
        let (index, balances) = (open("index")?, open("balances")?);
        Ok(Self { db, payments, keys, index, balances })
    }
}

impl Store for Fjall {
    fn commit(&mut self, batch: &[Payment], balances: &[i64]) -> anyhow::Result<()> {
        let mut rows = self.db.batch().durability(Some(PersistMode::SyncData));
        for p in batch {
            rows.insert(&self.payments, p.seq.to_be_bytes(), p.row());
            rows.insert(&self.keys, p.key, p.key_row());
            rows.insert(&self.index, p.index(p.from), []);
            rows.insert(&self.index, p.index(p.to), []);
        }
        for account in touched(batch) {
            rows.insert(&self.balances, account.to_be_bytes(), balances[account as usize].to_be_bytes());
        }
        Ok(rows.commit()?)
    }

    fn payments(&mut self) -> anyhow::Result<u64> {
        Ok(self.payments.len()? as u64)
    }
}

const PAYMENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("payments");
const KEYS: TableDefinition<&[u8; 16], &[u8]> = TableDefinition::new("keys");
const INDEX: TableDefinition<&[u8; 12], ()> = TableDefinition::new("index");
const BALANCES: TableDefinition<u32, i64> = TableDefinition::new("balances");

pub struct Redb {
    db: redb::Database,
}

impl Redb {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self { db: redb::Database::create(folder.join("payments.redb"))? })
    }
}

impl Store for Redb {
    fn commit(&mut self, batch: &[Payment], balances: &[i64]) -> anyhow::Result<()> {
        let mut write = self.db.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        {
            let mut payments = write.open_table(PAYMENTS)?;
            let mut keys = write.open_table(KEYS)?;
            let mut index = write.open_table(INDEX)?;
            for p in batch {
                payments.insert(p.seq, &p.row()[..])?;
                keys.insert(&p.key, &p.key_row()[..])?;
                index.insert(&p.index(p.from), ())?;
                index.insert(&p.index(p.to), ())?;
            }
            let mut table = write.open_table(BALANCES)?;
            for account in touched(batch) {
                table.insert(account, balances[account as usize])?;
            }
        }
        Ok(write.commit()?)
    }

    fn payments(&mut self) -> anyhow::Result<u64> {
        use redb::ReadableTableMetadata as _;
        Ok(self.db.begin_read()?.open_table(PAYMENTS)?.len()?)
    }
}

pub struct Sqlite {
    db: rusqlite::Connection,
}

impl Sqlite {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let db = rusqlite::Connection::open(folder.join("payments.sqlite"))?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE payments (seq INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT;
             CREATE TABLE keys (key BLOB PRIMARY KEY, row BLOB NOT NULL) STRICT, WITHOUT ROWID;
             CREATE TABLE entries (account INTEGER, seq INTEGER, PRIMARY KEY (account, seq)) STRICT, WITHOUT ROWID;
             CREATE TABLE balances (account INTEGER PRIMARY KEY, balance INTEGER NOT NULL) STRICT;",
        )?;
        Ok(Self { db })
    }
}

impl Store for Sqlite {
    fn commit(&mut self, batch: &[Payment], balances: &[i64]) -> anyhow::Result<()> {
        let write = self.db.transaction()?;
        {
            let mut payment = write.prepare_cached("INSERT INTO payments VALUES (?1, ?2)")?;
            let mut key = write.prepare_cached("INSERT INTO keys VALUES (?1, ?2)")?;
            let mut entry = write.prepare_cached("INSERT INTO entries VALUES (?1, ?2)")?;
            let mut balance = write.prepare_cached("INSERT OR REPLACE INTO balances VALUES (?1, ?2)")?;
            for p in batch {
                payment.execute((p.seq as i64, p.row()))?;
                key.execute((p.key, p.key_row()))?;
                entry.execute((p.from, p.seq as i64))?;
                entry.execute((p.to, p.seq as i64))?;
            }
            for account in touched(batch) {
                balance.execute((account, balances[account as usize]))?;
            }
        }
        Ok(write.commit()?)
    }

    fn payments(&mut self) -> anyhow::Result<u64> {
        let n: i64 = self.db.query_row("SELECT count(*) FROM payments", [], |row| row.get(0))?;
        Ok(n as u64)
    }
}
