//! Attacks on the way through a person's browser (RFC 9700; OWASP ASI and NHI).

use ambit_core::{Digest, record::Body as Fact, token::TokenEnd};
use axum::http::{StatusCode, header};

use super::{
    super::public_router,
    booth::{BACK, Booth, CLIENT, VERIFIER, answered, document, hidden, request, yes},
    doors::text,
    oauth::{Agent, Answered, form, post},
    people::US,
};
use crate::oauth::CLIENT_ASKED_EVERY;

/// What a person hears of an address at which no client's document is.
const NO_DOCUMENT: &str = "There is no document of a client";
const OTHER: &str = "https://evil.example/client.json";
const OTHER_BACK: &str = "https://evil.example/cb";

fn with_other(booth: &Booth) {
    booth.publish(OTHER, (document(OTHER, &[OTHER_BACK]), ""));
}

/// ASI03: a code that an attacker stole or planted is worth nothing without the secret of whoever asked for it.
#[tokio::test]
async fn asi03_a_code_is_worth_nothing_to_another() {
    let booth = Booth::open().await;
    with_other(&booth);
    let agent = Agent::new(9);
    let other_secret = "Z".repeat(43);
    let shorter = VERIFIER.strip_prefix('a').unwrap();
    let check = async |query: &[(&str, &str)], redeem: &[(&str, &str)]| {
        let code = booth.code(&request(query)).await;
        let got = booth.redeem(&agent, &code, redeem).await;
        assert_eq!(got.error(), "invalid_grant", "{redeem:?}: {:?}", got.value);
    };
    check(&[], &[("code_verifier", &other_secret)]).await;
    check(&[], &[("code_verifier", "")]).await;
    check(&[], &[("code_verifier", shorter)]).await;
    check(&[], &[("redirect_uri", "http://127.0.0.1/cb")]).await;
    // The challenge itself, which the browser's history has, is not the secret.
    check(&[], &[("code_verifier", &super::booth::challenge())]).await;
    // Bound to a key by the request: no other key redeems it.
    let owner = Agent::new(11).thumbprint();
    check(&[("dpop_jkt", &owner)], &[]).await;
    // Each of these tries used the code up and ended the task.
    let (started, ended) = booth.tasks();
    assert_eq!((started, ended.len()), (6, 6));
    // Another client's try tells and ends nothing: the code is still good for its own.
    let code = booth.code(&request(&[])).await;
    let stolen = booth.redeem(&agent, &code, &[("client_id", OTHER)]).await;
    assert_eq!(stolen.error(), "invalid_grant");
    let got = booth.redeem(&agent, &code, &[]).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
}

/// Pushes a request with a proof, whose nonce is fetched first.
async fn push(booth: &Booth, agent: &Agent, more: &[(&str, &str)]) -> Answered {
    let now = booth.desk.office.world.clock.now();
    let send = async |nonce: Option<&str>| {
        let proof = agent.proof(&format!("{US}/oauth/par"), nonce, now);
        let router = public_router(&booth.desk.doors);
        post(router, "/oauth/par", request(more), &[proof]).await
    };
    let first = send(None).await;
    assert_eq!(first.error(), "use_dpop_nonce");
    send(first.nonce()).await
}

/// ASI03, NHI: a key that is proved where a request is pushed is the one that redeems its code (RFC 9449 §10.1).
#[tokio::test]
async fn asi03_a_pushed_request_is_bound_to_the_key_that_pushed_it() {
    let booth = Booth::open().await;
    let (owner, thief) = (Agent::new(9), Agent::new(10));
    for (redeemer, more) in [
        (&thief, None),
        (&owner, None),
        (&owner, Some(owner.thumbprint())),
    ] {
        let more: Vec<_> = more.iter().map(|it| ("dpop_jkt", it.as_str())).collect();
        let pushed = push(&booth, &owner, &more).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{:?}", pushed.value);
        assert!(pushed.nonce().is_some());
        let uri = text(&pushed.value, "request_uri");
        let query = form(&[("client_id", CLIENT), ("request_uri", uri)]);
        let code = booth.code(&query).await;
        let got = booth.redeem(redeemer, &code, &[]).await;
        let good = std::ptr::eq(redeemer, &owner);
        assert_eq!(got.status == StatusCode::OK, good, "{:?}", got.value);
    }
    // Another key than the one that is named, and proofs that are none.
    let named = push(&booth, &owner, &[("dpop_jkt", &thief.thumbprint())]).await;
    assert_eq!(named.error(), "invalid_dpop_proof");
    let now = booth.desk.office.world.clock.now();
    let nonce = named.nonce();
    let elsewhere = owner.proof(&format!("{US}/oauth/token"), nonce, now);
    let good = owner.proof(&format!("{US}/oauth/par"), nonce, now);
    let send = async |proof: &str| {
        let router = public_router(&booth.desk.doors);
        post(router, "/oauth/par", request(&[]), &[proof.to_owned()]).await
    };
    for proof in ["garbage", &elsewhere] {
        assert_eq!(send(proof).await.error(), "invalid_dpop_proof");
    }
    assert_eq!(send(&good).await.status, StatusCode::CREATED);
    assert_eq!(send(&good).await.error(), "invalid_dpop_proof", "replayed");
}

