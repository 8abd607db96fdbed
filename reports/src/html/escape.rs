//! Text that came from outside, made harmless in HTML and SVG, in elements and in attributes.

/// `text` with every character that means something to HTML as an entity, and control characters
/// (but line ends and tabs) as `�`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A sentence with names between backticks, the names set as code.
#[must_use]
pub fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // An even number of parts is an odd number of backticks: nobody can tell what they enclose.
    if parts.len().is_multiple_of(2) {
        return escape(text);
    }
    let set = |(i, part): (usize, &&str)| {
        if i.is_multiple_of(2) { escape(part) } else { format!("<code>{}</code>", escape(part)) }
    };
    parts.iter().enumerate().map(set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_becomes_text() {
        assert_eq!(
            escape("<script>alert(\"x\" + 'y') & more</script>\x1b"),
            "&lt;script&gt;alert(&quot;x&quot; + &#39;y&#39;) &amp; more&lt;/script&gt;\u{fffd}"
        );
    }

    #[test]
    fn names_between_backticks_are_set_as_code() {
        assert_eq!(prose("gate `p<1` failed"), "gate <code>p&lt;1</code> failed");
        assert_eq!(prose("an odd ` <one>"), "an odd ` &lt;one&gt;");
    }

    proptest! {

        #[test]
        fn nothing_escapes_the_escape(text in ".*") {
            let safe = escape(&text);
            prop_assert!(!safe.contains(['<', '>', '"', '\'']));
        }
    }
}
