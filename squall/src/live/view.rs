//! The immutable picture of a run at one instant, and how it is shared.

use std::sync::{Arc, Mutex, PoisonError};

use squall_record::counts::Counts;
use squall_record::event::Steered;
use squall_record::journey::Iterations;
use squall_record::latency::{Latency, Quantile};
use squall_reports::generator::RunVerdict;
use squall_scenarios::plan::PhasePlan;

use super::history::Column;
use super::slo::{SloRow, SloState};
use crate::text::grouped;

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The target is being prepared; no load yet.
    Preparing,
    /// Load is sent.
    Running,
    /// It is over.
    Ended {
        /// A person ended it.
        interrupted: bool,
    },
}

/// The three percentiles that are shown of a latency, from one merged histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percentiles {
    /// The median.
    pub p50: Quantile,
    /// The 99th percentile.
    pub p99: Quantile,
    /// The 99.9th percentile.
    pub p99_9: Quantile,
    /// How many requests they are of.
    pub n: u64,
}

impl Percentiles {
    /// Those of `latency`; `None` when it is empty.
    #[must_use]
    pub fn of(latency: &Latency) -> Option<Self> {
        Some(Self {
            p50: latency.quantile(0.5)?,
            p99: latency.quantile(0.99)?,
            p99_9: latency.quantile(0.999)?,
            n: latency.len(),
        })
    }
}

/// What a fault window is at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultState {
    /// Planned, not yet begun.
    Scheduled,
    /// Acting.
    On,
    /// Over.
    Off,
    /// It could not be armed or ended.
    Failed,
}

/// When a fault acts.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultWindow {
    /// The fault's name.
    pub name: String,
    /// When it began, or is planned to.
    pub start_s: f64,
    /// When it ended, or is planned to.
    pub end_s: f64,
    /// What it is at this moment.
    pub state: FaultState,
}

/// One kind of arrival that did not end well. Counts follow [`View::counts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRow {
    /// The kind as records call it.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
    /// The second in which the newest was counted.
    pub last_s: Option<u32>,
}

/// The generator's own health.
#[derive(Debug, Clone, Default)]
pub struct GeneratorView {
    /// CPU time over wall time of its workers in the last second, 0..=1.
    pub cpu: Option<f64>,
    /// 99th percentile of the loop's lateness in the last second.
    pub pacing_p99: Option<Quantile>,
    /// Open connections.
    pub connections: u32,
    /// Requests on the wire.
    pub in_flight: u32,
    /// Arrivals waiting for a connection.
    pub waiting: u32,
    /// What it says of the run so far; `None` before the first measured second.
    pub verdict: Option<RunVerdict>,
    /// Why it is not VALID, worst first.
    pub reasons: Vec<String>,
}

/// One journey: its last second.
#[derive(Debug, Clone, PartialEq)]
pub struct JourneyView {
    /// Its name.
    pub name: String,
    /// Users under way.
    pub users: u32,
    /// Requests sent in the last second.
    pub sent: u64,
    /// Closed-loop service time of the last second, all steps together.
    pub service: Option<Percentiles>,
    /// Requests that were shed so far.
    pub shed: u64,
    /// Requests that failed so far.
    pub failed: u64,
    /// Iterations so far.
    pub iterations: Iterations,
}

impl JourneyView {
    /// One line: `customer (closed loop): 40 users  52/s  p50 1.1 ms  p99 4.0 ms  …`.
    #[must_use]
    pub fn line(&self) -> String {
        let (p50, p99) =
            self.service.map_or(("-".to_owned(), "-".to_owned()), |p| (p.p50.to_string(), p.p99.to_string()));
        format!(
            "journey {} (closed loop): {} users  {}/s  service p50 {p50}  p99 {p99}  shed {}  failed {}  iterations {} done, {} abandoned",
            self.name,
            grouped(u64::from(self.users)),
            grouped(self.sent),
            grouped(self.shed),
            grouped(self.failed),
            grouped(self.iterations.completed),
            grouped(self.iterations.abandoned),
        )
    }
}

/// What the target says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetView {
    /// Whether it answered when it was last asked; `None` when it never was.
    pub up: Option<bool>,
    /// CPU time over wall time between its last two answers; 1 is one core.
    pub cpu: Option<f64>,
    /// Resident memory in bytes.
    pub rss_bytes: Option<u64>,
    /// Commits waiting in its store.
    pub queue_depth: Option<u64>,
}

/// How a note is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// For the record.
    Info,
    /// Something got better or went as planned.
    Good,
    /// Something went wrong on purpose.
    Warning,
    /// Something went wrong.
    Bad,
}

