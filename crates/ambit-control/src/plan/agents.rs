//! What each agent gains and loses.

use std::collections::BTreeSet;

use ambit_core::{
    AgentName,
    estate::{Agent, Estate},
};

use super::{Changes, Direction, Subject, templates};

/// Compares every agent of both versions.
pub(super) fn compare(old: Option<&Estate>, new: &Estate) -> Vec<Subject> {
    let names: BTreeSet<&AgentName> = old
        .iter()
        .flat_map(|it| it.agents.keys())
        .chain(new.agents.keys())
        .collect();
    names.into_iter().map(|it| agent(it, old, new)).collect()
}

fn agent(name: &AgentName, old: Option<&Estate>, new: &Estate) -> Subject {
    let mut changes = Changes::default();
    let before = old.and_then(|it| it.agents.get(name));
    let after = new.agents.get(name);
    match (before, after) {
        (None, Some(agent)) => changes.add(
            Direction::Widens,
            format!(
                "is new in environment {}, owned by {}: {}",
                agent.environment, agent.owner, agent.purpose
            ),
        ),
        (Some(_), None) => changes.add(Direction::Narrows, "is gone, with all that it could do"),
        (Some(before), Some(after)) => facts(before, after, &mut changes),
        (None, None) => {}
    }
    if let Some(after) = after {
        reach(before, after, old, new, &mut changes);
    }
    changes.of(format!("agent {name}"))
}

fn facts(before: &Agent, after: &Agent, changes: &mut Changes) {
    changes.altered("owner", &before.owner, &after.owner);
    changes.altered("purpose", &before.purpose, &after.purpose);
    changes.altered("risk", &before.risk.as_str(), &after.risk.as_str());
    changes.altered("environment", &before.environment, &after.environment);
    changes.altered("review by", &before.review_by, &after.review_by);
}

fn bundles(before: Option<&Agent>, after: &Agent, changes: &mut Changes) {
    let none = BTreeSet::new();
    let had = before.map_or(&none, |it| &it.federates_with);
    changes.set(
        (had, &after.federates_with),
        |it| format!("is given the bundle of trust {it}"),
        |it| format!("is no longer given the bundle of trust {it}"),
    );
}

fn reach(
    before: Option<&Agent>,
    after: &Agent,
    old: Option<&Estate>,
    new: &Estate,
    changes: &mut Changes,
) {
    let none = BTreeSet::new();
    let endpoints = before.map_or(&none, |it| &it.model_endpoints);
    changes.set(
        (endpoints, &after.model_endpoints),
        |it| format!("may reach model endpoint {it}"),
        |it| format!("no longer reaches model endpoint {it}"),
    );
    let registered = |it: &Agent| {
        it.workloads
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    changes.set(
        (
            &before.map(registered).unwrap_or_default(),
            &registered(after),
        ),
        |it| format!("is any process with {it}"),
        |it| format!("is no longer a process with {it}"),
    );
    let tokens = |it: &Agent| {
        it.tokens
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    changes.set(
        (&before.map(tokens).unwrap_or_default(), &tokens(after)),
        |it| format!("is whoever holds {it}"),
        |it| format!("is no longer who holds {it}"),
    );
    let svids = |it: &Agent| {
        let texts = it.svids.iter().map(ToString::to_string);
        texts.collect::<BTreeSet<_>>()
    };
    changes.set(
        (&before.map(svids).unwrap_or_default(), &svids(after)),
        |it| format!("is whoever proves {it}"),
        |it| format!("is no longer who proves {it}"),
    );
    bundles(before, after, changes);
    let none = BTreeSet::new();
    changes.set(
        (before.map_or(&none, |it| &it.parts_of), &after.parts_of),
        |it| format!("may take delegated parts of template {it}"),
        |it| format!("no longer takes delegated parts of template {it}"),
    );
    let templates = before.map_or(&none, |it| &it.templates);
    for name in templates.union(&after.templates) {
        let had = old.filter(|_| templates.contains(name));
        let had = had.and_then(|estate| Some((estate, estate.templates.get(name)?)));
        let has = Some(new).filter(|_| after.templates.contains(name));
        let has = has.and_then(|estate| Some((estate, estate.templates.get(name)?)));
        match (had, has) {
            (None, Some(has)) => templates::gained(has, changes),
            (Some((_, template)), None) => {
                let text = format!("loses template {name}: {}", template.purpose);
                changes.add(Direction::Narrows, text);
            }
            (Some(had), Some(has)) => templates::compare(had, has, changes),
            (None, None) => {}
        }
    }
}
