//! For tests only: a whole Ambit in a struct, with a clock to turn and chance from a seed.
//!
//! **Architecture invariant:** a development dependency; nothing shipped depends upon it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't be set up must stop"
)]

mod authenticator;
mod clock;
mod office;
pub mod sim;
mod torn_disk;
mod world;

pub use crate::{
    authenticator::{Authenticator, FormAnswer, PRESENT, VERIFIED},
    clock::TestClock,
    office::{delegating_office, office},
    torn_disk::{Fault, TornDisk},
    world::{Opened, World, compile},
};
