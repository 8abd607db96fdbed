//! What is shipped: every file loads, is explained, and is what the committed JSON Schema allows.

use squall_scenarios::explain::explain;
use squall_scenarios::library::{EXPERIMENTS, SHIPPED, Shipped, TEMPLATE};
use squall_scenarios::load::load;
use squall_scenarios::overrides::Override;
use squall_scenarios::plan::{Plan, TargetPlan};
use squall_scenarios::schema::json_schema;

const SCHEMA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/scenario.schema.json");

/// Everything shipped, the template included.
fn all() -> Vec<Shipped> {
    let mut all = SHIPPED.to_vec();
    all.push(Shipped { name: "template", text: TEMPLATE, set: &[] });
    all
}

fn plan(s: &Shipped) -> Plan {
    load(&s.source(), &[]).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_shipped_scenario_loads_and_is_named_like_its_file() {
    for s in SHIPPED {
        let plan = plan(s);
        assert_eq!(plan.name, s.name);
        assert!(!plan.summary.is_empty() && !plan.gates.is_empty(), "{}", s.name);
        assert!(s.text.lines().nth(2).is_some_and(|l| l.starts_with("# ")), "{}: says what it shows", s.name);
    }
    plan(&all()[SHIPPED.len()]);
}

#[test]
fn every_shipped_experiment_has_a_fault_a_steady_state_and_a_word_of_what_it_shows() {
    assert!(EXPERIMENTS.len() >= 20);
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../chaos/library")).unwrap();
    assert_eq!(folder.count(), EXPERIMENTS.len(), "every file is shipped");
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    for s in EXPERIMENTS {
        let plan = plan(s);
        assert_eq!(plan.name, s.name);
        assert!(!plan.summary.is_empty() && !plan.faults.is_empty(), "{}", s.name);
        assert!(plan.experiment.as_ref().is_some_and(|e| !e.steady_state.is_empty()), "{}", s.name);
        assert!(s.text.lines().nth(2).is_some_and(|l| l.starts_with("# ")), "{}: says what it shows", s.name);
        assert!(SHIPPED.iter().all(|other| other.name != s.name), "{}", s.name);
        let value: serde_json::Value = toml::from_str(&s.source().text).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{}", s.name);
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan, "{}", s.name);
    }
}

#[test]
fn every_shipped_scenario_is_explained() {
    for s in all() {
        // The three rates of a profile differ in figures only; one of them is shown.
        if s.set.is_empty() || s.name.ends_with("-50k") {
            insta::assert_snapshot!(format!("explain-{}", s.name), explain(&plan(&s)));
        }
    }
}

#[test]
fn every_profile_peaks_at_the_rate_in_its_name() {
    let mut profiles = 0;
    for (suffix, peak_rps, workers) in [("-10k", 10_000.0, 1), ("-50k", 50_000.0, 1), ("-100k", 100_000.0, 2)]
    {
        for s in SHIPPED.iter().filter(|s| s.name.ends_with(suffix)) {
            let plan = plan(s);
            // A sum's peak lies between the turning points of its terms.
            assert!((plan.peak_rps() / peak_rps - 1.0).abs() < 1e-3, "{}: {}", s.name, plan.peak_rps());
            assert_eq!(plan.load.workers, workers, "{}", s.name);
            profiles += 1;
        }
    }
    assert_eq!(profiles, 7 * 3);
}

#[test]
fn every_shipped_scenario_survives_the_manifest() {
    for s in all() {
        let plan = plan(&s);
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan, "{}", s.name);
    }
}

#[test]
fn every_shipped_scenario_can_be_pointed_at_a_url_unless_it_breaks_the_service() {
    let url = Override::new("target.url", "http://127.0.0.1:9");
    for s in SHIPPED {
        match load(&s.source(), std::slice::from_ref(&url)) {
            Ok(plan) => assert!(matches!(plan.target, TargetPlan::Url { .. }), "{}", s.name),
            Err(e) => {
                let told = e.to_string();
                let of_the_service =
                    ["a point is inside the reference service", "of the reference service only"];
                assert!(of_the_service.iter().any(|t| told.contains(t)), "{told}");
            }
        }
    }
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    let generated = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(SCHEMA_FILE, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(SCHEMA_FILE).unwrap_or_default();
    assert!(
        committed == generated,
        "schema/scenario.schema.json is out of date: UPDATE_SCHEMA=1 cargo test -p squall-scenarios"
    );
}

#[test]
fn every_shipped_scenario_is_valid_by_the_schema_and_a_misspelt_one_is_not() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    for s in all() {
        let value: serde_json::Value = toml::from_str(&s.source().text).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{}", s.name);
        for (from, to) in [("rate = \"", "rat = \""), ("k/s\"", "k\""), ("method = ", "methode = ")] {
            let text = s.source().text;
            if !text.contains(from) {
                // Journeys alone have no rate.
                continue;
            }
            let broken: serde_json::Value = toml::from_str(&text.replace(from, to)).unwrap();
            assert!(!validator.is_valid(&broken), "{}: {from} as {to}", s.name);
        }
    }
}
