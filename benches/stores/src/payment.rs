//! The rows of a payment, the same for every store.

/// Accounts that payments are spread over.
pub const ACCOUNTS: u32 = 10_000;

/// One payment, with what its rows hold.
pub struct Payment {
    /// Commit number.
    pub seq: u64,
    /// Idempotency key, as random as a UUID.
    pub key: [u8; 16],
    /// Payer.
    pub from: u32,
    /// Payee.
    pub to: u32,
    /// Minor units.
    pub amount: i64,
}

impl Payment {
    /// The `seq`-th payment: a function of its number.
    pub fn nth(seq: u64) -> Self {
        let a = mix(seq);
        let b = mix(a);
        let mut key = [0; 16];
        key[..8].copy_from_slice(&a.to_le_bytes());
        key[8..].copy_from_slice(&b.to_le_bytes());
        let from = (a % u64::from(ACCOUNTS)) as u32;
        let to = (from + 1 + (b % u64::from(ACCOUNTS - 1)) as u32) % ACCOUNTS;
        Self { seq, key, from, to, amount: 100 + (b % 10_000) as i64 }
    }

    /// The payment's own row: payer, payee, amount, time, key.
    pub fn row(&self) -> [u8; 40] {
        let mut row = [0; 40];
        row[..4].copy_from_slice(&self.from.to_be_bytes());
        row[4..8].copy_from_slice(&self.to.to_be_bytes());
        row[8..16].copy_from_slice(&self.amount.to_be_bytes());
        row[16..24].copy_from_slice(&mix(self.seq).to_be_bytes());
        row[24..].copy_from_slice(&self.key);
        row
    }

    /// The idempotency key's row: fingerprint and commit number.
    pub fn key_row(&self) -> [u8; 16] {
        let mut row = [0; 16];
        row[..8].copy_from_slice(&mix(self.seq ^ 1).to_be_bytes());
        row[8..].copy_from_slice(&self.seq.to_be_bytes());
        row
    }

    /// An index entry: account, then commit number.
    pub fn index(&self, account: u32) -> [u8; 12] {
        let mut key = [0; 12];
        key[..4].copy_from_slice(&account.to_be_bytes());
        key[4..].copy_from_slice(&self.seq.to_be_bytes());
        key
    }
}

/// SplitMix64's finaliser: <https://prng.di.unimi.it/splitmix64.c>.
fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
