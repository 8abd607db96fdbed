//! Where a body ends.

/// The longest line that says how long a chunk is, its extensions included.
const MAX_CHUNK_LINE_BYTES: usize = 1024;
/// The longest trailer, all of its lines.
const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// How the end of a body is known, and how far it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// There is none, or it is over.
    None,
    /// So many bytes are left.
    Length(u64),
    /// In chunks.
    Chunked(Chunks),
    /// With the end of the connection.
    UntilClose,
}

/// Where in a chunked body (RFC 9112, 7.1) its reader is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunks {
    /// Before a line with a length.
    Size,
    /// So many bytes of a chunk are left.
    Data(u64),
    /// Before the line end behind a chunk.
    DataEnd,
    /// In the trailer, so many bytes of which have been read.
    Trailer(usize),
}

/// What is next in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// So many bytes of its content.
    Content(usize),
    /// So many bytes between its content.
    Between(usize),
    /// More has to be received first.
    More,
    /// It is over.
    Over,
}

/// A body in chunks that are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the body cannot be told apart")]
pub struct Broken;

impl Framing {
    /// A body in chunks, from its beginning.
    #[must_use]
    pub fn chunked() -> Self {
        Framing::Chunked(Chunks::Size)
    }

    /// What `bytes`, the next that were received, begin with. They count as read.
    ///
    /// # Errors
    /// When that cannot be told.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Next, Broken> {
        match self {
            Framing::None => Ok(Next::Over),
            Framing::UntilClose if bytes.is_empty() => Ok(Next::More),
            Framing::UntilClose => Ok(Next::Content(bytes.len())),
            Framing::Length(left) => Ok(match take(left, bytes) {
                0 if *left == 0 => {
                    *self = Framing::None;
                    Next::Over
                }
                0 => Next::More,
                count => Next::Content(count),
            }),
            Framing::Chunked(at) => {
                let next = at.next(bytes)?;
                if next == Next::Over {
                    *self = Framing::None;
                }
                Ok(next)
            }
        }
    }
}

impl Chunks {
    fn next(&mut self, bytes: &[u8]) -> Result<Next, Broken> {
        match self {
            Chunks::Size => {
                let Some(line) = line(bytes, MAX_CHUNK_LINE_BYTES)? else { return Ok(Next::More) };
                *self = match size(line)? {
                    0 => Chunks::Trailer(0),
                    size => Chunks::Data(size),
                };
                Ok(Next::Between(line.len() + 2))
            }
            Chunks::Data(left) => {
                let count = take(left, bytes);
                if *left == 0 {
                    *self = Chunks::DataEnd;
                }
                Ok(if count > 0 { Next::Content(count) } else { Next::More })
            }
            Chunks::DataEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    *self = Chunks::Size;
                    Ok(Next::Between(2))
                }
                [] | [b'\r'] => Ok(Next::More),
                _ => Err(Broken),
            },
            // Its last line was empty.
            Chunks::Trailer(usize::MAX) => Ok(Next::Over),
            Chunks::Trailer(read) => {
                let Some(line) = line(bytes, MAX_TRAILER_BYTES - *read)? else { return Ok(Next::More) };
                let length = line.len() + 2;
                *read = if line.is_empty() { usize::MAX } else { *read + length };
                if *read != usize::MAX && *read > MAX_TRAILER_BYTES {
                    return Err(Broken);
                }
                Ok(Next::Between(length))
            }
        }
    }
}

fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= count as u64;
    count
}

/// The first line of `bytes`, without its end. `None` while it is not whole.
fn line(bytes: &[u8], most: usize) -> Result<Option<&[u8]>, Broken> {
    match bytes.iter().position(|b| matches!(b, b'\r' | b'\n')) {
        Some(end) if end > most => Err(Broken),
        Some(end) => match bytes[end..] {
            [b'\r', b'\n', ..] => Ok(Some(&bytes[..end])),
            [b'\r'] => Ok(None),
            _ => Err(Broken),
        },
        None if bytes.len() > most => Err(Broken),
        None => Ok(None),
    }
}

/// The length of a chunk: hexadecimal digits, and extensions behind a `;` that nobody reads.
fn size(line: &[u8]) -> Result<u64, Broken> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default();
    let digits = if digits.len() < line.len() { digits.trim_ascii_end() } else { digits };
    if !(1..=15).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Broken);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Broken)?;
    u64::from_str_radix(text, 16).map_err(|_| Broken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads `bytes`, at most `step` more of them at a time: the content, and what was left behind it.
    fn read(mut framing: Framing, bytes: &[u8], step: usize) -> Result<(Vec<u8>, &[u8]), Broken> {
        let (mut content, mut from, mut until) = (Vec::new(), 0, 0);
        loop {
            match framing.next(&bytes[from..until])? {
                Next::Content(count) => {
                    content.extend_from_slice(&bytes[from..from + count]);
                    from += count;
                }
                Next::Between(count) => from += count,
                Next::Over => return Ok((content, &bytes[from..])),
                Next::More if until == bytes.len() => return Err(Broken),
                Next::More => until = (until + step).min(bytes.len()),
            }
        }
    }

    #[test]
    fn a_chunked_body_ends_behind_its_trailer_however_it_arrives() {
        let body = b"5;ext=\"a\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET /";
        for step in 1..body.len() {
            let (content, rest) = read(Framing::chunked(), body, step).unwrap();
            assert_eq!((content.as_slice(), rest), (&b"hello0123456789"[..], &b"GET /"[..]), "{step}");
        }
    }

    #[test]
    fn chunks_that_two_readers_could_read_in_two_ways_are_refused() {
        for body in [
            &b"5\nhello\r\n0\r\n\r\n"[..],
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"\r\nhello\r\n",
            b";a\r\nhello\r\n",
            b"10000000000000005\r\nhello\r\n0\r\n\r\n",
            b"0\r\nX: y\n\r\n",
            b"5\rX\r\nhello\r\n0\r\n\r\n",
        ] {
            assert_eq!(read(Framing::chunked(), body, 3), Err(Broken), "{:?}", String::from_utf8_lossy(body));
        }
        let endless = format!("5;{}", "x".repeat(MAX_CHUNK_LINE_BYTES));
        assert_eq!(read(Framing::chunked(), endless.as_bytes(), 7), Err(Broken));
        let endless = format!("0\r\n{}", "X: y\r\n".repeat(MAX_TRAILER_BYTES / 6 + 2));
        assert_eq!(read(Framing::chunked(), endless.as_bytes(), 64), Err(Broken));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_read_beyond_them(body in prop::collection::vec(any::<u8>(), 0..200), step in 1..50usize) {
            let _ = read(Framing::chunked(), &body, step);
        }

        #[test]
        fn a_length_is_kept(length in 0..300u64, body in prop::collection::vec(any::<u8>(), 300), step in 1..50usize) {
            let (content, rest) = read(Framing::Length(length), &body, step).unwrap();
            prop_assert_eq!(content.len() as u64, length);
            prop_assert_eq!(rest.len() as u64, 300 - length);
        }
    }
}
