//! The CONNECT door: only to what the agent declared, counted, cut with its task.

use ambit_core::record::Body;
use ambit_core::task::End;
use ambit_engine::Ender;
use ambit_gateway::Peer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpListener,
};

use crate::stand::{Stand, allow_endpoint};

async fn ask(stand: &Stand, target: &str) -> (DuplexStream, String) {
    let (mut agent, door) = duplex(4096);
    let (gateway, caller) = (stand.gateway.clone(), stand.caller.clone());
    tokio::spawn(async move { gateway.serve_connection(door, Peer::Instance(caller)).await });
    agent
        .write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(agent.read_u8().await.unwrap());
    }
    (agent, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn a_declared_endpoint_is_reached_and_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stand = Stand::with(false, |estate| allow_endpoint(estate, port)).await;
    let (mut agent, head) = ask(&stand, &format!("127.0.0.1:{port}")).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (mut model, _) = listener.accept().await.unwrap();
    agent.write_all(b"question").await.unwrap();
    let mut question = [0; 8];
    model.read_exact(&mut question).await.unwrap();
    model.write_all(b"answer").await.unwrap();
    drop(model);
    let mut answer = Vec::new();
    agent.read_to_end(&mut answer).await.unwrap();
    assert_eq!(
        (&question, answer.as_slice()),
        (b"question", &b"answer"[..])
    );
    drop(agent);
    let counts = tokio::task::spawn_blocking(move || {
        stand.records(1, |it| match it {
            Body::Performed(performed) => Some((performed.sent_bytes, performed.received_bytes)),
            _ => None,
        })
    });
    assert_eq!(counts.await.unwrap(), [(8, 6)]);
}

#[tokio::test]
async fn what_was_not_declared_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stand = Stand::with(false, |estate| allow_endpoint(estate, port)).await;
    for target in [
        format!("localhost:{port}"),
        "127.0.0.1:1".to_owned(),
        format!("127.0.0.2:{port}"),
    ] {
        let (_agent, head) = ask(&stand, &target).await;
        assert!(head.starts_with("HTTP/1.1 403"), "{target}: {head}");
    }
}

#[tokio::test]
async fn a_tunnel_ends_with_its_task() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let stand = Stand::with(false, |estate| allow_endpoint(estate, port)).await;
    let (mut agent, head) = ask(&stand, &format!("127.0.0.1:{port}")).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (mut model, _) = listener.accept().await.unwrap();
    let ana = stand.world.person("ana");
    let moment = stand.world.clock.moment();
    stand
        .world
        .handle
        .end_task(Ender::Person(&ana), stand.task, End::Revoked, moment)
        .await
        .unwrap();
    let mut rest = Vec::new();
    agent.read_to_end(&mut rest).await.unwrap();
    model.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}
