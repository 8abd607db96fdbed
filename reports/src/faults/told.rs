//! What a fault did, in words: one way for every report.

use crate::format::{self, NONE};
use crate::summary::{BudgetBurned, ClassImpact, FaultSummary, JudgedBy, Recovery};

/// Whether it was there and met a request.
pub(crate) fn acted(f: &FaultSummary) -> bool {
    f.armed && f.affected != Some(0)
}

/// How a fault ended: a class for its colour and a word.
pub(crate) fn word(f: &FaultSummary) -> (&'static str, &'static str) {
    match f.recovery {
        _ if !acted(f) => ("inconclusive", "! DID NOT ACT"),
        _ if f.throughout => ("none", "· THROUGHOUT"),
        _ if f.metastable == Some(true) => ("fail", "✗ METASTABLE"),
        // It may be back all the same, and is not as it was.
        Some(Recovery::Recovered | Recovery::NotNeeded) if f.left => ("inconclusive", "! NOT UNDONE"),
        Some(Recovery::Recovered) => ("pass", "✔ RECOVERED"),
        Some(Recovery::NotNeeded) => ("pass", "✔ HELD"),
        Some(Recovery::Never) => ("fail", "✗ NOT RECOVERED"),
        Some(Recovery::Unseen) => ("inconclusive", "! RECOVERY NOT SEEN"),
        None => ("inconclusive", "! NOT JUDGED"),
    }
}

/// The verdict on the service under a fault: some clauses, the first of them in lower case.
pub(crate) fn verdict(f: &FaultSummary) -> String {
    if !f.armed {
        return format!("it did not act: {}", f.problem.as_deref().unwrap_or("it was never armed"));
    }
    if f.throughout {
        let met = if acted(f) { "" } else { "; it hit no request" };
        let left = left(f).map_or_else(String::new, |left| format!("; {left}"));
        return format!(
            "it was there from the first request to the last, before, during and after all else{met}{left}"
        );
    }
    let mut clauses = Vec::new();
    match (f.recovery, f.detect_s) {
        (None, _) => {}
        (Some(Recovery::NotNeeded), _) => clauses.push("the service level held".to_owned()),
        (_, Some(s)) => clauses.push(format!("noticed after {}", format::seconds(s))),
        (_, None) => clauses.push("noticed only when it was over".to_owned()),
    }
    if let Some(s) = f.mitigate_s {
        clauses.push(format!("mitigated after {} while it still acted", format::seconds(s)));
    }
    clauses.extend(recovery(f));
    if f.metastable == Some(true) {
        let seconds = f.hysteresis_s.map_or_else(String::new, |s| format!(" {s} s"));
        let ratio =
            f.hysteresis.map_or_else(|| NONE.to_owned(), |h| format::small_percent(h.clamp(0.0, 1.0)));
        clauses.push(format!(
            "metastable: still broken{seconds} after the fault ended, at the same load: goodput is {ratio} of what \
             it was before"
        ));
    }
    clauses.extend(control(f));
    if f.affected == Some(0) {
        clauses.push("it hit no request".to_owned());
    }
    if !f.overlaps.is_empty() {
        let names: Vec<String> = f.overlaps.iter().map(|n| format!("`{n}`")).collect();
        clauses.push(format!(
            "{} acted at the same time: what that did is in these figures too",
            names.join(", ")
        ));
    }
    clauses.extend(left(f));
    clauses.join("; ")
}

/// `bad: 43 % of requests, 0.1 % of the control lane`, where there is one.
fn control(f: &FaultSummary) -> Option<String> {
    let seen = f.control?;
    let (others, control) = seen.others_bad.zip(seen.during_bad)?;
    Some(format!(
        "bad: {} of requests, {} of the control lane",
        format::small_percent(others),
        format::small_percent(control)
    ))
}

/// What of it is still there.
fn left(f: &FaultSummary) -> Option<String> {
    let problem = f.problem.as_deref().unwrap_or("see `squall chaos heal --dry-run`");
    f.left.then(|| format!("it left something behind: {problem}"))
}

/// What came after the fault.
fn recovery(f: &FaultSummary) -> Option<String> {
    let watched_s = f.watched_s.unwrap_or(0.0);
    Some(match f.recovery {
        None if f.judged_by == JudgedBy::Nothing => {
            "there is neither an SLO nor a time before it to judge it by".to_owned()
        }
        None => "nothing was asked while it acted or after it".to_owned(),
        Some(Recovery::NotNeeded) => return None,
        Some(Recovery::Recovered) => {
            let recovered = match f.recover_s {
                Some(s) if s > 0.0 => format!("recovered {} after it ended", format::seconds(s)),
                _ => "recovered as soon as it ended".to_owned(),
            };
            match f.relapse_s {
                Some(bad) if bad > 0 => format!(
                    "{recovered}; bad again for {bad} of the {} watched after it ended",
                    format::seconds(watched_s)
                ),
                _ => recovered,
            }
        }
        Some(Recovery::Never) => {
            format!(
                "never recovered within the {} that were watched after it ended",
                format::seconds(watched_s)
            )
        }
        Some(Recovery::Unseen) if watched_s > 0.0 => format!(
            "recovery not seen: the {} that were watched after it ended are too few to tell",
            format::seconds(watched_s)
        ),
        Some(Recovery::Unseen) => "recovery not seen: nothing was watched after it ended".to_owned(),
    })
}

