//! Authority that would outlive its reason: a page that shows what is not so any more, a code in two hands, an assertion
//! from before a restart, a ban. OWASP NHI and ASI.

use ambit_core::{Digest, Millis, estate::PersonRole, json::Value as Json, task::End};
use ambit_identity::jose::Signer;
use axum::http::StatusCode;
use std::sync::Arc;

use super::{
    super::Doors,
    booth::{Booth, CLIENT, hidden, request, yes},
    clients::{assertion, by_key, open, refused, signing, start_waiting},
    doors::{ANA, BEN, Office, estate_body, estate_of, fits, text},
    oauth::{Agent, ISSUER, SPIFFE, svid},
    passkeys::sets_a_session,
    people::{Page, SignInDesk},
};

/// Puts an estate in force whose template is another one.
async fn apply(booth: &Booth, calls: u32) {
    let mut estate = booth.desk.estate();
    for template in estate.templates.values_mut() {
        template.version += 1;
        template.calls_max = calls;
    }
    estate.digest = Digest::of(calls.to_string().as_bytes());
    booth.desk.office.apply(estate).await;
}

async fn send(booth: &Booth, fields: &[(String, String)]) -> Page {
    let fields: Vec<_> = fields
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    booth.answer(&booth.ana, &fields).await
}

/// ASI09: a yes is to what the page showed. When that is another thing by then, nothing starts and the page is shown anew.
#[tokio::test]
async fn asi09_a_yes_is_to_what_was_shown() {
    let booth = Booth::open().await;
    let path = booth.ask(&request(&[])).await;
    let before = booth.page(&path).await;
    apply(&booth, 7777).await;
    let page = send(&booth, &yes(&before)).await;
    assert_eq!(page.status, StatusCode::CONFLICT, "{}", page.body);
    assert!(page.body.contains("Something changed"), "{}", page.body);
    assert!(page.body.contains("7777"), "{}", page.body);
    assert!(
        page.body.contains("kim@example.org"),
        "what was typed stays"
    );
    assert_eq!(booth.tasks(), (0, Vec::new()));
    // Whoever leaves the version out, or makes one up, has seen nothing.
    for shown in ["", "x", &hidden(&before, "shown")] {
        let mut fields = yes(&page);
        fields.retain(|it| it.0 != "shown");
        if !shown.is_empty() {
            fields.push(("shown".to_owned(), shown.to_owned()));
        }
        let refused = send(&booth, &fields).await;
        assert_eq!(refused.status, StatusCode::CONFLICT, "{shown}");
    }
    assert_eq!(booth.tasks(), (0, Vec::new()));
    let page = send(&booth, &yes(&page)).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.body);
    assert_eq!(booth.tasks().0, 1);
}

/// NHI02, RFC 6749 §4.1.2: a code in two hands gives nothing to either, shown at once or much later.
#[tokio::test]
async fn nhi02_a_code_in_two_hands_ends_its_task() {
    let renew = async |booth: &Booth, agent: &Agent, refresh: &str| {
        let members = [
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("refresh_token", refresh),
        ];
        booth.token(agent, &members).await
    };
    // At once.
    let booth = Booth::open().await;
    let code = booth.code(&request(&[])).await;
    let (agent, thief) = (Agent::new(9), Agent::new(10));
    let (one, other) = tokio::join!(
        booth.redeem(&agent, &code, &[]),
        booth.redeem(&thief, &code, &[])
    );
    for (by, got) in [(&agent, &one), (&thief, &other)] {
        if got.status == StatusCode::OK {
            let refresh = text(&got.value, "refresh_token");
            assert_eq!(renew(&booth, by, refresh).await.error(), "invalid_grant");
        }
    }
    assert!(one.status != StatusCode::OK || other.status != StatusCode::OK);
    assert_eq!(booth.tasks(), (1, vec![End::Cancelled]));
    // After the first access token is over.
    let booth = Booth::open().await;
    let code = booth.code(&request(&[])).await;
    let got = booth.redeem(&agent, &code, &[]).await;
    let refresh = text(&got.value, "refresh_token").to_owned();
    booth
        .desk
        .office
        .world
        .clock
        .advance(Millis::from_seconds(600));
    let got = renew(&booth, &agent, &refresh).await;
    let refresh = text(&got.value, "refresh_token").to_owned();
    assert_eq!(
        booth.redeem(&thief, &code, &[]).await.error(),
        "invalid_grant"
    );
    assert_eq!(
        renew(&booth, &agent, &refresh).await.error(),
        "invalid_grant"
    );
    assert_eq!(booth.tasks(), (1, vec![End::Cancelled]));
}

