//! What stops a trace, and what makes a line of it no record.

use std::fmt;
use std::io;

use super::lines::MAX_LINE_BYTES;
use super::replay::{MAX_DISORDER_S, MAX_SECOND_BYTES, MAX_SECOND_RECORDS};
use super::stamp::StampError;
use crate::error::{did_you_mean, tick};

/// Why a line is no record. Fragments that follow "line 7".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LineProblem {
    /// Longer than a line may be.
    #[error("is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Binary, or text in an encoding of two bytes.
    #[error("holds a NUL byte; a trace is text in UTF-8 or ASCII")]
    Nul,
    /// No `[time]` where nginx and Apache write it.
    #[error("holds no time in brackets like [10/Oct/2000:13:55:36 -0700]")]
    NoLogTime,
    /// No quoted request line behind the time.
    #[error("holds no request in quotes behind its time")]
    NoLogRequest,
    /// Its stamp is no instant.
    #[error("holds {}, which {problem}", tick(.text))]
    Stamp {
        /// What stands there.
        text: String,
        /// Why it is none.
        problem: StampError,
    },
    /// Fewer columns than are needed.
    #[error("has {has} columns, and column {wanted} is asked for")]
    NoColumn {
        /// From 1.
        wanted: usize,
        /// How many there are.
        has: usize,
    },
    /// A quoted value that does not end.
    #[error("holds a quote that does not end on its line")]
    OpenQuote,
    /// The last line, of which a part of the last value that is needed may be missing.
    #[error(
        "is the last and has no line break, so that its last value may be cut off; end the file with one"
    )]
    Unended,
    /// More columns than a line may have.
    #[error("has more than {0} columns")]
    TooManyColumns(usize),
    /// Not a JSON value.
    #[error("is not JSON ({0})")]
    NotJson(String),
    /// A key that is asked for is missing, or neither text nor a number.
    #[error("has no text or number at {}", tick(.0))]
    NoKey(String),
    /// So much earlier than others that the order is not that of time.
    #[error(
        "is stamped {earlier_s:.0} s before line {latest_line}; more than {MAX_DISORDER_S} s is no order of time: \
         sort the file, or mend that line's stamp"
    )]
    Disorder {
        /// By how much it is earlier, in seconds.
        earlier_s: f64,
        /// The line with the latest stamp so far.
        latest_line: u64,
    },
}

/// Why a trace is read no further: complete with its file and line.
#[derive(Debug, thiserror::Error)]
#[error("replay trace {}", self.located())]
pub struct TraceError {
    /// The file, as the plan names it.
    pub file: String,
    /// The line, from 1, when one is to blame.
    pub line: Option<u64>,
    /// What is wrong.
    pub problem: TraceProblem,
}

impl TraceError {
    /// Where it is and what is wrong there: the file, the line, the problem.
    #[must_use]
    pub fn located(&self) -> String {
        let line = self.line.map_or_else(String::new, |line| format!(" line {line}"));
        format!("{}{line}: {}", tick(&self.file), self.problem)
    }
}

/// What is wrong with a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceProblem {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// A folder, a pipe, a device.
    #[error(
        "it is no regular file; write what is to be replayed to one first: it is looked at before the run and \
         read again in it"
    )]
    NotAFile,
    /// Compressed.
    #[error("it is compressed ({0}), which is not read here; unpack it first")]
    Compressed(&'static str),
    /// Text in an encoding of two bytes.
    #[error("it is UTF-16 text, which is not read here; save it as UTF-8")]
    Utf16,
    /// Lines as no system of today ends them.
    #[error("its lines end with carriage returns alone; end them with line feeds")]
    CarriageReturns,
    /// Nothing in it.
    #[error("it is empty, so there is nothing to replay")]
    Empty,
    /// Nothing that can be used in its beginning.
    #[error("none of its first {lines} lines is a record to replay{}", First(.first))]
    NoRecord {
        /// How many lines were looked at.
        lines: u64,
        /// The first that is broken, and why.
        first: Option<(u64, String)>,
    },
    /// The header line has no such column.
    #[error("its header has no column {}{}; it has {}", tick(.wanted), did_you_mean(.wanted, .has.iter().map(String::as_str)), Columns(.has))]
    NoSuchColumn {
        /// The name asked for.
        wanted: String,
        /// The names there are.
        has: Vec<String>,
    },
    /// Too many lines that are no records.
    #[error(
        "it {problem}; broken lines so far: {broken}, the first is line {first_line}, and at most {max_broken} may \
         be skipped: mend them, or raise trace.max_broken"
    )]
    TooManyBroken {
        /// What is wrong with this line.
        problem: LineProblem,
        /// How many there are.
        broken: u64,
        /// The first of them.
        first_line: u64,
        /// The limit.
        max_broken: u64,
    },
    /// Too many records in one whole second to be spread over it.
    #[error(
        "more than {MAX_SECOND_RECORDS} records, or {} MiB of them, are stamped with the same second, which is \
         too much to spread over it; use stamps with fractions, or set trace.spread = false",
        MAX_SECOND_BYTES >> 20
    )]
    SecondTooFull,
    /// More arrivals within a second than the scenario allows.
    #[error(
        "it asks for more than load.max_rate, {limit}/s, in second {second} of its phase; lower trace.speed, \
         or raise the limit"
    )]
    TooDense {
        /// Whole seconds since the phase began.
        second: u64,
        /// Arrivals in a second.
        limit: u64,
    },
    /// It is shorter than it was.
    #[error(
        "it ends after {found} bytes and had {expected} when the scenario was read; leave it alone while it is replayed"
    )]
    Shrunk {
        /// Bytes read.
        found: u64,
        /// Bytes there were.
        expected: u64,
    },
}

struct First<'a>(&'a Option<(u64, String)>);

impl fmt::Display for First<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((line, problem)) => write!(f, "; line {line} {problem}"),
            None => Ok(()),
        }
    }
}

/// The first few of a list of names.
struct Columns<'a>(&'a [String]);

impl fmt::Display for Columns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        let names: Vec<String> = self.0.iter().take(SHOWN).map(|n| tick(n)).collect();
        write!(f, "{}", names.join(", "))?;
        if self.0.len() > SHOWN { write!(f, " and {} more", self.0.len() - SHOWN) } else { Ok(()) }
    }
}
