//! An own append-only journal: the floor that a library has to be compared with.
//!
//! One frame per batch: length, CRC-32 of the payload, payload (the same rows as everywhere).
//! What a library does besides is missing here and would have to be written and kept right:
//! look-ups that outgrow memory, compaction, expiry, and a format that lasts. The indices that
//! answers need are kept in memory and so grow with every payment.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::ensure;

use crate::payment::Payment;
use crate::stores::{Store, touched};

pub struct Journal {
    file: File,
    frame: Vec<u8>,
    /// Idempotency key → fingerprint and commit number.
    keys: HashMap<[u8; 16], [u8; 16]>,
    /// Account and commit number.
    index: BTreeSet<[u8; 12]>,
    /// Commit number − 1 → where its row is.
    offsets: Vec<u64>,
    end: u64,
}

impl Journal {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let file = File::options().read(true).append(true).create_new(true).open(folder.join("journal"))?;
        Ok(Self {
            file,
            frame: Vec::new(),
            keys: HashMap::new(),
            index: BTreeSet::new(),
            offsets: Vec::new(),
            end: 0,
        })
    }
}

impl Store for Journal {
    fn commit(&mut self, batch: &[Payment], balances: &[i64]) -> anyhow::Result<()> {
        self.frame.clear();
        self.frame.extend([0; 12]);
        for p in batch {
            self.offsets.push(self.end + self.frame.len() as u64);
            self.frame.extend(p.seq.to_be_bytes());
            self.frame.extend(p.row());
            self.frame.extend(p.key_row());
        }
        for account in touched(batch) {
            self.frame.extend(account.to_be_bytes());
            self.frame.extend(balances[account as usize].to_be_bytes());
        }
        let (head, payload) = self.frame.split_at_mut(12);
        head[..4].copy_from_slice(&(payload.len() as u32).to_be_bytes());
        head[4..8].copy_from_slice(&(batch.len() as u32).to_be_bytes());
        head[8..].copy_from_slice(&crc32fast::hash(payload).to_be_bytes());
        self.file.write_all(&self.frame)?;
        self.file.sync_data()?;
        self.end += self.frame.len() as u64;
        for p in batch {
            self.keys.insert(p.key, p.key_row());
            self.index.insert(p.index(p.from));
            self.index.insert(p.index(p.to));
        }
        Ok(())
    }

    fn payments(&mut self) -> anyhow::Result<u64> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        let (mut rest, mut payments) = (&bytes[..], 0);
        while let Some((head, after)) = rest.split_at_checked(12) {
            let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let Some((payload, next)) = after.split_at_checked(word(0) as usize) else { break };
            ensure!(crc32fast::hash(payload) == word(8), "a frame's CRC differs");
            payments += u64::from(word(4));
            rest = next;
        }
        ensure!(self.keys.len() as u64 == payments && self.index.len() as u64 == 2 * payments);
        Ok(payments)
    }
}
