//! Programs that Ambit's authors did not write judge the whole of Ambit: real servers, real clients, real containment.
//!
//! `cargo xtask tools` installs them; `judges/README.md` says which they are.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that finds something else than it expects must stop"
)]

mod authorization;
mod canary;
mod clients;
mod conformance;
mod consent;
mod delegates;
mod docs;
mod log;
mod login;
mod oauth;
mod ports;
mod provider;
mod public;
mod servers;
mod workload;
mod world;
