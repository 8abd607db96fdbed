//! `--set key.path=value`: one value of a scenario replaced or added before it is read.
//!
//! The text is edited in place, so that everything else keeps its line and column.

use std::ops::Range;
use std::str::FromStr;

use toml_edit::{Document, InlineTable, Item, Table, TableLike, Value};

use crate::edited::EditedText;
use crate::error::{Place, Problem, ScenarioError, did_you_mean, tick};

/// How many overrides one scenario takes.
pub const MAX_OVERRIDES: usize = 64;

/// One assignment: `load.connections=8`, `gates.0=p(99)<1us`, `phase.hold.rate=5k/s`.
///
/// An element of a list is named by its position from 0, or by its `name`. A value that is not
/// TOML is taken as a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    path: String,
    value: String,
}

/// Why a text is not an assignment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not an assignment; write it like load.connections=8", tick(.0))]
pub struct OverrideError(String);

impl Override {
    /// Sets `path` to `value`.
    #[must_use]
    pub fn new(path: impl Into<String>, value: impl Into<String>) -> Self {
        Self { path: path.into(), value: value.into() }
    }

    fn assignment(&self) -> String {
        format!("{}={}", self.path, self.value)
    }
}

impl FromStr for Override {
    type Err = OverrideError;

    fn from_str(text: &str) -> Result<Self, OverrideError> {
        match text.split_once('=') {
            Some((path, value)) if !path.trim().is_empty() => Ok(Self::new(path.trim(), value.trim())),
            _ => Err(OverrideError(text.to_owned())),
        }
    }
}

/// Applies `overrides` in order.
///
/// # Errors
/// The first that cannot be applied.
pub(crate) fn apply(
    text: &mut EditedText<'_>,
    name: &str,
    overrides: &[Override],
) -> Result<(), ScenarioError> {
    for (i, o) in overrides.iter().enumerate() {
        let edit = if i < MAX_OVERRIDES {
            edit(text.as_str(), o)
        } else {
            Err(format!("there are more than {MAX_OVERRIDES} overrides; write a scenario file"))
        };
        match edit {
            Ok((range, replacement)) => text.splice(range, &replacement, o.assignment()),
            Err(message) => {
                let problem = Problem { message, place: Place::Set { assignment: o.assignment() } };
                return Err(ScenarioError::Invalid {
                    name: name.to_owned(),
                    problems: vec![problem],
                    more: 0,
                });
            }
        }
    }
    Ok(())
}

/// Which bytes of `text` become what.
fn edit(text: &str, o: &Override) -> Result<(Range<usize>, String), String> {
    let keys = split_path(&o.path).ok_or_else(|| {
        format!("key path {} has an empty or unclosed part; write it like phase.hold.rate", tick(&o.path))
    })?;
    let doc =
        Document::parse(text).map_err(|e| format!("the scenario is not TOML: {}", e.message().trim()))?;
    let edit = locate(doc.as_item(), &keys, &o.path, &value(&o.value))?;
    // The edit is only as good as the text that it leaves.
    let mut edited = text.to_owned();
    edited.replace_range(edit.0.clone(), &edit.1);
    match Document::parse(edited) {
        Ok(_) => Ok(edit),
        Err(e) => Err(format!("key path {} cannot be set here: {}", tick(&o.path), e.message().trim())),
    }
}

/// `raw` as TOML: as it is when it is a TOML value, else as a string.
fn value(raw: &str) -> String {
    Value::from_str(raw).unwrap_or_else(|_| Value::from(raw)).to_string().trim().to_owned()
}

/// The parts of a dotted path; a part in double quotes may hold dots.
fn split_path(path: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut rest = path;
    loop {
        let (key, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if key.is_empty() {
            return None;
        }
        keys.push(key.to_owned());
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(keys),
            None => return None,
        }
    }
}

/// Where a key that does not exist yet can be written, and which keys lead there from it.
struct Home {
    at: usize,
    /// How many keys of the path the home itself stands for.
    depth: usize,
    form: Form,
}

enum Form {
    /// On a line of its own.
    Line,
    /// Within braces; whether other keys follow.
    Braces(bool),
}

