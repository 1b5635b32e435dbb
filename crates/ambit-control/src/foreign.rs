//! Workload tokens of foreign issuers: verified with the issuer's keys, and held against the agents of the estate.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use ambit_core::{
    IssuerName, Millis, Timestamp,
    estate::{Issuer, IssuerKeys},
    json,
};
use ambit_engine::EngineError;
use ambit_identity::{
    Claimant,
    jose::{Algorithm, JWK_SET_BYTES_MAX, JoseError, JwkSet},
    token::{
        registration::identify_token,
        workload_token::{WorkloadIssuer, WorkloadToken, claimed_issuer},
    },
};

use crate::{api::Control, check::chain};

/// How long fetched keys are used without asking again.
pub const ISSUER_KEYS_TTL: Millis = Millis::from_seconds(3600);
/// How long they are used when the issuer does not answer.
pub const ISSUER_KEYS_STALE_MAX: Millis = Millis::from_seconds(24 * 3600);
/// How long to wait before an issuer is asked again, whatever tokens come meanwhile.
pub const ISSUER_ASKED_EVERY: Millis = Millis::from_seconds(60);

/// Fetches the document at an `https` address: at most [`JWK_SET_BYTES_MAX`] bytes, from a public address, without
/// following where it is sent.
pub type Fetch = Arc<dyn Fn(String) -> Fetching + Send + Sync>;

/// The document, or why it can't be had.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// The keys of issuers, as they were fetched.
#[derive(Default)]
pub(crate) struct ForeignKeys(Mutex<HashMap<IssuerName, Arc<Kept>>>);

/// One issuer's keys. Who asks for them waits for who is asking already.
#[derive(Default)]
struct Kept(tokio::sync::Mutex<Fetched>);

#[derive(Default)]
struct Fetched {
    /// From where, and what was there when.
    set: Option<(IssuerKeys, Arc<JwkSet>, Timestamp)>,
    asked_at: Option<Timestamp>,
}

