//! Access tokens (RFC 9068) that carry a task: its authority (RFC 9396), who acts in whose name
//! (RFC 8693 §4.1), and the key of the one who may present it (RFC 8705, RFC 9449).

mod read;

pub(super) use self::read::token_id;

use std::sync::Arc;

use ambit_core::{Digest, Millis, SpiffeId, Timestamp, json::Value, limits::DELEGATION_DEPTH_MAX};

use super::TOKEN_ID_BYTES_MAX;
use crate::{
    KeyBinding,
    dpop::Proof,
    jose::{
        Algorithm, Claims, JoseError, Profile, Signer, SigningKey, Typ, VerifyingKeys, Window,
        base64url, jws, missing,
    },
    mission::Anchor,
};

/// The longest life of an access token.
pub const ACCESS_TTL_MAX: Millis = Millis::from_seconds(3600);
/// The longest chain of actors: one for each hop of the deepest delegation, and the first.
pub const ACTORS_MAX: usize = 9;
const _: () = assert!(ACTORS_MAX == DELEGATION_DEPTH_MAX as usize + 1);

/// The header of an access token (RFC 9068 §2.1).
pub const PROFILE: Profile = Profile {
    name: "an access token",
    typ: Typ::Required(&["at+jwt"]),
    required: &["kid"],
    optional: &[],
    algorithms: &[Algorithm::Es256],
};

/// What an access token says.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessGrant {
    /// The identifier of the token (`jti`), by which it is revoked.
    pub token_id: String,
    /// On whose behalf the task runs (`sub`): a person's pseudonym.
    pub subject: String,
    /// Who asked for the token (`client_id`).
    pub client_id: String,
    /// The one place where it can be used (`aud`, RFC 8707).
    pub audience: String,
    /// Who acts, then in whose stead, down to the first (`act`). At least one.
    pub actors: Vec<SpiffeId>,
    /// The task (`mission`).
    pub mission: Mission,
    /// The task's authority (`authorization_details`).
    pub authorization_details: Value,
    /// What its presenter must hold (`cnf`).
    pub binding: KeyBinding,
    /// The first instant at which it is no longer valid. Written in whole seconds, cut.
    pub expires_at: Timestamp,
}

/// The task behind a token, in the words of Mission-Bound Authorization.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mission {
    /// The task.
    pub id: String,
    /// The task that a person started: the same for every token of every part of it, and for its own the task itself.
    pub root: String,
    /// The anchor of the task's authority.
    pub authority_hash: String,
    /// When the task ends, as RFC 3339 text.
    pub expires_at: String,
}

/// Who issues access tokens: one issuer and its key.
#[derive(Debug)]
pub struct AccessIssuer {
    issuer: String,
    signer: Signer,
}

/// Who takes access tokens: from one issuer, by its keys.
#[derive(Clone, Debug)]
pub struct AccessVerifier {
    issuer: String,
    keys: VerifyingKeys,
}

/// An access token that its issuer signed, for this audience, at this time. Who presents it must
/// still prove the key that it names: [`AccessToken::present`].
///
/// Made only by [`AccessVerifier::verify`].
#[derive(Clone, Debug)]
pub struct AccessToken {
    grant: AccessGrant,
    digest: Digest,
    issued_at: Timestamp,
}

/// An access token together with proof that its presenter holds the key it names.
///
/// Made only by [`AccessToken::present`].
///
/// ```compile_fail,E0451
/// let _ = ambit_identity::token::access::PresentedToken { ..todo!() };
/// ```
#[derive(Clone, Debug)]
pub struct PresentedToken {
    grant: AccessGrant,
}

/// What came beside a token.
#[derive(Clone, Copy, Debug)]
pub enum Possession<'a> {
    /// The connection's client certificate, by its digest (RFC 8705 §3.1).
    Certificate(Digest),
    /// A DPoP proof over this token.
    Proof(&'a Proof),
    /// Nothing.
    Nothing,
}

/// Returns the identifier that an access token claims, to look it up with and for nothing else.
///
/// # Errors
/// [`JoseError`] when it is no access token in shape.
pub fn claimed_token_id(token: &str) -> Result<String, JoseError> {
    read::token_id(&jws::read(token, &PROFILE)?.claimed()?)
}

