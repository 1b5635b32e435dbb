//! What a task may do with one tool.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    ServerName, TemplateName, ToolName,
    estate::{ArgumentPath, Bound, Constraint, Estate, Mode, Template, Tool, ToolGrant, Trust},
};

use super::{Changes, Direction, constraints};

/// A tool that a template offers, free or within a grant.
pub(super) struct Offered<'a> {
    server: &'a ServerName,
    pub(super) tool: &'a Tool,
    grant: Option<&'a ToolGrant>,
}

/// What calling a tool comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// It changes something, and nobody is asked.
    Changes,
    /// A person must approve each call.
    Asks,
    /// It reads, within bounds of its own.
    ReadsWithin,
    /// It reads.
    Reads,
}

/// Returns the tools that `template` offers: the reading tools of its servers, and those it names.
pub(super) fn offered<'a>(
    estate: &'a Estate,
    template: &'a Template,
) -> BTreeMap<(&'a ServerName, &'a ToolName), Offered<'a>> {
    let mut found = BTreeMap::new();
    for server in template
        .reads
        .iter()
        .filter_map(|it| estate.servers.get(it))
    {
        for tool in server.tools.values().filter(|it| it.mode == Mode::Read) {
            let offered = Offered {
                server: &server.name,
                tool,
                grant: None,
            };
            found.insert((&server.name, &tool.name), offered);
        }
    }
    for ((server, name), grant) in &template.tools {
        if let Some(tool) = estate.tool(server, name) {
            let offered = Offered {
                server,
                tool,
                grant: Some(grant),
            };
            found.insert((server, name), offered);
        }
    }
    found
}

impl Offered<'_> {
    /// Returns what calling it comes to.
    pub(super) fn kind(&self) -> Kind {
        match self.grant {
            Some(grant) if grant.approval == Bound::Held => Kind::Asks,
            Some(_) | None if self.tool.mode != Mode::Read => Kind::Changes,
            Some(grant) if !grant.arguments.is_empty() || grant.calls_max.is_some() => {
                Kind::ReadsWithin
            }
            Some(_) | None => Kind::Reads,
        }
    }

    /// Says what it is and its bounds.
    pub(super) fn describe(&self) -> String {
        let mut text = format!(
            "{}.{} ({}",
            self.server,
            self.tool.name,
            self.tool.mode.as_str()
        );
        if self.tool.mode != Mode::Read {
            text.push_str(&format!(", {}", self.tool.effect.as_str()));
        }
        text.push(')');
        let Some(grant) = self.grant else {
            return text;
        };
        if grant.approval == Bound::Held {
            text.push_str(", held until a person approves each call");
        }
        if let Some(calls) = grant.calls_max {
            let noun = if calls == 1 { "call" } else { "calls" };
            text.push_str(&format!(", at most {calls} {noun}"));
        }
        let bounds: Vec<String> = grant
            .arguments
            .iter()
            .map(|(path, it)| format!("{path} {}", constraints::describe(it)))
            .collect();
        if !bounds.is_empty() {
            text.push_str(&format!(", where {}", bounds.join(" and ")));
        }
        text
    }
}

/// Says how a tool that was offered before is offered now.
pub(super) fn compare(
    template: &TemplateName,
    old: &Offered<'_>,
    new: &Offered<'_>,
    changes: &mut Changes,
) {
    let what = format!("{template}: {}.{}", new.server, new.tool.name);
    registry(&what, old.tool, new.tool, changes);
    let nothing = BTreeMap::new();
    let bounds = |it: &Offered<'_>| it.grant.map(|it| it.arguments.clone());
    let (had, has) = (bounds(old), bounds(new));
    let (had, has) = (
        had.as_ref().unwrap_or(&nothing),
        has.as_ref().unwrap_or(&nothing),
    );
    arguments(&what, had, has, changes);
    match (held(old), held(new)) {
        (Bound::Held, Bound::Free) => {
            changes.add(
                Direction::Widens,
                format!("{what} no longer waits for a person"),
            );
        }
        (Bound::Free, Bound::Held) => {
            changes.add(Direction::Narrows, format!("{what} now waits for a person"));
        }
        (Bound::Held, Bound::Held) | (Bound::Free, Bound::Free) => {}
    }
    let calls = |it: &Offered<'_>| it.grant.and_then(|it| it.calls_max);
    match (calls(old), calls(new)) {
        (Some(old), Some(new)) => changes.maximum(&format!("{what} most calls"), &old, &new),
        (Some(_), None) => {
            changes.add(
                Direction::Widens,
                format!("{what} loses its maximum of calls"),
            );
        }
        (None, Some(new)) => {
            changes.add(
                Direction::Narrows,
                format!("{what} is now called at most {new} times"),
            );
        }
        (None, None) => {}
    }
}

fn held(offered: &Offered<'_>) -> Bound {
    offered.grant.map_or(Bound::Free, |it| it.approval)
}

/// Says what the owner of the server takes the tool for now.
fn registry(what: &str, old: &Tool, new: &Tool, changes: &mut Changes) {
    changes.altered(
        &format!("{what} mode"),
        &old.mode.as_str(),
        &new.mode.as_str(),
    );
    changes.altered(
        &format!("{what} effect"),
        &old.effect.as_str(),
        &new.effect.as_str(),
    );
    if old.pin != new.pin {
        let text = format!("{what} has another description or schema, and its owner accepts it");
        changes.add(Direction::Alters, text);
    }
    if old.roles != new.roles {
        let text = format!("{what} has arguments with other roles");
        changes.add(Direction::Alters, text);
    }
    let labels = |it: &Tool| it.result_labels.iter().cloned().collect::<BTreeSet<_>>();
    // Fewer labels on what is read bound less of what is sent.
    changes.set(
        (&labels(new), &labels(old)),
        |it| format!("{what} results no longer count as {it}"),
        |it| format!("{what} results now count as {it}"),
    );
    match (old.result_trust, new.result_trust) {
        (Trust::ThirdParty, Trust::OwnerRecord) => changes.add(
            Direction::Widens,
            format!("{what} results now count as the owner's records"),
        ),
        (Trust::OwnerRecord, Trust::ThirdParty) => changes.add(
            Direction::Narrows,
            format!("{what} results now count as third-party text"),
        ),
        (Trust::ThirdParty, Trust::ThirdParty) | (Trust::OwnerRecord, Trust::OwnerRecord) => {}
    }
}

fn arguments(
    what: &str,
    old: &BTreeMap<ArgumentPath, Constraint>,
    new: &BTreeMap<ArgumentPath, Constraint>,
    changes: &mut Changes,
) {
    for (path, has) in new {
        match old.get(path) {
            None => changes.add(
                Direction::Narrows,
                format!("{what} {path} now {}", constraints::describe(has)),
            ),
            Some(had) if had != has => changes.add(
                constraints::direction(had, has),
                format!(
                    "{what} {path} now {} (was: {})",
                    constraints::describe(has),
                    constraints::describe(had)
                ),
            ),
            Some(_) => {}
        }
    }
    for (path, had) in old {
        if !new.contains_key(path) {
            let text = format!(
                "{what} {path} is now free (was: {})",
                constraints::describe(had)
            );
            changes.add(Direction::Widens, text);
        }
    }
}
