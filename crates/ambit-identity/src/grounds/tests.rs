use std::collections::{BTreeMap, BTreeSet};

use ambit_core::{
    estate::{
        Agent, BearerTokens, Risk,
        claim_rules::{ClaimRule, ClaimRules, Wanted},
    },
    json::Value,
};

use super::*;
use crate::{SvidKey, jose::SigningKey};

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
        only(run_by_token(issuer, &clerk.tokens[0], agent)),
        only(run_by_svid(federation, &clerk.svids[0], agent)),
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
