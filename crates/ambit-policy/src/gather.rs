//! The first step of a decision: everything it depends upon, normalised into facts.

use std::collections::BTreeSet;

use ambit_core::{
    ApprovalId, Labels, ServerName, Timestamp, ToolName,
    act::Act,
    estate::{Bound as Approval, Endpoint, Mode},
    json::Value,
    task::{Contained, End, TaskState},
};

use crate::{
    ApprovalState, Live, PolicyBook, Request, Standing, TaskScope,
    constraints::broken_bounds,
    facts::{Broken, Facts, Resource, Words},
    schemas::{Fit, exceeds_maximum},
    scope::{Bound, Grant, TemplateStanding},
    vocabulary::ActAction,
};

/// What an act asks for, held against the bounds of the task and the registry.
struct Asked {
    action: ActAction,
    resource: Resource,
    server_grant: &'static str,
    environment: &'static str,
    registry: &'static str,
    grant: &'static str,
    pin: &'static str,
    arguments: &'static str,
    endpoint: &'static str,
    hold: &'static str,
    charged: Result<Labels, ambit_core::label::TooManyLabels>,
    broken: Vec<Broken>,
    schema_path: Option<String>,
    pinned: Option<ambit_core::Digest>,
}

/// Gathers the facts of `request`. Pure: the same request gives the same facts.
pub(crate) fn gather(request: &Request<'_>) -> Facts {
    let scope = request.scope;
    let asked = asked(scope, request.book, &request.act, &request.live);
    let calls_left = scope.calls_max().saturating_sub(request.usage.calls);
    let budget = budget(request, &asked, calls_left);
    let state = request.state.standing(request.task.expires_at, request.at);
    let in_force =
        scope.in_force == request.book.estate().digest && scope.task() == request.task.id;
    let words = Words::by_name(|name| match name {
        "task" => task_word(state),
        "instance" => request.live.instance.as_str(),
        "agent" => request.live.agent.as_str(),
        "person" => request.live.person.as_str(),
        "server" => request.live.server.as_str(),
        "scope" if in_force => "in_force",
        "scope" => "stale",
        "containment" => containment_word(scope, request.task.contained),
        "binding" => request.binding,
        "budget" => budget,
        _ => asked.word(scope, name),
    });
    Facts {
        at: request.at,
        action: asked.action,
        resource: asked.resource,
        who: scope.who.clone(),
        words,
        labels: request.usage.labels.clone(),
        charged: asked.charged.unwrap_or_else(|_| Labels::none()),
        may_emit: scope.may_emit(),
        calls_left,
        broken: asked.broken,
        schema_path: asked.schema_path,
        pinned: asked.pinned,
        seen: request.live.tool_seen,
        approval: request.approval.as_of(request.at),
        fresh_approval: request.fresh_approval,
        expires_at: request.task.expires_at,
    }
}

/// Returns the facts of the best imaginable call of a tool: everybody live, nothing used, all arguments
/// within bounds. Whatever these facts are denied, every call is denied.
pub(crate) fn optimistic(
    scope: &TaskScope,
    book: &PolicyBook,
    server: &ServerName,
    tool: &ToolName,
) -> Facts {
    let act = Act::CallTool {
        server: server.clone(),
        tool: tool.clone(),
        arguments: Value::Null,
    };
    let asked = asked(scope, book, &act, &Live::ALL);
    let contained = match scope.who.contained.as_str() {
        "namespaces" => Contained::Namespaces,
        _ => Contained::None,
    };
    let in_force = scope.in_force == book.estate().digest;
    let words = Words::by_name(|name| match name {
        "task" => "active",
        "instance" | "agent" | "person" | "server" => Standing::Live.as_str(),
        "scope" if in_force => "in_force",
        "scope" => "stale",
        "containment" => containment_word(scope, contained),
        "binding" => "",
        "budget" => "left",
        "arguments" => "valid",
        "constraints" => "kept",
        _ => asked.word(scope, name),
    });
    Facts {
        at: Timestamp::from_millis(0),
        action: asked.action,
        resource: asked.resource,
        who: scope.who.clone(),
        words,
        labels: Labels::none(),
        charged: asked.charged.unwrap_or_else(|_| Labels::none()),
        may_emit: scope.may_emit(),
        calls_left: scope.calls_max(),
        broken: Vec::new(),
        schema_path: None,
        pinned: asked.pinned,
        seen: None,
        approval: ApprovalState::None,
        fresh_approval: ApprovalId::from_bits(0),
        expires_at: Timestamp::from_millis(Timestamp::MILLIS_MAX),
    }
}

