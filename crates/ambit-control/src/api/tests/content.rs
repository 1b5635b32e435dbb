//! Sealed contents that people open, and unknown outcomes that they settle.

use ambit_core::{Millis, json::Value as Json};
use ambit_engine::Answer;
use axum::http::StatusCode;

use super::doors::{ANA, BEN, Office, fits, text};

/// Has a call permitted whose door then forgets it, and returns its decision.
async fn lost(office: &Office, task: &Json) -> String {
    let arguments = Json::object([("id", "T-1\u{202e}".into())]);
    let Answer::Allowed(permit) = office.act(task, "get_ticket", arguments).await else {
        panic!("a read is allowed");
    };
    let now = office.world.clock.now();
    let passage = office.world.handle.admit(permit, now).unwrap();
    let decision = passage.decision().to_string();
    drop(passage);
    office.world.clock.advance(Millis::from_seconds(6));
    let moment = office.world.clock.moment();
    office.world.handle.tick(moment).await.unwrap();
    decision
}

#[tokio::test]
async fn an_unknown_outcome_is_named_settled_and_told() {
    let office = Office::open();
    let task = office.start().await;
    let decision = lost(&office, &task).await;
    let (_, status) = office.ask(ANA, "GET", "/v1/status", "").await;
    fits("Status", &status);
    let unknown = status.get("unknown").and_then(Json::as_array).unwrap();
    assert_eq!(text(&unknown[0], "decision"), decision);
    assert_eq!(text(&unknown[0], "what"), "tickets.get_ticket");
    assert!(text(&unknown[0], "next").contains("--did-not-happen"));
    let why = format!("/v1/log/why/{decision}");
    let (_, told) = office.ask(ANA, "GET", &why, "").await;
    fits("Why", &told);
    assert!(text(&told, "next").contains("ambit log settle"), "{told:?}");
    let settle = format!("/v1/acts/{decision}/settle");
    let word = r#"{"settlement":"happened","reason":"the ticket says so"}"#;
    let (status, denied) = office.ask(BEN, "POST", &settle, word).await;
    assert_eq!(
        (status, text(&denied, "code")),
        (StatusCode::FORBIDDEN, "role_missing")
    );
    for wrong in [
        r#"{"settlement":"happened"}"#,
        r#"{"settlement":"perhaps","reason":"x"}"#,
    ] {
        let (status, problem) = office.ask(ANA, "POST", &settle, wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem:?}");
    }
    let (status, settled) = office.ask(ANA, "POST", &settle, word).await;
    assert_eq!(status, StatusCode::OK, "{settled:?}");
    fits("SettledAct", &settled);
    let (status, again) = office.ask(ANA, "POST", &settle, word).await;
    assert_eq!(status, StatusCode::CONFLICT, "{again:?}");
    let (_, told) = office.ask(ANA, "GET", &why, "").await;
    fits("Why", &told);
    let sentence = text(&told, "sentence");
    let found = "ana found that it happened: \"the ticket says so\"";
    assert!(sentence.ends_with(found), "{sentence}");
    let (_, trace) = office
        .ask(
            ANA,
            "GET",
            &format!("/v1/log/trace/{}", text(&task, "task")),
            "",
        )
        .await;
    fits("Trace", &trace);
    assert_eq!(trace.get("unknown"), Some(&Json::Array(Vec::new())));
    let (_, status) = office.ask(ANA, "GET", "/v1/status", "").await;
    fits("Status", &status);
    assert_eq!(status.get("open_acts"), Some(&Json::Array(Vec::new())));
}

#[tokio::test]
async fn what_is_sealed_is_opened_whole_with_nothing_hidden() {
    let office = Office::open();
    let task = office.start().await;
    let decision = lost(&office, &task).await;
    let (_, why) = office
        .ask(ANA, "GET", &format!("/v1/log/why/{decision}"), "")
        .await;
    let index = why.get("index").and_then(Json::as_integer).unwrap();
    let ask = format!(r#"{{"records":[{index}]}}"#);
    let (status, denied) = office.ask(BEN, "POST", "/v1/log/open", &ask).await;
    assert_eq!(
        (status, text(&denied, "code")),
        (StatusCode::FORBIDDEN, "role_missing")
    );
    fits("Problem", &denied);
    let (status, opened) = office.ask(ANA, "POST", "/v1/log/open", &ask).await;
    assert_eq!(status, StatusCode::OK, "{opened:?}");
    fits("OpenedSealed", &opened);
    let content = &opened.get("opened").and_then(Json::as_array).unwrap()[0];
    assert_eq!(
        (text(content, "what"), text(content, "state")),
        ("act", "opened")
    );
    let shown = text(content, "shown");
    assert!(shown.contains("\"T-1\\u202e\""), "{shown}");
    let (_, trace) = office
        .ask(
            ANA,
            "GET",
            &format!("/v1/log/trace/{}", text(&task, "task")),
            "",
        )
        .await;
    let told = text(&trace, "text");
    assert!(told.contains(&format!("ana opened what is sealed beside record {index}")));
    assert!(told.contains("denied open_sealed"), "{told}");
}

#[tokio::test]
async fn a_held_act_says_why_it_is_held_and_what_its_tool_says_of_itself() {
    let office = Office::open();
    let task = office.start().await;
    let arguments = Json::object([("id", "T-1".into()), ("cents", Json::Integer(700))]);
    let Answer::Held(held) = office.act(&task, "refund", arguments).await else {
        panic!("a refund is held");
    };
    let path = format!("/v1/approvals/{}", held.approval);
    let (_, shown) = office.ask(BEN, "GET", &path, "").await;
    fits("Approval", &shown);
    let why = text(&shown, "why");
    let rules = shown.get("rules").and_then(Json::as_array).unwrap();
    assert!(!rules.is_empty(), "{shown:?}");
    let rule = rules[0].as_str().unwrap();
    assert!(
        why.contains("a person must approve") && why.contains(rule),
        "{why}"
    );
    assert_eq!(text(&shown, "description"), "refund");
    for member in ["requested_at", "decision", "digest"] {
        assert!(!text(&shown, member).is_empty());
    }
}
