//! What a sign-in by a passkey opens: sessions, logins, consent; and where there are none.

use ambit_core::{Millis, json::Value as Json};
use ambit_identity::passkey::RelyingParty;
use ambit_testkit::Authenticator;
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use super::{
    super::{Control, Doors, public_router},
    booth::{Booth, answered, hidden, request, yes},
    doors::{ANA, EVE, Office, estate_body, fits, text},
    logins::CommandLine,
    oauth::{form, post, send},
    passkeys::{ask, device_of, link, open, register, sign_in, sign_in_at, with_passkeys},
    people::{Page, SignInDesk, US},
};
use crate::people::{SESSIONS_PER_PERSON_MAX, SignIns};

/// Returns what a page has a browser keep under the name that ends so.
fn set_cookie<'a>(page: &'a Page, name: &str) -> &'a str {
    let all = page.headers.get_all(header::SET_COOKIE).into_iter();
    let mut texts = all.map(|it| it.to_str().unwrap());
    texts
        .find(|it| it.contains(&format!("ambit-{name}=")))
        .unwrap()
}

/// NHI04: cookies are of this host, this scheme and no script's.
#[tokio::test]
async fn nhi04_cookies_are_this_servers_alone() {
    let desk = open();
    let mut device = device_of(&desk, "ben", 7).await;
    let asked = desk.get("/sign-in", "").await;
    let flow = set_cookie(&asked, "sign-in");
    assert!(flow.starts_with("__Host-"), "{flow}");
    let whole = "; Path=/; HttpOnly; SameSite=Lax; Max-Age=600; Secure";
    assert!(flow.ends_with(whole), "{flow}");
    let done = sign_in(&desk, &mut device).await;
    let session = set_cookie(&done, "session");
    let whole = "; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure";
    assert!(
        session.starts_with("__Host-") && session.ends_with(whole),
        "{session}"
    );
    assert!(!session.contains("Domain"), "{session}");
    let over = set_cookie(&done, "sign-in");
    assert!(
        over.contains("__Host-ambit-sign-in=; ") && over.contains("Max-Age=0"),
        "{over}"
    );
    // Without TLS, on this machine alone, browsers keep no cookie of such a name.
    let local = "http://localhost:7422";
    let plain = SignInDesk::open_with(Office::open(), |control| Control {
        sign_ins: SignIns::WithPasskeys(RelyingParty::of(local).unwrap()),
        issuer: Some(local.to_owned()),
        ..control
    });
    let page = plain.get("/sign-in", "").await;
    let flow = set_cookie(&page, "sign-in");
    assert!(
        flow.starts_with("ambit-sign-in=") && !flow.contains("Secure"),
        "{flow}"
    );
}

/// NHI04: somebody plants a session's cookie, or goes on with the one of before.
#[tokio::test]
async fn nhi04_a_sign_in_never_goes_on_with_an_older_session() {
    let desk = open();
    let (mut bens, mut eves) = (
        device_of(&desk, "ben", 7).await,
        device_of(&desk, "eve", 8).await,
    );
    let planted = format!("__Host-ambit-session={}", "A".repeat(43));
    let eve = sign_in(&desk, &mut eves).await.cookie("session");
    let is_of = async |cookie: &str, alias: &str| {
        let page = desk.get("/account", cookie).await;
        page.body.contains(&format!("<dd>{alias}</dd>"))
    };
    for before in [planted.as_str(), &eve] {
        let done = sign_in_at(&desk, "/sign-in", &mut bens, before).await;
        let session = done.cookie("session");
        assert_ne!(session, before);
        assert!(is_of(&session, "ben").await);
        // Whoever knew the cookie of before has nothing.
        assert!(
            !is_of(before, "ben").await && !is_of(before, "eve").await,
            "{before}"
        );
    }
    // A flow is no session, and a session is no flow.
    let asked = ask(&desk, "/sign-in", "").await;
    let stolen = asked.cookie.replace("ambit-sign-in", "ambit-session");
    assert!(!is_of(&stolen, "ben").await);
    // A second session stands beside the first; one more than the most ends the oldest.
    desk.later(Millis::new(1));
    let first = sign_in(&desk, &mut bens).await.cookie("session");
    for _ in 1..SESSIONS_PER_PERSON_MAX {
        desk.later(Millis::new(1));
        sign_in(&desk, &mut bens).await;
    }
    assert!(is_of(&first, "ben").await);
    desk.later(Millis::new(1));
    sign_in(&desk, &mut bens).await;
    assert!(!is_of(&first, "ben").await);
}

