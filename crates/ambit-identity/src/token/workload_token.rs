//! Workload tokens of any OpenID issuer: Kubernetes, GitHub Actions, GitLab, clouds.
//!
//! One strict verifier for all; what makes a token an agent is in the claim rules of the estate.

use ambit_core::{Digest, Millis, Timestamp, json::Value};

use super::{CLOCK_LEEWAY, TOKEN_ID_BYTES_MAX};
use crate::jose::{
    Algorithm, Claims, JoseError, JwkError, JwkSet, KeyUse, Profile, Typ, VerifyingKeys, Window,
    jws,
};

/// The longest life of a workload token that is accepted.
pub const WORKLOAD_TOKEN_TTL_MAX: Millis = Millis::from_seconds(24 * 3600);

/// The header of a workload token. `x5t` is read past: keys are found by `kid` alone.
pub const PROFILE: Profile = Profile {
    name: "a workload token",
    typ: Typ::Optional(&["JWT"]),
    required: &["kid"],
    optional: &["x5t", "x5t#S256"],
    algorithms: &Algorithm::ALL,
};

/// An issuer that the estate trusts, and under which audience it does.
#[derive(Clone, Debug)]
pub struct WorkloadIssuer {
    issuer: String,
    audience: String,
    keys: VerifyingKeys,
}

/// A token that a trusted issuer signed for us. It is a bearer token.
///
/// Made only by [`WorkloadIssuer::verify`].
///
/// ```compile_fail,E0451
/// let _ = ambit_identity::token::workload_token::WorkloadToken { ..todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct WorkloadToken {
    issuer: String,
    subject: String,
    token_id: Option<String>,
    key: Digest,
    expires_at: Timestamp,
    claims: Claims,
}

impl WorkloadIssuer {
    /// Trusts `issuer` for tokens to `audience`, signed by a key of `set` with one of `algorithms`.
    ///
    /// # Errors
    /// [`JwkError`] when the library refuses a key.
    pub fn new(
        issuer: String,
        audience: String,
        set: &JwkSet,
        algorithms: &[Algorithm],
    ) -> Result<Self, JwkError> {
        let uses = [KeyUse::Signature, KeyUse::Unstated];
        let keys = VerifyingKeys::new(set, &uses, algorithms)?;
        Ok(Self::with_keys(issuer, audience, keys))
    }

    /// Trusts `issuer` for tokens to `audience`, signed by one of `keys`, which were parsed before.
    pub const fn with_keys(issuer: String, audience: String, keys: VerifyingKeys) -> Self {
        Self {
            issuer,
            audience,
            keys,
        }
    }

    /// Verifies a token. Its issuer is compared exactly; the audience must be the only one.
    ///
    /// # Errors
    /// [`JoseError`] when the issuer did not sign it, for us alone, for now.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<WorkloadToken, JoseError> {
        let unverified = jws::read(token, &PROFILE)?;
        let header = unverified.header();
        let key = self.keys.find(header.key_id(), header.algorithm())?;
        let verified = unverified.verify(key)?;
        let claims = verified.claims();
        if claims.required_text("iss")? != self.issuer {
            let rule = "the issuer whose key signed, letter by letter";
            return Err(JoseError::Claim { name: "iss", rule });
        }
        claims.check_sole_audience(&self.audience)?;
        let expires_at = claims.check_window(now, WINDOW)?;
        let token_id = claims.text_bounded("jti", TOKEN_ID_BYTES_MAX)?;
        Ok(WorkloadToken {
            issuer: self.issuer.clone(),
            subject: claims.required_text("sub")?.to_owned(),
            token_id: token_id.map(str::to_owned),
            key: key.thumbprint(),
            expires_at,
            claims: claims.clone(),
        })
    }

    /// Returns the issuer's name.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
}

/// Returns the issuer that a token claims, to find its keys with and for nothing else.
///
/// # Errors
/// [`JoseError`] when it is no workload token in shape.
pub fn claimed_issuer(token: &str) -> Result<String, JoseError> {
    let claims = jws::read(token, &PROFILE)?.claimed()?;
    Ok(claims.required_text("iss")?.to_owned())
}

impl WorkloadToken {
    /// Returns the issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the subject, a name that means something to the issuer only.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the thumbprint of the issuer's key that signed (RFC 7638).
    pub const fn key(&self) -> Digest {
        self.key
    }

    /// Returns its identifier, when it has one.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Returns the first instant at which it is no longer valid.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns a claim, however deep: the names of the members that lead to it.
    pub fn claim(&self, path: &[String]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let outer = self.claims.get(first)?;
        rest.iter().try_fold(outer, |value, name| value.get(name))
    }
}

const WINDOW: Window = Window {
    leeway: CLOCK_LEEWAY,
    lifetime_max: WORKLOAD_TOKEN_TTL_MAX,
};
