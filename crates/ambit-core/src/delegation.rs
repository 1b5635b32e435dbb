//! Delegations: leave for one named agent to take over a part of a task, once.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    AgentName, DelegationId, Digest, Labels, ServerName, SpiffeId, TaskId, Timestamp, ToolName,
    estate::ToolGrant,
};

/// Leave for one named agent to take over a part of a task, once. Fixed when it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Delegation {
    /// Its name.
    pub id: DelegationId,
    /// The task of which it gives a part.
    pub parent: TaskId,
    /// The agent that may take the part.
    pub to: AgentName,
    /// The one run of that agent that may take it, when it was named.
    pub spiffe_id: Option<SpiffeId>,
    /// What the child may do. In the log its constraints are left out: they are sealed beside it.
    pub part: Part,
    /// How many more hops may follow below the child.
    pub depth_left: u8,
    /// The digest over the part as canonical authorization details (RFC 9396).
    pub authority: Digest,
    /// When it was made.
    pub made_at: Timestamp,
    /// Until when it can be spent, and when the child ends even if nobody ends it.
    pub expires_at: Timestamp,
}

/// A part of a task. What the task may not do, no part of it may do: both are held against every act.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The servers whose reading tools, resources and prompts are free for the child.
    pub reads: BTreeSet<ServerName>,
    /// The tools that the child may use, with bounds of their own beside those of the task.
    pub tools: BTreeMap<(ServerName, ToolName), ToolGrant>,
    /// The most calls in all.
    pub calls_max: u32,
    /// The labels of data that may leave with the child.
    pub may_emit: Labels,
}

/// Where a task comes from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Lineage {
    /// A person started it.
    Root,
    /// A delegation was exchanged for it.
    Child {
        /// The task of which it has a part.
        parent: TaskId,
        /// The delegation that was spent.
        delegation: DelegationId,
        /// How many hops it is away from the task that a person started; at least 1.
        depth: u8,
        /// How many more hops may follow below it.
        depth_left: u8,
    },
}

/// What is done with a delegation.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DelegationStep {
    /// It is made.
    Delegate,
    /// It is spent for a child task (RFC 8693, token exchange).
    Exchange,
    /// It is taken back, and the child with it.
    Withdraw,
}

impl Part {
    /// Returns the part without its constraints, as the log keeps it.
    #[must_use]
    pub fn without_constraints(&self) -> Self {
        let mut bare = self.clone();
        for grant in bare.tools.values_mut() {
            grant.arguments.clear();
        }
        bare
    }
}

impl Lineage {
    /// Returns the parent, when there is one.
    pub const fn parent(self) -> Option<TaskId> {
        match self {
            Self::Root => None,
            Self::Child { parent, .. } => Some(parent),
        }
    }

    /// Returns how many hops the task is away from the one that a person started.
    pub const fn depth(self) -> u8 {
        match self {
            Self::Root => 0,
            Self::Child { depth, .. } => depth,
        }
    }
}

impl DelegationStep {
    /// Every step.
    pub const ALL: [Self; 3] = [Self::Delegate, Self::Exchange, Self::Withdraw];

    /// Returns the word for the action in records, policies and messages.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Delegate => "delegate",
            Self::Exchange => "exchange_delegation",
            Self::Withdraw => "withdraw_delegation",
        }
    }
}
