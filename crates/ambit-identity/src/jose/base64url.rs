//! Base64url without padding (RFC 4648 §5), one text for each sequence of bytes.

use base64::{DecodeError, Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Returns the text for `bytes`.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Appends the text for `bytes` to `out`.
pub fn encode_to(bytes: impl AsRef<[u8]>, out: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// Returns the bytes of `text`.
///
/// # Errors
/// When there is padding, white space, a letter of another alphabet, or a last letter whose unused
/// bits are not zero: then other texts would stand for the same bytes.
pub fn decode(text: impl AsRef<[u8]>) -> Result<Vec<u8>, DecodeError> {
    URL_SAFE_NO_PAD.decode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_text_is_read() {
        assert_eq!(decode("_-8").unwrap(), [0xff, 0xef]);
        assert_eq!(encode([0xff, 0xef]), "_-8");
        for text in [
            "_-8=",
            "_-9",
            "/+8",
            " _-8",
            "_-8\n",
            "_",
            "_-\u{38}\u{301}",
        ] {
            assert!(decode(text).is_err(), "{text:?}");
        }
    }
}
