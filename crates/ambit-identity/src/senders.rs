//! Assertions that are shown again: each stays with the key of whoever showed it first.
//!
//! Other issuers hand the same token out until half its life is over: Kubernetes, SPIRE. So it can't be good once, and
//! whoever else comes by it could use it. Whoever got something for it first proved a key; from then on it is theirs.

use std::collections::{BTreeSet, HashMap};

use ambit_core::{Digest, Timestamp};

/// The most assertions that are remembered with their senders, at once.
pub const SENDERS_MAX: usize = 100_000;

/// Who showed which assertion first. Bounded; when it is full, none that is new is admitted until one expires.
#[derive(Debug)]
pub struct Senders {
    by_assertion: HashMap<Digest, Entry>,
    order: BTreeSet<(Timestamp, Digest)>,
    entries_max: usize,
    /// Until when what was forgotten would have counted, at most: a clock that steps back admits none of it again.
    forgotten: Timestamp,
}

#[derive(Debug)]
struct Entry {
    /// The sender's key; none of one who proved none.
    key: Option<Digest>,
    until: Timestamp,
    under_way: u32,
    given: Given,
}

/// Whether something was given for an assertion.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Given {
    /// Something was.
    Something,
    /// Nothing was: whoever showed it is not held to it.
    Nothing,
}

/// An assertion is not admitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SenderError {
    /// Somebody else showed it before.
    #[error(
        "this assertion was used before by another key, or by none; prove the key that was shown first, or get a new assertion \
         from its issuer"
    )]
    Another,
    /// It is over already.
    #[error("this assertion is over; compare the two clocks")]
    Over,
    /// There is no room.
    #[error("too many assertions are remembered; try again when some have expired")]
    Full,
}

impl Senders {
    /// Returns an empty memory for at most `entries_max` assertions, and never more than [`SENDERS_MAX`].
    pub fn new(entries_max: usize) -> Self {
        Self {
            by_assertion: HashMap::new(),
            order: BTreeSet::new(),
            entries_max: entries_max.min(SENDERS_MAX),
            forgotten: Timestamp::from_millis(0),
        }
    }

    /// Admits an assertion that nobody else showed before, and remembers the key that its sender proved until `until`.
    /// Call [`Self::settle`] when it is known what was given for it.
    ///
    /// One that came without a key is good once.
    ///
    /// # Errors
    /// [`SenderError`] when another sender showed it, it is over, or it can't be remembered.
    pub fn admit(
        &mut self,
        assertion: Digest,
        key: Option<Digest>,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), SenderError> {
        self.forget(now);
        if until <= now.max(self.forgotten) {
            return Err(SenderError::Over);
        }
        if let Some(entry) = self.by_assertion.get_mut(&assertion) {
            if key.is_none() || entry.key != key {
                return Err(SenderError::Another);
            }
            entry.under_way = entry.under_way.saturating_add(1);
            return Ok(());
        }
        if self.by_assertion.len() >= self.entries_max {
            return Err(SenderError::Full);
        }
        let entry = Entry {
            key,
            until,
            under_way: 1,
            given: Given::Nothing,
        };
        self.by_assertion.insert(assertion, entry);
        self.order.insert((until, assertion));
        Ok(())
    }

    /// Says what was given for an assertion that was admitted. Where nothing was, and nothing is under way, its sender is
    /// forgotten.
    pub fn settle(&mut self, assertion: Digest, given: Given) {
        let Some(entry) = self.by_assertion.get_mut(&assertion) else {
            return;
        };
        entry.under_way = entry.under_way.saturating_sub(1);
        if given == Given::Something {
            entry.given = given;
        }
        if entry.under_way == 0 && entry.given == Given::Nothing {
            let until = entry.until;
            self.by_assertion.remove(&assertion);
            self.order.remove(&(until, assertion));
        }
    }

    /// Returns how many assertions are remembered.
    pub fn len(&self) -> usize {
        self.by_assertion.len()
    }

