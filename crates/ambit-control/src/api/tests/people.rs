//! Browsers at the public port, and a provider that signs with a real key.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ambit_core::{
    Digest, Millis, PersonId, Timestamp,
    act::Target,
    estate::{Estate, PersonRole},
    json,
    json::Value as Json,
    record::Body as Fact,
};
use ambit_identity::{
    SignedIn, SvidKey,
    jose::{KeyUse, Signer, SigningKey, base64url},
    sign_in::FLOW_TTL_MAX,
};
use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{
    super::{Control, Doors, public_router},
    doors::{ANA_SUBJECT, Office, PROVIDER},
};
use crate::people::{
    Ask, Fetched, Provider, ProviderConfig, SESSION_TTL, SESSIONS_MAX, SESSIONS_PER_PERSON_MAX,
    Sessions, SessionsFull, SignIns,
};

pub(super) const US: &str = "https://ambit.example.org";

/// The provider: what it says, and to whom it gave which code.
pub(super) struct OpenId {
    key: Arc<SigningKey>,
    /// Members that its metadata has instead.
    pub(super) metadata: Mutex<Vec<(&'static str, Json)>>,
    /// Claims that its ID tokens have instead.
    claims: Mutex<Vec<(&'static str, Json)>>,
    /// The `code_challenge` and `nonce` of the one request.
    asked: Mutex<(String, String)>,
    fetched: Mutex<Vec<String>>,
}

impl OpenId {
    fn new() -> Arc<Self> {
        let key = SvidKey::generate([9; 32]).unwrap();
        let key = SigningKey::from_svid_key(&key, KeyUse::Signature).unwrap();
        Arc::new(Self {
            key: Arc::new(key),
            metadata: Mutex::default(),
            claims: Mutex::default(),
            asked: Mutex::default(),
            fetched: Mutex::default(),
        })
    }

    pub(super) fn answer(&self, ask: &Ask, now_seconds: u64) -> (u16, Json) {
        self.fetched.lock().unwrap().push(ask.url.clone());
        let path = ask.url.strip_prefix(PROVIDER).unwrap();
        match (path, &ask.form) {
            ("/.well-known/openid-configuration", None) => {
                let mut members = BTreeMap::new();
                for (name, value) in [
                    ("issuer", PROVIDER.to_owned()),
                    (
                        "authorization_endpoint",
                        format!("{PROVIDER}/authorize?tenant=a"),
                    ),
                    ("token_endpoint", format!("{PROVIDER}/token")),
                    ("jwks_uri", format!("{PROVIDER}/jwks")),
                ] {
                    members.insert(name.to_owned(), Json::from(value));
                }
                for (name, value) in self.metadata.lock().unwrap().iter() {
                    members.insert((*name).to_owned(), value.clone());
                }
                (200, Json::Object(members))
            }
            ("/jwks", None) => {
                let keys = Json::Array(vec![self.key.public().to_value()]);
                (200, Json::object([("keys", keys)]))
            }
            ("/token", Some(form)) => self.token(form, now_seconds),
            _ => (404, Json::Null),
        }
    }

    fn token(&self, form: &str, now: u64) -> (u16, Json) {
        let form: BTreeMap<String, String> = form_urlencoded::parse(form.as_bytes())
            .into_owned()
            .collect();
        let (challenge, nonce) = self.asked.lock().unwrap().clone();
        let hashed = Digest::of(form["code_verifier"].as_bytes());
        let proved = base64url::encode(hashed.as_bytes()) == challenge;
        let returns = form["redirect_uri"] == format!("{US}/sign-in/callback");
        if form["code"] != "the code" || !proved || !returns {
            return (400, Json::object([("error", "invalid_grant".into())]));
        }
        let mut claims = BTreeMap::new();
        for (name, value) in [
            ("iss", Json::from(PROVIDER)),
            ("aud", "ambit".into()),
            ("sub", ANA_SUBJECT.into()),
            ("iat", now.into()),
            ("exp", (now + 300).into()),
            ("nonce", nonce.into()),
        ] {
            claims.insert(name.to_owned(), value);
        }
        for (name, value) in self.claims.lock().unwrap().iter() {
            claims.insert((*name).to_owned(), value.clone());
        }
        let signer = Signer::new(Arc::clone(&self.key), None);
        let token = signer.sign(&Json::Object(claims)).unwrap();
        (200, Json::object([("id_token", token.into())]))
    }
}

/// An office at whose public port people sign in.
pub(super) struct SignInDesk {
    pub(super) office: Office,
    pub(super) openid: Arc<OpenId>,
    pub(super) doors: Doors,
}

/// What a browser got.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Page {
    /// Returns `name=value` of the cookie whose name ends so.
    pub(super) fn cookie(&self, name: &str) -> String {
        let all = self.headers.get_all(header::SET_COOKIE).into_iter();
        let texts = all.map(|it| it.to_str().unwrap());
        let mut found = texts.filter(|it| it.starts_with(&format!("__Host-ambit-{name}=")));
        let text = found.next().unwrap();
        for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
            assert!(text.contains(attribute), "{text}");
        }
        text.split(';').next().unwrap().to_owned()
    }
}

