//! The locked accounts of a transaction: what is decided about them, and what is written then.

use std::collections::HashMap;

use deadpool_postgres::Client;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Statement};

use super::brake::Brake;
use super::job::{Batch, Credit, Registration};
use super::{outbox, rows};
use crate::bank::{Asked, Refused};
use crate::cache::Change;
use crate::cache::epoch::{self, Seen};
use crate::decline::Decline;
use crate::ids::AccountId;
use crate::money::Currency;
use crate::record::{Order, Verdict};
use crate::shards::map::Place;
use crate::trace::span::Trace;

pub(super) const KEYS: &str = "
    INSERT INTO idempotency_keys (key, payer, payee, amount, currency, seq, decline, created_at)
    SELECT *, now() FROM unnest($1::bytea[], $2::int[], $3::int[], $4::bigint[], $5::text[], $6::bigint[], $7::smallint[])";

pub(super) const PAYMENTS: &str = "
    INSERT INTO payments (seq, payer, payee, amount, currency, created_at)
    SELECT *, now() FROM unnest($1::bigint[], $2::int[], $3::int[], $4::bigint[], $5::text[])";

const ENTRIES: &str = "
    INSERT INTO entries (account, seq, amount, balance_after, created_at)
    SELECT *, now() FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[])";

const BALANCES: &str = "
    UPDATE accounts a SET balance = v.balance, last_seq = v.seq
    FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS v (id, balance, seq) WHERE a.id = v.id";

/// The payee's side of payments from other databases.
const CREDITS: &str = "
    INSERT INTO payments (seq, payer, payee, amount, currency, origin, made_at, created_at)
    SELECT seq, payer, payee, amount, currency, origin, 'epoch'::timestamptz + made_ms * interval '1 millisecond', now()
    FROM unnest($1::bigint[], $2::int[], $3::int[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[])
        AS v (seq, payer, payee, amount, currency, origin, made_ms)";

/// Payments to other databases, until those have them.
const TRANSFERS: &str = "
    INSERT INTO transfers (seq, payer, payee, amount, currency, shard, made_at)
    SELECT *, now() FROM unnest($1::bigint[], $2::int[], $3::int[], $4::bigint[], $5::text[], $6::smallint[])";

/// Whose a key is: another transaction that comes first wins, and this one is told who.
const HOMES: &str = "
    INSERT INTO key_homes (key, payer, created_at)
    SELECT *, now() FROM unnest($1::bytea[], $2::int[])
    ON CONFLICT (key) DO UPDATE SET created_at = now() RETURNING key, payer";

/// A locked account.
pub struct Held {
    /// What it holds.
    pub currency: Currency,
    /// How much.
    pub balance: i64,
    /// Its last payment.
    pub seq: i64,
    /// Whether that is to be written.
    pub changed: bool,
}

/// The locked accounts, and what is to be written.
pub struct Books<'a> {
    place: Place,
    accounts: HashMap<i32, Held>,
    keys: Vec<KeyRow<'a>>,
    payments: Vec<PaymentRow>,
    /// With their numbers here.
    credits: Vec<(i64, &'a Credit)>,
    entries: Vec<EntryRow>,
}

struct KeyRow<'a> {
    key: &'a [u8],
    order: Order,
    seq: Option<i64>,
    decline: Option<i16>,
}

struct PaymentRow {
    seq: i64,
    order: Order,
    /// The database that the payee is in, when that is another one.
    to: Option<i16>,
    /// Where its notice's spans belong, as the outbox has it: nowhere, unless it is sampled.
    trace: Option<String>,
}

struct EntryRow {
    account: i32,
    seq: i64,
    amount: i64,
    /// None where nobody keeps the balance: of what is on its way to another database.
    balance_after: Option<i64>,
}

impl<'a> Books<'a> {
    /// Nothing decided yet about `accounts` of the database at `place`.
    pub fn new(place: Place, accounts: HashMap<i32, Held>) -> Self {
        let (keys, payments) = (Vec::new(), Vec::new());
        Self { place, accounts, keys, payments, credits: Vec::new(), entries: Vec::new() }
    }

