//! Documents by which issuers and providers describe themselves: nobody is asked or sent to anywhere in the clear.

use std::sync::Arc;

use ambit_control::{
    foreign::keys_address,
    people::{Ask, Fetched, Fetching, Provider, ProviderConfig},
};
use ambit_core::json;
use ambit_identity::{
    jose::JWK_SET_BYTES_MAX,
    sign_in::{Flow, FlowKey},
};

use super::site::NOW;
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "discovery",
    run,
    seeds,
    words: &[
        "\"issuer\":\"https://id.example\"",
        "\"jwks_uri\":\"https://",
        "\"authorization_endpoint\":\"https://",
        "\"token_endpoint\":\"http://",
        "\"code_challenge_methods_supported\":[\"S256\"]",
        "\"keys\":[",
        "HTTPS://",
        "#",
    ],
};

const ISSUER: &str = "https://id.example";

fn run(bytes: &[u8]) {
    if let Ok(at) = keys_address(ISSUER, bytes) {
        assert!(at.starts_with("https://"), "`{at}` is in the clear");
        let document = json::parse_as_written(bytes, JWK_SET_BYTES_MAX).expect("it was read");
        let issuer = document.get("issuer").and_then(json::Value::as_str);
        assert_eq!(issuer, Some(ISSUER), "another's document");
    }
    let flow = flow();
    let Some(at) = authorization_url(bytes.to_vec(), &flow) else {
        return;
    };
    let (start, query) = at.split_once('?').expect("a query");
    assert!(
        start.to_ascii_lowercase().starts_with("https://"),
        "`{at}` is in the clear"
    );
    assert!(
        at.is_ascii() && !at.contains(['#', ' ', '\\']) && !at.chars().any(char::is_control),
        "`{at}`"
    );
    for said in [flow.state(), flow.nonce(), &flow.challenge()] {
        assert!(
            query.contains(said),
            "`{at}` lacks what the answer is held against"
        );
    }
    assert!(!at.contains(flow.verifier()), "`{at}` tells the secret");
}

/// Asks a provider that answers everything with `document` where people go to sign in.
fn authorization_url(document: Vec<u8>, flow: &Flow) -> Option<String> {
    let fetch = move |_: Ask| -> Fetching {
        let body = document.clone().into();
        Box::pin(async move { Ok(Fetched { status: 200, body }) })
    };
    let provider = Provider::new(ProviderConfig {
        issuer: ISSUER.to_owned(),
        client_id: "ambit".to_owned(),
        public_url: "https://ambit.example.org".to_owned(),
        key: None,
        fetch: Arc::new(fetch),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let asked = provider.authorization_url(flow, NOW);
    runtime.expect("a thread").block_on(asked).ok()
}

fn flow() -> Flow {
    let begun = FlowKey::new(&[5; 32]).begin([6; 32], "/", NOW);
    begun.expect("a path of ours")
}

fn seeds() -> Vec<Vec<u8>> {
    let members = [
        r#""jwks_uri":"https://id.example/keys""#,
        r#""jwks_uri":"https://id.example/keys","authorization_endpoint":"https://id.example/a?b=c","token_endpoint":"https://id.example/t","keys":[],"code_challenge_methods_supported":["S256"]"#,
    ];
    let text = |it: &str| format!(r#"{{"issuer":"{ISSUER}",{it}}}"#).into_bytes();
    members.map(text).into()
}
