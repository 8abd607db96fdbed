use super::*;
use crate::bursts::Bursts;
use crate::plan::Arrivals;
use crate::plan::tests_support::plan_with_phases;
use proptest::prelude::*;

const BURSTS: Bursts = Bursts { factor: 3.0, share: 0.2, mean_s: 0.2 };

fn arrivals_in(plan: &Plan, a: f64, b: f64) -> usize {
    Schedule::new(plan).filter(|x| (a..b).contains(&seconds(x.at_ns))).count()
}

/// Takes what `schedule` holds before `until_ns`.
fn take_until(schedule: &mut Schedule, until_ns: u64) -> Vec<Arrival> {
    std::iter::from_fn(|| schedule.peek().filter(|a| a.at_ns < until_ns).and_then(|_| schedule.next()))
        .collect()
}

fn sorted(mut arrivals: Vec<Arrival>) -> Vec<Arrival> {
    arrivals.sort_by_key(|a| a.index);
    arrivals
}

#[test]
fn uniform_arrivals_are_evenly_spaced_from_zero() {
    let plan = plan_with_phases(Arrivals::Uniform, &[(1.0, 1000.0, 1000.0)]);
    let at: Vec<u64> = Schedule::new(&plan).map(|a| a.at_ns).collect();
    assert_eq!(at.len(), 1000);
    for (i, t) in at.iter().enumerate() {
        assert!(t.abs_diff(i as u64 * 1_000_000) <= 1, "arrival {i} at {t}");
    }
}

#[test]
fn a_ramp_from_zero_has_the_arrivals_of_its_integral() {
    let plan = plan_with_phases(Arrivals::Uniform, &[(10.0, 0.0, 200.0)]);
    // Λ(t) = 10 t²: 250 by 5 s, 1000 by 10 s.
    assert!(arrivals_in(&plan, 0.0, 5.0).abs_diff(250) <= 1);
    assert!(arrivals_in(&plan, 0.0, 10.0).abs_diff(1000) <= 1);
    assert_eq!(Schedule::new(&plan).peek(), Some(Arrival { index: 0, at_ns: 0, phase: 0 }));
}

