//! Shapes and headers of tokens.

use proptest::prelude::*;

use super::*;

const HEADER: &str = r#"{"alg":"ES256","typ":"test+jwt"}"#;
const CLAIMS: &str = r#"{"sub":"somebody"}"#;

fn open(token: &str) -> Result<Verified, JoseError> {
    let key = verifying_key(&signing_key(1));
    jws::read(token, &PLAIN)?.verify(&key)
}

#[track_caller]
fn check(token: &str, expect: Result<&str, &str>) {
    match (open(token), expect) {
        (Ok(verified), Ok(subject)) => {
            assert_eq!(verified.claims().text("sub").unwrap(), Some(subject));
        }
        (Err(error), Err(part)) => {
            let shown = whole(&error);
            assert!(shown.contains(part), "`{shown}` does not say `{part}`");
        }
        (got, expect) => panic!("{token}: got {got:?}, expected {expect:?}"),
    }
}

#[test]
fn what_a_signer_signs_its_verifying_key_reads() {
    let signer = Signer::new(signing_key(1), Some("test+jwt"));
    let token = signer.sign(&json(CLAIMS)).unwrap();
    check(&token, Ok("somebody"));
    let other = Signer::new(signing_key(2), Some("test+jwt"));
    check(&other.sign(&json(CLAIMS)).unwrap(), Err("does not verify"));
    let other = Signer::new(signing_key(1), Some("other+jwt"));
    check(&other.sign(&json(CLAIMS)).unwrap(), Err("`typ`"));
}

