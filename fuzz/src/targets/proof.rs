//! DPoP proofs: whatever comes is read; what is accepted was signed by the key that it carries.

use std::sync::{Arc, OnceLock};

use ambit_core::json::Value;
use ambit_identity::{
    SvidKey,
    dpop::{self, ProvedRequest},
    jose::{KeyUse, Signer, SigningKey},
};

use super::site::NOW;
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "proof",
    run,
    seeds,
    words: &[".", "eyJ", "=", "e30", "Imp3ayI6", "ImQiOiJBQSI"],
};

const URL: &str = "https://ambit.example.org/oauth/token";

fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| {
        let key = SvidKey::generate([3; 32]).expect("a key");
        let key = SigningKey::from_svid_key(&key, KeyUse::Signature).expect("a key");
        Signer::with_embedded_key(Arc::new(key), "dpop+jwt")
    })
}

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(normal) = dpop::normal_url(text) {
        assert_eq!(dpop::normal_url(&normal).expect("it is normal"), normal);
    }
    let request = ProvedRequest {
        method: "POST",
        url: URL,
        access_token: None,
        nonces: None,
        now: NOW,
        wall: NOW,
    };
    if let Ok(proof) = dpop::verify(text, &request) {
        let own = signer().key().public().thumbprint();
        assert_eq!(proof.thumbprint(), own, "nobody else has signed");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let claims = Value::object([
        ("htm", "POST".into()),
        ("htu", URL.into()),
        ("iat", (NOW.as_millis() / 1000).into()),
        ("jti", "p".into()),
    ]);
    let proof = signer().sign(&claims).expect("a proof");
    vec![
        proof.into_bytes(),
        b"HTTPS://A.example:443/x/../%7e?q#f".to_vec(),
    ]
}
