//! `clients/NAME.toml`: programs that ask for tokens, with a person's consent or as a run of an agent.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    AgentName, ClientName,
    estate::{Client, ClientKeys},
};
use ambit_identity::jose::{Algorithm, JwkSet, KeyUse, VerifyingKeys};

use super::{
    Known,
    document::{Field, Section, read_folder},
    files::{EstateFiles, Kind},
    issuers::{https, key_set},
    problem::Problems,
};
use crate::oauth::{REDIRECTS_MAX, Redirect};

/// The most clients of an estate.
pub const CLIENTS_MAX: usize = 256;

/// Reads the clients by their names.
pub(super) fn read(
    files: &EstateFiles,
    known: &Known<'_>,
    people: &BTreeSet<&str>,
    problems: &Problems,
) -> BTreeMap<ClientName, Client> {
    let clients = read_folder(files, Kind::Client, problems, |source, name| {
        let parsed = source.parse();
        client(
            source.section(parsed.get_ref(), "a client"),
            name,
            known,
            people,
        )
    });
    if clients.len() > CLIENTS_MAX {
        let message = format!("an estate has at most {CLIENTS_MAX} clients");
        problems.add_whole("clients", message);
    }
    clients
}

fn client(
    mut root: Section<'_>,
    name: ClientName,
    known: &Known<'_>,
    people: &BTreeSet<&str>,
) -> Option<Client> {
    let title = root.required("title", r#"title = "what people call it""#);
    let title = title.and_then(|it| it.words());
    let owner = root.required("owner", r#"owner = "ALIAS""#);
    let owner = owner.and_then(|it| it.one_of("person", people.iter().copied()));
    let agents = root.required("agents", r#"agents = ["AGENT"]"#);
    let agents = agents.and_then(|it| agents_of(&it, known));
    let runs = root.optional("runs");
    let redirects = root.optional("redirect_uris");
    let redirect_uris = redirects.map_or(Some(Vec::new()), |it| redirects_of(&it));
    let (public, at, given) = (
        root.optional("public"),
        root.optional("jwks_uri"),
        root.optional("jwks"),
    );
    let keys = match (public, at, given) {
        (Some(public), None, None) => is_true(&public).map(|()| ClientKeys::Public),
        (None, Some(at), None) => https(&at).map(ClientKeys::At),
        (None, None, Some(given)) => signing_keys(&given).map(ClientKeys::Given),
        (None, None, None) => {
            root.problem(NO_KEYS);
            None
        }
        (_, Some(second), _) | (_, _, Some(second)) => {
            second.problem(ONE_PROOF);
            None
        }
    };
    root.finish();
    let runs = match runs {
        None => None,
        Some(field) => Some(runs_of(&field, keys.as_ref()?, agents.as_ref()?)?),
    };
    Some(Client {
        name,
        title: title?,
        owner: owner?.to_owned(),
        agents: agents?,
        runs,
        redirect_uris: redirect_uris?,
        keys: keys?,
    })
}

fn agents_of(field: &Field<'_>, known: &Known<'_>) -> Option<BTreeSet<AgentName>> {
    let agent = |it: &Field<'_>| -> Option<AgentName> {
        let name = it.one_of("agent", known.agents.iter().copied())?;
        name.parse().ok()
    };
    let read: Vec<Option<_>> = field.items()?.iter().map(agent).collect();
    let agents: BTreeSet<_> = read.into_iter().collect::<Option<_>>()?;
    if agents.is_empty() {
        field.problem("`agents` is empty, so the client could have no token; name an agent");
        return None;
    }
    Some(agents)
}

/// Reads the agent of which the client is a run. Whoever could say that name would be it, so it must prove itself.
fn runs_of(
    field: &Field<'_>,
    keys: &ClientKeys,
    agents: &BTreeSet<AgentName>,
) -> Option<AgentName> {
    if *keys == ClientKeys::Public {
        field.problem("a public client proves nothing, so it is no run of an agent; give it keys");
        return None;
    }
    let name = field.one_of("agent of this client", agents.iter().map(AgentName::as_str))?;
    name.parse().ok()
}

fn redirects_of(field: &Field<'_>) -> Option<Vec<String>> {
    let items = field.items()?;
    if items.len() > REDIRECTS_MAX {
        field.problem(format!(
            "a client has at most {REDIRECTS_MAX} redirect_uris"
        ));
        return None;
    }
    let read: Vec<Option<_>> = items.iter().map(redirect).collect();
    read.into_iter().collect()
}

/// Reads an address to which people may be sent back.
fn redirect(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    match Redirect::parse(text) {
        Ok(_) => Some(text.to_owned()),
        Err(what) => {
            field.problem(format!(
                "`{text}` is no address for people to come back to: it {what}; write `https://HOST/PATH`, \
                 `http://127.0.0.1/PATH` or `com.example.app:/PATH`, without `#` or `*`"
            ));
            None
        }
    }
}

fn is_true(field: &Field<'_>) -> Option<()> {
    if field.truth()? {
        return Some(());
    }
    field.problem(NO_KEYS);
    None
}

/// Reads a set of keys, one of which at least can verify an assertion.
fn signing_keys(field: &Field<'_>) -> Option<String> {
    let text = key_set(field)?;
    let set = JwkSet::parse(text.as_bytes()).ok()?;
    let uses = [KeyUse::Signature, KeyUse::Unstated];
    let keys = VerifyingKeys::new(&set, &uses, &Algorithm::ALL);
    if keys.is_ok_and(|it| !it.keys().is_empty()) {
        return Some(text);
    }
    field.problem("no key of `jwks` can verify an assertion; give one for ES256, EdDSA or RS256");
    None
}

const NO_KEYS: &str = "how the client proves itself is missing; write `jwks_uri`, `jwks`, or `public = true` when it can keep no key";
const ONE_PROOF: &str =
    "a client proves itself in one way; write `jwks_uri`, `jwks` or `public = true`";

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r#"jwks = '{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}'"#;
    const HEAD: &str = "title = \"Desk\"\nowner = \"ada\"\nagents = [\"support-bot\"]\n";

    /// Loads the demo estate with a client, and expects a part of its first problem.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");
        let files = EstateFiles::collect(std::path::Path::new(demo)).unwrap();
        let found = files.with_file("clients/desk.toml", text).load();
        match found.map_err(|it| it[0].to_string()) {
            Ok(loaded) => {
                assert!(expected.is_empty(), "{expected}");
                assert_eq!(loaded.estate.clients.len(), 1);
            }
            Err(found) => assert!(!expected.is_empty() && found.contains(expected), "{found}"),
        }
    }

    #[test]
    fn clients_are_read_whole_or_refused() {
        let with = |more: &str| format!("{HEAD}{more}\n");
        check(&with(KEY), "");
        check(&with("public = true"), "");
        check(&with("jwks_uri = \"https://keys.example.com/jwks\""), "");
        check(&with(&format!("{KEY}\nruns = \"support-bot\"")), "");
        check(&with(""), "how the client proves itself");
        check(&with("public = false"), "how the client proves itself");
        check(&with(&format!("public = true\n{KEY}")), "in one way");
        let two = format!("{KEY}\njwks_uri = \"https://keys.example.com/jwks\"");
        check(&with(&two), "in one way");
        check(
            &with("jwks_uri = \"http://keys.example.com\""),
            "https://HOST",
        );
        check(&with("jwks = '{\"keys\":[]}'"), "can verify an assertion");
        check(&with("jwks = '[]'"), "no JWK Set");
        let private = KEY.replace("\"x\"", "\"d\":\"AA\",\"x\"");
        check(&with(&private), "private");
        check(
            &with("public = true\nruns = \"support-bot\""),
            "proves nothing",
        );
        check(
            &with(&format!("{KEY}\nruns = \"other\"")),
            "agent of this client",
        );
        check(&with(&format!("{KEY}\nsecret = \"x\"")), "no key `secret`");
        let none = with(KEY).replace("[\"support-bot\"]", "[]");
        check(&none, "name an agent");
        check(
            &with(KEY).replace("support-bot", "nobody"),
            "no agent `nobody`",
        );
        check(&with(KEY).replace("ada", "nobody"), "no person `nobody`");
        check("public = true", "`agents` is missing");
    }

    #[test]
    fn people_are_sent_back_to_plain_addresses() {
        let one = |uri: &str, expected: &str| {
            check(
                &format!("{HEAD}public = true\nredirect_uris = [{uri:?}]\n"),
                expected,
            );
        };
        for uri in [
            "https://app.example.org/back",
            "https://app.example.org/back?tenant=1",
            "http://127.0.0.1:4711/back",
            "http://[::1]/back",
            "http://localhost/back",
            "com.example.app:/back",
        ] {
            one(uri, "");
        }
        for uri in [
            "http://app.example.org/back",
            "https://user@app.example.org/back",
            "https://app.example.org/back#here",
            "https://*.example.org/back",
            "https:/back",
            "javascript:alert(1)",
            "data:text/html,x",
            "app:/back",
            "com.example.app:back",
            "/back",
            "",
        ] {
            one(uri, "no address for people to come back to");
        }
        let many = |count: usize| {
            let uris = vec!["\"https://app.example.org/back\""; count].join(",");
            format!("{HEAD}public = true\nredirect_uris = [{uris}]\n")
        };
        check(&many(REDIRECTS_MAX), "");
        check(&many(REDIRECTS_MAX + 1), "at most 16");
        let long = |bytes: usize| format!("https://a.example/{}", "a".repeat(bytes - 18));
        one(&long(crate::oauth::REDIRECT_BYTES_MAX), "");
        one(&long(crate::oauth::REDIRECT_BYTES_MAX + 1), "come back to");
    }

    #[test]
    fn an_estate_has_so_many_clients() {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");
        for (count, fits) in [(CLIENTS_MAX, true), (CLIENTS_MAX + 1, false)] {
            let mut files = EstateFiles::collect(std::path::Path::new(demo)).unwrap();
            for number in 0..count {
                let text = format!("{HEAD}public = true\n");
                files = files.with_file(&format!("clients/c{number}.toml"), &text);
            }
            assert_eq!(files.load().is_ok(), fits, "{count}");
        }
    }
}
