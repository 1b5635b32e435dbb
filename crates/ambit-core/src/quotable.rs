//! Words for clients, in the characters that an answer of OAuth may have.

/// Returns a description as an error's answer, or a quoted text of a challenge, may hold it (RFC 6749 §5.2, RFC 6750 §3):
/// printable ASCII without `"` and `\\`, so many characters of it at most. What people write otherwise is spelt out.
pub fn quotable(text: &str, characters_max: usize) -> String {
    let mut plain = String::new();
    for character in text.chars().take(characters_max) {
        match character {
            '"' | '\\' => plain.push('\''),
            ' '..='~' => plain.push(character),
            '\u{a7}' => plain.push_str("section "),
            '\u{b1}' => plain.push_str("+-"),
            '\u{2212}' | '\u{2013}' | '\u{2014}' => plain.push('-'),
            '\u{2026}' => plain.push_str("..."),
            _ => plain.push('?'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_fits_into_quotes() {
        for (text, plain) in [
            ("a \"b\" \\ \r\n", "a 'b' ' ??"),
            ("RFC 7515 \u{a7}7.1", "RFC 7515 section 7.1"),
            ("5 \u{b1} 1 \u{2026}", "5 +- 1 ..."),
            ("\u{2212}1 \u{2013} \u{2014}", "-1 - -"),
        ] {
            assert_eq!(quotable(text, 100), plain);
        }
        assert_eq!(quotable(&"x".repeat(257), 256).len(), 256);
        assert_eq!(quotable(&"x".repeat(256), 256).len(), 256);
    }
}
