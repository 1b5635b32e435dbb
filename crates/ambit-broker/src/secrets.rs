//! Credentials for HTTP upstreams: sealed at rest, opened only to be put on a request.

use std::fmt;

use ambit_core::estate::CredentialPlacement;
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{
    FileCustody,
    aead::{self, Context},
};

/// The longest credential, in bytes.
pub const SECRET_BYTES_MAX: usize = 8 * 1024;
/// The longest name under which a credential is sealed, in bytes.
pub const REFERENCE_BYTES_MAX: usize = 128;
/// The longest name of a header that carries a credential, in bytes.
const HEADER_NAME_BYTES_MAX: usize = 64;

/// A credential in the clear. Wiped in the end, never printed, comparable with nothing.
///
/// It is text that an HTTP field can carry: printable ASCII, no space at either end.
///
/// ```compile_fail,E0599
/// fn print(secret: ambit_broker::Secret) -> String {
///     secret.to_string()
/// }
/// ```
pub struct Secret(Zeroizing<Vec<u8>>);

/// An HTTP field that carries a credential.
pub struct CredentialHeader {
    name: String,
    value: Zeroizing<Vec<u8>>,
}

/// A credential cannot be taken, sealed, opened or placed. No message has any of it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// There is nothing.
    #[error("the credential is empty; give its text")]
    Empty,
    /// It is too long.
    #[error("the credential has {seen} bytes and at most {SECRET_BYTES_MAX} are kept")]
    TooLong {
        /// How many bytes.
        seen: usize,
    },
    /// It has a byte that an HTTP field cannot carry, such as a line break.
    #[error(
        "byte {position} of the credential can't stand in an HTTP header; \
         give printable ASCII without line breaks and without spaces at the ends"
    )]
    Character {
        /// Where, counted from 1.
        position: usize,
    },
    /// The name is empty or too long.
    #[error("the credential's name has {seen} bytes; it must have 1 to {REFERENCE_BYTES_MAX}")]
    Reference {
        /// How many bytes.
        seen: usize,
    },
    /// The header may not carry a credential.
    #[error(
        "header `{name}` can't carry a credential; \
         name one that neither frames the message nor steers the connection"
    )]
    HeaderName {
        /// Which header.
        name: String,
    },
    /// The credential has a space and is placed where none may be.
    #[error("a bearer credential has no space; seal the credential alone, without its scheme")]
    BearerSpace,
    /// It was sealed under another key.
    #[error("credential `{reference}` was sealed under another key; seal it anew")]
    OtherKey {
        /// Its name.
        reference: String,
    },
    /// It was changed, or sealed under another name.
    #[error(
        "credential `{reference}` does not open: it was changed, or sealed under another name; seal it anew"
    )]
    Changed {
        /// Its name.
        reference: String,
    },
    /// Sealing failed.
    #[error("credential `{reference}` can't be sealed")]
    Seal {
        /// Its name.
        reference: String,
    },
}

impl Secret {
    /// Takes a credential. One line break at the end, as files and terminals add it, is dropped.
    ///
    /// # Errors
    /// [`CredentialError`] when it is empty, too long, or not text that an HTTP field can carry.
    pub fn new(text: &[u8]) -> Result<Self, CredentialError> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() {
            return Err(CredentialError::Empty);
        }
        if text.len() > SECRET_BYTES_MAX {
            return Err(CredentialError::TooLong { seen: text.len() });
        }
        let last = text.len() - 1;
        let is_refused = |(index, byte): (usize, &u8)| match *byte {
            b' ' => index == 0 || index == last,
            byte => !byte.is_ascii_graphic(),
        };
        match text.iter().enumerate().position(is_refused) {
            Some(index) => Err(CredentialError::Character {
                position: index + 1,
            }),
            None => Ok(Self(Zeroizing::new(text.to_vec()))),
        }
    }

    /// Returns the HTTP field that carries the credential as `placement` says.
    ///
    /// # Errors
    /// [`CredentialError::HeaderName`] when the header is not a name or may not carry a credential,
    /// [`CredentialError::BearerSpace`] when a bearer credential has a space.
    pub fn header(
        &self,
        placement: &CredentialPlacement,
    ) -> Result<CredentialHeader, CredentialError> {
        match placement {
            CredentialPlacement::Bearer => self.bearer(),
            CredentialPlacement::Header(name) => Ok(CredentialHeader {
                name: header_name(name)?,
                value: self.0.clone(),
            }),
        }
    }

    /// Returns the field that carries the credential as the password of the client `name` at a token endpoint
    /// (RFC 6749 §2.3.1): both are form-encoded first.
    pub fn basic(&self, name: &str) -> CredentialHeader {
        let mut pair = Zeroizing::new(Vec::with_capacity(3 * (name.len() + self.0.len()) + 1));
        form_encode(name.as_bytes(), &mut pair);
        pair.push(b':');
        form_encode(&self.0, &mut pair);
        let text = Zeroizing::new(STANDARD.encode(pair.as_slice()));
        let mut value = Zeroizing::new(Vec::with_capacity(BASIC.len() + text.len()));
        value.extend_from_slice(BASIC);
        value.extend_from_slice(text.as_bytes());
        CredentialHeader {
            name: "authorization".to_owned(),
            value,
        }
    }

    fn bearer(&self) -> Result<CredentialHeader, CredentialError> {
        if self.0.contains(&b' ') {
            return Err(CredentialError::BearerSpace);
        }
        // Room for all at once: growing would leave a copy of the credential behind.
        let mut value = Zeroizing::new(Vec::with_capacity(BEARER.len() + self.0.len()));
        value.extend_from_slice(BEARER);
        value.extend_from_slice(&self.0);
        Ok(CredentialHeader {
            name: "authorization".to_owned(),
            value,
        })
    }
}

