//! What a template allows now and did not before.

use std::{cmp::Ordering, collections::BTreeSet};

use ambit_core::{
    AgentName, Label, Labels,
    estate::{Approver, Bound, Containment, Delegable, Estate, LeastBinding, Starters, Template},
};

use super::{
    Changes, Direction, tools,
    tools::{Offered, offered},
};

/// Says all that a template gives.
pub(super) fn gained((estate, template): (&Estate, &Template), changes: &mut Changes) {
    changes.add(
        Direction::Widens,
        format!(
            "gains template {} ({}): lives {}, {} calls, {}, {}, {}, {}{}{}",
            template.name,
            template.purpose,
            template.ttl,
            template.calls_max,
            emits(&template.may_emit),
            starters(&template.starters),
            approver(template.approver),
            containment(template.containment),
            unusual_binding(template.binding),
            delegates(&template.delegation)
        ),
    );
    for offered in offered(estate, template).values() {
        let text = format!("{}: gains {}", template.name, offered.describe());
        changes.add(Direction::Widens, text);
    }
}

/// Says what a task of the template may do, a sentence for each thing, to a person who is about to start one.
pub(crate) fn gives(estate: &Estate, template: &Template) -> Vec<String> {
    let tools = offered(estate, template);
    let tools = tools.values().map(Offered::describe);
    let reads = template.reads.iter();
    let reads = reads.map(|it| format!("resources and prompts of server {it}"));
    let is_held = template.tools.values().any(|it| it.approval == Bound::Held);
    let bounds = [
        format!("at most {} calls in all", template.calls_max),
        emits(&template.may_emit),
    ];
    let held = is_held.then(|| format!("{} what is held", approver(template.approver)));
    let bounds = bounds.into_iter().chain(held);
    let all = tools.chain(reads).chain(bounds);
    all.map(|it| crate::visible::visible(&it)).collect()
}

/// Says what a template gives and takes against its version before.
pub(super) fn compare(
    (old_estate, old): (&Estate, &Template),
    (new_estate, new): (&Estate, &Template),
    changes: &mut Changes,
) {
    let name = &new.name;
    let before = changes.0.len();
    let (had, has) = (offered(old_estate, old), offered(new_estate, new));
    for (key, offered) in &has {
        match had.get(key) {
            None => changes.add(
                Direction::Widens,
                format!("{name}: gains {}", offered.describe()),
            ),
            Some(had) => tools::compare(name, had, offered, changes),
        }
    }
    for (key, Offered { tool, .. }) in &had {
        if !has.contains_key(key) {
            let text = format!("{name}: loses {}.{} ({})", key.0, key.1, tool.mode.as_str());
            changes.add(Direction::Narrows, text);
        }
    }
    changes.set(
        (&old.reads, &new.reads),
        |it| format!("{name}: may read resources and prompts of server {it}"),
        |it| format!("{name}: no longer reads resources and prompts of server {it}"),
    );
    bounds(old, new, changes);
    delegation(old, new, changes);
    people(old, new, changes);
    parameters(old, new, changes);
    changes.altered(&format!("{name}: owner"), &old.owner, &new.owner);
    changes.altered(&format!("{name}: purpose"), &old.purpose, &new.purpose);
    if changes.0.len() > before && old.version == new.version && old != new {
        let text = format!(
            "{name}: changes and keeps version {}; raise it",
            new.version
        );
        changes.add(Direction::Alters, text);
    }
}

fn bounds(old: &Template, new: &Template, changes: &mut Changes) {
    let name = &new.name;
    changes.maximum(
        &format!("{name}: most calls"),
        &old.calls_max,
        &new.calls_max,
    );
    changes.maximum(&format!("{name}: longest life"), &old.ttl, &new.ttl);
    changes.set(
        (&set(&old.may_emit), &set(&new.may_emit)),
        |it| format!("{name}: may send data labelled {it}"),
        |it| format!("{name}: no longer sends data labelled {it}"),
    );
    match (old.containment, new.containment) {
        (Containment::Required, Containment::Optional) => changes.add(
            Direction::Widens,
            format!("{name}: may run without containment"),
        ),
        (Containment::Optional, Containment::Required) => {
            changes.add(Direction::Narrows, format!("{name}: must run contained"));
        }
        (Containment::Required, Containment::Required)
        | (Containment::Optional, Containment::Optional) => {}
    }
    let text = || {
        format!(
            "{name}: is {} (was: {})",
            binding(new.binding),
            binding(old.binding)
        )
    };
    match new.binding.cmp(&old.binding) {
        Ordering::Greater => changes.add(Direction::Widens, text()),
        Ordering::Less => changes.add(Direction::Narrows, text()),
        Ordering::Equal => {}
    }
}

