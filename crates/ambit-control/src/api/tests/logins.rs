//! Command lines at the public port: a person lets one act, and it acts as that person and no further.

use ambit_core::{
    Digest, Millis, json,
    json::Value as Json,
    limits::{LOGIN_TTL, LOGINS_PER_PERSON_MAX},
    origin::Origin,
    proof::ProofFact,
    record::Body as Fact,
};
use ambit_engine::Moment;
use ambit_identity::{
    SvidKey,
    dpop::{MadeRequest, ProofMaker},
};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use form_urlencoded::Serializer;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{
    super::{Asks, Door, public_router, routes},
    doors::{BEN, start_body, text, well_formed},
    people::{SignInDesk, US},
};
use crate::oauth::{COMMAND_LINE, DEVICE_CODE_TTL, DEVICE_CODES_MAX, DEVICE_CODES_PER_ORIGIN_MAX};

/// A command line with a key of its own.
pub(super) struct CommandLine<'a> {
    desk: &'a SignInDesk,
    maker: ProofMaker,
    nonce: std::cell::RefCell<Option<String>>,
    count: std::cell::Cell<u64>,
}

/// What it got.
pub(super) struct Got {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Json,
}

impl<'a> CommandLine<'a> {
    pub(super) fn new(desk: &'a SignInDesk, key: u8) -> Self {
        let key = SvidKey::generate([key; 32]).unwrap();
        Self {
            desk,
            maker: ProofMaker::new(&key).unwrap(),
            nonce: std::cell::RefCell::default(),
            count: std::cell::Cell::default(),
        }
    }

    fn proof(&self, method: &str, url: &str, token: Option<&str>) -> String {
        self.count.set(self.count.get() + 1);
        let nonce = self.nonce.borrow().clone();
        let made = MadeRequest {
            method,
            url,
            access_token: token,
            nonce: nonce.as_deref(),
            token_id: &self.count.get().to_string(),
            now: self.desk.now(),
        };
        self.maker.prove(&made).unwrap()
    }

    async fn sent(&self, request: Request<Body>) -> Got {
        self.sent_through(public_router(&self.desk.doors), request)
            .await
    }

    pub(super) async fn sent_through(&self, router: Router, request: Request<Body>) -> Got {
        let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        if let Some(nonce) = parts.headers.get("dpop-nonce") {
            *self.nonce.borrow_mut() = Some(nonce.to_str().unwrap().to_owned());
        }
        Got {
            status: parts.status,
            headers: parts.headers,
            body: json::parse(&body).unwrap_or(Json::Null),
        }
    }

    /// Posts a form, with a nonce if one is wanted.
    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Got {
        let form = Serializer::new(String::new()).extend_pairs(form).finish();
        let once = || {
            let request = Request::post(path)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header("dpop", self.proof("POST", &format!("{US}{path}"), None));
            self.sent(request.body(Body::from(form.clone())).unwrap())
        };
        let got = once().await;
        if got.error() == "use_dpop_nonce" {
            return once().await;
        }
        got
    }

    pub(super) async fn begin(&self) -> (String, String) {
        let form = [("client_id", COMMAND_LINE), ("device", "<b>a laptop</b>")];
        let got = self.post("/oauth/device_authorization", &form).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
        super::doors::fits("DeviceAnswer", &got.body);
        let code = text(&got.body, "user_code").to_owned();
        let whole = format!("{US}/device?user_code={code}");
        assert_eq!(text(&got.body, "verification_uri_complete"), whole);
        (text(&got.body, "device_code").to_owned(), code)
    }

