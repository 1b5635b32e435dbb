//! `jose` (npm) and `joserfc` (PyPI) judge the corpus, and Ambit judges their tokens and keys.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ambit_core::{
    Timestamp,
    json::{self, Value},
};
use ambit_identity::{
    jose::{Algorithm, Jwk, JwkSet, base64url},
    token::workload_token::WorkloadIssuer,
};

use crate::{
    corpus::{self, Expect, Tokens},
    profiles::{AUDIENCE, ISSUER, Kind, NOW_SECONDS},
    rust,
    stricter::STRICTER,
    verdicts::Judged,
};

/// A library and the program that asks it.
struct Judge {
    program: &'static str,
    driver: &'static str,
}

/// What it said of every site, and what it signed.
struct Answer<'a> {
    judged: Vec<Judged<'a>>,
    signed: Value,
}

const JOSE: Judge = Judge {
    program: "node",
    driver: "judge.mjs",
};
const JOSERFC: Judge = Judge {
    program: "python",
    driver: "judge.py",
};

#[test]
fn jose_of_npm_agrees() {
    check(&JOSE);
}

#[test]
fn joserfc_of_python_agrees() {
    check(&JOSERFC);
}

/// Whatever all judges take and Ambit refuses is a row with its reason, and every row is still so.
#[test]
fn what_all_take_and_ambit_refuses_has_a_reason() {
    let (fixed, of_now) = (corpus::all(NOW_SECONDS), rust::tokens());
    let (jose, joserfc) = (ask(&JOSE, &fixed).judged, ask(&JOSERFC, &fixed).judged);
    let third = rust::judged(&of_now);
    let (mut unexplained, mut seen) = (BTreeSet::new(), Vec::new());
    for (first, second) in jose.iter().zip(&joserfc) {
        let Tokens { site, cases } = first.tokens;
        let place = site.name();
        // One of the three does not know ES512.
        let Some(third) = third.iter().find(|it| it.tokens.site.name() == place) else {
            continue;
        };
        for case in cases.iter().filter(|it| it.expect != Expect::Either) {
            let mut verdicts = [first, second, third]
                .map(|it| it.said(&case.name))
                .into_iter()
                .flatten();
            let are_all_for_it = verdicts.all(Result::is_ok);
            if !are_all_for_it || site.accepts(&case.token).is_ok() {
                continue;
            }
            let pair = (site.kind, case.name.clone());
            if reason(pair.0, &pair.1).is_some() {
                seen.push(pair);
            } else {
                unexplained.insert(format!("{:?}: {}", pair.0, pair.1));
            }
        }
    }
    let list = Vec::from_iter(unexplained).join("\n");
    assert!(list.is_empty(), "refused without a reason:\n{list}");
    for row in STRICTER {
        for (name, kind) in row
            .names
            .iter()
            .flat_map(|it| row.kinds.iter().map(move |kind| (it, kind)))
        {
            let found = seen.iter().any(|it| it.0 == *kind && it.1 == *name);
            let why = row.why;
            assert!(
                found,
                "{name} of {kind:?}: Ambit takes it, or others refuse it too; {why}"
            );
        }
    }
}

fn reason(kind: Kind, name: &str) -> Option<&'static str> {
    let mut rows = STRICTER.iter();
    let row = rows.find(|it| it.kinds.contains(&kind) && it.names.contains(&name));
    row.map(|it| it.why)
}

fn check(judge: &Judge) {
    let tokens = corpus::all(NOW_SECONDS);
    let answer = ask(judge, &tokens);
    for judged in &answer.judged {
        judged.check(judge.driver);
    }
    let list = |name: &str| answer.signed.get(name).and_then(Value::as_array).unwrap();
    check_signed(list("signed"), judge.driver);
    check_weak(list("weak"), judge.driver);
}

