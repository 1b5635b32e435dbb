//! Tokens that are asked about and given up over the certificate of whoever got them.

use ambit_core::json::Value as Json;
use axum::{
    body::Body,
    http::{Request, StatusCode},
};

use super::{
    super::instance_router,
    doors::{Office, text},
    oauth::{Answered, PLACE, form, send},
};

/// Whoever has a certificate and no assertion asks about its tokens, and gives them up, by the certificate (RFC 8705 §5).
pub(super) async fn asked_and_given_up(office: &Office, task: &Json, token: &str) {
    let stranger = office.start().await;
    let by_certificate = async |path: &str, task: &Json, token: &str| {
        by_certificate(office, path, (task, token)).await
    };
    let is_active = async |task: &Json| {
        let told = by_certificate("/oauth/mtls/introspect", task, token).await;
        assert_eq!(told.status, StatusCode::OK, "{:?}", told.value);
        told.value.get("active") == Some(&Json::Bool(true))
    };
    assert!(is_active(task).await && !is_active(&stranger).await);
    let revoke = "/oauth/mtls/revoke";
    let refused = by_certificate(revoke, &stranger, token).await;
    assert_eq!(refused.error(), "invalid_grant");
    assert!(is_active(task).await);
    let done = by_certificate(revoke, task, token).await;
    assert_eq!(done.status, StatusCode::OK, "{:?}", done.value);
    assert!(!is_active(task).await);
}

/// Sends a token to `path` over the connection of the task's instance.
async fn by_certificate(office: &Office, path: &str, (task, token): (&Json, &str)) -> Answered {
    let request = Request::post(path)
        .header("content-type", "application/x-www-form-urlencoded")
        .extension(office.caller(task))
        .body(Body::from(form(&[("token", token)])))
        .unwrap();
    send(instance_router(&office.doors), request).await
}

/// NHI01, RFC 7009 §2: what is given up stays given up, though the estate let nothing be done with it at that moment and
/// lets it again afterwards.
#[tokio::test]
async fn nhi01_a_token_is_given_up_while_it_is_worth_nothing() {
    let office = Office::open();
    let task = office.start().await;
    let members = [("grant_type", "client_credentials"), ("resource", PLACE)];
    let request = Request::post("/oauth/mtls/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .extension(office.caller(&task))
        .body(Body::from(form(&members)))
        .unwrap();
    let got = send(instance_router(&office.doors), request).await;
    let token = text(&got.value, "access_token");
    let is_active = async || {
        let told = by_certificate(&office, "/oauth/mtls/introspect", (&task, token)).await;
        told.value.get("active") == Some(&Json::Bool(true))
    };
    assert!(is_active().await);
    let of_today = office.estate();
    let mut narrower = of_today.clone();
    for agent in narrower.agents.values_mut() {
        agent.templates.clear();
    }
    narrower.digest = ambit_core::Digest::of(b"narrower");
    office.apply(narrower).await;
    assert!(!is_active().await);
    let done = by_certificate(&office, "/oauth/mtls/revoke", (&task, token)).await;
    assert_eq!(done.status, StatusCode::OK, "{:?}", done.value);
    office.apply(of_today).await;
    assert!(!is_active().await, "it came back");
}
