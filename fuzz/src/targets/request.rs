//! Certificate signing requests: only who holds a key gets it certified.

use ambit_identity::ProvedKey;

use super::site::key;
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "request",
    run,
    seeds,
    words: &[],
};

fn run(bytes: &[u8]) {
    let _answer = ProvedKey::from_request(bytes);
}

fn seeds() -> Vec<Vec<u8>> {
    vec![key().signing_request().expect("a request")]
}
