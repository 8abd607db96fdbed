//! The payments that one statement does not settle: two round trips, the rules of the ledger, and an order of locks.
//!
//! Of each account one stripe is taken, or all. Who has taken all knows what the account holds, and lays it out anew
//! before the payment: in as many equal parts as have enough for another payment like it, sixteen at most. What is
//! moved for that is written down under a number of its own, so that every stripe can be counted again.

use deadpool_postgres::Client;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::replay;
use crate::bank::{Asked, Refused, Settled};
use crate::decline::Decline;
use crate::limits::{STRIPE_MOST, STRIPES};
use crate::money::Currency;
use crate::postgres::books::{KEYS, PAYMENTS};
use crate::postgres::brake::Brake;
use crate::postgres::commit::{KNOWN, NUMBERS, Outcome};
use crate::postgres::outbox;
use crate::postgres::rows::{self, instant};
use crate::record::{Order, Record, Verdict};
use crate::trace::span::Trace;

const READ_MAIN: &str = "SELECT currency, main_balance FROM accounts WHERE id = $1";

const LOCK_MAIN: &str = "SELECT currency, main_balance FROM accounts WHERE id = $1 FOR NO KEY UPDATE";

// Rows are added to an account by who holds its main row alone, which is locked before.
const LOCK_STRIPES: &str = "
    SELECT stripe, balance FROM account_stripes
    WHERE account = $1 AND stripe = ANY($2) ORDER BY stripe FOR NO KEY UPDATE";

const LAY_OUT: &str = "
    INSERT INTO account_stripes (account, stripe, balance)
    SELECT * FROM unnest($1::int[], $2::smallint[], $3::bigint[])
    ON CONFLICT (account, stripe) DO UPDATE SET balance = excluded.balance";

const MOVES: &str = "
    INSERT INTO stripe_moves (account, stripe, amount, seq)
    SELECT *, $4::bigint FROM unnest($1::int[], $2::smallint[], $3::bigint[])";

const ENTRIES: &str = "
    INSERT INTO entries (account, stripe, amount, balance_after, seq, created_at)
    SELECT *, $5::bigint, now() FROM unnest($1::int[], $2::smallint[], $3::bigint[], $4::bigint[])";

const MAINS: &str = "
    UPDATE accounts a SET main_balance = l.balance, last_seq = $4
    FROM unnest($1::int[], $2::smallint[], $3::bigint[]) AS l (account, stripe, balance)
    WHERE a.id = l.account AND l.stripe = 0";

const PARTS: &str = "
    UPDATE account_stripes s SET balance = l.balance, last_seq = $4
    FROM unnest($1::int[], $2::smallint[], $3::bigint[]) AS l (account, stripe, balance)
    WHERE s.account = l.account AND s.stripe = l.stripe AND l.stripe > 0";

/// What is taken of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing: no money is moved.
    Look,
    /// This stripe; 0 is the account's own row.
    One(i16),
    /// All stripes.
    All,
}

/// What is taken of both accounts.
#[derive(Debug, Clone, Copy)]
pub struct Ways {
    /// Of who pays.
    pub payer: Way,
    /// Of who is paid.
    pub payee: Way,
}

/// What that came to.
pub enum Gathered {
    /// It is committed, or there is nothing to commit.
    Done(Outcome),
    /// Nothing, and all locks are gone: it takes more.
    Again(Ways),
}

