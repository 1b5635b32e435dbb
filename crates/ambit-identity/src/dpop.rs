//! DPoP proofs (RFC 9449): the holder of a key signs the request that it makes.

mod maker;
mod nonce;

use ambit_core::{Digest, Millis, Timestamp};
use fluent_uri::Uri;

pub use self::{
    maker::{MadeRequest, ProofMaker},
    nonce::{NONCE_SLOT, NonceAge, NonceKey},
};
use crate::{
    jose::{Algorithm, Claims, JoseError, Profile, Typ, VerifyingKey, base64url, jws, missing},
    token::TOKEN_ID_BYTES_MAX,
};

/// How old a proof may be.
pub const PROOF_AGE_MAX: Millis = Millis::from_seconds(300);
/// How far ahead of ours the clock of a proof's maker may be.
pub const PROOF_AHEAD_MAX: Millis = Millis::from_seconds(60);
/// The longest URL of a proof, in bytes.
pub const URL_BYTES_MAX: usize = 2048;
/// The longest nonce, in bytes.
pub const NONCE_BYTES_MAX: usize = 128;
/// The algorithms of proofs, as metadata announces them.
pub const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];

/// The header of a proof (RFC 9449 §4.2).
pub const PROFILE: Profile = Profile {
    name: "a DPoP proof",
    typ: Typ::Required(&["dpop+jwt"]),
    required: &["jwk"],
    optional: &[],
    algorithms: &ALGORITHMS,
};

/// The request that a proof came with.
#[derive(Clone, Copy, Debug)]
pub struct ProvedRequest<'a> {
    /// The method (`htm`), compared exactly.
    pub method: &'a str,
    /// The URL as the client sees it (`htu`); query and fragment do not count.
    pub url: &'a str,
    /// The access token that came beside the proof: then the proof must name it (`ath`).
    pub access_token: Option<&'a str>,
    /// The key of the nonces that the server gave out: then the proof must have a fresh one.
    pub nonces: Option<&'a NonceKey>,
    /// When, by the clock that made the nonces.
    pub now: Timestamp,
    /// The time that the clock of the proof's maker is held against. It may go back after a clock was set right: what makes a
    /// proof good once, whatever clocks do, are the nonce and the replay cache.
    pub wall: Timestamp,
}

/// The maker of a request proved to hold a key. The proof is good once: hold `token_id` and
/// `thumbprint` against the replay cache.
///
/// Made only by [`verify`].
///
/// ```compile_fail,E0451
/// let _ = ambit_identity::dpop::Proof { ..todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct Proof {
    thumbprint: Digest,
    token_id: String,
    access_token: Option<Digest>,
    remember_until: Timestamp,
}

/// A proof is refused.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The proof has no nonce of this server, or a stale one: answer `use_dpop_nonce` with one.
    #[error("the proof has no fresh nonce of this server; repeat it with the one in `DPoP-Nonce`")]
    Nonce,
    /// The proof is wrong: answer `invalid_dpop_proof`.
    #[error("the DPoP proof is refused")]
    Refused {
        /// Why.
        #[from]
        source: JoseError,
    },
}

/// Verifies a proof against the request that it came with (RFC 9449 §4.3).
///
/// # Errors
/// [`ProofError`] when it is for another request or token, not of now, or not signed by its key.
pub fn verify(proof: &str, request: &ProvedRequest<'_>) -> Result<Proof, ProofError> {
    let unverified = jws::read(proof, &PROFILE)?;
    let header = unverified.header();
    let key = header.key().ok_or(missing("jwk"))?;
    let key = VerifyingKey::new(key, header.algorithm()).map_err(JoseError::from)?;
    let verified = unverified.verify(&key)?;
    let claims = verified.claims();
    check_request(claims, request)?;
    let made_at = check_time(claims, request.wall)?;
    let access_token = check_access_token(claims, request.access_token)?;
    let token_id = claims.text_bounded("jti", TOKEN_ID_BYTES_MAX)?;
    let token_id = token_id.ok_or(missing("jti"))?.to_owned();
    // Last, so that only a proof that is right in all else is told to come again.
    check_nonce(claims, request)?;
    Ok(Proof {
        thumbprint: key.thumbprint(),
        token_id,
        access_token,
        remember_until: made_at.plus(PROOF_AGE_MAX),
    })
}

