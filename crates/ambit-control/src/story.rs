//! The log told in words: the story of a task, the reason for a decision, one record whole.
//!
//! Everything here is derived from records and the erasable directory of names. An act whose outcome nobody
//! knows comes first, because somebody must look.

mod proofs;
mod trace;
mod why;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    DecisionId, PersonId, TaskId,
    act::Target,
    json::Value,
    record::{Actor, Body, Record, Sealed, Warrant},
};

pub use self::{
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
}

impl Names {
    /// Takes what the directory knows.
    pub fn new(known: impl IntoIterator<Item = (PersonId, String)>) -> Self {
        Self {
            people: known.into_iter().collect(),
            reasons: BTreeMap::new(),
        }
    }

    /// Takes the words that people gave with what these decisions permitted.
    #[must_use]
    pub fn with_reasons(mut self, known: impl IntoIterator<Item = (DecisionId, String)>) -> Self {
        self.reasons.extend(known);
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
            Actor::Workload(workload) => format!("workload {workload}"),
            Actor::Ambit => "Ambit".to_owned(),
            Actor::Nobody => "somebody unidentified".to_owned(),
        }
    }
}

/// Finds the records that [`trace`] of one task needs, in the order of the log. The ends of the tasks above it are
/// among them, for with them it ended, and those of its own parts.
#[derive(Clone, Debug)]
pub struct Concerns {
    task: TaskId,
    parents: BTreeMap<TaskId, TaskId>,
    line: BTreeSet<TaskId>,
}

impl Concerns {
    /// Returns what finds the records of `task`.
    pub fn of(task: TaskId) -> Self {
        Self {
            task,
            parents: BTreeMap::new(),
            line: BTreeSet::from([task]),
        }
    }

    /// Says whether the story needs the next record of the log.
    pub fn take(&mut self, body: &Body) -> bool {
        match body {
            Body::DelegationSpent { task, .. } => {
                if let Some(parent) = task.lineage.parent() {
                    self.parents.insert(task.id, parent);
                }
                if task.id == self.task {
                    let mut next = self.parents.get(&task.id);
                    while let Some(above) = next.filter(|it| self.line.insert(**it)) {
                        next = self.parents.get(above);
                    }
                }
                // One short record for each child that ever was: the line above may be among them.
                true
            }
            // That the task came by it is known only when it is spent.
            Body::DelegationMade { .. } => true,
            Body::DelegationWithdrawn { parent, .. } => self.line.contains(parent),
            Body::TaskEnded { task, .. } => {
                self.line.contains(task) || self.parents.get(task) == Some(&self.task)
            }
            Body::LogOpened { .. }
            | Body::PersonKnown { .. }
            | Body::EstateApplied { .. }
            | Body::TaskStarted { .. }
            | Body::InstanceCertified { .. }
            | Body::TaskWaits { .. }
            | Body::TaskClaimed { .. }
            | Body::TaskAttended { .. }
            | Body::Decided(_)
            | Body::Performed(_)
            | Body::ApprovalDecided { .. }
            | Body::Revoked { .. }
            | Body::KeysRotated { .. }
            | Body::Reinstated { .. }
            | Body::RevocationCarried { .. }
            | Body::RevocationEffective { .. }
            | Body::ToolSeen { .. }
            | Body::TokenIssued(_)
            | Body::TokenRevoked { .. }
            | Body::ServerInspected { .. }
            | Body::ActSettled { .. }
            | Body::SealedOpened { .. }
            | Body::CredentialSealed { .. }
            | Body::Proof(_)
            | Body::RefusalsCoalesced { .. }
            | Body::StateDigest { .. } => concerns_task(body, self.task),
        }
    }
}

/// Returns the task that a person started and from which `task` came: its start belongs to the story too.
pub fn root(entries: &[Entry], task: TaskId) -> Option<TaskId> {
    let parent = |child: TaskId| {
        entries.iter().find_map(|it| {
            let Body::DelegationSpent { task, .. } = &it.record.body else {
                return None;
            };
            (task.id == child).then(|| task.lineage.parent())?
        })
    };
    std::iter::successors(parent(task), |it| parent(*it)).last()
}

/// Says whether [`trace`] of `task` needs a record by itself. Revocations are kept whomever they hit: what they hit is known later.
fn concerns_task(body: &Body, task: TaskId) -> bool {
    match body {
        Body::TaskStarted { task: it, .. } => it.id == task,
        Body::InstanceCertified { task: it, .. }
        | Body::TaskWaits { task: it, .. }
        | Body::TaskClaimed { task: it, .. }
        | Body::TaskAttended { task: it, .. }
        | Body::TaskEnded { task: it, .. }
        | Body::TokenRevoked { task: it, .. }
        | Body::ActSettled { task: it, .. }
        | Body::SealedOpened { task: it, .. }
        | Body::ApprovalDecided { task: it, .. } => *it == task,
        Body::TokenIssued(it) => it.task == task,
        Body::Decided(it) => it.task == Some(task),
        Body::Performed(it) => it.task == task,
        Body::RefusalsCoalesced { task: it, .. } => *it == Some(task),
        Body::Revoked { .. } | Body::RevocationEffective { .. } => true,
        // They change nothing for a task that began before, and a task that began after is as any other.
        Body::Reinstated { .. } | Body::RevocationCarried { .. } => false,
        Body::LogOpened { .. }
        | Body::PersonKnown { .. }
        | Body::EstateApplied { .. }
        | Body::ToolSeen { .. }
        | Body::ServerInspected { .. }
        | Body::KeysRotated { .. }
        | Body::CredentialSealed { .. }
        | Body::DelegationMade { .. }
        | Body::DelegationSpent { .. }
        | Body::DelegationWithdrawn { .. }
        | Body::Proof(_)
        | Body::StateDigest { .. } => false,
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
