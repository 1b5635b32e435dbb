use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    estate::{
        Agent, BearerTokens, Risk,
        claim_rules::{ClaimRule, ClaimRules, Wanted},
    },
    json::Value,
};

use super::*;
use ambit_core::{
    Timestamp,
    estate::{
        BundleSource, Federation, Issuer, IssuerKeys, SvidRegistration, TokenRegistration,
        claim_rules::Pattern,
    },
};

use crate::{IssuingKeys, PairChance, SvidKey, jose::SigningKey};

fn key(seed: u8) -> SigningKey {
    let key = SvidKey::generate([seed; 32]).unwrap();
    SigningKey::from_svid_key(&key, KeyUse::Signature).unwrap()
}

fn set(seeds: &[u8]) -> ClientKeys {
    let keys = seeds.iter().map(|it| key(*it).public().to_value());
    ClientKeys::Given(Value::object([("keys", keys.collect())]).to_canonical())
}

fn rules(subject: &str) -> ClaimRules {
    let wanted = Wanted::OneOf(vec![subject.to_owned()]);
    let rule = ClaimRule::new(vec!["sub".to_owned()], wanted).unwrap();
    ClaimRules::new(vec![rule]).unwrap()
}

/// `desk` has keys 1 and 2 and is a run of the clerk, as are tokens of `builds` and workloads of `partner`.
fn estate() -> Estate {
    let desk = Client {
        name: "desk".parse().unwrap(),
        title: "A desk".to_owned(),
        owner: "ana".to_owned(),
        agents: BTreeSet::from(["clerk".parse().unwrap()]),
        runs: Some("clerk".parse().unwrap()),
        redirect_uris: Vec::new(),
        keys: set(&[1, 2]),
    };
    let issuer = Issuer {
        name: "builds".parse().unwrap(),
        issuer: "https://builds.example".to_owned(),
        audience: "https://ambit.example".to_owned(),
        keys: IssuerKeys::Discovered,
    };
    let federation = Federation {
        name: "partner".parse().unwrap(),
        trust_domain: "partner.example".parse().unwrap(),
        source: BundleSource::Web {
            url: "https://partner.example/bundle".to_owned(),
        },
    };
    let clerk = Agent {
        federates_with: BTreeSet::new(),
        name: "clerk".parse().unwrap(),
        owner: "ana".to_owned(),
        purpose: "x".to_owned(),
        risk: Risk::Low,
        environment: "production".to_owned(),
        review_by: "2027-06-30".to_owned(),
        templates: BTreeSet::new(),
        model_endpoints: BTreeSet::new(),
        workloads: Vec::new(),
        tokens: vec![TokenRegistration {
            issuer: issuer.name.clone(),
            claims: rules("main"),
        }],
        parts_of: BTreeSet::new(),
        svids: vec![SvidRegistration {
            federation: federation.name.clone(),
            path: Wanted::OneOf(vec!["/books".to_owned()]),
        }],
    };
    Estate {
        digest: Digest::of(b""),
        agents: BTreeMap::from([(clerk.name.clone(), clerk)]),
        clients: BTreeMap::from([(desk.name.clone(), desk)]),
        federations: BTreeMap::from([(federation.name.clone(), federation)]),
        issuers: BTreeMap::from([(issuer.name.clone(), issuer)]),
        servers: BTreeMap::new(),
        templates: BTreeMap::new(),
        people: BTreeMap::new(),
        policies: Vec::new(),
        people_policies: Vec::new(),
        bearer_tokens: BearerTokens::Refused,
    }
}

/// Names the run of a token whose `sub` is `subject`, and whose claim `ref` is `x`, signed by the key of the seed.
fn by_token(
    issuer: &Issuer,
    agent: &AgentName,
    registration: &TokenRegistration,
    (seed, subject): (u8, &str),
) -> Digest {
    let (subject, reference) = (Value::from(subject), Value::from("x"));
    let claim = |path: &[String]| match path {
        [one] if one == "sub" => Some(&subject),
        [one] if one == "ref" => Some(&reference),
        _ => None,
    };
    run_by_token(
        issuer,
        registration,
        agent,
        key(seed).public().thumbprint(),
        claim,
    )
}

fn issuing(seed: u8) -> IssuingKeys {
    let chance = |seed| PairChance {
        x509: [seed; 32],
        jwt: [seed + 1; 32],
    };
    let domain = "partner.example".parse().unwrap();
    IssuingKeys::create(domain, chance(seed), Timestamp::from_millis(1_000_000)).unwrap()
}