/// ASI08: strangers ask and answer as fast as they can.
#[tokio::test]
async fn asi08_strangers_who_flood_the_pages_leave_nothing() {
    let desk = open();
    let mut device = device_of(&desk, "ben", 7).await;
    let path = link(&desk, "ben").await;
    let records = desk.office.world.records().len();
    let used = desk.doors.shared().oauth().remembered();
    let mut stranger = Authenticator::new("strange", 9, US);
    for _ in 0..500 {
        let asked = ask(&desk, "/sign-in", "").await;
        let fields = |answer: &ambit_testkit::FormAnswer, code: &str| {
            let fields = answer.fields().chain([("code", code)]);
            let all = fields.map(|(a, b)| (a.to_owned(), b.to_owned()));
            all.collect::<Vec<_>>()
        };
        // A key of their own, which holds as far as it can, without a link; and as the name of a passkey that is known.
        "a key of ben".clone_into(&mut stranger.credential);
        for (place, answer) in [
            ("/enroll", stranger.create(&asked.challenge)),
            ("/sign-in/passkey", stranger.get(&asked.challenge)),
        ] {
            let owned = fields(&answer, "AAAA");
            let sent: Vec<_> = owned
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect();
            let page = desk.post(place, &asked.cookie, "same-origin", &sent).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.body);
        }
    }
    assert_eq!(desk.office.world.records().len(), records);
    assert_eq!(desk.doors.shared().oauth().remembered(), used);
    // And nobody is kept out by them.
    assert_eq!(sign_in(&desk, &mut device).await.status, StatusCode::OK);
    let mut second = Authenticator::new("another", 10, US);
    assert_eq!(
        register(&desk, &path, &mut second).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_command_line_acts_as_who_signs_in_with_a_passkey() {
    let desk = open();
    let mut device = device_of(&desk, "ana", 7).await;
    let line = CommandLine::new(&desk, 21);
    let (device_code, code) = line.begin().await;
    // Whoever opens the address signs in on the way, and comes back to the code.
    let page = desk.get(&format!("/device?user_code={code}"), "").await;
    let back = sign_in_at(&desk, page.location(), &mut device, "").await;
    assert_eq!(back.location(), format!("/device?user_code={code}"));
    let session = back.cookie("session");
    let page = desk.get(back.location(), &session).await;
    assert!(page.body.contains("<strong>ana</strong>"), "{}", page.body);
    let page = desk.answer(&session, &code, "yes").await;
    assert!(page.body.contains("acts as you now"), "{}", page.body);
    desk.later(Millis::from_seconds(10));
    let got = line.poll(&device_code).await;
    let login = text(&got.body, "access_token").to_owned();
    let got = line.ask("GET", "/v1/passkeys", &login, "").await;
    fits("Passkeys", &got.body);
    // The estate may be followed by one in which passkeys are the only proof.
    let alone = estate_body().replace(&format!("unix_uid = {ANA}"), "# no local user");
    assert_ne!(alone, estate_body());
    let got = line.ask("POST", "/v1/estate/apply", &login, &alone).await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
    // Without the passkey the login is over, whatever time it had.
    let got = line.ask("GET", "/v1/passkeys", &login, "").await;
    let all = got.body.get("passkeys").and_then(Json::as_array).unwrap();
    let remove = format!("/v1/passkeys/{}/remove", text(&all[0], "passkey"));
    let got = line.ask("POST", &remove, &login, "").await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.body);
    let got = line.ask("GET", "/v1/status", &login, "").await;
    assert_eq!(got.status, StatusCode::UNAUTHORIZED, "{:?}", got.body);
}

