//! `tests/valid` and `tests/invalid`: what is accepted and what it means; what is refused and what
//! the person is told.
#![expect(clippy::unwrap_used, reason = "a folder of the repository that cannot be read fails the test")]

use std::fs;
use std::path::Path;

use squall_scenarios::explain::explain;
use squall_scenarios::load::load;
use squall_scenarios::plan::FaultPlan;
use squall_scenarios::schema::json_schema;
use squall_scenarios::source::Source;

/// The scenarios of a folder beside this file, in order of their names. Tests run in their crate's
/// folder, so the files that the scenarios name are found.
fn folder(name: &str) -> Vec<Source> {
    let dir = Path::new("tests").join(name);
    let mut sources: Vec<Source> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|x| x == "toml"))
        .map(|p| Source { name: p.to_str().unwrap().to_owned(), text: fs::read_to_string(&p).unwrap() })
        .collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}

/// The name of the file without its folder.
fn base(source: &Source) -> &str {
    Path::new(&source.name).file_name().unwrap().to_str().unwrap()
}

#[test]
fn every_valid_file_means_what_its_snapshot_says() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    for source in folder("valid") {
        let plan = load(&source, &[]).unwrap_or_else(|e| panic!("{e}"));
        insta::assert_snapshot!(format!("valid-{}", base(&source)), explain(&plan));
        let value: serde_json::Value = toml::from_str(&source.text).unwrap();
        assert!(validator.is_valid(&value), "{}", source.name);
    }
}

#[test]
fn every_invalid_file_is_refused_with_its_place_and_the_way_out() {
    let sources = folder("invalid");
    assert!(sources.len() >= 30);
    let mut told = String::new();
    for source in &sources {
        let error = match load(source, &[]) {
            Ok(_) => panic!("{} is accepted", source.name),
            Err(e) => e,
        };
        let text = error.to_string();
        assert!(text.contains(&format!("{}:", source.name)), "no place: {text}");
        told.push_str(&format!("failed to {}\n\n", text.replace("tests/invalid/", "")));
    }
    insta::assert_snapshot!("invalid", told);
}

#[test]
fn each_invalid_file_holds_one_mistake_unless_it_says_so() {
    for source in folder("invalid") {
        let problems = load(&source, &[]).unwrap_err().problems().len();
        assert_eq!(problems > 1, base(&source).starts_with("several"), "{}: {problems}", source.name);
    }
}

#[test]
fn a_monkey_breaks_the_same_things_at_the_same_times_under_the_same_seed_and_not_too_many() {
    let faults = |seed: u64, at_most: u32| {
        drawn(
            seed,
            &format!(
                r#"
[[fault]]
name = "errors"
for = "5s"
point = "api"
kind = "error"
[[fault]]
name = "crash"
for = "3s"
process = "target"
kind = "kill"
[monkey]
faults = ["errors", "crash"]
every = "8s"
at_most = {at_most}
"#
            ),
        )
    };
    let once = faults(7, 1);
    assert_eq!(once, faults(7, 1));
    assert_ne!(once, faults(8, 1));
    assert!((4..=16).contains(&once.len()), "{once:?}");
    assert!(once.iter().all(|f| f.start_s >= 10.0 && f.end_s <= 110.0), "{once:?}");
    assert!(once.windows(2).all(|w| w[0].end_s <= w[1].start_s), "one at a time");
    assert!(once.iter().any(|f| f.fault.name.starts_with("errors (")), "{once:?}");
    assert!(once.iter().any(|f| f.fault.name.starts_with("crash (")), "{once:?}");
    let together = faults(7, 2);
    assert!(together.windows(2).any(|w| w[0].end_s > w[1].start_s), "two at a time");
}

/// What a monkey makes of `faults` under a seed, in 100 s of load behind a warm-up of 10 s.
fn drawn(seed: u64, more: &str) -> Vec<FaultPlan> {
    let text = format!(
        r#"
name = "monkey"
seed = {seed}
{more}
[[phase]]
name = "warm-up"
duration = "10s"
warmup = true
rate = "1k/s"
[[phase]]
name = "hold"
duration = "100s"
rate = "1k/s"
[[request]]
name = "balance"
method = "GET"
path = "/v1/accounts/${{account}}/balance"
"#
    );
    load(&Source { name: "monkey.toml".to_owned(), text }, &[])
        .unwrap_or_else(|e| panic!("seed {seed}: {e}"))
        .faults
}

