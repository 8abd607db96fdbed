//! What requests are filled with.

use serde::{Deserialize, Serialize};
/// Where placeholders draw from.
///
/// | placeholder | becomes |
/// |---|---|
/// | `${account}` | an account's id, drawn by `pick` |
/// | `${other}` | another account's id, never the same as `${account}` |
/// | `${amount}` | a whole number in `amount_min..=amount_max` (bodies only, outside quotes) |
/// | `${key}` | the idempotency key of this arrival, 32 hexadecimal digits |
/// | `${seq}` | the arrival's index, 12 digits |
/// | `${token}` | the target's bearer token |
///
/// `${feeder.column}` is a value of a [`FeederPlan`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataPlan {
    /// Accounts 1..=`accounts` exist.
    pub accounts: u64,
    /// How `${account}` is drawn.
    pub pick: Pick,
    /// Comes before the account's number: `acc_`.
    pub account_prefix: String,
    /// Digits of the account's number, zero-padded.
    pub account_digits: usize,
    /// The least `${amount}`.
    pub amount_min: i64,
    /// The greatest `${amount}`.
    pub amount_max: i64,
    /// How `${amount}` is drawn between them.
    #[serde(default)]
    pub amount: AmountLaw,
}

/// A CSV file whose rows requests are filled with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeederPlan {
    /// Unique within the plan: `[A-Za-z0-9_-]`.
    pub name: String,
    /// The file, with its folder.
    pub file: String,
    /// Which row is whose.
    pub order: FeederOrder,
    /// What its header calls the columns.
    pub columns: Vec<String>,
    /// How many rows it had when the plan was made; at least 1.
    pub rows: u64,
    /// XXH3-64 of the file as it was then, in hexadecimal.
    pub digest: String,
}

/// Which row of a feeder is whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeederOrder {
    /// One after the other by the arrival's number, from the first again after the last. The users of
    /// a journey go through them together, a row an iteration.
    Sequential,
    /// Every row alike.
    Random,
    /// A virtual user keeps the row of its number.
    PerUser,
}

/// How one of many accounts is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "pick", rename_all = "snake_case")]
pub enum Pick {
    /// All alike.
    Uniform,
    /// The k-th most popular in proportion to k^−exponent.
    Zipf {
        /// 0 is uniform, 1 the classic law.
        exponent: f64,
    },
    /// A few take most: accounts 1..=`hot_accounts` are drawn this often, the others else.
    HotSet {
        /// How many are hot; fewer than there are accounts.
        hot_accounts: u64,
        /// The share of arrivals that draw one of them, 0..=1.
        hot_share: f64,
    },
    /// One after the other: the arrival's index modulo the number of accounts.
    Sequential,
}

/// How an amount is drawn. What a law gives below `amount_min` or above `amount_max` becomes
/// that bound, so every amount of a plan has a place in the same number of digits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "distribution", rename_all = "snake_case")]
pub enum AmountLaw {
    /// Every amount alike.
    #[default]
    Uniform,
    /// The logarithm of the amount is normal: many small amounts and a long tail of large ones.
    Lognormal {
        /// Half of the amounts are below it.
        median: f64,
        /// 99 % of the amounts are below it.
        p99: f64,
    },
    /// Exponential above `amount_min`.
    Exponential {
        /// The mean before it is cut at `amount_max`.
        mean: f64,
    },
    /// One of a few, each as often as its weight says.
    Values {
        /// The amounts.
        values: Vec<i64>,
        /// Their weights, as many.
        weights: Vec<f64>,
    },
}