/// Settles `asked` by what is taken of its accounts.
///
/// # Errors
/// When the database gives one. Nothing is committed then, unless it was the commit's answer that was lost.
pub async fn settle(
    client: &Client,
    asked: &Asked,
    ways: Ways,
    notices: bool,
    brake: Brake<'_>,
) -> Result<Gathered, Error> {
    let Taken { payer, payee, known, numbers, created_ms } = take(client, asked, ways).await?;
    if let Some(record) = known {
        client.batch_execute("ROLLBACK").await?;
        return Ok(Gathered::Done(replay(asked, record)));
    }
    let order = asked.order;
    if let Err(refused) = check(&order, &payer, &payee) {
        client.batch_execute("ROLLBACK").await?;
        return Ok(Gathered::Done(Err(refused)));
    }
    let (laid_seq, seq) = (numbers[0], numbers[1]);
    let moved = match asked.declined {
        Some(why) => Err(Lacks::Declined(why)),
        None => transfer(&order, &payer, &payee),
    };
    let (verdict, lines) = match moved {
        Ok(lines) => (Verdict::Succeeded { seq: seq.unsigned_abs() }, lines),
        Err(Lacks::Declined(why)) => (Verdict::Declined { why }, Vec::new()),
        Err(lacks) => {
            client.batch_execute("ROLLBACK").await?;
            let mut wider = ways;
            match lacks {
                Lacks::Payee => wider.payee = Way::All,
                _ => wider.payer = Way::All,
            }
            return Ok(Gathered::Again(wider));
        }
    };
    let record = Record { order, verdict, created_ms };
    write(client, asked, &record, &lines, [laid_seq, seq], notices, brake).await?;
    Ok(Gathered::Done(Ok(Settled { record, replayed: false })))
}

/// What the first round trip has found.
struct Taken {
    payer: Part,
    payee: Part,
    known: Option<Record>,
    /// For what is laid out anew, and for the payment.
    numbers: [i64; 2],
    created_ms: u64,
}

/// What was taken of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// Nothing when there is no such account.
    currency: Option<Currency>,
    way: Way,
    /// The stripes that are there.
    stripes: Vec<(i16, i64)>,
}

/// Takes what `ways` says, of the account with the lower id first.
async fn take(client: &Client, asked: &Asked, ways: Ways) -> Result<Taken, Error> {
    let order = asked.order;
    let key = asked.claim.key().as_bytes();
    let payer = (rows::id(order.from), ways.payer);
    let payee = (rows::id(order.to), ways.payee);
    let swapped = payee.0 < payer.0;
    let (first, second) = if swapped { (payee, payer) } else { (payer, payee) };
    let statements = [
        client.prepare_cached(READ_MAIN).await?,
        client.prepare_cached(LOCK_MAIN).await?,
        client.prepare_cached(LOCK_STRIPES).await?,
    ];
    let known = client.prepare_cached(KNOWN).await?;
    let numbers = client.prepare_cached(NUMBERS).await?;
    let take_part = async |(id, way): (i32, Way)| {
        let [read_main, lock_main, lock_stripes] = &statements;
        let main = if matches!(way, Way::One(0) | Way::All) { lock_main } else { read_main };
        let stripes: Vec<i16> = match way {
            Way::Look => Vec::new(),
            Way::One(stripe) => vec![stripe],
            Way::All => (1..STRIPES as i16).collect(),
        };
        tokio::join!(
            biased;
            async { client.query_opt(main, &[&id]).await },
            async { client.query(lock_stripes, &[&id, &stripes]).await },
        )
    };
    // Sent in this order, and so executed in it.
    let (begun, first, second, known, numbers) = tokio::join!(
        biased;
        client.batch_execute("BEGIN"),
        take_part(first),
        take_part(second),
        async { client.query(&known, &[&vec![key]]).await },
        async { client.query(&numbers, &[&2_i32]).await },
    );
    begun?;
    let (payer, payee) = if swapped { (second, first) } else { (first, second) };
    // The first that failed says why; those behind it only that one did.
    let (payer, payee) = if swapped {
        let payee = (payee.0?, payee.1?);
        ((payer.0?, payer.1?), payee)
    } else {
        ((payer.0?, payer.1?), (payee.0?, payee.1?))
    };
    let known = known?.first().map(rows::record).transpose()?.flatten();
    let numbers = numbers?;
    let number = |nth: usize| numbers.get(nth).map_or(Ok(0), |row| row.try_get::<_, i64>(1));
    Ok(Taken {
        payer: Part::read(ways.payer, payer.0, &payer.1)?,
        payee: Part::read(ways.payee, payee.0, &payee.1)?,
        known,
        created_ms: numbers.first().map_or(Ok(0), |row| instant(row, 0))?,
        numbers: [number(1)?, number(2)?],
    })
}

