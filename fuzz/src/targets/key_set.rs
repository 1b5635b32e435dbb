//! Key sets: what is read can be written and read again, and nothing private passes.

use ambit_identity::{
    SvidKey,
    jose::{Algorithm, Jwk, JwkSet, KeyUse, SigningKey, VerifyingKeys},
};

use super::site::authority;
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "key_set",
    run,
    seeds,
    words: &[
        "{\"keys\":[",
        "\"kty\":\"RSA\"",
        "\"kty\":\"OKP\",\"crv\":\"Ed25519\"",
        "\"d\":\"AA\"",
        "\"use\":\"jwt-svid\"",
        "\"x5c\":[",
        "\"n\":\"",
        "\"e\":\"AQAB\"",
    ],
};

fn run(bytes: &[u8]) {
    let Ok(set) = JwkSet::parse(bytes) else {
        return;
    };
    let text = set.to_value().to_canonical();
    let again = JwkSet::parse(text.as_bytes()).expect("a set reads back");
    assert_eq!(again.keys(), set.keys());
    let uses = [KeyUse::Unstated, KeyUse::Signature, KeyUse::JwtSvid];
    VerifyingKeys::new(&set, &uses, &Algorithm::ALL).expect("keys that were read verify");
    for key in set.keys() {
        let members = key.to_value();
        assert!(members.get("d").is_none(), "a private half passes");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let key = SvidKey::generate([5; 32]).expect("a key");
    let key = SigningKey::from_svid_key(&key, KeyUse::JwtSvid).expect("a key");
    let roots = authority().bundle().roots().to_vec();
    let roots = roots
        .into_iter()
        .map(|it| Jwk::of_certificate(it, KeyUse::X509Svid));
    let roots = roots.collect::<Result<Vec<_>, _>>().expect("roots of ours");
    let own = JwkSet::new(vec![key.public().clone()]).expect("one key");
    let roots = JwkSet::new(roots).expect("few keys");
    [own, roots]
        .map(|it| it.to_value().to_canonical().into_bytes())
        .into()
}