#[tokio::test]
async fn a_person_with_a_passkey_consents() {
    let mut booth = Booth::open_at(with_passkeys, |_| ());
    booth.desk.office.doors = booth.desk.doors.clone();
    let mut device = device_of(&booth.desk, "ana", 7).await;
    let query = request(&[]);
    // Nobody is signed in: first that, and then here again.
    let first = booth.authorize(&query, "").await;
    assert_eq!(first.status, StatusCode::SEE_OTHER, "{}", first.body);
    let back = sign_in_at(&booth.desk, first.location(), &mut device, "").await;
    assert_eq!(back.location(), format!("/oauth/authorize?{query}"));
    booth.ana = back.cookie("session");
    let path = booth.ask(&query).await;
    let page = booth.page(&path).await;
    assert!(page.body.contains("<dd>ana</dd>"), "{}", page.body);
    let sent = booth.allow(&path).await;
    let got = booth
        .redeem(&super::oauth::Agent::new(9), &sent["code"], &[])
        .await;
    assert_eq!(got.status, StatusCode::OK, "{:?}", got.value);
    assert_eq!(booth.tasks().0, 1);
    // The passkey is taken away while the page is open: nothing starts.
    let path = booth.ask(&query).await;
    let page = booth.page(&path).await;
    let fields = yes(&page);
    let (_, listed) = booth.desk.office.ask(ANA, "GET", "/v1/passkeys", "").await;
    let all = listed.get("passkeys").and_then(Json::as_array).unwrap();
    let remove = format!("/v1/passkeys/{}/remove", text(&all[0], "passkey"));
    booth.desk.office.ask(ANA, "POST", &remove, "").await;
    let fields: Vec<_> = fields
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let page = booth.answer(&booth.ana, &fields).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.body);
    assert_eq!(booth.tasks().0, 1);
}

/// Where there is a provider nobody signs in with a passkey, and no link is given that nobody could follow.
#[tokio::test]
async fn with_a_provider_there_are_no_passkeys() {
    let mut desk = SignInDesk::open();
    desk.office.doors = desk.doors.clone();
    for path in ["/enroll", "/enroll?code=AAAA"] {
        let page = desk.get(path, "").await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{}", page.body);
    }
    for path in ["/enroll", "/sign-in/passkey"] {
        let page = desk
            .post(path, "", "same-origin", &[("code", "AAAA")])
            .await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{}", page.body);
    }
    for uid in [ANA, EVE] {
        let before = desk.office.world.records().len();
        let path = "/v1/people/ben/enrolment";
        let (status, problem) = desk.office.ask(uid, "POST", path, "").await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem:?}");
        assert!(
            text(&problem, "detail").contains("no `[sign_in]`"),
            "{problem:?}"
        );
        assert_eq!(desk.office.world.records().len(), before);
    }
}

/// Whoever asks for what wants a person hears that there is none, as the metadata says.
#[tokio::test]
async fn without_people_nothing_waits_for_them() {
    let office = Office::open();
    let device = ("/oauth/device_authorization", [("client_id", "ambit-cli")]);
    let pushed = (
        "/oauth/par",
        [("client_id", "https://app.example/client.json")],
    );
    for (path, members) in [device, pushed] {
        let router = public_router(&office.doors);
        let got = post(router, path, form(&members), &[]).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}: {:?}", got.value);
        fits("OAuthRefusal", &got.value);
        assert!(text(&got.value, "error_description").contains("do not sign in"));
    }
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    let members = [
        ("grant_type", device),
        ("client_id", "ambit-cli"),
        ("device_code", "x"),
    ];
    let got = post(
        public_router(&office.doors),
        "/oauth/token",
        form(&members),
        &[],
    )
    .await;
    assert_eq!(got.error(), "unsupported_grant_type");
    let metadata = async |doors: &Doors| {
        let request = Request::get("/.well-known/oauth-authorization-server");
        let request = request.body(Body::empty()).unwrap();
        let got = send(public_router(doors), request).await.value;
        fits("ServerMetadata", &got);
        got.to_canonical()
    };
    let (without, with) = (metadata(&office.doors).await, metadata(&open().doors).await);
    for word in [
        "device_authorization",
        "device_code",
        "pushed_authorization",
        "authorization_code",
    ] {
        assert!(!without.contains(word), "{word}: {without}");
        assert!(with.contains(word), "{word}: {with}");
    }
}

