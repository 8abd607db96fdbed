//! Every shape of traffic, from the file to the instants: the arrivals are the integral of the rate that
//! the shape means, and any number of workers carries the same ones.

use std::f64::consts::PI;

use squall_scenarios::load::load;
use squall_scenarios::plan::Plan;
use squall_scenarios::schedule::{Arrival, Schedule};
use squall_scenarios::source::Source;
use squall_scenarios::workload::Workload;

/// A plan of one phase, 100 s long, of this shape. Its name puts it beside the files of `tests/valid`.
fn plan(shape: &str, arrivals: &str) -> Plan {
    let text = format!(
        r#"
name = "shape"
[load]
arrivals = "{arrivals}"
[[phase]]
name = "all"
duration = "100s"
{shape}
[[request]]
name = "pay"
method = "GET"
path = "/${{account}}"
"#
    );
    load(&Source { name: "tests/valid/shape.toml".to_owned(), text }, &[]).unwrap_or_else(|e| panic!("{e}"))
}

/// Half a cosine from `a` to `b`.
fn ease(a: (f64, f64), b: (f64, f64), t: f64) -> f64 {
    a.1 + (b.1 - a.1) * (1.0 - (PI * (t - a.0) / (b.0 - a.0)).cos()) / 2.0
}

/// A day from 100/s at 04:00 to 1000/s at 19:30, by its definition; `hour` from 0 to 24.
fn day(hour: f64) -> f64 {
    let knots = [(-4.5, 1000.0), (4.0, 100.0), (12.5, 820.0), (16.0, 640.0), (19.5, 1000.0), (28.0, 100.0)];
    let i = knots.partition_point(|k| k.0 <= hour);
    ease(knots[i - 1], knots[i], hour)
}

