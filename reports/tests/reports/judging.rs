//! What a run is said to mean, from folders written by the real writer.

use crate::common::{
    CALM, End, FAILED, P99, Script, gate, quickstart, quickstart_second, stepped, stepped_second,
};
use std::io::Write;

use squall_record::event::{Event, Steer, What};
use squall_record::fault::Effect;
use squall_record::interval::{Interval, Sink, Tick};
use squall_reports::generator::RunVerdict;
use squall_reports::summary::{AuditVerdict, GateResult, GatesVerdict, JudgedBy, Recovery, Summary};
use squall_reports::{build, exit};
use squall_scenarios::plan::{Metric, Mode, Op, Plan};

fn judged(script: &Script) -> Summary {
    let dir = tempfile::tempdir().unwrap();
    build(&script.write(dir.path())).unwrap().summary
}

#[test]
fn a_run_with_faults_is_judged_in_all_its_parts() {
    let s = judged(&Script::new(quickstart(), quickstart_second));
    assert!(s.complete);
    assert_eq!((s.duration_s, s.measured_s), (60.0, 55.0));
    assert_eq!(s.verdict.run, RunVerdict::Valid, "{:?}", s.verdict.reasons);
    assert_eq!(s.verdict.audit, AuditVerdict::None);
    assert_eq!(s.load.planned, s.load.sent + s.load.dropped);
    assert_eq!(s.load.completed, s.load.ok + s.load.declined + s.load.shed);
    assert_eq!(s.load.failed, s.load.failures.values().sum::<u64>());
    let classes: u64 = s.requests.iter().map(|r| r.load.planned).sum();
    assert_eq!(classes, s.load.planned);
    let phases: u64 = s.phases.iter().filter(|p| !p.warmup).map(|p| p.load.planned).sum();
    assert_eq!(phases, s.load.planned);
}

#[test]
fn warm_up_is_left_out_of_totals_but_has_its_own_entry() {
    let s = judged(&Script::new(quickstart(), |second| {
        if second < 5 {
            crate::common::Second { failed_per_mille: 1000, declined_per_mille: 0, ..CALM }
        } else {
            CALM
        }
    }));
    assert_eq!((s.load.failed, s.verdict.gates), (0, GatesVerdict::Pass), "{:?}", s.verdict.reasons);
    assert!(s.phases[0].warmup);
    assert_eq!(s.phases[0].load.failed, s.phases[0].load.planned);
    assert!(s.latency_ms.response.max.unwrap() < 100.0, "time-outs of the warm-up are in the totals");
}

#[test]
fn dropped_arrivals_count_against_availability_slos_and_gates() {
    let mut plan = quickstart();
    plan.faults.clear();
    plan.gates = vec![gate("availability>=99%", Metric::Availability, Op::Ge, 0.99)];
    let s = judged(&Script::new(plan, |_| crate::common::Second { dropped_per_mille: 50, ..CALM }));
    let ratio = s.availability.ratio.unwrap();
    assert!((ratio - 0.95).abs() < 0.002, "{ratio}");
    assert_eq!(s.slos[0].met, Some(false));
    assert_eq!(s.gates[0].result, GateResult::Fail);
    assert!(s.availability.budget.unwrap().remaining_ratio.unwrap() < -3.0);
}

#[test]
fn a_gate_on_a_burn_rate_is_of_the_whole_measured_run() {
    let mut plan = quickstart();
    plan.faults.clear();
    let of = |text: &str, slo: Option<&str>, op, bound| squall_scenarios::plan::GatePlan {
        slo: slo.map(str::to_owned),
        ..gate(text, Metric::Burn, op, bound)
    };
    plan.gates = vec![
        of("burn{slo:available}<1", Some("available"), Op::Lt, 1.0),
        of("burn{slo:available}<=6", Some("available"), Op::Le, 6.0),
        of("burn>4", None, Op::Gt, 4.0),
    ];
    // The warm-up fails altogether, which is nobody's budget.
    let s = judged(&Script::new(plan, |second| match second {
        0..5 => crate::common::Second { failed_per_mille: 1000, declined_per_mille: 0, ..CALM },
        _ => crate::common::Second { dropped_per_mille: 50, ..CALM },
    }));
    let results: Vec<GateResult> = s.gates.iter().map(|g| g.result).collect();
    assert_eq!(results, [GateResult::Fail, GateResult::Pass, GateResult::Pass], "{:?}", s.gates);
    let slo = &s.slos[0];
    let spent = 1.0 - slo.budget_remaining.unwrap();
    assert!((s.gates[0].actual.unwrap() - spent).abs() < 1e-9, "{spent}: {:?}", s.gates[0]);
    assert_eq!(s.gates[0].n, slo.planned);
}

