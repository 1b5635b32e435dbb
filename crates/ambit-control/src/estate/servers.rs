//! `servers/NAME.toml` and `servers/NAME.tools.json`: upstreams, as their owners accepted them.

mod tools;
mod transport;

use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
pub(super) use self::transport::{
    COMMAND_WORDS_MAX, MOUNTS_MAX, STDIO_MEMORY_MIB_MAX, STDIO_OPEN_FILES_MAX, STDIO_TREE_MAX,
};

use ambit_core::{
    Labels, ServerName,
    estate::{Server, Trust},
};

use super::{
    document::{Section, Source, read_folder},
    files::{EstateFiles, Kind},
    problem::Problems,
};

/// Reads the servers by their names.
pub(super) fn read(
    files: &EstateFiles,
    people: &BTreeSet<&str>,
    problems: &Problems,
) -> BTreeMap<ServerName, Server> {
    let servers = read_folder(files, Kind::Server, problems, |source, name| {
        server(source, name, files, people, problems)
    });
    for (stem, path, _) in files.of_kind(Kind::Definitions) {
        if files.text(&format!("servers/{stem}.toml")).is_none() {
            problems.add_whole(
                path,
                format!("nothing refers to these definitions; write servers/{stem}.toml or remove the file"),
            );
        }
    }
    servers
}

fn server(
    source: &Source<'_>,
    name: ServerName,
    files: &EstateFiles,
    people: &BTreeSet<&str>,
    problems: &Problems,
) -> Option<Server> {
    let parsed = source.parse();
    let mut root = source.section(parsed.get_ref(), "a server");
    let owner = root.required("owner", r#"owner = "ALIAS""#);
    let owner = owner.and_then(|it| it.one_of("person", people.iter().copied()));
    let environment = root.required("environment", r#"environment = "production""#);
    let environment = environment.and_then(|it| it.words());
    let content_labels = labels(&mut root, "content_labels");
    let content_trust = trust(&mut root, "content_trust");
    let transport = transport::read(&mut root);
    let definitions = tools::definitions(&name, files, problems);
    let tools = root.optional("tools").and_then(|it| it.section("`tools`"));
    let tools = tools::read(tools.as_ref(), &name, definitions.as_ref(), source);
    root.finish();
    Some(Server {
        name,
        owner: owner?.to_owned(),
        environment: environment?,
        transport: transport?,
        tools: tools?,
        content_labels: content_labels?,
        content_trust: content_trust?,
    })
}

/// Reads labels; no key means none.
fn labels(section: &mut Section<'_>, key: &'static str) -> Option<Labels> {
    match section.optional(key) {
        Some(field) => field.labels(),
        None => Some(Labels::none()),
    }
}

/// Reads whose words something is; no key means anybody's.
fn trust(section: &mut Section<'_>, key: &'static str) -> Option<Trust> {
    match section.optional(key) {
        Some(field) => field.word(&[
            (Trust::ThirdParty.as_str(), Trust::ThirdParty),
            (Trust::OwnerRecord.as_str(), Trust::OwnerRecord),
        ]),
        None => Some(Trust::ThirdParty),
    }
}
