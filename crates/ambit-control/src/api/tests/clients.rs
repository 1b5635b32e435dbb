//! Clients that the estate declares, and workload tokens of foreign issuers, at the token endpoint.

mod senders;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use ambit_core::{
    IssuerName, Millis,
    claim::ClaimProof,
    estate::{
        BearerTokens, Client, ClientKeys, Estate, Issuer, IssuerKeys, LeastBinding,
        TokenRegistration,
        claim_rules::{ClaimRule, ClaimRules, Pattern, Wanted},
    },
    json::Value as Json,
    limits::PART_TOOLS_MAX,
    record::Body as Fact,
};
use ambit_identity::{
    SvidKey,
    jose::{KeyUse, Signer, SigningKey},
};
use axum::http::StatusCode;

use super::{
    super::public_router,
    doors::{ANA, Office, fits, start_body, text},
    oauth::{Agent, Answered, ISSUER, PLACE, form, post},
};
use crate::{foreign::Fetch, oauth::BEARER_TTL};

pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
pub(super) const BY_KEY: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub(super) const BUILDS: &str = "https://token.example.com";
pub(super) const MAIN: &str = "repo:example/books:ref:refs/heads/main";
pub(super) const KEYS_AT: &str = "https://desk.example.com/jwks";

pub(super) fn signing(seed: u8) -> SigningKey {
    let key = SvidKey::generate([seed; 32]).unwrap();
    SigningKey::from_svid_key(&key, KeyUse::Signature).unwrap()
}

pub(super) fn set(seeds: &[u8]) -> String {
    let keys = seeds.iter().map(|it| signing(*it).public().to_value());
    Json::object([("keys", keys.collect())]).to_canonical()
}

pub(super) fn client(name: &str, keys: ClientKeys, change: impl FnOnce(&mut Client)) -> Client {
    let mut client = Client {
        name: name.parse().unwrap(),
        title: "A desk".to_owned(),
        owner: "ana".to_owned(),
        agents: BTreeSet::from(["clerk".parse().unwrap()]),
        runs: None,
        redirect_uris: Vec::new(),
        keys,
    };
    change(&mut client);
    client
}

/// `desk` is a run of the clerk by key 21, `kiosk` has key 22 and is none, `page` is public, `other` is for others, and
/// `moved` publishes its keys.
pub(super) fn declare(estate: &mut Estate) {
    let runs = |it: &mut Client| it.runs = Some("clerk".parse().unwrap());
    let clients = [
        client("desk", ClientKeys::Given(set(&[21])), runs),
        client("kiosk", ClientKeys::Given(set(&[22])), |_| ()),
        client("page", ClientKeys::Public, |_| ()),
        client("other", ClientKeys::Public, |it| {
            it.agents = BTreeSet::from(["baker".parse().unwrap()]);
        }),
        client("moved", ClientKeys::At(KEYS_AT.to_owned()), runs),
    ];
    estate.clients = clients.map(|it| (it.name.clone(), it)).into();
    let name: IssuerName = "builds".parse().unwrap();
    let pattern = Pattern::new("repo:example/books:ref:refs/heads/*").unwrap();
    let rule = ClaimRule::new(vec!["sub".to_owned()], Wanted::Pattern(pattern)).unwrap();
    estate.agents.values_mut().next().unwrap().tokens = vec![TokenRegistration {
        issuer: name.clone(),
        claims: ClaimRules::new(vec![rule]).unwrap(),
    }];
    let issuer = Issuer {
        name: name.clone(),
        issuer: BUILDS.to_owned(),
        audience: ISSUER.to_owned(),
        keys: IssuerKeys::Given(set(&[31])),
    };
    estate.issuers.insert(name, issuer);
}

pub(super) fn nothing() -> Fetch {
    Arc::new(|_| Box::pin(async { Err("it is down".to_owned()) }))
}

pub(super) fn open() -> Office {
    Office::open_with(nothing(), declare)
}

pub(super) fn signed(office: &Office, seed: u8, claims: &[(&str, &str)]) -> String {
    let seconds = i64::try_from(office.world.clock.wall().as_millis() / 1000).unwrap();
    let times = [
        ("iat", Json::Integer(seconds)),
        ("exp", Json::Integer(seconds + 60)),
    ];
    let claims = claims.iter().map(|(name, it)| (*name, (*it).into()));
    let claims = Json::object(claims.chain(times));
    // The foreign issuers name their keys.
    Signer::new(Arc::new(signing(seed)), Some("JWT"))
        .sign(&claims)
        .unwrap()
}

