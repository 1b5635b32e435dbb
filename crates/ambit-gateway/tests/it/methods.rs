//! Every method of the one table, in both eras: decided, listed, answered here, or refused and recorded.

use ambit_core::record::Body;
use ambit_gateway::{
    Era,
    methods::{self, Decided, Eras, METHODS, Treatment},
};

use crate::stand::Stand;

/// Returns the name that the header mirrors, and parameters that the method takes.
fn parameters(method: Decided) -> (Option<&'static str>, &'static str) {
    match method {
        Decided::CallTool => (
            Some("get_ticket"),
            r#""name":"get_ticket","arguments":{"id":"T-1"}"#,
        ),
        Decided::ReadResource => (Some("file:///a"), r#""uri":"file:///a""#),
        Decided::GetPrompt => (Some("p"), r#""name":"p""#),
        Decided::Complete => (
            None,
            r#""ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}"#,
        ),
        Decided::ListResources | Decided::ListResourceTemplates | Decided::ListPrompts => {
            (None, "")
        }
    }
}

async fn check(stand: &Stand, name: &str, treatment: Treatment, era: Era) {
    if treatment == Treatment::Local(methods::Local::Listen) {
        return; // A stream: see `raw`.
    }
    let before = decisions(stand);
    let (mirrored, params) = match treatment {
        Treatment::Decided(method) => parameters(method),
        _ if name == "initialize" => (None, r#""protocolVersion":"2025-11-25""#),
        _ => (None, ""),
    };
    let came = match era {
        Era::Modern => {
            stand
                .post_modern("/s/tickets/mcp", name, mirrored, params)
                .await
        }
        Era::Legacy => {
            let text =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{name}","params":{{{params}}}}}"#);
            stand.post("/s/tickets/mcp", &text).await
        }
    };
    let decided = decisions(stand) - before;
    match treatment {
        Treatment::Decided(_) => {
            assert_eq!((came.status, decided), (200, 1), "{name} {era:?}: {came:?}");
            assert!(
                came.value().get("result").is_some(),
                "{name} {era:?}: {came:?}"
            );
        }
        Treatment::Listed | Treatment::Local(_) => {
            assert_eq!((came.status, decided), (200, 0), "{name} {era:?}: {came:?}");
            assert!(
                came.value().get("result").is_some(),
                "{name} {era:?}: {came:?}"
            );
        }
        Treatment::Ignored | Treatment::Refused => {
            assert_eq!(
                (came.gist().as_str(), decided),
                ("method_not_allowed", 1),
                "{name} {era:?}: {came:?}"
            );
            assert_eq!(
                came.status,
                if era == Era::Modern { 404 } else { 200 },
                "{name}"
            );
        }
    }
}

fn decisions(stand: &Stand) -> usize {
    stand
        .records(0, |it| matches!(it, Body::Decided(_)).then_some(()))
        .len()
}

#[tokio::test]
async fn every_method_is_treated_as_the_table_says() {
    for era in [Era::Legacy, Era::Modern] {
        let stand = Stand::new(era == Era::Modern).await;
        for method in METHODS {
            let treatment = if method.eras.include(era) {
                method.treatment
            } else {
                Treatment::Refused
            };
            check(&stand, method.name, treatment, era).await;
        }
        check(&stand, "no/such/method", Treatment::Refused, era).await;
        assert!(stand.upstream.seen("no/such/method").is_empty());
    }
}

#[tokio::test]
async fn notifications_and_answers_of_agents_change_nothing() {
    let stand = Stand::new(false).await;
    for method in METHODS {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, method.name);
        let came = stand.post("/mcp", &text).await;
        let expected = if method.treatment == Treatment::Ignored {
            202
        } else {
            400
        };
        assert_eq!(came.status, expected, "{}", method.name);
    }
    let came = stand
        .post("/mcp", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)
        .await;
    assert_eq!(came.status, 400);
    let batch = stand
        .post("/mcp", r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#)
        .await;
    assert_eq!((batch.status, batch.gist().as_str()), (400, "-32600"));
    assert!(stand.upstream.seen("tools/call").is_empty());
    assert!(METHODS.iter().any(|it| it.eras == Eras::Both));
}
