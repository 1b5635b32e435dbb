//! The authorization server as clients meet it.

use ambit_core::{
    Millis, Timestamp, json::Value as Json, limits::CLIENT_BYTES_MAX, record::Body as Fact,
};
use ambit_engine::Ender;
use ambit_identity::{
    SvidKey,
    jose::{KeyUse, Signer, SigningKey},
    token::{access, jwt_svid::JwtSvidIssuance},
};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{
    super::{instance_router, public_router},
    doors::{Office, fits, text},
    given_up::asked_and_given_up,
};
use std::sync::Arc;

pub(super) const ISSUER: &str = "https://ambit.example.org";
pub(super) const PLACE: &str = "https://127.0.0.1:1/mcp";
pub(super) const SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// A client with a key for its proofs.
pub(super) struct Agent {
    signer: Signer,
    thumbprint: ambit_core::Digest,
    count: std::cell::Cell<u32>,
}

pub(super) struct Answered {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) value: Json,
}

impl Answered {
    pub(super) fn error(&self) -> &str {
        fits("OAuthRefusal", &self.value);
        text(&self.value, "error")
    }

    pub(super) fn nonce(&self) -> Option<&str> {
        self.header("dpop-nonce")
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|it| it.to_str().unwrap())
    }
}

impl Agent {
    pub(super) fn new(seed: u8) -> Self {
        let key = SvidKey::generate([seed; 32]).unwrap();
        let key = SigningKey::from_svid_key(&key, KeyUse::Signature).unwrap();
        Self {
            thumbprint: key.public().thumbprint(),
            signer: Signer::with_embedded_key(Arc::new(key), "dpop+jwt"),
            count: std::cell::Cell::new(u32::from(seed) << 16),
        }
    }

    /// Returns the thumbprint of its key (`jkt`).
    pub(super) fn thumbprint(&self) -> String {
        ambit_identity::jose::base64url::encode(self.thumbprint.as_bytes())
    }

    pub(super) fn proof(&self, url: &str, nonce: Option<&str>, now: Timestamp) -> String {
        self.count.set(self.count.get() + 1);
        let members = [
            ("jti", self.count.get().to_string().into()),
            ("htm", "POST".into()),
            ("htu", url.into()),
            ("iat", (now.as_millis() / 1000).into()),
        ];
        let nonce = nonce.map(|it| ("nonce", it.into()));
        let claims = Json::object(members.into_iter().chain(nonce));
        self.signer.sign(&claims).unwrap()
    }
}

/// Returns a JWT-SVID of the task's instance for `audiences`.
pub(super) fn svid(office: &Office, task: &Json, audiences: &[&str]) -> String {
    let now = office.world.clock.now();
    let spiffe_id = text(task, "spiffe_id").parse().unwrap();
    let audiences: Vec<_> = audiences.iter().map(|it| (*it).to_owned()).collect();
    let token_id = format!("{:?}", office.world.clock.moment().chance);
    let keys = office.doors.0.control.keys_in_force();
    let ask = JwtSvidIssuance {
        spiffe_id: &spiffe_id,
        audiences: &audiences,
        token_id: &token_id.chars().take(100).collect::<String>(),
        now,
        expires_at: now.plus(Millis::from_seconds(300)),
    };
    keys.issue_jwt(&ask).unwrap()
}

pub(super) fn form(members: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(members)
        .finish()
}

pub(super) async fn post(router: Router, path: &str, body: String, proofs: &[String]) -> Answered {
    let mut request =
        Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    for proof in proofs {
        request = request.header("dpop", proof);
    }
    send(router, request.body(Body::from(body)).unwrap()).await
}

pub(super) async fn send(router: Router, request: Request<Body>) -> Answered {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    assert!(parts.headers.contains_key("cache-control"));
    Answered {
        status: parts.status,
        headers: parts.headers,
        value: ambit_core::json::parse(&bytes).unwrap(),
    }
}

