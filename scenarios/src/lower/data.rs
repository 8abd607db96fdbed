//! `[data]`: where placeholders draw from.

use std::ops::Range;

use super::journey::step_draws_accounts;
use super::request::MAX_WEIGHT;
use super::scalar::{ratio, within};
use crate::error::tick;
use crate::file::scalar::At;
use crate::file::tables::{Amount, Data, DistributionText, PickText};
use crate::findings::Findings;
use crate::plan::{AmountLaw, DataPlan, JourneyPlan, Pick, RequestPlan, ServicePlan, TargetPlan};

/// The most accounts.
pub const MAX_ACCOUNTS: u64 = 10_000_000;
/// The greatest amount or balance, in minor units.
pub const MAX_AMOUNT: i64 = 999_999_999_999;
/// The most amounts of a list.
pub const MAX_AMOUNT_VALUES: usize = 1000;
/// The longest account prefix, in bytes.
const MAX_PREFIX_LEN: usize = 32;

pub(super) fn lower(
    file: Option<&Data>,
    target: Option<&TargetPlan>,
    target_url: Option<Range<usize>>,
    requests: &[RequestPlan],
    journeys: &[JourneyPlan],
    findings: &mut Findings,
) -> Option<DataPlan> {
    let none = Data::default();
    let file = file.unwrap_or(&none);
    let accounts = accounts(file, target, target_url, requests, journeys, findings);
    let digits = within(file.account_digits.as_ref(), 8, 1..=18, "data.account_digits", findings);
    if let (Some(accounts), Some(digits)) = (accounts, digits)
        && accounts >= 10u64.pow(digits)
        && let Some(typed) = &file.account_digits
    {
        findings.add(
            typed.span(),
            format!("data.account_digits {digits} cannot number {accounts} accounts; write more digits"),
        );
    }
    if let Some(prefix) = &file.account_prefix {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if prefix.len() > MAX_PREFIX_LEN || !prefix.bytes().all(safe) {
            findings.add(
                prefix.span(),
                format!(
                    "data.account_prefix {} must be at most {MAX_PREFIX_LEN} letters, digits, _ and -: \
                     it goes into paths and bodies",
                    tick(prefix)
                ),
            );
        }
    }
    let amount_min = within(file.amount_min.as_ref(), 100, 0..=MAX_AMOUNT, "data.amount_min", findings);
    let amount_max = within(file.amount_max.as_ref(), 99_999, 0..=MAX_AMOUNT, "data.amount_max", findings);
    if let (Some(least), Some(most)) = (amount_min, amount_max)
        && least > most
        && let Some(typed) = file.amount_min.as_ref().or(file.amount_max.as_ref())
    {
        findings.add(
            typed.span(),
            format!("data.amount_min {least} is above data.amount_max {most}; swap or change them"),
        );
    }
    let pick = pick(file, accounts, findings);
    let amount = match (&file.amount, amount_min, amount_max) {
        (Some(typed), Some(least), Some(most)) if least <= most => {
            Law { typed, least, most, findings }.lower()
        }
        _ => Some(AmountLaw::Uniform),
    };
    Some(DataPlan {
        accounts: accounts?,
        pick: pick?,
        account_prefix: file.account_prefix.as_deref().cloned().unwrap_or_else(|| "acc_".to_owned()),
        account_digits: digits? as usize,
        amount_min: amount_min?,
        amount_max: amount_max?,
        amount: amount?,
    })
}