    /// Decides what is asked, under `key` and the number `seq`.
    pub fn decide(&mut self, asked: &Asked, key: &'a [u8], seq: i64) -> Result<Verdict, Refused> {
        let order = asked.order;
        self.check("from", order.from, order.currency)?;
        if self.place.holds(order.to) {
            self.check("to", order.to, order.currency)?;
        }
        let moved = match asked.declined {
            Some(why) => Err(why),
            None => self.transfer(asked, seq),
        };
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

    fn balance(&self, account: i32) -> i64 {
        self.accounts.get(&account).map_or(0, |held| held.balance)
    }

    fn transfer(&mut self, asked: &Asked, seq: i64) -> Result<(), Decline> {
        let order = asked.order;
        let (from, to) = (rows::id(order.from), rows::id(order.to));
        let debited = self.balance(from).checked_sub(order.amount).filter(|b| *b >= 0);
        let debited = debited.ok_or(Decline::InsufficientFunds)?;
        let to = if self.place.holds(order.to) {
            let credited = self.balance(to).checked_add(order.amount).ok_or(Decline::ExceedsLimit)?;
            self.enter(from, seq, -order.amount, debited);
            self.enter(to, seq, order.amount, credited);
            None
        } else {
            let other = self.place.map.of(order.to);
            self.enter(from, seq, -order.amount, debited);
            self.send_away(other, seq, order.amount);
            Some(i16::try_from(other).unwrap_or(i16::MAX))
        };
        let trace = asked.trace.as_deref().and_then(Trace::written);
        self.payments.push(PaymentRow { seq, order, to, trace });
        Ok(())
    }

    /// Gives a payee what was paid in another database, under the number `seq` of this one.
    pub fn credit(&mut self, credit: &'a Credit, seq: i64) -> Result<(), Refused> {
        let (order, payee) = (credit.order, rows::id(credit.order.to));
        let other = self.place.map.of(order.from);
        let held = self.accounts.get(&payee).filter(|held| held.currency == order.currency);
        // Both were seen before the payer paid. What is left then is no room: it stays on its way until there is.
        let credited = held.and_then(|held| held.balance.checked_add(order.amount)).ok_or(Refused::Failed)?;
        self.send_away(other, seq, -order.amount);
        self.enter(payee, seq, order.amount, credited);
        self.credits.push((seq, credit));
        Ok(())
    }

    /// Puts `amount` on its way to the database `other`, or takes it from there when it is below zero.
    fn send_away(&mut self, other: usize, seq: i64, amount: i64) {
        self.entries.push(EntryRow { account: rows::clearing(other), seq, amount, balance_after: None });
    }

    fn enter(&mut self, account: i32, seq: i64, amount: i64, balance: i64) {
        if let Some(held) = self.accounts.get_mut(&account) {
            (held.balance, held.seq, held.changed) = (balance, seq, true);
        }
        self.entries.push(EntryRow { account, seq, amount, balance_after: Some(balance) });
    }

    /// What has become of accounts.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        self.accounts.iter().filter(|(_, held)| held.changed).map(|(id, held)| Change {
            account: rows::account(*id),
            seq: held.seq.unsigned_abs(),
            balance: Some(held.balance),
        })
    }

    /// Writes everything, notes whose the keys of `batch` are, and commits. Whose they are, and the cache's epoch after that.
    pub async fn write(
        mut self,
        client: &Client,
        batch: &Batch,
        notices: bool,
        brake: Brake<'_>,
    ) -> Result<(Vec<Result<(), Refused>>, Option<Seen>), Error> {
        let epoch = client.prepare_cached(epoch::SELECT).await?;
        if self.keys.is_empty() && self.credits.is_empty() && batch.registrations.is_empty() {
            let (committed, seen) = tokio::join!(
                biased;
                client.batch_execute("COMMIT"),
                async { client.query(&epoch, &[]).await },
            );
            committed?;
            return Ok((Vec::new(), Seen::read(&seen?)?));
        }
        // In order, as every transaction does.
        self.keys.sort_unstable_by_key(|row| row.key);
        let with = Statements::prepare(client, &self, batch, notices).await?;
        let written = tokio::join!(
            biased;
            self.write_keys(client, &with),
            self.write_payments(client, &with),
            self.write_entries(client, &with),
            self.write_balances(client, &with),
            self.write_transfers(client, &with),
            self.write_credits(client, &with),
            register(client, &with, batch),
            async {
                brake.hold().await;
                tokio::join!(
                    biased;
                    client.batch_execute("COMMIT"),
                    async { client.query(&epoch, &[]).await },
                )
            },
        );
        // A commit behind a statement that failed is a rollback, and says nothing.
        written.0?;
        written.1?;
        written.2?;
        written.3?;
        written.4?;
        written.5?;
        let registered = written.6?;
        let (committed, seen) = written.7;
        committed?;
        Ok((registered, Seen::read(&seen?)?))
    }

    async fn write_keys(&self, client: &Client, with: &Statements) -> Result<(), Error> {
        let Some(insert) = &with.keys else { return Ok(()) };
        let key = column(&self.keys, |k| k.key);
        let payer = column(&self.keys, |k| rows::id(k.order.from));
        let payee = column(&self.keys, |k| rows::id(k.order.to));
        let amount = column(&self.keys, |k| k.order.amount);
        let currencies: Vec<Currency> = column(&self.keys, |k| k.order.currency);
        let currency = column(&currencies, Currency::code);
        let seq = column(&self.keys, |k| k.seq);
        let decline = column(&self.keys, |k| k.decline);
        client.execute(insert, &[&key, &payer, &payee, &amount, &currency, &seq, &decline]).await?;
        Ok(())
    }

    async fn write_payments(&self, client: &Client, with: &Statements) -> Result<(), Error> {
        let Some((insert, insert_notices)) = &with.payments else { return Ok(()) };
        let paid = Columns::of(self.payments.iter().map(|p| (p.seq, p.order)));
        let currency = paid.currency();
        let paid = paid.params(&currency);
        let noticed = async {
            let Some(insert) = insert_notices else { return Ok(0) };
            // Those to another database are told of there, once the payee has them.
            let told: Vec<&PaymentRow> = self.payments.iter().filter(|p| p.to.is_none()).collect();
            let traces = column(&told, |p| p.trace.as_deref());
            let told = Columns::of(told.iter().map(|p| (p.seq, p.order)));
            let currency = told.currency();
            let [seq, payer, payee, amount, currency] = told.params(&currency);
            client.execute(insert, &[seq, payer, payee, amount, currency, &traces]).await
        };
        let inserted = async { client.execute(insert, &paid).await };
        let (inserted, noticed) = tokio::join!(biased; inserted, noticed);
        inserted.and(noticed)?;
        Ok(())
    }

    async fn write_entries(&self, client: &Client, with: &Statements) -> Result<(), Error> {
        let Some((insert, _)) = &with.entries else { return Ok(()) };
        let account = column(&self.entries, |e| e.account);
        let seq = column(&self.entries, |e| e.seq);
        let amount = column(&self.entries, |e| e.amount);
        let balance = column(&self.entries, |e| e.balance_after);
        client.execute(insert, &[&account, &seq, &amount, &balance]).await?;
        Ok(())
    }

    async fn write_balances(&self, client: &Client, with: &Statements) -> Result<(), Error> {
        let Some((_, update)) = &with.entries else { return Ok(()) };
        let changed: Vec<(i32, i64, i64)> =
            self.accounts.iter().filter(|(_, h)| h.changed).map(|(id, h)| (*id, h.balance, h.seq)).collect();
        let (id, balance, seq) =
            (column(&changed, |c| c.0), column(&changed, |c| c.1), column(&changed, |c| c.2));
        client.execute(update, &[&id, &balance, &seq]).await?;
        Ok(())
    }

    async fn write_transfers(&self, client: &Client, with: &Statements) -> Result<(), Error> {
        let Some(insert) = &with.transfers else { return Ok(()) };
        let leaving: Vec<(i64, Order, i16)> =
            self.payments.iter().filter_map(|p| Some((p.seq, p.order, p.to?))).collect();
        let rows = Columns::of(leaving.iter().map(|(seq, order, _)| (*seq, *order)));
        let (currency, to) = (rows.currency(), column(&leaving, |l| l.2));
        let [seq, payer, payee, amount, currency] = rows.params(&currency);
        client.execute(insert, &[seq, payer, payee, amount, currency, &to]).await?;
        Ok(())
    }

    async fn write_credits(&self, client: &Client, with: &Statements) -> Result<(), Error> {
        let Some((insert, insert_notices)) = &with.credits else { return Ok(()) };
        let rows = Columns::of(self.credits.iter().map(|(seq, credit)| (*seq, credit.order)));
        let currency = rows.currency();
        let [seq, payer, payee, amount, currency] = rows.params(&currency);
        let origin = column(&self.credits, |(_, credit)| rows::number(credit.origin));
        let made_ms = column(&self.credits, |(_, credit)| rows::number(credit.made_ms));
        let traces = column(&self.credits, |(_, credit)| credit.trace.as_deref().and_then(Trace::written));
        let params = [seq, payer, payee, amount, currency, &origin, &made_ms];
        let with_traces: [&(dyn ToSql + Sync); 8] =
            [seq, payer, payee, amount, currency, &origin, &made_ms, &traces];
        let (inserted, noticed) = tokio::join!(
            biased;
            async { client.execute(insert, &params).await },
            async {
                match insert_notices {
                    Some(insert) => client.execute(insert, &with_traces).await,
                    None => Ok(0),
                }
            },
        );
        inserted.and(noticed)?;
        Ok(())
    }
}

