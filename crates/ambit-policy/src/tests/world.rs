//! One small estate and one task in it, for every test to bend.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ambit_core::{
    AgentName, ApprovalId, DecisionId, Digest, InstanceId, Label, Labels, Millis, PersonId,
    ServerName, TaskId, TemplateName, Timestamp, ToolName, TrustDomain,
    act::Act,
    delegation::Lineage,
    estate::{
        Agent, Approver, ArgumentPath, BearerTokens, Bound, Constraint, Containment, Delegable,
        Effect, Endpoint, Estate, LeastBinding, Mode, Parameter, ParameterKind, PolicyFile, Prefix,
        Risk, Server, Starters, Template, Tool, ToolGrant, Transport, Trust,
    },
    json::{Value, parse},
    task::{Contained, Task, TaskState, Usage},
};

use crate::{ApprovalState, Decision, Epochs, Live, PolicyBook, Request, TaskScope, decide};

/// Everything that one decision is asked upon.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// The estate in which the task was started.
    pub(super) own: Estate,
    /// The estate in force, when it is another one.
    pub(super) current: Option<Estate>,
    pub(super) at: u64,
    pub(super) state: TaskState,
    pub(super) usage: Usage,
    pub(super) act: Act,
    pub(super) live: Live,
    pub(super) approval: ApprovalState,
    pub(super) contained: Contained,
    /// How the caller proved itself.
    pub(super) binding: &'static str,
}

pub(super) const STARTED: u64 = 1_000_000;
pub(super) const EXPIRES: u64 = 2_000_000;

impl World {
    pub(super) fn new() -> Self {
        Self {
            own: estate(),
            current: None,
            at: STARTED + 1,
            state: TaskState::Active,
            usage: Usage::nothing(),
            act: call("tickets", "get_ticket", r#"{"id":7}"#),
            live: Live::ALL,
            approval: ApprovalState::None,
            contained: Contained::Namespaces,
            binding: "mtls",
        }
    }

    pub(super) fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut world = Self::new();
        change(&mut world);
        world
    }

    /// Adds a tenant policy.
    pub(super) fn policy(&mut self, text: &str) {
        let path = format!("policies/{}.cedar", self.own.policies.len());
        let text = text.to_owned();
        self.own.policies.push(PolicyFile { path, text });
    }

    /// Returns the template in the task's own estate.
    pub(super) fn template(&mut self) -> &mut Template {
        let name = "answer".parse::<TemplateName>().unwrap();
        self.own.templates.get_mut(&name).unwrap()
    }

    /// Bends the estate in force.
    pub(super) fn later(&mut self, change: impl FnOnce(&mut Estate)) {
        let mut later = self.own.clone();
        later.digest = Digest::of(b"later");
        change(&mut later);
        self.current = Some(later);
    }

    pub(super) fn task(&self) -> Task {
        let agent: AgentName = "triage".parse().unwrap();
        let instance = InstanceId::from_bits(3);
        let domain: TrustDomain = "example.org".parse().unwrap();
        Task {
            id: TaskId::from_bits(1),
            template: "answer".parse().unwrap(),
            template_version: 1,
            estate: self.own.digest,
            spiffe_id: domain.instance(&agent, instance),
            agent,
            instance,
            subject: PersonId::from_bits(4),
            parameters: BTreeMap::from([
                ("ticket".to_owned(), Value::Integer(1042)),
                ("customer".to_owned(), "maria@example.com".into()),
                ("folder".to_owned(), "/srv/docs/1042".into()),
            ]),
            authority: Digest::of(b"authority"),
            started_at: Timestamp::from_millis(STARTED),
            expires_at: Timestamp::from_millis(EXPIRES),
            contained: self.contained,
            lineage: Lineage::Root,
        }
    }

    /// Gives `look` everything compiled.
    pub(super) fn ask<T>(&self, look: impl FnOnce(Asked<'_>) -> T) -> T {
        let own = compile(&self.own);
        let current = self.current.as_ref().map(compile);
        let book = current.as_ref().unwrap_or(&own);
        let task = self.task();
        let scope = TaskScope::new(&own, book, &task).unwrap();
        look(Asked {
            world: self,
            book,
            task: &task,
            scope: &scope,
        })
    }

    pub(super) fn decide(&self) -> Decision {
        self.ask(|it| decide(it.request()))
    }
}

/// A world, compiled.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) world: &'a World,
    pub(super) book: &'a PolicyBook,
    pub(super) task: &'a Task,
    pub(super) scope: &'a TaskScope,
}

