//! A request rendered once, with fixed-width holes that each arrival fills.
//!
//! Every placeholder has the same width for every value of a plan, so sending a request is a copy
//! and a few patches. Only the values of feeders are as long as they are: the text is cut where they
//! stand, and `Content-Length` is a hole then.

use std::ops::Range;

use crate::feeder::{Feeders, Field};
use crate::place::{Place, Places, Spot};
use crate::plan::{DataPlan, FeederPlan, RequestPlan};

/// A placeholder: `${name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// `${account}`
    Account,
    /// `${other}`
    Other,
    /// `${amount}`
    Amount,
    /// `${key}`
    Key,
    /// `${seq}`
    Seq,
    /// `${token}`
    Token,
}

/// Digits of `${seq}`.
pub const SEQ_DIGITS: usize = 12;
/// Hexadecimal digits of `${key}`.
pub const KEY_DIGITS: usize = 32;

impl Placeholder {
    /// All of them.
    pub const ALL: [Placeholder; 6] = [
        Placeholder::Account,
        Placeholder::Other,
        Placeholder::Amount,
        Placeholder::Key,
        Placeholder::Seq,
        Placeholder::Token,
    ];

    /// The name between the braces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Placeholder::Account => "account",
            Placeholder::Other => "other",
            Placeholder::Amount => "amount",
            Placeholder::Key => "key",
            Placeholder::Seq => "seq",
            Placeholder::Token => "token",
        }
    }
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `${` without its `}`.
    #[error("`${{` at byte {at} has no closing `}}`")]
    Unclosed {
        /// Byte offset in the text.
        at: usize,
    },
    /// A name that is not a placeholder.
    #[error("unknown placeholder `${{{name}}}`")]
    Unknown {
        /// Byte offset in the text.
        at: usize,
        /// The name as typed.
        name: String,
    },
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text as it stands.
    Text(&'a str),
    /// A hole; with its byte offset in the text.
    Hole(Placeholder, usize),
    /// What may be a feeder's column, `cards.number`; with its byte offset in the text.
    Column(&'a str, usize),
}

/// A piece of a text, whatever the names in it stand for.
pub(crate) enum Piece<'a> {
    /// Text as it stands.
    Text(&'a str),
    /// The name of a placeholder, with the byte offset of its `$`.
    Name(&'a str, usize),
}

/// Splits `text` into literal pieces and the names of placeholders with their byte offsets.
///
/// # Errors
/// When a placeholder is not closed.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while let Some(found) = text[from..].find("${") {
        let at = from + found;
        let end = text[at..].find('}').ok_or(TemplateError::Unclosed { at })? + at;
        if at > from {
            pieces.push(Piece::Text(&text[from..at]));
        }
        pieces.push(Piece::Name(&text[at + 2..end], at));
        from = end + 1;
    }
    if from < text.len() {
        pieces.push(Piece::Text(&text[from..]));
    }
    Ok(pieces)
}

/// Splits `text` into literal pieces and placeholders. Whether there are such columns of feeders is
/// not looked at.
///
/// # Errors
/// When a placeholder is unknown or not closed.
pub fn parse(text: &str) -> Result<Vec<Part<'_>>, TemplateError> {
    let known = |name: &str| Placeholder::ALL.into_iter().find(|p| p.name() == name);
    pieces(text)?
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text)),
            Piece::Name(name, at) => known(name)
                .map(|hole| Part::Hole(hole, at))
                .or_else(|| name.contains('.').then_some(Part::Column(name, at)))
                .ok_or_else(|| TemplateError::Unknown { at, name: name.to_owned() }),
        })
        .collect()
}

/// What an arrival fills the holes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Values {
    /// The account's number.
    pub account: u64,
    /// Another account's number.
    pub other: u64,
    /// Minor units.
    pub amount: i64,
    /// The idempotency key.
    pub key: u128,
    /// The arrival's index.
    pub seq: u64,
}

/// A rendered request with its holes. It holds the token, and so has no `Debug`.
#[derive(Clone)]
pub struct Template {
    /// One behind the other; a single one when no feeder fills anything.
    pieces: Vec<Rendered>,
    /// Whether it carries an idempotency key, and so may move money.
    has_key: bool,
}

/// Bytes of one length with holes of one width, and what comes behind them.
#[derive(Clone, Default)]
struct Rendered {
    bytes: Vec<u8>,
    patches: Vec<(Range<usize>, Patch)>,
    then: Option<(Field, Place)>,
}

/// What stands in a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patch {
    Value(Placeholder),
    /// The length of the body, when it is not always the same.
    BodyLen,
    /// Where the body begins; a hole of no width.
    Body,
}

