//! Issuers with one key, who need not name it (RFC 7515 §4.1.4): another key of theirs is found all the same.

use std::sync::{Arc, Mutex};

use ambit_core::json::Value as Json;
use ambit_identity::{
    SvidKey,
    jose::{KeyUse, SigningKey, base64url},
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use axum::http::StatusCode;

use super::{
    super::{Control, Doors},
    clients::{KEYS_AT, assertion, by_key, declare, set, start_waiting},
    doors::{Office, PROVIDER},
    oauth::{Agent, ISSUER},
    people::{SignInDesk, US},
};
use crate::{
    foreign::{Fetch, ISSUER_ASKED_EVERY},
    people::{Fetched, Provider, ProviderConfig, SignIns},
};

/// Signs the claims of a token with another key, and does not say with which.
fn unnamed(token: &str, seed: u8) -> String {
    let claims = token.split('.').nth(1).unwrap();
    let header = base64url::encode(br#"{"alg":"ES256"}"#);
    let signed = format!("{header}.{claims}");
    let key = SvidKey::generate([seed; 32]).unwrap().pkcs8();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key).unwrap();
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64url::encode(signature))
}

#[tokio::test]
async fn a_client_that_does_not_name_its_key_may_change_it() {
    let published = Arc::new(Mutex::new(set(&[41])));
    let asked = Arc::new(Mutex::new(0));
    let (there, count) = (published.clone(), asked.clone());
    let fetch: Fetch = Arc::new(move |url| {
        assert_eq!(url, KEYS_AT);
        *count.lock().unwrap() += 1;
        let found = there.lock().unwrap().clone();
        Box::pin(async move { Ok(found.into_bytes()) })
    });
    let office = Office::open_with(fetch, declare);
    let agent = Agent::new(9);
    start_waiting(&office).await;
    let ask = async |seed: u8| {
        let named = assertion(&office, seed, "moved", ISSUER);
        by_key(&office, Some(&agent), &unnamed(&named, seed))
            .await
            .status
    };
    assert_eq!(ask(41).await, StatusCode::OK);
    *published.lock().unwrap() = set(&[42]);
    assert_eq!(
        ask(42).await,
        StatusCode::UNAUTHORIZED,
        "asked a moment ago"
    );
    office.world.clock.advance(ISSUER_ASKED_EVERY);
    assert_eq!(ask(42).await, StatusCode::OK);
    // Who is no key of it has the keys asked for once a minute at most.
    for _ in 0..3 {
        assert_eq!(ask(43).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(*asked.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_provider_that_does_not_name_its_key_may_change_it() {
    let mut desk = SignInDesk::open();
    let seed = Arc::new(Mutex::new(51_u8));
    let (openid, now) = (Arc::clone(&desk.openid), Arc::clone(&seed));
    let clock = desk.office.world.clock.to_clock();
    let provider = Provider::new(ProviderConfig {
        issuer: PROVIDER.to_owned(),
        client_id: "ambit".to_owned(),
        public_url: US.to_owned(),
        key: None,
        fetch: Arc::new(move |ask| {
            let seed = *now.lock().unwrap();
            let (status, mut value) = openid.answer(&ask, clock().now.as_millis() / 1000);
            if let Some(token) = value.get("id_token").and_then(Json::as_str) {
                value = Json::object([("id_token", unnamed(token, seed).into())]);
            }
            if value.get("keys").is_some() {
                let key = SvidKey::generate([seed; 32]).unwrap();
                let key = SigningKey::from_svid_key(&key, KeyUse::Signature).unwrap();
                value = Json::object([("keys", [key.public().to_value()].into_iter().collect())]);
            }
            let body = value.to_canonical().into();
            Box::pin(async move { Ok(Fetched { status, body }) })
        }),
    });
    desk.doors = Doors::new(Control {
        sign_ins: SignIns::At(Arc::new(provider)),
        ..desk.doors.control().clone()
    });
    assert_eq!(desk.sign_in().await.status, StatusCode::SEE_OTHER);
    *seed.lock().unwrap() = 52;
    desk.later(ISSUER_ASKED_EVERY);
    let back = desk.sign_in().await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
}
