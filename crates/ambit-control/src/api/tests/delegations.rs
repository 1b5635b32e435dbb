//! Delegations as people, runs of agents and clients meet them.

use std::sync::Arc;

use ambit_core::json::Value as Json;
use ambit_testkit::delegating_office;
use axum::{
    body::Body,
    http::{Request, StatusCode},
};

use super::{
    super::{instance_router, public_router},
    doors::{ANA, BEN, EVE, Office, fits, start_body, text},
    oauth::{Agent, Answered, ISSUER, PLACE, SPIFFE, form, post, svid},
};
use crate::foreign::Fetch;

pub(super) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const REFRESH: &str = "urn:ietf:params:oauth:token-type:refresh_token";
pub(super) const READ: &str = r#"{"type":"ambit_task","server":"tickets","datatypes":["tools"]}"#;
pub(super) const CLOSE: &str =
    r#"{"type":"ambit_task","server":"tickets","actions":["close_ticket"]}"#;
const REFUND: &str =
    r#"{"type":"ambit_task","server":"tickets","actions":["refund"],"calls_max":9}"#;

fn open() -> Office {
    let fetch: Fetch = Arc::new(|_| Box::pin(async { Err("not here".to_owned()) }));
    Office::open_with(fetch, |it| *it = delegating_office(2, &[]))
}