pub(super) fn assertion(office: &Office, seed: u8, name: &str, audience: &str) -> String {
    let token_id = format!("{:?}", office.world.clock.moment().chance);
    let token_id: String = token_id.chars().take(60).collect();
    let claims = [
        ("iss", name),
        ("sub", name),
        ("aud", audience),
        ("jti", &token_id),
    ];
    signed(office, seed, &claims)
}

pub(super) fn workload_token(office: &Office, seed: u8, subject: &str) -> String {
    signed(
        office,
        seed,
        &[("iss", BUILDS), ("sub", subject), ("aud", ISSUER)],
    )
}

/// Starts a task of the clerk that waits, and returns its name.
pub(super) async fn start_waiting(office: &Office) -> String {
    let body = start_body("T-1");
    let (before, after) = body.split_once(r#""csr":""#).unwrap();
    let (_, after) = after.split_once(r#"","#).unwrap();
    let body = format!(r#"{before}"attested":true,{after}"#);
    let (status, answer) = office.ask(ANA, "POST", "/v1/tasks", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer:?}");
    text(&answer, "task").to_owned()
}

pub(super) async fn send(
    office: &Office,
    agent: Option<&Agent>,
    members: &[(&str, &str)],
) -> Answered {
    let url = format!("{ISSUER}/oauth/token");
    let now = office.world.clock.wall();
    let ask = async |nonce: Option<&str>| {
        let proofs: Vec<_> = agent.iter().map(|it| it.proof(&url, nonce, now)).collect();
        let router = public_router(&office.doors);
        post(router, "/oauth/token", form(members), &proofs).await
    };
    let first = ask(None).await;
    if first.value.get("error").and_then(Json::as_str) != Some("use_dpop_nonce") {
        return first;
    }
    ask(first.nonce()).await
}

pub(super) async fn by_key(office: &Office, agent: Option<&Agent>, assertion: &str) -> Answered {
    let members = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", BY_KEY),
        ("client_assertion", assertion),
        ("resource", PLACE),
    ];
    send(office, agent, &members).await
}

pub(super) async fn by_token(
    office: &Office,
    agent: Option<&Agent>,
    token: &str,
    id: &str,
) -> Answered {
    let members = [
        ("grant_type", JWT_BEARER),
        ("assertion", token),
        ("client_id", id),
        ("resource", PLACE),
    ];
    send(office, agent, &members).await
}

/// Expects a refusal whose description has `part`.
#[track_caller]
pub(super) fn refused(got: &Answered, error: &str, part: &str) {
    assert_eq!(got.error(), error, "{:?}", got.value);
    let told = text(&got.value, "error_description");
    assert!(told.contains(part), "`{part}` not in: {told}");
}

/// Returns client and task of the one token that the record at the end issued.
pub(super) fn issued(office: &Office) -> (String, String) {
    let mut found = None;
    for entry in office.world.records() {
        if let Fact::TokenIssued(it) = entry.body {
            found = Some((it.client, it.task.to_string()));
        }
    }
    found.expect("a token")
}

#[tokio::test]
async fn a_declared_client_is_a_run_of_its_agent() {
    // Nothing else can prove to be the clerk.
    let office = Office::open_with(nothing(), |estate| {
        declare(estate);
        estate.agents.values_mut().for_each(|it| it.tokens.clear());
    });
    let agent = Agent::new(9);
    let first = assertion(&office, 21, "desk", ISSUER);
    let got = by_key(&office, Some(&agent), &first).await;
    refused(
        &got,
        "invalid_grant",
        "ambit task start TEMPLATE --for AGENT --attested",
    );
    let task = start_waiting(&office).await;
    for _ in 0..2 {
        let again = assertion(&office, 21, "desk", ISSUER);
        let got = by_key(&office, Some(&agent), &again).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
        fits("TokenAnswer", &got.value);
        assert_eq!(issued(&office), ("desk".to_owned(), task.clone()));
    }
    let mut claims = Vec::new();
    for entry in office.world.records() {
        if let Fact::TaskClaimed { proof, .. } = entry.body {
            claims.push(proof);
        }
    }
    assert_eq!(claims, [ClaimProof::Client]);
}

/// NHI04: an assertion is for the issuer alone, of the client's own key, and good once.
#[tokio::test]
async fn nhi04_a_client_proves_itself_or_gets_nothing() {
    let office = open();
    let agent = Agent::new(9);
    start_waiting(&office).await;
    let check = async |seed: u8, name: &str, audience: &str, error: &str, part: &str| {
        let assertion = assertion(&office, seed, name, audience);
        let got = by_key(&office, Some(&agent), &assertion).await;
        refused(&got, error, part);
    };
    let endpoint = format!("{ISSUER}/oauth/token");
    check(21, "desk", &endpoint, "invalid_client", "aud").await;
    check(
        22,
        "desk",
        ISSUER,
        "invalid_client",
        "the client assertion is refused",
    )
    .await;
    check(
        21,
        "kiosk",
        ISSUER,
        "invalid_client",
        "the client assertion is refused",
    )
    .await;
    check(
        22,
        "nobody",
        ISSUER,
        "invalid_client",
        "client `nobody` is unknown",
    )
    .await;
    check(22, "page", ISSUER, "invalid_client", "declared no keys").await;
    check(
        22,
        "kiosk",
        ISSUER,
        "unauthorized_client",
        "`runs = 'AGENT'`",
    )
    .await;
    let once = assertion(&office, 21, "desk", ISSUER);
    assert_eq!(
        by_key(&office, Some(&agent), &once).await.status,
        StatusCode::OK
    );
    let again = by_key(&office, Some(&Agent::new(10)), &once).await;
    refused(&again, "invalid_client", "used before");
    // A client with keys does not get by on its name.
    let named = [
        ("grant_type", "client_credentials"),
        ("client_id", "desk"),
        ("resource", PLACE),
    ];
    let got = send(&office, Some(&agent), &named).await;
    refused(&got, "invalid_client", "signed with one of them");
    let named = [
        ("grant_type", "client_credentials"),
        ("client_id", "page"),
        ("resource", PLACE),
    ];
    let got = send(&office, Some(&agent), &named).await;
    refused(&got, "unauthorized_client", "person's consent");
}

#[tokio::test]
async fn the_keys_of_a_client_are_fetched_again_when_they_moved() {
    let published = Arc::new(Mutex::new(Some(set(&[41]))));
    let there = published.clone();
    let fetch: Fetch = Arc::new(move |url| {
        assert_eq!(url, KEYS_AT);
        let found = there.lock().unwrap().clone();
        Box::pin(async move { found.map(String::into_bytes).ok_or("it is down".to_owned()) })
    });
    let office = Office::open_with(fetch, declare);
    let agent = Agent::new(9);
    start_waiting(&office).await;
    let ask = async |seed: u8| {
        let assertion = assertion(&office, seed, "moved", ISSUER);
        by_key(&office, Some(&agent), &assertion).await
    };
    assert_eq!(ask(41).await.status, StatusCode::OK);
    *published.lock().unwrap() = Some(set(&[42]));
    refused(&ask(42).await, "invalid_client", "refused");
    office
        .world
        .clock
        .advance(crate::foreign::ISSUER_ASKED_EVERY);
    assert_eq!(ask(42).await.status, StatusCode::OK);
    refused(&ask(41).await, "invalid_client", "refused");
    *published.lock().unwrap() = None;
    let fresh = Office::open_with(nothing(), declare);
    let assertion = assertion(&fresh, 41, "moved", ISSUER);
    let got = by_key(&fresh, Some(&agent), &assertion).await;
    refused(&got, "invalid_client", "can't be had now");
}

/// A build, a pod, a machine: its issuer's token claims the task that waits, and its own key holds what it gets.
#[tokio::test]
async fn a_workload_token_claims_a_task() {
    let office = open();
    let agent = Agent::new(9);
    let token = workload_token(&office, 31, MAIN);
    let got = by_token(&office, Some(&agent), &token, "").await;
    refused(&got, "invalid_grant", "ambit task start");
    let task = start_waiting(&office).await;
    let got = by_token(&office, Some(&agent), &token, "").await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    fits("TokenAnswer", &got.value);
    assert_eq!(text(&got.value, "token_type"), "DPoP");
    let (client, of) = issued(&office);
    assert!(
        client.starts_with("spiffe://example.org/agent/clerk/"),
        "{client}"
    );
    assert_eq!(of, task);
    // Beside a client that the estate lets have the clerk's tokens, it is that client's.
    let got = by_token(&office, Some(&agent), &token, "page").await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    assert_eq!(issued(&office), ("page".to_owned(), task));
    let got = by_token(&office, Some(&agent), &token, "other").await;
    refused(
        &got,
        "unauthorized_client",
        "no tokens of tasks of agent `clerk`",
    );
}

/// NHI04: what is no run of an agent claims nothing, and hears what was seen of it and no registration.
#[tokio::test]
async fn nhi04_a_workload_token_of_nobody_claims_nothing() {
    let office = open();
    let agent = Agent::new(9);
    start_waiting(&office).await;
    let check = async |token: &str, part: &str| {
        let got = by_token(&office, Some(&agent), token, "").await;
        refused(&got, "invalid_grant", part);
    };
    let other = workload_token(&office, 31, "repo:example/other:ref:refs/heads/main");
    check(
        &other,
        "sub `repo:example/other:ref:refs/heads/main`; ask who runs",
    )
    .await;
    check(
        &workload_token(&office, 32, MAIN),
        "the workload token is refused",
    )
    .await;
    check("a.b.c", "the workload token is refused").await;
    let stranger = [
        ("iss", "https://evil.example"),
        ("sub", MAIN),
        ("aud", ISSUER),
    ];
    check(
        &signed(&office, 31, &stranger),
        "no such issuer: `https://evil.example`",
    )
    .await;
    let elsewhere = [
        ("iss", BUILDS),
        ("sub", MAIN),
        ("aud", "https://elsewhere.example"),
    ];
    check(&signed(&office, 31, &elsewhere), "aud").await;
    let late = workload_token(&office, 31, MAIN);
    let unproved = by_token(&office, None, &late, "").await;
    refused(&unproved, "invalid_dpop_proof", "send a DPoP proof");
    let nothing = [("grant_type", JWT_BEARER), ("resource", PLACE)];
    let got = send(&office, Some(&agent), &nothing).await;
    refused(&got, "invalid_request", "`assertion` is missing");
    office.world.clock.advance(Millis::from_seconds(200));
    check(&late, "exp").await;
    let claimed = office.world.records().into_iter();
    let claimed = claimed.filter(|it| matches!(it.body, Fact::TaskClaimed { .. }));
    assert_eq!(claimed.count(), 0);
}

/// A token without a key: only where the estate and the template take it, and only for who has none.
#[tokio::test]
async fn bearer_tokens_are_for_who_can_do_no_better() {
    let office = Office::open_with(nothing(), |estate| {
        declare(estate);
        estate.bearer_tokens = BearerTokens::Taken;
    });
    start_waiting(&office).await;
    let token = workload_token(&office, 31, MAIN);
    let got = by_token(&office, None, &token, "").await;
    refused(
        &got,
        "invalid_dpop_proof",
        "this task takes no token that is bound to no key",
    );

    let office = Office::open_with(nothing(), |estate| {
        declare(estate);
        estate.bearer_tokens = BearerTokens::Taken;
        for template in estate.templates.values_mut() {
            template.binding = LeastBinding::BearerToRead;
        }
    });
    let task = start_waiting(&office).await;
    let token = workload_token(&office, 31, MAIN);
    let got = by_token(&office, None, &token, "").await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    assert_eq!(text(&got.value, "token_type"), "Bearer");
    let lives = got.value.get("expires_in").and_then(Json::as_integer);
    let most = i64::try_from(BEARER_TTL.as_millis() / 1000).unwrap();
    assert_eq!(lives, Some(most));
    assert_eq!(issued(&office).1, task);
    // A run with an SVID has a key.
    let instance = office.start().await;
    let assertion = super::oauth::svid(&office, &instance, &[ISSUER]);
    let members = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", super::oauth::SPIFFE),
        ("client_assertion", &assertion),
        ("resource", PLACE),
    ];
    let got = send(&office, None, &members).await;
    refused(&got, "invalid_dpop_proof", "tokens are bound to a key");
}

/// Asks for a token of the desk's that carries these details.
async fn ask_for(office: &Office, agent: &Agent, details: &str) -> Answered {
    let assertion = assertion(office, 21, "desk", ISSUER);
    let members = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", BY_KEY),
        ("client_assertion", assertion.as_str()),
        ("resource", PLACE),
        ("authorization_details", details),
    ];
    send(office, Some(agent), &members).await
}

