//! What policies see of an act besides who and on what: facts as Cedar's context.
//!
//! To build one costs as much as to evaluate most policies, and most acts of most tasks have the same facts. So
//! contexts are kept and shared. What differs from act to act, the time and the calls left, is shown only to the
//! policies that read it, beside what else they read and nothing more: such a context is built anew for each act, and
//! is small.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use ambit_core::Labels;
use cedar_policy::{Context, Policy, RestrictedExpression};
use serde_json::Value;

use crate::{
    entities::text,
    facts::{Facts, WORDS, Words},
};

/// The most contexts that are kept. Beyond it all are dropped: they cost little to build again.
pub(crate) const CONTEXTS_MAX: usize = 256;

/// The facts that differ from act to act. Cedar parses a time anew at each use, at the price of several policies.
const PASSING: [&str; 2] = ["calls_left", "now"];
/// The facts that are sets of labels.
const SETS: [&str; 3] = ["labels", "charged", "may_emit"];

/// What some policies see of an act.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Sight {
    /// Everything but what differs from act to act.
    Lasting,
    /// These facts.
    Own(BTreeSet<&'static str>),
}

/// The contexts of the acts that were decided of late.
#[derive(Default)]
pub(crate) struct Contexts {
    known: Mutex<HashMap<Seen, Context>>,
}

/// All that a context is made of, when it can be shared.
#[derive(Clone, Eq, Hash, PartialEq)]
struct Seen {
    words: Words,
    labels: Labels,
    charged: Labels,
    may_emit: Labels,
}

impl Sight {
    /// Returns what `policies` see.
    pub(crate) fn of<'a>(policies: impl Iterator<Item = &'a Policy>) -> Self {
        let mut read = BTreeSet::new();
        for policy in policies {
            match policy.to_json() {
                Ok(json) if !uses_whole(&json) => {
                    read.extend(every_fact().filter(|it| holds(&json, it)));
                }
                // Whatever is not understood is shown everything.
                Ok(_) | Err(_) => read.extend(every_fact()),
            }
        }
        match PASSING.iter().any(|it| read.contains(it)) {
            true => Self::Own(read),
            false => Self::Lasting,
        }
    }

    /// Everything.
    #[cfg(test)]
    pub(crate) fn everything() -> Self {
        Self::Own(every_fact().collect())
    }

    /// Returns what is seen by either.
    pub(crate) fn joined(self, other: &Self) -> Self {
        if (&self, other) == (&Self::Lasting, &Self::Lasting) {
            return Self::Lasting;
        }
        let mut all = self.names();
        all.extend(other.names());
        Self::Own(all)
    }

    fn names(&self) -> BTreeSet<&'static str> {
        match self {
            Self::Lasting => lasting().collect(),
            Self::Own(names) => names.clone(),
        }
    }
}

impl Contexts {
    /// Returns the context of `facts` for policies that see `sight`; none when Cedar can't hold it.
    pub(crate) fn of(&self, facts: &Facts, sight: &Sight) -> Option<Context> {
        match sight {
            Sight::Lasting => self.shared(facts),
            Sight::Own(_) => context(facts, sight),
        }
    }

