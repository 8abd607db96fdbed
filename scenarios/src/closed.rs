//! A plan as a closed loop: as fast as its connections allow, for a while.
//!
//! In a closed loop there is no schedule: nothing is intended, so there is no response time, no
//! lag, and no phase. What depends on one of them is left out, and named.

use crate::curve::Curve;
use crate::plan::{ClockKind, GatePlan, Metric, Mode, PhasePlan, Plan, SloPlan};

/// What the one phase of a closed loop is called.
pub const PHASE: &str = "closed loop";

/// `plan` as a closed loop of `duration_s` seconds, and what had to be left out of it.
#[must_use]
pub fn closed_loop(mut plan: Plan, duration_s: f64) -> (Plan, Vec<String>) {
    let mut left_out = vec![format!("{} phases with their rates", plan.phases.len())];
    plan.load.mode = Mode::Closed;
    // Each connection asks when it was answered, at once.
    if plan.load.pipeline > 1 {
        left_out.push(format!("load.pipeline {}", plan.load.pipeline));
        plan.load.pipeline = 1;
    }
    if plan.load.coalesce_us > 0 {
        left_out.push(format!("load.coalesce {} µs", plan.load.coalesce_us));
        plan.load.coalesce_us = 0;
    }
    plan.phases = vec![PhasePlan {
        name: PHASE.to_owned(),
        warmup: false,
        start_s: 0.0,
        end_s: duration_s,
        curve: Curve::hold(duration_s, 0.0),
        step: false,
        mix: Vec::new(),
        trace: None,
    }];
    left_out.extend(plan.faults.drain(..).map(|f| format!("fault `{}`", f.fault.name)));
    let (kept, slos): (Vec<_>, Vec<_>) = plan.slos.drain(..).partition(|s| s.under_ms.is_none());
    plan.slos = kept;
    let (kept, gone): (Vec<_>, Vec<_>) = plan.gates.drain(..).partition(|g| can_judge(g, &slos));
    plan.gates = kept;
    left_out.extend(gone.iter().map(|g| format!("gate `{}`", g.expression)));
    left_out.extend(slos.iter().map(|s| format!("SLO `{}`", s.name)));
    (plan, left_out)
}

/// Whether a closed loop measures what `gate` asks about, when `left_out` are the SLOs that it cannot judge.
fn can_judge(gate: &GatePlan, left_out: &[SloPlan]) -> bool {
    if gate.metric == Metric::Burn {
        return !left_out.iter().any(|slo| gate.slo.as_ref().is_none_or(|name| *name == slo.name));
    }
    let clock = match gate.metric {
        Metric::Percentile { clock, .. } | Metric::Mean { clock } | Metric::Max { clock } => Some(clock),
        _ => None,
    };
    gate.phase.is_none() && !gate.metric.is_of_faults() && clock.is_none_or(|c| c == ClockKind::Service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::load;
    use crate::source::Source;

    #[test]
    fn what_a_closed_loop_cannot_measure_is_left_out_and_named() {
        let text = r#"
name = "t"
gates = ["p(99)<50ms", "p(99){clock:service}<50ms", "rate(failed)<1%", "count(failed){phase:hold}==0",
         "burn<1", "burn{slo:fast}<1", "burn{slo:answered}<1"]
[load]
pipeline = 4
coalesce = "100us"
[[phase]]
name = "hold"
duration = "10s"
rate = "100/s"
[[request]]
name = "get"
method = "GET"
path = "/"
[[fault]]
name = "slow"
at = "1s"
for = "1s"
point = "store"
kind = "latency"
delay = "5ms"
[[slo]]
name = "answered"
objective = "99%"
[[slo]]
name = "fast"
objective = "99%"
under = "10ms"
"#;
        let open = load(&Source { name: "t.toml".into(), text: text.into() }, &[]).unwrap();
        let (plan, left_out) = closed_loop(open.clone(), 5.0);
        assert!(plan.load.mode.is_closed());
        assert_eq!((plan.load.pipeline, plan.load.coalesce_us), (1, 0));
        assert_eq!((plan.duration_s(), plan.phases.len(), plan.faults.len()), (5.0, 1, 0));
        let gates: Vec<&str> = plan.gates.iter().map(|g| g.expression.as_str()).collect();
        assert_eq!(gates, ["p(99){clock:service}<50ms", "rate(failed)<1%", "burn{slo:answered}<1"]);
        assert_eq!(plan.slos.len(), 1);
        let told = left_out.join(", ");
        for word in [
            "1 phases",
            "fault `slow`",
            "gate `p(99)<50ms`",
            "{phase:hold}",
            "gate `burn<1`",
            "gate `burn{slo:fast}<1`",
            "SLO `fast`",
            "load.pipeline 4",
            "load.coalesce 100",
        ] {
            assert!(told.contains(word), "{word} is not in {told}");
        }
        // A plan of the usual kind is written as it always was.
        assert!(!serde_json::to_string(&open).unwrap().contains("\"mode\""));
        assert!(serde_json::to_string(&plan).unwrap().contains("\"mode\":\"closed\""));
    }
}
