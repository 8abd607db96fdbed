//! `[[feeder]]`: CSV files, read here so that what cannot be sent is told before the run.

use std::path::Path;

use super::scalar::Names;
use crate::error::{did_you_mean, tick};
use crate::feeder::{Field, Table};
use crate::file::scalar::At;
use crate::file::tables::{Feeder, FeederOrderText};
use crate::findings::Findings;
use crate::place::{self, Place};
use crate::plan::{FeederOrder, FeederPlan, JourneyPlan, RequestPlan};

/// The most feeders.
pub const MAX_FEEDERS: usize = 16;

/// The feeders of a scenario with their rows.
#[derive(Default)]
pub(super) struct Feeding {
    plans: Vec<FeederPlan>,
    tables: Vec<Table>,
    /// The names of those that cannot be used, which is told already.
    broken: Vec<String>,
}

pub(super) fn lower(file: &[At<Feeder>], folder: &Path, findings: &mut Findings) -> Feeding {
    if let Some(beyond) = file.get(MAX_FEEDERS) {
        findings.add(beyond.span(), format!("there are more than {MAX_FEEDERS} feeders"));
    }
    let mut names = Names::new("feeder");
    let mut feeding = Feeding::default();
    for typed in file.iter().take(MAX_FEEDERS) {
        names.add_tag(&typed.name, findings);
        let path = folder.join(&**typed.file);
        match Table::read(&path) {
            Ok(table) => {
                feeding.plans.push(FeederPlan {
                    name: typed.name.to_string(),
                    file: path.to_string_lossy().into_owned(),
                    order: match typed.order {
                        None | Some(FeederOrderText::Sequential) => FeederOrder::Sequential,
                        Some(FeederOrderText::Random) => FeederOrder::Random,
                        Some(FeederOrderText::PerUser) => FeederOrder::PerUser,
                    },
                    columns: table.columns().to_vec(),
                    rows: table.rows(),
                    digest: table.digest(),
                });
                feeding.tables.push(table);
            }
            Err(told) => {
                findings.add(typed.file.span(), format!("feeder {} file {told}", tick(&typed.name)));
                feeding.broken.push(typed.name.to_string());
            }
        }
    }
    feeding
}

/// What is wrong with a placeholder.
pub(super) enum Trouble {
    /// A sentence that goes on behind what holds the placeholder: `path`.
    Told(String),
    /// It is told already.
    Known,
}

impl Feeding {
    pub(super) fn plans(&self) -> &[FeederPlan] {
        &self.plans
    }

    pub(super) fn into_plans(self) -> Vec<FeederPlan> {
        self.plans
    }

    /// Why `name`, such as `cards.number`, is no column; it may be one of no feeder at all.
    pub(super) fn unknown(&self, name: &str) -> Trouble {
        let shown = tick(&format!("${{{name}}}"));
        let (feeder, column) = name.split_once('.').unwrap_or((name, ""));
        if self.broken.iter().any(|b| b == feeder) {
            return Trouble::Known;
        }
        Trouble::Told(match self.plans.iter().find(|f| f.name == feeder) {
            Some(plan) => {
                let hint = did_you_mean(column, plan.columns.iter().map(String::as_str));
                let known = tick(&plan.columns.join(", "));
                format!(
                    "needs {shown}, and {} has no column {}{hint} (its header is {known})",
                    tick(&plan.file),
                    tick(column)
                )
            }
            None => {
                let hint = did_you_mean(feeder, self.plans.iter().map(|f| f.name.as_str()));
                let hint = if hint.is_empty() { "; add a [[feeder]]" } else { &hint };
                format!("needs {shown}, and there is no feeder {}{hint}", tick(feeder))
            }
        })
    }

    /// Why the values of `field` cannot stand at `place`.
    pub(super) fn misfit(&self, field: Field, place: Place) -> Option<String> {
        let (plan, table) = self.of(field);
        let (line, why) = table.misfit(field.column, place)?;
        let column = &plan.columns[usize::from(field.column)];
        Some(format!(
            "cannot hold {}: in {}:{line} it {why}",
            tick(&format!("${{{}.{column}}}", plan.name)),
            plan.file
        ))
    }

    /// How a feeder's rows are given out.
    pub(super) fn order(&self, field: Field) -> FeederOrder {
        self.of(field).0.order
    }

    /// The most bytes that a value of `field` has, written at `place`.
    pub(super) fn longest(&self, field: Field, place: Place) -> usize {
        let table = self.of(field).1;
        let written = |row| {
            let mut len = 0;
            place::write(table.value(row, field.column), place, |piece| len += piece.len());
            len
        };
        (0..table.rows() as usize).map(written).max().unwrap_or(0)
    }

    fn of(&self, field: Field) -> (&FeederPlan, &Table) {
        (&self.plans[usize::from(field.feeder)], &self.tables[usize::from(field.feeder)])
    }

    /// Tells of feeders that nothing is filled from. What is wrong elsewhere may be why, so then it does
    /// not.
    pub(super) fn unused(
        &self,
        file: &[At<Feeder>],
        requests: &[RequestPlan],
        journeys: &[JourneyPlan],
        findings: &mut Findings,
    ) {
        for plan in self.plans.iter().filter(|_| findings.is_empty()).collect::<Vec<_>>() {
            let start = format!("${{{}.", plan.name);
            let in_requests = requests.iter().any(|r| r.texts().any(|t| t.contains(&start)));
            let in_steps =
                || journeys.iter().flat_map(|j| &j.steps).any(|s| s.texts().any(|t| t.contains(&start)));
            if let (Some(typed), false) =
                (file.iter().find(|f| *f.name == plan.name), in_requests || in_steps())
            {
                let first = plan.columns.first().map_or("", String::as_str);
                findings.add(
                    typed.name.span(),
                    format!(
                        "feeder {} fills nothing; write {} where its values belong, or remove it",
                        tick(&plan.name),
                        tick(&format!("${{{}.{first}}}", plan.name))
                    ),
                );
            }
        }
    }
}
