//! One transaction: many orders, two round trips.
//!
//! 1. `BEGIN`, lock the accounts in the order of their ids, read the keys that are known, take numbers.
//! 2. Insert keys, payments, entries and notices, write the balances, `COMMIT`; ask who has cached what was
//!    changed.
//!
//! In between every order is decided in memory (`books`), one after another, as the embedded ledger does. The
//! statements of a round trip are sent together; the first that fails fails all behind it, the commit
//! included.
//!
//! Transactions wait for each other's accounts and then for each other's keys, both in order, so never
//! in a circle. A key that another process commits in between fails the insertion: the transaction
//! begins again, and finds it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use deadpool_postgres::Client;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::books::{Books, Held};
use super::brake::Brake;
use super::job::Batch;
use super::rows::{self, instant};
use crate::bank::{Refused, Settled};
use crate::cache::Change;
use crate::cache::epoch::Seen;
use crate::ids::AccountId;
use crate::limits::CLOCKS_APART;
use crate::money::Currency;
use crate::record::Record;
use crate::shards::map::Place;

/// What an order came to.
pub type Outcome = Result<Settled, Refused>;

/// What a transaction came to.
pub struct Committed {
    /// Of each order.
    pub outcomes: Vec<Outcome>,
    /// Of each credit: whether it was given now, and not before.
    pub credited: Vec<Result<bool, Refused>>,
    /// Of each key: refused when it is another payer's.
    pub registered: Vec<Result<(), Refused>>,
    /// What is to be known of accounts before any of that is acknowledged: also what an earlier transaction
    /// has changed, if its orders were asked again.
    pub changes: Vec<Change>,
    /// Who has to know: the cache's epoch after the commit.
    pub cache: Option<Seen>,
}

const LOCK: &str = "
    SELECT id, currency, balance, last_seq FROM accounts
    WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

pub(super) const KNOWN: &str = "
    SELECT payer, payee, amount, currency, created_at, seq, decline, key
    FROM idempotency_keys WHERE key = ANY($1)";

/// Credits that were given before, none of which is older than its payment: $2 spares the months before. Behind the lock on
/// their payees, so nobody gives one meanwhile.
const CREDITED: &str = "SELECT origin, seq FROM payments WHERE origin = ANY($1) AND created_at > $2";

pub(super) const NUMBERS: &str = "
    SELECT now(), NULL::bigint
    UNION ALL SELECT NULL, nextval('payment_seqs') FROM generate_series(1, $1)";