fn of_tickets(more: &str) -> String {
    format!(r#"[{{"type":"ambit_task","server":"tickets"{more}}}]"#)
}

/// RFC 9396: a token carries the part of its task that was asked for.
#[tokio::test]
async fn asi03_a_token_carries_the_part_that_was_asked_for() {
    let office = open();
    let agent = Agent::new(9);
    start_waiting(&office).await;
    let ask = async |details: &str| ask_for(&office, &agent, details).await;
    let carried = |got: &Answered| {
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
        fits("TokenAnswer", &got.value);
        got.value.get("authorization_details").unwrap().clone()
    };
    // Nothing said: the whole task.
    let whole = carried(&ask("").await);
    let own = whole.as_array().unwrap();
    assert!(own.len() > 2, "{whole:?}");
    assert_eq!(carried(&ask(&whole.to_canonical()).await), whole);
    // Each of its objects, as it stands, beside what bounds the task as a whole.
    for one in own.iter().skip(1) {
        let part = Json::Array(vec![own[0].clone(), one.clone()]);
        assert_eq!(carried(&ask(&part.to_canonical()).await), part);
        let alone = Json::Array(vec![one.clone()]);
        assert_eq!(carried(&ask(&alone.to_canonical()).await), part);
    }
    let named = of_tickets(r#","actions":["close_ticket"]"#);
    let part = carried(&ask(&named).await);
    assert_eq!(part.as_array().unwrap().len(), 2, "{part:?}");
    let mut narrowed = 0;
    for entry in office.world.records() {
        if let Fact::TokenIssued(it) = entry.body {
            narrowed += usize::from(it.part.is_some());
        }
    }
    assert!(narrowed > 3);
}

/// What is not understood, and what the task does not have, is refused.
#[tokio::test]
async fn asi03_a_token_never_carries_what_was_not_understood() {
    let office = open();
    let agent = Agent::new(9);
    start_waiting(&office).await;
    let ask = async |details: &str| ask_for(&office, &agent, details).await;
    let named = of_tickets(r#","actions":["close_ticket"]"#);
    let refused_as = async |details: &str, part: &str| {
        refused(&ask(details).await, "invalid_authorization_details", part);
    };
    let told = "a list of objects";
    refused_as("{}", told).await;
    refused_as("[1]", told).await;
    refused_as(r#"[{"type":"payment"}]"#, told).await;
    refused_as("[", "can't be read").await;
    refused_as(
        r#"[{"type":"ambit_task","type":"ambit_task"}]"#,
        "can't be read",
    )
    .await;
    refused_as("[]", "gives nothing").await;
    refused_as(r#"[{"type":"ambit_task"}]"#, "gives nothing").await;
    refused_as(&of_tickets(r#","actions":[]"#), "`actions`").await;
    refused_as(
        &of_tickets(r#","actions":["delete_ticket"]"#),
        "was not given it",
    )
    .await;
    refused_as(&named.replace("tickets", "mail"), "was not given it").await;
    let more = [
        r#""constraints":{"id":{"equals":"T-1"}}"#,
        r#""calls_max":1"#,
        r#""approval":"held""#,
        r#""identifier":"x""#,
        r#""privileges":["admin"]"#,
    ];
    for more in more {
        let asked = of_tickets(&format!(r#","actions":["close_ticket"],{more}"#));
        refused_as(&asked, "can't narrow a token").await;
    }
    let reads = of_tickets(r#","datatypes":["resources"]"#);
    refused_as(&reads, "`datatypes`").await;
    let many: Vec<_> = (0..=PART_TOOLS_MAX)
        .map(|it| format!("\"t{it}\""))
        .collect();
    let long = of_tickets(&format!(r#","actions":[{}]"#, many.join(",")));
    refused_as(&long, "at most").await;
}
