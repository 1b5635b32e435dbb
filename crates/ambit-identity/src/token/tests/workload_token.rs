use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{self, KeyPair},
};

use super::*;
use ambit_core::estate::claim_rules::*;

use crate::{jose::base64url, token::workload_token::*};

const GITHUB: &str = "https://token.actions.githubusercontent.com";
const CLAIMS: &str = r#"{"iss":"https://token.actions.githubusercontent.com",
    "aud":["https://ambit.example.org"],"sub":"repo:example/books:ref:refs/heads/main",
    "exp":1795305700,"iat":1795305600,"nbf":1795305300,"jti":"j","run_attempt":"1","number":7,
    "kubernetes.io":{"namespace":"prod","serviceaccount":{"name":"billing"}}}"#;

fn issuer(algorithms: &[Algorithm]) -> WorkloadIssuer {
    let set = JwkSet::new(vec![signing_key(1).public().clone()]).unwrap();
    WorkloadIssuer::new(GITHUB.to_owned(), ISSUER.to_owned(), &set, algorithms).unwrap()
}

fn signed(claims: &str) -> String {
    let kid = key_id(1);
    forge(
        1,
        &format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"JWT","x5t":"abc"}}"#),
        claims,
    )
}

fn token(claims: &str) -> WorkloadToken {
    issuer(&[Algorithm::Es256])
        .verify(&signed(claims), NOW)
        .unwrap()
}

