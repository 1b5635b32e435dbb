//! Tokens that a workload of a foreign trust domain got by its SVID: worth what that domain's word is worth now.

use std::sync::Arc;

use ambit_core::estate::BearerTokens;
use ambit_identity::{Authority, FederatedBundles};

use super::*;
use crate::vouched::{Trust, WORKLOAD, believe_partner, believing, trusting};

/// NHI07: the root that proved a client leaves its bundle while a token of the client lives.
#[tokio::test]
async fn nhi07_a_token_is_worth_no_more_than_the_word_by_which_its_client_got_it() {
    let now = ambit_testkit::TestClock::new(1).now();
    let partner = Authority::create("partner.example".parse().unwrap(), [2; 32], now).unwrap();
    let trust = Trust::of(&partner, believing(partner.bundle(), None));
    let heard = trusting(&trust);
    let declare = |estate: &mut ambit_core::estate::Estate| {
        estate.bearer_tokens = BearerTokens::Taken;
        believe_partner(estate);
    };
    let scene = Scene::configured(declare, |config| config.trusting = Some(heard)).await;
    let long_ago = scene.now();
    scene.stand.world.clock.advance(Millis::from_seconds(10));
    let send = async |client: &str| {
        let mut grant = scene.grant(KeyBinding::Bearer);
        grant.client_id = client.to_owned();
        let token = scene.stand.mint.issue(&grant, scene.now());
        scene.send(Peer::Stranger, &bearer(&token)).await
    };
    let believe = |federated: Arc<FederatedBundles>| {
        trust.change(|it| it.federated = federated);
    };
    send(WORKLOAD).await.check(200, "\"result\"");
    // A key left before the token was issued: its client was proved by another one.
    believe(believing(partner.bundle(), Some(long_ago)));
    send(WORKLOAD).await.check(200, "\"result\"");
    // One left after it; the domain is believed no more; the estate does not register the workload.
    believe(believing(partner.bundle(), Some(scene.now())));
    let came = send(WORKLOAD).await;
    came.check(401, "does not vouch");
    assert!(came.challenges()[0].contains("error=\"invalid_token\""));
    believe(Arc::default());
    send(WORKLOAD).await.check(401, "does not vouch");
    believe(believing(partner.bundle(), None));
    let other = format!("{WORKLOAD}x");
    send(&other).await.check(401, "does not vouch");
    // Clients of other kinds rest on no such word.
    send("https://client.example/me.json")
        .await
        .check(200, "\"result\"");
    let own = scene.stand.caller.spiffe_id().to_string();
    send(&own).await.check(200, "\"result\"");
}
