//! Logins that all processes know, as [`crate::auth::logins`] has them.

use deadpool_postgres::Pool;

use crate::auth::logins::{Last, LoginId, Shown};
use crate::bank::BankError;
use crate::limits::{MAX_LOGINS_OF_USER, REFRESH_GRACE_S};

/// Logins that are over and leave when another begins.
const EXPIRE_AT_ONCE: i64 = 100;

/// Adds a login of `user`, and removes what there is beyond the most that one has.
///
/// # Errors
/// When the database gives one.
pub async fn begin(pool: &Pool, user: &str, last: Last) -> Result<(), BankError> {
    let connection = pool.get().await?;
    // Those that another process is removing are its business.
    let expire = connection
        .prepare_cached(
            "DELETE FROM logins WHERE id IN (
                 SELECT id FROM logins WHERE ends_at < now() LIMIT $1 FOR UPDATE SKIP LOCKED)",
        )
        .await?;
    connection.execute(&expire, &[&EXPIRE_AT_ONCE]).await?;
    let crowd_out = connection
        .prepare_cached(
            "DELETE FROM logins WHERE id IN (
                 SELECT id FROM logins WHERE username = $1 ORDER BY ends_at DESC OFFSET $2)",
        )
        .await?;
    // One more is about to begin.
    let most = i64::try_from(MAX_LOGINS_OF_USER - 1).unwrap_or(i64::MAX);
    connection.execute(&crowd_out, &[&user, &most]).await?;
    let insert = connection
        .prepare_cached(
            "INSERT INTO logins (id, username, nth, rotated_at, ends_at)
             VALUES ($1, $2, $3, now(), to_timestamp($4::bigint))",
        )
        .await?;
    let ends_s = i64::try_from(last.ends_s).unwrap_or(i64::MAX);
    connection.execute(&insert, &[&id(last.id), &user, &last.nth, &ends_s]).await?;
    Ok(())
}

/// Takes the `nth` token of a login for the next one.
///
/// # Errors
/// When the database gives one.
pub async fn show(pool: &Pool, user: &str, login: LoginId, nth: i32) -> Result<Shown, BankError> {
    let connection = pool.get().await?;
    // Of two that show the same token at once the second waits here, and then finds its number taken.
    let rotate = connection
        .prepare_cached(
            "UPDATE logins SET nth = nth + 1, rotated_at = now()
             WHERE id = $1 AND username = $2 AND nth = $3 AND ends_at > now()
             RETURNING nth, extract(epoch FROM ends_at)::bigint",
        )
        .await?;
    let rotated = connection.query_opt(&rotate, &[&id(login), &user, &nth]).await?;
    if let Some(row) = rotated {
        return Ok(Shown::Rotated(last(login, row.try_get(0)?, row.try_get(1)?)));
    }
    let look = connection
        .prepare_cached(
            "SELECT nth, extract(epoch FROM ends_at)::bigint,
                    nth = $3 + 1 AND now() <= rotated_at + make_interval(secs => $4)
             FROM logins WHERE id = $1 AND username = $2 AND ends_at > now()",
        )
        .await?;
    let grace_s = REFRESH_GRACE_S as f64;
    let Some(row) = connection.query_opt(&look, &[&id(login), &user, &nth, &grace_s]).await? else {
        return Ok(Shown::Over);
    };
    if row.try_get(2)? {
        return Ok(Shown::Rotated(last(login, row.try_get(0)?, row.try_get(1)?)));
    }
    let end = connection.prepare_cached("DELETE FROM logins WHERE id = $1").await?;
    connection.execute(&end, &[&id(login)]).await?;
    Ok(Shown::Reused)
}

fn id(login: LoginId) -> Vec<u8> {
    login.0.to_be_bytes().to_vec()
}

fn last(id: LoginId, nth: i32, ends_s: i64) -> Last {
    Last { id, nth, ends_s: ends_s.unsigned_abs() }
}
