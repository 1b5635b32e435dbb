//! Templates: the most that a kind of task may ask for, written by an owner.

use std::collections::{BTreeMap, BTreeSet};

use crate::{AgentName, Labels, Millis, ServerName, TemplateName, ToolName, json::Value};

/// The most that a kind of task may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Its name.
    pub name: TemplateName,
    /// Its version; the owner raises it with every change of meaning.
    pub version: u32,
    /// The alias of the person answerable for it.
    pub owner: String,
    /// What such a task is for, in words.
    pub purpose: String,
    /// The typed parameters: the owner's words.
    pub parameters: BTreeMap<String, Parameter>,
    /// The servers whose reading tools, resources and prompts are free for the task.
    pub reads: BTreeSet<ServerName>,
    /// The tools with side effects, named one by one, and narrower bounds for reading tools.
    pub tools: BTreeMap<(ServerName, ToolName), ToolGrant>,
    /// The most calls in all.
    pub calls_max: u32,
    /// How long a task lives.
    pub ttl: Millis,
    /// The labels of data that may leave with the task.
    pub may_emit: Labels,
    /// Who may start such a task.
    pub starters: Starters,
    /// Who may approve its held acts.
    pub approver: Approver,
    /// Whether the agent must run contained.
    pub containment: Containment,
    /// The weakest proof with which the agent may act.
    pub binding: LeastBinding,
    /// Whether parts of such a task may be delegated, and to whom.
    pub delegation: Delegable,
}

/// The weakest proof with which an agent may act within a task: each one takes those before it too.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum LeastBinding {
    /// Mutual TLS, with an SVID or with a token that is bound to the certificate.
    Mtls,
    /// A token that is bound to a key (DPoP).
    Dpop,
    /// A token that is bound to no key, to read; and by DPoP whatever else the template gives.
    BearerToRead,
    /// A token that is bound to no key, for all that the template gives.
    BearerToAct,
}

/// Whether parts of a task may be delegated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delegable {
    /// They may not.
    No,
    /// They may, to these agents.
    To {
        /// The agents that may take a part.
        agents: BTreeSet<AgentName>,
        /// The most hops below the task that a person started; 1 to
        /// [`crate::limits::DELEGATION_DEPTH_MAX`].
        depth_max: u8,
    },
}

/// A value that the person who starts the task gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// What it is for, in words.
    pub description: String,
    /// What values it takes.
    pub kind: ParameterKind,
    /// The value when none is given; without one the parameter must be given.
    pub default: Option<Value>,
}

/// What values a parameter takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ParameterKind {
    /// A text of at most so many bytes; when `one_of` is not empty, one of these.
    Text {
        /// The longest text, in bytes.
        bytes_max: usize,
        /// The only texts taken, when not empty.
        one_of: Vec<String>,
    },
    /// A whole number between the bounds, both included.
    Integer {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// True or false.
    Boolean,
    /// An absolute path or `https` URL that stays under a prefix after parsing.
    Under {
        /// The prefix.
        prefix: String,
    },
}

/// Leave to use one tool within bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolGrant {
    /// What each argument must keep, by its path in the arguments.
    pub arguments: BTreeMap<ArgumentPath, Constraint>,
    /// The most calls of this tool; none means only the task's own maximum counts.
    pub calls_max: Option<u32>,
    /// Whether a human must say yes to each call.
    pub approval: Bound,
}

/// Whether a human must say yes to each call of a tool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bound {
    /// Within the constraints it goes through.
    Free,
    /// Each call is held until a human says yes.
    Held,
}

/// A path into the arguments: member names joined by `.`; `[]` means every item of a list.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ArgumentPath(pub Vec<String>);

/// What an argument must keep. A missing argument breaks every constraint but [`Constraint::Absent`].
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    /// It equals the task's parameter of this name.
    EqualsParameter(String),
    /// It is one of these values.
    OneOf(Vec<Value>),
    /// It is a number between the bounds, both included.
    Between {
        /// The least, when there is one.
        min: Option<f64>,
        /// The most, when there is one.
        max: Option<f64>,
    },
    /// It is a path that, parsed, stays under the prefix.
    PathUnder(Prefix),
    /// It is a URL that, parsed, stays under the prefix.
    UrlUnder(Prefix),
    /// It is a text of at most so many bytes.
    BytesMax(usize),
    /// It is not there.
    Absent,
}

/// The prefix of a constraint: written in the template, or the task's parameter of this name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Prefix {
    /// Written in the template.
    Literal(String),
    /// The task's parameter of this name.
    Parameter(String),
}

/// Who may start such a task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Starters {
    /// Every person with the role of a starter.
    AnyStarter,
    /// Only these aliases.
    Only(BTreeSet<String>),
}

/// Who may approve held acts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Approver {
    /// Any person with the role of an approver.
    Anyone,
    /// A person with the role of an approver who is not the one who started the task.
    AnotherPerson,
}

/// Whether the agent must run where it can't leave the path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Containment {
    /// It must.
    Required,
    /// It may run without; the record says so.
    Optional,
}

impl Delegable {
    /// Returns the most hops below the task that a person started; zero when nothing may be delegated.
    pub const fn depth_max(&self) -> u8 {
        match self {
            Self::No => 0,
            Self::To { depth_max, .. } => *depth_max,
        }
    }

    /// Returns the agents that may take a part, by name.
    pub fn agents(&self) -> impl Iterator<Item = &AgentName> {
        let agents = match self {
            Self::No => None,
            Self::To { agents, .. } => Some(agents),
        };
        agents.into_iter().flatten()
    }
}

impl ArgumentPath {
    /// Reads `a.b[].c` as the path of member `c` of every item of member `b` of member `a`.
    pub fn parse(text: &str) -> Self {
        Self(
            text.replace("[]", ".[]")
                .split('.')
                .map(str::to_owned)
                .collect(),
        )
    }
}

impl std::fmt::Display for ArgumentPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(".").replace(".[]", "[]"))
    }
}