/// Names the key of the root that is made of the seed.
fn authority(seed: u8) -> Digest {
    let keys = issuing(seed);
    let mut all = keys.bundle().authorities();
    all.next().unwrap()
}

/// Returns the document of a bundle with all keys of the seeds.
fn bundle(seeds: &[u8]) -> BundleSource {
    let documents = seeds.iter().map(|it| {
        let document = issuing(*it).bundle().to_document();
        ambit_core::json::parse(document.as_bytes()).unwrap()
    });
    let keys = documents.flat_map(|it| it.get("keys").unwrap().as_array().unwrap().to_vec());
    BundleSource::Given(Value::object([("keys", keys.collect())]).to_canonical())
}

/// Returns what tokens rest upon under `estate`: by the key of the seed, as a run of the client, by token, by SVID.
fn resting(estate: &Estate, seed: u8) -> [RestsOn; 4] {
    let client = estate.clients.values().next().unwrap();
    let (agent, clerk) = estate.agents.first_key_value().unwrap();
    let issuer = estate.issuers.values().next().unwrap();
    let federation = estate.federations.values().next().unwrap();
    let client_by_key = client_proof(client, Some(key(seed).public().thumbprint()));
    let only = |registration| RestsOn {
        client: None,
        registration: Some(registration),
    };
    [
        RestsOn {
            client: client_by_key,
            registration: None,
        },
        only(run_of_client(client, agent)),
        only(by_token(issuer, agent, &clerk.tokens[0], (seed, "main"))),
        only(run_by_svid(
            federation,
            &clerk.svids[0],
            agent,
            authority(seed),
            "/books",
        )),
    ]
}

/// What stays of the tokens by key, as a run, by token and by SVID when the estate changes so.
#[test]
fn a_ground_is_gone_with_what_gave_it() {
    let check = |stands: [bool; 4], change: &dyn Fn(&mut Estate)| {
        let before = estate();
        let resting = resting(&before, 1);
        let all = Grounds::of(&before);
        assert!(resting.iter().all(|it| all.hold(it) == Ground::Stands));
        let mut after = before;
        change(&mut after);
        let grounds = Grounds::of(&after);
        let held = resting.map(|it| grounds.hold(&it) == Ground::Stands);
        assert_eq!(held, stands);
    };
    let desk = |it: &mut Estate, change: &dyn Fn(&mut Client)| {
        it.clients.values_mut().for_each(change);
    };
    let agent = |it: &mut Estate, change: &dyn Fn(&mut Agent)| {
        it.agents.values_mut().for_each(change);
    };
    let all = [true; 4];
    check(all, &|_| ());
    // What is planned takes nothing away: another key beside it, one that it did not use gone, another title.
    check(all, &|it| desk(it, &|it| it.keys = set(&[1, 2, 3])));
    check(all, &|it| desk(it, &|it| it.keys = set(&[1])));
    check(all, &|it| desk(it, &|it| it.title = "x".to_owned()));
    check([false, false, true, true], &|it| it.clients.clear());
    let keyless = [false, true, true, true];
    check(keyless, &|it| desk(it, &|it| it.keys = set(&[2])));
    check(keyless, &|it| desk(it, &|it| it.keys = ClientKeys::Public));
    let broken = || ClientKeys::Given("{".to_owned());
    check(keyless, &|it| desk(it, &|it| it.keys = broken()));
    let elsewhere = || ClientKeys::At("https://desk.example/jwks".to_owned());
    check(keyless, &|it| desk(it, &|it| it.keys = elsewhere()));
    check([true, false, true, true], &|it| {
        desk(it, &|it| it.runs = None)
    });
    let tokenless = [true, true, false, true];
    check(tokenless, &|it| it.issuers.clear());
    check(tokenless, &|it| {
        it.issuers
            .values_mut()
            .for_each(|it| it.keys = IssuerKeys::At("https://x".to_owned()));
    });
    check(tokenless, &|it| agent(it, &|it| it.tokens.clear()));
    check(tokenless, &|it| {
        agent(it, &|it| it.tokens[0].claims = rules("next"));
    });
    let svidless = [true, true, true, false];
    check(svidless, &|it| it.federations.clear());
    check(svidless, &|it| agent(it, &|it| it.svids.clear()));
    check(svidless, &|it| {
        let source = BundleSource::Given("{}".to_owned());
        it.federations
            .values_mut()
            .for_each(|it| it.source = source.clone());
    });
}

