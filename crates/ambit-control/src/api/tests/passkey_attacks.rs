//! OWASP ASI and NHI: what others try with links, answers and pages of passkeys.

use ambit_core::{Millis, PersonId, act::Target, json::Value as Json, limits::ENROLMENT_TTL};
use ambit_identity::{
    passkey::{CLIENT_DATA_BYTES_MAX, user_handle},
    sign_in::FLOW_TTL_MAX,
};
use ambit_testkit::{Authenticator, PRESENT};
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use super::{
    doors::ANA,
    passkeys::{
        SAME, answer, ask, device_of, enrol, link, nothing_came, open, register, register_in,
        sets_a_session, sign_in,
    },
    people::US,
};

/// ASI03, NHI04: answers made elsewhere, for elsewhere, by somebody else, or by a copy.
#[tokio::test]
async fn asi03_only_the_persons_own_passkey_signs_in_here() {
    let desk = open();
    let bens = device_of(&desk, "ben", 7).await;
    let eves = device_of(&desk, "eve", 8).await;
    let check = async |change: &dyn Fn(&mut Authenticator), part: &str| {
        let mut device = Authenticator::new("a key of ben", 7, US);
        device.user_handle.clone_from(&bens.user_handle);
        device.sign_count = 3;
        change(&mut device);
        let asked = ask(&desk, "/sign-in", "").await;
        let signed = device.get(&asked.challenge);
        let before = desk.office.world.records().len();
        let page = answer(&desk, (&asked.cookie, SAME), &signed).await;
        nothing_came(&desk, &page, before, (StatusCode::FORBIDDEN, part));
    };
    let client = |name: &'static str, value: &str| {
        let value = Json::from(value);
        move |it: &mut Authenticator| it.client_data.push((name, value.clone()))
    };
    check(&client("type", "webauthn.create"), "another question").await;
    check(&client("challenge", "AAAA"), "not to this sign-in").await;
    for origin in [
        "https://ambit.example.org.evil.example",
        "http://ambit.example.org",
        "https://ambit.example.org:8443",
        "null",
    ] {
        check(&client("origin", origin), "another site").await;
    }
    check(&client("topOrigin", US), "another site").await;
    check(&client("crossOrigin", "false"), "another site").await;
    check(
        &|it| it.client_data.push(("crossOrigin", true.into())),
        "another site",
    )
    .await;
    for site in ["evil.example", "example.org", "sub.ambit.example.org"] {
        check(&|it| site.clone_into(&mut it.site), "of another site").await;
    }
    check(&|it| it.flags = PRESENT, "did not verify you").await;
    check(&|it| it.flags = 0x04, "Nobody touched").await;
    check(&|it| it.flags |= 0x08, "contradicts itself").await;
    // Somebody else's key, name, or both.
    check(
        &|it| "foreign".clone_into(&mut it.credential),
        "not registered",
    )
    .await;
    check(
        &|it| "a key of eve".clone_into(&mut it.credential),
        "this person",
    )
    .await;
    check(
        &|it| it.user_handle.clone_from(&eves.user_handle),
        "this person",
    )
    .await;
    check(&|it| it.user_handle.clear(), "this person").await;
    let person = PersonId::from_bits(1);
    check(&|it| it.user_handle = user_handle(person), "this person").await;
    let forged = |it: &mut Authenticator| {
        *it = Authenticator::new("a key of ben", 9, US);
        it.user_handle.clone_from(&bens.user_handle);
        it.sign_count = 3;
    };
    check(&forged, "signature does not hold").await;
}

/// NHI04: a copy of a passkey counts on its own.
#[tokio::test]
async fn nhi04_a_passkey_that_counts_back_is_refused() {
    let desk = open();
    let mut device = device_of(&desk, "ben", 7).await;
    device.sign_count = 4;
    assert_eq!(sign_in(&desk, &mut device).await.status, StatusCode::OK);
    for count in [0, 1, 4, 5] {
        let before = desk.office.world.records().len();
        device.sign_count = count;
        let asked = ask(&desk, "/sign-in", "").await;
        let signed = device.get(&asked.challenge);
        let page = answer(&desk, (&asked.cookie, SAME), &signed).await;
        nothing_came(
            &desk,
            &page,
            before,
            (StatusCode::FORBIDDEN, "a copy of the passkey"),
        );
    }
    device.sign_count = 5;
    assert_eq!(sign_in(&desk, &mut device).await.status, StatusCode::OK);
}

