//! Workload tokens of foreign issuers: verified with the issuer's keys, and held against the agents of the estate.

mod published;

use std::{future::Future, pin::Pin, sync::Arc};

use ambit_core::{
    Millis, Timestamp,
    estate::{Estate, Issuer, IssuerKeys},
};
use ambit_engine::EngineError;
use ambit_identity::{
    Claimant,
    jose::{Doubt, JoseError, VerifyingKeys},
    token::{
        jwt_svid::claimed_trust_domain,
        registration::identify_token,
        workload_token::{WorkloadIssuer, WorkloadToken, claimed_issuer},
    },
};

pub use self::published::keys_address;
pub(crate) use self::published::{Freshness, KeySource, PublishedKeys};
use crate::{api::Control, visible::visible};

/// How long fetched keys are used without asking again.
pub const ISSUER_KEYS_TTL: Millis = Millis::from_seconds(3600);
/// How long they are used when the issuer does not answer.
pub const ISSUER_KEYS_STALE_MAX: Millis = Millis::from_seconds(24 * 3600);
/// How long to wait before an issuer is asked again, whatever tokens come meanwhile.
pub const ISSUER_ASKED_EVERY: Millis = Millis::from_seconds(60);

/// Fetches the document at an `https` address: at most
/// [`ambit_identity::jose::JWK_SET_BYTES_MAX`] bytes, from a public address, without
/// following where it is sent.
pub type Fetch = Arc<dyn Fn(String) -> Fetching + Send + Sync>;

/// The document, or why it can't be had.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

/// The keys of issuers, as they were fetched.
#[derive(Debug, Default)]
pub(crate) struct ForeignKeys(PublishedKeys);

/// A workload that a token of a foreign issuer named, or a JWT-SVID of a foreign trust domain. The token is shown again:
/// see [`ambit_identity::senders`].
#[derive(Clone, Debug)]
pub(crate) struct Identified {
    /// Whose run it is.
    pub(crate) claimant: Claimant,
    /// The first instant at which the token is no longer valid.
    pub(crate) expires_at: Timestamp,
}

