//! What is asked on the short way: read from the bytes of a connection, or left to hyper.

use httparse::{EMPTY_HEADER, Status};
use squall_chaos::layer::{self, Subject};

use super::super::accounts::MIN_SEQ;
use super::super::api::FORWARDED_FOR;
use crate::limits::{MAX_BODY_BYTES, MAX_HEADERS};
use crate::metrics::{BALANCE_ROUTE, PAY_ROUTE};
use crate::trace::RequestId;
use crate::trace::context::{Carried, TRACEPARENT, TRACESTATE};

/// Requests that are dealt with at once when they are pipelined; more wait for these.
const MAX_ROUND: usize = 64;

/// A request of the short way, whole.
pub struct Asked<'a> {
    pub wants: Wants<'a>,
    pub authorization: Option<&'a [u8]>,
    pub key: Option<&'a [u8]>,
    /// What the client calls the request.
    pub name: Option<&'a [u8]>,
    pub attempt: Option<&'a [u8]>,
    /// The `Squall-Lane`.
    lane: Option<&'a [u8]>,
    pub forwarded: Option<&'a [u8]>,
    pub min_seq: Option<&'a [u8]>,
    pub carried: Carried<'a>,
    /// Its length.
    pub used: usize,
}

/// What it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants<'a> {
    /// `POST /v1/payments`
    Pay { body: &'a [u8] },
    /// `GET /v1/accounts/{account}/balance`
    Balance { account: &'a str },
}

impl<'a> Wants<'a> {
    /// The route as a label.
    pub fn route(self) -> &'static str {
        match self {
            Wants::Pay { .. } => PAY_ROUTE,
            Wants::Balance { .. } => BALANCE_ROUTE,
        }
    }

    /// What the head asks for; a payment's body comes later. `None` when it is not for this lane.
    fn of(request: &httparse::Request<'_, 'a>) -> Option<Self> {
        if request.version != Some(1) {
            return None;
        }
        let path = request.path?;
        match request.method? {
            "POST" if path == "/v1/payments" => Some(Wants::Pay { body: &[] }),
            "GET" => {
                let account = path.strip_prefix("/v1/accounts/")?.strip_suffix("/balance")?;
                // Nothing that a URL could spell in two ways.
                let plain = account.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                (plain && !account.is_empty()).then_some(Wants::Balance { account })
            }
            _ => None,
        }
    }
}

/// What follows the requests of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing, or another of the same kind.
    More,
    /// What may be the beginning of one.
    Partial,
    /// What is not for this lane.
    Other,
}

impl<'a> Asked<'a> {
    /// The requests that `bytes` begin with and that are begun together: nearly always one, several when
    /// they are pipelined. A key that is asked for twice waits for its first answer, and so does a balance for the payments
    /// before it.
    pub fn all(mut bytes: &'a [u8]) -> (Vec<Self>, Next) {
        let mut all: Vec<Self> = Vec::with_capacity(1);
        while all.len() < MAX_ROUND && !bytes.is_empty() {
            match Self::parse(bytes) {
                Ok(asked) if all.iter().any(|before| asked.waits_for(before)) => break,
                Ok(asked) => {
                    bytes = &bytes[asked.used..];
                    all.push(asked);
                }
                Err(next) => return (all, next),
            }
        }
        (all, Next::More)
    }

    /// Whether it is begun only when `before` is answered.
    fn waits_for(&self, before: &Self) -> bool {
        match (self.wants, before.wants) {
            (Wants::Pay { .. }, Wants::Pay { .. }) => self.key.is_some() && self.key == before.key,
            (Wants::Balance { .. }, Wants::Balance { .. }) => false,
            _ => true,
        }
    }

    /// What a fault decides about; `otherwise` names a request that carries no id.
    pub fn subject(&self, otherwise: RequestId) -> Subject {
        match self.key.or(self.name) {
            Some(id) => Subject::new(id, self.attempt, self.lane),
            None => Subject { request_id: otherwise.number(), ..Subject::new(b"", self.attempt, self.lane) },
        }
    }

