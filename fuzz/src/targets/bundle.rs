//! Trust bundles in PEM: what is read can be written and read again, and keys do not pass.

use ambit_identity::TrustBundle;

use super::site::{authority, svid, trust_domain};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "bundle",
    run,
    seeds,
    words: &[
        "-----BEGIN CERTIFICATE-----\n",
        "-----END CERTIFICATE-----\n",
        "PRIVATE KEY-----\n",
    ],
};

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(bundle) = TrustBundle::from_pem(trust_domain(), text, 0) else {
        return;
    };
    assert!(
        !text.contains("-----BEGIN PRIVATE KEY"),
        "a key passes as a bundle"
    );
    let again = TrustBundle::from_pem(trust_domain(), &bundle.to_pem(), 0);
    assert_eq!(again.expect("a bundle reads back").roots(), bundle.roots());
}

fn seeds() -> Vec<Vec<u8>> {
    let authority = authority();
    let root = authority.bundle().to_pem();
    let twice = format!("# two roots\n{root}{root}");
    let leaf = svid(&authority).to_pem();
    [root, twice, leaf].map(String::into_bytes).into()
}
