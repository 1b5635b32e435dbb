//! Identifiers that were used once: proofs and assertions are good for one request.

use std::collections::{BTreeSet, HashMap};

use ambit_core::{Digest, Timestamp};

/// The most identifiers that one cache remembers: about 200 MB.
pub const REPLAY_ENTRIES_MAX: usize = 1_000_000;

/// What was used, until when it must be remembered. Bounded, in all and for each maker; where there is no room, nothing more
/// is admitted until something expires.
#[derive(Clone, Debug)]
pub struct ReplayCache {
    /// Of whose share each identifier is.
    makers: HashMap<Digest, Digest>,
    order: BTreeSet<(Timestamp, Digest)>,
    shares: HashMap<Digest, usize>,
    room: ReplayRoom,
    /// Until when what was forgotten would have counted, at most: a clock that steps back admits none of it again.
    forgotten: Timestamp,
}

/// How many identifiers a cache remembers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplayRoom {
    /// The most in all, at most [`REPLAY_ENTRIES_MAX`].
    pub entries_max: usize,
    /// The most of one maker: one that is too busy is refused before the others are.
    pub per_owner_max: usize,
}

/// Whose identifier: the same text from two makers is two identifiers.
#[derive(Clone, Copy, Debug)]
pub enum ReplayOwner<'a> {
    /// The key of DPoP proofs.
    Proof {
        /// Its thumbprint.
        thumbprint: Digest,
    },
    /// The key of DPoP proofs, of somebody who proved who they are by something else: proofs of all their keys are theirs,
    /// because they make as many keys as they like.
    ProofOf {
        /// Its thumbprint.
        thumbprint: Digest,
        /// Who proved that.
        prover: &'a str,
    },
    /// The maker of assertions.
    Assertion {
        /// Its name.
        issuer: &'a str,
    },
}

/// An identifier was used for the first time. Spend it on the one request.
///
/// Made only by [`ReplayCache::admit`].
///
/// ```compile_fail,E0603
/// let _ = ambit_identity::replay::FirstUse(());
/// ```
#[derive(Debug)]
#[must_use = "a first use allows one request"]
pub struct FirstUse(());

/// An identifier is not admitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// It was used before.
    #[error("this proof was used before; make a new one, with a new `jti`, for each request")]
    Replayed,
    /// It is over already.
    #[error("this proof is over; compare the two clocks")]
    Over,
    /// There is no room.
    #[error("too many proofs came within minutes; try again when some have expired")]
    Full,
    /// Its maker has no room.
    #[error(
        "too many proofs of one maker came within minutes; ask less often, or try again when some have expired"
    )]
    OwnerFull,
}

impl ReplayCache {
    /// Returns an empty cache with this much room.
    pub fn new(room: ReplayRoom) -> Self {
        Self {
            makers: HashMap::new(),
            order: BTreeSet::new(),
            shares: HashMap::new(),
            room: ReplayRoom {
                entries_max: room.entries_max.min(REPLAY_ENTRIES_MAX),
                per_owner_max: room.per_owner_max,
            },
            forgotten: Timestamp::from_millis(0),
        }
    }

    /// Admits an identifier that was not used before, and remembers it until `until`. The clock may step back: what was
    /// forgotten when it was ahead is not admitted again, and nothing that ends later is refused for it.
    ///
    /// # Errors
    /// [`ReplayError`] when it was used, is over, or cannot be remembered.
    pub fn admit(
        &mut self,
        owner: ReplayOwner<'_>,
        token_id: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<FirstUse, ReplayError> {
        self.forget(now);
        if until <= now.max(self.forgotten) {
            return Err(ReplayError::Over);
        }
        let entry = Digest::of_parts(&[owner.maker().as_bytes(), token_id.as_bytes()]);
        let maker = owner.sharer();
        if self.makers.contains_key(&entry) {
            return Err(ReplayError::Replayed);
        }
        if self.makers.len() >= self.room.entries_max {
            return Err(ReplayError::Full);
        }
        let share = self.shares.get(&maker).copied().unwrap_or(0);
        if share >= self.room.per_owner_max {
            return Err(ReplayError::OwnerFull);
        }
        self.shares.insert(maker, share + 1);
        self.makers.insert(entry, maker);
        self.order.insert((until, entry));
        Ok(FirstUse(()))
    }

    /// Returns how many identifiers are remembered.
    pub fn len(&self) -> usize {
        self.makers.len()
    }

    /// Says whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.makers.is_empty()
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((until, entry)) = self.order.first().copied() {
            if until > now {
                return;
            }
            self.forgotten = self.forgotten.max(until);
            self.order.pop_first();
            let Some(maker) = self.makers.remove(&entry) else {
                continue;
            };
            match self.shares.get_mut(&maker) {
                Some(share) if *share > 1 => *share -= 1,
                Some(_) | None => {
                    self.shares.remove(&maker);
                }
            }
        }
    }
}