    /// The request that `bytes` begin with, unless it is not whole, or anything about it is not as nearly
    /// always.
    fn parse(bytes: &'a [u8]) -> Result<Self, Next> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let head = match request.parse(bytes) {
            Ok(Status::Complete(head)) => head,
            Ok(Status::Partial) => return Err(Next::Partial),
            Err(_) => return Err(Next::Other),
        };
        let wants = Wants::of(&request).ok_or(Next::Other)?;
        let [mut length, mut authorization, mut key, mut name, mut attempt, mut forwarded] = [None; 6];
        let [mut min_seq, mut parent, mut state, mut lane] = [None; 4];
        for h in request.headers.iter() {
            // The length decides first: most headers are none of these.
            let value = match h.name.len() {
                14 if h.name.eq_ignore_ascii_case("content-length") => &mut length,
                13 if h.name.eq_ignore_ascii_case("authorization") => &mut authorization,
                15 if h.name.eq_ignore_ascii_case("idempotency-key") => &mut key,
                10 if h.name.eq_ignore_ascii_case(layer::REQUEST_ID.as_str()) => &mut name,
                14 if h.name.eq_ignore_ascii_case(layer::ATTEMPT_HEADER.as_str()) => &mut attempt,
                15 if h.name.eq_ignore_ascii_case(FORWARDED_FOR) => &mut forwarded,
                7 if h.name.eq_ignore_ascii_case(MIN_SEQ) => &mut min_seq,
                11 if h.name.eq_ignore_ascii_case(TRACEPARENT) => &mut parent,
                11 if h.name.eq_ignore_ascii_case(layer::LANE_HEADER.as_str()) => &mut lane,
                10 if h.name.eq_ignore_ascii_case(TRACESTATE) => &mut state,
                // What changes how a message is read or what becomes of its connection.
                6 if h.name.eq_ignore_ascii_case("expect") => return Err(Next::Other),
                7 if h.name.eq_ignore_ascii_case("upgrade") => return Err(Next::Other),
                10 if h.name.eq_ignore_ascii_case("connection") => return Err(Next::Other),
                17 if h.name.eq_ignore_ascii_case("transfer-encoding") => return Err(Next::Other),
                _ => continue,
            };
            if value.replace(h.value).is_some() {
                return Err(Next::Other);
            }
        }
        let (wants, used) = match (wants, length) {
            (Wants::Pay { .. }, Some(length)) => {
                let used = head + self::length(length).ok_or(Next::Other)?;
                (Wants::Pay { body: bytes.get(head..used).ok_or(Next::Partial)? }, used)
            }
            (Wants::Balance { .. }, None | Some(b"0")) => (wants, head),
            // A payment that does not say how long it is, a balance that has a body.
            _ => return Err(Next::Other),
        };
        let carried = Carried { parent, state };
        Ok(Self { wants, authorization, key, name, attempt, lane, forwarded, min_seq, carried, used })
    }
}

