//! For tests only: a whole Ambit in a struct, with a clock to turn and chance from a seed.
//!
//! **Architecture invariant:** a development dependency; nothing shipped depends upon it.

mod clock;
mod office;
mod world;

pub use crate::{
    clock::TestClock,
    office::office,
    world::{Opened, World},
};
