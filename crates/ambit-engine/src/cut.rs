//! What is under way ends with the authority behind it: as soon as the record that ends it is durable, and whoever asked.
//!
//! The sequencer cuts, from the records themselves. Who asked for the end only waits for the doors to let go: it may be
//! gone by then, or be nobody at all.

use ambit_core::{DecisionId, Reason, TaskId, act::Target, record::Body, task::End};

use crate::{State, sequencer::Shared};

/// What of the acts under way a record ends.
#[derive(Clone, Debug)]
pub(crate) enum Cut {
    /// All that hang on something, and all under the tasks that end with it: those below, and the parts that its runs took.
    Over(Target, Vec<TaskId>, Reason),
    /// All that the estate in force would not let begin.
    Withdrawn,
}

impl Cut {
    /// Returns what a record ends that is about to be folded into `state`.
    pub(crate) fn of(body: &Body, state: &State) -> Option<Self> {
        // Found from the task itself: that it ends must not cost a look at all others.
        let with = |task, reason| Self::Over(Target::Task(task), state.hanging_on(task), reason);
        match body {
            Body::TaskEnded { task, end, .. } => Some(with(*task, reason_of_end(*end))),
            Body::DelegationWithdrawn { delegation, .. } => {
                let child = state.delegation(*delegation)?.child?;
                Some(with(child, Reason::TaskEnded))
            }
            Body::Revoked { target, .. } => {
                let tasks = state.tasks_under(target);
                Some(Self::Over(target.clone(), tasks, reason_of(target)))
            }
            Body::EstateApplied { .. } => Some(Self::Withdrawn),
            Body::LogOpened { .. }
            | Body::PersonKnown { .. }
            | Body::TaskStarted { .. }
            | Body::InstanceCertified { .. }
            | Body::TaskWaits { .. }
            | Body::TaskClaimed { .. }
            | Body::TaskAttended { .. }
            | Body::DelegationMade { .. }
            | Body::DelegationSpent { .. }
            | Body::Decided(_)
            | Body::Performed(_)
            | Body::ApprovalDecided { .. }
            | Body::Reinstated { .. }
            | Body::RevocationCarried { .. }
            | Body::RevocationEffective { .. }
            | Body::ToolSeen { .. }
            | Body::ServerInspected { .. }
            | Body::KeysRotated { .. }
            | Body::ActSettled { .. }
            | Body::SealedOpened { .. }
            | Body::CredentialSealed { .. }
            | Body::Bundle(_)
            | Body::Proof(_)
            | Body::TokenIssued(_)
            | Body::TokenRevoked { .. }
            | Body::RefusalsCoalesced { .. }
            | Body::StateDigest { .. } => None,
        }
    }
}

const fn reason_of_end(end: End) -> Reason {
    match end {
        End::Expired => Reason::TaskExpired,
        End::Completed | End::Cancelled | End::Revoked | End::Unregistered => Reason::TaskEnded,
    }
}

/// Returns why what hung on `target` is cut.
const fn reason_of(target: &Target) -> Reason {
    match target {
        Target::Task(_) => Reason::TaskEnded,
        Target::Instance(_) => Reason::InstanceRevoked,
        Target::Agent(_) => Reason::AgentRevoked,
        Target::Person(_) => Reason::PersonRevoked,
        Target::Server(_) => Reason::ServerRevoked,
    }
}

impl Shared {
    /// Cuts what is under way, once the records that end it are durable. Returns the decisions that were crossed, in order.
    pub(crate) fn cut(&self, cuts: &[Cut]) -> Vec<DecisionId> {
        if cuts.is_empty() {
            return Vec::new();
        }
        let now = (self.clock)().now;
        let cut = |it: &Cut| match it {
            Cut::Over(target, tasks, reason) => {
                let mut crossed = self.flights.cut((target, *reason), now);
                crossed.extend(self.flights.cut_under(tasks, *reason, now));
                crossed
            }
            Cut::Withdrawn => self.cut_withdrawn(now),
        };
        let mut crossed: Vec<_> = cuts.iter().flat_map(cut).collect();
        crossed.sort_unstable();
        crossed.dedup();
        crossed
    }
}
