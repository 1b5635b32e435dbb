use std::sync::Arc;

use ambit_core::{Digest, SpiffeId};
use proptest::prelude::*;

use super::*;
use crate::{
    KeyBinding,
    dpop::{self, ProvedRequest},
    jose::{JoseError, Signer, base64url},
    mission::{Anchor, AnchorKind},
    token::access::*,
};

const AUDIENCE: &str = "https://ambit.example.org/mcp";

fn actor(number: usize) -> SpiffeId {
    format!("spiffe://example.org/agent/billing/{number}")
        .parse()
        .unwrap()
}

fn grant() -> AccessGrant {
    let details = json(r#"[{"type":"ambit_task","template":"pay"}]"#);
    let authority = Anchor::of(AnchorKind::AuthoritySet, ISSUER, details.clone());
    AccessGrant {
        token_id: "t-1".to_owned(),
        subject: "person_1".to_owned(),
        client_id: actor(1).to_string(),
        audience: AUDIENCE.to_owned(),
        actors: vec![actor(1)],
        mission: Mission::new(&"task_1", authority, later(3600)),
        authorization_details: details,
        binding: KeyBinding::Bearer,
        expires_at: later(300),
    }
}

fn issuer() -> AccessIssuer {
    AccessIssuer::new(ISSUER.to_owned(), signing_key(1))
}

fn verifier() -> AccessVerifier {
    AccessVerifier::new(ISSUER.to_owned(), keys(1))
}

/// The claims of a good token, as text.
fn claims() -> String {
    let token = issuer().issue(&grant(), NOW).unwrap();
    let part = token.split('.').nth(1).unwrap();
    String::from_utf8(base64url::decode(part).unwrap()).unwrap()
}

fn signed(claims: &str) -> String {
    let kid = key_id(1);
    forge(
        1,
        &format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt"}}"#),
        claims,
    )
}

#[test]
fn what_is_issued_is_read_back() {
    let chain: Vec<_> = (1..=ACTORS_MAX).map(actor).collect();
    let (certificate, thumbprint) = (Digest::of(b"c"), Digest::of(b"k"));
    for binding in [
        KeyBinding::Bearer,
        KeyBinding::Mtls { certificate },
        KeyBinding::Dpop { thumbprint },
    ] {
        for actors in [vec![actor(1)], chain.clone()] {
            let mut grant = grant();
            grant.binding = binding;
            grant.actors = actors;
            grant.mission = grant.mission.under(&"task_0");
            let token = issuer().issue(&grant, NOW).unwrap();
            let read = verifier().verify(&token, AUDIENCE, later(1)).unwrap();
            assert_eq!(*read.grant(), grant);
        }
    }
}

#[test]
fn a_token_of_no_bounds_is_not_issued() {
    let tried = |change: &dyn Fn(&mut AccessGrant), part| {
        let mut grant = grant();
        change(&mut grant);
        check_refusal(issuer().issue(&grant, NOW), Err(part), part);
    };
    tried(&|it| it.actors.clear(), "chain of 1 to 9");
    tried(
        &|it| it.actors = (0..=ACTORS_MAX).map(actor).collect(),
        "chain of 1 to 9",
    );
    tried(&|it| it.expires_at = NOW, "expired at");
    tried(&|it| it.expires_at = later(3601), "at most 1h");
    tried(&|it| it.token_id = String::new(), "128 bytes");
    tried(&|it| it.token_id = "x".repeat(129), "128 bytes");
    tried(&|it| it.authorization_details = json("[]"), "not empty");
    tried(&|it| it.authorization_details = json("{}"), "not empty");
    tried(&|it| it.subject = "x".repeat(16_384), "16384");
}

#[test]
fn nhi04_tokens_of_another_kind_or_place_are_refused() {
    let claims = claims();
    let good = signed(&claims);
    let tried = |token: &str, expect| {
        check_refusal(verifier().verify(token, AUDIENCE, NOW), expect, token);
    };
    tried(&good, Ok(()));
    let kid = key_id(1);
    for typ in [
        "JWT",
        "dpop+jwt",
        "AT+JWT",
        "application/at+jwt",
        "id_token+jwt",
        "",
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"{typ}"}}"#);
        tried(&forge(1, &header, &claims), Err("`typ`"));
    }
    let header = |members: &str| forge(1, &format!(r#"{{"typ":"at+jwt",{members}}}"#), &claims);
    tried(&header(r#""alg":"ES256""#), Err("`kid` must be there"));
    tried(
        &header(r#""alg":"ES256","kid":"other""#),
        Err("no ES256 key `other`"),
    );
    tried(
        &header(&format!(r#""alg":"RS256","kid":"{kid}""#)),
        Err("RS256 is not accepted"),
    );
    tried(
        &header(&format!(r#""alg":"none","kid":"{kid}""#)),
        Err("`none`"),
    );
    // Signed with a key of one's own under the name of ours.
    let stolen_name = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt"}}"#);
    tried(&forge(2, &stolen_name, &claims), Err("does not verify"));
    let embedded = signing_key(2).public().bare().to_value().to_canonical();
    let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt","jwk":{embedded}}}"#);
    tried(&forge(2, &header, &claims), Err("`jwk` is not accepted"));
    let other = AccessIssuer::new("https://other.example".to_owned(), signing_key(1));
    tried(
        &other.issue(&grant(), NOW).unwrap(),
        Err("this authorization server"),
    );
}

/// Puts one other value into a good token, which must then be refused.
#[track_caller]
fn tried(name: &str, value: &str, part: &str) {
    let token = signed(&replaced(&claims(), name, value));
    check_refusal(
        verifier().verify(&token, AUDIENCE, NOW),
        Err(part),
        &format!("{name}: {value}"),
    );
}

#[test]
fn dates_and_names_are_as_they_are_written() {
    for (name, value, part) in WRONG_DATES.iter().filter(|it| it.0 != "nbf") {
        tried(name, value, part);
    }
    tried("iat", "", "`iat` must be there");
    for name in ["iss", "sub", "client_id", "jti"] {
        for value in ["", "1", "null", "\"\"", "[\"x\"]"] {
            tried(
                name,
                value,
                if value.is_empty() { "there" } else { "a text" },
            );
        }
    }
    tried("jti", &format!("\"{}\"", "x".repeat(129)), "at most 128");
    tried(
        "iss",
        "\"https://ambit.example.org/\"",
        "this authorization server",
    );
    tried("scope", "\"all\"", "`scope` is not known");
    tried("nbf", "1795305600", "`nbf` is not known");
    tried("may_act", "{}", "`may_act` is not known");
}

#[test]
fn a_token_has_one_audience() {
    for audience in [
        "\"https://ambit.example.org\"",
        "\"https://ambit.example.org/mcp/\"",
        r#"["https://ambit.example.org/mcp","https://other.example"]"#,
        r#"["https://ambit.example.org/mcp","https://ambit.example.org/mcp"]"#,
    ] {
        tried("aud", audience, "exactly the one audience");
    }
    for audience in ["[]", "{}", "null", "7"] {
        tried("aud", audience, "a text, or a list");
    }
}

#[test]
fn actors_are_a_chain_of_names() {
    let deep = |levels: usize| {
        let level = r#"{"sub":"spiffe://example.org/a","act":"#;
        format!(
            "{}{}{}",
            level.repeat(levels - 1),
            r#"{"sub":"spiffe://example.org/a"}"#,
            "}".repeat(levels - 1)
        )
    };
    let token = signed(&replaced(&claims(), "act", &deep(ACTORS_MAX)));
    check_refusal(
        verifier().verify(&token, AUDIENCE, NOW),
        Ok(()),
        "the longest chain",
    );
    for value in [
        "",
        "null",
        "[]",
        "{}",
        "\"spiffe://example.org/a\"",
        r#"{"sub":"somebody"}"#,
        r#"{"sub":["spiffe://example.org/a"]}"#,
        r#"{"sub":"spiffe://example.org/a","act":null}"#,
        r#"{"sub":"spiffe://example.org/a","iss":"https://other.example"}"#,
        r#"{"sub":"spiffe://example.org/a","act":[{"sub":"spiffe://example.org/b"}]}"#,
        &deep(ACTORS_MAX + 1),
    ] {
        tried("act", value, "a chain of 1 to 9");
    }
}

#[test]
fn authority_task_and_key_are_whole() {
    for value in [
        "",
        "[]",
        "{}",
        "[1]",
        "[{}]",
        r#"[{"type":1}]"#,
        r#"[{"type":"x"},{}]"#,
    ] {
        tried("authorization_details", value, "RFC 9396");
    }
    let mission = |issuer: &str| {
        format!(
            r#"{{"id":"task_2","root":"task_1","issuer":"{issuer}","authority_hash":"h","expires_at":"e"}}"#
        )
    };
    tried(
        "mission",
        &mission("https://other.example"),
        "the issuer of the token",
    );
    let whole = mission(ISSUER);
    for value in [
        "",
        "{}",
        "null",
        &whole.replace('}', ",\"x\":1}"),
        &whole.replace(r#""root":"task_1","#, ""),
        &whole.replace(r#""root":"task_1""#, r#""root":["task_1"]"#),
    ] {
        tried("mission", value, "`authority_hash`");
    }
    let digest = base64url::encode([7; 32]);
    for value in [
        "{}".to_owned(),
        "null".to_owned(),
        format!(r#"{{"jkt":"{digest}","x5t#S256":"{digest}"}}"#),
        format!(r#"{{"jkt":"{digest}="}}"#),
        format!(r#"{{"jkt":"{}"}}"#, digest.get(1..).unwrap()),
        r#"{"jkt":7}"#.to_owned(),
        r#"{"jwk":{}}"#.to_owned(),
        format!(r#"{{"jkt":"{digest}","jwk":{{}}}}"#),
    ] {
        tried("cnf", &value, "either `x5t#S256` or `jkt`");
    }
}

#[test]
fn a_token_lives_from_its_first_second_to_its_last() {
    let token = issuer().issue(&grant(), NOW).unwrap();
    let tried = |now: Timestamp| verifier().verify(&token, AUDIENCE, now);
    let before = |seconds: u64| Timestamp::from_millis(NOW.as_millis() - seconds * 1000);
    assert!(tried(before(5)).is_ok());
    assert!(matches!(
        tried(before(6)),
        Err(JoseError::NotYetValid { .. })
    ));
    assert!(tried(Timestamp::from_millis(later(305).as_millis() - 1)).is_ok());
    assert!(matches!(tried(later(305)), Err(JoseError::Expired { .. })));
}

#[test]
fn nhi02_a_bound_token_is_worth_nothing_without_its_key() {
    let (certificate, other) = (Digest::of(b"c"), Digest::of(b"o"));
    let proofs = Signer::with_embedded_key(signing_key(7), "dpop+jwt");
    let prove = |token: &str, signer: &Signer| {
        let claims = Value::object([
            ("htm", "POST".into()),
            ("htu", AUDIENCE.into()),
            ("iat", Value::Integer(NOW_SECONDS)),
            ("jti", "p".into()),
            (
                "ath",
                base64url::encode(Digest::of(token.as_bytes()).as_bytes()).into(),
            ),
        ]);
        let request = ProvedRequest {
            method: "POST",
            url: AUDIENCE,
            access_token: Some(token),
            nonces: None,
            now: NOW,
            wall: NOW,
        };
        dpop::verify(&signer.sign(&claims).unwrap(), &request).unwrap()
    };
    let thumbprint = signing_key(7).public().thumbprint();
    let read = |binding| {
        let mut grant = grant();
        grant.binding = binding;
        let token = issuer().issue(&grant, NOW).unwrap();
        (verifier().verify(&token, AUDIENCE, NOW).unwrap(), token)
    };
    let (bearer, text) = read(KeyBinding::Bearer);
    let proof = prove(&text, &proofs);
    assert!(bearer.clone().present(Possession::Nothing).is_ok());
    let taken = bearer.present(Possession::Proof(&proof)).unwrap();
    assert_eq!(taken.grant().binding, KeyBinding::Bearer);

    let (mtls, text) = read(KeyBinding::Mtls { certificate });
    let over_mtls = prove(&text, &proofs);
    assert!(
        mtls.clone()
            .present(Possession::Certificate(certificate))
            .is_ok()
    );
    let (dpop, text) = read(KeyBinding::Dpop { thumbprint });
    let over_dpop = prove(&text, &proofs);
    assert!(dpop.clone().present(Possession::Proof(&over_dpop)).is_ok());
    let thief = prove(
        &text,
        &Signer::with_embedded_key(Arc::clone(&signing_key(8)), "dpop+jwt"),
    );
    for (token, shown) in [
        (&mtls, Possession::Nothing),
        (&mtls, Possession::Certificate(other)),
        (&mtls, Possession::Proof(&over_mtls)),
        (&dpop, Possession::Nothing),
        (&dpop, Possession::Certificate(certificate)),
        (&dpop, Possession::Proof(&thief)),
        (&dpop, Possession::Proof(&over_mtls)),
    ] {
        let presented = token.clone().present(shown);
        check_refusal(presented, Err("proves to hold"), &format!("{shown:?}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Issue and verify are inverse for any text that fits.
    #[test]
    fn any_grant_is_read_back(subject in "\\PC{1,200}", id in "[ -~]{1,128}", ttl in 1_u64..=3600) {
        let mut grant = grant();
        grant.subject = subject;
        grant.token_id = id;
        grant.expires_at = later(ttl);
        let token = issuer().issue(&grant, NOW).unwrap();
        let read = verifier().verify(&token, AUDIENCE, NOW).unwrap();
        prop_assert_eq!(read.grant(), &grant);
    }
}
