//! Others' libraries judge the same tokens: what one of them refuses for cause, Ambit refuses; what
//! Ambit accepts, all accept.
//!
//! `jsonwebtoken` runs here; `jose` (npm) and `joserfc` (PyPI) run where `cargo xtask tools`
//! installed them, with the feature `judges`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds something else than it expects must stop"
)]

mod corpus;
#[cfg(feature = "judges")]
mod judges;
mod rust;
