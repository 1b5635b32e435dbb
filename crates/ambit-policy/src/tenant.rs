//! The tenant's own policies: read, checked, named.
//!
//! A tenant policy on agents' acts forbids, or asks a person (`@ask("approver")`). It can't permit: a template is the
//! most that a task may do, written by an owner and shown to the person who starts the task; a permit
//! beside it would give tasks what nobody granted them.
//!
//! A tenant policy on people's acts forbids. It can't permit either: what each role may do is fixed. And what
//! answers a compromise (revoking, ending, looking) can't be forbidden.

mod known;

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
    ActionConstraint, Effect, Entities, Entity, EntityUid, Policy, PolicyId, PolicySet, Schema,
    ValidationMode, Validator,
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

/// The tenant's policies on one kind of acts, and what they are held against.
pub(crate) struct Folder<'a> {
    files: &'a [PolicyFile],
    on: On,
    schema: &'a Schema,
    known: HashMap<String, HashSet<String>>,
    /// The action groups, by which it is told what a policy could match.
    groups: Entities,
}

/// Whose acts policies are on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum On {
    Agents,
    People,
}

impl<'a> Folder<'a> {
    /// Returns the policies on agents' acts.
    pub(crate) fn on_agents(estate: &'a Estate, schema: &'a Schema) -> Result<Self, PolicyProblem> {
        Self::of(
            &estate.policies,
            On::Agents,
            schema,
            known::to_agents(estate),
        )
    }

    /// Returns the policies on people's acts.
    pub(crate) fn on_people(estate: &'a Estate, schema: &'a Schema) -> Result<Self, PolicyProblem> {
        let files = &estate.people_policies;
        Self::of(files, On::People, schema, known::to_people(estate))
    }

    fn of(
        files: &'a [PolicyFile],
        on: On,
        schema: &'a Schema,
        known: HashMap<String, HashSet<String>>,
    ) -> Result<Self, PolicyProblem> {
        let groups = schema.action_entities();
        Ok(Self {
            files,
            on,
            schema,
            known,
            groups: groups.map_err(|it| PolicyProblem::inside(&it))?,
        })
    }
}

/// Reads and checks the tenant's policies; `taken` are the names of the fixed ones.
pub(crate) fn read_tenant(
    folder: &Folder<'_>,
    taken: &[&str],
    problems: &mut Vec<PolicyProblem>,
) -> Vec<(Policy, Rule)> {
    let validator = Validator::new(folder.schema.clone());
    let mut names: HashSet<String> = taken.iter().map(|&it| it.to_owned()).collect();
    let mut read = Vec::new();
    for file in folder.files {
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
        validate(&validator, &set, (folder.on, file), problems);
        if set.num_of_templates() > 0 {
            let message = "a policy with `?principal` or `?resource` is no policy here; name them";
            problems.push(PolicyProblem::at(
                &file.path,
                &file.text,
                0,
                message.to_owned(),
            ));
        }
        for (policy, offset) in placed(&set, &file.text) {
            if let Err(message) = room_after(read.len()) {
                problems.push(PolicyProblem::at(&file.path, &file.text, offset, message));
                return read;
            }
            match check(&policy, folder, &mut names) {
                Ok(lift) => read.push(named(&policy, lift, read.len())),
                Err(message) => {
                    problems.push(PolicyProblem::at(&file.path, &file.text, offset, message));
                }
            }
        }
    }
    read
}

