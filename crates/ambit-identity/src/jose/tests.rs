//! Keys and tokens to try the layer with.

mod keys;
mod shapes;

use std::sync::Arc;

use ambit_core::json::Value;

use super::*;
use crate::SvidKey;

/// A profile as plain as any: ES256, `kid` at will, `typ` = `test+jwt`.
pub(crate) const PLAIN: Profile = Profile {
    name: "a test token",
    typ: Typ::Required(&["test+jwt"]),
    required: &[],
    optional: &["kid"],
    algorithms: &Algorithm::ALL,
};

pub(crate) fn signing_key(chance: u8) -> Arc<SigningKey> {
    let key = SvidKey::generate([chance; 32]).unwrap();
    Arc::new(SigningKey::from_svid_key(&key, KeyUse::Signature).unwrap())
}

pub(crate) fn verifying_key(key: &SigningKey) -> VerifyingKey {
    VerifyingKey::new(key.public(), Algorithm::Es256).unwrap()
}

/// Signs any header and any claims, however wrong, with the key of `chance`.
pub(crate) fn forge(chance: u8, header: &str, claims: &str) -> String {
    let signed = format!(
        "{}.{}",
        base64url::encode(header),
        base64url::encode(claims)
    );
    resign(chance, &signed)
}

/// Returns `signed`, a header and claims as they are, with a signature by the key of `chance`.
pub(crate) fn resign(chance: u8, signed: &str) -> String {
    use aws_lc_rs::{rand::SystemRandom, signature};
    let pkcs8 = SvidKey::generate([chance; 32]).unwrap().pkcs8();
    let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = signature::EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8).unwrap();
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64url::encode(signature))
}

/// Returns an error's message followed by those of its causes.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    crate::tests::whole(error)
}

pub(crate) fn json(text: &str) -> Value {
    ambit_core::json::parse(text.as_bytes()).unwrap()
}
