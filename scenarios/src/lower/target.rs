//! `[target]`: what is loaded, and whether it may be.

use std::path::Path;

use super::data::{MAX_ACCOUNTS, MAX_AMOUNT};
use super::scalar::within;
use crate::edited::EditedText;
use crate::error::tick;
use crate::file::scalar::At;
use crate::file::tables::{System, Target};
use crate::findings::Findings;
use crate::host::{Host, TargetUrl};
use crate::plan::{Profile, ServicePlan, TargetPlan};

pub(super) const DEFAULT_ACCOUNTS: u64 = 10_000;
/// Enough that no account runs dry under the default amounts and any load of a day.
const DEFAULT_OPENING_BALANCE: i64 = 100_000_000_000;
/// The most hosts in `target.allow`.
const MAX_ALLOW: usize = 64;

pub(super) fn lower(
    file: Option<&Target>,
    folder: &Path,
    text: &EditedText<'_>,
    findings: &mut Findings,
) -> Option<TargetPlan> {
    let Some(file) = file else {
        return Some(TargetPlan::Reference(ServicePlan {
            accounts: DEFAULT_ACCOUNTS,
            opening_balance: DEFAULT_OPENING_BALANCE,
            profile: Profile::default(),
        }));
    };
    let allowed = allowed(&file.allow, findings);
    match (&file.url, &file.system) {
        (Some(url), Some(system)) => {
            // What is set on the command line wins over what the file says.
            match (text.is_set(&url.span()), text.is_set(&system.span())) {
                (true, false) => at_url(file, url, &allowed, base(file, folder, text), findings),
                (false, true) => started(file, **system, folder, text, findings),
                _ => {
                    findings.add(
                        url.span(),
                        "target.url and target.system exclude each other; keep the one that is meant",
                    );
                    None
                }
            }
        }
        (Some(url), None) => {
            for (key, typed) in [
                ("compose_file", file.compose_file.as_ref().map(At::span)),
                ("profile", file.profile.as_ref().map(At::span)),
                ("accounts", file.accounts.as_ref().map(At::span)),
                ("opening_balance", file.opening_balance.as_ref().map(At::span)),
            ] {
                if let Some(span) = typed.filter(|_| !text.is_set(&url.span())) {
                    findings.add(
                        span,
                        format!("target.{key} is of the reference service and does nothing to a target.url; remove one of them"),
                    );
                }
            }
            at_url(file, url, &allowed, base(file, folder, text), findings)
        }
        (None, system) => {
            for (key, typed) in [
                ("token_env", file.token_env.as_ref()),
                ("ca_file", file.ca_file.as_ref()),
                ("allow", file.allow.first()),
            ] {
                if let Some(typed) = typed {
                    findings.add(
                        typed.span(),
                        format!("target.{key} is of a target.url and does nothing to the reference service; add the url or remove it"),
                    );
                }
            }
            started(file, system.as_deref().copied().unwrap_or(System::Reference), folder, text, findings)
        }
    }
}

