//! A text that remembers, through edits, which of its bytes came from the file and which from a
//! `--set`, so that a message about an overridden scenario still points at what a person typed.

use std::ops::Range;

use crate::error::{Place, Problem, ScenarioError};
use crate::findings::Findings;

/// Where a run of bytes came from.
#[derive(Debug, Clone, Copy)]
enum Origin {
    /// The file, from this byte on.
    File(usize),
    /// The assignment with this index.
    Set(usize),
}

/// A source text with assignments spliced into it.
#[derive(Debug)]
pub(crate) struct EditedText<'a> {
    name: &'a str,
    original: &'a str,
    text: String,
    /// Lengths and origins of the runs that make up `text`.
    pieces: Vec<(usize, Origin)>,
    assignments: Vec<String>,
}

impl<'a> EditedText<'a> {
    /// `original` without any edit. A byte order mark is left out.
    pub(crate) fn new(name: &'a str, original: &'a str) -> Self {
        let text = original.strip_prefix('\u{feff}').unwrap_or(original).to_owned();
        let pieces = vec![(text.len(), Origin::File(original.len() - text.len()))];
        Self { name, original, text, pieces, assignments: Vec::new() }
    }

    /// The text as edited so far.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Replaces the bytes of `range` by `replacement`, which `assignment` asked for.
    pub(crate) fn splice(&mut self, range: Range<usize>, replacement: &str, assignment: String) {
        self.text.replace_range(range.clone(), replacement);
        let mut pieces = Vec::with_capacity(self.pieces.len() + 2);
        let mut at = 0;
        for &(len, origin) in &self.pieces {
            let (start, end) = (at, at + len);
            at = end;
            if start < range.start {
                pieces.push((range.start.min(end) - start, origin));
            }
            if end > range.end {
                let kept_from = range.end.max(start);
                let origin = match origin {
                    Origin::File(from) => Origin::File(from + kept_from - start),
                    set @ Origin::Set(_) => set,
                };
                pieces.push((end - kept_from, origin));
            }
        }
        let mut before = 0;
        let index = pieces.iter().position(|(len, _)| {
            let here = before >= range.start;
            before += len;
            here
        });
        let new = (replacement.len(), Origin::Set(self.assignments.len()));
        pieces.insert(index.unwrap_or(pieces.len()), new);
        self.pieces = pieces;
        self.assignments.push(assignment);
    }

    /// Whether the bytes of `span` begin in an assignment.
    pub(crate) fn is_set(&self, span: &Range<usize>) -> bool {
        matches!(self.origin(span.start), Some((Origin::Set(_), _)))
    }

    /// Where the bytes of `span` were typed.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        match self.origin(span.start) {
            Some((Origin::Set(i), _)) => Place::Set { assignment: self.assignments[i].clone() },
            Some((Origin::File(from), into)) => {
                Place::in_file(self.name, self.original, from + into, span.len())
            }
            None => Place::in_file(self.name, self.original, self.original.len(), 0),
        }
    }

    /// The origin of the byte at `offset` and how far into its run it lies. `None` past the end.
    fn origin(&self, offset: usize) -> Option<(Origin, usize)> {
        let mut at = 0;
        for &(len, origin) in &self.pieces {
            if offset < at + len {
                return Some((origin, offset - at));
            }
            at += len;
        }
        None
    }

    /// `findings` as the error that a person reads.
    pub(crate) fn error(&self, findings: Findings) -> ScenarioError {
        let (found, more) = findings.into_parts();
        let problems =
            found.into_iter().map(|(span, message)| Problem { message, place: self.place(&span) }).collect();
        ScenarioError::Invalid { name: self.name.to_owned(), problems, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_behind_an_edit_is_the_place_in_the_file() {
        let mut t = EditedText::new("a.toml", "a = 1\nb = 2\nc = 3\n");
        t.splice(4..5, "[\n1,\n2]", "a=[1,2]".to_owned());
        t.splice(0..0, "z = 0\n", "z=0".to_owned());
        let at = t.as_str().find('c').unwrap();
        assert_eq!(t.place(&(at..at + 1)).to_string(), "a.toml:3:1");
        assert_eq!(t.place(&(0..1)).to_string(), "--set z=0");
        let in_a = t.as_str().find("2]").unwrap();
        assert_eq!(t.place(&(in_a..in_a + 1)).to_string(), "--set a=[1,2]");
        assert!(t.is_set(&(0..1)) && !t.is_set(&(at..at + 1)));
    }

    #[test]
    fn a_byte_order_mark_does_not_move_columns_of_other_lines() {
        let t = EditedText::new("a.toml", "\u{feff}a = 1\nb = 2\n");
        assert_eq!(t.as_str(), "a = 1\nb = 2\n");
        assert_eq!(t.place(&(6..7)).to_string(), "a.toml:2:1");
    }

    proptest! {
        #[test]
        fn every_byte_keeps_its_origin(edits in proptest::collection::vec((0usize..40, 0usize..10, "[x-z]{0,5}"), 0..8)) {
            // Every byte of the original is unlike every other and unlike what is inserted.
            let original: String = ('\u{21}'..='\u{60}').collect();
            let mut t = EditedText::new("a", &original);
            for (start, len, new) in edits {
                let start = start.min(t.as_str().len());
                let end = (start + len).min(t.as_str().len());
                t.splice(start..end, &new, "s=1".to_owned());
            }
            prop_assert_eq!(t.pieces.iter().map(|p| p.0).sum::<usize>(), t.as_str().len());
            for (i, c) in t.as_str().char_indices() {
                match t.origin(i) {
                    Some((Origin::File(from), into)) => {
                        prop_assert_eq!(original.as_bytes()[from + into], c as u8);
                    }
                    Some((Origin::Set(_), _)) => prop_assert!(('x'..='z').contains(&c)),
                    None => prop_assert!(false, "byte {} has no origin", i),
                }
            }
        }
    }
}