#[test]
fn a_foreign_token_is_for_us_alone() {
    let tried = |token: &str, expect| {
        check_refusal(
            issuer(&[Algorithm::Es256]).verify(token, NOW),
            expect,
            token,
        );
    };
    let with = |name: &str, value: &str| signed(&replaced(CLAIMS, name, value));
    tried(&signed(CLAIMS), Ok(()));
    assert_eq!(claimed_issuer(&signed(CLAIMS)).unwrap(), GITHUB);
    tried(
        &with("iss", &format!("\"{GITHUB}/\"")),
        Err("letter by letter"),
    );
    tried(
        &with("aud", &format!("[\"{ISSUER}\",\"sts.example.com\"]")),
        Err("exactly the one"),
    );
    tried(&with("sub", ""), Err("`sub` must be there"));
    for (name, value, part) in WRONG_DATES {
        tried(&with(name, value), Err(part));
    }
    tried(
        &forge(1, r#"{"alg":"ES256"}"#, CLAIMS),
        Err("`kid` must be there"),
    );
    let unlisted = issuer(&[Algorithm::Rs256]).verify(&signed(CLAIMS), NOW);
    check_refusal(
        unlisted,
        Err("no ES256 key"),
        "an algorithm that the policy does not list",
    );
}

/// Keys of foreign issuers: one for RSA, one for Ed25519.
struct Foreign {
    rsa: rsa::KeyPair,
    ed25519: signature::Ed25519KeyPair,
}

impl Foreign {
    fn new() -> Self {
        Self {
            rsa: rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap(),
            ed25519: signature::Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap(),
        }
    }

    fn set(&self) -> JwkSet {
        let public = self.rsa.public_key();
        let modulus = public.modulus().big_endian_without_leading_zero();
        let exponent = public.exponent().big_endian_without_leading_zero();
        let rsa = Value::object([
            ("kty", "RSA".into()),
            ("kid", "r".into()),
            ("n", base64url::encode(modulus).into()),
            ("e", base64url::encode(exponent).into()),
        ]);
        let ed25519 = Value::object([
            ("kty", "OKP".into()),
            ("crv", "Ed25519".into()),
            ("kid", "e".into()),
            ("x", base64url::encode(self.ed25519.public_key()).into()),
        ]);
        let keys = [rsa, ed25519].into_iter().collect();
        JwkSet::from_value(&Value::object([("keys", keys)])).unwrap()
    }

    fn token(&self, algorithm: &str, kid: &str) -> String {
        let header = base64url::encode(format!(r#"{{"alg":"{algorithm}","kid":"{kid}"}}"#));
        let signed = format!("{header}.{}", base64url::encode(CLAIMS));
        let encoding: &'static dyn signature::RsaEncoding = match algorithm {
            "RS256" => &signature::RSA_PKCS1_SHA256,
            "RS384" => &signature::RSA_PKCS1_SHA384,
            "RS512" => &signature::RSA_PKCS1_SHA512,
            "PS256" => &signature::RSA_PSS_SHA256,
            "PS384" => &signature::RSA_PSS_SHA384,
            "PS512" => &signature::RSA_PSS_SHA512,
            _ => {
                let bytes = self.ed25519.sign(signed.as_bytes());
                return format!("{signed}.{}", base64url::encode(bytes));
            }
        };
        let mut bytes = vec![0; self.rsa.public_modulus_len()];
        let chance = SystemRandom::new();
        let done = self
            .rsa
            .sign(encoding, &chance, signed.as_bytes(), &mut bytes);
        done.unwrap();
        format!("{signed}.{}", base64url::encode(bytes))
    }
}

#[test]
fn foreign_algorithms_verify_where_they_are_listed() {
    let foreign = Foreign::new();
    let verify = |algorithms: &[Algorithm], token: &str| {
        let set = foreign.set();
        let issuer = WorkloadIssuer::new(GITHUB.to_owned(), ISSUER.to_owned(), &set, algorithms);
        issuer.unwrap().verify(token, NOW)
    };
    let families = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA",
    ];
    for name in families {
        let token = foreign.token(name, if name == "EdDSA" { "e" } else { "r" });
        let algorithm: Algorithm = name.parse().unwrap();
        check_refusal(verify(&[algorithm], &token), Ok(()), name);
        let others = Algorithm::ALL.into_iter().filter(|it| *it != algorithm);
        let others: Vec<_> = others.collect();
        check_refusal(verify(&others, &token), Err("key"), name);
    }
    let confused = verify(&Algorithm::ALL, &foreign.token("RS256", "e"));
    check_refusal(confused, Err("no RS256 key"), "kid");
}

#[test]
fn claims_decide_who_it_is() {
    let path = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let one_of = |names: &[&str], values: &[&str]| {
        ClaimRule::new(path(names), Wanted::OneOf(path(values))).unwrap()
    };
    let pattern = |names: &[&str], text: &str| {
        ClaimRule::new(path(names), Wanted::Pattern(Pattern::new(text).unwrap())).unwrap()
    };
    let check = |rules: &[ClaimRule], differs: &[&str]| {
        let expect = match differs {
            [] => ClaimMatch::Matches,
            names => ClaimMatch::Differs { path: path(names) },
        };
        let rules = ClaimRules::new(rules.to_vec()).unwrap();
        let token = token(CLAIMS);
        assert_eq!(rules.check(|it| token.claim(it)), expect, "{rules:?}");
    };
    let name = ["kubernetes.io", "serviceaccount", "name"];
    check(&[one_of(&name, &["other", "billing"])], &[]);
    check(&[one_of(&name, &["Billing"])], &name);
    check(
        &[one_of(&["run_attempt"], &["1"]), one_of(&["jti"], &["x"])],
        &["jti"],
    );
    check(&[one_of(&["number"], &["7"])], &["number"]);
    check(&[one_of(&["missing"], &[""])], &["missing"]);
    check(&[one_of(&["sub", "x"], &["x"])], &["sub", "x"]);
    check(&[one_of(&["aud"], &[ISSUER])], &["aud"]);
    for text in [
        "repo:example/books:ref:refs/heads/main",
        "repo:example/*:ref:refs/heads/main",
        "repo:*/*:ref:refs/heads/*",
        "*:example/books:*:refs/heads/main",
    ] {
        check(&[pattern(&["sub"], text)], &[]);
    }
    for text in [
        "repo:example/*",
        "repo:example/*:ref:*",
        "repo:example/*/ref:refs/heads/main",
        "repo:example/*:pull_request:refs/heads/main",
        "repo:example/books:ref:refs/heads/main:*",
        "repo:example/books:ref:refs/heads/main/",
        "*:repo:example/books:ref:refs/heads/main",
    ] {
        check(&[pattern(&["sub"], text)], &["sub"]);
    }
}

#[test]
fn rules_that_mean_less_than_they_seem_are_refused() {
    let path = |depth| vec!["x".to_owned(); depth];
    let texts = |count| Wanted::OneOf(vec!["y".to_owned(); count]);
    let rules = |count| ClaimRules::new(vec![ClaimRule::new(path(1), texts(1)).unwrap(); count]);
    assert!(rules(0).is_err() && rules(1).is_ok());
    assert!(rules(CLAIM_RULES_MAX).is_ok() && rules(CLAIM_RULES_MAX + 1).is_err());
    for (depth, alternatives, is_ok) in [
        (0, 1, false),
        (1, 0, false),
        (CLAIM_DEPTH_MAX, ALTERNATIVES_MAX, true),
        (CLAIM_DEPTH_MAX + 1, 1, false),
        (1, ALTERNATIVES_MAX + 1, false),
    ] {
        let rule = ClaimRule::new(path(depth), texts(alternatives));
        assert_eq!(rule.is_ok(), is_ok, "{depth} {alternatives}");
    }
    for text in ["", "*", "*/*", "a*", "a/b*", "**", "a/**", "*a:b"] {
        assert!(Pattern::new(text).is_err(), "{text}");
    }
    assert!(Pattern::new(&"x".repeat(PATTERN_BYTES_MAX)).is_ok());
    assert!(Pattern::new(&"x".repeat(PATTERN_BYTES_MAX + 1)).is_err());
    // `*` stands for something.
    let rule = ClaimRule::new(path(1), Wanted::Pattern(Pattern::new("a:*:c").unwrap())).unwrap();
    let rules = ClaimRules::new(vec![rule]).unwrap();
    let with = |value: &str| {
        let token = token(&replaced(CLAIMS, "x", value));
        rules.check(|it| token.claim(it))
    };
    assert_eq!(with("\"a:b:c\""), ClaimMatch::Matches);
    assert!(matches!(with("\"a::c\""), ClaimMatch::Differs { .. }));
    assert!(matches!(with("\"a:b/c:c\""), ClaimMatch::Differs { .. }));
}
