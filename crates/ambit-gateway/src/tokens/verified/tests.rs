use ambit_core::{Millis, TaskId, json};
use ambit_identity::{
    KeyBinding, SvidKey,
    jose::{Algorithm, JwkSet, KeyUse, SigningKey, VerifyingKeys},
    mission::{Anchor, AnchorKind},
    token::access::{AccessGrant, AccessIssuer, Mission},
};

use super::*;

const ISSUER: &str = "https://ambit.example";
const AUDIENCE: &str = "https://gate.example/mcp";
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn keys() -> (AccessIssuer, Arc<AccessVerifier>) {
    let key = SvidKey::generate([1; 32]).unwrap();
    let key = Arc::new(SigningKey::from_svid_key(&key, KeyUse::JwtSvid).unwrap());
    let set = JwkSet::new(vec![key.public().clone()]).unwrap();
    let keys = VerifyingKeys::new(&set, &[KeyUse::JwtSvid], &[Algorithm::Es256]).unwrap();
    let verifier = AccessVerifier::new(ISSUER.to_owned(), keys);
    (
        AccessIssuer::new(ISSUER.to_owned(), key),
        Arc::new(verifier),
    )
}

fn token(
    (issuer, verifier): &(AccessIssuer, Arc<AccessVerifier>),
    number: usize,
    seconds: u64,
) -> Arc<AccessToken> {
    let expires_at = NOW.plus(Millis::from_seconds(seconds));
    let anchor = Anchor::of(AnchorKind::Intent, ISSUER, json::Value::Null);
    let grant = AccessGrant {
        token_id: format!("tok_{number}"),
        subject: "someone".to_owned(),
        client_id: "a client".to_owned(),
        audience: AUDIENCE.to_owned(),
        actors: vec!["spiffe://example.org/ambit/gateway".parse().unwrap()],
        mission: Mission::new(&TaskId::from_bits(1), anchor, expires_at),
        authorization_details: json::parse(br#"[{"type":"ambit_task"}]"#).unwrap(),
        binding: KeyBinding::Bearer,
        expires_at,
    };
    let text = issuer.issue(&grant, NOW).unwrap();
    Arc::new(verifier.verify(&text, AUDIENCE, NOW).unwrap())
}

#[test]
fn a_token_is_known_to_who_verified_it_where_it_is_good_and_until_it_ends() {
    let keys = keys();
    let token = token(&keys, 1, 60);
    let mut verified = Verified::new();
    let digest = token.digest();
    let known = |verified: &Verified, by: &Arc<AccessVerifier>, audience: &str, at: u64| {
        let now = NOW.plus(Millis::from_seconds(at));
        verified.find(by, digest, audience, now).is_some()
    };
    assert!(!known(&verified, &keys.1, AUDIENCE, 0));
    verified.keep(&keys.1, Arc::clone(&token), NOW);
    assert!(known(&verified, &keys.1, AUDIENCE, 59));
    assert!(!known(&verified, &keys.1, AUDIENCE, 60));
    assert!(!known(&verified, &keys.1, "https://gate.example/mcp/", 0));
    // The keys changed: another verifier knows nothing, and soon nobody does.
    let other = Arc::new(keys.1.as_ref().clone());
    assert!(!known(&verified, &other, AUDIENCE, 0));
    verified.keep(&other, token, NOW);
    assert!(known(&verified, &other, AUDIENCE, 0) && !known(&verified, &keys.1, AUDIENCE, 0));
}

#[test]
fn beyond_the_maximum_the_first_to_end_is_forgotten() {
    let keys = keys();
    let mut verified = Verified::new();
    let first = token(&keys, 0, 10);
    verified.keep(&keys.1, Arc::clone(&first), NOW);
    for number in 1..VERIFIED_TOKENS_MAX {
        verified.keep(&keys.1, token(&keys, number, 60), NOW);
    }
    let knows = |verified: &Verified, it: &AccessToken| {
        verified.find(&keys.1, it.digest(), AUDIENCE, NOW).is_some()
    };
    assert!(knows(&verified, &first));
    let one_more = token(&keys, VERIFIED_TOKENS_MAX, 60);
    verified.keep(&keys.1, Arc::clone(&one_more), NOW);
    assert!(!knows(&verified, &first) && knows(&verified, &one_more));
    assert_eq!(verified.tokens.len(), VERIFIED_TOKENS_MAX);
}
