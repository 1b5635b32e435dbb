//! Tokens that are worth nothing although their signature stands: what their holders hear, and what the log keeps.

use super::*;

/// A token that was given up is refused as OAuth clients know it, so that they get another; its task goes on.
#[tokio::test]
async fn a_token_that_was_given_up_is_refused() {
    let scene = Scene::new(|_| {}).await;
    let token = scene.token(scene.stand.caller.binding());
    let caller = certified(&scene.stand.caller);
    let sent = bearer(&token);
    scene
        .send(caller.clone(), &sent)
        .await
        .check(200, "\"result\"");
    scene.give_up().await;
    let came = scene.send(caller.clone(), &sent).await;
    came.check(401, "was given up");
    assert!(came.challenges()[0].contains("error=\"invalid_token\""));
    let certificate = scene.send(caller, &scene::sent(&[])).await;
    certificate.check(200, "\"result\"");
}

/// NHI01, NHI07: the log says of a token that was refused why it was, and how strongly it was bound.
#[tokio::test]
async fn nhi01_a_refused_token_is_on_the_record_as_what_it_was() {
    let scene = Scene::new(|_| {}).await;
    let (caller, stranger) = (certified(&scene.stand.caller), Peer::Stranger);
    let loose = scene.token(KeyBinding::Bearer);
    let came = scene.send(stranger.clone(), &bearer(&loose)).await;
    came.check(403, "insufficient_scope");
    let bound = scene.token(scene.dpop());
    let own = scene.token(scene.stand.caller.binding());
    scene.give_up().await;
    let given_up = "given up or revoked, or was never issued";
    scene.prove(&bound, |_| {}).await.check(401, given_up);
    let came = scene.send(caller.clone(), &bearer(&own)).await;
    came.check(401, given_up);
    // Beside a certificate an old token is told of its run; alone it proves nobody any more.
    scene.stand.world.clock.advance(Millis::from_seconds(400));
    scene
        .send(caller, &bearer(&own))
        .await
        .check(401, "expired");
    scene
        .send(stranger, &bearer(&own))
        .await
        .check(401, "expired");
    assert_eq!(
        scene.refusals(),
        [
            "show_token binding_too_weak bearer",
            "show_token token_given_up dpop",
            "show_token token_given_up mtls",
            "show_token token_expired mtls",
        ]
    );
}

/// NHI04, forged credentials: whoever holds the signing key still has no token that the log does not know.
#[tokio::test]
async fn nhi04_a_token_that_was_never_issued_is_worth_nothing() {
    let scene = Scene::new(|_| {}).await;
    let caller = certified(&scene.stand.caller);
    for name in ["tok_1", "tok_0192f3c1-1111-7000-8000-000000000001"] {
        let mut grant = scene.grant(scene.stand.caller.binding());
        grant.token_id = name.to_owned();
        let token = scene.stand.mint.issue(&grant, scene.now());
        let came = scene.send(caller.clone(), &bearer(&token)).await;
        came.check(401, "invalid_token");
    }
    // Not one act left the gateway.
    assert_eq!(scene.stand.outcomes(0), Vec::<&str>::new());
}
