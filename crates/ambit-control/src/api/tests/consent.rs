//! A client's way through a person's browser: request, sign-in, consent, code, token.

use std::collections::BTreeMap;

use ambit_core::{
    estate::{ClientKeys, Containment, Estate, LeastBinding, ParameterKind, PersonRole},
    json::Value as Json,
    record::Body as Fact,
};
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use super::{
    super::public_router,
    booth::{BACK, Booth, CLIENT, PLACE, answered, hidden, request, yes},
    clients::client,
    doors::{ANA, text},
    oauth::Agent,
    people::{Page, US},
};
use crate::oauth::CONSENT_FIELDS_MAX;

#[tokio::test]
async fn a_person_starts_a_task_for_a_client_and_it_loses_it_with_the_task() {
    let booth = Booth::open().await;
    // Nobody is signed in: first that, and then here again.
    let query = request(&[]);
    let first = booth.authorize(&query, "").await;
    let to = answered(first.location())["to"].clone();
    assert_eq!(to, format!("/oauth/authorize?{query}"));
    let (flow, state) = booth
        .desk
        .begin(first.location().strip_prefix("/sign-in").unwrap())
        .await;
    let back = format!("/sign-in/callback?code=the+code&state={state}");
    let back = booth.desk.get(&back, &flow).await;
    assert_eq!(back.location(), to);

    let path = booth.ask(&query).await;
    let page = booth.page(&path).await;
    assert_eq!(page.status, StatusCode::OK);
    says(&page);
    let sent = booth.allow(&path).await;
    assert_eq!(
        (sent["state"].as_str(), sent["iss"].as_str()),
        ("s & s", US)
    );
    let agent = Agent::new(9);
    let got = booth.redeem(&agent, &sent["code"], &[]).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    super::doors::fits("TokenAnswer", &got.value);
    assert_eq!(text(&got.value, "token_type"), "DPoP");
    let refresh = text(&got.value, "refresh_token").to_owned();
    let renew = async |refresh: &str| {
        let members = [
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("refresh_token", refresh),
        ];
        booth.token(&agent, &members).await
    };
    let renewed = renew(&refresh).await;
    assert_eq!(renewed.status, StatusCode::OK, "{:?}", renewed.value);
    let records = booth.desk.office.world.records();
    let mut issued = records.iter().filter_map(|it| {
        let Fact::TokenIssued(token) = &it.body else {
            return None;
        };
        Some(token.task)
    });
    let task = issued.next().unwrap();
    let path = format!("/v1/tasks/{task}");
    let (status, shown) = booth.desk.office.ask(ANA, "GET", &path, "").await;
    assert_eq!(status, StatusCode::OK, "{shown:?}");
    assert_eq!(
        shown.get("parameters").map(|it| text(it, "ticket")),
        Some("T-1")
    );
    let lives = |name| text(&shown, name).parse::<String>().unwrap();
    assert_ne!(lives("started_at").get(..16), lives("expires_at").get(..16));

    let end = format!("/v1/tasks/{task}/end");
    let (status, _) = booth
        .desk
        .office
        .ask(ANA, "POST", &end, r#"{"end":"completed"}"#)
        .await;
    assert_eq!(status, StatusCode::OK);
    let after = renew(text(&renewed.value, "refresh_token")).await;
    assert_eq!(after.error(), "invalid_grant");
}

/// Says what is asked, of whom and for what.
fn says(page: &Page) {
    for part in [
        "Notes &lt;b&gt;",
        "app.example",
        "answer one ticket",
        "answers tickets",
        "tickets.refund (write, reversible), held until a person approves each call",
        "at most 20 calls in all",
        "another person must approve what waits for a person",
        "for=\"p.ticket\"",
        "<option value=\"15m\">",
        "<dd>ana</dd>",
    ] {
        assert!(page.body.contains(part), "no `{part}` in {}", page.body);
    }
}

#[tokio::test]
async fn who_says_no_gives_nothing() {
    let booth = Booth::open().await;
    let path = booth.ask(&request(&[])).await;
    let page = booth.page(&path).await;
    let (csrf, name) = (hidden(&page, "csrf"), hidden(&page, "request"));
    let no = [
        ("csrf", csrf.as_str()),
        ("request", &name),
        ("answer", "deny"),
    ];
    let sent = booth.answer(&booth.ana, &no).await;
    assert!(sent.location().starts_with(BACK), "{}", sent.location());
    let told = answered(sent.location());
    assert_eq!(
        (told["error"].as_str(), told["iss"].as_str()),
        ("access_denied", US)
    );
    assert_eq!(told["state"], "s & s");
    assert_eq!(booth.tasks().0, 0);
    // It was answered.
    assert_eq!(booth.page(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        booth.answer(&booth.ana, &no).await.status,
        StatusCode::NOT_FOUND
    );
}

/// RFC 6749 §4.1.2.1: until the address can be trusted the person is told, and nobody is sent anywhere. Of what has to be
/// fetched for that nobody is told who is not signed in.
#[tokio::test]
async fn a_request_that_can_not_be_trusted_leads_nowhere() {
    let booth = Booth::open().await;
    let told = async |more: &[(&str, &str)], cookies: &str, part: &str| {
        let page = booth.authorize(&request(more), cookies).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{more:?}");
        assert!(page.body.contains(part), "{more:?}: {}", page.body);
        assert!(!page.headers.contains_key(header::LOCATION));
    };
    let anybody = async |more: &[(&str, &str)], part: &str| {
        told(more, "", part).await;
        told(more, &booth.ana, part).await;
    };
    let person = async |more: &[(&str, &str)], part: &str| {
        let first = booth.authorize(&request(more), "").await;
        assert!(first.location().starts_with("/sign-in?to="), "{more:?}");
        told(more, &booth.ana, part).await;
    };
    anybody(&[("client_id", "")], "client_id").await;
    anybody(&[("client_id", "nobody")], "<code>nobody</code> is unknown").await;
    person(&[("client_id", "https://else.example/c")], "document").await;
    anybody(
        &[("client_id", "http://app.example/client.json")],
        "https://",
    )
    .await;
    person(&[("redirect_uri", "")], "redirect_uri").await;
    person(
        &[("redirect_uri", "https://app.example/cb/")],
        "letter by letter",
    )
    .await;
    person(
        &[("redirect_uri", "https://evil.example/cb")],
        "letter by letter",
    )
    .await;
    person(&[("redirect_uri", "https://app.example/cb#x")], "fragment").await;
    person(&[("redirect_uri", "javascript:alert(1)")], "neither https").await;
    anybody(
        &[("request_uri", "urn:ietf:params:oauth:request_uri:x")],
        "request_uri",
    )
    .await;
    let long = "x".repeat(2049);
    anybody(&[("state", &long)], "too long").await;
    let twice = format!("{}&client_id=x", request(&[]));
    assert_eq!(
        booth.authorize(&twice, "").await.status,
        StatusCode::BAD_REQUEST
    );
}

/// RFC 6749 §4.1.2.1: once the client is known, it is told.
#[tokio::test]
async fn a_known_client_is_told_what_is_wrong() {
    let booth = Booth::open_with(|estate| {
        let desk = client("desk", ClientKeys::Public, |it| {
            it.redirect_uris = vec![BACK.to_owned()];
        });
        estate.clients.insert(desk.name.clone(), desk);
    })
    .await;
    let desk = |more: &[(&'static str, &str)]| request(&[&[("client_id", "desk")], more].concat());
    let client = async |more: &[(&'static str, &str)], error: &str| {
        let page = booth.authorize(&desk(more), "").await;
        assert_eq!(
            page.status,
            StatusCode::SEE_OTHER,
            "{more:?}: {}",
            page.body
        );
        assert!(page.location().starts_with(BACK), "{}", page.location());
        let told = answered(page.location());
        assert_eq!(told["error"], error, "{more:?}: {told:?}");
        assert_eq!(
            (told["iss"].as_str(), told["state"].as_str()),
            (US, "s & s")
        );
        assert!(!told.contains_key("code"));
    };
    client(&[("response_type", "")], "invalid_request").await;
    client(&[("response_type", "token")], "unsupported_response_type").await;
    client(
        &[("response_type", "code id_token")],
        "unsupported_response_type",
    )
    .await;
    client(&[("response_mode", "fragment")], "invalid_request").await;
    client(&[("code_challenge", "")], "invalid_request").await;
    client(&[("code_challenge", "short")], "invalid_request").await;
    client(&[("code_challenge_method", "plain")], "invalid_request").await;
    client(&[("code_challenge_method", "")], "invalid_request").await;
    client(&[("resource", "")], "invalid_target").await;
    client(
        &[("resource", "https://else.example/mcp")],
        "invalid_target",
    )
    .await;
    client(&[("scope", "everything")], "invalid_scope").await;
    client(&[("request", "e30.e30.")], "request_not_supported").await;
    client(&[("dpop_jkt", "x")], "invalid_request").await;
    let details = "invalid_authorization_details";
    client(&[("authorization_details", "[]")], details).await;
    client(
        &[("authorization_details", r#"[{"type":"other"}]"#)],
        details,
    )
    .await;
    client(&[("prompt", "none")], "login_required").await;
    client(&[("prompt", "login none")], "invalid_request").await;
    let padding = "x".repeat(2000);
    client(&[("dummy", &padding)], "invalid_request").await;
    let signed_in = booth
        .authorize(&desk(&[("prompt", "none")]), &booth.ana)
        .await;
    assert_eq!(answered(signed_in.location())["error"], "consent_required");
    assert_eq!(booth.tasks().0, 0);
}

/// What was typed is still there after a mistake, and the mistake stands beside its field.
#[tokio::test]
async fn a_mistake_loses_nothing() {
    let booth = Booth::open_with(|estate| {
        for template in estate.templates.values_mut() {
            let count = template.parameters.get_mut("ticket").unwrap();
            count.kind = ParameterKind::Integer { min: 1, max: 9 };
        }
    })
    .await;
    let path = booth.ask(&request(&[])).await;
    let page = booth.page(&path).await;
    let check = async |changes: &[(&str, &str)], parts: &[&str]| {
        let mut fields: BTreeMap<_, _> = yes(&page).into_iter().collect();
        for (name, value) in changes {
            fields.insert((*name).to_owned(), (*value).to_owned());
        }
        let fields: Vec<_> = fields
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        let again = booth.answer(&booth.ana, &fields).await;
        assert_eq!(
            again.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{changes:?}"
        );
        for part in parts {
            assert!(again.body.contains(part), "no `{part}` in {}", again.body);
        }
        assert!(
            again.body.contains("kim&quot;@example.org"),
            "{}",
            again.body
        );
    };
    let kim = ("p.customer", "kim\"@example.org");
    check(
        &[kim, ("p.ticket", "10")],
        &[
            "aria-invalid=\"true\"",
            "value=\"10\"",
            "whole number from 1 to 9",
        ],
    )
    .await;
    check(
        &[kim, ("p.ticket", "T-1")],
        &["value=\"T-1\"", "whole number"],
    )
    .await;
    check(&[kim, ("p.ticket", "")], &["Give this"]).await;
    check(
        &[kim, ("p.ticket", "3"), ("expiry", "99d")],
        &["Pick one of these"],
    )
    .await;
    check(
        &[kim, ("p.ticket", "3"), ("expiry", "1s")],
        &["Pick one of these"],
    )
    .await;
    assert_eq!(booth.tasks().0, 0);
}

#[tokio::test]
async fn a_form_has_so_many_fields() {
    let booth = Booth::open().await;
    // As many fields as there may be, and one more.
    let body = |count: usize| {
        (0..count)
            .map(|it| format!("f{it}=1"))
            .collect::<Vec<_>>()
            .join("&")
    };
    let send = async |count: usize| {
        let request = Request::post("/oauth/consent").header(header::COOKIE, &booth.ana);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        booth
            .desk
            .send(request.body(Body::from(body(count))).unwrap())
            .await
            .status
    };
    assert_eq!(send(CONSENT_FIELDS_MAX).await, StatusCode::NOT_FOUND);
    assert_eq!(send(CONSENT_FIELDS_MAX + 1).await, StatusCode::BAD_REQUEST);
}

/// A refusal of the engine is no answer either: it is on the record, and the person may try another task.
#[tokio::test]
async fn who_may_not_start_a_task_gives_none() {
    let booth = Booth::open().await;
    let path = booth.ask(&request(&[])).await;
    let ban = r#"{"target":{"kind":"agent","id":"clerk"},"reason":"test"}"#;
    let (status, _) = booth
        .desk
        .office
        .ask(ANA, "POST", "/v1/revocations", ban)
        .await;
    assert_eq!(status, StatusCode::OK);
    let page = booth.page(&path).await;
    let fields = yes(&page);
    let fields: Vec<_> = fields
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let refused = booth.answer(&booth.ana, &fields).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.body.contains("dec_") && refused.body.contains("kim@example.org"));
    assert_eq!(
        booth.page(&path).await.status,
        StatusCode::OK,
        "it still waits"
    );
    assert_eq!(booth.tasks().0, 0);
}

#[tokio::test]
async fn only_tasks_that_a_client_can_have_are_offered() {
    let check = async |change: fn(&mut Estate), resource: &str, parts: &[&str]| {
        let booth = Booth::open_with(change).await;
        let path = booth.ask(&request(&[("resource", resource)])).await;
        let page = booth.page(&path).await;
        for part in parts {
            assert!(page.body.contains(part), "no `{part}` in {}", page.body);
        }
    };
    let tickets = "https://127.0.0.1:1/s/tickets/mcp";
    check(|_| (), tickets, &["Start this task", "server tickets"]).await;
    let nothing = ["no task that you may start", "No, give it nothing"];
    check(
        |it| {
            let roles = &mut it.people.get_mut("ana").unwrap().roles;
            roles.remove(&PersonRole::Starter);
        },
        PLACE,
        &nothing,
    )
    .await;
    check(
        |it| {
            for template in it.templates.values_mut() {
                template.containment = Containment::Required;
            }
        },
        PLACE,
        &["no task that you may start", "Not shown: 1 kinds"],
    )
    .await;
    check(
        |it| {
            for template in it.templates.values_mut() {
                template.binding = LeastBinding::Mtls;
            }
        },
        PLACE,
        &nothing,
    )
    .await;
    check(
        |it| {
            for template in it.templates.values_mut() {
                template.reads.clear();
                template.tools.clear();
            }
        },
        tickets,
        &nothing,
    )
    .await;
    let several = |it: &mut Estate| {
        let mut other = it.templates.values().next().unwrap().clone();
        other.name = "close".parse().unwrap();
        for agent in it.agents.values_mut() {
            agent.templates.insert(other.name.clone());
        }
        it.templates.insert(other.name.clone(), other);
    };
    check(
        several,
        PLACE,
        &["Which task", "&amp;agent=clerk&amp;template=close"],
    )
    .await;
}

/// What a client has in mind fills the form, as far as a person sees all of it.
#[tokio::test]
async fn what_a_client_suggests_can_be_seen() {
    let booth = Booth::open().await;
    let suggested = r#"[{"type":"ambit_task","template":"answer","parameters":{"ticket":"T-7","customer":"kim\u202e@example.org"}}]"#;
    let path = booth
        .ask(&request(&[("authorization_details", suggested)]))
        .await;
    let page = booth.page(&path).await;
    assert!(page.body.contains("value=\"T-7\""), "{}", page.body);
    assert!(!page.body.contains("kim"), "{}", page.body);
}

#[tokio::test]
async fn the_code_flow_is_announced_where_people_sign_in() {
    let booth = Booth::open().await;
    let metadata = async |doors| {
        let request = Request::get("/.well-known/oauth-authorization-server");
        let request = request.body(Body::empty()).unwrap();
        super::oauth::send(public_router(doors), request)
            .await
            .value
    };
    let with = metadata(&booth.desk.doors).await;
    super::doors::fits("ServerMetadata", &with);
    assert_eq!(
        text(&with, "authorization_endpoint"),
        format!("{US}/oauth/authorize")
    );
    for name in [
        "authorization_response_iss_parameter_supported",
        "client_id_metadata_document_supported",
    ] {
        assert_eq!(with.get(name), Some(&Json::Bool(true)), "{name}");
    }
    let without = metadata(&booth.desk.office.doors).await;
    super::doors::fits("ServerMetadata", &without);
    assert_eq!(without.get("authorization_endpoint"), None);
    assert!(!format!("{without:?}").contains("authorization_code"));
}

/// Two addresses of one's own computer that differ in their port are one client's (RFC 8252 §7.3).
#[tokio::test]
async fn a_program_of_ones_own_computer_is_warned_of() {
    let (booth, agent) = (Booth::open().await, Agent::new(9));
    for address in ["http://127.0.0.1:4711/cb", "http://localhost:4711/cb"] {
        let path = booth.ask(&request(&[("redirect_uri", address)])).await;
        let page = booth.page(&path).await;
        assert!(
            page.body.contains("Any program on this computer"),
            "{}",
            page.body
        );
        let policy = page.headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        let host = address.strip_suffix("/cb").unwrap();
        assert!(
            policy.contains(&format!("form-action 'self' {host};")),
            "{policy}"
        );
        let sent = booth.allow(&path).await;
        let got = booth
            .redeem(&agent, &sent["code"], &[("redirect_uri", address)])
            .await;
        assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    }
}
