//! SPIFFE IDs: a name has one spelling, and its parts are what they look like.

use ambit_core::{SpiffeId, limits::SPIFFE_ID_BYTES_MAX};

use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "spiffe",
    run,
    seeds,
    words: &[
        "spiffe://",
        "example.org",
        "/agent/",
        "inst_",
        "/../",
        "%2e",
        "//",
    ],
};

fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(id) = text.parse::<SpiffeId>() else {
        return;
    };
    // Scheme and trust domain are the same name in any case (SPIFFE-ID §2.1); the path is not.
    let written = id.to_string();
    assert_eq!(written.parse::<SpiffeId>().as_ref(), Ok(&id), "{text}");
    assert!(
        written.eq_ignore_ascii_case(text) && text.ends_with(id.path()),
        "{text}"
    );
    assert!(
        text.len() <= SPIFFE_ID_BYTES_MAX && text.is_ascii(),
        "{text}"
    );
    assert!(!text.contains(['%', '\\', '@', '?', '#']), "{text}");
    let mut segments = id.path().split('/').skip(1);
    assert!(segments.all(|it| !matches!(it, "" | "." | "..")), "{text}");
    if let Some((agent, instance)) = id.as_instance() {
        let same = id.trust_domain().instance(&agent, instance);
        assert_eq!(same, id, "two names of one instance");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "spiffe://example.org",
        "spiffe://example.org/agent/clerk/inst_01masw9nf60000000000000005",
        "spiffe://example.org/ambit/gateway",
        "spiffe://td/a/B.c-d_e",
        "spiffe://1.2.3.4/x",
    ]
    .map(|it| it.as_bytes().to_vec())
    .into()
}
