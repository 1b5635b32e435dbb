//! A small estate, made in code: a clerk that answers tickets.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    Digest, Labels, Millis, ServerName, TemplateName, ToolName,
    estate::{
        Agent, Approver, ArgumentPath, BearerTokens, Bound, Constraint, Containment, Delegable,
        Effect, Estate, LeastBinding, Mode, Parameter, ParameterKind, Person, PersonRole,
        PolicyFile, Risk, Role, Server, Starters, Template, Tool, ToolGrant, Transport, Trust,
    },
    json::{self, Value},
};

/// Returns an estate with the agent `clerk`, the server `tickets` and the template `answer`.
///
/// Its tools: `get_ticket` (read, label `customer`), `close_ticket` (write, own ticket only), `send_reply`
/// (send, to the customer only), `refund` (write, held, at most 5000), `delete_ticket` (write, not granted).
/// Its people: `ana` (uid 1001) has every role, `ben` (1002) approves, `eve` (1003) has none. An approval wants
/// another person than the starter. `policies` are the tenant's own.
pub fn office(policies: &[(&str, &str)]) -> Estate {
    let server = tickets();
    let template = answer(&server.name);
    let agent = Agent {
        name: name("clerk"),
        owner: "ana".to_owned(),
        purpose: "answers tickets".to_owned(),
        risk: Risk::Medium,
        environment: "production".to_owned(),
        review_by: "2027-06-30".to_owned(),
        templates: BTreeSet::from([template.name.clone()]),
        parts_of: BTreeSet::new(),
        model_endpoints: BTreeSet::new(),
        workloads: Vec::new(),
        tokens: Vec::new(),
        svids: Vec::new(),
        federates_with: BTreeSet::new(),
    };
    let policies: Vec<_> = policies
        .iter()
        .map(|(path, text)| PolicyFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        })
        .collect();
    let digest = Digest::of(format!("{policies:?}").as_bytes());
    Estate {
        digest,
        agents: BTreeMap::from([(agent.name.clone(), agent)]),
        clients: BTreeMap::new(),
        federations: BTreeMap::new(),
        issuers: BTreeMap::new(),
        servers: BTreeMap::from([(server.name.clone(), server)]),
        templates: BTreeMap::from([(template.name.clone(), template)]),
        people: BTreeMap::from([
            person("ana", 1001, &PersonRole::ALL),
            person("ben", 1002, &[PersonRole::Approver]),
            person("eve", 1003, &[]),
        ]),
        policies,
        people_policies: Vec::new(),
        bearer_tokens: BearerTokens::Refused,
    }
}

/// Returns the estate of [`office`] whose template lets parts be delegated, `depth_max` hops deep, to the agents
/// `helper` and `archivist`, which may have no such task of their own, and to `clerk`.
pub fn delegating_office(depth_max: u8, policies: &[(&str, &str)]) -> Estate {
    let mut estate = office(policies);
    let template: TemplateName = name("answer");
    let clerk = estate.agents.values().next().expect("the clerk").clone();
    let mut agents = BTreeSet::new();
    for text in ["clerk", "helper", "archivist"] {
        let mut agent = clerk.clone();
        agent.name = name(text);
        agent.parts_of = BTreeSet::from([template.clone()]);
        if text != "clerk" {
            agent.templates = BTreeSet::new();
        }
        agents.insert(agent.name.clone());
        estate.agents.insert(agent.name.clone(), agent);
    }
    if let Some(template) = estate.templates.get_mut(&template) {
        template.delegation = Delegable::To { agents, depth_max };
    }
    estate.digest = Digest::of(format!("{depth_max} {policies:?}").as_bytes());
    estate
}

fn tickets() -> Server {
    let customer = || labels(&["customer"]);
    let tools = [
        tool(
            "get_ticket",
            Mode::Read,
            customer(),
            &[("id", "string", Role::Selector)],
        ),
        tool(
            "close_ticket",
            Mode::Write,
            Labels::none(),
            &[("id", "string", Role::Selector)],
        ),
        tool(
            "delete_ticket",
            Mode::Write,
            Labels::none(),
            &[("id", "string", Role::Selector)],
        ),
        tool(
            "send_reply",
            Mode::Send,
            Labels::none(),
            &[
                ("to", "string", Role::Destination),
                ("body", "string", Role::Content),
            ],
        ),
        tool(
            "refund",
            Mode::Write,
            Labels::none(),
            &[
                ("id", "string", Role::Selector),
                ("cents", "integer", Role::Amount),
            ],
        ),
    ];
    Server {
        name: name("tickets"),
        owner: "ana".to_owned(),
        environment: "production".to_owned(),
        transport: Transport::Http {
            url: "http://127.0.0.1:1/mcp".to_owned(),
            credential: None,
        },
        tools: tools.into_iter().map(|it| (it.name.clone(), it)).collect(),
        content_labels: customer(),
        content_trust: Trust::ThirdParty,
    }
}

