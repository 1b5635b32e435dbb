//! The program as its users run it: a real server, a real upstream, real containers.

#![expect(
    clippy::unwrap_used,
    reason = "a test that finds something else than it expects must stop"
)]

mod containment;
mod cores;
mod crowds;
mod delegation;
mod federation;
mod given;
mod guard;
mod identity;
mod incident;
mod keys;
mod kill;
mod life;
mod metrics;
mod parts_by_token;
mod people;
mod recover;
mod telemetry;
mod tokens;
mod workload;
mod world;
