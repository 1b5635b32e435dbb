//! The doors, tried as a whole: a real engine, a real upstream over loopback, and whatever it does wrong.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test that can't be set up must stop, and its parts are nobody else's"
)]

mod bad_upstreams;
mod calls;
mod connect;
mod eras;
mod methods;
mod mint;
mod raw;
mod stand;
mod stdio;
mod tls;
mod tokens;
mod upstream;
mod vouched;
