//! What an estate's next version changes, in words: what each agent gains and loses.
//!
//! Whatever is not surely narrower is never called so: see [`Direction`].

mod agents;
mod clients;
mod constraints;
mod ended;
mod federations;
mod rest;
mod stopped;
mod templates;
mod tools;

use std::{collections::BTreeSet, fmt};

use ambit_core::{Digest, TaskId, estate::Estate, json::Value};

pub(crate) use self::{
    stopped::{Running, STOPPED_NAMED_MAX, stopping},
    templates::gives,
};
use crate::visible::visible;

/// The difference between two versions of an estate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// The version in force, when there is one.
    pub from: Option<Digest>,
    /// The version that would come into force.
    pub to: Digest,
    /// What changes, grouped by what it concerns: agents, servers, people, policies, each in order.
    pub subjects: Vec<Subject>,
    /// The live tasks that end with it, where it is known what is live.
    pub ends: BTreeSet<TaskId>,
}

/// What changes for one thing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    /// Such as `agent support-bot`.
    pub name: String,
    /// The changes.
    pub changes: Vec<Change>,
}

/// One change, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Whether it gives or takes.
    pub direction: Direction,
    /// What changes, in words, with nothing hidden.
    pub text: String,
}

/// Whether a change gives or takes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// Something is possible, or visible, or cheaper, that was not.
    Widens,
    /// Neither can be said for sure: somebody must look.
    Alters,
    /// Everything that is possible now was possible before.
    Narrows,
}

/// Says what `new` changes against `old`; without an `old`, everything is new.
pub fn plan(old: Option<&Estate>, new: &Estate) -> Plan {
    let mut subjects = agents::compare(old, new);
    subjects.extend(clients::compare(old, new));
    subjects.extend(rest::issuers(old, new));
    subjects.extend(federations::compare(old, new));
    subjects.extend(rest::servers(old, new));
    subjects.extend(rest::people(old, new));
    subjects.extend(rest::policies(old, new));
    subjects.extend(rest::tokens(old, new));
    subjects.retain(|it| !it.changes.is_empty());
    Plan {
        from: old.map(|it| it.digest),
        to: new.digest,
        subjects,
        ends: BTreeSet::new(),
    }
}

impl Plan {
    /// Returns how many changes go in `direction`.
    pub fn count(&self, direction: Direction) -> usize {
        let changes = self.subjects.iter().flat_map(|it| &it.changes);
        changes.filter(|it| it.direction == direction).count()
    }

    /// Returns the plan as the control API gives it.
    pub fn to_value(&self) -> Value {
        let from = self.from.map_or(Value::Null, |it| it.to_string().into());
        let change = |it: &Change| {
            Value::object([
                ("direction", it.direction.as_str().into()),
                ("text", it.text.as_str().into()),
            ])
        };
        let subject = |it: &Subject| {
            Value::object([
                ("subject", it.name.as_str().into()),
                ("changes", it.changes.iter().map(change).collect()),
            ])
        };
        Value::object([
            ("from", from),
            ("to", self.to.to_string().into()),
            ("widens", (self.count(Direction::Widens) as u64).into()),
            ("alters", (self.count(Direction::Alters) as u64).into()),
            ("narrows", (self.count(Direction::Narrows) as u64).into()),
            ("subjects", self.subjects.iter().map(subject).collect()),
            ("ends_count", (self.ends.len() as u64).into()),
            ("ends", first(self.ends.iter().copied())),
        ])
    }
}

/// Returns the names of the first tasks, as many as an answer holds.
pub(crate) fn first(tasks: impl Iterator<Item = TaskId>) -> Value {
    let named = tasks.take(STOPPED_NAMED_MAX);
    named.map(|it| Value::from(it.to_string())).collect()
}

/// Writes one block per subject: `+` widens, `-` narrows, `~` alters; then the counts.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subjects.is_empty() {
            return f.write_str("nothing changes\n");
        }
        for subject in &self.subjects {
            writeln!(f, "{}", subject.name)?;
            for change in &subject.changes {
                writeln!(f, "  {} {}", change.direction.sign(), change.text)?;
            }
        }
        writeln!(
            f,
            "\n{} widen (+), {} narrow (-), {} alter (~)",
            self.count(Direction::Widens),
            self.count(Direction::Narrows),
            self.count(Direction::Alters)
        )
    }
}

impl Direction {
    /// Returns the word that the API uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Widens => "widens",
            Self::Alters => "alters",
            Self::Narrows => "narrows",
        }
    }

    const fn sign(self) -> char {
        match self {
            Self::Widens => '+',
            Self::Alters => '~',
            Self::Narrows => '-',
        }
    }
}

/// Changes as they are gathered.
#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, direction: Direction, text: impl AsRef<str>) {
        self.0.push(Change {
            direction,
            text: visible(text.as_ref()),
        });
    }

    /// Notes what one set has and the other has not. `gain` and `loss` say it of one item.
    fn set<T: Ord>(
        &mut self,
        (old, new): (
            &std::collections::BTreeSet<T>,
            &std::collections::BTreeSet<T>,
        ),
        gain: impl Fn(&T) -> String,
        loss: impl Fn(&T) -> String,
    ) {
        for item in new.difference(old) {
            self.add(Direction::Widens, gain(item));
        }
        for item in old.difference(new) {
            self.add(Direction::Narrows, loss(item));
        }
    }

    /// Notes a maximum that moved.
    fn maximum<T: Ord + fmt::Display>(&mut self, what: &str, old: &T, new: &T) {
        match new.cmp(old) {
            std::cmp::Ordering::Greater => {
                self.add(Direction::Widens, format!("{what}: {old} -> {new}"));
            }
            std::cmp::Ordering::Less => {
                self.add(Direction::Narrows, format!("{what}: {old} -> {new}"));
            }
            std::cmp::Ordering::Equal => {}
        }
    }

    /// Notes a value that is another one, in a direction that nobody can name.
    fn altered<T: PartialEq + fmt::Display>(&mut self, what: &str, old: &T, new: &T) {
        if old != new {
            self.add(Direction::Alters, format!("{what}: {old} -> {new}"));
        }
    }

    fn of(self, name: impl Into<String>) -> Subject {
        Subject {
            name: name.into(),
            changes: self.0,
        }
    }
}

#[cfg(test)]
mod tests;
