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
        let mut reached = 0;
        for policy in ordered(&set) {
            let offset = place(&file.text, &policy, &mut reached);
            if let Err(message) = room_after(read.len()) {
                problems.push(PolicyProblem::at(&file.path, &file.text, offset, message));
                return read;
            }
            match check(&policy, &known, &mut names) {
                Ok(lift) => read.push(named(&policy, lift, read.len())),
                Err(message) => {
                    problems.push(PolicyProblem::at(&file.path, &file.text, offset, message));
                }
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
    if policy.to_json().map_or(true, |it| has_arithmetic(&it)) {
        return Err("a policy can't calculate; compare with a number instead".to_owned());
    }
    match policy.annotation("ask") {
        None => Ok(Lift::Never),
        Some("approver") => Ok(Lift::Approval),
        Some(_) => Err("write `@ask(\"approver\")` to have a person asked".to_owned()),
    }
}

/// A sum that overflows is an error, and an error denies everything that the policy looks at.
fn has_arithmetic(policy: &serde_json::Value) -> bool {
    match policy {
        serde_json::Value::Array(items) => items.iter().any(has_arithmetic),
        serde_json::Value::Object(members) => members
            .iter()
            .any(|(key, it)| ["+", "-", "*", "neg"].contains(&key.as_str()) || has_arithmetic(it)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => false,
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
    let errors = result.validation_errors();
    let errors = errors.map(|it| PolicyProblem::of_diagnostic(&file.path, &file.text, it));
    let mut found: Vec<_> = errors.collect();
    if found.is_empty() {
        // A warning says that the policy can't ever apply or does not read as it looks: a slip.
        let warnings = result.validation_warnings();
        found.extend(warnings.map(|it| PolicyProblem::of_diagnostic(&file.path, &file.text, it)));
    }
    // Each mistake is found once for every action, in no order: one of them says enough.
    found.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
    found.dedup_by_key(|it| (it.line, it.column));
    problems.extend(found);
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

/// Returns where in `text` the next policy stands, and moves `reached` behind it.
fn place(text: &str, policy: &Policy, reached: &mut usize) -> usize {
    let own = policy.to_cedar().unwrap_or_default();
    let rest = text.get(*reached..).unwrap_or_default();
    let offset = rest.find(&own).map_or(*reached, |it| *reached + it);
    *reached = offset + own.len();
    offset
}

/// Says whether one more policy than `count` may be read.
fn room_after(count: usize) -> Result<(), String> {
    if count < TENANT_POLICIES_MAX {
        Ok(())
    } else {
        Err(format!(
            "more than {TENANT_POLICIES_MAX} policies; merge some"
        ))
    }
}

fn is_policy_name(text: &str) -> bool {
    (1..=POLICY_NAME_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_their_names_end_at_their_maximum() {
        assert!(room_after(TENANT_POLICIES_MAX - 1).is_ok());
        assert!(room_after(TENANT_POLICIES_MAX).is_err());
        assert!(is_policy_name(&"x".repeat(POLICY_NAME_BYTES_MAX)));
        assert!(!is_policy_name(&"x".repeat(POLICY_NAME_BYTES_MAX + 1)));
        for text in ["", "a b", "a\n", "\u{e4}"] {
            assert!(!is_policy_name(text), "{text:?}");
        }
    }
}
