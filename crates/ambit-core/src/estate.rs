//! The estate: everything that an organisation declared, as values that were checked once.
//!
//! The files are read and checked by `ambit-control`; nothing here knows TOML.

pub mod claim_rules;
mod client;
mod federation;
mod issuer;
mod server;
mod template;
mod workload;

use std::collections::{BTreeMap, BTreeSet};

pub use self::{
    client::{Client, ClientKeys},
    federation::{BundleSource, Federation, SvidRegistration},
    issuer::{Issuer, IssuerKeys, TokenRegistration},
    server::{
        CredentialPlacement, CredentialUse, Effect, Mode, Mount, MountAccess, Role, Server,
        StdioLimits, StdioNetwork, Tool, Transport, Trust,
    },
    template::{
        Approver, ArgumentPath, Bound, Constraint, Containment, Delegable, LeastBinding, Parameter,
        ParameterKind, Prefix, Starters, Template, ToolGrant,
    },
    workload::{Admits, Workload},
};
use crate::{
    AgentName, ClientName, Digest, FederationName, GroupName, IssuerName, ServerName, TemplateName,
    ToolName,
};

/// What exists and what may be, as one version.
#[derive(Clone, Debug)]
pub struct Estate {
    /// Digest over the canonical form of all files: names this version.
    pub digest: Digest,
    /// The agents by name.
    pub agents: BTreeMap<AgentName, Agent>,
    /// The clients of the authorization server by name.
    pub clients: BTreeMap<ClientName, Client>,
    /// The foreign trust domains by name.
    pub federations: BTreeMap<FederationName, Federation>,
    /// The issuers of workload tokens by name.
    pub issuers: BTreeMap<IssuerName, Issuer>,
    /// The servers by name.
    pub servers: BTreeMap<ServerName, Server>,
    /// The templates by name.
    pub templates: BTreeMap<TemplateName, Template>,
    /// The people who may do more than nothing, by the alias that the files use for them.
    pub people: BTreeMap<String, Person>,
    /// The tenant's own policies on agents' acts: file name and Cedar text, in order.
    pub policies: Vec<PolicyFile>,
    /// The tenant's own policies on what people do to Ambit, in order.
    pub people_policies: Vec<PolicyFile>,
    /// Whether access tokens that are bound to no key are taken.
    pub bearer_tokens: BearerTokens,
}

/// Whether access tokens that are bound to no key are taken. Templates say for what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BearerTokens {
    /// They are not.
    Refused,
    /// They are, where a template does with them.
    Taken,
}

/// A workload with an owner and a purpose.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Agent {
    /// Its name; the instances' SPIFFE IDs carry it.
    pub name: AgentName,
    /// The alias of the person answerable for it.
    pub owner: String,
    /// What it is for, in words.
    pub purpose: String,
    /// How much harm it could do.
    pub risk: Risk,
    /// Where it lives, such as `production`. It acts only upon servers of the same environment.
    pub environment: String,
    /// The day (`YYYY-MM-DD`) by which its owner looks at it again.
    pub review_by: String,
    /// The kinds of task it may run.
    pub templates: BTreeSet<TemplateName>,
    /// The kinds of task of which it may take a delegated part.
    pub parts_of: BTreeSet<TemplateName>,
    /// The hosts it may reach for its model, through the CONNECT door.
    pub model_endpoints: BTreeSet<Endpoint>,
    /// The processes of this machine that are runs of it: one that fits any of these is.
    pub workloads: Vec<Workload>,
    /// The workload tokens that are runs of it: one that fits any of these is.
    pub tokens: Vec<TokenRegistration>,
    /// The workloads of foreign trust domains that are runs of it: one that fits any of these is.
    pub svids: Vec<SvidRegistration>,
    /// The foreign trust domains whose bundles the Workload API gives it, so that it knows their workloads. That makes none
    /// of them a run of anything here.
    pub federates_with: BTreeSet<FederationName>,
}

/// How much harm an agent could do, in the words of its owner.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Risk {
    /// Mistakes are cheap.
    Low,
    /// Mistakes cost work.
    Medium,
    /// Mistakes cost money, trust or data.
    High,
    /// Mistakes may be beyond repair.
    Critical,
}

/// A host and port, such as `api.example.com:443`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    /// The host's name in lowercase, or its address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// A person whom the estate names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Person {
    /// The alias that the files use.
    pub alias: String,
    /// The local user (uid) that proves to be this person on the control socket.
    pub unix_uid: Option<u32>,
    /// The name by which a provider knows the person who signs in on the public port.
    pub oidc: Option<OidcSubject>,
    /// What the person may do.
    pub roles: BTreeSet<PersonRole>,
    /// The names by which the tenant's policies mean the person among others. They give nothing.
    pub groups: BTreeSet<GroupName>,
}

/// Whom an OpenID provider means: its own name, and its name for one person (OpenID Connect Core §2).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct OidcSubject {
    /// The provider's `issuer`, byte for byte.
    pub issuer: String,
    /// Its `sub` for the person, byte for byte. Never an address or a name that can move on.
    pub subject: String,
}

/// What a person may do in Ambit. What each role allows is policy, not code.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PersonRole {
    /// Starts tasks.
    Starter,
    /// Says yes or no to held acts.
    Approver,
    /// Ends things: tasks, instances, agents, people, servers.
    Operator,
    /// Reads everything and changes nothing.
    Auditor,
    /// Applies the estate.
    Administrator,
}

/// One file of the tenant's policies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyFile {
    /// The path inside the estate, such as `policies/guardrails.cedar`.
    pub path: String,
    /// The Cedar text.
    pub text: String,
}

impl Estate {
    /// Returns the tool that `server` offers as `tool`, when the registry has it.
    pub fn tool(&self, server: &ServerName, tool: &ToolName) -> Option<&Tool> {
        self.servers.get(server)?.tools.get(tool)
    }

    /// Says whether the person is the owner of any agent, template or server.
    pub fn owned_by(&self, alias: &str) -> Owned {
        let agents = self.agents.values().map(|it| &it.owner);
        let templates = self.templates.values().map(|it| &it.owner);
        let servers = self.servers.values().map(|it| &it.owner);
        match agents.chain(templates).chain(servers).any(|it| it == alias) {
            true => Owned::Something,
            false => Owned::Nothing,
        }
    }
}

/// Whether somebody owns anything of an estate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owned {
    /// An agent, a template or a server at least.
    Something,
    /// Nothing.
    Nothing,
}

impl Risk {
    /// Returns the word that the files use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl PersonRole {
    /// Every role.
    pub const ALL: [Self; 5] = [
        Self::Starter,
        Self::Approver,
        Self::Operator,
        Self::Auditor,
        Self::Administrator,
    ];

    /// Returns the word that the files use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starter => "starter",
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Administrator => "administrator",
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
