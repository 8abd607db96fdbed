//! One transaction: many orders, two round trips.
//!
//! 1. `BEGIN`, lock the accounts in the order of their ids, read the keys that are known, take numbers.
//! 2. Insert keys, payments, entries and notices, write the balances, `COMMIT`; ask who has cached what was
//!    changed.
//!
//! In between every order is decided in memory, one after another, as the embedded ledger does. The
//! statements of a round trip are sent together; the first that fails fails all behind it, the commit
//! included.
//!
//! Transactions wait for each other's accounts and then for each other's keys, both in order, so never
//! in a circle. A key that another process commits in between fails the insertion: the transaction
//! begins again, and finds it.

use std::collections::HashMap;

use deadpool_postgres::Client;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::outbox;
use super::rows::{self, instant};
use crate::bank::{Asked, Refused, Settled};
use crate::cache::Change;
use crate::cache::epoch::{self, Seen};
use crate::decline::Decline;
use crate::ids::AccountId;
use crate::money::Currency;
use crate::record::{Order, Record, Verdict};
use crate::trace::span::Trace;

/// What an order came to.
pub type Outcome = Result<Settled, Refused>;

/// What a transaction came to.
pub struct Committed {
    /// Of each order.
    pub outcomes: Vec<Outcome>,
    /// What is to be known of accounts before any of that is acknowledged: also what an earlier transaction
    /// has changed, if its orders were asked again.
    pub changes: Vec<Change>,
    /// Who has to know: the cache's epoch after the commit.
    pub cache: Option<Seen>,
}

const LOCK: &str = "
    SELECT id, currency, balance, last_seq FROM accounts
    WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";

const KNOWN: &str = "
    SELECT payer, payee, amount, currency, created_at, seq, decline, key
    FROM idempotency_keys WHERE key = ANY($1)";

const NUMBERS: &str = "
    SELECT now(), NULL::bigint
    UNION ALL SELECT NULL, nextval('payment_seqs') FROM generate_series(1, $1)";

const KEYS: &str = "
    INSERT INTO idempotency_keys (key, payer, payee, amount, currency, seq, decline, created_at)
    SELECT *, now() FROM unnest($1::bytea[], $2::int[], $3::int[], $4::bigint[], $5::text[], $6::bigint[], $7::smallint[])";

const PAYMENTS: &str = "
    INSERT INTO payments (seq, payer, payee, amount, currency, created_at)
    SELECT *, now() FROM unnest($1::bigint[], $2::int[], $3::int[], $4::bigint[], $5::text[])";

const ENTRIES: &str = "
    INSERT INTO entries (account, seq, amount, balance_after, created_at)
    SELECT *, now() FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[])";

const BALANCES: &str = "
    UPDATE accounts a SET balance = v.balance, last_seq = v.seq
    FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS v (id, balance, seq) WHERE a.id = v.id";

