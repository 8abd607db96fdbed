//! Gates in k6's grammar: `p(99)<50ms`, `rate(failed)<0.1%`, `availability{phase:hold}>=99.9%`.
//!
//! ```text
//! gate     = metric [ "{" selector *( "," selector ) "}" ] op bound
//! metric   = "p(" 0..100 ")" | "avg" | "mean" | "med" | "max"
//!          | "rate(" tally ")" | "count(" tally ")" | "availability" | "throughput" | "recover" | "rto"
//!          | "burn"
//! tally    = "planned" | "sent" | "completed" | "ok" | "declined" | "shed" | "failed" | "dropped" | "late"
//!          | "retried"
//! selector = "phase:" name | "request:" name | "clock:" ( "response" | "service" | "schedule_lag" )
//!          | "journey:" name | "step:" name | "fault:" name | "slo:" name
//! op       = "<" | "<=" | ">" | ">=" | "==" | "!="
//! bound    = a duration or milliseconds | a share | a count | a rate or requests per second | a multiple
//! ```
//!
//! A gate of a journey looks at closed-loop service times and at requests sent; it has no phase,
//! no request class and no other clock, and nothing of it is planned. `recover` and `rto` look at
//! faults: at all of them, or at one by its name. `burn` looks at SLOs likewise; each says itself which
//! requests it is about.
//!
//! The bound's form follows from the metric. Spaces between the parts do not matter. After
//! <https://grafana.com/docs/k6/latest/using-k6/thresholds/>, but that k6 writes `p(95)<500` and
//! `rate<0.01` with the metric's name outside.

use crate::error::{did_you_mean, tick};
use crate::plan::{ClockKind, GatePlan, Metric, Op, Tally};
use crate::units::duration::parse_duration;
use crate::units::number::{scaled, split};
use crate::units::rate::parse_rate_rps;
use crate::units::ratio::parse_ratio;

/// The longest expression, in bytes.
pub const MAX_GATE_LEN: usize = 256;

/// Why a text is not a gate. Reads on after the gate itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GateError(String);

/// `Metric`s that are written as a plain word. The clock is the default one.
const WORDS: [(&str, Metric); 9] = [
    ("avg", Metric::Mean { clock: ClockKind::Response }),
    ("mean", Metric::Mean { clock: ClockKind::Response }),
    ("med", Metric::Percentile { q: 0.5, clock: ClockKind::Response }),
    ("max", Metric::Max { clock: ClockKind::Response }),
    ("availability", Metric::Availability),
    ("throughput", Metric::Throughput),
    ("recover", Metric::Recover),
    ("rto", Metric::Rto),
    ("burn", Metric::Burn),
];

const TALLIES: [(&str, Tally); 10] = [
    ("planned", Tally::Planned),
    ("sent", Tally::Sent),
    ("completed", Tally::Completed),
    ("ok", Tally::Ok),
    ("declined", Tally::Declined),
    ("shed", Tally::Shed),
    ("failed", Tally::Failed),
    ("dropped", Tally::Dropped),
    ("late", Tally::Late),
    ("retried", Tally::Retried),
];

const CLOCKS: [(&str, ClockKind); 3] = [
    ("response", ClockKind::Response),
    ("service", ClockKind::Service),
    ("schedule_lag", ClockKind::ScheduleLag),
];

/// Longer ones first: `<=` begins with `<`.
const OPS: [(&str, Op); 7] = [
    ("===", Op::Eq),
    ("<=", Op::Le),
    (">=", Op::Ge),
    ("==", Op::Eq),
    ("!=", Op::Ne),
    ("<", Op::Lt),
    (">", Op::Gt),
];

/// The gate in `expression`. Whether its phase and request class exist is the plan's to check.
///
/// # Errors
/// When `expression` does not follow the grammar, or its bound is not one of its metric.
pub fn parse_gate(expression: &str) -> Result<GatePlan, GateError> {
    if expression.len() > MAX_GATE_LEN {
        return Err(GateError(format!("is longer than {MAX_GATE_LEN} bytes")));
    }
    let expression = expression.trim();
    let (head, selectors, tail) = sections(expression)?;
    let (op, bound) = operator(tail)?;
    let mut gate = GatePlan {
        expression: expression.to_owned(),
        metric: metric(head.trim())?,
        phase: None,
        request: None,
        journey: None,
        step: None,
        fault: None,
        slo: None,
        op,
        bound: 0.0,
    };
    let mut clock = false;
    for selector in selectors.split(',').filter(|_| !selectors.is_empty()) {
        clock |= selector.trim_start().starts_with("clock");
        select(&mut gate, selector)?;
    }
    closed_loop(&mut gate, clock)?;
    around_a_fault(&gate)?;
    of_an_slo(&gate)?;
    gate.bound = parse_bound(gate.metric, bound.trim())?;
    Ok(gate)
}

