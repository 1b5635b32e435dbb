//! Access tokens at the doors: which are taken, and every way in which one must not be.

mod clients;
mod foreign;
mod refused;
mod scene;
mod seats;
mod task;

use std::sync::atomic::Ordering;

use ambit_core::{
    Millis, Timestamp,
    estate::{BearerTokens, Estate, LeastBinding},
    task::End,
};
use ambit_engine::Ender;
use ambit_gateway::{Peer, limits::STREAM_HEARTBEAT};
use ambit_identity::{KeyBinding, token::access::AccessGrant};
use tokio::io::AsyncReadExt;

use self::scene::{Scene, Sent, bearer, certified, proved, sent};
use crate::mint::{ALL, ISSUER, Mint, ONE, Proof, Prover};

const READ: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_ticket","arguments":{"id":"T-1"}}}"#;
const WRITE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"close_ticket","arguments":{"id":"T-1"}}}"#;
const DOOR: &str = "/s/tickets/mcp";

#[tokio::test]
async fn a_stranger_is_told_where_tokens_come_from() {
    let scene = Scene::new(|_| {}).await;
    let came = scene.send(Peer::Stranger, &sent(&[])).await;
    came.check(401, "no_token");
    let metadata = "https://gate.example:7420/.well-known/oauth-protected-resource/s/tickets/mcp";
    assert_eq!(
        came.challenges(),
        [
            format!("Bearer resource_metadata=\"{metadata}\""),
            format!("DPoP resource_metadata=\"{metadata}\", algs=\"ES256 ES384 EdDSA\""),
        ]
    );
    assert!(came.header("dpop-nonce").is_some());
    assert_eq!(scene.stand.mint.strangers.load(Ordering::Relaxed), 1);
    for (path, resource) in [("", ALL), ("/mcp", ALL), ("/s/tickets/mcp", ONE)] {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        let request = Sent {
            path: &path,
            headers: Vec::new(),
            body: "",
        };
        let came = scene.send_as("GET", Peer::Stranger, &request).await;
        came.check(200, &format!("\"resource\":\"{resource}\""));
        came.check(200, &format!("\"authorization_servers\":[\"{ISSUER}\"]"));
        came.check(200, "\"bearer_methods_supported\":[\"header\"]");
        assert_eq!(
            scene.send_as("POST", Peer::Stranger, &request).await.status,
            405
        );
    }
    // Nothing that strangers did is a record of its own.
    assert_eq!(
        scene
            .stand
            .records(0, |it| match it {
                ambit_core::record::Body::Decided(decided) if decided.action == "malformed" =>
                    Some(()),
                _ => None,
            })
            .len(),
        0
    );
}

#[tokio::test]
async fn tokens_are_taken_as_they_are_bound() {
    let scene = Scene::new(|estate| {
        estate.bearer_tokens = BearerTokens::Taken;
        template(estate, LeastBinding::BearerToRead);
    })
    .await;
    let token = scene.token(scene.dpop());
    let came = scene.prove(&token, |_| {}).await;
    came.check(200, "\"result\"");
    assert!(came.header("dpop-nonce").is_some());
    let token = scene.token(scene.stand.caller.binding());
    let caller = certified(&scene.stand.caller);
    scene
        .send(caller.clone(), &bearer(&token))
        .await
        .check(200, "\"result\"");
    // The certificate alone is enough, as before.
    scene
        .send(caller, &sent(&[]))
        .await
        .check(200, "\"result\"");
    let token = scene.token(KeyBinding::Bearer);
    let came = scene.send(Peer::Stranger, &bearer(&token)).await;
    came.check(200, "\"result\"");
    assert!(!came.body.contains("binding_too_weak"), "{}", came.body);
    let write = Sent {
        body: WRITE,
        ..bearer(&token)
    };
    scene
        .send(Peer::Stranger, &write)
        .await
        .check(200, "binding_too_weak");
}

