//! Why something was refused or held: stable codes, and what would help.

use std::{fmt, str::FromStr};

/// Why an act was not simply allowed. The code never changes its meaning; new reasons get new codes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// The task is unknown, or not this caller's.
    TaskUnknown,
    /// The task was completed, cancelled or revoked.
    TaskEnded,
    /// The task's expiry has passed.
    TaskExpired,
    /// The agent was revoked.
    AgentRevoked,
    /// The person on whose behalf the task runs was revoked.
    PersonRevoked,
    /// The server was revoked.
    ServerRevoked,
    /// The instance was revoked.
    InstanceRevoked,
    /// The estate no longer lets this agent run this template.
    TemplateWithdrawn,
    /// The estate no longer has the person on whose behalf the task runs.
    PersonGone,
    /// The estate no longer lets the person on whose behalf the task runs start such a task.
    StarterWithdrawn,
    /// The agent lives in another environment than the server.
    WrongEnvironment,
    /// The template asks for containment and the agent runs without.
    ContainmentRequired,
    /// The task was not given this server.
    ServerNotGranted,
    /// The registry has no such tool on this server.
    ToolUnknown,
    /// The tool has a side effect and the task does not name it.
    ToolNotGranted,
    /// The tool's description or schema differs from what its owner accepted.
    ToolChanged,
    /// The arguments do not fit the tool's JSON Schema.
    ArgumentsInvalid,
    /// An argument lies outside the bounds of the task.
    ArgumentOutOfBounds,
    /// The task has read data with a label that may not leave.
    LabelMayNotLeave,
    /// The calls of the task, or of this tool in it, are used up.
    BudgetExhausted,
    /// The host is not among the agent's declared model endpoints.
    EndpointNotListed,
    /// The request can't be read, or could be read in two ways.
    Malformed,
    /// The request is longer than its door takes.
    TooLarge,
    /// Ambit knows no decision for this method.
    MethodNotAllowed,
    /// A policy of the organisation forbids it.
    PolicyForbids,
    /// No policy permits it.
    NoPolicyPermits,
    /// A policy could not be evaluated.
    PolicyError,
    /// A human must approve this exact act first.
    ApprovalRequired,
    /// A human said no to this exact act.
    ApprovalRefused,
    /// Too many holds of this task wait already.
    ApprovalsPendingLimit,
    /// The person lacks the role for this.
    RoleMissing,
    /// Another person must do this.
    SamePerson,
    /// The person proved itself only as the machine's own user without containment.
    BindingTooWeak,
    /// Nobody would be left who could lift the ban.
    LastAdministrator,
    /// The thing that the person named does not exist.
    NotFound,
    /// The thing that the person named is not in a state for this.
    WrongState,
    /// The permit was not used in time, or authority ended before the act.
    PermitStale,
    /// Too much is under way for this task.
    Overloaded,
    /// The template lets nobody take a part of such a task.
    NotDelegable,
    /// The template or the agent does not let this agent take a part of such a task.
    DelegateNotListed,
    /// No more hops may follow below this task.
    DelegationTooDeep,
    /// The part asks for more than the task has that delegates it.
    DelegationExceedsParent,
    /// As many delegations were made, or children started, as may be.
    DelegationsLimit,
    /// The delegation was spent before, was withdrawn or has expired.
    DelegationUsed,
    /// The delegation names somebody else than the caller.
    DelegateMismatch,
    /// No server stands in the name of the resource or prompt.
    ItemUnknown,
    /// The access token was given up, or all that came of its grant was revoked, or it was never issued.
    TokenGivenUp,
    /// The estate does not say any more what the access token rests upon.
    TokenWithdrawn,
    /// The access token's time is over, and its task's is not.
    TokenExpired,
    /// The access token carries a part of its task alone, and this takes the whole.
    TokenNarrowed,
}

/// What would help, as a class that a program can act on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Remedy {
    /// Nothing that the agent can do.
    None,
    /// Other arguments.
    ChangeArguments,
    /// The identical call, after a human's yes.
    AwaitApproval,
    /// A new task, started by a person.
    NewTask,
    /// The owner of the template, agent or server must change the estate.
    AskOwner,
    /// The identical call, a little later.
    RetryLater,
    /// The identical call, with another access token of the same task.
    NewToken,
}

