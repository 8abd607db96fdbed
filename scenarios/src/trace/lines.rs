//! Lines of bounded length: whatever a file holds, no more than one line of it is in memory.

use std::io::{self, BufRead, Read};

/// The longest line of a trace, in bytes: a request line of 8 KiB with its headers fits well.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What was found where a line was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line, without what ends it.
    Text(&'a [u8]),
    /// The last line, with nothing that ends it: it may be cut off.
    Unended(&'a [u8]),
    /// A line longer than [`MAX_LINE_BYTES`], passed over.
    TooLong,
    /// There are no more.
    End,
}

/// Reads line by line. `\n` and `\r\n` end a line; the last one may go without.
#[derive(Debug)]
pub struct Lines<R> {
    source: R,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `source`.
    pub fn new(source: R) -> Self {
        Self { source, line: Vec::new(), number: 0, bytes: 0 }
    }

    /// The number of the line read last, from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes have been read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn read(&mut self) -> io::Result<Line<'_>> {
        self.line.clear();
        // The line, its `\r\n`, and a byte more shows that it is too long.
        let most = MAX_LINE_BYTES as u64 + 3;
        let read = (&mut self.source).take(most).read_until(b'\n', &mut self.line)? as u64;
        if read == 0 {
            return Ok(Line::End);
        }
        self.number += 1;
        self.bytes += read;
        let ended = self.line.last() == Some(&b'\n');
        if !ended && read == most {
            self.bytes += self.source.skip_until(b'\n')? as u64;
            return Ok(Line::TooLong);
        }
        let mut text = self.line.as_slice();
        if ended {
            text = &text[..text.len() - 1];
        }
        text = text.strip_suffix(b"\r").unwrap_or(text);
        if self.number == 1 {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        Ok(match text.len() {
            0..=MAX_LINE_BYTES if ended => Line::Text(text),
            0..=MAX_LINE_BYTES => Line::Unended(text),
            _ => Line::TooLong,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn all(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(BufReader::with_capacity(7, bytes));
        let mut found = Vec::new();
        loop {
            match lines.read().unwrap() {
                Line::Text(t) => found.push(String::from_utf8_lossy(t).into_owned()),
                Line::Unended(t) => found.push(format!("{}…", String::from_utf8_lossy(t))),
                Line::TooLong => found.push("TOO LONG".to_owned()),
                Line::End => break,
            }
        }
        assert_eq!((lines.number(), lines.bytes()), (found.len() as u64, bytes.len() as u64));
        found
    }

    #[test]
    fn line_ends_marks_and_a_missing_last_end_are_no_text() {
        assert_eq!(all(b""), Vec::<String>::new());
        assert_eq!(all(b"\xef\xbb\xbfa\r\nb\n\nc"), ["a", "b", "", "c…"]);
        assert_eq!(all(b"a\rb\r"), ["a\rb…"]);
        assert_eq!(all(b"a\n\xef\xbb\xbfb\n"), ["a", "\u{feff}b"]);
    }

    #[test]
    fn a_line_beyond_the_limit_is_passed_over_and_the_next_is_read() {
        for end in ["\n", "\r\n"] {
            let text = |n: usize| format!("a\n{}{end}b\n", "x".repeat(n));
            assert_eq!(all(text(MAX_LINE_BYTES).as_bytes())[1].len(), MAX_LINE_BYTES);
            for n in 1..5 {
                assert_eq!(all(text(MAX_LINE_BYTES + n).as_bytes()), ["a", "TOO LONG", "b"]);
            }
        }
        assert_eq!(all("x".repeat(3 * MAX_LINE_BYTES).as_bytes()), ["TOO LONG"]);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let endless = io::repeat(b'x').take(64 << 20);
        let mut lines = Lines::new(BufReader::new(endless));
        assert_eq!(lines.read().unwrap(), Line::TooLong);
        assert_eq!(lines.bytes(), 64 << 20);
        assert!(lines.line.capacity() <= 4 * MAX_LINE_BYTES, "{}", lines.line.capacity());
        assert_eq!(lines.read().unwrap(), Line::End);
    }
}
