//! A CSV file (RFC 4180) in memory: a header, and rows of as many values.

use std::collections::HashSet;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::tick;
use crate::input::{read_at_most, without_mark};
use crate::journey::MAX_VALUE_LEN;
use crate::place::Place;

/// The largest file, in bytes.
pub const MAX_FEEDER_BYTES: usize = 64 << 20;
/// The most rows.
pub const MAX_FEEDER_ROWS: usize = 1_000_000;
/// The most columns.
pub const MAX_FEEDER_COLUMNS: usize = 256;
/// The most values, rows times columns.
pub const MAX_FEEDER_FIELDS: usize = 10_000_000;

/// The values of a file. They may be secrets, and so it has no `Debug`.
pub(crate) struct Table {
    columns: Vec<String>,
    /// All values of all rows, one behind the other.
    text: String,
    /// Where each of them ends in `text`.
    ends: Vec<u32>,
    /// The line that each row begins in.
    lines: Vec<u32>,
    digest: String,
}

impl Table {
    /// The file at `path`.
    ///
    /// # Errors
    /// A sentence that names the file, the line and the value.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let bytes =
            read_at_most(path, MAX_FEEDER_BYTES).map_err(|e| format!("{shown} {e}"))?.ok_or_else(|| {
                format!("{shown} is larger than {} MiB; take fewer rows", MAX_FEEDER_BYTES >> 20)
            })?;
        Self::parse(&bytes).map_err(|(line, what)| match line {
            Some(line) => format!("{shown}:{line}: {what}"),
            None => format!("{shown}: {what}"),
        })
    }

    /// The values in `bytes`, or a line and what is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, (Option<u64>, String)> {
        let read = without_mark(bytes);
        let text = std::str::from_utf8(read).map_err(|e| {
            let line = LineCount::default().at(read, e.valid_up_to());
            (Some(line), "it is not UTF-8 text; save it as UTF-8".to_owned())
        })?;
        if let Some(line) = unclosed_quote(text) {
            let what = "the quote that begins a value here is never closed; is the file truncated?";
            return Err((Some(line), what.to_owned()));
        }
        let mut rows =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let mut row = csv::StringRecord::new();
        let mut table = Self {
            columns: Vec::new(),
            text: String::new(),
            ends: Vec::new(),
            lines: Vec::new(),
            digest: format!("{:016x}", xxh3_64(bytes)),
        };
        let mut lines = LineCount::default();
        // The text is UTF-8 and in memory, so that nothing is left to fail.
        while rows.read_record(&mut row).map_err(|e| (None, e.to_string()))? {
            // Reading begins with what is left of the line before, and with blank lines.
            let from = row.position().map_or(0, csv::Position::byte) as usize;
            let ends = read[from..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            let line = lines.at(read, from + ends);
            let added = if table.columns.is_empty() { table.header(&row) } else { table.row(&row, line) };
            added.map_err(|what| (Some(line), what))?;
        }
        if table.columns.is_empty() {
            return Err((None, "it is empty; begin it with a line that names the columns".to_owned()));
        }
        if table.lines.is_empty() {
            return Err((None, "it has a header and no rows".to_owned()));
        }
        Ok(table)
    }

    fn header(&mut self, row: &csv::StringRecord) -> Result<(), String> {
        if row.len() > MAX_FEEDER_COLUMNS {
            return Err(format!("it has {} columns, above the limit of {MAX_FEEDER_COLUMNS}", row.len()));
        }
        let mut seen = HashSet::new();
        for name in row.iter().map(str::trim) {
            if !seen.insert(name) {
                return Err(format!("the header names the column {} twice; rename one", tick(name)));
            }
            self.columns.push(name.to_owned());
        }
        Ok(())
    }

    fn row(&mut self, row: &csv::StringRecord, line: u64) -> Result<(), String> {
        if row.len() != self.columns.len() {
            return Err(format!(
                "the row has {} of {} values; is the file truncated, or separated by something else than commas?",
                row.len(),
                self.columns.len()
            ));
        }
        if self.lines.len() >= MAX_FEEDER_ROWS || self.ends.len() + row.len() > MAX_FEEDER_FIELDS {
            return Err(format!(
                "the file has more than {MAX_FEEDER_ROWS} rows or {MAX_FEEDER_FIELDS} values; take fewer"
            ));
        }
        if let Some(at) = row.iter().position(|v| v.len() > MAX_VALUE_LEN) {
            let column = tick(&self.columns[at]);
            return Err(format!("the value of {column} is longer than {MAX_VALUE_LEN} bytes"));
        }
        for value in row {
            self.text.push_str(value);
            // Shorter than the file, which is shorter than 4 GiB.
            self.ends.push(self.text.len() as u32);
        }
        self.lines.push(line as u32);
        Ok(())
    }

    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows there are, at least 1.
    pub(crate) fn rows(&self) -> u64 {
        self.lines.len() as u64
    }

    /// XXH3-64 of the file, in hexadecimal.
    pub(crate) fn digest(&self) -> String {
        self.digest.clone()
    }

    /// The value of `column` in `row`.
    #[inline]
    pub(crate) fn value(&self, row: usize, column: u16) -> &str {
        let at = row * self.columns.len() + usize::from(column);
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.text[from..self.ends[at] as usize]
    }

    /// The line of the first value of `column` that cannot stand at `place`, and why. The value may be
    /// a secret and is not told.
    pub(crate) fn misfit(&self, column: u16, place: Place) -> Option<(u32, &'static str)> {
        let fits = |value: &str| match place {
            Place::Segment => !matches!(value, "" | "." | ".."),
            Place::Percent | Place::JsonText | Place::Raw => true,
            Place::Plain => value.bytes().all(|b| b.is_ascii_graphic() || b == b' ' || b == b'\t'),
            Place::JsonValue => is_plain_json(value),
        };
        let row = (0..self.lines.len()).find(|row| !fits(self.value(*row, column)))?;
        let why = match place {
            Place::JsonValue => {
                "is no number, true, false or null, which is all that can stand outside quotes; put the placeholder in quotes"
            }
            Place::Segment => "is empty, `.` or `..`, which leads a path elsewhere; give it another value",
            _ => "holds more than printable ASCII, which a header cannot; encode it",
        };
        Some((self.lines[row], why))
    }
}

