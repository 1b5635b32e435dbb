//! JWT-SVIDs, to the letter of their standard: a SPIFFE ID, an audience, an end, and nothing in the
//! header but `alg`, `kid` and `typ`.

use std::sync::Arc;

use ambit_core::{Digest, SpiffeId, Timestamp, TrustDomain, json::Value, limits::SVID_TTL_MAX};

use super::{CLOCK_LEEWAY, TOKEN_ID_BYTES_MAX};
use crate::jose::{
    Algorithm, JoseError, JwkError, JwkSet, KeyUse, Profile, Signer, SigningKey, Typ,
    VerifyingKeys, Window, jws,
};

/// The header of a JWT-SVID (JWT-SVID §2). EdDSA is not among its algorithms.
pub const PROFILE: Profile = Profile {
    name: "a JWT-SVID",
    typ: Typ::Optional(&["JWT", "JOSE"]),
    required: &[],
    optional: &["kid"],
    algorithms: &ALGORITHMS,
};

/// Signs JWT-SVIDs of one trust domain.
#[derive(Clone, Debug)]
pub struct JwtSvidIssuer {
    signer: Signer,
}

/// What a JWT-SVID is to say.
#[derive(Clone, Copy, Debug)]
pub struct JwtSvidIssuance<'a> {
    /// Whose (`sub`).
    pub spiffe_id: &'a SpiffeId,
    /// For whom (`aud`). At least one; one alone is better.
    pub audiences: &'a [String],
    /// The identifier (`jti`), so that the record can name it.
    pub token_id: &'a str,
    /// When it is made.
    pub now: Timestamp,
    /// The first instant at which it is no longer valid. Written in whole seconds, cut.
    pub expires_at: Timestamp,
}

/// The keys by which one trust domain signs JWT-SVIDs.
#[derive(Clone, Debug)]
pub struct JwtSvidKeys {
    trust_domain: TrustDomain,
    keys: VerifyingKeys,
}

/// A JWT-SVID that verified: its trust domain says that its bearer is this workload. It is a bearer
/// token and lives accordingly.
///
/// Made only by [`verify`].
///
/// ```compile_fail,E0451
/// let _ = ambit_identity::token::jwt_svid::JwtSvid { ..todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct JwtSvid {
    spiffe_id: SpiffeId,
    audiences: Vec<String>,
    token_id: Option<String>,
    issued_by: Option<String>,
    issued_at: Option<Timestamp>,
    expires_at: Timestamp,
    /// The thumbprint of the key that signed.
    key: Digest,
    claims: Value,
}

impl JwtSvidIssuer {
    /// Returns the issuer that signs with `key`.
    pub fn new(key: Arc<SigningKey>) -> Self {
        let signer = Signer::new(key, Some("JWT"));
        Self { signer }
    }

    /// Signs a JWT-SVID.
    ///
    /// # Errors
    /// [`JoseError`] when it names nobody's path, no audience, or lives too long or not at all.
    pub fn issue(&self, ask: &JwtSvidIssuance<'_>) -> Result<String, JoseError> {
        let wrong = |name, rule| Err(JoseError::Claim { name, rule });
        if ask.spiffe_id.path().is_empty() {
            return wrong("sub", "a workload's SPIFFE ID, with a path");
        }
        if ask.audiences.is_empty() {
            return wrong("aud", "at least one audience");
        }
        let (now, expires_at) = (ask.now, ask.expires_at);
        let (iat, exp) = (now.as_millis() / 1000, expires_at.as_millis() / 1000);
        if exp <= iat {
            return Err(JoseError::Expired { expires_at, now });
        }
        if expires_at.since(now) > SVID_TTL_MAX {
            let lifetime_max = SVID_TTL_MAX;
            return Err(JoseError::LivesTooLong {
                expires_at,
                lifetime_max,
            });
        }
        self.signer.sign(&Value::object([
            ("sub", ask.spiffe_id.to_string().into()),
            ("aud", ask.audiences.iter().map(String::as_str).collect()),
            ("jti", ask.token_id.into()),
            ("iat", iat.into()),
            ("exp", exp.into()),
        ]))
    }
}