/// NHI04: an answer that was seen is sent again, in the same browser or in another one.
#[tokio::test]
async fn nhi04_an_answer_is_taken_once_in_the_browser_that_was_asked() {
    let desk = open();
    let device = device_of(&desk, "ben", 7).await;
    // One that does not count, so that nothing but the challenge tells a second time from the first.
    let asked = ask(&desk, "/sign-in", "").await;
    let signed = device.get(&asked.challenge);
    let other = ask(&desk, "/sign-in", "").await;
    let bad = StatusCode::BAD_REQUEST;
    let twice = format!("{}; {}", asked.cookie, asked.cookie);
    for (cookies, status, part) in [
        ("", bad, "began no sign-in"),
        (twice.as_str(), bad, "began no sign-in"),
        ("__Host-ambit-sign-in=AAAA", bad, "began no sign-in"),
        (&other.cookie, StatusCode::FORBIDDEN, "not to this sign-in"),
    ] {
        let before = desk.office.world.records().len();
        let page = answer(&desk, (cookies, SAME), &signed).await;
        nothing_came(&desk, &page, before, (status, part));
    }
    let first = answer(&desk, (&asked.cookie, SAME), &signed).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    for _ in 0..2 {
        let before = desk.office.world.records().len();
        let page = answer(&desk, (&asked.cookie, SAME), &signed).await;
        nothing_came(&desk, &page, before, (bad, "used before"));
    }
    // In its last moment a flow is good, and then no more.
    let (last, late) = (
        ask(&desk, "/sign-in", "").await,
        ask(&desk, "/sign-in", "").await,
    );
    desk.later(Millis::new(FLOW_TTL_MAX.as_millis() - 1));
    let page = answer(&desk, (&last.cookie, SAME), &device.get(&last.challenge)).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    desk.later(Millis::new(1));
    let before = desk.office.world.records().len();
    let page = answer(&desk, (&late.cookie, SAME), &device.get(&late.challenge)).await;
    nothing_came(&desk, &page, before, (bad, "took too long"));
}

/// NHI02, ASI03: a link is used by others, again, too late, or after a newer one.
#[tokio::test]
async fn nhi02_a_link_registers_one_passkey_of_its_person() {
    let desk = open();
    let mut device = Authenticator::new("one", 7, US);
    let first = link(&desk, "ben").await;
    let before = desk.office.world.records().len();
    let over = (StatusCode::FORBIDDEN, "The link is over or was used");
    for path in ["/enroll", "/enroll?code=", "/enroll?code=AAAA"] {
        nothing_came(&desk, &desk.get(path, "").await, before, over);
    }
    let first_asked = ask(&desk, &first, "").await;
    let made = device.create(&first_asked.challenge);
    let page = enrol(
        &desk,
        (&first_asked.cookie, SAME),
        "/enroll?code=AAAA",
        &made,
    )
    .await;
    nothing_came(&desk, &page, before, over);
    let page = register(&desk, &first, &mut device).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    // Again, with the same answer and with another device.
    let before = desk.office.world.records().len();
    let page = enrol(&desk, (&first_asked.cookie, SAME), &first, &made).await;
    nothing_came(&desk, &page, before, over);
    let other = Authenticator::new("two", 8, US).create(&first_asked.challenge);
    let page = enrol(&desk, (&first_asked.cookie, SAME), &first, &other).await;
    nothing_came(&desk, &page, before, over);
    nothing_came(&desk, &desk.get(&first, "").await, before, over);
    // The newest link counts, until its time is over.
    let (old, new) = (link(&desk, "ben").await, link(&desk, "ben").await);
    let before = desk.office.world.records().len();
    nothing_came(&desk, &desk.get(&old, "").await, before, over);
    let asked = ask(&desk, &new, "").await;
    desk.later(Millis::new(FLOW_TTL_MAX.as_millis() - 1));
    desk.get(&new, "").await;
    desk.later(Millis::new(
        ENROLMENT_TTL.as_millis() - FLOW_TTL_MAX.as_millis(),
    ));
    assert_eq!(
        desk.get(&new, "").await.status,
        StatusCode::OK,
        "its last moment"
    );
    desk.later(Millis::new(1));
    nothing_came(&desk, &desk.get(&new, "").await, before, over);
    let page = enrol(&desk, (&asked.cookie, SAME), &new, &other).await;
    nothing_came(
        &desk,
        &page,
        before,
        (StatusCode::BAD_REQUEST, "took too long"),
    );
}

