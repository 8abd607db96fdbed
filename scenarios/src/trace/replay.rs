//! Records to arrivals: in order of time, at a speed, each at its place in the phase.
//!
//! A stamp in whole seconds says in which second something happened and not when in it; fired as
//! written, a busy log would be one burst a second. So the records of one second are held until
//! the next one begins and then spread evenly over it, in their order.

use std::io::BufRead;

use squall_record::clock::NANOS_PER_SEC;
use squall_record::trace::{TraceEnd, TraceTotals};

use super::error::{LineProblem, TraceError, TraceProblem};
use super::reader::TraceReader;
use crate::plan::TracePlan;

/// A record stamped earlier than one before it by more than this, in seconds, is broken.
pub const MAX_DISORDER_S: u64 = 3600;
/// The most records of one whole second that are spread over it.
pub const MAX_SECOND_RECORDS: usize = 1 << 18;
/// The most bytes of the requests of one whole second that are spread over it.
pub const MAX_SECOND_BYTES: usize = 32 << 20;

/// An arrival of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due<'a> {
    /// When it is intended, in nanoseconds since the phase began.
    pub at_ns: u64,
    /// `GET /path`; empty when only the instants are replayed.
    pub request: &'a [u8],
}

/// A record in its place in time.
#[derive(Debug, Clone, Default)]
struct Placed {
    ns: i64,
    whole_second: bool,
    request: Vec<u8>,
}

/// Records with one stamp, about to be fired: those of a whole second, or a single one.
#[derive(Debug, Default)]
struct Group {
    ns: i64,
    /// Over how much of the trace's time they are spread.
    width_ns: i64,
    requests: Vec<u8>,
    /// Where each request ends in `requests`.
    ends: Vec<usize>,
    next: usize,
}

impl Group {
    fn begin(&mut self, first: &Placed) {
        (self.ns, self.width_ns, self.next) = (first.ns, 0, 0);
        self.requests.clear();
        self.ends.clear();
        self.push(&first.request);
    }

    fn push(&mut self, request: &[u8]) {
        self.requests.extend_from_slice(request);
        self.ends.push(self.requests.len());
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= MAX_SECOND_RECORDS || self.requests.len() >= MAX_SECOND_BYTES
    }

    /// The place of the next one in the trace's time.
    fn next_ns(&self) -> i64 {
        // Both factors are below 2^30 and 2^18.
        self.ns + self.width_ns * self.next as i64 / self.ends.len().max(1) as i64
    }
}

/// Replays a trace within a phase.
pub struct Replay<R> {
    reader: TraceReader<R>,
    speed: f64,
    spread: bool,
    duration_ns: u64,
    max_rate: u64,
    size_bytes: u64,
    /// The first stamp, which is the beginning of the phase.
    first_ns: Option<i64>,
    latest_ns: i64,
    latest_line: u64,
    group: Group,
    /// The record after the group, already read.
    ahead: Option<Placed>,
    /// Why there is nothing after the group.
    failed: Option<TraceError>,
    /// Memory for the next record read ahead.
    spare: Placed,
    /// The second of the phase in progress, and the arrivals in it.
    second: (u64, u64),
    last_ns: u64,
    is_over: bool,
}

impl<R: BufRead> Replay<R> {
    /// Replays `source`, which is the file that `plan` names, within a phase of `duration_ns`.
    pub fn new(plan: &TracePlan, duration_ns: u64, source: R) -> Self {
        Self {
            reader: TraceReader::new(plan, source),
            speed: plan.speed,
            spread: plan.spread,
            duration_ns,
            max_rate: plan.max_rate_rps.ceil() as u64,
            size_bytes: plan.head.size_bytes,
            first_ns: None,
            latest_ns: i64::MIN,
            latest_line: 0,
            group: Group::default(),
            ahead: None,
            failed: None,
            spare: Placed::default(),
            second: (0, 0),
            last_ns: 0,
            is_over: false,
        }
    }