/// Metric, what is between the braces, and operator with bound.
fn sections(text: &str) -> Result<(&str, &str, &str), GateError> {
    let brace = text.find('{').unwrap_or(text.len());
    let op = text.find(['<', '>', '=', '!']).unwrap_or(text.len());
    if brace < op {
        let (head, rest) = text.split_at(brace);
        let (inner, tail) = rest[1..].split_once('}').ok_or_else(|| {
            GateError("has no } for its {; write it like p(99){phase:hold}<20ms".to_owned())
        })?;
        if inner.trim().is_empty() {
            return Err(GateError(
                "selects nothing between its braces; write phase:, request: or clock:".to_owned(),
            ));
        }
        Ok((head, inner, tail))
    } else if op < text.len() {
        Ok((&text[..op], "", &text[op..]))
    } else {
        Err(GateError("compares nothing; write it like p(99)<50ms".to_owned()))
    }
}

fn operator(tail: &str) -> Result<(Op, &str), GateError> {
    let tail = tail.trim_start();
    OPS.into_iter()
        .find_map(|(text, op)| Some((op, tail.strip_prefix(text)?)))
        .ok_or_else(|| GateError("has no comparison; write one of < <= > >= == !=".to_owned()))
}

fn metric(head: &str) -> Result<Metric, GateError> {
    let names = || WORDS.iter().map(|(n, _)| *n).chain(["p(99)", "rate(failed)", "count(failed)"]);
    let unknown = || {
        let known = names().collect::<Vec<_>>().join(", ");
        let hint = match head.strip_prefix('p').filter(|n| scaled(n, 0).is_some()) {
            Some(percentile) => format!("; write p({percentile})"),
            None => did_you_mean(head, names()),
        };
        GateError(format!("measures {}, which is none of {known}{hint}", tick(head)))
    };
    let Some((word, argument)) = head.split_once('(') else {
        return lookup(&WORDS, head).ok_or_else(unknown);
    };
    let argument = argument
        .strip_suffix(')')
        .ok_or_else(|| GateError(format!("has no ) for the ( of {}", tick(head))))?
        .trim();
    match word.trim_end() {
        "p" => percentile(argument),
        "rate" => Ok(Metric::Rate { of: tally(argument)? }),
        "count" => Ok(Metric::Count { of: tally(argument)? }),
        _ => Err(unknown()),
    }
}

fn percentile(argument: &str) -> Result<Metric, GateError> {
    match scaled(argument, -2) {
        Some(q) if q > 0.0 && q <= 1.0 => Ok(Metric::Percentile { q, clock: ClockKind::Response }),
        _ => Err(GateError(format!(
            "has the percentile {}; it must be above 0 and at most 100, like p(99.9)",
            tick(argument)
        ))),
    }
}

fn tally(argument: &str) -> Result<Tally, GateError> {
    lookup(&TALLIES, argument).ok_or_else(|| {
        let known = TALLIES.map(|(n, _)| n);
        GateError(format!(
            "counts {}, which is none of {}{}",
            tick(argument),
            known.join(", "),
            did_you_mean(argument, known.into_iter())
        ))
    })
}

/// A gate of a journey asks for what a closed loop has.
fn closed_loop(gate: &mut GatePlan, chooses_clock: bool) -> Result<(), GateError> {
    let refuse = |why: &str| Err(GateError(why.to_owned()));
    if gate.journey.is_none() {
        return if gate.step.is_some() {
            refuse("selects a step, but no journey; write it like {journey:customer,step:pay}")
        } else {
            Ok(())
        };
    }
    if gate.phase.is_some() || gate.request.is_some() {
        return refuse(
            "selects a journey together with a phase or a request, which are of the open-loop load",
        );
    }
    match &mut gate.metric {
        Metric::Percentile { clock, .. } | Metric::Mean { clock } | Metric::Max { clock } => {
            if chooses_clock {
                return refuse("selects a clock for a journey, which has only its closed-loop service time");
            }
            *clock = ClockKind::Service;
            Ok(())
        }
        Metric::Rate { of } | Metric::Count { of }
            if matches!(of, Tally::Planned | Tally::Dropped | Tally::Late) =>
        {
            refuse("counts planned, dropped or late requests of a journey, which plans none")
        }
        _ => Ok(()),
    }
}

