//! Rows as the nouns of the service.

use std::time::SystemTime;

use squall_record::clock;
use tokio_postgres::{Error, Row};

use crate::decline::Decline;
use crate::ids::AccountId;
use crate::money::Currency;
use crate::record::{Order, Record, Verdict};

/// An account's id as columns hold it: at most eight digits.
pub fn id(account: AccountId) -> i32 {
    i32::try_from(account.0).unwrap_or(i32::MAX)
}

/// The account of a column; the world for one that is none.
pub fn account(id: i32) -> AccountId {
    u32::try_from(id).map_or(AccountId::WORLD, AccountId)
}

/// A column of time, in milliseconds since the Unix epoch.
pub fn instant(row: &Row, column: usize) -> Result<u64, Error> {
    Ok(clock::unix_ms(row.try_get::<_, SystemTime>(column)?))
}

/// The record in `payer, payee, amount, currency, created_at, seq, decline`; `None` when it makes no
/// sense.
pub fn record(row: &Row) -> Result<Option<Record>, Error> {
    let Some(currency) = Currency::parse(row.try_get(3)?) else { return Ok(None) };
    let order = Order {
        from: account(row.try_get(0)?),
        to: account(row.try_get(1)?),
        amount: row.try_get(2)?,
        currency,
    };
    let (seq, decline): (Option<i64>, Option<i16>) = (row.try_get(5)?, row.try_get(6)?);
    let why = decline.and_then(|n| Decline::from_number(u8::try_from(n).ok()?));
    let verdict = match (seq, why) {
        (Some(seq), None) => Verdict::Succeeded { seq: seq.unsigned_abs() },
        (None, Some(why)) => Verdict::Declined { why },
        _ => return Ok(None),
    };
    Ok(Some(Record { order, verdict, created_ms: instant(row, 4)? }))
}

/// A payment's number as columns hold it.
pub fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// The account of what is on its way between this database and `other`.
pub fn clearing(other: usize) -> i32 {
    -i32::try_from(other).map_or(i32::MAX, |n| n.saturating_add(1))
}
