//! The tenant's own policies: read, checked, named.
//!
//! A tenant policy forbids, or asks a person (`@ask("approver")`). It can't permit: a template is the
//! most that a task may do, written by an owner and shown to the person who starts the task; a permit
//! beside it would give tasks what nobody granted them.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
    sync::Arc,
};

use ambit_core::{
    Reason,
    estate::{Estate, PolicyFile},
};
use cedar_policy::{
    Effect, EntityUid, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator,
};

use crate::{
    PolicyProblem,
    rules::{Lift, Rule},
};

/// The most tenant policies of one estate.
pub const TENANT_POLICIES_MAX: usize = 4096;
/// The longest name of a policy, in bytes.
pub const POLICY_NAME_BYTES_MAX: usize = 128;

/// Reads the policies of `text` in order, each renamed to its `@id`.
pub(crate) fn read_fixed(text: &str) -> Result<Vec<(Policy, Rule)>, PolicyProblem> {
    let mut read = Vec::new();
    for (rank, policy) in in_order(text)?.into_iter().enumerate() {
        let name = policy
            .annotation("id")
            .ok_or_else(|| PolicyProblem::inside(&"a policy without @id"))?
            .to_owned();
        let reason = match policy.annotation("reason") {
            Some(code) => code.parse().map_err(|it| PolicyProblem::inside(&it))?,
            None => Reason::ApprovalRequired,
        };
        let lift = policy
            .annotation("ask")
            .map_or(Lift::Never, |_| Lift::Approval);
        let rule = Rule {
            name: name.as_str().into(),
            rank,
            reason,
            lift,
        };
        read.push((policy.new_id(PolicyId::new(&name)), rule));
    }
    Ok(read)
}

/// Reads and checks the tenant's policies; `taken` are the names of the fixed ones.
pub(crate) fn read_tenant(
    estate: &Estate,
    schema: &Schema,
    taken: &[&str],
    problems: &mut Vec<PolicyProblem>,
) -> Vec<(Policy, Rule)> {
    let known = known_entities(estate);
    let validator = Validator::new(schema.clone());
    let mut names: HashSet<String> = taken.iter().map(|&it| it.to_owned()).collect();
    let mut read = Vec::new();
    for file in &estate.policies {
        let set = match PolicySet::from_str(&file.text) {
            Ok(set) => set,
            Err(errors) => {
                problems.extend(
                    errors
                        .iter()
                        .map(|it| PolicyProblem::of_diagnostic(&file.path, &file.text, it)),
                );
                continue;
            }
        };
        validate(&validator, &set, file, problems);
        if set.num_of_templates() > 0 {
            let message = "a policy with `?principal` or `?resource` is no policy here; name them";
            problems.push(PolicyProblem::at(
                &file.path,
                &file.text,
                0,
                message.to_owned(),
            ));
        }
        for policy in ordered(&set) {
            if read.len() == TENANT_POLICIES_MAX {
                let message = format!("more than {TENANT_POLICIES_MAX} policies; merge some");
                problems.push(PolicyProblem::at(&file.path, &file.text, 0, message));
                return read;
            }
            match check(&policy, &known, &mut names) {
                Ok(lift) => read.push(named(&policy, lift, read.len())),
                Err(message) => problems.push(at_policy(file, &policy, message)),
            }
        }
    }
    read
}

fn named(policy: &Policy, lift: Lift, place: usize) -> (Policy, Rule) {
    let name: Arc<str> = policy.annotation("id").unwrap_or_default().into();
    let reason = match lift {
        Lift::Never => Reason::PolicyForbids,
        Lift::Approval => Reason::ApprovalRequired,
    };
    // Behind every fixed rule: what the fixed rules say is more fundamental.
    let rank = FIXED_RANKS + place;
    let renamed = policy.new_id(PolicyId::new(&name));
    (
        renamed,
        Rule {
            name,
            rank,
            reason,
            lift,
        },
    )
}

const FIXED_RANKS: usize = 1000;

