//! The past of a run in a bounded number of columns.

use std::collections::VecDeque;
use std::sync::Arc;

use squall_record::counts::Counts;
use squall_record::latency::Latency;

use super::buckets::Buckets;

/// The most columns kept of a whole run. When they are full, two neighbours become one, so that
/// a column covers 1, 2, 4, … seconds.
pub const MAX_COLUMNS: usize = 600;

/// How many of the newest seconds are kept one by one besides, for a close look at a long run.
pub const RECENT_S: usize = 120;

/// Some consecutive seconds of a run, added up.
#[derive(Debug, Clone, Default)]
pub struct Column {
    /// The first second it covers.
    pub start_s: u32,
    /// How many seconds it covers.
    pub seconds: u32,
    /// What became of the arrivals.
    pub counts: Counts,
    /// Response times, all request classes.
    pub response: Buckets,
}

impl Column {
    fn second(second: u32, counts: Counts, response: &Latency) -> Self {
        let mut buckets = Buckets::default();
        buckets.add(response);
        Self { start_s: second, seconds: 1, counts, response: buckets }
    }

    fn merge(&mut self, later: &Column) {
        self.seconds = later.start_s + later.seconds - self.start_s;
        self.counts += &later.counts;
        self.response.merge(&later.response);
    }

    /// The middle of the time it covers, in seconds.
    #[must_use]
    pub fn middle_s(&self) -> f64 {
        f64::from(self.start_s) + f64::from(self.seconds) / 2.0
    }

    /// Completed requests per second.
    #[must_use]
    pub fn achieved_rps(&self) -> f64 {
        self.counts.completed() as f64 / f64::from(self.seconds.max(1))
    }
}

/// Everything that happened, in columns.
#[derive(Debug, Default)]
pub struct History {
    closed: Vec<Arc<Column>>,
    open: Option<Column>,
    recent: VecDeque<Arc<Column>>,
    column_s: u32,
}

impl History {
    /// An empty past.
    #[must_use]
    pub fn new() -> Self {
        Self { column_s: 1, ..Self::default() }
    }

    /// How many seconds a whole column covers.
    #[must_use]
    pub fn column_s(&self) -> u32 {
        self.column_s
    }

    /// Adds one second. Seconds come in rising order; a missing one stays empty.
    pub fn push(&mut self, second: u32, counts: Counts, response: &Latency) {
        let column = Column::second(second, counts, response);
        if self.recent.len() == RECENT_S {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::new(column.clone()));
        match &mut self.open {
            Some(open) if second / self.column_s == open.start_s / self.column_s => open.merge(&column),
            open => {
                if let Some(done) = open.replace(column) {
                    self.closed.push(Arc::new(done));
                }
            }
        }
        if self.closed.len() + 1 >= MAX_COLUMNS {
            self.halve();
        }
    }

    /// Two neighbours become one: those that fall into the same column of twice the width.
    fn halve(&mut self) {
        self.column_s *= 2;
        let mut halved: Vec<Arc<Column>> = Vec::with_capacity(MAX_COLUMNS);
        let all = self.closed.drain(..).chain(self.open.take().map(Arc::new));
        for column in all {
            match halved.last_mut() {
                Some(last) if last.start_s / self.column_s == column.start_s / self.column_s => {
                    Arc::make_mut(last).merge(&column);
                }
                _ => halved.push(column),
            }
        }
        self.open = halved.pop().map(Arc::unwrap_or_clone);
        self.closed = halved;
    }

    /// The whole run so far, oldest first. Copies pointers and the newest column.
    #[must_use]
    pub fn columns(&self) -> Vec<Arc<Column>> {
        self.closed.iter().cloned().chain(self.open.clone().map(Arc::new)).collect()
    }

    /// The newest [`RECENT_S`] seconds, one column each.
    #[must_use]
    pub fn recent(&self) -> Vec<Arc<Column>> {
        self.recent.iter().cloned().collect()
    }
}

