//! A planned rotation of the issuing keys: what the retired keys signed stays good for as long as it lives.

use ambit_core::{Timestamp, json::Value as Json, limits::SVID_TTL_MAX};
use ambit_identity::authority::PREPARED_TTL_MIN;
use axum::{
    body::Body,
    http::{Request, StatusCode},
};

use super::{
    super::{public_router, rotate_if_due},
    doors::{ANA, Office, text},
    oauth::{Agent, ISSUER, PLACE, ask, is_active, send, svid, verifier},
};

impl Office {
    /// Gets an access token of the task at the public port.
    async fn token(&self, agent: &Agent, task: &Json) -> String {
        let assertion = svid(self, task, &[ISSUER]);
        let got = ask(self, agent, &assertion, &[("resource", PLACE)]).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
        text(&got.value, "access_token").to_owned()
    }

    /// Says whether those who verify by the keys of now take the token: by the published ones, and as the gateway does.
    fn takes(&self, token: &str, now: Timestamp) -> [bool; 2] {
        let keys = self.doors.control().keys_in_force();
        let gateway = keys.access_verifier(ISSUER.to_owned()).unwrap();
        [verifier(self), gateway].map(|it| it.verify(token, PLACE, now).is_ok())
    }

    /// Returns the names of the published keys.
    async fn published(&self) -> Vec<String> {
        let request = Request::get("/oauth/jwks").body(Body::empty()).unwrap();
        let keys = send(public_router(&self.doors), request).await.value;
        let keys = keys.get("keys").and_then(Json::as_array).unwrap();
        keys.iter().map(|it| text(it, "kid").to_owned()).collect()
    }

    /// Returns the name of the key that signs.
    fn signs_by(&self) -> String {
        let report = self.doors.control().keys_in_force().report();
        let active = report
            .iter()
            .find(|it| it.state == ambit_identity::authority::KeyState::Active);
        active.unwrap().kid.clone()
    }
}

#[tokio::test]
async fn a_planned_rotation_ends_no_access_token() {
    let office = Office::open();
    let agent = Agent::new(9);
    let (status, _) = office.rotate(ANA, "prepare").await;
    assert_eq!(status, StatusCode::OK);
    office.world.clock.advance(PREPARED_TTL_MIN);
    let task = office.start().await;
    let (old_key, old) = (office.signs_by(), office.token(&agent, &task).await);
    // Shown after the rotation, signed before it.
    let assertion = svid(&office, &task, &[ISSUER]);
    let (status, answer) = office.rotate(ANA, "activate").await;
    assert_eq!(status, StatusCode::OK, "{answer:?}");

    let now = office.world.clock.now();
    assert_eq!(office.takes(&old, now), [true; 2]);
    assert!(is_active(&office, &task, &old).await);
    let got = ask(&office, &agent, &assertion, &[("resource", PLACE)]).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    let (new_key, new) = (office.signs_by(), office.token(&agent, &task).await);
    assert_ne!(new_key, old_key);
    assert_eq!(office.takes(&new, now), [true; 2]);
    assert!(is_active(&office, &task, &new).await);
    let mut published = office.published().await;
    published.sort();
    let mut wanted = [old_key, new_key.clone()];
    wanted.sort();
    assert_eq!(published, wanted);

    // Once nothing of it can live, the retired key is worth nothing, whenever the token says that it was good.
    office.world.clock.advance(SVID_TTL_MAX);
    rotate_if_due(&office.doors).await;
    assert_eq!(office.published().await, [new_key]);
    assert_eq!(office.takes(&old, now), [false; 2]);
    assert_eq!(office.takes(&new, now), [true; 2]);
}

/// ASI03: what compromised keys signed is worth nothing at once, whatever it says of its life.
#[tokio::test]
async fn asi03_replaced_keys_end_every_access_token() {
    let office = Office::open();
    let task = office.start().await;
    let agent = Agent::new(9);
    let token = office.token(&agent, &task).await;
    let (status, _) = office.rotate(ANA, "replace").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(office.takes(&token, office.world.clock.now()), [false; 2]);
    assert!(!is_active(&office, &task, &token).await);
    assert_eq!(office.published().await, [office.signs_by()]);
}