#[test]
fn detection_and_recovery_are_those_that_were_written() {
    let s = judged(&Script::new(quickstart(), quickstart_second));
    let [slow, failing] = &s.faults[..] else { panic!("two faults, not {}", s.faults.len()) };
    assert_eq!((slow.judged_by, failing.judged_by), (JudgedBy::Slos, JudgedBy::Slos));
    // Slow from second 26 on, known at its end; good again from second 32 on.
    assert!((slow.detect_s.unwrap() - 1.996).abs() < 1e-6, "{slow:?}");
    assert_eq!(slow.recover_s, Some(0.0));
    // Failing from second 35; second 40 is bad still.
    assert!((failing.detect_s.unwrap() - 0.996).abs() < 1e-6);
    assert!((failing.recover_s.unwrap() - 0.998).abs() < 1e-6);
    assert_eq!(failing.affected, Some(7_000));
    let [before, during, after] = [&slow.baseline, &slow.during, &slow.after].map(|w| w.as_ref().unwrap());
    assert_eq!((before.start_s, during.start_s, after.start_s, after.end_s), (18, 25, 32, 35));
    assert!(during.latency_ms.response.p50 > before.latency_ms.response.p50);
}

#[test]
fn a_service_that_never_comes_back_has_no_recovery() {
    let s = judged(&Script::new(quickstart(), |second| {
        if second >= 35 { crate::common::Second { failed_per_mille: 500, ..CALM } } else { CALM }
    }));
    assert_eq!(s.faults[1].recover_s, None);
    assert_eq!(s.faults[1].recovery, Some(Recovery::Never));
    assert!((s.faults[1].watched_s.unwrap() - 19.998).abs() < 1e-6);
    assert!(s.faults[1].detect_s.is_some());
}

#[test]
fn requests_belong_to_the_phase_in_which_they_were_intended() {
    // Two arrivals of the warm-up are answered four seconds late, in the measured phase.
    let script = Script::new(quickstart(), |_| CALM);
    let dir = tempfile::tempdir().unwrap();
    let run = script.write(dir.path());
    let clean = build(&run).unwrap().summary;

    let path = dir.path().join("late");
    let mut w = squall_record::folder::FolderWriter::create(&path, &run.manifest).unwrap();
    for e in run.events().unwrap() {
        w.event(&e).unwrap();
    }
    for tick in run.ticks().unwrap() {
        let mut tick: Tick = tick.unwrap();
        if tick.second == 0 {
            tick.intervals[0].counts.planned += 2;
            tick.intervals[0].counts.sent += 2;
        }
        if tick.second == 8 {
            let mut late = Interval::new(8, 0, 0);
            late.counts.ok = 2;
            late.response.record_us(4_000_000);
            late.response.record_us(4_000_000);
            tick.intervals.insert(0, late);
        }
        w.tick(&tick).unwrap();
    }
    drop(w);
    let late = build(&squall_record::folder::RunFolder::open(&path).unwrap()).unwrap().summary;
    assert_eq!(late.load, clean.load);
    assert_eq!(late.latency_ms, clean.latency_ms);
    assert_eq!(late.phases[0].load.ok, clean.phases[0].load.ok + 2);
    assert!(late.phases[0].latency_ms.response.max.unwrap() > 3_990.0);
}

