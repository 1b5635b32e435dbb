//! Acts: what an agent or a person wants done, in the one form in which it is decided, shown, digested and forwarded.

use crate::{
    AgentName, ApprovalId, DecisionId, Digest, InstanceId, LoginId, PasskeyId, PersonId,
    ServerName, TaskId, TemplateName, ToolName, estate::Mode, json::Value, record::KeyStep,
};

/// What an agent wants done at a server.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// MCP `tools/call`.
    CallTool {
        /// Where.
        server: ServerName,
        /// Which tool.
        tool: ToolName,
        /// The arguments, an object.
        arguments: Value,
    },
    /// MCP `resources/read`.
    ReadResource {
        /// Where.
        server: ServerName,
        /// Which resource.
        uri: String,
    },
    /// MCP `prompts/get`.
    GetPrompt {
        /// Where.
        server: ServerName,
        /// Which prompt.
        prompt: String,
        /// The arguments, an object.
        arguments: Value,
    },
    /// MCP `completion/complete`.
    Complete {
        /// Where.
        server: ServerName,
        /// The method's parameters `ref`, `argument` and `context`, an object.
        parameters: Value,
    },
    /// MCP `resources/list`, `resources/templates/list` or `prompts/list`.
    List {
        /// Where.
        server: ServerName,
        /// What is listed.
        what: Listing,
    },
    /// An HTTP CONNECT to a declared model endpoint.
    Connect {
        /// The host's name in lowercase, or its address.
        host: String,
        /// The TCP port.
        port: u16,
    },
}

/// What an MCP listing lists.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Listing {
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    ResourceTemplates,
    /// `prompts/list`.
    Prompts,
}

/// What a person wants done to Ambit.
#[derive(Clone, Debug, PartialEq)]
pub enum Governance {
    /// Start a task.
    StartTask {
        /// From which template.
        template: TemplateName,
        /// For which agent.
        agent: AgentName,
    },
    /// End a task as completed or cancelled.
    EndTask {
        /// Which.
        task: TaskId,
    },
    /// Say yes or no to a held act.
    DecideApproval {
        /// Which.
        approval: ApprovalId,
    },
    /// Take authority away.
    Revoke {
        /// From what.
        target: Target,
    },
    /// Lift a ban, for what begins from then on.
    Reinstate {
        /// Of what.
        target: Target,
    },
    /// Put another version of the estate in force.
    ApplyEstate {
        /// Which.
        estate: Digest,
    },
    /// Seal a credential for the gateway to inject.
    SealCredential {
        /// Under which name.
        reference: String,
    },
    /// Ask a running server for its tools, with its credential.
    InspectServer {
        /// Which.
        server: ServerName,
    },
    /// Take a step in the rotation of the issuing keys.
    RotateKeys {
        /// Which.
        step: KeyStep,
    },
    /// Let a command line act in the person's name for a while.
    OpenLogin,
    /// End a login before its time.
    EndLogin {
        /// Which.
        login: LoginId,
    },
    /// Let a person register a passkey.
    OfferEnrolment {
        /// By the estate's alias.
        alias: String,
    },
    /// Take a passkey from a person.
    RemovePasskey {
        /// Which.
        passkey: PasskeyId,
    },
    /// Read tasks, approvals, the log.
    Inspect,
    /// Open what stands sealed beside records: arguments, parameters, results.
    OpenSealed {
        /// Of which task; of none when nothing is sealed there.
        task: Option<TaskId>,
    },
    /// Say of an act whose outcome nobody knows whether it happened.
    SettleAct {
        /// The decision that permitted it.
        decision: DecisionId,
    },
}

/// What authority can be taken away from.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Target {
    /// One task.
    Task(TaskId),
    /// One run of an agent.
    Instance(InstanceId),
    /// An agent: all its runs, and none again until it is reinstated.
    Agent(AgentName),
    /// A person: every task on their behalf.
    Person(PersonId),
    /// A server: every act upon it.
    Server(ServerName),
}

