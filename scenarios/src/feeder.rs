//! Feeders: the rows of CSV files as what requests are filled with.
//!
//! A placeholder `${cards.number}` is the value of the column `number` in the row of the feeder
//! `cards` that an arrival, or an iteration of a virtual user, was given. Which row that is, is a
//! function of its index alone: every placeholder of one feeder in a request reads the same row,
//! and another number of workers reads the same rows.
//!
//! A file is read whole when a run begins, and held once.

mod table;

use std::path::Path;
use std::sync::Arc;

use crate::draw::{Draw, Lane};
use crate::place::{self, Place};
use crate::plan::{FeederOrder, FeederPlan, Plan};

pub(crate) use table::Table;
pub use table::{MAX_FEEDER_BYTES, MAX_FEEDER_COLUMNS, MAX_FEEDER_FIELDS, MAX_FEEDER_ROWS};

/// A column of a feeder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The feeder's number in the plan.
    pub feeder: u16,
    /// The column's number in its file.
    pub column: u16,
}

impl Field {
    /// The column that `name`, such as `cards.number`, stands for.
    #[must_use]
    pub fn find(name: &str, feeders: &[FeederPlan]) -> Option<Self> {
        let (feeder, column) = name.split_once('.')?;
        let at = feeders.iter().position(|f| f.name == feeder)?;
        let column = feeders[at].columns.iter().position(|c| c == column)?;
        Some(Self { feeder: at as u16, column: column as u16 })
    }
}

/// Why the file of a feeder cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeederError {
    /// It cannot be read, or is no table of values.
    #[error("read the feeder {name}: {told}")]
    Unusable {
        /// The feeder's name.
        name: String,
        /// A sentence with file and line; a value may be a secret.
        told: String,
    },
    /// It is not what was checked.
    #[error("read the feeder {name}: {file} has changed since the scenario was read; run it again")]
    Changed {
        /// The feeder's name.
        name: String,
        /// Its file.
        file: String,
    },
}

/// The feeders of a plan with their rows. Rows may hold secrets, and so it has no `Debug`.
#[derive(Clone, Default)]
pub struct Feeders {
    seed: u64,
    all: Arc<[Feeder]>,
}

struct Feeder {
    order: FeederOrder,
    table: Table,
}

impl Feeders {
    /// Reads the files of `plan`'s feeders.
    ///
    /// # Errors
    /// When one cannot be read, or has changed since the plan was made.
    pub fn open(plan: &Plan) -> Result<Self, FeederError> {
        let all = plan.feeders.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { seed: plan.seed, all })
    }

    /// The row that arrival `index` reads of `feeder`.
    #[inline]
    fn row(&self, feeder: u16, index: u64) -> usize {
        let Feeder { order, table } = &self.all[usize::from(feeder)];
        match order {
            FeederOrder::Random => self.drawn(feeder, index),
            FeederOrder::Sequential | FeederOrder::PerUser => (index % table.rows()) as usize,
        }
    }

    #[inline]
    fn drawn(&self, feeder: u16, index: u64) -> usize {
        let mut draw = Draw::new(self.seed, Lane::Feeder, index);
        (0..feeder).for_each(|_| {
            draw.bits();
        });
        draw.below(self.all[usize::from(feeder)].table.rows()) as usize
    }

    /// The value of `field` for arrival `index`.
    #[must_use]
    #[inline]
    pub fn value(&self, field: Field, index: u64) -> &str {
        self.all[usize::from(field.feeder)].table.value(self.row(field.feeder, index), field.column)
    }

    /// The value of `field` for a turn of a virtual user.
    #[must_use]
    pub fn value_of_user(&self, field: Field, turn: Turn) -> &str {
        let Feeder { order, table } = &self.all[usize::from(field.feeder)];
        let user = u64::from(turn.user);
        let row = match order {
            FeederOrder::Random => self.drawn(field.feeder, turn.index),
            FeederOrder::PerUser => (user % table.rows()) as usize,
            FeederOrder::Sequential => {
                let before = turn.iteration.wrapping_mul(u64::from(turn.users));
                (before.wrapping_add(user) % table.rows()) as usize
            }
        };
        table.value(row, field.column)
    }

    /// Gives the value of `field` for arrival `index` as it is written at `place`.
    #[inline]
    pub(crate) fn write(&self, field: Field, index: u64, place: Place, piece: impl FnMut(&str)) {
        place::write(self.value(field, index), place, piece);
    }
}

/// An iteration of a virtual user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The user, from 0.
    pub user: u32,
    /// How many users its journey has.
    pub users: u32,
    /// From 0.
    pub iteration: u64,
    /// The iteration's index among all draws.
    pub index: u64,
}

