//! What a template allows now and did not before.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use ambit_core::{
    AgentName, GatewayRoute, Label, Labels, ServerName,
    estate::{Approver, Containment, Delegable, Estate, LeastBinding, Starters, Template},
};

use super::{
    Changes, Direction, tools,
    tools::{Kind, Offered, offered},
};
use crate::visible::visible;

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

/// What a task of a template may do, to a person who is about to start one: a sentence for each thing, with nothing hidden.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Gives {
    /// What changes something, and asks nobody.
    pub(crate) changes: Vec<String>,
    /// What a person must approve, each time.
    pub(crate) asks: Vec<String>,
    /// What reads: a line for each server, and one for each tool that is bounded.
    pub(crate) reads: Vec<String>,
    /// What bounds all of it.
    pub(crate) bounds: Vec<String>,
}

/// Says what a task of the template may do at `route`.
pub(crate) fn gives((estate, template): (&Estate, &Template), route: &GatewayRoute) -> Gives {
    let is_there = |server: &ServerName| match route {
        GatewayRoute::All => true,
        GatewayRoute::One(it) => it == server,
    };
    let mut gives = Gives::default();
    let mut plain: BTreeMap<&ServerName, Vec<&str>> = BTreeMap::new();
    let offered = offered(estate, template);
    for ((server, name), offered) in offered.iter().filter(|((it, _), _)| is_there(it)) {
        match offered.kind() {
            Kind::Asks => gives.asks.push(offered.describe()),
            Kind::Changes => gives.changes.push(offered.describe()),
            Kind::ReadsWithin => gives.reads.push(offered.describe()),
            Kind::Reads => plain.entry(server).or_default().push(name.as_str()),
        }
    }
    for server in template.reads.iter().filter(|it| is_there(it)) {
        let all = plain.entry(server).or_default();
        all.push("resources and prompts");
    }
    let plain = plain.into_iter();
    let plain = plain.map(|(server, all)| format!("{server}: {}", all.join(", ")));
    gives.reads.extend(plain);
    gives.bounds = [
        format!("at most {} calls in all", template.calls_max),
        emits(&template.may_emit),
    ]
    .to_vec();
    if !gives.asks.is_empty() {
        let held = format!("{} what waits for a person", approver(template.approver));
        gives.bounds.push(held);
    }
    if template.binding == LeastBinding::BearerToRead {
        let keyless = "it only reads, unless it has a key of its own and proves it";
        gives.bounds.push(keyless.to_owned());
    }
    let lists = [
        &mut gives.changes,
        &mut gives.asks,
        &mut gives.reads,
        &mut gives.bounds,
    ];
    for line in lists.into_iter().flatten() {
        *line = visible(line);
    }
    gives
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
