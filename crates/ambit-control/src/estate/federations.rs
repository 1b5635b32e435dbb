//! `trust/NAME.toml`: foreign trust domains; and `[[svid]]` of agents.

use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    FederationName, SpiffeId, TrustDomain,
    estate::{
        BundleSource, Federation, SvidRegistration,
        claim_rules::{ClaimRule, Wanted},
    },
};
use ambit_identity::TrustBundle;

use super::{
    document::{Field, Section, read_folder},
    files::{EstateFiles, Kind},
    issuers::{https, noted, wanted},
    problem::Problems,
};

/// The most foreign trust domains of an estate.
pub const FEDERATIONS_MAX: usize = 64;
/// The most registrations of SVIDs of one agent.
const SVIDS_MAX: usize = 64;

/// Reads the foreign trust domains by their names.
pub(super) fn read(
    files: &EstateFiles,
    problems: &Problems,
) -> BTreeMap<FederationName, Federation> {
    let federations = read_folder(files, Kind::Federation, problems, |source, name| {
        let parsed = source.parse();
        federation(source.section(parsed.get_ref(), "a trust domain"), name)
    });
    if federations.len() > FEDERATIONS_MAX {
        problems.add_whole(
            "trust",
            format!("an estate has at most {FEDERATIONS_MAX} foreign trust domains"),
        );
    }
    // Two of one domain would make it a matter of order whose bundle counts.
    let mut seen = BTreeMap::new();
    for (name, it) in &federations {
        if let Some(first) = seen.insert(&it.trust_domain, name) {
            let path = format!("trust/{name}.toml");
            let message = format!("trust domain `{first}` is the same; keep one file");
            problems.add_whole(&path, message);
        }
    }
    for (name, it) in &federations {
        if let BundleSource::Spiffe { endpoint, .. } = &it.source
            && !seen.contains_key(endpoint.trust_domain())
        {
            let message = format!(
                "who answers is of trust domain `{}`, which has no file here; its bundle proves the endpoint, so write one",
                endpoint.trust_domain()
            );
            problems.add_whole(&format!("trust/{name}.toml"), message);
        }
    }
    federations
}

