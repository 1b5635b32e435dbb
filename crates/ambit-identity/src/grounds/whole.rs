//! How runs of tokens and SVIDs of others were named before: by the whole text of the keys and rules. Records of those days
//! keep such names, and what they let in rests on them until it ends. Nothing is named so any more.

use ambit_core::{
    AgentName, Digest,
    estate::{BundleSource, Federation, Issuer, IssuerKeys, SvidRegistration, TokenRegistration},
};

use super::ground;

/// Names `registration` of tokens as a whole.
pub(super) fn token(
    issuer: &Issuer,
    registration: &TokenRegistration,
    agent: &AgentName,
) -> Digest {
    let keys = match &issuer.keys {
        IssuerKeys::Given(text) => ["given", text],
        IssuerKeys::At(address) => ["at", address],
        IssuerKeys::Discovered => ["discovered", ""],
    };
    let [kind, keys] = keys.map(str::as_bytes);
    ground(&[
        b"token",
        issuer.name.as_str().as_bytes(),
        issuer.issuer.as_bytes(),
        issuer.audience.as_bytes(),
        kind,
        keys,
        registration.claims.to_string().as_bytes(),
        agent.as_str().as_bytes(),
    ])
}

/// Names `registration` of SVIDs as a whole.
pub(super) fn svid(
    federation: &Federation,
    registration: &SvidRegistration,
    agent: &AgentName,
) -> Digest {
    let (kind, source) = match &federation.source {
        BundleSource::Given(text) => ("given", text),
        BundleSource::Web { url } => ("web", url),
        BundleSource::Spiffe { url, .. } => ("spiffe", url),
    };
    ground(&[
        b"svid",
        federation.name.as_str().as_bytes(),
        federation.trust_domain.to_string().as_bytes(),
        kind.as_bytes(),
        source.as_bytes(),
        registration.path.to_string().as_bytes(),
        agent.as_str().as_bytes(),
    ])
}
