//! Tokens of clients that the estate declares: worth nothing at the next use once it does not.

use std::collections::BTreeSet;

use ambit_core::{
    Digest, Millis,
    estate::{Client, ClientKeys, Estate},
    token::{Grant, RestsOn},
};
use ambit_engine::{Refreshable, TokenAsk, TokenBy};
use ambit_gateway::Peer;
use ambit_identity::client_proof;
use ambit_testkit::compile;

use super::{Proof, Scene};
use crate::mint::ONE;

fn declare(estate: &mut Estate) {
    let desk = Client {
        name: "desk".parse().unwrap(),
        title: "A desk".to_owned(),
        owner: "ana".to_owned(),
        agents: BTreeSet::from(["clerk".parse().unwrap()]),
        runs: None,
        redirect_uris: Vec::new(),
        keys: ClientKeys::Public,
    };
    estate.clients = [(desk.name.clone(), desk)].into();
}

/// Opens a stand whose token is the desk's, by consent.
async fn open() -> Scene {
    let mut scene = Scene::new(declare).await;
    let world = &scene.stand.world;
    let book = world.handle.book().unwrap();
    let desk = book.estate().clients.values().next().unwrap();
    let ask = TokenAsk {
        client: Some("desk".to_owned()),
        audience: ONE.to_owned(),
        binding: scene.dpop(),
        ttl: Millis::from_seconds(300),
        refreshable: Refreshable::No,
        grant: Grant::AuthorizationCode,
        parent: None,
        details: None,
        rests_on: RestsOn {
            client: client_proof(desk, None),
            registration: None,
        },
    };
    let (by, moment) = (TokenBy::Instance(&scene.stand.caller), world.clock.moment());
    let issued = world.handle.issue_token(by, ask, moment).await.unwrap();
    scene.token_id = issued.access().id.to_string();
    scene
}

async fn apply(scene: &Scene, change: impl FnOnce(&mut Estate)) {
    let world = &scene.stand.world;
    let mut estate = Estate::clone(world.handle.book().unwrap().estate());
    change(&mut estate);
    estate.digest = Digest::of(b"another");
    let (ana, moment) = (world.person("ana"), world.clock.moment());
    let applied = world
        .handle
        .apply(&ana, compile(estate), Vec::new(), moment);
    applied.await.unwrap();
}

/// ASI03: what the estate takes from a client is gone at its next call, also of a token that was verified a moment ago.
#[tokio::test]
async fn asi03_a_withdrawn_client_is_refused_at_its_next_call() {
    let check = async |status: u16, part: &str, change: &dyn Fn(&mut Client)| {
        let scene = open().await;
        let token = scene.token(scene.dpop());
        let before = scene.prove(&token, |_| {}).await;
        before.check(200, "\"result\"");
        apply(&scene, |it| it.clients.values_mut().for_each(change)).await;
        let after = |it: &mut Proof<'_>| it.id = "p-2";
        scene.prove(&token, after).await.check(status, part);
    };
    check(200, "\"result\"", &|it| {
        it.title = "Another desk".to_owned()
    })
    .await;
    check(401, "invalid_token", &|it| it.agents.clear()).await;
    check(401, "invalid_token", &|it| {
        it.keys = ClientKeys::At("https://desk.example/jwks".to_owned());
    })
    .await;
    let scene = open().await;
    let token = scene.token(scene.dpop());
    scene.prove(&token, |_| {}).await.check(200, "\"result\"");
    apply(&scene, |it| it.clients.clear()).await;
    let came = scene.prove(&token, |it| it.id = "p-2").await;
    came.check(401, "invalid_token");
    // Whoever certified itself for the task acts on.
    let own = super::certified(&scene.stand.caller);
    let whole = super::sent(&[]);
    scene.send(own, &whole).await.check(200, "\"result\"");
    let stranger = scene.send(Peer::Stranger, &whole).await;
    stranger.check(401, "no_token");
}