/// `after 1.5 s`, `never`, `not needed`, `not seen`.
pub(crate) fn recovered(f: &FaultSummary) -> String {
    match (f.recovery, f.recover_s) {
        _ if f.throughout => NONE.to_owned(),
        (Some(Recovery::NotNeeded), _) => "not needed".to_owned(),
        (_, Some(s)) => format!("after {}", format::seconds(s)),
        (Some(Recovery::Never), _) => "never".to_owned(),
        _ => "not seen".to_owned(),
    }
}

/// `after 1.5 s`, `never`.
pub(crate) fn detected(f: &FaultSummary) -> String {
    match f.detect_s {
        _ if f.throughout => NONE.to_owned(),
        Some(s) => format!("after {}", format::seconds(s)),
        None => "never".to_owned(),
    }
}

/// `after 1.5 s`, `no`.
pub(crate) fn mitigated(f: &FaultSummary) -> String {
    f.mitigate_s.map_or_else(|| "no".to_owned(), |s| format!("after {}", format::seconds(s)))
}

/// Good answers lost: `1 040 of 12 000 (8.66 %)`, and the deepest second.
pub(crate) fn dip(f: &FaultSummary) -> Option<(String, String)> {
    let d = f.goodput_dip?;
    let lost = format!(
        "{} of {} good answers ({})",
        format::count(d.lost.round() as u64),
        format::count(d.expected.round() as u64),
        format::small_percent(d.lost_share)
    );
    let deepest = d.deepest_at_s.map_or_else(
        || "no second was below the baseline".to_owned(),
        |s| format!("deepest in second {s}: {} missing", format::small_percent(d.deepest_share)),
    );
    Some((lost, deepest))
}

/// Attempts per arrival before, during and after; nothing when nobody ever asked again.
pub(crate) fn amplification(f: &FaultSummary) -> Option<[String; 3]> {
    let a = f.retry_amplification?;
    let all = [a.baseline, a.during, a.after];
    let windows = [&f.baseline, &f.during, &f.after];
    let retried: u64 = windows.into_iter().flatten().map(|w| w.load.retried).sum();
    (retried > 0).then(|| all.map(|x| x.map_or_else(|| NONE.to_owned(), |x| format!("{x:.2}×"))))
}

/// A share of bad requests before and during: `0 % → 43 %`.
fn impact(before: Option<f64>, during: Option<f64>) -> String {
    let share = |s: Option<f64>| s.map_or_else(|| NONE.to_owned(), format::small_percent);
    format!("{} → {}", share(before), share(during))
}

/// `24.0× what its time allows, 120 % of the run's`.
pub(crate) fn burned(b: &BudgetBurned) -> String {
    match (b.burned, b.of_run) {
        (Some(burned), Some(of_run)) => {
            format!(
                "{} what this time allows, {} of the whole run's",
                format::times(burned),
                whole_percent(of_run)
            )
        }
        _ => NONE.to_owned(),
    }
}

/// A share that may be far above 1: `3 366 %`.
pub(crate) fn whole_percent(share: f64) -> String {
    format!("{} %", format::count((share * 100.0).round().max(0.0) as u64))
}

/// The budget of which the fault burned most; `None` when it burned nothing.
pub(crate) fn worst_budget(f: &FaultSummary) -> Option<&BudgetBurned> {
    let burned = |b: &BudgetBurned| b.burned.unwrap_or(0.0);
    f.budget_burned.iter().filter(|b| b.bad > 0).max_by(|a, b| burned(a).total_cmp(&burned(b)))
}

/// `✗ 0 % → 43 %`: what became of one class, marked when it suffered.
pub(crate) fn suffered(r: &ClassImpact) -> String {
    let mark = if r.suffered == Some(true) { "✗ " } else { "" };
    format!("{mark}{}", impact(r.baseline_bad, r.during_bad))
}