fn pick(file: &Data, accounts: Option<u64>, findings: &mut Findings) -> Option<Pick> {
    let exponent = within(file.exponent.as_ref(), 1.0, 0.0..=5.0, "data.exponent", findings);
    let without = |key: &str, pick: &str| {
        format!("data.{key} does nothing without data.pick = \"{pick}\"; add it or remove the {key}")
    };
    if let (Some(typed), false) = (&file.exponent, file.pick == Some(PickText::Zipf)) {
        findings.add(typed.span(), without("exponent", "zipf"));
    }
    if file.pick != Some(PickText::HotSet) {
        if let Some(typed) = &file.hot_accounts {
            findings.add(typed.span(), without("hot_accounts", "hot_set"));
        }
        if let Some(typed) = &file.hot_share {
            findings.add(typed.span(), without("hot_share", "hot_set"));
        }
    }
    match file.pick {
        Some(PickText::Zipf) => Some(Pick::Zipf { exponent: exponent? }),
        Some(PickText::HotSet) => hot_set(file, accounts?, findings),
        Some(PickText::Sequential) => Some(Pick::Sequential),
        Some(PickText::Uniform) | None => Some(Pick::Uniform),
    }
}

fn hot_set(file: &Data, accounts: u64, findings: &mut Findings) -> Option<Pick> {
    let (Some(hot), Some(share)) = (&file.hot_accounts, &file.hot_share) else {
        let span = file.hot_accounts.as_ref().map(At::span).or(file.hot_share.as_ref().map(At::span));
        findings.add(
            span.unwrap_or(0..0),
            "data.pick = \"hot_set\" needs both hot_accounts and hot_share: which accounts are hot, and how much \
             of the traffic is theirs; add what is missing",
        );
        return None;
    };
    let share = ratio(share, "data.hot_share", findings);
    if !(1..accounts).contains(&**hot) {
        findings.add(
            hot.span(),
            format!(
                "data.hot_accounts {} is outside its range, 1 to {}: below the {accounts} accounts that there are",
                **hot,
                accounts - 1
            ),
        );
        return None;
    }
    Some(Pick::HotSet { hot_accounts: **hot, hot_share: share? })
}

/// `data.amount` being checked against the range that holds for it.
struct Law<'a> {
    typed: &'a At<Amount>,
    least: i64,
    most: i64,
    findings: &'a mut Findings,
}

impl Law<'_> {
    fn lower(&mut self) -> Option<AmountLaw> {
        let typed = self.typed;
        let keys = [
            ("median", typed.median.as_ref().map(At::span), DistributionText::Lognormal, "lognormal"),
            ("p99", typed.p99.as_ref().map(At::span), DistributionText::Lognormal, "lognormal"),
            ("mean", typed.mean.as_ref().map(At::span), DistributionText::Exponential, "exponential"),
            ("values", typed.values.as_ref().map(At::span), DistributionText::Values, "values"),
            ("weights", typed.weights.as_ref().map(At::span), DistributionText::Values, "values"),
        ];
        for (key, span, of, name) in keys {
            if let (Some(span), true) = (span, of != typed.distribution) {
                self.findings.add(
                    span,
                    format!("data.amount.{key} belongs to distribution = \"{name}\"; change one of them"),
                );
            }
        }
        match typed.distribution {
            DistributionText::Uniform => Some(AmountLaw::Uniform),
            DistributionText::Lognormal => {
                let (median, p99) = (self.one("median", &typed.median), self.one("p99", &typed.p99));
                let (median, p99) = (median?, p99?);
                if median < 1 || p99 <= median {
                    self.tell(format!(
                        "data.amount: a lognormal needs 1 <= median < p99, and they are {median} and {p99}; mend them"
                    ));
                    return None;
                }
                Some(AmountLaw::Lognormal { median: median as f64, p99: p99 as f64 })
            }
            DistributionText::Exponential => {
                let mean = self.one("mean", &typed.mean)?;
                if mean <= self.least {
                    self.tell(format!(
                        "data.amount.mean {mean} must be above data.amount_min {}, from where the amounts fall off; raise it",
                        self.least
                    ));
                    return None;
                }
                Some(AmountLaw::Exponential { mean: mean as f64 })
            }
            DistributionText::Values => self.values(),
        }
    }

    fn tell(&mut self, message: impl Into<String>) {
        self.findings.add(self.typed.span(), message);
    }

    /// An amount that the law cannot do without and that must lie in the range.
    fn one(&mut self, key: &str, typed: &Option<At<i64>>) -> Option<i64> {
        let Some(typed) = typed else {
            self.tell(format!("data.amount: the key `{key}` is missing here; add it"));
            return None;
        };
        self.in_range(key, typed)
    }

    fn in_range(&mut self, key: &str, typed: &At<i64>) -> Option<i64> {
        if (self.least..=self.most).contains(&**typed) {
            return Some(**typed);
        }
        self.findings.add(
            typed.span(),
            format!(
                "data.amount.{key} {} lies outside data.amount_min {} to data.amount_max {}; widen that range or change it",
                **typed, self.least, self.most
            ),
        );
        None
    }

    fn values(&mut self) -> Option<AmountLaw> {
        let Some(list) = &self.typed.values else {
            self.tell("data.amount: the key `values` is missing here; add it");
            return None;
        };
        if list.is_empty() || list.len() > MAX_AMOUNT_VALUES {
            let n = list.len();
            self.findings.add(
                list.span(),
                format!("data.amount.values has {n} amounts; write 1 to {MAX_AMOUNT_VALUES}"),
            );
            return None;
        }
        let values: Vec<Option<i64>> = list.iter().map(|v| self.in_range("values", v)).collect();
        let values: Option<Vec<i64>> = values.into_iter().collect();
        let Some(typed) = &self.typed.weights else {
            let weights = vec![1.0; list.len()];
            return Some(AmountLaw::Values { values: values?, weights });
        };
        if typed.len() != list.len() {
            self.findings.add(
                typed.span(),
                format!(
                    "data.amount.weights has {} weights for {} values; write one for each",
                    typed.len(),
                    list.len()
                ),
            );
            return None;
        }
        let weights: Vec<Option<f64>> = typed
            .iter()
            .map(|w| within(Some(w), 0.0, 0.0..=MAX_WEIGHT, "data.amount.weights", self.findings))
            .collect();
        let weights: Vec<f64> = weights.into_iter().collect::<Option<_>>()?;
        if weights.iter().all(|w| *w == 0.0) {
            self.findings
                .add(typed.span(), "data.amount.weights are all 0; give one value a positive weight");
            return None;
        }
        Some(AmountLaw::Values { values: values?, weights })
    }
}