impl Mission {
    /// Returns the task `id` that a person started, whose authority has this anchor, until `expires_at`.
    pub fn new(id: &impl ToString, authority: Anchor, expires_at: Timestamp) -> Self {
        Self {
            id: id.to_string(),
            root: id.to_string(),
            authority_hash: authority.to_string(),
            expires_at: expires_at.to_string(),
        }
    }

    /// Returns the same as a part of the task `root` that a person started.
    #[must_use]
    pub fn under(self, root: &impl ToString) -> Self {
        let root = root.to_string();
        Self { root, ..self }
    }
}

impl AccessIssuer {
    /// Returns the issuer of this name (`iss`), which signs with `key`.
    pub fn new(issuer: String, key: Arc<SigningKey>) -> Self {
        let signer = Signer::new(key, Some("at+jwt"));
        Self { issuer, signer }
    }

    /// Signs a token.
    ///
    /// # Errors
    /// [`JoseError`] when it would live too long or already be over, has no or too many actors, an
    /// identifier out of bounds, or is too long.
    pub fn issue(&self, grant: &AccessGrant, now: Timestamp) -> Result<String, JoseError> {
        check_grant(grant, now)?;
        let mut claims = vec![
            ("iss", self.issuer.as_str().into()),
            ("sub", grant.subject.as_str().into()),
            ("client_id", grant.client_id.as_str().into()),
            ("aud", grant.audience.as_str().into()),
            ("jti", grant.token_id.as_str().into()),
            ("iat", seconds(now)),
            ("exp", seconds(grant.expires_at)),
            ("act", act(&grant.actors)),
            ("mission", self.mission(&grant.mission)),
            ("authorization_details", grant.authorization_details.clone()),
        ];
        let confirmed = |method, digest: Digest| {
            let digest = base64url::encode(digest.as_bytes());
            ("cnf", Value::object([(method, digest.into())]))
        };
        match grant.binding {
            KeyBinding::Mtls { certificate } => claims.push(confirmed("x5t#S256", certificate)),
            KeyBinding::Dpop { thumbprint } => claims.push(confirmed("jkt", thumbprint)),
            KeyBinding::Bearer => {}
        }
        self.signer.sign(&Value::object(claims))
    }

    fn mission(&self, mission: &Mission) -> Value {
        Value::object([
            ("id", mission.id.as_str().into()),
            ("root", mission.root.as_str().into()),
            ("issuer", self.issuer.as_str().into()),
            ("authority_hash", mission.authority_hash.as_str().into()),
            ("expires_at", mission.expires_at.as_str().into()),
        ])
    }
}

impl AccessVerifier {
    /// Takes tokens of `issuer`, signed with one of `keys`.
    pub const fn new(issuer: String, keys: VerifyingKeys) -> Self {
        Self { issuer, keys }
    }

    /// Verifies a token for `audience`, the place that it is shown to, compared letter by letter.
    ///
    /// # Errors
    /// [`JoseError`] when its header, signature, issuer, audience, time or any claim is not as an
    /// access token of this issuer has it. Claims that Ambit does not write are refused.
    pub fn verify(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<AccessToken, JoseError> {
        let unverified = jws::read(token, &PROFILE)?;
        let header = unverified.header();
        let key = self.keys.find(header.key_id(), header.algorithm())?;
        let verified = unverified.verify(key)?;
        let claims = verified.claims();
        Ok(AccessToken {
            grant: self.read(claims, audience, now)?,
            issued_at: claims.date("iat")?.ok_or(missing("iat"))?,
            digest: Digest::of(token.as_bytes()),
        })
    }

    fn read(
        &self,
        claims: &Claims,
        audience: &str,
        now: Timestamp,
    ) -> Result<AccessGrant, JoseError> {
        claims.only(CLAIMS)?;
        if claims.required_text("iss")? != self.issuer {
            let rule = "this authorization server; get a token there";
            return Err(JoseError::Claim { name: "iss", rule });
        }
        claims.check_sole_audience(audience)?;
        let expires_at = claims.check_window(now, WINDOW)?;
        Ok(AccessGrant {
            token_id: read::token_id(claims)?,
            subject: claims.required_text("sub")?.to_owned(),
            client_id: claims.required_text("client_id")?.to_owned(),
            audience: audience.to_owned(),
            actors: read::actors(claims)?,
            mission: read::mission(claims, &self.issuer)?,
            authorization_details: read::authorization_details(claims)?,
            binding: read::binding(claims)?,
            expires_at,
        })
    }
}

impl AccessToken {
    /// Holds the token against what came beside it.
    ///
    /// A bound token needs its key whatever else came; one that names no key is taken as bearer,
    /// also beside a certificate or a proof.
    ///
    /// # Errors
    /// [`JoseError::Claim`] when the key is missing, another one, or proved over another token.
    pub fn present(self, shown: Possession<'_>) -> Result<PresentedToken, JoseError> {
        self.check_possession(shown)?;
        let grant = self.grant;
        Ok(PresentedToken { grant })
    }

