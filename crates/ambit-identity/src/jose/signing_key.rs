//! Keys that sign: ES256, parsed once, with headers written once.

use std::{fmt, sync::Arc};

use ambit_core::json::Value;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};

use super::{
    Algorithm, Curve, JoseError, Jwk, JwkError, KeyUse, PublicKey, TOKEN_BYTES_MAX, base64url,
};
use crate::SvidKey;

/// An ES256 key pair that signs tokens. Its private half is never printed.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: Jwk,
}

/// A key together with the one header that it signs under.
#[derive(Clone, Debug)]
pub struct Signer {
    key: Arc<SigningKey>,
    /// The protected header, in base64url, with the dot.
    header: String,
}

impl SigningKey {
    /// Reads the key pair from an unencrypted PKCS #8 key in DER form. Its `kid` is its thumbprint.
    ///
    /// # Errors
    /// [`JwkError::Unusable`] when it is not a key on P-256.
    pub fn from_pkcs8(der: &[u8], key_use: KeyUse) -> Result<Self, JwkError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(|_| JwkError::Unusable)?;
        let public = PublicKey::ec(Curve::P256, pair.public_key().as_ref().to_vec())?;
        let unnamed = Jwk::own(public.clone(), key_use, None);
        let key_id = base64url::encode(unnamed.thumbprint().as_bytes());
        let public = Jwk::own(public, key_use, Some(key_id));
        Ok(Self { pair, public })
    }

    /// Takes the key of an SVID, so that its holder can sign proofs with it.
    ///
    /// # Errors
    /// [`JwkError::Unusable`] when the library refuses the key.
    pub fn from_svid_key(key: &SvidKey, key_use: KeyUse) -> Result<Self, JwkError> {
        Self::from_pkcs8(&key.pkcs8(), key_use)
    }

    /// Returns the public half, with `kid`, `use` and `alg`.
    pub const fn public(&self) -> &Jwk {
        &self.public
    }
}

impl Signer {
    /// Returns a signer whose tokens have the header members `alg`, `kid` and, when given, `typ`.
    pub fn new(key: Arc<SigningKey>, typ: Option<&str>) -> Self {
        let key_id = key.public.key_id().unwrap_or_default().to_owned();
        Self::with_header(key, typ, ("kid", key_id.into()))
    }

    /// Returns a signer whose tokens carry their public key, as DPoP proofs do (RFC 9449 §4.2).
    pub fn with_embedded_key(key: Arc<SigningKey>, typ: &str) -> Self {
        let public = key.public.bare().to_value();
        Self::with_header(key, Some(typ), ("jwk", public))
    }

    /// Signs `claims` and returns the compact JWS.
    ///
    /// # Errors
    /// [`JoseError::TooLong`] when the token would be longer than any reader of ours takes, and
    /// [`JoseError::Signing`] when the library refuses.
    pub fn sign(&self, claims: &Value) -> Result<String, JoseError> {
        let claims = claims.to_canonical();
        let length = self.header.len() + claims.len().div_ceil(3) * 4 + SIGNATURE_CHARACTERS + 1;
        let mut token = String::with_capacity(length);
        token.push_str(&self.header);
        base64url::encode_to(claims, &mut token);
        // ECDSA wants fresh chance for each signature; the library draws it, as it does for TLS.
        let signature = (self.key.pair)
            .sign(&SystemRandom::new(), token.as_bytes())
            .map_err(|_| JoseError::Signing)?;
        token.push('.');
        base64url::encode_to(signature, &mut token);
        if token.len() > TOKEN_BYTES_MAX {
            return Err(JoseError::TooLong {
                what: "token",
                seen: token.len(),
                max: TOKEN_BYTES_MAX,
            });
        }
        Ok(token)
    }

    /// Returns the key.
    pub const fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }

    fn with_header(key: Arc<SigningKey>, typ: Option<&str>, member: (&str, Value)) -> Self {
        let alg = ("alg", Algorithm::Es256.as_str().into());
        let typ = typ.map(|it| ("typ", it.into()));
        let header = Value::object([alg, member].into_iter().chain(typ));
        let mut header = base64url::encode(header.to_canonical());
        header.push('.');
        Self { key, header }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("key_id", &self.public.key_id())
            .finish_non_exhaustive()
    }
}

/// The length of an ES256 signature in base64url.
const SIGNATURE_CHARACTERS: usize = 86;
