//! What a stepped run says about capacity, and what it does not.

use std::fmt;

use crate::fit::{FEW_LOADS, Fit, FitError, Point, fit};
use crate::knee::{Knee, Step, knee};

/// Everything that a stepped run says about capacity.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// The fitted law over (concurrency, throughput) of the steps.
    pub fit: Option<Fit>,
    /// The highest step that kept the promise.
    pub knee: Option<Knee>,
    /// knee ÷ demand − 1: 0.5 means that half as much again would still fit. A lower bound when
    /// the knee was not reached; `None` without a knee or a demand.
    pub headroom: Option<f64>,
    /// What has to be said with the figures.
    pub caveats: Vec<Caveat>,
}

/// What has to be said with a capacity figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Caveat {
    /// Every step kept the promise.
    KneeNotReached {
        /// The highest step's rate, in requests per second.
        highest_rps: f64,
    },
    /// No step kept the promise.
    NoStepKept {
        /// The lowest step's rate, in requests per second.
        lowest_rps: f64,
    },
    /// The law could not be fitted.
    NoFit(FitError),
    /// The fit rests on few points.
    FewPoints(usize),
    /// The law's peak lies beyond everything that was measured.
    PeakExtrapolated {
        /// N* of the fit.
        peak_n: f64,
        /// The highest N measured.
        highest_n: f64,
    },
    /// The law found no peak: throughput grew to the last step.
    NoPeak,
    /// Nothing says how much load the system must carry.
    NoDemand,
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caveat::KneeNotReached { highest_rps } => write!(
                f,
                "the steps end before the knee: the capacity is {highest_rps:.0} requests/s or more; \
                 add higher steps to find it"
            ),
            Caveat::NoStepKept { lowest_rps } => write!(
                f,
                "already the lowest step ({lowest_rps:.0} requests/s) is past the knee; begin lower"
            ),
            Caveat::NoFit(e) => write!(f, "no scalability fit: {e}"),
            Caveat::FewPoints(n) => write!(
                f,
                "the scalability fit rests on {n} points and {FEW_LOADS} are the least for a sound one; \
                 add steps"
            ),
            Caveat::PeakExtrapolated { peak_n, highest_n } => write!(
                f,
                "the fitted peak at a concurrency of {peak_n:.1} lies beyond the highest one measured \
                 ({highest_n:.1}): it is an extrapolation, not a finding"
            ),
            Caveat::NoPeak => {
                f.write_str("the fit has no peak: throughput still grew with concurrency at the last step")
            }
            Caveat::NoDemand => {
                f.write_str("no headroom: no measured phase besides the steps says what rate must be carried")
            }
        }
    }
}

/// Judges `steps` against `demand_rps`, the rate that the system must carry (`None` when nobody
/// said). Returns `None` when there are no steps.
#[must_use]
pub fn assess(steps: &[Step], demand_rps: Option<f64>) -> Option<Assessment> {
    let lowest_rps = steps.iter().map(|s| s.offered_rps).min_by(f64::total_cmp)?;
    let mut caveats = Vec::new();
    let knee = knee(steps);
    match knee {
        Some(Knee { rps, reached: false }) => caveats.push(Caveat::KneeNotReached { highest_rps: rps }),
        Some(_) => {}
        None => caveats.push(Caveat::NoStepKept { lowest_rps }),
    }

    // A step in which nothing was in service has no place on the curve.
    let points: Vec<Point> = steps
        .iter()
        .filter(|s| s.concurrency > 0.0)
        .map(|s| Point { n: s.concurrency, throughput: s.throughput_rps })
        .collect();
    let fit = match fit(&points) {
        Ok(fit) => {
            caveats.extend(fit_caveats(&fit));
            Some(fit)
        }
        Err(e) => {
            caveats.push(Caveat::NoFit(e));
            None
        }
    };

    let demand = demand_rps.filter(|d| *d > 0.0);
    if demand.is_none() {
        caveats.push(Caveat::NoDemand);
    }
    let headroom = knee.zip(demand).map(|(knee, demand)| knee.rps / demand - 1.0);
    Some(Assessment { fit, knee, headroom, caveats })
}