#[test]
fn poisson_gaps_are_exponential() {
    let plan = plan_with_phases(Arrivals::Poisson, &[(100.0, 1000.0, 1000.0)]);
    let at: Vec<f64> = Schedule::new(&plan).map(|a| a.at_ns as f64 / 1e6).collect();
    let gaps: Vec<f64> = at.windows(2).map(|w| w[1] - w[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let var = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    // Mean 1 ms and coefficient of variation 1, each within 1 % for 100,000 gaps (3 σ).
    assert!((mean - 1.0).abs() < 0.01, "mean {mean}");
    assert!((var.sqrt() / mean - 1.0).abs() < 0.02, "cv {}", var.sqrt() / mean);
    let over = gaps.iter().filter(|g| **g > 3.0).count() as f64 / gaps.len() as f64;
    assert!((over - (-3.0f64).exp()).abs() < 0.002, "share over 3 ms: {over}");
}

#[test]
fn bursty_arrivals_have_the_planned_mean_also_along_a_ramp() {
    // An hour and more, and thousands of bursts.
    let plan = plan_with_phases(Arrivals::Bursty(BURSTS), &[(2000.0, 100.0, 300.0), (2000.0, 200.0, 200.0)]);
    for (a, b) in [(0.0, 1000.0), (1000.0, 2000.0), (2000.0, 4000.0)] {
        let expected: f64 = plan.phases.iter().map(|p| p.expected_until(b) - p.expected_until(a)).sum();
        let counted = arrivals_in(&plan, a, b) as f64;
        let sigma = plan.count_variance(expected).sqrt();
        assert!(
            (counted - expected).abs() < 3.5 * sigma,
            "{counted} in {a} to {b}, {expected} planned, σ {sigma}"
        );
        // The bound is no barn door.
        assert!(sigma < 0.04 * expected, "σ {sigma} of {expected}");
    }
}

#[test]
fn counts_of_bursty_arrivals_are_dispersed_as_the_formula_says() {
    let (rps, length_s) = (200.0, 20_000.0);
    let plan = plan_with_phases(Arrivals::Bursty(BURSTS), &[(length_s, rps, rps)]);
    let at_s: Vec<f64> = Schedule::new(&plan).map(|a| seconds(a.at_ns)).collect();
    for window_s in [0.02, 0.2, 2.0] {
        let mut counts = vec![0.0; (length_s / window_s) as usize + 1];
        for t in &at_s {
            counts[(t / window_s) as usize] += 1.0;
        }
        counts.pop();
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / counts.len() as f64;
        let (seen, formula) = (variance / mean, BURSTS.dispersion(rps, window_s));
        assert!(
            (seen / formula - 1.0).abs() < 0.05,
            "{seen} in windows of {window_s} s, {formula} by the formula"
        );
    }
    // It is much more than a Poisson process has.
    assert!(BURSTS.dispersion(rps, 2.0) > 50.0);
}

#[test]
fn the_union_over_workers_is_the_whole_schedule() {
    for kind in [Arrivals::Uniform, Arrivals::Poisson, Arrivals::Bursty(BURSTS)] {
        let plan = plan_with_phases(kind, &[(2.0, 500.0, 1500.0), (1.0, 100.0, 100.0), (0.5, 0.0, 900.0)]);
        let whole: Vec<Arrival> = Schedule::new(&plan).collect();
        for workers in [1, 2, 4, 7] {
            let union = (0..workers).flat_map(|w| Schedule::for_worker(&plan, w, workers)).collect();
            assert_eq!(sorted(union), whole, "{workers} workers, {kind:?}");
        }
    }
}

#[test]
fn a_pause_has_no_arrivals_and_the_rate_returns_after_it() {
    let plan = plan_with_phases(Arrivals::Uniform, &[(10.0, 1000.0, 1000.0)]);
    let mut s = Schedule::new(&plan);
    s.change(2_000_000_000, Change::Pause).unwrap();
    s.change(3_000_000_000, Change::Scale(2.0)).unwrap();
    s.change(5_000_000_000, Change::Resume).unwrap();
    s.change(7_000_000_000, Change::Rate(500.0)).unwrap();
    s.change(9_000_000_000, Change::Scale(1.0)).unwrap();
    let at_s: Vec<f64> = s.map(|a| seconds(a.at_ns)).collect();
    let count = |a: f64, b: f64| at_s.iter().filter(|t| (a..b).contains(t)).count();
    assert_eq!(count(0.0, 2.0), 2000);
    assert_eq!(count(2.0, 5.0), 0);
    assert!(count(5.0, 7.0).abs_diff(4000) <= 1);
    assert!(count(7.0, 9.0).abs_diff(1000) <= 1);
    assert!(count(9.0, 10.0).abs_diff(1000) <= 1);
}

#[test]
fn an_end_that_was_seen_may_be_put_off() {
    let plan = plan_with_phases(Arrivals::Uniform, &[(1.0, 1.0, 1.0), (9.0, 0.0, 0.0)]);
    let mut s = Schedule::new(&plan);
    assert_eq!(s.next().map(|a| a.at_ns), Some(0));
    assert_eq!((s.peek(), s.next()), (None, None));
    s.change(5_000_000_000, Change::Rate(10.0)).unwrap();
    let left: Vec<Arrival> = s.collect();
    assert_eq!(left.len(), 50);
    assert!(left.iter().all(|a| a.phase == 1 && a.at_ns >= 5_000_000_000), "{:?}", left[0]);
    assert_eq!(left[0].index, 1);
}

#[test]
fn a_change_that_comes_too_late_holds_from_the_arrival_taken_last() {
    let plan = plan_with_phases(Arrivals::Uniform, &[(10.0, 1.0, 1.0)]);
    let mut s = Schedule::new(&plan);
    let taken: Vec<u64> = (0..5).filter_map(|_| s.next()).map(|a| a.at_ns).collect();
    assert_eq!(s.change(1, Change::Pause), Ok(taken[4]));
    assert_eq!(s.change(0, Change::Resume), Ok(taken[4]));
    assert_eq!(s.next().map(|a| a.at_ns), Some(5_000_000_000));
}

#[test]
fn what_is_no_rate_or_too_much_is_refused_and_changes_nothing() {
    let plan = plan_with_phases(Arrivals::Poisson, &[(10.0, 1000.0, 1000.0)]);
    let mut s = Schedule::new(&plan);
    for change in
        [Change::Rate(-1.0), Change::Rate(f64::NAN), Change::Scale(f64::INFINITY), Change::Scale(-0.1)]
    {
        assert!(matches!(s.change(0, change), Err(ChangeError::NotANumber(_))), "{change:?}");
    }
    assert_eq!(s.change(0, Change::Rate(20e6)), Err(ChangeError::TooHigh(20e6)));
    assert_eq!(s.change(0, Change::Scale(10_001.0)), Err(ChangeError::TooHigh(10_001_000.0)));
    for _ in 0..MAX_PENDING_CHANGES {
        s.change(9_000_000_000, Change::Pause).unwrap();
    }
    assert_eq!(s.change(9_000_000_000, Change::Pause), Err(ChangeError::TooMany));
    let whole: Vec<Arrival> = Schedule::new(&plan).take_while(|a| a.at_ns < 9_000_000_000).collect();
    assert_eq!(s.collect::<Vec<_>>(), whole);
}

#[test]
fn changes_that_are_behind_make_room_for_others() {
    let plan = plan_with_phases(Arrivals::Uniform, &[(100.0, 1000.0, 1000.0)]);
    let mut s = Schedule::new(&plan);
    for i in 1..3 * MAX_PENDING_CHANGES as u64 {
        let at_ns = i * 10_000_000;
        take_until(&mut s, at_ns);
        let change = if i % 2 == 0 { Change::Scale(2.0) } else { Change::Rate(500.0) };
        assert_eq!(s.change(at_ns, change), Ok(at_ns));
    }
}

/// The arrivals that `plan` asks for until `t` with `changes` made.
fn expected_until(plan: &Plan, changes: &[(u64, Change)], t: f64) -> f64 {
    let until = |t: f64| plan.phases.iter().map(|p| p.expected_until(t)).sum::<f64>();
    let (mut from, mut scale, mut hold, mut paused, mut sum) = (0.0, 1.0, None, false, 0.0);
    let end = (nanos(t.min(plan.duration_s())), Change::Resume);
    for (at_ns, change) in changes.iter().copied().chain([end]) {
        let to = seconds(at_ns).min(t);
        if !paused && to > from {
            sum += hold.map_or(scale * (until(to) - until(from)), |rps: f64| rps * (to - from));
        }
        from = to.max(from);
        match change {
            Change::Scale(s) => (scale, hold) = (s, None),
            Change::Rate(rps) => hold = Some(rps),
            Change::Pause => paused = true,
            Change::Resume => paused = false,
        }
    }
    sum
}

fn kinds() -> impl Strategy<Value = Arrivals> {
    prop_oneof![Just(Arrivals::Uniform), Just(Arrivals::Poisson), Just(Arrivals::Bursty(BURSTS))]
}

fn shapes() -> impl Strategy<Value = Vec<(f64, f64, f64)>> {
    proptest::collection::vec((0.1f64..3.0, 0.0f64..1000.0, 0.0f64..1000.0), 1..6)
}

/// Changes in order of time, in milliseconds.
fn edits() -> impl Strategy<Value = Vec<(u64, Change)>> {
    let change = prop_oneof![
        (0.0f64..3.0).prop_map(Change::Scale),
        (0.0f64..2000.0).prop_map(Change::Rate),
        Just(Change::Pause),
        Just(Change::Resume),
    ];
    proptest::collection::vec((0u64..6_000, change), 0..6).prop_map(|mut edits| {
        edits.sort_by_key(|e| e.0);
        edits.into_iter().map(|(ms, change)| (ms * 1_000_000, change)).collect()
    })
}

proptest! {
    #[test]
    fn arrivals_follow_the_integral_of_the_rate(
        phases in proptest::collection::vec((0.1f64..5.0, 0.0f64..2000.0, 0.0f64..2000.0), 1..6),
        edits in edits(), cut in 0.0f64..1.0,
    ) {
        let plan = plan_with_phases(Arrivals::Uniform, &phases);
        let t = plan.duration_s() * cut;
        let mut schedule = Schedule::new(&plan);
        for (at_ns, change) in &edits {
            schedule.change(*at_ns, *change).unwrap();
        }
        let integral = expected_until(&plan, &edits, t);
        let counted = schedule.filter(|a| seconds(a.at_ns) < t).count() as f64;
        prop_assert!((counted - integral).abs() <= 1.0 + 1e-6 * integral, "{} vs {}", counted, integral);
    }

    #[test]
    fn time_does_not_turn_back_and_phases_contain_their_arrivals(
        phases in shapes(), kind in kinds(), seed in any::<u64>(),
    ) {
        let mut plan = plan_with_phases(kind, &phases);
        plan.seed = seed;
        let mut last = 0;
        for a in Schedule::new(&plan) {
            // But for the rounding to whole nanoseconds.
            prop_assert!(a.at_ns + 1 >= last);
            last = a.at_ns;
            let p = &plan.phases[usize::from(a.phase)];
            let t = seconds(a.at_ns);
            prop_assert!(t >= p.start_s - 1e-6 && t <= p.end_s + 1e-6, "{} in {:?}", t, p);
        }
    }

    #[test]
    fn workers_that_learn_of_changes_at_different_times_still_carry_one_schedule(
        phases in shapes(), kind in kinds(), edits in edits(), seed in any::<u64>(),
        leads_ms in proptest::collection::vec(0u64..3_000, 4),
    ) {
        let mut plan = plan_with_phases(kind, &phases);
        plan.seed = seed;
        let mut known_before = Schedule::new(&plan);
        for (at_ns, change) in &edits {
            prop_assert_eq!(known_before.change(*at_ns, *change), Ok(*at_ns));
        }
        let whole: Vec<Arrival> = known_before.collect();
        for workers in [1u32, 2, 4] {
            let mut union = Vec::new();
            for (w, lead_ms) in (0..workers).zip(&leads_ms) {
                let mut s = Schedule::for_worker(&plan, w, workers);
                for (at_ns, change) in &edits {
                    // It has taken what was due by then, and looked at what comes next.
                    union.extend(take_until(&mut s, at_ns.saturating_sub(lead_ms * 1_000_000)));
                    prop_assert_eq!(s.change(*at_ns, *change), Ok(*at_ns));
                }
                union.extend(s);
            }
            prop_assert_eq!(&sorted(union), &whole, "{} workers", workers);
        }
    }
}