impl Part {
    fn read(way: Way, main: Option<Row>, others: &[Row]) -> Result<Self, Error> {
        let mut stripes = Vec::new();
        let mut currency = None;
        if let Some(main) = main {
            currency = Currency::parse(main.try_get(0)?);
            if matches!(way, Way::One(0) | Way::All) {
                stripes.push((0, main.try_get(1)?));
            }
        }
        for row in others {
            stripes.push((row.try_get(0)?, row.try_get(1)?));
        }
        Ok(Self { currency, way, stripes })
    }

    /// What was taken holds.
    fn holds(&self) -> i128 {
        self.stripes.iter().map(|(_, balance)| i128::from(*balance)).sum()
    }
}

/// Both accounts exist and hold the currency.
fn check(order: &Order, payer: &Part, payee: &Part) -> Result<(), Refused> {
    for (param, id, part) in [("from", order.from, payer), ("to", order.to, payee)] {
        let holds = part.currency.ok_or(Refused::NoAccount { param, id })?;
        if holds != order.currency {
            return Err(Refused::OtherCurrency { id, holds });
        }
    }
    Ok(())
}

/// Why no money is moved.
#[derive(Debug, PartialEq, Eq)]
enum Lacks {
    /// That is the answer.
    Declined(Decline),
    /// The stripe that was taken will not do, and another may.
    Payer,
    /// Likewise.
    Payee,
}

/// What is written of an account.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    account: i32,
    /// How its stripes are laid out before the payment, and what that moves; of one that is not laid out anew, nothing.
    laid: Option<([i64; STRIPES], [i64; STRIPES])>,
    /// The payment's stripe.
    stripe: i16,
    amount: i64,
    balance: i64,
}

fn transfer(order: &Order, payer: &Part, payee: &Part) -> Result<Vec<Line>, Lacks> {
    let amount = order.amount;
    let whole = |part: &Part| part.way == Way::All;
    let paid = payer.holds() - i128::from(amount);
    if paid < 0 || payer.stripes.is_empty() {
        return Err(if whole(payer) { Lacks::Declined(Decline::InsufficientFunds) } else { Lacks::Payer });
    }
    let credited = payee.holds() + i128::from(amount);
    let most = if whole(payee) { i64::MAX } else { STRIPE_MOST };
    if credited > i128::from(most) || payee.stripes.is_empty() {
        return Err(if whole(payee) { Lacks::Declined(Decline::ExceedsLimit) } else { Lacks::Payee });
    }
    let line = |account, part: &Part, delta: i64| {
        let account = rows::id(account);
        let holds = i64::try_from(part.holds()).unwrap_or(i64::MAX);
        if !whole(part) {
            let stripe = part.stripes.first().map_or(0, |(stripe, _)| *stripe);
            return Line { account, laid: None, stripe, amount: delta, balance: holds + delta };
        }
        // A payer's main row gets what it is about to pay, beside its part of the rest.
        let pays = (-delta).max(0);
        let mut laid = lay_out(holds - pays, amount);
        laid[0] += pays;
        let mut moves = laid;
        for (stripe, balance) in &part.stripes {
            if let Some(moved) = usize::try_from(*stripe).ok().and_then(|stripe| moves.get_mut(stripe)) {
                *moved -= balance;
            }
        }
        Line { account, laid: Some((laid, moves)), stripe: 0, amount: delta, balance: laid[0] + delta }
    };
    Ok(vec![line(order.from, payer, -amount), line(order.to, payee, amount)])
}