/// Puts `columns` on `cells` equal cells between `from_s` and `to_s`: a cell merges the columns
/// whose middles it covers; where cells are narrower than columns, several show the same one. A
/// cell without any is `None`.
#[must_use]
pub fn resample(columns: &[Arc<Column>], from_s: f64, to_s: f64, cells: usize) -> Vec<Option<Arc<Column>>> {
    let width_s = (to_s - from_s) / cells.max(1) as f64;
    let mut rest = columns;
    (0..cells)
        .map(|cell| {
            let begin = from_s + width_s * cell as f64;
            let end = begin + width_s;
            rest = &rest[rest.partition_point(|c| c.middle_s() < begin)..];
            let inside = &rest[..rest.partition_point(|c| c.middle_s() < end)];
            match inside {
                [] => covering(columns, (begin + end) / 2.0),
                [one] => Some(Arc::clone(one)),
                [first, more @ ..] => {
                    let mut sum = Column::clone(first);
                    more.iter().for_each(|c| sum.merge(c));
                    Some(Arc::new(sum))
                }
            }
        })
        .collect()
}

fn covering(columns: &[Arc<Column>], at_s: f64) -> Option<Arc<Column>> {
    let after = columns.partition_point(|c| f64::from(c.start_s) <= at_s);
    let column = columns.get(after.checked_sub(1)?)?;
    (at_s < f64::from(column.start_s + column.seconds)).then(|| Arc::clone(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(ok: u64) -> Counts {
        Counts { planned: ok, sent: ok, ok, ..Counts::default() }
    }

    fn latency(us: u64) -> Latency {
        let mut l = Latency::new();
        l.record_us(us);
        l
    }

    #[test]
    fn a_run_of_100_000_seconds_is_kept_in_bounded_columns_and_loses_no_count() {
        let mut h = History::new();
        let one = latency(1000);
        for s in 0..100_000 {
            h.push(s, counts(3), &one);
            assert!(h.closed.len() < MAX_COLUMNS && h.recent.len() <= RECENT_S);
        }
        let columns = h.columns();
        assert!(columns.len() <= MAX_COLUMNS && columns.len() >= MAX_COLUMNS / 2 - 1, "{}", columns.len());
        assert_eq!(columns.iter().map(|c| c.counts.ok).sum::<u64>(), 300_000);
        assert_eq!(columns.iter().map(|c| c.response.total()).sum::<u64>(), 100_000);
        assert_eq!(columns.iter().map(|c| c.seconds).sum::<u32>(), 100_000);
        assert!(columns.windows(2).all(|w| w[0].start_s + w[0].seconds == w[1].start_s));
        assert_eq!(h.recent().len(), RECENT_S);
    }

    #[test]
    fn merged_columns_have_the_percentiles_of_all_their_requests() {
        let mut h = History::new();
        for s in 0..MAX_COLUMNS as u32 + 2 {
            h.push(s, counts(1), &latency(if s % 2 == 0 { 100 } else { 10_000 }));
        }
        assert_eq!(h.column_s(), 2);
        // An average of the two would be about 5 ms.
        let p99 = h.columns()[0].response.quantile_us(0.99).unwrap();
        assert!((p99 / 10_000.0 - 1.0).abs() < 0.05, "{p99}");
    }

    #[test]
    fn narrow_cells_repeat_a_column_and_wide_ones_merge() {
        let mut h = History::new();
        for s in 0..4 {
            h.push(s, counts(u64::from(s) + 1), &latency(100));
        }
        let oks = |cells: Vec<Option<Arc<Column>>>| -> Vec<u64> {
            cells.iter().map(|c| c.as_ref().map_or(0, |c| c.counts.ok)).collect()
        };
        assert_eq!(oks(resample(&h.columns(), 0.0, 4.0, 8)), [1, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!(oks(resample(&h.columns(), 0.0, 4.0, 2)), [3, 7]);
        assert_eq!(oks(resample(&h.columns(), 0.0, 8.0, 4)), [3, 7, 0, 0]);
        assert_eq!(oks(resample(&h.columns(), 2.0, 4.0, 2)), [3, 4]);
    }

    #[test]
    fn a_missing_second_stays_empty() {
        let mut h = History::new();
        h.push(0, counts(1), &latency(1));
        h.push(3, counts(1), &latency(1));
        let cells = resample(&h.columns(), 0.0, 4.0, 4);
        assert_eq!(cells.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false, true]);
    }
}
