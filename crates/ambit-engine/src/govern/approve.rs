//! Approvals: a human's yes or no to one exact act.

use ambit_core::{
    ApprovalId, PersonId, Reason, TaskId, Timestamp,
    act::Governance,
    json::{self, Value},
    record::{Body, Verdict},
    task::TaskState,
};
use ambit_identity::PersonCaller;

use super::{Asked, check_reason, tasks::touched};
use crate::{
    Approval, ApprovalStanding, EngineError, Handle, Inspection, Moment, Refusal,
    desk::Desk,
    state::{ended_approval, ended_approvals},
};

/// An approval, as people see it.
#[derive(Clone, Debug)]
pub struct ApprovalSummary {
    /// The approval.
    pub approval: Approval,
    /// The exact act, whole: task, act, pinned digest, credential reference. `None` once its key was erased.
    pub act: Option<Value>,
    /// On whose behalf the task runs.
    pub subject: Option<PersonId>,
    /// Whether it still counts as of the question.
    pub counts: Counts,
}

/// Whether an approval still counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Counts {
    /// It does.
    Yes,
    /// Its time passed, it was spent, who gave it was revoked, or its task ended.
    NoLonger,
}

impl Handle {
    /// Says yes or no to a held act. The same answer given again changes nothing.
    pub async fn decide_approval(
        &self,
        caller: &PersonCaller,
        approval: ApprovalId,
        verdict: Verdict,
        moment: Moment,
    ) -> Result<ApprovalSummary, Refusal> {
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            decide(desk, asked, (approval, verdict), None)
        };
        let decided = self.govern(caller, moment, take).await;
        let approval = decided.map_err(|it| self.unless_ended(approval, it))?;
        let now = (self.shared.clock)().now;
        Ok(self.approval_summary(approval, now))
    }

    /// Says no to a held act, and why: people read it in the record.
    pub async fn refuse_approval(
        &self,
        caller: &PersonCaller,
        approval: ApprovalId,
        reason: String,
        moment: Moment,
    ) -> Result<ApprovalSummary, Refusal> {
        check_reason("refusal", &reason)?;
        let take = move |desk: &mut Desk<'_>, asked: &mut Asked| {
            decide(desk, asked, (approval, Verdict::Refused), Some(&reason))
        };
        let decided = self.govern(caller, moment, take).await;
        let approval = decided.map_err(|it| self.unless_ended(approval, it))?;
        let now = (self.shared.clock)().now;
        Ok(self.approval_summary(approval, now))
    }

    /// Returns at most `count` approvals whose tasks have ended, the newest first. They are read from the store.
    pub fn ended_approvals(
        &self,
        _: &Inspection,
        count: usize,
    ) -> Result<Vec<ApprovalSummary>, EngineError> {
        let now = (self.shared.clock)().now;
        let ended = ended_approvals(self.shared.archive.as_ref(), count)?;
        Ok(ended
            .into_iter()
            .map(|it| self.approval_summary(it, now))
            .collect())
    }

    /// Returns the approvals of live tasks, oldest first.
    pub fn approvals(&self, _: &Inspection) -> Result<Vec<ApprovalSummary>, Refusal> {
        let now = (self.shared.clock)().now;
        let approvals: Vec<_> = self.shared.read()?.state.approvals().cloned().collect();
        Ok(approvals
            .into_iter()
            .map(|it| self.approval_summary(it, now))
            .collect())
    }

    /// Returns one approval, also when its task has ended.
    pub fn approval(&self, _: &Inspection, id: ApprovalId) -> Result<ApprovalSummary, Refusal> {
        let now = (self.shared.clock)().now;
        let approval = self.shared.read()?.state.approvals.get(&id).cloned();
        let approval = match approval {
            Some(approval) => approval,
            None => ended_approval(self.shared.archive.as_ref(), id)
                .map_err(EngineError::from)?
                .ok_or_else(|| Refusal::not_found(id))?,
        };
        Ok(self.approval_summary(approval, now))
    }

    /// Says of an approval that is not there any more that its task has ended, when that is so.
    fn unless_ended(&self, approval: ApprovalId, refusal: Refusal) -> Refusal {
        if !matches!(refusal, Refusal::NotFound(_)) {
            return refusal;
        }
        match ended_approval(self.shared.archive.as_ref(), approval) {
            Ok(Some(_)) => conflict(approval, Reason::TaskEnded.for_agent()),
            Ok(None) | Err(_) => refusal,
        }
    }

    fn approval_summary(&self, approval: Approval, now: Timestamp) -> ApprovalSummary {
        let act = self
            .open((approval.leaf, approval.task), &approval.act)
            .ok()
            .flatten();
        let act = act.and_then(|bytes| json::parse(&bytes).ok());
        let (subject, active) = self.subject(approval.task);
        let counts = if approval.is_in_force(now) && active {
            Counts::Yes
        } else {
            Counts::NoLonger
        };
        ApprovalSummary {
            approval,
            act,
            subject,
            counts,
        }
    }

    /// Returns on whose behalf a task runs, when it is known still, and whether it is active.
    fn subject(&self, task: TaskId) -> (Option<PersonId>, bool) {
        let Ok(live) = self.shared.read() else {
            return (None, false);
        };
        let entry = live.state.task(task);
        let active = entry.is_some_and(|it| it.state == TaskState::Active);
        (entry.map(|it| it.task.subject), active)
    }
}

