//! Whose seat a connection has that brings tokens.

use ambit_gateway::Room;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// A scene in which bearer tokens are taken, and one connection of those who are proved.
async fn full() -> Scene {
    let change = |estate: &mut Estate| {
        estate.bearer_tokens = BearerTokens::Taken;
        template(estate, LeastBinding::BearerToRead);
    };
    Scene::configured(change, |config| {
        config.room = Room {
            strangers: 4,
            proved: 1,
        };
    })
    .await
}

fn connect(scene: &Scene, peer: Peer) -> DuplexStream {
    let (client, door) = duplex(64 * 1024);
    let gateway = scene.stand.gateway.clone();
    tokio::spawn(async move { gateway.serve_connection(door, peer).await });
    client
}

/// Asks over a connection, which stays, and checks the status; nothing when it has ended.
async fn ask(client: &mut DuplexStream, token: Option<&str>) -> Option<u16> {
    let shown = token.map_or_else(String::new, |it| format!("Authorization: Bearer {it}\r\n"));
    let request = format!(
        "POST {DOOR} HTTP/1.1\r\nHost: gate.example:7420\r\nContent-Type: application/json\r\n{shown}\
         Content-Length: {}\r\n\r\n{READ}",
        READ.len()
    );
    client.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    loop {
        answer.push(client.read_u8().await.ok()?);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let mut lines = head.lines();
        let length = lines.find_map(|it| it.strip_prefix("content-length: "));
        if length.unwrap().parse() == Ok(body.len()) {
            return head.get(9..12)?.parse().ok();
        }
    }
}

/// ASI03: whoever copied a token ends nothing of its run's with it, once it was given up.
#[tokio::test]
async fn asi03_a_worthless_token_takes_no_seat_of_its_run() {
    let scene = full().await;
    let token = scene.token(KeyBinding::Bearer);
    scene.give_up().await;
    let mut own = connect(&scene, certified(&scene.stand.caller));
    assert_eq!(ask(&mut own, None).await, Some(200));
    let mut thief = connect(&scene, Peer::Stranger);
    assert_eq!(ask(&mut thief, Some(&token)).await, Some(401));
    assert_eq!(ask(&mut own, None).await, Some(200));
}

/// ASI03: a connection is its run's no longer than what was shown over it stands.
#[tokio::test]
async fn asi03_a_seat_goes_back_with_its_ground() {
    let scene = full().await;
    let token = scene.token(KeyBinding::Bearer);
    let mut client = connect(&scene, Peer::Stranger);
    assert_eq!(ask(&mut client, Some(&token)).await, Some(200));
    scene.give_up().await;
    assert_eq!(ask(&mut client, Some(&token)).await, Some(401));
    // It is among the strangers again: it has no seat that a run would need.
    let mut own = connect(&scene, certified(&scene.stand.caller));
    assert_eq!(ask(&mut own, None).await, Some(200));
    assert_eq!(ask(&mut client, Some(&token)).await, Some(401));
}
