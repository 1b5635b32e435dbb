//! How long Ambit itself takes over a call: all but the waits for its upstream.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::doors::Doors;

/// Measures one call. When it is dropped, what it measured is counted.
pub(super) struct Added<'a> {
    doors: &'a Doors,
    began: Duration,
    waited_nanos: AtomicU64,
}

impl<'a> Added<'a> {
    /// Begins.
    pub(super) fn begin(doors: &'a Doors) -> Self {
        Self {
            doors,
            began: passed(doors),
            waited_nanos: AtomicU64::new(0),
        }
    }

    /// Does not count what passes until the pause is dropped: somebody else is waited for.
    pub(super) fn pause(&self) -> Pause<'_> {
        Pause {
            added: self,
            began: passed(self.doors),
        }
    }
}

/// A wait for somebody else.
#[must_use = "a pause that is dropped is over"]
pub(super) struct Pause<'a> {
    added: &'a Added<'a>,
    began: Duration,
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        let waited = passed(self.added.doors).saturating_sub(self.began);
        let waited = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.added.waited_nanos.fetch_add(waited, Ordering::Relaxed);
    }
}

impl Drop for Added<'_> {
    fn drop(&mut self) {
        if self.doors.stopwatch.is_none() {
            return;
        }
        let waited = Duration::from_nanos(self.waited_nanos.load(Ordering::Relaxed));
        let added = passed(self.doors).saturating_sub(self.began);
        let added = added.saturating_sub(waited);
        self.doors.handle.metrics().added.observe(added);
    }
}

fn passed(doors: &Doors) -> Duration {
    doors.stopwatch.as_ref().map_or(Duration::ZERO, |it| it())
}