/// How many accounts to draw from: they must exist, or every request would fail for the wrong
/// reason.
fn accounts(
    file: &Data,
    target: Option<&TargetPlan>,
    target_url: Option<Range<usize>>,
    requests: &[RequestPlan],
    journeys: &[JourneyPlan],
    findings: &mut Findings,
) -> Option<u64> {
    match (target?.service(), &file.accounts) {
        (Some(ServicePlan { accounts: opened, .. }), typed) => {
            let accounts = within(typed.as_ref(), opened, 2..=MAX_ACCOUNTS, "data.accounts", findings)?;
            if let Some(typed) = typed
                && accounts > opened
            {
                findings.add(
                    typed.span(),
                    format!(
                        "data.accounts {accounts} is above target.accounts {opened}: requests would name accounts that do \
                         not exist; raise target.accounts or lower it"
                    ),
                );
            }
            Some(accounts)
        }
        (None, Some(typed)) => within(Some(typed), 0, 2..=MAX_ACCOUNTS, "data.accounts", findings),
        (None, None) => {
            let request = requests.iter().find(|r| draws_accounts(r)).map(|r| ("request", &r.name));
            let journey = journeys.iter().find(|j| j.steps.iter().any(step_draws_accounts));
            if let Some((kind, name)) = request.or_else(|| journey.map(|j| ("journey", &j.name))) {
                findings.add(
                    target_url.unwrap_or(0..0),
                    format!(
                        "{kind} {} names accounts, but data.accounts does not say how many the target.url has; \
                         add [data] accounts = …",
                        tick(name)
                    ),
                );
                return None;
            }
            // Never drawn from; two is the least that the draw allows.
            Some(2)
        }
    }
}

/// Whether a request names accounts.
pub(crate) fn draws_accounts(request: &RequestPlan) -> bool {
    // Every `${` of a checked text begins a placeholder.
    request.texts().any(|t| t.contains("${account}") || t.contains("${other}"))
}