/// A token from which nobody can be told. Whoever sent it hears the message; the cause is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeignTokenError {
    /// It is no workload token, or its issuer did not sign it for Ambit and for now.
    #[error("the workload token is refused")]
    Token(#[source] JoseError),
    /// The estate does not trust its issuer, or no agent fits.
    #[error("no agent is registered for this workload token: {0}")]
    Unknown(String),
    /// The keys of the issuer can't be had.
    #[error("the keys of the token's issuer can't be had now; try again in a minute: {0}")]
    Keys(String),
    /// The engine has no estate.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ForeignKeys {
    /// Verifies `token` and returns the agent's run that its holder is. The one way from a workload token to a task.
    ///
    /// # Errors
    /// [`ForeignTokenError`]: nobody was identified.
    pub(crate) async fn identify(
        &self,
        control: &Control,
        token: &str,
    ) -> Result<Claimant, ForeignTokenError> {
        let book = control.handle.book()?;
        let estate = book.estate();
        let claimed = claimed_issuer(token).map_err(ForeignTokenError::Token)?;
        let issuer = estate.issuers.values().find(|it| it.issuer == claimed);
        let issuer = issuer.ok_or_else(|| {
            ForeignTokenError::Unknown("the estate trusts no such issuer".to_owned())
        })?;
        let verified = self.verify(control, issuer, token).await?;
        identify_token(&verified, &issuer.name, &estate.agents)
            .map_err(|error| ForeignTokenError::Unknown(error.to_string()))
    }

    async fn verify(
        &self,
        control: &Control,
        issuer: &Issuer,
        token: &str,
    ) -> Result<WorkloadToken, ForeignTokenError> {
        let now = (control.clock)().now;
        let kept = self.kept(&issuer.name);
        let set = kept.current(control, issuer, now, Freshness::Usual).await?;
        match verify(issuer, &set, token, now) {
            // It may have begun to sign with another key.
            Err(ForeignTokenError::Token(JoseError::UnknownKey { .. })) => {
                let set = kept.current(control, issuer, now, Freshness::New).await?;
                verify(issuer, &set, token, now)
            }
            other => other,
        }
    }

    fn kept(&self, issuer: &IssuerName) -> Arc<Kept> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounded by the estate: only issuers that it has, or had since the start, come here.
        kept.entry(issuer.clone()).or_default().clone()
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Freshness {
    Usual,
    New,
}

impl Kept {
    async fn current(
        &self,
        control: &Control,
        issuer: &Issuer,
        now: Timestamp,
        wanted: Freshness,
    ) -> Result<Arc<JwkSet>, ForeignTokenError> {
        let unusable = |error: &dyn std::error::Error| ForeignTokenError::Keys(chain(error));
        if let IssuerKeys::Given(text) = &issuer.keys {
            let set = JwkSet::parse(text.as_bytes()).map_err(|error| unusable(&error))?;
            return Ok(Arc::new(set));
        }
        let mut fetched = self.0.lock().await;
        // Keys of another address are another issuer's.
        fetched.set.take_if(|(from, ..)| *from != issuer.keys);
        let age = |at: Timestamp| now.since(at);
        let rested = fetched
            .asked_at
            .is_none_or(|it| age(it) >= ISSUER_ASKED_EVERY);
        if let Some((_, set, at)) = &fetched.set
            && (!rested || wanted == Freshness::Usual && age(*at) < ISSUER_KEYS_TTL)
            && age(*at) < ISSUER_KEYS_STALE_MAX
        {
            return Ok(set.clone());
        }
        if !rested {
            let why = "it was asked less than a minute ago".to_owned();
            return Err(ForeignTokenError::Keys(why));
        }
        fetched.asked_at = Some(now);
        match fetch(control, issuer).await {
            Ok(set) => {
                let set = Arc::new(set);
                fetched.set = Some((issuer.keys.clone(), set.clone(), now));
                Ok(set)
            }
            Err(why) => {
                tracing::warn!(issuer = %issuer.name, why, "the keys of an issuer can't be fetched");
                let kept = fetched.set.as_ref();
                let kept = kept.filter(|(_, _, at)| age(*at) < ISSUER_KEYS_STALE_MAX);
                kept.map(|(_, set, _)| set.clone())
                    .ok_or(ForeignTokenError::Keys(why))
            }
        }
    }
}

fn verify(
    issuer: &Issuer,
    set: &JwkSet,
    token: &str,
    now: Timestamp,
) -> Result<WorkloadToken, ForeignTokenError> {
    let (name, audience) = (issuer.issuer.clone(), issuer.audience.clone());
    let verifier = WorkloadIssuer::new(name, audience, set, &Algorithm::ALL);
    let verifier = verifier.map_err(|error| ForeignTokenError::Keys(chain(&error)))?;
    verifier
        .verify(token, now)
        .map_err(ForeignTokenError::Token)
}

/// Fetches the issuer's keys, by way of its discovery document unless the estate says where they are.
async fn fetch(control: &Control, issuer: &Issuer) -> Result<JwkSet, String> {
    let at = match &issuer.keys {
        IssuerKeys::At(at) => at.clone(),
        IssuerKeys::Given(_) | IssuerKeys::Discovered => discover(control, issuer).await?,
    };
    let bytes = (control.fetch)(at).await?;
    JwkSet::parse(&bytes).map_err(|error| chain(&error))
}

/// Returns where the discovery document says that the keys are (OpenID Connect Discovery §4).
async fn discover(control: &Control, issuer: &Issuer) -> Result<String, String> {
    let base = issuer.issuer.trim_end_matches('/');
    let bytes = (control.fetch)(format!("{base}/.well-known/openid-configuration")).await?;
    let document =
        json::parse_integers(&bytes, JWK_SET_BYTES_MAX).map_err(|error| chain(&error))?;
    let text = |name| document.get(name).and_then(json::Value::as_str);
    if text("issuer") != Some(issuer.issuer.as_str()) {
        return Err("its discovery document is another issuer's".to_owned());
    }
    let at = text("jwks_uri").filter(|it| it.starts_with("https://"));
    let at = at.ok_or("its discovery document has no `jwks_uri` that begins with https://")?;
    Ok(at.to_owned())
}

impl fmt::Debug for ForeignKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignKeys")
    }
}

#[cfg(test)]
mod tests;
