//! Steps of delegations in words.

use ambit_core::{
    delegation::{Delegation, Lineage},
    json::Value,
    record::{Body, Decided},
    task::Task,
};

use super::Names;

/// Says a step of a delegation; of any other record, nothing.
pub(super) fn step(body: &Body, names: &Names) -> String {
    let Some(mandate) = body.mandate() else {
        return String::new();
    };
    let by = names.actor(mandate.by);
    if let Body::DelegationMade { delegation, .. } = body {
        return made(delegation, &by);
    }
    if let Body::DelegationSpent { task, .. } = body {
        return spent(task, &by);
    }
    if let Body::DelegationWithdrawn {
        delegation, parent, ..
    } = body
    {
        return format!(
            "{by} took {delegation} of {parent} back, and with it the child and all below it"
        );
    }
    String::new()
}

/// Says to whom a part was to go, when that was decided.
pub(super) fn to(decided: &Decided) -> String {
    let to = of_step(decided).and_then(|it| it.get("to")?.as_str());
    to.map_or_else(String::new, |it| format!(" to {it}"))
}

/// Says in what a part went beyond its parent, as the end of a sentence.
pub(super) fn beyond(decided: &Decided) -> String {
    let exceeds = of_step(decided).and_then(|it| it.get("exceeds")?.as_array());
    let exceeds = exceeds.unwrap_or_default().iter();
    let exceeds: Vec<&str> = exceeds.filter_map(Value::as_str).collect();
    match exceeds.is_empty() {
        true => String::new(),
        false => format!(": {}", exceeds.join("; ")),
    }
}

/// Returns the facts of a decision on a step of a delegation.
fn of_step(decided: &Decided) -> Option<&Value> {
    let kind = decided.facts.get("kind").and_then(Value::as_str);
    (kind == Some("delegation")).then_some(&decided.facts)
}

fn made(delegation: &Delegation, by: &str) -> String {
    let part = &delegation.part;
    let tools = part.tools.keys();
    let tools = tools.map(|(server, tool)| format!("{server}.{tool}"));
    let reads = part.reads.iter().map(|it| format!("reads of {it}"));
    let given: Vec<String> = reads.chain(tools).collect();
    format!(
        "{by} of {} delegated {} to {} as {}, {}, until {}, {} below it",
        delegation.parent,
        given.join(", "),
        delegation.to,
        delegation.id,
        counted(part.calls_max, "call"),
        delegation.expires_at,
        counted(delegation.depth_left.into(), "more hop")
    )
}

fn counted(count: u32, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn spent(task: &Task, by: &str) -> String {
    let Lineage::Child {
        parent, delegation, ..
    } = task.lineage
    else {
        return format!("{by} started {} by no delegation", task.id);
    };
    format!(
        "{by} took {delegation} of {parent}: {} for {} as {}, until {}, containment {}",
        task.id,
        task.agent,
        task.instance,
        task.expires_at,
        task.contained.as_str()
    )
}
