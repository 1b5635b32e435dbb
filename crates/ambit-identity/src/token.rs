//! Tokens: what each kind must say, and the evidence that one of them gives.
//!
//! | kind | made by | read by |
//! |---|---|---|
//! | access token (`at+jwt`) | [`access::AccessIssuer`] | [`access::AccessVerifier`] |
//! | JWT-SVID | [`jwt_svid::JwtSvidIssuer`] | [`jwt_svid::verify`] |
//! | client assertion | clients | [`assertion::verify_private_key_jwt`], [`assertion::verify_jwt_spiffe`] |
//! | workload token (OIDC) | foreign issuers | [`workload_token::WorkloadIssuer`] |
//! | ID token (OIDC) | the provider at which people sign in | [`id_token::IdTokenIssuer`] |
//! | DPoP proof | clients | [`crate::dpop`] |
//!
//! A token says what its issuer said once. What it is worth now is asked of the live state.

pub mod access;
pub mod assertion;
mod caller;
pub mod id_token;
pub mod jwt_svid;
pub mod registration;
pub mod workload_token;

#[cfg(test)]
mod tests;

pub use self::caller::{Beside, identify_token};

use ambit_core::Millis;

/// The longest identifier of a token (`jti`), in bytes.
pub const TOKEN_ID_BYTES_MAX: usize = 128;
/// How far the clock of a foreign issuer may lie from ours.
pub const CLOCK_LEEWAY: Millis = Millis::from_seconds(30);
