//! A clock that stands still until it is turned, and chance from a seed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ambit_core::{Digest, Millis, Timestamp};
use ambit_engine::{Clock, Moment};

/// A clock that stands still until it is turned. Clones show the same time.
#[derive(Clone, Debug)]
pub struct TestClock {
    now: Arc<AtomicU64>,
    /// How far the machine's clock is behind.
    behind: Arc<AtomicU64>,
    drawn: Arc<AtomicU64>,
    seed: u64,
}

impl TestClock {
    /// Returns a clock that shows noon of 2026-11-22 (UTC), with chance from `seed`.
    pub fn new(seed: u64) -> Self {
        let noon = 1_795_348_800_000;
        Self {
            now: Arc::new(AtomicU64::new(noon)),
            behind: Arc::default(),
            drawn: Arc::new(AtomicU64::new(0)),
            seed,
        }
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    /// Turns the clock forward.
    pub fn advance(&self, span: Millis) {
        self.now.fetch_add(span.as_millis(), Ordering::SeqCst);
    }

    /// Turns the clock backward, as a bad time source would.
    pub fn turn_back(&self, span: Millis) {
        self.now.fetch_sub(span.as_millis(), Ordering::SeqCst);
    }

    /// Turns the clock forward and back again: the log's time stays ahead, the machine's is what it was.
    pub fn step_forward_and_back(&self, span: Millis) {
        self.behind.fetch_add(span.as_millis(), Ordering::SeqCst);
        self.advance(span);
    }

    /// Returns the time that the clocks of others are held against.
    pub fn wall(&self) -> Timestamp {
        let behind = self.behind.load(Ordering::SeqCst);
        Timestamp::from_millis(self.now().as_millis().saturating_sub(behind))
    }

    /// Returns 32 bytes that no other draw gives.
    pub fn chance(&self) -> [u8; 32] {
        let drawn = self.drawn.fetch_add(1, Ordering::SeqCst);
        let digest = Digest::of_parts(&[b"test", &self.seed.to_be_bytes(), &drawn.to_be_bytes()]);
        *digest.as_bytes()
    }

    /// Returns the moment.
    pub fn moment(&self) -> Moment {
        Moment {
            now: self.now(),
            wall: self.wall(),
            chance: self.chance(),
        }
    }

    /// Returns the clock as the engine takes it.
    pub fn to_clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.moment())
    }
}
