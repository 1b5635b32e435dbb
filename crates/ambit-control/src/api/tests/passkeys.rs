//! Browsers at a server where people sign in with passkeys, and devices that do as they are told.

use ambit_core::{json::Value as Json, proof::ProofFact, record::Body as Fact};
use ambit_identity::passkey::RelyingParty;
use ambit_testkit::{Authenticator, FormAnswer};
use axum::http::{StatusCode, header};

use super::{
    super::Control,
    doors::{ANA, Office, fits, text},
    people::{Page, SignInDesk, US},
};
use crate::people::SignIns;

pub(super) const SAME: &str = "same-origin";

/// A page that asks for a passkey: what the browser keeps of it, and what it was asked.
pub(super) struct Asked {
    pub(super) cookie: String,
    pub(super) challenge: String,
    page: Page,
}

/// Returns doors where people sign in with passkeys and there is no provider.
pub(super) fn with_passkeys(control: Control) -> Control {
    let party = RelyingParty::of(US).unwrap();
    Control {
        sign_ins: SignIns::WithPasskeys(party),
        ..control
    }
}

/// Opens a desk where people sign in with passkeys.
pub(super) fn open() -> SignInDesk {
    let mut desk = SignInDesk::open_with(Office::open(), with_passkeys);
    desk.office.doors = desk.doors.clone();
    desk
}

/// Has ana give `alias` a link, and returns its path.
pub(super) async fn link(desk: &SignInDesk, alias: &str) -> String {
    let path = format!("/v1/people/{alias}/enrolment");
    let (status, offered) = desk.office.ask(ANA, "POST", &path, "").await;
    assert_eq!(status, StatusCode::OK, "{offered:?}");
    fits("OfferedEnrolment", &offered);
    assert_eq!(text(&offered, "person"), alias);
    text(&offered, "link").strip_prefix(US).unwrap().to_owned()
}

/// Opens a page that asks for a passkey.
pub(super) async fn ask(desk: &SignInDesk, path: &str, cookies: &str) -> Asked {
    let page = desk.get(path, cookies).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    Asked {
        cookie: page.cookie("sign-in"),
        challenge: attribute(&page, "data-challenge").to_owned(),
        page,
    }
}

/// Registers the device's passkey with the link at `path`, in a browser with these cookies.
pub(super) async fn register_in(
    desk: &SignInDesk,
    path: &str,
    device: &mut Authenticator,
    cookies: &str,
) -> Page {
    let asked = ask(desk, path, cookies).await;
    device.user_handle = attribute(&asked.page, "data-user").to_owned();
    let made = device.create(&asked.challenge);
    let cookies = format!("{}; {cookies}", asked.cookie);
    enrol(desk, (&cookies, SAME), path, &made).await
}

pub(super) async fn register(desk: &SignInDesk, path: &str, device: &mut Authenticator) -> Page {
    register_in(desk, path, device, "").await
}

pub(super) async fn enrol(
    desk: &SignInDesk,
    (cookies, site): (&str, &str),
    path: &str,
    made: &FormAnswer,
) -> Page {
    let code = path.split_once("code=").map_or("", |(_, code)| code);
    let fields: Vec<_> = made.fields().chain([("code", code)]).collect();
    desk.post("/enroll", cookies, site, &fields).await
}

pub(super) async fn answer(
    desk: &SignInDesk,
    (cookies, site): (&str, &str),
    signed: &FormAnswer,
) -> Page {
    let fields: Vec<_> = signed.fields().collect();
    desk.post("/sign-in/passkey", cookies, site, &fields).await
}

/// Signs in with the device, which counts.
pub(super) async fn sign_in_at(
    desk: &SignInDesk,
    path: &str,
    device: &mut Authenticator,
    cookies: &str,
) -> Page {
    let asked = ask(desk, path, cookies).await;
    device.sign_count += 1;
    let signed = device.get(&asked.challenge);
    let cookies = format!("{}; {cookies}", asked.cookie);
    answer(desk, (&cookies, SAME), &signed).await
}

pub(super) async fn sign_in(desk: &SignInDesk, device: &mut Authenticator) -> Page {
    sign_in_at(desk, "/sign-in", device, "").await
}

/// Returns a device of `alias`, whose passkey is registered.
pub(super) async fn device_of(desk: &SignInDesk, alias: &str, chance: u8) -> Authenticator {
    let mut device = Authenticator::new(&format!("a key of {alias}"), chance, US);
    let path = link(desk, alias).await;
    let page = register(desk, &path, &mut device).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    device
}

fn attribute<'a>(page: &'a Page, name: &str) -> &'a str {
    let (_, rest) = page.body.split_once(&format!("{name}=\"")).unwrap();
    rest.split_once('"').unwrap().0
}

