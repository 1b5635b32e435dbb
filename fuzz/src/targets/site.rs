//! An authority and what it issues, for the targets that read certificates.

use ambit_core::{Millis, SpiffeId, Timestamp, TrustDomain};
use ambit_identity::{Authority, Issuance, Svid, SvidKey};

/// When everything happens.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_795_305_600_000);

pub(super) fn trust_domain() -> TrustDomain {
    "example.org".parse().expect("a trust domain")
}

pub(super) fn authority() -> Authority {
    Authority::create(trust_domain(), [7; 32], NOW).expect("an authority")
}

pub(super) fn key() -> SvidKey {
    SvidKey::generate([9; 32]).expect("a key")
}

/// An SVID of an instance.
pub(super) fn svid(authority: &Authority) -> Svid {
    let name = "spiffe://example.org/agent/clerk/inst_01masw9nf60000000000000005";
    let spiffe_id: SpiffeId = name.parse().expect("a name");
    let issued = authority.issue(&Issuance {
        key: &key().proved().expect("a proved key"),
        spiffe_id: &spiffe_id,
        now: NOW,
        expires_at: NOW.plus(Millis::from_seconds(600)),
        chance: [3; 16],
    });
    issued.expect("an SVID")
}