impl Asked {
    fn word(&self, scope: &TaskScope, name: &str) -> &'static str {
        match name {
            "template" => match scope.template {
                TemplateStanding::InForce => "in_force",
                TemplateStanding::Withdrawn => "withdrawn",
            },
            "server_grant" => self.server_grant,
            "environment" => self.environment,
            "registry" => self.registry,
            "grant" => self.grant,
            "pin" => self.pin,
            "arguments" => self.arguments,
            "constraints" if self.broken.is_empty() => "kept",
            "constraints" => "broken",
            "endpoint" => self.endpoint,
            "hold" => self.hold,
            "provenance" => "not_computed",
            _ => "",
        }
    }
}

fn asked(scope: &TaskScope, book: &PolicyBook, act: &Act, live: &Live) -> Asked {
    match act {
        Act::CallTool {
            server,
            tool,
            arguments,
        } => call(scope, book, (server, tool, arguments), live),
        Act::ReadResource { server, uri } => read(
            scope,
            book,
            act,
            server,
            fits_maximum(&Value::from(uri.as_str())),
        ),
        Act::GetPrompt {
            server,
            arguments: given,
            ..
        }
        | Act::Complete {
            server,
            parameters: given,
        } => {
            let arguments = match given {
                Value::Object(_) => fits_maximum(given),
                Value::Null
                | Value::Bool(_)
                | Value::Integer(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => "invalid",
            };
            read(scope, book, act, server, arguments)
        }
        Act::List { server, .. } => read(scope, book, act, server, "valid"),
        Act::Connect { host, port } => connect(scope, host, *port),
    }
}

fn call(
    scope: &TaskScope,
    book: &PolicyBook,
    (server, tool, arguments): (&ServerName, &ToolName, &Value),
    live: &Live,
) -> Asked {
    let registered = book.estate().tool(server, tool);
    let grants: Vec<Grant<'_>> = scope
        .bounds
        .iter()
        .map(|it| it.grant(server, tool))
        .collect();
    let fit = book.schemas.check(server, tool, arguments);
    let mut broken: BTreeSet<Broken> = BTreeSet::new();
    for grant in grants.iter().filter_map(|it| it.named()) {
        broken.extend(broken_bounds(
            &grant.arguments,
            arguments,
            &scope.parameters,
        ));
    }
    let held = grants
        .iter()
        .filter_map(|it| it.named())
        .any(|it| it.approval == Approval::Held);
    let pin = match (registered, live.tool_seen) {
        (None, _) => "unknown",
        (Some(tool), Some(seen)) if seen != tool.pin => "changed",
        (Some(_), _) => "same",
    };
    Asked {
        action: ActAction::of(
            &Act::CallTool {
                server: server.clone(),
                tool: tool.clone(),
                arguments: Value::Null,
            },
            strictest_mode(scope, server, tool),
        ),
        resource: Resource::Tool(format!("{server}/{tool}"), server.to_string()),
        server_grant: server_grant(scope, book, |it| it.has_server(server), server),
        environment: environment(scope, book, server),
        registry: if registered.is_some() {
            "known"
        } else {
            "unknown"
        },
        grant: grant_word(&grants),
        pin,
        arguments: match &fit {
            Fit::Valid => "valid",
            Fit::Invalid(_) => "invalid",
            Fit::Oversize => "oversize",
            Fit::Unknown => "unknown",
        },
        endpoint: "none",
        hold: if held { "held" } else { "free" },
        charged: charged(scope, |it| {
            it.estate.tool(server, tool).map(|it| &it.result_labels)
        }),
        broken: broken.into_iter().collect(),
        schema_path: match fit {
            Fit::Invalid(path) => Some(path),
            Fit::Valid | Fit::Oversize | Fit::Unknown => None,
        },
        pinned: registered.map(|it| it.pin),
    }
}

fn read(
    scope: &TaskScope,
    book: &PolicyBook,
    act: &Act,
    server: &ServerName,
    arguments: &'static str,
) -> Asked {
    let free = scope.bounds.iter().all(|it| it.reads_server(server));
    let returned = |it: &Bound| match act {
        // Names of resources and prompts are there to be chosen from; what they hold is charged when read.
        Act::List { .. } => None,
        Act::CallTool { .. }
        | Act::ReadResource { .. }
        | Act::GetPrompt { .. }
        | Act::Complete { .. }
        | Act::Connect { .. } => it
            .estate
            .servers
            .get(server)
            .map(|it| it.content_labels.clone()),
    };
    let labels: Vec<Labels> = scope.bounds.iter().filter_map(returned).collect();
    Asked {
        action: ActAction::of(act, None),
        resource: Resource::Server(server.to_string()),
        server_grant: server_grant(scope, book, |it| it.reads_server(server), server),
        environment: environment(scope, book, server),
        registry: "none",
        grant: if free { "free_read" } else { "not_granted" },
        pin: "none",
        arguments,
        endpoint: "none",
        hold: "free",
        charged: labels
            .iter()
            .try_fold(Labels::none(), |all, it| all.union(it)),
        broken: Vec::new(),
        schema_path: None,
        pinned: None,
    }
}

/// A model must see what the agent has read, so labels are not held against a connection to it: to
/// declare an endpoint is to trust the model behind it with whatever the agent's tasks may read.
fn connect(scope: &TaskScope, host: &str, port: u16) -> Asked {
    let asked = Endpoint {
        host: host.to_owned(),
        port,
    };
    let listed = scope.bounds.iter().all(|it| {
        it.agent()
            .is_some_and(|it| it.model_endpoints.contains(&asked))
    });
    Asked {
        action: ActAction::Connect,
        resource: Resource::Endpoint(asked.to_string()),
        server_grant: "none",
        environment: "none",
        registry: "none",
        grant: "none",
        pin: "none",
        arguments: "valid",
        endpoint: if listed { "listed" } else { "not_listed" },
        hold: "free",
        charged: Ok(Labels::none()),
        broken: Vec::new(),
        schema_path: None,
        pinned: None,
    }
}

/// Returns the worst mode that any estate in view gives the tool; none when one of them lacks it.
fn strictest_mode(scope: &TaskScope, server: &ServerName, tool: &ToolName) -> Option<Mode> {
    let modes = scope
        .bounds
        .iter()
        .map(|it| it.estate.tool(server, tool).map(|it| it.mode));
    modes.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn server_grant(
    scope: &TaskScope,
    book: &PolicyBook,
    has: impl Fn(&Bound) -> bool,
    server: &ServerName,
) -> &'static str {
    if book.estate().servers.contains_key(server) && scope.bounds.iter().all(has) {
        "granted"
    } else {
        "not_granted"
    }
}

fn environment(scope: &TaskScope, book: &PolicyBook, server: &ServerName) -> &'static str {
    let Some(server) = book.estate().servers.get(server) else {
        return "unknown";
    };
    let agents = scope.bounds.iter().map(Bound::agent);
    match agents.collect::<Option<Vec<_>>>() {
        None => "unknown",
        Some(agents) if agents.iter().all(|it| it.environment == server.environment) => "same",
        Some(_) => "other",
    }
}