fn template(estate: &mut Estate, binding: LeastBinding) {
    for template in estate.templates.values_mut() {
        template.binding = binding;
    }
}

#[tokio::test]
async fn bearer_tokens_are_for_estates_and_templates_that_take_them() {
    let check = async |taken, least, status, part: &str| {
        let scene = Scene::new(|estate| {
            estate.bearer_tokens = taken;
            template(estate, least);
        })
        .await;
        let token = scene.token(KeyBinding::Bearer);
        let write = Sent {
            body: WRITE,
            ..bearer(&token)
        };
        scene.send(Peer::Stranger, &write).await.check(status, part);
    };
    let (refused, taken) = (BearerTokens::Refused, BearerTokens::Taken);
    check(
        refused,
        LeastBinding::BearerToAct,
        403,
        "insufficient_scope",
    )
    .await;
    check(taken, LeastBinding::Dpop, 200, "binding_too_weak").await;
    check(taken, LeastBinding::BearerToRead, 200, "binding_too_weak").await;
    check(taken, LeastBinding::BearerToAct, 200, "\"content\"").await;
    let scene = Scene::new(|it| template(it, LeastBinding::Mtls)).await;
    let token = scene.token(scene.dpop());
    scene
        .prove(&token, |_| {})
        .await
        .check(200, "binding_too_weak");
}

/// ASI03, token confusion: a token is good at one place, of one issuer, for one task, in its time.
#[tokio::test]
async fn asi03_a_token_for_something_else_is_worth_nothing_here() {
    let scene = Scene::new(|it| it.bearer_tokens = BearerTokens::Taken).await;
    let now = scene.now();
    let check = async |part: &str, change: &dyn Fn(&mut AccessGrant)| {
        let mut grant = scene.grant(scene.stand.caller.binding());
        change(&mut grant);
        let token = scene.stand.mint.issue(&grant, now);
        let caller = certified(&scene.stand.caller);
        let came = scene.send(caller, &bearer(&token)).await;
        came.check(401, "invalid_token");
        came.check(401, part);
    };
    check("aud", &|it| it.audience = ALL.to_owned()).await;
    check("aud", &|it| {
        it.audience = "https://gate.example:7420".to_owned()
    })
    .await;
    check("aud", &|it| it.audience = format!("{ONE}/")).await;
    check("aud", &|it| {
        it.audience = "https://other.example/s/tickets/mcp".to_owned()
    })
    .await;
    check("mission", &|it| it.mission.id = "no task".to_owned()).await;
    check("act", &|it| {
        it.actors = vec!["spiffe://example.org/ambit/gateway".parse().unwrap()]
    })
    .await;
    check("act", &|it| {
        it.actors = vec![
            "spiffe://elsewhere.example/agent/clerk/inst_0"
                .parse()
                .unwrap(),
        ]
    })
    .await;
    // Spliced: another instance acts by a token that is bound to the certificate of this one.
    let other = scene.stand.other.spiffe_id().clone();
    check("act", &|it| {
        it.actors = vec![other.clone()];
        it.client_id = other.to_string();
    })
    .await;
    // Also had it been issued to this one: it is of a task that the other does not serve.
    check("invalid_token", &|it| it.actors = vec![other.clone()]).await;
    let token = scene.token(scene.stand.caller.binding());
    // Another task of the same instance, had it one.
    let mut grant = scene.grant(scene.stand.caller.binding());
    grant.mission.id = ambit_core::TaskId::from_bits(1).to_string();
    let spliced = scene.stand.mint.issue(&grant, now);
    let caller = certified(&scene.stand.caller);
    scene
        .send(caller.clone(), &bearer(&spliced))
        .await
        .check(401, "invalid_token");
    let forged = Mint::new(2).issue(&scene.grant(KeyBinding::Bearer), now);
    scene
        .send(Peer::Stranger, &bearer(&forged))
        .await
        .check(401, "invalid_token");
    scene
        .send(caller.clone(), &bearer(&token))
        .await
        .check(200, "\"result\"");
    // Verified once, and over all the same.
    scene.stand.world.clock.advance(Millis::from_seconds(310));
    scene
        .send(caller, &bearer(&token))
        .await
        .check(401, "invalid_token");
}

