//! `estate.toml`: the people who may do more than nothing, and which access tokens are taken.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    AgentName,
    estate::{BearerTokens, Person, PersonRole},
};

use super::{
    document::{Field, Source},
    files::{EstateFiles, Kind},
    problem::Problems,
};

/// What `estate.toml` says.
pub(super) struct Root {
    /// The people by their aliases.
    pub(super) people: BTreeMap<String, Person>,
    /// Whether access tokens that are bound to no key are taken.
    pub(super) bearer_tokens: BearerTokens,
}

/// Reads `estate.toml`.
pub(super) fn read(files: &EstateFiles, problems: &Problems) -> Root {
    let Some((_, path, text)) = files.of_kind(Kind::Root).next() else {
        problems.add_whole("estate.toml", MISSING);
        return Root {
            people: BTreeMap::new(),
            bearer_tokens: BearerTokens::Refused,
        };
    };
    let source = Source::new(path, text, problems);
    let parsed = source.parse();
    let mut root = source.section(parsed.get_ref(), "estate.toml");
    let people = root.optional("people");
    let tokens = root.optional("tokens");
    root.finish();
    Root {
        people: people_of(people),
        bearer_tokens: bearer_tokens(tokens),
    }
}

fn people_of(field: Option<Field<'_>>) -> BTreeMap<String, Person> {
    let Some(section) = field.and_then(|it| it.section("`people`")) else {
        return BTreeMap::new();
    };
    let mut uids = BTreeSet::new();
    section
        .fields()
        .filter_map(|field| person(&field, &mut uids))
        .map(|it| (it.alias.clone(), it))
        .collect()
}

fn bearer_tokens(field: Option<Field<'_>>) -> BearerTokens {
    let Some(mut section) = field.and_then(|it| it.section("`tokens`")) else {
        return BearerTokens::Refused;
    };
    let bearer = section.optional("bearer");
    section.finish();
    match bearer.and_then(|it| it.truth()) {
        Some(true) => BearerTokens::Taken,
        Some(false) | None => BearerTokens::Refused,
    }
}

fn person(field: &Field<'_>, uids: &mut BTreeSet<u32>) -> Option<Person> {
    // An alias is spelled as the other names are.
    if field.key.parse::<AgentName>().is_err() {
        field.problem(format!(
            "`{}` is no alias; write 1 to 63 lowercase letters, digits and inner hyphens",
            field.key
        ));
        return None;
    }
    let mut section = field.section("a person")?;
    let unix_uid = section.optional("unix_uid");
    let roles = section.required("roles", r#"roles = ["starter"]"#);
    section.finish();
    let roles = roles?
        .items()?
        .iter()
        .filter_map(|it| it.word(&ROLES))
        .collect();
    let unix_uid = match unix_uid {
        Some(uid) => Some(unix_uid_of(&uid, uids)?),
        None => None,
    };
    Some(Person {
        alias: field.key.to_owned(),
        unix_uid,
        roles,
    })
}

fn unix_uid_of(field: &Field<'_>, taken: &mut BTreeSet<u32>) -> Option<u32> {
    let uid = u32::try_from(field.integer(0, i64::from(u32::MAX))?).ok()?;
    if !taken.insert(uid) {
        field.problem(format!(
            "the local user {uid} would be two people; name one person"
        ));
        return None;
    }
    Some(uid)
}

const ROLES: [(&str, PersonRole); 5] = [
    (PersonRole::Starter.as_str(), PersonRole::Starter),
    (PersonRole::Approver.as_str(), PersonRole::Approver),
    (PersonRole::Operator.as_str(), PersonRole::Operator),
    (PersonRole::Auditor.as_str(), PersonRole::Auditor),
    (
        PersonRole::Administrator.as_str(),
        PersonRole::Administrator,
    ),
];

const MISSING: &str =
    "an estate begins with this file; write `[people.ALIAS]` with `roles = [\"starter\"]` in it";
