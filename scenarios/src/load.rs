//! From text to plan: read, override, read again, and say what is wrong in one go.

use crate::edited::EditedText;
use crate::error::ScenarioError;
use crate::file::read::{check_syntax, read};
use crate::findings::Findings;
use crate::lower::lower;
use crate::overrides::{Override, apply};
use crate::plan::Plan;
use crate::source::Source;

/// The plan that `source` means once `overrides` are applied in order.
///
/// # Errors
/// When the text is not TOML, an override cannot be applied, or the scenario contradicts itself or
/// a limit; the error tells of up to [`MAX_PROBLEMS`](crate::error::MAX_PROBLEMS) mistakes.
pub fn load(source: &Source, overrides: &[Override]) -> Result<Plan, ScenarioError> {
    let mut text = EditedText::new(&source.name, &source.text);
    apply_to_toml(&mut text, source, overrides)?;
    let mut findings = Findings::default();
    let plan = read(text.as_str(), &mut findings)
        .and_then(|scenario| lower(&scenario, source.folder(), &text, &mut findings));
    match plan {
        Some(plan) if findings.is_empty() => Ok(plan),
        _ => Err(text.error(findings)),
    }
}

/// A text that is not TOML cannot be edited; its own mistakes are told first.
fn apply_to_toml(
    text: &mut EditedText<'_>,
    source: &Source,
    overrides: &[Override],
) -> Result<(), ScenarioError> {
    if overrides.is_empty() {
        return Ok(());
    }
    let mut findings = Findings::default();
    if check_syntax(text.as_str(), &mut findings).is_none() {
        return Err(text.error(findings));
    }
    apply(text, &source.name, overrides)
}