fn grant_word(grants: &[Grant<'_>]) -> &'static str {
    let every = |wanted: fn(&Grant<'_>) -> bool| grants.iter().all(wanted);
    if every(|it| matches!(it, Grant::FreeRead)) {
        "free_read"
    } else if every(|it| matches!(it, Grant::FreeRead | Grant::Named(_))) {
        "named"
    } else {
        "not_granted"
    }
}

fn charged<'a>(
    scope: &'a TaskScope,
    labels: impl Fn(&'a Bound) -> Option<&'a Labels>,
) -> Result<Labels, ambit_core::label::TooManyLabels> {
    let all = scope.bounds.iter().filter_map(labels);
    all.fold(Ok(Labels::none()), |sum, next| sum?.union(next))
}

fn budget(request: &Request<'_>, asked: &Asked, calls_left: u32) -> &'static str {
    let Ok(charged) = &asked.charged else {
        return "labels_full";
    };
    if request.usage.labels.union(charged).is_err() {
        return "labels_full";
    }
    if !counts(&request.act) {
        return "left";
    }
    if calls_left == 0 {
        return "calls_used_up";
    }
    let tool = counted_tool(request.scope, &request.act);
    let used_up = tool.is_some_and(|(tool, max)| {
        request.usage.tool_calls.get(&tool).copied().unwrap_or(0) >= max
    });
    if used_up {
        "tool_calls_used_up"
    } else {
        "left"
    }
}

/// Says whether the act counts against the most calls of a task. Lists and connections to the model do
/// not: a client makes them by itself, again and again, and they touch nobody's data.
pub(crate) const fn counts(act: &Act) -> bool {
    match act {
        Act::CallTool { .. }
        | Act::ReadResource { .. }
        | Act::GetPrompt { .. }
        | Act::Complete { .. } => true,
        Act::List { .. } | Act::Connect { .. } => false,
    }
}

/// Returns the tool that the act calls and its own most calls, when it has one.
pub(crate) fn counted_tool(scope: &TaskScope, act: &Act) -> Option<((ServerName, ToolName), u32)> {
    let (server, tool) = (act.server()?, act.tool()?);
    let max = scope.tool_calls_max(server, tool)?;
    Some(((server.clone(), tool.clone()), max))
}

fn fits_maximum(given: &Value) -> &'static str {
    if exceeds_maximum(given) {
        "oversize"
    } else {
        "valid"
    }
}

fn task_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Active => "active",
        TaskState::Ended(end @ (End::Completed | End::Cancelled | End::Expired | End::Revoked)) => {
            end.as_str()
        }
    }
}

fn containment_word(scope: &TaskScope, contained: Contained) -> &'static str {
    match contained {
        Contained::None if scope.requires_containment() => "missing",
        Contained::None | Contained::Namespaces => "kept",
    }
}