/// The target that squall starts.
fn started(
    file: &Target,
    system: System,
    folder: &Path,
    text: &EditedText<'_>,
    findings: &mut Findings,
) -> Option<TargetPlan> {
    let accounts =
        within(file.accounts.as_ref(), DEFAULT_ACCOUNTS, 2..=MAX_ACCOUNTS, "target.accounts", findings);
    let opening_balance = within(
        file.opening_balance.as_ref(),
        DEFAULT_OPENING_BALANCE,
        0..=MAX_AMOUNT,
        "target.opening_balance",
        findings,
    );
    let (accounts, opening_balance) = (accounts?, opening_balance?);
    // All the money there is must be a sum that the ledger can hold.
    if i64::try_from(accounts).ok().and_then(|n| n.checked_mul(opening_balance)).is_none()
        && let Some(typed) = &file.opening_balance
    {
        findings.add(
            typed.span(),
            format!(
                "target.opening_balance {opening_balance} times {accounts} accounts is more than 2^63 minor units; lower one of them"
            ),
        );
        return None;
    }
    let profile = file.profile.as_deref().copied().unwrap_or_default();
    let service = ServicePlan { accounts, opening_balance, profile };
    let stack = file.compose_file.as_ref();
    match system {
        System::Reference => {
            if let Some(typed) = stack {
                findings.add(
                    typed.span(),
                    "target.compose_file is of target.system = \"compose\"; write that, or remove it",
                );
            }
            Some(TargetPlan::Reference(service))
        }
        System::Compose => {
            let file = stack.map(|typed| {
                if typed.is_empty() || typed.chars().any(char::is_control) {
                    let what = format!("target.compose_file {} must be the path of a file", tick(typed));
                    findings.add(typed.span(), what);
                }
                let folder = if text.is_set(&typed.span()) { Path::new("") } else { folder };
                folder.join(typed.as_str()).to_string_lossy().into_owned()
            });
            Some(TargetPlan::Compose { service, file })
        }
    }
}

fn at_url(
    file: &Target,
    url: &At<String>,
    allowed: &[Host],
    folder: &Path,
    findings: &mut Findings,
) -> Option<TargetPlan> {
    if let Some(name) = &file.token_env {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || !name.bytes().all(safe) || name.as_bytes()[0].is_ascii_digit() {
            findings.add(
                name.span(),
                format!(
                    "target.token_env {} must be the name of an environment variable, not the token itself",
                    tick(name)
                ),
            );
        }
    }
    let parsed =
        findings.check(url.span(), format_args!("target.url {}", tick(url)), TargetUrl::parse(url))?;
    if let TargetUrl::Http(at) = &parsed
        && !at.host.is_loopback()
        && !allowed.contains(&at.host)
    {
        let host = at.host.to_string();
        let host = host.trim_matches(['[', ']']);
        findings.add(
            url.span(),
            format!(
                "target.url {} is not on loopback; load only what you may: if {host} is yours to load, \
                 list it as target.allow = [\"{host}\"]",
                tick(url)
            ),
        );
        return None;
    }
    Some(TargetPlan::Url {
        url: parsed.to_string(),
        ca_file: ca_file(file, &parsed, folder, findings),
        token_env: file.token_env.as_deref().cloned(),
        allow: allowed.iter().map(Host::to_string).collect(),
    })
}

/// Where relative paths begin: at the scenario's `folder`, and what is set on the command line
/// where that was typed.
fn base<'a>(file: &Target, folder: &'a Path, text: &EditedText<'_>) -> &'a Path {
    match &file.ca_file {
        Some(typed) if text.is_set(&typed.span()) => Path::new(""),
        _ => folder,
    }
}

fn ca_file(file: &Target, url: &TargetUrl, folder: &Path, findings: &mut Findings) -> Option<String> {
    let typed = file.ca_file.as_ref()?;
    if !matches!(url, TargetUrl::Http(at) if at.tls) {
        findings.add(
            typed.span(),
            "target.ca_file says whom TLS trusts, and only an https:// url speaks it; remove it or change the url",
        );
    }
    if typed.is_empty() || typed.chars().any(char::is_control) {
        findings.add(typed.span(), format!("target.ca_file {} must be the path of a PEM file", tick(typed)));
    }
    Some(folder.join(typed.as_str()).to_string_lossy().into_owned())
}

fn allowed(typed: &[At<String>], findings: &mut Findings) -> Vec<Host> {
    if let Some(first_beyond) = typed.get(MAX_ALLOW) {
        findings.add(first_beyond.span(), format!("target.allow lists more than {MAX_ALLOW} hosts"));
    }
    typed
        .iter()
        .take(MAX_ALLOW)
        .filter_map(|t| findings.check(t.span(), format_args!("target.allow {}", tick(t)), Host::parse(t)))
        .collect()
}
