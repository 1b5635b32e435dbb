//! Ambit as a client of the provider that proves itself by a key (RFC 7523, `private_key_jwt`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ambit_core::json;
use ambit_identity::{
    SvidKey,
    jose::{Algorithm, JwkSet, KeyUse, SigningKey, VerifyingKeys},
    token::assertion::{ClientKeys, TYPE_JWT_BEARER, verify_private_key_jwt},
};
use axum::http::{StatusCode, header};

use super::{
    super::{Control, Doors},
    doors::PROVIDER,
    people::{SignInDesk, US},
};
use crate::people::{Fetched, Provider, ProviderConfig, SignIns};

type Forms = Arc<Mutex<Vec<BTreeMap<String, String>>>>;

/// Opens a desk whose provider is shown a key, and what it was sent.
fn open() -> (SignInDesk, Forms) {
    let mut desk = SignInDesk::open();
    let forms = Forms::default();
    let (openid, sent) = (Arc::clone(&desk.openid), Arc::clone(&forms));
    let clock = desk.office.world.clock.to_clock();
    let key = SvidKey::generate([21; 32]).unwrap();
    let key = SigningKey::from_svid_key(&key, KeyUse::Signature).unwrap();
    let provider = Provider::new(ProviderConfig {
        issuer: PROVIDER.to_owned(),
        client_id: "ambit".to_owned(),
        public_url: US.to_owned(),
        key: Some(Arc::new(key)),
        fetch: Arc::new(move |ask| {
            if let Some(form) = &ask.form {
                let form = form_urlencoded::parse(form.as_bytes()).into_owned();
                sent.lock().unwrap().push(form.collect());
            }
            let (status, value) = openid.answer(&ask, clock().now.as_millis() / 1000);
            let body = value.to_canonical().into();
            Box::pin(async move { Ok(Fetched { status, body }) })
        }),
    });
    desk.doors = Doors::new(Control {
        sign_ins: SignIns::At(Arc::new(provider)),
        ..desk.doors.control().clone()
    });
    (desk, forms)
}

/// NHI02: no secret is shared with the provider, and what proves us is good once, for that provider alone.
#[tokio::test]
async fn nhi02_ambit_proves_itself_to_the_provider_by_a_key() {
    let (desk, forms) = open();
    let page = desk.get("/sign-in/jwks", "").await;
    assert_eq!(page.headers[header::CONTENT_TYPE], "application/json");
    let set = json::parse(page.body.as_bytes()).unwrap();
    super::doors::fits("JwkSet", &set);
    assert!(!page.body.contains("\"d\""), "{}", page.body);
    let set = JwkSet::from_value(&set).unwrap();
    let client = ClientKeys {
        client_id: "ambit".to_owned(),
        keys: VerifyingKeys::new(&set, &[KeyUse::Signature], &[Algorithm::Es256]).unwrap(),
    };
    let mut names = Vec::new();
    for _ in 0..2 {
        let back = desk.sign_in().await;
        assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
        let form = forms.lock().unwrap().pop().unwrap();
        assert_eq!(form["client_assertion_type"], TYPE_JWT_BEARER);
        assert_eq!(form["client_id"], "ambit");
        let assertion = &form["client_assertion"];
        let proved = verify_private_key_jwt(assertion, &client, PROVIDER, desk.now()).unwrap();
        names.push(proved.token_id().to_owned());
        let elsewhere = format!("{PROVIDER}/token");
        assert!(verify_private_key_jwt(assertion, &client, &elsewhere, desk.now()).is_err());
    }
    assert_ne!(names[0], names[1], "each is good once");
    // Whoever has no key publishes none, and sends no assertion.
    let page = SignInDesk::open().get("/sign-in/jwks", "").await;
    assert_eq!(
        (page.status, page.body.as_str()),
        (StatusCode::OK, r#"{"keys":[]}"#)
    );
}

#[tokio::test]
async fn a_provider_that_takes_no_such_proof_is_not_asked_for_anybody() {
    for (name, words, status) in [
        (
            "token_endpoint_auth_methods_supported",
            "client_secret_basic",
            502,
        ),
        (
            "token_endpoint_auth_methods_supported",
            "private_key_jwt",
            303,
        ),
        (
            "token_endpoint_auth_signing_alg_values_supported",
            "RS256",
            502,
        ),
        (
            "token_endpoint_auth_signing_alg_values_supported",
            "ES256",
            303,
        ),
    ] {
        let (desk, _) = open();
        *desk.openid.metadata.lock().unwrap() = vec![(name, [words].into_iter().collect())];
        let page = desk.get("/sign-in", "").await;
        assert_eq!(
            page.status.as_u16(),
            status,
            "{name} {words}: {}",
            page.body
        );
    }
}
