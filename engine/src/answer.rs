//! How much of the bytes received is an answer, and what it says.
//!
//! The scanner reads the head with `httparse`, keeps the four facts that a load generator needs
//! and then only counts body bytes. It works on whatever arrives, however it is cut.

use httparse::{EMPTY_HEADER, Response, Status};

/// Headers of an answer beyond this many make it a bad answer.
pub const MAX_HEADERS: usize = 64;
/// A head longer than this many bytes makes it a bad answer.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// More interim (1xx) heads than this before an answer make it a bad answer.
pub const MAX_INTERIM: u8 = 16;
/// A chunk-size line longer than this many bytes makes it a bad answer.
const MAX_CHUNK_LINE_BYTES: usize = 1024;

/// What a complete answer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Marked `Not-Executed: true`: the target refused it untouched.
    pub not_executed: bool,
    /// Whether the connection can carry another request.
    pub keep_alive: bool,
}

/// Where the scanner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// The answer is complete; this many of the given bytes belong to it.
    Complete(Answer, usize),
    /// More bytes are needed; this many of the given bytes are used up.
    Partial(usize),
}

/// Bytes that are not an HTTP answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an HTTP answer")]
pub struct BadAnswer;

/// Reads one answer. Reused for the next one by [`Scanner::reset`].
#[derive(Debug, Clone)]
pub struct Scanner {
    state: State,
    answer: Answer,
    head_request: bool,
    interim: u8,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            state: State::Head,
            answer: Answer { status: 0, not_executed: false, keep_alive: true },
            head_request: false,
            interim: 0,
        }
    }
}

impl Scanner {
    /// Begins the next answer; `head_request` when it answers a HEAD, which has no body.
    pub fn reset(&mut self, head_request: bool) {
        *self = Self { head_request, ..Self::default() };
    }

