//! What a virtual user sends: texts with placeholders, filled for one iteration of one user.
//!
//! Besides the placeholders of a request there are values that earlier answers gave. Those come
//! from outside and may hold anything, so every value is written for the [`place`]
//! where it stands; outside the quotes of JSON it is a value of its own kind. That a value can stand
//! in a header is seen to when it is taken.
//!
//! Everything drawn is a function of (seed, journey, user, iteration), so a user asks the same
//! in the same order however fast the answers come.

use crate::content::Content;
use crate::draw::{Draw, Lane};
use crate::feeder::{Feeders, Field, Turn};
use crate::place::{self, Place, Places, Spot};
use crate::plan::{DataPlan, FeederPlan, JourneyPlan, Plan, StepPlan};
use crate::template::{Piece, TemplateError, Values, pieces};

/// The longest value that an answer may give, in bytes.
pub const MAX_VALUE_LEN: usize = 8 * 1024;
/// Bits of an index for the journey, the user, the step: with the iteration's and the mark that
/// sets journeys apart from arrivals they make 64.
const JOURNEY_BITS: u32 = 4;
const USER_BITS: u32 = 14;
const STEP_BITS: u32 = 4;
const ITERATION_BITS: u32 = 63 - JOURNEY_BITS - USER_BITS - STEP_BITS;
/// The most journeys of a scenario.
pub const MAX_JOURNEYS: usize = 1 << JOURNEY_BITS;
/// The most virtual users of a scenario.
pub const MAX_USERS: u32 = 10_000;
/// The most steps of a journey.
pub const MAX_STEPS: usize = 1 << STEP_BITS;
const _: () = assert!(MAX_USERS <= 1 << USER_BITS);

/// What stands for something else in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hole {
    /// `${account}`
    Account,
    /// `${other}`
    Other,
    /// `${amount}`
    Amount,
    /// `${key}`: of this step in this iteration.
    Key,
    /// `${user}`: from 0.
    User,
    /// `${iteration}`: from 0.
    Iteration,
    /// `${token}`
    Token,
    /// `${username}`
    Username,
    /// `${password}`
    Password,
    /// A value taken from an answer, by its number among the journey's.
    Taken(usize),
    /// `${feeder.column}`
    Field(Field),
}

/// The names of every hole but the taken ones and those of feeders.
pub const NAMES: [(&str, Hole); 9] = [
    ("account", Hole::Account),
    ("other", Hole::Other),
    ("amount", Hole::Amount),
    ("key", Hole::Key),
    ("user", Hole::User),
    ("iteration", Hole::Iteration),
    ("token", Hole::Token),
    ("username", Hole::Username),
    ("password", Hole::Password),
];

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Text(String),
    /// To be filled.
    Hole(Hole, Place),
}

/// A text with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Vec<Part>);

impl Text {
    /// The text in `typed`, standing at `spot`; `taken` are the names of the journey's values.
    ///
    /// # Errors
    /// When a placeholder is unknown or not closed.
    pub fn parse(
        typed: &str,
        spot: Spot,
        taken: &[String],
        feeders: &[FeederPlan],
    ) -> Result<Self, TemplateError> {
        let mut places = Places::new(spot);
        let parts = pieces(typed)?
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(text) => {
                    places.pass(text);
                    Ok(Part::Text(text.to_owned()))
                }
                Piece::Name(name, at) => {
                    let known = NAMES.iter().find(|(n, _)| *n == name).map(|(_, hole)| *hole);
                    let hole = known
                        .or_else(|| taken.iter().position(|t| t == name).map(Hole::Taken))
                        .or_else(|| Field::find(name, feeders).map(Hole::Field));
                    let unknown = || TemplateError::Unknown { at, name: name.to_owned() };
                    hole.map(|h| Part::Hole(h, places.here())).ok_or_else(unknown)
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self(parts))
    }

    /// Its pieces.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The holes in it.
    pub fn holes(&self) -> impl Iterator<Item = Hole> + '_ {
        self.0.iter().filter_map(|p| match p {
            Part::Hole(hole, _) => Some(*hole),
            Part::Text(_) => None,
        })
    }

    /// The text filled with `known`. `None` when it needs a value that no answer has given yet.
    #[must_use]
    pub fn fill(&self, known: &Known<'_>) -> Option<String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Hole(hole, place) => known.write(*hole, *place, &mut out)?,
            }
        }
        Some(out)
    }
}

/// A scalar that an answer gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken(serde_json::Value);

