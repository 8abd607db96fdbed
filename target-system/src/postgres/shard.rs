//! Which of how many databases this one is, as the database itself says.
//!
//! Accounts and payments lie where that says. A service that is started with another one would not find them and
//! open accounts a second time, so it is refused.

use anyhow::ensure;
use tokio_postgres::Client;

use super::rows;
use crate::bank::BankError;
use crate::limits::NUMBERS_OF_A_SHARD;
use crate::shards::map::Place;

/// What a database says.
#[derive(Debug, PartialEq, Eq)]
struct Shard {
    number: i16,
    of: i16,
    split_by: String,
}

impl Shard {
    fn at(place: Place) -> Self {
        let number = |n: usize| i16::try_from(n).unwrap_or(i16::MAX);
        Self {
            number: number(place.own),
            of: number(place.map.shards()),
            split_by: place.map.by().name().to_owned(),
        }
    }

    /// Whether it may be used as `wanted`.
    fn must_be(&self, wanted: &Shard) -> anyhow::Result<()> {
        // How one database is divided is nobody's business.
        let same = self == wanted || (self.of, wanted.of) == (1, 1);
        ensure!(
            same,
            "the database is {}, and PAYMENTS_POSTGRES names it as {}: accounts lie where the first start has put them. \
             Name the same databases in the same order, with the same --shard-by, or empty ones",
            self.told(),
            wanted.told(),
        );
        Ok(())
    }

    fn told(&self) -> String {
        match self.of {
            1 => "the only database".to_owned(),
            of => format!("database {} of {of}, divided by {}", self.number + 1, self.split_by),
        }
    }
}

/// Sees that the database may become the one at `place`, or is it.
///
/// # Errors
/// When it is another one already, or gives an error.
pub async fn look(client: &Client, place: Place) -> anyhow::Result<()> {
    let made =
        client.query_one("SELECT to_regclass('shard') IS NOT NULL", &[]).await.map_err(BankError::from)?;
    if !made.get::<_, bool>(0) {
        return Ok(());
    }
    let row =
        client.query_opt("SELECT number, of, split_by FROM shard", &[]).await.map_err(BankError::from)?;
    let found = row.map(|row| Shard { number: row.get(0), of: row.get(1), split_by: row.get(2) });
    found.map_or(Ok(()), |found| found.must_be(&Shard::at(place)))
}

/// Makes the database the one at `place`, at its first start, or sees that it is.
///
/// # Errors
/// When it is another one already, holds accounts from before it was one of several, or gives an error.
pub async fn adopt(client: &mut Client, place: Place) -> anyhow::Result<()> {
    let wanted = Shard::at(place);
    let transaction = client.transaction().await.map_err(BankError::from)?;
    // Of several processes that start at once the others wait here for the first.
    let made = transaction
        .execute(
            "INSERT INTO shard (number, of, split_by) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            &[&wanted.number, &wanted.of, &wanted.split_by],
        )
        .await
        .map_err(BankError::from)?;
    let row = transaction
        .query_one("SELECT number, of, split_by, EXISTS (SELECT FROM accounts) FROM shard", &[])
        .await
        .map_err(BankError::from)?;
    let found = Shard { number: row.get(0), of: row.get(1), split_by: row.get(2) };
    found.must_be(&wanted)?;
    if made == 1 && place.has_others() {
        ensure!(
            !row.get::<_, bool>(3),
            "the database holds accounts from when it was the only one: divide them by hand, or name an empty database \
             as {}",
            wanted.told(),
        );
        let before = rows::number(place.own as u64 * NUMBERS_OF_A_SHARD).max(1);
        transaction
            .execute("SELECT setval('payment_seqs', $1, $2)", &[&before, &(place.own > 0)])
            .await
            .map_err(BankError::from)?;
    }
    transaction.commit().await.map_err(BankError::from)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shards::map::{By, ShardMap};

    #[test]
    fn a_shard_is_told_in_words() {
        let place = Place { map: ShardMap::new(By::Modulo, 3).unwrap(), own: 1 };
        assert_eq!(Shard::at(place).told(), "database 2 of 3, divided by modulo");
        assert_eq!(Shard::at(Place::ALONE).told(), "the only database");
    }
}