    fn shared(&self, facts: &Facts) -> Option<Context> {
        let seen = Seen {
            words: facts.words.clone(),
            labels: facts.labels.clone(),
            charged: facts.charged.clone(),
            may_emit: facts.may_emit.clone(),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = known.get(&seen) {
            return Some(context.clone());
        }
        let context = context(facts, &Sight::Lasting)?;
        if known.len() >= CONTEXTS_MAX {
            known.clear();
        }
        known.insert(seen, context.clone());
        Some(context)
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.known.lock().unwrap().len()
    }
}

/// Builds the context of `facts` for policies that see `sight`.
pub(crate) fn context(facts: &Facts, sight: &Sight) -> Option<Context> {
    let is_seen = |name: &str| match sight {
        Sight::Lasting => !PASSING.contains(&name),
        Sight::Own(names) => names.contains(name),
    };
    let words = facts.words.iter().filter(|(name, _)| is_seen(name));
    let words = words.map(|(name, word)| (name.to_owned(), text(word)));
    let sets = SETS
        .into_iter()
        .zip([&facts.labels, &facts.charged, &facts.may_emit])
        .filter(|(name, _)| is_seen(name))
        .map(|(name, labels)| {
            let items = labels.iter().map(|it| text(it.as_str()));
            (name.to_owned(), RestrictedExpression::new_set(items))
        });
    let passing = PASSING
        .into_iter()
        .filter(|name| is_seen(name))
        .map(|name| {
            let value = match name {
                "now" => RestrictedExpression::new_datetime(facts.at.to_string()),
                _ => RestrictedExpression::new_long(facts.calls_left.into()),
            };
            (name.to_owned(), value)
        });
    Context::from_pairs(words.chain(sets).chain(passing)).ok()
}

/// Says whether `policy` reads an attribute called `word`.
pub(crate) fn mentions(policy: &Policy, word: &str) -> bool {
    policy.to_json().map_or(true, |it| holds(&it, word))
}

/// Returns the names of the facts that a context may hold.
fn every_fact() -> impl Iterator<Item = &'static str> {
    lasting().chain(PASSING)
}

fn lasting() -> impl Iterator<Item = &'static str> {
    WORDS.into_iter().chain(SETS)
}

fn holds(json: &Value, word: &str) -> bool {
    match json {
        Value::String(text) => text == word,
        Value::Array(items) => items.iter().any(|it| holds(it, word)),
        Value::Object(members) => members.values().any(|it| holds(it, word)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Says whether an expression uses the context otherwise than to read an attribute that it names or to ask for one.
fn uses_whole(json: &Value) -> bool {
    match json {
        Value::Array(items) => items.iter().any(uses_whole),
        Value::Object(members) => members.iter().any(|(operator, operand)| {
            // A record may have a member of that name, whose value is an expression.
            if operator == "Var" && operand.is_string() {
                return operand == "context";
            }
            let left = operand.get("left").and_then(|it| it.get("Var"));
            let names_one = matches!(operator.as_str(), "." | "has")
                && operand.get("attr").is_some_and(Value::is_string)
                && left.is_some_and(|it| it == "context");
            !names_one && uses_whole(operand)
        }),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use cedar_policy::PolicySet;

    use super::*;

    fn policy(body: &str) -> Policy {
        let text = format!("forbid (principal, action, resource) when {{ {body} }};");
        let set = PolicySet::from_str(&text).unwrap();
        set.policies().next().unwrap().clone()
    }

    #[test]
    fn a_word_is_found_however_it_is_spelled() {
        let check = |body: &str, expected: bool| {
            assert_eq!(mentions(&policy(body), "now"), expected, "{body}");
        };
        check("context.now < datetime(\"2027-01-01\")", true);
        check("context[\"n\\u{6f}w\"] < datetime(\"2027-01-01\")", true);
        check("context has now", true);
        check("context.nowhere", false);
        check("context.task == \"nowadays\"", false);
    }

    #[test]
    fn policies_see_what_they_read() {
        let check = |bodies: &[&str], expected: Option<&[&str]>| {
            let policies: Vec<_> = bodies.iter().map(|it| policy(it)).collect();
            let expected = match expected {
                None => Sight::Lasting,
                Some(names) => Sight::Own(
                    every_fact()
                        .filter(|it| names.is_empty() || names.contains(it))
                        .collect(),
                ),
            };
            assert_eq!(Sight::of(policies.iter()), expected, "{bodies:?}");
        };
        let (few, all) = ("context.calls_left < 3", Some(&[][..]));
        check(&[], None);
        check(
            &[
                "context.task == \"active\"",
                "context.labels.contains(\"mail\")",
            ],
            None,
        );
        check(&[few], Some(&["calls_left"]));
        check(
            &[few, "context has now && context.budget == \"left\""],
            Some(&["calls_left", "now", "budget"]),
        );
        check(&["context[\"calls_left\"] < 3"], Some(&["calls_left"]));
        check(
            &["(if principal == principal then context else context).calls_left < 3"],
            all,
        );
        check(&["context == {calls_left: 3}"], all);
        check(&["[context].contains({task: \"active\"})"], all);
        check(&["{a: context} has a"], all);
        check(&["{Var: context} has Var"], all);
    }
}
