//! How many proofs are remembered.

use ambit_core::{Millis, json::Value};
use ambit_identity::{
    SvidKey,
    jose::{KeyUse, Signer, SigningKey},
};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const URL: &str = "https://gate.example/mcp";
const ONE: &str = "spiffe://example.org/agent/clerk/1";

fn proof(id: &str) -> dpop::Proof {
    let key = SvidKey::generate([3; 32]).unwrap();
    let key = SigningKey::from_svid_key(&key, KeyUse::Signature).unwrap();
    let claims = Value::object([
        ("jti", id.into()),
        ("htm", "POST".into()),
        ("htu", URL.into()),
        ("iat", (NOW.as_millis() / 1000).into()),
    ]);
    let signer = Signer::with_embedded_key(Arc::new(key), "dpop+jwt");
    let request = ProvedRequest {
        method: "POST",
        url: URL,
        access_token: None,
        nonces: None,
        now: NOW,
        wall: NOW,
    };
    dpop::verify(&signer.sign(&claims).unwrap(), &request).unwrap()
}

fn tokens() -> Tokens {
    Tokens::new(TokenConfig {
        url: "https://gate.example".to_owned(),
        issuer: "https://ambit.example".to_owned(),
        trust_domain: "example.org".parse().unwrap(),
        verifiers: Arc::new(|| None),
        nonce_chance: [1; 32],
    })
}

/// At the maximum the last proof is taken; one beyond, nobody's is until some are over.
#[test]
fn proofs_are_remembered_up_to_a_maximum() {
    let tokens = tokens();
    let until = NOW.plus(Millis::from_seconds(60));
    for count in 1..PROOFS_REMEMBERED_MAX {
        let mut proofs = tokens.proofs.lock().unwrap();
        let issuer = (count / PROOFS_REMEMBERED_PER_TASK_MAX).to_string();
        let other = ReplayOwner::Assertion { issuer: &issuer };
        let _first = proofs.admit(other, &count.to_string(), until, NOW).unwrap();
    }
    let (last, beyond) = (proof("last"), proof("beyond"));
    assert_eq!(tokens.spend(&last, ONE, NOW), Ok(()));
    assert_eq!(tokens.spend(&beyond, ONE, NOW), Err(Unidentified::Busy));
    let again = tokens.spend(&last, ONE, NOW);
    assert!(matches!(again, Err(Unidentified::Proof(_))), "{again:?}");
    assert_eq!(tokens.spend(&beyond, ONE, until), Ok(()));
}

/// Whoever has good tokens can't keep the others out: a task has one share, whichever keys its tokens are bound to.
#[test]
fn asi08_one_task_s_proofs_take_no_room_of_others() {
    let tokens = tokens();
    let until = NOW.plus(Millis::from_seconds(60));
    let (last, beyond) = (proof("last"), proof("beyond"));
    for count in 1..PROOFS_REMEMBERED_PER_TASK_MAX {
        let busy = ReplayOwner::ProofOf {
            thumbprint: ambit_core::Digest::of(&count.to_le_bytes()),
            prover: ONE,
        };
        let mut proofs = tokens.proofs.lock().unwrap();
        let _first = proofs.admit(busy, "1", until, NOW).unwrap();
    }
    assert_eq!(tokens.spend(&last, ONE, NOW), Ok(()));
    assert_eq!(tokens.spend(&beyond, ONE, NOW), Err(Unidentified::Busy));
    assert_eq!(
        tokens.spend(&beyond, "spiffe://example.org/agent/clerk/2", NOW),
        Ok(())
    );
}
