//! Why a scenario could not be read or means nothing: complete for a terminal.

use std::fmt;
use std::io;

/// How many problems of one scenario are told; the rest are counted.
pub const MAX_PROBLEMS: usize = 20;
/// How many characters of a typed value a message repeats.
const MAX_SHOWN: usize = 60;
/// How many characters of a source line an excerpt shows.
const MAX_EXCERPT: usize = 100;

/// Why there is no plan. The texts read on after "failed to" and need nothing added.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Neither a file nor a shipped name.
    #[error("find scenario {}: no such file, and no shipped scenario has that name{}; shipped are {}",
        tick(.name), did_you_mean(.name, .shipped.iter().copied()), .shipped.join(", "))]
    Unknown {
        /// As given.
        name: String,
        /// The names that exist.
        shipped: Vec<&'static str>,
    },
    /// The file cannot be read.
    #[error("read scenario {}: {cause}", tick(.path))]
    Unreadable {
        /// As given.
        path: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is too large to be a scenario.
    #[error("read scenario {}: it is larger than {limit} bytes, so it is hardly a scenario", tick(.path))]
    TooLarge {
        /// As given.
        path: String,
        /// [`crate::source::MAX_SOURCE_BYTES`]
        limit: usize,
    },
    /// The file is not text.
    #[error("read scenario {}: byte {at} is not UTF-8; a scenario is a TOML text", tick(.path))]
    NotText {
        /// As given.
        path: String,
        /// The offset of the first wrong byte.
        at: usize,
    },
    /// The scenario says something wrong.
    #[error("load scenario {name}: {}", Told(.problems, *.more))]
    Invalid {
        /// The source's name.
        name: String,
        /// What is wrong, in the order of the file; never empty.
        problems: Vec<Problem>,
        /// How many more there are beyond [`MAX_PROBLEMS`].
        more: usize,
    },
}

impl ScenarioError {
    /// What is wrong with the scenario itself; empty when it could not be read at all.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            ScenarioError::Invalid { problems, .. } => problems,
            _ => &[],
        }
    }
}

/// One thing wrong with a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The offending value, what is wrong with it and the way out, on one line.
    pub message: String,
    /// Where it stands.
    pub place: Place,
}

/// Where a value of a scenario was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file.
    File {
        /// The source's name.
        file: String,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// The line's text.
        text: String,
        /// How many characters of it are meant, at least 1.
        width: usize,
    },
    /// On the command line.
    Set {
        /// `load.connections=8`
        assignment: String,
    },
}

impl Place {
    /// The place of `offset` in `source`, `width_bytes` of which are meant, cut at the line's end.
    #[must_use]
    pub(crate) fn in_file(file: &str, source: &str, offset: usize, width_bytes: usize) -> Self {
        let offset = source.floor_char_boundary(offset);
        let start = source[..offset].rfind('\n').map_or(0, |i| i + 1);
        let end = source[offset..].find('\n').map_or(source.len(), |i| offset + i);
        let meant = source.floor_char_boundary((offset + width_bytes).min(end)).max(offset);
        Place::File {
            file: file.to_owned(),
            line: source[..start].matches('\n').count() + 1,
            column: source[start..offset].chars().count() + 1,
            text: source[start..end].trim_end_matches('\r').to_owned(),
            width: source[offset..meant].chars().count().max(1),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { file, line, column, .. } => write!(f, "{}:{line}:{column}", printable(file)),
            Place::Set { assignment } => write!(f, "--set {}", printable(&cut(assignment))),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", printable(&self.message), self.place)?;
        if let Place::File { line, column, text, width, .. } = &self.place {
            excerpt(f, *line, *column, text, *width)?;
        }
        Ok(())
    }
}

/// The source line with carets under what is meant. Long lines are shown around it.
fn excerpt(f: &mut fmt::Formatter<'_>, line: usize, column: usize, text: &str, width: usize) -> fmt::Result {
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let total = text.chars().count();
    let skip = if total <= MAX_EXCERPT { 0 } else { (column - 1).saturating_sub(MAX_EXCERPT / 3).min(total) };
    // One character each, so that the carets stay under what they mean.
    let shown: String =
        text.chars().skip(skip).take(MAX_EXCERPT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let before = (column - 1).saturating_sub(skip);
    let carets = width.min(MAX_EXCERPT.saturating_sub(before)).max(1);
    write!(f, "\n {gutter} |\n {number} | {}", shown.trim_end())?;
    write!(f, "\n {gutter} | {}{}", " ".repeat(before), "^".repeat(carets))
}

/// All problems of a scenario, one block each.
struct Told<'a>(&'a [Problem], usize);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told(problems, more) = self;
        if let ([only], 0) = (problems, more) {
            return write!(f, "{only}");
        }
        write!(f, "{} problems", problems.len() + more)?;
        for p in *problems {
            write!(f, "\n\n{p}")?;
        }
        if *more > 0 {
            write!(f, "\n\n… and {more} more")?;
        }
        Ok(())
    }
}

