//! What time does: expiry, lost acts, counted refusals.

use ambit_audit::Space;
use ambit_core::{
    Millis, Reason, Timestamp,
    act::Target,
    record::{Actor, Body},
    task::{End, TaskState},
};

use super::attend::deserted;
use crate::{EngineError, Handle, Moment, desk::Desk, sequencer::unknown};

/// How long a permitted act may be neither under way nor ended before it is unknown: longer than a permit lives.
const LOST_AFTER: Millis = Millis::from_seconds(5);

/// The most counts of refusals that one tick writes; the rest waits for the next. With what a turn before may have
/// written, they fit into a batch.
const COUNTS_MAX: usize = 64;

impl Handle {
    /// Does what time does. The program calls it every quarter of a second.
    pub async fn tick(&self, moment: Moment) -> Result<(), EngineError> {
        let now = moment.now;
        self.shared.flights.strike_off(now);
        let flights = self.shared.flights.clone();
        let counts_max = match self.shared.space() {
            Space::Ample => COUNTS_MAX,
            // They stay counted: the reserve is for what takes authority away.
            Space::Reserve => 0,
        };
        let shared = self.shared.clone();
        let ended = self.turn(move |desk| {
            // Taken in the turn: a turn that is never taken loses no count.
            let counted = shared.quotas().take(now, counts_max.min(desk.room() / 4));
            let ended = sweep(desk, now, |decision| flights.is_listed(decision), counted);
            Box::new(move |committed| committed.and(ended))
        });
        for (task, end) in ended.await?? {
            let reason = match end {
                End::Expired => Reason::TaskExpired,
                End::Completed | End::Cancelled | End::Revoked | End::Unregistered => {
                    Reason::TaskEnded
                }
            };
            self.shared.flights.cut((&Target::Task(task), reason), now);
        }
        Ok(())
    }
}

fn sweep(
    desk: &mut Desk<'_>,
    now: Timestamp,
    is_under_way: impl Fn(ambit_core::DecisionId) -> bool,
    counted: Vec<crate::quota::Coalesced>,
) -> Result<Vec<(ambit_core::TaskId, End)>, EngineError> {
    for it in counted {
        desk.write(Body::RefusalsCoalesced {
            actor: it.actor,
            task: it.task,
            reason: it.reason,
            count: it.count,
            first_at: it.first_at,
            last_at: it.last_at,
        })?;
    }
    let at = desk.at();
    let over = |it: &&crate::TaskEntry| it.state == TaskState::Active && it.task.expires_at <= at;
    let expired = desk.live.state.tasks().filter(over).map(|it| it.task.id);
    let expired = expired.map(|it| (it, End::Expired));
    let mut ended: Vec<_> = expired.take(desk.room() / 2).collect();
    let room = desk.room() / 4;
    let deserted = deserted(desk, room);
    ended.extend(deserted.into_iter().map(|it| (it, End::Cancelled)));
    for (task, end) in &ended {
        // What is below one that ended just now has ended with it.
        let state = desk.live.state.task(*task).map(|it| it.state);
        if state != Some(TaskState::Active) {
            continue;
        }
        desk.write(Body::TaskEnded {
            task: *task,
            end: *end,
            by: Actor::Ambit,
        })?;
    }
    let lost = |it: &&crate::OpenAct| {
        it.status.is_none() && it.at.plus(LOST_AFTER) <= at && !is_under_way(it.decision)
    };
    let lost: Vec<_> = desk
        .live
        .state
        .open_acts()
        .filter(lost)
        .take(desk.room() / 2)
        .cloned()
        .collect();
    for act in lost {
        desk.write(Body::Performed(Box::new(unknown(&act))))?;
    }
    desk.live.forget(now);
    Ok(ended)
}
