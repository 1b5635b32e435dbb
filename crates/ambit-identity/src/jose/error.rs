//! Why a token is refused.

use ambit_core::{Millis, Timestamp, json::JsonError};

use super::{Algorithm, InvalidAlgorithm, JwkError};

/// A token is refused. Each message names what was seen and what to do; none repeats the token.
#[derive(Debug, thiserror::Error)]
pub enum JoseError {
    /// The token, or a part of it, is too long.
    #[error("`{what}` has {seen} bytes and at most {max} are read; put less into it")]
    TooLong {
        /// `token`, `header`, or a claim.
        what: &'static str,
        /// How many bytes.
        seen: usize,
        /// How many may be.
        max: usize,
    },
    /// The token is not a compact JWS.
    #[error("the token is not three parts joined by two dots; send a compact JWS (RFC 7515 §7.1)")]
    Shape,
    /// A part is not base64url.
    #[error("the {part} must be base64url without padding, as RFC 7515 §2 defines it")]
    Encoding {
        /// Header, claims or signature.
        part: &'static str,
        /// What the decoder said.
        #[source]
        source: base64::DecodeError,
    },
    /// A part is not JSON with exactly one reading.
    #[error("the {part} must be JSON with one reading")]
    Json {
        /// Header or claims.
        part: &'static str,
        /// What the parser said.
        #[source]
        source: JsonError,
    },
    /// A part is JSON, but not an object.
    #[error("the {part} is not a JSON object")]
    NotObject {
        /// Header or claims.
        part: &'static str,
    },
    /// The header has a member that this kind of token may not have.
    #[error("header member `{name}` is not accepted in {profile}; leave it out")]
    HeaderMember {
        /// The member.
        name: String,
        /// The kind of token.
        profile: &'static str,
    },
    /// The header lacks a member, or it has the wrong type.
    #[error("header member `{name}` must be {rule} in {profile}")]
    HeaderValue {
        /// The member.
        name: &'static str,
        /// What it must be.
        rule: &'static str,
        /// The kind of token.
        profile: &'static str,
    },
    /// The token is of another kind.
    #[error("header member `typ` is not that of {profile}; send {profile}, not another token")]
    Typ {
        /// The kind of token that is read here.
        profile: &'static str,
    },
    /// The algorithm is unknown.
    #[error("the token cannot be verified")]
    UnknownAlgorithm {
        /// Which one.
        #[from]
        source: InvalidAlgorithm,
    },
    /// The algorithm is not accepted here.
    #[error("algorithm {seen} is not accepted for {profile}; sign with one that its policy lists")]
    AlgorithmNotAllowed {
        /// The algorithm of the header.
        seen: Algorithm,
        /// The kind of token.
        profile: &'static str,
    },
    /// A key in the header cannot serve.
    #[error("the key in header member `jwk` cannot be used")]
    Key {
        /// Why.
        #[from]
        source: JwkError,
    },
    /// No known key has the identifier.
    #[error(
        "no {algorithm} key `{key_id}` is known for this issuer; was it rotated, or is the token \
         another issuer's?"
    )]
    UnknownKey {
        /// `kid` of the header.
        key_id: String,
        /// The algorithm of the header.
        algorithm: Algorithm,
    },
    /// It is not clear which key signed.
    #[error(
        "{seen} {algorithm} keys could have signed the token and exactly one must; name it in \
         header member `kid`"
    )]
    WhichKey {
        /// How many keys.
        seen: usize,
        /// The algorithm of the header.
        algorithm: Algorithm,
    },
    /// The signature is not by the key.
    #[error("the signature does not verify; was the token altered, or signed with another key?")]
    Signature,
    /// Signing failed.
    #[error("the token cannot be signed; the signing key refused")]
    Signing,
    /// A claim breaks a rule.
    #[error("claim `{name}` must be {rule}")]
    Claim {
        /// The claim.
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// The token is for somebody else, or for one more.
    #[error(
        "claim `aud` must be exactly the one audience that is addressed here, and no other, and is `{seen}`"
    )]
    Audience {
        /// Whom it names, shortened.
        seen: String,
        /// Whom it must name. That is for who runs the server: it is not said to whoever shows the token.
        expected: String,
    },
    /// A claim that this kind of token does not have.
    #[error("claim `{name}` is not known in this kind of token; leave it out")]
    UnknownClaim {
        /// The claim.
        name: String,
    },
    /// The token's time is over.
    #[error("the token expired at {expires_at} and it is {now}; get a new one")]
    Expired {
        /// The first instant at which it was not valid.
        expires_at: Timestamp,
        /// When it was checked.
        now: Timestamp,
    },
    /// The token's time has not come.
    #[error("the token is valid from {not_before} and it is {now}; compare the two clocks")]
    NotYetValid {
        /// The first instant at which it is valid.
        not_before: Timestamp,
        /// When it was checked.
        now: Timestamp,
    },
    /// The token is older than this kind of token may be.
    #[error("the token was made at {issued_at} and it is {now}; make a new one for each use")]
    Stale {
        /// When it says it was made.
        issued_at: Timestamp,
        /// When it was checked.
        now: Timestamp,
    },
    /// The token lives longer than this kind of token may.
    #[error("the token is valid until {expires_at}, and at most {lifetime_max} are accepted")]
    LivesTooLong {
        /// The first instant at which it would not be valid.
        expires_at: Timestamp,
        /// How long it may live.
        lifetime_max: Millis,
    },
}
