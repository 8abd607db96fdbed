//! What is measured about faults, from folders written by the real writer.

use crate::common::{CALM, Script, Second, fault, quickstart, quickstart_second};
use serde_json::{Value, json};
use squall_record::fault::{Delay, Effect, FaultPoint, Place};
use squall_reports::html::render_html;
use squall_reports::journal::chaos_journal;
use squall_reports::markdown::render_markdown;
use squall_reports::summary::{FaultSummary, JudgedBy, Recovery, Summary};
use squall_reports::{Report, build, render_text};
use squall_scenarios::plan::{ExperimentPlan, Plan};

fn report(plan: Plan, second: fn(u32) -> Second) -> Report {
    let dir = tempfile::tempdir().unwrap();
    build(&Script::new(plan, second).write(dir.path())).unwrap()
}

/// [`quickstart`] with these failing stores instead of its faults.
fn with(faults: &[(&str, f64, f64)]) -> Plan {
    let mut plan = quickstart();
    let error = Effect::Error { status: 503 };
    plan.faults = faults.iter().map(|(name, start, end)| fault(name, error.clone(), *start, *end)).collect();
    plan
}

const BROKEN: Second = Second { failed_per_mille: 500, ..CALM };

/// The text report without its line breaks.
fn told(r: &Report) -> String {
    render_text(r, false).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn close(a: Option<f64>, b: f64) -> bool {
    a.is_some_and(|a| (a - b).abs() < 1e-6)
}

#[test]
fn every_figure_of_a_fault_is_the_one_that_was_written() {
    let s = report(quickstart(), quickstart_second).summary;
    let [slow, failing] = &s.faults[..] else { panic!("two faults, not {}", s.faults.len()) };
    // Armed 4 ms late. Bad from second 26 to the end; from 35 to 41.
    assert!(close(slow.injection_lag_s, 0.004) && close(failing.injection_lag_s, 0.004));
    assert!(close(slow.rto_s, 6.996) && close(failing.rto_s, 5.996), "{:?} {:?}", slow.rto_s, failing.rto_s);
    assert_eq!((slow.mitigate_s, failing.mitigate_s), (None, None));
    assert_eq!((slow.recovery, failing.recovery), (Some(Recovery::Recovered), Some(Recovery::Recovered)));
    assert!(slow.overlaps.is_empty());

    // Slow answers are answers; of the failing seconds' 2000 each, 480 of a thousand are lost.
    let (slow_dip, dip) = (slow.goodput_dip.unwrap(), failing.goodput_dip.unwrap());
    assert_eq!((slow_dip.lost, slow_dip.deepest_at_s), (0.0, None));
    assert_eq!((dip.seconds, dip.expected, dip.lost, dip.missing), (6, 12_000.0, 5_760.0, 5_760.0));
    assert!((dip.lost_share - 0.48).abs() < 1e-9 && dip.deepest_at_s == Some(35), "{dip:?}");

    // A twentieth was dropped, and nobody asked again.
    let a = failing.retry_amplification.unwrap();
    assert_eq!((a.baseline, a.during), (Some(1.0), Some(0.95)));

    // Only payments have a bound on their time, so only they suffer from slowness.
    let suffered = |f: &FaultSummary| -> Vec<Option<bool>> {
        f.blast_radius.as_ref().unwrap().requests.iter().map(|r| r.suffered).collect()
    };
    assert_eq!(suffered(slow), [Some(true), Some(false)]);
    assert_eq!(suffered(failing), [Some(true), Some(true)]);
    let radius = failing.blast_radius.as_ref().unwrap();
    assert!(close(radius.requests[1].during_bad, 0.48), "{radius:?}");
    assert_eq!(radius.beyond_hits, Some(0), "it hit 7000, and fewer went bad");

    let burned = &failing.budget_burned[0];
    assert_eq!((burned.slo.as_str(), burned.planned, burned.bad), ("available", 12_000, 5_760));
    assert!(close(burned.burned, 48.0) && close(burned.of_run, 5_760.0 / 1_010.0), "{burned:?}");
    // The next fault ends the watch of the first after three seconds.
    assert_eq!((slow.hysteresis, slow.metastable), (None, None));
    assert_eq!((failing.hysteresis, failing.metastable), (Some(1.0), Some(false)));
}

#[test]
fn a_service_that_stays_broken_is_metastable_and_every_report_says_so() {
    let r = report(with(&[("failing", 25.0, 32.0)]), |s| if s >= 26 { BROKEN } else { CALM });
    let f = &r.summary.faults[0];
    assert_eq!((f.recovery, f.metastable, f.hysteresis_s), (Some(Recovery::Never), Some(true), Some(28)));
    assert!(close(f.hysteresis, 0.5), "{f:?}");
    // 34 seconds, half of 2000 each.
    assert!((f.goodput_dip.unwrap().lost - 34_000.0).abs() < 1e-6);
    let beyond = f.blast_radius.as_ref().unwrap().beyond_hits;
    assert!(beyond.is_some_and(|n| n.abs_diff(27_000) < 20), "34 000 bad, 7000 hit: {beyond:?}");
    let html = squall_reports::html::render_html(&r).unwrap();
    let md = squall_reports::markdown::render_markdown(&r);
    for text in [render_text(&r, false), md, html] {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "never recovered within the 28 s that were watched after it ended",
            "metastable: still broken 28 s after the fault ended, at the same load",
            "METASTABLE",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn a_fault_until_the_end_of_the_run_leaves_nothing_to_see_of_recovery() {
    let r = report(with(&[("failing", 50.0, 60.0)]), |s| if s >= 50 { BROKEN } else { CALM });
    let f = &r.summary.faults[0];
    assert_eq!((f.recovery, f.watched_s, f.recover_s), (Some(Recovery::Unseen), Some(0.0), None));
    assert_eq!((f.metastable, f.hysteresis, f.rto_s, f.after.is_none()), (None, None, None, true));
    assert_eq!(f.goodput_dip.unwrap().seconds, 10);
    assert_eq!(f.retry_amplification.unwrap().after, None);
    assert!(told(&r).contains("recovery not seen: nothing was watched after it ended"), "{}", told(&r));
}

#[test]
fn a_fault_that_is_always_there_is_part_of_what_is_measured_and_gets_no_verdict() {
    let plan = with(&[("small store", 0.0, 60.0), ("failing", 20.0, 30.0)]);
    let r = report(plan, |s| if (20..30).contains(&s) { BROKEN } else { CALM });
    let [always, failing] = &r.summary.faults[..] else { panic!("two faults") };
    assert_eq!((always.throughout, always.recovery, always.watched_s), (true, None, None));
    assert!(always.blast_radius.is_none() && always.budget_burned.is_empty());
    assert_eq!((failing.throughout, failing.recovery), (false, Some(Recovery::Recovered)));
    assert!(failing.overlaps.is_empty(), "{:?}", failing.overlaps);
    assert!(told(&r).contains("THROUGHOUT: it was there from the first request to the last"), "{}", told(&r));
    // One that ends before the load does is one that a service can recover from.
    let r = report(with(&[("failing", 0.0, 30.0)]), |s| if s < 30 { BROKEN } else { CALM });
    assert_eq!(
        (r.summary.faults[0].throughout, r.summary.faults[0].recovery),
        (false, Some(Recovery::Recovered))
    );
}

#[test]
fn hits_are_taken_off_what_went_bad_only_where_they_are_requests() {
    let beyond = |effect: Effect, place: Place| {
        let mut plan = with(&[("f", 20.0, 30.0)]);
        (plan.faults[0].fault.effect, plan.faults[0].fault.place) = (effect, place);
        let r = report(plan, |s| if (20..30).contains(&s) { BROKEN } else { CALM });
        r.summary.faults[0].blast_radius.as_ref().unwrap().beyond_hits
    };
    let toxic = |name: &str| Effect::Toxic { toxic: json!({ "type": name }) };
    let store = || Place::Point(FaultPoint::Store);
    let front = || Place::Proxy("front".into());
    assert!(beyond(Effect::Error { status: 503 }, store()).is_some());
    assert!(beyond(toxic("http_abort"), front()).is_some());
    assert_eq!(beyond(toxic("refuse"), front()), None, "connections");
    let slow = Effect::Latency { delay: Delay::Fixed { ms: 5.0 } };
    assert_eq!(beyond(slow, Place::Point(FaultPoint::Commit)), None, "whole batches");
    assert_eq!(
        beyond(Effect::Memory { mib: 512, over_ms: 0 }, Place::Point(FaultPoint::Service)),
        None,
        "MiB"
    );
}

#[test]
fn faults_that_overlap_say_so_and_leave_the_state_afterwards_open() {
    let faults = with(&[("first", 20.0, 30.0), ("second", 25.0, 45.0)]);
    let r = report(faults, |s| if (20..45).contains(&s) { BROKEN } else { CALM });
    let [first, second] = &r.summary.faults[..] else { panic!("two faults") };
    assert_eq!((&first.overlaps, &second.overlaps), (&vec!["second".to_owned()], &vec!["first".to_owned()]));
    // The first is watched while the other one acts: 30 broken seconds prove nothing of it.
    assert_eq!((first.metastable, first.hysteresis), (None, None));
    assert!(first.baseline.is_some() && second.baseline.is_none());
    assert_eq!((second.goodput_dip, second.hysteresis), (None, None), "nothing to compare with");
    assert_eq!(second.recovery, Some(Recovery::Recovered));
    assert!(told(&r).contains("`second` acted at the same time"));
}

#[test]
fn a_fault_right_after_the_warm_up_has_no_baseline_and_still_burns_budget() {
    let r = report(with(&[("early", 5.0, 10.0)]), |s| if (5..10).contains(&s) { BROKEN } else { CALM });
    let f = &r.summary.faults[0];
    assert!(f.baseline.is_none() && f.goodput_dip.is_none() && f.hysteresis.is_none());
    let radius = f.blast_radius.as_ref().unwrap();
    assert_eq!((radius.requests[0].suffered, radius.beyond_hits), (None, None));
    assert!(radius.requests[0].during_bad.unwrap() > 0.4);
    assert!(f.budget_burned[0].burned.unwrap() > 40.0);
    assert_eq!(f.recovery, Some(Recovery::Recovered));
}

#[test]
fn without_slos_the_baseline_judges_and_no_budget_is_burned() {
    let mut plan = with(&[("failing", 25.0, 30.0)]);
    plan.slos.clear();
    let f = report(plan, |s| if (25..28).contains(&s) { BROKEN } else { CALM }).summary.faults.remove(0);
    assert_eq!((f.judged_by, f.budget_burned.len()), (JudgedBy::Baseline, 0));
    // Good from second 28 on takes three seconds, and the fault has only two left.
    assert_eq!((f.mitigate_s, f.recover_s), (None, Some(0.0)));
    assert!(close(f.rto_s, 2.996), "{:?}", f.rto_s);
}

#[test]
fn a_service_that_copes_is_mitigated_while_the_fault_still_acts() {
    let r = report(with(&[("failing", 25.0, 35.0)]), |s| if (25..28).contains(&s) { BROKEN } else { CALM });
    assert!(close(r.summary.faults[0].mitigate_s, 2.996));
    assert!(told(&r).contains("mitigated after 3.0 s while it still acted"));
}

#[test]
fn a_summary_from_before_these_figures_reads_as_one_without_them() {
    let s = report(quickstart(), quickstart_second).summary;
    let mut value = serde_json::to_value(&s).unwrap();
    for f in value["faults"].as_array_mut().unwrap() {
        let f = f.as_object_mut().unwrap();
        for key in [
            "injection_lag_s",
            "overlaps",
            "mitigate_s",
            "recovery",
            "watched_s",
            "rto_s",
            "blast_radius",
            "retry_amplification",
            "goodput_dip",
            "hysteresis",
            "hysteresis_s",
            "metastable",
            "budget_burned",
        ] {
            f.remove(key).unwrap();
        }
    }
    let old: Summary = serde_json::from_value(value).unwrap();
    assert_eq!((old.faults[0].recovery, old.faults[0].recover_s), (None, s.faults[0].recover_s));
    assert!(old.faults[0].budget_burned.is_empty());
}

#[test]
fn every_report_tells_what_the_control_lane_suffered_beside_the_others() {
    let mut plan = quickstart();
    let mut apart = plan.requests[0].clone();
    apart.name = "pay-control".into();
    apart.headers.push(("Squall-Lane".into(), "control".into()));
    plan.requests.push(apart);
    let r = report(plan, quickstart_second);
    // In this record whatever happens happens to all, but for what is cut off to whole requests.
    let seen = r.summary.faults[1].control.unwrap();
    let almost = |share: Option<f64>| share.is_some_and(|share| (share - 0.48).abs() < 0.005);
    assert!(almost(seen.during_bad) && almost(seen.others_bad), "{seen:?}");
    let clause = "bad: 47.81 % of requests, 47.83 % of the control lane";
    let plain = |text: String| text.replace('\u{a0}', " ");
    for text in [told(&r), render_markdown(&r), render_html(&r).unwrap()].map(plain) {
        assert!(text.contains(clause), "{text}");
    }
    let without = report(quickstart(), quickstart_second);
    assert_eq!(without.summary.faults[1].control, None);
    assert!(!told(&without).contains("control lane"));
}

#[test]
fn the_wait_for_a_condition_is_no_lag() {
    let script = Script { due_s: Some(27.0), ..Script::new(quickstart(), quickstart_second) };
    let dir = tempfile::tempdir().unwrap();
    let s = build(&script.write(dir.path())).unwrap().summary;
    let [slow, failing] = &s.faults[..] else { panic!("two faults, not {}", s.faults.len()) };
    // Armed 4 ms after that, and planned for second 25.
    assert!(close(slow.injection_lag_s, 0.004), "{:?}", slow.injection_lag_s);
    assert!((slow.start_s - 27.004).abs() < 1e-9, "{}", slow.start_s);
    assert!(close(failing.injection_lag_s, 0.004), "{:?}", failing.injection_lag_s);
}

#[test]
fn the_journal_of_chaos_toolkit_says_what_was_done_when_and_whether_the_steady_state_came_back() {
    let gate = quickstart().gates[1].clone();
    let mut plan = quickstart();
    plan.experiment = Some(ExperimentPlan {
        steady_state: vec![gate],
        abort: vec![],
        window_s: 5,
        blast_radius: 1.0,
        control: 0.0,
    });
    let r = report(plan.clone(), quickstart_second);
    let journal = chaos_journal(&r).unwrap();
    assert_eq!(
        (&journal["status"], &journal["deviated"]),
        (&json!("completed"), &json!(false)),
        "{journal:#}"
    );
    let (run, rollbacks) = (journal["run"].as_array().unwrap(), journal["rollbacks"].as_array().unwrap());
    assert_eq!((run.len(), rollbacks.len()), (2, 2));
    assert_eq!(run[0]["start"], "2026-11-21T01:02:28.008Z", "25.004 s after the first planned arrival");
    assert_eq!(run[0]["end"], rollbacks[0]["start"]);
    assert_eq!(run[1]["output"]["affected"], 7_000);
    let probe = |journal: &Value, side: &str, key: &str| {
        journal["steady_states"][side]["probes"][0][key].as_str().map(str::to_owned)
    };
    assert_eq!(journal["steady_states"]["before"]["probes"][0]["tolerance_met"], true);
    // The five seconds before the first fault, and the last five.
    for (side, start, end) in [("before", "01:02:23", "01:02:28"), ("after", "01:02:58", "01:03:03")] {
        let time = |of: &str| Some(format!("2026-11-21T{of}.004Z"));
        assert_eq!((probe(&journal, side, "start"), probe(&journal, side, "end")), (time(start), time(end)));
        assert_eq!(probe(&journal, side, "status").as_deref(), Some("succeeded"));
    }
    // It did not come back.
    let broken = report(plan.clone(), |s| if s < 25 { CALM } else { BROKEN });
    let journal = chaos_journal(&broken).unwrap();
    assert_eq!(journal["deviated"], true);
    assert_eq!(probe(&journal, "after", "status").as_deref(), Some("succeeded"), "it was told");
    assert_eq!(broken.exit_code(), 99);
    // Nobody knows whether it did: that does not read as held.
    plan.faults[1].end_s = 58.0;
    plan.gates.clear();
    let unknown = report(plan, quickstart_second);
    let journal = chaos_journal(&unknown).unwrap();
    assert_eq!((journal["deviated"].as_bool(), unknown.exit_code()), (Some(true), 122), "{journal:#}");
    assert_eq!(journal["steady_states"]["after"]["probes"][0]["tolerance_met"], false);
    assert_eq!(probe(&journal, "after", "status").as_deref(), Some("failed"));
    let output = probe(&journal, "after", "output").unwrap();
    assert!(output.starts_with("could not be told: ") && output.contains("2 of the 5 s"), "{output}");
    plan_without_faults_has_none();
}

fn plan_without_faults_has_none() {
    let plan = Plan { faults: vec![], ..quickstart() };
    assert_eq!(chaos_journal(&report(plan, |_| CALM)), None);
}
