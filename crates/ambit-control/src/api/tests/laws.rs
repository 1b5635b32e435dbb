//! What holds for every route there is, also for the next one that somebody adds.

use ambit_identity::PeerCredentials;
use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{
    super::{Asks, Door, Route, instance_router, people_router, public_router, routes},
    ANA,
    doors::{Office, text},
};

/// What strangers send: nothing, an empty object, an empty form, and what would name somebody else's task.
const BODIES: [(&str, &str); 4] = [
    ("application/json", ""),
    ("application/json", "{}"),
    ("application/x-www-form-urlencoded", ""),
    (
        "application/x-www-form-urlencoded",
        "grant_type=client_credentials&client_id=clerk&token=x",
    ),
];

/// A stranger who proves nothing gets nothing from a route that asks who it is, and writes nothing into the log.
#[tokio::test]
async fn who_proves_nothing_gets_nothing() {
    let office = Office::open();
    office.start().await;
    let before = office.world.records().len();
    let asks = |it: &&Route| it.door == Door::Public && it.asks != Asks::Nothing;
    for route in routes().filter(asks) {
        for (kind, body) in BODIES {
            let request = Request::builder().method(route.method).uri(route.path);
            let request = request.header("content-type", kind).body(Body::from(body));
            let response = public_router(&office.doors).oneshot(request.unwrap());
            let response = response.await.unwrap();
            let status = response.status();
            // A page may be shown or lead to the sign-in; nothing is done for whoever is nobody.
            let is_page = route.method == "GET" && (status.is_success() || status.is_redirection());
            let is_refusal = status.is_client_error() || status == StatusCode::SEE_OTHER;
            // Where there is no provider and no issuer, the route is not there.
            let is_absent = status == StatusCode::SERVICE_UNAVAILABLE;
            assert!(is_page || is_refusal || is_absent, "{route:?}: {status}");
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8_lossy(&bytes);
            for secret in ["tickets", "kim@example.org", "task_", "access_token"] {
                assert!(!body.contains(secret), "{route:?}: {body}");
            }
        }
    }
    assert_eq!(office.world.records().len(), before);
}

/// ASI08: each route has bodies so long and no longer, whoever sends them.
#[tokio::test]
async fn asi08_a_body_is_as_long_as_its_route_says() {
    let office = Office::open();
    let caller = office.caller(&office.start().await);
    let ana = PeerCredentials {
        uid: ANA,
        gid: ANA,
        pid: None,
    };
    for route in routes().filter(|it| it.method == "POST") {
        let most = route.body_bytes_max;
        let router = || match route.door {
            Door::People => people_router(&office.doors),
            Door::Instance => instance_router(&office.doors),
            Door::Public | Door::Operations => public_router(&office.doors),
        };
        for (bytes, is_read) in [(most, true), (most + 1, false)] {
            let request = Request::post(route.path)
                .header("content-type", "text/plain")
                .extension(caller.clone())
                .extension(ana);
            let request = request.body(Body::from(vec![b' '; bytes])).unwrap();
            let response = router().oneshot(request).await.unwrap();
            let is_too_long = response.status() == StatusCode::PAYLOAD_TOO_LARGE;
            assert_eq!(!is_too_long, is_read, "{route:?} {bytes}");
        }
    }
}

/// NHI01: the identity of a run is worth nothing after its task, at every route for instances.
#[tokio::test]
async fn nhi01_an_instance_of_an_ended_task_gets_nothing() {
    let office = Office::open();
    let started = office.start().await;
    let caller = office.caller(&started);
    let task = text(&started, "task");
    let end = format!(r#"{{"target":{{"kind":"task","id":"{task}"}},"reason":"a trial"}}"#);
    let (status, answer) = office.ask(ANA, "POST", "/v1/revocations", &end).await;
    assert_eq!(status, StatusCode::OK, "{answer:?}");
    for route in routes().filter(|it| it.door == Door::Instance) {
        for (kind, body) in BODIES {
            let request = Request::builder().method(route.method).uri(route.path);
            let request = request
                .header("content-type", kind)
                .extension(caller.clone());
            let request = request.body(Body::from(body)).unwrap();
            let (status, answer) = office.send(instance_router(&office.doors), request).await;
            assert!(status.is_client_error(), "{route:?}: {status} {answer:?}");
        }
    }
}
