//! The requests of a run: what each arrival asks, as bytes for the wire.

use crate::content::Content;
use crate::feeder::{FeederError, Feeders};
use crate::plan::Plan;
use crate::template::{Sources, Template, TemplateError};

/// The requests of a plan, ready to be filled in. It holds the token, and so has no `Debug`.
#[derive(Clone)]
pub struct Workload {
    content: Content,
    feeders: Feeders,
    templates: Vec<Template>,
    /// For each class, what follows the method and path of a recorded request.
    behind: Vec<Template>,
}

/// Why there are no requests to send.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A request's text is not a template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The file of a feeder cannot be used.
    #[error(transparent)]
    Feeder(#[from] FeederError),
}

impl Workload {
    /// The requests of `plan` for a target that calls itself `host` and accepts `token`. Feeders are
    /// read here, which takes its time.
    ///
    /// # Errors
    /// When a request's text is not a template, or the file of a feeder cannot be used.
    pub fn new(plan: &Plan, host: &str, token: &str) -> Result<Self, WorkloadError> {
        Ok(Self::filled_from(Feeders::open(plan)?, plan, host, token)?)
    }

    /// As [`new`](Self::new), with `feeders` that have been read before.
    ///
    /// # Errors
    /// When a request's text is not a template.
    pub fn filled_from(
        feeders: Feeders,
        plan: &Plan,
        host: &str,
        token: &str,
    ) -> Result<Self, TemplateError> {
        let sources = Sources { data: &plan.data, feeders: &plan.feeders, token, host };
        let templates =
            plan.requests.iter().map(|r| Template::render(r, &sources)).collect::<Result<_, _>>()?;
        let behind =
            plan.requests.iter().map(|r| Template::render_behind(r, &sources)).collect::<Result<_, _>>()?;
        Ok(Self { content: Content::new(plan), feeders, templates, behind })
    }

    /// The class of arrival `index` when it is intended in `phase`.
    #[must_use]
    #[inline]
    pub fn class(&self, index: u64, phase: u16) -> u16 {
        self.content.class(index, phase)
    }

    /// Writes the request of arrival `index`, which is of `class`, into `out`.
    #[inline]
    pub fn fill(&self, index: u64, class: u16, out: &mut Vec<u8>) {
        let values = self.content.values(index);
        self.templates[usize::from(class)].fill(&values, &self.feeders, out);
    }

    /// Writes the recorded request `GET /path` into `out`, with the headers of `class` as arrival
    /// `index` has them.
    #[inline]
    pub fn fill_recorded(&self, index: u64, class: u16, recorded: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(recorded);
        self.behind[usize::from(class)].append(&self.content.values(index), &self.feeders, out);
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
    use crate::plan::tests_support::plan_with_phases;

    #[test]
    fn the_same_seed_and_index_give_the_same_bytes_and_another_seed_does_not() {
        let plan_a = plan_with_phases(Arrivals::Poisson, &[(1.0, 10.0, 10.0)]);
        let mut plan_b = plan_a.clone();
        plan_b.seed += 1;
        let (a, b) = (Workload::new(&plan_a, "h", "t").unwrap(), Workload::new(&plan_b, "h", "t").unwrap());
        let (mut x, mut y, mut z) = (Vec::new(), Vec::new(), Vec::new());
        // In any order, and after any other.
        a.fill(99, 0, &mut x);
        a.fill(5, 0, &mut x);
        a.clone().fill(5, 0, &mut y);
        b.fill(5, 0, &mut z);
        assert_eq!(x, y);
        assert_ne!(x, z);
    }

    #[test]
    fn a_recorded_request_has_its_own_line_and_the_headers_of_its_class() {
        let mut plan = plan_with_phases(Arrivals::Poisson, &[(1.0, 10.0, 10.0)]);
        plan.requests[0].body = None;
        plan.requests[0].headers =
            vec![("X-Seq".into(), "${seq}".into()), ("Authorization".into(), "Bearer ${token}".into())];
        let workload = Workload::new(&plan, "h:80", "secret").unwrap();
        let mut out = vec![1, 2, 3];
        workload.fill_recorded(7, 0, b"HEAD /a?b", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HEAD /a?b HTTP/1.1\r\nHost: h:80\r\nX-Seq: 000000000007\r\nAuthorization: Bearer secret\r\n\r\n"
        );
    }
}