fn decide(
    desk: &mut Desk<'_>,
    asked: &mut Asked,
    (approval, verdict): (ApprovalId, Verdict),
    reason: Option<&str>,
) -> Result<Approval, Refusal> {
    let entry = desk.live.state.approvals.get(&approval).cloned();
    let entry = entry.ok_or_else(|| Refusal::not_found(approval))?;
    let touched = touched(desk, entry.task)?;
    let act = Governance::DecideApproval { approval };
    let permit = asked.permit(desk, act, touched.whole())?;
    let warrant = permit.warrant();
    let at = desk.at();
    match (entry.standing, verdict) {
        (ApprovalStanding::Approved { by, .. }, Verdict::Approved)
        | (ApprovalStanding::Refused { by }, Verdict::Refused)
            if by == warrant.by =>
        {
            return Ok(entry);
        }
        (ApprovalStanding::Pending { until }, _) if at < until => {}
        (ApprovalStanding::Pending { .. }, _) => {
            return Err(conflict(
                approval,
                "its time passed, and the agent must ask again",
            ));
        }
        (ApprovalStanding::Approved { .. }, _) => {
            return Err(conflict(approval, "it was approved already"));
        }
        (ApprovalStanding::Refused { .. }, _) => {
            return Err(conflict(approval, "it was refused already"));
        }
        (ApprovalStanding::Void { .. }, _) => {
            return Err(conflict(
                approval,
                "who approved it was revoked, and the agent must ask again",
            ));
        }
        (ApprovalStanding::Spent { .. }, _) => {
            return Err(conflict(approval, "it was spent already"));
        }
    }
    let ended = desk
        .live
        .state
        .task(entry.task)
        .is_none_or(|it| it.state.standing(it.task.expires_at, at) != TaskState::Active);
    if ended {
        return Err(conflict(approval, Reason::TaskEnded.for_agent()));
    }
    let reason = reason.map(|it| asked.seal_reason(it)).transpose()?;
    let written = desk.write(Body::ApprovalDecided {
        approval,
        task: entry.task,
        verdict,
        reason: reason.as_ref().map(|it| it.sealed),
        warrant,
    })?;
    if let Some(reason) = reason {
        reason.keep(desk, written.index());
    }
    Ok(desk
        .live
        .state
        .approvals
        .get(&approval)
        .cloned()
        .unwrap_or(entry))
}

fn conflict(approval: ApprovalId, why: &str) -> Refusal {
    Refusal::Conflict(format!(
        "{approval} can't be decided: {why}; see `ambit approvals show {approval}`"
    ))
}