/// `value` in backticks for a message: control characters escaped, long values cut.
#[must_use]
pub(crate) fn tick(value: &str) -> String {
    format!("`{}`", printable(&cut(value)))
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// Control characters escaped: what a file holds must not drive the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = c.is_control();
            escape.then(|| c.escape_default()).into_iter().flatten().chain((!escape).then_some(c))
        })
        .collect()
}

/// `; did you mean …?` when one of `known` is near `typed`, else nothing.
#[must_use]
pub(crate) fn did_you_mean<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(typed, known).map_or_else(String::new, |n| format!("; did you mean {}?", tick(n)))
}

/// The one of `known` that `typed` most likely means: at most a third of it mistyped.
fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Distances are quadratic in length; nobody mistypes a name of hundreds of characters.
    let typed: String = typed.chars().take(MAX_SHOWN).collect::<String>().to_lowercase();
    known
        .map(|k| (strsim::osa_distance(&typed, &k.to_lowercase()), k))
        .filter(|(d, k)| {
            let (k, t) = (k.chars().count(), typed.chars().count());
            // Something of the name must be left of it.
            *d <= (k.max(t) / 3).max(1) && *d < k.min(t)
        })
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_with_carets() {
        let source = "name = \"x\"\nrate = \"120k/s\" # too much\n";
        let at = source.find("\"120k").unwrap();
        let p = Problem {
            message: "rate is too high".to_owned(),
            place: Place::in_file("a.toml", source, at, "\"120k/s\"".len()),
        };
        assert_eq!(
            p.to_string(),
            "rate is too high (a.toml:2:8)\n   |\n 2 | rate = \"120k/s\" # too much\n   |        ^^^^^^^^"
        );
    }

    #[test]
    fn what_a_file_holds_cannot_drive_the_terminal() {
        let source = "name = \"\u{1b}[2J\"";
        let p = Problem { message: "bad \u{1b}[2J".to_owned(), place: Place::in_file("a", source, 7, 99) };
        assert!(!p.to_string().contains('\u{1b}'), "{p}");
        assert_eq!(tick("a\nb"), "`a\\nb`");
    }

    #[test]
    fn a_long_line_is_shown_around_the_mistake() {
        let source = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
        let text =
            Problem { message: String::new(), place: Place::in_file("a", &source, 500, 4) }.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|l| l.len() < 120));
        assert_eq!(lines[2].find("HERE"), lines[3].find("^^^^"));
    }

    #[test]
    fn places_at_the_end_and_inside_characters_are_places_too() {
        for (source, offset) in [("", 0), ("ü", 1), ("ab\n", 3), ("ab", 99)] {
            let Place::File { line, column, .. } = Place::in_file("a", source, offset.min(source.len()), 5)
            else {
                panic!("not a file place")
            };
            assert!(line >= 1 && column >= 1);
        }
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let known = ["account", "other", "amount"];
        assert_eq!(did_you_mean("acount", known.into_iter()), "; did you mean `account`?");
        assert_eq!(did_you_mean("Amount", known.into_iter()), "; did you mean `amount`?");
        assert_eq!(did_you_mean("zebra", known.into_iter()), "");
    }
}
