//! Lists of tasks that have ended.

use ambit_core::json::Value as Json;
use axum::http::StatusCode;

use super::doors::{ANA, Office, fits, text};

#[tokio::test]
async fn tasks_that_ended_are_listed_page_by_page() {
    let office = Office::open();
    let started = office.start().await;
    let task = text(&started, "task").to_owned();
    let end = format!("/v1/tasks/{task}/end");
    office
        .ask(ANA, "POST", &end, r#"{"end":"completed"}"#)
        .await;
    let other = office.start().await;
    let other_end = format!("/v1/tasks/{}/end", text(&other, "task"));
    office
        .ask(ANA, "POST", &other_end, r#"{"end":"cancelled"}"#)
        .await;
    let path = "/v1/tasks?ended=true&count=1";
    let (_, newest) = office.ask(ANA, "GET", path, "").await;
    fits("Tasks", &newest);
    // Both began in the same millisecond: either may be the newer one.
    let mut both = vec![text(&newest, "next").to_owned()];
    let path = format!("{path}&before={}", text(&newest, "next"));
    let (_, older) = office.ask(ANA, "GET", &path, "").await;
    let older = older.get("tasks").and_then(Json::as_array).unwrap();
    both.push(text(&older[0], "task").to_owned());
    both.sort();
    let mut ended = vec![task, text(&other, "task").to_owned()];
    ended.sort();
    assert_eq!(both, ended);
    for (count, status) in [
        ("0", StatusCode::UNPROCESSABLE_ENTITY),
        ("256", StatusCode::OK),
        ("257", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let path = format!("/v1/tasks?ended=true&count={count}");
        assert_eq!(office.ask(ANA, "GET", &path, "").await.0, status, "{count}");
    }
}

#[tokio::test]
async fn a_query_that_can_not_be_read_is_a_problem() {
    let office = Office::open();
    for path in [
        "/v1/tasks?count=x",
        "/v1/tasks?count=257",
        "/v1/tasks?before=x",
        "/v1/log/records?from=-1",
        "/v1/tasks?other=1",
    ] {
        let (status, answer) = office.ask(ANA, "GET", path, "").await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
        fits("Problem", &answer);
    }
}