/// Clauses as a sentence.
pub(crate) fn sentence(clauses: &str) -> String {
    let mut chars = clauses.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Cell;
    use crate::summary::{ControlImpact, RetryAmplification, WindowSummary};
    use crate::testing::fault_summary;
    use squall_record::counts::Counts;
    use squall_record::latency::Latency;

    #[test]
    fn never_says_for_how_long_it_was_watched_and_unseen_why() {
        let mut f = fault_summary();
        (f.recovery, f.recover_s, f.watched_s) = (Some(Recovery::Never), None, Some(12.0));
        assert_eq!(
            verdict(&f),
            "noticed after 1.5 s; never recovered within the 12 s that were watched after it ended"
        );
        (f.recovery, f.watched_s) = (Some(Recovery::Unseen), Some(2.0));
        assert!(verdict(&f).ends_with("the 2 s that were watched after it ended are too few to tell"));
        f.watched_s = Some(0.0);
        assert!(verdict(&f).ends_with("nothing was watched after it ended"));
        assert_eq!((recovered(&f).as_str(), word(&f).1), ("not seen", "! RECOVERY NOT SEEN"));
    }

    #[test]
    fn what_was_always_there_is_neither_noticed_nor_recovered_from() {
        let mut f = FaultSummary {
            throughout: true,
            detect_s: None,
            recover_s: None,
            recovery: None,
            ..fault_summary()
        };
        assert_eq!(
            (word(&f), detected(&f).as_str(), recovered(&f).as_str()),
            (("none", "· THROUGHOUT"), NONE, NONE)
        );
        assert!(verdict(&f).ends_with("after all else"), "{}", verdict(&f));
        f.affected = Some(0);
        assert_eq!(word(&f).1, "! DID NOT ACT");
    }

    #[test]
    fn what_is_left_behind_is_said_and_is_no_pass() {
        let mut f = fault_summary();
        (f.left, f.problem) = (true, Some("not undone: process 12 goes on".to_owned()));
        assert_eq!(word(&f), ("inconclusive", "! NOT UNDONE"));
        assert_eq!(
            verdict(&f),
            "noticed after 1.5 s; recovered 1 s after it ended; it left something behind: not undone: process 12 goes on"
        );
        f.recovery = Some(Recovery::NotNeeded);
        assert_eq!(word(&f).1, "! NOT UNDONE");
        f.recovery = Some(Recovery::Never);
        assert_eq!(word(&f), ("fail", "✗ NOT RECOVERED"));
        f.throughout = true;
        assert!(verdict(&f).ends_with("; it left something behind: not undone: process 12 goes on"));
    }

    #[test]
    fn the_control_lane_is_told_beside_the_others_where_both_were_asked() {
        let mut f = fault_summary();
        let told = |f: &mut FaultSummary, others_bad, during_bad| {
            f.control = Some(ControlImpact { during_bad, others_bad });
            verdict(f)
        };
        let both = told(&mut f, Some(0.43), Some(0.001));
        assert!(both.ends_with("; bad: 43 % of requests, 0.1 % of the control lane"), "{both}");
        f.recovery = None;
        assert!(
            told(&mut f, Some(0.0), Some(0.0)).ends_with("bad: 0 % of requests, 0 % of the control lane")
        );
        assert!(!told(&mut f, Some(0.43), None).contains("control lane"), "nothing to compare with");
    }

    #[test]
    fn a_metastable_service_is_called_so() {
        let mut f = fault_summary();
        (f.recovery, f.recover_s, f.watched_s) = (Some(Recovery::Never), None, Some(30.0));
        (f.metastable, f.hysteresis, f.hysteresis_s) = (Some(true), Some(0.4), Some(20));
        let told = verdict(&f);
        assert!(
            told.contains("metastable: still broken 20 s after the fault ended, at the same load"),
            "{told}"
        );
        assert!(told.ends_with("goodput is 40 % of what it was before"), "{told}");
        assert_eq!(word(&f), ("fail", "✗ METASTABLE"));
    }

    #[test]
    fn a_fault_that_met_nobody_is_no_proof() {
        let mut f = fault_summary();
        f.affected = Some(0);
        assert_eq!(word(&f).1, "! DID NOT ACT");
        assert!(verdict(&f).ends_with("it hit no request"));
        f.armed = false;
        f.problem = Some("refused".into());
        assert_eq!(verdict(&f), "it did not act: refused");
    }

    #[test]
    fn amplification_is_told_only_when_somebody_asked_again() {
        let mut f = fault_summary();
        let window = |retried| {
            let mut cell = Cell::default();
            let (counts, none) =
                (Counts { planned: 10, sent: 10, retried, ..Counts::default() }, Latency::new());
            cell.add(&counts, &none, &none, &none);
            let (load, latency_ms) = (cell.load(10.0), cell.latencies());
            Some(WindowSummary { start_s: 0, end_s: 10, load, latency_ms, availability: None })
        };
        f.retry_amplification =
            Some(RetryAmplification { baseline: Some(1.0), during: Some(2.5), after: None });
        (f.baseline, f.during) = (window(0), window(0));
        assert_eq!(amplification(&f), None);
        f.during = window(15);
        assert_eq!(amplification(&f), Some(["1.00×", "2.50×", "–"].map(str::to_owned)));
    }
}