/// Returns what the log says of proofs, one word each.
fn facts(desk: &SignInDesk) -> Vec<&'static str> {
    let records = desk.office.world.records();
    let words = records.iter().filter_map(|it| {
        let Fact::Proof(fact) = &it.body else {
            return None;
        };
        Some(match **fact {
            ProofFact::EnrolmentOffered { .. } => "offered",
            ProofFact::PasskeyRegistered { .. } => "registered",
            ProofFact::PasskeyUsed { .. } => "used",
            ProofFact::PasskeyRemoved { .. } => "removed",
            ProofFact::LoginOpened { .. } => "login",
            ProofFact::LoginEnded { .. } => "logout",
        })
    });
    words.collect()
}

pub(super) fn sets_a_session(page: &Page) -> bool {
    let all = page.headers.get_all(header::SET_COOKIE).into_iter();
    let mut texts = all.map(|it| it.to_str().unwrap());
    texts.any(|it| it.starts_with("__Host-ambit-session="))
}

/// Checks that nothing came of a request: no session, no record, and words for the person.
#[track_caller]
pub(super) fn nothing_came(
    desk: &SignInDesk,
    page: &Page,
    records: usize,
    wanted: (StatusCode, &str),
) {
    assert_eq!(page.status, wanted.0, "{}: {}", wanted.1, page.body);
    assert!(page.body.contains(wanted.1), "{}: {}", wanted.1, page.body);
    assert!(!sets_a_session(page), "{}", wanted.1);
    assert_eq!(desk.office.world.records().len(), records, "{}", wanted.1);
}

impl Page {
    /// Returns where the browser goes on its own: by a redirect, or as the page says.
    pub(in crate::api::tests) fn location(&self) -> &str {
        let place = match self.headers.get(header::REFRESH) {
            Some(refresh) => refresh,
            None => &self.headers[header::LOCATION],
        };
        place.to_str().unwrap().trim_start_matches("0;url=")
    }
}

#[tokio::test]
async fn a_person_registers_a_passkey_and_signs_in_with_it() {
    let desk = open();
    let path = link(&desk, "ben").await;
    let mut device = Authenticator::new("ben's", 7, US);
    let asked = ask(&desk, &path, "").await;
    assert!(asked.page.body.contains("<strong>ben</strong>"));
    for (name, value) in [
        ("data-rp", "ambit.example.org"),
        ("data-algorithms", "-7 -8 -257"),
    ] {
        assert_eq!(attribute(&asked.page, name), value);
    }
    let policy = asked.page.headers[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(policy.ends_with("; script-src 'self'"), "{policy}");
    let done = register(&desk, &path, &mut device).await;
    assert!(done.body.contains("is registered"), "{}", done.body);
    assert!(
        !sets_a_session(&done),
        "who registers is not signed in by that"
    );
    // The browser comes back to where it was sent from.
    let back = sign_in_at(&desk, "/sign-in?to=/device", &mut device, "").await;
    // By a page and no redirect, which the policy of the page with the form would stop on its way to a client.
    assert_eq!((back.status, back.location()), (StatusCode::OK, "/device"));
    assert!(!back.headers.contains_key(header::LOCATION));
    assert!(back.cookie("sign-in").ends_with('='), "the flow is over");
    let session = back.cookie("session");
    let account = desk.get("/account", &session).await;
    for part in ["<dd>ben</dd>", "your passkey pk_", "say yes or no to acts"] {
        assert!(account.body.contains(part), "{}", account.body);
    }
    assert_eq!(facts(&desk), ["offered", "registered", "used"]);
    let (_, listed) = desk.office.ask(ANA, "GET", "/v1/passkeys", "").await;
    fits("Passkeys", &listed);
    let all = listed.get("passkeys").and_then(Json::as_array).unwrap();
    let [only] = all else { panic!("{all:?}") };
    assert_eq!(
        (text(only, "person"), text(only, "kept")),
        ("ben", "device")
    );
    assert_eq!(only.get("sign_count").and_then(Json::as_integer), Some(1));
    // What is removed opens nothing, and what it opened is over at the next request.
    let remove = format!("/v1/passkeys/{}/remove", text(only, "passkey"));
    let (_, removed) = desk.office.ask(ANA, "POST", &remove, "").await;
    fits("RemovedPasskey", &removed);
    let after = desk.get("/account", &session).await;
    assert_eq!(after.status, StatusCode::FORBIDDEN, "{}", after.body);
    let again = sign_in(&desk, &mut device).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "{}", again.body);
    let (status, _) = desk.office.ask(ANA, "POST", &remove, "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
