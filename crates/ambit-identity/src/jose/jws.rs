//! Compact JWS (RFC 7515 §7.1): shape and header first, then the signature, then the claims.

use std::collections::BTreeMap;

use ambit_core::json::{self, JsonError, Value};

use super::{Algorithm, Claims, JoseError, Jwk, KEY_ID_BYTES_MAX, VerifyingKey, base64url};

/// The longest token that is read or signed, in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The longest header, in bytes of base64url.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// What the header of one kind of token may say. Everything else in it is refused: `crit`, `b64`,
/// `zip`, `jku`, `x5u` and keys of its own among them.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// What messages call this kind of token, with its article.
    pub name: &'static str,
    /// Which `typ` it has.
    pub typ: Typ,
    /// Header members that must be there, besides `alg`.
    pub required: &'static [&'static str],
    /// Header members that may be there, besides `typ`.
    pub optional: &'static [&'static str],
    /// Algorithms that are accepted.
    pub algorithms: &'static [Algorithm],
}

/// Which `typ` a kind of token has. Compared exactly.
#[derive(Clone, Copy, Debug)]
pub enum Typ {
    /// One of these, and it must be there.
    Required(&'static [&'static str]),
    /// One of these, or none.
    Optional(&'static [&'static str]),
}

/// The header of a token that keeps its profile.
#[derive(Clone, Debug)]
pub struct Header {
    algorithm: Algorithm,
    key_id: Option<String>,
    key: Option<Jwk>,
}

/// A token whose header keeps its profile; nobody has verified it yet.
#[derive(Clone, Debug)]
pub struct Unverified<'a> {
    header: Header,
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

/// The claims of a token whose signature verified.
///
/// Made only by [`Unverified::verify`].
///
/// ```compile_fail,E0451
/// let _ = ambit_identity::jose::Verified { ..todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct Verified {
    header: Header,
    claims: Claims,
}

/// Reads a token's shape and its header.
///
/// # Errors
/// [`JoseError`] when it is too long, is not three canonical parts, or its header says anything
/// that `profile` does not allow.
pub fn read<'a>(token: &'a str, profile: &Profile) -> Result<Unverified<'a>, JoseError> {
    check_length("token", token, TOKEN_BYTES_MAX)?;
    let (signed, signature) = token.rsplit_once('.').ok_or(JoseError::Shape)?;
    let (header, claims) = signed.split_once('.').ok_or(JoseError::Shape)?;
    if claims.contains('.') {
        return Err(JoseError::Shape);
    }
    check_length("header", header, HEADER_BYTES_MAX)?;
    Ok(Unverified {
        header: Header::read(&object("header", header, json::parse_integers)?, profile)?,
        signed,
        claims,
        signature: decode("signature", signature)?,
    })
}

impl<'a> Unverified<'a> {
    /// Returns the header, to choose a key with.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the claims that nobody has verified, to choose an issuer's keys with and for nothing
    /// else. Numbers are read as they are written: a date is an integer, and a claim that nobody reads may be any number.
    ///
    /// # Errors
    /// [`JoseError`] when they are not a JSON object with exactly one reading, or a registered claim is of another type.
    pub fn claimed(&self) -> Result<Claims, JoseError> {
        let members = object("claims", self.claims, json::parse_as_written)?;
        Claims::new(members)
    }

    /// Verifies the signature and reads the claims.
    ///
    /// # Errors
    /// [`JoseError::AlgorithmNotAllowed`] when the key is for another algorithm than the header
    /// says, [`JoseError::Signature`] when it did not sign this, and [`JoseError`] when the claims
    /// cannot be read.
    pub fn verify(self, key: &VerifyingKey) -> Result<Verified, JoseError> {
        if key.algorithm() != self.header.algorithm {
            return Err(JoseError::AlgorithmNotAllowed {
                seen: self.header.algorithm,
                profile: "a token of this key",
            });
        }
        key.check(self.signed.as_bytes(), &self.signature)?;
        let claims = self.claimed()?;
        let header = self.header;
        Ok(Verified { header, claims })
    }
}

