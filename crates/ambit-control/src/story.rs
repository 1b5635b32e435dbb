//! The log told in words: the story of a task, the reason for a decision, one record whole.
//!
//! Everything here is derived from records and the erasable directory of names. An act whose outcome nobody
//! knows comes first, because somebody must look.

mod bundles;
mod concerns;
mod proofs;
mod trace;
mod why;
mod words;

use std::collections::BTreeMap;

use ambit_core::{
    DecisionId, Digest, PersonId,
    act::Target,
    json::Value,
    record::{Actor, Body, Record, Sealed, Warrant},
};

pub use self::{
    concerns::{Concerns, Starts},
    trace::{Line, Mark, Trace, trace},
    why::{Why, to_settle, why},
};
use crate::visible::{visible, visible_json};

/// A record and its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The index of its leaf, from 0.
    pub index: u64,
    /// The record.
    pub record: Record,
}

/// Who the pseudonyms are, as far as the directory still knows.
#[derive(Clone, Debug, Default)]
pub struct Names {
    people: BTreeMap<PersonId, String>,
    /// Why people did what they did, by the record that names it.
    reasons: BTreeMap<DecisionId, String>,
    /// What the records say of those whom they name by digest: who claimed a task.
    claimants: BTreeMap<Digest, String>,
}

impl Names {
    /// Takes what the directory knows.
    pub fn new(known: impl IntoIterator<Item = (PersonId, String)>) -> Self {
        Self {
            people: known.into_iter().collect(),
            reasons: BTreeMap::new(),
            claimants: BTreeMap::new(),
        }
    }

    /// Takes the words that people gave with what these decisions permitted.
    #[must_use]
    pub fn with_reasons(mut self, known: impl IntoIterator<Item = (DecisionId, String)>) -> Self {
        self.reasons.extend(known);
        self
    }

    /// Takes what these records say of whoever claimed a task.
    #[must_use]
    fn with_claims(mut self, entries: &[Entry]) -> Self {
        let claims = entries
            .iter()
            .filter_map(|it| words::claimant(&it.record.body));
        self.claimants.extend(claims);
        self
    }

    /// Returns why a person did it, as the end of a sentence; nothing when nobody said or the words were erased.
    fn reason(&self, warrant: &Warrant) -> String {
        let reason = self.reasons.get(&warrant.decision);
        reason.map_or_else(String::new, |it| format!(": \"{it}\""))
    }

    /// Returns the person's alias, or the pseudonym when the name was erased.
    pub fn person(&self, person: PersonId) -> String {
        self.people
            .get(&person)
            .cloned()
            .unwrap_or_else(|| person.to_string())
    }

    fn target(&self, target: &Target) -> String {
        match target {
            Target::Person(person) => format!("person {}", self.person(*person)),
            Target::Task(_) | Target::Instance(_) | Target::Agent(_) | Target::Server(_) => {
                target.to_string()
            }
        }
    }

    fn actor(&self, actor: Actor) -> String {
        match actor {
            Actor::Person(person) => self.person(person),
            Actor::Instance(instance) => instance.to_string(),
            Actor::Workload(workload) => match self.claimants.get(&workload) {
                Some(words) => words.clone(),
                None => format!("workload {workload}"),
            },
            Actor::Ambit => "Ambit".to_owned(),
            Actor::Nobody => "somebody unidentified".to_owned(),
        }
    }
}

/// Says whether [`why`] of `decision` needs a record.
pub fn concerns_decision(body: &Body, decision: DecisionId) -> bool {
    if let Body::ActSettled { decision: of, .. } = body
        && *of == decision
    {
        return true;
    }
    let named = if let Body::Decided(it) = body {
        Some(it.decision)
    } else if let Body::Performed(it) = body {
        Some(it.decision)
    } else {
        let warrant = body.warrant().map(|it| it.decision);
        warrant.or_else(|| body.mandate().map(|it| it.decision))
    };
    named == Some(decision)
}

/// Returns the words of a person that stand sealed beside a record, and the decision behind it.
pub fn sealed_reason(body: &Body) -> Option<(DecisionId, Sealed)> {
    let reason = if let Body::Revoked { reason, .. }
    | Body::Reinstated { reason, .. }
    | Body::ActSettled { reason, .. } = body
    {
        Some(*reason)
    } else if let Body::ApprovalDecided { reason, .. } = body {
        *reason
    } else {
        None
    };
    Some((body.warrant()?.decision, reason?))
}

/// Returns one record whole, as indented JSON with nothing hidden.
pub fn show(entry: &Entry, names: &Names) -> String {
    visible_json(&to_value(entry, names))
}

/// Returns one record as the control API gives it: its index, its time, what it says in words, and the record itself.
pub fn to_value(entry: &Entry, names: &Names) -> Value {
    let leaf = ambit_audit::encode(&entry.record);
    // What Ambit encodes, it reads.
    let record = ambit_core::json::parse(&leaf).unwrap_or(Value::Null);
    Value::object([
        ("index", entry.index.into()),
        ("at", entry.record.at.to_string().into()),
        ("kind", record.get("kind").cloned().unwrap_or(Value::Null)),
        (
            "summary",
            visible(&words::body(&entry.record.body, names)).into(),
        ),
        ("record", record),
    ])
}

/// Returns what an explanation says beyond its first clause, which was `said` already.
pub(crate) fn beyond(said: &str, explanation: &str) -> Option<String> {
    let rest = explanation.strip_prefix(said).unwrap_or(explanation);
    let rest = rest.trim_start_matches([':', ' ']);
    (!rest.is_empty()).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests;
