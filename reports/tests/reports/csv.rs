//! The CSV of a run says what its summary says.

use std::collections::BTreeMap;

use squall_record::folder::RunFolder;
use squall_reports::csv::{Lines, write_csv};
use squall_reports::summary::Load;
use squall_reports::{Report, build};
use squall_scenarios::plan::Plan;

use crate::common::{Script, quickstart, quickstart_second};

/// The lines of the CSV by column name, as another program reads them.
fn lines(run: &RunFolder, lines: Lines) -> Vec<BTreeMap<String, String>> {
    let mut bytes = Vec::new();
    write_csv(run, lines, &mut bytes).unwrap();
    let mut reader = ::csv::Reader::from_reader(&bytes[..]);
    reader.deserialize().map(Result::unwrap).collect()
}

fn run(plan: Plan) -> (tempfile::TempDir, RunFolder, Report) {
    let dir = tempfile::tempdir().unwrap();
    let run = Script::new(plan, quickstart_second).write(dir.path());
    let report = build(&run).unwrap();
    (dir, run, report)
}

fn sum<'a>(lines: impl IntoIterator<Item = &'a BTreeMap<String, String>>, column: &str) -> u64 {
    lines.into_iter().map(|l| l[column].parse::<u64>().unwrap()).sum()
}

/// Every count of a summary with the column that it is the sum of.
fn counts(l: &Load) -> Vec<(&str, u64)> {
    let mut all = vec![
        ("planned", l.planned),
        ("sent", l.sent),
        ("completed", l.completed),
        ("ok", l.ok),
        ("declined", l.declined),
        ("shed", l.shed),
        ("failed", l.failed),
        ("dropped", l.dropped),
        ("late", l.late),
    ];
    all.extend(l.failures.iter().map(|(kind, n)| (kind.as_str(), *n)));
    all
}

#[test]
fn lines_of_measured_phases_add_up_to_the_summary() {
    let (_dir, run, report) = run(quickstart());
    let all = lines(&run, Lines::Requests);
    let measured: Vec<_> = all.iter().filter(|l| l["warmup"] == "false").cloned().collect();
    assert!(measured.len() < all.len(), "no warm-up: {} lines", all.len());
    for (column, total) in counts(&report.summary.load) {
        assert_eq!(sum(&measured, column), total, "{column}");
    }
    for r in &report.summary.requests {
        let own: Vec<_> = measured.iter().filter(|l| l["request"] == r.name).cloned().collect();
        assert_eq!(sum(&own, "planned"), r.load.planned, "{}", r.name);
    }
}

#[test]
fn seconds_add_up_to_all_phases_warm_up_included() {
    let (_dir, run, report) = run(quickstart());
    let all = lines(&run, Lines::Seconds);
    let seconds: Vec<u32> = all.iter().map(|l| l["second"].parse().unwrap()).collect();
    assert!(seconds.windows(2).all(|w| w[0] < w[1]), "one line a second: {seconds:?}");
    for column in ["planned", "sent", "completed", "ok", "failed", "dropped"] {
        let phases: u64 = report
            .summary
            .phases
            .iter()
            .map(|p| counts(&p.load).into_iter().find(|(c, _)| *c == column).unwrap().1)
            .sum();
        assert_eq!(sum(&all, column), phases, "{column}");
    }
    let greatest = all.iter().filter_map(|l| l["response_max_ms"].parse::<f64>().ok()).fold(0.0, f64::max);
    assert!(greatest >= report.summary.latency_ms.response.max.unwrap());
}

#[test]
fn names_from_outside_stay_in_their_field_and_are_no_formulas() {
    let mut plan = quickstart();
    plan.phases[1].name = "=HYPERLINK(\"http://x\",\"climb\")\r\nnext".into();
    let (_dir, run, _) = run(plan);
    let all = lines(&run, Lines::Seconds);
    let names: Vec<&str> = all.iter().map(|l| l["phase"].as_str()).collect();
    assert!(names.contains(&"'=HYPERLINK(\"http://x\",\"climb\")\r\nnext"), "{names:?}");
    assert!(names.iter().all(|n| !n.starts_with('=')), "{names:?}");
}

#[test]
fn the_columns_are_what_the_documentation_lists() {
    let (_dir, run, _) = run(quickstart());
    let mut text = Vec::new();
    write_csv(&run, Lines::Seconds, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let head: Vec<&str> = text.lines().take(7).collect();
    assert!(text.ends_with("\r\n"));
    insta::assert_snapshot!("csv_seconds", [head[0], head[6]].join("\n"));
    let documented = include_str!("../../../docs/outputs.md");
    for lines in [Lines::Seconds, Lines::Requests] {
        let mut text = Vec::new();
        write_csv(&run, lines, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for column in text.lines().next().unwrap().split(',') {
            assert!(documented.contains(&format!("`{column}`")), "{column} is not in docs/outputs.md");
        }
    }
}
