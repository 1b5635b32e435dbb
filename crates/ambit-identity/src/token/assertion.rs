//! Client assertions: a client proves at the authorization server who it is (RFC 7523, with the
//! audience rule of draft-ietf-oauth-rfc7523bis; draft-ietf-oauth-spiffe-client-auth).
//!
//! The one audience is the issuer's name. An assertion for the token endpoint's address is refused:
//! a rogue server could have asked for it.

use std::sync::Arc;

use ambit_core::{Digest, Millis, SpiffeId, Timestamp, json::Value};

use super::{
    CLOCK_LEEWAY, access,
    jwt_svid::{self, JwtSvidKeys},
};
use crate::jose::{
    Algorithm, Claims, JoseError, Profile, Signer, SigningKey, Typ, VerifyingKeys, Window, jws,
};

/// The value of `client_assertion_type` for [`verify_private_key_jwt`].
pub const TYPE_JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The value of `client_assertion_type` for [`verify_jwt_spiffe`].
pub const TYPE_JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
/// The longest life of a client's own assertion: an hour, which is what common libraries write. Each is good once, however
/// long it lives.
pub const ASSERTION_TTL_MAX: Millis = Millis::from_seconds(3600);

/// The header of a client assertion.
pub const PROFILE: Profile = Profile {
    name: "a client assertion",
    typ: Typ::Optional(&["JWT", "client-authentication+jwt"]),
    required: &[],
    optional: &["kid"],
    algorithms: &Algorithm::ALL,
};

/// A client as the estate or its metadata document declares it.
#[derive(Clone, Debug)]
pub struct ClientKeys {
    /// Its name (`client_id`).
    pub client_id: String,
    /// The keys that it published.
    pub keys: VerifyingKeys,
}

/// A client that proved itself by an assertion of its own key. The assertion is good once: hold
/// `token_id` against the replay cache.
///
/// Made only by [`verify_private_key_jwt`].
///
/// ```compile_fail,E0451
/// let _ = ambit_identity::token::assertion::ProvedClient { ..todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct ProvedClient {
    client_id: String,
    token_id: String,
    key: Digest,
    issued_at: Option<Timestamp>,
    expires_at: Timestamp,
}

/// A workload that proved itself by a JWT-SVID for this authorization server alone.
///
/// Made only by [`verify_jwt_spiffe`].
#[derive(Clone, Debug)]
pub struct ProvedWorkload {
    spiffe_id: SpiffeId,
    token_id: Option<String>,
    key: Digest,
    issued_at: Option<Timestamp>,
    expires_at: Timestamp,
}

/// Makes the assertions by which we prove to be a client of somebody else's authorization server (`private_key_jwt`).
#[derive(Clone, Debug)]
pub struct AssertionMaker {
    signer: Signer,
    client_id: String,
    issuer: String,
}

impl AssertionMaker {
    /// Makes it for the client `client_id` of the authorization server `issuer`, which knows `key`.
    pub fn new(key: Arc<SigningKey>, client_id: String, issuer: String) -> Self {
        Self {
            signer: Signer::new(key, Some(TYP)),
            client_id,
            issuer,
        }
    }

    /// Returns an assertion for one request. `token_id` is fresh: the server takes each once.
    ///
    /// # Errors
    /// [`JoseError`] when the library does not sign.
    pub fn assertion(&self, token_id: &str, now: Timestamp) -> Result<String, JoseError> {
        let seconds = now.as_millis() / 1000;
        let client = || Value::from(self.client_id.as_str());
        self.signer.sign(&Value::object([
            ("iss", client()),
            ("sub", client()),
            ("aud", self.issuer.as_str().into()),
            ("jti", token_id.into()),
            ("iat", seconds.into()),
            ("exp", (seconds + OWN_TTL.as_millis() / 1000).into()),
        ]))
    }

    /// Returns the public half of the key as a JWK set, for the server to fetch.
    pub fn published(&self) -> Value {
        let key = self.signer.key().public().to_value();
        Value::object([("keys", Value::Array(vec![key]))])
    }
}

/// Returns the client that an assertion claims to be of, to find its keys with and for nothing
/// else.
///
/// # Errors
/// [`JoseError`] when it is no assertion in shape.
pub fn claimed_client(token: &str) -> Result<String, JoseError> {
    let claims = jws::read(token, &PROFILE)?.claimed()?;
    Ok(claims.required_text("sub")?.to_owned())
}