/// `holds` in equal parts, as many as have `amount` each; what cannot be divided is in the first.
fn lay_out(holds: i64, amount: i64) -> [i64; STRIPES] {
    let parts = (holds / amount.max(1)).clamp(1, STRIPES as i64);
    let mut laid = [0; STRIPES];
    for part in laid.iter_mut().take(usize::try_from(parts).unwrap_or(1)) {
        *part = holds / parts;
    }
    laid[0] += holds % parts;
    laid
}

/// Writes what `record` and `lines` say, and commits.
async fn write(
    client: &Client,
    asked: &Asked,
    record: &Record,
    lines: &[Line],
    [laid_seq, seq]: [i64; 2],
    notices: bool,
    brake: Brake<'_>,
) -> Result<(), Error> {
    let order = &record.order;
    let (paid, decline) = match record.verdict {
        Verdict::Succeeded { .. } => (Some(seq), None),
        Verdict::Declined { why } => (None, Some(i16::from(why as u8))),
    };
    let insert_keys = client.prepare_cached(KEYS).await?;
    let (payer, payee) = (vec![rows::id(order.from)], vec![rows::id(order.to)]);
    let (amount, currency) = (vec![order.amount], vec![order.currency.code()]);
    let key_row = async {
        let row = (vec![asked.claim.key().as_bytes()], vec![paid], vec![decline]);
        client.execute(&insert_keys, &[&row.0, &payer, &payee, &amount, &currency, &row.1, &row.2]).await
    };
    if lines.is_empty() {
        let (key, committed) = tokio::join!(biased; key_row, brake.commit(client));
        key?;
        return committed;
    }
    let insert_payments = client.prepare_cached(PAYMENTS).await?;
    let insert_notices = client.prepare_cached(outbox::INSERT).await?;
    let lay_out = client.prepare_cached(LAY_OUT).await?;
    let insert_moves = client.prepare_cached(MOVES).await?;
    let insert_entries = client.prepare_cached(ENTRIES).await?;
    let (mains, parts) = (client.prepare_cached(MAINS).await?, client.prepare_cached(PARTS).await?);

    let laid = columns(lines.iter().flat_map(|line| {
        let others = line.laid.iter().flat_map(|(laid, _)| (0..).zip(laid).skip(1));
        others.map(|(stripe, balance)| (line.account, stripe, *balance))
    }));
    let moves = columns(lines.iter().flat_map(|line| {
        let moves = line.laid.iter().flat_map(|(_, moves)| (0..).zip(moves));
        moves.map(|(stripe, amount)| (line.account, stripe, *amount)).filter(|(_, _, amount)| *amount != 0)
    }));
    let paid = columns(lines.iter().map(|line| (line.account, line.stripe, line.balance)));
    let amounts: Vec<i64> = lines.iter().map(|line| line.amount).collect();
    let (number, trace) = (vec![seq], vec![asked.trace.as_deref().and_then(Trace::written)]);
    let written = tokio::join!(
        biased;
        key_row,
        async { client.execute(&insert_payments, &[&number, &payer, &payee, &amount, &currency]).await },
        async { client.execute(&lay_out, &[&laid.0, &laid.1, &laid.2]).await },
        async { client.execute(&insert_moves, &[&moves.0, &moves.1, &moves.2, &laid_seq]).await },
        async { client.execute(&insert_entries, &[&paid.0, &paid.1, &amounts, &paid.2, &seq]).await },
        async { client.execute(&mains, &[&paid.0, &paid.1, &paid.2, &seq]).await },
        async { client.execute(&parts, &[&paid.0, &paid.1, &paid.2, &seq]).await },
        async {
            match notices {
                true => {
                    let row: [&(dyn ToSql + Sync); 6] = [&number, &payer, &payee, &amount, &currency, &trace];
                    client.execute(&insert_notices, &row).await
                }
                false => Ok(0),
            }
        },
        brake.commit(client),
    );
    // A commit behind a statement that failed is a rollback, and says nothing.
    written.0?;
    written.1?;
    written.2?;
    written.3?;
    written.4?;
    written.5?;
    written.6?;
    written.7?;
    written.8
}

