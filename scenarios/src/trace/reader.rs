//! Lines to records, and what is counted on the way.

use std::io::BufRead;

use squall_record::trace::{BrokenLine, TraceTotals};

use super::combined;
use super::csv::Csv;
use super::error::{LineProblem, TraceError, TraceProblem};
use super::jsonl::Jsonl;
use super::lines::{Line, Lines};
use super::request::{LeftOut, push_request};
use super::stamp::{Stamp, StampUnit, parse_stamp};
use crate::plan::{TraceFormat, TracePlan};

/// What a line says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) stamp: Stamp,
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
}

/// The instant that `text` says.
pub(super) fn stamp_of(text: &[u8], unit: StampUnit) -> Result<Stamp, LineProblem> {
    parse_stamp(text, unit)
        .map_err(|problem| LineProblem::Stamp { text: String::from_utf8_lossy(text).into_owned(), problem })
}

#[derive(Debug)]
enum Parser {
    Combined,
    Csv(Box<Csv>),
    Jsonl(Jsonl),
}

impl Parser {
    fn new(format: &TraceFormat) -> Self {
        match format {
            TraceFormat::Combined => Parser::Combined,
            TraceFormat::Csv { time, method, path, unit } => {
                Parser::Csv(Box::new(Csv::new(time, method.as_ref(), path.as_ref(), *unit)))
            }
            TraceFormat::Jsonl { time, method, path, unit } => {
                Parser::Jsonl(Jsonl::new(time, method.as_deref(), path.as_deref(), *unit))
            }
        }
    }

    /// The fields of a line; of one that nothing ends when it is not `ended`.
    fn read<'a>(&'a mut self, line: &'a [u8], ended: bool) -> Result<Fields<'a>, LineProblem> {
        if line.contains(&0) {
            return Err(LineProblem::Nul);
        }
        match self {
            Parser::Combined => combined::read(line),
            Parser::Csv(csv) => {
                if ended {
                    csv.read(line)
                } else {
                    csv.read_unended(line)
                }
            }
            // What is needed of both says itself where it ends.
            Parser::Jsonl(jsonl) => jsonl.read(line),
        }
    }
}

/// A record of a trace, and what of it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it happened.
    pub stamp: Stamp,
    /// `GET /path`; empty when only the instants are replayed.
    pub request: Vec<u8>,
}

/// Reads a trace record by record.
pub struct TraceReader<R> {
    lines: Lines<R>,
    parser: Parser,
    file: String,
    /// Whether requests are sent as recorded, rather than only at their instants.
    as_recorded: bool,
    max_broken: u64,
    record: Record,
    totals: TraceTotals,
}

