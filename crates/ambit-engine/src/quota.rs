//! Quotas of refusals: a caller that is refused in a flood is written down by count, not by line.

use std::collections::HashMap;

use ambit_core::{Reason, TaskId, Timestamp, record::Actor};

/// How many refusals of one caller are written one by one before they are counted together.
pub(crate) const REFUSALS_BURST_MAX: u32 = 50;
/// How many more are written one by one per second.
pub(crate) const REFUSALS_PER_SECOND: u64 = 10;
/// How many callers' counts are kept; beyond it the fullest are kept as they are and new ones are written.
const CALLERS_MAX: usize = 10_000;

/// What to do with one more refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Writing {
    /// Write it.
    Alone,
    /// It was counted; the count is written later.
    Counted,
}

/// Refusals that were counted together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Coalesced {
    pub(crate) actor: Actor,
    pub(crate) task: Option<TaskId>,
    pub(crate) reason: Reason,
    pub(crate) count: u64,
    pub(crate) first_at: Timestamp,
    pub(crate) last_at: Timestamp,
}

/// The quotas of all callers.
#[derive(Debug)]
pub(crate) struct Quotas {
    callers: HashMap<Actor, Bucket>,
    counted: HashMap<(Actor, Reason), Coalesced>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    filled_at: Timestamp,
}

impl Quotas {
    pub(crate) fn new() -> Self {
        Self {
            callers: HashMap::new(),
            counted: HashMap::new(),
        }
    }

    /// Counts one refusal and says how it is written.
    pub(crate) fn refused(
        &mut self,
        actor: Actor,
        task: Option<TaskId>,
        reason: Reason,
        now: Timestamp,
    ) -> Writing {
        if self.callers.len() >= CALLERS_MAX {
            self.callers
                .retain(|_, bucket| bucket.left < REFUSALS_BURST_MAX);
        }
        let bucket = self.callers.entry(actor).or_insert(Bucket {
            left: REFUSALS_BURST_MAX,
            filled_at: now,
        });
        bucket.fill(now);
        if bucket.left > 0 {
            bucket.left -= 1;
            return Writing::Alone;
        }
        self.repeated(actor, task, reason, now);
        Writing::Counted
    }

    /// Counts what was answered before and is answered alike, so that it needs no record of its own.
    pub(crate) fn repeated(
        &mut self,
        actor: Actor,
        task: Option<TaskId>,
        reason: Reason,
        now: Timestamp,
    ) {
        let fresh = Coalesced {
            actor,
            task,
            reason,
            count: 0,
            first_at: now,
            last_at: now,
        };
        let counted = self.counted.entry((actor, reason)).or_insert(fresh);
        counted.count += 1;
        counted.last_at = now;
    }

    /// Takes at most `count_max` of what was counted together, oldest first. The rest stays for the next time.
    pub(crate) fn take(&mut self, now: Timestamp, count_max: usize) -> Vec<Coalesced> {
        self.callers.retain(|_, bucket| {
            bucket.fill(now);
            bucket.left < REFUSALS_BURST_MAX
        });
        let mut counted: Vec<_> = self.counted.values().cloned().collect();
        counted.sort_by_key(|it| (it.first_at, it.actor, it.reason));
        counted.truncate(count_max);
        for it in &counted {
            self.counted.remove(&(it.actor, it.reason));
        }
        counted
    }
}

impl Bucket {
    fn fill(&mut self, now: Timestamp) {
        let earned = now.since(self.filled_at).as_millis() * REFUSALS_PER_SECOND / 1000;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(earned).min(REFUSALS_BURST_MAX);
            self.filled_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use ambit_core::{InstanceId, PersonId};

    use super::*;

    #[test]
    fn a_flood_is_counted_and_another_caller_is_not() {
        let mut quotas = Quotas::new();
        let flooding = Actor::Person(PersonId::from_bits(1));
        let calm = Actor::Instance(InstanceId::from_bits(1));
        let now = Timestamp::from_millis(1000);
        let refuse =
            |quotas: &mut Quotas, who, now| quotas.refused(who, None, Reason::ToolUnknown, now);
        for _ in 0..REFUSALS_BURST_MAX {
            assert_eq!(refuse(&mut quotas, flooding, now), Writing::Alone);
        }
        assert_eq!(refuse(&mut quotas, flooding, now), Writing::Counted);
        assert_eq!(refuse(&mut quotas, flooding, now), Writing::Counted);
        assert_eq!(refuse(&mut quotas, calm, now), Writing::Alone);
        let counted = quotas.take(now, 64);
        assert_eq!(counted.len(), 1);
        assert_eq!(counted.first().map(|it| it.count), Some(2));
        let later = Timestamp::from_millis(1100);
        assert_eq!(
            refuse(&mut quotas, flooding, later),
            Writing::Alone,
            "a token came back"
        );
        assert_eq!(refuse(&mut quotas, flooding, later), Writing::Counted);
    }

    #[test]
    fn counts_that_do_not_fit_wait_for_the_next_time() {
        let mut quotas = Quotas::new();
        let now = Timestamp::from_millis(1000);
        for caller in 0..3 {
            for _ in 0..=REFUSALS_BURST_MAX {
                quotas.refused(
                    Actor::Instance(InstanceId::from_bits(caller)),
                    None,
                    Reason::ToolUnknown,
                    now,
                );
            }
        }
        assert_eq!(quotas.take(now, 2).len(), 2);
        assert_eq!(quotas.take(now, 2).len(), 1);
        assert_eq!(quotas.take(now, 2).len(), 0);
    }
}