fn open(plan: &FeederPlan) -> Result<Feeder, FeederError> {
    let (name, file) = (plan.name.clone(), plan.file.clone());
    let table =
        Table::read(Path::new(&file)).map_err(|told| FeederError::Unusable { name: name.clone(), told })?;
    if table.digest() != plan.digest {
        return Err(FeederError::Changed { name, file });
    }
    Ok(Feeder { order: plan.order, table })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Arrivals;
    use crate::plan::tests_support::plan_with_phases;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const ROWS: u64 = 7;

    /// A plan with one feeder of each order, `n` counting the rows from 0.
    fn plan(dir: &Path) -> Plan {
        let file = dir.join("numbers.csv");
        let rows: String = (0..ROWS).map(|n| format!("{n},v{n}\n")).collect();
        std::fs::write(&file, format!("n,v\n{rows}")).unwrap();
        let table = Table::read(&file).unwrap();
        let orders =
            [FeederOrder::Sequential, FeederOrder::Random, FeederOrder::PerUser, FeederOrder::Random];
        let feeder = |(i, order): (usize, FeederOrder)| FeederPlan {
            name: format!("f{i}"),
            file: file.to_str().unwrap().to_owned(),
            order,
            columns: table.columns().to_vec(),
            rows: table.rows(),
            digest: table.digest(),
        };
        let mut plan = plan_with_phases(Arrivals::Uniform, &[(1.0, 1.0, 1.0)]);
        plan.feeders = orders.into_iter().enumerate().map(feeder).collect();
        plan
    }

    fn field(name: &str, plan: &Plan) -> Field {
        Field::find(name, &plan.feeders).unwrap()
    }

    #[test]
    fn rows_come_in_order_and_begin_again_or_are_drawn_for_each_feeder_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        let feeders = Feeders::open(&plan).unwrap();
        let of = |name: &str, n: u64| -> Vec<u64> {
            let field = field(name, &plan);
            (0..n).map(|i| feeders.value(field, i).parse().unwrap()).collect()
        };
        assert_eq!(of("f0.n", 9), [0, 1, 2, 3, 4, 5, 6, 0, 1]);
        let (a, b) = (of("f1.n", 7_000), of("f3.n", 7_000));
        assert_ne!(a, b, "each feeder draws for itself");
        for row in 0..ROWS {
            // 1,000 expected, σ ≈ 29.
            let n = a.iter().filter(|r| **r == row).count();
            assert!(n.abs_diff(1_000) < 150, "row {row}: {n}");
        }
        assert_eq!(Field::find("f0.x", &plan.feeders), None);
        assert_eq!(Field::find("f9.n", &plan.feeders), None);
        assert_eq!(Field::find("n", &plan.feeders), None);
    }

    #[test]
    fn users_go_through_the_rows_together_and_one_of_their_own_stays() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        let feeders = Feeders::open(&plan).unwrap();
        let of = |name: &str, user, iteration| -> u64 {
            let turn = Turn { user, users: 3, iteration, index: 1 << 63 | iteration << 8 | u64::from(user) };
            feeders.value_of_user(field(name, &plan), turn).parse().unwrap()
        };
        // Seven iterations of three users read each row three times.
        let all: Vec<u64> =
            (0..7).flat_map(|i| (0..3).map(move |u| (u, i))).map(|(u, i)| of("f0.n", u, i)).collect();
        assert_eq!(all[..8], [0, 1, 2, 3, 4, 5, 6, 0]);
        assert!((0..ROWS).all(|row| all.iter().filter(|r| **r == row).count() == 3));
        assert!((0..5).all(|i| of("f2.n", 2, i) == 2));
        assert_eq!(of("f2.n", 8, 0), 1, "more users than rows share them");
        let drawn: HashSet<u64> = (0..50).map(|i| of("f1.n", 0, i)).collect();
        assert!(drawn.len() > 3);
    }

    #[test]
    fn a_file_that_changed_or_is_gone_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let plan = plan(dir.path());
        let file = dir.path().join("numbers.csv");
        std::fs::write(&file, "n,v\n0,v0\n").unwrap();
        let told = Feeders::open(&plan).err().unwrap().to_string();
        assert!(told.contains("has changed since the scenario was read"), "{told}");
        std::fs::remove_file(&file).unwrap();
        let told = Feeders::open(&plan).err().unwrap().to_string();
        assert!(
            told.starts_with("read the feeder f0: ") && told.contains("cannot be read: No such file"),
            "{told}"
        );
    }

    proptest! {
        #[test]
        fn every_column_is_read_from_the_same_row(index: u64, user: u32, users in 1u32.., iteration: u64) {
            let dir = tempfile::tempdir().unwrap();
            let plan = plan(dir.path());
            let feeders = Feeders::open(&plan).unwrap();
            for f in 0..4 {
                let (n, v) = (field(&format!("f{f}.n"), &plan), field(&format!("f{f}.v"), &plan));
                prop_assert_eq!(format!("v{}", feeders.value(n, index)), feeders.value(v, index));
                let turn = Turn { user, users, iteration, index };
                prop_assert_eq!(format!("v{}", feeders.value_of_user(n, turn)), feeders.value_of_user(v, turn));
            }
        }
    }
}
