//! The first step of a decision: everything it depends upon, normalised into facts.

pub(crate) mod asked;

use ambit_core::{
    ApprovalId, Labels, ServerName, Timestamp, ToolName,
    act::Act,
    estate::{BearerTokens, LeastBinding},
    json::Value,
    task::{Contained, End, TaskState},
};

use self::asked::{Asked, asked};
use crate::{
    ApprovalState, Live, Node, PolicyBook, Request, Standing, TaskScope,
    facts::{Facts, Words},
    vocabulary::ActAction,
};

/// Gathers the facts of `request`, with those of every task above. Pure: the same request gives the same facts.
pub(crate) fn gather(request: &Request<'_>) -> Facts {
    let own = Node {
        task: request.task,
        scope: request.scope,
        state: request.state,
        usage: request.usage,
        live: request.live,
    };
    let mut facts = of_node(request, &own);
    facts.above = request.above.iter().map(|it| above(request, it)).collect();
    facts
}

/// Gathers the facts of the same act as if the task above had asked for it.
fn above(request: &Request<'_>, node: &Node<'_>) -> Facts {
    let mut facts = of_node(request, node);
    // What is broken above is broken below, where it is named.
    facts.broken = Vec::new();
    facts.schema_path = None;
    facts
}

fn of_node(request: &Request<'_>, node: &Node<'_>) -> Facts {
    let scope = node.scope;
    let asked = asked(scope, request.book, &request.act, &node.live);
    let calls_left = scope.calls_max().saturating_sub(node.usage.calls);
    let budget = budget((&request.act, node), &asked, calls_left);
    let state = node.state.standing(node.task.expires_at, request.at);
    let in_force = scope.in_force == request.book.estate().digest && scope.task() == node.task.id;
    let words = Words::by_name(|name| match name {
        "task" => task_word(state),
        "instance" => node.live.instance.as_str(),
        "agent" => node.live.agent.as_str(),
        "person" => node.live.person.as_str(),
        "server" => node.live.server.as_str(),
        "scope" if in_force => "in_force",
        "scope" => "stale",
        "containment" => containment_word(scope, node.task.contained),
        "binding" => request.binding,
        "proof" => proof_word(scope, asked.action, request.binding),
        "budget" => budget,
        _ => asked.word(scope, name),
    });
    Facts {
        at: request.at,
        action: asked.action,
        resource: asked.resource,
        who: scope.who.clone(),
        words,
        labels: node.usage.labels.clone(),
        charged: asked.charged.unwrap_or_else(|_| Labels::none()),
        may_emit: scope.may_emit(),
        calls_left,
        broken: asked.broken,
        schema_path: asked.schema_path,
        pinned: asked.pinned,
        seen: node.live.tool_seen,
        approval: request.approval.as_of(request.at),
        fresh_approval: request.fresh_approval,
        expires_at: node.task.expires_at,
        above: Vec::new(),
        unkept_bytes: None,
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
        "proof" => "enough",
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
        above: Vec::new(),
        unkept_bytes: None,
    }
}

fn budget((act, node): (&Act, &Node<'_>), asked: &Asked, calls_left: u32) -> &'static str {
    let Ok(charged) = &asked.charged else {
        return "labels_full";
    };
    if node.usage.labels.union(charged).is_err() {
        return "labels_full";
    }
    if !counts(act) {
        return "left";
    }
    if calls_left == 0 {
        return "calls_used_up";
    }
    let tool = counted_tool(node.scope, act);
    let used_up = tool
        .is_some_and(|(tool, max)| node.usage.tool_calls.get(&tool).copied().unwrap_or(0) >= max);
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

fn task_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Active => "active",
        TaskState::Ended(
            end @ (End::Completed
            | End::Cancelled
            | End::Expired
            | End::Revoked
            | End::Unregistered),
        ) => end.as_str(),
    }
}

/// Says whether the caller's proof is strong enough for this act of this task. A kind of proof that is not known is none.
fn proof_word(scope: &TaskScope, action: ActAction, binding: &str) -> &'static str {
    let weakest = match binding {
        "mtls" => LeastBinding::Mtls,
        "dpop" => LeastBinding::Dpop,
        "bearer" if scope.bearer_tokens() == BearerTokens::Refused => return "too_weak",
        "bearer" if action.reads() => LeastBinding::BearerToRead,
        "bearer" => LeastBinding::BearerToAct,
        _ => return "too_weak",
    };
    if weakest <= scope.least_binding() {
        "enough"
    } else {
        "too_weak"
    }
}

fn containment_word(scope: &TaskScope, contained: Contained) -> &'static str {
    match contained {
        Contained::None if scope.requires_containment() => "missing",
        Contained::None | Contained::Namespaces => "kept",
    }
}