/// Counts lines: `\n`, `\r\n` and a lone `\r` end one.
#[derive(Debug, Default)]
struct LineCount {
    ends: u64,
    counted: usize,
}

impl LineCount {
    /// The line, from 1, that byte `at` of `text` stands in; no byte before the last one asked for.
    fn at(&mut self, text: &[u8], at: usize) -> u64 {
        let is_end = |i: &usize| text[*i] == b'\n' || text[*i] == b'\r' && text.get(i + 1) != Some(&b'\n');
        self.ends += (self.counted..at).filter(is_end).count() as u64;
        self.counted = at;
        self.ends + 1
    }
}

/// Whether `value` is a number, `true`, `false` or `null` as JSON writes them, and nothing beside.
fn is_plain_json(value: &str) -> bool {
    !value.starts_with(['"', '[', '{'])
        && value.trim() == value
        && serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok()
}

/// The line of a quoted value that goes on to the end of `text`. A reader of CSV takes such a rest
/// for a value.
fn unclosed_quote(text: &str) -> Option<u64> {
    let mut line = 1;
    let mut opened: Option<u64> = None;
    let mut begins = true;
    let mut bytes = text.bytes().peekable();
    while let Some(b) = bytes.next() {
        let here = line;
        line += u64::from(b == b'\n');
        match (opened, b) {
            (None, b'"') if begins => opened = Some(here),
            (None, b) => begins = matches!(b, b',' | b'\n' | b'\r'),
            (Some(_), b'"') if bytes.peek() == Some(&b'"') => {
                bytes.next();
            }
            (Some(_), b'"') => (opened, begins) = (None, false),
            (Some(_), _) => {}
        }
    }
    opened
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(text: &[u8]) -> String {
        match Table::parse(text).err().unwrap() {
            (Some(line), what) => format!("{line}: {what}"),
            (None, what) => what,
        }
    }

    #[test]
    fn values_are_read_as_rfc_4180_writes_them() {
        let text = "\u{feff}id, name ,note\r\n1,Ann,\"a, \"\"b\"\"\nc\"\r\n\r\n2,,é\r\n3, x ,\"\"";
        let table = Table::parse(text.as_bytes()).unwrap();
        assert_eq!(table.columns(), ["id", "name", "note"]);
        assert_eq!(table.rows(), 3);
        let row = |n: usize| (0..3).map(|c| table.value(n, c)).collect::<Vec<_>>();
        assert_eq!(row(0), ["1", "Ann", "a, \"b\"\nc"]);
        assert_eq!(row(1), ["2", "", "é"]);
        assert_eq!(row(2), ["3", " x ", ""]);
    }

    #[test]
    fn what_is_no_table_is_told_with_its_line() {
        for (text, why) in [
            (&b""[..], "it is empty; begin it with a line that names the columns"),
            (b"\n\n", "it is empty; begin it with a line that names the columns"),
            (b"id,name\n", "it has a header and no rows"),
            (b"id,name,id\n1,2,3\n", "1: the header names the column `id` twice; rename one"),
            (
                b"id,name\n1,Ann\n2\n",
                "3: the row has 1 of 2 values; is the file truncated, or separated by something else than commas?",
            ),
            (
                b"id;name\n1;Ann,x\n",
                "2: the row has 2 of 1 values; is the file truncated, or separated by something else than commas?",
            ),
            (
                b"id,name\n1,\"Ann\n2,Bob\n",
                "2: the quote that begins a value here is never closed; is the file truncated?",
            ),
            (b"id\n1\n\xff\n", "3: it is not UTF-8 text; save it as UTF-8"),
            (b"\xef\xbb\xbfid\n\xff\n", "2: it is not UTF-8 text; save it as UTF-8"),
            (
                b"id,v\n\"1\n1\n1\",2\n\n3\n",
                "6: the row has 1 of 2 values; is the file truncated, or separated by something else than commas?",
            ),
            (
                b"id,v\r\n1,2\r\n\r\n3\r\n",
                "4: the row has 1 of 2 values; is the file truncated, or separated by something else than commas?",
            ),
            (
                b"id,v\r1,2\r3\r",
                "3: the row has 1 of 2 values; is the file truncated, or separated by something else than commas?",
            ),
            (b"\xff\xfei\0d\0\n\0", "1: it is not UTF-8 text; save it as UTF-8"),
        ] {
            assert_eq!(told(text), why, "{}", String::from_utf8_lossy(text));
        }
        let long = format!("id\n{}\n", "x".repeat(MAX_VALUE_LEN + 1));
        assert_eq!(told(long.as_bytes()), "2: the value of `id` is longer than 8192 bytes");
        let many = format!("id\n{}", "1\n".repeat(MAX_FEEDER_ROWS + 1));
        assert!(told(many.as_bytes()).starts_with("1000002: the file has more than 1000000 rows"));
        let wide = vec!["c"; MAX_FEEDER_COLUMNS + 1].join(",");
        assert_eq!(told(wide.as_bytes()), "1: it has 257 columns, above the limit of 256");
    }

    #[test]
    fn a_value_that_cannot_stand_where_it_is_needed_is_found() {
        let text = "n,v\n1,a b\n-1.5e3,\"x\ny\"\nnull,..\n \"1\",\n";
        let table = Table::parse(text.as_bytes()).unwrap();
        let line = |column, place| table.misfit(column, place).map(|(line, _)| line);
        assert_eq!(line(0, Place::JsonValue), Some(6), "a text is no plain value");
        assert_eq!(line(1, Place::JsonValue), Some(2));
        assert_eq!(line(1, Place::Plain), Some(3), "a line break ends a header");
        assert_eq!(line(1, Place::Segment), Some(5));
        for place in [Place::Percent, Place::JsonText, Place::Raw] {
            assert_eq!(line(1, place), None, "{place:?}");
        }
        assert_eq!(line(0, Place::Plain), None);
        for (value, plain) in [
            ("1", true),
            ("true", true),
            ("null", true),
            ("01", false),
            ("[1]", false),
            ("1 ", false),
            ("1,2", false),
            ("", false),
            ("NaN", false),
        ] {
            assert_eq!(is_plain_json(value), plain, "{value}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_parsing_ends_and_every_row_is_whole(bytes in prop::collection::vec(prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), any::<u8>()], 0..80)) {
            if let Ok(table) = Table::parse(&bytes) {
                for row in 0..table.rows() as usize {
                    for column in 0..table.columns().len() {
                        let _ = table.value(row, column as u16);
                    }
                }
            }
        }

        #[test]
        fn what_a_writer_of_csv_writes_is_read_back(rows in prop::collection::vec(prop::collection::vec("[a-z\",\r\n é]{0,6}", 2), 1..6)) {
            let mut writer = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
            writer.write_record(["a", "b"]).unwrap();
            rows.iter().for_each(|r| writer.write_record(r).unwrap());
            let bytes = writer.into_inner().unwrap();
            let table = Table::parse(&bytes).unwrap_or_else(|(line, what)| panic!("{line:?}: {what}"));
            prop_assert_eq!(table.rows() as usize, rows.len());
            for (i, row) in rows.iter().enumerate() {
                prop_assert_eq!(table.value(i, 0), &row[0]);
                prop_assert_eq!(table.value(i, 1), &row[1]);
            }
        }
    }
}
