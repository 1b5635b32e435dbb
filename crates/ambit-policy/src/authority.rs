//! Authority in the form that leaves Ambit: authorization details (RFC 9396).

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    AgentName, ServerName, ToolName,
    estate::{
        Approver, BearerTokens, Bound, Constraint, Containment, Delegable, Estate, LeastBinding,
        Mode, Prefix, Template, ToolGrant,
    },
    json::Value,
};

use crate::facts::labels_to_value;

/// The `type` of every object of Ambit's authorization details (RFC 9396 §2).
pub const AUTHORIZATION_DETAIL_TYPE: &str = "ambit_task";

/// The members of the object that bounds a task as a whole.
pub(crate) const BOUNDS_OF_TASK: [&str; 13] = [
    "type",
    "template",
    "version",
    "purpose",
    "calls_max",
    "ttl_seconds",
    "may_emit",
    "containment",
    "form",
    "approver",
    "binding",
    "bearer",
    "delegation",
];

/// The members of the objects that bound what a task may do at one server.
pub(crate) const BOUNDS_OF_SERVER: [&str; 8] = [
    "type",
    "server",
    "mode",
    "actions",
    "datatypes",
    "constraints",
    "approval",
    "calls_max",
];

/// Returns the bounds of a task as authorization details (RFC 9396): what the person who starts it
/// agrees to, and what the task's authority digest names.
///
/// The first object holds what bounds the task as a whole; then one object for the free reads of each
/// server and one for each named tool. Parameters stand in constraints as their values. The same template,
/// estate and parameters always give the same value.
pub fn authorization_details(
    template: &Template,
    estate: &Estate,
    task_parameters: &BTreeMap<String, Value>,
) -> Value {
    details(template, estate, task_parameters, Form::Second)
}

/// Returns the bounds in the first form, which did not name who approves and how an agent must prove itself: tasks that
/// started under it have its digest.
pub fn authorization_details_in_first_form(
    template: &Template,
    estate: &Estate,
    task_parameters: &BTreeMap<String, Value>,
) -> Value {
    details(template, estate, task_parameters, Form::First)
}

/// How much of a template the first object names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// Neither who approves nor how an agent proves itself.
    First,
    /// Those, too.
    Second,
}

fn details(
    template: &Template,
    estate: &Estate,
    task_parameters: &BTreeMap<String, Value>,
    form: Form,
) -> Value {
    let mut details = vec![whole(template, estate, form)];
    for server in &template.reads {
        details.push(reads(template, estate, server));
    }
    for ((server, tool), grant) in &template.tools {
        details.push(named(estate, (server, tool), grant, task_parameters));
    }
    Value::Array(details)
}

fn whole(template: &Template, estate: &Estate, form: Form) -> Value {
    let containment = match template.containment {
        Containment::Required => "required",
        Containment::Optional => "optional",
    };
    let mut members = vec![
        ("type", AUTHORIZATION_DETAIL_TYPE.into()),
        ("template", template.name.as_str().into()),
        ("version", u64::from(template.version).into()),
        ("purpose", template.purpose.as_str().into()),
        ("calls_max", u64::from(template.calls_max).into()),
        ("ttl_seconds", (template.ttl.as_millis() / 1000).into()),
        ("may_emit", labels_to_value(&template.may_emit)),
        ("containment", containment.into()),
    ];
    if form == Form::Second {
        members.push(("form", 2u64.into()));
        members.extend(demands(template, estate));
    }
    if let Delegable::To { agents, depth_max } = &template.delegation {
        let delegation = [
            ("agents", agents.iter().map(AgentName::as_str).collect()),
            ("depth_max", u64::from(*depth_max).into()),
        ];
        members.push(("delegation", Value::object(delegation)));
    }
    Value::object(members)
}

