//! Lines of comma-separated values (RFC 4180), each a record of its own: a quoted value may hold
//! commas and quotes, and no line breaks.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::error::{LineProblem, TraceProblem};
use super::lines::MAX_LINE_BYTES;
use super::reader::{Fields, stamp_of};
use super::stamp::StampUnit;
use crate::plan::Column;

/// The most columns of a line.
pub(crate) const MAX_COLUMNS: usize = 1024;

/// Reads lines; columns given by name are found in the header.
#[derive(Debug)]
pub(super) struct Csv {
    parser: Reader,
    values: Vec<u8>,
    ends: Vec<usize>,
    time: Place,
    method: Option<Place>,
    target: Option<Place>,
    unit: StampUnit,
    awaits_header: bool,
}

/// A column, and its position once it is known.
#[derive(Debug)]
struct Place {
    column: Column,
    position: usize,
}

impl Place {
    fn new(column: &Column) -> Self {
        let position = match column {
            Column::Position(n) => *n,
            Column::Name(_) => 0,
        };
        Self { column: column.clone(), position }
    }
}

impl Csv {
    pub(super) fn new(
        time: &Column,
        method: Option<&Column>,
        target: Option<&Column>,
        unit: StampUnit,
    ) -> Self {
        let columns = [Some(time), method, target];
        Self {
            // A carriage return within a line is part of a value.
            parser: ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build(),
            // A line's values are never longer than the line.
            values: vec![0; MAX_LINE_BYTES + 1],
            ends: vec![0; MAX_COLUMNS],
            time: Place::new(time),
            method: method.map(Place::new),
            target: target.map(Place::new),
            unit,
            awaits_header: columns.into_iter().flatten().any(|c| matches!(c, Column::Name(_))),
        }
    }

    /// Whether the next line names the columns.
    pub(super) fn awaits_header(&self) -> bool {
        self.awaits_header
    }

    /// Finds the columns in the header.
    pub(super) fn read_header(&mut self, line: &[u8]) -> Result<(), TraceProblem> {
        let count = self.split(line).unwrap_or(0);
        let names: Vec<String> =
            (1..=count).map(|n| String::from_utf8_lossy(self.value(n)).trim().to_owned()).collect();
        for place in [Some(&mut self.time), self.method.as_mut(), self.target.as_mut()].into_iter().flatten()
        {
            if let Column::Name(wanted) = &place.column {
                let at = names.iter().position(|n| n == wanted);
                let missing = || TraceProblem::NoSuchColumn { wanted: wanted.clone(), has: names.clone() };
                place.position = at.ok_or_else(missing)? + 1;
            }
        }
        self.awaits_header = false;
        Ok(())
    }

