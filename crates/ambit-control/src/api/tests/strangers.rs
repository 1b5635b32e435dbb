//! What strangers can do with addresses that they name: of documents, and of where people are sent back to.

use std::sync::Arc;

use ambit_core::{estate::IssuerKeys, origin::Origin};
use axum::http::{StatusCode, header};
use futures_util::FutureExt;

use super::{
    super::public_router,
    booth::{BACK, Booth, CLIENT, DETAIL, NEVER, PLACE, answered, document, request},
    clients::{
        BUILDS, BY_KEY, JWT_BEARER, KEYS_AT, MAIN, assertion, declare, refused, send, signed,
    },
    doors::{Office, text},
    oauth::{Agent, Answered, ISSUER, form, post},
    people::Page,
};
use crate::{
    foreign::Fetch,
    heard::Heard,
    oauth::{
        CLIENT_ASKED_EVERY, CLIENT_DOCUMENT_TTL, CLIENT_DOCUMENTS_PER_ASKER_MAX, CLIENT_FETCHES_MAX,
    },
};

/// An address at which nothing is, or nothing that strangers shall see.
const INSIDE: &str = "https://vault.corp.example/client.json";

/// ASI04: whoever names an address learns nothing of the networks that Ambit is in, wherever it is named.
#[tokio::test]
async fn asi04_no_endpoint_tells_what_a_fetch_found() {
    let booth = Booth::open().await;
    let log = Heard::begin();
    let named = ("client_id", INSIDE);
    let mut told = Vec::new();
    let refresh = ("grant_type", "refresh_token");
    for (path, more) in [
        ("/oauth/token", vec![refresh, ("refresh_token", "x")]),
        ("/oauth/introspect", vec![("token", "x")]),
        ("/oauth/revoke", vec![("token", "x")]),
    ] {
        let body = form(&[&[named], &more[..]].concat());
        let got = post(public_router(&booth.desk.doors), path, body, &[]).await;
        assert_eq!(got.error(), "invalid_client", "{path}");
        told.push(text(&got.value, "error_description").to_owned());
    }
    let got = booth.push_from(Origin::Here, &[named]).await;
    told.push(text(&got.value, "error_description").to_owned());
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    let page = booth.authorize(&request(&[named]), &booth.ana).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(
        page.body.contains("There is no document of a client"),
        "{}",
        page.body
    );
    for detail in ["10.1.2.3", "8443", "refused the connection"] {
        assert!(!told[0].contains(detail) && !page.body.contains(detail));
    }
    let log = log.take();
    assert_eq!(log.matches(DETAIL).count(), 1, "{log}");
}

/// ASI04: nor do those hear it who name a client or an issuer of the estate, whose keys can't be had.
#[tokio::test]
async fn asi04_nobody_is_told_why_published_keys_can_not_be_had() {
    let fetch: Fetch = Arc::new(|_| Box::pin(async { Err(DETAIL.to_owned()) }));
    let office = Office::open_with(fetch, |estate| {
        declare(estate);
        for issuer in estate.issuers.values_mut() {
            issuer.keys = IssuerKeys::At(KEYS_AT.to_owned());
        }
    });
    let log = Heard::begin();
    let agent = Agent::new(9);
    let of_client = assertion(&office, 41, "moved", ISSUER);
    let by_client = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", BY_KEY),
        ("client_assertion", of_client.as_str()),
        ("resource", PLACE),
    ];
    let claims = [("iss", BUILDS), ("sub", MAIN), ("aud", ISSUER)];
    let token = signed(&office, 31, &claims);
    let by_token = [
        ("grant_type", JWT_BEARER),
        ("assertion", token.as_str()),
        ("resource", PLACE),
    ];
    for (members, error) in [
        (&by_client[..], "invalid_client"),
        (&by_token[..], "temporarily_unavailable"),
    ] {
        let got = send(&office, Some(&agent), members).await;
        refused(&got, error, "can't be had now; try again in a minute");
        assert!(!got.value.to_canonical().contains("10.1.2.3"));
        assert!(log.take().contains(DETAIL), "{error}");
    }
}

/// ASI04: before somebody signed in, a browser makes Ambit fetch nothing.
#[tokio::test]
async fn asi04_nothing_is_fetched_before_somebody_signs_in() {
    let booth = Booth::open().await;
    let fetched = || *booth.fetched.lock().unwrap();
    for (client, back) in [
        (CLIENT, BACK),
        (INSIDE, BACK),
        (CLIENT, "https://evil.example/"),
    ] {
        let query = request(&[("client_id", client), ("redirect_uri", back)]);
        let page = booth.authorize(&query, "").await;
        let to = answered(page.location())["to"].clone();
        assert_eq!(to, format!("/oauth/authorize?{query}"));
        assert_eq!(fetched(), 0);
    }
    booth.ask(&request(&[])).await;
    assert_eq!(fetched(), 1);
}

