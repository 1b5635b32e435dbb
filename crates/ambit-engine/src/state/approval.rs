//! Approvals: a human's yes to one exact act.

use ambit_core::{
    ApprovalId, DecisionId, Digest, PersonId, Reason, ServerName, TaskId, Timestamp, ToolName,
    record::{Answer, Decided, Sealed},
};

/// A request for a human's yes to one exact act, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Approval {
    /// Its name.
    pub id: ApprovalId,
    /// The leaf of the decision that held the act.
    pub leaf: u64,
    /// Under which task.
    pub task: TaskId,
    /// The decision that held the act.
    pub decision: DecisionId,
    /// The sealed act: task, server, tool with its pin, arguments, credential reference.
    pub act: Sealed,
    /// What was asked.
    pub action: String,
    /// At which server.
    pub server: Option<ServerName>,
    /// With which tool.
    pub tool: Option<ToolName>,
    /// The tool's definition as pinned when it was asked.
    pub pin: Option<Digest>,
    /// Why a human is asked.
    pub reason: Reason,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// Where it stands.
    pub standing: ApprovalStanding,
}

/// Where an approval stands. That time passed is a predicate, not a standing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ApprovalStanding {
    /// Nobody has answered yet.
    Pending {
        /// When the hold expires.
        until: Timestamp,
    },
    /// A person said yes; it can be spent once.
    Approved {
        /// Who.
        by: PersonId,
        /// Until when it can be spent.
        until: Timestamp,
    },
    /// A person said no.
    Refused {
        /// Who.
        by: PersonId,
    },
    /// The person who had said yes was revoked before it was spent. It counts no more, also after a reinstatement.
    Void {
        /// Who.
        by: PersonId,
        /// Until when it could have been spent.
        until: Timestamp,
    },
    /// The identical act went through with it.
    Spent {
        /// The decision that spent it.
        decision: DecisionId,
    },
}

impl Approval {
    /// Returns the approval that `decided` asked for at `leaf`.
    pub(super) fn requested(
        id: ApprovalId,
        leaf: u64,
        at: Timestamp,
        decided: &Decided,
        standing: ApprovalStanding,
    ) -> Option<Self> {
        let Answer::Hold { reason, .. } = decided.answer else {
            return None;
        };
        Some(Self {
            id,
            leaf,
            task: decided.task?,
            decision: decided.decision,
            act: decided.act?,
            action: decided.action.clone(),
            server: decided.server.clone(),
            tool: decided.tool.clone(),
            pin: decided.pin,
            reason,
            requested_at: at,
            standing,
        })
    }
}

impl Approval {
    /// Says whether it still counts as of `now`: waiting, given and not spent, or refused.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        match self.standing {
            ApprovalStanding::Pending { until } | ApprovalStanding::Approved { until, .. } => {
                now < until
            }
            ApprovalStanding::Refused { .. } => true,
            ApprovalStanding::Void { .. } | ApprovalStanding::Spent { .. } => false,
        }
    }

    /// Says whether a decision on the identical act as of `now` reads it: it counts, or would if it were not void.
    pub(crate) fn is_read(&self, now: Timestamp) -> bool {
        match self.standing {
            ApprovalStanding::Void { until, .. } => now < until,
            ApprovalStanding::Pending { .. }
            | ApprovalStanding::Approved { .. }
            | ApprovalStanding::Refused { .. }
            | ApprovalStanding::Spent { .. } => self.is_in_force(now),
        }
    }

    /// Says whether it waits for a human as of `now`.
    pub fn is_pending(&self, now: Timestamp) -> bool {
        matches!(self.standing, ApprovalStanding::Pending { until } if now < until)
    }
}