/// Whether another transaction was in the way, and trying again may do.
pub fn was_in_the_way(e: &Error) -> bool {
    let states =
        [SqlState::UNIQUE_VIOLATION, SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
    e.code().is_some_and(|code| states.contains(code))
}

/// Settles `batch` in one transaction, and with `notices` writes its payments to the outbox. No two of its
/// orders have the same key: their claims see to that.
///
/// # Errors
/// When the database gives one. Nothing is committed then, unless it was the commit's answer that was lost.
pub async fn commit(client: &Client, batch: &[Asked], notices: bool) -> Result<Committed, Error> {
    let mut ids: Vec<i32> = batch.iter().flat_map(|a| [a.order.from, a.order.to]).map(rows::id).collect();
    ids.sort_unstable();
    ids.dedup();
    let keys: Vec<&[u8]> = batch.iter().map(|a| a.claim.key().as_bytes()).collect();
    // Numbers that are taken and not needed are gaps: what is declined already needs none.
    let paying = batch.iter().filter(|a| a.declined.is_none()).count();
    let paying = i32::try_from(paying).unwrap_or(i32::MAX);

    let lock = client.prepare_cached(LOCK).await?;
    let known = client.prepare_cached(KNOWN).await?;
    let numbers = client.prepare_cached(NUMBERS).await?;
    let (begun, accounts, known, numbers) = tokio::join!(
        biased;
        client.batch_execute("BEGIN"),
        async { client.query(&lock, &[&ids]).await },
        async { client.query(&known, &[&keys]).await },
        async { client.query(&numbers, &[&paying]).await },
    );
    begun?;
    let mut books = Books::default();
    for row in accounts? {
        let currency: &str = row.try_get(1)?;
        // A currency that is none matches no order.
        if let Some(currency) = Currency::parse(currency) {
            let held = Held { currency, balance: row.try_get(2)?, seq: row.try_get(3)?, changed: false };
            books.accounts.insert(row.try_get(0)?, held);
        }
    }
    let mut before: HashMap<Vec<u8>, Record> = HashMap::new();
    for row in known? {
        if let Some(record) = rows::record(&row)? {
            before.insert(row.try_get(7)?, record);
        }
    }
    let numbers = numbers?;
    let created_ms = numbers.first().map_or(Ok(0), |row| instant(row, 0))?;
    let mut numbers = numbers.iter().skip(1).map(|row| row.try_get::<_, i64>(1));

    let mut outcomes = Vec::with_capacity(batch.len());
    for asked in batch {
        let key = asked.claim.key().as_bytes();
        outcomes.push(match before.get(key) {
            Some(record) if record.order == asked.order => Ok(Settled { record: *record, replayed: true }),
            Some(_) => Err(Refused::KeyReused),
            None => {
                // As many numbers were taken as orders need.
                let seq = match asked.declined {
                    None => numbers.next().transpose()?.unwrap_or_default(),
                    Some(_) => 0,
                };
                books.decide(asked, key, seq).map(|verdict| {
                    let record = Record { order: asked.order, verdict, created_ms };
                    Settled { record, replayed: false }
                })
            }
        });
    }
    let again = outcomes.iter().flatten().filter(|settled| settled.replayed).map(|settled| settled.record);
    let mut changes: Vec<Change> = again
        .filter_map(|record| Some((record.order, record.seq()?)))
        .flat_map(|(order, seq)| [order.from, order.to].map(|account| Change { account, seq, balance: None }))
        .collect();
    let changed = books.accounts.iter().filter(|(_, held)| held.changed);
    changes.extend(changed.map(|(id, held)| Change {
        account: rows::account(*id),
        seq: held.seq.unsigned_abs(),
        balance: Some(held.balance),
    }));
    let cache = books.write(client, notices).await?;
    Ok(Committed { outcomes, changes, cache })
}

struct Held {
    currency: Currency,
    balance: i64,
    /// Its last payment.
    seq: i64,
    changed: bool,
}

/// The locked accounts, and what is to be written.
#[derive(Default)]
struct Books<'a> {
    accounts: HashMap<i32, Held>,
    keys: Vec<KeyRow<'a>>,
    payments: Vec<(i64, Order)>,
    /// Where the spans of each payment's notice belong, as the outbox has it: nowhere, unless it is sampled.
    traces: Vec<Option<String>>,
    entries: Vec<EntryRow>,
}

struct KeyRow<'a> {
    key: &'a [u8],
    order: Order,
    seq: Option<i64>,
    decline: Option<i16>,
}

struct EntryRow {
    account: i32,
    seq: i64,
    amount: i64,
    balance_after: i64,
}

impl<'a> Books<'a> {
    fn decide(&mut self, asked: &Asked, key: &'a [u8], seq: i64) -> Result<Verdict, Refused> {
        let order = asked.order;
        self.check("from", order.from, order.currency)?;
        self.check("to", order.to, order.currency)?;
        let moved = match asked.declined {
            Some(why) => Err(why),
            None => self.transfer(&order, seq),
        };
        if moved.is_ok() {
            self.traces.push(asked.trace.as_deref().and_then(Trace::written));
        }
        let (verdict, seq, decline) = match moved {
            Ok(()) => (Verdict::Succeeded { seq: seq.unsigned_abs() }, Some(seq), None),
            Err(why) => (Verdict::Declined { why }, None, Some(i16::from(why as u8))),
        };
        self.keys.push(KeyRow { key, order, seq, decline });
        Ok(verdict)
    }

    fn check(&self, param: &'static str, id: AccountId, currency: Currency) -> Result<(), Refused> {
        let held = self.accounts.get(&rows::id(id)).ok_or(Refused::NoAccount { param, id })?;
        if held.currency == currency {
            Ok(())
        } else {
            Err(Refused::OtherCurrency { id, holds: held.currency })
        }
    }