/// Returns what the template asks of approvers and of the agent's proof.
fn demands(template: &Template, estate: &Estate) -> [(&'static str, Value); 3] {
    let approver = match template.approver {
        Approver::Anyone => "anyone",
        Approver::AnotherPerson => "another_person",
    };
    let binding = match template.binding {
        LeastBinding::Mtls => "mtls",
        LeastBinding::Dpop => "dpop",
        LeastBinding::BearerToRead | LeastBinding::BearerToAct => "bearer",
    };
    let bearer = match (estate.bearer_tokens, template.binding) {
        (BearerTokens::Refused, _) | (_, LeastBinding::Mtls | LeastBinding::Dpop) => "nothing",
        (BearerTokens::Taken, LeastBinding::BearerToRead) => "reads",
        (BearerTokens::Taken, LeastBinding::BearerToAct) => "acts",
    };
    [
        ("approver", approver.into()),
        ("binding", binding.into()),
        ("bearer", bearer.into()),
    ]
}

fn reads(template: &Template, estate: &Estate, server: &ServerName) -> Value {
    let all = estate.servers.get(server).map(|it| it.reading_tools());
    let free: BTreeSet<&ToolName> = all
        .unwrap_or_default()
        .into_iter()
        .filter(|it| {
            !template
                .tools
                .contains_key(&(server.clone(), (*it).clone()))
        })
        .collect();
    Value::object([
        ("type", AUTHORIZATION_DETAIL_TYPE.into()),
        ("server", server.as_str().into()),
        ("mode", Mode::Read.as_str().into()),
        ("actions", free.into_iter().map(ToolName::as_str).collect()),
        (
            "datatypes",
            ["tools", "resources", "prompts"].into_iter().collect(),
        ),
    ])
}

fn named(
    estate: &Estate,
    (server, tool): (&ServerName, &ToolName),
    grant: &ToolGrant,
    parameters: &BTreeMap<String, Value>,
) -> Value {
    let mode = estate
        .tool(server, tool)
        .map_or(Mode::Execute, |it| it.mode);
    let constraints = grant.arguments.iter().map(|(path, constraint)| {
        let path = path.to_string();
        (path, constraint_value(constraint, parameters))
    });
    let mut members = vec![
        ("type", AUTHORIZATION_DETAIL_TYPE.into()),
        ("server", server.as_str().into()),
        ("mode", mode.as_str().into()),
        ("actions", [tool.as_str()].into_iter().collect()),
        ("constraints", Value::Object(constraints.collect())),
        (
            "approval",
            match grant.approval {
                Bound::Free => "free".into(),
                Bound::Held => "held".into(),
            },
        ),
    ];
    if let Some(max) = grant.calls_max {
        members.push(("calls_max", u64::from(max).into()));
    }
    Value::object(members)
}

pub(crate) fn constraint_value(
    constraint: &Constraint,
    parameters: &BTreeMap<String, Value>,
) -> Value {
    let parameter = |name: &str| parameters.get(name).cloned().unwrap_or(Value::Null);
    let prefix = |prefix: &Prefix| match prefix {
        Prefix::Literal(text) => Value::from(text.as_str()),
        Prefix::Parameter(name) => parameter(name),
    };
    match constraint {
        Constraint::EqualsParameter(name) => Value::object([("equals", parameter(name))]),
        Constraint::OneOf(values) => Value::object([("one_of", Value::Array(values.clone()))]),
        Constraint::Between { min, max } => {
            let bounds = [("min", min), ("max", max)];
            let given = bounds
                .into_iter()
                .filter_map(|(name, it)| Some((name, number((*it)?))));
            Value::object(given)
        }
        Constraint::PathUnder(it) => Value::object([("path_under", prefix(it))]),
        Constraint::UrlUnder(it) => Value::object([("url_under", prefix(it))]),
        Constraint::BytesMax(max) => {
            let max = u64::try_from(*max).unwrap_or(u64::MAX);
            Value::object([("bytes_max", max.into())])
        }
        Constraint::Absent => Value::object([("absent", true.into())]),
    }
}

/// Returns the one JSON form of a bound: a whole number where it is whole.
fn number(bound: f64) -> Value {
    let text = bound.to_string();
    match text.parse::<i64>() {
        Ok(whole) if whole.abs() <= ambit_core::json::INTEGER_MAX => Value::Integer(whole),
        Ok(_) | Err(_) => Value::Number(bound),
    }
}
