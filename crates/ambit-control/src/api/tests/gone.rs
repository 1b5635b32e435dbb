//! Who hangs up: what began is carried to its end, and what nobody was told of is taken back.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use ambit_core::{
    estate::{BearerTokens, Client, ClientKeys},
    record::{Body as Fact, Record},
    task::End,
};
use ambit_identity::{JoinToken, SvidKey};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::task::{consume_budget, yield_now};
use tower::ServiceExt;

use super::{
    super::public_router,
    booth::{Booth, CLIENT, PLACE, VERIFIER, answered, request, yes},
    doors::Office,
    logins::CommandLine,
    oauth::{Agent, form, post},
    people::{SignInDesk, US},
};

/// How many steps the runtime lets a task do in one turn.
const STEPS_PER_TURN: usize = 128;
/// How many a stranger's request does until it has its place.
const STEPS_TO_ITS_PLACE: usize = 3;

/// Sends a request and hangs up where it waits for the first time once it has begun, however fast it is answered there: the
/// turn is over then.
pub(super) async fn hang_up(router: Router, request: Request<Body>) {
    let mut asking = Box::pin(router.oneshot(request));
    yield_now().await;
    poll_fn(|context| {
        for _ in STEPS_TO_ITS_PLACE..STEPS_PER_TURN {
            assert!(pin!(consume_budget()).poll(context).is_ready());
        }
        assert!(asking.as_mut().poll(context).is_pending(), "it has begun");
        Poll::Ready(())
    })
    .await;
}

/// Waits until the log says so.
async fn until(office: &Office, what: impl Fn(&Record) -> bool) {
    let said = async {
        while !office.world.records().iter().any(&what) {
            tokio::task::yield_now().await;
        }
    };
    let said = tokio::time::timeout(Duration::from_secs(20), said).await;
    said.expect("the log says so");
}

fn cancelled(record: &Record) -> bool {
    matches!(
        record.body,
        Fact::TaskEnded {
            end: End::Cancelled,
            ..
        }
    )
}

fn posted(path: &str, cookies: &str, members: &[(&str, &str)]) -> Request<Body> {
    Request::post(path)
        .header(header::COOKIE, cookies)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(Body::from(form(members)))
        .unwrap()
}

fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    let fields = fields.iter().map(|(a, b)| (a.as_str(), b.as_str()));
    fields.collect()
}

/// ASI08: who clicks twice gets the one answer, and the client its code.
#[tokio::test]
async fn asi08_a_second_click_gets_the_answer_that_the_first_did_not_wait_for() {
    let (booth, agent) = (Booth::open().await, Agent::new(9));
    let path = booth.ask(&request(&[])).await;
    let fields = yes(&booth.page(&path).await);
    let fields = borrowed(&fields);
    let click = posted("/oauth/consent", &booth.ana, &fields);
    hang_up(public_router(&booth.desk.doors), click).await;
    let sent = booth.answer(&booth.ana, &fields).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.body);
    let code = answered(sent.location())["code"].clone();
    // It was told: nobody is told again.
    let again = booth.answer(&booth.ana, &fields).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let got = booth.redeem(&agent, &code, &[]).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    assert_eq!(booth.tasks(), (1, vec![]));
}

/// ASI08: another browser of the same person hears nothing of an answer that nobody took.
#[tokio::test]
async fn asi08_an_answer_waits_in_its_own_browser_alone() {
    let booth = Booth::open().await;
    let path = booth.ask(&request(&[])).await;
    let fields = yes(&booth.page(&path).await);
    let fields = borrowed(&fields);
    let click = posted("/oauth/consent", &booth.ana, &fields);
    hang_up(public_router(&booth.desk.doors), click).await;
    let second = booth.desk.sign_in().await.cookie("session");
    let csrf = booth.desk.csrf(&second).await;
    let mut others = fields.clone();
    others.retain(|it| it.0 != "csrf");
    others.push(("csrf", &csrf));
    let refused = booth.answer(&second, &others).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
}

/// ASI03: a login that a person opened is held by the command line that asked for it.
#[tokio::test]
async fn asi03_a_second_yes_to_a_command_line_is_the_first_one() {
    let desk = SignInDesk::open();
    let line = CommandLine::new(&desk, 21);
    let (device, code) = line.begin().await;
    let session = desk.session().await;
    let csrf = desk.csrf(&session).await;
    let members = [
        ("csrf", csrf.as_str()),
        ("user_code", &code),
        ("answer", "yes"),
    ];
    let click = posted("/device", &session, &members);
    hang_up(public_router(&desk.doors), click).await;
    let page = desk.answer(&session, &code, "yes").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let got = line.poll(&device).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
    let records = desk.office.world.records();
    let is_opening = |it: &ambit_core::proof::ProofFact| {
        matches!(it, ambit_core::proof::ProofFact::LoginOpened { .. })
    };
    let opened = |it: &&Record| matches!(&it.body, Fact::Proof(fact) if is_opening(fact.as_ref()));
    assert_eq!(records.iter().filter(opened).count(), 1);
}

