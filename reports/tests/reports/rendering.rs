//! What people and CI systems are shown.

use std::path::Path;

use crate::common::{CALM, End, Script, quickstart, quickstart_second, stepped, stepped_second};
use squall_record::fault::Effect;
use squall_reports::charts::{Dress, charts};
use squall_reports::html::render_html;
use squall_reports::junit::render_junit;
use squall_reports::markdown::{MAX_BYTES, render_markdown};
use squall_reports::text::WIDTH;
use squall_reports::{Report, build, render_text, write_all};

fn report(script: &Script) -> Report {
    let dir = tempfile::tempdir().unwrap();
    build(&script.write(dir.path())).unwrap()
}

fn with_faults() -> Report {
    report(&Script::new(quickstart(), quickstart_second))
}

fn with_steps() -> Report {
    report(&Script::new(stepped(), stepped_second))
}

fn interrupted() -> Report {
    let mut script = Script::new(quickstart(), quickstart_second);
    script.end = End::Interrupted(28);
    report(&script)
}

#[test]
fn the_terminal_summary() {
    insta::assert_snapshot!("text_faults", render_text(&with_faults(), false));
    insta::assert_snapshot!("text_steps", render_text(&with_steps(), false));
    insta::assert_snapshot!("text_interrupted", render_text(&interrupted(), false));
}

#[test]
fn the_step_summary() {
    insta::assert_snapshot!("markdown_faults", render_markdown(&with_faults()));
    insta::assert_snapshot!("markdown_steps", render_markdown(&with_steps()));
}

#[test]
fn the_test_results() {
    insta::assert_snapshot!("junit_faults", render_junit(&with_faults()).unwrap());
    insta::assert_snapshot!("junit_interrupted", render_junit(&interrupted()).unwrap());
}

#[test]
fn the_terminal_summary_fits_eighty_columns_and_colours_change_nothing_else() {
    for r in [with_faults(), with_steps(), interrupted(), hostile()] {
        let plain = render_text(&r, false);
        for line in plain.lines() {
            assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
        }
        let coloured = render_text(&r, true);
        assert!(coloured.contains("\x1b[1;"));
        let mut stripped = coloured;
        for code in ["\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m", "\x1b[0m"] {
            stripped = stripped.replace(code, "");
        }
        assert_eq!(stripped, plain);
    }
}

const EVIL: &str = "<script>alert(1)</script>|`x`\"'&]]>\x1b[31m";

/// A run in which every name comes from somebody who means ill.
fn hostile() -> Report {
    let mut plan = quickstart();
    plan.name = EVIL.into();
    plan.summary = EVIL.into();
    for (i, p) in plan.phases.iter_mut().enumerate() {
        p.name = format!("{EVIL}{i}");
    }
    for (i, r) in plan.requests.iter_mut().enumerate() {
        r.name = format!("{EVIL}{i}");
        r.path = EVIL.into();
    }
    plan.faults = vec![crate::common::fault(EVIL, Effect::Hang, 25.0, 32.0)];
    for s in &mut plan.slos {
        s.name = EVIL.into();
        s.request = s.request.as_ref().map(|_| format!("{EVIL}0"));
    }
    for g in &mut plan.gates {
        g.expression = EVIL.into();
        g.bound = 0.0;
    }
    report(&Script::new(plan, quickstart_second))
}

#[test]
fn hostile_names_stay_text_in_every_format() {
    let r = hostile();
    let html = render_html(&r).unwrap();
    assert!(!html.contains("<script"), "markup in the page");
    assert!(html.contains("&lt;script&gt;alert(1)"));
    assert!(!html.contains('\x1b'));
    let md = render_markdown(&r);
    assert!(!md.contains("<script") && !md.contains('\x1b'));
    let junit = render_junit(&r).unwrap();
    assert!(!junit.contains("<script") && !junit.contains('\x1b'));
    assert!(junit.contains("&lt;script&gt;"));
    let text = render_text(&r, false);
    assert!(!text.contains('\x1b'));
    for chart in charts(&r) {
        let svg = chart.svg(Dress::Standalone).unwrap();
        assert!(!svg.contains("<script"), "markup in {}", chart.slug);
    }
}