/// Verifies a client's assertion for the authorization server `issuer` (`private_key_jwt`).
///
/// # Errors
/// [`JoseError`] when the client did not sign it, for this issuer alone, a moment ago.
pub fn verify_private_key_jwt(
    token: &str,
    client: &ClientKeys,
    issuer: &str,
    now: Timestamp,
) -> Result<ProvedClient, JoseError> {
    let unverified = jws::read(token, &PROFILE)?;
    let header = unverified.header();
    let key = client.keys.find(header.key_id(), header.algorithm())?;
    let verified = unverified.verify(key)?;
    let claims = verified.claims();
    for name in ["iss", "sub"] {
        check_client(claims, name, &client.client_id)?;
    }
    claims.check_sole_audience(issuer)?;
    Ok(ProvedClient {
        client_id: client.client_id.clone(),
        token_id: access::token_id(claims)?,
        key: key.thumbprint(),
        issued_at: claims.date("iat")?,
        expires_at: claims.check_window(now, WINDOW)?,
    })
}

/// Verifies a JWT-SVID as a client assertion for the authorization server `issuer`.
///
/// # Errors
/// [`JoseError`] as for [`jwt_svid::verify`], and when it is also for somebody else.
pub fn verify_jwt_spiffe(
    token: &str,
    keys: &JwtSvidKeys,
    issuer: &str,
    now: Timestamp,
) -> Result<ProvedWorkload, JoseError> {
    let svid = jwt_svid::verify(token, keys, issuer, now)?;
    if svid.audiences() != [issuer] {
        let rule = "the issuer of this authorization server alone";
        return Err(JoseError::Claim { name: "aud", rule });
    }
    // Optional here. A client that names itself as issuer must be the subject; a trust domain's
    // authority may name itself.
    let names_workload = svid
        .issued_by()
        .is_some_and(|it| it.starts_with("spiffe://"));
    if names_workload && svid.issued_by() != Some(svid.spiffe_id().to_string().as_str()) {
        let authority = svid.spiffe_id().trust_domain().authority().to_string();
        if svid.issued_by() != Some(authority.as_str()) {
            let rule = "the workload or its trust domain, when it is a SPIFFE ID";
            return Err(JoseError::Claim { name: "iss", rule });
        }
    }
    Ok(ProvedWorkload {
        spiffe_id: svid.spiffe_id().clone(),
        token_id: svid.token_id().map(str::to_owned),
        key: svid.key(),
        issued_at: svid.issued_at(),
        expires_at: svid.expires_at(),
    })
}

impl ProvedClient {
    /// Returns the client.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the assertion's identifier.
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    /// Returns the thumbprint of the key that signed (RFC 7638).
    pub const fn key(&self) -> Digest {
        self.key
    }

    /// Returns when the client says that it made the assertion.
    pub const fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// Returns the first instant at which the assertion is no longer valid.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns until when the identifier must be remembered.
    pub const fn remember_until(&self) -> Timestamp {
        self.expires_at.plus(CLOCK_LEEWAY)
    }
}

impl ProvedWorkload {
    /// Returns the thumbprint of the trust domain's key that signed (RFC 7638).
    pub const fn key(&self) -> Digest {
        self.key
    }

    /// Returns the workload.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Returns the assertion's identifier, when it has one.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Returns when its authority says that it made the JWT-SVID.
    pub const fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// Returns the first instant at which the JWT-SVID is no longer valid.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

fn check_client(claims: &Claims, name: &'static str, client_id: &str) -> Result<(), JoseError> {
    if claims.required_text(name)? == client_id {
        return Ok(());
    }
    let rule = "the `client_id` of the client";
    Err(JoseError::Claim { name, rule })
}

/// How long an assertion of our own lives: one request.
const OWN_TTL: Millis = Millis::from_seconds(60);
/// Its explicit type, so that it passes for no other token of the key.
const TYP: &str = "client-authentication+jwt";
const WINDOW: Window = Window {
    leeway: CLOCK_LEEWAY,
    lifetime_max: ASSERTION_TTL_MAX,
};
