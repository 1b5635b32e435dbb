//! What stands sealed beside records of acts and tasks, and what people say of acts.

use super::{Body, Sealed};
use crate::TaskId;

/// What it is that stands sealed beside a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content {
    /// The values that a person gave a task.
    Parameters,
    /// The part of a task that a delegation gives.
    Part,
    /// The whole act: task, arguments, pinned digest, credential reference.
    Act,
    /// What came back.
    Result,
}

/// What a person found of an act whose outcome nobody knew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// The target has it.
    Happened,
    /// The target has nothing of it.
    DidNotHappen,
}

impl Body {
    /// Returns what of an act or a task stands sealed beside the record, and the task under whose key. The words of people
    /// are sealed under keys of their own, and are none of it.
    pub fn sealed(&self) -> Option<(TaskId, Content, Sealed)> {
        if let Self::TaskStarted {
            task, parameters, ..
        } = self
        {
            return Some((task.id, Content::Parameters, *parameters));
        }
        if let Self::DelegationMade {
            delegation, part, ..
        } = self
        {
            return Some((delegation.parent, Content::Part, *part));
        }
        if let Self::DelegationSpent { task, part, .. } = self {
            return Some((task.id, Content::Part, *part));
        }
        if let Self::Decided(it) = self {
            return Some((it.task?, Content::Act, it.act?));
        }
        if let Self::Performed(it) = self {
            return Some((it.task, Content::Result, it.result?));
        }
        None
    }
}

impl Content {
    /// Returns the word that APIs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parameters => "parameters",
            Self::Part => "part",
            Self::Act => "act",
            Self::Result => "result",
        }
    }
}

impl Settlement {
    /// Every settlement.
    pub const ALL: [Self; 2] = [Self::Happened, Self::DidNotHappen];

    /// Returns the word that records and APIs use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Happened => "happened",
            Self::DidNotHappen => "did_not_happen",
        }
    }
}