/// NHI02: a code is good once; shown again, what it gave is worth nothing any more (RFC 6749 §4.1.2).
#[tokio::test]
async fn nhi02_a_code_shown_again_ends_what_it_gave() {
    let booth = Booth::open().await;
    let code = booth.code(&request(&[])).await;
    let (agent, thief) = (Agent::new(9), Agent::new(10));
    let got = booth.redeem(&agent, &code, &[]).await;
    let refresh = text(&got.value, "refresh_token");
    assert_eq!(
        booth.redeem(&thief, &code, &[]).await.error(),
        "invalid_grant"
    );
    let members = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT),
        ("refresh_token", refresh),
    ];
    assert_eq!(booth.token(&agent, &members).await.error(), "invalid_grant");
    assert!(ends(&booth).contains(&TokenEnd::CodeReplayed));
}

/// NHI02: a refresh token is good once; shown again, its whole family ends (RFC 9700 §4.14.2).
#[tokio::test]
async fn nhi02_a_refresh_token_shown_again_ends_its_family() {
    let booth = Booth::open().await;
    let code = booth.code(&request(&[])).await;
    let agent = Agent::new(9);
    let renew = async |agent: &Agent, refresh: &str| {
        let members = [
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT),
            ("refresh_token", refresh),
        ];
        booth.token(agent, &members).await
    };
    let first = booth.redeem(&agent, &code, &[]).await;
    let first = text(&first.value, "refresh_token").to_owned();
    // A thief has another key.
    assert_eq!(
        renew(&Agent::new(10), &first).await.error(),
        "invalid_grant"
    );
    let second = renew(&agent, &first).await;
    assert_eq!(second.status, StatusCode::OK, "{:?}", second.value);
    assert_eq!(renew(&agent, &first).await.error(), "invalid_grant");
    let second = text(&second.value, "refresh_token");
    assert_eq!(renew(&agent, second).await.error(), "invalid_grant");
    assert!(ends(&booth).contains(&TokenEnd::Reused));
}

fn ends(booth: &Booth) -> Vec<TokenEnd> {
    let records = booth.desk.office.world.records().into_iter();
    let ends = records.filter_map(|it| {
        let Fact::TokenRevoked { end, .. } = it.body else {
            return None;
        };
        Some(end)
    });
    ends.collect()
}