/// ASI03: somebody else opens the link in the browser in which they are signed in.
#[tokio::test]
async fn asi03_nobody_registers_for_somebody_else() {
    let desk = open();
    let mut eves = device_of(&desk, "eve", 8).await;
    let eve = sign_in(&desk, &mut eves).await.cookie("session");
    let path = link(&desk, "ben").await;
    let before = desk.office.world.records().len();
    let wanted = (
        StatusCode::FORBIDDEN,
        "Somebody else is signed in here, eve, and the link is for ben",
    );
    nothing_came(&desk, &desk.get(&path, &eve).await, before, wanted);
    // Nor when the page was opened before.
    let asked = ask(&desk, &path, "").await;
    let mut device = Authenticator::new("a new one", 9, US);
    let made = device.create(&asked.challenge);
    let cookies = format!("{}; {eve}", asked.cookie);
    let page = enrol(&desk, (&cookies, SAME), &path, &made).await;
    nothing_came(&desk, &page, before, wanted);
    // A key that is eve's already does not become ben's.
    let asked = ask(&desk, &path, "").await;
    let page = enrol(
        &desk,
        (&asked.cookie, SAME),
        &path,
        &eves.create(&asked.challenge),
    )
    .await;
    nothing_came(
        &desk,
        &page,
        before,
        (StatusCode::FORBIDDEN, "registered already"),
    );
    // Whoever has the link alone is believed, and is ben from then on, never eve.
    let page = register(&desk, &path, &mut device).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let ben = sign_in(&desk, &mut device).await.cookie("session");
    assert!(
        desk.get("/account", &ben)
            .await
            .body
            .contains("<dd>ben</dd>")
    );
    // In ben's own browser a second one may follow.
    let path = link(&desk, "ben").await;
    let mut second = Authenticator::new("a second one", 10, US);
    let page = register_in(&desk, &path, &mut second, &ben).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
}

/// ASI03, NHI04: registrations that were made elsewhere, or by a device that knows nobody.
#[tokio::test]
async fn asi03_only_an_answer_to_this_page_registers() {
    let desk = open();
    let path = link(&desk, "ben").await;
    let check = async |change: &dyn Fn(&mut Authenticator), part: &str| {
        let mut device = Authenticator::new("one", 7, US);
        change(&mut device);
        let asked = ask(&desk, &path, "").await;
        let made = device.create(&asked.challenge);
        let before = desk.office.world.records().len();
        let page = enrol(&desk, (&asked.cookie, SAME), &path, &made).await;
        nothing_came(&desk, &page, before, (StatusCode::FORBIDDEN, part));
    };
    let client = |name: &'static str, value: &str| {
        let value = Json::from(value);
        move |it: &mut Authenticator| it.client_data.push((name, value.clone()))
    };
    check(&client("type", "webauthn.get"), "another question").await;
    check(&client("challenge", "AAAA"), "not to this sign-in").await;
    check(&client("origin", "https://evil.example"), "another site").await;
    check(&client("topOrigin", US), "another site").await;
    check(
        &|it| it.client_data.push(("crossOrigin", true.into())),
        "another site",
    )
    .await;
    check(
        &|it| "evil.example".clone_into(&mut it.site),
        "of another site",
    )
    .await;
    check(&|it| it.flags = PRESENT, "did not verify you").await;
    check(&|it| it.flags = 0x04, "Nobody touched").await;
    check(&|it| it.flags |= 0x10, "contradicts itself").await;
    check(&|it| it.credential.clear(), "contradicts itself").await;
    let fields = async |name: &'static str, value: String, part: &str| {
        let asked = ask(&desk, &path, "").await;
        let mut made = Authenticator::new("one", 7, US).create(&asked.challenge);
        made.set(name, value);
        let before = desk.office.world.records().len();
        let page = enrol(&desk, (&asked.cookie, SAME), &path, &made).await;
        nothing_came(&desk, &page, before, (StatusCode::FORBIDDEN, part));
    };
    for algorithm in ["", "-8", "-47", "-65535", "7", "-7 "] {
        fields(
            "algorithm",
            algorithm.to_owned(),
            "of a kind that is not taken",
        )
        .await;
    }
    fields("credential", "b25lLg".to_owned(), "contradicts itself").await;
    fields(
        "public_key",
        "AAAA".to_owned(),
        "of a kind that is not taken",
    )
    .await;
    fields("public_key", "=".to_owned(), "be read").await;
    fields("authenticator_data", "AAAA".to_owned(), "be read").await;
    let long = "A".repeat(CLIENT_DATA_BYTES_MAX / 3 * 4 + 5);
    fields("client_data", long, "be read").await;
    // The link is still good, for an answer that holds.
    let mut device = Authenticator::new("one", 7, US);
    assert_eq!(
        register(&desk, &path, &mut device).await.status,
        StatusCode::OK
    );
}