pub(super) fn part(to: &str, detail: &str, depth: u8) -> String {
    format!(r#"{{"to":"{to}","authorization_details":[{detail}],"depth_left":{depth}}}"#)
}

fn taking() -> String {
    let start = ambit_core::json::parse(start_body("T-1").as_bytes()).unwrap();
    let csr = start.get("csr").unwrap().clone();
    Json::object([("contained", "namespaces".into()), ("csr", csr)]).to_canonical()
}

/// Has ana delegate of `task` and take the part for a run of `to`.
async fn child(office: &Office, task: &str, (to, detail, depth): (&str, &str, u8)) -> Json {
    let path = format!("/v1/tasks/{task}/delegations");
    let (status, given) = office
        .ask(ANA, "POST", &path, &part(to, detail, depth))
        .await;
    assert_eq!(status, StatusCode::OK, "{given:?}");
    fits("Delegation", &given);
    let path = format!("/v1/delegations/{}/exchange", text(&given, "delegation"));
    let (status, started) = office.ask(ANA, "POST", &path, &taking()).await;
    assert_eq!(status, StatusCode::OK, "{started:?}");
    fits("StartedTask", &started);
    started
}

/// Sends a request as the run that serves `task`.
pub(super) async fn by_run(
    office: &Office,
    task: &Json,
    path: &str,
    body: String,
) -> (StatusCode, Json) {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .extension(office.caller(task))
        .body(Body::from(body))
        .unwrap();
    office.send(instance_router(&office.doors), request).await
}

#[tokio::test]
async fn a_part_is_given_taken_and_taken_back() {
    let office = open();
    let root = office.start().await;
    // A run gives a part of its own task; it has no say over another's.
    let (status, given) = by_run(
        &office,
        &root,
        "/v1/task/delegations",
        part("helper", CLOSE, 1),
    )
    .await;
    assert_eq!(status, StatusCode::OK, "{given:?}");
    fits("Delegation", &given);
    let delegation = text(&given, "delegation");
    let (_, listed) = office.ask(BEN, "GET", "/v1/delegations", "").await;
    fits("Delegations", &listed);
    let exchange = format!("/v1/delegations/{delegation}/exchange");
    let withdraw = format!("/v1/delegations/{delegation}/withdraw");
    // Nobody without a role takes it, or takes it back.
    for (path, body) in [(&exchange, taking()), (&withdraw, String::new())] {
        let (status, problem) = office.ask(EVE, "POST", path, &body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{problem:?}");
        assert_eq!(text(&problem, "code"), "role_missing");
    }
    let (_, middle) = office.ask(ANA, "POST", &exchange, &taking()).await;
    fits("StartedTask", &middle);
    let low = child(&office, text(&middle, "task"), ("archivist", CLOSE, 0)).await;
    let (_, shown) = office
        .ask(BEN, "GET", &format!("/v1/tasks/{}", text(&low, "task")), "")
        .await;
    fits("Task", &shown);
    assert_eq!(text(&shown, "parent"), text(&middle, "task"));
    // What it was not given it does not give on, and hears which dimension.
    let path = format!("/v1/tasks/{}/delegations", text(&middle, "task"));
    for (detail, says) in [
        (READ, "reads of `tickets`"),
        (REFUND, "tool `tickets/refund`"),
    ] {
        let (status, problem) = office
            .ask(ANA, "POST", &path, &part("archivist", detail, 0))
            .await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{problem:?}");
        assert_eq!(text(&problem, "code"), "delegation_exceeds_parent");
        assert!(text(&problem, "detail").contains(says), "{problem:?}");
    }
    let (status, _) = office
        .ask(
            ANA,
            "POST",
            &path,
            &part("archivist", r#"{"type":"other"}"#, 0),
        )
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    // The child of a part has no say over it; who gave it takes it back, and what is below ends.
    let own = format!("/v1/task/delegations/{delegation}/withdraw");
    let (status, _) = by_run(&office, &low, &own, String::new()).await;
    assert_ne!(status, StatusCode::OK);
    let (status, back) = by_run(&office, &root, &own, String::new()).await;
    assert_eq!(status, StatusCode::OK, "{back:?}");
    fits("Withdrawal", &back);
    let ended = back.get("ended").and_then(Json::as_array).unwrap();
    assert_eq!(ended.len(), 2, "{back:?}");
    let (_, live) = office.ask(BEN, "GET", "/v1/tasks", "").await;
    assert_eq!(live.get("tasks").and_then(Json::as_array).unwrap().len(), 1);
    tells_the_chain(&office, [&root, &middle, &low]).await;
}

/// The stories tell the chain.
async fn tells_the_chain(office: &Office, [root, middle, low]: [&Json; 3]) {
    for (of, says) in [
        (root, "delegated tickets.close_ticket to helper"),
        (middle, "took"),
        (low, "a part delegated by"),
    ] {
        let path = format!("/v1/log/trace/{}", text(of, "task"));
        let (_, trace) = office.ask(BEN, "GET", &path, "").await;
        fits("Trace", &trace);
        assert!(trace.to_canonical().contains(says), "{says}: {trace:?}");
    }
}

/// A task of ana's clerk, and a helper's run that serves a part of another task.
struct Scene {
    office: Office,
    root: Json,
    helper: Json,
    clerk_key: Agent,
    helper_key: Agent,
}

impl Scene {
    async fn new() -> Self {
        let office = open();
        let root = office.start().await;
        let other = office.start().await;
        let helper = child(&office, text(&other, "task"), ("helper", READ, 0)).await;
        Self {
            office,
            root,
            helper,
            clerk_key: Agent::new(9),
            helper_key: Agent::new(11),
        }
    }

    async fn given(&self, to: &str) -> String {
        let path = "/v1/task/delegations";
        let (status, given) = by_run(&self.office, &self.root, path, part(to, CLOSE, 0)).await;
        assert_eq!(status, StatusCode::OK, "{given:?}");
        text(&given, "delegation").to_owned()
    }

    /// Asks the token endpoint as the run that serves `task`.
    async fn ask(&self, (task, key): (&Json, &Agent), more: &[(&str, &str)]) -> Answered {
        let assertion = svid(&self.office, task, &[ISSUER]);
        let mut members = vec![
            ("client_assertion_type", SPIFFE),
            ("client_assertion", assertion.as_str()),
        ];
        members.extend_from_slice(more);
        let body = form(&members);
        let (now, url) = (
            self.office.world.clock.now(),
            format!("{ISSUER}/oauth/token"),
        );
        let doors = &self.office.doors;
        let first = key.proof(&url, None, now);
        let first = post(public_router(doors), "/oauth/token", body.clone(), &[first]).await;
        if first.error() != "use_dpop_nonce" {
            return first;
        }
        let proof = key.proof(&url, first.nonce(), now);
        post(public_router(doors), "/oauth/token", body, &[proof]).await
    }

    async fn token(&self, (task, key): (&Json, &Agent)) -> String {
        let more = [("grant_type", "client_credentials"), ("resource", PLACE)];
        let got = self.ask((task, key), &more).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
        text(&got.value, "access_token").to_owned()
    }

    async fn exchange(&self, more: &[(&str, &str)]) -> Answered {
        let mut members = vec![("grant_type", EXCHANGE), ("resource", PLACE)];
        members.extend_from_slice(more);
        self.ask((&self.helper, &self.helper_key), &members).await
    }
}

#[tokio::test]
async fn a_delegation_is_exchanged_at_the_token_endpoint() {
    let scene = Scene::new().await;
    let subject = scene.token((&scene.root, &scene.clerk_key)).await;
    let own = scene.token((&scene.helper, &scene.helper_key)).await;
    let delegation = scene.given("helper").await;
    let got = scene
        .exchange(&[
            ("subject_token", &subject),
            ("subject_token_type", ACCESS),
            ("actor_token", &own),
            ("actor_token_type", ACCESS),
            ("delegation", &delegation),
        ])
        .await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    fits("TokenAnswer", &got.value);
    assert_eq!(text(&got.value, "issued_token_type"), ACCESS);
    assert_eq!(text(&got.value, "token_type"), "DPoP");
    // What it says: the same subject, who acts before in whose stead, the part alone.
    let token = text(&got.value, "access_token");
    let assertion = svid(&scene.office, &scene.helper, &[ISSUER]);
    let about = form(&[
        ("token", token),
        ("client_assertion_type", SPIFFE),
        ("client_assertion", &assertion),
    ]);
    let doors = &scene.office.doors;
    let told = post(public_router(doors), "/oauth/introspect", about, &[]).await;
    fits("Introspection", &told.value);
    let told = told.value;
    assert_eq!(told.get("active"), Some(&Json::Bool(true)), "{told:?}");
    assert_eq!(text(&told, "client_id"), text(&scene.helper, "spiffe_id"));
    let act = told.get("act").unwrap();
    assert!(text(act, "sub").contains("/agent/helper/"), "{act:?}");
    let above = act.get("act").unwrap();
    assert_eq!(text(above, "sub"), text(&scene.root, "spiffe_id"));
    let details = told.get("authorization_details").unwrap().to_canonical();
    assert!(details.contains("close_ticket"), "{details}");
    assert!(!details.contains("send_reply"), "{details}");
    let mission = told.get("mission").unwrap();
    assert_ne!(text(mission, "id"), text(&scene.root, "task"));
    // It goes on by refreshing, with the same key, and ends with the task above.
    let refresh = text(&got.value, "refresh_token");
    let more = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let again = scene.ask((&scene.helper, &scene.helper_key), &more).await;
    assert_eq!(again.status, StatusCode::OK, "{:?}", again.value);
    let path = format!("/v1/tasks/{}/end", text(&scene.root, "task"));
    let (status, _) = scene
        .office
        .ask(ANA, "POST", &path, r#"{"end":"completed"}"#)
        .await;
    assert_eq!(status, StatusCode::OK);
    let refresh = text(&again.value, "refresh_token");
    let more = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let over = scene.ask((&scene.helper, &scene.helper_key), &more).await;
    assert_eq!(over.error(), "invalid_grant");
}

const SHOWN: (&str, &str) = ("subject_token", "SUBJECT");
const KIND: (&str, &str) = ("subject_token_type", ACCESS);
const GIVEN: (&str, &str) = ("delegation", "MINE");

type Fields = &'static [(&'static str, &'static str)];

/// What is refused: the parameters, the standard's code, and what the description says.
const REFUSED: [(Fields, &str, &str); 13] = [
    (&[KIND, GIVEN], "invalid_request", "subject_token"),
    (&[SHOWN, GIVEN], "invalid_request", "subject_token_type"),
    (&[SHOWN, KIND], "invalid_request", "`delegation` is missing"),
    (
        &[SHOWN, KIND, ("delegation", "task_1")],
        "invalid_request",
        "no name of a delegation",
    ),
    // A subject of another chain, and a delegation for another delegate.
    (
        &[("subject_token", "OWN"), KIND, GIVEN],
        "invalid_request",
        "delegate_mismatch",
    ),
    (
        &[SHOWN, KIND, ("delegation", "OTHERS")],
        "invalid_request",
        "delegate_mismatch",
    ),
    // An actor that is not the client.
    (
        &[
            SHOWN,
            KIND,
            GIVEN,
            ("actor_token", "SUBJECT"),
            ("actor_token_type", ACCESS),
        ],
        "invalid_request",
        "another actor",
    ),
    (
        &[SHOWN, KIND, GIVEN, ("actor_token", "OWN")],
        "invalid_request",
        "actor_token_type",
    ),
    (
        &[SHOWN, KIND, GIVEN, ("actor_token_type", ACCESS)],
        "invalid_request",
        "actor_token_type",
    ),
    (
        &[SHOWN, ("subject_token_type", REFRESH), GIVEN],
        "invalid_request",
        "subject_token_type",
    ),
    (
        &[SHOWN, KIND, GIVEN, ("requested_token_type", REFRESH)],
        "invalid_request",
        "requested_token_type",
    ),
    (
        &[SHOWN, KIND, GIVEN, ("authorization_details", "[]")],
        "invalid_authorization_details",
        "delegate a smaller part",
    ),
    (
        &[SHOWN, KIND, GIVEN, ("scope", "all")],
        "invalid_scope",
        "scopes",
    ),
];

/// ASI03, NHI02, NHI05: what is no exact match of subject, delegation and actor gives nothing, and spends nothing.
#[tokio::test]
async fn asi03_no_other_pair_is_exchanged() {
    let scene = Scene::new().await;
    let subject = scene.token((&scene.root, &scene.clerk_key)).await;
    let own = scene.token((&scene.helper, &scene.helper_key)).await;
    let (mine, others) = (scene.given("helper").await, scene.given("archivist").await);
    let kind = ("subject_token_type", ACCESS);
    let shown = ("subject_token", subject.as_str());
    let given = ("delegation", mine.as_str());
    for (names, error, says) in REFUSED {
        let filled = names.iter().map(|(name, value)| match *value {
            "SUBJECT" => (*name, subject.as_str()),
            "OWN" => (*name, own.as_str()),
            "MINE" => (*name, mine.as_str()),
            "OTHERS" => (*name, others.as_str()),
            value => (*name, value),
        });
        let more: Vec<_> = filled.collect();
        let got = scene.exchange(&more).await;
        assert_eq!(got.error(), error, "{more:?}: {:?}", got.value);
        let description = text(&got.value, "error_description");
        assert!(description.contains(says), "{more:?}: {description}");
    }
    // Without a key there is nothing, whatever else is right.
    let assertion = svid(&scene.office, &scene.helper, &[ISSUER]);
    let bare = form(&[
        ("grant_type", EXCHANGE),
        ("resource", PLACE),
        ("client_assertion_type", SPIFFE),
        ("client_assertion", &assertion),
        shown,
        kind,
        given,
    ]);
    let doors = &scene.office.doors;
    let bare = post(public_router(doors), "/oauth/token", bare, &[]).await;
    assert_eq!(bare.error(), "invalid_dpop_proof", "{:?}", bare.value);
    // None of it spent anything. Once it is spent, it is.
    let got = scene.exchange(&[shown, kind, given]).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    let replayed = scene.exchange(&[shown, kind, given]).await;
    assert_eq!(replayed.error(), "invalid_request");
    let description = text(&replayed.value, "error_description");
    assert!(description.contains("delegation_used"), "{description}");
}
