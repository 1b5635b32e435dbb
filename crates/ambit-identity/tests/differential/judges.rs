//! `jose` (npm) and `joserfc` (PyPI) judge the corpus, and Ambit judges their tokens and keys.

use std::{
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

use crate::corpus::{self, AUDIENCE, ISSUER, NOW_SECONDS};

#[test]
fn jose_of_npm_agrees() {
    check("node", "judge.mjs", 300);
}

#[test]
fn joserfc_of_python_agrees() {
    check("python", "judge.py", 200);
}

/// Gives the corpus to a judge; it must refuse at least `refused_min` tokens on its own account.
fn check(program: &str, driver: &str, refused_min: usize) {
    let cases = corpus::cases();
    let answer = ask(program, driver, &cases);
    let verdicts = answer.get("verdicts").unwrap().as_array().unwrap();
    assert_eq!(verdicts.len(), cases.len());
    let mut refused = 0;
    for (case, verdict) in cases.iter().zip(verdicts) {
        let theirs = verdict.as_str().unwrap();
        refused += usize::from(theirs != "ok");
        let ours = corpus::accepts(&case.token);
        assert!(
            ours.is_err() || theirs == "ok",
            "{}: Ambit accepts, {driver} says {theirs}\n{}",
            case.name,
            case.token
        );
    }
    assert!(
        refused >= refused_min,
        "{driver} refuses on its own: {refused}"
    );
    check_signed(answer.get("signed").unwrap().as_array().unwrap(), driver);
}

/// Reads each token that the judge signed, with exactly the algorithm that it used, and holds its
/// thumbprints against ours.
fn check_signed(signed: &[Value], driver: &str) {
    assert!(signed.len() >= 8, "{driver} signs with many algorithms");
    for item in signed {
        let text = |name: &str| item.get(name).unwrap().as_str().unwrap();
        let key = Jwk::from_value(item.get("jwk").unwrap()).unwrap();
        let thumbprint = base64url::encode(key.thumbprint().as_bytes());
        assert_eq!(thumbprint, text("thumbprint"), "{driver}");
        let algorithm: Algorithm = text("alg").parse().unwrap();
        let set = JwkSet::new(vec![key]).unwrap();
        let verify = |algorithms: &[Algorithm]| {
            WorkloadIssuer::new(ISSUER.to_owned(), AUDIENCE.to_owned(), &set, algorithms)
                .unwrap()
                .verify(text("token"), Timestamp::from_millis(NOW_SECONDS * 1000))
        };
        let read = verify(&[algorithm]).unwrap();
        assert_eq!(read.subject(), "s", "{driver} {algorithm}");
        let others = Algorithm::ALL.into_iter().filter(|it| *it != algorithm);
        assert!(
            verify(&others.collect::<Vec<_>>()).is_err(),
            "{driver} {algorithm}"
        );
    }
}

fn ask(program: &str, driver: &str, cases: &[corpus::Case]) -> Value {
    // The key of RFC 7517 appendix A.1, whose thumbprint our own tests name.
    let tokens = cases.iter().map(|it| it.token.as_str()).collect();
    let question = Value::object([
        ("issuer", ISSUER.into()),
        ("audience", AUDIENCE.into()),
        ("now", NOW_SECONDS.into()),
        ("jwks", corpus::key_set().to_value()),
        ("tokens", tokens),
    ]);
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