fn rule(path: &[&str], wanted: Wanted) -> ClaimRule {
    let path = path.iter().map(|it| (*it).to_owned()).collect();
    ClaimRule::new(path, wanted).unwrap()
}

fn one_of(texts: &[&str]) -> Wanted {
    Wanted::OneOf(texts.iter().map(|it| (*it).to_owned()).collect())
}

fn claims(rules: &[(&str, &[&str])]) -> ClaimRules {
    let rules = rules
        .iter()
        .map(|(name, texts)| rule(&[name], one_of(texts)));
    ClaimRules::new(rules.collect()).unwrap()
}

fn given(seeds: &[u8]) -> IssuerKeys {
    match set(seeds) {
        ClientKeys::Given(text) => IssuerKeys::Given(text),
        ClientKeys::At(_) | ClientKeys::Public => panic!("they are given"),
    }
}

/// The estate, with keys of its own for `builds` (1 and 2) and `partner` (1 and 3), and rules with alternatives.
fn with_given_keys() -> Estate {
    let mut estate = estate();
    keys(&mut estate, given(&[1, 2]));
    source(&mut estate, bundle(&[1, 3]));
    rules_of(
        &mut estate,
        &[("sub", &["next", "main"]), ("ref", &["x", "y"])],
    );
    path(&mut estate, one_of(&["/books", "/b"]));
    estate
}

fn keys(estate: &mut Estate, keys: IssuerKeys) {
    estate.issuers.first_entry().unwrap().get_mut().keys = keys;
}

fn source(estate: &mut Estate, source: BundleSource) {
    estate.federations.first_entry().unwrap().get_mut().source = source;
}

fn clerk(estate: &mut Estate) -> &mut Agent {
    estate.agents.values_mut().next().unwrap()
}

fn rules_of(estate: &mut Estate, rules: &[(&str, &[&str])]) {
    clerk(estate).tokens[0].claims = claims(rules);
}

fn path(estate: &mut Estate, wanted: Wanted) {
    clerk(estate).svids[0].path = wanted;
}

/// Holds what stays of a token and of an SVID, by the keys 1, against `stands` when the estate changes so.
#[track_caller]
fn stays(stands: [bool; 2], change: impl FnOnce(&mut Estate)) {
    let mut estate = with_given_keys();
    let [.., token, svid] = resting(&estate, 1);
    change(&mut estate);
    let grounds = Grounds::of(&estate);
    let held = [token, svid].map(|it| grounds.hold(&it) == Ground::Stands);
    assert_eq!(held, stands);
}

/// What is planned takes nothing away.
#[test]
fn keys_and_rules_beside_take_nothing_away() {
    let check = |change: &dyn Fn(&mut Estate)| stays([true; 2], change);
    check(&|_| ());
    // Another key beside it, one gone that did not sign, a blank.
    check(&|it| keys(it, given(&[2, 3, 1])));
    check(&|it| keys(it, given(&[1])));
    check(&|it| {
        if let IssuerKeys::Given(text) = &mut it.issuers.first_entry().unwrap().get_mut().keys {
            text.push('\n');
        }
    });
    check(&|it| source(it, bundle(&[4, 1, 3])));
    check(&|it| source(it, bundle(&[1])));
    // Another alternative or registration beside it, one gone that did not fit.
    check(&|it| rules_of(it, &[("sub", &["main", "later"]), ("ref", &["z", "x"])]));
    check(&|it| path(it, one_of(&["/c", "/books"])));
    check(&|it| {
        let clerk = clerk(it);
        clerk.svids.push(clerk.svids[0].clone());
        clerk.tokens.push(clerk.tokens[0].clone());
        path(it, one_of(&["/d"]));
        rules_of(it, &[("sub", &["d"])]);
    });
}

