//! Which notices go first, and that the others are not forgotten.

/// How urgent a notice is: by the amount of its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A great amount.
    High,
    /// Any other.
    Normal,
    /// A small amount.
    Low,
}

impl Priority {
    /// All, the most urgent first.
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    /// As subjects and labels have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        }
    }
}

/// Where one priority ends and the next begins, in minor units.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// The least amount of high priority.
    pub high_from: i64,
    /// The least amount that is no longer of low priority.
    pub low_below: i64,
}

impl Thresholds {
    /// The priority of a payment of `amount`.
    #[must_use]
    pub fn of(self, amount: i64) -> Priority {
        if amount >= self.high_from {
            Priority::High
        } else if amount < self.low_below {
            Priority::Low
        } else {
            Priority::Normal
        }
    }
}

/// Who is served first at each of ten takes: high at six, normal at three, low at one. So a backlog of
/// high notices leaves a tenth of the takes to low ones.
const TURNS: [Priority; 10] = {
    use Priority::{High, Low, Normal};
    [High, High, Normal, High, Low, High, Normal, High, High, Normal]
};

/// Weighted turns. Whoever has the turn and nothing to give leaves it to the others, the most urgent
/// first.
#[derive(Debug, Default)]
pub struct Turns(usize);

impl Turns {
    /// The order of the next take.
    pub fn next_order(&mut self) -> [Priority; 3] {
        use Priority::{High, Low, Normal};
        let first = TURNS[self.0 % TURNS.len()];
        self.0 = (self.0 + 1) % TURNS.len();
        match first {
            High => [High, Normal, Low],
            Normal => [Normal, High, Low],
            Low => [Low, High, Normal],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_amount_gives_the_priority() {
        let thresholds = Thresholds { high_from: 10_000_000, low_below: 1_000 };
        let of = |amount| thresholds.of(amount);
        assert_eq!([of(1), of(999)], [Priority::Low; 2]);
        assert_eq!([of(1_000), of(9_999_999)], [Priority::Normal; 2]);
        assert_eq!([of(10_000_000), of(999_999_999_999)], [Priority::High; 2]);
    }

    #[test]
    fn everybody_gets_turns_and_the_urgent_most() {
        let mut turns = Turns::default();
        let orders: Vec<_> = (0..20).map(|_| turns.next_order()).collect();
        let first = |p| orders.iter().filter(|order| order[0] == p).count();
        assert_eq!(Priority::ALL.map(first), [12, 6, 2]);
        for order in orders {
            // Nobody is left out, and behind the first the more urgent come first.
            let rest: Vec<_> = Priority::ALL.into_iter().filter(|p| *p != order[0]).collect();
            assert_eq!(order[1..], rest);
        }
    }
}
