//! Writing PEM (RFC 7468). Reading is the library's.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Returns the section of a certificate.
pub(crate) fn certificate(der: &[u8]) -> String {
    section("CERTIFICATE", &STANDARD.encode(der))
}

/// Returns the section of an unencrypted PKCS #8 key.
pub(crate) fn private_key(der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    Zeroizing::new(section("PRIVATE KEY", &body))
}

fn section(label: &str, body: &str) -> String {
    // Room for the whole text at once: growing would leave copies of a key behind.
    let mut text = String::with_capacity(body.len() + body.len() / LINE + 2 * label.len() + 40);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for (column, character) in body.chars().enumerate() {
        if column > 0 && column.is_multiple_of(LINE) {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

const LINE: usize = 64;