impl JwtSvidKeys {
    /// Takes the keys of a trust domain's bundle whose `use` is `jwt-svid`.
    ///
    /// # Errors
    /// [`JwkError`] when the library refuses a key.
    pub fn new(trust_domain: TrustDomain, bundle: &JwkSet) -> Result<Self, JwkError> {
        let keys = VerifyingKeys::new(bundle, &[KeyUse::JwtSvid], &ALGORITHMS)?;
        Ok(Self { trust_domain, keys })
    }

    /// Returns the trust domain.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }
}

/// Returns the trust domain that a JWT-SVID claims, to choose a bundle with and for nothing else.
///
/// # Errors
/// [`JoseError`] when it is no JWT-SVID in shape.
pub fn claimed_trust_domain(token: &str) -> Result<TrustDomain, JoseError> {
    let claims = jws::read(token, &PROFILE)?.claimed()?;
    Ok(spiffe_id(claims.required_text("sub")?)?
        .trust_domain()
        .clone())
}

/// Verifies a JWT-SVID for `audience` (JWT-SVID §4 and §5).
///
/// # Errors
/// [`JoseError`] when its header, signature, name, audience or time is not as the standard says.
pub fn verify(
    token: &str,
    keys: &JwtSvidKeys,
    audience: &str,
    now: Timestamp,
) -> Result<JwtSvid, JoseError> {
    let unverified = jws::read(token, &PROFILE)?;
    let header = unverified.header();
    let key = keys.keys.find(header.key_id(), header.algorithm())?;
    let verified = unverified.verify(key)?;
    let claims = verified.claims();
    let spiffe_id = spiffe_id(claims.required_text("sub")?)?;
    if *spiffe_id.trust_domain() != keys.trust_domain {
        let rule = "of the trust domain whose key signed";
        return Err(JoseError::Claim { name: "sub", rule });
    }
    let audiences = claims.audiences()?;
    if !audiences.contains(&audience) {
        let rule = "the audience that is addressed here";
        return Err(JoseError::Claim { name: "aud", rule });
    }
    let token_id = claims.text_bounded("jti", TOKEN_ID_BYTES_MAX)?;
    Ok(JwtSvid {
        audiences: audiences.into_iter().map(str::to_owned).collect(),
        token_id: token_id.map(str::to_owned),
        issued_by: claims.text("iss")?.map(str::to_owned),
        issued_at: claims.date("iat")?,
        expires_at: claims.check_window(now, WINDOW)?,
        key: key.thumbprint(),
        claims: Value::Object(claims.members().clone()),
        spiffe_id,
    })
}

impl JwtSvid {
    /// Returns the thumbprint of the trust domain's key that signed (RFC 7638).
    pub const fn key(&self) -> Digest {
        self.key
    }

    /// Returns whose it is.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Returns for whom it is; the audience that was asked for is among them.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Returns its identifier, when it has one. SPIRE's often have none, and are used many times.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Returns the first instant at which it is no longer valid.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns all claims, as the Workload API's `ValidateJWTSVID` hands them on.
    pub const fn claims(&self) -> &Value {
        &self.claims
    }

    pub(super) const fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    pub(super) fn issued_by(&self) -> Option<&str> {
        self.issued_by.as_deref()
    }
}

fn spiffe_id(text: &str) -> Result<SpiffeId, JoseError> {
    let rule = "a workload's SPIFFE ID, with a path";
    let id: Option<SpiffeId> = text.parse().ok();
    id.filter(|it| !it.path().is_empty())
        .ok_or(JoseError::Claim { name: "sub", rule })
}

/// What the standard lists (JWT-SVID §2.1).
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
];

const WINDOW: Window = Window {
    leeway: CLOCK_LEEWAY,
    lifetime_max: SVID_TTL_MAX,
};
