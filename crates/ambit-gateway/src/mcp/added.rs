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

    /// Waits for somebody else, and does not count that.
    pub(super) async fn without<T>(&self, waiting: impl Future<Output = T>) -> T {
        let before = passed(self.doors);
        let came = waiting.await;
        let waited = passed(self.doors).saturating_sub(before).as_nanos();
        let waited = u64::try_from(waited).unwrap_or(u64::MAX);
        self.waited_nanos.fetch_add(waited, Ordering::Relaxed);
        came
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
