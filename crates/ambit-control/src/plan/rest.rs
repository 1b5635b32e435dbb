//! What changes beside the agents: how servers are reached, what people may do, which policies stand.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::estate::{
    BearerTokens, Estate, MountAccess, OidcSubject, Person, Server, StdioNetwork, Transport,
};

use super::{Changes, Direction, Subject};
use crate::visible::visible;

/// Compares whose workload tokens are believed.
pub(super) fn issuers(old: Option<&Estate>, new: &Estate) -> Vec<Subject> {
    let empty = BTreeMap::new();
    let before = old.map_or(&empty, |it| &it.issuers);
    let names: BTreeSet<_> = before.keys().chain(new.issuers.keys()).collect();
    let subject = |name| {
        let mut changes = Changes::default();
        match (before.get(name), new.issuers.get(name)) {
            (None, Some(it)) => {
                let text = format!("{} is believed for audience {}", it.issuer, it.audience);
                changes.add(Direction::Widens, text);
            }
            (Some(_), None) => changes.add(Direction::Narrows, "is believed no longer"),
            (Some(had), Some(has)) => {
                changes.altered("issuer", &had.issuer, &has.issuer);
                changes.altered("audience", &had.audience, &has.audience);
                if had.keys != has.keys {
                    changes.add(Direction::Alters, "has its keys from elsewhere");
                }
            }
            (None, None) => {}
        }
        changes.of(format!("issuer {name}"))
    };
    names.into_iter().map(subject).collect()
}

/// Compares how the gateway reaches each server and what it believes of it.
pub(super) fn servers(old: Option<&Estate>, new: &Estate) -> Vec<Subject> {
    let empty = BTreeMap::new();
    let before = old.map_or(&empty, |it| &it.servers);
    let names: BTreeSet<_> = before.keys().chain(new.servers.keys()).collect();
    let subject = |name| {
        let mut changes = Changes::default();
        match (before.get(name), new.servers.get(name)) {
            (None, Some(server)) => {
                let text = format!("is new: {}", transport(&server.transport));
                changes.add(Direction::Widens, text);
            }
            (Some(_), None) => changes.add(Direction::Narrows, "is gone"),
            (Some(had), Some(has)) => server(had, has, &mut changes),
            (None, None) => {}
        }
        changes.of(format!("server {name}"))
    };
    names.into_iter().map(subject).collect()
}

fn server(old: &Server, new: &Server, changes: &mut Changes) {
    changes.altered("owner", &old.owner, &new.owner);
    changes.altered("environment", &old.environment, &new.environment);
    if old.transport != new.transport {
        changes.add(
            Direction::Alters,
            format!(
                "is now {} (was: {})",
                transport(&new.transport),
                transport(&old.transport)
            ),
        );
    }
    let labels = |it: &Server| it.content_labels.iter().cloned().collect::<BTreeSet<_>>();
    changes.set(
        (&labels(new), &labels(old)),
        |it| format!("its resources and prompts no longer count as {it}"),
        |it| format!("its resources and prompts now count as {it}"),
    );
    changes.altered(
        "its resources and prompts count as",
        &old.content_trust.as_str(),
        &new.content_trust.as_str(),
    );
}

fn transport(transport: &Transport) -> String {
    match transport {
        Transport::Http { url, credential } => match credential {
            Some(credential) => format!("{url} with credential {}", credential.reference),
            None => format!("{url} without credential"),
        },
        Transport::Stdio {
            command,
            environment,
            mounts,
            network,
            limits,
        } => {
            let mut text = format!("the program `{}`", command.join(" "));
            for mount in mounts {
                let access = match mount.access {
                    MountAccess::ReadOnly => "reads",
                    MountAccess::ReadWrite => "changes",
                };
                text.push_str(&format!(", {access} {} as {}", mount.source, mount.target));
            }
            for (name, value) in environment {
                text.push_str(&format!(", {name}={value}"));
            }
            text.push_str(match network {
                StdioNetwork::None => ", no network",
                StdioNetwork::Host => ", the machine's network",
            });
            text.push_str(&format!(
                ", at most {} MiB, {} processes and {} open files",
                limits.memory_mib, limits.processes, limits.open_files
            ));
            text
        }
    }
}

