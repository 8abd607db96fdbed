//! How the service goes around the faults of a run that goes on: when one shows, and when it is over. By the promises,
//! second by second, as the report judges them too; it alone knows what was usual before, for a run without any.

use squall_reports::faults::Streak;
use squall_reports::windows::EDGE_S;

/// The most faults that are followed; the oldest goes first.
const MAX_FOLLOWED: usize = 64;

/// What has changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Turn {
    /// A promise was not kept for a second, that many seconds after the fault began.
    Noticed { name: String, after_s: f64 },
    /// All were kept again from that many seconds after the fault's end on.
    Back { name: String, after_s: f64 },
}

/// A fault, from its beginning until nothing more can be told of it.
#[derive(Debug)]
struct Followed {
    name: String,
    start_s: f64,
    end_s: Option<f64>,
    noticed: bool,
    /// The good seconds in a row after its end.
    streak: Streak,
}

/// The faults that act, and those that are over and that the service is not back from.
#[derive(Debug, Default)]
pub(super) struct Courses {
    followed: Vec<Followed>,
}

impl Courses {
    pub fn begun(&mut self, name: &str, at_s: f64) {
        // As in the report: what comes after the next fault's beginning is not the doing of those that are over.
        self.followed.retain(|f| f.end_s.is_none());
        if self.followed.len() == MAX_FOLLOWED {
            self.followed.remove(0);
        }
        let name = name.to_owned();
        self.followed.push(Followed {
            name,
            start_s: at_s,
            end_s: None,
            noticed: false,
            streak: Streak::default(),
        });
    }

    pub fn ended(&mut self, name: &str, at_s: f64) {
        let acting = self.followed.iter_mut().find(|f| f.name == name && f.end_s.is_none());
        if let Some(acting) = acting {
            acting.end_s = Some(at_s);
        }
    }

    /// A second of the load in which a promise was `broken`, or none was.
    pub fn second(&mut self, second: u32, broken: bool) -> Vec<Turn> {
        let mut turns = Vec::new();
        self.followed.retain_mut(|f| {
            let over_s = f64::from(second + 1);
            if over_s - EDGE_S < f.start_s {
                return true;
            }
            if broken {
                if !f.noticed {
                    let after_s = (over_s - f.start_s).max(0.0);
                    turns.push(Turn::Noticed { name: f.name.clone(), after_s });
                }
                f.noticed = true;
                f.streak.second(second, true);
                return true;
            }
            let Some(end_s) = f.end_s.filter(|end_s| f64::from(second) + EDGE_S >= *end_s) else {
                return true;
            };
            let Some(since) = f.streak.second(second, false) else { return true };
            if f.noticed {
                let after_s = (f64::from(since) - end_s).max(0.0);
                turns.push(Turn::Back { name: f.name.clone(), after_s });
            }
            false
        });
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_noticed_once_and_over_after_three_good_seconds_behind_it() {
        let mut courses = Courses::default();
        courses.begun("down", 20.004);
        let broken = |s: u32| (19..33).contains(&s) || s == 34;
        let mut told = Vec::new();
        for second in 15..45 {
            if second == 31 {
                courses.ended("down", 30.02);
            }
            told.extend(courses.second(second, broken(second)).into_iter().map(|turn| (second, turn)));
        }
        let [(20, Turn::Noticed { after_s, .. }), (37, Turn::Back { after_s: back_s, .. })] = &told[..]
        else {
            panic!("{told:?}");
        };
        assert!((after_s - 0.996).abs() < 1e-9 && (back_s - 4.98).abs() < 1e-9, "{told:?}");
        assert!(courses.followed.is_empty());
    }

    #[test]
    fn the_next_fault_ends_the_watch() {
        let mut courses = Courses::default();
        courses.begun("first", 1.0);
        assert_eq!(courses.second(1, true).len(), 1);
        courses.ended("first", 2.0);
        courses.begun("next", 2.0);
        assert!((2..9).all(|second| courses.second(second, false).is_empty()));
    }

    #[test]
    fn what_nobody_notices_is_followed_no_longer_than_it_must_be_and_never_told() {
        let mut courses = Courses::default();
        courses.begun("hiccup", 1.0);
        courses.ended("hiccup", 2.0);
        assert!((1..6).all(|second| courses.second(second, false).is_empty()));
        assert_eq!(courses.second(6, true), []);
        (0..200).for_each(|n| courses.begun(&n.to_string(), 7.0));
        assert_eq!(courses.followed.len(), MAX_FOLLOWED);
    }
}