/// Something that happened, in one line.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// Seconds since the first planned arrival.
    pub at_s: f64,
    /// What happened; no control characters.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
}

/// A run at one instant.
#[derive(Debug, Clone)]
pub struct View {
    /// Rises with every change.
    pub version: u64,
    /// The scenario's name.
    pub scenario: String,
    /// The seed in force.
    pub seed: u64,
    /// How far it has come.
    pub stage: Stage,
    /// Whole seconds complete.
    pub elapsed_s: u32,
    /// The plan's length in seconds.
    pub total_s: f64,
    /// Whether any request class is asked again after a failure.
    pub retries: bool,
    /// The plan's phases.
    pub phases: Arc<[PhasePlan]>,
    /// The phase in force; `None` before the load begins.
    pub phase: Option<usize>,
    /// What changes by hand have made of the load.
    pub steered: Steered,
    /// The target sets the pace: nothing is intended, and the times are service times.
    pub closed: bool,
    /// Arrivals outside warm-up, since the beginning.
    pub measured: Counts,
    /// Arrivals of warm-up phases.
    pub warmup: Counts,
    /// Arrivals of the last second, all phases.
    pub last: Counts,
    /// Response times of the last second, all request classes.
    pub last_response: Option<Percentiles>,
    /// Response times outside warm-up, all request classes.
    pub response: Option<Percentiles>,
    /// The whole run so far in at most [`super::MAX_COLUMNS`] columns.
    pub columns: Vec<Arc<Column>>,
    /// How many seconds a column covers.
    pub column_s: u32,
    /// The newest [`super::RECENT_S`] seconds one by one.
    pub recent: Vec<Arc<Column>>,
    /// Faults, by when they begin.
    pub faults: Vec<FaultWindow>,
    /// The promises, in the plan's order.
    pub slos: Vec<SloRow>,
    /// Every kind of bad end, most frequent first.
    pub errors: Vec<ErrorRow>,
    /// The generator.
    pub generator: GeneratorView,
    /// The journeys, in the order of the plan.
    pub journeys: Vec<JourneyView>,
    /// The target.
    pub target: TargetView,
    /// The newest marks, oldest first, in seconds since the first planned arrival.
    pub marks_s: Vec<f64>,
    /// What happened, oldest first.
    pub notes: Vec<Note>,
    /// How many there were in all.
    pub noted: u64,
}

impl View {
    /// The totals that count: outside warm-up, or those of the warm-up while nothing else has
    /// happened yet. The second value says which: true for warm-up.
    #[must_use]
    pub fn counts(&self) -> (&Counts, bool) {
        if self.measured.is_empty() && !self.warmup.is_empty() {
            (&self.warmup, true)
        } else {
            (&self.measured, false)
        }
    }

    /// The phase in force.
    #[must_use]
    pub fn phase_plan(&self) -> Option<&PhasePlan> {
        self.phases.get(self.phase?)
    }

    /// The planned rate at `at_s` in requests per second; `None` outside the plan, and
    /// where a trace decides.
    #[must_use]
    pub fn planned_rps(&self, at_s: f64) -> Option<f64> {
        let p = self.phases.iter().find(|p| p.start_s <= at_s && at_s < p.end_s)?;
        p.trace.is_none().then(|| p.curve.rate_at(at_s - p.start_s))
    }

    /// How the promises stand together: as the worst of them. `None` without any.
    #[must_use]
    pub fn slo_state(&self) -> Option<SloState> {
        self.slos.iter().map(|s| s.state).max()
    }

    /// The tightest time that a promise names, in milliseconds.
    #[must_use]
    pub fn slo_under_ms(&self) -> Option<f64> {
        self.slos.iter().filter_map(|s| s.under_ms).min_by(f64::total_cmp)
    }
}

/// The newest [`View`], shared between who makes it and who draws it. Copies share.
#[derive(Debug, Clone)]
pub struct SharedView(Arc<Mutex<Arc<View>>>);

impl SharedView {
    /// Shares `first` until something newer is published.
    #[must_use]
    pub fn new(first: View) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(first))))
    }

    /// The newest view. The lock is held for as long as it takes to copy a pointer.
    #[must_use]
    pub fn latest(&self) -> Arc<View> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the view.
    pub fn publish(&self, view: View) {
        let view = Arc::new(view);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }
}

/// `text` without characters that would move a terminal's cursor or hide what follows: names,
/// reasons and marks come from files and from the target.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' => ' ',
            // Bidirectional overrides and zero-width characters reorder or hide text.
            c if c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') => {
                '?'
            }
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d"), "a?[2Jb c?d");
        assert_eq!(printable("Zürich ✔"), "Zürich ✔");
    }
}
