//! Upstreams that hang, die, lie, flood and leak: each gives a clear refusal and an honest record.

use ambit_gateway::limits::{LIST_PAGES_MAX, LISTED_ITEMS_MAX, LISTENINGS_MAX};

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
        (Behaviour::AskOnOwnStream, "done", "done"),
        (Behaviour::FloodOwnStream, "server_timeout", "unknown"),
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
async fn a_listing_ends_at_its_maximum() {
    let stand = Stand::new(true).await;
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#;
    for (behaviour, refused) in [
        (Behaviour::Pages(LIST_PAGES_MAX), None),
        (
            Behaviour::Pages(LIST_PAGES_MAX + 1),
            Some("answer_too_long"),
        ),
        (Behaviour::Items(LISTED_ITEMS_MAX), None),
        (
            Behaviour::Items(LISTED_ITEMS_MAX + 1),
            Some("answer_too_long"),
        ),
    ] {
        stand.upstream.behave(behaviour);
        let came = stand.post("/s/tickets/mcp", list).await;
        match refused {
            Some(code) => assert_eq!(came.gist(), code, "{behaviour:?}"),
            None => assert!(
                came.value().get("result").is_some(),
                "{behaviour:?}: {came:?}"
            ),
        }
    }
    let pages = stand.upstream.seen("resources/list").len();
    assert_eq!(pages, 2 * LIST_PAGES_MAX + 2);
}

async fn with_many_calls() -> Stand {
    let change = |estate: &mut ambit_core::estate::Estate| {
        let templates = estate.templates.values_mut();
        templates.for_each(|it| it.calls_max = 10_000);
    };
    Stand::with(false, change).await
}

#[tokio::test]
async fn what_a_server_asks_on_its_own_stream_is_refused_at_once() {
    let stand = with_many_calls().await;
    let call = async |behaviour: Behaviour| {
        stand.upstream.behave(behaviour);
        stand.call("get_ticket", r#"{"id":"T-1"}"#).await.gist()
    };
    assert_eq!(call(Behaviour::AskOnOwnStream).await, "done");
    let asked = r#"{"error":{"code":-32601,"message":"this client answers no requests of servers"},"id":"ask","jsonrpc":"2.0"}"#;
    let told = |it: &crate::upstream::Seen| it.message.to_canonical() == asked;
    assert!(stand.upstream.all_seen().iter().any(told));
    // A stream that ended is opened again before the next act that knows of it, as often as it may be.
    while stand.upstream.own_streams_opened() < LISTENINGS_MAX {
        assert_eq!(call(Behaviour::EndOwnStream).await, "done");
    }
    for _ in 0..5 {
        assert_eq!(call(Behaviour::EndOwnStream).await, "done");
    }
    assert_eq!(stand.upstream.own_streams_opened(), LISTENINGS_MAX);
}

#[tokio::test]
async fn news_of_changed_tools_are_heard_on_the_own_stream() {
    let stand = with_many_calls().await;
    let call = async || stand.call("get_ticket", r#"{"id":"T-1"}"#).await.gist();
    stand.upstream.behave(Behaviour::AnnounceOnOwnStream);
    assert_eq!(call().await, "done");
    let before = stand.upstream.seen("tools/list").len();
    stand.upstream.behave(Behaviour::Answer);
    while stand.upstream.seen("tools/list").len() == before {
        assert_eq!(call().await, "done");
    }
}