    fn transfer(&mut self, order: &Order, seq: i64) -> Result<(), Decline> {
        let (from, to) = (rows::id(order.from), rows::id(order.to));
        let balance = |id| self.accounts.get(&id).map_or(0, |held| held.balance);
        let debited = balance(from).checked_sub(order.amount).filter(|b| *b >= 0);
        let debited = debited.ok_or(Decline::InsufficientFunds)?;
        let credited = balance(to).checked_add(order.amount).ok_or(Decline::ExceedsLimit)?;
        for (account, amount, balance_after) in [(from, -order.amount, debited), (to, order.amount, credited)]
        {
            if let Some(held) = self.accounts.get_mut(&account) {
                (held.balance, held.seq, held.changed) = (balance_after, seq, true);
            }
            self.entries.push(EntryRow { account, seq, amount, balance_after });
        }
        self.payments.push((seq, *order));
        Ok(())
    }

    /// Writes everything and commits; the cache's epoch after that.
    async fn write(mut self, client: &Client, notices: bool) -> Result<Option<Seen>, Error> {
        let epoch = client.prepare_cached(epoch::SELECT).await?;
        if self.keys.is_empty() {
            let (committed, seen) = tokio::join!(
                biased;
                client.batch_execute("COMMIT"),
                async { client.query(&epoch, &[]).await },
            );
            committed?;
            return Seen::read(&seen?);
        }
        // In order, as every transaction does.
        self.keys.sort_unstable_by_key(|row| row.key);
        let insert_keys = client.prepare_cached(KEYS).await?;
        let insert_payments = client.prepare_cached(PAYMENTS).await?;
        let insert_entries = client.prepare_cached(ENTRIES).await?;
        let update_balances = client.prepare_cached(BALANCES).await?;
        let insert_notices = match notices {
            true => Some(client.prepare_cached(outbox::INSERT).await?),
            false => None,
        };

        let key = column(&self.keys, |k| k.key);
        let payer = column(&self.keys, |k| rows::id(k.order.from));
        let payee = column(&self.keys, |k| rows::id(k.order.to));
        let amount = column(&self.keys, |k| k.order.amount);
        let currencies: Vec<Currency> = column(&self.keys, |k| k.order.currency);
        let currency = column(&currencies, Currency::code);
        let seq = column(&self.keys, |k| k.seq);
        let decline = column(&self.keys, |k| k.decline);

        let paid_seq = column(&self.payments, |p| p.0);
        let paid_payer = column(&self.payments, |p| rows::id(p.1.from));
        let paid_payee = column(&self.payments, |p| rows::id(p.1.to));
        let paid_amount = column(&self.payments, |p| p.1.amount);
        let paid_currencies: Vec<Currency> = column(&self.payments, |p| p.1.currency);
        let paid_currency = column(&paid_currencies, Currency::code);

        let entry_account = column(&self.entries, |e| e.account);
        let entry_seq = column(&self.entries, |e| e.seq);
        let entry_amount = column(&self.entries, |e| e.amount);
        let entry_balance = column(&self.entries, |e| e.balance_after);

        let changed: Vec<(i32, i64, i64)> =
            self.accounts.iter().filter(|(_, h)| h.changed).map(|(id, h)| (*id, h.balance, h.seq)).collect();
        let (changed_id, changed_balance, changed_seq) =
            (column(&changed, |c| c.0), column(&changed, |c| c.1), column(&changed, |c| c.2));

        let written = tokio::join!(
            biased;
            async { client.execute(&insert_keys, &[&key, &payer, &payee, &amount, &currency, &seq, &decline]).await },
            async { client.execute(&insert_payments, &[&paid_seq, &paid_payer, &paid_payee, &paid_amount, &paid_currency]).await },
            async { client.execute(&insert_entries, &[&entry_account, &entry_seq, &entry_amount, &entry_balance]).await },
            async { client.execute(&update_balances, &[&changed_id, &changed_balance, &changed_seq]).await },
            async {
                match &insert_notices {
                    Some(insert) => client.execute(insert, &[&paid_seq, &paid_payer, &paid_payee, &paid_amount, &paid_currency, &self.traces]).await,
                    None => Ok(0),
                }
            },
            client.batch_execute("COMMIT"),
            async { client.query(&epoch, &[]).await },
        );
        // A commit behind a statement that failed is a rollback, and says nothing.
        written.0?;
        written.1?;
        written.2?;
        written.3?;
        written.4?;
        written.5?;
        Seen::read(&written.6?)
    }
}

/// One field of all rows.
fn column<'r, R, T>(rows: &'r [R], field: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(field).collect()
}