/// Compares what each person may do.
pub(super) fn people(old: Option<&Estate>, new: &Estate) -> Vec<Subject> {
    let empty = BTreeMap::new();
    let before = old.map_or(&empty, |it| &it.people);
    let aliases: BTreeSet<_> = before.keys().chain(new.people.keys()).collect();
    let subject = |alias: &String| {
        let mut changes = Changes::default();
        let none = BTreeSet::new();
        let roles = |it: Option<&Person>| it.map_or(none.clone(), |it| it.roles.clone());
        let (had, has) = (before.get(alias), new.people.get(alias));
        changes.set(
            (&roles(had), &roles(has)),
            |it| format!("becomes {}", it.as_str()),
            |it| format!("is no longer {}", it.as_str()),
        );
        let groups = |it: Option<&Person>| it.map_or_else(BTreeSet::new, |it| it.groups.clone());
        // What a group is forbidden, and what others are, is in the policies.
        for group in groups(has).difference(&groups(had)) {
            changes.add(Direction::Alters, format!("is in group {group}"));
        }
        for group in groups(had).difference(&groups(has)) {
            changes.add(Direction::Alters, format!("is no longer in group {group}"));
        }
        let uid = |it: Option<&Person>| it.and_then(|it| it.unix_uid);
        match (uid(had), uid(has)) {
            (None, Some(uid)) => changes.add(Direction::Widens, format!("is local user {uid}")),
            (Some(uid), None) => {
                changes.add(Direction::Narrows, format!("is no longer local user {uid}"));
            }
            (Some(old), Some(new)) => changes.altered("local user", &old, &new),
            (None, None) => {}
        }
        let oidc = |it: Option<&Person>| it.and_then(|it| it.oidc.clone());
        let shown =
            |it: &OidcSubject| format!("`{}` at {}", visible(&it.subject), visible(&it.issuer));
        match (oidc(had), oidc(has)) {
            (None, Some(new)) => {
                changes.add(Direction::Widens, format!("signs in as {}", shown(&new)));
            }
            (Some(old), None) => {
                let text = format!("no longer signs in as {}", shown(&old));
                changes.add(Direction::Narrows, text);
            }
            (Some(old), Some(new)) => changes.altered("sign-in", &shown(&old), &shown(&new)),
            (None, None) => {}
        }
        changes.of(format!("person {alias}"))
    };
    aliases.into_iter().map(subject).collect()
}

/// Compares which access tokens are taken.
pub(super) fn tokens(old: Option<&Estate>, new: &Estate) -> Option<Subject> {
    let had = old.map_or(BearerTokens::Refused, |it| it.bearer_tokens);
    let mut changes = Changes::default();
    match (had, new.bearer_tokens) {
        (BearerTokens::Refused, BearerTokens::Taken) => changes.add(
            Direction::Widens,
            "those bound to no key are taken, where a template says so: whoever has one can use it",
        ),
        (BearerTokens::Taken, BearerTokens::Refused) => {
            changes.add(Direction::Narrows, "those bound to no key are refused");
        }
        (BearerTokens::Refused, BearerTokens::Refused)
        | (BearerTokens::Taken, BearerTokens::Taken) => {}
    }
    Some(changes.of("access tokens".to_owned()))
}

/// Compares the tenant's policies. They only forbid or ask, so that one more never gives anything.
pub(super) fn policies(old: Option<&Estate>, new: &Estate) -> Vec<Subject> {
    let texts = |it: &'_ Estate| -> BTreeMap<String, String> {
        let pair = |it: &ambit_core::estate::PolicyFile| (it.path.clone(), it.text.clone());
        let all = it.policies.iter().chain(&it.people_policies);
        all.map(pair).collect()
    };
    let before = old.map(texts).unwrap_or_default();
    let after = texts(new);
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let subject = |path: &String| {
        let mut changes = Changes::default();
        match (before.get(path), after.get(path)) {
            (None, Some(_)) => {
                changes.add(Direction::Narrows, "is new; policies only forbid or ask")
            }
            (Some(_), None) => changes.add(Direction::Widens, "is gone, with all that it forbade"),
            (Some(had), Some(has)) if had != has => {
                changes.add(Direction::Alters, "has another text; read the difference");
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        changes.of(format!("policy {path}"))
    };
    paths.into_iter().map(subject).collect()
}
