//! Stdio servers: one sandboxed process per task, ended with it, and no more than the operator allows.

use std::collections::BTreeMap;

use ambit_core::{
    estate::{Estate, Server, StdioLimits, StdioNetwork, Transport},
    task::End,
};
use ambit_engine::Ender;
use ambit_gateway::{SandboxPolicy, inspect};
use ambit_testkit::office;

use crate::stand::{Stand, definitions};

/// A server in a few lines of shell: legacy era, one line per message.
fn shell(estate: &Estate, extra: &str) -> Transport {
    let tools = ambit_core::json::Value::Array(definitions(estate)).to_canonical();
    let script = format!(
        r#"while IFS= read -r line; do
            id=$(printf '%s' "$line" | sed -n 's/^{{"id":\([0-9]*\),.*/\1/p')
            case "$line" in
                *'"method":"initialize"'*) r='{{"protocolVersion":"2025-11-25","capabilities":{{}},"serverInfo":{{"name":"s","version":"1"}}}}' ;;
                *'"method":"tools/list"'*) r='{{"tools":{tools}}}' ;;
                *'"method":"tools/call"'*) {extra} r='{{"content":[{{"type":"text","text":"done"}}]}}' ;;
                *'"method":"notifications/'*) continue ;;
                *) printf '{{"jsonrpc":"2.0","id":%s,"error":{{"code":-32601,"message":"no"}}}}\n' "$id"; continue ;;
            esac
            printf '{{"jsonrpc":"2.0","id":%s,"result":%s}}\n' "$id" "$r"
        done"#
    );
    Transport::Stdio {
        command: vec!["/bin/sh".into(), "-c".into(), script],
        environment: BTreeMap::new(),
        mounts: Vec::new(),
        network: StdioNetwork::None,
        limits: StdioLimits::USUAL,
    }
}

fn server(extra: &str) -> Server {
    let mut estate = office(&[]);
    let transport = shell(&estate, extra);
    let mut server = estate.servers.remove("tickets").unwrap();
    server.transport = transport;
    server
}

async fn stand(extra: &str) -> Stand {
    let transport = server(extra).transport;
    Stand::with(false, |estate| {
        estate.servers.get_mut("tickets").unwrap().transport = transport
    })
    .await
}

#[tokio::test]
async fn a_stdio_server_is_called_and_ends_with_its_task() {
    let stand = stand("").await;
    for id in ["T-1", "T-2"] {
        assert_eq!(
            stand
                .call("get_ticket", &format!(r#"{{"id":"{id}"}}"#))
                .await
                .gist(),
            "done"
        );
    }
    let ana = stand.world.person("ana");
    let moment = stand.world.clock.moment();
    stand
        .world
        .handle
        .end_task(Ender::Person(&ana), stand.task, End::Completed, moment)
        .await
        .unwrap();
    assert_eq!(
        stand.call("get_ticket", r#"{"id":"T-1"}"#).await.gist(),
        "task_ended"
    );
}

#[tokio::test]
async fn a_server_that_dies_or_babbles_is_started_anew() {
    for (extra, gist) in [
        ("exit 1;", "server_closed"),
        ("echo babble;", "server_closed"),
        ("continue;", "server_timeout"),
    ] {
        let stand = stand(extra).await;
        let call = async || stand.call("get_ticket", r#"{"id":"T-1"}"#).await.gist();
        assert_eq!(call().await, gist, "{extra}");
        assert_eq!(call().await, gist, "{extra}");
        assert_eq!(stand.outcomes(2), ["unknown", "unknown"], "{extra}");
    }
}

#[tokio::test]
async fn a_server_that_takes_too_much_is_a_clear_refusal() {
    let mut hog = server("x=aaaaaaaa; while :; do x=$x$x; done;");
    if let Transport::Stdio { limits, .. } = &mut hog.transport {
        limits.memory_mib = 64;
    }
    let stand = Stand::with(false, |estate| {
        estate.servers.get_mut("tickets").unwrap().transport = hog.transport
    })
    .await;
    for count in 1..=2 {
        let came = stand.call("get_ticket", r#"{"id":"T-1"}"#).await;
        assert_eq!(came.gist(), "server_closed");
        assert_eq!(stand.outcomes(count), vec!["unknown"; count]);
    }
}

#[tokio::test]
async fn the_cap_on_processes_is_a_clear_refusal() {
    let second = server("");
    let transport = second.transport.clone();
    let stand = Stand::with(false, |estate| {
        estate.servers.get_mut("tickets").unwrap().transport = transport;
        // Another server of the same kind takes the one process that the stand's operator allows.
        let name: ambit_core::ServerName = "mail".parse().unwrap();
        estate.servers.insert(
            name.clone(),
            Server {
                name: name.clone(),
                ..second
            },
        );
        let template = estate.templates.values_mut().next().unwrap();
        template.reads.insert(name);
    })
    .await;
    let call = async |name: &str| {
        let path = format!("/s/{name}/mcp");
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_ticket","arguments":{"id":"T-1"}}}"#;
        stand.post(&path, text).await.gist()
    };
    assert_eq!(call("tickets").await, "done");
    assert_eq!(call("mail").await, "overloaded");
    assert_eq!(stand.outcomes(2), ["done", "not_sent"]);
}

#[tokio::test]
async fn inspection_lists_the_tools_of_a_running_server() {
    let sandbox = SandboxPolicy::Bubblewrap {
        program: "/usr/bin/bwrap".into(),
        estate: "/".into(),
        protected: Vec::new(),
    };
    let none = std::sync::Arc::new(|_: &str| None);
    let tools = inspect(server(""), none.clone(), None, sandbox.clone())
        .await
        .unwrap();
    assert_eq!(tools.len(), 5);
    let mut mute = server("");
    if let Transport::Stdio { command, .. } = &mut mute.transport {
        *command = vec![
            "/bin/sh".into(),
            "-c".into(),
            "echo no such flag >&2; exit 2".into(),
        ];
    }
    let error = inspect(mute, none, None, sandbox)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("no such flag"), "{error}");
}
