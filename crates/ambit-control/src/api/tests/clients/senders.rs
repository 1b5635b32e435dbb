//! Assertions that are shown again: whoever came first keeps them. And what their holders hear of their tokens.

use ambit_core::{
    Millis,
    estate::{BearerTokens, LeastBinding},
    json::Value as Json,
};
use ambit_identity::{SvidKey, jose::Signer};
use axum::http::StatusCode;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    super::{
        doors::{Office, fits, text},
        oauth::{Agent, Answered, ISSUER, PLACE, form, post},
    },
    BUILDS, BY_KEY, JWT_BEARER, MAIN, by_token, declare, nothing, open, refused, send, signed,
    signing, start_waiting, workload_token,
};
use crate::api::public_router;

/// Returns the token with another signature over the same, which is as good: of ECDSA anybody can write it.
fn signed_again(token: &str, seed: u8) -> String {
    // What signs draws a new signature each time.
    let (said, before) = token.rsplit_once('.').unwrap();
    let signer = Signer::new(std::sync::Arc::new(signing(seed)), Some("JWT"));
    let claims = said.split_once('.').unwrap().1;
    let claims = ambit_identity::jose::base64url::decode(claims).unwrap();
    let claims = ambit_core::json::parse(&claims).unwrap();
    let again = signer.sign(&claims).unwrap();
    let (same, after) = again.rsplit_once('.').unwrap();
    assert_eq!((same, before != after), (said, true));
    again
}

/// NHI04: Kubernetes and builds hand the same token out again. A thief who copied it has another key.
#[tokio::test]
async fn nhi04_a_workload_token_stays_with_the_key_that_showed_it_first() {
    let office = open();
    let (own, thief) = (Agent::new(9), Agent::new(10));
    let token = workload_token(&office, 31, MAIN);
    // Nothing was given yet: nobody is held to it.
    let early = by_token(&office, Some(&thief), &token, "").await;
    refused(&early, "invalid_grant", "ambit task start");
    let (status, problem) = join(&office, &token).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{problem:?}");
    let told = [text(&problem, "title"), text(&problem, "detail")];
    assert_eq!(
        told,
        [
            "no task waits for a run of this agent",
            "start one with `ambit task start TEMPLATE --for AGENT --attested`",
        ],
        "the token is good"
    );
    start_waiting(&office).await;
    let first = by_token(&office, Some(&own), &token, "").await;
    assert_eq!(first.status, StatusCode::OK, "{:?}", first.value);
    for stolen in [&token, &signed_again(&token, 31)] {
        let got = by_token(&office, Some(&thief), stolen, "").await;
        refused(&got, "invalid_grant", "used before by another key");
        let named = by_token(&office, Some(&thief), stolen, "page").await;
        refused(&named, "invalid_grant", "used before by another key");
        let got = as_client(&office, Some(&thief), stolen).await;
        refused(&got, "invalid_client", "used before by another key");
        let (status, problem) = join(&office, stolen).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{problem:?}");
        assert_eq!(text(&problem, "code"), "join_refused");
    }
    // Whoever came first goes on with it, by each way.
    let again = by_token(&office, Some(&own), &token, "").await;
    assert_eq!(again.status, StatusCode::OK, "{:?}", again.value);
    let again = as_client(&office, Some(&own), &token).await;
    assert_eq!(again.status, StatusCode::OK, "{:?}", again.value);
    // A new token is nobody's yet.
    office.world.clock.advance(Millis::from_seconds(1));
    let fresh = workload_token(&office, 31, MAIN);
    let got = by_token(&office, Some(&thief), &fresh, "").await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
}

/// Whoever has a token for another place hears what it is for, and where stands what it must be for.
#[tokio::test]
async fn a_token_for_another_place_says_for_which() {
    let office = open();
    start_waiting(&office).await;
    let elsewhere = [
        ("iss", BUILDS),
        ("sub", MAIN),
        ("aud", "https://else.example"),
    ];
    let token = signed(&office, 31, &elsewhere);
    let (status, problem) = join(&office, &token).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{problem:?}");
    let detail = text(&problem, "detail");
    for part in [
        "and is `https://else.example`",
        "`audience` of its issuer's file",
    ] {
        assert!(detail.contains(part), "no `{part}` in {detail}");
    }
    assert!(!detail.contains(ISSUER), "{detail}");
    let got = by_token(&office, Some(&Agent::new(9)), &token, "").await;
    refused(&got, "invalid_grant", "and is `https://else.example`");
}

/// ASI08: whoever makes workload tokens up takes no room among the proofs, whatever key they bring each time.
#[tokio::test]
async fn asi08_workload_tokens_of_strangers_leave_no_proofs() {
    let office = open();
    let used = || office.doors.shared().oauth().remembered();
    let forged = workload_token(&office, 32, MAIN);
    let elsewhere = [
        ("iss", "https://evil.example"),
        ("sub", MAIN),
        ("aud", ISSUER),
    ];
    let elsewhere = signed(&office, 32, &elsewhere);
    let before = used();
    for seed in 40..60 {
        let stranger = Agent::new(seed);
        for token in [forged.as_str(), &elsewhere, "a.b.c"] {
            for id in ["", "page"] {
                let got = by_token(&office, Some(&stranger), token, id).await;
                assert_eq!(got.error(), "invalid_grant", "{:?}", got.value);
            }
        }
    }
    assert_eq!(used(), before);
    start_waiting(&office).await;
    let token = workload_token(&office, 31, MAIN);
    let got = by_token(&office, Some(&Agent::new(9)), &token, "").await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    assert_eq!(used(), before + 1);
}

