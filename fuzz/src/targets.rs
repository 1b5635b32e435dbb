//! The one list of targets.

mod archive;
mod bundle;
mod bundle_document;
mod certificate;
mod checkpoint;
mod client_document;
mod connect;
mod details;
mod discovery;
mod estate;
mod events;
mod framing;
mod json;
mod key;
mod key_set;
mod location;
mod message;
mod passkey;
mod proof;
mod record;
mod request;
mod signed;
mod site;
mod spiffe;
mod tile;
mod token;
mod verifier_key;

use crate::Target;

/// Every target, in the order in which `cargo xtask fuzz` takes them.
pub const TARGETS: &[Target] = &[
    json::TARGET,
    record::TARGET,
    checkpoint::TARGET,
    verifier_key::TARGET,
    tile::TARGET,
    spiffe::TARGET,
    certificate::TARGET,
    request::TARGET,
    key::TARGET,
    bundle::TARGET,
    estate::TARGET,
    archive::TARGET,
    message::TARGET,
    events::TARGET,
    framing::TARGET,
    connect::TARGET,
    location::TARGET,
    token::TARGET,
    token::SIGNED[0],
    token::SIGNED[1],
    token::SIGNED[2],
    token::SIGNED[3],
    token::SIGNED[4],
    token::SIGNED[5],
    token::SIGNED[6],
    proof::TARGET,
    passkey::TARGET,
    key_set::TARGET,
    client_document::TARGET,
    discovery::TARGET,
    bundle_document::TARGET,
    details::TARGET,
];
