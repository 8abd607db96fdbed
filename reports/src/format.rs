//! How figures are written for people: one way for every report.

use squall_record::latency::human_us;

use crate::summary::{GateResult, GateSummary, GatesVerdict, GeneratorSummary, LatencyStats, Unit};

/// What stands where there is no figure.
pub(crate) const NONE: &str = "–";

/// A whole number with thin groups of three: `1 234 567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Requests per second: `9 998/s`, `0.5/s`.
pub(crate) fn rate(rps: f64) -> String {
    if rps.abs() >= 10.0 {
        format!("{}/s", count(rps.round().max(0.0) as u64))
    } else {
        format!("{rps:.1}/s")
    }
}

/// Milliseconds with three significant digits and a unit that fits: `850 µs`, `12.3 ms`.
pub(crate) fn ms(ms: f64) -> String {
    human_us(ms * 1000.0)
}

/// The same for the tick of an axis, without zeros that say nothing: `10 ms`.
pub(crate) fn ms_tick(ms: f64) -> String {
    let (value, unit) = if ms < 0.999_999 {
        (ms * 1000.0, "µs")
    } else if ms < 999.999 {
        (ms, "ms")
    } else {
        (ms / 1000.0, "s")
    };
    format!("{} {unit}", (value * 1000.0).round() / 1000.0)
}

/// `1 worker`, `2 workers`.
pub(crate) fn several(n: u32, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {one}s", count(u64::from(n))) }
}

/// What has to be said of the connections: that they ended, and that the target spoke unasked.
pub(crate) fn wire(g: &GeneratorSummary) -> Vec<String> {
    let connections = |n: u64| if n == 1 { "connection" } else { "connections" };
    let reopened = g.connections_reopened.filter(|n| *n > 0).map(|n| {
        let was = if n == 1 { "was" } else { "were" };
        format!("{} {} that had ended {was} opened again", count(n), connections(n))
    });
    let unasked = g.connections_unasked.filter(|n| *n > 0).map(|n| {
        format!(
            "the target sent what nobody had asked for on {} {}: an answer may have been taken for another request's",
            count(n),
            connections(n)
        )
    });
    reopened.into_iter().chain(unasked).collect()
}

/// What is left of an error budget: `12 %`, `−470 %`.
pub(crate) fn budget_left(remaining: Option<f64>) -> String {
    match remaining {
        None => NONE.to_owned(),
        Some(r) if r < 0.0 => format!("−{:.0} %", -r * 100.0),
        // Cut, not rounded: a budget of which something is gone is not whole.
        Some(r) => format!("{:.0} %", (r * 100.0).floor()),
    }
}

/// One figure of a latency by its name in `clipped`, `≥` before a lower bound.
pub(crate) fn latency(stats: &LatencyStats, name: &str, value: Option<f64>) -> String {
    match value {
        None => NONE.to_owned(),
        Some(v) if stats.clipped.iter().any(|c| c == name) => format!("≥ {}", ms(v)),
        Some(v) => ms(v),
    }
}

/// Seconds: `12 s`, `1.5 s`, `0.02 s`.
pub(crate) fn seconds(s: f64) -> String {
    let decimals = if s >= 10.0 || s == s.trunc() { 0 } else { 1 };
    if s > 0.0 && s < 0.1 { format!("{s:.3} s") } else { format!("{s:.decimals$} s") }
}

/// A share as a percentage with as many digits as tell it from `against` (an objective) and from
/// 100 %, never rounded up to either: `99.95 %`.
pub(crate) fn percent(share: f64, against: f64) -> String {
    if share == 0.0 || share == 1.0 {
        return format!("{} %", share * 100.0);
    }
    let tells = |decimals: usize| {
        let shown = truncated(share, decimals);
        shown < 100.0 && (share == against || (shown - against * 100.0).abs() > 1e-9)
    };
    // Two digits, and then as many as there are nines.
    let nines = (-(1.0 - share).log10()).ceil() - 2.0;
    let least = nines.clamp(2.0, 6.0) as usize;
    let decimals = (least..6).find(|d| tells(*d)).unwrap_or(6);
    let text = format!("{:.decimals$}", truncated(share, decimals));
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{} %", if text.is_empty() { "0" } else { text })
}

/// `share` in percent, cut after `decimals`: 99.99996 % must not read as 100 %.
fn truncated(share: f64, decimals: usize) -> f64 {
    let scale = 10f64.powi(decimals as i32);
    // The nudge keeps 0.9995 (stored as 0.99949999…) from being cut to 99.94 %.
    (share * 100.0 * scale + 1e-6).floor() / scale
}

/// `percent`, or [`NONE`].
pub(crate) fn percent_or_none(share: Option<f64>, against: f64) -> String {
    share.map_or_else(|| NONE.to_owned(), |s| percent(s, against))
}

/// What a gate measured, with its unit.
pub(crate) fn actual(g: &GateSummary) -> String {
    let Some(value) = g.actual else { return NONE.to_owned() };
    let text = match g.unit {
        Unit::Ms => ms(value),
        Unit::Ratio => small_percent(value),
        Unit::Rps => rate(value),
        Unit::Count => count(value.max(0.0) as u64),
        Unit::Times => multiple(value),
    };
    if g.clipped { format!("≥ {text}") } else { text }
}

