//! Tokens: whatever comes is read; what verifies is what was signed; what was signed is read back.

use std::sync::{Arc, OnceLock};

use ambit_core::json::{self, Value};
use ambit_identity::{
    KeyBinding, SvidKey,
    jose::{Algorithm, JwkSet, KeyUse, Signer, SigningKey, VerifyingKeys, jws},
    token::{
        access::{self, AccessGrant, AccessIssuer, AccessVerifier, Mission},
        assertion, jwt_svid, workload_token,
    },
};

use super::site::NOW;
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "token",
    run,
    seeds,
    words: &[".", "..", "=", "eyJ", "bnVsbA", "e30", "A", "_"],
};

/// Claims that are signed before they are read: chance alone signs nothing.
pub(super) const CLAIMS: Target = Target {
    name: "claims",
    run: run_claims,
    seeds: claims_seeds,
    words: &[
        "\"exp\":",
        "\"act\":{\"sub\":\"spiffe://example.org/a\"",
        "\"cnf\":{\"jkt\":\"",
        "\"aud\":[",
        "1795305900",
        "1.0",
        "null",
    ],
};

const ISSUER: &str = "https://ambit.example.org";
const AUDIENCE: &str = "https://ambit.example.org/mcp";

struct World {
    issuer: AccessIssuer,
    signer: Signer,
    verifier: AccessVerifier,
    /// What was signed of the good token.
    signed: String,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let key = SvidKey::generate([1; 32]).expect("a key");
        let key = SigningKey::from_svid_key(&key, KeyUse::Signature).expect("a key");
        let key = Arc::new(key);
        let set = JwkSet::new(vec![key.public().clone()]).expect("one key");
        let keys = VerifyingKeys::new(&set, &[KeyUse::Signature], &[Algorithm::Es256]);
        let keys = keys.expect("one key");
        let issuer = AccessIssuer::new(ISSUER.to_owned(), Arc::clone(&key));
        let token = issuer.issue(&grant(), NOW).expect("a token");
        let (signed, _) = token.rsplit_once('.').expect("a signature");
        World {
            signed: signed.to_owned(),
            verifier: AccessVerifier::new(ISSUER.to_owned(), keys),
            signer: Signer::new(key, Some("at+jwt")),
            issuer,
        }
    })
}

fn grant() -> AccessGrant {
    let actor = "spiffe://example.org/agent/billing/1".parse();
    AccessGrant {
        token_id: "t".to_owned(),
        subject: "person".to_owned(),
        client_id: "client".to_owned(),
        audience: AUDIENCE.to_owned(),
        actors: vec![actor.expect("a SPIFFE ID")],
        mission: Mission {
            id: "task".to_owned(),
            root: "root".to_owned(),
            authority_hash: "hash".to_owned(),
            expires_at: "end".to_owned(),
        },
        authorization_details: std::iter::once(Value::object([("type", "ambit_task".into())]))
            .collect(),
        binding: KeyBinding::Bearer,
        expires_at: NOW.plus(access::ACCESS_TTL_MAX),
    }
}

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let profiles = [
        access::PROFILE,
        jwt_svid::PROFILE,
        assertion::PROFILE,
        workload_token::PROFILE,
    ];
    for profile in &profiles {
        if let Ok(unverified) = jws::read(text, profile) {
            let _ = unverified.claimed();
        }
    }
    let World {
        verifier, signed, ..
    } = world();
    if verifier.verify(text, AUDIENCE, NOW).is_ok() {
        let seen = text.rsplit_once('.').map(|(seen, _)| seen);
        assert_eq!(seen, Some(signed.as_str()), "what nobody signed verifies");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let World { issuer, signer, .. } = world();
    let good = issuer.issue(&grant(), NOW).expect("a token");
    let other = signer.sign(&Value::object([])).expect("a token");
    vec![good.into_bytes(), other.into_bytes()]
}

fn run_claims(bytes: &[u8]) {
    let Ok(claims) = json::parse_as_written(bytes, 8192) else {
        return;
    };
    let World {
        issuer,
        signer,
        verifier,
        ..
    } = world();
    let Ok(token) = signer.sign(&claims) else {
        return;
    };
    let Ok(read) = verifier.verify(&token, AUDIENCE, NOW) else {
        return;
    };
    // What is read could be issued again, and is read alike.
    if let Ok(again) = issuer.issue(read.grant(), NOW) {
        let again = verifier
            .verify(&again, AUDIENCE, NOW)
            .expect("a token of ours");
        assert_eq!(again.grant(), read.grant());
    }
}

fn claims_seeds() -> Vec<Vec<u8>> {
    let World { signed, .. } = world();
    let claims = signed.split_once('.').map(|(_, claims)| claims);
    let claims = claims.and_then(|it| ambit_identity::jose::base64url::decode(it).ok());
    vec![claims.expect("claims of ours")]
}