/// Stops the server and starts it anew upon the same log.
fn restart(office: &mut Office) {
    office.doors = Doors::new(office.doors.0.control.clone());
}

/// NHI02: a restart forgets which assertions were used, and makes none of them good again.
#[tokio::test]
async fn nhi02_a_restart_makes_no_assertion_good_again() {
    let mut office = open();
    start_waiting(&office).await;
    let (agent, thief) = (Agent::new(9), Agent::new(10));
    let used = assertion(&office, 21, "desk", ISSUER);
    let unused = assertion(&office, 21, "desk", ISSUER);
    let got = by_key(&office, Some(&agent), &used).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    let task = office.start().await;
    let own = svid(&office, &task, &[ISSUER]);
    office.world.clock.advance(Millis::from_seconds(2));
    restart(&mut office);
    for assertion in [&used, &unused] {
        let got = by_key(&office, Some(&thief), assertion).await;
        refused(&got, "invalid_client", "made before this server started");
    }
    let fresh = assertion(&office, 21, "desk", ISSUER);
    let got = by_key(&office, Some(&agent), &fresh).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    // So with the JWT-SVIDs of our own.
    let fresh = svid(&office, &task, &[ISSUER]);
    for (svid, good) in [(own, false), (fresh, true)] {
        let members = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", SPIFFE),
            ("client_assertion", svid.as_str()),
            ("resource", super::oauth::PLACE),
        ];
        let got = super::clients::send(&office, Some(&thief), &members).await;
        assert_eq!(got.status == StatusCode::OK, good, "{:?}", got.value);
    }
}

/// NHI02: what does not say when it was made could be from before the start.
#[tokio::test]
async fn nhi02_an_assertion_says_when_it_was_made() {
    let office = open();
    start_waiting(&office).await;
    let seconds = i64::try_from(office.world.clock.now().as_millis() / 1000).unwrap();
    let claims = ambit_core::json::Value::object([
        ("iss", "desk".into()),
        ("sub", "desk".into()),
        ("aud", ISSUER.into()),
        ("jti", "one".into()),
        ("exp", ambit_core::json::Value::Integer(seconds + 60)),
    ]);
    let key = Arc::new(signing(21));
    let assertion = Signer::new(key, Some("JWT")).sign(&claims).unwrap();
    let got = by_key(&office, Some(&Agent::new(9)), &assertion).await;
    refused(&got, "invalid_client", "write `iat`");
}

/// ASI03: who is banned gets no session by the provider either, and lifting the ban gives none back.
#[tokio::test]
async fn asi03_who_is_banned_signs_in_nowhere() {
    let desk = SignInDesk::open();
    assert!(sets_a_session(&desk.sign_in().await));
    desk.ban_ana().await;
    let page = desk.sign_in().await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.body);
    assert!(page.body.contains("banned"), "{}", page.body);
    assert!(!sets_a_session(&page));
}

/// NHI01: before somebody leaves the estate, `ambit plan` names their tasks in which nothing can be done then.
#[tokio::test]
async fn nhi01_a_plan_names_whose_tasks_stop() {
    let office = Office::open();
    let task = office.start().await;
    let (status, plan) = office
        .ask(ANA, "POST", "/v1/estate/plan", &estate_body())
        .await;
    assert_eq!(status, StatusCode::OK, "{plan:?}");
    let told = text(&plan, "text");
    let line = told.lines().find(|it| it.contains("nothing can be done"));
    let id = text(&task, "task");
    assert!(line.is_some_and(|it| it.contains(id)), "{told}");
}

/// NHI01: whoever may not look under the estate that they applied is not told that it stops nothing.
#[tokio::test]
async fn nhi01_what_nobody_looked_at_is_not_said() {
    let administrators: [(&str, u32, &[PersonRole]); 1] = [("ana", ANA, &PersonRole::ALL)];
    let without_ana = [("ben", BEN, PersonRole::ALL.as_slice()), ("ana", ANA, &[])];
    for (people, looks) in [(administrators.as_slice(), true), (&without_ana, false)] {
        let office = Office::open();
        let task = office.start().await;
        let body = estate_of(people);
        let (status, applied) = office.ask(ANA, "POST", "/v1/estate/apply", &body).await;
        assert_eq!(status, StatusCode::OK, "{applied:?}");
        fits("AppliedEstate", &applied);
        let told = ["stopped_count", "stopped", "unsealed"].map(|it| applied.get(it).is_some());
        assert_eq!(told, [looks; 3], "{applied:?}");
        if let Some(stopped) = applied.get("stopped").and_then(Json::as_array) {
            let id = Json::from(text(&task, "task"));
            assert_eq!(stopped, [id]);
        }
    }
}
