//! Whose runs are those who come with tokens and SVIDs of others: named by the key that signed, when the estate itself holds
//! the keys, and by the one text of each rule that fitted. So one more key, alternative or registration beside takes nothing
//! away, and what is taken out takes along what rests on it, and nothing else.

use ambit_core::{
    AgentName, Digest,
    estate::{
        BundleSource, Federation, Issuer, IssuerKeys, SvidRegistration, TokenRegistration,
        claim_rules::{ClaimRule, ClaimRules, Wanted},
    },
    json::Value,
};

use super::{given_keys, ground};
use crate::TrustBundle;

/// The most combinations of one text of each rule that are told apart. The rules of a registration with more of them are
/// named as a whole: one more alternative is another registration there.
pub const COMBINATIONS_MAX: usize = 256;

/// Whether it is told apart which texts of the rules fitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Apart {
    EachText,
    Whole,
}

/// Names that a token of `issuer`, signed by the key of the thumbprint `key`, whose claims fit `registration`, is a run of
/// `agent`.
pub(crate) fn run_by_token<'a>(
    issuer: &Issuer,
    registration: &TokenRegistration,
    agent: &AgentName,
    key: Digest,
    claim: impl Fn(&[String]) -> Option<&'a Value>,
) -> Digest {
    let apart = apart(&registration.claims);
    let rules = registration.claims.iter().map(|rule| {
        let seen = claim(rule.path()).and_then(Value::as_str);
        let fitted = seen.and_then(|it| rule.wanted().fitting(it));
        match (apart, fitted) {
            (Apart::EachText, Some(text)) => named_rule(rule, &[text]),
            (Apart::Whole, _) | (Apart::EachText, None) => whole_rule(rule),
        }
    });
    token_ground(issuer, key, &rules.collect::<Vec<_>>(), agent)
}

/// Returns the names of all tokens that are runs of `agent` by `registration`.
pub(super) fn runs_by_token(
    issuer: &Issuer,
    registration: &TokenRegistration,
    agent: &AgentName,
) -> Vec<Digest> {
    let keys = match &issuer.keys {
        IssuerKeys::Given(text) => given_keys(text),
        // Whichever key it is, the place is named.
        IssuerKeys::At(_) | IssuerKeys::Discovered => vec![Digest::of(&[])],
    };
    let combinations = combinations(&registration.claims);
    let with = |key: &Digest| {
        let key = *key;
        let named = combinations
            .iter()
            .map(move |rules| token_ground(issuer, key, rules, agent));
        named.collect::<Vec<_>>()
    };
    keys.iter().flat_map(with).collect()
}

/// Names that a workload of `federation` with the path `path`, proved by the key `authority` of its bundle (see
/// [`TrustBundle::authorities`]), is a run of `agent` by `registration`.
pub(crate) fn run_by_svid(
    federation: &Federation,
    registration: &SvidRegistration,
    agent: &AgentName,
    authority: Digest,
    path: &str,
) -> Digest {
    let wanted = &registration.path;
    let fitted: Vec<&str> = match wanted.fitting(path) {
        Some(text) => vec![text],
        None => wanted.texts().collect(),
    };
    svid_ground(federation, authority, named_texts(wanted, &fitted), agent)
}

/// Returns the names of all workloads that are runs of `agent` by `registration`.
pub(super) fn runs_by_svid(
    federation: &Federation,
    registration: &SvidRegistration,
    agent: &AgentName,
) -> Vec<Digest> {
    let authorities = match &federation.source {
        BundleSource::Given(text) => {
            let domain = federation.trust_domain.clone();
            let read = TrustBundle::from_document(domain, text.as_bytes());
            read.map_or_else(|_| Vec::new(), |it| it.bundle.authorities().collect())
        }
        // Whichever key it is, the place is named.
        BundleSource::Web { .. } | BundleSource::Spiffe { .. } => vec![Digest::of(&[])],
    };
    let wanted = &registration.path;
    let with = |authority: &Digest| {
        let authority = *authority;
        let named = wanted.texts().map(move |text| {
            let text = named_texts(wanted, &[text]);
            svid_ground(federation, authority, text, agent)
        });
        named.collect::<Vec<_>>()
    };
    authorities.iter().flat_map(with).collect()
}

