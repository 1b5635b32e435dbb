//! What a connection carries, byte by byte: edges, streams of changes, routes that do not exist.

use ambit_core::{
    Reason,
    record::{Answer, Body as RecordBody},
    task::End,
};
use ambit_engine::Ender;
use ambit_gateway::{
    Peer,
    limits::{REQUEST_BODY_BYTES_MAX, STREAMS_PER_TASK_MAX},
};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::stand::Stand;

async fn raw(stand: &Stand, request: &str) -> String {
    let (mut agent, door) = duplex(64 * 1024);
    let (gateway, caller) = (stand.gateway.clone(), stand.caller.clone());
    tokio::spawn(async move { gateway.serve_connection(door, Peer::Instance(caller)).await });
    agent.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    agent.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Returns the recorded refusals once there are `count`.
async fn denials(stand: &Stand, count: usize) -> Vec<(String, Reason)> {
    loop {
        let found = stand.records(0, |it| match it {
            RecordBody::Decided(decided) => match decided.answer {
                Answer::Deny { reason, .. } => Some((decided.action.clone(), reason)),
                _ => None,
            },
            _ => None,
        });
        if found.len() >= count {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_edge_refuses_what_it_must() {
    let stand = Stand::new(false).await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let post = |path: &str, headers: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{ping}",
            ping.len()
        )
    };
    let too_long = format!(
        "POST /mcp HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        REQUEST_BODY_BYTES_MAX + 1
    );
    assert!(
        raw(&stand, &post("/mcp", "Host: localhost\r\n"))
            .await
            .starts_with("HTTP/1.1 200")
    );
    for (number, (request, status)) in [
        (post("/mcp", "Host: evil.example\r\n"), 421),
        (
            post("/mcp", "Host: localhost\r\nOrigin: http://evil.example\r\n"),
            403,
        ),
        (
            post("/mcp", "Host: localhost\r\nContent-Encoding: gzip\r\n"),
            415,
        ),
        (
            post("/mcp", "Host: localhost\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (
            post("/mcp", "Host: localhost\r\nContent-Length: 1\r\n"),
            400,
        ),
        (post("/s/UPPER/mcp", "Host: localhost\r\n"), 404),
        (post("/elsewhere", "Host: localhost\r\n"), 404),
        (
            "DELETE /mcp HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n\r\n".to_owned(),
            405,
        ),
        (
            "PUT /mcp HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n\r\n".to_owned(),
            405,
        ),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (
            "POST /mcp HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\nnonsense".to_owned(),
            400,
        ),
        (too_long, 413),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = raw(&stand, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{}\n{answer}",
            request.get(..200).unwrap_or(&request)
        );
        // Its caller is known, so that the refusal stands in the log: once.
        let reason = match status {
            405 => Reason::MethodNotAllowed,
            413 => Reason::TooLarge,
            _ => Reason::Malformed,
        };
        let denied = denials(&stand, number + 1).await;
        assert_eq!(denied.len(), number + 1, "{status}");
        assert_eq!(denied[number], ("malformed".to_owned(), reason), "{status}");
    }
}

#[tokio::test]
async fn a_whole_body_with_two_lengths_is_refused() {
    let stand = Stand::new(false).await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let chunked = |headers: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}\r\n{:x}\r\n{ping}\r\n0\r\n\r\n",
            ping.len()
        )
    };
    // One length is enough, and such a connection carries nothing more.
    let plain = raw(&stand, &chunked("Transfer-Encoding: chunked\r\n")).await;
    assert!(plain.starts_with("HTTP/1.1 200"), "{plain}");
    let (length, coding) = ("Content-Length: 41\r\n", "Transfer-Encoding: chunked\r\n");
    for (number, headers) in [format!("{length}{coding}"), format!("{coding}{length}")]
        .iter()
        .enumerate()
    {
        let answer = raw(&stand, &chunked(headers)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers}\n{answer}");
        let denied = denials(&stand, number + 1).await;
        assert_eq!(denied[number].1, Reason::Malformed, "{headers}");
    }
}

fn get() -> Request<Full<Bytes>> {
    let request = Request::builder()
        .uri("/mcp")
        .header("host", "localhost")
        .header("accept", "text/event-stream");
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn streams_of_changes_are_few_and_end_with_the_task() {
    let stand = Stand::new(false).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS_PER_TASK_MAX {
        let response = stand.gateway.answer(get(), &stand.caller).await;
        assert_eq!(response.status(), 200);
        streams.push(response);
    }
    assert_eq!(
        stand.gateway.answer(get(), &stand.caller).await.status(),
        429
    );
    let ana = stand.world.person("ana");
    let moment = stand.world.clock.moment();
    stand
        .world
        .handle
        .end_task(Ender::Person(&ana), stand.task, End::Completed, moment)
        .await
        .unwrap();
    for stream in streams {
        stream.into_body().collect().await.unwrap();
    }
    assert_eq!(
        stand.gateway.answer(get(), &stand.caller).await.status(),
        403
    );
}

#[tokio::test]
async fn a_subscription_is_acknowledged_and_ends_gracefully() {
    let stand = Stand::new(true).await;
    let listening = stand.post_modern(
        "/mcp",
        "subscriptions/listen",
        None,
        r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///a"]}"#,
    );
    let ending = async {
        let ana = stand.world.person("ana");
        let moment = stand.world.clock.moment();
        tokio::task::yield_now().await;
        stand
            .world
            .handle
            .end_task(Ender::Person(&ana), stand.task, End::Completed, moment)
            .await
            .unwrap();
    };
    let (came, ()) = tokio::join!(listening, ending);
    let events: Vec<_> = came
        .text
        .lines()
        .filter(|it| it.starts_with("data:"))
        .collect();
    assert!(
        events[0].contains(r#""notifications":{"toolsListChanged":true}"#),
        "{came:?}"
    );
    assert!(
        events[0].contains(r#""io.modelcontextprotocol/subscriptionId":"m""#),
        "{came:?}"
    );
    assert!(
        events
            .last()
            .unwrap()
            .contains(r#""resultType":"complete""#),
        "{came:?}"
    );
}