/// Asks for a token with the assertion and whatever else is said, with a fresh proof.
pub(super) async fn ask(
    office: &Office,
    agent: &Agent,
    assertion: &str,
    more: &[(&str, &str)],
) -> Answered {
    let mut members = vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", SPIFFE),
        ("client_assertion", assertion),
    ];
    members.extend_from_slice(more);
    let now = office.world.clock.now();
    let url = format!("{ISSUER}/oauth/token");
    let body = form(&members);
    let proof = agent.proof(&url, None, now);
    let first = post(
        public_router(&office.doors),
        "/oauth/token",
        body.clone(),
        &[proof],
    )
    .await;
    if first.error() != "use_dpop_nonce" {
        return first;
    }
    let proof = agent.proof(&url, first.nonce(), now);
    post(public_router(&office.doors), "/oauth/token", body, &[proof]).await
}

/// What verifies the office's access tokens, as whoever has the published keys does.
pub(super) fn verifier(office: &Office) -> access::AccessVerifier {
    let keys = office.doors.0.control.keys_in_force();
    let set = keys.access_keys().unwrap();
    let verifying = ambit_identity::jose::VerifyingKeys::new(
        &set,
        &[KeyUse::Signature],
        &[ambit_identity::jose::Algorithm::Es256],
    );
    access::AccessVerifier::new(ISSUER.to_owned(), verifying.unwrap())
}

#[tokio::test]
async fn an_instance_gets_a_token_for_its_own_task() {
    let office = Office::open();
    let task = office.start().await;
    let agent = Agent::new(9);
    let assertion = svid(&office, &task, &[ISSUER]);
    let got = ask(&office, &agent, &assertion, &[("resource", PLACE)]).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    fits("TokenAnswer", &got.value);
    assert_eq!(text(&got.value, "token_type"), "DPoP");
    assert!(got.nonce().is_some());
    let token = text(&got.value, "access_token");

    // What it says, as whoever has the published keys reads it.
    let verifier = verifier(&office);
    let now = office.world.clock.now();
    let read = verifier.verify(token, PLACE, now).unwrap();
    let grant = read.grant();
    assert_eq!(grant.client_id, text(&task, "spiffe_id"));
    assert_eq!(grant.actors[0].to_string(), text(&task, "spiffe_id"));
    assert_eq!(grant.mission.id, text(&task, "task"));
    assert!(grant.subject.starts_with("person_"));
    assert!(
        verifier
            .verify(token, "https://127.0.0.1:1/s/tickets/mcp", now)
            .is_err()
    );

    // The same by certificate, bound to it.
    let caller = office.caller(&task);
    let body = form(&[("grant_type", "client_credentials"), ("resource", PLACE)]);
    let request = Request::post("/oauth/mtls/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .extension(caller)
        .body(Body::from(body))
        .unwrap();
    let by_certificate = send(instance_router(&office.doors), request).await;
    assert_eq!(
        by_certificate.status,
        StatusCode::OK,
        "{:?}",
        by_certificate.value
    );
    assert_eq!(text(&by_certificate.value, "token_type"), "Bearer");
    assert_eq!(grant.mission.root, text(&task, "task"));
    asked_and_given_up(&office, &task, text(&by_certificate.value, "access_token")).await;

    // For one server, what is about that server.
    let assertion = svid(&office, &task, &[ISSUER]);
    let one = "https://127.0.0.1:1/s/tickets/mcp";
    let got = ask(&office, &agent, &assertion, &[("resource", one)]).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
}

/// ASI08: a proof is used up by what may be given for it, and takes no room by what is cheap to refuse.
#[tokio::test]
async fn asi08_a_request_for_nothing_uses_no_proof_up() {
    let office = Office::open();
    let task = office.start().await;
    let agent = Agent::new(9);
    let url = format!("{ISSUER}/oauth/token");
    let now = office.world.clock.now();
    let nonce = office.doors.0.oauth().nonce(now);
    let proof = agent.proof(&url, Some(&nonce), now);
    let send = async |more: &[(&str, &str)]| {
        let assertion = svid(&office, &task, &[ISSUER]);
        let members = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", SPIFFE),
            ("client_assertion", assertion.as_str()),
        ];
        let body = form(&[&members, more].concat());
        let router = public_router(&office.doors);
        post(router, "/oauth/token", body, std::slice::from_ref(&proof)).await
    };
    for (more, error) in [
        (&[][..], "invalid_target"),
        (&[("resource", "https://elsewhere/mcp")], "invalid_target"),
        (&[("resource", PLACE), ("scope", "all")], "invalid_scope"),
    ] {
        assert_eq!(send(more).await.error(), error, "{more:?}");
    }
    let place = [("resource", PLACE)];
    let got = send(&place).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    assert_eq!(send(&place).await.error(), "invalid_dpop_proof");
}

