//! The level that processes share, in Redis.
//!
//! An account is put there by whoever has read it from the database, under a right to fill that was taken before:
//! a payment takes the right away, and so do an eviction and a flush. Payments themselves change only what is
//! there. So nobody puts an old balance there, however slow.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{AsyncCommands as _, Script, SetExpiry, SetOptions};

use super::Change;
use super::session::Session;
use crate::bank::Held;
use crate::ids::AccountId;
use crate::ledger::Account;
use crate::limits::{FILL_LOOK_EVERY, FILL_RIGHT, FILL_WAIT};
use crate::money::Currency;

/// Digits of a payment's number, so that numbers compare as texts.
const SEQ_DIGITS: usize = 20;

/// How a right to fill begins, and no account does.
const RIGHT: &str = "?";

/// Puts an account in the place of the right to.
static FILL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
         if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
         redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
         return 1",
    )
});

/// Changes accounts and publishes that, at once; who has subscribed.
static TELL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for i, key in ipairs(KEYS) do
             local held, change = redis.call('GET', key), ARGV[i + 2]
             if held then
                 local rest = string.match(held, '^%d+ %d+( .*)$')
                 if rest and string.sub(held, 1, 20) >= string.sub(change, 1, 20) then
                     rest = nil
                 elseif rest and #change > 20 then
                     redis.call('SET', key, change .. rest, 'KEEPTTL')
                 else
                     redis.call('DEL', key)
                 end
             end
         end
         return redis.call('PUBLISH', ARGV[1], ARGV[2])",
    )
});

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// The account.
    Found(Held),
    /// Nothing; whoever has found that may put it there.
    Fill(String),
    /// Nothing: somebody else is about to put it there, and takes long.
    Awaited,
    /// Redis does not answer, or what it has makes no sense.
    Nothing,
}

fn key(session: &Session, id: AccountId) -> String {
    format!("{}:{id}", session.prefix)
}

/// The account `id`.
pub async fn look(session: &Session, id: AccountId) -> Looked {
    let key = key(session, id);
    let mut redis = session.link.connection();
    let tries = 1 + FILL_WAIT.as_millis() / FILL_LOOK_EVERY.as_millis();
    for n in 0..tries {
        if n > 0 {
            tokio::time::sleep(FILL_LOOK_EVERY).await;
        }
        let there: Option<Option<String>> = session.link.ask(redis.get(&key)).await;
        match there {
            Some(Some(text)) if text.starts_with(RIGHT) => {}
            Some(Some(text)) => return parse(&text).map_or(Looked::Nothing, Looked::Found),
            Some(None) => {
                let right = format!("{RIGHT}{}-{}", session.holder, session.number());
                let options = SetOptions::default()
                    .conditional_set(redis::ExistenceCheck::NX)
                    .with_expiration(SetExpiry::PX(millis(FILL_RIGHT)));
                let taken: Option<bool> = session.link.ask(redis.set_options(&key, &right, options)).await;
                match taken {
                    Some(true) => return Looked::Fill(right),
                    Some(false) => {}
                    None => return Looked::Nothing,
                }
            }
            None => return Looked::Nothing,
        }
    }
    Looked::Awaited
}

/// Puts what was read of the account `id` there for `ttl`, if the right to is still good: `Some(false)` when it is not,
/// nothing when Redis does not answer.
pub async fn fill(
    session: &Session,
    id: AccountId,
    found: Option<&Held>,
    right: &str,
    ttl: Duration,
) -> Option<bool> {
    let text = found.map(text).unwrap_or_default();
    let mut fill = FILL.key(key(session, id));
    fill.arg(right).arg(text).arg(millis(ttl));
    let mut redis = session.link.connection();
    let filled: Option<u8> = session.link.ask(fill.invoke_async(&mut redis)).await;
    filled.map(|keys| keys == 1)
}

/// Has what is there of `changes` show them, and publishes `message` on `channel`: how many will get it. `None` when
/// that is not known.
pub async fn tell(session: &Session, changes: &[Change], channel: &str, message: &[u8]) -> Option<usize> {
    let mut tell = TELL.arg(channel);
    tell.arg(message);
    for change in changes {
        tell.key(key(session, change.account));
        tell.arg(changed(change));
    }
    let mut redis = session.link.connection();
    session.link.ask(tell.invoke_async(&mut redis)).await
}

fn text(held: &Held) -> String {
    let Account { currency, opening, balance, last_seq } = held.account;
    format!("{last_seq:0SEQ_DIGITS$} {balance} {opening} {currency}")
}

/// The part of [`text`] that a payment changes, as far as it is known.
fn changed(change: &Change) -> String {
    match change.balance {
        Some(balance) => format!("{:0SEQ_DIGITS$} {balance}", change.seq),
        None => format!("{:0SEQ_DIGITS$}", change.seq),
    }
}

fn parse(text: &str) -> Option<Held> {
    let mut parts = text.split(' ');
    let last_seq = parts.next()?.parse().ok()?;
    let balance = parts.next()?.parse().ok()?;
    let opening = parts.next()?.parse().ok()?;
    let currency = Currency::parse(parts.next()?)?;
    let account = Account { currency, opening, balance, last_seq };
    parts.next().is_none().then_some(Held { account, as_of_seq: last_seq })
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_account_is_found_as_it_was_put(seq in 0..=u64::MAX, balance in 0..=i64::MAX, opening in 0..=i64::MAX) {
            let currency = Currency::parse("EUR").unwrap();
            let account = Account { currency, opening, balance, last_seq: seq };
            let held = Held { account, as_of_seq: seq };
            let text = text(&held);
            prop_assert_eq!(parse(&text), Some(held));
            let change = Change { account: AccountId(1), seq, balance: Some(balance) };
            prop_assert!(text.starts_with(&changed(&change)));
        }

        #[test]
        fn numbers_compare_as_their_texts_do(a in 0..=u64::MAX, b in 0..=u64::MAX) {
            let text = |seq| changed(&Change { account: AccountId(1), seq, balance: None });
            prop_assert_eq!(text(a).cmp(&text(b)), a.cmp(&b));
            prop_assert_eq!(text(a).len(), SEQ_DIGITS);
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn what_is_no_account_is_none() {
        for text in ["", "?1-2", "1 2 3", "1 2 3 EUR 4", "1 2 3 XXX", "1  3 EUR"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
