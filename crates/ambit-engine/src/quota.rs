//! Quotas: a caller that is refused in a flood is written down by count, not by line; and what a task is given on demand,
//! each with a record, comes at a measured pace.

use std::collections::HashMap;

use ambit_core::{InstanceId, Millis, Reason, TaskId, Timestamp, record::Actor};

use crate::EngineError;

/// How many refusals of one caller are written one by one before they are counted together.
pub(crate) const REFUSALS_BURST_MAX: u32 = 50;
/// After how long one more is written by itself.
pub(crate) const REFUSAL_EVERY: Millis = Millis::new(100);
/// How many tokens and JWT-SVIDs a task gets one right after another.
pub const ISSUED_BURST_MAX: u32 = 128;
/// After how long a task gets one more.
pub const ISSUED_EVERY: Millis = Millis::from_seconds(2);
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

/// The quotas of all callers and tasks.
#[derive(Debug)]
pub(crate) struct Quotas {
    callers: HashMap<Actor, Bucket>,
    /// What tasks were given. There are as many as tasks that were live within a tick, at most.
    tasks: HashMap<TaskId, Bucket>,
    counted: HashMap<(Actor, Reason), Coalesced>,
}

#[derive(Debug)]
struct Bucket {
    pace: Pace,
    left: u32,
    filled_at: Timestamp,
}

/// How much comes at once, and how soon more.
#[derive(Clone, Copy, Debug)]
struct Pace {
    burst: u32,
    every: Millis,
}

const REFUSALS: Pace = Pace {
    burst: REFUSALS_BURST_MAX,
    every: REFUSAL_EVERY,
};
const ISSUED: Pace = Pace {
    burst: ISSUED_BURST_MAX,
    every: ISSUED_EVERY,
};

impl Quotas {
    pub(crate) fn new() -> Self {
        Self {
            callers: HashMap::new(),
            tasks: HashMap::new(),
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
            self.callers.retain(|_, bucket| bucket.is_in_use());
        }
        let bucket = self.callers.entry(actor);
        let bucket = bucket.or_insert_with(|| Bucket::full(REFUSALS, now));
        if bucket.take(now) == Taken::One {
            return Writing::Alone;
        }
        self.repeated(actor, task, reason, now);
        Writing::Counted
    }

    /// Counts one more token or identity that a task is given, with a record of its own.
    ///
    /// # Errors
    /// [`EngineError::TooFast`] when it asks faster than it may: that is written by count.
    pub(crate) fn issue(
        &mut self,
        (task, instance): (TaskId, InstanceId),
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let bucket = self.tasks.entry(task);
        let bucket = bucket.or_insert_with(|| Bucket::full(ISSUED, now));
        let Taken::Nothing { wait } = bucket.take(now) else {
            return Ok(());
        };
        let actor = Actor::Instance(instance);
        self.repeated(actor, Some(task), Reason::Overloaded, now);
        Err(EngineError::TooFast {
            wait_seconds: wait.as_millis().div_ceil(1000),
        })
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
            bucket.is_in_use()
        });
        self.tasks.retain(|_, bucket| {
            bucket.fill(now);
            bucket.is_in_use()
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

/// What came of taking one out of a bucket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Taken {
    One,
    /// There is none until so much later.
    Nothing {
        wait: Millis,
    },
}

impl Bucket {
    const fn full(pace: Pace, now: Timestamp) -> Self {
        Self {
            pace,
            left: pace.burst,
            filled_at: now,
        }
    }

    fn take(&mut self, now: Timestamp) -> Taken {
        self.fill(now);
        let Some(left) = self.left.checked_sub(1) else {
            let gone = now.since(self.filled_at).as_millis();
            let wait = self.pace.every.as_millis().saturating_sub(gone);
            return Taken::Nothing {
                wait: Millis::new(wait),
            };
        };
        self.left = left;
        Taken::One
    }

    /// Says whether it remembers anything.
    const fn is_in_use(&self) -> bool {
        self.left < self.pace.burst
    }

    fn fill(&mut self, now: Timestamp) {
        let every = self.pace.every.as_millis().max(1);
        let earned = now.since(self.filled_at).as_millis() / every;
        if earned > 0 {
            let more = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(self.pace.burst);
            self.filled_at = self.filled_at.plus(Millis::new(earned * every));
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

    /// ASI08: a task gets so many at once, one more each while, and no other task waits for it.
    #[test]
    fn asi08_what_a_task_is_given_comes_at_a_measured_pace() {
        let mut quotas = Quotas::new();
        let of = |number| (TaskId::from_bits(number), InstanceId::from_bits(number));
        let start = Timestamp::from_millis(1000);
        for _ in 0..ISSUED_BURST_MAX {
            quotas.issue(of(1), start).unwrap();
        }
        let told = |answer: Result<(), EngineError>| match answer {
            Err(EngineError::TooFast { wait_seconds }) => wait_seconds,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(quotas.issue(of(1), start)), 2);
        let almost = start.plus(Millis::new(ISSUED_EVERY.as_millis() - 1));
        assert_eq!(told(quotas.issue(of(1), almost)), 1);
        quotas.issue(of(2), almost).unwrap();
        let counted = quotas.take(almost, 64);
        let [counted] = counted.as_slice() else {
            panic!("{counted:?}");
        };
        assert_eq!((counted.task, counted.count), (Some(of(1).0), 2));
        assert_eq!(counted.reason, Reason::Overloaded);
        // What a tick forgets is what is full again.
        let later = start.plus(ISSUED_EVERY);
        quotas.issue(of(1), later).unwrap();
        assert_eq!(told(quotas.issue(of(1), later)), 2);
        let full = later.plus(Millis::new(
            ISSUED_EVERY.as_millis() * u64::from(ISSUED_BURST_MAX),
        ));
        assert_eq!(quotas.take(full, 64).len(), 1);
        assert!(quotas.tasks.is_empty());
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