    pub(super) async fn poll(&self, device_code: &str) -> Got {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", COMMAND_LINE),
            ("device_code", device_code),
        ];
        self.post("/oauth/token", &form).await
    }

    /// Logs in as ana and returns the login's text.
    pub(super) async fn log_in(&self) -> String {
        let (device, code) = self.begin().await;
        let session = self.desk.session().await;
        let page = self.desk.answer(&session, &code, "yes").await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let got = self.poll(&device).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
        super::doors::fits("TokenAnswer", &got.body);
        text(&got.body, "access_token").to_owned()
    }

    pub(super) fn request(
        &self,
        method: &str,
        path: &str,
        login: &str,
        body: &str,
    ) -> Request<Body> {
        let (bare, _) = path.split_once('?').unwrap_or((path, ""));
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("DPoP {login}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                "dpop",
                self.proof(method, &format!("{US}{bare}"), Some(login)),
            )
            .body(Body::from(body.to_owned()))
            .unwrap()
    }

    pub(super) async fn ask(&self, method: &str, path: &str, login: &str, body: &str) -> Got {
        self.sent(self.request(method, path, login, body)).await
    }
}

impl Got {
    fn error(&self) -> &str {
        let error = self.body.get("error").and_then(Json::as_str);
        error.unwrap_or_default()
    }

    fn code(&self) -> &str {
        let code = self.body.get("code").and_then(Json::as_str);
        code.unwrap_or_default()
    }

    fn challenge(&self) -> &str {
        let challenge = self.headers.get(header::WWW_AUTHENTICATE);
        challenge.map_or("", |it| it.to_str().unwrap())
    }
}

fn opened(desk: &SignInDesk) -> usize {
    let records = desk.office.world.records();
    let opened = records.iter().filter(|it| {
        let Fact::Proof(fact) = &it.body else {
            return false;
        };
        matches!(**fact, ProofFact::LoginOpened { .. })
    });
    opened.count()
}

#[tokio::test]
async fn a_command_line_acts_as_the_person_who_let_it() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let (device, code) = line.begin().await;
    assert_eq!(line.poll(&device).await.error(), "authorization_pending");
    assert_eq!(line.poll(&device).await.error(), "slow_down");
    // Whoever is not signed in goes and comes back.
    let page = desk.get(&format!("/device?user_code={code}"), "").await;
    let place = format!("/device?user_code={code}");
    let to: String = form_urlencoded::byte_serialize(place.as_bytes()).collect();
    assert_eq!(page.location(), format!("/sign-in?to={to}"));
    let session = desk.session().await;
    let page = desk
        .get(&format!("/device?user_code={code}"), &session)
        .await;
    for part in [
        &code,
        "&lt;b&gt;a laptop&lt;/b&gt;",
        "<strong>ana</strong>",
        "nobody checked",
        "they would act as you",
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    assert_eq!(opened(&desk), 0, "looking lets nobody in");
    let page = desk.answer(&session, &code, "yes").await;
    assert!(page.body.contains("acts as you now"), "{}", page.body);
    assert_eq!(opened(&desk), 1);
    desk.later(Millis::from_seconds(10));
    let got = line.poll(&device).await;
    let login = text(&got.body, "access_token").to_owned();
    assert_eq!(text(&got.body, "token_type"), "DPoP");
    assert_eq!(
        line.poll(&device).await.error(),
        "invalid_grant",
        "told once"
    );
    let started = line
        .ask("POST", "/v1/tasks", &login, &start_body("T-1"))
        .await;
    assert_eq!(started.status, StatusCode::OK, "{:?}", started.body);
    let listed = line.ask("GET", "/v1/tasks", &login, "").await;
    assert_eq!(listed.status, StatusCode::OK);
    let account = desk.get("/account", &session).await;
    assert!(account.body.contains("Command lines that act as you"));
    // The log holds neither the secret nor the provider's name for ana.
    let secret = login.split_once('.').unwrap().1;
    for record in desk.office.world.records() {
        let leaf = String::from_utf8(ambit_audit::encode(&record)).unwrap();
        assert!(!leaf.contains(secret) && !leaf.contains(super::doors::ANA_SUBJECT));
    }
}

