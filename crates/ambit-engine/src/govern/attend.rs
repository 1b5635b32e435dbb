//! Runners: a task that a runner attends ends with it, also when that ends while Ambit is away.

use ambit_core::{
    InstanceId, TaskId, Timestamp, claim::ClaimStanding, record::Body, task::TaskState,
};
use ambit_identity::InstanceCaller;

use crate::{EngineError, Handle, TaskEntry, desk::Desk};

impl Handle {
    /// Writes down, once, that a runner attends the task of `caller`, and returns the task. After a start of Ambit the
    /// runner must come back within [`ambit_core::limits::RUNNER_RETURN_MAX`], or the task ends.
    ///
    /// # Errors
    /// The caller has no live task, or nothing could be written.
    pub async fn attend(&self, caller: &InstanceCaller) -> Result<TaskId, EngineError> {
        let instance = caller.instance();
        self.turn(move |desk| {
            let attended = attend(desk, instance);
            Box::new(move |committed| committed.and(attended))
        })
        .await?
    }
}

fn attend(desk: &mut Desk<'_>, instance: InstanceId) -> Result<TaskId, EngineError> {
    let at = desk.at();
    let state = &desk.live.state;
    let entry = state
        .instances
        .get(&instance)
        .and_then(|it| state.task(*it));
    let active = |it: &&TaskEntry| is_active(it, at);
    let entry = entry.filter(active).ok_or(EngineError::NoTask)?;
    let task = entry.task.id;
    match entry.claim {
        ClaimStanding::Closed => {
            desk.write(Body::TaskAttended { task })?;
        }
        // Who claimed a task is no runner of it: that its process is there is looked at otherwise.
        ClaimStanding::Attended | ClaimStanding::Waiting { .. } | ClaimStanding::Claimed { .. } => {
        }
    }
    desk.live.absent.remove(&task);
    Ok(task)
}

/// Returns at most `count` tasks whose runners were waited for in vain.
pub(super) fn deserted(desk: &mut Desk<'_>, count: usize) -> Vec<TaskId> {
    let at = desk.at();
    let over = desk.live.absent.iter().filter(|(_, until)| **until <= at);
    let mut over: Vec<_> = over.map(|(task, _)| *task).take(count).collect();
    over.sort_unstable();
    for task in &over {
        desk.live.absent.remove(task);
    }
    let state = &desk.live.state;
    over.retain(|task| state.task(*task).is_some_and(|it| is_active(it, at)));
    over
}

fn is_active(entry: &TaskEntry, now: Timestamp) -> bool {
    entry.state.standing(entry.task.expires_at, now) == TaskState::Active
}