fn token_ground(issuer: &Issuer, key: Digest, rules: &[Digest], agent: &AgentName) -> Digest {
    let (kind, keys) = match &issuer.keys {
        IssuerKeys::Given(_) => ("given", &key.as_bytes()[..]),
        IssuerKeys::At(address) => ("at", address.as_bytes()),
        IssuerKeys::Discovered => ("discovered", &[][..]),
    };
    let mut parts: Vec<&[u8]> = vec![
        b"token by key and rules",
        issuer.name.as_str().as_bytes(),
        issuer.issuer.as_bytes(),
        issuer.audience.as_bytes(),
        kind.as_bytes(),
        keys,
        agent.as_str().as_bytes(),
    ];
    parts.extend(rules.iter().map(|it| &it.as_bytes()[..]));
    ground(&parts)
}

fn svid_ground(
    federation: &Federation,
    authority: Digest,
    path: Digest,
    agent: &AgentName,
) -> Digest {
    let (kind, source, endpoint) = match &federation.source {
        BundleSource::Given(_) => ("given", &authority.as_bytes()[..], String::new()),
        BundleSource::Web { url } => ("web", url.as_bytes(), String::new()),
        // The document to begin with proves the endpoint until another was fetched, and names nobody.
        BundleSource::Spiffe { url, endpoint, .. } => {
            ("spiffe", url.as_bytes(), endpoint.to_string())
        }
    };
    ground(&[
        b"svid by authority and path",
        federation.name.as_str().as_bytes(),
        federation.trust_domain.to_string().as_bytes(),
        kind.as_bytes(),
        source,
        endpoint.as_bytes(),
        path.as_bytes(),
        agent.as_str().as_bytes(),
    ])
}

fn apart(rules: &ClaimRules) -> Apart {
    let count = rules.iter().try_fold(1_usize, |count, rule| {
        let count = count.checked_mul(rule.wanted().texts().count())?;
        (count <= COMBINATIONS_MAX).then_some(count)
    });
    match count {
        Some(_) => Apart::EachText,
        None => Apart::Whole,
    }
}

/// Returns each choice of one text of each rule; the rules as a whole when there are too many.
fn combinations(rules: &ClaimRules) -> Vec<Vec<Digest>> {
    let apart = apart(rules);
    let mut all = vec![Vec::new()];
    for rule in rules.iter() {
        let choices: Vec<Digest> = match apart {
            Apart::EachText => {
                let texts = rule.wanted().texts();
                texts.map(|it| named_rule(rule, &[it])).collect()
            }
            Apart::Whole => vec![whole_rule(rule)],
        };
        let longer = all.iter().flat_map(|head: &Vec<Digest>| {
            let with = |it: &Digest| head.iter().copied().chain([*it]).collect();
            choices.iter().map(with).collect::<Vec<_>>()
        });
        all = longer.collect();
    }
    all
}

fn whole_rule(rule: &ClaimRule) -> Digest {
    named_rule(rule, &rule.wanted().texts().collect::<Vec<_>>())
}

fn named_rule(rule: &ClaimRule, texts: &[&str]) -> Digest {
    let path: Vec<&[u8]> = rule.path().iter().map(|it| it.as_bytes()).collect();
    let (path, texts) = (ground(&path), named_texts(rule.wanted(), texts));
    ground(&[b"rule", path.as_bytes(), texts.as_bytes()])
}

fn named_texts(wanted: &Wanted, texts: &[&str]) -> Digest {
    // The same letters are another thing in a pattern.
    let kind: &[u8] = match wanted {
        Wanted::OneOf(_) => b"one of",
        Wanted::Pattern(_) => b"pattern",
    };
    let texts = texts.iter().map(|it| it.as_bytes());
    ground(&[kind].into_iter().chain(texts).collect::<Vec<_>>())
}
