//! What of before this start of the server is not good after it.
//!
//! The identifiers of assertions are remembered in memory. So that a restart makes none good again, those from before it
//! are refused: an assertion is used at the time that it names or later, never sooner.

use ambit_core::{Millis, Timestamp};

use crate::api::Control;

/// When this start was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// The second in which it was: dates in tokens are whole seconds.
    second: Timestamp,
    /// The newest record that was there before: whatever was given was given by then.
    resumed_at: Timestamp,
}

/// Where an assertion stands that is good once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Made {
    /// Since this start; its time comes after this span.
    SinceStart(Millis),
    /// Before it: nobody knows whether it was used.
    Before,
    /// It does not say when.
    Unknown,
}

impl Start {
    pub(super) fn of(control: &Control) -> Self {
        let now = (control.clock)().now.as_millis();
        Self {
            second: Timestamp::from_millis(now - now % 1000),
            resumed_at: control.handle.resumed_at(),
        }
    }

    /// Says where an assertion stands that says when it was made.
    pub(super) fn made(self, issued_at: Option<Timestamp>, now: Timestamp) -> Made {
        match issued_at {
            None => Made::Unknown,
            Some(at) if at < self.second || at <= self.resumed_at => Made::Before,
            Some(at) => Made::SinceStart(at.since(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_before_the_start_is_known() {
        let at = Timestamp::from_millis;
        let check = |resumed: u64, issued: Option<u64>, expected| {
            let start = Start {
                second: at(10_000),
                resumed_at: at(resumed),
            };
            let made = start.made(issued.map(at), at(11_500));
            assert_eq!(made, expected, "{resumed} {issued:?}");
        };
        let (now, later) = (Millis::new(0), Millis::new(500));
        check(0, Some(10_000), Made::SinceStart(now));
        check(0, Some(9_999), Made::Before);
        check(10_000, Some(10_000), Made::Before);
        check(9_999, Some(10_000), Made::SinceStart(now));
        check(10_400, Some(11_000), Made::SinceStart(now));
        check(0, Some(12_000), Made::SinceStart(later));
        check(0, None, Made::Unknown);
    }
}
