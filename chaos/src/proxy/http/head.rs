//! The head of a message: read strictly, and passed on as it is.

use super::body::Framing;

/// The longest head.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most headers of one.
pub const MAX_HEADERS: usize = 128;

/// What a head says that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// Its length in bytes, the empty line included.
    pub length: usize,
    /// The method.
    pub method: String,
    /// The target: a path with its query, most often.
    pub target: String,
    /// How long the body is.
    pub framing: Framing,
    /// Whether the client waits for a `100 Continue` before it sends the body.
    pub expects: bool,
    /// Whether the client wants the connection to end with the answer: it says so, or is older than HTTP/1.1.
    pub closes: bool,
}

/// What the head of an answer says that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerHead {
    /// Its length in bytes.
    pub length: usize,
    /// The status.
    pub status: u16,
    /// How long the body is, if it has one.
    pub framing: Framing,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no HTTP/1 head.
    #[error("this is no HTTP/1 message")]
    Syntax,
    /// It is longer than [`MAX_HEAD_BYTES`], or has more than [`MAX_HEADERS`] headers.
    #[error("the head has more than {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} headers")]
    TooLong,
    /// A line ends without a carriage return, or has one in its middle.
    #[error("a line of the head does not end with CR LF")]
    LineEnd,
    /// `Content-Length` is no number, or there is more than one.
    #[error("Content-Length is not one number")]
    Length,
    /// There is a `Transfer-Encoding` other than `chunked`, or more than one.
    #[error("Transfer-Encoding is not just chunked")]
    Encoding,
    /// What follows a CONNECT is not HTTP: with a body, two readers part ways (RFC 9110, 9.3.6).
    #[error("a CONNECT has no body")]
    Connect,
    /// Both are there.
    #[error("Content-Length and Transfer-Encoding contradict each other")]
    Both,
}

impl Refused {
    /// The status that says so to a client.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Refused::TooLong => 431,
            Refused::Encoding => 501,
            _ => 400,
        }
    }
}

type Headers<'h, 'b> = &'h [httparse::Header<'b>];

/// Reads the head of a request from the beginning of `bytes`, and `then` what else is wanted of it. `None` while it is not whole.
///
/// # Errors
/// When it must not be passed on.
pub fn request<T>(
    bytes: &[u8],
    then: impl FnOnce(&RequestHead, Headers<'_, '_>) -> T,
) -> Result<Option<(RequestHead, T)>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut read = httparse::Request::new(&mut headers);
    let Some(length) = whole(read.parse(bytes), bytes)? else { return Ok(None) };
    lines(&bytes[..length])?;
    let (Some(method), Some(target), Some(version)) = (read.method, read.path, read.version) else {
        return Err(Refused::Syntax);
    };
    let framing = match framing(read.headers)? {
        // Before HTTP/1.1 there were no chunks: an upstream of that age would read them as the next request.
        Some(Framing::Chunked(_)) if version == 0 => return Err(Refused::Encoding),
        Some(framing) => framing,
        None => Framing::None,
    };
    if method == "CONNECT" && framing != Framing::None {
        return Err(Refused::Connect);
    }
    let expects = read.headers.iter().any(|h| h.name.eq_ignore_ascii_case("expect"));
    let says_close =
        |value: &[u8]| value.split(|b| *b == b',').any(|v| v.trim_ascii().eq_ignore_ascii_case(b"close"));
    let mut connection = read.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("connection"));
    let closes = version == 0 || connection.any(|h| says_close(h.value));
    let (method, target) = (method.to_owned(), target.to_owned());
    let head = RequestHead { length, method, target, framing, expects, closes };
    let wanted = then(&head, read.headers);
    Ok(Some((head, wanted)))
}

/// Reads the head of an answer. `None` while it is not whole.
///
/// # Errors
/// When it must not be passed on.
pub fn answer(bytes: &[u8]) -> Result<Option<AnswerHead>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut read = httparse::Response::new(&mut headers);
    let Some(length) = whole(read.parse(bytes), bytes)? else { return Ok(None) };
    lines(&bytes[..length])?;
    let status = read.code.ok_or(Refused::Syntax)?;
    let framing = framing(read.headers)?.unwrap_or(Framing::UntilClose);
    Ok(Some(AnswerHead { length, status, framing }))
}

/// The value of the header called `name`, the first there is.
#[must_use]
pub fn value<'b>(headers: Headers<'_, 'b>, name: &str) -> Option<&'b [u8]> {
    headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
}

/// The head of an answer whose body is another one of `length` bytes.
#[must_use]
pub fn with_length(head: &[u8], length: usize) -> Vec<u8> {
    let mut lines = head.split_inclusive(|b| *b == b'\n');
    let mut new: Vec<u8> = lines.next().unwrap_or_default().to_vec();
    for line in lines {
        let name = line.split(|b| *b == b':').next().unwrap_or_default();
        let of_body: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"content-encoding", b"trailer"];
        if line != b"\r\n" && !of_body.iter().any(|n| name.eq_ignore_ascii_case(n)) {
            new.extend_from_slice(line);
        }
    }
    new.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
    new
}