impl Reason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 50] = [
        Self::TaskUnknown,
        Self::TaskEnded,
        Self::TaskExpired,
        Self::AgentRevoked,
        Self::PersonRevoked,
        Self::ServerRevoked,
        Self::InstanceRevoked,
        Self::TemplateWithdrawn,
        Self::PersonGone,
        Self::StarterWithdrawn,
        Self::WrongEnvironment,
        Self::ContainmentRequired,
        Self::ServerNotGranted,
        Self::ToolUnknown,
        Self::ToolNotGranted,
        Self::ToolChanged,
        Self::ArgumentsInvalid,
        Self::ArgumentOutOfBounds,
        Self::LabelMayNotLeave,
        Self::BudgetExhausted,
        Self::EndpointNotListed,
        Self::Malformed,
        Self::TooLarge,
        Self::MethodNotAllowed,
        Self::PolicyForbids,
        Self::NoPolicyPermits,
        Self::PolicyError,
        Self::ApprovalRequired,
        Self::ApprovalRefused,
        Self::ApprovalsPendingLimit,
        Self::RoleMissing,
        Self::SamePerson,
        Self::BindingTooWeak,
        Self::LastAdministrator,
        Self::NotFound,
        Self::WrongState,
        Self::PermitStale,
        Self::Overloaded,
        Self::NotDelegable,
        Self::DelegateNotListed,
        Self::DelegationTooDeep,
        Self::DelegationExceedsParent,
        Self::DelegationsLimit,
        Self::DelegationUsed,
        Self::DelegateMismatch,
        Self::ItemUnknown,
        Self::TokenGivenUp,
        Self::TokenWithdrawn,
        Self::TokenExpired,
        Self::TokenNarrowed,
    ];

    /// Returns the stable code, such as `tool_not_granted`.
    pub const fn code(self) -> &'static str {
        self.row().0
    }

    /// Returns what would help.
    pub const fn remedy(self) -> Remedy {
        self.row().1
    }

    /// Returns one clause that an agent may read: no rule, no clause, no source.
    pub const fn for_agent(self) -> &'static str {
        self.row().2
    }

    /// Returns one clause for a person whose own act was refused.
    pub const fn for_person(self) -> &'static str {
        if matches!(self, Self::PersonRevoked) {
            return "this person was revoked";
        }
        if matches!(self, Self::RoleMissing) {
            return "this person lacks the role";
        }
        self.for_agent()
    }

    /// Returns what a person can do about it, whoever's act it was.
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::AgentRevoked | Self::PersonRevoked | Self::ServerRevoked => {
                "a revocation is meant to last; an administrator can `ambit reinstate` it, for what begins from then on"
            }
            Self::InstanceRevoked => "start a new task: each has an instance of its own",
            Self::PersonGone => {
                "have somebody of the estate start a new task; if the person belongs there, apply an estate that says so"
            }
            Self::ApprovalRequired => "look at the call and approve or refuse it",
            Self::ApprovalRefused => {
                "nothing, unless the refusal was a mistake: then start a new task"
            }
            Self::ApprovalsPendingLimit => "approve or refuse the calls that wait",
            Self::RoleMissing => "ask somebody who has the role, or have an administrator give it",
            Self::SamePerson => "ask another person to do it",
            Self::BindingTooWeak => {
                "come by another proof: a token bound to a key, a sign-in, or another local user; see `change`"
            }
            Self::LastAdministrator => {
                "have an estate applied that gives another local user the role of administrator, then revoke"
            }
            Self::NotFound => {
                "check the spelling: `ambit task list --all`, `ambit approvals list` and `ambit log tail` show what there is"
            }
            Self::WrongState => "look at how it stands now",
            Self::NotDelegable | Self::DelegateNotListed | Self::DelegationTooDeep => {
                "its owner can say under `delegation` of the template who may take parts, and how deep"
            }
            Self::DelegationExceedsParent => "ask for less; `ambit task tree` shows what there is",
            Self::DelegationsLimit => "end the task and start another one",
            Self::DelegationUsed => "have the delegating task delegate anew",
            Self::DelegateMismatch => "have the agent that the delegation names take it",
            Self::MethodNotAllowed => "nothing: Ambit has no decision for this method",
            Self::PolicyError => {
                "mend the policy that is named among the rules, and apply the estate"
            }
            Self::TaskUnknown
            | Self::TaskEnded
            | Self::TaskExpired
            | Self::TemplateWithdrawn
            | Self::StarterWithdrawn
            | Self::WrongEnvironment
            | Self::ContainmentRequired
            | Self::ServerNotGranted
            | Self::ToolUnknown
            | Self::ItemUnknown
            | Self::ToolNotGranted
            | Self::ToolChanged
            | Self::ArgumentsInvalid
            | Self::ArgumentOutOfBounds
            | Self::LabelMayNotLeave
            | Self::BudgetExhausted
            | Self::EndpointNotListed
            | Self::Malformed
            | Self::TooLarge
            | Self::PolicyForbids
            | Self::NoPolicyPermits
            | Self::PermitStale
            | Self::Overloaded
            | Self::TokenGivenUp
            | Self::TokenExpired
            | Self::TokenNarrowed => self.remedy().for_person(),
            Self::TokenWithdrawn => {
                "have the client prove itself anew by what the estate says of it now; `ambit plan` shows that"
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one row for each reason")]
    const fn row(self) -> (&'static str, Remedy, &'static str) {
        use Remedy::{
            AskOwner, AwaitApproval, ChangeArguments, NewTask, NewToken, None, RetryLater,
        };
        match self {
            Self::TaskUnknown => (
                "task_unknown",
                NewTask,
                "there is no such task for this caller",
            ),
            Self::TaskEnded => ("task_ended", NewTask, "the task has ended"),
            Self::TaskExpired => ("task_expired", NewTask, "the task has expired"),
            Self::AgentRevoked => ("agent_revoked", None, "this agent was revoked"),
            Self::PersonRevoked => (
                "person_revoked",
                None,
                "the person behind the task was revoked",
            ),
            Self::ServerRevoked => ("server_revoked", None, "this server was revoked"),
            Self::InstanceRevoked => (
                "instance_revoked",
                None,
                "this run of the agent was revoked",
            ),
            Self::TemplateWithdrawn => (
                "template_withdrawn",
                AskOwner,
                "this kind of task was withdrawn",
            ),
            Self::PersonGone => (
                "person_gone",
                NewTask,
                "the person behind the task is not in the estate any more",
            ),
            Self::StarterWithdrawn => (
                "starter_withdrawn",
                AskOwner,
                "the estate lets the person behind the task start no such task any more",
            ),
            Self::WrongEnvironment => (
                "wrong_environment",
                AskOwner,
                "the server belongs to another environment",
            ),
            Self::ContainmentRequired => (
                "containment_required",
                NewTask,
                "this kind of task must run contained",
            ),
            Self::ServerNotGranted => (
                "server_not_granted",
                AskOwner,
                "the task was not given this server",
            ),
            Self::ToolUnknown => ("tool_unknown", AskOwner, "the registry has no such tool"),
            Self::ToolNotGranted => (
                "tool_not_granted",
                AskOwner,
                "the task does not name this tool",
            ),
            Self::ToolChanged => (
                "tool_changed",
                AskOwner,
                "the tool changed since its owner accepted it",
            ),
            Self::ArgumentsInvalid => (
                "arguments_invalid",
                ChangeArguments,
                "the arguments do not fit the tool's schema",
            ),
            Self::ArgumentOutOfBounds => (
                "argument_out_of_bounds",
                ChangeArguments,
                "an argument lies outside the task's bounds",
            ),
            Self::LabelMayNotLeave => (
                "label_may_not_leave",
                AskOwner,
                "the task has read data that may not leave with it",
            ),
            Self::BudgetExhausted => ("budget_exhausted", NewTask, "the task's budget is used up"),
            Self::EndpointNotListed => (
                "endpoint_not_listed",
                AskOwner,
                "this host is not declared for the agent",
            ),
            Self::Malformed => (
                "malformed",
                ChangeArguments,
                "the request can't be read, or could be read in two ways",
            ),
            Self::TooLarge => (
                "too_large",
                ChangeArguments,
                "the request is longer than is taken",
            ),
            Self::MethodNotAllowed => ("method_not_allowed", None, "this method is not offered"),
            Self::PolicyForbids => ("policy_forbids", AskOwner, "a policy forbids it"),
            Self::NoPolicyPermits => ("no_policy_permits", AskOwner, "no policy permits it"),
            Self::PolicyError => ("policy_error", AskOwner, "a policy could not be evaluated"),
            Self::ApprovalRequired => (
                "approval_required",
                AwaitApproval,
                "a person must approve this exact call first",
            ),
            Self::ApprovalRefused => ("approval_refused", None, "a person refused this exact call"),
            Self::ApprovalsPendingLimit => (
                "approvals_pending_limit",
                RetryLater,
                "too many calls of this task wait for a person",
            ),
            Self::RoleMissing => ("role_missing", AskOwner, "the person lacks the role"),
            Self::SamePerson => ("same_person", AskOwner, "another person must do this"),
            Self::BindingTooWeak => (
                "binding_too_weak",
                AskOwner,
                "the caller's proof is too weak for this",
            ),
            Self::LastAdministrator => (
                "last_administrator",
                AskOwner,
                "no administrator would be left who could lift it",
            ),
            Self::NotFound => ("not_found", None, "there is no such thing"),
            Self::WrongState => ("wrong_state", None, "it is not in a state for this"),
            Self::PermitStale => (
                "permit_stale",
                RetryLater,
                "the permission ended before it was used",
            ),
            Self::Overloaded => (
                "overloaded",
                RetryLater,
                "too much is under way for this task",
            ),
            Self::NotDelegable => (
                "not_delegable",
                AskOwner,
                "parts of this kind of task can't be delegated",
            ),
            Self::DelegateNotListed => (
                "delegate_not_listed",
                AskOwner,
                "this agent may not take a part of such a task",
            ),
            Self::DelegationTooDeep => ("delegation_too_deep", AskOwner, "no more hops may follow"),
            Self::DelegationExceedsParent => (
                "delegation_exceeds_parent",
                ChangeArguments,
                "the part asks for more than the task has",
            ),
            Self::DelegationsLimit => (
                "delegations_limit",
                NewTask,
                "as many parts were delegated as may be",
            ),
            Self::DelegationUsed => (
                "delegation_used",
                NewTask,
                "the delegation was spent, was withdrawn or has expired",
            ),
            Self::DelegateMismatch => (
                "delegate_mismatch",
                None,
                "the delegation names another delegate",
            ),
            Self::ItemUnknown => (
                "item_unknown",
                ChangeArguments,
                "no server stands in this name; take the name from a listing",
            ),
            Self::TokenGivenUp => (
                "token_given_up",
                NewToken,
                "this access token was given up or revoked, or was never issued",
            ),
            Self::TokenWithdrawn => (
                "token_withdrawn",
                NewToken,
                "the estate does not give this access token any more",
            ),
            Self::TokenExpired => ("token_expired", NewToken, "this access token has expired"),
            Self::TokenNarrowed => (
                "token_narrowed",
                NewToken,
                "this access token carries a part of its task alone",
            ),
        }
    }
}