/// What they rest on takes them along, and nothing else.
#[test]
fn keys_and_rules_that_are_taken_out_take_along_what_rests_on_them() {
    let tokenless = |change: &dyn Fn(&mut Estate)| stays([false, true], change);
    tokenless(&|it| keys(it, given(&[2, 3])));
    tokenless(&|it| keys(it, IssuerKeys::Given("{".to_owned())));
    tokenless(&|it| keys(it, IssuerKeys::Discovered));
    tokenless(&|it| rules_of(it, &[("sub", &["next"]), ("ref", &["x", "y"])]));
    tokenless(&|it| rules_of(it, &[("sub", &["next", "main"]), ("ref", &["y"])]));
    // One rule more narrows; one less is another registration.
    tokenless(&|it| rules_of(it, &[("sub", &["main"]), ("ref", &["x"]), ("env", &["x"])]));
    tokenless(&|it| rules_of(it, &[("sub", &["main"])]));
    // Each rule of its own registration: no two of them make up for one.
    tokenless(&|it| {
        rules_of(it, &[("sub", &["next"]), ("ref", &["x"])]);
        let other = clerk(it).tokens[0].clone();
        clerk(it).tokens.push(other);
        rules_of(it, &[("sub", &["main"]), ("ref", &["y"])]);
    });
    let svidless = |change: &dyn Fn(&mut Estate)| stays([true, false], change);
    svidless(&|it| source(it, bundle(&[3, 4])));
    svidless(&|it| source(it, BundleSource::Given("{".to_owned())));
    svidless(&|it| path(it, one_of(&["/b"])));
    svidless(&|it| path(it, Wanted::Pattern(Pattern::new("/books").unwrap())));
}

/// No two rules that let in different tokens have one name.
#[test]
fn rules_that_differ_have_names_that_differ() {
    let estate = estate();
    let issuer = estate.issuers.values().next().unwrap();
    let agent: AgentName = "clerk".parse().unwrap();
    let pattern = || Wanted::Pattern(Pattern::new("a/*").unwrap());
    let all = [
        vec![rule(&["sub"], one_of(&["a", "b"]))],
        vec![rule(&["sub"], one_of(&["a or b"]))],
        vec![rule(&["sub"], one_of(&["c, ref = d"]))],
        vec![
            rule(&["sub"], one_of(&["c"])),
            rule(&["ref"], one_of(&["d"])),
        ],
        vec![rule(&["a.b"], one_of(&["e"]))],
        vec![rule(&["a", "b"], one_of(&["e"]))],
        vec![rule(&["sub"], one_of(&["a/*"]))],
        vec![rule(&["sub"], pattern())],
    ];
    let mut names = BTreeSet::new();
    let mut count = 0;
    for rules in all {
        let registration = TokenRegistration {
            issuer: issuer.name.clone(),
            claims: ClaimRules::new(rules).unwrap(),
        };
        let found = runs::runs_by_token(issuer, &registration, &agent);
        count += found.len();
        names.extend(found);
    }
    assert_eq!((names.len(), count), (9, 9));
}

