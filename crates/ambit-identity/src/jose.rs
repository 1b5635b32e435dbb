//! Signed tokens (JOSE): a small, strict layer on aws-lc-rs.
//!
//! It reads and writes compact JWS (RFC 7515 §7.1) and public keys (RFC 7517), and nothing else: no
//! encryption, no JSON serialisation, no shared secrets, no `none`. What two readers could take in
//! two ways is refused, whoever signed it.
//!
//! The way through: [`jws::read`] checks a token's shape and header against a [`Profile`]; the
//! caller picks a [`VerifyingKey`], which is bound to one algorithm; [`Unverified::verify`] gives
//! [`Verified`] claims. The profiles themselves live in [`crate::token`] and [`crate::dpop`].

mod algorithm;
pub mod base64url;
mod claims;
mod doubt;
mod error;
mod jwk;
mod jwk_set;
pub mod jws;
mod signing_key;
mod verifying_key;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::claims::missing;
pub use self::{
    algorithm::{Algorithm, InvalidAlgorithm},
    claims::{AUDIENCES_MAX, Claims, TEXT_BYTES_MAX, Window},
    doubt::Doubt,
    error::JoseError,
    jwk::{CERTIFICATES_MAX, Curve, Jwk, JwkError, KEY_ID_BYTES_MAX, KeyUse, PublicKey},
    jwk_set::{JWK_SET_BYTES_MAX, JWK_SET_KEYS_MAX, JwkSet},
    jws::{HEADER_BYTES_MAX, Header, Profile, TOKEN_BYTES_MAX, Typ, Unverified, Verified},
    signing_key::{Signer, SigningKey},
    verifying_key::{VerifyingKey, VerifyingKeys},
};
