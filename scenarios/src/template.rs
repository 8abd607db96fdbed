//! A request rendered once, with fixed-width holes that each arrival fills.
//!
//! Every placeholder has the same width for every value of a plan, so a rendered request has one
//! length, its `Content-Length` is a constant, and sending it is a copy and a few patches.

use std::ops::Range;

use crate::plan::{DataPlan, RequestPlan};

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

/// Splits `text` into literal pieces and placeholders.
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
    bytes: Vec<u8>,
    patches: Vec<(Range<usize>, Placeholder)>,
    /// Whether it carries an idempotency key, and so may move money.
    has_key: bool,
}

impl Template {
    /// Renders `request` as HTTP/1.1 for `host`, with `token` in its `${token}`s.
    ///
    /// # Errors
    /// When a text of the request is not a template.
    pub fn render(
        request: &RequestPlan,
        data: &DataPlan,
        host: &str,
        token: &str,
    ) -> Result<Self, TemplateError> {
        let mut writer = Writer { bytes: Vec::new(), patches: Vec::new(), data, token };
        writer.text(&request.method);
        writer.text(" ");
        writer.template(&request.path)?;
        Self::render_rest(writer, request, host)
    }

    /// Renders what follows the method and the path of `request`, for recorded ones to stand
    /// before it.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_behind(
        request: &RequestPlan,
        data: &DataPlan,
        host: &str,
        token: &str,
    ) -> Result<Self, TemplateError> {
        Self::render_rest(Writer { bytes: Vec::new(), patches: Vec::new(), data, token }, request, host)
    }

    fn render_rest(mut writer: Writer<'_>, request: &RequestPlan, host: &str) -> Result<Self, TemplateError> {
        let (data, token) = (writer.data, writer.token);
        writer.text(" HTTP/1.1\r\nHost: ");
        writer.text(host);
        writer.text("\r\n");
        for (name, value) in &request.headers {
            writer.text(name);
            writer.text(": ");
            writer.template(value)?;
            writer.text("\r\n");
        }
        let mut body = Writer { bytes: Vec::new(), patches: Vec::new(), data, token };
        if let Some(text) = &request.body {
            body.template(text)?;
            writer.text(&format!("Content-Length: {}\r\n", body.bytes.len()));
        }
        writer.text("\r\n");
        let offset = writer.bytes.len();
        writer.bytes.append(&mut body.bytes);
        writer.patches.extend(body.patches.into_iter().map(|(r, p)| (r.start + offset..r.end + offset, p)));
        let has_key = writer.patches.iter().any(|(_, p)| *p == Placeholder::Key);
        Ok(Self { bytes: writer.bytes, patches: writer.patches, has_key })
    }

    /// Whether it carries an idempotency key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.has_key
    }

    /// Writes the request for `values` into `out`, replacing what was there. `out` grows once to
    /// the longest template and never again.
    #[inline]
    pub fn fill(&self, values: &Values, data: &DataPlan, out: &mut Vec<u8>) {
        out.clear();
        self.append(values, data, out);
    }

    /// Appends the request for `values`, or what there is of it, to `out`.
    #[inline]
    pub fn append(&self, values: &Values, data: &DataPlan, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&self.bytes);
        for (range, placeholder) in &self.patches {
            let hole = &mut out[from + range.start..from + range.end];
            match placeholder {
                Placeholder::Account => zero_padded(hole, data.account_prefix.len(), values.account),
                Placeholder::Other => zero_padded(hole, data.account_prefix.len(), values.other),
                Placeholder::Amount => space_padded(hole, values.amount.unsigned_abs()),
                Placeholder::Key => hexadecimal(hole, values.key),
                Placeholder::Seq => zero_padded(hole, 0, values.seq),
                Placeholder::Token => {}
            }
        }
    }
}

struct Writer<'a> {
    bytes: Vec<u8>,
    patches: Vec<(Range<usize>, Placeholder)>,
    data: &'a DataPlan,
    token: &'a str,
}

impl Writer<'_> {
    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn template(&mut self, text: &str) -> Result<(), TemplateError> {
        for part in parse(text)? {
            match part {
                Part::Text(t) => self.text(t),
                Part::Hole(Placeholder::Token, _) => self.bytes.extend_from_slice(self.token.as_bytes()),
                Part::Hole(p, _) => {
                    let start = self.bytes.len();
                    match p {
                        Placeholder::Account | Placeholder::Other => {
                            self.text(&self.data.account_prefix.clone());
                            self.bytes.resize(self.bytes.len() + self.data.account_digits, b'0');
                        }
                        Placeholder::Amount => {
                            let digits = self.data.amount_max.unsigned_abs().max(1).ilog10() as usize + 1;
                            self.bytes.resize(start + digits, b' ');
                        }
                        Placeholder::Key => self.bytes.resize(start + KEY_DIGITS, b'0'),
                        Placeholder::Seq => self.bytes.resize(start + SEQ_DIGITS, b'0'),
                        Placeholder::Token => {}
                    }
                    self.patches.push((start..self.bytes.len(), p));
                }
            }
        }
        Ok(())
    }
}

/// Writes `n` right-aligned into `hole` after its first `skip` bytes, with leading zeros. Digits
/// beyond the hole are cut: the plan's checks make it wide enough.
#[inline]
fn zero_padded(hole: &mut [u8], skip: usize, mut n: u64) {
    for b in hole[skip..].iter_mut().rev() {
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
    use crate::plan::tests_support::{data, pay};
    use proptest::prelude::*;

    fn values() -> Values {
        Values { account: 42, other: 7, amount: 950, key: 0xabc, seq: 3 }
    }

    #[test]
    fn a_request_is_complete_http_with_the_right_length() {
        let data = data();
        let t = Template::render(&pay(), &data, "127.0.0.1:80", "secret").unwrap();
        let mut out = Vec::new();
        t.fill(&values(), &data, &mut out);
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
                }).collect();
                prop_assert_eq!(back, text);
            }
        }

        #[test]
        fn every_value_renders_to_the_same_length_and_is_valid_json(
            account in 1u64..=10_000, amount in 100i64..=99_999, key in any::<u128>(), seq in 0u64..1_000_000_000_000,
        ) {
            let data = data();
            let t = Template::render(&pay(), &data, "h", "t").unwrap();
            let (mut a, mut b) = (Vec::new(), Vec::new());
            t.fill(&values(), &data, &mut a);
            t.fill(&Values { account, other: 1, amount, key, seq }, &data, &mut b);
            prop_assert_eq!(a.len(), b.len());
            let text = String::from_utf8(b).unwrap();
            let body: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
            prop_assert_eq!(body["amount"].as_i64(), Some(amount));
            prop_assert_eq!(body["from"].as_str().unwrap(), format!("acc_{account:08}"));
        }
    }
}
