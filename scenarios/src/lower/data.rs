//! `[data]`: where placeholders draw from.

use std::ops::Range;

use super::scalar::within;
use crate::error::tick;
use crate::file::tables::{Data, PickText};
use crate::findings::Findings;
use crate::plan::{DataPlan, Pick, RequestPlan, TargetPlan};

/// The most accounts.
pub const MAX_ACCOUNTS: u64 = 10_000_000;
/// The greatest amount or balance, in minor units.
pub const MAX_AMOUNT: i64 = 999_999_999_999;
/// The longest account prefix, in bytes.
const MAX_PREFIX_LEN: usize = 32;

pub(super) fn lower(
    file: Option<&Data>,
    target: Option<&TargetPlan>,
    target_url: Option<Range<usize>>,
    requests: &[RequestPlan],
    findings: &mut Findings,
) -> Option<DataPlan> {
    let none = Data::default();
    let file = file.unwrap_or(&none);
    let accounts = accounts(file, target, target_url, requests, findings);
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
    Some(DataPlan {
        accounts: accounts?,
        pick: pick(file, findings)?,
        account_prefix: file.account_prefix.as_deref().cloned().unwrap_or_else(|| "acc_".to_owned()),
        account_digits: digits? as usize,
        amount_min: amount_min?,
        amount_max: amount_max?,
    })
}

fn pick(file: &Data, findings: &mut Findings) -> Option<Pick> {
    let exponent = within(file.exponent.as_ref(), 1.0, 0.0..=5.0, "data.exponent", findings);
    match (file.pick, &file.exponent) {
        (Some(PickText::Zipf), _) => Some(Pick::Zipf { exponent: exponent? }),
        (_, Some(typed)) => {
            findings.add(
                typed.span(),
                "data.exponent does nothing without data.pick = \"zipf\"; add it or remove the exponent",
            );
            None
        }
        (_, None) => Some(Pick::Uniform),
    }
}

/// How many accounts to draw from: they must exist, or every request would fail for the wrong
/// reason.
fn accounts(
    file: &Data,
    target: Option<&TargetPlan>,
    target_url: Option<Range<usize>>,
    requests: &[RequestPlan],
    findings: &mut Findings,
) -> Option<u64> {
    match (target?, &file.accounts) {
        (TargetPlan::Reference { accounts: opened, .. }, typed) => {
            let accounts = within(typed.as_ref(), *opened, 2..=MAX_ACCOUNTS, "data.accounts", findings)?;
            if let Some(typed) = typed
                && accounts > *opened
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
        (TargetPlan::Url { .. }, Some(typed)) => {
            within(Some(typed), 0, 2..=MAX_ACCOUNTS, "data.accounts", findings)
        }
        (TargetPlan::Url { .. }, None) => {
            if let Some(request) = requests.iter().find(|r| draws_accounts(r)) {
                findings.add(
                    target_url.unwrap_or(0..0),
                    format!(
                        "request {} names accounts, but data.accounts does not say how many the target.url has; \
                         add [data] accounts = …",
                        tick(&request.name)
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
    let mut texts = request.headers.iter().map(|(_, v)| v).chain([&request.path]).chain(&request.body);
    // Every `${` of a checked text begins a placeholder.
    texts.any(|t| t.contains("${account}") || t.contains("${other}"))
}
