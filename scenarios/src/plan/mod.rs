//! What a scenario means: resolved, validated, no option left open.
//!
//! Every other room sees this and never what was typed. Units are in the names: rates in
//! requests per second, times in seconds from the first planned arrival unless they say `_ms`.
//! A plan serialises into the manifest of its run, so that a report can be rebuilt from the
//! folder alone.

mod data;
mod journey;
mod load;
mod phase;
mod promise;
mod request;

use serde::{Deserialize, Serialize};
use squall_record::fault::{FaultSpec, Place};

use crate::lower::{draws_accounts, step_draws_accounts};

pub use data::{AmountLaw, DataPlan, FeederOrder, FeederPlan, Pick};
pub use journey::{JourneyPlan, StepPlan};
pub use load::{Arrivals, Http, LoadPlan, Mode, Profile, ServicePlan, TargetPlan, Transport};
pub use phase::{Column, PhasePlan, TraceFormat, TraceHead, TracePlan};
pub use promise::{ClockKind, GatePlan, Metric, Op, SloPlan, Tally};
pub use request::{CONTROL_LANE, CheckPlan, Expected, Jitter, RequestPlan, RetryCause, RetryPlan};

/// A scenario, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Short name, part of the run folder's name: `[a-z0-9-]`.
    pub name: String,
    /// One sentence for people.
    pub summary: String,
    /// Everything random is a function of it.
    pub seed: u64,
    /// What is loaded.
    pub target: TargetPlan,
    /// How the load is carried.
    pub load: LoadPlan,
    /// When how much, contiguous from 0.
    pub phases: Vec<PhasePlan>,
    /// What is asked.
    pub requests: Vec<RequestPlan>,
    /// Closed-loop users beside or instead of the load above.
    #[serde(default)]
    pub journeys: Vec<JourneyPlan>,
    /// Where placeholders draw from.
    pub data: DataPlan,
    /// Files whose rows requests are filled with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feeders: Vec<FeederPlan>,
    /// What goes wrong and when.
    pub faults: Vec<FaultPlan>,
    /// What faults act on beside the service itself.
    #[serde(default, skip_serializing_if = "PlacesPlan::is_empty")]
    pub places: PlacesPlan,
    /// What must hold around the faults, and what ends the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<ExperimentPlan>,
    /// What the service promises.
    pub slos: Vec<SloPlan>,
    /// What the run must show to pass.
    pub gates: Vec<GatePlan>,
}

/// A fault on the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultPlan {
    /// What goes wrong.
    pub fault: FaultSpec,
    /// When it begins.
    pub start_s: f64,
    /// When it ends.
    pub end_s: f64,
    /// What must be so for it to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<GatePlan>,
}

/// What must hold around the faults, and what ends the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentPlan {
    /// What must hold before the first fault and after the last.
    pub steady_state: Vec<GatePlan>,
    /// What ends the run when it holds.
    pub abort: Vec<GatePlan>,
    /// Over how many seconds these are looked at.
    pub window_s: u32,
    /// The greatest share that a fault may be meant for, 0..=1.
    pub blast_radius: f64,
    /// The share of requests that faults pass over, 0..1.
    pub control: f64,
}

/// What faults act on beside the service itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlacesPlan {
    /// Several places under one name.
    pub groups: Vec<GroupPlan>,
    /// Databases, caches and queues.
    pub resources: Vec<ResourcePlan>,
    /// Proxies of the run.
    pub proxies: Vec<ProxyPlan>,
}

impl PlacesPlan {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Several places under one name: a zone, a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// What faults call it.
    pub name: String,
    /// What belongs to it: processes and containers.
    pub members: Vec<Place>,
}

/// A database, cache or queue that faults act on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcePlan {
    /// What faults call it.
    pub name: String,
    /// The environment variable with its URL; the value is never recorded.
    pub url_env: String,
}

/// A proxy of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyPlan {
    /// What faults call it.
    pub name: String,
    /// Where it listens; a free port of loopback when not said.
    pub listen: Option<String>,
    /// Whom it passes connections on to; the target when not said, and then the load goes through it.
    pub upstream: Option<String>,
    /// Whether it understands HTTP.
    pub http: bool,
}

