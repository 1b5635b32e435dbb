use super::*;
use crate::token::{access, assertion::*};

const CLAIMS: &str = r#"{"iss":"app","sub":"app","aud":"https://ambit.example.org","jti":"j","exp":1795305700,"iat":1795305600}"#;

fn signed(claims: &str) -> String {
    forge(1, r#"{"alg":"ES256"}"#, claims)
}

fn verify(token: &str) -> Result<ProvedClient, crate::jose::JoseError> {
    let client = ClientKeys {
        client_id: "app".to_owned(),
        keys: keys(1),
    };
    verify_private_key_jwt(token, &client, ISSUER, NOW)
}

#[test]
fn a_client_says_who_it_is_to_one_server() {
    let tried = |token: &str, expect| check_refusal(verify(token), expect, token);
    tried(&signed(CLAIMS), Ok(()));
    assert_eq!(claimed_client(&signed(CLAIMS)).unwrap(), "app");
    let proved = verify(&signed(CLAIMS)).unwrap();
    assert_eq!((proved.client_id(), proved.token_id()), ("app", "j"));
    assert_eq!(proved.remember_until(), later(130));
    for typ in ["JWT", "client-authentication+jwt"] {
        tried(
            &forge(1, &format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#), CLAIMS),
            Ok(()),
        );
    }
    tried(
        &forge(1, r#"{"alg":"ES256","typ":"at+jwt"}"#, CLAIMS),
        Err("`typ`"),
    );
    tried(
        &forge(2, r#"{"alg":"ES256"}"#, CLAIMS),
        Err("does not verify"),
    );
    tried(&forge(1, r#"{"alg":"HS256"}"#, CLAIMS), Err("HS256"));
    let with = |name: &str, value: &str| signed(&replaced(CLAIMS, name, value));
    tried(&with("aud", "[\"https://ambit.example.org\"]"), Ok(()));
    for audience in [
        "\"https://ambit.example.org/\"",
        "\"https://ambit.example.org/oauth/token\"",
        r#"["https://ambit.example.org","https://ambit.example.org/oauth/token"]"#,
        "\"HTTPS://ambit.example.org\"",
    ] {
        tried(&with("aud", audience), Err("exactly the one audience"));
    }
    for name in ["iss", "sub"] {
        tried(&with(name, "\"other\""), Err("`client_id` of the client"));
        tried(&with(name, ""), Err("there"));
    }
    tried(&with("jti", ""), Err("`jti` must be there"));
    tried(&with("jti", "7"), Err("a text"));
    tried(&with("exp", "1795309230"), Ok(()));
    tried(&with("exp", "1795309231"), Err("at most 1h"));
    for (name, value, part) in WRONG_DATES {
        tried(&with(name, value), Err(part));
    }
}

#[test]
fn an_assertion_of_our_own_is_one_that_we_would_take() {
    let maker = AssertionMaker::new(signing_key(7), "ambit".to_owned(), ISSUER.to_owned());
    let set = JwkSet::from_value(&maker.published()).unwrap();
    let client = ClientKeys {
        client_id: "ambit".to_owned(),
        keys: VerifyingKeys::new(&set, &[KeyUse::Signature], &Algorithm::ALL).unwrap(),
    };
    let check = |issuer: &str, after: u64, wanted: bool| {
        let token = maker.assertion("one", NOW).unwrap();
        let found = verify_private_key_jwt(&token, &client, issuer, NOW.plus(Millis::new(after)));
        assert_eq!(found.is_ok(), wanted, "{issuer} {after}: {found:?}");
    };
    check(ISSUER, 0, true);
    check(&format!("{ISSUER}/token"), 0, false);
    check(ISSUER, 10 * 60_000, false);
    assert!(!maker.published().to_canonical().contains("\"d\""));
    // It is a kind of its own: nothing else takes it.
    let token = maker.assertion("one", NOW).unwrap();
    assert!(access::claimed_token_id(&token).is_err());
}
