//! One stream to every sink.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use squall_record::event::{Event, What};
use squall_record::interval::{Sink, TargetSample, Tick};
use squall_record::journey::JourneyTick;

/// Every sink of a run behind one lock: ticks come from the engine, events from the timeline,
/// samples from the watcher, and each sink sees them one after the other.
#[derive(Clone)]
pub struct Stream(Arc<Mutex<Vec<Box<dyn Sink>>>>);

impl Stream {
    /// A stream into `sinks`. The record goes first, so that nothing is shown that is not kept.
    #[must_use]
    pub fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        Self(Arc::new(Mutex::new(sinks)))
    }

    /// A second is complete.
    ///
    /// # Errors
    /// The first sink's that cannot go on.
    pub fn tick(&self, tick: &Tick) -> io::Result<()> {
        self.each(|s| s.tick(tick))
    }

    /// Something happened at `at_s`.
    ///
    /// # Errors
    /// As [`tick`](Self::tick).
    pub fn event(&self, at_s: f64, what: What) -> io::Result<()> {
        let event = Event { at_s, what };
        self.each(|s| s.event(&event))
    }

    /// The target spoke of itself.
    ///
    /// # Errors
    /// As [`tick`](Self::tick).
    pub fn target(&self, sample: &TargetSample) -> io::Result<()> {
        self.each(|s| s.target(sample))
    }

    /// A second of the journeys is complete.
    ///
    /// # Errors
    /// As [`tick`](Self::tick).
    pub fn journeys(&self, tick: &JourneyTick) -> io::Result<()> {
        self.each(|s| s.journeys(tick))
    }

    fn each(&self, mut f: impl FnMut(&mut dyn Sink) -> io::Result<()>) -> io::Result<()> {
        // A sink that panicked has ended its thread, not the record.
        let mut sinks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.iter_mut().try_for_each(|s| f(s.as_mut()))
    }
}
