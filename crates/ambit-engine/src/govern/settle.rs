//! What a person found of an act whose outcome nobody knew.

use ambit_core::{
    DecisionId, TaskId,
    act::Governance,
    record::{Body, Settlement, Status},
};
use ambit_identity::PersonCaller;
use ambit_policy::Touched;

use super::{Asked, TouchedTask, check_reason};
use crate::{Handle, Moment, Refusal, desk::Desk};

/// An act that a person settled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settled {
    /// The decision that permitted it.
    pub decision: DecisionId,
    /// Under which task.
    pub task: TaskId,
    /// What the person found.
    pub settlement: Settlement,
}

impl Handle {
    /// Writes down what a person found of an act whose outcome is unknown: it happened, or it did not. It is the person's
    /// word, once, beside the outcome and not in its place. What the act had used up stays used up: an approval that it
    /// spent is spent, and its call is counted.
    ///
    /// # Errors
    /// The caller may not, or the act has no unknown outcome: it is under way, ended, or was settled before.
    pub async fn settle_act(
        &self,
        caller: &PersonCaller,
        (decision, settlement): (DecisionId, Settlement),
        reason: String,
        moment: Moment,
    ) -> Result<Settled, Refusal> {
        check_reason("settlement", &reason)?;
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            settle(desk, asked, (decision, settlement), &reason)
        };
        self.govern(caller, moment, take).await
    }
}

fn settle(
    desk: &mut Desk<'_>,
    asked: &mut Asked,
    (decision, settlement): (DecisionId, Settlement),
    reason: &str,
) -> Result<Settled, Refusal> {
    let act = Governance::SettleAct { decision };
    let open = desk.live.state.open.get(&decision);
    let open = open.map(|it| (it.task, it.status));
    let touched = open.and_then(|it| TouchedTask::new(desk.live, it.0));
    let touched = touched.as_ref();
    let permit = asked.permit(
        desk,
        act,
        touched.map_or(Touched::NOTHING, TouchedTask::owned),
    )?;
    let task = match open {
        Some((task, Some(Status::Unknown))) => task,
        Some(_) => {
            return Err(Refusal::Conflict(format!(
                "the act of {decision} is under way; wait until its outcome is written"
            )));
        }
        None => {
            return Err(Refusal::Conflict(format!(
                "{decision} has no unknown outcome; see `ambit log why {decision}`"
            )));
        }
    };
    let reason = asked.seal_reason(reason)?;
    let written = desk.write(Body::ActSettled {
        decision,
        task,
        settlement,
        reason: reason.sealed,
        warrant: permit.warrant(),
    })?;
    reason.keep(desk, written.index());
    Ok(Settled {
        decision,
        task,
        settlement,
    })
}