fn whole(
    parsed: Result<httparse::Status<usize>, httparse::Error>,
    bytes: &[u8],
) -> Result<Option<usize>, Refused> {
    match parsed {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD_BYTES => Ok(Some(length)),
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD_BYTES => Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(Refused::TooLong),
        Err(_) => Err(Refused::Syntax),
    }
}

/// The parser takes a bare line feed for a line's end. Others do not, or take a carriage return for one.
fn lines(head: &[u8]) -> Result<(), Refused> {
    let mut before = 0;
    for (at, b) in head.iter().enumerate() {
        let follows = head.get(at + 1);
        if *b == b'\n' && before != b'\r' || *b == b'\r' && follows != Some(&b'\n') {
            return Err(Refused::LineEnd);
        }
        before = *b;
    }
    Ok(())
}

/// How long the body is, when the head says so.
fn framing(headers: Headers<'_, '_>) -> Result<Option<Framing>, Refused> {
    let mut length = None;
    let mut chunked = false;
    for h in headers {
        if h.name.eq_ignore_ascii_case("content-length") {
            let digits = !h.value.is_empty() && h.value.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(h.value).ok().and_then(|v| v.parse().ok());
            match number {
                Some(number) if digits && length.is_none() => length = Some(number),
                _ => return Err(Refused::Length),
            }
        } else if h.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !h.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refused::Encoding);
            }
            chunked = true;
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(Refused::Both),
        (None, true) => Ok(Some(Framing::chunked())),
        (Some(0), false) => Ok(Some(Framing::None)),
        (Some(length), false) => Ok(Some(Framing::Length(length))),
        (None, false) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Option<Framing>, Refused> {
        request(head.as_bytes(), |_, _| ()).map(|read| read.map(|(head, ())| head.framing))
    }

    #[test]
    fn a_head_says_how_long_its_body_is() {
        assert_eq!(read("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Ok(Some(Framing::None)));
        assert_eq!(read("POST / HTTP/1.1\r\ncontent-length: 12\r\n\r\n"), Ok(Some(Framing::Length(12))));
        assert_eq!(
            read("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"),
            Ok(Some(Framing::chunked()))
        );
        assert_eq!(read("GET / HTTP/1.1\r\nHost: x\r\n"), Ok(None));
        let answered = answer(b"HTTP/1.1 200 OK\r\n\r\n").unwrap().unwrap();
        assert_eq!((answered.status, answered.framing), (200, Framing::UntilClose));
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        let post = |rest: &str| read(&format!("POST / HTTP/1.1\r\n{rest}\r\n\r\n")).unwrap_err();
        assert_eq!(post("Content-Length: 5\r\nTransfer-Encoding: chunked"), Refused::Both);
        assert_eq!(post("Content-Length: 5\r\nContent-Length: 6"), Refused::Length);
        assert_eq!(post("Content-Length: 5\r\nContent-Length: 5"), Refused::Length);
        for length in ["+5", "-5", "5, 5", "0x5", "5 5", "", "99999999999999999999", "५"] {
            assert_eq!(post(&format!("Content-Length: {length}")), Refused::Length, "{length}");
        }
        for encoding in ["gzip, chunked", "identity", "xchunked", "chunked, chunked", "\x0bchunked"] {
            let got = post(&format!("Transfer-Encoding: {encoding}"));
            assert!(matches!(got, Refused::Encoding | Refused::Syntax), "{encoding}: {got:?}");
        }
        assert_eq!(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Refused::Encoding);
        assert_eq!(post("Content-Length : 5"), Refused::Syntax);
        assert_eq!(post("X: a\r\n Content-Length: 5"), Refused::Syntax);
        assert_eq!(read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(Refused::Encoding));
        assert_eq!(read("POST / HTTP/1.1\nContent-Length: 5\n\n"), Err(Refused::LineEnd));
        assert_eq!(read("POST / HTTP/1.1\r\nX: a\nContent-Length: 5\r\n\r\n"), Err(Refused::LineEnd));
        assert!(read("POST / HTTP/1.1\r\nX: a\rContent-Length: 5\r\n\r\n").is_err());
        for body in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            assert_eq!(read(&format!("CONNECT x:1 HTTP/1.1\r\n{body}\r\n\r\n")), Err(Refused::Connect));
        }
        assert_eq!(read("CONNECT x:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n"), Ok(Some(Framing::None)));
        assert_eq!(read("nonsense\r\n\r\n"), Err(Refused::Syntax));
        assert_eq!(read(&"x".repeat(MAX_HEAD_BYTES + 1)), Err(Refused::TooLong));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(read(&many), Err(Refused::TooLong));
    }

    #[test]
    fn a_body_that_takes_anothers_place_has_its_own_length() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nX: y\r\nTransfer-encoding: chunked\r\n\r\n";
        assert_eq!(with_length(head, 3), b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n\r\n");
    }
}
