//! Upstreams that hang, die, lie, flood and leak: each gives a clear refusal and an honest record.

use crate::{
    stand::{CREDENTIAL, Stand},
    upstream::Behaviour,
};

async fn check(behaviour: Behaviour, gist: &str, outcome: &str) {
    let stand = Stand::new(false).await;
    stand.upstream.behave(behaviour);
    let came = stand.call("get_ticket", r#"{"id":"T-1"}"#).await;
    assert_eq!(
        (came.status, came.gist().as_str()),
        (200, gist),
        "{behaviour:?}"
    );
    assert!(
        !came.text.contains(CREDENTIAL) && !came.text.contains("canary"),
        "{behaviour:?}: {came:?}"
    );
    assert_eq!(stand.outcomes(1), [outcome], "{behaviour:?}");
    // The gateway lives, and the next call is unharmed.
    stand.upstream.behave(Behaviour::Answer);
    assert_eq!(
        stand.call("get_ticket", r#"{"id":"T-2"}"#).await.gist(),
        "done",
        "{behaviour:?}"
    );
}

#[tokio::test]
async fn each_misbehaviour_has_its_answer_and_its_record() {
    for (behaviour, gist, outcome) in [
        (Behaviour::Stream, "done", "done"),
        (Behaviour::Hang, "server_timeout", "unknown"),
        (Behaviour::CloseEarly, "server_closed", "unknown"),
        (Behaviour::CutStream, "server_closed", "unknown"),
        (Behaviour::OtherId, "answer_malformed", "unknown"),
        (Behaviour::TwoAnswers, "done", "done"),
        (Behaviour::TooLong, "answer_too_long", "unknown"),
        (Behaviour::Redirect, "server_failed", "failed"),
        (Behaviour::Broken, "server_failed", "unknown"),
        (Behaviour::Refuse, "-32602", "failed"),
        (Behaviour::Compressed, "answer_malformed", "unknown"),
        (Behaviour::NotJson, "answer_malformed", "unknown"),
        (Behaviour::DuplicateKeys, "answer_malformed", "unknown"),
        (Behaviour::Notification, "answer_malformed", "unknown"),
        (Behaviour::EchoHeaders, "answer_withheld", "unknown"),
        (Behaviour::AskForInput, "input_not_offered", "failed"),
        (Behaviour::Error, "-32602", "failed"),
        (Behaviour::ToolError, "done", "failed"),
    ] {
        check(behaviour, gist, outcome).await;
    }
}

#[tokio::test]
async fn a_flood_of_notifications_ends_the_call() {
    let stand = Stand::new(false).await;
    stand.upstream.behave(Behaviour::Flood);
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_ticket","arguments":{"id":"T-1"},"_meta":{"progressToken":"p"}}}"#;
    let came = stand.post("/s/tickets/mcp", message).await;
    assert!(came.text.contains("server_flooded"), "{}", came.text.len());
    assert_eq!(stand.outcomes(1), ["unknown"]);
}

#[tokio::test]
async fn progress_reaches_the_agent_under_its_own_token() {
    let stand = Stand::new(false).await;
    stand.upstream.behave(Behaviour::StreamWithProgress);
    let message = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_ticket","arguments":{"id":"T-1"},"_meta":{"progressToken":"mine"}}}"#;
    let came = stand.post("/s/tickets/mcp", message).await;
    let events: Vec<_> = came
        .text
        .lines()
        .filter(|it| it.starts_with("data:"))
        .collect();
    assert!(events.last().unwrap().contains("done"), "{came:?}");
    assert!(events[0].contains(r#""progressToken":"mine""#), "{came:?}");
    // A client that takes no stream gets the answer alone.
    let headers = [("accept", "application/json")];
    assert_eq!(
        stand.send("/s/tickets/mcp", &headers, message).await.gist(),
        "done"
    );
}

#[tokio::test]
async fn a_listing_without_end_is_refused() {
    let stand = Stand::new(true).await;
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#;
    for behaviour in [Behaviour::EndlessPages, Behaviour::EndlessItems] {
        stand.upstream.behave(behaviour);
        let came = stand.post("/s/tickets/mcp", list).await;
        assert_eq!(came.gist(), "answer_too_long", "{behaviour:?}");
    }
    let pages = stand.upstream.seen("resources/list").len();
    assert_eq!(pages, ambit_gateway::limits::LIST_PAGES_MAX + 1);
}
