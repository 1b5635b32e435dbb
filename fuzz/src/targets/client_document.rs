//! Documents by which clients describe themselves: whatever a stranger writes, nobody is sent to a strange address.

use ambit_control::oauth::{CLIENT_DOCUMENT_BYTES_MAX, read_client_document};

use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "client_document",
    run,
    seeds,
    words: &[
        "\"client_id\":\"https://app.example/c\"",
        "\"redirect_uris\":[",
        "\"https://app.example/cb\"",
        "\"http://[::1]:9/cb\"",
        "\"com.example.app:/cb\"",
        "\"javascript:alert(1)\"",
        "\"client_name\":\"",
        "\"token_endpoint_auth_method\":\"private_key_jwt\"",
        "\"jwks\":{\"keys\":[",
        "\"jwks_uri\":\"https://",
    ],
};

const CLIENT: &str = "https://app.example/c";

fn run(bytes: &[u8]) {
    let Ok(document) = read_client_document(CLIENT, bytes) else {
        return;
    };
    assert!(bytes.len() <= CLIENT_DOCUMENT_BYTES_MAX);
    assert!(!document.redirect_uris().is_empty(), "it leads nowhere");
    for address in document.redirect_uris() {
        let scheme = address.split(':').next().unwrap_or_default();
        assert!(
            scheme == "https" || scheme == "http" || scheme.contains('.'),
            "`{address}` is an address that browsers obey"
        );
        let is_loopback = ["http://localhost", "http://127.0.0.1", "http://[::1]"];
        let is_loopback = is_loopback.iter().any(|it| address.starts_with(it));
        assert!(
            scheme != "http" || is_loopback,
            "`{address}` is in the clear"
        );
        assert!(
            address.is_ascii() && !address.contains(['#', ' ', '\\']),
            "`{address}`"
        );
    }
    let name = document.name();
    assert!(
        !name.chars().any(char::is_control),
        "`{name}` hides something"
    );
    // A document is its own address's alone.
    assert!(read_client_document("https://app.example/d", bytes).is_err());
}

fn seeds() -> Vec<Vec<u8>> {
    let members = [
        r#""redirect_uris":["https://app.example/cb"]"#,
        r#""redirect_uris":["http://127.0.0.1/cb","http://localhost:9/cb"],"client_name":"App""#,
        r#""redirect_uris":["com.example.app:/cb"],"token_endpoint_auth_method":"none""#,
        r#""redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[]}"#,
        r#""redirect_uris":["javascript:alert(1)"]"#,
    ];
    let text = |it: &str| format!(r#"{{"client_id":"{CLIENT}",{it}}}"#).into_bytes();
    members.map(text).into()
}
