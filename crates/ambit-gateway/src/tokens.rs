//! The gateway as a resource server (RFC 6750, 8705, 9449, 9728): who brings an access token is identified by it, request
//! by request.
//!
//! A token is good at one route, whose URL is its audience letter by letter. It comes in the one header `Authorization`
//! and nowhere else. What its task may do is asked of the live state at every decision; here only the token is checked.

mod challenge;
mod verified;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use ambit_core::{Timestamp, TrustDomain};
use ambit_engine::Moment;
use ambit_identity::{
    Beside, InstanceCaller, KeyBinding,
    dpop::{self, NonceKey, ProofError, ProvedRequest},
    identify_token,
    jose::JoseError,
    replay::{ReplayCache, ReplayError, ReplayOwner, ReplayRoom},
    token::access::{AccessToken, AccessVerifier},
};
use http::{HeaderMap, HeaderName, header, request::Parts};

pub(crate) use self::challenge::{DPOP_NONCE, described};
use self::verified::Verified;
use crate::{
    limits::{PROOFS_REMEMBERED_MAX, PROOFS_REMEMBERED_PER_TASK_MAX},
    mcp::acts::Door,
};

/// Gives who takes access tokens now: the same one until the keys change.
pub type Verifiers = Arc<dyn Fn() -> Option<Arc<AccessVerifier>> + Send + Sync>;

/// What it takes to accept access tokens.
#[derive(Clone)]
pub struct TokenConfig {
    /// How clients name the gateway: scheme, host and port, without a slash at its end.
    pub url: String,
    /// The authorization server, by its issuer URL.
    pub issuer: String,
    /// Of which trust domain instances are.
    pub trust_domain: TrustDomain,
    /// Who takes tokens of the issuer; none when its keys can't be used.
    pub verifiers: Verifiers,
    /// Fresh, secret random bytes for the nonces of DPoP proofs.
    pub nonce_chance: [u8; 32],
}

/// Takes access tokens.
pub(crate) struct Tokens {
    config: TokenConfig,
    nonces: NonceKey,
    proofs: Mutex<ReplayCache>,
    verified: Mutex<Verified>,
}

/// Where a token is shown: the resource for which it must be, and the URL of the request, which a proof names.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    door: Door,
    url: String,
}

/// Why a request does not identify an instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Unidentified {
    /// It brings no token.
    NoToken,
    /// It brings a token in a way that none is taken.
    Request(&'static str),
    /// Its token is refused.
    Token(Scheme, String),
    /// Its token was good once, here, and its time is over.
    Expired(Scheme, String),
    /// Its DPoP proof is refused.
    Proof(String),
    /// Its DPoP proof has no fresh nonce.
    Nonce,
    /// Too many proofs came.
    Busy,
}

/// The scheme of `Authorization`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    Bearer,
    Dpop,
}

impl Tokens {
    /// Returns what takes tokens as `config` says.
    pub(crate) fn new(config: TokenConfig) -> Self {
        Self {
            nonces: NonceKey::new(&config.nonce_chance),
            proofs: Mutex::new(ReplayCache::new(ReplayRoom {
                entries_max: PROOFS_REMEMBERED_MAX,
                per_owner_max: PROOFS_REMEMBERED_PER_TASK_MAX,
            })),
            verified: Mutex::new(Verified::new()),
            config,
        }
    }

    /// Returns the place of a request at `door` itself.
    pub(crate) fn at(&self, door: Door) -> Place {
        let url = door.url(&self.config.url);
        Place { door, url }
    }

    /// Returns the place of a request about the task itself, at `path`: it takes the tokens that are for all of the task's
    /// servers.
    pub(crate) fn at_the_task(&self, path: &str) -> Place {
        let (door, url) = (Door::All, format!("{}{path}", self.config.url));
        Place { door, url }
    }

    /// Identifies the instance that makes the request with this head at `place`. `connection` is the instance whose
    /// certificate the connection has: without a token, it is the caller.
    pub(crate) fn identify(
        &self,
        head: &Parts,
        place: &Place,
        connection: Option<&InstanceCaller>,
        moment: &Moment,
    ) -> Result<InstanceCaller, Unidentified> {
        let now = moment.now;
        let in_query = head.uri.query().unwrap_or_default().split('&');
        if in_query.into_iter().any(|it| it.starts_with(IN_QUERY)) {
            return Err(Unidentified::Request(
                "send the token in the header Authorization; in a URL it ends up in logs",
            ));
        }
        let Some((scheme, text)) = credentials(&head.headers)? else {
            return connection.cloned().ok_or(Unidentified::NoToken);
        };
        let audience = place.door.url(&self.config.url);
        let refused = |why: &dyn std::error::Error| Unidentified::Token(scheme, crate::causes(why));
        let token = self.verify(text, &audience, now).map_err(|error| {
            let why = crate::causes(&*error);
            match error.downcast_ref() {
                Some(JoseError::Expired { .. }) => Unidentified::Expired(scheme, why),
                Some(_) | None => Unidentified::Token(scheme, why),
            }
        })?;
        check_scheme(scheme, token.grant().binding)?;
        let trust_domain = &self.config.trust_domain;
        if scheme == Scheme::Bearer {
            let beside = Beside {
                connection,
                proof: None,
            };
            return identify_token(&token, beside, trust_domain).map_err(|it| refused(&it));
        }
        let proof = single(&head.headers, &DPOP).map_err(|_| {
            Unidentified::Request("send one DPoP header with one proof beside the token")
        })?;
        let proof = proof.ok_or_else(|| {
            Unidentified::Proof("a DPoP header with a proof must come beside the token".to_owned())
        })?;
        let request = ProvedRequest {
            method: head.method.as_str(),
            url: &place.url,
            access_token: Some(text),
            nonces: Some(&self.nonces),
            now,
            wall: moment.wall,
        };
        let proof = dpop::verify(proof, &request).map_err(|error| match error {
            ProofError::Nonce => Unidentified::Nonce,
            ProofError::Refused { source } => Unidentified::Proof(crate::causes(&source)),
        })?;
        let beside = Beside {
            connection,
            proof: Some(&proof),
        };
        let caller = identify_token(&token, beside, trust_domain).map_err(|it| refused(&it))?;
        // Last: only who has a good token takes room here.
        self.spend(&proof, &caller.spiffe_id().to_string(), moment.wall)?;
        Ok(caller)
    }