/// The log's time waits for a clock that was ahead; the proofs of those whose clock is right are fresh all the same, and
/// good once.
#[tokio::test]
async fn asi03_proofs_go_on_after_a_clock_was_ahead_for_a_moment() {
    let scene = Scene::new(|_| {}).await;
    let clock = &scene.stand.world.clock;
    clock.step_forward_and_back(Millis::from_seconds(400));
    let token = scene.token(scene.dpop());
    let (ahead, right) = (clock.now(), clock.wall());
    scene
        .prove(&token, |it| it.at = ahead)
        .await
        .check(401, "invalid_dpop_proof");
    let nonce = scene.nonce().await;
    let proof = scene.key.prove(&Proof {
        method: "POST",
        url: ONE,
        token: &token,
        id: "once",
        nonce: Some(&nonce),
        at: right,
    });
    let request = proved(&token, &proof);
    for (status, part) in [(200, "\"result\""), (401, "used before")] {
        scene
            .send(Peer::Stranger, &request)
            .await
            .check(status, part);
    }
    // Another step makes its nonce stale, so that it can't come again after the cache forgot it.
    clock.step_forward_and_back(Millis::from_seconds(400));
    scene
        .send(Peer::Stranger, &request)
        .await
        .check(401, "invalid_token");
    let token = scene.token(scene.dpop());
    let proof = scene.key.prove(&Proof {
        method: "POST",
        url: ONE,
        token: &token,
        id: "stale",
        nonce: Some(&nonce),
        at: right,
    });
    scene
        .send(Peer::Stranger, &proved(&token, &proof))
        .await
        .check(401, "use_dpop_nonce");
}

/// NHI02, stolen credentials: a bound token is good only with its key.
#[tokio::test]
async fn nhi02_a_stolen_token_is_worth_nothing_without_its_key() {
    let scene = Scene::new(|_| {}).await;
    let token = scene.token(scene.dpop());
    let stranger = Peer::Stranger;
    scene
        .send(stranger.clone(), &bearer(&token))
        .await
        .check(401, "bound to a dpop key");
    let bare = sent(&[("Authorization", format!("DPoP {token}"))]);
    scene
        .send(stranger.clone(), &bare)
        .await
        .check(401, "invalid_dpop_proof");
    let thief = Scene {
        stand: scene.stand,
        key: Prover::new(41),
        ..scene
    };
    thief.prove(&token, |_| {}).await.check(401, "cnf");
    let bound = thief.token(thief.stand.caller.binding());
    thief
        .send(stranger.clone(), &bearer(&bound))
        .await
        .check(401, "cnf");
    let other = certified(&thief.stand.other);
    thief
        .send(other.clone(), &bearer(&bound))
        .await
        .check(401, "cnf");
    // Nor does a connection with a certificate lend its key to a token that names none.
    let loose = thief.token(KeyBinding::Bearer);
    thief.send(other, &bearer(&loose)).await.check(401, "act");
    thief
        .send(stranger, &bearer(&loose))
        .await
        .check(403, "insufficient_scope");
}