#[test]
fn headers_say_only_what_their_profile_lets_them() {
    let tried = |header: &str, expect| check(&forge(1, header, CLAIMS), expect);
    tried(HEADER, Ok("somebody"));
    tried(
        r#"{"alg":"ES256","typ":"test+jwt","kid":"any"}"#,
        Ok("somebody"),
    );
    let one_more = [
        r#""crit":["exp"]"#,
        r#""crit":[]"#,
        r#""b64":true"#,
        r#""b64":false"#,
        r#""zip":"DEF""#,
        r#""jku":"https://example.com/keys""#,
        r#""x5u":"https://example.com/chain""#,
        r#""x5c":["AA=="]"#,
        r#""jwk":{"kty":"EC"}"#,
        r#""cty":"JWT""#,
        r#""epk":{}"#,
        r#""Alg":"none""#,
    ];
    for member in one_more {
        let header = format!(r#"{{"alg":"ES256","typ":"test+jwt",{member}}}"#);
        tried(&header, Err("is not accepted in a test token"));
    }
    for algorithm in [
        "none", "None", "HS256", "HS512", "es256", "ES256K", "RSA-OAEP", "",
    ] {
        let header = format!(r#"{{"alg":"{algorithm}","typ":"test+jwt"}}"#);
        tried(&header, Err("no signature algorithm that is accepted"));
    }
    tried(
        r#"{"alg":"ES384","typ":"test+jwt"}"#,
        Err("ES384 is not accepted"),
    );
    tried(
        r#"{"alg":["ES256"],"typ":"test+jwt"}"#,
        Err("`alg` must be a text"),
    );
    tried(r#"{"typ":"test+jwt"}"#, Err("`alg` must be there"));
    tried(r#"{"alg":"ES256"}"#, Err("`typ`"));
    tried(r#"{"alg":"ES256","typ":"TEST+JWT"}"#, Err("`typ`"));
    tried(
        r#"{"alg":"ES256","typ":"test+jwt","kid":7}"#,
        Err("`kid` must be a text"),
    );
    tried(
        r#"{"alg":"ES256","typ":"test+jwt","kid":""}"#,
        Err("256 bytes"),
    );
    let duplicate = r#"{"alg":"none","alg":"ES256","typ":"test+jwt"}"#;
    tried(duplicate, Err("stands twice"));
    let escaped = r#"{"\u0061lg":"none","alg":"ES256","typ":"test+jwt"}"#;
    tried(escaped, Err("stands twice"));
    tried(r#"[{"alg":"ES256"}]"#, Err("not a JSON object"));
    tried("", Err("must be JSON"));
    tried(&format!("{HEADER} x"), Err("must be JSON"));
}

#[test]
fn claims_have_one_reading() {
    let tried = |claims: &str, part| check(&forge(1, HEADER, claims), Err(part));
    tried(r#"{"sub":"a","sub":"b"}"#, "stands twice");
    tried(r#"{"sub":"a","deep":{"x":1,"x":2}}"#, "stands twice");
    tried(
        r#"{"sub":"a","score":0.5,"deep":{"x":1.5,"x":2}}"#,
        "stands twice",
    );
    tried(r#"{"sub":"\ud800"}"#, "must be JSON");
    tried(r#""a text""#, "not a JSON object");
    tried("[]", "not a JSON object");
    tried("", "must be JSON");
}

/// Judges of ours take such tokens, and issuers write them: a score, a share, a number of 64 bits.
#[test]
fn numbers_of_any_spelling_may_stand_where_nobody_reads() {
    for beside in [
        r#""score":0.5"#,
        r#""build":9007199254740993"#,
        r#""id":18446744073709551615"#,
        r#""deep":{"list":[1.0,1e3,-0]}"#,
        r#""exp":1.0"#,
    ] {
        let claims = format!(r#"{{"sub":"somebody",{beside}}}"#);
        check(&forge(1, HEADER, &claims), Ok("somebody"));
        let header = format!(r#"{{"alg":"ES256","typ":"test+jwt",{beside}}}"#);
        let refused = open(&forge(1, &header, CLAIMS));
        assert!(refused.is_err(), "{header}");
    }
    for date in [
        "1.0",
        "1e9",
        "0.5",
        "9007199254740992",
        "-0",
        "1795305900.0",
    ] {
        let claims = format!(r#"{{"sub":"somebody","exp":{date}}}"#);
        let read = open(&forge(1, HEADER, &claims)).unwrap();
        let refused = whole(&read.claims().date("exp").unwrap_err());
        assert!(refused.contains("written as an integer"), "{refused}");
    }
}

#[test]
fn a_token_is_three_canonical_parts() {
    let token = forge(1, HEADER, CLAIMS);
    check(&token, Ok("somebody"));
    let [header, claims, signature] =
        <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).unwrap();
    check("", Err("two dots"));
    check("..", Err("must be JSON"));
    check(&format!("{header}.{claims}"), Err("two dots"));
    check(&format!("{token}."), Err("two dots"));
    check(&format!(".{token}"), Err("two dots"));
    check(&format!("{header}.{claims}..{signature}"), Err("two dots"));
    check(&format!("{header}.{claims}."), Err("does not verify"));
    check(&format!("{header}..{signature}"), Err("does not verify"));
    for around in [
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
    ] {
        check(&around, Err("must be base64url"));
    }
    check(
        &format!("{header}=.{claims}.{signature}"),
        Err("must be base64url"),
    );
    check(
        &format!("{header}.{claims}.{signature}=="),
        Err("must be base64url"),
    );
    // 64 bytes leave four bits of the last letter unused: only one letter has them all zero.
    let last = signature.chars().last().unwrap();
    let next = char::from_u32(u32::from(last) + 1).unwrap();
    let cut = signature.strip_suffix(last).unwrap();
    check(
        &format!("{header}.{claims}.{cut}{next}"),
        Err("must be base64url"),
    );
    check(
        &format!("{header}.{claims}.{}", signature.replace(last, "+")),
        Err("must be base64url"),
    );
    let signed = format!("{header}.{}", base64url::encode(CLAIMS) + "=");
    check(&resign(1, &signed), Err("must be base64url"));
    let json = r#"{"payload":"x","signatures":[]}"#;
    check(json, Err("two dots"));
}

#[test]
fn lengths_end_at_their_maxima() {
    let padded = |bytes: usize| {
        let claims = |filler: usize| format!(r#"{{"sub":"x","f":"{}"}}"#, "y".repeat(filler));
        let empty = forge(1, HEADER, &claims(0)).len();
        (0..bytes - empty)
            .rev()
            .map(|filler| forge(1, HEADER, &claims(filler)))
            .find(|it| it.len() <= bytes)
            .unwrap()
    };
    let longest = padded(TOKEN_BYTES_MAX);
    assert!(longest.len() + 2 > TOKEN_BYTES_MAX, "{}", longest.len());
    check(&longest, Ok("x"));
    check(&"a".repeat(TOKEN_BYTES_MAX + 1), Err("at most 16384"));

    let header = |filler: usize| {
        let kid = "k".repeat(filler);
        format!(r#"{{"alg":"ES256","typ":"test+jwt","kid":"{kid}"}}"#)
    };
    check(&forge(1, &header(KEY_ID_BYTES_MAX), CLAIMS), Ok("somebody"));
    check(
        &forge(1, &header(KEY_ID_BYTES_MAX + 1), CLAIMS),
        Err("256 bytes"),
    );
    let spaced = |spaces: usize| format!("{HEADER}{}", " ".repeat(spaces));
    let fits = HEADER_BYTES_MAX / 4 * 3 - HEADER.len();
    check(&forge(1, &spaced(fits), CLAIMS), Ok("somebody"));
    check(&forge(1, &spaced(fits + 1), CLAIMS), Err("at most 4096"));

    let signer = Signer::new(signing_key(1), Some("test+jwt"));
    let large = Value::object([("sub", "x".repeat(TOKEN_BYTES_MAX).into())]);
    assert!(matches!(
        signer.sign(&large),
        Err(JoseError::TooLong { .. })
    ));
}

/// Cases of the kind that Project Wycheproof collects.
#[test]
fn signatures_are_two_numbers_within_the_order() {
    let token = forge(1, HEADER, CLAIMS);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = base64url::decode(signature).unwrap();
    let (r, s) = signature.split_at(32);
    let tried = |bytes: &[u8]| open(&format!("{signed}.{}", base64url::encode(bytes)));
    assert!(tried(&signature).is_ok());
    // ECDSA has a twin for every signature, and JWS accepts both: tokens are told apart by `jti`
    // and revoked by `jti`, never by their text.
    assert!(tried(&[r, &minus(s)].concat()).is_ok());
    let (zero, one) = ([0; 32], [[0; 31].as_slice(), &[1]].concat());
    let order = ORDER;
    let refused: [(&str, Vec<u8>); 14] = [
        ("empty", vec![]),
        ("short", signature[..63].to_vec()),
        ("long", [&signature[..], &[0]].concat()),
        ("led by zero", [&[0], &signature[..]].concat()),
        ("both zero", [zero, zero].concat()),
        ("r zero", [&zero, s].concat()),
        ("s zero", [r, &zero].concat()),
        ("r one", [&one, s].concat()),
        ("both the order", [order, order].concat()),
        ("r the order", [&order, s].concat()),
        ("s the order", [r, &order].concat()),
        ("all ones", vec![0xff; 64]),
        ("swapped", [s, r].concat()),
        ("DER", der(r, s)),
    ];
    for (what, bytes) in refused {
        assert!(matches!(tried(&bytes), Err(JoseError::Signature)), "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No letter of a token can be changed.
    #[test]
    fn a_changed_token_is_refused(place in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_.=-]") {
        let token = forge(1, HEADER, CLAIMS);
        let place = place.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(place..=place, &letter);
        prop_assert_eq!(open(&changed).is_ok(), changed == token);
    }

    /// Whatever comes, there is an answer.
    #[test]
    fn noise_is_refused(text in "[ -~]{0,40}(\\.[ -~]{0,40}){0,3}") {
        prop_assert!(open(&text).is_err());
    }
}

/// Returns n - s.
fn minus(s: &[u8]) -> [u8; 32] {
    let mut borrow = 0;
    let mut result = [0; 32];
    for index in (0..32).rev() {
        let difference = i16::from(ORDER[index]) - i16::from(s[index]) - borrow;
        borrow = i16::from(difference < 0);
        result[index] = u8::try_from(difference + 256 * borrow).unwrap();
    }
    result
}

fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let number = |it: &[u8]| {
        let padded = if it[0] > 127 {
            [&[0], it].concat()
        } else {
            it.to_vec()
        };
        [&[2, u8::try_from(padded.len()).unwrap()], padded.as_slice()].concat()
    };
    let numbers = [number(r), number(s)].concat();
    [
        &[48, u8::try_from(numbers.len()).unwrap()],
        numbers.as_slice(),
    ]
    .concat()
}

/// The order of P-256 (SP 800-186 §3.2.1.3).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
