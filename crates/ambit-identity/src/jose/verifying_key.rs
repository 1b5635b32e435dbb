//! Keys that verify: parsed once, each bound to one algorithm and use.

use std::{fmt, sync::Arc};

use ambit_core::Digest;
use aws_lc_rs::signature::ParsedPublicKey;

use super::{Algorithm, JoseError, Jwk, JwkError, JwkSet, KeyUse};

/// A public key that verifies signatures of exactly one algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    key_id: Option<String>,
    thumbprint: Digest,
    parsed: ParsedPublicKey,
}

/// The keys of one issuer, for one use. A key that does not say its algorithm stands once for each. Parsed once: clones
/// share the keys.
#[derive(Clone, Debug, Default)]
pub struct VerifyingKeys {
    keys: Arc<[VerifyingKey]>,
}

impl VerifyingKey {
    /// Binds a key to `algorithm`.
    ///
    /// # Errors
    /// [`JwkError::OtherAlgorithm`] when the key is of another kind or says another algorithm.
    pub fn new(key: &Jwk, algorithm: Algorithm) -> Result<Self, JwkError> {
        let says_another = key.algorithm().is_some_and(|it| it != algorithm);
        if says_another || !key.public().suits(algorithm) {
            return Err(JwkError::OtherAlgorithm);
        }
        Ok(Self {
            algorithm,
            key_id: key.key_id().map(str::to_owned),
            thumbprint: key.thumbprint(),
            parsed: key.public().parsed(algorithm)?,
        })
    }

    /// Returns the one algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the identifier, when the key has one.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Returns the thumbprint (RFC 7638).
    pub const fn thumbprint(&self) -> Digest {
        self.thumbprint
    }

    /// Checks a signature over `message`.
    pub(super) fn check(&self, message: &[u8], signature: &[u8]) -> Result<(), JoseError> {
        self.parsed
            .verify_sig(message, signature)
            .map_err(|_| JoseError::Signature)
    }
}

impl VerifyingKeys {
    /// Takes the keys of a set that are for one of `uses`, for each of `algorithms` that suits.
    ///
    /// # Errors
    /// [`JwkError`] when the library refuses a key that it took before.
    pub fn new(set: &JwkSet, uses: &[KeyUse], algorithms: &[Algorithm]) -> Result<Self, JwkError> {
        let mut keys = Vec::new();
        for key in set.keys().iter().filter(|it| uses.contains(&it.key_use())) {
            for algorithm in algorithms {
                match VerifyingKey::new(key, *algorithm) {
                    Ok(key) => keys.push(key),
                    Err(JwkError::OtherAlgorithm) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Self { keys: keys.into() })
    }

    /// Returns the one key that can have signed.
    ///
    /// # Errors
    /// [`JoseError::UnknownKey`] when none has the identifier, and [`JoseError::WhichKey`] when
    /// there is no identifier, or a shared one, and not exactly one key.
    pub fn find(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<&VerifyingKey, JoseError> {
        let named = |it: &&VerifyingKey| key_id.is_none() || it.key_id() == key_id;
        let suits = |it: &&VerifyingKey| it.algorithm == algorithm;
        let mut found = self.keys.iter().filter(suits).filter(named);
        match (found.next(), found.count(), key_id) {
            (Some(key), 0, _) => Ok(key),
            (None, _, Some(key_id)) => Err(JoseError::UnknownKey {
                key_id: key_id.to_owned(),
                algorithm,
            }),
            (first, more, _) => Err(JoseError::WhichKey {
                seen: more + usize::from(first.is_some()),
                algorithm,
            }),
        }
    }

    /// Returns the keys.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}