/// Notes whose the keys of `batch` are; refuses those that are another payer's.
async fn register(
    client: &Client,
    with: &Statements,
    batch: &Batch,
) -> Result<Vec<Result<(), Refused>>, Error> {
    let Some(insert) = &with.homes else { return Ok(Vec::new()) };
    // In order, as every transaction does.
    let mut keys: Vec<(&[u8], i32)> =
        batch.registrations.iter().map(|r| (r.key.as_bytes(), rows::id(r.payer))).collect();
    keys.sort_unstable();
    // A repeated key is one that its payer sends twice at once: another's claim sees to that.
    keys.dedup_by_key(|(key, _)| *key);
    let (key, payer) = (column(&keys, |k| k.0), column(&keys, |k| k.1));
    let rows = client.query(insert, &[&key, &payer]).await?;
    let mut whose: HashMap<Vec<u8>, i32> = HashMap::with_capacity(rows.len());
    for row in &rows {
        whose.insert(row.try_get(0)?, row.try_get(1)?);
    }
    let is_ours = |r: &Registration| whose.get(r.key.as_bytes()) == Some(&rows::id(r.payer));
    Ok(column(&batch.registrations, |r| if is_ours(r) { Ok(()) } else { Err(Refused::KeyReused) }))
}

/// What the second round trip needs, prepared before it: all of it is sent at once, the commit last.
struct Statements {
    keys: Option<Statement>,
    /// Payments, and their notices.
    payments: Option<(Statement, Option<Statement>)>,
    /// Entries, and the balances that they come to.
    entries: Option<(Statement, Statement)>,
    transfers: Option<Statement>,
    /// Credits, and their notices.
    credits: Option<(Statement, Option<Statement>)>,
    homes: Option<Statement>,
}