    /// Reads on in `bytes`, which begin where the last scan's used-up bytes ended.
    ///
    /// # Errors
    /// [`BadAnswer`] when they cannot be part of an answer.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scan, BadAnswer> {
        self.scan_with(bytes, |_| {})
    }

    /// [`scan`](Self::scan)s and gives each piece of the body to `body`, without its framing.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn scan_with(&mut self, bytes: &[u8], mut body: impl FnMut(&[u8])) -> Result<Scan, BadAnswer> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.state {
                State::Head => match self.head(rest)? {
                    None => return Ok(Scan::Partial(at)),
                    Some(used) => {
                        at += used;
                        if self.state == State::Length(0) {
                            return Ok(Scan::Complete(self.answer, at));
                        }
                    }
                },
                State::Length(left) => {
                    let take = left.min(rest.len() as u64);
                    body(&rest[..take as usize]);
                    at += take as usize;
                    if take == left {
                        return Ok(Scan::Complete(self.answer, at));
                    }
                    self.state = State::Length(left - take);
                    return Ok(Scan::Partial(at));
                }
                State::ChunkSize => {
                    let Some(end) = line_end(rest)? else { return Ok(Scan::Partial(at)) };
                    let size = chunk_size(&rest[..end])?;
                    at += end + 2;
                    self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                }
                State::ChunkData(left) => {
                    let take = left.min(rest.len() as u64);
                    body(&rest[..take as usize]);
                    at += take as usize;
                    if take < left {
                        self.state = State::ChunkData(left - take);
                        return Ok(Scan::Partial(at));
                    }
                    self.state = State::ChunkEnd;
                }
                State::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        at += 2;
                        self.state = State::ChunkSize;
                    }
                    [] | [b'\r'] => return Ok(Scan::Partial(at)),
                    _ => return Err(BadAnswer),
                },
                State::Trailers => {
                    let Some(end) = line_end(rest)? else { return Ok(Scan::Partial(at)) };
                    at += end + 2;
                    if end == 0 {
                        return Ok(Scan::Complete(self.answer, at));
                    }
                }
                State::UntilClose => {
                    body(rest);
                    return Ok(Scan::Partial(bytes.len()));
                }
            }
        }
    }

    /// The connection ended. Some answers are complete by that; others are cut.
    #[must_use]
    pub fn closed(&self) -> Option<Answer> {
        (self.state == State::UntilClose).then_some(self.answer)
    }

    /// Reads a head at the beginning of `bytes`; `None` when it is incomplete. Interim (1xx)
    /// heads are skipped: the state stays `Head`.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, BadAnswer> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut response = Response::new(&mut headers);
        let used = match response.parse(bytes) {
            // However much of it arrives at once.
            Ok(Status::Complete(used)) if used <= MAX_HEAD_BYTES => used,
            Ok(Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Ok(None),
            Ok(_) | Err(_) => return Err(BadAnswer),
        };
        let status = response.code.ok_or(BadAnswer)?;
        if status < 200 {
            // 101 would change the protocol, which was never asked for; below 100 is no status.
            self.interim += 1;
            let is_bad = status == 101 || status < 100 || self.interim > MAX_INTERIM;
            return if is_bad { Err(BadAnswer) } else { Ok(Some(used)) };
        }
        let mut length: Option<u64> = None;
        // Whether the body is coded for its transfer, and then whether its last coding is chunked.
        let mut chunked: Option<bool> = None;
        let mut keep_alive = response.version == Some(1);
        let mut closes = false;
        let mut not_executed = false;
        for h in response.headers.iter() {
            // The length decides first: most headers are none of these.
            match h.name.len() {
                14 if h.name.eq_ignore_ascii_case("content-length") => {
                    let n = decimal(h.value).ok_or(BadAnswer)?;
                    if length.is_some_and(|other| other != n) {
                        return Err(BadAnswer);
                    }
                    length = Some(n);
                }
                17 if h.name.eq_ignore_ascii_case("transfer-encoding") => {
                    let last = h.value.rsplit(|b| *b == b',').next().unwrap_or_default();
                    chunked = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
                }
                10 if h.name.eq_ignore_ascii_case("connection") => {
                    for token in h.value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                        if token.eq_ignore_ascii_case(b"close") {
                            closes = true;
                        } else if token.eq_ignore_ascii_case(b"keep-alive") {
                            keep_alive = true;
                        }
                    }
                }
                12 if h.name.eq_ignore_ascii_case("not-executed") => {
                    not_executed = h.value.eq_ignore_ascii_case(b"true");
                }
                _ => {}
            }
        }
        self.state = if self.head_request || status == 204 || status == 304 {
            State::Length(0)
        } else {
            // RFC 9112 §6.3: a coding wins over a length, and both together end the connection.
            match (chunked, length) {
                (Some(true), _) => State::ChunkSize,
                (None, Some(n)) => State::Length(n),
                (Some(false), _) | (None, None) => State::UntilClose,
            }
        };
        keep_alive &= !closes && self.state != State::UntilClose && !(chunked.is_some() && length.is_some());
        self.answer = Answer { status, not_executed, keep_alive };
        Ok(Some(used))
    }
}