/// A share as a percentage, also a very small one: `0.0004 %`.
pub(crate) fn small_percent(share: f64) -> String {
    if share > 0.0 && share < 0.000_1 {
        let decimals = (-(share * 100.0).log10()).ceil() as usize + 1;
        format!("{:.decimals$} %", share * 100.0)
    } else {
        percent(share, 1.0)
    }
}

/// `3.2`, and for a clean run `≥ 4.0` nines.
pub(crate) fn nines(nines: Option<f64>, at_least: Option<f64>) -> String {
    match (nines, at_least) {
        // One decimal, cut: 2.96 nines are not 3.
        (Some(n), _) => format!("{:.1}", (n * 10.0 + 1e-9).floor() / 10.0),
        (None, Some(n)) => format!("≥ {:.1}", (n * 10.0 + 1e-9).floor() / 10.0),
        (None, None) => NONE.to_owned(),
    }
}

/// A multiple: `14.4×`.
pub(crate) fn times(x: f64) -> String {
    if x >= 100.0 { format!("{x:.0}×") } else { format!("{x:.1}×") }
}

/// A multiple that is held to a bound: `14.4×`, `0.996×`. Three digits, cut, not rounded: what is below 1 must not read as 1.
pub(crate) fn multiple(x: f64) -> String {
    let magnitude = if x > 0.0 { x.log10().floor() } else { 0.0 };
    let decimals = (2.0 - magnitude).clamp(0.0, 9.0) as usize;
    let scale = 10f64.powi(decimals as i32);
    // The nudge keeps 14.4 (stored as 14.39999…) from being cut to 14.3.
    format!("{}×", (x * scale * (1.0 + 1e-9)).floor() / scale)
}

/// `✔ PASS`, `✗ FAIL`, `! INCONCLUSIVE`: never colour alone.
pub(crate) fn gate_word(r: GateResult) -> &'static str {
    match r {
        GateResult::Pass => "✔ PASS",
        GateResult::Fail => "✗ FAIL",
        GateResult::Inconclusive => "! INCONCLUSIVE",
    }
}

/// The same for all gates together.
pub(crate) fn gates_word(v: GatesVerdict) -> &'static str {
    match v {
        GatesVerdict::Pass => "✔ PASS",
        GatesVerdict::Fail => "✗ FAIL",
        GatesVerdict::Inconclusive => "! INCONCLUSIVE",
        GatesVerdict::None => "no gates",
    }
}

/// The same for a promise.
pub(crate) fn slo_word(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "✔ MET",
        Some(false) => "✗ MISSED",
        None => "! INCONCLUSIVE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_rounded_up_to_its_objective_or_to_all() {
        assert_eq!(percent(0.999_999_6, 0.999), "99.99996 %");
        assert_eq!(percent(0.998_999, 0.999), "99.89 %");
        assert_eq!(percent(0.999, 0.999), "99.9 %");
        assert_eq!(percent(0.9995, 0.9995), "99.95 %");
        assert_eq!(percent(1.0, 0.999), "100 %");
        assert_eq!(percent(0.0, 0.999), "0 %");
        assert_eq!(small_percent(0.000_004), "0.00040 %");
        assert_eq!(small_percent(0.02), "2 %");
    }

    #[test]
    fn a_multiple_is_never_rounded_up_to_its_bound() {
        let told = [0.0, 0.999_7, 1.0 - 1e-12, 14.4, 14.39, 0.000_123_9, 433.333, 1_000.0].map(multiple);
        assert_eq!(told, ["0×", "0.999×", "1×", "14.4×", "14.3×", "0.000123×", "433×", "1000×"]);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!((count(0), count(999), rate(0.5)), ("0".into(), "999".into(), "0.5/s".into()));
        assert_eq!(
            (seconds(60.0), seconds(1.53), seconds(0.02)),
            ("60 s".into(), "1.5 s".into(), "0.020 s".into())
        );
        assert_eq!(
            (ms_tick(0.2), ms_tick(10.0), ms_tick(1000.0)),
            ("200 µs".into(), "10 ms".into(), "1 s".into())
        );
        assert_eq!((several(1, "worker"), several(2, "worker")), ("1 worker".into(), "2 workers".into()));
        assert_eq!((budget_left(Some(-4.7)), budget_left(Some(0.999))), ("−470 %".into(), "99 %".into()));
        assert_eq!(nines(Some(2.96), None), "2.9");
        assert_eq!(nines(None, Some(4.0)), "≥ 4.0");
    }

    #[test]
    fn a_lower_bound_reads_as_one() {
        let stats =
            LatencyStats { clipped: vec!["max".into()], max: Some(600_000.0), ..LatencyStats::default() };
        assert_eq!(latency(&stats, "max", stats.max), "≥ 600 s");
        assert_eq!(latency(&stats, "p50", stats.p50), NONE);
    }
}