/// A `Content-Length`, when it is one that a body may have: five digits are more, and there is no sign.
fn length(typed: &[u8]) -> Option<usize> {
    if !(1..=5).contains(&typed.len()) || !typed.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = typed.iter().fold(0, |n, digit| n * 10 + usize::from(digit - b'0'));
    (length <= MAX_BODY_BYTES).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: &str = r#"{"from":"acc_00000001","to":"acc_00000002","amount":1,"currency":"EUR"}"#;
    const PAY: &str = "POST /v1/payments HTTP/1.1";
    const BALANCE: &str = "GET /v1/accounts/acc_00000001/balance HTTP/1.1";

    fn request(line: &str, headers: &str) -> Vec<u8> {
        format!("{line}\r\nAuthorization: Bearer t\r\nIdempotency-Key: k\r\n{headers}\r\n{BODY}").into_bytes()
    }

    fn balance(headers: &str) -> Vec<u8> {
        format!("{BALANCE}\r\nAuthorization: Bearer t\r\n{headers}\r\n").into_bytes()
    }

    fn length() -> String {
        format!("Content-Length: {}\r\n", BODY.len())
    }

    /// How many requests of a round `bytes` begin with, and what follows them.
    fn all(bytes: &[u8]) -> (usize, Next) {
        let (all, next) = Asked::all(bytes);
        (all.len(), next)
    }

    #[test]
    fn a_whole_payment_is_taken_and_no_byte_more() {
        let mut bytes = request(PAY, &length());
        let whole = bytes.len();
        bytes.extend_from_slice(b"POST /v1/pay");
        let asked = Asked::parse(&bytes).ok().unwrap();
        assert_eq!((asked.wants, asked.used), (Wants::Pay { body: BODY.as_bytes() }, whole));
        assert_eq!((asked.key, asked.attempt), (Some(&b"k"[..]), None));
        assert_eq!(all(&bytes), (1, Next::Partial));
        bytes.truncate(whole);
        assert_eq!(all(&bytes), (1, Next::More));
        // The second has the first one's key: it is begun when that is answered.
        assert_eq!(all(&bytes.repeat(2)), (1, Next::More));
        bytes.extend_from_slice(b"GET /livez HTTP/1.1\r\n\r\n");
        assert_eq!(all(&bytes), (1, Next::Other));
        let many: Vec<u8> =
            (0..=MAX_ROUND).flat_map(|n| request(PAY, &(length() + &format!("X: {n}\r\n")))).collect();
        let keyless = String::from_utf8(many).unwrap().replace("Idempotency-Key", "Idempotency-Kei");
        assert_eq!(all(keyless.as_bytes()), (MAX_ROUND, Next::More));
        for cut in 1..whole {
            assert_eq!(all(&bytes[..cut]), (0, Next::Partial), "{cut}");
        }
    }

    #[test]
    fn a_whole_balance_is_taken_and_no_byte_more() {
        let bytes = balance("Min-Seq: 7\r\n");
        let asked = Asked::parse(&bytes).ok().unwrap();
        assert_eq!((asked.wants, asked.used), (Wants::Balance { account: "acc_00000001" }, bytes.len()));
        assert_eq!((asked.min_seq, asked.key), (Some(&b"7"[..]), None));
        for cut in 1..bytes.len() {
            assert_eq!(all(&bytes[..cut]), (0, Next::Partial), "{cut}");
        }
        assert_eq!(all(&bytes.repeat(3)), (3, Next::More));
    }

    #[test]
    fn a_balance_shows_the_payments_before_it_and_none_behind_it() {
        let (pay, balance) = (request(PAY, &length()), balance(""));
        assert_eq!(all(&[&pay[..], &balance].concat()), (1, Next::More));
        assert_eq!(all(&[&balance[..], &balance, &pay].concat()), (2, Next::More));
    }

    #[test]
    fn whatever_is_unusual_is_left_to_hyper() {
        assert!(Asked::parse(&request(PAY, &length())).is_ok());
        for line in [
            "GET /v1/payments HTTP/1.1",
            "POST /v1/payments HTTP/1.0",
            "POST /v1/payments?x=1 HTTP/1.1",
            "POST /v1/payments/ HTTP/1.1",
            "POST http://host/v1/payments HTTP/1.1",
            "PRI * HTTP/2.0",
            // With a body.
            BALANCE,
        ] {
            assert_eq!(Asked::parse(&request(line, &length())).err(), Some(Next::Other), "{line}");
        }
        let usual = String::from_utf8(balance("")).unwrap();
        assert!(Asked::parse(usual.as_bytes()).is_ok());
        for line in [
            "GET /v1/accounts/acc_00000001/balance HTTP/1.0",
            "HEAD /v1/accounts/acc_00000001/balance HTTP/1.1",
            "GET /v1/accounts/acc_00000001 HTTP/1.1",
            "GET /v1/accounts/acc_00000001/balance?x=1 HTTP/1.1",
            "GET /v1/accounts/acc_00000001/balance/ HTTP/1.1",
            "GET /v1/accounts/acc%5f00000001/balance HTTP/1.1",
            "GET /v1/accounts/a/../acc_00000001/balance HTTP/1.1",
            "GET /v1/accounts//balance HTTP/1.1",
            "GET /v1/accounts/balance HTTP/1.1",
        ] {
            let unusual = usual.replace(BALANCE, line);
            assert_eq!(Asked::parse(unusual.as_bytes()).err(), Some(Next::Other), "{line}");
        }
        for headers in [
            String::new(),
            length() + &length(),
            length() + "Transfer-Encoding: chunked\r\n",
            length() + "Expect: 100-continue\r\n",
            length() + "Connection: close\r\n",
            length() + "Upgrade: h2c\r\n",
            length() + "Idempotency-Key: other\r\n",
            length() + "Authorization: Bearer other\r\n",
            "Content-Length: +71\r\n".to_owned(),
            "Content-Length: \r\n".to_owned(),
            "Content-Length: 71, 71\r\n".to_owned(),
            "Content-Length: 99999\r\n".to_owned(),
            "Content-Length: 18446744073709551617\r\n".to_owned(),
            length() + &"X-Many: 1\r\n".repeat(MAX_HEADERS),
        ] {
            assert_eq!(Asked::parse(&request(PAY, &headers)).err(), Some(Next::Other), "{headers}");
        }
        assert!(Asked::parse(&balance("Content-Length: 0\r\n")).is_ok());
        for headers in [
            "Content-Length: 1\r\n",
            "Content-Length: 00\r\n",
            "Connection: close\r\n",
            "Min-Seq: 1\r\nMin-Seq: 2\r\n",
        ] {
            assert_eq!(Asked::parse(&balance(headers)).err(), Some(Next::Other), "{headers}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Asked::parse(&bytes);
        }
    }
}