impl Plan {
    /// When the last phase ends, or the last journey.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        let phases_end_s = self.phases.last().map_or(0.0, |p| p.end_s);
        self.journeys.iter().map(|j| j.end_s).fold(phases_end_s, f64::max)
    }

    /// Whether there is an open-loop load: a journey alone has none.
    #[must_use]
    pub fn has_load(&self) -> bool {
        !self.phases.is_empty()
    }

    /// Whether a request or a step names accounts.
    #[must_use]
    pub fn draws_accounts(&self) -> bool {
        self.requests.iter().any(draws_accounts)
            || self.journeys.iter().flat_map(|j| &j.steps).any(step_draws_accounts)
    }

    /// What carries the requests; journeys alone always go by the general transport.
    #[must_use]
    pub fn transport(&self) -> Transport {
        if self.has_load() {
            return self.load.transport;
        }
        Transport::General { http: self.load.transport.http() }
    }

    /// The highest planned rate, in requests per second.
    #[must_use]
    pub fn peak_rps(&self) -> f64 {
        self.phases.iter().map(|p| p.curve.peak_rps()).fold(0.0, f64::max)
    }

    /// An upper bound of the variance of the number of arrivals where `expected` are planned: 0 when
    /// they are evenly spaced, `expected` for a Poisson process, and for bursty ones as many times
    /// that as their dispersion at the highest rate.
    #[must_use]
    pub fn count_variance(&self, expected: f64) -> f64 {
        match self.load.arrivals {
            Arrivals::Uniform => 0.0,
            Arrivals::Poisson => expected,
            Arrivals::Bursty(b) => expected * b.dispersion(self.peak_rps(), f64::INFINITY),
        }
    }

    /// Arrivals expected in all, guessed where a trace decides.
    #[must_use]
    pub fn estimated_arrivals(&self) -> f64 {
        self.phases.iter().map(PhasePlan::estimated_arrivals).sum()
    }

    /// The highest rate, guessed where a trace decides, in requests per second.
    #[must_use]
    pub fn estimated_peak_rps(&self) -> f64 {
        let traced = self.phases.iter().filter_map(|p| Some(p.trace.as_ref()?.head.rate_rps));
        traced.fold(self.peak_rps(), f64::max)
    }

    /// Whether a part of the load is recorded traffic, whose arrivals are not known beforehand.
    #[must_use]
    pub fn has_trace(&self) -> bool {
        self.phases.iter().any(|p| p.trace.is_some())
    }

    /// Arrivals expected in all: the integral of the rate.
    #[must_use]
    pub fn expected_arrivals(&self) -> f64 {
        self.phases.iter().map(PhasePlan::expected_arrivals).sum()
    }

    /// The planned rate at `at_s`, in requests per second; `None` outside the plan.
    #[must_use]
    pub fn rate_at(&self, at_s: f64) -> Option<f64> {
        let p = self.phases.iter().find(|p| p.start_s <= at_s && at_s < p.end_s)?;
        Some(p.curve.rate_at(at_s - p.start_s))
    }

    /// The most attempts that an arrival may take.
    #[must_use]
    pub fn max_attempts(&self) -> u8 {
        self.requests.iter().filter_map(|r| r.retry.as_ref()).map(|r| r.attempts).max().unwrap_or(1)
    }

    /// The share of the arrivals of `phase` that request class `class` is asked for, 0..=1.
    #[must_use]
    pub fn share(&self, class: usize, phase: &PhasePlan) -> f64 {
        let own = |c: usize| self.requests.get(c).map_or(0.0, |r| r.weight);
        let weight = |c: usize| phase.mix.get(c).copied().unwrap_or_else(|| own(c));
        weight(class) / (0..self.requests.len()).map(weight).sum::<f64>()
    }

    /// The highest planned rate from `a_s` to `b_s`, in requests per second.
    #[must_use]
    pub fn peak_between(&self, a_s: f64, b_s: f64) -> f64 {
        self.phases
            .iter()
            .filter(|p| p.start_s < b_s && a_s < p.end_s)
            .map(|p| p.curve.peak_between(a_s.max(p.start_s) - p.start_s, b_s.min(p.end_s) - p.start_s))
            .fold(0.0, f64::max)
    }

    /// The index of the phase in force at `at_s`; the last one after the end.
    #[must_use]
    pub fn phase_at(&self, at_s: f64) -> usize {
        self.phases.iter().position(|p| at_s < p.end_s).unwrap_or(self.phases.len().saturating_sub(1))
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    //! Small plans for the tests of this crate.

    use super::*;
    use crate::curve::Curve;

    /// A data plan with 10,000 accounts.
    pub(crate) fn data() -> DataPlan {
        DataPlan {
            accounts: 10_000,
            pick: Pick::Uniform,
            account_prefix: "acc_".into(),
            account_digits: 8,
            amount_min: 100,
            amount_max: 99_999,
            amount: AmountLaw::Uniform,
        }
    }

    /// A payment request.
    pub(crate) fn pay() -> RequestPlan {
        RequestPlan {
            name: "pay".into(),
            weight: 1.0,
            method: "POST".into(),
            path: "/v1/payments".into(),
            headers: vec![
                ("Idempotency-Key".into(), "${key}".into()),
                ("Authorization".into(), "Bearer ${token}".into()),
            ],
            body: Some(r#"{"from":"${account}","to":"${other}","amount":${amount},"currency":"EUR"}"#.into()),
            expect: vec![201],
            declined: vec![402],
            check: vec![],
            retry: None,
        }
    }

    /// A plan of `(duration_s, from_rps, to_rps)` phases.
    pub(crate) fn plan_with_phases(arrivals: Arrivals, phases: &[(f64, f64, f64)]) -> Plan {
        let mut start_s = 0.0;
        let phases = phases
            .iter()
            .enumerate()
            .map(|(i, (duration_s, from_rps, to_rps))| {
                let p = PhasePlan {
                    name: format!("phase {i}"),
                    warmup: false,
                    start_s,
                    end_s: start_s + duration_s,
                    curve: Curve::line(*duration_s, *from_rps, *to_rps),
                    step: false,
                    mix: vec![],
                    trace: None,
                };
                start_s = p.end_s;
                p
            })
            .collect();
        Plan {
            name: "t".into(),
            summary: String::new(),
            seed: 1,
            target: TargetPlan::Reference(ServicePlan {
                accounts: 10_000,
                opening_balance: 1_000_000,
                profile: Profile::Hardened,
            }),
            load: LoadPlan {
                arrivals,
                connections: 8,
                pipeline: 1,
                max_in_flight: 100,
                timeout_ms: 1000,
                workers: 1,
                max_rate_rps: 1e6,
                mode: Mode::Open,
                spin_us: 0,
                coalesce_us: 0,
                transport: Transport::Own,
            },
            phases,
            requests: vec![pay()],
            journeys: vec![],
            data: data(),
            feeders: vec![],
            faults: vec![],
            places: Default::default(),
            experiment: None,
            slos: vec![],
            gates: vec![],
        }
    }
}
