//! Others' libraries judge the same tokens: what one of them refuses for cause, Ambit refuses; what
//! Ambit accepts, all accept; what all accept and Ambit refuses has a reason.
//!
//! Every kind of token ([`profiles`]) is tried with every algorithm that it may be signed with. `jsonwebtoken` runs here;
//! `jose` (npm) and `joserfc` (PyPI) run where `cargo xtask tools` installed them, with the feature `judges`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects must stop"
)]

mod claims;
mod corpus;
mod headers;
#[cfg(feature = "judges")]
mod judges;
mod keys;
mod profiles;
mod rust;
mod shapes;
#[cfg(feature = "judges")]
mod stricter;
mod verdicts;