/// How many of `faults` act when the one at `nth` begins, itself included.
fn at_once(faults: &[FaultPlan], nth: usize) -> usize {
    let at_s = faults[nth].start_s;
    faults.iter().filter(|f| f.start_s <= at_s && at_s < f.end_s).count()
}

#[test]
fn whatever_a_monkey_draws_its_faults_do_not_undo_each_other_or_those_of_the_file() {
    let more = r#"
gates = ["recover{fault:all stand still}<10s"]
group = [{ name = "pair", members = ["container:one", "container:two"] }]
monkey = { faults = ["all stand still", "one stands still", "two is slowed"], every = "6s", at_most = 3 }
fault = [
    { name = "all stand still", for = "5s", group = "pair", kind = "pause" },
    { name = "one stands still", for = "5s", container = "one", kind = "pause" },
    { name = "two is slowed", for = "5s", container = "two", kind = "cpu_limit", cores = 0.5 },
    { name = "two stands still", at = "40s", for = "30s", container = "two", kind = "pause" },
]
"#;
    let mut together = 0;
    for seed in 0..200 {
        let faults = drawn(seed, more);
        let is_of = |f: &FaultPlan, name: &str| f.fault.name.starts_with(name);
        let meets = |f: &FaultPlan| f.start_s < 70.0 && f.end_s > 40.0;
        let beside = faults.iter().filter(|f| meets(f) && !is_of(f, "two stands"));
        assert!(beside.clone().all(|f| is_of(f, "one stands")), "seed {seed}: {faults:?}");
        together += (0..faults.len()).filter(|nth| at_once(&faults, *nth) > 1).count();
    }
    assert!(together > 200, "those that go together still come together: {together}");
}

#[test]
fn whatever_a_monkey_draws_the_experiment_allows() {
    let more = r#"
experiment = { blast_radius = "50%", steady_state = ["rate(failed)<1%"], window = "10s" }
monkey = { faults = ["some", "few"], every = "4s", at_most = 8 }
fault = [
    { name = "some", for = "5s", point = "api", kind = "error", fraction = 0.3 },
    { name = "few", for = "5s", point = "store", kind = "error", fraction = 0.2 },
    { name = "planned", at = "60s", for = "5s", point = "api", kind = "hang", fraction = 0.3 },
]
"#;
    let mut together = 0;
    for seed in 0..200 {
        let faults = drawn(seed, more);
        assert!(faults.iter().all(|f| f.start_s >= 20.0), "seed {seed}: a steady state comes first");
        together += (0..faults.len()).filter(|nth| at_once(&faults, *nth) > 1).count();
    }
    assert!(together > 200, "those that go together still come together: {together}");
}

#[test]
fn what_a_monkey_may_never_do_is_told_under_every_seed() {
    for seed in 0..20 {
        let text = format!(
            r#"
name = "monkey"
seed = {seed}
experiment = {{ blast_radius = "50%", within = ["api"] }}
monkey = {{ faults = ["most", "elsewhere"], every = "90s" }}
fault = [
    {{ name = "most", for = "5s", point = "api", kind = "error", fraction = 0.6 }},
    {{ name = "elsewhere", for = "5s", point = "store", kind = "error", fraction = 0.1 }},
]
[[phase]]
name = "hold"
duration = "100s"
rate = "1k/s"
[[request]]
name = "balance"
method = "GET"
path = "/v1/accounts/${{account}}/balance"
"#
        );
        let told = load(&Source { name: "monkey.toml".to_owned(), text }, &[]).unwrap_err().to_string();
        let times = |what: &str| told.matches(what).count();
        assert_eq!((times("blast_radius allows"), times("within allows")), (1, 1), "seed {seed}: {told}");
    }
}