/// Digits of a body's length, which the plan's checks keep below a million.
const BODY_LEN_DIGITS: usize = 6;

/// What requests are filled from, and for whom.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// How accounts and amounts are written.
    pub data: &'a DataPlan,
    /// The feeders of the plan.
    pub feeders: &'a [FeederPlan],
    /// What `${token}` becomes.
    pub token: &'a str,
    /// What the target calls itself.
    pub host: &'a str,
}

impl Template {
    /// Renders `request` as HTTP/1.1.
    ///
    /// # Errors
    /// When a text of the request is not a template.
    pub fn render(request: &RequestPlan, sources: &Sources<'_>) -> Result<Self, TemplateError> {
        let mut writer = Writer::new(sources);
        writer.text(&request.method);
        writer.text(" ");
        writer.template(&request.path, Spot::Path)?;
        writer.rest(request)
    }

    /// Renders what follows the method and the path of `request`, for recorded ones to stand
    /// before it.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_behind(request: &RequestPlan, sources: &Sources<'_>) -> Result<Self, TemplateError> {
        Writer::new(sources).rest(request)
    }

    /// Whether it carries an idempotency key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.has_key
    }

    /// Writes the request for `values` into `out`, replacing what was there. `out` grows to the
    /// longest request and never again.
    #[inline]
    pub fn fill(&self, values: &Values, feeders: &Feeders, out: &mut Vec<u8>) {
        out.clear();
        self.append(values, feeders, out);
    }

    /// Appends the request for `values`, or what there is of it, to `out`.
    #[inline]
    pub fn append(&self, values: &Values, feeders: &Feeders, out: &mut Vec<u8>) {
        let (mut length, mut body) = (None, 0);
        for piece in &self.pieces {
            let from = out.len();
            out.extend_from_slice(&piece.bytes);
            for (range, patch) in &piece.patches {
                let at = from + range.start..from + range.end;
                let Patch::Value(placeholder) = patch else {
                    match patch {
                        Patch::BodyLen => length = Some(at),
                        _ => body = at.start,
                    }
                    continue;
                };
                let hole = &mut out[at];
                match placeholder {
                    Placeholder::Account => zero_padded(hole, values.account),
                    Placeholder::Other => zero_padded(hole, values.other),
                    Placeholder::Amount => space_padded(hole, values.amount.unsigned_abs()),
                    Placeholder::Key => hexadecimal(hole, values.key),
                    Placeholder::Seq => zero_padded(hole, values.seq),
                    Placeholder::Token => {}
                }
            }
            if let Some((field, place)) = piece.then {
                feeders.write(field, values.seq, place, |text| out.extend_from_slice(text.as_bytes()));
            }
        }
        if let Some(length) = length {
            let bytes = (out.len() - body) as u64;
            // Leading blanks belong to no header's value (RFC 9110 §5.5).
            space_padded(&mut out[length], bytes);
        }
    }
}

struct Writer<'a> {
    pieces: Vec<Rendered>,
    last: Rendered,
    sources: &'a Sources<'a>,
}

impl<'a> Writer<'a> {
    fn new(sources: &'a Sources<'a>) -> Self {
        Self { pieces: Vec::new(), last: Rendered::default(), sources }
    }

    fn text(&mut self, text: &str) {
        self.last.bytes.extend_from_slice(text.as_bytes());
    }

    /// A hole of `width` bytes, `blank` for now.
    fn hole(&mut self, width: usize, blank: u8, patch: Patch) {
        let start = self.last.bytes.len();
        self.last.bytes.resize(start + width, blank);
        self.last.patches.push((start..start + width, patch));
    }

    /// What follows the method and the path.
    fn rest(mut self, request: &RequestPlan) -> Result<Template, TemplateError> {
        self.text(" HTTP/1.1\r\nHost: ");
        self.text(self.sources.host);
        self.text("\r\n");
        for (name, value) in &request.headers {
            self.text(name);
            self.text(": ");
            self.template(value, Spot::Header)?;
            self.text("\r\n");
        }
        let mut body = Writer::new(self.sources);
        if let Some(text) = &request.body {
            body.template(text, Spot::of_body_with(&request.headers))?;
            self.text("Content-Length: ");
            if body.pieces.is_empty() {
                self.text(&body.last.bytes.len().to_string());
            } else {
                self.hole(BODY_LEN_DIGITS, b' ', Patch::BodyLen);
            }
            self.text("\r\n");
        }
        self.text("\r\n");
        if !body.pieces.is_empty() {
            self.hole(0, b' ', Patch::Body);
        }
        let mut pieces = self.pieces;
        pieces.push(self.last);
        body.pieces.push(body.last);
        for (i, piece) in body.pieces.into_iter().enumerate() {
            match pieces.last_mut() {
                Some(before) if i == 0 => before.append(piece),
                _ => pieces.push(piece),
            }
        }
        let keys = pieces.iter().flat_map(|p| &p.patches).any(|(_, p)| *p == Patch::Value(Placeholder::Key));
        Ok(Template { pieces, has_key: keys })
    }

