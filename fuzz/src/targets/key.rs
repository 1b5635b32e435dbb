//! Key files: PEM text with a PKCS #8 key, and an authority's key with its certificate.

use ambit_identity::{Authority, SvidKey};

use super::site::{authority, key, trust_domain};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "key",
    run,
    seeds,
    words: &[
        "-----BEGIN ",
        "-----END ",
        "PRIVATE KEY-----\n",
        "CERTIFICATE-----\n",
    ],
};

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(key) = SvidKey::from_pem(text) {
        let again = SvidKey::from_pem(&key.to_pem()).expect("a key reads back");
        assert_eq!(again.public_key_der(), key.public_key_der());
    }
    let _answer = Authority::from_pem(trust_domain(), text);
}

fn seeds() -> Vec<Vec<u8>> {
    let texts = [key().to_pem(), authority().to_pem()];
    texts.iter().map(|it| it.as_bytes().to_vec()).collect()
}
