//! How long and how many requests, questions and codes wait.

use ambit_core::{
    Digest, Millis,
    json::Value as Json,
    limits::{PARAMETER_BYTES_MAX, PARAMETERS_MAX},
    origin::Origin,
    task::End,
};
use axum::http::StatusCode;

use super::{
    booth::{Booth, request},
    oauth::Agent,
};
use crate::oauth::{
    CODE_TTL, CODES_MAX, CONSENT_TTL, CONSENTS_MAX, CONSENTS_PER_SESSION_MAX, PUSHED_BYTES_MAX,
    PUSHED_MAX, PUSHED_OPENED_TTL, PUSHED_PER_ORIGIN_MAX, PUSHED_TTL, STATE_BYTES_MAX,
};

#[tokio::test]
async fn a_pushed_request_waits_for_its_person_once() {
    let booth = Booth::open().await;
    let push = async || booth.pushed(&[]).await;
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
    let nested = [("request_uri", "urn:x")];
    let refused = booth.push_from(Origin::Here, &nested).await;
    assert_eq!(refused.error(), "invalid_request");
}

#[tokio::test]
async fn the_state_of_a_client_is_so_long() {
    let booth = Booth::open().await;
    for (bytes, status) in [
        (STATE_BYTES_MAX, StatusCode::CREATED),
        (STATE_BYTES_MAX + 1, StatusCode::BAD_REQUEST),
    ] {
        let state = "s".repeat(bytes);
        let got = booth.push_from(Origin::Here, &[("state", &state)]).await;
        assert_eq!(got.status, status, "{bytes}: {:?}", got.value);
    }
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

/// ASI08: one stranger, who says a public client's name, keeps nobody's requests out and takes little memory.
#[tokio::test]
async fn asi08_strangers_have_a_share_of_what_waits() {
    let booth = Booth::open().await;
    let push = async |origin: Origin, details: String| {
        let more = [("authorization_details", details.as_str())];
        booth.push_from(origin, &more).await
    };
    let wanted = |parameters: Json| {
        let detail = Json::object([
            ("type", ambit_policy::AUTHORIZATION_DETAIL_TYPE.into()),
            ("template", "answer-ticket".into()),
            ("parameters", parameters),
        ]);
        Json::Array(vec![detail]).to_canonical()
    };
    let one = |name: &str, value: Json| wanted(Json::object([(name, value)]));
    let (far, near) = (Origin::Network(1), Origin::Network(2));
    let longest = "x".repeat(PARAMETER_BYTES_MAX);
    let many = |count: usize| {
        let named = (0..count).map(|it| (format!("p{it}"), Json::Null));
        wanted(Json::Object(named.collect()))
    };
    for (details, status) in [
        (one("a", longest.as_str().into()), StatusCode::CREATED),
        (
            one("a", format!("{longest}x").into()),
            StatusCode::BAD_REQUEST,
        ),
        (one("a", Json::Array(vec![])), StatusCode::BAD_REQUEST),
        (one("a", Json::object([])), StatusCode::BAD_REQUEST),
        (many(PARAMETERS_MAX), StatusCode::CREATED),
        (many(PARAMETERS_MAX + 1), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(
            push(near, details.clone()).await.status,
            status,
            "{details:.80}"
        );
    }
    for _ in 0..PUSHED_PER_ORIGIN_MAX {
        let pushed = push(far, wanted(Json::object([]))).await;
        assert_eq!(pushed.status, StatusCode::CREATED);
    }
    let refused = push(far, wanted(Json::object([]))).await;
    assert_eq!(refused.error(), "temporarily_unavailable");
    // Many networks together fill what all of them may hold, and no more.
    let mut taken = 0;
    for network in 3.. {
        let heavy = one("a", longest.as_str().into());
        if push(Origin::Network(network), heavy).await.status != StatusCode::CREATED {
            break;
        }
        taken += 1;
    }
    let room = PUSHED_BYTES_MAX / PARAMETER_BYTES_MAX;
    assert!((room - 50..room).contains(&taken), "{taken} of {room}");
}

#[tokio::test]
async fn so_many_wait_and_no_more() {
    let booth = Booth::open().await;
    let clock = &booth.desk.office.world.clock;
    let push = async || booth.push_from(Origin::Here, &[]).await;
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
    let refused = booth.authorize(&request(&[]), &session).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.body.contains("temporarily_unavailable"));
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