/// A shape as typed, and the rate it means at an instant of its phase.
type Case = (&'static str, fn(f64) -> f64);

const SHAPES: &[Case] = &[
    (r#"rate = "500/s""#, |_| 500.0),
    (r#"ramp = { from = "0/s", to = "1k/s" }"#, |t| 10.0 * t),
    (r#"steps = { from = "100/s", to = "400/s", count = 4 }"#, |t| 100.0 + 100.0 * (t / 25.0).floor()),
    (
        r#"spike = { base = "100/s", peak = "1k/s", at = "20s", rise = "10s", hold = "20s", fall = "30s" }"#,
        |t| match t {
            t if t < 20.0 => 100.0,
            t if t < 30.0 => 100.0 + 90.0 * (t - 20.0),
            t if t < 50.0 => 1000.0,
            t if t < 80.0 => 1000.0 - 30.0 * (t - 50.0),
            _ => 100.0,
        },
    ),
    (
        "pulse = { low = \"100/s\", high = \"1k/s\", period = \"10s\", duty = \"25%\" }\noffset = \"1s\"",
        |t| if (t + 1.0) % 10.0 < 2.5 { 1000.0 } else { 100.0 },
    ),
    ("sine = { low = \"200/s\", high = \"1k/s\", period = \"40s\" }\noffset = \"7s\"", |t| {
        600.0 + 400.0 * (2.0 * PI * (t + 7.0) / 40.0).sin()
    }),
    (r#"daily = { trough = "100/s", peak = "1k/s" }"#, |t| day(t * 0.24)),
    ("daily = { trough = \"100/s\", peak = \"1k/s\" }\nspan = \"3h\"\noffset = \"11h\"\nscale = 0.5", |t| {
        0.5 * day(11.0 + t * 0.03)
    }),
    // A Wednesday: no weekend is near.
    (
        "weekly = { day = { trough = \"100/s\", peak = \"1k/s\" }, weekend = 2.0 }\nspan = \"24h\"\noffset = \"48h\"",
        |t| day(t * 0.24),
    ),
    // 1 to 22 December.
    (
        "seasonal = { ordinary = \"500/s\", holidays = 1.2, growth = 0.5 }\nspan = \"21d\"\noffset = \"334d\"",
        |t| 600.0 * 1.5f64.powf((334.0 + t * 0.21) / 365.0),
    ),
    ("curve = { file = \"export.csv\", time = \"Time\", rate = \"payments/s\" }\nscale = 0.1", |t| {
        let rates = [1200.0, 1850.0, 4100.0, 3900.0, 2200.0];
        let i = ((t / 25.0) as usize).min(3);
        0.1 * (rates[i] + (rates[i + 1] - rates[i]) * (t / 25.0 - i as f64))
    }),
    (r#"sum = [{ rate = "100/s" }, { sine = { low = "0/s", high = "800/s", period = "50s" } }]"#, |t| {
        500.0 + 400.0 * (2.0 * PI * t / 50.0).sin()
    }),
    (
        r#"product = [{ ramp = { from = "0/s", to = "1k/s" } }, { sine = { low = 0.5, high = 1, period = "50s" } }]"#,
        |t| 10.0 * t * (0.75 + 0.25 * (2.0 * PI * t / 50.0).sin()),
    ),
];

/// The integral of `rate` from `a` to `b`, by midpoints, fine enough for its jumps.
fn integral(rate: fn(f64) -> f64, a: f64, b: f64) -> f64 {
    let n = 100_000;
    let h = (b - a) / f64::from(n);
    (0..n).map(|i| rate(a + (f64::from(i) + 0.5) * h)).sum::<f64>() * h
}

#[test]
fn arrivals_between_any_two_instants_are_the_integral_of_the_rate_the_shape_means() {
    for (shape, rate) in SHAPES {
        let at_s: Vec<f64> = Schedule::new(&plan(shape, "uniform")).map(|a| a.at_ns as f64 / 1e9).collect();
        let peak = (0..10_000).map(|i| rate(f64::from(i) / 100.0)).fold(0.0, f64::max);
        for (a, b) in [(0.0, 100.0), (0.0, 33.3), (12.5, 20.1), (47.0, 53.0), (60.0, 99.9)] {
            let counted = at_s.iter().filter(|t| (a..b).contains(*t)).count() as f64;
            let expected = integral(*rate, a, b);
            // 0.06 % of the swing and 0.1 % for the product, and the arrivals at the two ends.
            let tolerance = 2.0 + 0.0016 * peak * (b - a);
            assert!(
                (counted - expected).abs() <= tolerance,
                "{counted} in {a} to {b}, not {expected}: {shape}"
            );
        }
        let (counted, expected) = (at_s.len() as f64, integral(*rate, 0.0, 100.0));
        assert!((counted / expected - 1.0).abs() < 0.001, "{counted} in all, not {expected}: {shape}");
    }
}

#[test]
fn one_two_and_four_workers_send_the_same_requests_at_the_same_instants() {
    for (shape, _) in SHAPES {
        for arrivals in ["uniform", "poisson", "bursty"] {
            let plan = plan(shape, arrivals);
            // Each worker has its own workload, as in a run on several machines.
            let carried = |workers: u32| {
                let mut all: Vec<(Arrival, u16, Vec<u8>)> = Vec::new();
                for w in 0..workers {
                    let workload = Workload::new(&plan, "host", "token").unwrap();
                    all.extend(Schedule::for_worker(&plan, w, workers).map(|a| {
                        let mut bytes = Vec::new();
                        let class = workload.class(a.index, a.phase);
                        workload.fill(a.index, class, &mut bytes);
                        (a, class, bytes)
                    }));
                }
                all.sort_by_key(|(a, ..)| a.index);
                all
            };
            let whole = carried(1);
            assert!(whole.len() > 10_000, "{} arrivals: {shape}", whole.len());
            assert!(whole.iter().zip(0..).all(|((a, ..), i)| a.index == i), "{shape}");
            for workers in [2, 4] {
                assert!(carried(workers) == whole, "{workers} workers, {arrivals}: {shape}");
            }
        }
    }
}
