//! What a decision is asked upon.

use ambit_core::{
    ApprovalId, DecisionId, Digest, Reason, TemplateName, Timestamp,
    act::Act,
    estate::{Estate, PersonRole, Starters},
    record::Sealed,
    task::{Task, TaskState, Usage},
};

use crate::{PolicyBook, TaskScope};

/// One act of an agent, with everything that the decision depends upon.
#[derive(Debug)]
pub struct Request<'a> {
    /// The name that the decision gets.
    pub decision: DecisionId,
    /// The log's time.
    pub at: Timestamp,
    /// The estate in force.
    pub book: &'a PolicyBook,
    /// The task under which the act is asked for.
    pub task: &'a Task,
    /// The task's bounds, compiled against the same estate in force.
    pub scope: &'a TaskScope,
    /// Where the task stands; expiry is taken from `at`.
    pub state: TaskState,
    /// What the task has used so far.
    pub usage: &'a Usage,
    /// The act. It moves into the permit.
    pub act: Act,
    /// The act as it is sealed beside the log.
    pub sealed: Option<Sealed>,
    /// What is so right now.
    pub live: Live,
    /// Where the approval of exactly this act's commitment stands.
    pub approval: ApprovalState,
    /// The name of the approval if a new hold is made.
    pub fresh_approval: ApprovalId,
    /// How the caller proved who it is, such as `mtls`.
    pub binding: &'static str,
    /// The narrowing epochs that the caller of this function read before asking.
    pub epochs: Epochs,
    /// The tasks above, the parent first: each must allow the act as well. None when a person started the task.
    pub above: &'a [Node<'a>],
}

/// One task above the one that asks.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// The task.
    pub task: &'a Task,
    /// Its bounds, compiled against the same estate in force.
    pub scope: &'a TaskScope,
    /// Where it stands; expiry is taken from the request's time.
    pub state: TaskState,
    /// What it has used so far, its children included.
    pub usage: &'a Usage,
    /// What is so right now about its own agent, run and person.
    pub live: Live,
}

/// What is so right now about everybody in the chain of authority.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Live {
    /// The run of the agent.
    pub instance: Standing,
    /// The agent.
    pub agent: Standing,
    /// The person on whose behalf the task runs.
    pub person: SubjectStanding,
    /// The server that the act touches; [`Standing::Live`] when it touches none.
    pub server: Standing,
    /// The newest digest of the tool's definition that the server showed; none when it never showed
    /// another one than the accepted one.
    pub tool_seen: Option<Digest>,
}

/// Whether somebody's authority was taken away.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Standing {
    /// It was not.
    Live,
    /// It was.
    Revoked,
}

/// Whether a task may still run on behalf of its person.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SubjectStanding {
    /// It may.
    Live,
    /// The person was revoked.
    Revoked,
    /// The estate in force does not have the person any more.
    Gone,
    /// The estate in force would not let the person start it any more.
    NotStarter,
}

/// Where the approval of exactly one act stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ApprovalState {
    /// Nobody was asked.
    None,
    /// A person was asked and has not answered.
    Pending {
        /// Which approval.
        approval: ApprovalId,
        /// When the question expires.
        expires_at: Timestamp,
    },
    /// A person said yes.
    Approved {
        /// Which approval.
        approval: ApprovalId,
        /// Until when the yes can be spent.
        until: Timestamp,
    },
    /// A person said no.
    Refused {
        /// Which approval.
        approval: ApprovalId,
    },
    /// A person said yes and was revoked since, or may not approve any more: it is as if nobody had been asked.
    Void {
        /// Which approval.
        approval: ApprovalId,
    },
    /// Nobody was asked about this act, and as many others as may wait of this task do wait
    /// ([`ambit_core::limits::APPROVALS_PENDING_MAX`]).
    TooMany,
}

/// The narrowing epochs that a decision read: each rises when authority of that kind shrinks.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Epochs {
    /// Of the estate in force.
    pub estate: u64,
    /// Of the task.
    pub task: u64,
    /// Of the agent.
    pub agent: u64,
    /// Of the person.
    pub person: u64,
    /// Of the server: revocation, and tools seen otherwise than pinned.
    pub server: u64,
}

impl Live {
    /// Everybody's authority stands, and no server showed a changed tool.
    pub const ALL: Self = Self {
        instance: Standing::Live,
        agent: Standing::Live,
        person: SubjectStanding::Live,
        server: Standing::Live,
        tool_seen: None,
    };
}

impl Standing {
    /// Returns the word that facts use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Revoked => "revoked",
        }
    }
}

impl SubjectStanding {
    /// Says where the person stands whom `estate` calls `alias`, of whom nothing is known when there is none. `standing` is
    /// what revocations say.
    pub fn of(
        standing: Standing,
        estate: &Estate,
        (alias, template): (Option<&str>, &TemplateName),
    ) -> Self {
        if standing == Standing::Revoked {
            return Self::Revoked;
        }
        let known = alias.and_then(|it| Some((it, estate.people.get(it)?)));
        let Some((alias, person)) = known else {
            return Self::Gone;
        };
        // That a template is gone is a fact of its own.
        let template = estate.templates.get(template);
        let listed = template.is_none_or(|it| match &it.starters {
            Starters::AnyStarter => true,
            Starters::Only(aliases) => aliases.contains(alias),
        });
        if listed && person.roles.contains(&PersonRole::Starter) {
            Self::Live
        } else {
            Self::NotStarter
        }
    }

    /// Returns the word that facts use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Revoked => "revoked",
            Self::Gone => "gone",
            Self::NotStarter => "not_starter",
        }
    }

    /// Returns why nothing is done in the person's name.
    pub const fn reason(self) -> Result<(), Reason> {
        match self {
            Self::Live => Ok(()),
            Self::Revoked => Err(Reason::PersonRevoked),
            Self::Gone => Err(Reason::PersonGone),
            Self::NotStarter => Err(Reason::StarterWithdrawn),
        }
    }
}

impl ApprovalState {
    /// Returns the state as of `now`: a question or a yes whose time has passed is as if never asked.
    pub(crate) fn as_of(self, now: Timestamp) -> Self {
        match self {
            Self::Pending { expires_at, .. } if expires_at <= now => Self::None,
            Self::Approved { until, .. } if until <= now => Self::None,
            Self::None
            | Self::Pending { .. }
            | Self::Approved { .. }
            | Self::Refused { .. }
            | Self::Void { .. }
            | Self::TooMany => self,
        }
    }
}
