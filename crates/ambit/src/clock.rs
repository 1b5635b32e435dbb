//! The clock and the dice: the only place where Ambit reads the time or asks for chance.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ambit_core::{Millis, Timestamp};

/// Tells the time. What it says never decreases, and never stands still for longer than the
/// machine's monotonic clock: a wall clock that is set back can't lengthen an expiry.
///
/// Beside it stands the time that the clocks of others are held against: the wall clock's, but never less than what the
/// wall clock showed at the start and the time that passed since. So a step forward that was an error is over once the
/// wall clock is set right, and a step back by itself makes nothing fresh that is old.
#[derive(Clone)]
pub(crate) struct Clock {
    last: Arc<Mutex<Reading>>,
}

/// A stretch of time that has begun, for telling people how long something took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system gave no random bytes; without them Ambit can make no keys or names")]
pub(crate) struct NoChance;

/// Random bytes drawn ahead: a draw from the system's generator costs the same for 32 bytes as for many.
#[derive(Debug)]
pub(crate) struct Dice {
    ahead: Mutex<Ahead>,
}

struct Ahead {
    bytes: [u8; AHEAD_BYTES],
    used: usize,
}

struct Reading {
    told: Timestamp,
    at: Instant,
    /// What the wall clock showed at the start, and when that was.
    began: (Timestamp, Instant),
    /// The time that the clocks of others are held against.
    wall: Timestamp,
}

impl Clock {
    /// Returns a clock that follows the machine's.
    pub(crate) fn new() -> Self {
        Self {
            last: Arc::new(Mutex::new(Reading::new(wall(), monotonic()))),
        }
    }

    /// Begins no earlier than `at`: a start after the wall clock was set back goes on where the log ended.
    pub(crate) fn not_before(&self, at: Timestamp) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.told = last.told.max(at);
    }

    /// Returns the time.
    pub(crate) fn now(&self) -> Timestamp {
        self.both().0
    }

    /// Returns the time, and the time that the clocks of others are held against: never a later one.
    pub(crate) fn both(&self) -> (Timestamp, Timestamp) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.advance(wall(), monotonic());
        (last.told, last.wall)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl Stopwatch {
    /// Starts.
    pub(crate) fn start() -> Self {
        Self(monotonic())
    }

    /// Returns the time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        monotonic().saturating_duration_since(self.0)
    }
}

/// Returns what tells how much time has passed since now, for measuring how long things take.
pub(crate) fn stopwatch() -> Arc<dyn Fn() -> Duration + Send + Sync> {
    let began = Stopwatch::start();
    Arc::new(move || began.elapsed())
}

/// Returns `N` fresh random bytes, fit for keys.
pub(crate) fn chance<const N: usize>() -> Result<[u8; N], NoChance> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoChance)?;
    Ok(bytes)
}

impl Dice {
    /// Returns dice that have drawn nothing yet.
    pub(crate) fn new() -> Self {
        let ahead = Ahead {
            bytes: [0; AHEAD_BYTES],
            used: AHEAD_BYTES,
        };
        Self {
            ahead: Mutex::new(ahead),
        }
    }

    /// Returns `N` fresh random bytes, fit for keys. They are given once and kept nowhere.
    pub(crate) fn chance<const N: usize>(&self) -> Result<[u8; N], NoChance> {
        const { assert!(N <= AHEAD_BYTES) };
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.used + N > AHEAD_BYTES {
            ahead.bytes = chance()?;
            ahead.used = 0;
        }
        let mut drawn = [0; N];
        let used = ahead.used;
        for (to, from) in drawn.iter_mut().zip(ahead.bytes.iter_mut().skip(used)) {
            *to = std::mem::take(from);
        }
        ahead.used += N;
        Ok(drawn)
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ahead(..)")
    }
}

/// How many random bytes are drawn at once.
const AHEAD_BYTES: usize = 1024;

impl Reading {
    const fn new(wall: Timestamp, at: Instant) -> Self {
        Self {
            told: wall,
            at,
            began: (wall, at),
            wall,
        }
    }

    fn advance(&mut self, wall: Timestamp, at: Instant) {
        let (began, began_at) = self.began;
        let since = at.saturating_duration_since(began_at).as_millis();
        let since = Millis::new(u64::try_from(since).unwrap_or(u64::MAX));
        self.tell(wall, at);
        self.wall = wall.max(began.plus(since)).min(self.told);
    }

    fn tell(&mut self, wall: Timestamp, at: Instant) {
        let passed = at.saturating_duration_since(self.at);
        let passed = Millis::new(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        let at_least = self.told.plus(passed);
        // The part of a millisecond that `passed` drops is kept by not moving `at` for it.
        if wall > at_least || passed.as_millis() > 0 {
            self.told = wall.max(at_least);
            self.at = at;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the wall clock"
)]
fn wall() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
fn monotonic() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_when_the_wall_clock_is_set_back() {
        let start = monotonic();
        let mut reading = Reading::new(Timestamp::from_millis(10_000), start);
        let mut check = |wall, after_millis, told| {
            let at = start + Duration::from_millis(after_millis);
            reading.advance(Timestamp::from_millis(wall), at);
            assert_eq!(
                reading.told.as_millis(),
                told,
                "wall {wall} after {after_millis}"
            );
        };
        check(10_005, 5, 10_005);
        check(2_000, 25, 10_025);
        check(2_500, 525, 10_525);
        check(20_000, 526, 20_000);
    }

    /// What others' clocks are held against comes back with a clock that is set right, also after a restart, and goes back
    /// with none that is set wrong.
    #[test]
    fn a_step_forward_is_over_when_the_clock_is_set_right() {
        let start = monotonic();
        let mut reading = Reading::new(Timestamp::from_millis(10_000), start);
        reading.told = Timestamp::from_millis(60_000);
        let mut check = |wall, after_millis, told, held_against| {
            let at = start + Duration::from_millis(after_millis);
            reading.advance(Timestamp::from_millis(wall), at);
            let seen = (reading.told.as_millis(), reading.wall.as_millis());
            assert_eq!(
                seen,
                (told, held_against),
                "wall {wall} after {after_millis}"
            );
        };
        check(10_500, 500, 60_500, 10_500);
        check(7_210_500, 600, 7_210_500, 7_210_500);
        check(10_700, 700, 7_210_600, 10_700);
        check(10_800, 800, 7_210_700, 10_800);
        check(3_000, 900, 7_210_800, 10_900);
        check(3_100, 1_000, 7_210_900, 11_000);
        check(12_000, 1_100, 7_211_000, 12_000);
    }

    #[test]
    fn no_byte_is_drawn_twice() {
        let dice = Dice::new();
        let mut drawn = std::collections::HashSet::new();
        for _ in 0..3 * AHEAD_BYTES / 32 {
            assert!(drawn.insert(dice.chance::<32>().unwrap()));
            assert!(dice.chance::<24>().unwrap().iter().any(|it| *it != 0));
        }
        assert_eq!(dice.chance::<AHEAD_BYTES>().unwrap().len(), AHEAD_BYTES);
        let ahead = dice.ahead.lock().unwrap();
        assert!(
            ahead.bytes.iter().all(|it| *it == 0),
            "what was given is gone"
        );
    }

    #[test]
    fn a_clock_begins_no_earlier_than_the_log_ended() {
        let clock = Clock::new();
        let ahead = clock.now().plus(Millis::from_seconds(3600));
        clock.not_before(ahead);
        assert!(clock.now() >= ahead);
        clock.not_before(Timestamp::from_millis(1));
        assert!(clock.now() >= ahead);
    }
}