#[tokio::test]
async fn a_login_ends_when_anybody_says_so() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let check = async |login: &str, status: StatusCode, why: &str| {
        let got = line.ask("GET", "/v1/status", login, "").await;
        assert_eq!(got.status, status, "{why}: {:?}", got.body);
    };
    // By itself.
    let login = line.log_in().await;
    check(&login, StatusCode::OK, "fresh").await;
    let id = login.split_once('.').unwrap().0.to_owned();
    let end = format!("/v1/logins/{id}/end");
    let got = line.ask("POST", &end, &login, "").await;
    super::doors::fits("EndedLogin", &got.body);
    check(&login, StatusCode::UNAUTHORIZED, "logged out").await;
    // By its person, in the browser, and only with a form that was shown there.
    let login = line.log_in().await;
    let session = desk.session().await;
    let id = login.split_once('.').unwrap().0.to_owned();
    for (csrf, wanted) in [("AAAA", StatusCode::OK), ("", StatusCode::OK)] {
        let page = desk.end_login(&session, &id, Some(csrf)).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{csrf}");
        check(&login, wanted, "no form of ours").await;
    }
    let page = desk.end_login(&session, &id, None).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
    check(&login, StatusCode::UNAUTHORIZED, "ended in the browser").await;
    // By time.
    let login = line.log_in().await;
    desk.later(Millis::new(LOGIN_TTL.as_millis() - 1));
    line.ask("GET", "/v1/status", &login, "").await;
    check(&login, StatusCode::OK, "in its last moment").await;
    desk.later(Millis::new(1));
    check(&login, StatusCode::UNAUTHORIZED, "over").await;
    // By newer ones.
    let first = line.log_in().await;
    for _ in 1..LOGINS_PER_PERSON_MAX {
        desk.later(Millis::new(1));
        line.log_in().await;
    }
    check(&first, StatusCode::OK, "one of the most there may be").await;
    desk.later(Millis::new(1));
    let last = line.log_in().await;
    check(&first, StatusCode::UNAUTHORIZED, "the oldest").await;
    check(&last, StatusCode::OK, "the newest").await;
    // By a ban, and lifting it brings nothing back.
    desk.ban_ana().await;
    check(&last, StatusCode::UNAUTHORIZED, "banned").await;
}

/// NHI02, ASI03: the file of a login is copied, or a request of it is seen.
#[tokio::test]
async fn nhi02_a_stolen_login_is_of_no_use_without_its_key() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let thief = CommandLine::new(&desk, 22);
    let login = line.log_in().await;
    thief.nonce.replace(line.nonce.borrow().clone());
    let check = |got: &Got, error: &str| {
        assert_eq!(got.status, StatusCode::UNAUTHORIZED, "{:?}", got.body);
        assert_eq!(got.code(), "not_identified");
        assert!(got.challenge().contains(error), "{}", got.challenge());
    };
    let got = thief.ask("GET", "/v1/status", &login, "").await;
    check(&got, "invalid_token");
    // The text alone, as a bearer token, or without a proof.
    for (scheme, proof) in [("Bearer", true), ("DPoP", false)] {
        let mut request = line.request("GET", "/v1/status", &login, "");
        let value = format!("{scheme} {login}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        if !proof {
            request.headers_mut().remove("dpop");
        }
        check(&line.sent(request).await, "invalid_token");
    }
    // The same request again, and its proof beside another one.
    let proof = line.proof("GET", &format!("{US}/v1/status"), Some(&login));
    for (path, method, wanted) in [
        ("/v1/status", "GET", None),
        ("/v1/status", "GET", Some("invalid_dpop_proof")),
        ("/v1/tasks", "GET", Some("invalid_dpop_proof")),
        ("/v1/tasks", "POST", Some("invalid_dpop_proof")),
    ] {
        let mut request = line.request(method, path, &login, "");
        request.headers_mut().insert("dpop", proof.parse().unwrap());
        let got = line.sent(request).await;
        match wanted {
            None => assert_eq!(got.status, StatusCode::OK, "{:?}", got.body),
            Some(error) => check(&got, error),
        }
    }
    // A proof without the server's nonce is told to come again.
    line.nonce.replace(None);
    let got = line.ask("GET", "/v1/status", &login, "").await;
    check(&got, "use_dpop_nonce");
    let altered = login.replace('.', ".A");
    for text in [
        "",
        "x",
        altered.as_str(),
        "login_00000000000000000000000001.AAAA",
    ] {
        check(
            &line.ask("GET", "/v1/status", text, "").await,
            "invalid_token",
        );
    }
}

