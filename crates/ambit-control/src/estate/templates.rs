//! `templates/NAME.toml`: the most that a kind of task may ask for.

mod grants;
mod parameters;

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    AgentName, Labels, Millis, ServerName, TemplateName,
    estate::{Approver, Containment, Delegable, LeastBinding, Server, Starters, Template},
    limits::{DELEGATION_DEPTH_MAX, TASK_TTL_MAX},
};

use super::{
    Known,
    document::{Field, Section, read_folder},
    files::{EstateFiles, Kind},
    problem::Problems,
};

/// The most calls that a template may allow one task.
const CALLS_MAX: u32 = 1_000_000;

/// Reads the templates by their names.
pub(super) fn read(
    files: &EstateFiles,
    known: &Known<'_>,
    people: &BTreeSet<&str>,
    servers: &BTreeMap<ServerName, Server>,
    problems: &Problems,
) -> BTreeMap<TemplateName, Template> {
    read_folder(files, Kind::Template, problems, |source, name| {
        let parsed = source.parse();
        let root = source.section(parsed.get_ref(), "a template");
        template(root, name, known, people, servers)
    })
}

fn template(
    mut root: Section<'_>,
    name: TemplateName,
    known: &Known<'_>,
    people: &BTreeSet<&str>,
    servers: &BTreeMap<ServerName, Server>,
) -> Option<Template> {
    let version = root.required("version", "version = 1");
    let version = version.and_then(|it| it.count(u32::MAX));
    let owner = root.required("owner", r#"owner = "ALIAS""#);
    let owner = owner.and_then(|it| it.one_of("person", people.iter().copied()));
    let purpose = root.required("purpose", r#"purpose = "what such a task is for""#);
    let purpose = purpose.and_then(|it| it.words());
    let parameters = parameters::read(root.optional("parameters"));
    let reads = reads(root.optional("reads"), known);
    let tools = grants::read(root.optional("tools"), &parameters, known, servers);
    let calls_max = root.required("calls_max", "calls_max = 100");
    let calls_max = calls_max.and_then(|it| it.count(CALLS_MAX));
    let ttl = root.required("ttl", r#"ttl = "30m""#);
    let ttl = ttl.and_then(|it| ttl_of(&it));
    let may_emit = root.optional("may_emit");
    let may_emit = may_emit.map_or(Some(Labels::none()), |it| it.labels());
    let starters = starters(root.optional("starters"), people);
    let approver = root.optional("approver");
    let approver = approver.map_or(Some(Approver::AnotherPerson), |it| it.word(&APPROVERS));
    let containment = root.optional("containment");
    let containment = containment.map_or(Some(Containment::Required), |it| it.word(&CONTAINMENTS));
    let binding = binding(root.optional("binding"), root.optional("bearer"));
    let delegation = root.optional("delegation");
    let delegation = delegation.map_or(Some(Delegable::No), |it| delegable(&it, known));
    root.finish();
    Some(Template {
        name,
        version: version?,
        owner: owner?.to_owned(),
        purpose: purpose?,
        parameters: parameters.into_known()?,
        reads: reads?,
        tools: tools?,
        calls_max: calls_max?,
        ttl: ttl?,
        may_emit: may_emit?,
        starters: starters?,
        approver: approver?,
        containment: containment?,
        binding: binding?,
        delegation: delegation?,
    })
}

/// Reads to which agents parts of such a task may be delegated, and how deep.
fn delegable(field: &Field<'_>, known: &Known<'_>) -> Option<Delegable> {
    let mut section = field.section("`delegation`")?;
    let to = section.required("to", r#"to = ["AGENT"]"#);
    let depth_max = section.optional("depth_max");
    section.finish();
    let to = to?;
    let agent = |it: &Field<'_>| -> Option<AgentName> {
        it.one_of("agent", known.agents.iter().copied())?
            .parse()
            .ok()
    };
    let agents: Vec<Option<AgentName>> = to.items()?.iter().map(agent).collect();
    let agents: BTreeSet<AgentName> = agents.into_iter().collect::<Option<_>>()?;
    if agents.is_empty() {
        to.problem("nobody could take a part; name at least one agent, or leave `delegation` out");
        return None;
    }
    let depth_max = match depth_max {
        None => 1,
        Some(field) => field.integer(1, DELEGATION_DEPTH_MAX.into())?,
    };
    Some(Delegable::To {
        agents,
        depth_max: u8::try_from(depth_max).ok()?,
    })
}

/// Reads the weakest proof: `binding`, and what it is good for when it is `bearer`.
fn binding(binding: Option<Field<'_>>, bearer: Option<Field<'_>>) -> Option<LeastBinding> {
    let least = binding.map_or(Some(LeastBinding::Dpop), |it| it.word(&BINDINGS))?;
    let Some(bearer) = bearer else {
        return Some(least);
    };
    let good_for = bearer.word(&BEARERS)?;
    if least != LeastBinding::BearerToRead {
        bearer.problem("`bearer` says what `binding = \"bearer\"` is good for; write that too, or leave this out");
        return None;
    }
    Some(good_for)
}

fn reads(field: Option<Field<'_>>, known: &Known<'_>) -> Option<BTreeSet<ServerName>> {
    let Some(field) = field else {
        return Some(BTreeSet::new());
    };
    let read = |it: &Field<'_>| -> Option<ServerName> {
        it.one_of("server", known.servers.iter().copied())?
            .parse()
            .ok()
    };
    let names: Vec<Option<ServerName>> = field.items()?.iter().map(read).collect();
    names.into_iter().collect()
}

fn ttl_of(field: &Field<'_>) -> Option<Millis> {
    let ttl: Millis = field.parsed()?;
    if ttl.as_millis() == 0 || ttl > TASK_TTL_MAX {
        field.problem(format!(
            "a task lives at most {TASK_TTL_MAX}; write a span up to that, such as `30m`"
        ));
        return None;
    }
    Some(ttl)
}

/// Reads who may start such tasks: `"any_starter"` or a list of aliases.
fn starters(field: Option<Field<'_>>, people: &BTreeSet<&str>) -> Option<Starters> {
    let Some(field) = field else {
        return Some(Starters::AnyStarter);
    };
    if field.is_text() {
        return field
            .word(&[("any_starter", ())])
            .map(|()| Starters::AnyStarter);
    }
    let alias = |it: &Field<'_>| {
        it.one_of("person", people.iter().copied())
            .map(str::to_owned)
    };
    let aliases: Vec<Option<String>> = field.items()?.iter().map(alias).collect();
    let aliases: BTreeSet<String> = aliases.into_iter().collect::<Option<_>>()?;
    if aliases.is_empty() {
        field.problem("nobody could start such a task; name at least one person");
        return None;
    }
    Some(Starters::Only(aliases))
}

const APPROVERS: [(&str, Approver); 2] = [
    ("anyone", Approver::Anyone),
    ("another_person", Approver::AnotherPerson),
];

/// Without a word on it, a token that is bound to no key is good for reading.
const BINDINGS: [(&str, LeastBinding); 3] = [
    ("mtls", LeastBinding::Mtls),
    ("dpop", LeastBinding::Dpop),
    ("bearer", LeastBinding::BearerToRead),
];

const BEARERS: [(&str, LeastBinding); 2] = [
    ("reads", LeastBinding::BearerToRead),
    ("acts", LeastBinding::BearerToAct),
];

const CONTAINMENTS: [(&str, Containment); 2] = [
    ("required", Containment::Required),
    ("optional", Containment::Optional),
];