    /// Says whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_assertion.is_empty()
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((until, assertion)) = self.order.first().copied() {
            if until > now {
                return;
            }
            self.forgotten = self.forgotten.max(until);
            self.order.pop_first();
            self.by_assertion.remove(&assertion);
        }
    }
}

/// Names an assertion by what was signed. Its signature is left out: of some algorithms anybody can write another one that
/// is good as well.
pub fn assertion_name(token: &str) -> Digest {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    Digest::of(signed.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn key(seed: u8) -> Option<Digest> {
        (seed != 0).then(|| Digest::of(&[seed]))
    }

    fn admit(senders: &mut Senders, name: &str, by: u8, (until, now): (u64, u64)) -> &'static str {
        match senders.admit(assertion_name(name), key(by), at(until), at(now)) {
            Ok(()) => "admitted",
            Err(SenderError::Another) => "another",
            Err(SenderError::Over) => "over",
            Err(SenderError::Full) => "full",
        }
    }

    fn settle(senders: &mut Senders, name: &str, given: Given) {
        senders.settle(assertion_name(name), given);
    }

    #[test]
    fn an_assertion_stays_with_the_key_that_showed_it_first() {
        let mut senders = Senders::new(2);
        let life = (100, 0);
        assert_eq!(admit(&mut senders, "a.b.s", 1, life), "admitted");
        // Another signature over the same is the same assertion.
        assert_eq!(admit(&mut senders, "a.b.t", 2, life), "another");
        assert_eq!(admit(&mut senders, "a.b.s", 0, life), "another");
        assert_eq!(admit(&mut senders, "a.b.s", 1, life), "admitted");
        // Nothing is forgotten while another one of the same sender is under way.
        settle(&mut senders, "a.b.s", Given::Nothing);
        assert_eq!(admit(&mut senders, "a.b.s", 2, life), "another");
        settle(&mut senders, "a.b.s", Given::Nothing);
        assert_eq!(admit(&mut senders, "a.b.s", 2, life), "admitted");
        settle(&mut senders, "a.b.s", Given::Something);
        settle(&mut senders, "a.b.s", Given::Nothing);
        assert_eq!(admit(&mut senders, "a.b.s", 1, life), "another");
        // Without a key it is good once, also for whoever has one.
        assert_eq!(admit(&mut senders, "a.c.s", 0, (90, 0)), "admitted");
        settle(&mut senders, "a.c.s", Given::Something);
        assert_eq!(admit(&mut senders, "a.c.s", 0, (90, 0)), "another");
        assert_eq!(admit(&mut senders, "a.c.s", 1, (90, 0)), "another");
        // One beyond what is remembered.
        assert_eq!(admit(&mut senders, "a.d.s", 1, (90, 89)), "full");
        assert_eq!(admit(&mut senders, "a.b.s", 2, (100, 89)), "admitted");
        assert_eq!(admit(&mut senders, "a.d.s", 1, (200, 90)), "admitted");
        assert_eq!(senders.len(), 2);
        assert_eq!(admit(&mut senders, "a.c.s", 1, (90, 90)), "over");
        // The clock steps back: what was forgotten was over then.
        assert_eq!(admit(&mut senders, "a.c.s", 1, (90, 50)), "over");
        assert_eq!(Senders::new(usize::MAX).entries_max, SENDERS_MAX);
    }

    proptest! {
        /// Whatever happens in whatever order: for one assertion something is given to one key alone, or once to nobody's.
        #[test]
        fn one_assertion_has_one_sender(steps in prop::collection::vec((0_u8..3, 0_u8..3, any::<bool>()), 0..60)) {
            let mut senders = Senders::new(8);
            let mut given = std::collections::BTreeMap::new();
            for (name, by, gives) in steps {
                let text = format!("a.{name}.s");
                if admit(&mut senders, &text, by, (100, 0)) != "admitted" {
                    continue;
                }
                if let Some(first) = given.get(&name) {
                    prop_assert_eq!((*first, by != 0), (by, true));
                }
                if gives {
                    given.insert(name, by);
                }
                settle(&mut senders, &text, if gives { Given::Something } else { Given::Nothing });
            }
        }
    }
}