/// The device code is seen by somebody else, such as in a terminal's scroll-back.
#[tokio::test]
async fn only_who_began_gets_the_login() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let thief = CommandLine::new(&desk, 22);
    let (device, code) = line.begin().await;
    let session = desk.session().await;
    desk.answer(&session, &code, "yes").await;
    assert_eq!(thief.poll(&device).await.error(), "invalid_grant");
    assert_eq!(line.poll(&device).await.status, StatusCode::OK);
    let (device, code) = line.begin().await;
    let page = desk.answer(&session, &code, "no").await;
    assert!(page.body.contains("gets nothing"), "{}", page.body);
    let page = desk.answer(&session, &code, "yes").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND, "{}", page.body);
    assert_eq!(line.poll(&device).await.error(), "access_denied");
    let (device, code) = line.begin().await;
    desk.later(DEVICE_CODE_TTL);
    let session = desk.session().await;
    let page = desk.answer(&session, &code, "yes").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND, "{}", page.body);
    assert_eq!(line.poll(&device).await.error(), "expired_token");
    for (client, grant) in [("other", "device_code"), ("", "device_code")] {
        let form = [("client_id", client), ("grant_type", grant)];
        let got = line.post("/oauth/device_authorization", &form).await;
        assert_eq!(got.error(), "invalid_client");
    }
}

/// ASI09: a page of somebody else has a signed-in person's browser say yes.
#[tokio::test]
async fn asi09_only_the_persons_own_yes_counts() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let (device, code) = line.begin().await;
    let session = desk.session().await;
    let csrf = desk.csrf(&session).await;
    for (cookie, csrf, site) in [
        (session.as_str(), "AAAA", "same-origin"),
        (&session, "", "same-origin"),
        (&session, &csrf, "cross-site"),
        (&session, &csrf, "same-site"),
        ("", &csrf, "same-origin"),
    ] {
        let page = desk.post_device(cookie, csrf, site, (&code, "yes")).await;
        assert_eq!(
            page.status,
            StatusCode::UNAUTHORIZED,
            "{cookie} {csrf} {site}"
        );
        // A link never says yes.
        let got = desk
            .get(&format!("/device?user_code={code}&answer=yes"), &session)
            .await;
        assert_eq!(got.status, StatusCode::OK);
    }
    assert_eq!(line.poll(&device).await.error(), "authorization_pending");
    assert_eq!(opened(&desk), 0);
}

#[tokio::test]
async fn people_who_lost_their_proof_lose_their_logins() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let login = line.log_in().await;
    // The estate calls somebody else ana now.
    let mut estate = desk.estate();
    let ana = estate.people.get_mut("ana").unwrap();
    ana.oidc.as_mut().unwrap().subject = "somebody-else".to_owned();
    desk.apply(estate).await;
    let got = line.ask("GET", "/v1/status", &login, "").await;
    assert_eq!(got.status, StatusCode::UNAUTHORIZED, "{:?}", got.body);
    assert!(text(&got.body, "detail").contains("no longer good"));
}

#[tokio::test]
async fn strangers_reach_no_route_of_people_on_the_public_port() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let before = desk.office.world.records().len();
    for route in routes().filter(|it| it.door == Door::People) {
        let (path, body) = well_formed(route);
        let request = Request::builder()
            .method(route.method)
            .uri(&path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body));
        let got = line.sent(request.unwrap()).await;
        assert_eq!(got.status, StatusCode::UNAUTHORIZED, "{route:?}");
        assert_eq!(got.code(), "not_identified", "{route:?}");
    }
    assert_eq!(desk.office.world.records().len(), before);
    // What a login may is what its person may: the one list of routes, decided as ever.
    let login = line.log_in().await;
    for route in routes().filter(|it| it.door == Door::People) {
        let (path, _) = well_formed(route);
        if route.method == "GET" && matches!(route.asks, Asks::Person("inspect")) {
            let got = line.ask("GET", &path, &login, "").await;
            assert_ne!(got.status, StatusCode::UNAUTHORIZED, "{route:?}");
        }
    }
}

