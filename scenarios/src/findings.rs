//! What is wrong so far: collected, so that one reading of a file tells of several mistakes.

use std::fmt::Display;
use std::ops::Range;

use crate::error::MAX_PROBLEMS;

/// Problems with the bytes of the text that they are about.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<(Range<usize>, String)>,
    more: usize,
}

impl Findings {
    /// Adds a problem; beyond [`MAX_PROBLEMS`] it is only counted.
    pub(crate) fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        if self.found.len() < MAX_PROBLEMS {
            self.found.push((span, message.into()));
        } else {
            self.more += 1;
        }
    }

    /// The value of `result`, or its error as a problem that begins with `what`.
    pub(crate) fn check<T, E: Display>(
        &mut self,
        span: Range<usize>,
        what: impl Display,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|e| self.add(span, format!("{what} {e}"))).ok()
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether there is no room for more.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= MAX_PROBLEMS
    }

    /// The problems in the order of the text, and how many more there were.
    pub(crate) fn into_parts(mut self) -> (Vec<(Range<usize>, String)>, usize) {
        self.found.sort_by_key(|(span, _)| span.start);
        (self.found, self.more)
    }
}