    fn template(&mut self, text: &str, spot: Spot) -> Result<(), TemplateError> {
        let data = self.sources.data;
        let mut places = Places::new(spot);
        for part in parse(text)? {
            match part {
                Part::Text(t) => {
                    places.pass(t);
                    self.text(t);
                }
                Part::Column(name, at) => {
                    let field = Field::find(name, self.sources.feeders)
                        .ok_or_else(|| TemplateError::Unknown { at, name: name.to_owned() })?;
                    self.last.then = Some((field, places.here()));
                    self.pieces.push(std::mem::take(&mut self.last));
                }
                Part::Hole(Placeholder::Token, _) => self.text(self.sources.token),
                Part::Hole(p @ (Placeholder::Account | Placeholder::Other), _) => {
                    self.text(&data.account_prefix);
                    self.hole(data.account_digits, b'0', Patch::Value(p));
                }
                Part::Hole(p @ Placeholder::Amount, _) => {
                    let digits = data.amount_max.unsigned_abs().max(1).ilog10() as usize + 1;
                    self.hole(digits, b' ', Patch::Value(p));
                }
                Part::Hole(p @ Placeholder::Key, _) => self.hole(KEY_DIGITS, b'0', Patch::Value(p)),
                Part::Hole(p @ Placeholder::Seq, _) => self.hole(SEQ_DIGITS, b'0', Patch::Value(p)),
            }
        }
        Ok(())
    }
}

impl Rendered {
    /// Goes on with `next`, which is behind it with nothing in between.
    fn append(&mut self, next: Rendered) {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(&next.bytes);
        self.patches.extend(next.patches.into_iter().map(|(r, p)| (r.start + offset..r.end + offset, p)));
        self.then = next.then;
    }
}