fn check(
    policy: &Policy,
    known: &HashMap<String, HashSet<String>>,
    names: &mut HashSet<String>,
) -> Result<Lift, String> {
    if policy.effect() == Effect::Permit {
        return Err(
            "a policy can only forbid; what a task may do is written in its template".to_owned(),
        );
    }
    let name = policy
        .annotation("id")
        .filter(|it| is_policy_name(it))
        .ok_or("write `@id(\"…\")` before the policy, with a name of letters, digits, `-`, `_` and `.`")?;
    if !names.insert(name.to_owned()) {
        return Err(format!(
            "the name `{name}` is taken; give the policy another @id"
        ));
    }
    for (key, _) in policy.annotations() {
        if !["id", "ask", "description"].contains(&key) {
            return Err(format!(
                "`@{key}` is unknown; write @id, @ask or @description"
            ));
        }
    }
    for literal in policy.entity_literals() {
        check_literal(&literal, known)?;
    }
    match policy.annotation("ask") {
        None => Ok(Lift::Never),
        Some("approver") => Ok(Lift::Approval),
        Some(_) => Err("write `@ask(\"approver\")` to have a person asked".to_owned()),
    }
}

/// A forbid that names what does not exist never forbids: most likely a slip of the pen.
fn check_literal(
    literal: &EntityUid,
    known: &HashMap<String, HashSet<String>>,
) -> Result<(), String> {
    let kind = literal.type_name().to_string();
    match known.get(&kind) {
        Some(ids) if !ids.contains(literal.id().unescaped()) => {
            Err(format!("the estate has no `{literal}`; check the spelling"))
        }
        Some(_) | None => Ok(()),
    }
}

fn known_entities(estate: &Estate) -> HashMap<String, HashSet<String>> {
    let tools = estate.servers.values().flat_map(|server| {
        server
            .tools
            .keys()
            .map(move |tool| format!("{}/{tool}", server.name))
    });
    let endpoints = estate
        .agents
        .values()
        .flat_map(|it| it.model_endpoints.iter().map(ToString::to_string));
    [
        (
            "Agent",
            estate.agents.keys().map(ToString::to_string).collect(),
        ),
        (
            "Template",
            estate.templates.keys().map(ToString::to_string).collect(),
        ),
        (
            "Server",
            estate.servers.keys().map(ToString::to_string).collect(),
        ),
        ("Tool", tools.collect::<HashSet<_>>()),
        ("Endpoint", endpoints.collect()),
    ]
    .into_iter()
    .map(|(kind, ids)| (format!("Ambit::{kind}"), ids))
    .collect()
}

fn validate(
    validator: &Validator,
    set: &PolicySet,
    file: &PolicyFile,
    problems: &mut Vec<PolicyProblem>,
) {
    let result = validator.validate(set, ValidationMode::Strict);
    for error in result.validation_errors() {
        problems.push(PolicyProblem::of_diagnostic(&file.path, &file.text, error));
    }
    // A warning says that the policy can't ever apply or can't be read as it looks: both are slips.
    for warning in result.validation_warnings() {
        problems.push(PolicyProblem::of_diagnostic(
            &file.path, &file.text, warning,
        ));
    }
}

fn in_order(text: &str) -> Result<Vec<Policy>, PolicyProblem> {
    let set = PolicySet::from_str(text).map_err(|it| PolicyProblem::inside(&it))?;
    Ok(ordered(&set))
}

/// Returns the policies in the order of the text: Cedar numbers them `policy0`, `policy1`, …
fn ordered(set: &PolicySet) -> Vec<Policy> {
    let mut policies: Vec<_> = set.policies().cloned().collect();
    policies.sort_by_key(|it| {
        let id: &str = it.id().as_ref();
        id.strip_prefix("policy")
            .and_then(|number| number.parse::<usize>().ok())
            .unwrap_or(usize::MAX)
    });
    policies
}

fn at_policy(file: &PolicyFile, policy: &Policy, message: String) -> PolicyProblem {
    let offset = policy
        .to_cedar()
        .and_then(|it| file.text.find(&it))
        .unwrap_or(0);
    PolicyProblem::at(&file.path, &file.text, offset, message)
}

fn is_policy_name(text: &str) -> bool {
    (1..=POLICY_NAME_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
}
