//! `jsonwebtoken` (Rust) judges the corpus, and Ambit judges its tokens.

use ambit_core::{Timestamp, json::Value};
use ambit_identity::{
    jose::{Algorithm, JwkSet},
    token::workload_token::WorkloadIssuer,
};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, jwk};

use crate::corpus::{self, AUDIENCE, Expect, ISSUER, NOW_SECONDS, Pair};

#[test]
fn ambit_answers_as_the_corpus_says() {
    let mut accepted = 0;
    for case in corpus::cases() {
        let seen = corpus::accepts(&case.token);
        accepted += usize::from(seen.is_ok());
        let expected = match case.expect {
            Expect::Accepted => seen.is_ok(),
            Expect::Refused => seen.is_err(),
            Expect::Either => true,
        };
        assert!(expected, "{}: {seen:?}", case.name);
    }
    assert!(accepted > 10, "some mutants are good: {accepted}");
}

#[test]
fn what_ambit_accepts_jsonwebtoken_accepts() {
    let set = corpus::key_set().to_value().to_canonical();
    let set: jwk::JwkSet = serde_json::from_str(&set).unwrap();
    let mut validation = Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.validate_nbf = true;
    // The library reads the clock itself: about 47 years, so that only types and presence count.
    validation.leeway = 1_500_000_000;
    let judge = |token: &str| -> Result<(), String> {
        let said = |error: jsonwebtoken::errors::Error| error.to_string();
        let header = jsonwebtoken::decode_header(token).map_err(said)?;
        let key = set.find(&header.kid.ok_or("no kid")?).ok_or("no key")?;
        let key = DecodingKey::from_jwk(key).map_err(said)?;
        let decoded = jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation);
        decoded.map(drop).map_err(said)
    };
    let mut refused = 0;
    for case in corpus::cases() {
        let (ours, theirs) = (corpus::accepts(&case.token), judge(&case.token));
        refused += usize::from(theirs.is_err());
        assert!(
            ours.is_err() || theirs.is_ok(),
            "{}: Ambit accepts, jsonwebtoken says {theirs:?}\n{}",
            case.name,
            case.token
        );
    }
    assert!(refused > 100, "it refuses on its own: {refused}");
}

#[test]
fn what_jsonwebtoken_signs_ambit_reads() {
    let pair = Pair::new(1);
    let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = pair.public.key_id().map(str::to_owned);
    let claims = serde_json::json!({
        "iss": ISSUER, "sub": "s", "aud": AUDIENCE, "exp": NOW_SECONDS + 60, "iat": NOW_SECONDS,
        // What nobody reads may be any number.
        "score": 0.5, "build": 9_007_199_254_740_993_u64, "deep": [1.0, 1e3],
    });
    let key = EncodingKey::from_ec_der(pair.pkcs8());
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    let set = JwkSet::new(vec![pair.public]).unwrap();
    let issuer = WorkloadIssuer::new(
        ISSUER.to_owned(),
        AUDIENCE.to_owned(),
        &set,
        &[Algorithm::Es256],
    );
    let now = Timestamp::from_millis(NOW_SECONDS * 1000);
    let read = issuer.unwrap().verify(&token, now).unwrap();
    assert_eq!(read.subject(), "s");
}

#[test]
fn thumbprints_are_the_same() {
    for chance in 1..=8 {
        let key = Pair::new(chance).public;
        let Value::String(ours) =
            ambit_identity::jose::base64url::encode(key.thumbprint().as_bytes()).into()
        else {
            panic!("a text");
        };
        let theirs: jwk::Jwk = serde_json::from_str(&key.to_value().to_canonical()).unwrap();
        let theirs = theirs.thumbprint(jwk::ThumbprintHash::SHA256).unwrap();
        assert_eq!(ours, theirs);
    }
}