/// Writes `n` right-aligned into `hole`, with leading zeros. Digits beyond the hole are cut: the
/// plan's checks make it wide enough.
#[inline]
fn zero_padded(hole: &mut [u8], mut n: u64) {
    for b in hole.iter_mut().rev() {
        *b = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

/// Writes `n` right-aligned into `hole`, with leading spaces, which JSON allows before a number.
#[inline]
fn space_padded(hole: &mut [u8], mut n: u64) {
    let mut first = true;
    for b in hole.iter_mut().rev() {
        *b = if n > 0 || first { b'0' + (n % 10) as u8 } else { b' ' };
        first = false;
        n /= 10;
    }
}

#[inline]
fn hexadecimal(hole: &mut [u8], mut n: u128) {
    for b in hole.iter_mut().rev() {
        *b = b"0123456789abcdef"[(n & 15) as usize];
        n >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeder::Table;
    use crate::plan::tests_support::{data, pay, plan_with_phases};
    use crate::plan::{Arrivals, FeederOrder};
    use proptest::prelude::*;

    fn values() -> Values {
        Values { account: 42, other: 7, amount: 950, key: 0xabc, seq: 3 }
    }

    #[test]
    fn a_request_is_complete_http_with_the_right_length() {
        let t = rendered(&pay(), &[]);
        let mut out = Vec::new();
        t.fill(&values(), &Feeders::default(), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "POST /v1/payments HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\
             Idempotency-Key: 00000000000000000000000000000abc\r\nAuthorization: Bearer secret\r\n\
             Content-Length: 75\r\n\r\n\
             {\"from\":\"acc_00000042\",\"to\":\"acc_00000007\",\"amount\":  950,\"currency\":\"EUR\"}"
        );
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1.len(), 75);
        assert!(t.has_key());
    }

    fn rendered(request: &RequestPlan, feeders: &[FeederPlan]) -> Template {
        let data = data();
        let sources = Sources { data: &data, feeders, token: "secret", host: "127.0.0.1:80" };
        Template::render(request, &sources).unwrap()
    }

    /// Two rows of values as wicked as their columns may be.
    fn cards(dir: &std::path::Path) -> (Vec<FeederPlan>, Feeders) {
        let file = dir.join("cards.csv");
        std::fs::write(
            &file,
            "id,note,agent,cents\n1,x,curl/8,5\n\"a/b\",\"say \"\"hi\"\"\",Mozilla/5.0 (X11),1250\n",
        )
        .unwrap();
        let mut plan = plan_with_phases(Arrivals::Uniform, &[(1.0, 1.0, 1.0)]);
        let table = Table::read(&file).unwrap();
        plan.feeders = vec![FeederPlan {
            name: "cards".into(),
            file: file.to_str().unwrap().into(),
            order: FeederOrder::Sequential,
            columns: table.columns().to_vec(),
            rows: table.rows(),
            digest: table.digest(),
        }];
        let feeders = Feeders::open(&plan).unwrap();
        (plan.feeders, feeders)
    }

    #[test]
    fn values_of_feeders_are_written_for_their_place_and_counted_in_the_length() {
        let dir = tempfile::tempdir().unwrap();
        let (plans, feeders) = cards(dir.path());
        let mut request = pay();
        request.path = "/cards/${cards.id}?seq=${seq}".into();
        request.headers = vec![("User-Agent".into(), "${cards.agent}".into())];
        request.body = Some(r#"{"note":"${cards.note}","cents":${cards.cents},"from":"${account}"}"#.into());
        let t = rendered(&request, &plans);
        let mut out = Vec::new();
        for (seq, expected) in [
            (
                2,
                "POST /cards/1?seq=000000000002 HTTP/1.1\r\nHost: 127.0.0.1:80\r\nUser-Agent: curl/8\r\n\
                 Content-Length:     44\r\n\r\n{\"note\":\"x\",\"cents\":5,\"from\":\"acc_00000042\"}",
            ),
            (
                3,
                "POST /cards/a%2Fb?seq=000000000003 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\
                 User-Agent: Mozilla/5.0 (X11)\r\nContent-Length:     64\r\n\r\n\
                 {\"note\":\"say \\u0022hi\\u0022\",\"cents\":1250,\"from\":\"acc_00000042\"}",
            ),
        ] {
            t.fill(&Values { seq, ..values() }, &feeders, &mut out);
            let text = std::str::from_utf8(&out).unwrap();
            assert_eq!(text, expected);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length: usize = head.rsplit(' ').next().unwrap().parse().unwrap();
            assert_eq!(length, body.len());
            assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
        }
    }

    #[test]
    fn a_feeder_in_the_path_alone_leaves_the_body_and_its_length_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (plans, feeders) = cards(dir.path());
        let mut request = pay();
        request.headers.clear();
        request.path = "/${cards.cents}/${cards.id}".into();
        request.body = Some("{\"key\":\"${key}\"}".into());
        let t = rendered(&request, &plans);
        let mut out = Vec::new();
        t.fill(&values(), &feeders, &mut out);
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            "POST /1250/a%2Fb HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Length: 42\r\n\r\n\
             {\"key\":\"00000000000000000000000000000abc\"}"
        );
        assert!(t.has_key());
        let unknown = RequestPlan { path: "/${cards.nothing}".into(), ..request };
        let sources = Sources { data: &data(), feeders: &plans, token: "", host: "h" };
        assert!(matches!(Template::render(&unknown, &sources), Err(TemplateError::Unknown { at: 1, .. })));
    }

    #[test]
    fn unknown_and_unclosed_placeholders_are_errors() {
        assert_eq!(parse("a${acount}"), Err(TemplateError::Unknown { at: 1, name: "acount".into() }));
        assert_eq!(parse("ab${key"), Err(TemplateError::Unclosed { at: 2 }));
        assert_eq!(parse("$ {key} $"), Ok(vec![Part::Text("$ {key} $")]));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_keeps_every_byte(text in ".{0,80}") {
            if let Ok(parts) = parse(&text) {
                let back: String = parts.iter().map(|p| match p {
                    Part::Text(t) => (*t).to_owned(),
                    Part::Hole(h, _) => format!("${{{}}}", h.name()),
                    Part::Column(name, _) => format!("${{{name}}}"),
                }).collect();
                prop_assert_eq!(back, text);
            }
        }

        #[test]
        fn every_value_renders_to_the_same_length_and_is_valid_json(
            account in 1u64..=10_000, amount in 100i64..=99_999, key in any::<u128>(), seq in 0u64..1_000_000_000_000,
        ) {
            let (t, feeders) = (rendered(&pay(), &[]), Feeders::default());
            let (mut a, mut b) = (Vec::new(), Vec::new());
            t.fill(&values(), &feeders, &mut a);
            t.fill(&Values { account, other: 1, amount, key, seq }, &feeders, &mut b);
            prop_assert_eq!(a.len(), b.len());
            let text = String::from_utf8(b).unwrap();
            let body: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
            prop_assert_eq!(body["amount"].as_i64(), Some(amount));
            prop_assert_eq!(body["from"].as_str().unwrap(), format!("acc_{account:08}"));
        }
    }
}