fn answer(server: &ServerName) -> Template {
    let own = || Constraint::EqualsParameter("ticket".to_owned());
    let grant = |arguments: &[(&str, Constraint)], approval| ToolGrant {
        arguments: arguments
            .iter()
            .map(|(path, it)| (ArgumentPath::parse(path), it.clone()))
            .collect(),
        calls_max: Some(2),
        approval,
    };
    let to_customer = Constraint::EqualsParameter("customer".to_owned());
    let few = Constraint::Between {
        min: Some(1.0),
        max: Some(5000.0),
    };
    let key = |tool: &str| {
        (
            server.clone(),
            tool.parse::<ToolName>().expect("a tool's name"),
        )
    };
    Template {
        name: name("answer"),
        version: 1,
        owner: "ana".to_owned(),
        purpose: "answer one ticket".to_owned(),
        parameters: BTreeMap::from([text("ticket"), text("customer")]),
        reads: BTreeSet::from([server.clone()]),
        tools: BTreeMap::from([
            (key("close_ticket"), grant(&[("id", own())], Bound::Free)),
            (
                key("send_reply"),
                grant(&[("to", to_customer)], Bound::Free),
            ),
            (
                key("refund"),
                grant(&[("id", own()), ("cents", few)], Bound::Held),
            ),
        ]),
        calls_max: 20,
        ttl: Millis::from_seconds(3600),
        may_emit: labels(&["customer"]),
        starters: Starters::AnyStarter,
        approver: Approver::AnotherPerson,
        containment: Containment::Optional,
        binding: LeastBinding::Dpop,
        delegation: Delegable::No,
    }
}

fn tool(text: &str, mode: Mode, result_labels: Labels, arguments: &[(&str, &str, Role)]) -> Tool {
    let properties: Vec<_> = arguments
        .iter()
        .map(|(name, kind, _)| format!("\"{name}\":{{\"type\":\"{kind}\"}}"))
        .collect();
    let required: Vec<_> = arguments
        .iter()
        .map(|(name, ..)| format!("\"{name}\""))
        .collect();
    let definition = format!(
        r#"{{"name":"{text}","description":"{text}","inputSchema":{{"type":"object","properties":{{{}}},"required":[{}],"additionalProperties":false}}}}"#,
        properties.join(","),
        required.join(","),
    );
    let definition = json::parse(definition.as_bytes()).expect("a definition");
    Tool {
        name: name(text),
        mode,
        effect: if mode == Mode::Read {
            Effect::None
        } else {
            Effect::Reversible
        },
        roles: arguments
            .iter()
            .map(|(name, _, role)| ((*name).to_owned(), *role))
            .collect(),
        result_labels,
        result_trust: Trust::ThirdParty,
        pin: Tool::pin_of(&definition),
        definition,
    }
}

fn text(name: &str) -> (String, Parameter) {
    let kind = ParameterKind::Text {
        bytes_max: 200,
        one_of: Vec::new(),
    };
    (
        name.to_owned(),
        Parameter {
            description: name.to_owned(),
            kind,
            default: None::<Value>,
        },
    )
}

fn person(alias: &str, uid: u32, roles: &[PersonRole]) -> (String, Person) {
    let roles = roles.iter().copied().collect();
    (
        alias.to_owned(),
        Person {
            alias: alias.to_owned(),
            unix_uid: Some(uid),
            oidc: None,
            roles,
            groups: BTreeSet::new(),
        },
    )
}

fn labels(texts: &[&str]) -> Labels {
    Labels::new(texts.iter().map(|it| it.parse().expect("a label"))).expect("few labels")
}

fn name<K: ambit_core::name::Named>(text: &str) -> ambit_core::name::Name<K> {
    text.parse().expect("a name")
}
