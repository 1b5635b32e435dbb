mod authority;
mod booth;
mod client_key;
mod clients;
mod clocks;
mod consent;
mod consent_attacks;
mod consent_limits;
mod consent_wanted;
mod content;
mod crowds;
mod delegations;
mod doors;
mod ended;
mod federation;
mod given_up;
mod gone;
mod laws;
mod logins;
mod oauth;
mod outlived;
mod passkey_attacks;
mod passkey_sessions;
mod passkeys;
mod people;
mod public;
mod refusals;
mod rotated;
mod strangers;
mod unasked;
mod unknown;
mod unnamed_keys;

use std::collections::BTreeSet;

use ambit_core::{InstanceId, TaskId, json::Value as Json};
use ambit_identity::PeerCredentials;
use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

use self::doors::{
    ANA, BEN, EVE, Office, STRANGER, estate_body, fits, start_body, text, well_formed,
};
use super::*;

#[tokio::test]
async fn every_route_of_people_asks_for_a_decision() {
    let mut office = Office::open();
    // Where links of passkeys can be given.
    office.doors = Doors::new(passkeys::with_passkeys(office.doors.control().clone()));
    let task = office.start().await;
    let task_path = format!("/v1/tasks/{}/end", text(&task, "task"));
    for route in routes().filter(|it| it.door == Door::People) {
        let Asks::Person(action) = route.asks else {
            panic!("{route:?} asks for no decision");
        };
        let (mut path, body) = well_formed(route);
        if route.name == "end_task" {
            path.clone_from(&task_path);
        }
        if route.name == "delegate" {
            path = format!("/v1/tasks/{}/delegations", text(&task, "task"));
        }
        // Nobody, somebody unknown: never even decided.
        let (status, _) = office.ask(STRANGER, route.method, &path, &body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{route:?}");
        // Somebody without a role: decided, denied, recorded.
        let before = office.world.records().len();
        let (status, problem) = office.ask(EVE, route.method, &path, &body).await;
        let of_delegation = ["exchange_delegation", "withdraw_delegation"].contains(&route.name);
        if route.name == "decide_approval" || of_delegation {
            // There is nothing to decide on; the tests of held acts and delegations deny eve.
            assert_eq!(status, StatusCode::NOT_FOUND, "{problem:?}");
            continue;
        }
        assert_eq!(status, StatusCode::FORBIDDEN, "{route:?} {problem:?}");
        assert_eq!(text(&problem, "code"), "role_missing", "{route:?}");
        fits("Problem", &problem);
        let records = office.world.records();
        let denied = records[before..].iter().find_map(|it| {
            let ambit_core::record::Body::Decided(it) = &it.body else {
                return None;
            };
            Some(it.action.clone())
        });
        assert_eq!(denied.as_deref(), Some(action), "{route:?}");
    }
    assert!(office.world.records().iter().all(|it| !matches!(
        it.body,
        ambit_core::record::Body::Revoked { .. }
            | ambit_core::record::Body::CredentialSealed { .. }
    )));
}

#[tokio::test]
async fn instances_need_their_certificate() {
    let office = Office::open();
    for route in routes().filter(|it| it.door == Door::Instance) {
        assert_eq!(route.asks, Asks::OwnTask);
        let request = Request::builder().method(route.method).uri(route.path);
        // The credentials of a socket say nothing here.
        let peer = PeerCredentials {
            uid: ANA,
            gid: ANA,
            pid: None,
        };
        let request = request.extension(peer).body(Body::empty()).unwrap();
        let (status, problem) = office.send(instance_router(&office.doors), request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{route:?}");
        assert_eq!(text(&problem, "code"), "not_identified");
    }
}

#[tokio::test]
async fn a_task_lives_and_ends() {
    let office = Office::open();
    let started = office.start().await;
    fits("StartedTask", &started);
    let task = text(&started, "task").to_owned();
    let (_, listed) = office.ask(ANA, "GET", "/v1/tasks", "").await;
    fits("Tasks", &listed);
    let (_, shown) = office
        .ask(BEN, "GET", &format!("/v1/tasks/{task}"), "")
        .await;
    fits("Task", &shown);
    assert_eq!(
        (text(&shown, "subject"), text(&shown, "state")),
        ("ana", "active")
    );
    let end = format!("/v1/tasks/{task}/end");
    let (_, ended) = office
        .ask(ANA, "POST", &end, r#"{"end":"completed"}"#)
        .await;
    fits("EndedTask", &ended);
    assert_eq!(text(&ended, "state"), "completed");
    let (_, live) = office.ask(ANA, "GET", "/v1/tasks", "").await;
    assert_eq!(live.get("tasks"), Some(&Json::Array(vec![])));
    let (_, trace) = office
        .ask(ANA, "GET", &format!("/v1/log/trace/{task}"), "")
        .await;
    fits("Trace", &trace);
    assert_eq!(text(&trace, "state"), "completed");
    let (_, records) = office
        .ask(ANA, "GET", "/v1/log/records?from=0&count=100", "")
        .await;
    fits("Records", &records);
    let (_, status) = office.ask(ANA, "GET", "/v1/status", "").await;
    fits("Status", &status);
    let (status, note) = office.ask(ANA, "GET", "/v1/log/checkpoint", "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        note.as_str().unwrap().starts_with("example.org/log\n"),
        "{note:?}"
    );
    for tile in ["0/000.p/1", "entries/000.p/1"] {
        let path = format!("/v1/log/tile/{tile}");
        assert_eq!(
            office.ask(ANA, "GET", &path, "").await.0,
            StatusCode::OK,
            "{tile}"
        );
    }
}

#[tokio::test]
async fn the_same_start_with_a_key_is_done_once() {
    let office = Office::open();
    let body = start_body("T-1");
    let now = format!("{:012x}", office.world.clock.now().as_millis());
    let (high, low) = now.split_at(8);
    let key = format!("{high}-{low}-7000-8000-000000000001");
    let send = |body: String| {
        let request = Request::post("/v1/tasks")
            .header("content-type", "application/json")
            .header("idempotency-key", &key)
            .extension(PeerCredentials {
                uid: ANA,
                gid: ANA,
                pid: None,
            })
            .body(Body::from(body))
            .unwrap();
        office.send(people_router(&office.doors), request)
    };
    let (_, first) = send(body.clone()).await;
    let (_, again) = send(body).await;
    assert_eq!(text(&first, "task"), text(&again, "task"));
    let (status, other) = send(start_body("T-2")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(text(&other, "code"), "idempotency_key_reused");
}

#[tokio::test]
async fn a_held_act_is_shown_whole_and_decided_once() {
    let office = Office::open();
    let task = office.start().await;
    let arguments = Json::object([("id", "T-1".into()), ("cents", Json::Integer(700))]);
    let held = office.act(&task, "refund", arguments).await;
    let ambit_engine::Answer::Held(held) = held else {
        panic!("not held: {held:?}");
    };
    let (_, listed) = office.ask(BEN, "GET", "/v1/approvals", "").await;
    fits("Approvals", &listed);
    let path = format!("/v1/approvals/{}", held.approval);
    let (_, shown) = office.ask(BEN, "GET", &path, "").await;
    fits("Approval", &shown);
    assert!(
        text(&shown, "shown").contains("\"cents\": 700"),
        "{shown:?}"
    );
    let decide = format!("{path}/decide");
    let (status, problem) = office
        .ask(EVE, "POST", &decide, r#"{"verdict":"approved"}"#)
        .await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "role_missing")
    );
    for _ in 0..2 {
        let (status, decided) = office
            .ask(BEN, "POST", &decide, r#"{"verdict":"approved"}"#)
            .await;
        assert_eq!(status, StatusCode::OK, "{decided:?}");
        fits("DecidedApproval", &decided);
        assert_eq!(text(&decided, "state"), "approved");
    }
    let (_, why) = office
        .ask(ANA, "GET", &format!("/v1/log/why/{}", held.decision), "")
        .await;
    fits("Why", &why);
    assert_eq!(text(&why, "answer"), "hold");
    let command = format!("`ambit approvals show {}`", held.approval);
    assert!(text(&why, "next").ends_with(&command), "{why:?}");
    // What an explanation would say is said by the sentence and the rules already.
    assert_eq!(why.get("change"), Some(&Json::Null));
    let revoke = r#"{"target":{"kind":"agent","id":"clerk"},"reason":"test"}"#;
    office.ask(ANA, "POST", "/v1/revocations", revoke).await;
    let (_, shown) = office.ask(BEN, "GET", &path, "").await;
    fits("Approval", &shown);
    assert_eq!(text(&shown, "state"), "ended");
}

#[tokio::test]
async fn revoking_tells_what_ended() {
    let office = Office::open();
    let task = office.start().await;
    let revoke = |kind: &str, id: &str, reason: &str| {
        format!(r#"{{"target":{{"kind":"{kind}","id":"{id}"}},"reason":"{reason}"}}"#)
    };
    let (status, _) = office
        .ask(
            ANA,
            "POST",
            "/v1/revocations",
            &revoke("agent", "clerk", " "),
        )
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let longest = "r".repeat(ambit_core::limits::REASON_BYTES_MAX);
    let beyond = revoke("agent", "clerk", &format!("{longest}r"));
    let (status, _) = office.ask(ANA, "POST", "/v1/revocations", &beyond).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, report) = office
        .ask(
            ANA,
            "POST",
            "/v1/revocations",
            &revoke("agent", "clerk", &longest),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{report:?}");
    fits("Revocation", &report);
    assert_eq!(
        report.get("ended").unwrap().as_array().unwrap(),
        [Json::from(text(&task, "task"))]
    );
}

#[tokio::test]
async fn a_ban_is_lifted_for_what_begins_later() {
    let office = Office::open();
    office.start().await;
    let body = |kind: &str, id: &str| {
        format!(r#"{{"target":{{"kind":"{kind}","id":"{id}"}},"reason":"test"}}"#)
    };
    let (revoke, reinstate) = ("/v1/revocations", "/v1/reinstatements");
    let clerk = body("agent", "clerk");
    let (status, problem) = office.ask(ANA, "POST", reinstate, &clerk).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem:?}");
    assert_eq!(text(&problem, "code"), "conflict");
    office.ask(ANA, "POST", revoke, &clerk).await;
    let (status, denied) = office
        .ask(ANA, "POST", "/v1/tasks", &start_body("T-2"))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(text(&denied, "code"), "agent_revoked");
    let (status, done) = office.ask(ANA, "POST", reinstate, &clerk).await;
    assert_eq!(status, StatusCode::OK, "{done:?}");
    fits("Reinstatement", &done);
    assert_eq!(text(&done, "target"), "agent clerk");
    office.start().await;
    let (status, denied) = office
        .ask(ANA, "POST", revoke, &body("person", "ana"))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(text(&denied, "code"), "last_administrator");
}

#[tokio::test]
async fn an_estate_is_planned_and_applied() {
    let office = Office::open();
    let (status, plan) = office
        .ask(ANA, "POST", "/v1/estate/plan", &estate_body())
        .await;
    assert_eq!(status, StatusCode::OK, "{plan:?}");
    fits("Plan", &plan);
    let (status, applied) = office
        .ask(ANA, "POST", "/v1/estate/apply", &estate_body())
        .await;
    assert_eq!(status, StatusCode::OK, "{applied:?}");
    fits("AppliedEstate", &applied);
    let (_, plan) = office
        .ask(ANA, "POST", "/v1/estate/plan", &estate_body())
        .await;
    assert_eq!(text(&plan, "text"), "nothing changes\n");
    let broken = estate_body().replace(
        "approval = \\\\\\\"held\\\\\\\"",
        "approval = \\\\\\\"free\\\\\\\"",
    );
    assert_ne!(broken, estate_body());
    let without = estate_body().replace(
        &format!("unix_uid = {ANA}"),
        &format!("unix_uid = {}", ANA + 7),
    );
    assert_ne!(without, estate_body());
    let (_, problem) = office.ask(ANA, "POST", "/v1/estate/apply", &without).await;
    assert_eq!(text(&problem, "code"), "locked_out", "by themselves");
    let roles = r#"\\\"administrator\\\""#;
    let ungoverned = estate_body().replace(roles, r#"\\\"operator\\\""#);
    assert_ne!(ungoverned, estate_body());
    let (_, problem) = office
        .ask(ANA, "POST", "/v1/estate/apply", &ungoverned)
        .await;
    let detail = text(&problem, "detail");
    assert!(
        detail.starts_with("estate.toml:1:1: nobody could apply"),
        "{detail}"
    );
    let (status, problem) = office.ask(ANA, "POST", "/v1/estate/apply", &broken).await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::UNPROCESSABLE_ENTITY, "check_failed")
    );
    fits("Problem", &problem);
}

#[tokio::test]
async fn secrets_go_in_and_servers_are_asked() {
    let office = Office::open();
    let (status, sealed) = office
        .ask(
            ANA,
            "POST",
            "/v1/secrets/tickets",
            r#"{"secret":"hunter2"}"#,
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{sealed:?}");
    fits("SealedSecret", &sealed);
    assert_eq!(*office.sealed.lock().unwrap(), ["tickets"]);
    assert_eq!(
        office.world.archive.secret("tickets").unwrap().unwrap(),
        b"2retnuh"
    );
    let (status, problem) = office
        .ask(BEN, "POST", "/v1/servers/tickets/inspect", "")
        .await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::FORBIDDEN, "role_missing")
    );
    let (_, proposal) = office
        .ask(ANA, "POST", "/v1/servers/tickets/inspect", "")
        .await;
    fits("Proposal", &proposal);
    let (status, _) = office
        .ask(ANA, "POST", "/v1/servers/nowhere/inspect", "")
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn bodies_have_one_reading_and_a_bound() {
    let office = Office::open();
    let check = async |body: String, status: StatusCode, code: &str| {
        let (found, problem) = office.ask(ANA, "POST", "/v1/revocations", &body).await;
        assert_eq!(
            (found, text(&problem, "code")),
            (status, code),
            "{problem:?}"
        );
        fits("Problem", &problem);
    };
    let bad = StatusCode::BAD_REQUEST;
    check(String::new(), bad, "body_invalid").await;
    check("[]".to_owned(), bad, "body_invalid").await;
    check(
        r#"{"reason":"a","reason":"b"}"#.to_owned(),
        bad,
        "body_invalid",
    )
    .await;
    let extra = r#"{"target":{"kind":"agent","id":"a"},"reason":"r","force":true}"#;
    check(extra.to_owned(), bad, "body_invalid").await;
    check(
        r#"{"target":{"kind":"all","id":"a"},"reason":"r"}"#.to_owned(),
        bad,
        "body_invalid",
    )
    .await;
    check(" ".repeat(BODY_BYTES_MAX), bad, "body_invalid").await;
    check(
        " ".repeat(BODY_BYTES_MAX + 1),
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
    )
    .await;
    for (header, value) in [("content-type", "text/plain"), ("content-encoding", "gzip")] {
        let request = Request::post("/v1/revocations")
            .header(header, value)
            .header("content-type", "application/json")
            .extension(PeerCredentials {
                uid: ANA,
                gid: ANA,
                pid: None,
            });
        let request = request.body(Body::from("{}")).unwrap();
        let (status, _) = office.send(people_router(&office.doors), request).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{header}");
    }
    let (status, problem) = office.ask(ANA, "GET", "/v1/nothing", "").await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::NOT_FOUND, "not_found")
    );
    let (status, problem) = office.ask(ANA, "PUT", "/v1/tasks", "").await;
    assert_eq!(
        (status, text(&problem, "code")),
        (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
    );
    for count in ["0", "1025", "x"] {
        let path = format!("/v1/log/records?count={count}");
        assert!(
            office.ask(ANA, "GET", &path, "").await.0.is_client_error(),
            "{count}"
        );
    }
}

#[tokio::test]
async fn a_task_ends_with_its_runners_connection() {
    let office = Office::open();
    let task = office.start().await;
    let caller = office.caller(&task);
    let enter = || {
        let request = Request::get("/v1/presence")
            .extension(caller.clone())
            .body(Body::empty());
        instance_router(&office.doors).oneshot(request.unwrap())
    };
    let mut present = enter().await.unwrap();
    assert_eq!(present.status(), StatusCode::OK);
    let beat = present.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(beat.into_data().unwrap(), "{}\n");
    assert_eq!(
        enter().await.unwrap().status(),
        StatusCode::CONFLICT,
        "one runner"
    );
    drop(present);
    let id: ambit_core::TaskId = text(&task, "task").parse().unwrap();
    office.world.handle.task_ended(id).await;
    let path = format!("/v1/log/trace/{id}");
    let (_, trace) = office.ask(ANA, "GET", &path, "").await;
    assert_eq!(
        text(&trace, "state"),
        "cancelled",
        "{}",
        text(&trace, "text")
    );
}

#[tokio::test]
async fn runners_end_at_their_maximum() {
    let office = Office::open();
    let caller = office.caller(&office.start().await);
    let enter = || {
        let request = Request::get("/v1/presence").extension(caller.clone());
        instance_router(&office.doors).oneshot(request.body(Body::empty()).unwrap())
    };
    let present = || office.doors.0.presences.0.lock().unwrap();
    for bits in 0..PRESENCES_MAX as u128 {
        let (instance, task) = (InstanceId::from_bits(bits), TaskId::from_bits(bits));
        present().insert(instance, task);
    }
    assert_eq!(
        enter().await.unwrap().status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    present().remove(&InstanceId::from_bits(0));
    assert_eq!(enter().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_runner_says_that_its_task_is_complete() {
    let office = Office::open();
    let task = office.start().await;
    let request = Request::post("/v1/task/complete").extension(office.caller(&task));
    let request = request.body(Body::empty()).unwrap();
    let (status, ended) = office.send(instance_router(&office.doors), request).await;
    assert_eq!(status, StatusCode::OK, "{ended:?}");
    fits("EndedTask", &ended);
    assert_eq!(text(&ended, "state"), "completed");
}

#[tokio::test]
async fn operators_see_numbers_only() {
    let office = Office::open();
    for route in routes().filter(|it| it.door == Door::Operations) {
        assert_eq!(route.asks, Asks::Nothing);
        let request = Request::get(route.path).body(Body::empty()).unwrap();
        let (status, answer) = office.send(operations_router(&office.doors), request).await;
        assert_eq!(status, StatusCode::OK, "{route:?}");
        for name in ["clerk", "tickets", "ana"] {
            assert!(!answer.as_str().unwrap().contains(name), "{answer:?}");
        }
    }
}

#[test]
fn routes_and_schemas_belong_together() {
    let names: BTreeSet<&str> = routes().map(|it| it.name).collect();
    assert_eq!(names.len(), routes().count());
    let document = openapi();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    for (name, _) in schemas {
        assert!(
            text.contains(&format!("#/components/schemas/{name}\"")),
            "nobody uses {name}"
        );
    }
    for route in routes() {
        let named = route
            .request
            .into_iter()
            .chain([route.answer])
            .filter(|it| !it.contains('/'));
        for name in named {
            assert!(schemas.contains_key(name), "{route:?} names {name}");
        }
    }
}

#[test]
fn the_checked_in_document_is_this_one() {
    let checked_in = include_str!("../../../../docs/reference/openapi.json");
    let document = serde_json::to_string_pretty(&openapi()).unwrap();
    assert!(
        checked_in.trim_end() == document,
        "run `cargo run -p ambit-control --example openapi > docs/reference/openapi.json`"
    );
}