/// Whether another transaction was in the way, and trying again may do.
pub fn was_in_the_way(e: &Error) -> bool {
    let states =
        [SqlState::UNIQUE_VIOLATION, SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
    e.code().is_some_and(|code| states.contains(code))
}

/// Does all of `batch` in one transaction in the database at `place`, and with `notices` writes its payments to the
/// outbox. No two of its orders have the same key: their claims see to that.
///
/// # Errors
/// When the database gives one. Nothing is committed then, unless it was the commit's answer that was lost.
pub async fn commit(
    client: &Client,
    batch: &Batch,
    place: Place,
    notices: bool,
    brake: Brake<'_>,
) -> Result<Committed, Error> {
    let mut begun = begin(client, batch, place).await?;
    let mut books = Books::new(place, begun.accounts);
    let mut changes = Vec::new();

    // Who is given something can pay with it.
    let mut credited = Vec::with_capacity(batch.credits.len());
    for credit in &batch.credits {
        credited.push(match begun.credited.get(&rows::number(credit.origin)) {
            Some(seq) => {
                changes.push(Change { account: credit.order.to, seq: seq.unsigned_abs(), balance: None });
                Ok(false)
            }
            None => {
                let seq = begun.numbers.next().unwrap_or_default();
                let given = books.credit(credit, seq);
                if given.is_ok() {
                    // A client and the recovery may ask for the same one at once.
                    begun.credited.insert(rows::number(credit.origin), seq);
                }
                given.map(|()| true)
            }
        });
    }

    let mut outcomes = Vec::with_capacity(batch.asked.len());
    for asked in &batch.asked {
        let key = asked.claim.key().as_bytes();
        outcomes.push(match begun.known.get(key) {
            Some(record) if record.order == asked.order => Ok(Settled { record: *record, replayed: true }),
            Some(_) => Err(Refused::KeyReused),
            None => {
                // As many numbers were taken as orders need.
                let seq = match asked.declined {
                    None => begun.numbers.next().unwrap_or_default(),
                    Some(_) => 0,
                };
                books.decide(asked, key, seq).map(|verdict| {
                    let record = Record { order: asked.order, verdict, created_ms: begun.now_ms };
                    Settled { record, replayed: false }
                })
            }
        });
    }
    let again = outcomes.iter().flatten().filter(|settled| settled.replayed).map(|settled| settled.record);
    changes.extend(
        again
            .filter_map(|record| Some((record.order, record.seq()?)))
            .flat_map(|(order, seq)| [(order.from, seq), (order.to, seq)])
            .filter(|(account, _)| place.holds(*account))
            .map(|(account, seq)| Change { account, seq, balance: None }),
    );
    changes.extend(books.changes());
    let (registered, cache) = books.write(client, batch, notices, brake).await?;
    Ok(Committed { outcomes, credited, registered, changes, cache })
}

/// What the first round trip has found.
struct Begun {
    accounts: HashMap<i32, Held>,
    known: HashMap<Vec<u8>, Record>,
    /// Credits that were given before, by their payments' numbers, with their own.
    credited: HashMap<i64, i64>,
    now_ms: u64,
    numbers: std::vec::IntoIter<i64>,
}

async fn begin(client: &Client, batch: &Batch, place: Place) -> Result<Begun, Error> {
    let payers = batch.asked.iter().flat_map(|a| [a.order.from, a.order.to]);
    let payees = batch.credits.iter().map(|credit| credit.order.to);
    let held = |account: &AccountId| place.holds(*account);
    let mut ids: Vec<i32> = payers.chain(payees).filter(held).map(rows::id).collect();
    ids.sort_unstable();
    ids.dedup();
    let keys: Vec<&[u8]> = batch.asked.iter().map(|a| a.claim.key().as_bytes()).collect();
    let origins: Vec<i64> = batch.credits.iter().map(|credit| rows::number(credit.origin)).collect();
    let oldest =
        batch.credits.iter().map(|credit| Duration::from_millis(credit.made_ms)).min().unwrap_or_default();
    let since = SystemTime::UNIX_EPOCH + oldest.saturating_sub(CLOCKS_APART);
    // Numbers that are taken and not needed are gaps: what is declined already needs none.
    let paying = batch.asked.iter().filter(|a| a.declined.is_none()).count() + origins.len();
    let paying = i32::try_from(paying).unwrap_or(i32::MAX);

    let lock = client.prepare_cached(LOCK).await?;
    let known = client.prepare_cached(KNOWN).await?;
    let numbers = client.prepare_cached(NUMBERS).await?;
    let credited = match origins.is_empty() {
        true => None,
        false => Some(client.prepare_cached(CREDITED).await?),
    };
    let (begun, accounts, known, credited, numbers) = tokio::join!(
        biased;
        client.batch_execute("BEGIN"),
        async { client.query(&lock, &[&ids]).await },
        async { client.query(&known, &[&keys]).await },
        async {
            match &credited {
                Some(credited) => client.query(credited, &[&origins, &since]).await,
                None => Ok(Vec::new()),
            }
        },
        async { client.query(&numbers, &[&paying]).await },
    );
    begun?;
    let mut found = HashMap::new();
    for row in accounts? {
        // A currency that is none matches no order.
        if let Some(currency) = Currency::parse(row.try_get(1)?) {
            let held = Held { currency, balance: row.try_get(2)?, seq: row.try_get(3)?, changed: false };
            found.insert(row.try_get(0)?, held);
        }
    }
    let mut before: HashMap<Vec<u8>, Record> = HashMap::new();
    for row in known? {
        if let Some(record) = rows::record(&row)? {
            before.insert(row.try_get(7)?, record);
        }
    }
    let given =
        credited?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, Error>>()?;
    let numbers = numbers?;
    let now_ms = numbers.first().map_or(Ok(0), |row| instant(row, 0))?;
    let taken = numbers.iter().skip(1).map(|row| row.try_get::<_, i64>(1)).collect::<Result<Vec<_>, _>>()?;
    Ok(Begun { accounts: found, known: before, credited: given, now_ms, numbers: taken.into_iter() })
}
