//! Time and chance, as arguments.

use std::{fmt, sync::Arc};

use ambit_core::{
    Digest, Timestamp,
    id::{Id, Kind},
};

/// One moment: what time it is, and 32 fresh random bytes to make names and nonces of.
///
/// Made only where a clock is read: in the program and in tests.
pub struct Moment {
    /// The time of the log, which never decreases: authority ends by it.
    pub now: Timestamp,
    /// The time that the clocks of others are held against, when what they say must be fresh. Never later than `now`; it
    /// is earlier after the machine's clock was ahead and was set right: `now` waits then for the clock.
    pub wall: Timestamp,
    /// Fresh random bytes, used for one thing only.
    pub chance: [u8; 32],
}

/// Where moments come from.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// Draws from the chance of one moment: each draw differs and none tells of the others.
pub(crate) struct Chance {
    seed: [u8; 32],
    drawn: u8,
}

impl Chance {
    pub(crate) const fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// Draws `N` ≤ 32 bytes.
    pub(crate) fn draw<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 32) };
        let digest = Digest::of_parts(&[b"ambit chance", &[self.drawn], &self.seed]);
        self.drawn = self.drawn.wrapping_add(1);
        let mut bytes = [0; N];
        for (to, from) in bytes.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        bytes
    }

    /// Draws an identifier of the time `at`.
    pub(crate) fn id<K: Kind>(&mut self, at: Timestamp) -> Id<K> {
        Id::new(at, self.draw())
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Moment({})", self.now)
    }
}
