//! Workloads of a foreign trust domain at the token endpoint.

use ambit_core::{
    Millis,
    estate::{BundleSource, Estate, Federation, SvidRegistration, claim_rules::Wanted},
};
use ambit_identity::{
    Beside, Issuance, IssuingKeys, PairChance, SvidKey, identify_token,
    token::{access::AccessGrant, jwt_svid::JwtSvidIssuance},
};
use axum::{
    body::Body,
    http::{Request, StatusCode},
};

use super::{
    clients::{JWT_BEARER, issued, nothing, refused, send, start_waiting},
    doors::{Office, text},
    oauth::{Agent, Answered, ISSUER, PLACE, SPIFFE, form, verifier},
};
use crate::{api::instance_router, federation::refresh_bundles};

pub(super) const BOOKS: &str = "spiffe://partner.example/ns/books";
/// One with an X509-SVID.
const SHELF: &str = "spiffe://partner.example/agent/books/inst_01j9z3k4m5n6p7q8r9s0t1v2w3";

pub(super) fn partner(chance: u8) -> IssuingKeys {
    let chance = PairChance {
        x509: [chance; 32],
        jwt: [chance + 1; 32],
    };
    let began = ambit_testkit::TestClock::new(1).now();
    IssuingKeys::create("partner.example".parse().unwrap(), chance, began).unwrap()
}

pub(super) fn declare(estate: &mut Estate) {
    let federation = Federation {
        name: "partner".parse().unwrap(),
        trust_domain: "partner.example".parse().unwrap(),
        source: BundleSource::Given(partner(20).bundle().to_document()),
    };
    let registration = SvidRegistration {
        federation: federation.name.clone(),
        path: Wanted::OneOf(
            [BOOKS, SHELF]
                .map(|it| it.trim_start_matches("spiffe://partner.example").to_owned())
                .to_vec(),
        ),
    };
    estate.agents.values_mut().next().unwrap().svids = vec![registration];
    estate.federations = [(federation.name.clone(), federation)].into();
}

async fn open() -> Office {
    let office = Office::open_with(nothing(), declare);
    refresh_bundles(&office.doors).await;
    office
}

pub(super) fn svid(
    office: &Office,
    keys: &IssuingKeys,
    id: &str,
    audiences: &[&str],
    name: &str,
) -> String {
    let now = office.world.clock.now();
    let audiences: Vec<_> = audiences.iter().map(|it| (*it).to_owned()).collect();
    let ask = JwtSvidIssuance {
        spiffe_id: &id.parse().unwrap(),
        audiences: &audiences,
        token_id: name,
        now,
        expires_at: now.plus(Millis::from_seconds(300)),
    };
    keys.issue_jwt(&ask).unwrap()
}

async fn ask(office: &Office, agent: &Agent, svid: &str, client: Option<&str>) -> Answered {
    let mut members = vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", SPIFFE),
        ("client_assertion", svid),
        ("resource", PLACE),
    ];
    members.extend(client.map(|it| ("client_id", it)));
    send(office, Some(agent), &members).await
}

#[tokio::test]
async fn a_foreign_workload_gets_tokens_of_the_task_that_it_claims() {
    let office = open().await;
    let (agent, keys) = (Agent::new(9), partner(20));
    let fresh = |name: &str| svid(&office, &keys, BOOKS, &[ISSUER], name);
    let early = ask(&office, &agent, &fresh("1"), None).await;
    refused(&early, "invalid_grant", "ambit task start");
    let task = start_waiting(&office).await;
    let got = ask(&office, &agent, &fresh("2"), Some(BOOKS)).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    assert_eq!(issued(&office), (BOOKS.to_owned(), task.clone()));
    assert_eq!(text(&got.value, "token_type"), "DPoP");
    // Its own words as a grant come to the same task.
    let assertion = fresh("3");
    let members = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
        ("resource", PLACE),
    ];
    let got = send(&office, Some(&agent), &members).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    assert_eq!(issued(&office).1, task);
}