impl Taken {
    /// The value at `pointer` of `answer`, when it is a text, a number or a truth value of at
    /// most [`MAX_VALUE_LEN`] bytes.
    #[must_use]
    pub fn from_answer(answer: &serde_json::Value, pointer: &str) -> Option<Self> {
        match answer.pointer(pointer)? {
            serde_json::Value::String(text) if text.len() > MAX_VALUE_LEN => None,
            scalar @ (serde_json::Value::String(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Bool(_)) => Some(Self(scalar.clone())),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match &self.0 {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// Everything that fills the holes of one step. It holds secrets, and so has no `Debug`.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Account, other account, amount and key.
    pub values: Values,
    /// How accounts are written.
    pub data: &'a DataPlan,
    /// The files' rows.
    pub feeders: &'a Feeders,
    /// Whose iteration it is.
    pub turn: Turn,
    /// What `${token}` becomes.
    pub token: &'a str,
    /// What `${username}` becomes.
    pub username: &'a str,
    /// What `${password}` becomes.
    pub password: &'a str,
    /// What answers have given so far.
    pub taken: &'a [Option<Taken>],
}

impl Known<'_> {
    /// Writes what stands in `hole`; `None` when no answer has given it yet.
    fn write(&self, hole: Hole, place: Place, out: &mut String) -> Option<()> {
        let text = |t: String| Taken(serde_json::Value::String(t));
        let value = match hole {
            Hole::Account => text(self.account(self.values.account)),
            Hole::Other => text(self.account(self.values.other)),
            Hole::Amount => Taken(self.values.amount.into()),
            Hole::Key => text(key_text(self.values.key)),
            Hole::User => Taken(self.turn.user.into()),
            Hole::Iteration => Taken(self.turn.iteration.into()),
            Hole::Token => text(self.token.to_owned()),
            Hole::Username => text(self.username.to_owned()),
            Hole::Password => text(self.password.to_owned()),
            Hole::Taken(slot) => self.taken.get(slot)?.clone()?,
            Hole::Field(field) => {
                let value = self.feeders.value_of_user(field, self.turn);
                place::write(value, place, |piece| out.push_str(piece));
                return Some(());
            }
        };
        match place {
            Place::JsonValue => out.push_str(&value.0.to_string()),
            _ => place::write(&value.text(), place, |piece| out.push_str(piece)),
        }
        Some(())
    }

    /// An account's id as requests write it.
    #[must_use]
    pub fn account(&self, number: u64) -> String {
        format!("{}{number:0digits$}", self.data.account_prefix, digits = self.data.account_digits)
    }
}

/// An idempotency key as requests write it.
#[must_use]
pub fn key_text(key: u128) -> String {
    format!("{key:032x}")
}

/// A value to take from an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// Its number among the journey's values.
    pub slot: usize,
    /// Where it stands in the answer.
    pub pointer: String,
    in_header: bool,
    in_path: bool,
}

impl Take {
    /// Takes the value out of `answer`, when it is there and can be written wherever later steps
    /// write it: a header holds visible ASCII, and a path no segment that leads elsewhere.
    #[must_use]
    pub fn from_answer(&self, answer: &serde_json::Value) -> Option<Taken> {
        let value = Taken::from_answer(answer, &self.pointer)?;
        fits(&value.text(), self.in_header, self.in_path).then_some(value)
    }
}

/// Whether `text` can stand in a header, in a path.
fn fits(text: &str, in_header: bool, in_path: bool) -> bool {
    let header = || !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    // Percent-encoding does not hide a dot: `%2E%2E` is `..` to URL parsers.
    let path = || !matches!(text, "" | "." | "..");
    (!in_header || header()) && (!in_path || path())
}

/// A step, ready to be filled.
#[derive(Debug, Clone)]
pub struct Step {
    /// Path and query.
    pub path: Text,
    /// Names and values.
    pub headers: Vec<(String, Text)>,
    /// The body.
    pub body: Option<Text>,
    /// What to take from the answer.
    pub take: Vec<Take>,
    /// Whether it carries an idempotency key, and so may move money.
    pub has_key: bool,
}

/// A journey, ready to be gone through.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its steps.
    pub steps: Vec<Step>,
    /// How many values its answers give.
    pub slots: usize,
}

impl Script {
    /// The steps of `journey`.
    ///
    /// # Errors
    /// When a text of it is no template, which the plan's checks have seen to.
    pub fn new(journey: &JourneyPlan, feeders: &[FeederPlan]) -> Result<Self, TemplateError> {
        let names = taken_names(&journey.steps);
        let steps = journey.steps.iter().map(|s| step(s, &names, feeders));
        let mut steps = steps.collect::<Result<Vec<_>, _>>()?;
        let (mut in_header, mut in_path) = (vec![false; names.len()], vec![false; names.len()]);
        for s in &steps {
            let mark = |places: &mut Vec<bool>, text: &Text| {
                text.holes().for_each(|h| {
                    if let Hole::Taken(slot) = h {
                        places[slot] = true;
                    }
                });
            };
            mark(&mut in_path, &s.path);
            s.headers.iter().for_each(|(_, text)| mark(&mut in_header, text));
        }
        for take in steps.iter_mut().flat_map(|s| &mut s.take) {
            (take.in_header, take.in_path) = (in_header[take.slot], in_path[take.slot]);
        }
        Ok(Self { steps, slots: names.len() })
    }
}

/// The names of everything that `steps` take, each once.
#[must_use]
pub fn taken_names(steps: &[StepPlan]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in steps.iter().flat_map(|s| &s.take) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn step(plan: &StepPlan, names: &[String], feeders: &[FeederPlan]) -> Result<Step, TemplateError> {
    let body_spot = Spot::of_body_with(&plan.headers);
    let path = Text::parse(&plan.path, Spot::Path, names, feeders)?;
    let headers = plan
        .headers
        .iter()
        .map(|(n, v)| Ok((n.clone(), Text::parse(v, Spot::Header, names, feeders)?)))
        .collect::<Result<Vec<_>, TemplateError>>()?;
    let body = plan.body.as_ref().map(|b| Text::parse(b, body_spot, names, feeders)).transpose()?;
    let texts = || headers.iter().map(|(_, v)| v).chain([&path]).chain(&body);
    let has_key = texts().flat_map(Text::holes).any(|h| h == Hole::Key);
    let take = plan
        .take
        .iter()
        .filter_map(|(name, pointer)| {
            let slot = names.iter().position(|n| n == name)?;
            Some(Take { slot, pointer: pointer.clone(), in_header: false, in_path: false })
        })
        .collect();
    Ok(Step { path, headers, body, take, has_key })
}

/// What the users of a plan draw.
#[derive(Clone)]
pub struct Draws {
    seed: u64,
    content: Content,
}

impl Draws {
    /// The draws of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { seed: plan.seed, content: Content::new(plan) }
    }

    /// The account, other account and amount of an iteration, with the key of one of its steps.
    #[must_use]
    pub fn values(&self, journey: usize, user: u32, iteration: u64, step: usize) -> Values {
        let values = self.content.values(index(journey, user, iteration, 0));
        Values { key: self.content.values(index(journey, user, iteration, step)).key, ..values }
    }

    /// An iteration of a user, for the feeders.
    #[must_use]
    pub fn turn(&self, plan: &JourneyPlan, journey: usize, user: u32, iteration: u64) -> Turn {
        Turn { user, users: plan.users, iteration, index: index(journey, user, iteration, 0) }
    }

    /// How long the user thinks after a step, in milliseconds.
    #[must_use]
    pub fn think_ms(
        &self,
        plan: &JourneyPlan,
        journey: usize,
        user: u32,
        iteration: u64,
        step: usize,
    ) -> f64 {
        let u = Draw::new(self.seed, Lane::Think, index(journey, user, iteration, step)).unit();
        plan.think_min_ms + (plan.think_max_ms - plan.think_min_ms) * u
    }
}

/// One number for a step of an iteration; never an arrival's, whose highest bit is not set.
fn index(journey: usize, user: u32, iteration: u64, step: usize) -> u64 {
    let mut index = 1 << JOURNEY_BITS | (journey as u64 & ((1 << JOURNEY_BITS) - 1));
    index = index << USER_BITS | (u64::from(user) & ((1 << USER_BITS) - 1));
    index = index << STEP_BITS | (step as u64 & ((1 << STEP_BITS) - 1));
    index << ITERATION_BITS | (iteration & ((1 << ITERATION_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Arrivals;
    use crate::plan::tests_support::{data, plan_with_phases};
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn names() -> Vec<String> {
        vec!["x".to_owned()]
    }

    fn filled(typed: &str, spot: Spot, value: serde_json::Value) -> Option<String> {
        let data = data();
        let taken = [Some(Taken(value))];
        let values = Values { account: 42, other: 7, amount: 950, key: 0xabc, seq: 0 };
        let known = Known {
            values,
            data: &data,
            feeders: &Feeders::default(),
            turn: Turn { user: 3, users: 4, iteration: 9, index: 0 },
            token: "secret",
            username: "u",
            password: "p\"",
            taken: &taken,
        };
        Text::parse(typed, spot, &names(), &[]).unwrap().fill(&known)
    }

    #[test]
    fn a_value_is_written_for_the_place_where_it_stands() {
        let wicked = || serde_json::json!("a\"b\r\nX: 1/../é&=");
        assert_eq!(
            filled("/a/${x}?q=${x}", Spot::Path, wicked()).unwrap(),
            "/a/a%22b%0D%0AX%3A%201%2F..%2F%C3%A9%26%3D?q=a%22b%0D%0AX%3A%201%2F..%2F%C3%A9%26%3D"
        );
        let body = filled(r#"{"a":"<${x}>","b":${x},"c":${amount},"d":"${password}"}"#, Spot::Json, wicked());
        let read: serde_json::Value = serde_json::from_str(&body.unwrap()).unwrap();
        assert_eq!(read["a"], "<a\"b\r\nX: 1/../é&=>");
        assert_eq!((&read["b"], &read["c"], &read["d"]), (&wicked(), &950.into(), &"p\"".into()));
        assert_eq!(filled("v=${x}&w=1", Spot::Form, serde_json::json!("1&w=2")).unwrap(), "v=1%26w%3D2&w=1");
        let drawn =
            filled("${account} ${other} ${amount} ${key} ${user} ${iteration}", Spot::Header, wicked());
        assert_eq!(drawn.unwrap(), "acc_00000042 acc_00000007 950 00000000000000000000000000000abc 3 9");
    }

    #[test]
    fn a_number_stays_one_outside_quotes_and_a_value_not_given_fills_nothing() {
        assert_eq!(filled(r#"{"n":${x}}"#, Spot::Json, 12.into()).unwrap(), r#"{"n":12}"#);
        assert_eq!(filled(r#"{"n":"${x}"}"#, Spot::Json, 12.into()).unwrap(), r#"{"n":"12"}"#);
        let text = Text::parse("${x}", Spot::Path, &names(), &[]).unwrap();
        let data = data();
        let values = Values { account: 1, other: 2, amount: 3, key: 4, seq: 0 };
        let none = Known {
            values,
            data: &data,
            feeders: &Feeders::default(),
            turn: Turn { user: 0, users: 1, iteration: 0, index: 0 },
            token: "",
            username: "",
            password: "",
            taken: &[None],
        };
        assert_eq!(text.fill(&none), None);
        assert!(Text::parse("${y}", Spot::Path, &names(), &[]).is_err());
    }

    #[test]
    fn what_cannot_be_written_where_it_is_needed_is_not_taken() {
        let answer = serde_json::json!({ "a": "x\ny", "b": "..", "c": [1], "d": null, "e": "", "f": "ok", "g": true,
            "long": "x".repeat(MAX_VALUE_LEN + 1) });
        let take = |pointer: &str, in_header, in_path| {
            Take { slot: 0, pointer: pointer.to_owned(), in_header, in_path }.from_answer(&answer).is_some()
        };
        assert!(take("/a", false, true) && !take("/a", true, false));
        assert!(take("/b", true, false) && !take("/b", false, true));
        assert!(!take("/c", false, false) && !take("/d", false, false) && !take("/none", false, false));
        assert!(take("/e", false, false) && !take("/e", true, false) && !take("/e", false, true));
        assert!(take("/f", true, true) && take("/g", true, true) && take("/c/0", true, true));
        assert!(!take("/long", false, false));
    }

    #[test]
    fn draws_belong_to_the_iteration_and_keys_to_its_steps() {
        let plan = plan_with_phases(Arrivals::Uniform, &[(1.0, 1.0, 1.0)]);
        let draws = Draws::new(&plan);
        let mut keys = HashSet::new();
        for (journey, user, iteration) in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (15, 9_999, 1 << 40)] {
            let first = draws.values(journey, user, iteration, 0);
            for step in 0..MAX_STEPS {
                let v = draws.values(journey, user, iteration, step);
                assert_eq!((v.account, v.other, v.amount), (first.account, first.other, first.amount));
                assert!(keys.insert(v.key));
            }
            assert_eq!(first, draws.clone().values(journey, user, iteration, 0));
        }
    }

    proptest! {
        #[test]
        fn whatever_an_answer_gives_a_json_body_stays_one_and_a_path_one_line(value in "\\PC*|[\\x00-\\x7f]{0,40}") {
            let body = filled(r#"{"a":"${x}","b":${x}}"#, Spot::Json, value.clone().into()).unwrap();
            let read: serde_json::Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(read, serde_json::json!({ "a": value.clone(), "b": value.clone() }));
            let path = filled("/${x}", Spot::Path, value.into()).unwrap();
            prop_assert!(path.bytes().all(|b| b.is_ascii_graphic() && !b"#?\"<>".contains(&b)));
            prop_assert_eq!(path.matches('/').count(), 1);
        }

        #[test]
        fn indices_are_told_apart(a in (0usize..16, 0u32..10_000, 0u64..1_000_000, 0usize..16), b in (0usize..16, 0u32..10_000, 0u64..1_000_000, 0usize..16)) {
            let of = |(j, u, i, s)| index(j, u, i, s);
            prop_assert_eq!(of(a) == of(b), a == b);
            prop_assert!(of(a) >> 63 == 1);
        }
    }
}