/// Writes `bytes` as application/x-www-form-urlencoded has it, into room that suffices.
fn form_encode(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(*byte),
            b' ' => out.push(b'+'),
            byte => {
                let half = |it: u8| HEX.get(usize::from(it & 15)).copied().unwrap_or(b'0');
                out.extend([b'%', half(byte >> 4), half(*byte)]);
            }
        }
    }
}

impl CredentialHeader {
    /// Returns the field's name, in lowercase.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the field's value. It goes on the request, marked sensitive, and nowhere else.
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

impl FileCustody {
    /// Seals `secret` under the name `reference`.
    ///
    /// `chance` is fresh random bytes; they stand in the sealed form.
    ///
    /// # Errors
    /// [`CredentialError`] when the name is empty or too long.
    pub fn seal_credential(
        &self,
        reference: &str,
        secret: &Secret,
        chance: [u8; 32],
    ) -> Result<Vec<u8>, CredentialError> {
        check_reference(reference)?;
        let nonce = chance.first_chunk().copied().unwrap_or_default();
        let mut sealed = self.header().to_vec();
        sealed.extend_from_slice(&chance);
        let context = context(&chance, reference);
        aead::seal(self.key().expose(), context, nonce, &secret.0, &mut sealed).map_err(|_| {
            CredentialError::Seal {
                reference: reference.to_owned(),
            }
        })?;
        Ok(sealed)
    }

    /// Opens what [`FileCustody::seal_credential`] sealed under the same name.
    ///
    /// # Errors
    /// [`CredentialError`] when it was sealed under another key or name, or changed since.
    pub fn open_credential(
        &self,
        reference: &str,
        sealed: &[u8],
    ) -> Result<Secret, CredentialError> {
        check_reference(reference)?;
        let changed = || CredentialError::Changed {
            reference: reference.to_owned(),
        };
        let Some(body) = sealed.strip_prefix(&self.header()) else {
            return Err(CredentialError::OtherKey {
                reference: reference.to_owned(),
            });
        };
        let (chance, body) = body.split_first_chunk::<32>().ok_or_else(changed)?;
        let opened = aead::open(self.key().expose(), context(chance, reference), body);
        Secret::new(&opened.map_err(|_| changed())?)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Debug for CredentialHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialHeader({}, ..)", self.name)
    }
}

const fn check_reference(reference: &str) -> Result<(), CredentialError> {
    match reference.len() {
        1..=REFERENCE_BYTES_MAX => Ok(()),
        seen => Err(CredentialError::Reference { seen }),
    }
}

fn header_name(name: &str) -> Result<String, CredentialError> {
    let name = name.to_ascii_lowercase();
    // RFC 9110 §5.6.2: a field name is a token.
    let is_token_byte = |it: u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it);
    let is_token =
        (1..=HEADER_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_token_byte);
    if is_token && !REFUSED_HEADERS.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(CredentialError::HeaderName {
        name: name.chars().take(HEADER_NAME_BYTES_MAX).collect(),
    })
}

const fn context<'a>(chance: &'a [u8; 32], reference: &'a str) -> Context<'a> {
    Context {
        label: "ambit credential v1",
        parts: [chance, reference.as_bytes()],
    }
}

const BEARER: &[u8] = b"Bearer ";
const BASIC: &[u8] = b"Basic ";

/// Fields that frame the message, steer the connection, or are the gateway's own.
const REFUSED_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "mcp-protocol-version",
    "mcp-session-id",
    "origin",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests;