#[test]
fn a_report_of_very_many_very_long_names_still_fits_a_step_summary() {
    let mut plan = quickstart();
    let gate = plan.gates[0].clone();
    plan.gates = (0..3_000)
        .map(|i| {
            let mut g = gate.clone();
            g.expression = format!("{i}{}", "<".repeat(1_000));
            g.bound = 0.0;
            g
        })
        .collect();
    let md = render_markdown(&report(&Script::new(plan, |_| CALM)));
    assert!(md.len() <= MAX_BYTES, "{} bytes", md.len());
}

#[test]
fn the_page_asks_nothing_of_any_network() {
    for r in [with_faults(), with_steps()] {
        let html = render_html(&r).unwrap();
        for needle in ["http://", "https://", "src=", "@import", "url("] {
            let uses: Vec<&str> = html
                .match_indices(needle)
                .map(|(at, _)| &html[at..(at + 40).min(html.len())])
                .filter(|found| !found.starts_with("http://www.w3.org/2000/svg"))
                .collect();
            assert!(uses.is_empty(), "{needle}: {uses:?}");
        }
        assert!(html.contains("default-src 'none'"));
    }
}

#[test]
fn the_page_tells_in_order_and_has_the_data_behind_every_chart() {
    let html = render_html(&with_faults()).unwrap();
    let order = [
        "verdict",
        "gates",
        "run",
        "slos",
        "throughput",
        "latency",
        "heatmap",
        "spectrum",
        "failures",
        "faults",
    ];
    let at: Vec<usize> =
        order.iter().map(|id| html.find(&format!("<section id=\"{id}\"")).unwrap()).collect();
    assert!(at.is_sorted(), "{at:?}");
    assert_eq!(
        html.matches("<figure class=\"chart\">").count(),
        html.matches("<summary>Data</summary>").count()
    );
    let stepped = render_html(&with_steps()).unwrap();
    assert!(stepped.contains("<section id=\"load\"") && stepped.contains("<section id=\"capacity\""));
    assert!(stepped.contains("Nothing failed"));
    for id in ["throughput-title", "latency-desc"] {
        assert_eq!(html.matches(&format!("id=\"{id}\"")).count(), 1);
    }
}

#[test]
fn charts_state_their_units_n_faults_and_warm_up() {
    let r = with_faults();
    for chart in charts(&r) {
        let svg = chart.svg(Dress::Standalone).unwrap();
        assert!(svg.contains("<title ") && svg.contains("<desc "), "{}", chart.slug);
        assert!(!chart.table.rows.is_empty(), "{} has no data", chart.slug);
        let width = chart.table.headers.len();
        assert!(chart.table.rows.iter().all(|row| row.len() == width), "{}", chart.slug);
        if chart.slug != "spectrum" {
            for word in ["warm-up", "slow-store", "failing-store", "(s)"] {
                assert!(svg.contains(word), "{} does not say {word}", chart.slug);
            }
        }
    }
    let latency = charts(&r).into_iter().find(|c| c.slug == "latency").unwrap();
    let svg = latency.svg(Dress::Inline).unwrap();
    for word in ["n = ", "SLO 20.0 ms", "log scale", "stroke-dasharray", "10 ms"] {
        assert!(svg.contains(word), "{word}");
    }
}

#[test]
fn writing_replaces_what_was_there_and_leaves_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_all(&with_steps(), dir.path()).unwrap();
    assert!(first.iter().any(|p| p.ends_with("charts/scalability.svg")));
    let second = write_all(&with_faults(), dir.path()).unwrap();
    assert!(!dir.path().join("charts/scalability.svg").exists());
    assert_eq!(second[0], dir.path().join("report.html"));
    for path in &second {
        assert!(std::fs::metadata(path).unwrap().len() > 0, "{}", path.display());
    }
    let left: Vec<_> = walk(dir.path()).into_iter().filter(|p| !second.contains(p)).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(walk(&path)) } else { all.push(path) }
    }
    all
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("not there");
    let err = write_all(&with_steps(), &missing).unwrap_err().to_string();
    assert!(err.contains("report.html"), "{err}");
}
