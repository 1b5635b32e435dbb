//! The engine as a whole: a store in memory, real certificates, a clock to turn.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that finds something else than it expects must stop"
)]

mod approvals;
mod attacks;
mod attacks_on_delegation;
mod attend;
mod claim;
mod clients;
mod delegation;
mod delegation_laws;
mod ending;
mod floods;
mod gone;
mod left;
mod opened;
mod pace;
mod passkeys;
mod path;
mod people_policies;
mod rebuild;
mod registrations;
mod reinstate;
mod settle;
mod steps_by_token;
mod support;
mod takers;
mod token_exchange;
mod token_laws;
mod tokens;
mod unserved;
mod words;
