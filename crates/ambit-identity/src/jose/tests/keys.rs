//! Keys, sets of keys and thumbprints.

use super::*;

/// The key of RFC 7517 appendix A.1.
const P256: &str = r#"{"kty":"EC","crv":"P-256",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
/// The modulus of RFC 7638 §3.1.
const MODULUS: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

#[track_caller]
fn check(text: &str, expect: Result<&str, &str>) {
    match (Jwk::from_value(&json(text)), expect) {
        (Ok(key), Ok(thumbprint)) => {
            let seen = base64url::encode(key.thumbprint().as_bytes());
            assert_eq!(seen, thumbprint);
            assert_eq!(Jwk::from_value(&key.to_value()).unwrap(), key);
        }
        (Err(error), Err(part)) => {
            let shown = whole(&error);
            assert!(shown.contains(part), "`{shown}` does not say `{part}`");
        }
        (got, expect) => panic!("{text}: got {got:?}, expected {expect:?}"),
    }
}

fn with(text: &str, members: &str) -> String {
    text.replacen('{', &format!("{{{members},"), 1)
}

#[test]
fn thumbprints_are_those_of_the_standards() {
    let rsa =
        format!(r#"{{"kty":"RSA","n":"{MODULUS}","e":"AQAB","alg":"RS256","kid":"2011-04-29"}}"#);
    check(&rsa, Ok("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
    // RFC 8037 appendix A.3.
    let ed25519 =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    check(ed25519, Ok("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    // Computed with the npm package `jose` from the key of RFC 7517 appendix A.1.
    check(P256, Ok("cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"));
}

#[test]
fn keys_that_cannot_verify_here_are_refused() {
    let tried = |text: &str, part| check(text, Err(part));
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        tried(
            &with(P256, &format!(r#""{member}":"AA""#)),
            "no secret any more",
        );
    }
    tried(&with(P256, r#""use":"enc""#), "not for verifying");
    tried(&with(P256, r#""key_ops":["sign"]"#), "not for verifying");
    tried(&with(P256, r#""key_ops":"verify""#), "`key_ops`");
    tried(&with(P256, r#""alg":"ES384""#), "not for the algorithm");
    tried(&with(P256, r#""alg":"ECDH-ES""#), "not for the algorithm");
    tried(&with(P256, r#""kid":"""#), "`kid`");
    tried(&with(P256, r#""kid":1"#), "`kid`");
    tried(&with(P256, r#""x5c":[]"#), "`x5c`");
    tried(&with(P256, r#""x5c":["_-8="]"#), "`x5c`");
    tried(&P256.replace("P-256", "secp256k1"), "no accepted kind");
    tried(&P256.replace("P-256", "P-384"), "`x`");
    tried(&P256.replace("\"y\":\"4", "\"y\":\"5"), "no public key");
    tried(&P256.replace("\"y\"", "\"z\""), "`y`");
    tried(&P256.replace("\"crv\"", "\"curve\""), "`crv`");
    tried(&P256.replace("\"kty\"", "\"kind\""), "`kty`");
    tried(r#"{"kty":"oct"}"#, "no accepted kind");
    tried(
        r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#,
        "no accepted kind",
    );
    tried(r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#, "`x`");
    tried("[]", "not a JSON object");
}

#[test]
fn rsa_keys_have_from_2048_to_8192_bits() {
    let rsa = |modulus: &[u8], exponent: &[u8]| {
        let (n, e) = (base64url::encode(modulus), base64url::encode(exponent));
        Jwk::from_value(&json(&format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#)))
    };
    let modulus = |bits: usize| {
        let mut bytes = vec![0xff; bits.div_ceil(8)];
        bytes[0] = 0xff >> (bytes.len() * 8 - bits);
        bytes
    };
    for bits in [2048, 2049, 8192] {
        assert!(rsa(&modulus(bits), &[1, 0, 1]).is_ok(), "{bits}");
    }
    for bits in [1024, 2047, 8193] {
        let refused = rsa(&modulus(bits), &[1, 0, 1]);
        assert!(
            matches!(refused, Err(JwkError::Size { seen }) if seen == bits),
            "{bits}"
        );
    }
    let large = modulus(2048);
    let led_by_zero = [&[0], large.as_slice()].concat();
    assert!(rsa(&led_by_zero, &[1, 0, 1]).is_err());
    assert!(rsa(&large, &[1, 0xff, 0xff, 0xff, 0xff]).is_ok());
    let exponents: [&[u8]; 8] = [
        &[],
        &[0],
        &[1],
        &[3],
        &[1, 0, 0],
        &[0, 1, 0, 1],
        &[2, 0, 0, 0, 1],
        &[1, 0, 0, 0, 0, 1],
    ];
    for exponent in exponents {
        assert!(
            matches!(rsa(&large, exponent), Err(JwkError::Exponent)),
            "{exponent:?}"
        );
    }
}

#[test]
fn a_certificate_is_for_its_key() {
    let authority = crate::tests::authority(1);
    let root = authority.bundle().roots()[0].clone();
    let key = Jwk::of_certificate(root, KeyUse::X509Svid).unwrap();
    assert_eq!(Jwk::from_value(&key.to_value()).unwrap(), key);
    let chain = |count: usize| {
        let mut members = key.to_value().as_object().unwrap().clone();
        let one = members["x5c"].as_array().unwrap()[0].clone();
        members.insert("x5c".to_owned(), Value::Array(vec![one; count]));
        Jwk::from_value(&Value::Object(members))
    };
    assert!(chain(CERTIFICATES_MAX).is_ok());
    assert!(chain(CERTIFICATES_MAX + 1).is_err());
    let other = signing_key(9);
    let mut members = key.to_value().as_object().unwrap().clone();
    members.extend(
        other
            .public()
            .bare()
            .to_value()
            .as_object()
            .unwrap()
            .clone(),
    );
    let refused = Jwk::from_value(&Value::Object(members));
    assert!(
        matches!(refused, Err(JwkError::OtherCertificate)),
        "{refused:?}"
    );
}

#[test]
fn sets_leave_out_what_they_cannot_use() {
    let set = |keys: &str| JwkSet::parse(format!(r#"{{"keys":[{keys}],"more":1}}"#).as_bytes());
    let rest = r#"{"kty":"new"},{"kty":"EC"},{"use":"enc","kty":"RSA"}"#;
    let mixed = set(&format!("{P256},{rest}")).unwrap();
    assert_eq!((mixed.keys().len(), mixed.ignored()), (1, 3));
    assert_eq!(set("").unwrap(), JwkSet::default());
    assert!(matches!(
        set(r#"{"kty":"oct","k":"AA"}"#),
        Err(JwkError::Private { .. })
    ));
    assert!(matches!(set("7"), Err(JwkError::NotObject)));
    assert!(matches!(JwkSet::parse(b"{}"), Err(JwkError::NotSet)));
    assert!(matches!(
        JwkSet::parse(br#"{"keys":{}}"#),
        Err(JwkError::NotSet)
    ));
    let twice = br#"{"keys":[],"keys":[]}"#;
    assert!(matches!(JwkSet::parse(twice), Err(JwkError::Json { .. })));
    let many = |count: usize| vec!["{}"; count].join(",");
    assert_eq!(
        set(&many(JWK_SET_KEYS_MAX)).unwrap().ignored(),
        JWK_SET_KEYS_MAX
    );
    assert!(matches!(
        set(&many(JWK_SET_KEYS_MAX + 1)),
        Err(JwkError::TooMany { .. })
    ));
    let spaced = |bytes: usize| format!(r#"{{"keys":[]{}}}"#, " ".repeat(bytes - 11));
    assert!(JwkSet::parse(spaced(JWK_SET_BYTES_MAX).as_bytes()).is_ok());
    assert!(JwkSet::parse(spaced(JWK_SET_BYTES_MAX + 1).as_bytes()).is_err());
}

#[test]
fn exactly_one_key_can_have_signed() {
    let (one, two) = (signing_key(1), signing_key(2));
    let keys = |keys: &[&SigningKey], uses: &[KeyUse], algorithms: &[Algorithm]| {
        let set = keys.iter().map(|it| it.public().clone()).collect();
        VerifyingKeys::new(&JwkSet::new(set).unwrap(), uses, algorithms).unwrap()
    };
    let es256 = Algorithm::Es256;
    let both = keys(&[&one, &two], &[KeyUse::Signature], &Algorithm::ALL);
    assert_eq!(both.keys().len(), 2);
    let found = both.find(one.public().key_id(), es256).unwrap();
    assert_eq!(found.thumbprint(), one.public().thumbprint());
    let refused = |keys: &VerifyingKeys, key_id: Option<&str>, algorithm| {
        whole(&keys.find(key_id, algorithm).unwrap_err())
    };
    assert!(refused(&both, Some("other"), es256).contains("was it rotated"));
    assert!(refused(&both, one.public().key_id(), Algorithm::Rs256).contains("RS256"));
    assert!(refused(&both, None, es256).contains("2 ES256 keys"));
    assert!(refused(&both, None, Algorithm::EdDsa).contains("0 EdDSA keys"));
    let single = keys(&[&one], &[KeyUse::Signature], &[es256]);
    assert!(single.find(None, es256).is_ok());
    let twins = keys(&[&one, &one], &[KeyUse::Signature], &[es256]);
    assert!(refused(&twins, one.public().key_id(), es256).contains("2 ES256 keys"));
    assert!(
        keys(&[&one], &[KeyUse::JwtSvid], &[es256])
            .keys()
            .is_empty()
    );
    assert!(
        keys(&[&one], &[KeyUse::Signature], &[Algorithm::Ps256])
            .keys()
            .is_empty()
    );

    // An RSA key that does not say its algorithm stands for each one that the policy lists.
    let rsa = format!(r#"{{"keys":[{{"kty":"RSA","kid":"r","n":"{MODULUS}","e":"AQAB"}}]}}"#);
    let set = JwkSet::parse(rsa.as_bytes()).unwrap();
    let listed = [Algorithm::Rs256, Algorithm::Ps256, es256];
    let bound = VerifyingKeys::new(&set, &[KeyUse::Unstated], &listed).unwrap();
    let algorithms: Vec<_> = bound.keys().iter().map(VerifyingKey::algorithm).collect();
    assert_eq!(algorithms, [Algorithm::Rs256, Algorithm::Ps256]);
    assert!(bound.find(Some("r"), Algorithm::Rs512).is_err());
}