/// The same human by two proofs is one person: whoever started a task can't approve for it by another way.
#[tokio::test]
async fn two_proofs_are_one_person() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let login = line.log_in().await;
    let started = desk.office.start().await;
    let task = text(&started, "task");
    let got = line
        .ask("GET", &format!("/v1/tasks/{task}"), &login, "")
        .await;
    assert_eq!(text(&got.body, "subject"), "ana");
    let records = desk.office.world.records();
    let starters = records.iter().filter_map(|it| {
        let Fact::TaskStarted { task, .. } = &it.body else {
            return None;
        };
        Some(task.subject)
    });
    let mut starters = starters;
    assert!(starters.all(|it| it == desk.ana()));
    // And another person's logins are not ana's to end, nor ben's hers.
    let id = login.split_once('.').unwrap().0;
    let path = format!("/v1/logins/{id}/end");
    let (status, problem) = desk.office.ask(BEN, "POST", &path, "").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{problem:?}");
}

#[tokio::test]
async fn a_request_of_a_person_is_done_once_whatever_login_sends_it() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let mut tasks = std::collections::BTreeSet::new();
    let made = format!("{:012x}", desk.now().as_millis());
    let (high, low) = made.split_at(8);
    let key = format!("{high}-{low}-7000-8000-000000000001");
    // Signatures are made with chance: the same request is the same text.
    let body = start_body("T-1");
    for _ in 0..2 {
        let login = line.log_in().await;
        let mut request = line.request("POST", "/v1/tasks", &login, &body);
        request
            .headers_mut()
            .insert("idempotency-key", key.parse().unwrap());
        let got = line.sent(request).await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
        tasks.insert(text(&got.body, "task").to_owned());
    }
    assert_eq!(tasks.len(), 1);
}

#[tokio::test]
async fn as_many_command_lines_wait_as_there_is_room_for() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let form = [("client_id", COMMAND_LINE)];
    let full = async || {
        let got = line.post("/oauth/device_authorization", &form).await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(got.error(), "temporarily_unavailable");
    };
    for _ in 0..DEVICE_CODES_PER_ORIGIN_MAX {
        line.begin().await;
    }
    full().await;
    // Others are not kept out by them, until there is no room at all.
    for number in DEVICE_CODES_PER_ORIGIN_MAX..DEVICE_CODES_MAX {
        let moment = Moment {
            now: desk.now(),
            wall: desk.now(),
            chance: *Digest::of(&number.to_be_bytes()).as_bytes(),
        };
        let asks = (Digest::of(b"key"), Origin::Here);
        let begun = desk
            .doors
            .shared()
            .oauth()
            .devices()
            .begin(asks, "another", &moment);
        assert!(begun.is_ok(), "{number}");
    }
    full().await;
}

/// ASI08: strangers who ask, and who poll with codes of their own invention, take no room among the proofs.
#[tokio::test]
async fn asi08_command_lines_of_strangers_leave_no_proofs() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let (device_code, _) = line.begin().await;
    let used = || desk.doors.shared().oauth().remembered();
    assert_eq!(used(), 0);
    for _ in 0..50 {
        let got = line.poll("a code of their own invention").await;
        assert_eq!(got.error(), "invalid_grant");
    }
    let other = CommandLine::new(&desk, 22);
    assert_eq!(other.poll(&device_code).await.error(), "invalid_grant");
    assert_eq!(used(), 0);
    assert_eq!(
        line.poll(&device_code).await.error(),
        "authorization_pending"
    );
    assert_eq!(used(), 1);
}
