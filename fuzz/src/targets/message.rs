//! MCP messages: what is read is what its canonical form says.

use ambit_core::json;
use ambit_gateway::reading;

use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "message",
    run,
    seeds,
    words: &[
        "\"jsonrpc\":\"2.0\"",
        "\"id\":1",
        "\"method\":\"tools/call\"",
        "\"params\":{",
        "\"result\":",
        "\"error\":{\"code\":-1,\"message\":\"\"}",
        "\"_meta\":{",
        "\"id\":null",
    ],
};

fn run(bytes: &[u8]) {
    let Ok(message) = reading::message(bytes) else {
        return;
    };
    let canonical = json::parse(bytes)
        .expect("a message is JSON")
        .to_canonical();
    let again = reading::message(canonical.as_bytes());
    assert_eq!(
        again.ok().as_ref(),
        Some(&message),
        "two readings of {canonical}"
    );
}

fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_ticket","arguments":{"id":"T-1"}}}"#,
        r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}]}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m","data":[1]}}"#,
    ]
    .map(|it| it.as_bytes().to_vec())
    .into()
}
