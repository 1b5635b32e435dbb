//! A small world: one authority, one instance, one gateway, at a fixed time.

mod authority;
mod federated;
mod person;
mod rotation;
mod svid;
mod tls;
mod web;
mod workload;

use ambit_core::{AgentName, InstanceId, Millis, SpiffeId, Timestamp, TrustDomain};

use crate::{Authority, Issuance, Svid, SvidKey};

/// 2026-11-22T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_305_600_000);
const HOUR: Millis = Millis::from_seconds(3600);

fn domain(name: &str) -> TrustDomain {
    name.parse().unwrap()
}

pub(crate) fn authority(chance: u8) -> Authority {
    Authority::create(domain("example.org"), [chance; 32], NOW).unwrap()
}

fn instance_id() -> SpiffeId {
    let agent: AgentName = "billing".parse().unwrap();
    domain("example.org").instance(&agent, InstanceId::from_bits(7))
}

fn instance_key() -> SvidKey {
    SvidKey::generate([40; 32]).unwrap()
}

fn gateway_key() -> SvidKey {
    SvidKey::generate([41; 32]).unwrap()
}

fn instance_svid(authority: &Authority) -> Svid {
    let issuance = Issuance {
        key: &instance_key().proved().unwrap(),
        spiffe_id: &instance_id(),
        now: NOW,
        expires_at: NOW.plus(HOUR),
        chance: [1; 16],
    };
    authority.issue(&issuance).unwrap()
}

fn gateway_svid(authority: &Authority) -> Svid {
    let until = NOW.plus(HOUR);
    authority
        .gateway_svid(&gateway_key(), NOW, until, [2; 16])
        .unwrap()
}

/// Returns an error's message followed by those of its causes.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
