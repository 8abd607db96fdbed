//! How a database keeps balances: whole, in the accounts' own rows, or striped.
//!
//! All processes of a database have to agree, since each layout takes the other's rows for something else. So
//! a start changes the layout only while nobody else uses the database. Should somebody do so all the same, unseen,
//! the database refuses them: the column `balance` has another name while it is not the whole balance.

use anyhow::{Context as _, bail};
use tokio_postgres::Client;

use super::{Strategy, schema};
use crate::bank::BankError;
use crate::limits::{LAYOUT_LOOK_EVERY, LAYOUT_WAIT};

const TO_STRIPED: &str = include_str!("schema/to_striped.sql");
const TO_WHOLE: &str = include_str!("schema/to_whole.sql");

/// Connections of other processes. Who waits for its turn to start is no user yet.
const OTHERS: &str = "
    SELECT count(*) FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.application_name = current_setting('application_name')
          AND a.pid <> pg_backend_pid()
          AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND NOT l.granted)";

/// Opens accounts that are missing, with the name of the column.
macro_rules! open {
    ($balance:literal) => {
        concat!(
            "INSERT INTO accounts (id, currency, opening, ",
            $balance,
            ") SELECT id, $2, $3, $3 FROM unnest($1::int[]) AS id ON CONFLICT (id) DO NOTHING"
        )
    };
}

/// How balances are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In the accounts' own rows.
    Whole,
    /// In these rows and others.
    Striped,
}

impl Strategy {
    /// What it needs.
    #[must_use]
    pub fn layout(self) -> Layout {
        match self {
            Strategy::Batched | Strategy::Naive => Layout::Whole,
            Strategy::Striped => Layout::Striped,
        }
    }
}

impl Layout {
    /// Opens the accounts $1, those that are missing.
    pub(super) fn open(self) -> &'static str {
        match self {
            Layout::Whole => open!("balance"),
            Layout::Striped => open!("main_balance"),
        }
    }

    fn of(striped: bool) -> Self {
        if striped { Layout::Striped } else { Layout::Whole }
    }
}

/// The layout as it is.
///
/// # Errors
/// When the database gives one.
pub async fn read(client: &Client) -> Result<Layout, BankError> {
    let row = client.query_one("SELECT striped FROM ledger_layout", &[]).await?;
    Ok(Layout::of(row.try_get(0)?))
}

/// Sees to it that the database has the layout `wanted`.
///
/// # Errors
/// When it has another, and other processes use it so; or when the database gives one.
pub async fn adopt(client: &mut Client, wanted: Layout) -> anyhow::Result<()> {
    schema::take_turn(client).await?;
    let adopted = change(client, wanted).await;
    schema::end_turn(client).await?;
    adopted
}

async fn change(client: &mut Client, wanted: Layout) -> anyhow::Result<()> {
    if read(client).await? == wanted {
        return Ok(());
    }
    let mut others = count_others(client).await?;
    // One that has just ended is seen for a moment, and so is one that is about to wait for its turn.
    for _ in 0..LAYOUT_WAIT.as_millis() / LAYOUT_LOOK_EVERY.as_millis() {
        if others == 0 {
            break;
        }
        tokio::time::sleep(LAYOUT_LOOK_EVERY).await;
        others = count_others(client).await?;
    }
    if others > 0 {
        match wanted {
            Layout::Striped => bail!(
                "balances are not striped in this database, and other processes use it ({others} connections): \
                 end them first, or start with --strategy batched or naive"
            ),
            Layout::Whole => bail!(
                "balances are striped in this database, and other processes use it ({others} connections): \
                 end them first, or start with --strategy striped"
            ),
        }
    }
    let transaction = client.transaction().await?;
    let sql = if wanted == Layout::Striped { TO_STRIPED } else { TO_WHOLE };
    transaction.batch_execute(sql).await.context("failed to change how balances are kept")?;
    transaction.commit().await?;
    tracing::info!(layout = ?wanted, "balances are kept in another way from now on");
    Ok(())
}

async fn count_others(client: &Client) -> Result<i64, BankError> {
    Ok(client.query_one(OTHERS, &[]).await?.try_get(0)?)
}
