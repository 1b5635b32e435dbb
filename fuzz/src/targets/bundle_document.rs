//! Bundles of trust domains as JWK Sets: what is read can be written and read again, and keys do not pass.

use ambit_identity::TrustBundle;

use super::site::{authority, trust_domain};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "bundle_document",
    run,
    seeds,
    words: &[
        "{\"keys\":[",
        "\"use\":\"x509-svid\"",
        "\"use\":\"jwt-svid\"",
        "\"x5c\":[\"",
        "\"spiffe_sequence\":1",
        "\"spiffe_refresh_hint\":300",
        "\"d\":\"AA\"",
    ],
};

fn run(bytes: &[u8]) {
    let Ok(read) = TrustBundle::from_document(trust_domain(), bytes) else {
        return;
    };
    let text = read.bundle.to_document();
    assert!(!text.contains("\"d\":"), "a private half passes");
    let again = TrustBundle::from_document(trust_domain(), text.as_bytes());
    let again = again.expect("a bundle reads back");
    assert!(again.left_out.is_empty(), "what was taken is taken again");
    assert_eq!(again.bundle.to_document(), text);
}

fn seeds() -> Vec<Vec<u8>> {
    let own = authority().bundle().to_document();
    let empty = r#"{"keys":[],"spiffe_sequence":2}"#.to_owned();
    [own, empty].map(String::into_bytes).into()
}