#[tokio::test]
async fn nhi04_a_proof_is_for_one_request_of_now() {
    let scene = Scene::new(|_| {}).await;
    let token = scene.token(scene.dpop());
    let (now, stranger) = (scene.now(), Peer::Stranger);
    scene
        .prove(&token, |it| it.method = "GET")
        .await
        .check(401, "htm");
    scene
        .prove(&token, |it| it.url = ALL)
        .await
        .check(401, "htu");
    scene
        .prove(&token, |it| it.token = "another")
        .await
        .check(401, "ath");
    scene
        .prove(&token, |it| it.nonce = None)
        .await
        .check(401, "use_dpop_nonce");
    scene
        .prove(&token, |it| it.nonce = Some("AAAAAAAAAAAA"))
        .await
        .check(401, "use_dpop_nonce");
    let old = Timestamp::from_millis(now.as_millis() - 301_000);
    scene
        .prove(&token, |it| it.at = old)
        .await
        .check(401, "invalid_dpop_proof");
    let nonce = scene.nonce().await;
    let proof = scene.key.prove(&Proof {
        method: "POST",
        url: ONE,
        token: &token,
        id: "once",
        nonce: Some(&nonce),
        at: now,
    });
    let request = proved(&token, &proof);
    scene
        .send(stranger.clone(), &request)
        .await
        .check(200, "\"result\"");
    scene
        .send(stranger.clone(), &request)
        .await
        .check(401, "used before");
    let mut twice = request.clone();
    twice.headers.push(("DPoP", proof));
    scene
        .send(stranger, &twice)
        .await
        .check(400, "one dpop header");
}

#[tokio::test]
async fn a_token_comes_in_one_header_and_nowhere_else() {
    let scene = Scene::new(|_| {}).await;
    let token = scene.token(scene.stand.caller.binding());
    let caller = certified(&scene.stand.caller);
    let mut twice = bearer(&token);
    twice
        .headers
        .push(("Authorization", format!("Bearer {token}")));
    scene
        .send(caller.clone(), &twice)
        .await
        .check(400, "one authorization header");
    let path = format!("{DOOR}?access_token={token}");
    let in_query = Sent {
        path: &path,
        ..sent(&[])
    };
    scene
        .send(caller.clone(), &in_query)
        .await
        .check(400, "invalid_request");
    let form = format!("access_token={token}");
    let in_body = Sent {
        path: DOOR,
        headers: vec![(
            "Content-Type",
            "application/x-www-form-urlencoded".to_owned(),
        )],
        body: &form,
    };
    scene
        .send(Peer::Stranger, &in_body)
        .await
        .check(401, "no_token");
    assert_eq!(scene.send(caller.clone(), &in_body).await.status, 415);
    for value in ["Basic YTpi", "Bearer", "Bearer ", "DPoP", "Digest x", ""] {
        let request = sent(&[("Authorization", value.to_owned())]);
        let came = scene.send(caller.clone(), &request).await;
        assert!(matches!(came.status, 400 | 401), "{value}: {}", came.status);
    }
    // One byte beyond what is read, and far beyond.
    for length in [16 * 1024 + 1, 60 * 1024] {
        scene
            .send(Peer::Stranger, &bearer(&"x".repeat(length)))
            .await
            .check(401, "invalid_token");
    }
    // What it says back holds nothing of the token.
    let came = scene
        .send(Peer::Stranger, &bearer("canary.canary.canary"))
        .await;
    came.check(401, "invalid_token");
    assert!(!came.head.contains("canary") && !came.body.contains("canary"));
}

#[tokio::test]
async fn what_is_not_for_tokens_wants_an_svid() {
    let scene = Scene::new(|_| {}).await;
    let token = scene.token(scene.dpop());
    let request = Sent {
        path: "model.example:443",
        ..bearer(&token)
    };
    scene
        .send_as("CONNECT", Peer::Stranger, &request)
        .await
        .check(403, "svid_required");
    let request = Sent {
        path: "/elsewhere",
        ..bearer(&token)
    };
    scene
        .send(Peer::Stranger, &request)
        .await
        .check(404, "not_found");
    // A web page of another origin, and a browser that asks first.
    let mut page = bearer(&token);
    page.headers
        .push(("Origin", "https://evil.example".to_owned()));
    scene
        .send(Peer::Stranger, &page)
        .await
        .check(403, "wrong_origin");
    let asks = scene.send_as("OPTIONS", Peer::Stranger, &sent(&[])).await;
    asks.check(401, "no_token");
}

