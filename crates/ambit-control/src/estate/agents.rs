//! `agents/NAME.toml`: workloads with an owner and a purpose.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    AgentName, ServerName, TemplateName,
    estate::{Agent, Endpoint, Risk, Server, Template, Workload},
};

use super::{
    Known,
    document::{Field, Section, read_folder},
    federations,
    files::{EstateFiles, Kind},
    issuers,
    problem::Problems,
};

/// What agents refer to, as far as it could be read.
type Declared<'a> = (
    &'a BTreeMap<ServerName, Server>,
    &'a BTreeMap<TemplateName, Template>,
);

/// Reads the agents by their names.
pub(super) fn read(
    files: &EstateFiles,
    known: &Known<'_>,
    people: &BTreeSet<&str>,
    declared: Declared<'_>,
    problems: &Problems,
) -> BTreeMap<AgentName, Agent> {
    read_folder(files, Kind::Agent, problems, |source, name| {
        let parsed = source.parse();
        let root = source.section(parsed.get_ref(), "an agent");
        agent(root, name, known, people, declared)
    })
}

fn agent(
    mut root: Section<'_>,
    name: AgentName,
    known: &Known<'_>,
    people: &BTreeSet<&str>,
    declared: Declared<'_>,
) -> Option<Agent> {
    let owner = root.required("owner", r#"owner = "ALIAS""#);
    let owner = owner.and_then(|it| it.one_of("person", people.iter().copied()));
    let purpose = root.required("purpose", r#"purpose = "what it is for""#);
    let purpose = purpose.and_then(|it| it.words());
    let risk = root.required("risk", r#"risk = "medium""#);
    let risk = risk.and_then(|it| it.word(&RISKS));
    let environment = root.required("environment", r#"environment = "production""#);
    let environment = environment.and_then(|it| it.words());
    let review_by = root.required("review_by", r#"review_by = "2027-06-30""#);
    let review_by = review_by.and_then(|it| day(&it));
    let templates = root.required("templates", r#"templates = ["NAME"]"#);
    let templates = templates.and_then(|it| templates_of(&it, known));
    let parts_of = root.optional("parts_of");
    let parts_of = parts_of.map_or(Some(BTreeMap::new()), |it| templates_of(&it, known));
    let endpoints = root.optional("model_endpoints");
    let model_endpoints = endpoints.map_or(Some(BTreeSet::new()), |it| endpoints_of(&it));
    let workloads = root.optional("workload");
    let workloads = workloads.map_or(Some(Vec::new()), |it| workloads_of(&it));
    let tokens = root.optional("token");
    let tokens = tokens.map_or(Some(Vec::new()), |it| {
        issuers::registrations(&it, &known.issuers)
    });
    let svids = root.optional("svid");
    let svids = svids.map_or(Some(Vec::new()), |it| {
        federations::registrations(&it, &known.federations)
    });
    let federates_with = root.optional("federates_with");
    let federates_with = federates_with.map_or(Some(BTreeSet::new()), |it| {
        federations::federates_with(&it, &known.federations)
    });
    root.finish();
    let environment = environment?;
    let (templates, fields): (BTreeSet<_>, Vec<_>) = templates?.into_iter().unzip();
    let (parts_of, of_parts): (BTreeSet<_>, Vec<_>) = parts_of?.into_iter().unzip();
    let all = templates.iter().zip(&fields);
    for (template, field) in all.chain(parts_of.iter().zip(&of_parts)) {
        meets_its_servers(field, template, &environment, declared);
    }
    Some(Agent {
        name,
        owner: owner?.to_owned(),
        purpose: purpose?,
        risk: risk?,
        environment,
        review_by: review_by?,
        templates,
        parts_of,
        model_endpoints: model_endpoints?,
        workloads: workloads?,
        tokens: tokens?,
        svids: svids?,
        federates_with: federates_with?,
    })
}

/// Notes a template whose servers live elsewhere: every call would be denied.
fn meets_its_servers(
    field: &Field<'_>,
    template: &TemplateName,
    environment: &str,
    (servers, templates): Declared<'_>,
) {
    let Some(template) = templates.get(template) else {
        return;
    };
    let named: BTreeSet<&ServerName> = template
        .reads
        .iter()
        .chain(template.tools.keys().map(|(server, _)| server))
        .collect();
    for server in named.into_iter().filter_map(|it| servers.get(it)) {
        if server.environment != environment {
            field.problem(format!(
                "template `{}` needs server `{}` of environment `{}`, and this agent lives in `{environment}`; every call would be denied: give both one environment",
                template.name, server.name, server.environment
            ));
        }
    }
}

fn templates_of<'a>(
    field: &Field<'a>,
    known: &Known<'_>,
) -> Option<BTreeMap<TemplateName, Field<'a>>> {
    let template = |it: &Field<'a>| -> Option<(TemplateName, Field<'a>)> {
        let name = it.one_of("template", known.templates.iter().copied())?;
        Some((name.parse().ok()?, *it))
    };
    let read: Vec<Option<_>> = field.items()?.iter().map(template).collect();
    read.into_iter().collect()
}

fn endpoints_of(field: &Field<'_>) -> Option<BTreeSet<Endpoint>> {
    let read: Vec<Option<Endpoint>> = field.items()?.iter().map(endpoint).collect();
    read.into_iter().collect()
}

fn endpoint(field: &Field<'_>) -> Option<Endpoint> {
    let text = field.text()?;
    let found = parse_endpoint(text);
    if found.is_none() {
        field.problem(format!(
            "`{text}` is no endpoint; write a host in lowercase and a port, such as `api.example.com:443`"
        ));
    }
    found
}

/// Reads `host:port`.
pub(super) fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|it| *it > 0)?;
    let is_plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    let is_name = host
        .split('.')
        .all(|it| !it.is_empty() && it.bytes().all(is_plain));
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_address = bare.is_some_and(|it| it.parse::<std::net::Ipv6Addr>().is_ok());
    (is_name && host.len() <= 253 || is_address).then(|| Endpoint {
        host: host.to_owned(),
        port,
    })
}

/// Reads `[[workload]]`: how a process of this machine proves to be a run of the agent.
fn workloads_of(field: &Field<'_>) -> Option<Vec<Workload>> {
    let mut workloads =
        field.registrations(WORKLOADS_MAX, "registrations of workloads", workload)?;
    workloads.sort();
    workloads.dedup();
    Some(workloads)
}

fn workload(field: &Field<'_>) -> Option<Workload> {
    let mut section = field.section("a workload")?;
    let number = |it: Field<'_>| u32::try_from(it.integer(0, i64::from(u32::MAX))?).ok();
    let uid = section.optional("uid").map(number);
    let gid = section.optional("gid").map(number);
    let path = section.optional("path").map(|it| absolute(&it));
    let sha256 = section.optional("sha256").map(|it| it.parsed());
    let unit = section.optional("unit").map(|it| it.words());
    section.finish();
    // A key that is there and could not be read makes the registration wider than it was meant.
    let workload = Workload {
        uid: given(uid)?,
        gid: given(gid)?,
        path: given(path)?,
        sha256: given(sha256)?,
        unit: given(unit)?,
    };
    if workload.count() == 0 {
        field.problem(
            "a workload names nothing and would fit every process; write at least one of `uid`, `gid`, `path`, \
             `sha256` and `unit`",
        );
        return None;
    }
    Some(workload)
}

/// Turns a key that may be missing but not unreadable inside out.
fn given<T>(field: Option<Option<T>>) -> Option<Option<T>> {
    match field {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

fn absolute(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let plain = text.starts_with('/')
        && text
            .split('/')
            .skip(1)
            .all(|it| !matches!(it, "" | "." | ".."));
    if !plain {
        field.problem(format!(
            "`{text}` is no absolute path of a file; write it as `/usr/bin/agent`, without links"
        ));
    }
    plain.then(|| text.to_owned())
}

fn day(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let parsed = text.parse::<toml::value::Datetime>().ok();
    let day = parsed.filter(|it| it.time.is_none() && it.offset.is_none());
    let day = day.and_then(|it| it.date);
    if day.is_none() {
        field.problem(format!("`{text}` is no day; write it as `2027-06-30`"));
    }
    day.map(|it| it.to_string())
}

/// The most registrations of one agent.
const WORKLOADS_MAX: usize = 64;

const RISKS: [(&str, Risk); 4] = [
    (Risk::Low.as_str(), Risk::Low),
    (Risk::Medium.as_str(), Risk::Medium),
    (Risk::High.as_str(), Risk::High),
    (Risk::Critical.as_str(), Risk::Critical),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estate::files::EstateFiles;

    #[test]
    fn an_agent_has_so_many_workloads() {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");
        let agent = "agents/support-bot.toml";
        for (count, fits) in [(WORKLOADS_MAX, true), (WORKLOADS_MAX + 1, false)] {
            let files = EstateFiles::collect(std::path::Path::new(demo)).unwrap();
            let own: String = (0..count)
                .map(|uid| format!("[[workload]]\nuid = {}\n", 5000 + uid))
                .collect();
            let text = format!("{}\n{own}", files.text(agent).unwrap());
            assert_eq!(
                files.with_file(agent, &text).load().is_ok(),
                fits,
                "{count}"
            );
        }
    }
}
