//! What of before this start of the server is not good after it.
//!
//! The identifiers of assertions are remembered in memory. So that a restart makes none good again, those from before it
//! are refused: an assertion is used at the time that it names or later, never sooner.

use ambit_core::{Millis, Timestamp};

use crate::api::Control;

/// When this start was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// The second in which it was by the log's clock, which dates what Ambit signs: dates in tokens are whole seconds.
    second: Timestamp,
    /// The second in which it was by the wall clock, which dates what others sign.
    wall_second: Timestamp,
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

/// Whose clock dated an assertion.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Maker {
    /// Ambit's own: a JWT-SVID of this trust domain.
    Ambit,
    /// A client's, or another authority's.
    Another,
}

impl Start {
    pub(super) fn of(control: &Control) -> Self {
        let moment = (control.clock)();
        let second = |at: Timestamp| Timestamp::from_millis(at.as_millis() - at.as_millis() % 1000);
        Self {
            second: second(moment.now),
            wall_second: second(moment.wall),
            resumed_at: control.handle.resumed_at(),
        }
    }

    /// Says where an assertion stands that says when it was made, `now` by the clock of its maker. Where the newest record
    /// is ahead of the wall clock, nobody knows which assertions of others were used before: none is good until that time.
    pub(super) fn made(
        self,
        issued_at: Option<Timestamp>,
        (maker, now): (Maker, Timestamp),
    ) -> Made {
        let second = match maker {
            Maker::Ambit => self.second,
            Maker::Another => self.wall_second,
        };
        match issued_at {
            None => Made::Unknown,
            Some(at) if at < second || at <= self.resumed_at => Made::Before,
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
                second: at(20_000),
                wall_second: at(10_000),
                resumed_at: at(resumed),
            };
            let made = start.made(issued.map(at), (Maker::Another, at(11_500)));
            assert_eq!(made, expected, "{resumed} {issued:?}");
            // Ten seconds later by the log's clock it is the same for what Ambit signs.
            let later = |it: u64| at(it + 10_000);
            let start = Start {
                resumed_at: later(resumed),
                ..start
            };
            let made = start.made(issued.map(later), (Maker::Ambit, at(21_500)));
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