/// A client is known by its own name, by an X509-SVID as by a JWT-SVID (draft-ietf-oauth-spiffe-client-auth), and not by that
/// of the instance that it became.
#[tokio::test]
async fn a_foreign_certificate_names_its_client() {
    let office = open().await;
    let (now, keys) = (office.world.clock.now(), partner(20));
    let key = SvidKey::generate([9; 32]).unwrap();
    let svid = keys.issue(&Issuance {
        key: &key.proved().unwrap(),
        spiffe_id: &SHELF.parse().unwrap(),
        now,
        expires_at: now.plus(Millis::from_seconds(600)),
        chance: [4; 16],
    });
    let federated = office.doors.control().federated();
    let foreign = federated.identify(svid.unwrap().chain(), now);
    let foreign = foreign.unwrap().unwrap();
    let task = start_waiting(&office).await;
    let caller = office.world.handle.foreign_instance(&foreign);
    let caller = caller.await.unwrap();
    let ask = async |client: Option<&str>| {
        let mut members = vec![("grant_type", "client_credentials"), ("resource", PLACE)];
        members.extend(client.map(|it| ("client_id", it)));
        let request = Request::post("/oauth/mtls/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .extension(caller.clone())
            .body(Body::from(form(&members)))
            .unwrap();
        super::oauth::send(instance_router(&office.doors), request).await
    };
    for client in [None, Some(SHELF)] {
        let got = ask(client).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
        assert_eq!(issued(&office), (SHELF.to_owned(), task.clone()));
    }
    // Over this certificate it acts by what was issued to that name, its own or a part that it took.
    let got = ask(None).await;
    let read = verifier(&office).verify(text(&got.value, "access_token"), PLACE, now);
    let taken = text(&office.start().await, "spiffe_id").to_owned();
    let part = AccessGrant {
        actors: vec![taken.parse().unwrap()],
        ..read.unwrap().grant().clone()
    };
    let keys = office.doors.control().keys_in_force();
    let token = keys.access_issuer(ISSUER.to_owned()).issue(&part, now);
    let beside = Beside {
        connection: Some(&caller),
        proof: None,
    };
    let domain = caller.spiffe_id().trust_domain();
    let shown = |token: &str| {
        let token = verifier(&office).verify(token, PLACE, now).unwrap();
        identify_token(&token, beside, domain).map(|it| it.spiffe_id().to_string())
    };
    assert_eq!(shown(&token.unwrap()).unwrap(), taken);
    let instance = caller.spiffe_id().to_string();
    for client in [BOOKS, &instance] {
        refused(&ask(Some(client)).await, "invalid_client", "another client");
    }
}

#[tokio::test]
async fn nhi04_a_foreign_assertion_is_its_domains_for_us_alone_and_once() {
    let office = open().await;
    start_waiting(&office).await;
    let (agent, keys) = (Agent::new(9), partner(20));
    let of =
        |keys: &IssuingKeys, id: &str, audiences: &[&str]| svid(&office, keys, id, audiences, "x");
    let check = async |assertion: &str, client: Option<&str>, error: &str, part: &str| {
        let got = ask(&office, &agent, assertion, client).await;
        refused(&got, error, part);
    };
    let forged = of(&partner(30), BOOKS, &[ISSUER]);
    check(
        &forged,
        None,
        "invalid_client",
        "client assertion is refused",
    )
    .await;
    let elsewhere = of(&keys, BOOKS, &["https://other.example"]);
    check(&elsewhere, None, "invalid_client", "audience").await;
    let both = of(&keys, BOOKS, &[ISSUER, "https://other.example"]);
    check(&both, None, "invalid_client", "alone").await;
    let other = of(&keys, "spiffe://partner.example/ns/other", &[ISSUER]);
    check(
        &other,
        None,
        "unauthorized_client",
        "no agent is registered",
    )
    .await;
    let stolen = svid(&office, &keys, BOOKS, &[ISSUER], "y");
    let name = "spiffe://partner.example/ns/other";
    check(&stolen, Some(name), "invalid_client", "another client").await;
    let good = svid(&office, &keys, BOOKS, &[ISSUER], "z");
    let got = ask(&office, &agent, &good, None).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    check(&good, None, "invalid_client", "used before").await;
}
