//! The upstream: a minimal MCP server that has the office's tickets and answers at once.

use std::{convert::Infallible, time::Duration};

use ambit_core::json::{self, Value};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::{Failure, http::until_parent_ends};

/// What every call returns.
pub(crate) const RESULT: &str =
    r#"{"content":[{"text":"sent to kim@example.org","type":"text"}],"isError":false}"#;

/// Serves until the parent ends.
pub(crate) fn run() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let tools: &'static str = Box::leak(tools()?.into_boxed_str());
        tokio::spawn(serve(listener, tools));
        until_parent_ends(port).await
    })
}

async fn serve(listener: TcpListener, tools: &'static str) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Without it the answers wait for acknowledgements; the connection still works.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request: Request<Incoming>| async move {
            let body = request.into_body().collect().await;
            let body = body.map(|it| it.to_bytes()).unwrap_or_default();
            Ok::<_, Infallible>(answer(&body, tools))
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// Answers a message: it reads the whole of it, as any MCP server does.
pub(crate) fn answer(body: &[u8], tools: &str) -> Response<Full<Bytes>> {
    let message = json::parse(body).unwrap_or(Value::Null);
    let id = message.get("id").map(Value::to_canonical);
    let Some(id) = id else {
        let mut accepted = Response::new(Full::default());
        *accepted.status_mut() = http::StatusCode::ACCEPTED;
        return accepted;
    };
    let result = match message.get("method").and_then(Value::as_str) {
        Some("tools/call") => RESULT,
        Some("tools/list") => tools,
        Some("server/discover") => DISCOVERED,
        _ => "{}",
    };
    let text = format!(r#"{{"id":{id},"jsonrpc":"2.0","result":{result}}}"#);
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let kind = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, kind);
    response
}

/// Returns the result of `tools/list`: what the office's registry has.
pub(crate) fn tools() -> Result<String, Failure> {
    let estate = ambit_testkit::office(&[]);
    let server = estate
        .servers
        .values()
        .next()
        .ok_or("an office without server")?;
    let tools = server.tools.values().map(|it| it.definition.clone());
    let result = Value::object([
        ("tools", Value::Array(tools.collect())),
        ("resultType", "complete".into()),
        ("ttlMs", Value::Integer(0)),
        ("cacheScope", "private".into()),
    ]);
    Ok(result.to_canonical())
}

const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"tickets","version":"1"},"ttlMs":0,"cacheScope":"private"}"#;