/// As many combinations are told apart as there is room for; a registration with more is one.
#[test]
fn combinations_end_at_their_maximum() {
    let mut estate = estate();
    let issuer = estate.issuers.values().next().unwrap().clone();
    let agent: AgentName = "clerk".parse().unwrap();
    let texts: Vec<String> = (0..64).map(|it| it.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let check = |rules: &[(&str, &[&str])], wanted: usize| {
        let registration = TokenRegistration {
            issuer: issuer.name.clone(),
            claims: claims(rules),
        };
        let names = runs::runs_by_token(&issuer, &registration, &agent);
        assert_eq!(names.len(), wanted);
    };
    assert_eq!(64 * 4, COMBINATIONS_MAX);
    check(&[("sub", &texts), ("ref", &texts[..4])], COMBINATIONS_MAX);
    check(&[("sub", &texts), ("ref", &texts[..5])], 1);
    check(&[("a", texts.as_slice()); 16], 1);
    // A registration as a whole lets in whom it lets in, until it is another one.
    let beyond = |count: usize| {
        let subjects: Vec<&str> = texts[..count].iter().copied().chain(["main"]).collect();
        claims(&[("sub", &subjects), ("ref", &["x", "y", "z", "u", "v"])])
    };
    let clerk = estate.agents.get_mut(&agent).unwrap();
    clerk.tokens[0].claims = beyond(63);
    let by = by_token(&issuer, &agent, &clerk.tokens[0], (1, "main"));
    let rests_on = RestsOn {
        client: None,
        registration: Some(by),
    };
    assert_eq!(Grounds::of(&estate).hold(&rests_on), Ground::Stands);
    estate.agents.get_mut(&agent).unwrap().tokens[0].claims = beyond(62);
    assert_eq!(Grounds::of(&estate).hold(&rests_on), Ground::Gone);
}

/// What records of before rest on: the registration as a whole, by names that are never given any more.
#[test]
fn grounds_of_before_stand_as_they_stood() {
    let estate = estate();
    let (agent, clerk) = estate.agents.first_key_value().unwrap();
    let issuer = estate.issuers.values().next().unwrap();
    let federation = estate.federations.values().next().unwrap();
    let token = whole::token(issuer, &clerk.tokens[0], agent);
    let svid = whole::svid(federation, &clerk.svids[0], agent);
    // As they stand in logs.
    let named = [token, svid].map(|it| it.to_string());
    assert_eq!(
        named,
        [
            "sha256:a7e9c6dd8e45cde1f21d734e47a9584cf19c5bdcd7ac6c6ae53e2d35b89d7d69",
            "sha256:bef0159d842ee36a9d81ee9630504f60413bf4f37559ea80cd2873a84b9b467e",
        ]
    );
    for ground in [token, svid] {
        let footing = Footing {
            registration: Some(ground),
            unix_uid: None,
        };
        assert_eq!(Grounds::of(&estate).bear(&footing), Ground::Stands);
        let mut other = estate.clone();
        let clerk = other.agents.get_mut(agent).unwrap();
        clerk.tokens[0].claims = rules("next");
        clerk.svids[0].path = one_of(&["/b"]);
        assert_eq!(Grounds::of(&other).bear(&footing), Ground::Gone);
    }
}

/// A client that must show a key and did not is worth nothing; one whose keys are elsewhere is known by where.
#[test]
fn a_client_shows_what_it_declares() {
    let client = |keys| Client {
        keys,
        ..estate().clients.values().next().unwrap().clone()
    };
    let (public, given) = (client(ClientKeys::Public), client(set(&[1])));
    let at = |it: &str| client(ClientKeys::At(format!("https://{it}.example/jwks")));
    let (one, other) = (Some(Digest::of(b"1")), Some(Digest::of(b"2")));
    assert_eq!(client_proof(&given, None), None);
    assert_eq!(client_proof(&at("a"), None), None);
    assert!(client_proof(&public, None).is_some());
    assert_ne!(client_proof(&given, one), client_proof(&given, other));
    assert_eq!(client_proof(&at("a"), one), client_proof(&at("a"), other));
    assert_ne!(client_proof(&at("a"), one), client_proof(&at("b"), one));
    let mut estate = estate();
    for client in [&public, &at("a")] {
        estate.clients = BTreeMap::from([(client.name.clone(), client.clone())]);
        let rests_on = RestsOn {
            client: client_proof(client, one),
            registration: None,
        };
        assert_eq!(Grounds::of(&estate).hold(&rests_on), Ground::Stands);
    }
}

#[test]
fn a_registration_of_processes_is_what_it_names() {
    let agent: AgentName = "clerk".parse().unwrap();
    let all = Workload {
        uid: Some(1),
        gid: Some(1),
        path: Some("/a".to_owned()),
        sha256: Some(Digest::of(b"a")),
        unit: Some("/a".to_owned()),
    };
    let mut registrations = vec![all.clone(), Workload::default()];
    let mut with = |change: &dyn Fn(&mut Workload)| {
        let mut one = all.clone();
        change(&mut one);
        registrations.push(one);
    };
    with(&|it| it.uid = None);
    with(&|it| it.gid = None);
    with(&|it| it.path = None);
    with(&|it| it.sha256 = None);
    with(&|it| it.unit = None);
    with(&|it| it.unit = Some(String::new()));
    with(&|it| (it.uid, it.gid) = (None, Some(2)));
    with(&|it| (it.uid, it.gid) = (Some(2), None));
    let names: BTreeSet<_> = registrations
        .iter()
        .map(|it| run_by_process(it, &agent))
        .collect();
    assert_eq!(names.len(), registrations.len());
    let mut estate = estate();
    let footing = Footing {
        registration: Some(run_by_process(&all, &agent)),
        unix_uid: Some(1),
    };
    let bears = |estate: &Estate| Grounds::of(estate).bear(&footing);
    assert_eq!(bears(&estate), Ground::Gone);
    assert_eq!(
        Grounds::of(&estate).bear(&Footing::default()),
        Ground::Stands
    );
    estate.agents.get_mut(&agent).unwrap().workloads = vec![Workload::default(), all.clone()];
    assert_eq!(bears(&estate), Ground::Stands);
    // Another agent's is another one.
    let clerk = estate.agents.remove(&agent).unwrap();
    estate.agents.insert("other".parse().unwrap(), clerk);
    assert_eq!(bears(&estate), Ground::Gone);
}