impl Verified {
    /// Returns the header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the claims.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }
}

impl Header {
    /// Returns the algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the identifier of the key, when there is one.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Returns the key that the token carries, when its profile lets it.
    pub const fn key(&self) -> Option<&Jwk> {
        self.key.as_ref()
    }

    fn read(members: &BTreeMap<String, Value>, profile: &Profile) -> Result<Self, JoseError> {
        check_members(members, profile)?;
        check_typ(members, profile)?;
        let algorithm = text(members, "alg", profile)?.unwrap_or_default();
        let algorithm: Algorithm = algorithm.parse()?;
        if !profile.algorithms.contains(&algorithm) {
            return Err(JoseError::AlgorithmNotAllowed {
                seen: algorithm,
                profile: profile.name,
            });
        }
        let key_id = text(members, "kid", profile)?;
        if key_id.is_some_and(|it| it.is_empty() || it.len() > KEY_ID_BYTES_MAX) {
            return Err(JoseError::HeaderValue {
                name: "kid",
                rule: "from 1 to 256 bytes long",
                profile: profile.name,
            });
        }
        Ok(Self {
            algorithm,
            key_id: key_id.map(str::to_owned),
            key: members.get("jwk").map(Jwk::from_value).transpose()?,
        })
    }
}

impl Profile {
    fn allows(&self, name: &str) -> bool {
        let lists = [self.required, self.optional, &["alg", "typ"]];
        lists.iter().any(|it| it.contains(&name))
    }
}

fn check_members(members: &BTreeMap<String, Value>, profile: &Profile) -> Result<(), JoseError> {
    if let Some(name) = members.keys().find(|it| !profile.allows(it)) {
        return Err(JoseError::HeaderMember {
            name: name.chars().take(NAME_CHARACTERS_SHOWN).collect(),
            profile: profile.name,
        });
    }
    let required = profile.required.iter().chain(&["alg"]);
    let missing = required.copied().find(|it| !members.contains_key(*it));
    missing.map_or(Ok(()), |name| {
        Err(JoseError::HeaderValue {
            name,
            rule: "there",
            profile: profile.name,
        })
    })
}

fn check_typ(members: &BTreeMap<String, Value>, profile: &Profile) -> Result<(), JoseError> {
    let seen = text(members, "typ", profile)?;
    let is_right = match (profile.typ, seen) {
        (Typ::Required(known) | Typ::Optional(known), Some(seen)) => known.contains(&seen),
        (Typ::Required(_), None) => false,
        (Typ::Optional(_), None) => true,
    };
    if is_right {
        return Ok(());
    }
    let profile = profile.name;
    Err(JoseError::Typ { profile })
}

fn text<'a>(
    members: &'a BTreeMap<String, Value>,
    name: &'static str,
    profile: &Profile,
) -> Result<Option<&'a str>, JoseError> {
    let profile = profile.name;
    let rule = "a text";
    let wrong = || JoseError::HeaderValue {
        name,
        rule,
        profile,
    };
    let value = members.get(name);
    value.map(|it| it.as_str().ok_or_else(wrong)).transpose()
}

pub(super) fn object(
    part: &'static str,
    text: &str,
    parse: fn(&[u8], usize) -> Result<Value, JsonError>,
) -> Result<BTreeMap<String, Value>, JoseError> {
    let bytes = decode(part, text)?;
    let value = parse(&bytes, TOKEN_BYTES_MAX);
    let value = value.map_err(|source| JoseError::Json { part, source })?;
    let Value::Object(members) = value else {
        return Err(JoseError::NotObject { part });
    };
    Ok(members)
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, JoseError> {
    base64url::decode(text).map_err(|source| JoseError::Encoding { part, source })
}

const fn check_length(what: &'static str, text: &str, max: usize) -> Result<(), JoseError> {
    let seen = text.len();
    if seen > max {
        return Err(JoseError::TooLong { what, seen, max });
    }
    Ok(())
}

/// How much of a foreign name a message shows.
const NAME_CHARACTERS_SHOWN: usize = 64;