impl Act {
    /// Returns the word for the action in records, policies and messages.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::CallTool { .. } => "call_tool",
            Self::ReadResource { .. } => "read_resource",
            Self::GetPrompt { .. } => "get_prompt",
            Self::Complete { .. } => "complete",
            Self::List { .. } => "list",
            Self::Connect { .. } => "connect",
        }
    }

    /// Returns the server that it touches, when it touches one.
    pub const fn server(&self) -> Option<&ServerName> {
        match self {
            Self::CallTool { server, .. }
            | Self::ReadResource { server, .. }
            | Self::GetPrompt { server, .. }
            | Self::Complete { server, .. }
            | Self::List { server, .. } => Some(server),
            Self::Connect { .. } => None,
        }
    }

    /// Returns the tool that it calls, when it calls one.
    pub const fn tool(&self) -> Option<&ToolName> {
        match self {
            Self::CallTool { tool, .. } => Some(tool),
            Self::ReadResource { .. }
            | Self::GetPrompt { .. }
            | Self::Complete { .. }
            | Self::List { .. }
            | Self::Connect { .. } => None,
        }
    }

    /// Returns how it touches the world; a tool's own mode comes from the registry.
    pub const fn mode_without_tool(&self) -> Mode {
        match self {
            Self::Connect { .. } => Mode::Send,
            Self::CallTool { .. } => Mode::Execute,
            Self::ReadResource { .. }
            | Self::GetPrompt { .. }
            | Self::Complete { .. }
            | Self::List { .. } => Mode::Read,
        }
    }

    /// Returns the one form in which the act is digested and shown: every member, nothing cut.
    pub fn to_value(&self) -> Value {
        let action = ("action", Value::from(self.action()));
        match self {
            Self::CallTool {
                server,
                tool,
                arguments,
            } => Value::object([
                action,
                ("server", server.as_str().into()),
                ("tool", tool.as_str().into()),
                ("arguments", arguments.clone()),
            ]),
            Self::ReadResource { server, uri } => Value::object([
                action,
                ("server", server.as_str().into()),
                ("uri", uri.as_str().into()),
            ]),
            Self::GetPrompt {
                server,
                prompt,
                arguments,
            } => Value::object([
                action,
                ("server", server.as_str().into()),
                ("prompt", prompt.as_str().into()),
                ("arguments", arguments.clone()),
            ]),
            Self::Complete { server, parameters } => Value::object([
                action,
                ("server", server.as_str().into()),
                ("parameters", parameters.clone()),
            ]),
            Self::List { server, what } => Value::object([
                action,
                ("server", server.as_str().into()),
                ("what", what.as_str().into()),
            ]),
            Self::Connect { host, port } => Value::object([
                action,
                ("host", host.as_str().into()),
                ("port", u64::from(*port).into()),
            ]),
        }
    }
}

impl Listing {
    /// Returns the MCP method's first word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::ResourceTemplates => "resource_templates",
            Self::Prompts => "prompts",
        }
    }
}

impl Governance {
    /// Returns the word for the action in records, policies and messages.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::StartTask { .. } => "start_task",
            Self::EndTask { .. } => "end_task",
            Self::DecideApproval { .. } => "decide_approval",
            Self::Revoke { .. } => "revoke",
            Self::Reinstate { .. } => "reinstate",
            Self::ApplyEstate { .. } => "apply_estate",
            Self::SealCredential { .. } => "seal_credential",
            Self::InspectServer { .. } => "inspect_server",
            Self::RotateKeys { .. } => "rotate_keys",
            Self::OpenLogin => "open_login",
            Self::EndLogin { .. } => "end_login",
            Self::OfferEnrolment { .. } => "offer_enrolment",
            Self::RemovePasskey { .. } => "remove_passkey",
            Self::Inspect => "inspect",
            Self::OpenSealed { .. } => "open_sealed",
            Self::SettleAct { .. } => "settle_act",
        }
    }
}

/// Writes `task task_…`, `agent NAME` and so on.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Task(id) => write!(f, "task {id}"),
            Self::Instance(id) => write!(f, "instance {id}"),
            Self::Agent(name) => write!(f, "agent {name}"),
            Self::Person(id) => write!(f, "person {id}"),
            Self::Server(name) => write!(f, "server {name}"),
        }
    }
}