#[test]
fn a_record_that_does_not_add_up_is_refused() {
    let wrongs: [fn(&mut Interval); 4] =
        [|i| i.counts.sent += 1, |i| i.counts.ok += 1, |i| i.counts.planned = u64::MAX, |i| i.phase = 999];
    for wrong in wrongs {
        let dir = tempfile::tempdir().unwrap();
        let run = Script::new(quickstart(), |_| CALM).write(dir.path());
        let path = dir.path().join("wrong");
        let mut w = squall_record::folder::FolderWriter::create(&path, &run.manifest).unwrap();
        for tick in run.ticks().unwrap() {
            let mut tick: Tick = tick.unwrap();
            wrong(&mut tick.intervals[0]);
            w.tick(&tick).unwrap();
        }
        drop(w);
        let err = build(&squall_record::folder::RunFolder::open(&path).unwrap()).unwrap_err();
        assert!(err.to_string().contains("intervals.jsonl"), "{err}");
    }
}

#[test]
fn percentiles_are_those_of_merged_histograms() {
    // One second in ten is slow: the p95 of the whole is slow although nine of ten seconds' p95
    // are quick, and no mean of the seconds' p95 comes near it.
    let mut plan = quickstart();
    plan.faults.clear();
    let s = judged(&Script::new(plan, |second| crate::common::Second {
        median_us: if second % 10 == 0 { 500_000 } else { 1_000 },
        ..CALM
    }));
    assert!(s.latency_ms.response.p95.unwrap() > 300.0, "{:?}", s.latency_ms.response);
    assert!(s.latency_ms.response.p50.unwrap() < 2.0);
}

#[test]
fn clipped_latencies_are_marked_wherever_they_appear() {
    let mut plan = quickstart();
    plan.gates = vec![gate("p(99)<250ms", P99, Op::Lt, 250.0)];
    let script = Script::new(plan, |_| crate::common::Second { endless_per_mille: 20, ..CALM });
    let dir = tempfile::tempdir().unwrap();
    let report = build(&script.write(dir.path())).unwrap();
    let r = &report.summary.latency_ms.response;
    assert_eq!(r.clipped, ["p99", "p99_9", "max", "mean"]);
    assert!(report.summary.gates[0].clipped);
    assert!(report.summary.verdict.reasons.iter().any(|r| r.contains("≥ 600 s")));
    assert!(squall_reports::render_text(&report, false).contains("≥ 600 s"));
}

#[test]
fn exit_codes_follow_the_verdict() {
    let mut script = Script::new(quickstart(), |_| CALM);
    script.plan.faults.clear();
    assert_eq!(judged(&script).verdict.exit_code, exit::PASSED);

    script.plan.gates = vec![gate("p(99)<1ms", P99, Op::Lt, 1.0)];
    let failed = judged(&script);
    assert_eq!((failed.verdict.gates, failed.verdict.exit_code), (GatesVerdict::Fail, exit::GATE_FAILED));

    script.plan.gates = vec![gate("rate(failed)<0.001%", FAILED, Op::Lt, 0.000_01)];
    assert_eq!(judged(&script).verdict.exit_code, exit::INCONCLUSIVE);

    script.end = End::Interrupted(20);
    assert_eq!(judged(&script).verdict.exit_code, exit::INTERRUPTED);
    // Even in the warm-up, where nothing was measured yet.
    script.end = End::Interrupted(3);
    let early = judged(&script);
    assert_eq!((early.verdict.run, early.verdict.exit_code), (RunVerdict::Invalid, exit::INTERRUPTED));
}

#[test]
fn a_killed_run_is_judged_on_what_it_left_and_says_so() {
    let mut script = Script::new(quickstart(), quickstart_second);
    script.end = End::Killed(30);
    let s = judged(&script);
    assert!(!s.complete);
    assert_eq!((s.duration_s, s.measured_s), (30.0, 25.0));
    assert_eq!((s.verdict.gates, s.verdict.exit_code), (GatesVerdict::Inconclusive, exit::INCONCLUSIVE));
    assert!(s.verdict.reasons[0].contains("stops after 30 s of 60 s"), "{:?}", s.verdict.reasons);
    // The fault in force is known, the later one was never reached.
    assert_eq!(s.faults.len(), 1);
    assert_eq!((s.faults[0].end_s, s.faults[0].recover_s), (30.0, None));
}

