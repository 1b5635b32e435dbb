//! What the policies on the steps of delegations see of the caller, in words.

use ambit_core::{
    AgentName, Reason, delegation::DelegationStep, estate::LeastBinding, task::TaskState,
};

use super::{Acting, CallerToken, DelegationAsk, NONE};
use crate::WeakBinding;

/// Returns the word for `name` among the facts of a step, of which it is the caller that they depend upon.
pub(super) fn caller_word(ask: &DelegationAsk<'_>, name: &str) -> &'static str {
    match ask.by {
        Acting::Workload { agent, binding, .. } => workload_word(ask, (agent, binding), name),
        Acting::Instance {
            agent,
            spiffe_id,
            task,
            standing,
            binding,
            ..
        } => match name {
            "caller" => "instance",
            "standing" => standing.as_str(),
            "relation" if ask.step == DelegationStep::Exchange => {
                if agent == ask.to {
                    "delegate"
                } else {
                    "other"
                }
            }
            "relation" if task.is_some_and(|(id, _)| id == ask.parent.id) => "own_task",
            "relation" => "other",
            "caller_task" => task.map_or("none", |(_, state)| task_word(state)),
            "identity" if ask.step != DelegationStep::Exchange => "none",
            "identity" => {
                let exact = ask.to_instance.is_none_or(|it| it == spiffe_id);
                if exact && agent == ask.to {
                    "named"
                } else {
                    "other"
                }
            }
            _ => binding,
        },
        Acting::Person {
            person,
            standing,
            weak_binding,
            ..
        } => match name {
            "caller" => "person",
            "standing" => standing.as_str(),
            "relation" if person == ask.parent.subject => "subject",
            "relation" => "other",
            "caller_task" => "none",
            "identity" if ask.step != DelegationStep::Exchange => "none",
            // A runner starts a run of its own: it can be no run that was named before.
            "identity" if ask.to_instance.is_some() => "other",
            "identity" => "named",
            _ => match weak_binding {
                WeakBinding::No => "strong",
                WeakBinding::UncontainedAgentOnSameUser => "uncontained_agent_on_same_user",
            },
        },
    }
}

/// It takes parts and nothing else; what it may take is looked at with the delegation.
fn workload_word(
    ask: &DelegationAsk<'_>,
    (agent, binding): (&AgentName, &'static str),
    name: &str,
) -> &'static str {
    let is_delegate = ask.step == DelegationStep::Exchange && agent == ask.to;
    match name {
        "caller" => "workload",
        "standing" => ask.delegate.as_str(),
        "relation" if is_delegate => "delegate",
        "relation" => "other",
        "caller_task" => NONE,
        "identity" if ask.step != DelegationStep::Exchange => NONE,
        // It becomes a new run by this: it can be no run that was named before.
        "identity" if is_delegate && ask.to_instance.is_none() => "named",
        "identity" => "other",
        _ => binding,
    }
}

/// Says whether whoever takes the step proved themselves as the template asks of the agent, and whether the child will.
/// What is asked of people is said by `binding` and `containment`. A token that is bound to no key is never enough.
pub(super) fn proof_word(ask: &DelegationAsk<'_>) -> &'static str {
    let binding = match ask.by {
        Acting::Person { .. } => return ENOUGH,
        Acting::Instance { binding, .. } | Acting::Workload { binding, .. } => binding,
    };
    let child = ask.bound.map(|it| it.as_str());
    let by_key = [Some(binding), child].into_iter().flatten();
    // Who proved itself by what it signed, and has no token yet, is held to the key to which that will be bound.
    let weakest = by_key.filter_map(least).max().unwrap_or(LeastBinding::Dpop);
    let least_binding = ask.scope.least_binding().min(LeastBinding::Dpop);
    if weakest <= least_binding {
        ENOUGH
    } else {
        "too_weak"
    }
}

fn least(binding: &str) -> Option<LeastBinding> {
    match binding {
        "mtls" => Some(LeastBinding::Mtls),
        "dpop" => Some(LeastBinding::Dpop),
        "bearer" => Some(LeastBinding::BearerToRead),
        _ => None,
    }
}

/// Returns the word for what the access token is worth by which the caller came.
pub(super) const fn token_word(ask: &DelegationAsk<'_>) -> &'static str {
    let Acting::Instance { token, .. } = ask.by else {
        return WHOLE;
    };
    match token {
        CallerToken::Whole => WHOLE,
        CallerToken::Narrowed => "narrowed",
        CallerToken::Nothing(Reason::TokenExpired) => "expired",
        CallerToken::Nothing(Reason::TokenWithdrawn) => "withdrawn",
        CallerToken::Nothing(_) => "given_up",
    }
}

/// Returns the word for where a task stands.
pub(super) const fn task_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Active => "active",
        TaskState::Ended(end) => end.as_str(),
    }
}

const ENOUGH: &str = "enough";
const WHOLE: &str = "whole";