impl Proof {
    /// Returns the thumbprint of the key (`jkt`).
    pub const fn thumbprint(&self) -> Digest {
        self.thumbprint
    }

    /// Returns the proof's identifier.
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    /// Returns until when the identifier must be remembered.
    pub const fn remember_until(&self) -> Timestamp {
        self.remember_until
    }

    /// Says whether the proof was made for the access token of this digest.
    pub(crate) fn is_made_for(&self, access_token: Digest) -> bool {
        self.access_token == Some(access_token)
    }
}

/// Returns a URL as two of them are compared: normal (RFC 3986 §6.2.2, §6.2.3), without query and
/// fragment.
///
/// # Errors
/// [`JoseError::Claim`] when it is not an `http` or `https` URL, or names a user.
pub fn normal_url(text: &str) -> Result<String, JoseError> {
    let rule = "the `http` or `https` URL of the request, without query and fragment";
    let wrong = || JoseError::Claim { name: "htu", rule };
    if text.len() > URL_BYTES_MAX {
        return Err(wrong());
    }
    let url = Uri::parse(text).map_err(|_| wrong())?.normalize();
    let authority = url.authority().ok_or_else(wrong)?;
    let scheme = url.scheme().as_str();
    let is_web = matches!(scheme, "http" | "https");
    if !is_web || authority.has_userinfo() || authority.host().is_empty() {
        return Err(wrong());
    }
    let path = match url.path().as_str() {
        "" => "/",
        path => path,
    };
    Ok(format!("{scheme}://{}{path}", authority.as_str()))
}

fn check_request(claims: &Claims, request: &ProvedRequest<'_>) -> Result<(), JoseError> {
    if claims.required_text("htm")? != request.method {
        let rule = "the method of the request";
        return Err(JoseError::Claim { name: "htm", rule });
    }
    if normal_url(claims.required_text("htu")?)? != normal_url(request.url)? {
        let rule = "the URL of the request, without query and fragment";
        return Err(JoseError::Claim { name: "htu", rule });
    }
    Ok(())
}

fn check_time(claims: &Claims, now: Timestamp) -> Result<Timestamp, JoseError> {
    let issued_at = claims.date("iat")?.ok_or(missing("iat"))?;
    if issued_at > now.plus(PROOF_AHEAD_MAX) {
        let not_before = issued_at;
        return Err(JoseError::NotYetValid { not_before, now });
    }
    if now >= issued_at.plus(PROOF_AGE_MAX) {
        return Err(JoseError::Stale { issued_at, now });
    }
    // No proof needs these two; where there is one, it counts.
    if let Some(expires_at) = claims.date("exp")?.filter(|it| *it <= now) {
        return Err(JoseError::Expired { expires_at, now });
    }
    let latest = now.plus(PROOF_AHEAD_MAX);
    if let Some(not_before) = claims.date("nbf")?.filter(|it| *it > latest) {
        return Err(JoseError::NotYetValid { not_before, now });
    }
    Ok(issued_at)
}

fn check_access_token(
    claims: &Claims,
    access_token: Option<&str>,
) -> Result<Option<Digest>, JoseError> {
    let rule = "the SHA-256 of the access token beside the proof, and there only then";
    let name = "ath";
    let digest = access_token.map(|it| Digest::of(it.as_bytes()));
    let expect = digest.map(|it| base64url::encode(it.as_bytes()));
    if claims.text(name)? != expect.as_deref() {
        return Err(JoseError::Claim { name, rule });
    }
    Ok(digest)
}

fn check_nonce(claims: &Claims, request: &ProvedRequest<'_>) -> Result<(), ProofError> {
    let nonce = claims.text_bounded("nonce", NONCE_BYTES_MAX)?;
    let Some(key) = request.nonces else {
        return Ok(());
    };
    match nonce.map(|it| key.check(it, request.now)) {
        Some(NonceAge::Fresh) => Ok(()),
        Some(NonceAge::Stale) | None => Err(ProofError::Nonce),
    }
}

#[cfg(test)]
mod tests;
