//! `issuers/NAME.toml`: who may say by a token what a workload is; and `[[token]]` of agents.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    IssuerName,
    estate::{
        Issuer, IssuerKeys, TokenRegistration,
        claim_rules::{ClaimRule, ClaimRules, InvalidClaimRule, Pattern, Wanted},
    },
};
use ambit_identity::jose::JwkSet;
use axum::http::Uri;

use super::{
    document::{Field, Section, read_folder},
    files::{EstateFiles, Kind},
    problem::Problems,
};

/// The most issuers of an estate.
pub const ISSUERS_MAX: usize = 64;
/// The most registrations of tokens of one agent.
const TOKENS_MAX: usize = 64;

/// Reads the issuers by their names.
pub(super) fn read(files: &EstateFiles, problems: &Problems) -> BTreeMap<IssuerName, Issuer> {
    let issuers = read_folder(files, Kind::Issuer, problems, |source, name| {
        let parsed = source.parse();
        issuer(source.section(parsed.get_ref(), "an issuer"), name)
    });
    if issuers.len() > ISSUERS_MAX {
        problems.add_whole(
            "issuers",
            format!("an estate has at most {ISSUERS_MAX} issuers"),
        );
    }
    // Two of one name would make it a matter of order whose registrations count.
    let mut seen = BTreeMap::new();
    for (name, it) in &issuers {
        if let Some(first) = seen.insert(&it.issuer, name) {
            let path = format!("issuers/{name}.toml");
            problems.add_whole(
                &path,
                format!("issuer `{first}` is the same; keep one file"),
            );
        }
    }
    issuers
}

