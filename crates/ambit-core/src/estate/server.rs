//! Servers and their tools, as their owner accepted them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Digest, Labels, ServerName, ToolName, json::Value};

/// An upstream with tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Its name; the gateway's route carries it.
    pub name: ServerName,
    /// The alias of the person answerable for it.
    pub owner: String,
    /// Where it lives, such as `production`.
    pub environment: String,
    /// How the gateway reaches it.
    pub transport: Transport,
    /// The tools that its owner accepted, by name.
    pub tools: BTreeMap<ToolName, Tool>,
    /// The labels of what its resources and prompts may return.
    pub content_labels: Labels,
    /// Whose words its resources and prompts are.
    pub content_trust: Trust,
}

/// How the gateway reaches a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Transport {
    /// MCP over Streamable HTTP.
    Http {
        /// Where it listens, such as `http://127.0.0.1:8931/mcp`.
        url: String,
        /// The credential that the gateway injects; the agent never sees it.
        credential: Option<CredentialUse>,
    },
    /// MCP over standard input and output, one sandboxed process per task.
    Stdio {
        /// The program and its arguments, from the estate only, never from parameters.
        command: Vec<String>,
        /// Variables of its otherwise empty environment. No secrets here.
        environment: BTreeMap<String, String>,
        /// What of the machine's files it sees.
        mounts: Vec<Mount>,
        /// What of the network it reaches.
        network: StdioNetwork,
        /// How much of the machine it may take.
        limits: StdioLimits,
    },
}

/// How much of the machine one process tree of a stdio server may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StdioLimits {
    /// The most memory that each of its processes may write to, and the most that its temporary files may hold, in MiB.
    pub memory_mib: u32,
    /// The most processes and threads at once.
    pub processes: u32,
    /// The most files that each of its processes may hold open.
    pub open_files: u32,
}

impl StdioLimits {
    /// What a server gets whose file says nothing: enough for ordinary servers in Node.js, Python and Git.
    pub const USUAL: Self = Self {
        memory_mib: 1024,
        processes: 256,
        open_files: 1024,
    };
}

/// How the gateway puts a sealed credential on a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CredentialUse {
    /// The name under which the secret is sealed.
    pub reference: String,
    /// Where on the request it goes.
    pub placement: CredentialPlacement,
}

/// Where on a request a credential goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CredentialPlacement {
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer,
    /// A header of this name with the secret as its whole value.
    Header(String),
}

/// A folder or file of the machine that a stdio server sees.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mount {
    /// The path on the machine, absolute, or relative to the estate's folder.
    pub source: String,
    /// The path inside the sandbox, absolute.
    pub target: String,
    /// What the server may do with it.
    pub access: MountAccess,
}

/// What a stdio server may do with a mount.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MountAccess {
    /// It may look.
    ReadOnly,
    /// It may change.
    ReadWrite,
}

/// What of the network a stdio server reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StdioNetwork {
    /// Nothing, not even the machine's loopback.
    None,
    /// Everything that the machine reaches.
    Host,
}

/// One operation of a server, as its owner accepted it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name, as the server spells it.
    pub name: ToolName,
    /// How it touches the world.
    pub mode: Mode,
    /// Whether what it does can be undone.
    pub effect: Effect,
    /// What each argument means for control. An unknown string argument of a sending tool is a destination.
    pub roles: BTreeMap<String, Role>,
    /// The labels of what it may return.
    pub result_labels: Labels,
    /// Whose words its results are.
    pub result_trust: Trust,
    /// The definition (MCP `Tool`: name, title, description, schemas, annotations) that the owner accepted.
    pub definition: Value,
    /// The digest over the canonical definition.
    pub pin: Digest,
}

/// How a tool touches the world. The four are never one scope.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Mode {
    /// It looks.
    Read,
    /// It changes something inside the organisation.
    Write,
    /// It lets something leave: mail, messages, payments, publications.
    Send,
    /// It makes something else run.
    Execute,
}

/// Whether what a tool does can be undone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// It changes nothing.
    None,
    /// It can be undone.
    Reversible,
    /// It can't be undone.
    Irreversible,
}

/// What an argument means for control.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Where something goes: addressees, hosts, accounts.
    Destination,
    /// Which thing is touched.
    Selector,
    /// How much.
    Amount,
    /// A secret value.
    Secret,
    /// Free text that is stored or sent.
    Content,
    /// Something that will be run.
    Command,
}

/// Whose words something is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Trust {
    /// Anybody's: it may carry an attack.
    ThirdParty,
    /// The organisation's own records.
    OwnerRecord,
}

impl Tool {
    /// Returns the members of the definition that the pin covers, all of them: whatever a model may read is pinned.
    pub fn pin_of(definition: &Value) -> Digest {
        Digest::of(definition.to_canonical().as_bytes())
    }
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Send, Self::Execute];

    /// Returns the word that the files use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Send => "send",
            Self::Execute => "execute",
        }
    }
}

impl Effect {
    /// Returns the word that the files use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Reversible => "reversible",
            Self::Irreversible => "irreversible",
        }
    }
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Destination,
        Self::Selector,
        Self::Amount,
        Self::Secret,
        Self::Content,
        Self::Command,
    ];

    /// Returns the word that the files use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Destination => "dest",
            Self::Selector => "sel",
            Self::Amount => "amt",
            Self::Secret => "secret",
            Self::Content => "content",
            Self::Command => "command",
        }
    }
}

impl Trust {
    /// Returns the word that the files use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ThirdParty => "third_party",
            Self::OwnerRecord => "owner_record",
        }
    }
}

impl Server {
    /// Returns the names of the tools that look and change nothing.
    pub fn reading_tools(&self) -> BTreeSet<&ToolName> {
        self.tools
            .values()
            .filter(|it| it.mode == Mode::Read)
            .map(|it| &it.name)
            .collect()
    }
}