impl Statements {
    async fn prepare(
        client: &Client,
        books: &Books<'_>,
        batch: &Batch,
        notices: bool,
    ) -> Result<Self, Error> {
        let with_notices = async |sql: &str, notice: &str| {
            let statement = client.prepare_cached(sql).await?;
            let notice = if notices { Some(client.prepare_cached(notice).await?) } else { None };
            Ok::<_, Error>((statement, notice))
        };
        let mut with =
            Self { keys: None, payments: None, entries: None, transfers: None, credits: None, homes: None };
        if !books.keys.is_empty() {
            with.keys = Some(client.prepare_cached(KEYS).await?);
        }
        if !books.payments.is_empty() {
            with.payments = Some(with_notices(PAYMENTS, outbox::INSERT).await?);
        }
        if !books.entries.is_empty() {
            let (entries, balances) =
                (client.prepare_cached(ENTRIES).await?, client.prepare_cached(BALANCES).await?);
            with.entries = Some((entries, balances));
        }
        if books.payments.iter().any(|p| p.to.is_some()) {
            with.transfers = Some(client.prepare_cached(TRANSFERS).await?);
        }
        if !books.credits.is_empty() {
            with.credits = Some(with_notices(CREDITS, outbox::INSERT_CREDITED).await?);
        }
        if !batch.registrations.is_empty() {
            with.homes = Some(client.prepare_cached(HOMES).await?);
        }
        Ok(with)
    }
}

/// Payments as columns: number, payer, payee, amount, currency.
#[derive(Default)]
struct Columns {
    seq: Vec<i64>,
    payer: Vec<i32>,
    payee: Vec<i32>,
    amount: Vec<i64>,
    currency: Vec<Currency>,
}

impl Columns {
    fn of(payments: impl Iterator<Item = (i64, Order)>) -> Self {
        let mut columns = Self::default();
        for (seq, order) in payments {
            columns.seq.push(seq);
            columns.payer.push(rows::id(order.from));
            columns.payee.push(rows::id(order.to));
            columns.amount.push(order.amount);
            columns.currency.push(order.currency);
        }
        columns
    }

    fn currency(&self) -> Vec<&str> {
        column(&self.currency, Currency::code)
    }

    /// As parameters of a statement, with [`currency`](Self::currency).
    fn params<'c>(&'c self, currency: &'c (dyn ToSql + Sync)) -> [&'c (dyn ToSql + Sync); 5] {
        [&self.seq, &self.payer, &self.payee, &self.amount, currency]
    }
}

/// One field of all rows.
fn column<'r, R, T>(rows: &'r [R], field: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(field).collect()
}