/// NHI04: without a key there is nothing to keep it with; such a token is good once.
#[tokio::test]
async fn nhi04_without_a_key_a_workload_token_is_good_once() {
    let office = Office::open_with(nothing(), |estate| {
        declare(estate);
        estate.bearer_tokens = BearerTokens::Taken;
        for template in estate.templates.values_mut() {
            template.binding = LeastBinding::BearerToRead;
        }
    });
    start_waiting(&office).await;
    let token = workload_token(&office, 31, MAIN);
    let got = by_token(&office, None, &token, "").await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    for agent in [None, Some(Agent::new(9))] {
        let got = by_token(&office, agent.as_ref(), &token, "").await;
        refused(&got, "invalid_grant", "get a new assertion");
    }
}

/// Shows the token as the holder's own assertion.
async fn as_client(office: &Office, agent: Option<&Agent>, token: &str) -> Answered {
    let members = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", BY_KEY),
        ("client_assertion", token),
        ("resource", PLACE),
    ];
    send(office, agent, &members).await
}

async fn join(office: &Office, token: &str) -> (StatusCode, Json) {
    let key = SvidKey::generate([77; 32]).unwrap();
    let csr = STANDARD.encode(key.signing_request().unwrap());
    let body = Json::object([("token", token.into()), ("csr", csr.into())]).to_canonical();
    let request = axum::http::Request::post("/v1/join")
        .header("content-type", "application/json")
        .body(axum::body::Body::from(body))
        .unwrap();
    office.send(public_router(&office.doors), request).await
}

/// Asks about, or gives up, a token as the holder of a workload token.
async fn about(office: &Office, path: &str, workload: &str, token: &str) -> Answered {
    let members = form(&[
        ("client_assertion_type", BY_KEY),
        ("client_assertion", workload),
        ("token", token),
    ]);
    post(public_router(&office.doors), path, members, &[]).await
}

/// RFC 7523 §2.2: the same token that got a workload its task proves it where it asks about its tokens; only about its own.
#[tokio::test]
async fn a_workload_asks_about_its_own_tokens_and_gives_them_up() {
    let office = open();
    let agent = Agent::new(9);
    let workload = workload_token(&office, 31, MAIN);
    let got = about(&office, "/oauth/introspect", &workload, "x").await;
    refused(&got, "invalid_client", "serves no live task");
    start_waiting(&office).await;
    let got = by_token(&office, Some(&agent), &workload, "").await;
    let token = text(&got.value, "access_token").to_owned();
    let active = async |workload: &str, token: &str| {
        let got = about(&office, "/oauth/introspect", workload, token).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
        fits("Introspection", &got.value);
        got.value.get("active") == Some(&Json::Bool(true))
    };
    assert!(active(&workload, &token).await);
    // Another workload of the same agent, and a client that is not asked about.
    let other = workload_token(&office, 31, "repo:example/books:ref:refs/heads/next");
    let got = about(&office, "/oauth/introspect", &other, &token).await;
    refused(&got, "invalid_client", "serves no live task");
    start_waiting(&office).await;
    let second = Agent::new(12);
    let got = by_token(&office, Some(&second), &other, "").await;
    let others = text(&got.value, "access_token").to_owned();
    assert!(active(&other, &others).await);
    assert!(!active(&other, &token).await);
    let got = about(&office, "/oauth/revoke", &other, &token).await;
    refused(&got, "invalid_grant", "another client");
    let named = by_token(&office, Some(&agent), &workload, "page").await;
    let named = text(&named.value, "access_token").to_owned();
    assert!(!active(&workload, &named).await);
    // What is forged, for somebody else, or of nobody, proves nothing.
    for (bad, says) in [
        (workload_token(&office, 32, MAIN), "is refused"),
        (
            workload_token(&office, 31, "repo:x"),
            "no agent is registered",
        ),
        (
            signed(
                &office,
                31,
                &[("iss", BUILDS), ("sub", MAIN), ("aud", "https://x.example")],
            ),
            "aud",
        ),
    ] {
        let got = about(&office, "/oauth/introspect", &bad, &token).await;
        refused(&got, "invalid_client", says);
    }
    assert!(active(&workload, &token).await);
    let ended = about(&office, "/oauth/revoke", &workload, &token).await;
    assert_eq!(ended.status, StatusCode::OK, "{:?}", ended.value);
    assert!(!active(&workload, &token).await);
    assert!(active(&other, &others).await);
    // The grant takes no second proof beside it.
    let members = [
        ("grant_type", JWT_BEARER),
        ("assertion", workload.as_str()),
        ("client_assertion_type", BY_KEY),
        ("client_assertion", workload.as_str()),
        ("resource", PLACE),
    ];
    let got = send(&office, Some(&agent), &members).await;
    refused(&got, "unauthorized_client", "client_credentials");
}
