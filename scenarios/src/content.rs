//! What each arrival asks for: its class, a function of (seed, index, phase), and its values, a
//! function of (seed, index).
//!
//! Values do not depend on the class or the phase, so whoever knows an arrival's index knows its
//! payer, payee, amount and idempotency key.

use rand_distr::{Distribution, Exp, LogNormal, Zipf};

use crate::draw::{Draw, Lane};
use crate::plan::{AmountLaw, Pick, Plan};
use crate::template::Values;

/// The 99th percentile of the standard normal distribution.
const Z_99: f64 = 2.326_347_874_040_841;

/// The draws of a plan.
#[derive(Debug, Clone)]
pub struct Content {
    seed: u64,
    accounts: u64,
    picker: Picker,
    amount_min: i64,
    amount_max: i64,
    amounts: Amounts,
    /// The requests' own weights first, then those of phases that have a mix.
    mixes: Vec<Weighted>,
    /// For each phase, which of `mixes` holds.
    mix_of: Vec<u16>,
}

#[derive(Debug, Clone)]
enum Picker {
    Uniform,
    Zipf(Zipf<f64>),
    HotSet { hot_accounts: u64, hot_share: f64 },
    Sequential,
}

#[derive(Debug, Clone)]
enum Amounts {
    Uniform,
    Lognormal(LogNormal<f64>),
    /// Above the least amount.
    Exponential(Exp<f64>),
    Values(Vec<i64>, Weighted),
}

impl Content {
    /// The draws of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let data = &plan.data;
        // The plan's checks refuse parameters that a law does not take, so the fallbacks to uniform
        // are never seen.
        let picker = match data.pick {
            Pick::Uniform => Picker::Uniform,
            Pick::Zipf { exponent } => {
                Zipf::new(data.accounts as f64, exponent).map_or(Picker::Uniform, Picker::Zipf)
            }
            Pick::HotSet { hot_accounts, hot_share } => Picker::HotSet { hot_accounts, hot_share },
            Pick::Sequential => Picker::Sequential,
        };
        let amounts = match &data.amount {
            AmountLaw::Uniform => Amounts::Uniform,
            AmountLaw::Lognormal { median, p99 } => LogNormal::new(median.ln(), (p99 / median).ln() / Z_99)
                .map_or(Amounts::Uniform, Amounts::Lognormal),
            AmountLaw::Exponential { mean } => {
                Exp::new(1.0 / (mean - data.amount_min as f64)).map_or(Amounts::Uniform, Amounts::Exponential)
            }
            AmountLaw::Values { values, weights } => Amounts::Values(values.clone(), Weighted::new(weights)),
        };
        let own: Vec<f64> = plan.requests.iter().map(|r| r.weight).collect();
        let mut mixes = vec![Weighted::new(&own)];
        let mix_of = plan.phases.iter().map(|p| {
            if p.mix.is_empty() {
                return 0;
            }
            mixes.push(Weighted::new(&p.mix));
            mixes.len() as u16 - 1
        });
        Self {
            seed: plan.seed,
            accounts: data.accounts,
            picker,
            amount_min: data.amount_min,
            amount_max: data.amount_max,
            amounts,
            mix_of: mix_of.collect(),
            mixes,
        }
    }

    /// The class of arrival `index` when it is intended in `phase`.
    #[must_use]
    #[inline]
    pub fn class(&self, index: u64, phase: u16) -> u16 {
        let mix = self.mix_of.get(usize::from(phase)).map_or(0, |m| usize::from(*m));
        self.mixes[mix].pick(Draw::new(self.seed, Lane::Content, index).unit()) as u16
    }

    /// The values of arrival `index`.
    #[must_use]
    #[inline]
    pub fn values(&self, index: u64) -> Values {
        let mut draw = Draw::new(self.seed, Lane::Content, index);
        // The first number is the class's.
        draw.bits();
        let account = self.account(index, &mut draw);
        // Uniform over all but `account`.
        let step = 1 + draw.below((self.accounts - 1).max(1));
        let other = (account - 1 + step) % self.accounts + 1;
        let amount = self.amount(&mut draw);
        let mut key = Draw::new(self.seed, Lane::Key, index);
        let key = u128::from(key.bits()) << 64 | u128::from(key.bits());
        Values { account, other, amount, key, seq: index }
    }

    #[inline]
    fn account(&self, index: u64, draw: &mut Draw) -> u64 {
        match &self.picker {
            Picker::Uniform => 1 + draw.below(self.accounts),
            Picker::Zipf(zipf) => (zipf.sample(draw) as u64).clamp(1, self.accounts),
            Picker::HotSet { hot_accounts, hot_share } => {
                if draw.unit() < *hot_share {
                    1 + draw.below(*hot_accounts)
                } else {
                    1 + hot_accounts + draw.below(self.accounts - hot_accounts)
                }
            }
            Picker::Sequential => 1 + index % self.accounts,
        }
    }

    #[inline]
    fn amount(&self, draw: &mut Draw) -> i64 {
        // Both bounds are exact in a double: amounts have at most 12 digits.
        let clamped = |drawn: f64| drawn.round().clamp(self.amount_min as f64, self.amount_max as f64) as i64;
        match &self.amounts {
            Amounts::Uniform => {
                let span = self.amount_max.abs_diff(self.amount_min) + 1;
                self.amount_min + draw.below(span) as i64
            }
            Amounts::Lognormal(law) => clamped(law.sample(draw)),
            Amounts::Exponential(law) => clamped(self.amount_min as f64 + law.sample(draw)),
            Amounts::Values(values, weights) => values[weights.pick(draw.unit())],
        }
    }
}