    /// Returns the nonce that clients use next.
    pub(crate) fn nonce(&self, now: Timestamp) -> String {
        self.nonces.nonce(now)
    }

    fn verify(
        &self,
        text: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<Arc<AccessToken>, Box<dyn std::error::Error>> {
        let verifier = (self.config.verifiers)();
        let verifier = verifier.ok_or("no tokens are taken now; the log of the server says why")?;
        let digest = ambit_core::Digest::of(text.as_bytes());
        let known = self.verified().find(&verifier, digest, audience, now);
        if let Some(token) = known {
            return Ok(token);
        }
        let token = Arc::new(verifier.verify(text, audience, now)?);
        self.verified().keep(&verifier, Arc::clone(&token), now);
        Ok(token)
    }

    fn spend(
        &self,
        proof: &dpop::Proof,
        prover: &str,
        wall: Timestamp,
    ) -> Result<(), Unidentified> {
        let owner = ReplayOwner::ProofOf {
            thumbprint: proof.thumbprint(),
            prover,
        };
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        match proofs.admit(owner, proof.token_id(), proof.remember_until(), wall) {
            Ok(_first_use) => Ok(()),
            Err(ReplayError::Full | ReplayError::OwnerFull) => Err(Unidentified::Busy),
            Err(error @ (ReplayError::Replayed | ReplayError::Over)) => {
                Err(Unidentified::Proof(error.to_string()))
            }
        }
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Returns the resource for which the token must be.
    pub(crate) const fn door(&self) -> &Door {
        &self.door
    }
}

impl fmt::Debug for TokenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenConfig")
            .field("url", &self.url)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// Says whether the request proves itself by DPoP, so that its answer carries the next nonce.
pub(crate) fn uses_proofs(headers: &HeaderMap) -> bool {
    headers.contains_key(&DPOP)
}

/// Reads the one `Authorization` header; none when there is none.
fn credentials(headers: &HeaderMap) -> Result<Option<(Scheme, &str)>, Unidentified> {
    let value = single(headers, &header::AUTHORIZATION);
    let value = value.map_err(|_| Unidentified::Request("send one Authorization header"))?;
    let Some(value) = value else {
        return Ok(None);
    };
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let scheme = match () {
        () if scheme.eq_ignore_ascii_case("Bearer") => Scheme::Bearer,
        () if scheme.eq_ignore_ascii_case("DPoP") => Scheme::Dpop,
        () => {
            let wanted = "the scheme of Authorization must be DPoP or Bearer, with an access token";
            return Err(Unidentified::Request(wanted));
        }
    };
    Ok(Some((scheme, token)))
}

/// A bound token comes with the scheme of its binding, so that it is never mistaken for a bearer token.
fn check_scheme(scheme: Scheme, binding: KeyBinding) -> Result<(), Unidentified> {
    let why = match (scheme, binding) {
        (Scheme::Dpop, KeyBinding::Dpop { .. })
        | (Scheme::Bearer, KeyBinding::Mtls { .. } | KeyBinding::Bearer) => return Ok(()),
        (Scheme::Bearer, KeyBinding::Dpop { .. }) => {
            "this token is bound to a DPoP key; send it with the scheme DPoP and a proof"
        }
        (Scheme::Dpop, KeyBinding::Mtls { .. } | KeyBinding::Bearer) => {
            "this token is bound to no DPoP key; send it with the scheme Bearer"
        }
    };
    Err(Unidentified::Token(scheme, why.to_owned()))
}

/// A header came twice, or is no text.
struct NotSingle;

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, NotSingle> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(NotSingle),
    }
}

/// The header of proofs, and of the nonces for them (RFC 9449 §4.1, §8.1).
static DPOP: HeaderName = HeaderName::from_static("dpop");
/// How a token in a URL begins (RFC 6750 §2.3).
const IN_QUERY: &str = "access_token=";

#[cfg(test)]
mod tests;