/// Walks `keys` from `root` and replaces the value found, or adds it to the last home passed.
fn locate(root: &Item, keys: &[String], path: &str, new: &str) -> Result<(Range<usize>, String), String> {
    let mut home = Home { at: 0, depth: 0, form: Form::Line };
    let mut node = Node::Table(root.as_table().ok_or("the scenario is not a table")?);
    for (depth, key) in keys.iter().enumerate() {
        if depth > 0 {
            home = node.home(depth).unwrap_or(home);
        }
        match node.child(key, path)? {
            Some(child) => node = child,
            None => return Ok(insertion(&home, keys, new)),
        }
    }
    match node {
        Node::Value(v) => match v.span() {
            Some(span) => Ok((span, new.to_owned())),
            None => Err(format!("key path {} names a table of dotted keys; set one of them", tick(path))),
        },
        Node::Table(t) => {
            let known = t.iter().map(|(k, _)| k).collect::<Vec<_>>().join(", ");
            Err(format!("key path {} names a table; set one of its keys ({known})", tick(path)))
        }
        Node::List(names) => {
            let first = names.first().map_or("0", |(n, _)| n);
            Err(format!(
                "key path {} names a list of tables; set a key of one of them, such as {path}.{first}.name",
                tick(path)
            ))
        }
    }
}

/// The text that adds the keys beyond `home` with the value `new`.
fn insertion(home: &Home, keys: &[String], new: &str) -> (Range<usize>, String) {
    let quoted = |k: &String| {
        let bare = k.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if bare { k.clone() } else { Value::from(k.as_str()).to_string() }
    };
    let key = keys[home.depth..].iter().map(quoted).collect::<Vec<_>>().join(".");
    let text = match home.form {
        // The root's home is before everything else, a table's behind its header.
        Form::Line if home.depth == 0 => format!("{key} = {new}\n"),
        Form::Line => format!("\n{key} = {new}"),
        Form::Braces(true) => format!(" {key} = {new},"),
        Form::Braces(false) => format!(" {key} = {new} "),
    };
    (home.at..home.at, text)
}