impl<'a> Asked<'a> {
    pub(super) fn request(self) -> Request<'a> {
        Request {
            decision: DecisionId::from_bits(5),
            at: Timestamp::from_millis(self.world.at),
            book: self.book,
            task: self.task,
            scope: self.scope,
            state: self.world.state,
            usage: &self.world.usage,
            act: self.world.act.clone(),
            sealed: None,
            live: self.world.live,
            approval: self.world.approval,
            fresh_approval: ApprovalId::from_bits(6),
            binding: self.world.binding,
            epochs: Epochs::default(),
            above: &[],
        }
    }
}

/// Returns `allow`, or `hold` or `deny` with the reason's code.
pub(super) fn told(decision: &Decision) -> String {
    match decision {
        Decision::Allow(_) => "allow".to_owned(),
        Decision::Hold(it) => format!("hold {}", it.reason()),
        Decision::Deny(it) => format!("deny {}", it.reason()),
    }
}

pub(super) fn compile(estate: &Estate) -> PolicyBook {
    PolicyBook::compile(Arc::new(estate.clone())).unwrap()
}

pub(super) fn server(name: &str) -> ServerName {
    name.parse().unwrap()
}

pub(super) fn tool(name: &str) -> ToolName {
    name.parse().unwrap()
}

pub(super) fn call(at: &str, name: &str, arguments: &str) -> Act {
    Act::CallTool {
        server: server(at),
        tool: tool(name),
        arguments: json(arguments),
    }
}

pub(super) fn json(text: &str) -> Value {
    parse(text.as_bytes()).unwrap()
}

pub(super) fn labels(names: &[&str]) -> Labels {
    Labels::new(names.iter().map(|it| it.parse::<Label>().unwrap())).unwrap()
}

pub(super) fn approval(bits: u128) -> ApprovalId {
    ApprovalId::from_bits(bits)
}

fn estate() -> Estate {
    let any = r#"{"type":"object"}"#;
    let servers = [
        upstream(
            "tickets",
            "production",
            &["customer"],
            vec![
                operation("get_ticket", Mode::Read, &["customer"], GET_TICKET),
                operation("close_ticket", Mode::Write, &[], any),
                operation("refund", Mode::Execute, &[], any),
                operation("export_all", Mode::Send, &[], any),
            ],
        ),
        upstream(
            "mail",
            "production",
            &["mail"],
            vec![
                operation("send_reply", Mode::Send, &[], any),
                operation("list_inbox", Mode::Read, &["mail"], any),
                operation("read_mail", Mode::Read, &["mail"], any),
            ],
        ),
        upstream(
            "files",
            "production",
            &[],
            vec![
                operation("write_file", Mode::Write, &[], any),
                operation("fetch", Mode::Read, &["web"], any),
            ],
        ),
        upstream(
            "staging",
            "staging",
            &[],
            vec![operation("look", Mode::Read, &[], any)],
        ),
        upstream(
            "vault",
            "production",
            &["secret"],
            vec![operation("read_secret", Mode::Read, &["secret"], any)],
        ),
    ];
    Estate {
        clients: BTreeMap::new(),
        federations: BTreeMap::new(),
        issuers: BTreeMap::new(),
        digest: Digest::of(b"estate"),
        agents: [agent()].map(|it| (it.name.clone(), it)).into(),
        servers: servers.map(|it| (it.name.clone(), it)).into(),
        templates: [template()].map(|it| (it.name.clone(), it)).into(),
        people: BTreeMap::new(),
        policies: Vec::new(),
        people_policies: Vec::new(),
        bearer_tokens: BearerTokens::Refused,
    }
}

const GET_TICKET: &str = r##"{"type":"object","additionalProperties":false,"required":["id"],
    "properties":{"id":{"type":"integer","minimum":1},"tag":{"$ref":"#/$defs/tag"}},
    "$defs":{"tag":{"type":"string","pattern":"^[a-z]+$"}}}"##;