/// Accounts, stripes and amounts, each as a column.
fn columns(rows: impl Iterator<Item = (i32, i16, i64)>) -> (Vec<i32>, Vec<i16>, Vec<i64>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for (account, stripe, amount) in rows {
        columns.0.push(account);
        columns.1.push(stripe);
        columns.2.push(amount);
    }
    columns
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::AccountId;

    fn part(way: Way, stripes: &[i64]) -> Part {
        let stripes = (0..).zip(stripes.iter().copied()).collect();
        Part { currency: Currency::parse("EUR"), way, stripes }
    }

    fn order(amount: i64) -> Order {
        let currency = Currency::parse("EUR").expect("it is one");
        Order { from: AccountId(1), to: AccountId(2), amount, currency }
    }

    fn stripes() -> impl Strategy<Value = Vec<i64>> {
        prop::collection::vec(0..1_000_000_000_000_i64, 1..=STRIPES)
    }

    proptest! {
        #[test]
        fn what_is_laid_out_is_all_there_was_and_no_part_is_below_zero(
            payer in stripes(), payee in stripes(), amount in 1..2_000_000_000_000_i64
        ) {
            let (payer, payee) = (part(Way::All, &payer), part(Way::All, &payee));
            let moved = transfer(&order(amount), &payer, &payee);
            if payer.holds() < i128::from(amount) {
                prop_assert_eq!(moved, Err(Lacks::Declined(Decline::InsufficientFunds)));
                return Ok(());
            }
            let lines = moved.expect("there is enough");
            for (line, part) in lines.iter().zip([&payer, &payee]) {
                let (laid, moves) = line.laid.expect("all was taken");
                prop_assert_eq!(laid.iter().map(|b| i128::from(*b)).sum::<i128>(), part.holds());
                prop_assert_eq!(moves.iter().sum::<i64>(), 0);
                for (stripe, balance) in &part.stripes {
                    let stripe = *stripe as usize;
                    prop_assert_eq!(laid[stripe], balance + moves[stripe]);
                }
                prop_assert_eq!(line.balance, laid[0] + line.amount);
                prop_assert!(line.balance >= 0 && laid.iter().all(|b| *b >= 0), "{:?}", line);
                // A part that is there has enough for another payment, unless it is the only one.
                let others: Vec<i64> = laid[1..].iter().copied().filter(|b| *b > 0).collect();
                prop_assert!(others.iter().all(|b| *b >= amount), "{:?}", line);
            }
        }
    }

    #[test]
    fn one_stripe_that_will_not_do_asks_for_all() {
        let (poor, rich) = (part(Way::One(0), &[99]), part(Way::One(0), &[100]));
        assert_eq!(transfer(&order(100), &poor, &rich), Err(Lacks::Payer));
        let full = part(Way::One(0), &[STRIPE_MOST - 99]);
        assert_eq!(transfer(&order(100), &rich, &full), Err(Lacks::Payee));
        let gone = Part { stripes: Vec::new(), ..rich.clone() };
        assert_eq!(transfer(&order(100), &gone, &rich), Err(Lacks::Payer));
        assert_eq!(transfer(&order(100), &rich, &gone), Err(Lacks::Payee));
    }

    #[test]
    fn a_payee_holds_no_more_than_fits() {
        let rich = part(Way::One(0), &[1_000]);
        let full = part(Way::All, &[i64::MAX - 600, 500]);
        assert!(transfer(&order(100), &rich, &full).is_ok());
        assert_eq!(transfer(&order(101), &rich, &full), Err(Lacks::Declined(Decline::ExceedsLimit)));
    }

    #[test]
    fn the_table_has_room_for_the_stripes_and_no_more() {
        let schema = include_str!("../schema/006_stripes.sql");
        assert!(schema.contains(&format!("stripe BETWEEN 1 AND {})", STRIPES - 1)));
    }
}
