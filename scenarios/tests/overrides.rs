//! `--set` through to the plan, and what is told when it is wrong.

use squall_scenarios::library::find;
use squall_scenarios::load::load;
use squall_scenarios::overrides::Override;
use squall_scenarios::plan::{Metric, Pick, Plan, TargetPlan};
use squall_scenarios::source::Source;

fn with(name: &str, assignments: &[&str]) -> Result<Plan, String> {
    let overrides: Vec<Override> = assignments.iter().map(|a| a.parse().expect("an assignment")).collect();
    load(&find(name).expect("a shipped name").source(), &overrides).map_err(|e| e.to_string())
}

#[test]
fn an_override_reaches_the_plan() {
    let plan = with(
        "quickstart",
        &[
            "seed=7",
            "load.connections=8",
            "phase.hold.rate=5k/s",
            "phase.\"store slow\".duration=1s",
            "gates=[\"p(99)<1us\"]",
            "fault.0.delay=40ms",
            "request.balance.weight=0",
            "data.pick=uniform",
            "summary=changed",
        ],
    )
    .unwrap();
    assert_eq!((plan.gates.len(), plan.requests[1].weight, plan.data.pick), (1, 0.0, Pick::Uniform));
    assert_eq!(plan.duration_s(), 50.0);
    let plan = with(
        "steady-10k",
        &[
            "seed=7",
            "load.connections=8",
            "phase.steady.rate=5k/s",
            "gates.1=\"p(99)<1us\"",
            "summary=changed",
        ],
    )
    .unwrap();
    assert_eq!((plan.seed, plan.load.connections, plan.summary.as_str()), (7, 8, "changed"));
    assert_eq!(plan.phases[1].curve.ends_rps(), (5000.0, 5000.0));
    assert_eq!(plan.gates.len(), 3);
    assert!(matches!(plan.gates[1].metric, Metric::Percentile { .. }));
    assert_eq!(plan.gates[1].bound, 0.001);
}

#[test]
fn a_target_url_replaces_the_reference_service() {
    let plan = with("steady-10k", &["target.url=http://127.0.0.1:9999"]).unwrap();
    assert!(matches!(plan.target, TargetPlan::Url { url, .. } if url == "http://127.0.0.1:9999"));
    let told = with("steady-10k", &["target.url=http://10.1.2.3"]).unwrap_err();
    assert!(told.contains("target.allow") && told.ends_with("(--set target.url=http://10.1.2.3)"), "{told}");
    let allow = "target.allow=[\"10.1.2.3\"]";
    assert!(with("steady-10k", &["target.url=http://10.1.2.3", allow]).is_ok());
}

#[test]
fn a_url_scenario_can_be_run_on_the_reference_service() {
    let text = include_str!("valid/url-beyond-loopback.toml");
    let source = Source { name: "url.toml".to_owned(), text: text.to_owned() };
    let plan = load(&source, &[Override::new("target.system", "reference")]).unwrap();
    assert!(matches!(plan.target, TargetPlan::Reference(_)));
}

#[test]
fn any_scenario_without_faults_runs_on_a_stack() {
    let compose = "target.system=compose";
    let plan = with("steady-10k", &[compose]).unwrap();
    assert_eq!(plan.target.service().map(|s| s.accounts), Some(10_000));
    assert!(matches!(plan.target, TargetPlan::Compose { file: None, .. }));
    let plan = with("steady-10k", &[compose, "target.compose_file=mine.yml"]).unwrap();
    assert!(matches!(plan.target, TargetPlan::Compose { file: Some(file), .. } if file == "mine.yml"));
    let told = with("quickstart", &[compose]).unwrap_err();
    assert!(told.contains("fault `slow store`"), "{told}");
}

#[test]
fn what_is_told_points_at_the_override_or_at_the_file() {
    let mut told = Vec::new();
    for assignments in [
        &["load.connections=0"][..],
        &["load.conections=8"],
        &["laod.connections=8"],
        &["phase.hodl.rate=1k/s"],
        &["phase.hold.rate=5000"],
        &["gates.9=p(99)<1s"],
        &["seed=-1"],
        &["load=1"],
        &["phase.hold.warmup=maybe"],
        &["load.connections=many"],
        &["load.max_rate=5k/s"],
        &["name=a\nb"],
    ] {
        told.push(format!("{assignments:?}\nfailed to {}", with("quickstart", assignments).unwrap_err()));
    }
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn there_is_a_limit_to_overrides() {
    let many = vec!["seed=1"; squall_scenarios::overrides::MAX_OVERRIDES + 1];
    assert!(with("soak", &many).unwrap_err().contains("more than 64 overrides"));
}

#[test]
fn a_broken_file_is_told_before_its_overrides() {
    let source = Source { name: "a.toml".to_owned(), text: "name = \n".to_owned() };
    let told = load(&source, &[Override::new("nothing.here", "1")]).unwrap_err().to_string();
    assert!(told.contains("broken TOML") && told.contains("(a.toml:1:"), "{told}");
}