/// Reads each token that the judge signed, with exactly the algorithm that it used, and holds its
/// thumbprints against ours.
fn check_signed(signed: &[Value], driver: &str) {
    assert_eq!(signed.len(), Algorithm::ALL.len(), "{driver}");
    for item in signed {
        let text = |name: &str| item.get(name).unwrap().as_str().unwrap();
        let key = Jwk::from_value(item.get("jwk").unwrap()).unwrap();
        let thumbprint = base64url::encode(key.thumbprint().as_bytes());
        assert_eq!(thumbprint, text("thumbprint"), "{driver}");
        let algorithm: Algorithm = text("alg").parse().unwrap();
        let set = JwkSet::new(vec![key]).unwrap();
        assert_eq!(
            verify(&set, &[algorithm], text("token")),
            Ok("s".to_owned()),
            "{driver} {algorithm}"
        );
        let others = Algorithm::ALL.into_iter().filter(|it| *it != algorithm);
        let read = verify(&set, &others.collect::<Vec<_>>(), text("token"));
        assert!(read.is_err(), "{driver} {algorithm}");
    }
}

/// Refuses what is rightly signed by keys that are too weak, or odd.
fn check_weak(weak: &[Value], driver: &str) {
    for item in weak {
        let text = |name: &str| item.get(name).unwrap().as_str().unwrap();
        let keys = std::iter::once(item.get("jwk").unwrap().clone()).collect();
        let set = JwkSet::from_value(&Value::object([("keys", keys)])).unwrap();
        assert_eq!(
            (set.keys().len(), set.ignored()),
            (0, 1),
            "{driver}: {}",
            text("why")
        );
        let read = verify(&set, &Algorithm::ALL, text("token"));
        assert!(read.is_err(), "{driver}: {}", text("why"));
    }
}

fn verify(set: &JwkSet, algorithms: &[Algorithm], token: &str) -> Result<String, String> {
    let issuer = WorkloadIssuer::new(ISSUER.to_owned(), AUDIENCE.to_owned(), set, algorithms);
    let now = Timestamp::from_millis(NOW_SECONDS * 1000);
    let read = issuer.unwrap().verify(token, now);
    read.map(|it| it.subject().to_owned())
        .map_err(|error| error.to_string())
}

fn ask<'a>(judge: &Judge, tokens: &'a [Tokens]) -> Answer<'a> {
    let asked = tokens.iter().map(|Tokens { site, cases }| {
        let tokens = cases.iter().map(|it| it.token.as_str()).collect();
        Value::object([("rules", site.rules()), ("tokens", tokens)])
    });
    let answer = run(
        judge,
        &Value::object([
            ("issuer", ISSUER.into()),
            ("audience", AUDIENCE.into()),
            ("now", NOW_SECONDS.into()),
            ("sites", asked.collect()),
        ]),
    );
    let verdicts = answer.get("verdicts").and_then(Value::as_array).unwrap();
    assert_eq!(verdicts.len(), tokens.len());
    let read = |it: &Value| match it.as_str() {
        Some("ok") => Ok(()),
        refused => Err(refused.unwrap().to_owned()),
    };
    let judged = tokens.iter().zip(verdicts).map(|(tokens, said)| Judged {
        tokens,
        verdicts: said.as_array().unwrap().iter().map(read).collect(),
    });
    Answer {
        judged: judged.collect(),
        signed: answer,
    }
}

fn run(judge: &Judge, question: &Value) -> Value {
    let Judge { program, driver } = judge;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corpus.json");
    fs::write(&file, question.to_canonical()).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tools = option_env!("AMBIT_TOOLS").map(PathBuf::from);
    let tools = tools.unwrap_or_else(|| root.join("target/tools"));
    let output = Command::new(tools.join("bin").join(program))
        .arg(root.join("judges/jose").join(driver))
        .arg(file)
        .env("AMBIT_NPM", tools.join("npm"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{driver}: {errors}");
    json::parse(&output.stdout).unwrap()
}
