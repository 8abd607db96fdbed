//! Payment methods in the database.

use deadpool_postgres::Pool;

use crate::bank::BankError;
use crate::cards::{Brand, Kept, Method, MethodId};

/// Keeps `method` of `owner`, unless there is one with its id already.
///
/// # Errors
/// When the database gives one.
pub async fn keep(pool: &Pool, owner: &str, method: &Method) -> Result<Kept, BankError> {
    let connection = pool.get().await?;
    let insert = connection
        .prepare_cached(
            "INSERT INTO payment_methods (id, owner, brand, last4, exp_month, exp_year)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
        )
        .await?;
    let (month, year) = (i16::from(method.exp_month), i16::try_from(method.exp_year).unwrap_or(i16::MAX));
    let id = &method.id.0[..];
    let inserted = connection
        .execute(&insert, &[&id, &owner, &method.brand.name(), &method.last4(), &month, &year])
        .await?;
    drop(connection);
    if inserted == 1 { Ok(Kept::Now) } else { find(pool, owner, method.id).await.map(Kept::Before) }
}

/// The payment method `id`, if it is one of `owner`.
///
/// # Errors
/// When the database gives one.
pub async fn find(pool: &Pool, owner: &str, id: MethodId) -> Result<Option<Method>, BankError> {
    let connection = pool.get().await?;
    let select = connection
        .prepare_cached(
            "SELECT brand, last4, exp_month, exp_year FROM payment_methods WHERE id = $1 AND owner = $2",
        )
        .await?;
    let Some(row) = connection.query_opt(&select, &[&&id.0[..], &owner]).await? else { return Ok(None) };
    let damaged = || BankError::Row("payment_methods");
    let (month, year): (i16, i16) = (row.try_get(2)?, row.try_get(3)?);
    Ok(Some(Method {
        id,
        brand: Brand::parse(row.try_get(0)?).ok_or_else(damaged)?,
        last4: row.try_get::<_, &str>(1)?.as_bytes().try_into().map_err(|_| damaged())?,
        exp_month: u8::try_from(month).map_err(|_| damaged())?,
        exp_year: u16::try_from(year).map_err(|_| damaged())?,
    }))
}
