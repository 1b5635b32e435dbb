//! What strangers get on the public port: the log's hashes, and pages that tell nothing.

use std::sync::Arc;

use ambit_audit::TILE_WIDTH;
use ambit_core::{ApprovalId, DecisionId, Millis, Timestamp};
use ambit_identity::{IssuingKeys, PairChance};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{
    super::{
        Asks, Control, Door, Doors, JOIN_BYTES_MAX, PUBLISHED_READS_MAX, Parts, Published,
        PublishedLog, public_router, routes,
    },
    doors::{ANA, Office, start_body, text},
};

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answered {
    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }
}

async fn get(doors: &Doors, path: &str, known: &str) -> Answered {
    let request = Request::get(path).header(header::IF_NONE_MATCH, known);
    let response = public_router(doors)
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answered {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

/// Returns the office's doors with another published log.
fn publishing(office: &Office, published: Published) -> Doors {
    let control: Control = office.doors.0.control.clone();
    Doors::new(Control {
        gateway_url: None,
        strangers_refused: std::sync::Arc::default(),
        measure_storage: std::sync::Arc::new(crate::api::Storage::default),
        published,
        ..control
    })
}

#[tokio::test]
async fn strangers_decide_nothing_and_leave_no_trace() {
    let office = Office::open();
    let before = office.world.records().len();
    let public = routes().filter(|it| it.door == Door::Public);
    // What the others ask of whom is tried in `laws.rs`.
    for route in public.filter(|it| it.asks == Asks::Nothing) {
        assert_eq!(
            (route.asks, route.method),
            (Asks::Nothing, "GET"),
            "{route:?}"
        );
        let path = route.path.replace("{*path}", "checkpoint");
        let path = path.replace("{decision}", &DecisionId::from_bits(1).to_string());
        let path = path.replace("{approval}", &ApprovalId::from_bits(1).to_string());
        let answered = get(&office.doors, &path, "").await;
        assert_eq!(answered.status, StatusCode::OK, "{route:?}");
        for secret in ["clerk", "tickets", "ana"] {
            let body = String::from_utf8_lossy(&answered.body);
            assert!(!body.contains(secret), "{route:?}: {body}");
        }
    }
    assert_eq!(office.world.records().len(), before);
    // Nothing of another door is behind this one.
    for route in routes().filter(|it| it.door != Door::Public) {
        let answered = get(&office.doors, route.path, "").await;
        assert_eq!(answered.status, StatusCode::NOT_FOUND, "{route:?}");
    }
}

#[tokio::test]
async fn a_page_is_no_oracle() {
    let office = Office::open();
    let task = office.start().await;
    let arguments = ambit_core::json::Value::object([("id", "T-1".into()), ("cents", 700.into())]);
    let held = office.act(&task, "refund", arguments).await;
    let ambit_engine::Answer::Held(held) = held else {
        panic!("not held: {held:?}");
    };
    let check = async |kind: &str, known: String, unknown: String| {
        let seen = get(&office.doors, &format!("/{kind}/{known}"), "").await;
        let unseen = get(&office.doors, &format!("/{kind}/{unknown}"), "").await;
        assert_eq!(
            (seen.status, &seen.headers),
            (StatusCode::OK, &unseen.headers)
        );
        let body = |it: &Answered| String::from_utf8(it.body.to_vec()).unwrap();
        assert_eq!(
            body(&seen).replace(&known, &unknown),
            body(&unseen),
            "{kind}"
        );
    };
    check(
        "decisions",
        held.decision.to_string(),
        DecisionId::from_bits(1).to_string(),
    )
    .await;
    check(
        "approvals",
        held.approval.to_string(),
        ApprovalId::from_bits(1).to_string(),
    )
    .await;
}

#[tokio::test]
async fn the_log_is_served_as_caches_like_it() {
    let office = Office::open();
    let note = get(&office.doors, "/log/checkpoint", "").await;
    assert_eq!(
        note.header(header::CONTENT_TYPE),
        "text/plain; charset=utf-8"
    );
    assert_eq!(note.header(header::CACHE_CONTROL), "public, max-age=2");
    assert!(note.body.starts_with(b"example.org/log\n"));
    let tag = note.header(header::ETAG).to_owned();
    let again = get(&office.doors, "/log/checkpoint", &tag).await;
    assert_eq!(
        (again.status, again.body.len()),
        (StatusCode::NOT_MODIFIED, 0)
    );
    assert_eq!(again.header(header::ETAG), tag);
    office.start().await;
    let newer = get(&office.doors, "/log/checkpoint", &tag).await;
    assert_eq!(newer.status, StatusCode::OK);
    let tile = get(&office.doors, "/log/tile/0/000.p/1", "").await;
    assert_eq!(
        tile.header(header::CONTENT_TYPE),
        "application/octet-stream"
    );
    assert_eq!(
        tile.header(header::CACHE_CONTROL),
        "public, max-age=604800, immutable"
    );
    assert_eq!(tile.body.len(), 32);
    for (path, status) in [
        ("tile/0/000", StatusCode::NOT_FOUND),
        ("tile/0/000.p/255", StatusCode::NOT_FOUND),
        ("tile/0/0", StatusCode::NOT_FOUND),
        ("tile/9/000.p/1", StatusCode::NOT_FOUND),
        ("records", StatusCode::NOT_FOUND),
        ("2/checkpoint", StatusCode::NOT_FOUND),
        ("tile/entries/000.p/1", StatusCode::FORBIDDEN),
    ] {
        let answered = get(&office.doors, &format!("/log/{path}"), "").await;
        assert_eq!(answered.status, status, "{path}");
        assert_eq!(
            answered.header(header::CACHE_CONTROL),
            "",
            "{path}: a refusal may not last"
        );
    }
}

#[tokio::test]
async fn what_is_published_is_the_operator_s_word() {
    let office = Office::open();
    let log = |origin: &str, parts| {
        let archive = office.world.archive.clone();
        Published::Log(PublishedLog::new(archive, origin, parts))
    };
    let entries = publishing(&office, log("example.org/log", Parts::Entries));
    let bundle = get(&entries, "/log/tile/entries/000.p/1", "").await;
    assert_eq!(bundle.status, StatusCode::OK);
    let wide = format!("/log/tile/entries/000.p/{TILE_WIDTH}");
    assert_eq!(get(&entries, &wide, "").await.status, StatusCode::NOT_FOUND);
    let nothing = publishing(&office, Published::Nothing);
    for path in ["/log/checkpoint", "/log/tile/0/000.p/1"] {
        assert_eq!(get(&nothing, path, "").await.status, StatusCode::NOT_FOUND);
    }
    // Caches keep tiles for ever: a log that follows another one is at another place.
    let second = publishing(&office, log("example.org/log/2", Parts::Hashes));
    assert_eq!(
        get(&second, "/log/2/checkpoint", "").await.status,
        StatusCode::OK
    );
    assert_eq!(
        get(&second, "/log/2/tile/0/000.p/1", "").await.status,
        StatusCode::OK
    );
    let moved = get(&second, "/log/checkpoint", "").await;
    assert_eq!(moved.status, StatusCode::NOT_FOUND);
    let problem = ambit_core::json::parse(&moved.body).unwrap();
    assert!(
        text(&problem, "detail").contains("/log/2/checkpoint"),
        "{problem:?}"
    );
}

#[tokio::test]
async fn strangers_read_the_store_a_few_at_a_time() {
    let office = Office::open();
    let archive = office.world.archive.clone();
    let log = PublishedLog::new(archive, "example.org/log", Parts::Hashes);
    let reads = log.reads.clone();
    let doors = publishing(&office, Published::Log(log));
    let places = PUBLISHED_READS_MAX as u32;
    let taken = reads.clone().acquire_many_owned(places - 1).await.unwrap();
    assert_eq!(
        get(&doors, "/log/checkpoint", "").await.status,
        StatusCode::OK
    );
    let last = reads.clone().acquire_owned().await.unwrap();
    let waiting = tokio::spawn(async move { get(&doors, "/log/checkpoint", "").await.status });
    // It waits behind this one, so it can't have been served before.
    while reads.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    drop((taken, last));
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
}

/// Posts to the public port, as a stranger.
async fn join(doors: &Doors, token: &str, csr: &str) -> (StatusCode, String) {
    let ask = serde_json::json!({ "token": token, "csr": csr }).to_string();
    let request = Request::post("/v1/join").header(header::CONTENT_TYPE, "application/json");
    let response = public_router(doors)
        .oneshot(request.body(Body::from(ask)).unwrap())
        .await
        .unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_request_to_join_is_so_long() {
    let office = Office::open();
    let ask = r#"{"token":"t","csr":"c"}"#;
    for (bytes, is_read) in [(JOIN_BYTES_MAX, true), (JOIN_BYTES_MAX + 1, false)] {
        let body = format!("{ask}{}", " ".repeat(bytes - ask.len()));
        let request = Request::post("/v1/join").header(header::CONTENT_TYPE, "application/json");
        let response = public_router(&office.doors)
            .oneshot(request.body(Body::from(body)).unwrap())
            .await
            .unwrap();
        let is_too_long = response.status() == StatusCode::PAYLOAD_TOO_LARGE;
        assert_eq!(!is_too_long, is_read, "{bytes}: {}", response.status());
    }
}

/// Starts a task that waits for whoever shows `token`.
pub(super) async fn waiting(
    office: &Office,
    token: &ambit_identity::JoinToken,
) -> Arc<ambit_core::task::Task> {
    let ask = ambit_engine::StartTask {
        template: "answer".parse().unwrap(),
        agent: "clerk".parse().unwrap(),
        parameters: [("ticket", "T-1"), ("customer", "kim@example.org")]
            .map(|(name, it)| (name.to_owned(), it.into()))
            .into(),
        contained: ambit_core::task::Contained::Namespaces,
    };
    let waits = ambit_engine::Waits::ForJoinToken(token.digest());
    let (ana, moment) = (office.world.person("ana"), office.world.clock.moment());
    let started = office
        .world
        .handle
        .start_waiting_task(&ana, ask, waits, moment);
    started.await.unwrap().task
}

/// Returns the signing request of a key.
fn request(seed: u8) -> String {
    let key = ambit_identity::SvidKey::generate([seed; 32]).unwrap();
    base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        key.signing_request().unwrap(),
    )
}

#[tokio::test]
async fn a_join_token_makes_one_stranger_the_instance() {
    let office = Office::open();
    let token = ambit_identity::JoinToken::of_chance([5; 32]);
    let task = waiting(&office, &token).await;
    let other = ambit_identity::JoinToken::of_chance([6; 32]);
    for (token, csr, part) in [
        ("", request(8), "begins with `ambit_join_`"),
        (other.reveal(), request(8), "no task waits"),
        // A mistake in the request does not spend the token.
        (token.reveal(), "AAAA".to_owned(), "csr"),
    ] {
        let (status, body) = join(&office.doors, token, &csr).await;
        assert!(
            status.is_client_error() && body.contains(part),
            "{status} {body}"
        );
    }
    let (status, body) = join(&office.doors, token.reveal(), &request(8)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let answer = ambit_core::json::parse(body.as_bytes()).unwrap();
    let text = |name: &str| answer.get(name).unwrap().as_str().unwrap();
    assert_eq!(text("spiffe_id"), task.spiffe_id.to_string());
    let svid = ambit_identity::Svid::from_pem(text("svid")).unwrap();
    assert_eq!(*svid.spiffe_id(), task.spiffe_id);
    for seed in [8, 9] {
        let (status, body) = join(&office.doors, token.reveal(), &request(seed)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    }
}

/// Nobody gets a certificate that would outlive the keys which sign it, and nobody is refused one until then.
#[tokio::test]
async fn nhi07_a_certificate_ends_with_the_keys_at_the_latest() {
    let office = Office::open();
    let now = office.world.clock.now();
    let chance = PairChance {
        x509: [17; 32],
        jwt: [18; 32],
    };
    let domain = "example.org".parse().unwrap();
    let fresh = IssuingKeys::create(domain, chance, now).unwrap();
    let lives = fresh.expires_at().since(now).as_millis();
    let made = Timestamp::from_millis(now.as_millis() - lives + 10 * 60 * 1000);
    let domain = "example.org".parse().unwrap();
    let keys = IssuingKeys::create(domain, chance, made).unwrap();
    let end = keys.expires_at();
    office.doors.control().keys.send_replace(Arc::new(keys));
    let check = |answer: &ambit_core::json::Value| {
        let svid = ambit_identity::Svid::from_pem(text(answer, "svid")).unwrap();
        assert!(svid.expires_at() <= end && svid.expires_at() > now);
    };
    let token = ambit_identity::JoinToken::of_chance([5; 32]);
    waiting(&office, &token).await;
    let (status, body) = join(&office.doors, token.reveal(), &request(8)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    check(&ambit_core::json::parse(body.as_bytes()).unwrap());
    check(&office.start().await);
    // Once they may sign nothing more, it is said so, and nobody's task stays open.
    office.world.clock.advance(Millis::from_seconds(11 * 60));
    let (status, refused) = office
        .ask(ANA, "POST", "/v1/tasks", &start_body("T-2"))
        .await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{refused:?}");
    assert!(text(&refused, "detail").contains("the task was cancelled"));
}

/// Whoever follows a link that leads nowhere reads a page; a program gets the problem.
#[tokio::test]
async fn a_problem_is_a_page_in_a_browser() {
    let office = Office::open();
    let check = async |accept: &str, kind: &str, part: &str| {
        for path in ["/", "/nothing/<b>", "/decisions/dec_x"] {
            let path = path.replace('<', "%3C").replace('>', "%3E");
            let request = Request::get(&path).header(header::ACCEPT, accept);
            let response = public_router(&office.doors)
                .oneshot(request.body(Body::empty()).unwrap())
                .await
                .unwrap();
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], kind, "{path}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(body.contains(part) && !body.contains("<b>"), "{body}");
        }
    };
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    check(
        browser,
        "text/html; charset=utf-8",
        "<h1>Nothing is here</h1>",
    )
    .await;
    check("*/*", "application/problem+json", "\"status\":404").await;
}
