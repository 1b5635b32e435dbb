//! Tasks: declared pieces of work, whose end ends everything issued under them.

use std::collections::BTreeMap;

use crate::{
    AgentName, Digest, InstanceId, Labels, PersonId, ServerName, SpiffeId, TaskId, TemplateName,
    Timestamp, ToolName, delegation::Lineage, json::Value,
};

/// What a task is, fixed when it starts. What it has used since is [`Usage`].
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// The template it was started from.
    pub template: TemplateName,
    /// The template's version.
    pub template_version: u32,
    /// The version of the estate in which the template is read.
    pub estate: Digest,
    /// The agent that acts.
    pub agent: AgentName,
    /// The one run of the agent that serves this task.
    pub instance: InstanceId,
    /// The SPIFFE ID of that run.
    pub spiffe_id: SpiffeId,
    /// On whose behalf: the person who started it.
    pub subject: PersonId,
    /// The owner's words, checked against the template.
    pub parameters: BTreeMap<String, Value>,
    /// The digest over the canonical authorization details (RFC 9396): names the authority.
    pub authority: Digest,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ends even if nobody ends it.
    pub expires_at: Timestamp,
    /// Whether its agent runs where it can't leave the path.
    pub contained: Contained,
    /// Where it comes from.
    pub lineage: Lineage,
}

/// Whether an agent runs where it can't leave the path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Contained {
    /// In namespaces of its own; its only network is the doors.
    Namespaces,
    /// Not at all. A convenience, not a boundary.
    None,
}

/// Where a task stands. Expiry is a predicate on log time, not a state: see [`TaskState::standing`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TaskState {
    /// It may act.
    Active,
    /// It was ended.
    Ended(End),
}

/// How a task ended.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum End {
    /// Its work is done.
    Completed,
    /// Its starter or its runner gave it up.
    Cancelled,
    /// Its time passed.
    Expired,
    /// Somebody took its authority away.
    Revoked,
    /// The estate does not register any more what its instance claimed it by.
    Unregistered,
}

/// What a task has used so far.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Usage {
    /// The calls permitted so far.
    pub calls: u32,
    /// The calls permitted so far, by tool. Only tools with a maximum of their own are counted here.
    pub tool_calls: BTreeMap<(ServerName, ToolName), u32>,
    /// The labels of everything that it may have read.
    pub labels: Labels,
}

impl TaskState {
    /// Returns the state as of `now`: an active task whose time has passed is expired.
    pub fn standing(self, expires_at: Timestamp, now: Timestamp) -> Self {
        match self {
            Self::Active if expires_at <= now => Self::Ended(End::Expired),
            Self::Active | Self::Ended(_) => self,
        }
    }
}

impl End {
    /// Every way a task ends.
    pub const ALL: [Self; 5] = [
        Self::Completed,
        Self::Cancelled,
        Self::Expired,
        Self::Revoked,
        Self::Unregistered,
    ];

    /// Returns the word that records and APIs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Unregistered => "unregistered",
        }
    }
}

impl Contained {
    /// Returns the word that records and APIs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::None => "none",
        }
    }
}

impl Usage {
    /// Returns the usage of a task that has done nothing.
    pub const fn nothing() -> Self {
        Self {
            calls: 0,
            tool_calls: BTreeMap::new(),
            labels: Labels::none(),
        }
    }
}
