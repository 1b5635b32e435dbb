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

/// Status, error (RFC 6750 §3.1, RFC 9449 §7.1) and scheme of the challenge of every way not to be identified: a new way
/// does not compile before it has a row.
#[test]
fn every_way_to_be_nobody_has_its_error() {
    let row = |why: &Unidentified| match why {
        Unidentified::NoToken => (401, None, None),
        Unidentified::Request(_) => (400, Some("invalid_request"), Some("Bearer")),
        Unidentified::Token(Scheme::Bearer, _) | Unidentified::Expired(Scheme::Bearer, _) => {
            (401, Some("invalid_token"), Some("Bearer"))
        }
        Unidentified::Token(Scheme::Dpop, _) | Unidentified::Expired(Scheme::Dpop, _) => {
            (401, Some("invalid_token"), Some("DPoP"))
        }
        Unidentified::Proof(_) => (401, Some("invalid_dpop_proof"), Some("DPoP")),
        Unidentified::Nonce => (401, Some("use_dpop_nonce"), Some("DPoP")),
        Unidentified::Busy => (503, None, None),
    };
    let why = || "it is \"wrong\" (§ 3)".to_owned();
    for way in [
        Unidentified::NoToken,
        Unidentified::Request("send one"),
        Unidentified::Token(Scheme::Bearer, why()),
        Unidentified::Token(Scheme::Dpop, why()),
        Unidentified::Expired(Scheme::Bearer, why()),
        Unidentified::Expired(Scheme::Dpop, why()),
        Unidentified::Proof(why()),
        Unidentified::Nonce,
        Unidentified::Busy,
    ] {
        let (status, error, scheme) = row(&way);
        let answer = tokens().refuse(&Door::All, &way, NOW);
        assert_eq!(answer.status().as_u16(), status, "{way:?}");
        let challenges = answer.headers().get_all("www-authenticate");
        let challenges: Vec<&str> = challenges.iter().map(|it| it.to_str().unwrap()).collect();
        assert_eq!(
            challenges.len(),
            if status == 503 { 0 } else { 2 },
            "{way:?}"
        );
        for challenge in challenges {
            let wanted = error.filter(|_| scheme.is_some_and(|it| challenge.starts_with(it)));
            let said = wanted.map(|it| format!("error=\"{it}\", error_description=\""));
            match said {
                Some(said) => assert!(challenge.contains(&said), "{way:?}: {challenge}"),
                None => assert!(!challenge.contains("error="), "{way:?}: {challenge}"),
            }
            let plain = |it: char| (' '..='~').contains(&it) && !['\\', '?'].contains(&it);
            assert!(challenge.chars().all(plain), "{way:?}: {challenge}");
        }
        let nonce = answer.headers().contains_key("dpop-nonce");
        assert_eq!(nonce, status != 503, "{way:?}");
    }
}
