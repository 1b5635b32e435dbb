use ambit_core::json::Value;

use super::*;
use crate::jose::{
    Signer,
    tests::{forge, json, signing_key, whole},
};

/// 2026-11-22T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_305_600_000);
const URL: &str = "https://ambit.example.org/oauth/token";
const CLAIMS: &str =
    r#"{"htm":"POST","htu":"https://ambit.example.org/oauth/token","iat":1795305600,"jti":"p"}"#;

const REQUEST: ProvedRequest<'static> = ProvedRequest {
    method: "POST",
    url: URL,
    access_token: None,
    nonces: None,
    now: NOW,
    wall: NOW,
};

fn signed(claims: &str) -> String {
    let signer = Signer::with_embedded_key(signing_key(3), "dpop+jwt");
    signer.sign(&json(claims)).unwrap()
}

fn with(name: &str, value: Value) -> String {
    let mut members = json(CLAIMS).as_object().unwrap().clone();
    members.insert(name.to_owned(), value);
    signed(&Value::Object(members).to_canonical())
}

#[track_caller]
fn check(proof: &str, request: &ProvedRequest<'_>, expect: Result<(), &str>) {
    match (verify(proof, request), expect) {
        (Ok(_), Ok(())) => {}
        (Err(error), Err(part)) => {
            let shown = whole(&error);
            assert!(shown.contains(part), "`{shown}` does not say `{part}`");
        }
        (got, expect) => panic!("{proof}: got {got:?}, expected {expect:?}"),
    }
}

#[test]
fn nhi04_a_proof_is_for_one_request() {
    let tried = |name: &str, value: Value, expect| check(&with(name, value), &REQUEST, expect);
    check(&signed(CLAIMS), &REQUEST, Ok(()));
    let proof = verify(&signed(CLAIMS), &REQUEST).unwrap();
    assert_eq!(proof.thumbprint(), signing_key(3).public().thumbprint());
    assert_eq!(proof.token_id(), "p");
    assert_eq!(proof.remember_until(), NOW.plus(PROOF_AGE_MAX));
    for method in ["GET", "post", "", " POST"] {
        tried("htm", method.into(), Err("`htm`"));
    }
    for url in [
        "https://ambit.example.org/oauth/token",
        "HTTPS://AMBIT.example.org:443/oauth/token",
        "https://ambit.example.org/x/../oauth/%74oken",
        "https://ambit.example.org/oauth/token?a=b#c",
    ] {
        tried("htu", url.into(), Ok(()));
    }
    for url in [
        "http://ambit.example.org/oauth/token",
        "https://ambit.example.org/oauth/token/",
        "https://ambit.example.org/oauth/Token",
        "https://ambit.example.org/oauth%2Ftoken",
        "https://ambit.example.org:8443/oauth/token",
        "https://other.example/oauth/token",
        "https://u@ambit.example.org/oauth/token",
        "https://ambit.example.org.other.example/oauth/token",
        "//ambit.example.org/oauth/token",
        "/oauth/token",
        "ftp://ambit.example.org/oauth/token",
        "https:///oauth/token",
    ] {
        tried("htu", url.into(), Err("`htu`"));
    }
    tried(
        "htu",
        format!("{URL}?{}", "x".repeat(2048)).into(),
        Err("at most 2048"),
    );
    for name in ["htm", "htu", "jti"] {
        tried(name, Value::Integer(1), Err("a text"));
        tried(name, Value::Null, Err("a text"));
    }
    tried("jti", "x".repeat(128).into(), Ok(()));
    tried("jti", "x".repeat(129).into(), Err("at most 128"));
    tried("more", Value::Null, Ok(()));
}

#[test]
fn nhi04_a_proof_is_of_now() {
    let tried = |seconds: i64, expect| {
        check(
            &with("iat", Value::Integer(1_795_305_600 + seconds)),
            &REQUEST,
            expect,
        );
    };
    tried(-299, Ok(()));
    tried(-300, Err("make a new one"));
    tried(60, Ok(()));
    tried(61, Err("compare the two clocks"));
    let other = |name: &str, value: Value, part| check(&with(name, value), &REQUEST, Err(part));
    other("iat", Value::Null, "written as an integer");
    other("iat", "1795305600".into(), "written as an integer");
    other("exp", Value::Integer(1_795_305_600), "expired");
    other("exp", "later".into(), "written as an integer");
    other(
        "nbf",
        Value::Integer(1_795_305_661),
        "compare the two clocks",
    );
}