impl ReplayOwner<'_> {
    /// Returns who chose the identifier.
    fn maker(self) -> Digest {
        match self {
            Self::Proof { thumbprint } | Self::ProofOf { thumbprint, .. } => {
                Digest::of_parts(&[b"p", thumbprint.as_bytes()])
            }
            Self::Assertion { issuer } => Digest::of_parts(&[b"a", issuer.as_bytes()]),
        }
    }

    /// Returns whose share it takes room of.
    fn sharer(self) -> Digest {
        match self {
            Self::ProofOf { prover, .. } => Digest::of_parts(&[b"w", prover.as_bytes()]),
            Self::Proof { .. } | Self::Assertion { .. } => self.maker(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn room(entries_max: usize, per_owner_max: usize) -> ReplayRoom {
        ReplayRoom {
            entries_max,
            per_owner_max,
        }
    }

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn admit(
        cache: &mut ReplayCache,
        issuer: &str,
        id: &str,
        until: u64,
        now: u64,
    ) -> &'static str {
        match cache.admit(ReplayOwner::Assertion { issuer }, id, at(until), at(now)) {
            Ok(FirstUse(())) => "first",
            Err(ReplayError::Replayed) => "replayed",
            Err(ReplayError::Over) => "over",
            Err(ReplayError::Full) => "full",
            Err(ReplayError::OwnerFull) => "share",
        }
    }

    #[test]
    fn an_identifier_is_good_once() {
        let mut cache = ReplayCache::new(room(3, 3));
        assert_eq!(admit(&mut cache, "a", "1", 100, 0), "first");
        assert_eq!(admit(&mut cache, "a", "1", 200, 99), "replayed");
        assert_eq!(admit(&mut cache, "b", "1", 100, 0), "first");
        assert_eq!(admit(&mut cache, "a", "2", 300, 0), "first");
        assert_eq!(admit(&mut cache, "a", "3", 300, 99), "full");
        assert_eq!(admit(&mut cache, "a", "2", 300, 99), "replayed");
        assert_eq!(admit(&mut cache, "a", "3", 300, 100), "first");
        assert_eq!(cache.len(), 2);
        assert_eq!(admit(&mut cache, "a", "4", 100, 100), "over");
        // The clock steps back: what was forgotten at 100 was over then.
        assert_eq!(admit(&mut cache, "a", "1", 100, 50), "over");
        let thumbprint = Digest::of(b"a");
        let proof = ReplayOwner::Proof { thumbprint };
        assert!(cache.admit(proof, "2", at(300), at(100)).is_ok());
        let most = ReplayCache::new(room(usize::MAX, 1)).room.entries_max;
        assert_eq!(most, REPLAY_ENTRIES_MAX);
    }

    #[test]
    fn a_busy_maker_takes_nobody_else_s_room() {
        let mut cache = ReplayCache::new(room(4, 2));
        assert_eq!(admit(&mut cache, "a", "1", 100, 0), "first");
        assert_eq!(admit(&mut cache, "a", "2", 200, 0), "first");
        assert_eq!(admit(&mut cache, "a", "3", 200, 0), "share");
        assert_eq!(admit(&mut cache, "a", "1", 100, 0), "replayed");
        assert_eq!(admit(&mut cache, "b", "1", 100, 0), "first");
        assert_eq!(admit(&mut cache, "b", "2", 100, 0), "first");
        assert_eq!(admit(&mut cache, "c", "1", 100, 0), "full");
        assert_eq!(admit(&mut cache, "a", "3", 200, 100), "first");
        assert_eq!(admit(&mut cache, "a", "4", 200, 100), "share");
        assert_eq!(admit(&mut cache, "b", "3", 300, 200), "first");
        assert_eq!((cache.len(), cache.shares.len()), (1, 1));
    }

    #[test]
    fn who_proved_who_they_are_has_one_share_for_all_of_their_keys() {
        let mut cache = ReplayCache::new(room(9, 2));
        let mut of = |prover, key: &str| {
            let thumbprint = Digest::of(key.as_bytes());
            let owner = ReplayOwner::ProofOf { thumbprint, prover };
            cache
                .admit(owner, "1", at(100), at(0))
                .map(|FirstUse(())| ())
        };
        assert_eq!(of("a", "one"), Ok(()));
        // A proof is good once, whoever shows it.
        assert_eq!(of("b", "one"), Err(ReplayError::Replayed));
        assert_eq!(of("a", "two"), Ok(()));
        assert_eq!(of("a", "three"), Err(ReplayError::OwnerFull));
        assert_eq!(of("b", "three"), Ok(()));
    }

    /// Who has a right clock waits for what was used before the step to be over, and no longer.
    #[test]
    fn a_step_forward_and_back_locks_nobody_out_and_lets_nothing_in_twice() {
        let mut cache = ReplayCache::new(room(9, 9));
        assert_eq!(admit(&mut cache, "a", "1", 400, 100), "first");
        assert_eq!(admit(&mut cache, "a", "2", 7_500, 7_300), "first");
        assert_eq!(admit(&mut cache, "a", "1", 400, 110), "over");
        assert_eq!(admit(&mut cache, "a", "2", 7_500, 110), "replayed");
        assert_eq!(admit(&mut cache, "a", "3", 400, 110), "over");
        assert_eq!(admit(&mut cache, "a", "3", 401, 110), "first");
    }

    proptest! {
        /// Whatever the clock does, nothing is admitted twice while it is good.
        #[test]
        fn nothing_is_admitted_twice(uses in prop::collection::vec((0_u8..4, 0_u64..60, 0_u64..40), 0..60)) {
            let mut cache = ReplayCache::new(room(8, 4));
            let mut admitted = std::collections::BTreeMap::new();
            for (id, now, ttl) in uses {
                // A token has one end, whenever it is shown.
                let until = *admitted.get(&id).unwrap_or(&(now + ttl));
                if admit(&mut cache, "x", &id.to_string(), until, now) == "first" {
                    prop_assert!(admitted.insert(id, until).is_none());
                }
                prop_assert!(cache.len() <= 8);
            }
        }
    }
}