/// Every refusal has the standard's code.
#[tokio::test]
async fn requests_are_refused_in_the_words_of_the_standards() {
    let office = Office::open();
    let task = office.start().await;
    let agent = Agent::new(9);
    let check = async |audience: &[&str], more: &[(&str, &str)], error: &str| {
        let assertion = svid(&office, &task, audience);
        let got = ask(&office, &agent, &assertion, more).await;
        assert_eq!(got.error(), error, "{more:?}: {:?}", got.value);
    };
    let place = ("resource", PLACE);
    check(&[ISSUER], &[], "invalid_target").await;
    check(
        &[ISSUER],
        &[("resource", "https://elsewhere/mcp")],
        "invalid_target",
    )
    .await;
    check(
        &[ISSUER],
        &[("resource", "https://127.0.0.1:1/mcp/")],
        "invalid_target",
    )
    .await;
    check(
        &[ISSUER],
        &[("resource", "https://127.0.0.1:1/s/other/mcp")],
        "invalid_target",
    )
    .await;
    check(&[ISSUER], &[place, place], "invalid_target").await;
    check(&[ISSUER], &[place, ("scope", "all")], "invalid_scope").await;
    check(
        &[ISSUER],
        &[place, ("client_secret", "x")],
        "invalid_client",
    )
    .await;
    check(
        &[ISSUER],
        &[place, ("client_id", "mallory")],
        "invalid_client",
    )
    .await;
    check(
        &[ISSUER],
        &[place, ("authorization_details", "[]")],
        "invalid_authorization_details",
    )
    .await;
}

/// The token endpoint's address is not the issuer, nor are two audiences.
#[tokio::test]
async fn nhi04_an_assertion_is_for_the_issuer_alone() {
    let office = Office::open();
    let task = office.start().await;
    let agent = Agent::new(9);
    let check = async |audience: &[&str], more: &[(&str, &str)], error: &str| {
        let assertion = svid(&office, &task, audience);
        let got = ask(&office, &agent, &assertion, more).await;
        assert_eq!(got.error(), error, "{more:?}: {:?}", got.value);
    };
    let place = ("resource", PLACE);
    check(
        &["https://ambit.example.org/oauth/token"],
        &[place],
        "invalid_client",
    )
    .await;
    check(&["https://ambit.example.org/"], &[place], "invalid_client").await;
    check(
        &[ISSUER, "https://other.example.org"],
        &[place],
        "invalid_client",
    )
    .await;

    let assertion = svid(&office, &task, &[ISSUER]);
    let twice = [("grant_type", "password"), place];
    let got = ask_twice(&office, &agent, &assertion, &twice).await;
    assert_eq!(got.error(), "invalid_request");
    let bare = post(
        public_router(&office.doors),
        "/oauth/token",
        "grant_type=client_credentials".to_owned(),
        &[],
    )
    .await;
    assert_eq!(
        (bare.error(), bare.status),
        ("invalid_client", StatusCode::UNAUTHORIZED)
    );
}

/// Asks with a parameter that stands twice.
async fn ask_twice(
    office: &Office,
    agent: &Agent,
    assertion: &str,
    more: &[(&str, &str)],
) -> Answered {
    let mut members = vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", SPIFFE),
        ("client_assertion", assertion),
    ];
    members.extend_from_slice(more);
    let url = format!("{ISSUER}/oauth/token");
    let proof = agent.proof(&url, None, office.world.clock.now());
    post(
        public_router(&office.doors),
        "/oauth/token",
        form(&members),
        &[proof],
    )
    .await
}

#[tokio::test]
async fn the_name_of_a_client_has_its_maximum() {
    let office = Office::open();
    let check = async |bytes: usize, part: &str| {
        let id = "a".repeat(bytes);
        let members = form(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", "x"),
            ("client_id", &id),
        ]);
        let (agent, now) = (Agent::new(9), office.world.clock.now());
        let send = async |nonce: Option<&str>| {
            let proof = agent.proof(&format!("{ISSUER}/oauth/token"), nonce, now);
            let router = public_router(&office.doors);
            post(router, "/oauth/token", members.clone(), &[proof]).await
        };
        let first = send(None).await;
        let got = send(first.nonce()).await;
        assert_eq!(got.error(), "invalid_client");
        let told = text(&got.value, "error_description");
        assert_eq!(told.contains("too long"), part == "too long", "{told}");
    };
    check(CLIENT_BYTES_MAX, "unknown").await;
    check(CLIENT_BYTES_MAX + 1, "too long").await;
}