fn agent() -> Agent {
    Agent {
        name: "triage".parse().unwrap(),
        owner: "olivia".to_owned(),
        purpose: "Answers tickets.".to_owned(),
        risk: Risk::Medium,
        environment: "production".to_owned(),
        review_by: "2030-01-01".to_owned(),
        templates: BTreeSet::from(["answer".parse().unwrap()]),
        workloads: Vec::new(),
        parts_of: BTreeSet::new(),
        tokens: Vec::new(),
        svids: Vec::new(),
        federates_with: BTreeSet::new(),
        model_endpoints: BTreeSet::from([Endpoint {
            host: "model.example".to_owned(),
            port: 443,
        }]),
    }
}

fn template() -> Template {
    let equals = |name: &str| Constraint::EqualsParameter(name.to_owned());
    let folder = || Prefix::Parameter("folder".to_owned());
    let amount = Constraint::Between {
        min: Some(1.0),
        max: Some(50.0),
    };
    let web = Prefix::Literal("https://docs.example/public".to_owned());
    let inbox = Constraint::OneOf(vec!["support".into(), "sales".into()]);
    let tools = [
        grant("tickets", "close_ticket", vec![("id", equals("ticket"))]),
        grant("tickets", "refund", vec![("amount", amount)]),
        grant(
            "mail",
            "send_reply",
            vec![
                ("to[]", equals("customer")),
                ("cc", Constraint::Absent),
                ("body", Constraint::BytesMax(20)),
            ],
        ),
        grant("mail", "list_inbox", vec![("folder", inbox)]),
        grant(
            "files",
            "write_file",
            vec![("path", Constraint::PathUnder(folder()))],
        ),
        grant("files", "fetch", vec![("url", Constraint::UrlUnder(web))]),
    ];
    let mut tools: BTreeMap<_, _> = tools.into();
    let refund = tools.get_mut(&(server("tickets"), tool("refund"))).unwrap();
    refund.approval = Bound::Held;
    refund.calls_max = Some(2);
    Template {
        name: "answer".parse().unwrap(),
        version: 1,
        owner: "olivia".to_owned(),
        purpose: "Answer one ticket.".to_owned(),
        parameters: BTreeMap::from([
            parameter("ticket", ParameterKind::Integer { min: 1, max: 9999 }),
            parameter(
                "customer",
                ParameterKind::Text {
                    bytes_max: 40,
                    one_of: Vec::new(),
                },
            ),
            parameter(
                "folder",
                ParameterKind::Under {
                    prefix: "/srv/docs".to_owned(),
                },
            ),
        ]),
        reads: BTreeSet::from([server("tickets"), server("staging")]),
        tools,
        calls_max: 10,
        ttl: Millis::from_seconds(1000),
        may_emit: labels(&["customer"]),
        starters: Starters::AnyStarter,
        approver: Approver::AnotherPerson,
        containment: Containment::Required,
        binding: LeastBinding::Dpop,
        delegation: Delegable::No,
    }
}

fn parameter(name: &str, kind: ParameterKind) -> (String, Parameter) {
    let parameter = Parameter {
        description: format!("the {name}"),
        kind,
        default: None,
    };
    (name.to_owned(), parameter)
}

fn grant(
    at: &str,
    name: &str,
    arguments: Vec<(&str, Constraint)>,
) -> ((ServerName, ToolName), ToolGrant) {
    let arguments = arguments
        .into_iter()
        .map(|(path, constraint)| (ArgumentPath::parse(path), constraint));
    let grant = ToolGrant {
        arguments: arguments.collect(),
        calls_max: None,
        approval: Bound::Free,
    };
    ((server(at), tool(name)), grant)
}

fn upstream(name: &str, environment: &str, content: &[&str], tools: Vec<Tool>) -> Server {
    Server {
        name: server(name),
        owner: "olivia".to_owned(),
        environment: environment.to_owned(),
        transport: Transport::Http {
            url: "http://127.0.0.1:9/mcp".to_owned(),
            credential: None,
        },
        tools: tools.into_iter().map(|it| (it.name.clone(), it)).collect(),
        content_labels: labels(content),
        content_trust: Trust::ThirdParty,
    }
}

pub(super) fn operation(name: &str, mode: Mode, returns: &[&str], schema: &str) -> Tool {
    let definition = json(&format!(r#"{{"name":"{name}","inputSchema":{schema}}}"#));
    Tool {
        name: tool(name),
        mode,
        effect: if mode == Mode::Read {
            Effect::None
        } else {
            Effect::Irreversible
        },
        roles: BTreeMap::new(),
        result_labels: labels(returns),
        result_trust: Trust::ThirdParty,
        pin: Tool::pin_of(&definition),
        definition,
    }
}
