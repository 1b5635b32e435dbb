//! The words that Ambit and its policies share: entity types and actions.

use std::str::FromStr;

use ambit_core::{act::Act, estate::Mode};
use cedar_policy::{EntityId, EntityTypeName, EntityUid};

use crate::PolicyProblem;

/// The entity types of the schemas, parsed once.
#[derive(Clone, Debug)]
pub(crate) struct Vocabulary {
    pub(crate) task: EntityTypeName,
    pub(crate) person: EntityTypeName,
    pub(crate) group: EntityTypeName,
    pub(crate) instance: EntityTypeName,
    pub(crate) workload: EntityTypeName,
    pub(crate) template: EntityTypeName,
    pub(crate) agent: EntityTypeName,
    pub(crate) server: EntityTypeName,
    pub(crate) tool: EntityTypeName,
    pub(crate) endpoint: EntityTypeName,
    pub(crate) estate: EntityTypeName,
    pub(crate) action: EntityTypeName,
}

/// What policies call an act of an agent. A tool's mode is part of the word.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum ActAction {
    ReadTool,
    WriteTool,
    SendTool,
    ExecuteTool,
    ReadResource,
    GetPrompt,
    Complete,
    List,
    Connect,
}

impl Vocabulary {
    pub(crate) fn new() -> Result<Self, PolicyProblem> {
        let kind = |name: &str| {
            let name = EntityTypeName::from_str(&format!("Ambit::{name}"));
            name.map_err(|it| PolicyProblem::inside(&it))
        };
        Ok(Self {
            task: kind("Task")?,
            person: kind("Person")?,
            group: kind("Group")?,
            instance: kind("Instance")?,
            workload: kind("Workload")?,
            template: kind("Template")?,
            agent: kind("Agent")?,
            server: kind("Server")?,
            tool: kind("Tool")?,
            endpoint: kind("Endpoint")?,
            estate: kind("Estate")?,
            action: kind("Action")?,
        })
    }
}

/// Returns the entity of type `kind` named `id`.
pub(crate) fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

impl ActAction {
    pub(crate) const ALL: [Self; 9] = [
        Self::ReadTool,
        Self::WriteTool,
        Self::SendTool,
        Self::ExecuteTool,
        Self::ReadResource,
        Self::GetPrompt,
        Self::Complete,
        Self::List,
        Self::Connect,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ReadTool => "read_tool",
            Self::WriteTool => "write_tool",
            Self::SendTool => "send_tool",
            Self::ExecuteTool => "execute_tool",
            Self::ReadResource => "read_resource",
            Self::GetPrompt => "get_prompt",
            Self::Complete => "complete",
            Self::List => "list",
            Self::Connect => "connect",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// Returns the word for `act`. A tool that the registry lacks counts as the worst: execute.
    pub(crate) fn of(act: &Act, registered: Option<Mode>) -> Self {
        match act {
            Act::CallTool { .. } => match registered {
                Some(Mode::Read) => Self::ReadTool,
                Some(Mode::Write) => Self::WriteTool,
                Some(Mode::Send) => Self::SendTool,
                Some(Mode::Execute) | None => Self::ExecuteTool,
            },
            Act::ReadResource { .. } => Self::ReadResource,
            Act::GetPrompt { .. } => Self::GetPrompt,
            Act::Complete { .. } => Self::Complete,
            Act::List { .. } => Self::List,
            Act::Connect { .. } => Self::Connect,
        }
    }

    /// Says whether such an act only reads.
    pub(crate) const fn reads(self) -> bool {
        match self {
            Self::ReadTool | Self::ReadResource | Self::GetPrompt | Self::Complete | Self::List => {
                true
            }
            Self::WriteTool | Self::SendTool | Self::ExecuteTool | Self::Connect => false,
        }
    }

    /// Says whether data of the task leaves the organisation with such an act.
    pub(crate) const fn leaves(self) -> bool {
        matches!(self, Self::SendTool | Self::ExecuteTool)
    }
}