#[test]
fn a_run_that_lost_the_end_of_its_record_is_judged_on_the_rest_and_says_so() {
    // A few bytes; whole lines; whole seconds of every file.
    let seconds = ["latency.hlog", "intervals.jsonl", "generator.jsonl"];
    for (files, lines) in [
        (&seconds[..1], None),
        (&seconds[1..2], None),
        (&seconds[2..], None),
        (&seconds[..1], Some(7)),
        (&seconds[1..2], Some(2)),
        (&seconds[2..], Some(2)),
        (&seconds[..], Some(2)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let run = Script::new(quickstart(), quickstart_second).write(dir.path());
        for file in files {
            let path = run.path().join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            let lost = match (lines, *file) {
                (None, _) => 9,
                // All that belong to the last two seconds.
                (Some(2), "latency.hlog" | "intervals.jsonl") if files.len() == 3 => {
                    let of = |second: u32| [format!(",{second}.000,"), format!("\"second\":{second},")];
                    let is_last = |l: &&str| (58..60).flat_map(of).any(|s| l.contains(&s));
                    text.lines().filter(is_last).map(|l| l.len() + 1).sum()
                }
                (Some(n), _) => text.lines().rev().take(n).map(|l| l.len() + 1).sum(),
            };
            std::fs::write(&path, &text[..text.len() - lost]).unwrap();
        }
        let s = build(&run).unwrap_or_else(|e| panic!("{files:?} {lines:?}: {e}")).summary;
        assert!(!s.complete, "{files:?} {lines:?}");
        let reason = &s.verdict.reasons[0];
        assert!(reason.contains("the record has lost its end"), "{files:?} {lines:?}: {reason}");
        assert!(s.duration_s > 50.0 && s.duration_s < 60.0, "{files:?} {lines:?}: {}", s.duration_s);
    }
}

#[test]
fn a_run_that_ended_by_itself_before_its_time_is_not_complete() {
    let mut script = Script::new(quickstart(), |_| CALM);
    script.plan.gates.clear();
    script.end = End::Early(30);
    let s = judged(&script);
    assert!(!s.complete);
    assert_eq!((s.duration_s, s.verdict.exit_code), (30.0, exit::INCONCLUSIVE));
    assert!(s.verdict.reasons[0].contains("ended by itself after 30 s"), "{:?}", s.verdict.reasons);
}

#[test]
fn a_folder_without_a_single_second_still_has_a_report() {
    let mut script = Script::new(quickstart(), |_| CALM);
    script.end = End::Killed(0);
    let s = judged(&script);
    assert_eq!((s.verdict.run, s.load.planned), (RunVerdict::Invalid, 0));
    assert_eq!(s.verdict.exit_code, exit::RUN_INVALID);
    let dir = tempfile::tempdir().unwrap();
    let report = build(&script.write(dir.path())).unwrap();
    squall_reports::write_all(&report, &dir.path().join("run")).unwrap();
}

#[test]
fn a_fault_that_never_acted_makes_passing_gates_inconclusive() {
    let mut script = Script::new(quickstart(), |_| CALM);
    script.faults_fail = true;
    let s = judged(&script);
    assert_eq!(s.verdict.gates, GatesVerdict::Inconclusive);
    assert!(s.gates.iter().all(|g| g.result == GateResult::Pass));
    assert!(s.verdict.reasons.iter().any(|r| r.contains("slow-store") && r.contains("refused")));
    assert!(s.faults.iter().all(|f| !f.armed && f.during.is_none()));
    assert_eq!(s.verdict.exit_code, exit::INCONCLUSIVE);
    // Without a gate there is nothing else that could say so.
    script.plan.gates.clear();
    let s = judged(&script);
    assert_eq!((s.verdict.gates, s.verdict.exit_code), (GatesVerdict::None, exit::INCONCLUSIVE));
    script.faults_fail = false;
    script.early_s = 0.5;
    assert_eq!(judged(&script).verdict.exit_code, exit::PASSED);
    // Nor is one that ended by itself before its time, though it acted.
    script.early_s = 3.0;
    let s = judged(&script);
    assert!(s.faults.iter().all(|f| f.armed && f.cut_short));
    assert_eq!(s.verdict.exit_code, exit::INCONCLUSIVE);
    assert!(s.verdict.reasons.iter().any(|r| r.contains("ended before its time")), "{:?}", s.verdict.reasons);
}

#[test]
fn a_fault_that_left_something_behind_is_no_pass_and_the_reason_says_what_to_do() {
    let mut script = Script::new(quickstart(), |_| CALM);
    script.not_undone = Some("not undone: process 12 goes on: gone; `squall chaos heal` tries again");
    let s = judged(&script);
    assert!(s.faults.iter().all(|f| f.armed && f.left));
    assert!(s.gates.iter().all(|g| g.result == GateResult::Pass));
    assert_eq!((s.verdict.gates, s.verdict.exit_code), (GatesVerdict::Inconclusive, exit::INCONCLUSIVE));
    let why = "fault `slow-store` left something behind: not undone: process 12 goes on: gone; `squall chaos heal` tries again";
    assert!(s.verdict.reasons.iter().any(|r| r == why), "{:?}", s.verdict.reasons);
    // Without a gate it is no pass either; with one that failed it is a failure.
    script.plan.gates.clear();
    let s = judged(&script);
    assert_eq!((s.verdict.gates, s.verdict.exit_code), (GatesVerdict::None, exit::INCONCLUSIVE));
    script.plan.gates = vec![gate("p(99)<1ms", P99, Op::Lt, 1.0)];
    assert_eq!(judged(&script).verdict.exit_code, exit::GATE_FAILED);
    script.not_undone = None;
    script.plan.gates.clear();
    assert_eq!(judged(&script).verdict.exit_code, exit::PASSED);
}

#[test]
fn a_gate_on_a_phase_and_a_request_looks_at_that_part_alone() {
    let mut plan = quickstart();
    let mut on = gate("balance in hold: availability>=50%", Metric::Availability, Op::Ge, 0.5);
    (on.phase, on.request) = (Some("hold".into()), Some("balance".into()));
    let mut unreached = gate("nothing", P99, Op::Lt, 1.0);
    unreached.phase = Some("climb".into());
    unreached.request = Some("balance".into());
    plan.gates = vec![on, unreached];
    let mut script = Script::new(plan, |_| CALM);
    let s = judged(&script);
    assert_eq!(s.gates[0].n, 45 * 200);
    script.end = End::Interrupted(4);
    assert_eq!(judged(&script).gates[1].result, GateResult::Inconclusive);
}

#[test]
fn a_stepped_run_has_a_knee_a_fit_and_headroom_over_its_own_demand() {
    let s = judged(&Script::new(stepped(), stepped_second));
    let c = &s.capacity;
    assert_eq!((c.knee_rps, c.knee_reached), (Some(4_000.0), Some(true)), "{c:?}");
    // The phase that is no step plans 800/s.
    assert!((c.headroom.unwrap() - 4.0).abs() < 1e-9);
    assert_eq!(c.steps.len(), 6);
    assert!(c.usl.is_some());
    // Little's law: 1000/s at a mean service time of about 0.9 ms.
    let n = c.steps[0].concurrency;
    assert!((0.8..1.1).contains(&n), "{n}");
}

#[test]
fn steps_that_end_before_the_knee_say_so() {
    let s = judged(&Script::new(stepped(), |_| CALM));
    assert_eq!((s.capacity.knee_rps, s.capacity.knee_reached), (Some(6_000.0), Some(false)));
    assert!(s.capacity.caveats.iter().any(|c| c.contains("6000 requests/s or more")), "{:?}", s.capacity);
}

#[test]
fn the_summary_keeps_to_its_schema_and_reads_back() {
    let schema: serde_json::Value = serde_json::from_str(&squall_reports::summary::json_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut scripts = vec![
        Script::new(quickstart(), quickstart_second),
        Script::new(stepped(), stepped_second),
        Script::new(quickstart(), |_| CALM),
    ];
    scripts[2].end = End::Killed(0);
    for script in &scripts {
        let s = judged(script);
        let value = serde_json::to_value(&s).unwrap();
        let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(serde_json::from_value::<Summary>(value).unwrap(), s);
    }
    // The schema is strict enough to refuse something.
    assert!(!validator.is_valid(&serde_json::json!({"schema": 1})));
}

#[test]
fn a_manifest_of_another_version_names_that_version() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Script::new(quickstart(), |_| CALM).write(dir.path());
    run.manifest.scenario = serde_json::json!({"name": 1});
    let err = build(&run).unwrap_err().to_string();
    assert!(err.contains("manifest.json") && err.contains("0.1.0"), "{err}");
}

/// The longest that a hang can look harmless is not at all: no answers are an outage.
#[test]
fn a_hang_is_detected_although_nothing_fails_while_it_lasts() {
    let mut plan: Plan = quickstart();
    plan.faults = vec![crate::common::fault("hanging-store", Effect::Hang, 30.0, 34.0)];
    let script = Script::new(plan, |_| CALM);
    let dir = tempfile::tempdir().unwrap();
    let run = script.write(dir.path());
    let path = dir.path().join("hung");
    let mut w = squall_record::folder::FolderWriter::create(&path, &run.manifest).unwrap();
    for e in run.events().unwrap() {
        w.event(&e).unwrap();
    }
    for tick in run.ticks().unwrap() {
        let mut tick: Tick = tick.unwrap();
        if (30..34).contains(&tick.second) {
            for i in &mut tick.intervals {
                let planned = i.counts.planned;
                *i = Interval::new(i.second, i.class, i.phase);
                (i.counts.planned, i.counts.sent) = (planned, planned);
            }
        }
        w.tick(&tick).unwrap();
    }
    drop(w);
    let s = build(&squall_record::folder::RunFolder::open(&path).unwrap()).unwrap().summary;
    assert!((s.faults[0].detect_s.unwrap() - 0.996).abs() < 1e-6, "{:?}", s.faults[0]);
    assert_eq!(s.faults[0].during.as_ref().unwrap().availability, Some(0.0));
}

#[test]
fn a_run_whose_load_was_changed_by_hand_says_so_and_is_judged_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let run = Script::new(quickstart(), |_| CALM).write(dir.path());
    let untouched = build(&run).unwrap();
    assert!(untouched.summary.steering.is_empty());
    let mut events = std::fs::File::options().append(true).open(run.path().join("events.jsonl")).unwrap();
    for (at_s, steer) in [(20.5, Steer::Scale { factor: 1.1 }), (30.0, Steer::Pause)] {
        let event = Event { at_s, what: What::Steered { steer } };
        writeln!(events, "{}", serde_json::to_string(&event).unwrap()).unwrap();
    }
    let report = build(&run).unwrap();
    let s = &report.summary;
    assert_eq!((s.steering[0].at_s, s.steering[0].load.as_str()), (20.5, "110 % of the plan"));
    assert_eq!(s.steering[1].load, "paused");
    let reasons = s.verdict.reasons.join("\n");
    assert!(reasons.contains("changed by hand 2 times, first at 20 s (110 % of the plan)"), "{reasons}");
    assert_eq!(s.gates, untouched.summary.gates);
    let html = squall_reports::html::render_html(&report).unwrap();
    assert!(html.contains("load: 110 % of the plan"), "the charts have no mark");
}

#[test]
fn a_closed_loop_is_labelled_as_one_wherever_its_figures_are() {
    let mut plan = quickstart();
    plan.load.mode = Mode::Closed;
    plan.faults.clear();
    let dir = tempfile::tempdir().unwrap();
    let report = build(&Script::new(plan, |_| CALM).write(dir.path())).unwrap();
    assert_eq!(serde_json::to_value(&report.summary).unwrap()["mode"], "closed");
    for text in [
        squall_reports::render_text(&report, false),
        squall_reports::markdown::render_markdown(&report),
        squall_reports::html::render_html(&report).unwrap(),
    ] {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("closed loop: the target set the pace"), "{text}");
    }
}