/// NHI04: proofs and assertions are good once, and for the request that they were made for.
#[tokio::test]
async fn nhi04_replayed_proofs_and_assertions_get_nothing() {
    let office = Office::open();
    let task = office.start().await;
    let agent = Agent::new(9);
    let now = office.world.clock.now();
    let url = format!("{ISSUER}/oauth/token");
    let assertion = svid(&office, &task, &[ISSUER]);
    let got = ask(&office, &agent, &assertion, &[("resource", PLACE)]).await;
    assert_eq!(got.status, StatusCode::OK);
    let nonce = got.nonce().map(str::to_owned);
    // The assertion again, with another key and a fresh proof: a thief's.
    let thief = Agent::new(10);
    let got = ask(&office, &thief, &assertion, &[("resource", PLACE)]).await;
    assert_eq!(got.error(), "invalid_client");

    let send = async |proofs: &[String]| {
        let assertion = svid(&office, &task, &[ISSUER]);
        let body = form(&[
            ("grant_type", "client_credentials"),
            ("client_assertion_type", SPIFFE),
            ("client_assertion", &assertion),
            ("resource", PLACE),
        ]);
        post(public_router(&office.doors), "/oauth/token", body, proofs).await
    };
    let nonce = nonce.as_deref();
    let proof = agent.proof(&url, nonce, now);
    assert_eq!(
        send(std::slice::from_ref(&proof)).await.status,
        StatusCode::OK
    );
    let again = send(std::slice::from_ref(&proof)).await;
    assert_eq!(again.error(), "invalid_dpop_proof");
    let other_url = agent.proof(&format!("{ISSUER}/oauth/revoke"), nonce, now);
    assert_eq!(send(&[other_url]).await.error(), "invalid_dpop_proof");
    let early = agent.proof(&url, nonce, now.plus(Millis::from_seconds(61)));
    assert_eq!(send(&[early]).await.error(), "invalid_dpop_proof");
    let two = [agent.proof(&url, nonce, now), agent.proof(&url, nonce, now)];
    assert_eq!(send(&two).await.error(), "invalid_dpop_proof");
    assert_eq!(send(&[]).await.error(), "invalid_dpop_proof");
    let foreign = agent.proof(&url, Some("AAAA"), now);
    assert_eq!(send(&[foreign]).await.error(), "use_dpop_nonce");
}

/// Promise 1, ASI03: a token of an ended task is worth nothing, and no new one is issued.
#[tokio::test]
async fn asi03_no_token_without_a_live_task() {
    let office = Office::open();
    let task = office.start().await;
    let agent = Agent::new(9);
    let assertion = svid(&office, &task, &[ISSUER]);
    let got = ask(&office, &agent, &assertion, &[("resource", PLACE)]).await;
    let token = text(&got.value, "access_token").to_owned();
    assert!(is_active(&office, &task, &token).await);
    let caller = office.caller(&task);
    let id = text(&task, "task").parse().unwrap();
    let (by, moment) = (Ender::Instance(&caller), office.world.clock.moment());
    let end = ambit_core::task::End::Completed;
    office
        .world
        .handle
        .end_task(by, id, end, moment)
        .await
        .unwrap();
    assert!(!is_active(&office, &task, &token).await);
    let assertion = svid(&office, &task, &[ISSUER]);
    let got = ask(&office, &agent, &assertion, &[("resource", PLACE)]).await;
    assert_eq!(got.error(), "invalid_grant");
}

async fn about(office: &Office, task: &Json, path: &str, token: &str) -> Answered {
    let assertion = svid(office, task, &[ISSUER]);
    let body = form(&[
        ("client_assertion_type", SPIFFE),
        ("client_assertion", &assertion),
        ("token", token),
    ]);
    post(public_router(&office.doors), path, body, &[]).await
}

