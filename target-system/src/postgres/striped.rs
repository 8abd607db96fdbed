//! One payment in one transaction, where balances are striped: what it holds of an account is one of its stripes.
//!
//! 1. `PAY`, one statement and one round trip: it takes a stripe of each account that nobody holds, and that has
//!    enough. Most payments are over then.
//! 2. Whatever that leaves undone is decided here, in two round trips more (`gather`): it waits for a stripe when
//!    others hold all that would do, and when no stripe has enough it takes all of them, decides by what they hold
//!    together, and lays that out anew. Declines and mistakes come this way too.
//!
//! Why nobody deadlocks: both take stripes in one order, of the account with the lower id first, the account's own row
//! before its others. 1 too, though it asks to wait for none: in a narrow race the database waits all the same (`PAY`).
//! Both insert their key when they hold all that they need, so who waits for a key waits for somebody who waits for nobody.

mod gather;

use std::hash::{Hash as _, Hasher as _};
use std::sync::LazyLock;

use deadpool_postgres::Client;
use tokio_postgres::{Error, Row};

use super::brake::Brake;
use super::commit::{Committed, Outcome};
use super::rows::{self, instant};
use crate::bank::{Asked, Refused, Settled};
use crate::cache::epoch::Seen;
use crate::idempotency::{Hashed, ScopedKey};
use crate::limits::STRIPE_MOST;
use crate::record::{Record, Verdict};
use crate::trace::span::Trace;
use gather::{Gathered, Way, Ways};

/// The one statement when the payer's account has the lower id, and when the payee's has.
static PAY: LazyLock<[String; 2]> = LazyLock::new(|| {
    let (payer, payee) = (["payer", "$2", ">= $4"], ["payee", "$3", "<= $7"]);
    [[payer, payee], [payee, payer]].map(|sides| {
        let text = include_str!("striped/pay.sql").to_owned();
        ["FIRST", "SECOND"].into_iter().zip(sides).fold(text, |text, (side, [name, id, will_do])| {
            let text = text.replace(&format!("{side}_ID"), id).replace(&format!("{side}_WILL_DO"), will_do);
            text.replace(side, name)
        })
    })
});

/// How often an order is gathered for: each time that it comes to nothing, one account more is taken whole.
const GATHERS: u32 = 3;

/// Settles `asked` in a transaction of its own, and with `notices` writes its payment to the outbox.
///
/// # Errors
/// When the database gives one. Nothing is committed then, unless it was the commit's answer that was lost.
pub async fn commit(
    client: &Client,
    asked: &Asked,
    notices: bool,
    brake: Brake<'_>,
) -> Result<Committed, Error> {
    let mut ways = match asked.declined {
        Some(_) => Ways { payer: Way::Look, payee: Way::Look },
        None => match pay(client, asked, notices, brake).await? {
            Paid::Done(outcome) => return Ok(committed(outcome)),
            Paid::Not(ways) => ways,
        },
    };
    for _ in 0..GATHERS {
        match gather::settle(client, asked, ways, notices, brake).await? {
            Gathered::Done(outcome) => return Ok(committed(outcome)),
            Gathered::Again(wider) => ways = wider,
        }
    }
    // With both accounts whole there is an outcome.
    Ok(committed(Err(Refused::Failed)))
}

fn committed(outcome: Outcome) -> Committed {
    // Nobody caches or copies striped balances: a start with either is refused.
    let cache = Seen { id: 0, redis: None, holders: Vec::new() };
    let (credited, registered) = (Vec::new(), Vec::new());
    Committed { outcomes: vec![outcome], credited, registered, changes: Vec::new(), cache: Some(cache) }
}

/// What the one statement came to.
enum Paid {
    Done(Outcome),
    /// What is to be taken of each account.
    Not(Ways),
}

async fn pay(client: &Client, asked: &Asked, notices: bool, brake: Brake<'_>) -> Result<Paid, Error> {
    let order = asked.order;
    let key = &asked.claim.key();
    let [payer_first, payee_first] = &*PAY;
    let pay = if order.from < order.to { payer_first } else { payee_first };
    let pay = client.prepare_cached(pay).await?;
    let ask = async {
        client
            .query_one(
                &pay,
                &[
                    &key.as_bytes(),
                    &rows::id(order.from),
                    &rows::id(order.to),
                    &order.amount,
                    &order.currency.code(),
                    &notices,
                    &(STRIPE_MOST - order.amount),
                    &asked.trace.as_deref().and_then(Trace::written),
                ],
            )
            .await
    };
    let row = if brake.is_on() { held(client, ask, brake).await? } else { ask.await? };
    if let Some(seq) = row.try_get::<_, Option<i64>>(7)? {
        let verdict = Verdict::Succeeded { seq: seq.unsigned_abs() };
        let record = Record { order, verdict, created_ms: instant(&row, 8)? };
        return Ok(Paid::Done(Ok(Settled { record, replayed: false })));
    }
    if row.try_get::<_, Option<i32>>(0)?.is_some()
        && let Some(record) = rows::record(&row)?
    {
        return Ok(Paid::Done(replay(asked, record)));
    }
    let (payer, payee) = (way(&row, [9, 11], key)?, way(&row, [10, 12], key)?);
    Ok(Paid::Not(Ways { payer, payee }))
}

/// The statement in a transaction whose commit a fault may hold up: by itself it commits at once.
async fn held(
    client: &Client,
    ask: impl Future<Output = Result<Row, Error>>,
    brake: Brake<'_>,
) -> Result<Row, Error> {
    let (begun, row) = tokio::join!(biased; client.batch_execute("BEGIN"), ask);
    begun?;
    let row = row?;
    // One that has paid nothing holds nothing that matters.
    match row.try_get::<_, Option<i64>>(7)? {
        Some(_) => brake.commit(client).await?,
        None => client.batch_execute("COMMIT").await?,
    }
    Ok(row)
}

/// What is known of the key already.
fn replay(asked: &Asked, record: Record) -> Outcome {
    if record.order == asked.order { Ok(Settled { record, replayed: true }) } else { Err(Refused::KeyReused) }
}

/// What is to be taken of an account: the stripe that was free, if there was one; one of those that would do and are
/// held by others; all, when there are none.
fn way(row: &Row, [free, would_do]: [usize; 2], key: &ScopedKey) -> Result<Way, Error> {
    if let Some(stripe) = row.try_get::<_, Option<i16>>(free)? {
        return Ok(Way::One(stripe));
    }
    let would_do = row.try_get::<_, Option<Vec<i16>>>(would_do)?.unwrap_or_default();
    let mut hash = Hashed::default();
    key.hash(&mut hash);
    // Those who wait do not all wait for the same.
    let nth = usize::try_from(hash.finish() % would_do.len().max(1) as u64).unwrap_or(0);
    Ok(would_do.get(nth).map_or(Way::All, |stripe| Way::One(*stripe)))
}