impl Remedy {
    /// Returns the stable code, such as `ask_owner`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ChangeArguments => "change_arguments",
            Self::AwaitApproval => "await_approval",
            Self::NewTask => "new_task",
            Self::AskOwner => "ask_owner",
            Self::RetryLater => "retry_later",
            Self::NewToken => "new_token",
        }
    }

    const fn for_person(self) -> &'static str {
        match self {
            Self::None => "nothing: this answer stays",
            Self::ChangeArguments => {
                "the caller must change its arguments, or the owner the bounds"
            }
            Self::AwaitApproval => "a person must approve it",
            Self::NewTask => "start a new task",
            Self::AskOwner => {
                "if it should be allowed, its owner must change the estate and have it applied"
            }
            Self::RetryLater => "try again a little later",
            Self::NewToken => "get another access token; the task lives on",
        }
    }
}

/// The text is no reason's code.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no reason's code")]
pub struct InvalidReason(String);

impl FromStr for Reason {
    type Err = InvalidReason;

    fn from_str(text: &str) -> Result<Self, InvalidReason> {
        let found = Self::ALL.into_iter().find(|it| it.code() == text);
        found.ok_or_else(|| InvalidReason(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_own_and_reads_back() {
        let codes: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|it| it.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(reason.code().parse(), Ok(reason));
        }
        for reason in Reason::ALL {
            let texts = [reason.for_agent(), reason.for_person(), reason.next_step()];
            assert!(texts.iter().all(|it| !it.is_empty() && !it.ends_with('.')));
            assert_ne!(reason.next_step(), reason.for_person());
        }
        assert!("nonsense".parse::<Reason>().is_err());
    }
}
