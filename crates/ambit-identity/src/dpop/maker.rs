//! Proofs of our own: what a command line sends with its requests.

use std::sync::Arc;

use ambit_core::{Digest, Timestamp, json::Value};

use crate::{
    SvidKey,
    jose::{JoseError, JwkError, KeyUse, Signer, SigningKey, base64url},
};

/// A key that signs requests (RFC 9449 §4.2).
#[derive(Clone, Debug)]
pub struct ProofMaker {
    signer: Signer,
    thumbprint: Digest,
}

/// The request that a proof is made for.
#[derive(Clone, Copy, Debug)]
pub struct MadeRequest<'a> {
    /// The method (`htm`).
    pub method: &'a str,
    /// The URL without query and fragment (`htu`).
    pub url: &'a str,
    /// The access token beside the proof (`ath`).
    pub access_token: Option<&'a str>,
    /// The server's nonce, once it gave one.
    pub nonce: Option<&'a str>,
    /// A name that no other proof of this key has (`jti`).
    pub token_id: &'a str,
    /// When.
    pub now: Timestamp,
}

impl ProofMaker {
    /// Takes the key.
    ///
    /// # Errors
    /// [`JwkError`] when the library refuses it.
    pub fn new(key: &SvidKey) -> Result<Self, JwkError> {
        let key = Arc::new(SigningKey::from_svid_key(key, KeyUse::Signature)?);
        let thumbprint = key.public().thumbprint();
        Ok(Self {
            signer: Signer::with_embedded_key(key, "dpop+jwt"),
            thumbprint,
        })
    }

    /// Returns the thumbprint of the key (`jkt`).
    pub const fn thumbprint(&self) -> Digest {
        self.thumbprint
    }

    /// Signs a request.
    ///
    /// # Errors
    /// [`JoseError`] when the library can't sign.
    pub fn prove(&self, request: &MadeRequest<'_>) -> Result<String, JoseError> {
        let digest = |it: &str| base64url::encode(Digest::of(it.as_bytes()).as_bytes());
        let token = request.access_token.map(|it| ("ath", digest(it).into()));
        let nonce = request.nonce.map(|it| ("nonce", it.into()));
        let members = [
            ("htm", Value::from(request.method)),
            ("htu", request.url.into()),
            ("iat", (request.now.as_millis() / 1000).into()),
            ("jti", request.token_id.into()),
        ];
        let claims = members.into_iter().chain(token).chain(nonce);
        self.signer.sign(&Value::object(claims))
    }
}