#[tokio::test]
async fn a_token_ends_with_its_task_and_with_its_keys() {
    let scene = Scene::new(|_| {}).await;
    let token = scene.token(scene.stand.caller.binding());
    let caller = certified(&scene.stand.caller);
    let stream = Sent {
        path: DOOR,
        headers: vec![
            ("Authorization", format!("Bearer {token}")),
            ("accept", "text/event-stream".to_owned()),
        ],
        body: "",
    };
    let open = scene.send_as("GET", caller.clone(), &stream);
    let end = async {
        let ana = scene.stand.world.person("ana");
        let moment = scene.stand.world.clock.moment();
        let handle = &scene.stand.world.handle;
        handle
            .end_task(Ender::Person(&ana), scene.stand.task, End::Revoked, moment)
            .await
            .unwrap();
    };
    // The stream, opened while the task lived or a moment after, ends with it.
    let (came, ()) = tokio::join!(open, end);
    assert!(matches!(came.status, 200 | 403), "{}", came.head);
    scene
        .send(caller.clone(), &bearer(&token))
        .await
        .check(200, "task_ended");
    scene.stand.mint.rotate(9);
    scene
        .send(caller.clone(), &bearer(&token))
        .await
        .check(401, "invalid_token");
    *scene.stand.mint.verifier.lock().unwrap() = None;
    scene
        .send(caller, &bearer(&token))
        .await
        .check(401, "no tokens are taken now");
}

/// ASI03: a token carries no more than what was asked for, at every decision and in every list.
#[tokio::test]
async fn asi03_a_narrowed_token_does_no_more_than_it_carries() {
    let mut scene = Scene::new(|_| {}).await;
    let caller = certified(&scene.stand.caller);
    let whole = scene.token(scene.stand.caller.binding());
    let part = r#"[{"type":"ambit_task","server":"tickets","actions":["get_ticket"]}]"#;
    scene.narrowed(part).await;
    let narrow = scene.token(scene.stand.caller.binding());
    let call = async |token: &str, body: &str| {
        let sent = Sent {
            body,
            ..bearer(token)
        };
        scene.send(caller.clone(), &sent).await
    };
    let read = call(&narrow, READ).await;
    assert!(!read.body.contains("isError\":true"), "{}", read.body);
    call(&narrow, WRITE).await.check(200, "tool_not_granted");
    let write = call(&whole, WRITE).await;
    assert!(!write.body.contains("tool_not_granted"), "{}", write.body);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let listed = call(&narrow, list).await;
    listed.check(200, "get_ticket");
    assert!(!listed.body.contains("close_ticket"), "{}", listed.body);
    call(&whole, list).await.check(200, "close_ticket");
}

/// A stream ends when the token by which it was opened does, and not at some later sign of life.
#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let scene = Scene::new(|_| {}).await;
    let mut grant = scene.grant(scene.stand.caller.binding());
    grant.expires_at = scene.now().plus(Millis::from_seconds(1));
    let token = scene.stand.mint.issue(&grant, scene.now());
    let stream = Sent {
        path: DOOR,
        headers: vec![
            ("Authorization", format!("Bearer {token}")),
            ("accept", "text/event-stream".to_owned()),
        ],
        body: "",
    };
    let mut open = scene
        .begin("GET", certified(&scene.stand.caller), &stream)
        .await;
    let mut heard = String::new();
    let mut piece = [0; 4096];
    // The one that opens it, and the first that it sends by itself.
    while heard.matches("alive").count() < 2 {
        let count = open.read(&mut piece).await.unwrap();
        assert!(count > 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    scene.stand.world.clock.advance(Millis::from_seconds(2));
    let over = open.read_to_string(&mut heard);
    let over = tokio::time::timeout(STREAM_HEARTBEAT / 3, over).await;
    over.expect("it ends before its next sign of life").unwrap();
}