    pub(crate) fn check_possession(&self, shown: Possession<'_>) -> Result<(), JoseError> {
        let is_held = match (self.grant.binding, shown) {
            (KeyBinding::Mtls { certificate }, Possession::Certificate(seen)) => {
                certificate == seen
            }
            (KeyBinding::Dpop { thumbprint }, Possession::Proof(proof)) => {
                thumbprint == proof.thumbprint() && proof.is_made_for(self.digest)
            }
            (KeyBinding::Bearer, _) => true,
            (KeyBinding::Mtls { .. } | KeyBinding::Dpop { .. }, _) => false,
        };
        if !is_held {
            let rule = "a key that the presenter of the token proves to hold";
            return Err(JoseError::Claim { name: "cnf", rule });
        }
        Ok(())
    }

    /// Returns what the token says.
    pub const fn grant(&self) -> &AccessGrant {
        &self.grant
    }

    /// Returns when it was issued.
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// Returns the digest of the token's text, by which it is remembered and which proofs name.
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

impl PresentedToken {
    /// Returns what the token says.
    pub const fn grant(&self) -> &AccessGrant {
        &self.grant
    }
}

fn check_grant(grant: &AccessGrant, now: Timestamp) -> Result<(), JoseError> {
    let wrong = |name, rule| Err(JoseError::Claim { name, rule });
    if grant.expires_at.as_millis() / 1000 <= now.as_millis() / 1000 {
        let expires_at = grant.expires_at;
        return Err(JoseError::Expired { expires_at, now });
    }
    if grant.expires_at.since(now) > ACCESS_TTL_MAX {
        return Err(JoseError::LivesTooLong {
            expires_at: grant.expires_at,
            lifetime_max: ACCESS_TTL_MAX,
        });
    }
    if !(1..=ACTORS_MAX).contains(&grant.actors.len()) {
        return wrong("act", "a chain of 1 to 9 actors");
    }
    if !(1..=TOKEN_ID_BYTES_MAX).contains(&grant.token_id.len()) {
        return wrong("jti", "from 1 to 128 bytes long");
    }
    if !matches!(&grant.authorization_details, Value::Array(details) if !details.is_empty()) {
        return wrong("authorization_details", "a list that is not empty");
    }
    Ok(())
}

fn act(actors: &[SpiffeId]) -> Value {
    let nest = |inner: Option<Value>, actor: &SpiffeId| {
        let subject = ("sub", actor.to_string().into());
        let inner = inner.map(|it| ("act", it));
        Some(Value::object([subject].into_iter().chain(inner)))
    };
    actors.iter().rev().fold(None, nest).unwrap_or(Value::Null)
}

fn seconds(at: Timestamp) -> Value {
    (at.as_millis() / 1000).into()
}

/// Every claim of an access token. A later one is added here and in `docs`.
const CLAIMS: &[&str] = &[
    "iss",
    "sub",
    "client_id",
    "aud",
    "jti",
    "iat",
    "exp",
    "act",
    "mission",
    "authorization_details",
    "cnf",
];

/// Issuer and door read clocks of one kind: little apart.
const WINDOW: Window = Window {
    leeway: Millis::from_seconds(5),
    lifetime_max: ACCESS_TTL_MAX,
};