/// NHI01: whoever spends a join token and leaves takes the task along.
#[tokio::test]
async fn nhi01_a_join_token_whose_asker_left_leaves_no_open_task() {
    let office = Office::open();
    let token = JoinToken::of_chance([5; 32]);
    let task = super::public::waiting(&office, &token).await.id;
    let key = SvidKey::generate([8; 32]).unwrap();
    let csr = STANDARD.encode(key.signing_request().unwrap());
    let ask = serde_json::json!({ "token": token.reveal(), "csr": csr }).to_string();
    let request = Request::post("/v1/join").header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(ask)).unwrap();
    hang_up(public_router(&office.doors), request).await;
    let ended = |it: &Record| matches!(it.body, Fact::TaskEnded { task: it, .. } if it == task);
    until(&office, ended).await;
}

/// ASI03: a code is redeemed once, and whatever is wrong with that leaves no task that nobody can enter.
#[tokio::test]
async fn asi03_a_code_that_was_redeemed_wrongly_ends_its_task() {
    let check = async |more: &[(&str, &str)], error: &str| {
        let (booth, agent) = (Booth::open().await, Agent::new(9));
        let code = booth.code(&request(&[])).await;
        let got = booth.redeem(&agent, &code, more).await;
        assert_eq!(got.error(), error, "{:?}", got.value);
        assert_eq!(booth.tasks(), (1, vec![End::Cancelled]), "{more:?}");
    };
    let other = "https://127.0.0.1:1/mcp/tickets";
    check(&[("resource", other)], "invalid_target").await;
    let details = [("authorization_details", "no")];
    check(&details, "invalid_authorization_details").await;
    let details = [("authorization_details", r#"[{"type":"other"}]"#)];
    check(&details, "invalid_authorization_details").await;
    check(&[("code_verifier", "short")], "invalid_grant").await;
}

/// The everyday way: a client without a key, where the estate takes bearer tokens and the template's usual binding wants one.
#[tokio::test]
async fn asi03_a_code_that_was_redeemed_without_a_key_ends_its_task() {
    let booth = Booth::open_with(|estate| estate.bearer_tokens = BearerTokens::Taken).await;
    let code = booth.code(&request(&[])).await;
    let members = form(&[
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("code", &code),
        ("code_verifier", VERIFIER),
        ("resource", PLACE),
    ]);
    let router = public_router(&booth.desk.doors);
    let got = post(router, "/oauth/token", members, &[]).await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST, "{:?}", got.value);
    assert_eq!(booth.tasks(), (1, vec![End::Cancelled]));
}

/// ASI03: tokens that went to nobody are worth nothing, and their task ends.
#[tokio::test]
async fn asi03_who_redeems_a_code_and_leaves_takes_the_task_along() {
    let (booth, agent) = (Booth::open().await, Agent::new(9));
    let code = booth.code(&request(&[])).await;
    let url = format!("{US}/oauth/token");
    let now = booth.desk.now();
    let members = [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("code", &code),
        ("code_verifier", VERIFIER),
    ];
    let router = public_router(&booth.desk.doors);
    let proof = agent.proof(&url, None, now);
    let first = post(router, "/oauth/token", form(&members), &[proof]).await;
    let proof = agent.proof(&url, first.nonce(), now);
    let mut request = posted("/oauth/token", "", &members);
    request.headers_mut().insert("dpop", proof.parse().unwrap());
    hang_up(public_router(&booth.desk.doors), request).await;
    until(&booth.desk.office, |it| {
        matches!(it.body, Fact::TokenIssued(_))
    })
    .await;
    until(&booth.desk.office, cancelled).await;
}

/// NHI01: a client that the estate no longer knows is given nothing by an answer to what it asked before.
#[tokio::test]
async fn nhi01_a_client_that_was_removed_meanwhile_is_given_no_task() {
    let booth = Booth::open_with(|estate| {
        let agents = estate.agents.keys().cloned().collect();
        let client = Client {
            name: "notes".parse().unwrap(),
            title: "Notes".to_owned(),
            redirect_uris: vec!["https://notes.example/cb".to_owned()],
            keys: ClientKeys::Public,
            owner: "ana".to_owned(),
            agents,
            runs: None,
        };
        estate.clients.insert(client.name.clone(), client);
    })
    .await;
    let whole = booth.desk.estate();
    for change in ["gone", "other address", "no agents"] {
        let mut estate = whole.clone();
        // A digest of its own for each.
        estate.digest = ambit_core::Digest::of(change.as_bytes());
        booth.desk.office.apply(whole.clone()).await;
        let back = [
            ("client_id", "notes"),
            ("redirect_uri", "https://notes.example/cb"),
        ];
        let path = booth.ask(&request(&back)).await;
        let fields = yes(&booth.page(&path).await);
        let client = estate.clients.values_mut().next().unwrap();
        match change {
            "gone" => estate.clients.clear(),
            "other address" => client.redirect_uris = vec!["https://notes.example/b".to_owned()],
            _ => client.agents.clear(),
        }
        booth.desk.office.apply(estate).await;
        let sent = booth.answer(&booth.ana, &borrowed(&fields)).await;
        let to = sent.headers.get(header::LOCATION);
        let code = to.is_some_and(|it| it.to_str().unwrap().contains("code="));
        assert!(!code, "{change}: {}", sent.body);
        assert_eq!(booth.tasks().0, 0, "{change}");
    }
}
