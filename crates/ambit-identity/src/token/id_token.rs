//! ID tokens (OpenID Connect Core §2, §3.1.3.7): a provider says who signed in, just now, for us.

use ambit_core::{Millis, Timestamp};

use super::CLOCK_LEEWAY;
use crate::{
    jose::{
        Algorithm, JoseError, JwkError, JwkSet, KeyUse, Profile, Typ, VerifyingKeys, Window, jws,
    },
    sign_in::Flow,
};

/// The longest life of an ID token that is accepted. A session of ours is shorter whatever it says.
pub const ID_TOKEN_TTL_MAX: Millis = Millis::from_seconds(24 * 3600);
/// The longest name of a person at a provider, in bytes (OpenID Connect Core §2).
pub const SUBJECT_BYTES_MAX: usize = 255;

/// The header of an ID token. A provider with one key may leave `kid` out (§10.1).
pub const PROFILE: Profile = Profile {
    name: "an ID token",
    typ: Typ::Optional(&["JWT"]),
    required: &[],
    optional: &["kid", "x5t", "x5t#S256"],
    algorithms: &Algorithm::ALL,
};

/// The provider that we trust, as which of its clients, with its keys as of now.
#[derive(Clone, Debug)]
pub struct IdTokenIssuer {
    issuer: String,
    client_id: String,
    keys: VerifyingKeys,
}

/// Somebody signed in at the provider, in this browser, a moment ago.
///
/// Made only by [`IdTokenIssuer::verify`]. Who of the estate that is, is asked at every request.
///
/// ```compile_fail,E0451
/// let _ = ambit_identity::token::id_token::SignIn { ..todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct SignIn {
    issuer: String,
    subject: String,
}

impl IdTokenIssuer {
    /// Trusts `issuer` for tokens to its client `client_id`, signed by a key of `set`.
    ///
    /// # Errors
    /// [`JwkError`] when the library refuses a key.
    pub fn new(issuer: String, client_id: String, set: &JwkSet) -> Result<Self, JwkError> {
        let uses = [KeyUse::Signature, KeyUse::Unstated];
        Ok(Self {
            issuer,
            client_id,
            keys: VerifyingKeys::new(set, &uses, &Algorithm::ALL)?,
        })
    }

    /// Verifies the token that ends `flow`. The issuer is compared exactly, the audience must be the
    /// only one, and the nonce is that of this flow.
    ///
    /// # Errors
    /// [`JoseError`] when the provider did not sign it, for us alone, for this flow, for now.
    pub fn verify(&self, token: &str, flow: &Flow, now: Timestamp) -> Result<SignIn, JoseError> {
        let unverified = jws::read(token, &PROFILE)?;
        let header = unverified.header();
        let key = self.keys.find(header.key_id(), header.algorithm())?;
        let verified = unverified.verify(key)?;
        let claims = verified.claims();
        if claims.required_text("iss")? != self.issuer {
            let rule = "the issuer whose key signed, letter by letter";
            return Err(JoseError::Claim { name: "iss", rule });
        }
        claims.check_sole_audience(&self.client_id)?;
        if claims.text("azp")?.is_some_and(|it| it != self.client_id) {
            let rule = "this client";
            return Err(JoseError::Claim { name: "azp", rule });
        }
        claims.check_window(now, WINDOW)?;
        let rule = "a date, for the token must say when it was made";
        claims
            .date("iat")?
            .ok_or(JoseError::Claim { name: "iat", rule })?;
        if claims.required_text("nonce")? != flow.nonce() {
            let rule = "the one that this sign-in began with";
            return Err(JoseError::Claim {
                name: "nonce",
                rule,
            });
        }
        let subject = claims.text_bounded("sub", SUBJECT_BYTES_MAX)?;
        let rule = "there, as a text";
        let subject = subject.ok_or(JoseError::Claim { name: "sub", rule })?;
        Ok(SignIn {
            issuer: self.issuer.clone(),
            subject: subject.to_owned(),
        })
    }
}

impl SignIn {
    /// Returns the provider.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns its name for the person.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

const WINDOW: Window = Window {
    leeway: CLOCK_LEEWAY,
    lifetime_max: ID_TOKEN_TTL_MAX,
};