impl<R: BufRead> TraceReader<R> {
    /// The records of `source`, which is what `plan` says.
    pub fn new(plan: &TracePlan, source: R) -> Self {
        Self {
            lines: Lines::new(source),
            parser: Parser::new(&plan.format),
            file: plan.file.clone(),
            as_recorded: plan.request.is_some(),
            max_broken: plan.max_broken,
            record: Record { stamp: Stamp { ns: 0, whole_second: false }, request: Vec::new() },
            totals: TraceTotals::default(),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn totals(&self) -> &TraceTotals {
        &self.totals
    }

    /// What was counted so far, to be counted on.
    pub(super) fn totals_mut(&mut self) -> &mut TraceTotals {
        &mut self.totals
    }

    /// The number of the line read last, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.lines.number()
    }

    /// How many bytes have been read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lines.bytes()
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When the trace cannot be read, its header lacks a column, or too many lines are broken.
    pub fn read(&mut self) -> Result<Option<&Record>, TraceError> {
        loop {
            let line = match self.lines.read() {
                Ok(line) => line,
                Err(e) => return Err(self.error(TraceProblem::Unreadable(e), false)),
            };
            let ended = !matches!(line, Line::Unended(_));
            let fields = match line {
                Line::End => return Ok(None),
                Line::TooLong => Err(LineProblem::TooLong),
                Line::Text(text) | Line::Unended(text) if text.trim_ascii().is_empty() => {
                    self.ignored();
                    continue;
                }
                Line::Text(text) | Line::Unended(text) => match &mut self.parser {
                    Parser::Csv(csv) if csv.awaits_header() => match csv.read_header(text) {
                        Ok(()) => {
                            self.ignored();
                            continue;
                        }
                        Err(problem) => return Err(self.error(problem, true)),
                    },
                    parser => parser.read(text, ended),
                },
            };
            self.totals.lines += 1;
            let fields = match fields {
                Ok(fields) => fields,
                Err(problem) => {
                    self.broken(problem)?;
                    continue;
                }
            };
            self.record.stamp = fields.stamp;
            self.record.request.clear();
            if self.as_recorded {
                match push_request(fields.method, fields.target, &mut self.record.request) {
                    Ok(()) => {}
                    Err(LeftOut::UnsafeMethod) => {
                        self.totals.unsafe_methods += 1;
                        continue;
                    }
                    Err(LeftOut::NoPath) => {
                        self.totals.no_path += 1;
                        continue;
                    }
                }
            }
            return Ok(Some(&self.record));
        }
    }

    /// Counts the line read last as one that is not meant to be a record.
    fn ignored(&mut self) {
        self.totals.lines += 1;
        self.totals.ignored += 1;
    }

    /// Counts the line read last as broken.
    ///
    /// # Errors
    /// When it is one too many.
    pub(super) fn broken(&mut self, problem: LineProblem) -> Result<(), TraceError> {
        let line = self.lines.number();
        self.totals.broken += 1;
        let first =
            self.totals.first_broken.get_or_insert_with(|| BrokenLine { line, problem: problem.to_string() });
        if self.totals.broken <= self.max_broken {
            return Ok(());
        }
        let (broken, first_line, max_broken) = (self.totals.broken, first.line, self.max_broken);
        Err(self.error(TraceProblem::TooManyBroken { problem, broken, first_line, max_broken }, true))
    }

    /// `problem` with its file, and the line read last when that is to blame.
    pub(super) fn error(&self, problem: TraceProblem, at_line: bool) -> TraceError {
        TraceError { file: self.file.clone(), line: at_line.then(|| self.lines.number()), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Column;
    use crate::trace::testing::plan;

    fn csv() -> TracePlan {
        let column = |name: &str| Column::Name(name.to_owned());
        TracePlan {
            request: Some("replay".to_owned()),
            ..plan(TraceFormat::Csv {
                time: column("t"),
                method: Some(column("m")),
                path: Some(column("p")),
                unit: StampUnit::S,
            })
        }
    }

    fn read(plan: &TracePlan, text: &str) -> (Vec<(i64, String)>, TraceTotals, Option<String>) {
        let mut reader = TraceReader::new(plan, text.as_bytes());
        let mut records = Vec::new();
        let ended = loop {
            match reader.read() {
                Ok(Some(r)) => {
                    records.push((r.stamp.ns / 1_000_000_000, String::from_utf8(r.request.clone()).unwrap()));
                }
                Ok(None) => break None,
                Err(e) => break Some(e.to_string()),
            }
        };
        (records, reader.totals().clone(), ended)
    }

    #[test]
    fn every_line_is_a_record_or_counted_as_what_it_is() {
        let text = "\n\u{feff}t,m,p\n1,GET,/a\n2,POST,/b\n3,GET,b\nx,GET,/\n\0\n\n4,HEAD,/c?d\n5,GET";
        let text = &text[1..];
        let (records, totals, ended) = read(&csv(), text);
        assert_eq!(ended, None);
        assert_eq!(records, [(1, "GET /a".to_owned()), (4, "HEAD /c?d".to_owned())]);
        let t = &totals;
        assert_eq!((t.lines, t.unsafe_methods, t.no_path, t.broken, t.ignored), (9, 1, 1, 3, 2));
        let first = t.first_broken.as_ref().unwrap();
        assert_eq!(first.line, 5);
        assert!(first.problem.starts_with("holds `x`, which is neither a plain number"), "{first:?}");
    }

    #[test]
    fn without_a_class_every_instant_counts_whatever_was_asked() {
        let plan = TracePlan { request: None, ..csv() };
        let (records, totals, _) = read(&plan, "t,m,p\n1,GET,/a\n2,POST,/b\n3,-,-\n");
        assert_eq!(
            records.iter().map(|r| (r.0, r.1.as_str())).collect::<Vec<_>>(),
            [(1, ""), (2, ""), (3, "")]
        );
        assert_eq!((totals.unsafe_methods, totals.no_path), (0, 0));
    }

    #[test]
    fn one_broken_line_too_many_ends_the_trace_with_its_place_and_the_first() {
        let plan = TracePlan { max_broken: 1, ..csv() };
        let (records, totals, ended) = read(&plan, "t,m,p\n1,GET,/a\nfirst\n2,GET,/b\n\"second\n3,GET,/c\n");
        assert_eq!((records.len(), totals.broken), (2, 2));
        assert_eq!(
            ended.unwrap(),
            "replay trace `trace` line 5: it holds a quote that does not end on its line; broken lines so far: 2, \
             the first is line 3, and at most 1 may be skipped: mend them, or raise trace.max_broken"
        );
        assert_eq!(
            read(&csv(), "time,m,p\n").2.unwrap(),
            "replay trace `trace` line 1: its header has no column `t`; it has `time`, `m`, `p`"
        );
    }

    #[test]
    fn a_line_too_long_is_one_broken_line() {
        let text = format!("t,m,p\n1,GET,/a\n{}\n2,GET,/b\n", "x".repeat(1 << 20));
        let (records, totals, _) = read(&csv(), &text);
        assert_eq!((records.len(), totals.broken, totals.lines), (2, 1, 4));
        assert_eq!(totals.first_broken.unwrap().problem, "is longer than 65536 bytes");
    }
}
