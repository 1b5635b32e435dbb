use std::collections::{BTreeMap, BTreeSet};

use ambit_core::estate::{OidcSubject, Person};

use super::*;
use crate::{
    Carrier, IdentityError, PersonProof, identify_signed_in,
    sign_in::{Flow, FlowKey},
    token::id_token::*,
};

const PROVIDER: &str = "https://id.example.org";

fn flow() -> Flow {
    FlowKey::new(&[5; 32]).begin([6; 32], "/", NOW).unwrap()
}

fn claims() -> String {
    let nonce = flow().nonce().to_owned();
    format!(
        r#"{{"iss":"{PROVIDER}","aud":"ambit","sub":"248289761001","exp":1795305700,"iat":1795305600,
            "nonce":"{nonce}","email":"ada@example.org"}}"#
    )
}

fn issuer() -> IdTokenIssuer {
    let set = JwkSet::new(vec![signing_key(1).public().clone()]).unwrap();
    IdTokenIssuer::new(PROVIDER.to_owned(), "ambit".to_owned(), &set).unwrap()
}

fn signed(claims: &str) -> String {
    let kid = key_id(1);
    forge(1, &format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#), claims)
}

fn sign_in(claims: &str) -> SignIn {
    issuer().verify(&signed(claims), &flow(), NOW).unwrap()
}

#[test]
fn a_sign_in_is_of_this_provider_for_this_flow() {
    let tried = |token: &str, expect| {
        check_refusal(issuer().verify(token, &flow(), NOW), expect, token);
    };
    let with = |name: &str, value: &str| signed(&replaced(&claims(), name, value));
    tried(&signed(&claims()), Ok(()));
    tried(&forge(1, r#"{"alg":"ES256"}"#, &claims()), Ok(()));
    tried(&with("aud", "[\"ambit\"]"), Ok(()));
    tried(&with("azp", "\"ambit\""), Ok(()));
    for (name, value, part) in [
        ("iss", "\"https://id.example.org/\"", "letter by letter"),
        ("aud", "\"other\"", "exactly the one"),
        ("aud", "[\"ambit\",\"other\"]", "exactly the one"),
        ("azp", "\"other\"", "this client"),
        ("nonce", "\"x\"", "this sign-in began with"),
        ("nonce", "", "`nonce` must be there"),
        ("iat", "", "when it was made"),
        ("sub", "", "`sub`"),
    ] {
        tried(&with(name, value), Err(part));
    }
    for (name, value, part) in WRONG_DATES {
        tried(&with(name, value), Err(part));
    }
    tried(&with("sub", &format!("\"{}\"", "a".repeat(255))), Ok(()));
    tried(
        &with("sub", &format!("\"{}\"", "a".repeat(256))),
        Err("255"),
    );
    let stranger = forge(
        2,
        &format!(r#"{{"alg":"ES256","kid":"{}"}}"#, key_id(1)),
        &claims(),
    );
    tried(&stranger, Err("signature"));
    tried(&forge(1, r#"{"alg":"none"}"#, &claims()), Err("alg"));
    tried(&forge(1, r#"{"alg":"HS256"}"#, &claims()), Err("HS256"));
}

#[test]
fn a_sign_in_is_one_person_by_issuer_and_subject() {
    let person = |issuer: &str, subject: &str| Person {
        alias: String::new(),
        unix_uid: None,
        oidc: Some(OidcSubject {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        }),
        roles: BTreeSet::new(),
        groups: BTreeSet::new(),
    };
    let people = |all: &[(&str, Person)]| -> BTreeMap<String, Person> {
        let named = |(alias, it): &(&str, Person)| ((*alias).to_owned(), it.clone());
        all.iter().map(named).collect()
    };
    let ada = ("ada", person(PROVIDER, "248289761001"));
    let others = [
        ("ben", person(PROVIDER, "24828976100")),
        ("cat", person("https://id.example.org/", "248289761001")),
        ("dan", person(PROVIDER, "ada@example.org")),
    ];
    let mut all = others.to_vec();
    let found =
        identify_signed_in(&sign_in(&claims()), Carrier::Browser, &people(&all)).unwrap_err();
    assert!(matches!(found, IdentityError::UnknownSubject { .. }));
    assert!(found.to_string().contains(
        r#"write `oidc = { issuer = "https://id.example.org", subject = "248289761001" }`"#
    ));
    all.push(ada.clone());
    let found = identify_signed_in(&sign_in(&claims()), Carrier::Browser, &people(&all)).unwrap();
    let carrier = Carrier::Browser;
    assert_eq!(
        (found.alias(), found.proof()),
        ("ada", PersonProof::SignIn { carrier })
    );
    all.push(("eve", ada.1));
    let found =
        identify_signed_in(&sign_in(&claims()), Carrier::Browser, &people(&all)).unwrap_err();
    assert!(matches!(found, IdentityError::AmbiguousSubject { .. }));
}
