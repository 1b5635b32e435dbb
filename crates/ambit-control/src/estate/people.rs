//! `estate.toml`: the people who may do more than nothing, and which access tokens are taken.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    AgentName, GroupName,
    estate::{BearerTokens, OidcSubject, Person, PersonRole},
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
    let mut taken = Taken::default();
    section
        .fields()
        .filter_map(|field| person(&field, &mut taken))
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

/// Who people are elsewhere: each name is one person's.
#[derive(Default)]
struct Taken {
    uids: BTreeSet<u32>,
    subjects: BTreeSet<OidcSubject>,
}

fn person(field: &Field<'_>, taken: &mut Taken) -> Option<Person> {
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
    let oidc = section.optional("oidc");
    let roles = section.required("roles", r#"roles = ["starter"]"#);
    let groups = section.optional("groups");
    section.finish();
    let roles = roles?
        .items()?
        .iter()
        .filter_map(|it| it.word(&ROLES))
        .collect();
    let groups = match groups {
        Some(groups) => groups_of(&groups)?,
        None => BTreeSet::new(),
    };
    let unix_uid = match unix_uid {
        Some(uid) => Some(unix_uid_of(&uid, &mut taken.uids)?),
        None => None,
    };
    let oidc = match oidc {
        Some(subject) => Some(subject_of(&subject, &mut taken.subjects)?),
        None => None,
    };
    Some(Person {
        alias: field.key.to_owned(),
        unix_uid,
        oidc,
        roles,
        groups,
    })
}

fn groups_of(field: &Field<'_>) -> Option<BTreeSet<GroupName>> {
    let items = field.items()?;
    if items.len() > GROUPS_OF_PERSON_MAX {
        field.problem(format!(
            "a person is in at most {GROUPS_OF_PERSON_MAX} groups"
        ));
        return None;
    }
    Some(items.iter().filter_map(Field::parsed).collect())
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

fn subject_of(field: &Field<'_>, taken: &mut BTreeSet<OidcSubject>) -> Option<OidcSubject> {
    let mut section = field.section("`oidc`")?;
    let issuer = section.required("issuer", r#"issuer = "https://id.example.org""#);
    let subject = section.required("subject", r#"subject = "248289761001""#);
    section.finish();
    let found = OidcSubject {
        issuer: bounded(&issuer?)?,
        subject: bounded(&subject?)?,
    };
    if !taken.insert(found.clone()) {
        field.problem(format!(
            "`{}` at {} would be two people; name one person",
            found.subject, found.issuer
        ));
        return None;
    }
    Some(found)
}

fn bounded(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let is_printed = text.bytes().all(|it| it.is_ascii_graphic());
    if text.is_empty() || text.len() > OIDC_NAME_BYTES_MAX || !is_printed {
        field.problem(format!(
            "`{}` must have 1 to {OIDC_NAME_BYTES_MAX} ASCII characters and no spaces; copy it as the provider spells it",
            field.key
        ));
        return None;
    }
    Some(text.to_owned())
}

/// The most groups of one person: each of the person's acts leaves them in the record.
pub const GROUPS_OF_PERSON_MAX: usize = 32;
/// The longest name of a provider, and of a person at one (OpenID Connect Core §2: `sub` has at most 255), in bytes.
const OIDC_NAME_BYTES_MAX: usize = 255;

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an estate with one person, and returns its problems.
    fn problems(groups: &str) -> Vec<String> {
        let text = format!("[people.ada]\nroles = [\"starter\"]\ngroups = [{groups}]\n");
        let read = EstateFiles::from_texts([("estate.toml", text.as_str())]);
        let problems = read.and_then(|it| it.load()).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn groups_of_a_person_end_at_their_maximum() {
        let of = |count: usize| {
            let groups: Vec<_> = (0..count).map(|it| format!("\"g{it}\"")).collect();
            problems(&groups.join(", "))
        };
        assert_eq!(of(GROUPS_OF_PERSON_MAX), Vec::<String>::new());
        let told = ["estate.toml:3:10: a person is in at most 32 groups"];
        assert_eq!(of(GROUPS_OF_PERSON_MAX + 1), told);
        let told = problems("\"Night\"");
        assert_eq!(told.len(), 1, "{told:?}");
        let expected = "estate.toml:3:11: `Night` is no name for a group: write 1 to 63 ";
        assert!(told[0].starts_with(expected), "{told:?}");
    }
}