/// Whose an assertion claims to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AssertionBy {
    /// A client's own.
    Client,
    /// A foreign issuer's, or a foreign trust domain's, about its workload.
    Issuer,
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
    /// The keys of the issuer can't be had. Why not is in the log.
    #[error("the keys of the token's issuer can't be had now; try again in a minute")]
    Keys,
    /// The engine has no estate.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ForeignTokenError {
    /// Returns whom the token should have named as its audience, when it named another one. That is for the log alone.
    pub(crate) fn audience_expected(&self) -> Option<&str> {
        match self {
            Self::Token(JoseError::Audience { expected, .. }) => Some(expected),
            Self::Token(_) | Self::Unknown(_) | Self::Keys | Self::Engine(_) => None,
        }
    }
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
    ) -> Result<Identified, ForeignTokenError> {
        let book = control.handle.book()?;
        let estate = book.estate();
        if let Some(identified) = by_svid(control, estate, token)? {
            return Ok(identified);
        }
        let claimed = claimed_issuer(token).map_err(ForeignTokenError::Token)?;
        let issuer = estate.issuers.values().find(|it| it.issuer == claimed);
        let issuer = issuer.ok_or_else(|| {
            let claimed = visible(&claimed);
            ForeignTokenError::Unknown(format!("the estate trusts no such issuer: `{claimed}`"))
        })?;
        let verified = self.verify(control, issuer, token).await?;
        let claimant = identify_token(&verified, issuer, &estate.agents);
        let claimant = claimant.map_err(|error| {
            let (by, whom) = (visible(verified.issuer()), visible(verified.subject()));
            unknown(&error, &format!("it has iss `{by}` and sub `{whom}`"))
        })?;
        Ok(Identified {
            claimant,
            expires_at: verified.expires_at(),
        })
    }

    /// Says whose a client's assertion claims to be, to choose who verifies it and for nothing else.
    pub(crate) fn claimed_by(
        &self,
        control: &Control,
        assertion: &str,
    ) -> Result<AssertionBy, EngineError> {
        let domain = claimed_trust_domain(assertion).ok();
        if domain
            .and_then(|it| control.federated().bundle(&it).cloned())
            .is_some()
        {
            return Ok(AssertionBy::Issuer);
        }
        let Ok(claimed) = claimed_issuer(assertion) else {
            return Ok(AssertionBy::Client);
        };
        let book = control.handle.book()?;
        let mut issuers = book.estate().issuers.values();
        Ok(match issuers.any(|it| it.issuer == claimed) {
            true => AssertionBy::Issuer,
            false => AssertionBy::Client,
        })
    }

    async fn verify(
        &self,
        control: &Control,
        issuer: &Issuer,
        token: &str,
    ) -> Result<WorkloadToken, ForeignTokenError> {
        let moment = (control.clock)();
        // The issuer's clock made the token's dates.
        let (now, wall) = (moment.now, moment.wall);
        let from = match &issuer.keys {
            IssuerKeys::Given(text) => KeySource::Given(text),
            IssuerKeys::At(at) => KeySource::At(at),
            IssuerKeys::Discovered => KeySource::Discovered(&issuer.issuer),
        };
        let current = |wanted| {
            let name = issuer.name.as_str();
            let keys = self.0.current((&control.fetch, now), name, from, wanted);
            async { keys.await.map_err(|_| ForeignTokenError::Keys) }
        };
        let keys = current(Freshness::Usual).await?;
        match verify(issuer, keys, token, wall) {
            // It may have begun to sign with another key.
            Err(ForeignTokenError::Token(error))
                if Doubt::of(token, &error) == Doubt::NewerKeys =>
            {
                let keys = current(Freshness::New).await?;
                verify(issuer, keys, token, wall)
            }
            other => other,
        }
    }
}

/// Identifies the workload of a foreign trust domain that a JWT-SVID names; none when it is no JWT-SVID of one that is
/// believed. The audience is the authorization server's name alone.
fn by_svid(
    control: &Control,
    estate: &Estate,
    token: &str,
) -> Result<Option<Identified>, ForeignTokenError> {
    let Some(issuer) = control.issuer.as_deref() else {
        return Ok(None);
    };
    let federated = control.federated();
    let claimed = claimed_trust_domain(token).ok();
    if claimed.and_then(|it| federated.bundle(&it)).is_none() {
        return Ok(None);
    }
    let found = federated.identify_token(token, issuer, control.wall());
    let Some((svid, _)) = found.map_err(ForeignTokenError::Token)? else {
        return Ok(None);
    };
    match svid.claimant(estate) {
        Ok((_, claimant)) => Ok(Some(Identified {
            claimant,
            expires_at: svid.expires_at(),
        })),
        Err(error) => Err(unknown(&error, &format!("it names {}", svid.spiffe_id()))),
    }
}

/// Tells whoever asks what was seen of it. The registrations are for those who operate Ambit: a stranger could have a
/// token made for it.
fn unknown(error: &dyn std::error::Error, seen: &str) -> ForeignTokenError {
    tracing::warn!(%error, seen, "a workload token is no run of one agent");
    ForeignTokenError::Unknown(format!(
        "{seen}; ask who runs Ambit, whose log names the nearest registration"
    ))
}

fn verify(
    issuer: &Issuer,
    keys: VerifyingKeys,
    token: &str,
    now: Timestamp,
) -> Result<WorkloadToken, ForeignTokenError> {
    let (name, audience) = (issuer.issuer.clone(), issuer.audience.clone());
    WorkloadIssuer::with_keys(name, audience, keys)
        .verify(token, now)
        .map_err(ForeignTokenError::Token)
}

#[cfg(test)]
mod tests;
