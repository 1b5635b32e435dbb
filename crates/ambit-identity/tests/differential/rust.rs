//! `jsonwebtoken` (Rust) judges the corpus, and Ambit judges its tokens.

use ambit_core::json::Value;
use ambit_identity::jose::{Algorithm, Jwk, base64url};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, jwk};

use crate::{
    corpus::{self, Case, Expect, Tokens},
    keys,
    profiles::{Kind, NOW_SECONDS, Site},
    verdicts::Judged,
};

/// How long all may take: its clock goes on meanwhile.
const JUDGED_WITHIN_SECONDS: u64 = 600;

#[test]
fn ambit_answers_as_the_corpus_says() {
    let (mut wrong, mut bred) = (Vec::new(), 0);
    for Tokens { site, cases } in corpus::all(NOW_SECONDS) {
        for case in cases {
            let seen = site.accepts(&case.token);
            let is_right = match case.expect {
                Expect::Accepted => seen.is_ok(),
                Expect::Refused => seen.is_err(),
                Expect::Either => {
                    bred += usize::from(seen.is_ok());
                    true
                }
            };
            if !is_right {
                wrong.push(format!("{}, {}: {seen:?}", site.name(), case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(bred > 50, "some mutants are good: {bred}");
}

#[test]
fn what_ambit_accepts_jsonwebtoken_accepts() {
    for judged in judged(&tokens()) {
        judged.check("jsonwebtoken");
    }
}

#[test]
fn what_jsonwebtoken_signs_ambit_reads() {
    for algorithm in Algorithm::ALL {
        let Ok(theirs) = algorithm.as_str().parse() else {
            assert_eq!(algorithm, Algorithm::Es512, "it knows all others");
            continue;
        };
        let site = Site::new(Kind::WorkloadToken, algorithm, NOW_SECONDS);
        let mut header = Header::new(theirs);
        header.kid = Some("now".to_owned());
        let mut claims: serde_json::Value = serde_json::from_str(&site.claims()).unwrap();
        // What nobody reads may be any number.
        claims["build"] = serde_json::json!([0.5, 9_007_199_254_740_993_u64, 1.0, 1e3]);
        let private = site.ring.own.private();
        let key = match theirs.family() {
            jsonwebtoken::AlgorithmFamily::Rsa => EncodingKey::from_rsa_der(&private),
            jsonwebtoken::AlgorithmFamily::Ec => EncodingKey::from_ec_der(&private),
            jsonwebtoken::AlgorithmFamily::Ed => EncodingKey::from_ed_der(&private),
            jsonwebtoken::AlgorithmFamily::Hmac => panic!("no secret is shared"),
        };
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        assert_eq!(site.accepts(&token), Ok(()), "{algorithm}");
    }
}

#[test]
fn thumbprints_are_the_same() {
    for algorithm in Algorithm::ALL {
        let text = keys::ring(algorithm).own.jwk([]).to_canonical();
        let ours = Jwk::parse(text.as_bytes(), text.len()).unwrap();
        let ours = base64url::encode(ours.thumbprint().as_bytes());
        let theirs: jwk::Jwk = serde_json::from_str(&text).unwrap();
        let theirs = theirs.thumbprint(jwk::ThumbprintHash::SHA256).unwrap();
        assert_eq!(ours, theirs, "{algorithm}");
    }
}

/// Returns the tokens that it can be asked about: it reads the clock by itself, so they are of the time that it reads.
pub(crate) fn tokens() -> Vec<Tokens> {
    corpus::all(jsonwebtoken::get_current_timestamp())
}

/// Asks about every site but those of ES512, which this library does not know.
pub(crate) fn judged(tokens: &[Tokens]) -> Vec<Judged<'_>> {
    let known = tokens
        .iter()
        .filter(|it| it.site.algorithm != Algorithm::Es512);
    known
        .map(|tokens| {
            let site = &tokens.site;
            let set = site.published().to_canonical();
            let set: jwk::JwkSet = serde_json::from_str(&set).unwrap();
            let validation = validation(site);
            let is_proof = site.kind == Kind::Proof;
            let ask = |it: &Case| judge(&it.token, (&set, is_proof), &validation);
            Judged {
                tokens,
                verdicts: tokens.cases.iter().map(ask).collect(),
            }
        })
        .collect()
}

fn judge(
    token: &str,
    (set, is_embedded): (&jwk::JwkSet, bool),
    validation: &Validation,
) -> Result<(), String> {
    let said = |error: jsonwebtoken::errors::Error| error.to_string();
    let header = jsonwebtoken::decode_header(token).map_err(said)?;
    let key = if is_embedded {
        DecodingKey::from_jwk(&header.jwk.ok_or("no jwk")?)
    } else {
        DecodingKey::from_jwk(set.find(&header.kid.ok_or("no kid")?).ok_or("no key")?)
    };
    let decoded = jsonwebtoken::decode::<serde_json::Value>(token, &key.map_err(said)?, validation);
    decoded.map(drop).map_err(said)
}

fn validation(site: &Site) -> Validation {
    let named = |it: Algorithm| -> Option<jsonwebtoken::Algorithm> { it.as_str().parse().ok() };
    let own = named(site.algorithm).unwrap();
    let mut validation = Validation::new(own);
    let algorithms = site.kind.algorithms().iter().copied().filter_map(named);
    validation.algorithms = algorithms
        .filter(|it| it.family() == own.family())
        .collect();
    let rules = site.rules();
    let text = |name: &str| rules.get(name).and_then(Value::as_str);
    match text("audience") {
        Some(audience) => validation.set_audience(&[audience]),
        None => validation.validate_aud = false,
    }
    if let Some(issuer) = text("issuer") {
        validation.set_issuer(&[issuer]);
    }
    validation.set_required_spec_claims(site.kind.required());
    validation.validate_nbf = true;
    validation.leeway = site.kind.leeway_seconds() + JUDGED_WITHIN_SECONDS;
    validation
}