/// ASI03: a ban, and the estate, win over passkeys.
#[tokio::test]
async fn asi03_who_is_banned_or_gone_signs_in_with_nothing() {
    let desk = open();
    let mut device = device_of(&desk, "ben", 7).await;
    let session = sign_in(&desk, &mut device).await.cookie("session");
    let mut without = desk.estate();
    let with = desk.estate();
    without.people.remove("ben").unwrap();
    desk.apply(without).await;
    let page = desk.get("/account", &session).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.body);
    let page = sign_in(&desk, &mut device).await;
    assert!(!sets_a_session(&page), "{}", page.body);
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    desk.apply(with).await;
    assert_eq!(sign_in(&desk, &mut device).await.status, StatusCode::OK);
    let world = &desk.office.world;
    let (ana, moment) = (world.person("ana"), world.clock.moment());
    let ben = world
        .handle
        .passkeys(&world.handle.may_inspect(&ana, moment).await.unwrap());
    let ben = ben.unwrap()[0].0.person;
    let (target, moment) = (Target::Person(ben), world.clock.moment());
    let banned = world
        .handle
        .revoke(&ana, target, "test".to_owned(), moment)
        .await;
    banned.unwrap();
    let before = world.records().len();
    device.sign_count += 1;
    let asked = ask(&desk, "/sign-in", "").await;
    let page = answer(&desk, (&asked.cookie, SAME), &device.get(&asked.challenge)).await;
    nothing_came(&desk, &page, before, (StatusCode::FORBIDDEN, "banned"));
}

/// ASI03: a ban ends the sessions of who is banned, and lifting it gives none of them back.
#[tokio::test]
async fn asi03_a_lifted_ban_gives_no_session_back() {
    let mut desk = open();
    desk.office.doors = desk.doors.clone();
    let mut device = device_of(&desk, "ben", 7).await;
    let session = sign_in(&desk, &mut device).await.cookie("session");
    let signed_in = desk.get("/account", &session).await.body;
    let nobody = desk.get("/account", "").await.body;
    assert_ne!(signed_in, nobody);
    let ben = r#"{"target":{"kind":"person","id":"ben"},"reason":"stolen"}"#;
    for path in ["/v1/revocations", "/v1/reinstatements"] {
        let (status, told) = desk.office.ask(ANA, "POST", path, ben).await;
        assert_eq!(status, StatusCode::OK, "{path}: {told:?}");
        let page = desk.get("/account", &session).await;
        assert_eq!(page.body, nobody, "{path}");
    }
    assert_eq!(sign_in(&desk, &mut device).await.status, StatusCode::OK);
}

/// ASI09, NHI04: a page of somebody else has a browser answer, and forms that no page of ours has.
#[tokio::test]
async fn asi09_only_forms_of_our_own_pages_are_read() {
    let desk = open();
    let device = device_of(&desk, "ben", 7).await;
    let path = link(&desk, "ben").await;
    for site in ["cross-site", "same-site", "none", ""] {
        let asked = ask(&desk, "/sign-in", "").await;
        let before = desk.office.world.records().len();
        let signed = device.get(&asked.challenge);
        let page = answer(&desk, (&asked.cookie, site), &signed).await;
        nothing_came(&desk, &page, before, (StatusCode::UNAUTHORIZED, "sign in"));
        let asked = ask(&desk, &path, "").await;
        let made = Authenticator::new("two", 8, US).create(&asked.challenge);
        let page = enrol(&desk, (&asked.cookie, site), &path, &made).await;
        nothing_came(&desk, &page, before, (StatusCode::UNAUTHORIZED, "sign in"));
    }
    let asked = ask(&desk, "/sign-in", "").await;
    let before = desk.office.world.records().len();
    let send = async |kind: &str, body: String| {
        let mut pages = Vec::new();
        for path in ["/sign-in/passkey", "/enroll"] {
            let request = Request::post(path)
                .header(header::COOKIE, &asked.cookie)
                .header(header::CONTENT_TYPE, kind)
                .body(Body::from(body.clone()));
            pages.push(desk.send(request.unwrap()).await);
        }
        pages
    };
    let form = "application/x-www-form-urlencoded";
    let refused = async |kind: &str, body: String, part: &str| {
        for page in send(kind, body).await {
            nothing_came(&desk, &page, before, (StatusCode::BAD_REQUEST, part));
        }
    };
    // What is read is still no answer of a passkey.
    let read = async |body: String| {
        for page in send(form, body).await {
            nothing_came(
                &desk,
                &page,
                before,
                (StatusCode::FORBIDDEN, "ask an administrator"),
            );
        }
    };
    refused("application/json", "{}".to_owned(), "as a browser does").await;
    refused("multipart/form-data", String::new(), "as a browser does").await;
    refused(form, "credential=a&credential=b".to_owned(), "stands twice").await;
    let fields = |count: usize| {
        let fields: Vec<_> = (0..count).map(|it| format!("f{it}=1")).collect();
        fields.join("&")
    };
    read(fields(32)).await;
    refused(form, fields(33), "too many parameters").await;
    let long = |bytes: usize| format!("f={}", "x".repeat(bytes - 2));
    read(long(16 * 1024)).await;
    for page in send(form, long(16 * 1024 + 1)).await {
        let too_long = (StatusCode::PAYLOAD_TOO_LARGE, "too long");
        nothing_came(&desk, &page, before, too_long);
    }
}