fn delegation(old: &Template, new: &Template, changes: &mut Changes) {
    let name = &new.name;
    let agents = |it: &Template| it.delegation.agents().cloned().collect::<BTreeSet<_>>();
    changes.set(
        (&agents(old), &agents(new)),
        |it| format!("{name}: parts may be delegated to agent {it}"),
        |it| format!("{name}: parts may no longer be delegated to agent {it}"),
    );
    changes.maximum(
        &format!("{name}: most hops of delegation"),
        &old.delegation.depth_max(),
        &new.delegation.depth_max(),
    );
}

fn delegates(delegation: &Delegable) -> String {
    match delegation {
        Delegable::No => String::new(),
        Delegable::To { agents, depth_max } => {
            let agents: Vec<&str> = agents.iter().map(AgentName::as_str).collect();
            let agents = agents.join(", ");
            format!(", parts may be delegated to {agents}, {depth_max} hops deep")
        }
    }
}

fn people(old: &Template, new: &Template, changes: &mut Changes) {
    let name = &new.name;
    match (old.approver, new.approver) {
        (Approver::AnotherPerson, Approver::Anyone) => changes.add(
            Direction::Widens,
            format!("{name}: the starter may approve their own task's acts"),
        ),
        (Approver::Anyone, Approver::AnotherPerson) => changes.add(
            Direction::Narrows,
            format!("{name}: another person than the starter must approve"),
        ),
        (Approver::Anyone, Approver::Anyone)
        | (Approver::AnotherPerson, Approver::AnotherPerson) => {}
    }
    match (&old.starters, &new.starters) {
        (Starters::Only(_), Starters::AnyStarter) => {
            changes.add(
                Direction::Widens,
                format!("{name}: any starter may start it"),
            );
        }
        (Starters::AnyStarter, Starters::Only(_)) => {
            let text = format!("{name}: {}", starters(&new.starters));
            changes.add(Direction::Narrows, text);
        }
        (Starters::Only(old), Starters::Only(new)) => changes.set(
            (old, new),
            |it| format!("{name}: {it} may start it"),
            |it| format!("{name}: {it} may no longer start it"),
        ),
        (Starters::AnyStarter, Starters::AnyStarter) => {}
    }
}

fn parameters(old: &Template, new: &Template, changes: &mut Changes) {
    let name = &new.name;
    for (parameter, has) in &new.parameters {
        match old.parameters.get(parameter) {
            None => changes.add(
                Direction::Alters,
                format!(
                    "{name}: takes a new parameter {parameter}: {}",
                    has.description
                ),
            ),
            Some(had) if (&had.kind, &had.default) != (&has.kind, &has.default) => changes.add(
                Direction::Alters,
                format!("{name}: parameter {parameter} takes other values or another default"),
            ),
            Some(_) => {}
        }
    }
    for parameter in old.parameters.keys() {
        if !new.parameters.contains_key(parameter) {
            let text = format!("{name}: no longer takes parameter {parameter}");
            changes.add(Direction::Alters, text);
        }
    }
}

fn set(labels: &Labels) -> BTreeSet<Label> {
    labels.iter().cloned().collect()
}

fn emits(labels: &Labels) -> String {
    if labels.count() == 0 {
        "sends no labelled data".to_owned()
    } else {
        format!("may send data labelled {labels}")
    }
}

fn starters(starters: &Starters) -> String {
    match starters {
        Starters::AnyStarter => "any starter may start it".to_owned(),
        Starters::Only(aliases) => {
            let aliases: Vec<&str> = aliases.iter().map(String::as_str).collect();
            format!("only {} may start it", aliases.join(", "))
        }
    }
}

const fn approver(approver: Approver) -> &'static str {
    match approver {
        Approver::Anyone => "any approver may approve",
        Approver::AnotherPerson => "another person must approve",
    }
}

/// Says how strong a proof must be, where that is not the usual.
fn unusual_binding(least: LeastBinding) -> String {
    if least == LeastBinding::Dpop {
        return String::new();
    }
    format!(", {}", binding(least))
}

const fn binding(binding: LeastBinding) -> &'static str {
    match binding {
        LeastBinding::Mtls => "for agents with mutual TLS",
        LeastBinding::Dpop => "for agents with a key of their own",
        LeastBinding::BearerToRead => {
            "for agents with a key of their own, and to read for whoever has the token"
        }
        LeastBinding::BearerToAct => "for whoever has the token",
    }
}

const fn containment(containment: Containment) -> &'static str {
    match containment {
        Containment::Required => "contained",
        Containment::Optional => "containment optional",
    }
}
