//! How many, of what. The sums that must hold are [`Counts::check`].

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::outcome::{Failure, Outcome};

/// What became of a number of planned arrivals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Arrivals that the schedule asked for.
    pub planned: u64,
    /// Requests handed to a connection (or to one that could not be made).
    pub sent: u64,
    /// Answered as expected.
    pub ok: u64,
    /// Answered with a declared business refusal.
    pub declined: u64,
    /// Refused, marked "not executed".
    pub shed: u64,
    /// Failed, by [`Failure`] kind.
    pub failed: [u64; Failure::COUNT],
    /// Planned and never sent: the in-flight limit was reached.
    pub dropped: u64,
    /// Sent more than a millisecond after the intended instant.
    pub late: u64,
    /// Attempts beyond an arrival's first. They are no arrivals: an arrival is sent once and ends
    /// once, however often its client asks.
    pub retried: u64,
}

impl Counts {
    /// Counts one finished request.
    #[inline]
    pub fn finish(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Declined => self.declined += 1,
            Outcome::Shed => self.shed += 1,
            Outcome::Failed(f) => self.failed[f as usize] += 1,
        }
    }

    /// Requests that got a usable answer: ok + declined + shed.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.ok.saturating_add(self.declined).saturating_add(self.shed)
    }

    /// Requests that failed, whatever the kind.
    #[must_use]
    pub fn failed_total(&self) -> u64 {
        self.failed.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Requests for which the target did what it was asked: ok + declined.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.ok.saturating_add(self.declined)
    }

    /// Requests sent and not yet finished.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.sent.saturating_sub(self.completed().saturating_add(self.failed_total()))
    }

    /// Good over planned: dropped, shed and failed arrivals all count against it. `None` when
    /// nothing was planned.
    #[must_use]
    pub fn availability(&self) -> Option<f64> {
        (self.planned > 0).then(|| self.good() as f64 / self.planned as f64)
    }

    /// Whether nothing was forgotten, for a run that has ended:
    /// planned = sent + dropped, and sent ≥ completed + failed.
    #[must_use]
    pub fn check(&self) -> bool {
        self.sent.checked_add(self.dropped) == Some(self.planned)
            && self.sent >= self.completed().saturating_add(self.failed_total())
    }

    /// Whether every count is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, o: &Counts) {
        // A record from outside may hold anything; sums at the limit do not hold and are noticed.
        let add = |a: &mut u64, b: u64| *a = a.saturating_add(b);
        add(&mut self.planned, o.planned);
        add(&mut self.sent, o.sent);
        add(&mut self.ok, o.ok);
        add(&mut self.declined, o.declined);
        add(&mut self.shed, o.shed);
        for (a, b) in self.failed.iter_mut().zip(o.failed) {
            add(a, b);
        }
        add(&mut self.dropped, o.dropped);
        add(&mut self.late, o.late);
        add(&mut self.retried, o.retried);
    }
}

/// The JSON form: `completed` and `failed` are written as sums, `failures` by kind (zero kinds
/// left out), so that a reader needs no arithmetic.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    planned: u64,
    sent: u64,
    completed: u64,
    ok: u64,
    declined: u64,
    shed: u64,
    failed: u64,
    dropped: u64,
    late: u64,
    #[serde(default)]
    retried: u64,
    failures: std::collections::BTreeMap<Failure, u64>,
}

impl Serialize for Counts {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Written {
            planned: self.planned,
            sent: self.sent,
            completed: self.completed(),
            ok: self.ok,
            declined: self.declined,
            shed: self.shed,
            failed: self.failed_total(),
            dropped: self.dropped,
            late: self.late,
            retried: self.retried,
            failures: Failure::ALL
                .into_iter()
                .filter(|f| self.failed[*f as usize] > 0)
                .map(|f| (f, self.failed[f as usize]))
                .collect(),
        }
        .serialize(s)
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let w = Written::deserialize(d)?;
        let mut c = Counts {
            planned: w.planned,
            sent: w.sent,
            ok: w.ok,
            declined: w.declined,
            shed: w.shed,
            dropped: w.dropped,
            late: w.late,
            retried: w.retried,
            ..Counts::default()
        };
        for (f, n) in w.failures {
            c.failed[f as usize] = n;
        }
        let sum = |xs: &[u64]| xs.iter().try_fold(0u64, |a, b| a.checked_add(*b));
        if sum(&c.failed) != Some(w.failed) {
            return Err(D::Error::custom("`failed` is not the sum of `failures`"));
        }
        if sum(&[c.ok, c.declined, c.shed]) != Some(w.completed) {
            return Err(D::Error::custom("`completed` is not ok + declined + shed"));
        }
        Ok(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Counts {
        let mut c = Counts { planned: 10, sent: 8, dropped: 2, late: 1, retried: 3, ..Counts::default() };
        for o in [
            Outcome::Ok,
            Outcome::Ok,
            Outcome::Declined,
            Outcome::Shed,
            Outcome::Failed(Failure::Timeout),
            Outcome::Failed(Failure::BadAnswer),
        ] {
            c.finish(o);
        }
        c
    }

    #[test]
    fn dropped_shed_and_failed_arrivals_count_against_availability() {
        let c = sample();
        assert!(c.check());
        assert_eq!((c.completed(), c.failed_total(), c.in_flight()), (4, 2, 2));
        assert_eq!(c.availability(), Some(0.3));
        assert_eq!(Counts::default().availability(), None);
    }

    #[test]
    fn a_forgotten_arrival_is_noticed() {
        let mut c = sample();
        c.planned += 1;
        assert!(!c.check());
    }

    #[test]
    fn json_round_trips_and_refuses_sums_that_do_not_hold() {
        let c = sample();
        let text = serde_json::to_string(&c).unwrap();
        assert_eq!(serde_json::from_str::<Counts>(&text).unwrap(), c);
        assert!(text.contains(r#""failures":{"timeout":1,"bad_answer":1}"#), "{text}");
        let broken = text.replace(r#""failed":2"#, r#""failed":3"#);
        assert!(serde_json::from_str::<Counts>(&broken).is_err());
    }
}
