//! The second in progress: one interval for each (phase, class) that counted something.

use squall_record::interval::Interval;

use crate::slice::Slice;

/// Finds the interval of a (phase, class) in the slice in progress.
#[derive(Debug)]
pub(crate) struct Cells {
    pub(crate) slice: Slice,
    /// Position + 1 in `slice.intervals` for each phase × class; 0 for none yet.
    position: Vec<u16>,
    classes: usize,
}

impl Cells {
    pub(crate) fn new(phases: usize, classes: usize) -> Self {
        let mut slice = Slice::new();
        // Most seconds see two phases at most; more are made when they appear.
        slice.spare = (0..2 * classes).map(|_| Interval::new(0, 0, 0)).collect();
        Self { slice, position: vec![0; phases * classes], classes }
    }

    /// The interval of `class` in `phase`.
    #[inline]
    pub(crate) fn of(&mut self, phase: u16, class: u16) -> &mut Interval {
        let key = usize::from(phase) * self.classes + usize::from(class);
        if self.position[key] == 0 {
            let mut i = self.slice.spare.pop().unwrap_or_else(|| Interval::new(0, 0, 0));
            (i.second, i.phase, i.class) = (self.slice.second, phase, class);
            self.slice.intervals.push(i);
            self.position[key] = self.slice.intervals.len() as u16;
        }
        &mut self.slice.intervals[usize::from(self.position[key]) - 1]
    }

    /// Ends the second: takes its slice and goes on with `next`, an empty one.
    pub(crate) fn turn(&mut self, mut next: Slice) -> Slice {
        for i in &self.slice.intervals {
            self.position[usize::from(i.phase) * self.classes + usize::from(i.class)] = 0;
        }
        next.second = self.slice.second + 1;
        std::mem::replace(&mut self.slice, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_second_starts_empty_and_reuses_its_memory() {
        let mut cells = Cells::new(3, 2);
        cells.of(1, 1).counts.planned += 1;
        cells.of(0, 1).counts.planned += 5;
        cells.of(1, 1).counts.planned += 1;
        let mut first = cells.turn(Slice::new());
        let seen: Vec<_> = first.intervals.iter().map(|i| (i.phase, i.class, i.counts.planned)).collect();
        assert_eq!(seen, [(1, 1, 2), (0, 1, 5)]);
        let spare_before = first.spare.len();
        first.clear();
        assert_eq!(first.spare.len(), spare_before + 2);
        let _ = cells.turn(first);
        assert_eq!(cells.slice.second, 2);
        cells.of(1, 1).counts.planned += 1;
        assert_eq!(cells.slice.intervals[0].counts.planned, 1);
    }
}
