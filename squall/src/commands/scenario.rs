//! What can be done with a scenario without sending anything.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use squall_reports::exit;
use squall_scenarios::load::load;
use squall_scenarios::overrides::Override;
use squall_scenarios::plan::Plan;
use squall_scenarios::plan::TargetPlan;
use squall_scenarios::source::resolve;
use squall_scenarios::{explain as explanation, library};

use super::Stop;
use crate::cli::ScenarioArgs;
use crate::run::proxies;
use crate::stdout::{print, remark};
use crate::text::grouped;

/// The plan that the arguments ask for.
///
/// # Errors
/// When the scenario is not found or not valid.
pub fn plan(args: &ScenarioArgs) -> Result<Plan, Stop> {
    let mut overrides = args.set.clone();
    if let Some(seed) = args.seed {
        overrides.push(Override::new("seed", seed.to_string()));
    }
    if let Some(url) = &args.target {
        overrides.push(Override::new("target.url", format!("{url:?}")));
    }
    let plan = load(&resolve(&args.scenario)?, &overrides)?;
    proxies::check(&plan).map_err(Stop::asked)?;
    Ok(plan)
}

/// `squall check`.
///
/// # Errors
/// When the scenario is not valid.
pub fn check(args: &ScenarioArgs) -> Result<u8, Stop> {
    let plan = plan(args)?;
    print(&format!("✔ {} is valid: {}\n", plan.name, in_short(&plan)))?;
    for (phase, trace) in plan.phases.iter().filter_map(|p| Some((p, p.trace.as_ref()?))) {
        if phase.estimated_arrivals() < 1.0 {
            remark(&format!(
                "note: hardly anything of {} falls into phase `{}`, which begins with its first stamp: is that one \
                 wild, or the speed too low?",
                trace.file, phase.name
            ));
        }
    }
    if plan.gates.is_empty() && plan.experiment.as_ref().is_none_or(|e| e.steady_state.is_empty()) {
        remark(&format!(
            "note: without gates a run of {} passes whatever happens; add e.g. gates = [\"p(99)<50ms\"]",
            plan.name
        ));
    }
    Ok(exit::PASSED)
}

/// How much there is of everything that sends.
fn in_short(plan: &Plan) -> String {
    let several = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    let mut parts = vec![format!("{:.0} s", plan.duration_s())];
    if plan.has_load() {
        parts.push(several(plan.phases.len(), "phase"));
        let about = if plan.has_trace() { "about " } else { "" };
        parts.push(format!("{about}{} arrivals expected", grouped(plan.estimated_arrivals().round() as u64)));
        parts.push(format!("peak {}/s", grouped(plan.estimated_peak_rps().round() as u64)));
    }
    if !plan.journeys.is_empty() {
        let users: u32 = plan.journeys.iter().map(|j| j.users).sum();
        parts.push(format!(
            "{} of {}",
            several(plan.journeys.len(), "journey"),
            several(users as usize, "virtual user")
        ));
    }
    parts.join(", ")
}

/// `squall explain`.
///
/// # Errors
/// When the scenario is not valid.
pub fn explain(args: &ScenarioArgs) -> Result<u8, Stop> {
    print(&explanation::explain(&plan(args)?))?;
    Ok(exit::PASSED)
}

/// `squall init`.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn init(file: &Path) -> Result<u8, Stop> {
    let mut f = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .with_context(|| match file.exists() {
            true => format!("write {}; an existing file is never written over", file.display()),
            false => format!("write {}", file.display()),
        })
        .map_err(Stop::asked)?;
    f.write_all(library::TEMPLATE.as_bytes())?;
    remark(&format!("wrote {0}; try: squall explain {0} && squall run {0}", file.display()));
    Ok(exit::PASSED)
}

/// `squall list`.
///
/// # Errors
/// When standard output cannot be written.
pub fn list() -> Result<u8, Stop> {
    let mut text = "Scenarios (squall run NAME)\n".to_owned();
    for shipped in library::SHIPPED {
        let plan = load(&shipped.source(), &[])?;
        text += &format!("  {:<22} {}\n", shipped.name, plan.summary);
    }
    text += "\nExperiments (squall run NAME): a load, and something that goes wrong in its middle\n";
    for shipped in library::EXPERIMENTS {
        let plan = load(&shipped.source(), &[])?;
        let on = if matches!(plan.target, TargetPlan::Compose { .. }) { "  [stack]" } else { "" };
        text += &format!("  {:<24} {}{on}\n", shipped.name, plan.summary);
    }
    text += "\nFaults ([[fault]] in a scenario)\n";
    text += &super::faults::table();
    print(&text)?;
    Ok(exit::PASSED)
}