pub(super) async fn is_active(office: &Office, task: &Json, token: &str) -> bool {
    let got = about(office, task, "/oauth/introspect", token).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    fits("Introspection", &got.value);
    got.value.get("active") == Some(&Json::Bool(true))
}

#[tokio::test]
async fn a_client_asks_about_its_own_tokens_and_gives_them_up() {
    let office = Office::open();
    let (task, other) = (office.start().await, office.start().await);
    let agent = Agent::new(9);
    let assertion = svid(&office, &task, &[ISSUER]);
    let got = ask(&office, &agent, &assertion, &[("resource", PLACE)]).await;
    let token = text(&got.value, "access_token").to_owned();
    assert!(is_active(&office, &task, &token).await);
    // Another client hears nothing of it, and cannot end it.
    assert!(!is_active(&office, &other, &token).await);
    let refused = about(&office, &other, "/oauth/revoke", &token).await;
    assert_eq!(refused.error(), "invalid_grant");
    assert!(is_active(&office, &task, &token).await);
    // An altered one is none.
    let (said, signature) = token.rsplit_once('.').unwrap();
    let altered: String = signature.chars().rev().collect();
    assert!(!is_active(&office, &task, &format!("{said}.{altered}")).await);
    let ended = about(&office, &task, "/oauth/revoke", &token).await;
    assert_eq!(ended.status, StatusCode::OK);
    assert!(!is_active(&office, &task, &token).await);
    // What is unknown is as good as given up (RFC 7009 §2.2).
    let unknown = about(&office, &task, "/oauth/revoke", "nothing").await;
    assert_eq!(unknown.status, StatusCode::OK);
    let issued = office.world.records().into_iter();
    let issued = issued.filter(|it| matches!(it.body, Fact::TokenIssued(_)));
    assert_eq!(issued.count(), 1);
}

#[tokio::test]
async fn metadata_says_what_is_there() {
    let office = Office::open();
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let got = send(public_router(&office.doors), request).await;
        fits("ServerMetadata", &got.value);
        assert_eq!(text(&got.value, "issuer"), ISSUER);
        assert_eq!(
            text(&got.value, "token_endpoint"),
            format!("{ISSUER}/oauth/token")
        );
        let aliases = got.value.get("mtls_endpoint_aliases").unwrap();
        for (endpoint, path) in [
            ("token_endpoint", "/oauth/mtls/token"),
            ("introspection_endpoint", "/oauth/mtls/introspect"),
            ("revocation_endpoint", "/oauth/mtls/revoke"),
        ] {
            assert!(text(aliases, endpoint).ends_with(path), "{aliases:?}");
        }
    }
    let request = Request::get("/oauth/jwks").body(Body::empty()).unwrap();
    let got = send(public_router(&office.doors), request).await;
    fits("JwkSet", &got.value);
    let keys = got.value.get("keys").and_then(Json::as_array).unwrap();
    assert_eq!(text(&keys[0], "use"), "sig");
    assert!(keys[0].get("d").is_none());
}

#[tokio::test]
async fn forms_end_at_their_maximum() {
    let office = Office::open();
    let check = async |body: String, status: StatusCode| {
        let got = post(public_router(&office.doors), "/oauth/token", body, &[]).await;
        assert_eq!(got.status, status, "{:?}", got.value);
    };
    let fields = |count: usize| {
        let fields: Vec<_> = (1..count).map(|it| format!("f{it}=1")).collect();
        format!("grant_type=client_credentials&{}", fields.join("&"))
    };
    let padded = |bytes: usize| {
        let begin = "grant_type=client_credentials&f=";
        format!("{begin}{}", "x".repeat(bytes - begin.len()))
    };
    check(
        fields(crate::oauth::FORM_FIELDS_MAX),
        StatusCode::UNAUTHORIZED,
    )
    .await;
    check(
        fields(crate::oauth::FORM_FIELDS_MAX + 1),
        StatusCode::BAD_REQUEST,
    )
    .await;
    check(
        padded(crate::oauth::FORM_BYTES_MAX),
        StatusCode::UNAUTHORIZED,
    )
    .await;
    check(
        padded(crate::oauth::FORM_BYTES_MAX + 1),
        StatusCode::PAYLOAD_TOO_LARGE,
    )
    .await;
}
