//! Decisions in words, for people. An agent never reads these: they name rules and bounds.

use ambit_core::{
    Reason,
    record::{Answer, Decided},
};

use crate::{
    ApprovalState,
    decision::Seen,
    delegation::DelegationFacts,
    facts::{Facts, labels_to_value},
    judge::stopped_at,
    people::PersonFacts,
};

/// Returns the answer of a recorded decision in words, for people: why, by which rules, and what would change it.
///
/// Nothing when the record holds no facts that this version reads, and nothing for what was allowed.
pub fn explain(decided: &Decided) -> Option<String> {
    let (Answer::Deny { reason } | Answer::Hold { reason, .. }) = &decided.answer else {
        return None;
    };
    let act = Facts::from_value(&decided.facts).map(|it| Seen::Act(Box::new(it)));
    let person = || PersonFacts::from_value(&decided.facts).map(|it| Seen::Person(Box::new(it)));
    let delegation =
        || DelegationFacts::from_value(&decided.facts).map(|it| Seen::Delegation(Box::new(it)));
    let seen = act.or_else(person).or_else(delegation)?;
    Some(answer(*reason, &decided.rules, &seen))
}

/// Returns why the answer is what it is, which rules made it and what would change it.
pub(crate) fn answer(reason: Reason, rules: &[String], seen: &Seen) -> String {
    let said = match seen {
        Seen::Person(_) => reason.for_person(),
        Seen::Delegation(facts) if facts.is_by_person() => reason.for_person(),
        Seen::Act(_) | Seen::Delegation(_) | Seen::Nothing { .. } => reason.for_agent(),
    };
    let mut text = said.to_owned();
    let detail = match seen {
        Seen::Act(facts) => of_line(reason, facts, rules),
        Seen::Delegation(facts) => facts.advice(reason),
        Seen::Person(facts) => of_person(reason, facts),
        Seen::Nothing { .. } => None,
    };
    if let Some(detail) = detail {
        text.push_str(": ");
        text.push_str(&detail);
    }
    if !rules.is_empty() {
        text.push_str(" (rules: ");
        text.push_str(&rules.join(", "));
        text.push(')');
    }
    text
}

/// Returns what would change the answer at the task that stopped the act: the one that asked, or one above.
fn of_line(reason: Reason, facts: &Facts, rules: &[String]) -> Option<String> {
    let at = stopped_at(facts, rules);
    let is_child = at.who.task == facts.who.task && !facts.above.is_empty();
    let ungranted = matches!(reason, Reason::ServerNotGranted | Reason::ToolNotGranted);
    if is_child && ungranted {
        return Some(format!(
            "the part that was delegated to the task does not name `{}`; delegate one that does",
            facts.resource.name()
        ));
    }
    let advice = of_act(reason, at);
    if at.who.task == facts.who.task {
        return advice;
    }
    let above = format!("{} above it stops the act", at.who.task);
    Some(advice.map_or_else(|| above.clone(), |it| format!("{above}: {it}")))
}

