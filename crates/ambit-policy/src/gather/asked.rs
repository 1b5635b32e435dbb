//! What one act asks for, held against the bounds of the task and the registry.

use std::collections::BTreeSet;

use ambit_core::{
    Digest, Labels, ServerName, ToolName,
    act::Act,
    estate::{Bound as Approval, Endpoint},
    json::Value,
    label::TooManyLabels,
};

use crate::{
    Live, PolicyBook, TaskScope,
    constraints::{BROKEN_MAX, broken_bounds},
    facts::{Broken, Resource},
    schemas::{Fit, exceeds_maximum},
    scope::{Bound, Grant, TemplateStanding},
    vocabulary::ActAction,
};

/// The longest name of a host that is recorded, in bytes (RFC 1035 §2.3.4).
pub(crate) const HOST_BYTES_MAX: usize = 253;

/// What an act asks for, held against the bounds of the task and the registry.
pub(super) struct Asked {
    pub(super) action: ActAction,
    pub(super) resource: Resource,
    pub(super) server_grant: &'static str,
    pub(super) environment: &'static str,
    pub(super) registry: &'static str,
    pub(super) grant: &'static str,
    pub(super) pin: &'static str,
    pub(super) arguments: &'static str,
    pub(super) endpoint: &'static str,
    pub(super) hold: &'static str,
    pub(super) charged: Result<Labels, TooManyLabels>,
    pub(super) broken: Vec<Broken>,
    pub(super) schema_path: Option<String>,
    pub(super) pinned: Option<Digest>,
}

impl Asked {
    pub(super) fn word(&self, scope: &TaskScope, name: &str) -> &'static str {
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

/// Holds `act` against the bounds and the registry.
pub(super) fn asked(scope: &TaskScope, book: &PolicyBook, act: &Act, live: &Live) -> Asked {
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
    let grants = scope.grants(server, tool);
    let fit = book.schemas.check(server, tool, arguments);
    let mut broken: BTreeSet<Broken> = BTreeSet::new();
    for (place, grant) in grants.iter().enumerate() {
        let Some(grant) = grant.named() else { continue };
        let bounds = broken_bounds(&grant.arguments, arguments, &scope.parameters);
        if place < scope.templates_in_view() {
            broken.extend(bounds);
        } else {
            broken.extend(bounds.into_iter().map(Broken::of_part));
        }
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
            scope.strictest_mode(server, tool),
        ),
        resource: Resource::Tool(format!("{server}/{tool}"), server.to_string()),
        server_grant: server_grant(book, scope.has_server(server), server),
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
        broken: broken.into_iter().take(BROKEN_MAX).collect(),
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
    let free = scope.reads_server(server);
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
        server_grant: server_grant(book, scope.reads_server(server), server),
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
        resource: Resource::Endpoint(if host.len() <= HOST_BYTES_MAX {
            asked.to_string()
        } else {
            format!("(a host of {} bytes):{port}", host.len())
        }),
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

fn server_grant(book: &PolicyBook, given: bool, server: &ServerName) -> &'static str {
    if book.estate().servers.contains_key(server) && given {
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
) -> Result<Labels, TooManyLabels> {
    let mut all = scope.bounds.iter().filter_map(labels);
    all.try_fold(Labels::none(), |sum, next| sum.union(next))
}

fn fits_maximum(given: &Value) -> &'static str {
    if exceeds_maximum(given) {
        "oversize"
    } else {
        "valid"
    }
}