fn issuer(mut root: Section<'_>, name: IssuerName) -> Option<Issuer> {
    let issuer = root.required("issuer", r#"issuer = "https://token.example.com""#);
    let issuer = issuer.and_then(|it| https(&it));
    let audience = root.required("audience", r#"audience = "https://ambit.example.org""#);
    let audience = audience.and_then(|it| it.words());
    let at = root.optional("jwks_uri");
    let given = root.optional("jwks");
    root.finish();
    let keys = match (at, given) {
        (None, None) => IssuerKeys::Discovered,
        (Some(at), None) => IssuerKeys::At(https(&at)?),
        (None, Some(given)) => IssuerKeys::Given(key_set(&given)?),
        (Some(_), Some(given)) => {
            given.problem("keys have one source; write `jwks_uri` or `jwks`");
            return None;
        }
    };
    Some(Issuer {
        name,
        issuer: issuer?,
        audience: audience?,
        keys,
    })
}

/// Reads an address for fetching.
pub(super) fn https(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let fits = text.parse::<Uri>().is_ok_and(|it| {
        it.scheme_str() == Some("https")
            && it.authority().is_some_and(|it| !it.as_str().contains('@'))
            && it.query().is_none()
            && !text.contains('#')
    });
    if !fits {
        field.problem("write `https://HOST/PATH` without user name, `?` or `#`");
    }
    fits.then(|| text.to_owned())
}

/// Reads a JWK Set of public keys, as text.
pub(super) fn key_set(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    match JwkSet::parse(text.as_bytes()) {
        Ok(_) => Some(text.to_owned()),
        Err(error) => {
            field.problem(format!("`jwks` is no JWK Set: {error}"));
            None
        }
    }
}

/// Reads `[[token]]`: which tokens of an issuer are the agent.
pub(super) fn registrations(
    field: &Field<'_>,
    known: &BTreeSet<&str>,
) -> Option<Vec<TokenRegistration>> {
    field.registrations(TOKENS_MAX, "`[[token]]`", |it| registration(it, known))
}

fn registration(field: &Field<'_>, known: &BTreeSet<&str>) -> Option<TokenRegistration> {
    let mut section = field.section("a token")?;
    let issuer = section.required("issuer", r#"issuer = "NAME""#);
    let issuer = issuer.and_then(|it| it.one_of("issuer", known.iter().copied()));
    let claims = section.required(
        "claims",
        r#"claims = { sub = "repo:example/books:ref:refs/heads/*" }"#,
    );
    section.finish();
    let claims = claims?;
    let mut rules = Vec::new();
    let read = gather(&claims, &mut Vec::new(), &mut rules);
    read?;
    let rules = noted(&claims, ClaimRules::new(rules))?;
    Some(TokenRegistration {
        issuer: issuer?.parse().ok()?,
        claims: rules,
    })
}

/// Reads a table of claims: a text, a list of texts, or a table of the claims within.
fn gather(field: &Field<'_>, path: &mut Vec<String>, rules: &mut Vec<ClaimRule>) -> Option<()> {
    for inner in field.section("the claims")?.fields() {
        path.push(inner.key.to_owned());
        if inner.is_text() || inner.is_list() {
            let wanted = wanted(&inner)?;
            rules.push(noted(&inner, ClaimRule::new(path.clone(), wanted))?);
        } else {
            gather(&inner, path, rules)?;
        }
        path.pop();
    }
    Some(())
}

/// Reads a text, a pattern or a list of texts.
pub(super) fn wanted(field: &Field<'_>) -> Option<Wanted> {
    if field.is_list() {
        let texts = field.items()?;
        let texts = texts.iter().map(|it| it.text().map(str::to_owned));
        return Some(Wanted::OneOf(texts.collect::<Option<_>>()?));
    }
    let text = field.text()?;
    if text.contains('*') {
        return Some(Wanted::Pattern(noted(field, Pattern::new(text))?));
    }
    Some(Wanted::OneOf(vec![text.to_owned()]))
}

pub(super) fn noted<T>(field: &Field<'_>, read: Result<T, InvalidClaimRule>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            field.problem(error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "issuer = \"https://token.example.com\"\naudience = \"ambit\"\n";

    /// Loads the demo estate with an issuer and registrations of tokens, and expects a part of its first problem.
    #[track_caller]
    fn check(issuer: &str, tokens: &str, expected: &str) {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");
        let files = EstateFiles::collect(std::path::Path::new(demo)).unwrap();
        let agent = "agents/support-bot.toml";
        let text = format!("{}\n{tokens}", files.text(agent).unwrap());
        let files = files
            .with_file(agent, &text)
            .with_file("issuers/builds.toml", issuer);
        let found = files
            .load()
            .map(|it| it.estate)
            .map_err(|it| it[0].to_string());
        match found {
            Ok(estate) => assert!(expected.is_empty(), "{estate:?}"),
            Err(found) => assert!(!expected.is_empty() && found.contains(expected), "{found}"),
        }
    }

    #[test]
    fn an_agent_has_so_many_tokens_and_an_estate_so_many_issuers() {
        let tokens = |count: usize| {
            let one = |it: usize| {
                format!("[[token]]\nissuer = \"builds\"\nclaims = {{ sub = \"{it}\" }}\n")
            };
            (0..count).map(one).collect::<String>()
        };
        check(ISSUER, &tokens(TOKENS_MAX), "");
        check(ISSUER, &tokens(TOKENS_MAX + 1), "at most 64 `[[token]]`");
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");
        for (count, fits) in [(ISSUERS_MAX, true), (ISSUERS_MAX + 1, false)] {
            let mut files = EstateFiles::collect(std::path::Path::new(demo)).unwrap();
            for number in 0..count {
                let text = ISSUER.replace("token.", &format!("token{number}."));
                files = files.with_file(&format!("issuers/i{number}.toml"), &text);
            }
            assert_eq!(files.load().is_ok(), fits, "{count}");
        }
    }

    #[test]
    fn issuers_and_registrations_are_read_whole_or_refused() {
        let token = |claims: &str| format!("[[token]]\nissuer = \"builds\"\nclaims = {claims}\n");
        let sub = token(r#"{ sub = "repo:example/books:ref:refs/heads/*" }"#);
        check(ISSUER, &sub, "");
        check(
            ISSUER,
            &token(r#"{ ref = ["a", "b"], "kubernetes.io" = { namespace = "prod" } }"#),
            "",
        );
        check(
            &format!("{ISSUER}jwks_uri = \"https://keys.example.com\""),
            &sub,
            "",
        );
        check(&format!("{ISSUER}jwks = '{{\"keys\":[]}}'"), &sub, "");
        check(&format!("{ISSUER}jwks = '[]'"), &sub, "no JWK Set");
        let both = format!("{ISSUER}jwks = '{{\"keys\":[]}}'\njwks_uri = \"https://k.example\"");
        check(&both, &sub, "keys have one source");
        check(
            &ISSUER.replace("https", "http"),
            &sub,
            "write `https://HOST",
        );
        check("audience = \"ambit\"", &sub, "`issuer` is missing");
        check(&format!("{ISSUER}key = 1"), &sub, "no key `key`");
        check(ISSUER, &sub.replace("builds", "build"), "no issuer `build`");
        check(ISSUER, &token("{}"), "0 claim rules");
        check(ISSUER, &token(r#"{ sub = "repo*" }"#), "is no pattern");
        check(ISSUER, &token("{ sub = [] }"), "0 alternatives");
        check(ISSUER, &token("{ sub = 1 }"), "write a table");
        check(
            ISSUER,
            "[[token]]\nissuer = \"builds\"\n",
            "`claims` is missing",
        );
    }
}
