use std::sync::Arc;

use super::*;
use crate::{
    SvidKey,
    jose::{AUDIENCES_MAX, Jwk, SigningKey, TEXT_BYTES_MAX},
    token::{
        assertion::verify_jwt_spiffe,
        jwt_svid::{JwtSvidIssuance, JwtSvidIssuer, JwtSvidKeys, claimed_trust_domain, verify},
    },
};

const CLAIMS: &str = r#"{"sub":"spiffe://example.org/agent/billing/1","aud":"them","exp":1795305700,"iat":1795305600}"#;

fn svid_key() -> Arc<SigningKey> {
    let key = SvidKey::generate([1; 32]).unwrap();
    Arc::new(SigningKey::from_svid_key(&key, KeyUse::JwtSvid).unwrap())
}

fn bundle(keys: Vec<Jwk>) -> JwtSvidKeys {
    JwtSvidKeys::new("example.org".parse().unwrap(), &JwkSet::new(keys).unwrap()).unwrap()
}

fn own() -> JwtSvidKeys {
    bundle(vec![svid_key().public().clone()])
}

fn signed(claims: &str) -> String {
    forge(
        1,
        &format!(r#"{{"alg":"ES256","kid":"{}","typ":"JWT"}}"#, key_id(1)),
        claims,
    )
}

#[test]
fn what_is_issued_is_read_back() {
    let spiffe_id = "spiffe://example.org/agent/billing/1".parse().unwrap();
    let issue = |audiences: &[&str], expires_at| {
        let audiences: Vec<_> = audiences.iter().map(|it| (*it).to_owned()).collect();
        JwtSvidIssuer::new(svid_key()).issue(&JwtSvidIssuance {
            spiffe_id: &spiffe_id,
            audiences: &audiences,
            token_id: "j",
            now: NOW,
            expires_at,
        })
    };
    let token = issue(&["them", "us"], later(300)).unwrap();
    let svid = verify(&token, &own(), "us", NOW).unwrap();
    assert_eq!(svid.spiffe_id(), &spiffe_id);
    assert_eq!(svid.audiences(), ["them", "us"]);
    assert_eq!(
        (svid.token_id(), svid.expires_at()),
        (Some("j"), later(300))
    );
    assert_eq!(
        claimed_trust_domain(&token).unwrap().as_str(),
        "example.org"
    );
    check_refusal(
        verify(&token, &own(), "others", NOW),
        Err("`aud`"),
        "another audience",
    );
    check_refusal(issue(&[], later(300)), Err("`aud`"), "no audience");
    check_refusal(issue(&["us"], NOW), Err("expired"), "no life");
    check_refusal(
        issue(&["us"], later(24 * 3600 + 1)),
        Err("at most"),
        "too long a life",
    );
}

#[test]
fn the_standard_is_kept_to_the_letter() {
    let tried =
        |token: &str, expect| check_refusal(verify(token, &own(), "them", NOW), expect, token);
    tried(&signed(CLAIMS), Ok(()));
    let kid = key_id(1);
    let header = |members: &str| forge(1, &format!(r#"{{"alg":"ES256"{members}}}"#), CLAIMS);
    for members in ["", r#","typ":"JWT""#, r#","typ":"JOSE""#] {
        tried(&header(members), Ok(()));
        tried(&header(&format!(r#"{members},"kid":"{kid}""#)), Ok(()));
    }
    for members in [
        r#","typ":"jwt""#,
        r#","typ":"at+jwt""#,
        r#","typ":"wit+jwt""#,
        r#","typ":"""#,
    ] {
        tried(&header(members), Err("`typ`"));
    }
    for member in ["cty", "crit", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256"] {
        tried(
            &header(&format!(r#","{member}":"x""#)),
            Err("is not accepted in a JWT-SVID"),
        );
    }
    tried(
        &forge(1, r#"{"alg":"EdDSA"}"#, CLAIMS),
        Err("EdDSA is not accepted"),
    );
    for name in [
        "",
        "\"https://example.org/a\"",
        "\"spiffe://example.org\"",
        "7",
        "\"spiffe://example.org/a//b\"",
    ] {
        tried(
            &signed(&replaced(CLAIMS, "sub", name)),
            Err("`sub` must be"),
        );
    }
    let foreign = "\"spiffe://other.example/agent/billing/1\"";
    tried(
        &signed(&replaced(CLAIMS, "sub", foreign)),
        Err("whose key signed"),
    );
    for audience in ["", "[]", "\"\"", "\"other\"", "{}"] {
        tried(
            &signed(&replaced(CLAIMS, "aud", audience)),
            Err("`aud` must be"),
        );
    }
    for (name, value, part) in WRONG_DATES {
        tried(&signed(&replaced(CLAIMS, name, value)), Err(part));
    }
}

#[test]
fn claims_are_typed_and_bounded() {
    let tried =
        |token: &str, expect| check_refusal(verify(token, &own(), "them", NOW), expect, token);
    let many = |count: usize| format!("[\"them\"{}]", ",\"x\"".repeat(count - 1));
    tried(
        &signed(&replaced(CLAIMS, "aud", &many(AUDIENCES_MAX))),
        Ok(()),
    );
    tried(
        &signed(&replaced(CLAIMS, "aud", &many(AUDIENCES_MAX + 1))),
        Err("1 to 16"),
    );
    let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    tried(
        &signed(&replaced(CLAIMS, "iss", &long(TEXT_BYTES_MAX))),
        Ok(()),
    );
    tried(
        &signed(&replaced(CLAIMS, "iss", &long(TEXT_BYTES_MAX + 1))),
        Err("at most 2048"),
    );
    // Claims that nobody knows are read past (RFC 7519 §4).
    tried(&signed(&replaced(CLAIMS, "more", "{\"x\":[1]}")), Ok(()));
}

#[test]
fn only_keys_for_jwt_svids_count() {
    let token = signed(CLAIMS);
    let others = bundle(vec![signing_key(1).public().clone()]);
    check_refusal(
        verify(&token, &others, "them", NOW),
        Err("was it rotated"),
        "use=sig",
    );
    let none = bundle(vec![]);
    check_refusal(
        verify(&token, &none, "them", NOW),
        Err("was it rotated"),
        "all revoked",
    );
}

#[test]
fn as_a_client_assertion_it_is_for_the_issuer_alone() {
    let tried = |name: &str, value: &str, expect| {
        let claims = replaced(CLAIMS, "aud", &format!("\"{ISSUER}\""));
        let token = signed(&replaced(&claims, name, value));
        check_refusal(
            verify_jwt_spiffe(&token, &own(), ISSUER, NOW),
            expect,
            value,
        );
    };
    tried("aud", &format!("\"{ISSUER}\""), Ok(()));
    tried("aud", &format!("[\"{ISSUER}\"]"), Ok(()));
    tried("jti", "\"j\"", Ok(()));
    tried("iss", "\"https://oidc.example.org\"", Ok(()));
    tried("iss", "\"spiffe://example.org\"", Ok(()));
    tried("iss", "\"spiffe://example.org/agent/billing/1\"", Ok(()));
    tried(
        "iss",
        "\"spiffe://example.org/agent/other/1\"",
        Err("`iss`"),
    );
    tried("aud", &format!("[\"{ISSUER}\",\"them\"]"), Err("alone"));
    tried("aud", &format!("\"{ISSUER}/oauth/token\""), Err("`aud`"));
}