impl SignInDesk {
    pub(super) fn now(&self) -> Timestamp {
        self.office.world.clock.now()
    }

    pub(super) fn later(&self, span: Millis) {
        self.office.world.clock.advance(span);
    }

    /// Signs ana in and returns her browser's cookie.
    pub(super) async fn session(&self) -> String {
        self.sign_in().await.cookie("session")
    }

    pub(super) async fn csrf(&self, session: &str) -> String {
        let account = self.get("/account", session).await.body;
        let csrf = account.split_once("name=\"csrf\" value=\"").unwrap().1;
        csrf.split_once('"').unwrap().0.to_owned()
    }

    pub(super) async fn post(
        &self,
        path: &str,
        cookie: &str,
        site: &str,
        form: &[(&str, &str)],
    ) -> Page {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = Request::post(path)
            .header(header::COOKIE, cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", site);
        self.send(request.body(Body::from(form)).unwrap()).await
    }

    /// Answers the command line of `code` with the form that the session was shown.
    pub(super) async fn answer(&self, session: &str, code: &str, answer: &str) -> Page {
        let csrf = self.csrf(session).await;
        self.post_device(session, &csrf, "same-origin", (code, answer))
            .await
    }

    pub(super) async fn post_device(
        &self,
        session: &str,
        csrf: &str,
        site: &str,
        (code, answer): (&str, &str),
    ) -> Page {
        let form = [("csrf", csrf), ("user_code", code), ("answer", answer)];
        self.post("/device", session, site, &form).await
    }

    pub(super) async fn end_login(&self, session: &str, login: &str, csrf: Option<&str>) -> Page {
        let own = self.csrf(session).await;
        let form = [("csrf", csrf.unwrap_or(&own)), ("login", login)];
        self.post("/account/logins/end", session, "same-origin", &form)
            .await
    }

    pub(super) fn estate(&self) -> Estate {
        self.office.estate()
    }

    /// Puts an estate in force, as ana.
    pub(super) async fn apply(&self, mut estate: Estate) {
        estate.digest = Digest::of(format!("{:?}", estate.people).as_bytes());
        self.office.apply(estate).await;
    }

    /// Returns the pseudonym of ana, who applied the estate.
    pub(super) fn ana(&self) -> PersonId {
        let records = self.office.world.records();
        let mut known = records.iter().filter_map(|it| {
            let Fact::EstateApplied { warrant, .. } = &it.body else {
                return None;
            };
            Some(warrant.by)
        });
        known.next().unwrap()
    }

    /// Has ben, who may do so now, ban ana.
    pub(super) async fn ban_ana(&self) {
        let mut estate = self.estate();
        let ben = estate.people.get_mut("ben").unwrap();
        ben.roles = PersonRole::ALL.into();
        self.apply(estate).await;
        let world = &self.office.world;
        let (ben, moment) = (world.person("ben"), world.clock.moment());
        let target = Target::Person(self.ana());
        let banned = world.handle.revoke(&ben, target, "test".to_owned(), moment);
        banned.await.unwrap();
    }

    pub(super) fn open() -> Self {
        Self::open_with(Office::open(), |it| it)
    }

    /// Opens one at the office, whose doors were changed before.
    pub(super) fn open_with(office: Office, change: impl FnOnce(Control) -> Control) -> Self {
        let openid = OpenId::new();
        let (asked, clock) = (Arc::clone(&openid), office.world.clock.to_clock());
        let provider = Provider::new(ProviderConfig {
            issuer: PROVIDER.to_owned(),
            client_id: "ambit".to_owned(),
            public_url: US.to_owned(),
            key: None,
            fetch: Arc::new(move |ask| {
                let now = clock().now.as_millis() / 1000;
                let (status, value) = asked.answer(&ask, now);
                let body = value.to_canonical().into();
                Box::pin(async move { Ok(Fetched { status, body }) })
            }),
        });
        let control: Control = office.doors.0.control.clone();
        let doors = Doors::new(change(Control {
            sign_ins: SignIns::At(Arc::new(provider)),
            ..control
        }));
        Self {
            office,
            openid,
            doors,
        }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Page {
        let router = public_router(&self.doors);
        let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Page {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(super) async fn get(&self, path: &str, cookies: &str) -> Page {
        let request = Request::get(path).header(header::COOKIE, cookies);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Begins a sign-in and returns the browser's cookie and the `state`.
    pub(super) async fn begin(&self, to: &str) -> (String, String) {
        let page = self.get(&format!("/sign-in{to}"), "").await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
        let (endpoint, query) = page.location().split_once("?tenant=a&").unwrap();
        assert_eq!(endpoint, format!("{PROVIDER}/authorize"));
        let asked: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", "ambit"),
            ("redirect_uri", "https://ambit.example.org/sign-in/callback"),
            ("scope", "openid"),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(asked[name], value);
        }
        *self.openid.asked.lock().unwrap() =
            (asked["code_challenge"].clone(), asked["nonce"].clone());
        (page.cookie("sign-in"), asked["state"].clone())
    }

    pub(super) async fn sign_in(&self) -> Page {
        let (cookie, state) = self.begin("").await;
        let back = format!("/sign-in/callback?code=the+code&state={state}");
        self.get(&back, &cookie).await
    }

    async fn sign_out(&self, cookie: &str, csrf: &str, site: &str) -> Page {
        let request = Request::post("/sign-out")
            .header(header::COOKIE, cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", site);
        let request = request.body(Body::from(format!("csrf={csrf}"))).unwrap();
        self.send(request).await
    }
}

#[tokio::test]
async fn a_person_signs_in_and_out() {
    let desk = SignInDesk::open();
    let nobody = desk.get("/account", "").await;
    assert!(
        nobody.body.contains("Nobody is signed in"),
        "{}",
        nobody.body
    );
    let back = desk.sign_in().await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    assert_eq!(back.location(), "/account");
    assert!(back.cookie("sign-in").ends_with('='), "the flow is over");
    let session = back.cookie("session");
    let account = desk.get("/account", &session).await;
    for part in ["<dd>ana</dd>", PROVIDER, "start tasks of templates"] {
        assert!(account.body.contains(part), "{}", account.body);
    }
    let policy = account.headers[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(policy.contains("form-action 'self'") && policy.starts_with("default-src 'none'"));
    assert_eq!(account.headers[header::CACHE_CONTROL], "no-store");
    for word in ["<script", "src=", "style=\"", "url(", "http:"] {
        assert!(!account.body.contains(word), "`{word}` in {}", account.body);
    }
    let csrf = account.body.split_once("name=\"csrf\" value=\"").unwrap().1;
    let csrf = csrf.split_once('"').unwrap().0;
    for (csrf, site) in [
        ("", "same-origin"),
        ("AAAA", "same-origin"),
        (csrf, "cross-site"),
        (csrf, "same-site"),
    ] {
        let refused = desk.sign_out(&session, csrf, site).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{csrf} {site}");
        assert_eq!(desk.get("/account", &session).await.body, account.body);
    }
    let out = desk.sign_out(&session, csrf, "same-origin").await;
    assert_eq!(
        (out.status, out.location()),
        (StatusCode::SEE_OTHER, "/account")
    );
    let after = desk.get("/account", &session).await;
    assert!(after.body.contains("Nobody is signed in"), "{}", after.body);
}

#[tokio::test]
async fn only_the_answer_to_this_sign_in_is_taken() {
    let desk = SignInDesk::open();
    let check = async |query: &str, status: StatusCode, part: &str| {
        let (cookie, state) = desk.begin("?to=/account").await;
        let back = format!("/sign-in/callback?{}", query.replace("{state}", &state));
        let page = desk.get(&back, &cookie).await;
        assert_eq!(page.status, status, "{query}: {}", page.body);
        assert!(page.body.contains(part), "{query}: {}", page.body);
        let opened = page.headers.get_all(header::SET_COOKIE).into_iter();
        let opened = opened.filter(|it| it.to_str().unwrap().starts_with("__Host-ambit-session"));
        assert_eq!(
            opened.count(),
            usize::from(status == StatusCode::SEE_OTHER),
            "{query}"
        );
    };
    let bad = StatusCode::BAD_REQUEST;
    let iss = "iss=https://id.example.org";
    check(
        &format!("code=the+code&state={{state}}&{iss}"),
        StatusCode::SEE_OTHER,
        "",
    )
    .await;
    check(
        "code=the+code&state={state}&iss=https://evil.example",
        bad,
        "Another provider",
    )
    .await;
    check("code=the+code&state=x", bad, "began no sign-in").await;
    check("code=the+code", bad, "began no sign-in").await;
    check("state={state}", bad, "no code").await;
    check("code=a&code=b&state={state}", bad, "stands twice").await;
    check(
        "code=other&state={state}",
        StatusCode::FORBIDDEN,
        "invalid_grant",
    )
    .await;
    let declined = "error=access_denied%3Cb%3E&state={state}";
    check(declined, StatusCode::FORBIDDEN, "access_denied&lt;b&gt;").await;
    for (name, value, status, part) in [
        ("nonce", "x", StatusCode::BAD_GATEWAY, "ID token"),
        (
            "iss",
            "https://evil.example",
            StatusCode::BAD_GATEWAY,
            "ID token",
        ),
        ("aud", "other", StatusCode::BAD_GATEWAY, "ID token"),
        ("sub", "somebody", StatusCode::FORBIDDEN, "somebody"),
    ] {
        *desk.openid.claims.lock().unwrap() = vec![(name, value.into())];
        check("code=the+code&state={state}", status, part).await;
    }
    desk.openid.claims.lock().unwrap().clear();
    // Another browser, another flow, a flow that took too long.
    let (cookie, state) = desk.begin("").await;
    let back = format!("/sign-in/callback?code=the+code&state={state}");
    let (other, _) = desk.begin("").await;
    for cookies in ["", &other, &format!("{cookie}; {cookie}")] {
        assert_eq!(desk.get(&back, cookies).await.status, bad, "{cookies}");
    }
    desk.office.world.clock.advance(FLOW_TTL_MAX);
    let late = desk.get(&back, &cookie).await;
    assert!(late.body.contains("took too long"), "{}", late.body);
}

#[tokio::test]
async fn a_provider_is_what_it_says_it_is() {
    let check = async |name: &'static str, value: Json, part: &str| {
        let desk = SignInDesk::open();
        *desk.openid.metadata.lock().unwrap() = vec![(name, value)];
        let page = desk.get("/sign-in", "").await;
        assert_eq!(
            page.status,
            StatusCode::BAD_GATEWAY,
            "{name}: {}",
            page.body
        );
        assert!(page.body.contains(part), "{name}: {}", page.body);
        // It is left alone for a while, and asked again then.
        let asked = desk.openid.fetched.lock().unwrap().len();
        let page = desk.get("/sign-in", "").await;
        assert!(page.body.contains("a moment ago"), "{}", page.body);
        assert_eq!(desk.openid.fetched.lock().unwrap().len(), asked);
        desk.openid.metadata.lock().unwrap().clear();
        desk.office.world.clock.advance(Millis::from_seconds(5));
        assert_eq!(desk.get("/sign-in", "").await.status, StatusCode::SEE_OTHER);
    };
    check("issuer", "https://id.example.org/".into(), "another name").await;
    check("jwks_uri", Json::Null, "jwks_uri").await;
    check(
        "token_endpoint",
        "http://id.example.org/token".into(),
        "token_endpoint",
    )
    .await;
    check(
        "authorization_endpoint",
        "javascript:alert(1)".into(),
        "authorization_endpoint",
    )
    .await;
    let plain = Json::Array(vec!["plain".into()]);
    check("code_challenge_methods_supported", plain, "PKCE").await;
    // One that always names itself must do so.
    let desk = SignInDesk::open();
    let name = "authorization_response_iss_parameter_supported";
    *desk.openid.metadata.lock().unwrap() = vec![(name, json::parse(b"true").unwrap())];
    let page = desk.sign_in().await;
    assert!(
        page.body.contains("which provider gave it"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn a_sign_in_returns_to_this_server_alone() {
    let desk = SignInDesk::open();
    for to in [
        "https://evil.example",
        "//evil.example",
        "/%5Cevil.example",
        "",
    ] {
        let page = desk.get(&format!("/sign-in?to={to}"), "").await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{to}");
    }
    let nowhere = Office::open();
    let request = Request::get("/sign-in").body(Body::empty()).unwrap();
    let page = public_router(&nowhere.doors)
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(page.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_session_ends_by_time_and_by_number() {
    let desk = SignInDesk::open();
    let first = desk.sign_in().await.cookie("session");
    let is_open = async |cookie: &str| {
        let page = desk.get("/account", cookie).await;
        page.body.contains("<dd>ana</dd>")
    };
    for _ in 1..SESSIONS_PER_PERSON_MAX {
        desk.office.world.clock.advance(Millis::new(1));
        desk.sign_in().await;
    }
    assert!(is_open(&first).await);
    desk.office.world.clock.advance(Millis::new(1));
    let newest = desk.sign_in().await.cookie("session");
    assert!(!is_open(&first).await, "one more ends the oldest");
    let rest = Millis::new(SESSION_TTL.as_millis() - 1);
    desk.office.world.clock.advance(rest);
    assert!(is_open(&newest).await);
    desk.office.world.clock.advance(Millis::new(1));
    assert!(!is_open(&newest).await);
    assert!(!is_open(&format!("{newest}; {newest}")).await);
}

#[tokio::test]
async fn so_many_sessions_are_held_and_no_more() {
    let openid = OpenId::new();
    let keys = ambit_identity::jose::JwkSet::new(vec![openid.key.public().clone()]).unwrap();
    let issuer = ambit_identity::token::id_token::IdTokenIssuer::new(
        PROVIDER.to_owned(),
        "ambit".to_owned(),
        &keys,
    );
    let issuer = issuer.unwrap();
    let now = ambit_core::Timestamp::from_millis(1_795_305_600_000);
    let flow = ambit_identity::sign_in::FlowKey::new(&[1; 32]);
    let flow = flow.begin([2; 32], "/", now).unwrap();
    let sessions = Sessions::default();
    let open = |number: usize, now| {
        let seconds = ambit_core::Timestamp::as_millis(now) / 1000;
        let claims = Json::object([
            ("iss", PROVIDER.into()),
            ("aud", "ambit".into()),
            ("sub", number.to_string().into()),
            ("iat", seconds.into()),
            ("exp", (seconds + 60).into()),
            ("nonce", flow.nonce().into()),
        ]);
        let token = Signer::new(Arc::clone(&openid.key), None).sign(&claims);
        let sign_in = issuer.verify(&token.unwrap(), &flow, now).unwrap();
        let chance = Digest::of(&number.to_be_bytes());
        sessions.open(
            (SignedIn::Provider(sign_in), &number.to_string()),
            *chance.as_bytes(),
            now,
        )
    };
    for number in 0..SESSIONS_MAX {
        open(number, now).unwrap();
    }
    assert_eq!(open(SESSIONS_MAX, now), Err(SessionsFull));
    open(SESSIONS_MAX, now.plus(SESSION_TTL)).unwrap();
}
