//! What the estate has that a policy can name.

use std::collections::{HashMap, HashSet};

use ambit_core::estate::Estate;
use cedar_policy::EntityUid;

const GROUP: &str = "Ambit::Group";
const PERSON: &str = "Ambit::Person";

/// A forbid that names what does not exist never forbids: most likely a slip of the pen.
pub(super) fn check_literal(
    literal: &EntityUid,
    known: &HashMap<String, HashSet<String>>,
) -> Result<(), String> {
    let kind = literal.type_name().to_string();
    if known.contains_key(GROUP) && kind == PERSON {
        return Err(format!(
            "`{literal}` is nobody: people have pseudonyms here; write `groups = [\"NAME\"]` for the person in \
             estate.toml and `principal in Ambit::Group::\"NAME\"` here"
        ));
    }
    match known.get(&kind) {
        Some(ids) if !ids.contains(literal.id().unescaped()) => {
            Err(format!("the estate has no `{literal}`; check the spelling"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Returns what a policy on agents' acts can name.
pub(super) fn to_agents(estate: &Estate) -> HashMap<String, HashSet<String>> {
    let tools = estate.servers.values().flat_map(|server| {
        server
            .tools
            .keys()
            .map(move |tool| format!("{}/{tool}", server.name))
    });
    let endpoints = estate
        .agents
        .values()
        .flat_map(|it| it.model_endpoints.iter().map(ToString::to_string));
    let mut known = named(estate);
    known.extend([
        (
            "Ambit::Server".to_owned(),
            estate.servers.keys().map(ToString::to_string).collect(),
        ),
        ("Ambit::Tool".to_owned(), tools.collect()),
        ("Ambit::Endpoint".to_owned(), endpoints.collect()),
    ]);
    known
}

/// Returns what a policy on people's acts can name.
pub(super) fn to_people(estate: &Estate) -> HashMap<String, HashSet<String>> {
    let groups = estate.people.values().flat_map(|it| &it.groups);
    let mut known = named(estate);
    known.insert(GROUP.to_owned(), groups.map(ToString::to_string).collect());
    known
}

fn named(estate: &Estate) -> HashMap<String, HashSet<String>> {
    let agents = estate.agents.keys().map(ToString::to_string).collect();
    let templates = estate.templates.keys().map(ToString::to_string).collect();
    HashMap::from([
        ("Ambit::Agent".to_owned(), agents),
        ("Ambit::Template".to_owned(), templates),
    ])
}
