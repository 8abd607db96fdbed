//! Recorded traffic, from the file to the report.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod support;

use std::fs;

use support::{
    assert_complete, reference_scenario, scenario_file, squall_runs, stderr, stdout, summary, told,
};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/examples/replay.toml");
const EXAMPLE_LOG: &str = include_str!("../scenarios/examples/access.log");

#[test]
fn the_example_is_replayed_and_every_line_of_its_log_is_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    // Two minutes in three seconds.
    let args =
        ["run", EXAMPLE, "--ui", "plain", "--set", "phase.0.trace.speed=40", "--set", "phase.0.duration=4s"];
    let out =
        squall_runs(&run, args.iter().copied().chain(["--out", run.to_str().unwrap()]).collect::<Vec<_>>());
    // Its 99th percentile is the machine's business; but a trace that ends before its phase ends no run.
    assert!(matches!(out.status.code(), Some(0 | 99)), "{}", told(&out));
    assert_complete(&run);

    let s = summary(&run);
    let totals = &s["phases"][0]["trace"]["totals"];
    let count = |key: &str| totals[key].as_u64().unwrap();
    let written = |what: &str| EXAMPLE_LOG.lines().filter(|l| l.contains(what)).count() as u64;
    assert_eq!(count("lines"), EXAMPLE_LOG.lines().count() as u64);
    assert_eq!((count("replayed"), count("unsafe_methods")), (written("\"GET "), written("\"POST ")));
    assert_eq!((count("no_path"), count("broken")), (written("\"-\" 408"), 0));
    assert_eq!(s["load"]["planned"].as_u64(), Some(count("replayed")));
    assert_eq!(s["phases"][0]["trace"]["end"]["end"], "exhausted");
    assert_eq!(s["load"]["failed"], 0, "{}", told(&out));

    let sentence = format!("{} of {} lines replayed", count("replayed"), count("lines"));
    assert!(stdout(&out).contains(&sentence), "{}", told(&out));
    assert!(stderr(&out).contains(&sentence), "while it ran: {}", told(&out));
    for file in ["report.md", "report.html"] {
        assert!(fs::read_to_string(run.join(file)).unwrap().contains(&sentence), "{file}");
    }
    let events = fs::read_to_string(run.join("events.jsonl")).unwrap();
    assert!(events.lines().any(|l| l.contains("\"event\":\"trace\"")), "{events}");
}

#[test]
fn a_trace_that_breaks_under_way_is_replayed_up_to_there_and_says_where() {
    const WHOLE: u64 = 1500;
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    // 500 a second; what breaks lies beyond what is looked at before a run.
    let mut lines: String = (0..WHOLE).map(|i| format!("{}.{:03}\n", 100 + i / 500, i % 500 * 2)).collect();
    lines.extend((0..50).map(|i| format!("no stamp {i}\n")));
    lines.push_str("200.000\n");
    fs::write(dir.path().join("trace.csv"), lines).unwrap();
    let trace =
        "duration = \"8s\"\ntrace = { file = \"trace.csv\", format = \"csv\", time = 1, max_broken = 10 }";
    let scenario = reference_scenario(500, 8).replace("duration = \"8s\"\nrate = \"500/s\"", trace);
    assert!(scenario.contains("trace.csv"), "{scenario}");
    let scenario = scenario_file(dir.path(), &scenario);
    let args = ["run", scenario.to_str().unwrap(), "--ui", "plain", "--out", run.to_str().unwrap()];
    let out = squall_runs(&run, args);

    assert_eq!(out.status.code(), Some(104), "{}", told(&out));
    let said = stderr(&out);
    // The eleventh broken line is one too many.
    for part in ["trace.csv` line 1511", "the first is line 1501", "raise trace.max_broken", "report.html"] {
        assert!(said.contains(part), "{part}: {}", told(&out));
    }
    assert_complete(&run);
    let s = summary(&run);
    let phase = s["phases"].as_array().unwrap().iter().find(|p| p["name"] == "hold").unwrap();
    assert_eq!(phase["trace"]["end"]["end"], "failed", "{phase}");
    assert_eq!(phase["trace"]["totals"]["replayed"].as_u64(), Some(WHOLE));
    // All that was read was sent, and nothing after it.
    assert_eq!(s["load"]["sent"].as_u64(), Some(WHOLE), "{}", s["load"]);
    assert_eq!(s["load"]["planned"].as_u64(), Some(WHOLE), "{}", s["load"]);
    assert!(fs::read_to_string(run.join("report.html")).unwrap().contains("line 1511"));
}
