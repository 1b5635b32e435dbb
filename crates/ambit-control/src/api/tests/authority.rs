//! The issuing keys: who may rotate them, and what is written before they change.

use std::sync::Arc;

use ambit_core::{
    Timestamp,
    json::Value as Json,
    record::{Body as Fact, KeyStep},
};
use ambit_identity::{
    IssuingKeys, PairChance, TrustBundle,
    authority::{AUTHORITY_TTL, PREPARE_BEFORE_END, PREPARED_TTL_MIN},
};
use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{
    super::{public_router, rotate_if_due},
    doors::{ANA, BEN, Office, fits, text},
};

impl Office {
    pub(super) async fn rotate(&self, uid: u32, step: &str) -> (StatusCode, Json) {
        let body = format!(r#"{{"step":"{step}"}}"#);
        let answer = self.ask(uid, "POST", "/v1/authority/rotate", &body).await;
        if answer.0 == StatusCode::OK {
            fits("Authority", &answer.1);
        }
        answer
    }

    fn steps(&self) -> Vec<(KeyStep, u64, bool)> {
        let steps = self.world.records().into_iter().filter_map(|it| {
            let Fact::KeysRotated {
                step,
                sequence,
                warrant,
                ..
            } = it.body
            else {
                return None;
            };
            Some((step, sequence, warrant.is_some()))
        });
        steps.collect()
    }
}

fn states(answer: &Json) -> Vec<String> {
    let keys = answer.get("keys").and_then(Json::as_array).unwrap();
    keys.iter().map(|it| text(it, "state").to_owned()).collect()
}

#[tokio::test]
async fn each_step_is_decided_and_written() {
    let office = Office::open();
    let (status, problem) = office.rotate(BEN, "replace").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{problem:?}");
    let (_, answer) = office.rotate(ANA, "prepare").await;
    assert_eq!(states(&answer), ["prepared", "active"]);
    let (status, problem) = office.rotate(ANA, "activate").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem:?}");
    assert!(
        text(&problem, "detail").contains("not known to everybody"),
        "{problem:?}"
    );
    office.world.clock.advance(PREPARED_TTL_MIN);
    let (_, answer) = office.rotate(ANA, "activate").await;
    assert_eq!(states(&answer), ["active", "retired"]);
    let (_, answer) = office.rotate(ANA, "replace").await;
    assert_eq!(states(&answer), ["active"]);
    let (_, shown) = office.ask(BEN, "GET", "/v1/authority", "").await;
    assert_eq!(shown, answer);
    use KeyStep::{Activate, Prepare, Replace};
    assert_eq!(
        office.steps(),
        [(Prepare, 2, true), (Activate, 3, true), (Replace, 4, true)]
    );
}

#[tokio::test]
async fn time_takes_the_steps_that_are_due() {
    let office = Office::open();
    rotate_if_due(&office.doors).await;
    assert_eq!(office.steps(), []);
    // Keys that were made so long ago that they end soon.
    // Certificates end with a whole second.
    let age = AUTHORITY_TTL.as_millis() - PREPARE_BEFORE_END.as_millis() + 1000;
    let made_at = Timestamp::from_millis(office.world.clock.now().as_millis() - age);
    let chance = PairChance {
        x509: [17; 32],
        jwt: [18; 32],
    };
    let old = IssuingKeys::create("example.org".parse().unwrap(), chance, made_at).unwrap();
    office.doors.control().keys.send_replace(Arc::new(old));
    rotate_if_due(&office.doors).await;
    rotate_if_due(&office.doors).await;
    office.world.clock.advance(PREPARED_TTL_MIN);
    rotate_if_due(&office.doors).await;
    use KeyStep::{Activate, Prepare};
    assert_eq!(office.steps(), [(Prepare, 2, false), (Activate, 3, false)]);
}

#[tokio::test]
async fn a_step_that_cannot_be_kept_is_not_written_and_no_sequence_comes_twice() {
    use KeyStep::{Prepare, Replace};
    let office = Office::open();
    let before = office.ask(BEN, "GET", "/v1/authority", "").await;
    let fails = |how| *office.keeping_fails.lock().unwrap() = how;
    fails(Some("beside"));
    let (status, problem) = office.rotate(ANA, "replace").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{problem:?}");
    assert!(
        text(&problem, "title").contains("nothing is written"),
        "{problem:?}"
    );
    assert_eq!(office.steps(), []);
    assert_eq!(office.ask(BEN, "GET", "/v1/authority", "").await, before);
    // Kept beside the old ones and written: they are in force, whatever their file is called.
    fails(Some("in force"));
    let (status, answer) = office.rotate(ANA, "replace").await;
    assert_eq!(status, StatusCode::OK, "{answer:?}");
    let (_, shown) = office.ask(BEN, "GET", "/v1/authority", "").await;
    assert_eq!(shown, answer);
    fails(None);
    office.rotate(ANA, "prepare").await;
    assert_eq!(office.steps(), [(Replace, 2, true), (Prepare, 3, true)]);
}

/// NHI02: nobody has keys made, or kept, who may not rotate them.
#[tokio::test]
async fn nhi02_no_keys_are_made_for_who_may_not_rotate() {
    let office = Office::open();
    for step in ["prepare", "activate", "replace"] {
        let (status, problem) = office.rotate(BEN, step).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{problem:?}");
    }
    let (status, _) = office.rotate(ANA, "activate").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(*office.kept.lock().unwrap(), [""; 0]);
    office.rotate(ANA, "prepare").await;
    assert_eq!(*office.kept.lock().unwrap(), ["beside", "in force"]);
    assert_eq!(office.steps(), [(KeyStep::Prepare, 2, true)]);
}

#[tokio::test]
async fn strangers_read_the_bundle() {
    let office = Office::open();
    let request = Request::get("/spiffe/bundle").body(Body::empty()).unwrap();
    let response = public_router(&office.doors).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let document = response.into_body().collect().await.unwrap().to_bytes();
    let domain = "example.org".parse().unwrap();
    let read = TrustBundle::from_document(domain, &document).unwrap();
    assert!(read.left_out.is_empty());
    let held = office.doors.control().keys_in_force();
    assert_eq!(read.bundle.to_document(), held.bundle().to_document());
}