/// A place in the document on the way along a path.
enum Node<'a> {
    Table(&'a Table),
    /// The tables of a `[[list]]`, with their names or positions.
    List(Vec<(String, &'a Table)>),
    Value(&'a Value),
}

impl<'a> Node<'a> {
    fn of(item: &'a Item) -> Option<Self> {
        match item {
            Item::None => None,
            Item::Value(v) => Some(Node::Value(v)),
            Item::Table(t) => Some(Node::Table(t)),
            Item::ArrayOfTables(list) => Some(Node::List(
                list.iter().enumerate().map(|(i, t)| (name_of(t).unwrap_or(i.to_string()), t)).collect(),
            )),
        }
    }

    /// Where a missing key of this node can be written.
    fn home(&self, depth: usize) -> Option<Home> {
        match self {
            Node::Table(t) if !t.is_dotted() && !t.is_implicit() => {
                Some(Home { at: t.span()?.end, depth, form: Form::Line })
            }
            Node::Value(Value::InlineTable(t)) if !t.is_dotted() => {
                Some(Home { at: t.span()?.start + 1, depth, form: Form::Braces(!t.is_empty()) })
            }
            _ => None,
        }
    }

    /// The part called `key`; `None` when it could be added.
    fn child(&self, key: &str, path: &str) -> Result<Option<Self>, String> {
        match self {
            Node::Table(t) => Ok(t.get(key).and_then(Node::of)),
            Node::Value(Value::InlineTable(t)) => Ok(t.get(key).map(Node::Value)),
            Node::List(tables) => {
                let by_name = tables.iter().position(|(n, _)| n == key);
                let known = tables.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
                let at = pick(key, path, by_name, &known)?;
                Ok(Some(Node::Table(tables[at].1)))
            }
            Node::Value(Value::Array(a)) => {
                let known: Vec<String> =
                    a.iter().enumerate().map(|(i, v)| inline_name(v).unwrap_or(i.to_string())).collect();
                let at = pick(key, path, known.iter().position(|n| n == key), &known)?;
                Ok(a.get(at).map(Node::Value))
            }
            Node::Value(v) => Err(format!(
                "key path {} goes through a {}, which has no key {}",
                tick(path),
                v.type_name(),
                tick(key)
            )),
        }
    }
}

/// The position that `key` means in a list whose elements are `known`.
fn pick(key: &str, path: &str, by_name: Option<usize>, known: &[String]) -> Result<usize, String> {
    let by_position = key.parse::<usize>().ok().filter(|i| *i < known.len());
    by_name.or(by_position).ok_or_else(|| {
        format!(
            "key path {} names no element: the list has {} ({}){}",
            tick(path),
            known.len(),
            known.join(", "),
            did_you_mean(key, known.iter().map(String::as_str))
        )
    })
}

fn name_of(t: &dyn TableLike) -> Option<String> {
    t.get("name").and_then(Item::as_str).map(ToOwned::to_owned)
}

fn inline_name(v: &Value) -> Option<String> {
    v.as_inline_table().map(|t: &InlineTable| t as &dyn TableLike).and_then(name_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: &str = "\
# a comment
name = \"a\" # kept
gates = [\"p(99)<1s\", \"max<2s\"]

[load] # how
connections = 4

[[phase]]
name = \"hold\"
ramp = { from = \"1/s\", to = \"2/s\" }

[[phase]]
name = \"1/2 b.c\"
rate = \"1/s\"
";

    fn set(text: &str) -> Result<String, String> {
        let mut edited = EditedText::new("a.toml", BASE);
        apply(&mut edited, "a.toml", &[text.parse::<Override>().map_err(|e| e.to_string())?])
            .map_err(|e| e.problems()[0].message.clone())?;
        Ok(edited.as_str().to_owned())
    }

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        for (assignment, before, after) in [
            ("load.connections=8", "connections = 4", "connections = 8"),
            ("name=b", "\"a\" # kept", "\"b\" # kept"),
            ("gates.1=max<3s", "\"max<2s\"", "\"max<3s\""),
            ("gates=[\"p(99)<1us\"]", "[\"p(99)<1s\", \"max<2s\"]", "[\"p(99)<1us\"]"),
            ("phase.hold.ramp.to=5k/s", "\"2/s\"", "\"5k/s\""),
            ("phase.1.rate=5k/s", "rate = \"1/s\"", "rate = \"5k/s\""),
            ("phase.\"1/2 b.c\".rate=5k/s", "rate = \"1/s\"", "rate = \"5k/s\""),
            (
                "phase.0.ramp={ from = \"3/s\", to = \"4/s\" }",
                "{ from = \"1/s\", to = \"2/s\" }",
                "{ from = \"3/s\", to = \"4/s\" }",
            ),
        ] {
            assert_eq!(set(assignment).unwrap(), BASE.replacen(before, after, 1), "{assignment}");
        }
    }

    #[test]
    fn a_missing_key_is_added_to_its_table() {
        for (assignment, before, after) in [
            ("seed=7", "# a comment", "seed = 7\n# a comment"),
            ("data.pick=zipf", "# a comment", "data.pick = \"zipf\"\n# a comment"),
            ("load.timeout=2s", "[load]", "[load]\ntimeout = \"2s\""),
            ("phase.hold.warmup=true", "[[phase]]", "[[phase]]\nwarmup = true"),
            ("phase.hold.ramp.via=x", "ramp = {", "ramp = { via = \"x\","),
        ] {
            assert_eq!(set(assignment).unwrap(), BASE.replacen(before, after, 1), "{assignment}");
        }
    }

    #[test]
    fn what_cannot_be_set_names_the_path_and_what_is_there() {
        for (assignment, message) in [
            (
                "phase.hodl.rate=1/s",
                "key path `phase.hodl.rate` names no element: the list has 2 (hold, 1/2 b.c); did you mean `hold`?",
            ),
            ("gates.7=x", "key path `gates.7` names no element: the list has 2 (0, 1)"),
            ("name.x=1", "key path `name.x` goes through a string, which has no key `x`"),
            ("load=1", "key path `load` names a table; set one of its keys (connections)"),
            (
                "phase=[]",
                "key path `phase` names a list of tables; set a key of one of them, such as phase.hold.name",
            ),
            ("a..b=1", "key path `a..b` has an empty or unclosed part; write it like phase.hold.rate"),
            ("nonsense", "`nonsense` is not an assignment; write it like load.connections=8"),
            ("=1", "`=1` is not an assignment; write it like load.connections=8"),
        ] {
            assert_eq!(set(assignment), Err(message.to_owned()), "{assignment}");
        }
    }

    #[test]
    fn later_overrides_see_earlier_ones() {
        let mut edited = EditedText::new("a.toml", "name = \"a\"\n");
        let all = ["data.pick=zipf", "data.exponent=1.5", "data.pick=uniform"].map(|o| o.parse().unwrap());
        apply(&mut edited, "a.toml", &all).unwrap();
        let t: toml::Table = edited.as_str().parse().unwrap();
        assert_eq!(t["data"]["pick"].as_str(), Some("uniform"));
        assert_eq!(t["data"]["exponent"].as_float(), Some(1.5));
    }

    proptest! {
        #[test]
        fn any_assignment_leaves_toml_or_is_refused(path in "(load|phase|gates|name|0|hold|\"|\\.|[a-z]){1,6}", value in ".{0,12}") {
            let mut edited = EditedText::new("a.toml", BASE);
            if apply(&mut edited, "a.toml", &[Override::new(path, value)]).is_ok() {
                prop_assert!(edited.as_str().parse::<toml::Table>().is_ok(), "{}", edited.as_str());
            }
        }
    }
}