/// NHI02: whoever reads the log finds no link that is still good.
#[tokio::test]
async fn nhi02_the_log_keeps_no_secret_of_a_link() {
    let desk = open();
    let path = link(&desk, "ben").await;
    let secret = path.split_once("code=").unwrap().1;
    let mut device = Authenticator::new("one", 7, US);
    register(&desk, &path, &mut device).await;
    for record in desk.office.world.records() {
        let leaf = String::from_utf8(ambit_audit::encode(&record)).unwrap();
        assert!(!leaf.contains(secret), "{leaf}");
    }
}

/// ASI03: a client that the estate declares for some agents is offered no other, and gets no other by a form.
#[tokio::test]
async fn asi03_a_client_is_offered_the_agents_that_it_may_act_for() {
    let booth = Booth::open_with(|estate| {
        let mut other = estate.agents.values().next().unwrap().clone();
        other.name = "stranger".parse().unwrap();
        estate.agents.insert(other.name.clone(), other);
        let client = ambit_core::estate::Client {
            name: "notes".parse().unwrap(),
            title: "Notes".to_owned(),
            owner: "ana".to_owned(),
            keys: ambit_core::estate::ClientKeys::Public,
            agents: ["clerk".parse().unwrap()].into(),
            redirect_uris: vec![super::booth::BACK.to_owned()],
            runs: None,
        };
        estate.clients.insert(client.name.clone(), client);
    })
    .await;
    // A client that nobody declared is offered both, and may be asked for either.
    let any = booth.page(&booth.ask(&request(&[])).await).await;
    assert!(
        any.body.contains("agent=clerk") && any.body.contains("agent=stranger"),
        "{}",
        any.body
    );
    let declared = request(&[("client_id", "notes")]);
    let path = booth.ask(&declared).await;
    let page = booth.page(&path).await;
    assert!(!page.body.contains("stranger"), "{}", page.body);
    assert_eq!(hidden(&page, "agent"), "clerk");
    for picked in ["&pick=other", "&agent=stranger&template=answer"] {
        let page = booth.page(&format!("{path}{picked}")).await;
        assert!(!page.body.contains("stranger"), "{}", page.body);
    }
    let mut fields = yes(&page);
    for field in fields.iter_mut().filter(|it| it.0 == "agent") {
        "stranger".clone_into(&mut field.1);
    }
    let fields: Vec<_> = fields
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let refused = booth.answer(&booth.ana, &fields).await;
    assert!(
        !refused.headers.contains_key(header::LOCATION),
        "{}",
        refused.body
    );
    assert_eq!(booth.tasks().0, 0);
    // What the client suggests is no more than that.
    let suggested = r#"[{"type":"ambit_task","template":"answer","agent":"stranger"}]"#;
    let query = request(&[("client_id", "notes"), ("authorization_details", suggested)]);
    let page = booth.authorize(&query, &booth.ana).await;
    let told = match page.status {
        StatusCode::SEE_OTHER if page.location().starts_with("/oauth/consent") => {
            booth.page(page.location()).await.body
        }
        _ => answered(page.location())["error"].clone(),
    };
    assert!(!told.contains("stranger"), "{told}");
    let sent = booth.allow(&path).await;
    assert!(sent.contains_key("code"), "{sent:?}");
}