/// ASI09, RFC 9700 section 4.11.2: Ambit's own address sends nobody to a stranger's, whatever is wrong with the request.
#[tokio::test]
async fn asi09_no_error_sends_a_browser_to_a_stranger() {
    let booth = Booth::open().await;
    let stays = |page: &Page| {
        assert!(page.status.is_client_error(), "{}", page.status);
        assert!(!page.headers.contains_key(header::LOCATION));
        assert!(!page.body.contains("http-equiv"), "{}", page.body);
    };
    let silent = ("prompt", "none");
    let page = booth.authorize(&request(&[silent]), "").await;
    stays(&page);
    assert!(page.body.contains("Nobody is signed in"), "{}", page.body);
    let pushed = booth.pushed(&[silent]).await;
    stays(&booth.authorize(&pushed, "").await);
    for (more, error) in [
        (silent, "consent_required"),
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "all"), "invalid_scope"),
        (("resource", "https://else.example/mcp"), "invalid_target"),
        (("code_challenge", "short"), "invalid_request"),
    ] {
        let before = booth.authorize(&request(&[more]), "").await;
        assert!(
            !before.headers.contains_key(header::LOCATION)
                || before.location().starts_with("/sign-in?")
        );
        let page = booth.authorize(&request(&[more]), &booth.ana).await;
        stays(&page);
        // The person may go there, and then the client hears of it.
        let (_, href) = page
            .body
            .split_once("href=\"https://app.example/cb?")
            .unwrap();
        let href = href.split_once('"').unwrap().0.replace("&amp;", "&");
        let told = answered(&format!("?{href}"));
        assert_eq!(
            (told["error"].as_str(), told["state"].as_str()),
            (error, "s & s")
        );
        assert!(page.body.contains("Go back to app.example"));
    }
    assert_eq!(booth.tasks().0, 0);
}

/// What a pushed request says of prompting is obeyed, and nothing that stands beside its name (RFC 9126 section 4).
#[tokio::test]
async fn a_pushed_request_says_whether_the_person_may_be_asked() {
    let booth = Booth::open().await;
    let silent = booth.pushed(&[("prompt", "none")]).await;
    let page = booth.authorize(&silent, &booth.ana).await;
    assert!(page.body.contains("consent_required"), "{}", page.body);
    let usual = booth.pushed(&[]).await;
    booth.ask(&format!("{usual}&prompt=none")).await;
    let both = booth
        .push_from(Origin::Here, &[("prompt", "none login")])
        .await;
    assert_eq!(both.error(), "invalid_request");
}

/// Pushes a request of a client whose document does not come, and leaves.
async fn asks_and_leaves(booth: &Booth, origin: Origin, id: &str) {
    let more = [("client_id", id)];
    let pushed = booth.push_from(origin, &more).now_or_never();
    assert!(pushed.is_none(), "it waits");
    tokio::task::yield_now().await;
}

/// ASI08: strangers who have slow hosts asked take their own share, and who finds no room hears when to come again.
#[tokio::test]
async fn asi08_who_finds_no_room_for_a_fetch_comes_again() {
    let booth = Booth::open().await;
    let slow = |number: usize| {
        let id = format!("https://slow-{number}.example/client.json");
        booth.publish(&id, (document(&id, &[BACK]), NEVER));
        id
    };
    let busy = |got: Answered| {
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(got.error(), "temporarily_unavailable");
        assert_eq!(got.header("retry-after"), Some("10"));
    };
    let (far, near) = (Origin::Network(1 << 16), Origin::Network(2 << 16));
    for number in 0..CLIENT_DOCUMENTS_PER_ASKER_MAX {
        asks_and_leaves(&booth, far, &slow(number)).await;
    }
    busy(booth.push_from(far, &[]).await);
    let near = booth.push_from(near, &[]).await;
    assert_eq!(near.status, StatusCode::CREATED, "{:?}", near.value);
    // So does a person, on a page.
    for number in 100..100 + CLIENT_DOCUMENTS_PER_ASKER_MAX {
        let query = request(&[("client_id", &slow(number))]);
        assert!(booth.authorize(&query, &booth.ana).now_or_never().is_none());
    }
    let query = request(&[("client_id", &slow(999))]);
    let page = booth.authorize(&query, &booth.ana).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(page.headers[header::RETRY_AFTER], "10");
    assert!(booth.ask(&request(&[])).await.starts_with("/oauth/consent"));
    booth.desk.later(CLIENT_ASKED_EVERY);
    let pushed = booth.push_from(far, &[("client_id", INSIDE)]).await;
    assert_eq!(pushed.error(), "invalid_client", "there is room again");
}

/// ASI08: a client that a person let act keeps its tokens while strangers take their places.
#[tokio::test]
async fn asi08_strangers_keep_no_client_from_its_tokens() {
    let booth = Booth::open().await;
    let agent = Agent::new(9);
    let code = booth.code(&request(&[])).await;
    let got = booth.redeem(&agent, &code, &[]).await;
    let refresh = text(&got.value, "refresh_token").to_owned();
    booth.desk.later(CLIENT_DOCUMENT_TTL);
    for number in 0..CLIENT_FETCHES_MAX {
        let id = format!("https://slow-{number}.example/client.json");
        booth.publish(&id, (document(&id, &[BACK]), NEVER));
        let origin = Origin::Network((number as u64) << 16);
        asks_and_leaves(&booth, origin, &id).await;
    }
    let other = booth
        .push_from(Origin::Here, &[("client_id", INSIDE)])
        .await;
    assert_eq!(other.error(), "temporarily_unavailable");
    let members = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT),
        ("refresh_token", refresh.as_str()),
    ];
    let renewed = booth.token(&agent, &members).await;
    assert_eq!(renewed.status, StatusCode::OK, "{:?}", renewed.value);
}
