//! The four combinations of eras, and what each era asks of headers and results.

use ambit_gateway::Era;

use crate::stand::{Came, Stand};

async fn ask(stand: &Stand, era: Era, method: &str, name: Option<&str>, params: &str) -> Came {
    match era {
        Era::Modern => stand.post_modern(PATH, method, name, params).await,
        Era::Legacy => {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":"m","method":"{method}","params":{{{params}}}}}"#
            );
            stand
                .send(PATH, &[("mcp-protocol-version", "2025-11-25")], &text)
                .await
        }
    }
}

async fn check(upstream: Era, agent: Era) {
    let stand = Stand::new(upstream == Era::Modern).await;
    let call = r#""name":"get_ticket","arguments":{"id":"T-1"}"#;
    let called = ask(&stand, agent, "tools/call", Some("get_ticket"), call).await;
    let listed = ask(&stand, agent, "tools/list", None, "").await;
    let uri = r#""uri":"file:///a""#;
    let read = ask(&stand, agent, "resources/read", Some("file:///a"), uri).await;
    let completed = ask(&stand, agent, "completion/complete", None, COMPLETE).await;
    assert_eq!(called.gist(), "done");
    assert!(listed.text.contains("\"get_ticket\""), "{listed:?}");
    assert!(
        read.text.contains("file:///a") && completed.text.contains("\"x\""),
        "{read:?}"
    );
    let modern = agent == Era::Modern;
    for came in [&called, &listed, &read, &completed] {
        assert_eq!(came.status, 200);
        assert_eq!(
            came.text.contains(r#""resultType":"complete""#),
            modern,
            "{came:?}"
        );
    }
    assert_eq!(
        read.text.contains(r#""cacheScope":"private""#),
        modern,
        "{read:?}"
    );
    assert_eq!(listed.text.contains(r#""ttlMs":0"#), modern, "{listed:?}");
    let headers = &stand.upstream.seen("tools/call")[0].headers;
    assert_eq!(headers.contains_key("mcp-name"), upstream == Era::Modern);
    assert_eq!(
        headers.contains_key("mcp-session-id"),
        upstream == Era::Legacy
    );
    let shaken = stand.upstream.seen("initialize").len();
    assert_eq!(shaken, usize::from(upstream == Era::Legacy));
}

const PATH: &str = "/s/tickets/mcp";
const COMPLETE: &str =
    r#""ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}"#;

#[tokio::test]
async fn agents_and_servers_of_both_eras_meet() {
    for upstream in [Era::Legacy, Era::Modern] {
        for agent in [Era::Legacy, Era::Modern] {
            check(upstream, agent).await;
        }
    }
}

#[tokio::test]
async fn a_modern_refusal_is_a_complete_result() {
    let stand = Stand::new(true).await;
    let params = r#""name":"delete_ticket","arguments":{"id":"T-1"}"#;
    let came = stand
        .post_modern(
            "/s/tickets/mcp",
            "tools/call",
            Some("delete_ticket"),
            params,
        )
        .await;
    assert_eq!(
        (came.status, came.gist().as_str()),
        (200, "tool_not_granted")
    );
    assert!(came.text.contains(r#""resultType":"complete""#), "{came:?}");
}

#[tokio::test]
async fn headers_that_differ_from_the_body_are_refused() {
    let stand = Stand::new(true).await;
    let params = r#""name":"delete_ticket","arguments":{"id":"T-1"}"#;
    let came = stand
        .post_modern("/s/tickets/mcp", "tools/call", Some("get_ticket"), params)
        .await;
    assert_eq!((came.status, came.gist().as_str()), (400, "-32020"));
    assert!(stand.upstream.seen("tools/call").is_empty());
}

#[tokio::test]
async fn each_era_opens_in_its_own_way() {
    let stand = Stand::new(true).await;
    let discovered = stand.post_modern("/mcp", "server/discover", None, "").await;
    assert!(
        discovered
            .text
            .contains(r#""supportedVersions":["2026-07-28","2025-11-25""#),
        "{discovered:?}"
    );
    let open = |version: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"c","version":"1"}}}}}}"#
        )
    };
    for (asked, given) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2030-01-01", "2025-11-25"),
    ] {
        let came = stand.post("/mcp", &open(asked)).await;
        assert!(
            came.text
                .contains(&format!(r#""protocolVersion":"{given}""#)),
            "{came:?}"
        );
    }
    let odd = stand
        .send(
            "/mcp",
            &[("mcp-session-id", "x")],
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        )
        .await;
    assert_eq!(odd.status, 404);
}
