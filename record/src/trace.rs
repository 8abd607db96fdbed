//! What became of a recorded trace that a phase replayed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a trace was read, and what of it was not replayed as it stands.
///
/// Every line is accounted for: `lines` = `replayed` + `unsafe_methods` + `no_path` + `broken` +
/// `ignored` + `beyond`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceTotals {
    /// Lines read.
    pub lines: u64,
    /// Records that became arrivals.
    pub replayed: u64,
    /// Records left out because their method may change something, and its body was not recorded.
    pub unsafe_methods: u64,
    /// Records left out because they hold no path that may be sent.
    pub no_path: u64,
    /// Lines that are no records.
    pub broken: u64,
    /// The first line that is no record.
    pub first_broken: Option<BrokenLine>,
    /// Lines that are not meant to be records: a header, blank lines.
    pub ignored: u64,
    /// Records that were read ahead, and that the end of the phase, or of the run, came before.
    pub beyond: u64,
    /// Records stamped earlier than one before them; they were fired at the latest stamp so far.
    pub out_of_order: u64,
    /// The most by which one was earlier, in seconds of the trace.
    pub worst_disorder_s: f64,
    /// The longest stretch without a record, in seconds of the trace.
    pub longest_hole_s: f64,
}

impl TraceTotals {
    /// What became of the trace, in one sentence for people: `end` says why it was read no further.
    #[must_use]
    pub fn told(&self, end: &TraceEnd) -> String {
        let mut told = format!("{} of {} lines replayed", self.replayed, self.lines);
        let mut also = |n: u64, what: String| {
            if n > 0 {
                told.push_str(&format!(", {what}"));
            }
        };
        also(self.unsafe_methods, format!("{} left out as no safe method", self.unsafe_methods));
        also(self.no_path, format!("{} left out without a path to send", self.no_path));
        if let Some(first) = &self.first_broken {
            also(self.broken, format!("{} broken (line {} {})", self.broken, first.line, first.problem));
        }
        let worst_s = self.worst_disorder_s;
        also(self.out_of_order, format!("{} out of order by up to {worst_s:.3} s", self.out_of_order));
        told.push_str(&match end {
            TraceEnd::Exhausted { last_s } => {
                format!("; it ended {last_s:.1} s into its phase, and silence followed")
            }
            TraceEnd::Cut => {
                "; its phase ended before it, and its later records were not replayed".to_owned()
            }
            TraceEnd::Interrupted => "; the run was ended before it, up to what was read ahead".to_owned(),
            TraceEnd::Failed { problem } => format!("; the run ended: failed to {problem}"),
        });
        told
    }
}

/// What became of the trace of one phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraceReplay {
    /// What became of its records.
    pub totals: TraceTotals,
    /// Why it was read no further.
    pub end: TraceEnd,
}

/// A line of a trace that is no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokenLine {
    /// From 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// Why a trace was read no further.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum TraceEnd {
    /// It has no more records: the rest of the phase was silent.
    Exhausted {
        /// When its last arrival was intended, in seconds since the phase began; 0 without any.
        last_s: f64,
    },
    /// The phase was over before it: its later records were not replayed.
    Cut,
    /// The run was ended before it. It was read ahead, so fewer records than were read may have
    /// been fired; what was planned says how many.
    Interrupted,
    /// It could not be read on, and the run ended.
    Failed {
        /// Why, with the line.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_tells_all_that_was_not_replayed_as_it_stands() {
        let mut totals = TraceTotals { lines: 10, replayed: 10, ..TraceTotals::default() };
        assert_eq!(
            totals.told(&TraceEnd::Exhausted { last_s: 7.25 }),
            "10 of 10 lines replayed; it ended 7.2 s into its phase, and silence followed"
        );
        (totals.unsafe_methods, totals.no_path, totals.broken, totals.out_of_order) = (1, 2, 3, 4);
        totals.first_broken = Some(BrokenLine { line: 8, problem: "is not JSON (x)".to_owned() });
        totals.worst_disorder_s = 0.25;
        assert_eq!(
            totals.told(&TraceEnd::Cut),
            "10 of 10 lines replayed, 1 left out as no safe method, 2 left out without a path to send, 3 broken \
             (line 8 is not JSON (x)), 4 out of order by up to 0.250 s; its phase ended before it, and its later \
             records were not replayed"
        );
    }
}