/// ASI09: a page of another site can't answer for a person, nor show the page as its own.
#[tokio::test]
async fn asi09_nobody_else_answers_for_a_person() {
    let booth = Booth::open().await;
    let path = booth.ask(&request(&[])).await;
    let page = booth.page(&path).await;
    let policy = page.headers[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for part in [
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self' https://app.example;",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(page.headers[header::X_FRAME_OPTIONS], "DENY");
    assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
    for word in ["<script", "src=", "style=\"", "url(", "<b>", "onclick"] {
        assert!(!page.body.contains(word), "`{word}` in {}", page.body);
    }
    let with = |name: &str, value: &str| {
        let mut fields = yes(&page);
        for field in fields.iter_mut().filter(|it| it.0 == name) {
            value.clone_into(&mut field.1);
        }
        fields
    };
    let send = async |cookies: &str, fields: Vec<(String, String)>, site: &str| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        booth.answer_from(cookies, &fields, site).await
    };
    // Cross-site, without or with another token, without a session.
    for site in ["cross-site", "same-site", "none"] {
        let refused = send(&booth.ana, yes(&page), site).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{site}");
    }
    for csrf in ["", "AAAA"] {
        let refused = send(&booth.ana, with("csrf", csrf), "same-origin").await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{csrf}");
    }
    assert_eq!(
        send("", yes(&page), "same-origin").await.status,
        StatusCode::UNAUTHORIZED
    );
    // In another browser of the same person the question does not wait.
    let second = booth.desk.sign_in().await.cookie("session");
    assert_eq!(
        booth.desk.get(&path, &second).await.status,
        StatusCode::NOT_FOUND
    );
    let other = booth.desk.get(&booth.ask_as(&second).await, &second).await;
    let mut fields = with("csrf", &hidden(&other, "csrf"));
    let refused = send(&second, fields.clone(), "same-origin").await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    // Nor can a name be guessed, nor an answer be made up.
    fields = with("request", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(
        send(&booth.ana, fields, "same-origin").await.status,
        StatusCode::NOT_FOUND
    );
    let refused = send(&booth.ana, with("answer", "always"), "same-origin").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(booth.tasks().0, 0);
    // The person's own answer still counts, once.
    let sent = send(&booth.ana, yes(&page), "same-origin").await;
    assert!(answered(sent.location()).contains_key("code"));
    let again = send(&booth.ana, yes(&page), "same-origin").await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    assert_eq!(booth.tasks().0, 1);
}

/// ASI03: a form can't name a task that was not offered.
#[tokio::test]
async fn asi03_only_what_was_offered_can_be_picked() {
    let booth = Booth::open_with(|estate| {
        let mut other = estate.templates.values().next().unwrap().clone();
        other.name = "secret".parse().unwrap();
        other.containment = ambit_core::estate::Containment::Required;
        for agent in estate.agents.values_mut() {
            agent.templates.insert(other.name.clone());
        }
        estate.templates.insert(other.name.clone(), other);
    })
    .await;
    let path = booth.ask(&request(&[])).await;
    let page = booth.page(&path).await;
    for (name, value) in [
        ("template", "secret"),
        ("template", "nothing"),
        ("agent", "nobody"),
    ] {
        let mut fields = yes(&page);
        for field in fields.iter_mut().filter(|it| it.0 == name) {
            value.clone_into(&mut field.1);
        }
        let fields: Vec<_> = fields
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        let refused = booth.answer(&booth.ana, &fields).await;
        assert!(!refused.headers.contains_key(header::LOCATION), "{name}");
    }
    assert_eq!(booth.tasks().0, 0);
}

/// NHI04: a client can't take another one's address, and its own words are no more than words.
#[tokio::test]
async fn nhi04_a_client_is_who_its_document_says() {
    let booth = Booth::open().await;
    with_other(&booth);
    // Mix-up: the address of one client with the name of another.
    for (client, back) in [(CLIENT, OTHER_BACK), (OTHER, BACK)] {
        let query = request(&[("client_id", client), ("redirect_uri", back)]);
        let page = booth.authorize(&query, &booth.ana).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{client} {back}");
    }
    let check = async |text: &str, part: &str| {
        let text = text.replace("ID", "https://evil.example/own.json");
        let own = "https://evil.example/own.json";
        booth.publish(own, (text.clone(), "no-store"));
        // What was refused before is asked for again.
        booth.desk.office.world.clock.advance(CLIENT_ASKED_EVERY);
        let query = request(&[("client_id", own), ("redirect_uri", OTHER_BACK)]);
        let page = booth.authorize(&query, &booth.ana).await;
        let told = match page.status {
            StatusCode::SEE_OTHER => booth.page(page.location()).await.body,
            _ => page.body,
        };
        assert!(told.contains(part), "{text}: no `{part}` in {told}");
    };
    let whole = r#"{"client_id":"ID","redirect_uris":["https://evil.example/cb"]"#;
    let cases = [
        (
            r#","client_name":"Your <i>bank\u202e\u200b"}"#,
            "Your &lt;i&gt;bank\\u{202e}\\u{200b}",
        ),
        ("}", "<dd><strong>evil.example</strong></dd>"),
        (r#","client_secret":"x"}"#, "client_secret"),
        (
            r#","token_endpoint_auth_method":"client_secret_basic"}"#,
            "token_endpoint_auth_method",
        ),
        (
            r#","token_endpoint_auth_method":"private_key_jwt"}"#,
            "no keys",
        ),
        (r#","grant_types":["client_credentials"]}"#, "code flow"),
        (r#","client_id":"ID"}"#, NO_DOCUMENT),
        ("", NO_DOCUMENT),
    ];
    for (rest, part) in cases {
        check(&format!("{whole}{rest}"), part).await;
    }
    check(
        r#"{"client_id":"https://evil.example/own.json/","redirect_uris":["x"]}"#,
        NO_DOCUMENT,
    )
    .await;
    check(
        r#"{"client_id":"ID","redirect_uris":["javascript:alert(1)"]}"#,
        "redirect_uri that",
    )
    .await;
    check(
        r#"{"client_id":"ID","redirect_uris":["http://evil.example/cb"]}"#,
        "redirect_uri that",
    )
    .await;
    check(r#"{"client_id":"ID","redirect_uris":[]}"#, "redirect_uris").await;
    check(r#"{"client_id":"ID"}"#, "redirect_uris").await;
}

/// NHI01: a document that changed is believed again only as long as its host said, and a failure for a minute.
#[tokio::test]
async fn nhi01_a_document_is_asked_for_again() {
    let booth = Booth::open().await;
    let clock = &booth.desk.office.world.clock;
    let seconds = ambit_core::Millis::from_seconds;
    let check = async |directives: &'static str, kept: u64| {
        let id = format!(
            "https://app.example/{}.json",
            Digest::of(directives.as_bytes())
        );
        let id = id.replace(':', "-").replacen("https-", "https:", 1);
        booth.publish(&id, (document(&id, &[BACK]), directives));
        let query = request(&[("client_id", &id)]);
        let before = *booth.fetched.lock().unwrap();
        let asked = async |expect: u32| {
            let ana = booth.desk.session().await;
            let page = booth.authorize(&query, &ana).await;
            let fetched = *booth.fetched.lock().unwrap() - before;
            assert_eq!(fetched, expect, "{directives}");
            page.status
        };
        let asked_well = async |expect: u32| {
            assert_eq!(asked(expect).await, StatusCode::SEE_OTHER);
        };
        asked_well(1).await;
        if kept > 0 {
            clock.advance(seconds(kept - 1));
            asked_well(1).await;
            clock.advance(seconds(1));
        }
        asked_well(2).await;
        clock.advance(seconds(25 * 3600));
        booth.documents.lock().unwrap().remove(&id);
        for (later, expect) in [(0, 3), (59, 3), (1, 4)] {
            clock.advance(seconds(later));
            assert_eq!(asked(expect).await, StatusCode::BAD_REQUEST);
        }
    };
    check("", 300).await;
    check("public, max-age=60", 60).await;
    check("max-age=864000", 24 * 3600).await;
    check("max-age=99999999999999999999", 300).await;
    check("max-age=0", 0).await;
    check("no-store", 0).await;
    check("max-age=60, no-cache", 0).await;
}

/// NHI03: the addresses from which documents are not fetched, whatever a stranger writes.
#[tokio::test]
async fn nhi03_a_name_leads_to_no_strange_address() {
    let booth = Booth::open().await;
    let before = *booth.fetched.lock().unwrap();
    for id in [
        "https://app.example",
        "https://app.example/",
        "https://user@app.example/c",
        "https://app.example/a/../c",
        "https://app.example/%2e%2E/c",
        "https://app.example/./c",
        "https://app.example/c#x",
        "https://APP.example/c",
        "https:///c",
        "http://127.0.0.1/c",
        "http://localhost/c",
        "file:///etc/passwd",
        "gopher://app.example/c",
        "https://app.example/\u{e9}",
    ] {
        let page = booth.authorize(&request(&[("client_id", id)]), "").await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{id}");
    }
    assert_eq!(*booth.fetched.lock().unwrap(), before);
}

/// ASI09: what a client has in mind and what it is called can't break out of the page.
#[tokio::test]
async fn asi09_a_request_is_only_text() {
    let booth = Booth::open().await;
    let details = r#"[{"type":"ambit_task","template":"answer","parameters":{"ticket":"\"><script>x</script>"}}]"#;
    let path = booth
        .ask(&request(&[("authorization_details", details)]))
        .await;
    let page = booth.page(&path).await;
    assert!(!page.body.contains("<script"), "{}", page.body);
    assert!(
        page.body.contains("&quot;&gt;&lt;script&gt;x"),
        "{}",
        page.body
    );
}