fn federation(mut root: Section<'_>, name: FederationName) -> Option<Federation> {
    let domain = root.required("trust_domain", r#"trust_domain = "partner.example""#);
    let trust_domain: Option<TrustDomain> = domain.and_then(|it| it.parsed());
    let url = root.optional("bundle_url");
    let profile = root.optional("profile");
    let endpoint = root.optional("endpoint_spiffe_id");
    let bundle = root.optional("bundle");
    let Some(trust_domain) = trust_domain else {
        root.finish();
        return None;
    };
    let source = match (url, profile) {
        (None, None) => given(&root, (endpoint, bundle), &trust_domain),
        (Some(url), Some(profile)) => {
            let fields = (url, endpoint, bundle);
            profile
                .word(&[
                    ("https_web", Profile::Web),
                    ("https_spiffe", Profile::Spiffe),
                ])
                .and_then(|it| fetched(&root, it, fields, &trust_domain))
        }
        (Some(field), None) | (None, Some(field)) => {
            field.problem(
                "`bundle_url` and `profile` belong together; write both, with the profile `https_web` or `https_spiffe`",
            );
            None
        }
    };
    root.finish();
    Some(Federation {
        name,
        trust_domain,
        source: source?,
    })
}

/// How an endpoint of bundles is known.
#[derive(Clone, Copy)]
enum Profile {
    Web,
    Spiffe,
}

fn given(
    root: &Section<'_>,
    (endpoint, bundle): (Option<Field<'_>>, Option<Field<'_>>),
    trust_domain: &TrustDomain,
) -> Option<BundleSource> {
    if let Some(endpoint) = endpoint {
        endpoint.problem("nobody is asked without `bundle_url`; write that too, or leave this out");
        return None;
    }
    let Some(bundle) = bundle else {
        root.problem(
            "where the bundle comes from is missing; write `bundle_url` and `profile`, or the `bundle` itself",
        );
        return None;
    };
    Some(BundleSource::Given(document(&bundle, trust_domain)?))
}

fn fetched(
    root: &Section<'_>,
    profile: Profile,
    (url, endpoint, bundle): (Field<'_>, Option<Field<'_>>, Option<Field<'_>>),
    trust_domain: &TrustDomain,
) -> Option<BundleSource> {
    let at = https(&url)?;
    match (profile, endpoint) {
        (Profile::Web, None) => {
            if let Some(bundle) = bundle {
                bundle.problem("a bundle has one source; leave out `bundle` or `bundle_url`");
                return None;
            }
            Some(BundleSource::Web { url: at })
        }
        (Profile::Web, Some(endpoint)) => {
            endpoint.problem("with `https_web` the host's name is all that counts; leave this out");
            None
        }
        (Profile::Spiffe, None) => {
            root.problem(
                "who answers is missing; write `endpoint_spiffe_id = \"spiffe://...\"`, as the operators of the trust domain say",
            );
            None
        }
        (Profile::Spiffe, Some(endpoint)) => {
            let id: SpiffeId = endpoint.parsed()?;
            let own = id.trust_domain() == trust_domain;
            let first = match (own, bundle) {
                (true, Some(bundle)) => Some(document(&bundle, trust_domain)?),
                (false, None) => None,
                (true, None) => {
                    root.problem(
                        "the first bundle is missing, which proves the endpoint; write `bundle = '...'` as the operators of the \
                         trust domain gave it to you",
                    );
                    return None;
                }
                (false, Some(bundle)) => {
                    bundle.problem(
                        "the bundle of the endpoint's own trust domain proves it; leave this out",
                    );
                    return None;
                }
            };
            Some(BundleSource::Spiffe {
                url: at,
                endpoint: id,
                first,
            })
        }
    }
}

fn document(field: &Field<'_>, trust_domain: &TrustDomain) -> Option<String> {
    let text = field.text()?;
    match TrustBundle::from_document(trust_domain.clone(), text.as_bytes()) {
        Ok(_) => Some(text.to_owned()),
        Err(error) => {
            field.problem(format!("`bundle` is no bundle of {trust_domain}: {error}"));
            None
        }
    }
}

/// Reads `[[svid]]`: which workloads of a foreign trust domain are the agent.
pub(super) fn registrations(
    field: &Field<'_>,
    known: &BTreeSet<&str>,
) -> Option<Vec<SvidRegistration>> {
    field.registrations(SVIDS_MAX, "`[[svid]]`", |it| registration(it, known))
}

/// Reads `federates_with`: the trust domains whose bundles the Workload API gives the agent.
pub(super) fn federates_with(
    field: &Field<'_>,
    known: &BTreeSet<&str>,
) -> Option<BTreeSet<FederationName>> {
    let one = |it: &Field<'_>| {
        it.one_of("trust domain", known.iter().copied())?
            .parse()
            .ok()
    };
    let read: Vec<Option<_>> = field.items()?.iter().map(one).collect();
    read.into_iter().collect()
}

fn registration(field: &Field<'_>, known: &BTreeSet<&str>) -> Option<SvidRegistration> {
    let mut section = field.section("an SVID")?;
    let federation = section.required("trust", r#"trust = "NAME""#);
    let federation = federation.and_then(|it| it.one_of("trust domain", known.iter().copied()));
    let path = section.required("path", r#"path = "/ns/books/sa/agent""#);
    section.finish();
    let path = path?;
    let read = path_of(&path);
    Some(SvidRegistration {
        federation: federation?.parse().ok()?,
        path: read?,
    })
}

/// Reads paths, which begin with `/` as they do in SPIFFE IDs: another one would match nothing.
fn path_of(field: &Field<'_>) -> Option<Wanted> {
    let wanted = wanted(field)?;
    // The bounds of claims are those of paths.
    noted(
        field,
        ClaimRule::new(vec!["path".to_owned()], wanted.clone()),
    )?;
    let (texts, any) = match &wanted {
        Wanted::OneOf(texts) => (texts.clone(), "*"),
        Wanted::Pattern(pattern) => (vec![pattern.to_string()], "any"),
    };
    for text in texts {
        let plain = text.replace('*', any);
        if format!("spiffe://a{plain}").parse::<SpiffeId>().is_err() || !text.starts_with('/') {
            field.problem(format!(
                "`{text}` is no path of a SPIFFE ID; write what follows the trust domain, from its `/` on, where `*` stands for \
                 one whole segment"
            ));
            return None;
        }
    }
    Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "trust_domain = \"partner.example\"\nbundle = '{\"keys\":[]}'\n";
    const WEB: &str = "trust_domain = \"partner.example\"\nbundle_url = \"https://partner.example/bundle\"\nprofile = \"https_web\"\n";

    /// Loads the demo estate with a foreign trust domain and registrations of SVIDs, and expects a part of its first
    /// problem.
    #[track_caller]
    fn check(trust: &str, svids: &str, expected: &str) {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");
        let files = EstateFiles::collect(std::path::Path::new(demo)).unwrap();
        let agent = "agents/support-bot.toml";
        let text = files.text(agent).unwrap();
        // A key of the agent itself stands before its tables.
        let text = match svids.starts_with('[') {
            true => format!("{text}\n{svids}"),
            false => format!("{svids}\n{text}"),
        };
        let files = files
            .with_file(agent, &text)
            .with_file("trust/partner.toml", trust);
        let found = files
            .load()
            .map(|it| it.estate)
            .map_err(|it| it[0].to_string());
        match found {
            Ok(estate) => assert!(expected.is_empty(), "{estate:?}"),
            Err(found) => assert!(!expected.is_empty() && found.contains(expected), "{found}"),
        }
    }

    fn svid(path: &str) -> String {
        format!("[[svid]]\ntrust = \"partner\"\npath = {path}\n")
    }

    #[test]
    fn a_bundle_has_one_source_that_is_proved() {
        let svid = svid("\"/ns/books/*\"");
        let spiffe = WEB.replace("https_web", "https_spiffe");
        let own = "endpoint_spiffe_id = \"spiffe://partner.example/spire/server\"\n";
        let bundle = "bundle = '{\"keys\":[]}'\n";
        check(GIVEN, &svid, "");
        check(WEB, &svid, "");
        check(&format!("{spiffe}{own}{bundle}"), &svid, "");
        check(
            &format!("{spiffe}{own}"),
            &svid,
            "the first bundle is missing",
        );
        check(&spiffe, &svid, "who answers is missing");
        let elsewhere = own.replace("partner.example", "other.example");
        check(&format!("{spiffe}{elsewhere}"), &svid, "has no file here");
        check(
            &format!("{spiffe}{elsewhere}{bundle}"),
            &svid,
            "leave this out",
        );
        check(&format!("{WEB}{own}"), &svid, "leave this out");
        check(&format!("{WEB}{bundle}"), &svid, "one source");
        check(&format!("{GIVEN}{own}"), &svid, "nobody is asked");
        check(
            "trust_domain = \"partner.example\"",
            &svid,
            "where the bundle comes from",
        );
        check(
            &WEB.replace("profile", "# profile"),
            &svid,
            "belong together",
        );
        check(&WEB.replace("https_web", "web"), &svid, "cannot be `web`");
        check(
            &WEB.replace("https:", "http:"),
            &svid,
            "write `https://HOST",
        );
        check(
            &GIVEN.replace("{\"keys\":[]}", "[]"),
            &svid,
            "is no bundle of partner.example",
        );
        check(
            &GIVEN.replace("partner.example", "Partner"),
            &svid,
            "lowercase",
        );
        check(&format!("{GIVEN}key = 1"), &svid, "no key `key`");
    }

    #[test]
    fn a_registration_is_a_path_of_a_known_domain() {
        check(GIVEN, &svid("\"/ns/books/sa/agent\""), "");
        check(GIVEN, &svid("[\"/a\", \"/b\"]"), "");
        check(GIVEN, &svid("\"/*\""), "is no pattern");
        check(GIVEN, &svid("\"/books*\""), "is no pattern");
        check(GIVEN, &svid("[]"), "0 alternatives");
        for wrong in ["ns/books", "", "/", "/a//b", "/a/../b", "/a b", "/a/"] {
            check(
                GIVEN,
                &svid(&format!("\"{wrong}\"")),
                "is no path of a SPIFFE ID",
            );
        }
        check(
            GIVEN,
            &svid("\"/a\"").replace("partner", "parter"),
            "no trust domain `parter`",
        );
        check(
            GIVEN,
            "[[svid]]\ntrust = \"partner\"\n",
            "`path` is missing",
        );
        check(GIVEN, &svid("\"/a\"\nid = 1"), "no key `id`");
        let many = svid("\"/a\"").repeat(SVIDS_MAX);
        check(GIVEN, &many, "");
        check(GIVEN, &format!("{many}{}", svid("\"/b\"")), "at most 64");
    }

    #[test]
    fn an_agent_federates_with_what_is_declared() {
        check(GIVEN, "federates_with = [\"partner\"]", "");
        check(GIVEN, "federates_with = []", "");
        let unknown = "federates_with = [\"partner\", \"other\"]";
        check(GIVEN, unknown, "no trust domain `other`");
        // The name of the file, as everywhere, and not the domain's own.
        let domain = "federates_with = [\"partner.example\"]";
        check(GIVEN, domain, "no trust domain `partner.example`");
        check(GIVEN, "federates_with = \"partner\"", "list");
        check(GIVEN, "federates_with = [7]", "write a text in quotes");
    }

    #[test]
    fn domains_are_few_and_each_has_one_file() {
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");
        let files = EstateFiles::collect(std::path::Path::new(demo)).unwrap();
        let of = |count: usize| {
            (0..count).fold(files.clone(), |files, it| {
                let text = GIVEN.replace("partner", &format!("partner{it}"));
                files.with_file(&format!("trust/p{it}.toml"), &text)
            })
        };
        assert!(of(FEDERATIONS_MAX).load().is_ok());
        let problems = of(FEDERATIONS_MAX + 1).load().unwrap_err();
        assert!(problems[0].to_string().contains("at most 64"));
        let twice = of(1).with_file("trust/p.toml", &GIVEN.replace("partner", "partner0"));
        let problems = twice.load().unwrap_err();
        assert!(problems[0].to_string().contains("keep one file"));
    }
}