#[test]
fn a_proof_carries_its_own_public_key() {
    let key = signing_key(3).public().bare().to_value().to_canonical();
    let header = |members: &str| forge(3, &format!("{{{members}}}"), CLAIMS);
    let tried = |members: &str, part| check(&header(members), &REQUEST, Err(part));
    let good = format!(r#""alg":"ES256","typ":"dpop+jwt","jwk":{key}"#);
    check(&header(&good), &REQUEST, Ok(()));
    tried(r#""alg":"ES256","typ":"dpop+jwt""#, "`jwk` must be there");
    tried(&good.replace("dpop+jwt", "JWT"), "`typ`");
    tried(&good.replace("\"ES256\"", "\"none\""), "`none`");
    tried(
        &good.replace("\"ES256\"", "\"RS256\""),
        "RS256 is not accepted",
    );
    tried(&good.replace("\"ES256\"", "\"ES384\""), "keep `alg`");
    tried(&format!(r#"{good},"kid":"x""#), "`kid` is not accepted");
    tried(
        &good.replace("{\"crv\"", "{\"d\":\"AA\",\"crv\""),
        "no secret any more",
    );
    let other = signing_key(4).public().bare().to_value().to_canonical();
    tried(&good.replace(&key, &other), "does not verify");
    let secret = r#""alg":"HS256","typ":"dpop+jwt","jwk":{"kty":"oct","k":"AA"}"#;
    tried(secret, "HS256");
}

#[test]
fn a_proof_names_the_token_beside_it() {
    let digest = |token: &str| base64url::encode(Digest::of(token.as_bytes()).as_bytes());
    let beside = |access_token| ProvedRequest {
        access_token,
        ..REQUEST
    };
    let over = with("ath", digest("t").into());
    check(&over, &beside(Some("t")), Ok(()));
    check(&over, &beside(Some("u")), Err("`ath`"));
    check(&over, &beside(None), Err("`ath`"));
    check(&signed(CLAIMS), &beside(Some("t")), Err("`ath`"));
    let proof = verify(&over, &beside(Some("t"))).unwrap();
    assert!(proof.is_made_for(Digest::of(b"t")));
    let proof = verify(&signed(CLAIMS), &REQUEST).unwrap();
    assert!(!proof.is_made_for(Digest::of(b"t")));
}

#[test]
fn nonces_are_fresh_for_two_slots() {
    let (key, other) = (NonceKey::new(&[1; 32]), NonceKey::new(&[2; 32]));
    let after = |slots: u64| NOW.plus(Millis::new(NONCE_SLOT.as_millis() * slots));
    let nonce = key.nonce(NOW);
    assert_eq!(nonce.len(), 54);
    let last = Timestamp::from_millis(after(2).as_millis() - 1);
    for (now, age) in [
        (NOW, NonceAge::Fresh),
        (last, NonceAge::Fresh),
        (after(2), NonceAge::Stale),
        (Timestamp::from_millis(NOW.as_millis() - 1), NonceAge::Stale),
    ] {
        assert_eq!(key.check(&nonce, now), age, "{now}");
    }
    assert_eq!(other.check(&nonce, NOW), NonceAge::Stale);
    for text in [
        "",
        "AA",
        nonce.get(..53).unwrap(),
        &format!("{nonce}="),
        &nonce.replacen('A', "B", 1),
    ] {
        assert_eq!(key.check(text, NOW), NonceAge::Stale, "{text}");
    }
    let asked = ProvedRequest {
        nonces: Some(&key),
        ..REQUEST
    };
    let refused = |proof: &str| matches!(verify(proof, &asked), Err(ProofError::Nonce));
    check(&with("nonce", nonce.into()), &asked, Ok(()));
    assert!(refused(&signed(CLAIMS)));
    assert!(refused(&with("nonce", other.nonce(NOW).into())));
    // Whatever else is wrong is said first.
    check(&with("htm", "GET".into()), &asked, Err("`htm`"));
    check(
        &with("nonce", "x".repeat(129).into()),
        &REQUEST,
        Err("at most 128"),
    );
}

#[test]
fn what_is_made_here_is_taken_here() {
    let key = crate::SvidKey::generate([3; 32]).unwrap();
    let maker = ProofMaker::new(&key).unwrap();
    let made = MadeRequest {
        method: "POST",
        url: URL,
        access_token: Some("a.b"),
        nonce: None,
        token_id: "1",
        now: NOW,
    };
    let proof = maker.prove(&made).unwrap();
    let wanted = ProvedRequest {
        access_token: Some("a.b"),
        ..REQUEST
    };
    let proved = verify(&proof, &wanted).unwrap();
    assert_eq!(proved.thumbprint(), maker.thumbprint());
    check(&proof, &REQUEST, Err("`ath`"));
    let nonces = NonceKey::new(&[1; 32]);
    let nonce = nonces.nonce(NOW);
    let with = maker.prove(&MadeRequest {
        nonce: Some(&nonce),
        ..made
    });
    let wanted = ProvedRequest {
        nonces: Some(&nonces),
        ..wanted
    };
    check(&with.unwrap(), &wanted, Ok(()));
    assert!(matches!(verify(&proof, &wanted), Err(ProofError::Nonce)));
}