/// The position of the first CRLF; `None` when there is none yet.
fn line_end(bytes: &[u8]) -> Result<Option<usize>, BadAnswer> {
    match bytes.windows(2).position(|w| w == b"\r\n") {
        Some(at) if at <= MAX_CHUNK_LINE_BYTES => Ok(Some(at)),
        Some(_) => Err(BadAnswer),
        // The line, and what may be the beginning of its end.
        None if bytes.len() > MAX_CHUNK_LINE_BYTES + 1 => Err(BadAnswer),
        None => Ok(None),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, BadAnswer> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    if digits.is_empty() || digits.len() > 15 {
        return Err(BadAnswer);
    }
    digits.iter().try_fold(0u64, |n, b| {
        let digit = char::from(*b).to_digit(16).ok_or(BadAnswer)?;
        Ok(n * 16 + u64::from(digit))
    })
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `bytes` in pieces of `step`, keeping what is not used up, as a connection does.
    fn feed(bytes: &[u8], step: usize) -> Result<(Option<Answer>, usize), BadAnswer> {
        let mut s = Scanner::default();
        let (mut pending, mut total) = (Vec::new(), 0);
        for piece in bytes.chunks(step) {
            pending.extend_from_slice(piece);
            match s.scan(&pending)? {
                Scan::Complete(a, used) => return Ok((Some(a), total + used)),
                Scan::Partial(used) => {
                    pending.drain(..used);
                    total += used;
                }
            }
        }
        Ok((s.closed(), total))
    }

    fn ok(status: u16) -> Answer {
        Answer { status, not_executed: false, keep_alive: true }
    }

    #[test]
    fn answers_are_read_however_they_are_cut() {
        let cases: [(&str, Answer); 6] = [
            ("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello", ok(201)),
            ("HTTP/1.1 204 No Content\r\n\r\n", ok(204)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ok(200)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n",
                ok(200),
            ),
            (
                "HTTP/1.1 503 x\r\nNot-Executed: true\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
                Answer { status: 503, not_executed: true, keep_alive: false },
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
                Answer { status: 200, not_executed: false, keep_alive: false },
            ),
        ];
        for (text, answer) in cases {
            for step in 1..=text.len() {
                assert_eq!(feed(text.as_bytes(), step), Ok((Some(answer), text.len())), "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection() {
        let (answer, _) = feed(b"HTTP/1.1 200 OK\r\n\r\nsome bytes", 4).unwrap();
        assert_eq!(answer, Some(Answer { status: 200, not_executed: false, keep_alive: false }));
        // A coding that says nothing of where it ends; a length beside it says nothing either.
        for headers in [
            "Transfer-Encoding: gzip\r\nContent-Length: 2",
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\nsome bytes");
            assert_eq!(feed(text.as_bytes(), 4), Ok((answer, text.len())), "{headers}");
        }
    }

    #[test]
    fn a_connection_that_is_said_to_close_closes_whatever_else_is_said() {
        for connection in ["close", "keep-alive, close", "close, keep-alive"] {
            let text = format!("HTTP/1.1 200 OK\r\nConnection: {connection}\r\nContent-Length: 1\r\n\r\nx");
            let (answer, _) = feed(text.as_bytes(), 9).unwrap();
            assert!(!answer.unwrap().keep_alive, "{connection}");
        }
    }

    #[test]
    fn a_cut_answer_is_not_an_answer() {
        for text in ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "HTTP/1.1 200 OK\r\nCont", ""] {
            assert_eq!(feed(text.as_bytes(), 3).unwrap().0, None);
        }
    }

    #[test]
    fn bytes_after_the_answer_are_not_its_own() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1";
        assert_eq!(Scanner::default().scan(text), Ok(Scan::Complete(ok(200), text.len() - 8)));
    }

    #[test]
    fn interim_heads_without_end_are_refused() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\n";
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let text = interim.repeat(usize::from(MAX_INTERIM)) + answer;
        assert_eq!(feed(text.as_bytes(), 100), Ok((Some(ok(200)), text.len())));
        assert_eq!(feed((interim.to_owned() + &text).as_bytes(), 100), Err(BadAnswer));
    }

    #[test]
    fn garbage_is_refused() {
        for text in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "HTTP/1.1 007 Bond\r\nContent-Length: 0\r\n\r\n",
        ] {
            assert_eq!(feed(text.as_bytes(), 7), Err(BadAnswer), "{text:?}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(MAX_HEAD_BYTES));
        assert_eq!(feed(endless.as_bytes(), 4096), Err(BadAnswer));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_without_reading_past_them(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..50,
        ) {
            if let Ok((_, used)) = feed(&bytes, step) {
                prop_assert!(used <= bytes.len());
            }
        }

        #[test]
        fn mutated_answers_are_read_without_panic(at in 0usize..80, byte in any::<u8>(), step in 1usize..90) {
            let mut text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n".to_vec();
            let at = at % text.len();
            text[at] = byte;
            let _ = feed(&text, step);
        }
    }
}
