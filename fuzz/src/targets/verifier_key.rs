//! Verifier keys: a key has one text.

use ambit_audit::{LogKey, VerifierKey};

use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "verifier_key",
    run,
    seeds,
    words: &["+", "example.org/log"],
};

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let key = LogKey::from_seed(&[7; 32]).expect("a key");
    let names = ["example.org/log", "l"];
    let text = |name: &str| key.verifier(name).expect("a name").to_string();
    names.map(|it| text(it).into_bytes()).into()
}
