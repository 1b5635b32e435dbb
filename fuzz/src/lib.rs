//! Every reader of bytes that others wrote, each with the laws it keeps for any bytes at all.
//!
//! A target is one file in `targets/` and one line in [`TARGETS`]. `cargo test -p ambit-fuzz` tries each with its seeds and
//! some thousand changed ones; `cargo xtask fuzz` looks for inputs that reach new code, for as long as it is given.
//! Seeds are made here, from the real writers and from files of this repository; none is fetched.
//!
//! **Architecture invariant:** a development dependency; nothing shipped depends upon it.

#![expect(
    clippy::expect_used,
    reason = "a target whose seeds can't be made must stop"
)]

mod targets;

use std::fmt;

pub use targets::TARGETS;

/// One reader, what may be fed to it, and what must hold.
#[derive(Clone, Copy)]
pub struct Target {
    /// Names it on the command line.
    pub name: &'static str,
    /// Feeds it `bytes`. It panics when a law is broken, and returns whatever the answer was.
    pub run: fn(bytes: &[u8]),
    /// Makes inputs from which others are bred.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of its language: chance alone does not find them.
    pub words: &'static [&'static str],
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.name)
    }
}

/// Splits `bytes` at the first line break: a target that takes two texts reads them so.
fn halves(bytes: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(bytes).ok()?.split_once('\n')
}

/// Cuts `bytes` into pieces whose lengths follow from the bytes themselves.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(*rest.first()? % 7) + 1;
        let (piece, tail) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = tail;
        Some(piece)
    })
}
