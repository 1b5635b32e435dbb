//! The key that a token is bound to: proved with the request that asks for it.

use ambit_core::{Digest, Timestamp, estate::BearerTokens, token::KeyBinding};
use ambit_identity::{
    InstanceCaller,
    dpop::{self, Proof, ProofError, ProvedRequest},
    replay::{ReplayError, ReplayOwner},
};
use axum::http::{HeaderMap, HeaderName};

use super::{
    Circle, OAuthError, Server,
    client::Client,
    form::{Form, JWT_BEARER},
};

impl Server<'_> {
    /// Verifies the proof that came with a `POST` to `url`, when one came. It is not used up yet.
    pub(super) fn proof(
        &self,
        headers: &HeaderMap,
        url: &str,
        now: Timestamp,
    ) -> Result<Option<Proof>, OAuthError> {
        let mut shown = headers.get_all(DPOP).iter();
        let (first, second) = (shown.next(), shown.next());
        let refused =
            |what: String| OAuthError::new("invalid_dpop_proof", what).with_nonce(self.nonce(now));
        let proof = match (first, second) {
            (None, _) => return Ok(None),
            (Some(proof), None) => proof
                .to_str()
                .map_err(|_| refused("the DPoP proof is no text".to_owned()))?,
            (Some(_), Some(_)) => return Err(refused("send one DPoP header".to_owned())),
        };
        let request = ProvedRequest {
            method: "POST",
            url,
            access_token: None,
            nonces: Some(&self.oauth.nonces),
            now,
            wall: self.control.wall(),
        };
        match dpop::verify(proof, &request) {
            Ok(proof) => Ok(Some(proof)),
            Err(error @ ProofError::Nonce) => {
                let wanted = OAuthError::new("use_dpop_nonce", error.to_string());
                Err(wanted.with_nonce(self.nonce(now)))
            }
            Err(error @ ProofError::Refused { .. }) => Err(refused(crate::check::chain(&error))),
        }
    }

    /// Uses the proof up and says to what key a token is bound: the proof's, or the certificate's.
    pub(super) fn binding(
        &self,
        (form, client): (&Form, &Client),
        proof: Option<(Circle, &Proof)>,
        by_certificate: Option<&InstanceCaller>,
        now: Timestamp,
    ) -> Result<KeyBinding, OAuthError> {
        let Some(proof) = proof else {
            return match by_certificate {
                Some(caller) => Ok(caller.binding()),
                None => self.loose(client, form, now),
            };
        };
        let thumbprint = self.proved_key(proof, client.prover().as_deref(), now)?;
        Ok(KeyBinding::Dpop { thumbprint })
    }

    /// Uses the proof up and returns the thumbprint of its key. It takes room of `prover`'s share, when somebody proved who
    /// they are by something else, and of its key's otherwise.
    pub(super) fn proved_key(
        &self,
        (circle, proof): (Circle, &Proof),
        prover: Option<&str>,
        now: Timestamp,
    ) -> Result<Digest, OAuthError> {
        let thumbprint = proof.thumbprint();
        let owner = match prover {
            Some(prover) => ReplayOwner::ProofOf { thumbprint, prover },
            None => ReplayOwner::Proof { thumbprint },
        };
        let until = proof.remember_until();
        let wall = self.control.wall();
        let admitted = self
            .oauth
            .admit(circle, (owner, proof.token_id()), until, wall);
        match admitted {
            Ok(()) => Ok(thumbprint),
            Err(error @ (ReplayError::Full | ReplayError::OwnerFull)) => {
                Err(OAuthError::unavailable(error.to_string()))
            }
            Err(error @ (ReplayError::Replayed | ReplayError::Over)) => {
                let refused = OAuthError::new("invalid_dpop_proof", error.to_string());
                Err(refused.with_nonce(self.nonce(now)))
            }
        }
    }

    /// Says that a token is bound to no key, where the estate takes such tokens and the client need not have a key: a run
    /// of an agent with an SVID has one. Whether the task takes it is looked at when it is issued.
    fn loose(
        &self,
        client: &Client,
        form: &Form,
        now: Timestamp,
    ) -> Result<KeyBinding, OAuthError> {
        let needs_none = match client {
            Client::Known { .. } | Client::Holder { .. } => {
                LOOSE_GRANTS.contains(&form.get("grant_type").unwrap_or(""))
            }
            Client::Unnamed => true,
            Client::Instance(_) | Client::Workload(_) | Client::Foreign(..) => false,
        };
        let taken = self.control.handle.book()?.estate().bearer_tokens;
        if needs_none && taken == BearerTokens::Taken {
            return Ok(KeyBinding::Bearer);
        }
        let what =
            "tokens are bound to a key; send a DPoP proof (RFC 9449), or ask at the mTLS endpoint";
        Err(OAuthError::new("invalid_dpop_proof", what).with_nonce(self.nonce(now)))
    }

    /// Returns the nonce that the next proof wants.
    pub(super) fn nonce(&self, now: Timestamp) -> String {
        self.oauth.nonces.nonce(now)
    }
}

/// The grants that give a client tokens without a key. An exchange never does.
const LOOSE_GRANTS: [&str; 4] = [
    "authorization_code",
    "client_credentials",
    "refresh_token",
    JWT_BEARER,
];
const DPOP: HeaderName = HeaderName::from_static("dpop");
