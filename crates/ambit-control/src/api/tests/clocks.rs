//! Clocks that were wrong for a moment, and whoever's clock is right.

use ambit_core::Millis;
use axum::http::StatusCode;

use super::{
    super::public_router,
    clients::{MAIN, assertion, by_key, by_token, open, refused, start_waiting, workload_token},
    doors::{ANA, text},
    oauth::{Agent, ISSUER, form, post},
};

/// A clock that was ahead for a moment leaves the log's time ahead for as long. Whoever's clock is right goes on meanwhile, by
/// assertion, proof and workload token, and what was used is used.
#[tokio::test]
async fn asi03_a_clock_that_was_ahead_locks_nobody_out_and_lets_nothing_in_twice() {
    let office = open();
    let agent = Agent::new(5);
    start_waiting(&office).await;
    let before = assertion(&office, 21, "desk", ISSUER);
    let got = by_key(&office, Some(&agent), &before).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    let (_, status) = office.ask(ANA, "GET", "/v1/status", "").await;
    assert_eq!(text(&status, "clock"), "right");
    let step = Millis::from_seconds(2 * 3600);
    office.world.clock.step_forward_and_back(step);
    let (_, status) = office.ask(ANA, "GET", "/v1/status", "").await;
    let told = text(&status, "clock");
    assert!(told.starts_with("7200 s behind the log"), "{told}");

    start_waiting(&office).await;
    let again = by_key(&office, Some(&agent), &before).await;
    refused(&again, "invalid_client", "used before");
    let fresh = assertion(&office, 21, "desk", ISSUER);
    let got = by_key(&office, Some(&agent), &fresh).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    start_waiting(&office).await;
    let token = workload_token(&office, 31, MAIN);
    let got = by_token(&office, Some(&agent), &token, "").await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    let ahead = office.world.clock.now();
    let url = format!("{ISSUER}/oauth/token");
    let members = [("grant_type", "client_credentials")];
    let proof = agent.proof(&url, None, ahead);
    let router = public_router(&office.doors);
    let got = post(router, "/oauth/token", form(&members), &[proof]).await;
    refused(&got, "invalid_dpop_proof", "valid from");
}
