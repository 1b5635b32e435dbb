//! What each client of the authorization server gains and loses.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    ClientName, Digest,
    estate::{Client, ClientKeys, Estate},
};

use super::{Changes, Direction, Subject};

/// Compares every client of both versions.
pub(super) fn compare(old: Option<&Estate>, new: &Estate) -> Vec<Subject> {
    let empty = BTreeMap::new();
    let before = old.map_or(&empty, |it| &it.clients);
    let names: BTreeSet<&ClientName> = before.keys().chain(new.clients.keys()).collect();
    let subject = |name| {
        let mut changes = Changes::default();
        match (before.get(name), new.clients.get(name)) {
            (None, Some(client)) => {
                let text = format!(
                    "is new: {}, owned by {}, proves itself by {}",
                    client.title,
                    client.owner,
                    proof(&client.keys)
                );
                changes.add(Direction::Widens, text);
                reach(None, client, &mut changes);
            }
            (Some(_), None) => changes.add(Direction::Narrows, "is gone, and gets no token more"),
            (Some(had), Some(has)) => {
                changes.altered("title", &had.title, &has.title);
                changes.altered("owner", &had.owner, &has.owner);
                changes.altered("proves itself by", &proof(&had.keys), &proof(&has.keys));
                reach(Some(had), has, &mut changes);
            }
            (None, None) => {}
        }
        changes.of(format!("client {name}"))
    };
    names.into_iter().map(subject).collect()
}

fn reach(before: Option<&Client>, after: &Client, changes: &mut Changes) {
    let none = BTreeSet::new();
    changes.set(
        (before.map_or(&none, |it| &it.agents), &after.agents),
        |it| format!("may have tokens of tasks of agent {it}"),
        |it| format!("may no longer have tokens of tasks of agent {it}"),
    );
    let runs = |it: Option<&Client>| it.and_then(|it| it.runs.clone()).into_iter().collect();
    let pair: (BTreeSet<_>, BTreeSet<_>) = (runs(before), runs(Some(after)));
    changes.set(
        (&pair.0, &pair.1),
        |it| format!("is a run of agent {it}, by its key alone"),
        |it| format!("is no longer a run of agent {it}"),
    );
    let uris = |it: &Client| it.redirect_uris.iter().cloned().collect();
    let pair: (BTreeSet<String>, BTreeSet<String>) =
        (before.map(uris).unwrap_or_default(), uris(after));
    changes.set(
        (&pair.0, &pair.1),
        |it| format!("may have people sent back to {it}"),
        |it| format!("may no longer have people sent back to {it}"),
    );
}

/// Says how a client proves itself; other keys give other words.
fn proof(keys: &ClientKeys) -> String {
    match keys {
        ClientKeys::Public => "nothing (a public client)".to_owned(),
        ClientKeys::At(at) => format!("the keys at {at}"),
        ClientKeys::Given(keys) => format!("the keys {}", Digest::of(keys.as_bytes())),
    }
}
