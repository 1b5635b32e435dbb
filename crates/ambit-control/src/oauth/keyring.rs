//! What signs and verifies tokens, made once for each state of the issuing keys.

use std::sync::Arc;

use ambit_core::{Timestamp, TokenId, json::Value, task::Task, token::IssuedToken};
use ambit_engine::TokenStanding;
use ambit_identity::{
    IssuingKeys,
    jose::{Algorithm, JwkError, KeyUse, VerifyingKeys},
    token::{
        access::{self, AccessIssuer, AccessToken, AccessVerifier},
        jwt_svid::JwtSvidKeys,
    },
};

use super::{OAuthError, Server, locked};

/// The keys of one state of the bundle.
pub(super) struct Keyring {
    sequence: u64,
    pub(super) issuer: AccessIssuer,
    pub(super) verifier: AccessVerifier,
    pub(super) svids: JwtSvidKeys,
    pub(super) jwks: Value,
}

/// An access token of ours that is worth something now.
pub(super) struct LiveToken {
    pub(super) token: AccessToken,
    pub(super) issued: Box<IssuedToken>,
    pub(super) task: Arc<Task>,
}

impl Keyring {
    fn new(issuer: &str, keys: &IssuingKeys) -> Result<Self, JwkError> {
        let set = keys.access_keys()?;
        let verifying = VerifyingKeys::new(&set, &[KeyUse::Signature], &[Algorithm::Es256])?;
        Ok(Self {
            sequence: keys.bundle().sequence(),
            issuer: keys.access_issuer(issuer.to_owned()),
            verifier: AccessVerifier::new(issuer.to_owned(), verifying),
            svids: keys.jwt_svid_keys().clone(),
            jwks: set.to_value(),
        })
    }
}

impl Server<'_> {
    /// Returns what signs and verifies now.
    pub(super) fn keyring(&self) -> Result<Arc<Keyring>, OAuthError> {
        let keys = self.control.keys_in_force();
        let mut held = locked(&self.oauth.keyring);
        if let Some(held) = held.as_ref()
            && held.sequence == keys.bundle().sequence()
        {
            return Ok(held.clone());
        }
        let fresh = Keyring::new(self.issuer, &keys);
        let fresh = Arc::new(fresh.map_err(|error| OAuthError::failed(&error))?);
        *held = Some(fresh.clone());
        Ok(fresh)
    }

    /// Returns what an access token of ours is worth now, for whatever place it is; nothing when it is worth nothing.
    pub(super) fn live_token(
        &self,
        text: &str,
        now: Timestamp,
    ) -> Result<Option<LiveToken>, OAuthError> {
        let Some(id) = claimed_id(text) else {
            return Ok(None);
        };
        let TokenStanding::Live(issued, task) = self.control.handle.token(id, now)? else {
            return Ok(None);
        };
        let verified = self.keyring()?.verifier.verify(text, &issued.audience, now);
        Ok(verified.ok().map(|token| LiveToken {
            token,
            issued,
            task,
        }))
    }

    /// Returns what was issued as an access token of ours that is shown, whatever it is worth now; nothing when it is none
    /// of ours, or its time has come.
    pub(super) fn issued_token(
        &self,
        text: &str,
        now: Timestamp,
    ) -> Result<Option<Box<IssuedToken>>, OAuthError> {
        let Some(id) = claimed_id(text) else {
            return Ok(None);
        };
        let Some(issued) = self.control.handle.issued_token(id)? else {
            return Ok(None);
        };
        let verified = self.keyring()?.verifier.verify(text, &issued.audience, now);
        Ok(verified.ok().map(|_| issued))
    }
}

/// Returns the identifier that a token claims, which finds what it must say; only then is it verified.
fn claimed_id(text: &str) -> Option<TokenId> {
    let claimed = access::claimed_token_id(text).ok()?;
    claimed.parse().ok()
}