/// One of several, each as often as its weight says.
#[derive(Debug, Clone)]
struct Weighted {
    /// Cumulated shares; from the last positive weight on exactly 1.
    cumulative: Vec<f64>,
}

impl Weighted {
    fn new(weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = weights
            .iter()
            .map(|w| {
                sum += w / total;
                sum
            })
            .collect();
        let last = weights.iter().rposition(|w| *w > 0.0).unwrap_or(0);
        // What rounding left over is the last positive one's; a weight of 0 never matches.
        cumulative.iter_mut().skip(last).for_each(|c| *c = 1.0);
        Self { cumulative }
    }

    /// The one that `u` in [0, 1) falls to.
    #[inline]
    fn pick(&self, u: f64) -> usize {
        // Few classes: from the front is faster than halving. A long list of amounts is halved.
        if self.cumulative.len() <= 8 {
            return self.cumulative.iter().position(|c| u < *c).unwrap_or(0);
        }
        self.cumulative.partition_point(|c| *c <= u).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Arrivals;
    use crate::plan::tests_support::{pay, plan_with_phases};
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn plan() -> Plan {
        let mut plan = plan_with_phases(Arrivals::Poisson, &[(1.0, 10.0, 10.0), (1.0, 10.0, 10.0)]);
        let mut never = pay();
        never.name = "never".into();
        never.weight = 0.0;
        let mut rare = pay();
        rare.name = "rare".into();
        rare.weight = 10.0;
        plan.requests = vec![never, pay(), rare];
        plan.requests[1].weight = 90.0;
        plan.phases[1].mix = vec![3.0, 0.0, 7.0];
        plan
    }

    fn hits(content: &Content, phase: u16) -> [u64; 3] {
        let mut seen = [0; 3];
        (0..20_000).for_each(|i| seen[usize::from(content.class(i, phase))] += 1);
        seen
    }

    #[test]
    fn weights_are_kept_and_zero_is_never() {
        let seen = hits(&Content::new(&plan()), 0);
        assert_eq!(seen[0], 0);
        // 2,000 expected, σ ≈ 42.
        assert!(seen[2].abs_diff(2000) < 200, "{seen:?}");
    }

    #[test]
    fn a_phase_with_a_mix_of_its_own_keeps_that_one() {
        let seen = hits(&Content::new(&plan()), 1);
        assert_eq!(seen[1], 0);
        // 6,000 expected, σ ≈ 65.
        assert!(seen[0].abs_diff(6000) < 300, "{seen:?}");
    }

    #[test]
    fn payer_and_payee_differ_keys_are_unique_and_amounts_stay_in_range() {
        for pick in [
            Pick::Uniform,
            Pick::Zipf { exponent: 1.0 },
            Pick::HotSet { hot_accounts: 1, hot_share: 0.5 },
            Pick::Sequential,
        ] {
            let mut plan = plan();
            plan.data.pick = pick;
            plan.data.accounts = 3;
            let content = Content::new(&plan);
            let mut keys = HashSet::new();
            for i in 0..5_000 {
                let v = content.values(i);
                assert_ne!(v.account, v.other);
                assert!((1..=3).contains(&v.account) && (1..=3).contains(&v.other));
                assert!((plan.data.amount_min..=plan.data.amount_max).contains(&v.amount));
                assert!(keys.insert(v.key));
            }
        }
    }

    fn drawn(pick: Pick, accounts: u64, n: u64) -> Vec<u64> {
        let mut plan = plan();
        plan.data.pick = pick;
        plan.data.accounts = accounts;
        let content = Content::new(&plan);
        (0..n).map(|i| content.values(i).account).collect()
    }

    #[test]
    fn zipf_draws_follow_the_law() {
        let n = 50_000;
        let drawn = drawn(Pick::Zipf { exponent: 1.0 }, 1000, n);
        let harmonic: f64 = (1..=1000).map(|k| 1.0 / f64::from(k)).sum();
        for rank in [1u64, 2, 10] {
            let expected = n as f64 / (rank as f64 * harmonic);
            let got = drawn.iter().filter(|a| **a == rank).count() as f64;
            assert!((got - expected).abs() < 5.0 * expected.sqrt(), "rank {rank}: {got} vs {expected}");
        }
    }

    #[test]
    fn a_hot_set_takes_its_share_and_spreads_it_evenly() {
        let n = 50_000u64;
        let drawn = drawn(Pick::HotSet { hot_accounts: 10, hot_share: 0.8 }, 1000, n);
        let hot = drawn.iter().filter(|a| **a <= 10).count() as u64;
        // 40,000 expected, σ ≈ 89; each hot account 4,000, σ ≈ 61.
        assert!(hot.abs_diff(40_000) < 450, "{hot}");
        for account in [1, 10] {
            let one = drawn.iter().filter(|a| **a == account).count() as u64;
            assert!(one.abs_diff(4_000) < 310, "account {account}: {one}");
        }
        assert!(drawn.contains(&11) && drawn.contains(&1000), "the others are drawn too");
    }

    #[test]
    fn sequential_accounts_follow_one_another_and_begin_again() {
        assert_eq!(drawn(Pick::Sequential, 3, 7), [1, 2, 3, 1, 2, 3, 1]);
    }

    /// The amounts of 20,000 arrivals in order, drawn by `law` from 1 to 10^9.
    fn amounts(law: AmountLaw) -> Vec<f64> {
        let mut plan = plan();
        (plan.data.amount_min, plan.data.amount_max) = (1, 1_000_000_000);
        plan.data.amount = law;
        let content = Content::new(&plan);
        let mut all: Vec<f64> = (0..20_000).map(|i| content.values(i).amount as f64).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// The greatest distance between the amounts' distribution and `cdf` (Kolmogorov–Smirnov).
    fn distance(amounts: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
        let n = amounts.len() as f64;
        let off = |(i, x): (usize, &f64)| {
            let p = cdf(*x);
            (p - i as f64 / n).abs().max(((i + 1) as f64 / n - p).abs())
        };
        amounts.iter().enumerate().map(off).fold(0.0, f64::max)
    }

    /// The distance that one in a thousand samples of 20,000 exceeds: 1.95 / √n.
    const KS_LIMIT: f64 = 0.0138;

    #[test]
    fn uniform_amounts_follow_the_law() {
        let d = distance(&amounts(AmountLaw::Uniform), |x| x / 1e9);
        assert!(d < KS_LIMIT, "{d}");
    }

    #[test]
    fn exponential_amounts_follow_the_law() {
        // Large enough that whole numbers do not show.
        let d = distance(&amounts(AmountLaw::Exponential { mean: 1e6 }), |x| {
            1.0 - (-(x - 1.0) / 999_999.0).exp()
        });
        assert!(d < KS_LIMIT, "{d}");
    }

    #[test]
    fn lognormal_amounts_have_the_median_and_the_percentile_asked_for() {
        let all = amounts(AmountLaw::Lognormal { median: 50_000.0, p99: 2_000_000.0 });
        // The share below a quantile p is p within 4 standard deviations, √(p(1 − p)/n).
        for (p, at) in [(0.5, 50_000.0), (0.99, 2_000_000.0), (0.01, 50_000.0 / 40.0)] {
            let below = all.iter().filter(|x| **x <= at).count() as f64 / all.len() as f64;
            let sigma = (p * (1.0 - p) / all.len() as f64).sqrt();
            assert!((below - p).abs() < 4.0 * sigma, "{p}: {below}");
        }
    }

    #[test]
    fn listed_amounts_are_drawn_by_their_weights() {
        let all = amounts(AmountLaw::Values { values: vec![500, 20, 7], weights: vec![3.0, 0.0, 1.0] });
        let of = |v: f64| all.iter().filter(|x| **x == v).count() as u64;
        assert_eq!((of(20.0), of(7.0) + of(500.0)), (0, 20_000));
        // 5,000 expected, σ ≈ 61.
        assert!(of(7.0).abs_diff(5_000) < 300, "{}", of(7.0));
    }

    proptest! {
        #[test]
        fn no_law_leaves_the_range(
            least in 0i64..1_000, span in 0i64..1_000_000, a in 1u32..1_000_000, b in 1u32..1_000_000, index: u64,
        ) {
            let (median, p99) = (f64::from(a), f64::from(a) + f64::from(b));
            let mean = least as f64 + f64::from(b);
            for law in [
                AmountLaw::Uniform,
                AmountLaw::Lognormal { median, p99 },
                AmountLaw::Exponential { mean },
                AmountLaw::Values { values: vec![least, least + span], weights: vec![f64::from(a), f64::from(b)] },
            ] {
                let mut plan = plan();
                (plan.data.amount_min, plan.data.amount_max, plan.data.amount) = (least, least + span, law.clone());
                let amount = Content::new(&plan).values(index).amount;
                prop_assert!((least..=least + span).contains(&amount), "{:?} gives {}", law, amount);
            }
        }

        #[test]
        fn a_weight_of_zero_is_never_picked(
            weights in prop::collection::vec(prop_oneof![Just(0.0), 0.001f64..1e9], 1..20), u in 0.0f64..1.0,
        ) {
            prop_assume!(weights.iter().any(|w| *w > 0.0));
            for u in [u, 0.0, 1.0 - f64::EPSILON / 2.0] {
                prop_assert!(weights[Weighted::new(&weights).pick(u)] > 0.0);
            }
        }
    }
}
