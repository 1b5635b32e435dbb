//! How long and how many requests, questions and codes wait.

use ambit_core::{Digest, Millis, task::End};
use axum::http::StatusCode;

use super::{
    super::public_router,
    booth::{Booth, CLIENT, answered, request},
    doors::text,
    oauth::{Agent, form, post},
};
use crate::oauth::{
    CODE_TTL, CODES_MAX, CONSENT_TTL, CONSENTS_MAX, CONSENTS_PER_SESSION_MAX, PUSHED_MAX,
    PUSHED_OPENED_TTL, PUSHED_TTL,
};

#[tokio::test]
async fn a_pushed_request_waits_for_its_person_once() {
    let booth = Booth::open().await;
    let push = async || {
        let router = public_router(&booth.desk.doors);
        let got = post(router, "/oauth/par", request(&[]), &[]).await;
        assert_eq!(got.status, StatusCode::CREATED, "{:?}", got.value);
        super::doors::fits("PushedAnswer", &got.value);
        form(&[
            ("client_id", CLIENT),
            ("request_uri", text(&got.value, "request_uri")),
        ])
    };
    let clock = &booth.desk.office.world.clock;
    let last = |it: Millis| Millis::new(it.as_millis() - 1);
    let query = push().await;
    clock.advance(last(PUSHED_TTL));
    let first = booth.authorize(&query, "").await;
    assert!(
        first.location().starts_with("/sign-in?to="),
        "{}",
        first.location()
    );
    clock.advance(last(PUSHED_OPENED_TTL));
    let path = booth.ask(&query).await;
    assert_eq!(
        booth.authorize(&query, &booth.ana).await.status,
        StatusCode::BAD_REQUEST
    );
    assert!(booth.allow(&path).await.contains_key("code"));

    let query = push().await;
    clock.advance(PUSHED_TTL);
    assert_eq!(
        booth.authorize(&query, "").await.status,
        StatusCode::BAD_REQUEST
    );
    let query = push().await.replace("app.example", "else.example");
    assert_eq!(
        booth.authorize(&query, "").await.status,
        StatusCode::BAD_REQUEST
    );
    let router = public_router(&booth.desk.doors);
    let refused = post(
        router,
        "/oauth/par",
        request(&[("request_uri", "urn:x")]),
        &[],
    )
    .await;
    assert_eq!(refused.error(), "invalid_request");
}

#[tokio::test]
async fn a_question_waits_so_long_and_so_many_wait() {
    let booth = Booth::open().await;
    let clock = &booth.desk.office.world.clock;
    let first = booth.ask(&request(&[])).await;
    for _ in 1..CONSENTS_PER_SESSION_MAX {
        clock.advance(Millis::new(1));
        booth.ask(&request(&[])).await;
    }
    assert_eq!(booth.page(&first).await.status, StatusCode::OK);
    clock.advance(Millis::new(1));
    let newest = booth.ask(&request(&[])).await;
    assert_eq!(
        booth.page(&first).await.status,
        StatusCode::NOT_FOUND,
        "one more"
    );
    clock.advance(Millis::new(CONSENT_TTL.as_millis() - 1));
    assert_eq!(booth.page(&newest).await.status, StatusCode::OK);
    clock.advance(Millis::new(1));
    assert_eq!(booth.page(&newest).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn so_many_wait_and_no_more() {
    let booth = Booth::open().await;
    let clock = &booth.desk.office.world.clock;
    let push = async || {
        let router = public_router(&booth.desk.doors);
        post(router, "/oauth/par", request(&[]), &[]).await
    };
    push().await;
    let oauth = booth.desk.doors.0.oauth();
    oauth.fill((PUSHED_MAX - 1, CODES_MAX - 1), clock.now());
    assert_eq!(push().await.status, StatusCode::CREATED);
    let refused = push().await;
    assert_eq!(
        (refused.status, refused.error()),
        (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
    );
    let first = booth.ask(&request(&[])).await;
    assert!(booth.allow(&first).await.contains_key("code"));
    let second = booth.ask(&request(&[])).await;
    assert_eq!(
        booth.allow(&second).await["error"],
        "temporarily_unavailable"
    );
    assert_eq!(
        booth.tasks(),
        (2, vec![End::Cancelled]),
        "nobody can serve it"
    );

    // As many questions as there may be, each browser with its own.
    let mut open = 0;
    let mut browsers = 0;
    while open < CONSENTS_MAX {
        browsers += 1;
        let session = booth.desk.sign_in().await.cookie("session");
        for _ in 0..CONSENTS_PER_SESSION_MAX.min(CONSENTS_MAX - open) {
            let asked = booth.ask_as(&session).await;
            assert!(asked.starts_with("/oauth/consent"), "{asked}");
            open += 1;
        }
    }
    assert!(browsers > 0);
    let session = booth.desk.sign_in().await.cookie("session");
    assert_eq!(
        answered(&booth.ask_as(&session).await)["error"],
        "temporarily_unavailable"
    );
}

/// A task of whose code nobody makes anything would stay open for nobody.
#[tokio::test]
async fn a_code_that_is_not_redeemed_ends_its_task() {
    let (booth, agent) = (Booth::open().await, Agent::new(9));
    let code = booth.code(&request(&[])).await;
    let clock = &booth.desk.office.world.clock;
    clock.advance(Millis::new(CODE_TTL.as_millis() - 1));
    let got = booth.redeem(&agent, &code, &[]).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    let digest = |code: &str| Digest::of(code.as_bytes());
    crate::oauth::end_if_abandoned(&booth.desk.doors.0, digest(&code)).await;
    assert_eq!(booth.tasks(), (1, vec![]), "it was redeemed");
    let late = booth.code(&request(&[])).await;
    clock.advance(CODE_TTL);
    assert_eq!(
        booth.redeem(&agent, &late, &[]).await.error(),
        "invalid_grant"
    );
    assert_eq!(booth.tasks(), (2, vec![End::Cancelled]));
    let abandoned = booth.code(&request(&[])).await;
    crate::oauth::end_if_abandoned(&booth.desk.doors.0, digest(&abandoned)).await;
    assert_eq!(booth.tasks(), (3, vec![End::Cancelled, End::Cancelled]));
    assert_eq!(
        booth.redeem(&agent, &abandoned, &[]).await.error(),
        "invalid_grant"
    );
}
