//! Whether both sides of every payment between two databases are there, and say the same.
//!
//! Payer's and payee's side are read in the order of the payment's number and merged. They are read at slightly different
//! times, so a side that is missing is looked for once more: the payer's is written before the payee's, and the payee's before
//! the mark is removed. What neither has nor is marked is lost, or invented.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::pin::Pin;

use deadpool_postgres::{Object, Pool, Transaction};
use futures_util::TryStreamExt as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, RowStream};

use crate::bank::BankError;
use crate::limits::MAX_UNMATCHED;
use crate::postgres::{audit, rows};

/// One side of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Side {
    number: i64,
    payer: i32,
    payee: i32,
    amount: i64,
    currency: String,
}

/// The payer's side of payments to the database whose transit account is $1.
const LEFT: &str = "
    SELECT p.seq, p.payer, p.payee, e.amount, p.currency
    FROM entries e JOIN payments p ON p.seq = e.seq AND p.created_at = e.created_at
    WHERE e.account = $1 AND p.origin IS NULL";

/// The payee's side of payments from there.
const ARRIVED: &str = "
    SELECT p.origin, p.payer, p.payee, -e.amount, p.currency
    FROM entries e JOIN payments p ON p.seq = e.seq AND p.created_at = e.created_at
    WHERE e.account = $1 AND p.origin IS NOT NULL";

/// How many payments have one side alone, or two that differ.
///
/// # Errors
/// When a database gives one.
pub async fn unmatched(databases: &[Pool]) -> Result<u64, BankError> {
    let mut wrong = 0;
    for from in 0..databases.len() {
        for to in (0..databases.len()).filter(|to| *to != from) {
            wrong += between(databases, from, to).await?;
        }
    }
    Ok(wrong)
}

async fn between(databases: &[Pool], from: usize, to: usize) -> Result<u64, BankError> {
    let (mut left, mut arrived) = (databases[from].get().await?, databases[to].get().await?);
    let matched = match_up(&mut left, &mut arrived, from, to).await;
    if matched.is_err() {
        // One of them may be in the middle of an answer.
        drop((Object::take(left), Object::take(arrived)));
    }
    matched
}

async fn match_up(left: &mut Object, arrived: &mut Object, from: usize, to: usize) -> Result<u64, BankError> {
    let merged = {
        let (left, arrived) = (audit::snapshot(left).await?, audit::snapshot(arrived).await?);
        let left = Sides::read(&left, &format!("{LEFT} ORDER BY p.seq"), rows::clearing(to)).await?;
        let arrived =
            Sides::read(&arrived, &format!("{ARRIVED} ORDER BY p.origin"), rows::clearing(from)).await?;
        merge(left, arrived).await?
    };
    let Merged { mut wrong, left_alone, arrived_alone } = merged;
    wrong += lost(left, arrived, from, left_alone).await?;
    wrong += look_again(left, LEFT, "p.seq", rows::clearing(to), arrived_alone).await?;
    Ok(wrong)
}

/// Of payments whose payee's side was not there, those that are not on their way either.
async fn lost(left: &Object, arrived: &mut Object, from: usize, alone: Vec<Side>) -> Result<u64, BankError> {
    if alone.is_empty() {
        return Ok(0);
    }
    // First the marks: one that is gone by then has arrived.
    let numbers: Vec<i64> = alone.iter().map(|side| side.number).collect();
    let marked = left.query("SELECT seq FROM transfers WHERE seq = ANY($1)", &[&numbers]).await?;
    let marked = marked.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<i64>, _>>()?;
    let unmarked = alone.into_iter().filter(|side| !marked.contains(&side.number)).collect();
    look_again(arrived, ARRIVED, "p.origin", rows::clearing(from), unmarked).await
}

/// Of `alone`, those whose other side is not there now either, or says something else. The sides are those of `select`, with
/// their numbers in `column`.
async fn look_again(
    database: &mut Object,
    select: &str,
    column: &str,
    transit: i32,
    alone: Vec<Side>,
) -> Result<u64, BankError> {
    if alone.is_empty() {
        return Ok(0);
    }
    let numbers: Vec<i64> = alone.iter().map(|side| side.number).collect();
    let snapshot = audit::snapshot(database).await?;
    let found = snapshot.query(&format!("{select} AND {column} = ANY($2)"), &[&transit, &numbers]).await?;
    snapshot.commit().await?;
    let found = found.iter().map(Side::read).collect::<Result<Vec<_>, _>>()?;
    let found: HashMap<i64, Side> = found.into_iter().map(|side| (side.number, side)).collect();
    Ok(alone.iter().filter(|side| found.get(&side.number) != Some(side)).count() as u64)
}

/// What a merge has found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Merged {
    wrong: u64,
    left_alone: Vec<Side>,
    arrived_alone: Vec<Side>,
}

impl Merged {
    /// Notes a side that is `alone`; more than can be under way are wrong.
    fn note(alone: &mut Vec<Side>, wrong: &mut u64, side: Option<Side>) {
        match side {
            Some(side) if alone.len() < MAX_UNMATCHED => alone.push(side),
            _ => *wrong += 1,
        }
    }
}

async fn merge(mut left: Sides, mut arrived: Sides) -> Result<Merged, BankError> {
    let mut merged = Merged::default();
    let (mut a, mut b) = (left.next().await?, arrived.next().await?);
    loop {
        let order = match (&a, &b) {
            (None, None) => return Ok(merged),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.number.cmp(&b.number),
        };
        match order {
            Ordering::Less => {
                Merged::note(&mut merged.left_alone, &mut merged.wrong, a);
                a = left.next().await?;
            }
            Ordering::Greater => {
                Merged::note(&mut merged.arrived_alone, &mut merged.wrong, b);
                b = arrived.next().await?;
            }
            Ordering::Equal => {
                merged.wrong += u64::from(a != b);
                a = left.next().await?;
                b = arrived.next().await?;
            }
        }
    }
}

/// Sides in the order of their numbers.
struct Sides(Pin<Box<RowStream>>);

impl Sides {
    async fn read(snapshot: &Transaction<'_>, select: &str, transit: i32) -> Result<Self, BankError> {
        let params: [&(dyn ToSql + Sync); 1] = [&transit];
        Ok(Self(Box::pin(snapshot.query_raw(select, params).await?)))
    }

    async fn next(&mut self) -> Result<Option<Side>, BankError> {
        Ok(self.0.try_next().await?.as_ref().map(Side::read).transpose()?)
    }
}

impl Side {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            number: row.try_get(0)?,
            payer: row.try_get(1)?,
            payee: row.try_get(2)?,
            amount: row.try_get(3)?,
            currency: row.try_get(4)?,
        })
    }
}
