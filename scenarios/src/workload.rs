//! What each arrival asks: a pure function of (seed, index).

use rand_distr::{Distribution, Zipf};

use crate::draw::{Draw, Lane};
use crate::plan::{DataPlan, Pick, Plan};
use crate::template::{Template, TemplateError, Values};

/// The requests of a plan, ready to be filled in. It holds the token, and so has no `Debug`.
#[derive(Clone)]
pub struct Workload {
    seed: u64,
    data: DataPlan,
    templates: Vec<Template>,
    /// Cumulated weights, ending at 1.
    cumulative: Vec<f64>,
    zipf: Option<Zipf<f64>>,
}

impl Workload {
    /// The requests of `plan` for a target that calls itself `host` and accepts `token`.
    ///
    /// # Errors
    /// When a request's text is not a template.
    pub fn new(plan: &Plan, host: &str, token: &str) -> Result<Self, TemplateError> {
        let templates = plan
            .requests
            .iter()
            .map(|r| Template::render(r, &plan.data, host, token))
            .collect::<Result<_, _>>()?;
        let total: f64 = plan.requests.iter().map(|r| r.weight).sum();
        let mut sum = 0.0;
        let cumulative = plan
            .requests
            .iter()
            .map(|r| {
                sum += r.weight / total;
                sum
            })
            .collect();
        let zipf = match plan.data.pick {
            Pick::Uniform => None,
            // Refused by the plan's checks, so the fallback to uniform is never seen.
            Pick::Zipf { exponent } => Zipf::new(plan.data.accounts as f64, exponent).ok(),
        };
        Ok(Self { seed: plan.seed, data: plan.data.clone(), templates, cumulative, zipf })
    }

    /// The class and the values of arrival `index`.
    #[must_use]
    #[inline]
    pub fn values(&self, index: u64) -> (u16, Values) {
        let mut draw = Draw::new(self.seed, Lane::Content, index);
        let u = draw.unit();
        // The last class takes what rounding left over; a class of weight 0 never matches.
        let class = self.cumulative.iter().position(|c| u < *c).unwrap_or(self.cumulative.len() - 1);
        let account = match &self.zipf {
            Some(zipf) => (zipf.sample(&mut draw) as u64).clamp(1, self.data.accounts),
            None => 1 + draw.below(self.data.accounts),
        };
        // Uniform over all but `account`.
        let step = 1 + draw.below((self.data.accounts - 1).max(1));
        let other = (account - 1 + step) % self.data.accounts + 1;
        let span = self.data.amount_max.abs_diff(self.data.amount_min) + 1;
        let amount = self.data.amount_min + draw.below(span) as i64;
        let mut key = Draw::new(self.seed, Lane::Key, index);
        let key = u128::from(key.bits()) << 64 | u128::from(key.bits());
        (class as u16, Values { account, other, amount, key, seq: index })
    }

    /// Writes the request of arrival `index` into `out` and returns its class.
    #[inline]
    pub fn fill(&self, index: u64, out: &mut Vec<u8>) -> u16 {
        let (class, values) = self.values(index);
        self.templates[usize::from(class)].fill(&values, &self.data, out);
        class
    }

    /// Whether requests of `class` carry an idempotency key.
    #[must_use]
    pub fn has_key(&self, class: u16) -> bool {
        self.templates.get(usize::from(class)).is_some_and(Template::has_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Arrivals;
    use crate::plan::tests_support::{pay, plan_with_phases};
    use std::collections::HashSet;

    fn plan() -> Plan {
        let mut plan = plan_with_phases(Arrivals::Poisson, &[(1.0, 10.0, 10.0)]);
        let mut never = pay();
        never.name = "never".into();
        never.weight = 0.0;
        let mut rare = pay();
        rare.name = "rare".into();
        rare.weight = 10.0;
        plan.requests = vec![never, pay(), rare];
        plan.requests[1].weight = 90.0;
        plan
    }

    #[test]
    fn the_same_seed_and_index_give_the_same_bytes_and_another_seed_does_not() {
        let plan_a = plan();
        let mut plan_b = plan();
        plan_b.seed += 1;
        let (a, b) = (Workload::new(&plan_a, "h", "t").unwrap(), Workload::new(&plan_b, "h", "t").unwrap());
        let (mut x, mut y, mut z) = (Vec::new(), Vec::new(), Vec::new());
        // In any order, and after any other.
        a.fill(99, &mut x);
        a.fill(5, &mut x);
        a.clone().fill(5, &mut y);
        b.fill(5, &mut z);
        assert_eq!(x, y);
        assert_ne!(x, z);
    }

    #[test]
    fn weights_are_kept_and_zero_is_never() {
        let w = Workload::new(&plan(), "h", "t").unwrap();
        let mut seen = [0u32; 3];
        for i in 0..20_000 {
            seen[usize::from(w.values(i).0)] += 1;
        }
        assert_eq!(seen[0], 0);
        // 2,000 expected, σ ≈ 42.
        assert!(seen[2].abs_diff(2000) < 200, "{seen:?}");
    }

    #[test]
    fn payer_and_payee_differ_keys_are_unique_and_amounts_stay_in_range() {
        for pick in [Pick::Uniform, Pick::Zipf { exponent: 1.0 }] {
            let mut plan = plan();
            plan.data.pick = pick;
            plan.data.accounts = 3;
            let w = Workload::new(&plan, "h", "t").unwrap();
            let mut keys = HashSet::new();
            for i in 0..5_000 {
                let (_, v) = w.values(i);
                assert_ne!(v.account, v.other);
                assert!((1..=3).contains(&v.account) && (1..=3).contains(&v.other));
                assert!((plan.data.amount_min..=plan.data.amount_max).contains(&v.amount));
                assert!(keys.insert(v.key));
            }
        }
    }

    #[test]
    fn zipf_draws_follow_the_law() {
        let mut plan = plan();
        plan.data.pick = Pick::Zipf { exponent: 1.0 };
        plan.data.accounts = 1000;
        let w = Workload::new(&plan, "h", "t").unwrap();
        let n = 50_000u64;
        let hits = |a| (0..n).filter(|i| w.values(*i).1.account == a).count() as f64;
        let harmonic: f64 = (1..=1000).map(|k| 1.0 / f64::from(k)).sum();
        for rank in [1u64, 2, 10] {
            let expected = n as f64 / (rank as f64 * harmonic);
            let got = hits(rank);
            assert!((got - expected).abs() < 5.0 * expected.sqrt(), "rank {rank}: {got} vs {expected}");
        }
    }
}
