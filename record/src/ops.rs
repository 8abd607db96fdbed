//! `ops.bin`: one fixed-size record for each attempt at a payment, for the audit.
//!
//! The workload is a function of (seed, index), so the index alone says which payer, payee,
//! amount and idempotency key a request carried; the record adds when it was sent, how long it
//! took and what came back. Records are written in order of completion.
//!
//! Layout, little-endian: an 8-byte header `SQLOPS02`, then records of 24 bytes:
//! `index: u64, fired_ns: u64, took_us: u32, status: u16, class: u8, outcome: u8`. The top byte of
//! `index` counts the attempts before this one; an arrival's index takes the other seven. A torn
//! last record (the process was killed) is ignored by the reader.

use std::io::{self, Read, Write};

use crate::outcome::Outcome;

/// The file's first eight bytes.
pub const MAGIC: &[u8; 8] = b"SQLOPS02";
/// The size of one record in bytes.
pub const RECORD_LEN: usize = 24;

/// Bits of an arrival's index; above them stands the number of earlier attempts.
const INDEX_BITS: u32 = 56;

/// One attempt at a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// The arrival's index in the schedule, below 2^56.
    pub index: u64,
    /// Which attempt of that arrival it was, from 1.
    pub attempt: u8,
    /// When it was sent, in nanoseconds since the first planned arrival.
    pub fired_ns: u64,
    /// From sending to outcome, in microseconds; saturates.
    pub took_us: u32,
    /// The HTTP status; 0 when there was no answer.
    pub status: u16,
    /// Index of the request class.
    pub class: u8,
    /// What became of it.
    pub outcome: Outcome,
}

impl Op {
    /// The record's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; RECORD_LEN] {
        let mut b = [0; RECORD_LEN];
        let index = self.index | u64::from(self.attempt.saturating_sub(1)) << INDEX_BITS;
        b[0..8].copy_from_slice(&index.to_le_bytes());
        b[8..16].copy_from_slice(&self.fired_ns.to_le_bytes());
        b[16..20].copy_from_slice(&self.took_us.to_le_bytes());
        b[20..22].copy_from_slice(&self.status.to_le_bytes());
        b[22] = self.class;
        b[23] = self.outcome.code();
        b
    }

    /// The record in `b`; `None` when its outcome is not one.
    #[must_use]
    pub fn from_bytes(b: &[u8; RECORD_LEN]) -> Option<Self> {
        let word = |at: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&b[at..at + 8]);
            u64::from_le_bytes(w)
        };
        let tail = word(16);
        Some(Self {
            index: word(0) & ((1 << INDEX_BITS) - 1),
            attempt: ((word(0) >> INDEX_BITS) as u8).saturating_add(1),
            fired_ns: word(8),
            took_us: tail as u32,
            status: (tail >> 32) as u16,
            class: (tail >> 48) as u8,
            outcome: Outcome::from_code((tail >> 56) as u8)?,
        })
    }
}

/// Writes the header of a new file.
///
/// # Errors
/// When `w` cannot be written.
pub fn write_header(w: &mut impl Write) -> io::Result<()> {
    w.write_all(MAGIC)
}

/// Reads every whole record.
///
/// # Errors
/// When `r` cannot be read, is not such a file, or holds a record that is not one.
pub fn read(mut r: impl Read) -> io::Result<Vec<Op>> {
    let mut magic = [0; 8];
    r.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a payment log: it does not begin with SQLOPS02",
        ));
    }
    let mut bytes = Vec::new();
    r.read_to_end(&mut bytes)?;
    let (records, _torn) = bytes.as_chunks::<RECORD_LEN>();
    records
        .iter()
        .enumerate()
        .map(|(i, b)| {
            Op::from_bytes(b).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("payment log record {i}: unknown outcome {}", b[23]),
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Failure;

    #[test]
    fn records_round_trip_and_a_torn_tail_is_ignored() {
        let op = Op {
            index: (1 << 56) - 2,
            attempt: 3,
            fired_ns: 123_456_789_012,
            took_us: 77,
            status: 201,
            class: 3,
            outcome: Outcome::Failed(Failure::Reset),
        };
        let mut file = Vec::new();
        write_header(&mut file).unwrap();
        file.extend(op.to_bytes());
        file.extend(&op.to_bytes()[..20]);
        assert_eq!(read(&file[..]).unwrap(), vec![op]);
        file[8 + 23] = 9;
        assert!(read(&file[..]).unwrap_err().to_string().contains("record 0"));
        assert!(read(&b"something"[..]).is_err());
    }
}
