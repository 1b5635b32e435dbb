//! The routes of a task itself: whoever shows a token there is identified by it, or is nobody.

use ambit_core::estate::{BearerTokens, LeastBinding};
use ambit_gateway::Peer;
use ambit_identity::KeyBinding;

use super::{
    scene::{Came, Scene, Sent, bearer, certified, proved, sent},
    template,
};
use crate::mint::{ALL, ONE, Proof};

const COMPLETE: &str = "/v1/task/complete";
const URL: &str = "https://gate.example:7420/v1/task/complete";

/// Returns a token for all of the task's servers.
fn token(scene: &Scene, binding: KeyBinding) -> String {
    let mut grant = scene.grant(binding);
    grant.audience = ALL.to_owned();
    scene.stand.mint.issue(&grant, scene.now())
}

async fn ask(scene: &Scene, peer: Peer, shown: Sent<'_>) -> Came {
    let path = COMPLETE;
    scene.send(peer, &Sent { path, ..shown }).await
}

/// ASI03: a certificate never speaks for a request that shows a token, whatever the token is worth.
#[tokio::test]
async fn asi03_a_token_that_is_shown_is_never_overlooked() {
    let scene = Scene::new(|_| {}).await;
    let (caller, other) = (
        certified(&scene.stand.caller),
        certified(&scene.stand.other),
    );
    let own = format!("{} by its certificate", scene.stand.caller.spiffe_id());
    ask(&scene, caller.clone(), sent(&[]))
        .await
        .check(200, &own);
    let good = token(&scene, scene.stand.caller.binding());
    let by_token = format!("{} by a token", scene.stand.caller.spiffe_id());
    ask(&scene, caller.clone(), bearer(&good))
        .await
        .check(200, &by_token);
    for shown in ["garbage", "", &good] {
        ask(&scene, other.clone(), bearer(shown))
            .await
            .check(401, "invalid_token");
    }
    // One for the servers of the task alone, and one of another place.
    let one = scene.token(scene.stand.caller.binding());
    ask(&scene, caller.clone(), bearer(&one))
        .await
        .check(401, "aud");
    for value in ["Basic YTpi", "Digest x"] {
        let shown = sent(&[("Authorization", value.to_owned())]);
        ask(&scene, caller.clone(), shown)
            .await
            .check(400, "scheme");
    }
    let path = format!("{COMPLETE}?access_token={good}");
    let in_query = Sent {
        path: &path,
        ..sent(&[])
    };
    scene
        .send(caller.clone(), &in_query)
        .await
        .check(400, "invalid_request");
    // One that was given up is over here, too.
    scene.give_up().await;
    ask(&scene, caller, bearer(&good))
        .await
        .check(401, "was given up");
}

/// ASI03: the endpoints of the authorization server read what is shown themselves, as the certificate's run.
#[tokio::test]
async fn asi03_the_authorization_server_hears_the_certificate() {
    let scene = Scene::new(|_| {}).await;
    let good = token(&scene, scene.stand.caller.binding());
    let path = "/oauth/mtls/introspect";
    let shown = Sent {
        path,
        ..bearer(&good)
    };
    let came = scene.send(certified(&scene.stand.caller), &shown).await;
    came.check(200, "by its certificate");
    // Who shows none is answered in the words of the authorization server itself, and is counted.
    let came = scene.send(Peer::Stranger, &shown).await;
    came.check(401, "nobody of the authorization server's");
    assert_eq!(scene.stand.mint.strangers.load(super::Ordering::Relaxed), 1);
}

/// A token needs its key here as everywhere, and one without a key is never enough.
#[tokio::test]
async fn asi03_a_token_at_the_task_needs_its_key() {
    let scene = Scene::new(|estate| {
        estate.bearer_tokens = BearerTokens::Taken;
        template(estate, LeastBinding::BearerToAct);
    })
    .await;
    ask(&scene, Peer::Stranger, sent(&[]))
        .await
        .check(401, "no_token");
    let loose = token(&scene, KeyBinding::Bearer);
    for peer in [Peer::Stranger, certified(&scene.stand.caller)] {
        ask(&scene, peer, bearer(&loose))
            .await
            .check(403, "insufficient_scope");
    }
    let bound = token(&scene, scene.stand.caller.binding());
    ask(&scene, Peer::Stranger, bearer(&bound))
        .await
        .check(401, "cnf");
    let bound = token(&scene, scene.dpop());
    let nonce = scene.nonce().await;
    let prove = |url, id| {
        let (token, nonce, at) = (bound.as_str(), Some(nonce.as_str()), scene.now());
        let method = "POST";
        scene.key.prove(&Proof {
            method,
            url,
            token,
            id,
            nonce,
            at,
        })
    };
    for url in [ALL, ONE] {
        let shown = proved(&bound, &prove(url, url));
        ask(&scene, Peer::Stranger, shown).await.check(401, "htu");
    }
    let shown = proved(&bound, &prove(URL, "p"));
    let came = ask(&scene, Peer::Stranger, shown.clone()).await;
    came.check(200, "by a token");
    assert!(came.header("dpop-nonce").is_some());
    ask(&scene, Peer::Stranger, shown)
        .await
        .check(401, "used before");
}