/// A gate of a fault asks for what is known of one.
fn around_a_fault(gate: &GatePlan) -> Result<(), GateError> {
    let narrowed = gate.phase.is_some() || gate.request.is_some() || gate.journey.is_some();
    match (gate.metric.is_of_faults(), gate.fault.is_some()) {
        (true, _) if narrowed => Err(GateError(
            "is of a fault and the whole service, so it selects no phase, request or journey".to_owned(),
        )),
        (false, true) => Err(GateError(
            "selects a fault, of which recover and rto are known; write recover{fault:crash}<10s".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// A gate of an SLO leaves it to that what counts.
fn of_an_slo(gate: &GatePlan) -> Result<(), GateError> {
    let narrowed = gate.phase.is_some() || gate.request.is_some() || gate.journey.is_some();
    match (gate.metric == Metric::Burn, gate.slo.is_some()) {
        (true, _) if narrowed => Err(GateError(
            "is of an SLO, which says itself what it is about, so it selects no phase, request or journey"
                .to_owned(),
        )),
        (false, true) => Err(GateError(
            "selects an SLO, of which the burn rate is known; write burn{slo:answered}<1".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn select(gate: &mut GatePlan, selector: &str) -> Result<(), GateError> {
    let known = ["phase", "request", "clock", "journey", "step", "fault", "slo"];
    let (key, value) = selector
        .split_once(':')
        .ok_or_else(|| GateError(format!("selects {}; write it like phase:hold", tick(selector.trim()))))?;
    let (key, value) = (key.trim(), value.trim());
    let twice = || GateError(format!("selects {key} twice"));
    match key {
        "phase" | "request" | "journey" | "step" | "fault" | "slo" => {
            let slot = match key {
                "phase" => &mut gate.phase,
                "request" => &mut gate.request,
                "journey" => &mut gate.journey,
                "fault" => &mut gate.fault,
                "slo" => &mut gate.slo,
                _ => &mut gate.step,
            };
            if slot.replace(value.to_owned()).is_some() { Err(twice()) } else { Ok(()) }
        }
        "clock" => {
            let chosen = lookup(&CLOCKS, value).ok_or_else(|| {
                let known = CLOCKS.map(|(n, _)| n);
                GateError(format!(
                    "reads the clock {}, which is none of {}{}",
                    tick(value),
                    known.join(", "),
                    did_you_mean(value, known.into_iter())
                ))
            })?;
            match &mut gate.metric {
                Metric::Percentile { clock, .. } | Metric::Mean { clock } | Metric::Max { clock } => {
                    *clock = chosen;
                    Ok(())
                }
                _ => Err(GateError("selects a clock, but measures no time".to_owned())),
            }
        }
        _ => Err(GateError(format!(
            "selects by {}, which is none of {}{}",
            tick(key),
            known.join(", "),
            did_you_mean(key, known.into_iter())
        ))),
    }
}

/// The bound in the unit of [`GatePlan::bound`].
fn parse_bound(metric: Metric, text: &str) -> Result<f64, GateError> {
    let number = scaled(text, 0);
    let wrong = |e: String| GateError(format!("has a bound that does not fit: {e}"));
    match metric {
        Metric::Percentile { .. }
        | Metric::Mean { .. }
        | Metric::Max { .. }
        | Metric::Recover
        | Metric::Rto => match number {
            Some(ms) => Ok(ms),
            None => parse_duration(text).map(|d| d.as_secs_f64() * 1e3).map_err(|e| wrong(e.to_string())),
        },
        Metric::Rate { .. } | Metric::Availability => parse_ratio(text).map_err(|e| wrong(e.to_string())),
        Metric::Throughput => match number {
            Some(rps) => Ok(rps),
            None => parse_rate_rps(text).map_err(|e| wrong(e.to_string())),
        },
        Metric::Count { .. } => match (number, split(text)) {
            (Some(n), Some((digits, _))) if !digits.contains('.') => Ok(n),
            _ => Err(wrong(format!("{} is not a whole number", tick(text)))),
        },
        Metric::Burn => number.ok_or_else(|| {
            wrong(format!(
                "{} is not a number; write how many times faster than allowed, like 14.4",
                tick(text)
            ))
        }),
    }
}

fn lookup<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gate(text: &str) -> GatePlan {
        parse_gate(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn the_gates_of_the_documentation_read_as_meant() {
        let response = ClockKind::Response;
        for (text, metric, op, bound) in [
            ("p(99)<50ms", Metric::Percentile { q: 0.99, clock: response }, Op::Lt, 50.0),
            ("p(99.9) <= 1s", Metric::Percentile { q: 0.999, clock: response }, Op::Le, 1000.0),
            ("p(95)<500", Metric::Percentile { q: 0.95, clock: response }, Op::Lt, 500.0),
            ("med<5ms", Metric::Percentile { q: 0.5, clock: response }, Op::Lt, 5.0),
            ("avg<5ms", Metric::Mean { clock: response }, Op::Lt, 5.0),
            ("mean<5ms", Metric::Mean { clock: response }, Op::Lt, 5.0),
            ("max<5ms", Metric::Max { clock: response }, Op::Lt, 5.0),
            ("rate(failed)<0.1%", Metric::Rate { of: Tally::Failed }, Op::Lt, 0.001),
            ("rate(failed)===0", Metric::Rate { of: Tally::Failed }, Op::Eq, 0.0),
            ("count(dropped)==0", Metric::Count { of: Tally::Dropped }, Op::Eq, 0.0),
            ("count(late)!=7", Metric::Count { of: Tally::Late }, Op::Ne, 7.0),
            ("availability>=99.9%", Metric::Availability, Op::Ge, 0.999),
            ("throughput>9.5k/s", Metric::Throughput, Op::Gt, 9500.0),
            ("throughput>=9500", Metric::Throughput, Op::Ge, 9500.0),
            ("recover<10s", Metric::Recover, Op::Lt, 10_000.0),
            ("rto <= 30s", Metric::Rto, Op::Le, 30_000.0),
            ("burn<1", Metric::Burn, Op::Lt, 1.0),
        ] {
            let g = gate(text);
            assert_eq!((g.metric, g.op, g.bound), (metric, op, bound), "{text}");
            assert_eq!((g.expression.as_str(), g.phase, g.request), (text, None, None));
        }
    }

    #[test]
    fn selectors_combine() {
        let g = gate("p(99){phase:stairs 1/10, request:pay ,clock:service}<20ms");
        assert_eq!(g.phase.as_deref(), Some("stairs 1/10"));
        assert_eq!(g.request.as_deref(), Some("pay"));
        assert_eq!(g.metric, Metric::Percentile { q: 0.99, clock: ClockKind::Service });
    }

    #[test]
    fn a_gate_of_a_fault_selects_nothing_else() {
        assert_eq!(gate("recover{fault:zone down}<10s").fault.as_deref(), Some("zone down"));
        for (text, why) in [
            ("p(99){fault:crash}<1s", "recover and rto"),
            ("recover{phase:hold}<1s", "no phase"),
            ("rto{fault:crash,request:pay}<1s", "no phase"),
            ("rto{clock:service}<1s", "measures no time"),
            ("recover{fault:a,fault:b}<1s", "fault twice"),
            ("recover<99%", "a bound that does not fit"),
        ] {
            let told = parse_gate(text).unwrap_err().to_string();
            assert!(told.contains(why), "{text}: {told}");
        }
    }

    #[test]
    fn a_gate_of_an_slo_selects_nothing_else() {
        let g = gate("burn{slo:quick answers} > 14.4");
        assert_eq!((g.slo.as_deref(), g.op, g.bound), (Some("quick answers"), Op::Gt, 14.4));
        for (text, why) in [
            ("rate(failed){slo:answered}<1%", "the burn rate is known"),
            ("burn{phase:hold}<1", "no phase"),
            ("burn{slo:answered,request:pay}<1", "no phase"),
            ("burn{journey:customer}<1", "no phase"),
            ("burn{journey:customer,step:pay,slo:answered}<1", "no phase"),
            ("burn{step:pay}<1", "no journey"),
            ("burn{clock:service}<1", "measures no time"),
            ("burn{fault:crash}<1", "recover and rto"),
            ("burn{slo:a,slo:b}<1", "slo twice"),
            ("burn{sla:a}<1", "did you mean `slo`"),
        ] {
            let told = parse_gate(text).unwrap_err().to_string();
            assert!(told.contains(why), "{text}: {told}");
        }
        for bound in ["1%", "1s", "14.4x", "-1", "", "1e3", "inf"] {
            let told = parse_gate(&format!("burn<{bound}")).unwrap_err().to_string();
            assert!(told.contains("is not a number; write how many times"), "{bound}: {told}");
        }
    }

    #[test]
    fn a_gate_of_a_journey_reads_its_closed_loop_clock() {
        let g = gate("p(99){journey:customer,step:pay}<50ms");
        assert_eq!((g.journey.as_deref(), g.step.as_deref()), (Some("customer"), Some("pay")));
        assert_eq!(g.metric, Metric::Percentile { q: 0.99, clock: ClockKind::Service });
        assert_eq!(gate("rate(failed){journey:customer}<1%").metric, Metric::Rate { of: Tally::Failed });
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        let message = |t: &str| parse_gate(t).unwrap_err().to_string();
        let table = [
            "p(99)",
            "p99<50ms",
            "p(0)<1s",
            "p(101)<1s",
            "p(99<50ms",
            "p(99){phase:hold<20ms",
            "p(99){}<1s",
            "p(99){fase:hold}<1s",
            "p(99){hold}<1s",
            "p(99){phase:a,phase:b}<1s",
            "availability{clock:service}>1%",
            "p(99){clock:servce}<1s",
            "rate(faild)<1%",
            "rate(failed)<5",
            "count(failed)<1.5",
            "p(99)<fast",
            "p(99)=50ms",
            "latency<5ms",
            "throughput>10k",
            "p(99)<",
            "",
            "p(99){step:pay}<1s",
            "p(99){journey:a,phase:b}<1s",
            "p(99){journey:a,clock:service}<1s",
            "count(dropped){journey:a}==0",
            "burn<5%",
            "burn{request:pay}<1",
            "availability{slo:answered}>99%",
        ];
        let told: Vec<String> = table.iter().map(|t| format!("gate {} {}", tick(t), message(t))).collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC*|[a-z0-9(){}<>=!:,. %]{0,40}") {
            if let Ok(g) = parse_gate(&text) {
                prop_assert!(g.bound.is_finite() && g.bound >= 0.0);
            }
        }

        #[test]
        fn a_gate_written_from_its_parts_reads_back(
            tenths in 1u32..=1000, tally in 0usize..TALLIES.len(), clock in 0usize..CLOCKS.len(), op in 0usize..OPS.len(),
            bound in 0u32..100_000, phase in proptest::option::of("[a-z][a-z /0-9]{0,8}[a-z]"),
            request in proptest::option::of("[a-z_]{1,8}"), which in 0u8..3,
        ) {
            let q = format!("{}.{}", tenths / 10, tenths % 10);
            let (head, metric) = match which {
                0 => (format!("p({q})"), Metric::Percentile { q: f64::from(tenths) / 1000.0, clock: CLOCKS[clock].1 }),
                1 => (format!("count({})", TALLIES[tally].0), Metric::Count { of: TALLIES[tally].1 }),
                _ => ("throughput".to_owned(), Metric::Throughput),
            };
            let mut selectors = Vec::new();
            if which == 0 { selectors.push(format!("clock:{}", CLOCKS[clock].0)); }
            selectors.extend(phase.iter().map(|p| format!("phase:{p}")));
            selectors.extend(request.iter().map(|r| format!("request:{r}")));
            let braces = if selectors.is_empty() { String::new() } else { format!("{{{}}}", selectors.join(",")) };
            let g = gate(&format!("{head}{braces}{}{bound}", OPS[op].0));
            prop_assert_eq!((g.metric, g.op, g.bound), (metric, OPS[op].1, f64::from(bound)));
            prop_assert_eq!((g.phase, g.request), (phase, request));
        }
    }
}