    /// Reads a line that nothing ends, so that its last value may lack a part.
    pub(super) fn read_unended(&mut self, line: &[u8]) -> Result<Fields<'_>, LineProblem> {
        let has = self.split(line)?;
        let places = [Some(&self.time), self.method.as_ref(), self.target.as_ref()];
        let needed = places.into_iter().flatten().map(|p| p.position).max().unwrap_or(0);
        // A quote that closes it shows that it is whole.
        if needed == has && !line.ends_with(b"\"") {
            return Err(LineProblem::Unended);
        }
        self.read(line)
    }

    pub(super) fn read(&mut self, line: &[u8]) -> Result<Fields<'_>, LineProblem> {
        let has = self.split(line)?;
        let value = |place: &Place| {
            let wanted = place.position;
            if wanted <= has { Ok(self.value(wanted)) } else { Err(LineProblem::NoColumn { wanted, has }) }
        };
        let stamp = stamp_of(value(&self.time)?, self.unit)?;
        let method = self.method.as_ref().map_or(Ok(&b"GET"[..]), value)?;
        let target = self.target.as_ref().map_or(Ok(&b""[..]), value)?;
        Ok(Fields { stamp, method, target })
    }

    /// Splits `line` into values and gives their number.
    fn split(&mut self, line: &[u8]) -> Result<usize, LineProblem> {
        self.parser.reset();
        let (mut written, mut ended) = (0, 0);
        // What ends the line ends the record, unless a quote is open.
        for piece in [line, b"\n"] {
            let (result, _, wrote, ends) =
                self.parser.read_record(piece, &mut self.values[written..], &mut self.ends[ended..]);
            written += wrote;
            ended += ends;
            match result {
                ReadRecordResult::Record => return Ok(ended),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull | ReadRecordResult::End => {
                    return Err(LineProblem::TooManyColumns(MAX_COLUMNS));
                }
            }
        }
        Err(LineProblem::OpenQuote)
    }

    /// The value of a column, from 1.
    fn value(&self, number: usize) -> &[u8] {
        let start = if number < 2 { 0 } else { self.ends[number - 2] };
        &self.values[start..self.ends[number - 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(time: &Column, target: Option<&Column>) -> Csv {
        Csv::new(time, None, target, StampUnit::S)
    }

    fn name(text: &str) -> Column {
        Column::Name(text.to_owned())
    }

    #[test]
    fn columns_are_found_by_name_and_by_position() {
        let mut by_name = csv(&name("at"), Some(&name("the path")));
        assert!(by_name.awaits_header());
        by_name.read_header(b"id, at ,\"the path\"").unwrap();
        let f = by_name.read(b"1,2.5,\"/a,\"\"b\"").unwrap();
        assert_eq!((f.stamp.ns, f.method, f.target), (2_500_000_000, &b"GET"[..], &b"/a,\"b"[..]));

        let mut by_position = csv(&Column::Position(2), None);
        assert!(!by_position.awaits_header());
        let f = by_position.read(b"x\ry,\"3\",z").unwrap();
        assert_eq!((f.stamp.ns, f.target), (3_000_000_000, &b""[..]));
    }

    #[test]
    fn a_last_value_that_nothing_ends_may_be_cut_off() {
        let mut csv = csv(&name("t"), Some(&name("p")));
        csv.read_header(b"t,p,status").unwrap();
        assert_eq!(csv.read_unended(b"1,/acc").unwrap_err(), LineProblem::Unended);
        assert_eq!(csv.read_unended(b"1,\"/acc").unwrap_err(), LineProblem::OpenQuote);
        assert_eq!(csv.read_unended(b"1").unwrap_err(), LineProblem::NoColumn { wanted: 2, has: 1 });
        assert_eq!(csv.read_unended(b"1,\"/accounts\"").unwrap().target, b"/accounts");
        assert_eq!(csv.read_unended(b"1,/accounts,2").unwrap().target, b"/accounts");
        assert_eq!(csv.read(b"1,/acc").unwrap().target, b"/acc");
    }

    #[test]
    fn a_header_without_the_column_says_what_it_has() {
        let told = csv(&name("tiem"), None).read_header(b"id,time").unwrap_err().to_string();
        assert_eq!(told, "its header has no column `tiem`; did you mean `time`?; it has `id`, `time`");
    }

    #[test]
    fn a_line_that_is_no_record_says_why() {
        let mut csv = csv(&Column::Position(2), None);
        assert_eq!(csv.read(b"1").unwrap_err(), LineProblem::NoColumn { wanted: 2, has: 1 });
        assert_eq!(csv.read(b"1,\"2").unwrap_err(), LineProblem::OpenQuote);
        let many = ",".repeat(MAX_COLUMNS);
        assert_eq!(csv.read(many.as_bytes()).unwrap_err(), LineProblem::TooManyColumns(MAX_COLUMNS));
        assert!(csv.read(&many.as_bytes()[1..]).unwrap_err().to_string().contains("neither a plain number"));
        // And the next is read as if nothing had been.
        assert_eq!(csv.read(b"1,2").unwrap().stamp.ns, 2_000_000_000);
        let long = format!("{},7", "x".repeat(MAX_LINE_BYTES - 2));
        assert_eq!(csv.read(long.as_bytes()).unwrap().stamp.ns, 7_000_000_000);
    }
}