    /// The next arrival, not before the one before it; `None` when the trace or the phase is over.
    ///
    /// # Errors
    /// When the trace cannot be read on: [`TraceProblem`] says why.
    pub fn next_due(&mut self) -> Result<Option<Due<'_>>, TraceError> {
        if self.is_over {
            return Ok(None);
        }
        if self.group.next >= self.group.ends.len() && !self.gather()? {
            self.is_over = true;
            return Ok(None);
        }
        let at_ns = self.offset_ns(self.group.next_ns()).max(self.last_ns);
        if at_ns >= self.duration_ns {
            self.is_over = true;
            return Ok(None);
        }
        self.count_in_second(at_ns)?;
        self.last_ns = at_ns;
        self.reader.totals_mut().replayed += 1;
        let group = &mut self.group;
        let from = if group.next == 0 { 0 } else { group.ends[group.next - 1] };
        let to = group.ends[group.next];
        group.next += 1;
        Ok(Some(Due { at_ns, request: &group.requests[from..to] }))
    }

    /// What became of the records, and why there are no more arrivals. `interrupted` when the run
    /// was ended before there were none.
    #[must_use]
    pub fn finish(&self, interrupted: bool) -> (TraceTotals, TraceEnd) {
        let mut totals = self.reader.totals().clone();
        totals.beyond = totals.lines
            - (totals.replayed + totals.unsafe_methods + totals.no_path + totals.broken + totals.ignored);
        let end = match (self.is_over, totals.beyond) {
            (false, _) if interrupted => TraceEnd::Interrupted,
            (_, 0) => TraceEnd::Exhausted { last_s: self.last_ns as f64 / NANOS_PER_SEC as f64 },
            _ => TraceEnd::Cut,
        };
        (totals, end)
    }

    /// Where `ns` of the trace lies in the phase.
    fn offset_ns(&self, ns: i64) -> u64 {
        // Stamps never lie before the first, for time does not turn back.
        let since = ns.abs_diff(self.first_ns.unwrap_or(ns));
        (since as f64 / self.speed) as u64
    }

    /// Counts an arrival in its second of the phase: the guard that every planned rate has.
    fn count_in_second(&mut self, at_ns: u64) -> Result<(), TraceError> {
        let second = at_ns / NANOS_PER_SEC;
        if second != self.second.0 {
            self.second = (second, 0);
        }
        self.second.1 += 1;
        if self.second.1 > self.max_rate {
            return Err(self.reader.error(TraceProblem::TooDense { second, limit: self.max_rate }, true));
        }
        Ok(())
    }

    /// Makes the next group. False when there is none.
    fn gather(&mut self) -> Result<bool, TraceError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let first = match self.ahead.take() {
            Some(placed) => placed,
            None => {
                if !self.place()? {
                    return Ok(false);
                }
                std::mem::take(&mut self.spare)
            }
        };
        self.group.begin(&first);
        let spreads = self.spread && first.whole_second;
        self.spare = first;
        while spreads && self.failed.is_none() {
            match self.place() {
                Ok(true) if self.spare.ns == self.group.ns && self.spare.whole_second => {
                    if self.group.is_full() {
                        self.failed = Some(self.reader.error(TraceProblem::SecondTooFull, true));
                    } else {
                        self.group.push(&self.spare.request);
                    }
                }
                Ok(true) => {
                    self.ahead = Some(std::mem::take(&mut self.spare));
                    break;
                }
                Ok(false) => break,
                // What was read of this second comes first.
                Err(failed) => self.failed = Some(failed),
            }
        }
        if spreads {
            // What follows with a fraction within this second must still come after it.
            let until = self.ahead.as_ref().map_or(i64::MAX, |next| next.ns);
            self.group.width_ns = until.saturating_sub(self.group.ns).min(NANOS_PER_SEC as i64);
        }
        Ok(true)
    }

    /// Reads the next record into `spare`, at the latest stamp so far when its own is earlier.
    fn place(&mut self) -> Result<bool, TraceError> {
        loop {
            let Some(record) = self.reader.read()? else {
                return self.check_whole().map(|()| false);
            };
            let stamp = record.stamp;
            self.spare.request.clear();
            self.spare.request.extend_from_slice(&record.request);
            self.spare.whole_second = stamp.whole_second;
            let first_ns = *self.first_ns.get_or_insert(stamp.ns);
            if stamp.ns >= self.latest_ns {
                let hole_s = stamp.ns.abs_diff(self.latest_ns.max(first_ns)) as f64 / NANOS_PER_SEC as f64;
                let totals = self.reader.totals_mut();
                totals.longest_hole_s = totals.longest_hole_s.max(hole_s);
                (self.latest_ns, self.latest_line) = (stamp.ns, self.reader.line());
            } else {
                let earlier_s = self.latest_ns.abs_diff(stamp.ns) as f64 / NANOS_PER_SEC as f64;
                if earlier_s > MAX_DISORDER_S as f64 {
                    let latest_line = self.latest_line;
                    self.reader.broken(LineProblem::Disorder { earlier_s, latest_line })?;
                    continue;
                }
                let totals = self.reader.totals_mut();
                totals.out_of_order += 1;
                totals.worst_disorder_s = totals.worst_disorder_s.max(earlier_s);
            }
            self.spare.ns = self.latest_ns;
            return Ok(true);
        }
    }

    /// Whether the whole file was there.
    fn check_whole(&self) -> Result<(), TraceError> {
        let (found, expected) = (self.reader.bytes(), self.size_bytes);
        if found < expected {
            return Err(self.reader.error(TraceProblem::Shrunk { found, expected }, false));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Column, TraceFormat};
    use crate::trace::stamp::StampUnit;
    use crate::trace::testing::plan;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    /// Seconds in the first column, paths in the second.
    fn recorded() -> TracePlan {
        TracePlan {
            request: Some("replay".to_owned()),
            ..plan(TraceFormat::Csv {
                time: Column::Position(1),
                method: None,
                path: Some(Column::Position(2)),
                unit: StampUnit::S,
            })
        }
    }

    fn instants() -> TracePlan {
        plan(TraceFormat::Csv { time: Column::Position(1), method: None, path: None, unit: StampUnit::S })
    }

    type Ended = Result<(TraceTotals, TraceEnd), String>;

    fn replay(plan: &TracePlan, duration_s: f64, text: &str) -> (Vec<(u64, String)>, Ended) {
        let mut replay = Replay::new(plan, (duration_s * 1e9) as u64, text.as_bytes());
        let mut due = Vec::new();
        loop {
            match replay.next_due() {
                Ok(Some(d)) => due.push((d.at_ns, String::from_utf8(d.request.to_vec()).unwrap())),
                Ok(None) => return (due, Ok(replay.finish(false))),
                Err(e) => return (due, Err(e.to_string())),
            }
        }
    }

    fn at_ms(plan: &TracePlan, duration_s: f64, text: &str) -> (Vec<u64>, Ended) {
        let (due, ended) = replay(plan, duration_s, text);
        (due.into_iter().map(|d| d.0 / MS).collect(), ended)
    }

    #[test]
    fn arrivals_keep_their_distances_at_any_speed_and_their_requests() {
        let text = "1700000000.5,/a\n1700000000.75,/b\n1700000002.5,/c\n";
        let (due, ended) = replay(&recorded(), 60.0, text);
        let expected = [(0, "GET /a"), (250 * MS, "GET /b"), (2000 * MS, "GET /c")];
        assert_eq!(due, expected.map(|(at, r)| (at, r.to_owned())));
        let (totals, end) = ended.unwrap();
        assert_eq!((totals.lines, totals.replayed, totals.beyond), (3, 3, 0));
        assert_eq!((end, totals.longest_hole_s), (TraceEnd::Exhausted { last_s: 2.0 }, 1.75));

        for (speed, expected) in [(10.0, [0, 25, 200]), (0.5, [0, 500, 4000])] {
            let plan = TracePlan { speed, ..recorded() };
            assert_eq!(at_ms(&plan, 60.0, text).0, expected, "speed {speed}");
        }
    }

    #[test]
    fn the_end_of_the_phase_ends_the_trace_and_says_so() {
        let (at, ended) = at_ms(&instants(), 2.0, "0.0\n1.0\n2.0\n3.0\n4.0\n");
        assert_eq!(at, [0, 1000]);
        let (totals, end) = ended.unwrap();
        assert_eq!((totals.replayed, totals.beyond, end), (2, 1, TraceEnd::Cut));
    }

    #[test]
    fn time_does_not_turn_back_and_by_how_much_it_would_have_is_told() {
        let (at, ended) = at_ms(&instants(), 60.0, "10.0\n11.5\n11.0\n9.0\n11.6\n");
        assert_eq!(at, [0, 1500, 1500, 1500, 1600]);
        let (totals, _) = ended.unwrap();
        assert_eq!((totals.out_of_order, totals.worst_disorder_s), (2, 2.5));
    }

    #[test]
    fn a_wild_stamp_is_broken_and_a_file_in_no_order_ends_the_run() {
        let day = 86_400;
        let (at, ended) = at_ms(&instants(), 60.0, &format!("{day}.0\n0.5\n{day}.5\n"));
        assert_eq!(at, [0, 500]);
        let first = ended.unwrap().0.first_broken.unwrap();
        assert_eq!(first.line, 2);
        assert!(first.problem.starts_with("is stamped 86400 s before line 1;"), "{first:?}");

        let plan = TracePlan { max_broken: 3, ..instants() };
        let text: String = [day, 0, 1, 2, 3].map(|s| format!("{s}.0\n")).concat();
        assert!(at_ms(&plan, 60.0, &text).1.unwrap_err().contains("sort the file"));
    }

    #[test]
    fn whole_seconds_are_spread_in_their_order_unless_that_is_turned_off() {
        let text = "100,/a\n100,/b\n100,/c\n100,/d\n101,/e\n103,/f\n103,/g\n";
        let (due, _) = replay(&recorded(), 60.0, text);
        assert_eq!(due.iter().map(|d| d.0 / MS).collect::<Vec<_>>(), [0, 250, 500, 750, 1000, 3000, 3500]);
        assert_eq!(
            due.iter().map(|d| d.1.as_str()).collect::<String>(),
            "GET /aGET /bGET /cGET /dGET /eGET /fGET /g"
        );
        let ten = TracePlan { speed: 10.0, ..recorded() };
        assert_eq!(at_ms(&ten, 60.0, text).0, [0, 25, 50, 75, 100, 300, 350]);
        let off = TracePlan { spread: false, ..recorded() };
        assert_eq!(at_ms(&off, 60.0, text).0, [0, 0, 0, 0, 1000, 3000, 3000]);
    }

    #[test]
    fn a_late_record_of_an_earlier_second_is_spread_with_the_latest() {
        let (at, ended) = at_ms(&instants(), 60.0, "100\n101\n100\n101\n102\n");
        assert_eq!(at, [0, 1000, 1333, 1666, 2000]);
        assert_eq!(ended.unwrap().0.out_of_order, 1);
    }

    #[test]
    fn stamps_with_a_fraction_bound_what_is_spread_before_them() {
        // As writers that leave out a fraction of zero have it.
        assert_eq!(at_ms(&instants(), 60.0, "100\n100\n100.1\n100.2\n").0, [0, 50, 100, 200]);
    }

    #[test]
    fn more_than_the_scenario_allows_in_a_second_ends_the_run() {
        let plan = TracePlan { max_rate_rps: 3.0, ..instants() };
        assert!(at_ms(&plan, 60.0, "0\n0\n0\n1\n1\n1\n").1.is_ok());
        let (at, ended) = at_ms(&plan, 60.0, "0\n0\n0\n1\n1\n1\n1\n");
        assert_eq!(at.len(), 6);
        let told = ended.unwrap_err();
        assert!(told.contains("more than load.max_rate, 3/s, in second 1 of its phase"), "{told}");
    }

    #[test]
    fn a_second_too_full_to_be_held_ends_the_run() {
        let text = "7\n".repeat(MAX_SECOND_RECORDS + 1);
        let plan = TracePlan { max_rate_rps: 1e9, ..instants() };
        assert!(replay(&plan, 60.0, &text).1.unwrap_err().contains("set trace.spread = false"));
        assert!(replay(&plan, 60.0, &text[2..]).1.is_ok());
        let off = TracePlan { spread: false, ..plan };
        assert!(replay(&off, 60.0, &text).1.is_ok());
    }

    #[test]
    fn what_was_read_of_a_second_comes_before_what_breaks_in_it() {
        let plan = TracePlan { max_broken: 0, ..instants() };
        let (at, ended) = at_ms(&plan, 60.0, "100\n100\n101\n101\nno stamp\n102\n");
        assert_eq!(at, [0, 500, 1000, 1500]);
        assert!(ended.unwrap_err().contains("line 5"));
    }

    #[test]
    fn a_file_that_got_shorter_is_told() {
        let mut plan = instants();
        plan.head.size_bytes = 9;
        let told = replay(&plan, 60.0, "1\n2\n").1.unwrap_err();
        assert!(told.contains("it ends after 4 bytes and had 9 when the scenario was read"), "{told}");
    }

    proptest! {
        #[test]
        fn arrivals_are_in_order_within_the_phase_and_every_line_is_accounted_for(
            stamps in prop::collection::vec((0u32..20, prop::option::of(0u32..1000), 0u32..40), 1..60),
            speed in 0.1f64..20.0, duration_s in 0.1f64..30.0, spread in any::<bool>(),
        ) {
            let text: String = stamps.iter().map(|(s, ms, junk)| match (junk, ms) {
                (0, _) => "broken\n".to_owned(),
                (1, _) => "\n".to_owned(),
                (_, Some(ms)) => format!("{s}.{ms:03}\n"),
                (_, None) => format!("{s}\n"),
            }).collect();
            let plan = TracePlan { speed, spread, ..instants() };
            let (due, ended) = replay(&plan, duration_s, &text);
            let (totals, end) = ended.unwrap();
            prop_assert!(due.windows(2).all(|w| w[0].0 <= w[1].0));
            prop_assert!(due.iter().all(|d| d.0 < (duration_s * 1e9) as u64));
            prop_assert_eq!(due.len() as u64, totals.replayed);
            let counted = totals.replayed + totals.broken + totals.ignored + totals.beyond;
            prop_assert_eq!(totals.lines, counted);
            if end != TraceEnd::Cut {
                prop_assert_eq!(totals.lines, stamps.len() as u64);
            }
        }
    }
}