fn of_act(reason: Reason, facts: &Facts) -> Option<String> {
    let template = &facts.who.template;
    let resource = facts.resource.name();
    let agent = &facts.who.agent;
    let advice = match reason {
        Reason::TaskEnded | Reason::TaskExpired => {
            format!("the task is {}; start a new one", facts.words.get("task"))
        }
        Reason::TemplateWithdrawn => withdrawn(agent, template),
        Reason::WrongEnvironment => {
            format!("agent `{agent}` and `{resource}` differ in `environment`")
        }
        Reason::ContainmentRequired => {
            format!("template `{template}` requires containment; start the task with `ambit run`")
        }
        Reason::BindingTooWeak => too_weak(facts, template),
        Reason::ServerNotGranted => {
            format!("add the server of `{resource}` to `reads` of template `{template}`")
        }
        Reason::ToolUnknown => format!("inspect the server and add `{resource}` to its file"),
        Reason::ToolNotGranted => format!("name `{resource}` under tools of template `{template}`"),
        Reason::ToolChanged => changed(facts),
        Reason::StarterWithdrawn => starter(template),
        Reason::ArgumentsInvalid => invalid(facts),
        Reason::ArgumentOutOfBounds => bounds(facts),
        Reason::LabelMayNotLeave => format!(
            "the task has read {}; template `{template}` lets leave {}",
            labels_to_value(&facts.labels).to_canonical(),
            labels_to_value(&facts.may_emit).to_canonical()
        ),
        Reason::BudgetExhausted => facts.words.get("budget").replace('_', " "),
        Reason::EndpointNotListed => {
            format!("add `{resource}` to `model_endpoints` of agent `{agent}`")
        }
        Reason::ApprovalRequired => return void_yes(facts.approval),
        Reason::TaskUnknown
        | Reason::ItemUnknown
        | Reason::AgentRevoked
        | Reason::PersonRevoked
        | Reason::PersonGone
        | Reason::ServerRevoked
        | Reason::InstanceRevoked
        | Reason::Malformed
        | Reason::TooLarge
        | Reason::MethodNotAllowed
        | Reason::PolicyForbids
        | Reason::NoPolicyPermits
        | Reason::PolicyError
        | Reason::ApprovalRefused
        | Reason::ApprovalsPendingLimit
        | Reason::RoleMissing
        | Reason::SamePerson
        | Reason::NotFound
        | Reason::WrongState
        | Reason::PermitStale
        | Reason::LastAdministrator
        | Reason::NotDelegable
        | Reason::DelegateNotListed
        | Reason::DelegationTooDeep
        | Reason::DelegationExceedsParent
        | Reason::DelegationsLimit
        | Reason::DelegationUsed
        | Reason::DelegateMismatch
        | Reason::Overloaded
        | Reason::TokenGivenUp
        | Reason::TokenWithdrawn
        | Reason::TokenExpired
        | Reason::TokenNarrowed => return None,
    };
    Some(advice)
}

fn withdrawn(agent: impl std::fmt::Display, template: impl std::fmt::Display) -> String {
    format!(
        "the estate in force does not let agent `{agent}` run template `{template}`; add it to the agent's \
         `templates` and apply"
    )
}

fn starter(template: impl std::fmt::Display) -> String {
    format!(
        "give the person the role of starter, and a place among `starters` of template `{template}`"
    )
}

fn too_weak(facts: &Facts, template: impl std::fmt::Display) -> String {
    format!(
        "the agent came by `{}`, and that is too weak for this; see `binding` of template \
         `{template}` and `tokens` of the estate",
        facts.words.get("binding")
    )
}

fn changed(facts: &Facts) -> String {
    format!(
        "accepted {}, seen {}; inspect the server and accept the new definition, or keep it out",
        digest(facts.pinned),
        digest(facts.seen)
    )
}

fn invalid(facts: &Facts) -> String {
    let resource = facts.resource.name();
    match &facts.schema_path {
        Some(path) => format!("they break the schema of `{resource}` at `{path}`"),
        None => format!("they are {}", facts.words.get("arguments")),
    }
}

fn of_person(reason: Reason, facts: &PersonFacts) -> Option<String> {
    if reason == Reason::RoleMissing {
        return Some(format!(
            "`{}` is not given by the roles [{}]; an administrator can add one in the estate's people",
            facts.action(),
            facts.roles()
        ));
    }
    if reason == Reason::BindingTooWeak {
        let advice = "an agent without containment runs as the same local user and could have sent \
                      this; end its task and its processes, then start Ambit again, or use another user";
        return Some(advice.to_owned());
    }
    if reason == Reason::PolicyForbids {
        return Some(format!(
            "the estate's own policies/people/ keep this person from `{}`",
            facts.action()
        ));
    }
    let advice = match facts.action() {
        "reinstate" => "nobody lifts their own ban",
        _ => "the template asks for an approver who did not start the task",
    };
    (reason == Reason::SamePerson).then(|| advice.to_owned())
}

fn void_yes(approval: ApprovalState) -> Option<String> {
    let ApprovalState::Void { approval } = approval else {
        return None;
    };
    Some(format!(
        "the yes of {approval} no longer counts, because who gave it was revoked since, or may not approve any more; \
         somebody else must approve it"
    ))
}

fn bounds(facts: &Facts) -> String {
    let broken = facts
        .broken
        .iter()
        .map(|it| format!("`{}` must be {}", it.path, it.clause));
    broken.collect::<Vec<_>>().join("; ")
}

fn digest(digest: Option<ambit_core::Digest>) -> String {
    digest.map_or_else(|| "none".to_owned(), |it| it.to_string())
}