fn fit_caveats(fit: &Fit) -> Vec<Caveat> {
    let mut caveats = Vec::new();
    if fit.points < FEW_LOADS {
        caveats.push(Caveat::FewPoints(fit.points));
    }
    match fit.usl.peak() {
        Some(peak) if peak.n > fit.highest_n => {
            caveats.push(Caveat::PeakExtrapolated { peak_n: peak.n, highest_n: fit.highest_n });
        }
        Some(_) => {}
        None => caveats.push(Caveat::NoPeak),
    }
    caveats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knee::tests::step;
    use crate::usl::Usl;

    /// Steps of a system that follows `law`, offered what it can carry at each concurrency.
    fn steps_of(law: Usl, concurrencies: &[f64]) -> Vec<Step> {
        concurrencies
            .iter()
            .map(|n| {
                let x = law.throughput(*n);
                Step { concurrency: *n, throughput_rps: x, ..step(x, 5.0, 1.0) }
            })
            .collect()
    }

    #[test]
    fn headroom_is_knee_over_demand_less_one() {
        let steps = [step(1000.0, 5.0, 1.0), step(2000.0, 6.0, 1.0), step(3000.0, 60.0, 1.0)];
        let a = assess(&steps, Some(1600.0)).unwrap();
        assert_eq!(a.knee, Some(Knee { rps: 2000.0, reached: true }));
        assert!((a.headroom.unwrap() - 0.25).abs() < 1e-12);
        let over = assess(&steps, Some(4000.0)).unwrap();
        assert!((over.headroom.unwrap() + 0.5).abs() < 1e-12);
    }

    #[test]
    fn steps_that_do_not_reach_the_knee_say_so() {
        let a = assess(&[step(1000.0, 5.0, 1.0), step(2000.0, 6.0, 1.0)], Some(500.0)).unwrap();
        assert!(a.caveats.contains(&Caveat::KneeNotReached { highest_rps: 2000.0 }));
        assert!(a.caveats[0].to_string().contains("2000 requests/s or more"), "{}", a.caveats[0]);
    }

    #[test]
    fn a_knee_below_the_lowest_step_is_not_invented() {
        let a = assess(&[step(1000.0, 5.0, 0.5)], Some(500.0)).unwrap();
        assert_eq!((a.knee, a.headroom), (None, None));
        assert!(a.caveats.contains(&Caveat::NoStepKept { lowest_rps: 1000.0 }));
    }

    #[test]
    fn without_a_demand_there_is_no_headroom() {
        let a = assess(&[step(1000.0, 5.0, 1.0)], None).unwrap();
        assert_eq!(a.headroom, None);
        assert!(a.caveats.contains(&Caveat::NoDemand));
        assert_eq!(assess(&[], Some(1.0)), None);
    }

    #[test]
    fn an_extrapolated_peak_is_called_one_and_a_measured_one_is_not() {
        let law = Usl { gamma: 100.0, alpha: 0.02, beta: 0.001 };
        let short = assess(&steps_of(law, &[1.0, 2.0, 4.0, 6.0, 8.0, 10.0]), Some(1.0)).unwrap();
        assert!(short.caveats.iter().any(|c| matches!(c, Caveat::PeakExtrapolated { .. })));
        let long = assess(&steps_of(law, &[1.0, 4.0, 8.0, 16.0, 32.0, 64.0]), Some(1.0)).unwrap();
        assert!(!long.caveats.iter().any(|c| matches!(c, Caveat::PeakExtrapolated { .. })));
        assert!((long.fit.unwrap().usl.peak().unwrap().n - 31.3).abs() < 0.1);
    }
}