/// Returns `message` as a problem at the policy of this name; at the beginning of `estate.toml` when there is none.
pub(crate) fn problem_at_policy(
    files: &[PolicyFile],
    name: Option<&str>,
    message: String,
) -> PolicyProblem {
    for file in files {
        let Ok(set) = PolicySet::from_str(&file.text) else {
            continue;
        };
        let own = placed(&set, &file.text);
        let own = own.into_iter().find(|it| it.0.annotation("id") == name);
        if let Some((_, offset)) = own {
            return PolicyProblem::at(&file.path, &file.text, offset, message);
        }
    }
    PolicyProblem::at("estate.toml", "", 0, message)
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
    folder: &Folder<'_>,
    names: &mut HashSet<String>,
) -> Result<Lift, String> {
    if policy.effect() == Effect::Permit {
        return Err(folder.on.no_permits().to_owned());
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
    let lift = check_annotations(policy, folder.on)?;
    for literal in policy.entity_literals() {
        known::check_literal(&literal, &folder.known)?;
    }
    if policy.to_json().map_or(true, |it| has_arithmetic(&it)) {
        return Err("a policy can't calculate; compare with a number instead".to_owned());
    }
    match folder.on {
        On::Agents => {}
        On::People => leaves_the_answers(policy, &folder.groups)?,
    }
    Ok(lift)
}

fn check_annotations(policy: &Policy, on: On) -> Result<Lift, String> {
    for (key, _) in policy.annotations() {
        match (on, key) {
            (_, "id" | "description") | (On::Agents, "ask") => {}
            (On::People, "ask") => {
                return Err(
                    "`@ask` has nobody to ask here: what a person does is allowed or forbidden; \
                            write the policy without it"
                        .to_owned(),
                );
            }
            (On::Agents, _) => {
                return Err(format!(
                    "`@{key}` is unknown; write @id, @ask or @description"
                ));
            }
            (On::People, _) => {
                return Err(format!("`@{key}` is unknown; write @id or @description"));
            }
        }
    }
    match policy.annotation("ask") {
        None => Ok(Lift::Never),
        Some("approver") => Ok(Lift::Approval),
        Some(_) => Err("write `@ask(\"approver\")` to have a person asked".to_owned()),
    }
}

/// What answers a compromise, as the schema has it under `always`. What is never matched is never forbidden.
const ANSWERS: &str = "always";

/// Refuses a policy that could match what answers a compromise.
fn leaves_the_answers(policy: &Policy, groups: &Entities) -> Result<(), String> {
    let is_answer = |it: &EntityUid| {
        let mut above = groups.ancestors(it).into_iter().flatten();
        above.any(|it| it.id().unescaped() == ANSWERS)
    };
    let named = match policy.action_constraint() {
        ActionConstraint::Any => {
            return Err(format!(
                "a policy on people names the acts that it forbids; write {RESTRICTABLE}: {ALWAYS_MAY}"
            ));
        }
        ActionConstraint::Eq(named) => vec![named],
        ActionConstraint::In(named) => named,
    };
    let all = groups.iter().map(Entity::uid);
    let mut answers: Vec<_> = all.filter(is_answer).collect();
    answers.sort_by_key(ToString::to_string);
    let matches = |answer: &&EntityUid| {
        let mut named = named.iter();
        named.any(|it| it == *answer || groups.is_ancestor_of(it, answer))
    };
    match answers.iter().find(matches) {
        None => Ok(()),
        Some(answer) => Err(format!(
            "no policy may forbid `{}`; name other acts, or write {RESTRICTABLE}: {ALWAYS_MAY}",
            answer.id().unescaped()
        )),
    }
}

const RESTRICTABLE: &str = "`action in Ambit::Action::\"restrictable\"`";
const ALWAYS_MAY: &str = "who may revoke, end and look can answer a compromise under every policy";

impl On {
    /// Says where policies on the other kind of acts are.
    const fn elsewhere(self) -> &'static str {
        match self {
            Self::Agents => "; policies on what people do are in policies/people/",
            Self::People => {
                "; policies on what agents do are in policies/, not in policies/people/"
            }
        }
    }

    const fn no_permits(self) -> &'static str {
        match self {
            Self::Agents => {
                "a policy can only forbid; what a task may do is written in its template"
            }
            Self::People => {
                "a policy can only forbid; what a person may do is written in `roles` of estate.toml and in \
                 `owner`"
            }
        }
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

fn validate(
    validator: &Validator,
    set: &PolicySet,
    (on, file): (On, &PolicyFile),
    problems: &mut Vec<PolicyProblem>,
) {
    let result = validator.validate(set, ValidationMode::Strict);
    let errors = result.validation_errors();
    let errors = errors.map(|it| {
        let mut problem = PolicyProblem::of_diagnostic(&file.path, &file.text, it);
        if problem.message.starts_with("unrecognized action") {
            problem.message.push_str(on.elsewhere());
        }
        problem
    });
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

/// Returns the policies in the order of the text, and where in it each stands.
fn placed(set: &PolicySet, text: &str) -> Vec<(Policy, usize)> {
    let mut reached = 0;
    let mut all = Vec::new();
    for policy in ordered(set) {
        let own = policy.to_cedar().unwrap_or_default();
        let rest = text.get(reached..).unwrap_or_default();
        let offset = rest.find(&own).map_or(reached, |it| reached + it);
        reached = offset + own.len();
        all.push((policy, offset));
    }
    all
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
