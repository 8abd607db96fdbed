//! How a value is written where it stands, so that whatever it holds it stays one value.
//!
//! | place | how |
//! |---|---|
//! | path and query | percent-encoded but for RFC 3986's unreserved characters |
//! | header | as it is: printable ASCII only, which is seen to before |
//! | JSON, in quotes | escaped as part of a JSON string |
//! | JSON, outside quotes | as a JSON value |
//! | form body | percent-encoded |
//! | any other body | as it is: nothing is known of how it could be made safe |

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// Path and query.
    Path,
    /// A header's value.
    Header,
    /// A JSON body.
    Json,
    /// A body of `application/x-www-form-urlencoded`.
    Form,
    /// A body of any other kind. What an answer gave may not stand in it.
    Other,
}

impl Spot {
    /// What a body is, by its `Content-Type`.
    #[must_use]
    pub fn of_body(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind == "application/json" || kind.ends_with("+json") {
            Spot::Json
        } else if kind == "application/x-www-form-urlencoded" {
            Spot::Form
        } else {
            Spot::Other
        }
    }

    /// What the body is that goes with `headers`; without a `Content-Type` it is JSON.
    #[must_use]
    pub fn of_body_with(headers: &[(String, String)]) -> Self {
        let content_type = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        content_type.map_or(Spot::Json, |(_, value)| Spot::of_body(value))
    }
}

/// How a value is written where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a path: percent-encoded.
    Segment,
    /// In a query or a form: percent-encoded.
    Percent,
    /// In a header: as it is.
    Plain,
    /// In a body of which nothing is known: as it is.
    Raw,
    /// Within a JSON string.
    JsonText,
    /// A JSON value.
    JsonValue,
}

/// Follows a text to tell the place of every value in it.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    spot: Spot,
    /// Whether a JSON string is open.
    quoted: bool,
    escaped: bool,
    /// Whether the query has begun.
    query: bool,
}

impl Places {
    /// At the beginning of a text that stands at `spot`.
    #[must_use]
    pub fn new(spot: Spot) -> Self {
        Self { spot, quoted: false, escaped: false, query: false }
    }

    /// Goes on behind `text`.
    pub fn pass(&mut self, text: &str) {
        for b in text.bytes() {
            match b {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                b'?' => self.query = true,
                _ => {}
            }
        }
    }

    /// Whether a JSON string is open here.
    #[must_use]
    pub fn in_quotes(&self) -> bool {
        self.quoted
    }

    /// How a value is written here.
    #[must_use]
    pub fn here(&self) -> Place {
        match self.spot {
            Spot::Path if !self.query => Place::Segment,
            Spot::Path | Spot::Form => Place::Percent,
            Spot::Header => Place::Plain,
            Spot::Other => Place::Raw,
            Spot::Json if self.quoted => Place::JsonText,
            Spot::Json => Place::JsonValue,
        }
    }
}

/// Gives `value`, a text, piece by piece as it is written at `place`.
#[inline]
pub fn write(value: &str, place: Place, mut piece: impl FnMut(&str)) {
    match place {
        Place::Plain | Place::Raw | Place::JsonValue => piece(value),
        Place::JsonText => escape(value, |b| b < 0x20 || b == b'"' || b == b'\\', "\\u00", piece),
        Place::Segment | Place::Percent => {
            let kept = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            escape(value, |b| !kept(b), "%", piece);
        }
    }
}

/// Every byte of `value` as it is, but those that are `special`: as two hexadecimal digits behind
/// `mark`. Either all of a character's bytes are special or none is.
fn escape(value: &str, special: impl Fn(u8) -> bool, mark: &str, mut piece: impl FnMut(&str)) {
    const HEX: &str = "0123456789ABCDEF";
    let mut from = 0;
    for (at, b) in value.bytes().enumerate().filter(|(_, b)| special(*b)) {
        if from < at {
            piece(&value[from..at]);
        }
        let (high, low) = (usize::from(b >> 4), usize::from(b & 15));
        piece(mark);
        piece(&HEX[high..=high]);
        piece(&HEX[low..=low]);
        from = at + 1;
    }
    if from < value.len() {
        piece(&value[from..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: &str, place: Place) -> String {
        let mut out = String::new();
        write(value, place, |piece| out.push_str(piece));
        out
    }

    #[test]
    fn what_would_end_a_value_early_is_written_otherwise() {
        let wicked = "a\"b\\\r\nX: 1/../é&=";
        assert_eq!(written(wicked, Place::Percent), "a%22b%5C%0D%0AX%3A%201%2F..%2F%C3%A9%26%3D");
        assert_eq!(written(wicked, Place::JsonText), "a\\u0022b\\u005C\\u000D\\u000AX: 1/../é&=");
        assert_eq!(written(wicked, Place::Plain), wicked);
        assert_eq!(written("12.50", Place::JsonValue), "12.50");
        assert_eq!(written("", Place::Percent), "");
    }

    #[test]
    fn a_text_tells_where_its_strings_are() {
        let mut places = Places::new(Spot::Json);
        for (text, place) in [
            ("{\"a\":", Place::JsonValue),
            ("\"x\\\"", Place::JsonText),
            ("\\\\\"", Place::JsonValue),
            ("[\"", Place::JsonText),
        ] {
            places.pass(text);
            assert_eq!(places.here(), place, "{text}");
        }
        let mut form = Places::new(Spot::Form);
        form.pass("a=\"");
        assert_eq!(form.here(), Place::Percent);
        let mut path = Places::new(Spot::Path);
        path.pass("/a/");
        assert_eq!(path.here(), Place::Segment);
        path.pass("?q=");
        assert_eq!(path.here(), Place::Percent);
        assert_eq!(
            (Places::new(Spot::Other).here(), Places::new(Spot::Header).here()),
            (Place::Raw, Place::Plain)
        );
    }

    proptest! {
        #[test]
        fn a_json_string_reads_back_as_the_value_and_a_path_stays_one_line(value in "\\PC*|[\\x00-\\x7f]{0,40}") {
            let json = format!("\"{}\"", written(&value, Place::JsonText));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), value.clone());
            let path = written(&value, Place::Percent);
            prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
        }
    }
}
