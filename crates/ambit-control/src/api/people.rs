//! People in front of browsers sign in, see who they are, and sign out.

use std::{collections::BTreeMap, sync::Arc};

use ambit_core::{
    Timestamp,
    estate::{Owned, Person, PersonRole},
    json::Value,
    proof::Login,
};
use ambit_identity::{
    Carrier, PersonCaller, SignedIn as How, identify_passkey, identify_signed_in,
    sign_in::{Flow, FlowError},
};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    Shared,
    cookies::{Cookie, cookie, set_cookie},
    passkeys,
};
use crate::api::read_carried;
use crate::people::{
    NoSession, Provider, SESSION_TTL, Session, SignInError, SignIns,
    page::{Html, page},
};

/// The longest form of a person, in bytes.
pub(super) const PERSON_FORM_BYTES_MAX: usize = 16 * 1024;
/// The most parameters of a query or form.
const FIELDS_MAX: usize = 32;
/// Where people go who come from nowhere.
pub(super) const HOME: &str = "/account";

/// Somebody signed in, in this browser, and is a person of the estate in force.
pub(crate) struct SignedIn {
    pub(crate) session: Session,
    pub(crate) caller: PersonCaller,
}

/// Parameters, each once.
pub(super) struct Fields(BTreeMap<String, String>);

/// Shows who is signed in.
pub(super) async fn account(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match signed_in(&shared, &headers) {
        Ok(SignedIn { session, caller }) => account_page(&shared, &session, &caller),
        Err(SignInError::Session(_)) => {
            let body = Html::ours(
                "<p>Nobody is signed in here. Sign in, and see who you are; what you may do is in the estate.</p>\n<p><a class=\"act\" href=\"/sign-in\">Sign in</a></p>\n",
            );
            page(StatusCode::OK, "Account", &body)
        }
        Err(error) => refused(&error),
    }
}

/// Begins a sign-in: the browser goes to the provider.
pub(super) async fn begin(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Response {
    begin_or(&shared, query.as_deref().unwrap_or_default())
        .await
        .unwrap_or_else(|error| refused(&error))
}

/// Gives the provider the key by which we prove to be its client, where there is one.
pub(super) async fn client_key(State(shared): State<Arc<Shared>>) -> Response {
    let none = || Value::object([("keys", Value::Array(Vec::new()))]);
    let keys = match &shared.control.sign_ins {
        SignIns::At(provider) => provider.published_key().unwrap_or_else(none),
        SignIns::Nowhere | SignIns::WithPasskeys(_) => none(),
    };
    let kind = HeaderValue::from_static("application/json");
    let keep = HeaderValue::from_static("public, max-age=300");
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, keep)];
    (headers, keys.to_canonical()).into_response()
}

/// Ends a sign-in: the browser comes from the provider.
pub(super) async fn callback(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let ended = end(&shared, &headers, query.as_deref().unwrap_or_default()).await;
    let mut response = ended.unwrap_or_else(|error| refused(&error));
    // Whatever came of it, it is over.
    set_cookie(&mut response, &shared, Cookie::Flow, "", 0);
    response
}

/// Ends a session.
pub(super) async fn sign_out(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    sign_out_or(&shared, &headers, body)
        .await
        .unwrap_or_else(|error| refused(&error))
}

/// Ends a login of whoever is signed in.
pub(super) async fn end_login(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    end_login_or(&shared, &headers, body)
        .await
        .unwrap_or_else(|error| refused(&error))
}

async fn end_login_or(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, SignInError> {
    let SignedIn { session, caller } = signed_in(shared, headers)?;
    let fields = Fields::read(headers, body).await?;
    check_form(headers, &session, fields.get("csrf").unwrap_or_default())?;
    let id = fields.get("login").and_then(|it| it.parse().ok());
    let id = id.ok_or(SignInError::Request("name the login with the button"))?;
    let moment = (shared.control.clock)();
    shared.control.handle.end_login(&caller, id, moment).await?;
    see_other(HOME)
}

async fn begin_or(shared: &Shared, query: &str) -> Result<Response, SignInError> {
    let fields = Fields::parse(query.as_bytes())?;
    let return_to = fields.get("to").unwrap_or(HOME);
    if let SignIns::WithPasskeys(party) = &shared.control.sign_ins {
        return passkeys::begin(shared, party, return_to);
    }
    let provider = provider(shared)?;
    let moment = (shared.control.clock)();
    let flow = shared.flows.begin(moment.chance, return_to, moment.now)?;
    let url = provider.authorization_url(&flow, moment.now).await?;
    let mut response = see_other(&url)?;
    let age = ambit_identity::sign_in::FLOW_TTL_MAX.as_millis() / 1000;
    set_cookie(&mut response, shared, Cookie::Flow, flow.cookie(), age);
    Ok(response)
}

async fn end(shared: &Shared, headers: &HeaderMap, query: &str) -> Result<Response, SignInError> {
    let provider = provider(shared)?;
    let fields = Fields::parse(query.as_bytes())?;
    let moment = (shared.control.clock)();
    let flow = flow_of(shared, headers, moment.now)?;
    flow.check_state(fields.get("state").unwrap_or_default())?;
    provider
        .check_answerer(fields.get("iss"), moment.now)
        .await?;
    if let Some(error) = fields.get("error") {
        return Err(SignInError::declined(error));
    }
    let code = fields.get("code").ok_or(SignInError::Request(
        "the provider sent no code; begin again",
    ))?;
    let sign_in = provider.redeem(code, &flow, &moment).await?;
    let onward = see_other(flow.return_to())?;
    open_session(shared, headers, How::Provider(sign_in), onward)
}

/// Opens a session of whoever signed in, and answers with `response`, which sends the browser on.
pub(super) fn open_session(
    shared: &Shared,
    headers: &HeaderMap,
    how: How,
    mut response: Response,
) -> Result<Response, SignInError> {
    // Only people of the estate get a session, so that strangers at the provider take no room.
    let book = shared.control.handle.book()?;
    let caller = identify(shared, &how, &book.estate().people)?;
    shared.control.handle.may_sign_in(&caller)?;
    let opened = (shared.control.clock)();
    // A session that was there before ends: who signs in anew may be somebody else.
    if let Ok(before) = cookie(headers, &Cookie::Session.name(shared)) {
        shared.sessions.close(before);
    }
    let secret = shared
        .sessions
        .open((how, caller.alias()), opened.chance, opened.now)?;
    let age = SESSION_TTL.as_millis() / 1000;
    set_cookie(&mut response, shared, Cookie::Session, &secret, age);
    Ok(response)
}

async fn sign_out_or(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, SignInError> {
    let (secret, session) = session_of(shared, headers)?;
    let fields = Fields::read(headers, body).await?;
    check_form(headers, &session, fields.get("csrf").unwrap_or_default())?;
    shared.sessions.close(secret);
    let mut response = see_other(HOME)?;
    set_cookie(&mut response, shared, Cookie::Session, "", 0);
    Ok(response)
}

/// Returns who is signed in, identified anew in the estate in force.
pub(crate) fn signed_in(shared: &Shared, headers: &HeaderMap) -> Result<SignedIn, SignInError> {
    if matches!(shared.control.sign_ins, SignIns::Nowhere) {
        return Err(SignInError::Nowhere);
    }
    let (_, session) = session_of(shared, headers)?;
    let book = shared.control.handle.book()?;
    let people = &book.estate().people;
    let caller = identify(shared, session.sign_in(), people)?;
    Ok(SignedIn { session, caller })
}

fn identify(
    shared: &Shared,
    how: &How,
    people: &BTreeMap<String, Person>,
) -> Result<PersonCaller, SignInError> {
    match how {
        How::Provider(sign_in) => Ok(identify_signed_in(sign_in, Carrier::Browser, people)?),
        How::Passkey(sign_in) => {
            let holder = shared.control.handle.passkey_holder(sign_in.passkey())?;
            Ok(identify_passkey(
                sign_in,
                &holder,
                Carrier::Browser,
                people,
            )?)
        }
    }
}

/// Refuses a form that is not of this session, or that a page of another site sent (Fetch Metadata).
pub(crate) fn check_form(
    headers: &HeaderMap,
    session: &Session,
    csrf: &str,
) -> Result<(), SignInError> {
    check_site(headers)?;
    Ok(session.check_csrf(csrf)?)
}

/// Refuses what a page of another site sent (Fetch Metadata).
pub(super) fn check_site(headers: &HeaderMap) -> Result<(), SignInError> {
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|it| it.as_bytes() != b"same-origin") {
        return Err(NoSession.into());
    }
    Ok(())
}

fn provider(shared: &Shared) -> Result<&Provider, SignInError> {
    match &shared.control.sign_ins {
        SignIns::Nowhere => Err(SignInError::Nowhere),
        SignIns::WithPasskeys(_) => Err(SignInError::NoProvider),
        SignIns::At(provider) => Ok(provider),
    }
}

fn session_of<'a>(
    shared: &Shared,
    headers: &'a HeaderMap,
) -> Result<(&'a str, Session), SignInError> {
    let secret = cookie(headers, &Cookie::Session.name(shared))?;
    let session = shared.sessions.find(secret, (shared.control.clock)().now)?;
    Ok((secret, session))
}

pub(super) fn flow_of(
    shared: &Shared,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Flow, SignInError> {
    let sent = cookie(headers, &Cookie::Flow.name(shared));
    let sent = sent.map_err(|_| FlowError::Unknown)?;
    Ok(shared.flows.resume(sent, now)?)
}

pub(crate) fn see_other(url: &str) -> Result<Response, SignInError> {
    let wrong = SignInError::Request("the address to go to can't be used; begin again");
    let Ok(place) = HeaderValue::from_str(url) else {
        return Err(wrong);
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, place);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Fields {
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, SignInError> {
        let kind = headers.get(header::CONTENT_TYPE);
        if kind.is_none_or(|it| it.as_bytes() != b"application/x-www-form-urlencoded") {
            return Err(SignInError::Request("send the form as a browser does"));
        }
        let bytes = read_carried(body).await;
        let bytes =
            bytes.map_err(|_| SignInError::Request("the form did not arrive; send it again"))?;
        Self::parse(&bytes)
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SignInError> {
        let mut found = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if found.len() >= FIELDS_MAX {
                return Err(SignInError::Request("the request has too many parameters"));
            }
            if found
                .insert(name.into_owned(), value.into_owned())
                .is_some()
            {
                return Err(SignInError::Request(
                    "a parameter stands twice; begin again",
                ));
            }
        }
        Ok(Self(found))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn account_page(shared: &Shared, session: &Session, caller: &PersonCaller) -> Response {
    let book = match shared.control.handle.book() {
        Ok(book) => book,
        Err(error) => return refused(&error.into()),
    };
    let person = book.estate().people.get(caller.alias());
    let roles: Vec<_> = person
        .iter()
        .flat_map(|it| it.roles.iter())
        .copied()
        .collect();
    let mut body = Html::ours("<section>\n<dl>\n<dt>Signed in as</dt>\n<dd>")
        .text(caller.alias())
        .with("</dd>\n<dt>By the word of</dt>\n<dd>")
        .text(&by_whose_word(session.sign_in()))
        .with("</dd>\n<dt>Until</dt>\n<dd>")
        .instant(session.expires_at())
        .with("</dd>\n<dt>The estate lets you</dt>\n");
    for role in &roles {
        body = body.with("<dd>").with(may(*role)).with("</dd>\n");
    }
    let owned = book.estate().owned_by(caller.alias());
    if owned == Owned::Something {
        body = body.with("<dd>look after what you own: end its tasks, and revoke it</dd>\n");
    }
    if roles.is_empty() && owned == Owned::Nothing {
        body = body.with("<dd>do nothing yet; ask an administrator for a role</dd>\n");
    }
    body = body
        .with("</dl>\n<form method=\"post\" action=\"/sign-out\">\n<input type=\"hidden\" name=\"csrf\" value=\"")
        .text(&session.csrf())
        .with("\">\n<button type=\"submit\" class=\"no\">Sign out</button>\n</form>\n</section>\n");
    let now = (shared.control.clock)().now;
    match shared.control.handle.own_logins(caller, now) {
        Ok(logins) => page(
            StatusCode::OK,
            "Account",
            &with_logins(body, session, &logins),
        ),
        Err(error) => refused(&error.into()),
    }
}

/// Lists what acts as the person besides this browser.
fn with_logins(mut body: Html, session: &Session, logins: &[Login]) -> Html {
    if logins.is_empty() {
        return body;
    }
    body = body.with("<h2>Command lines that act as you</h2>\n");
    for login in logins {
        let id = login.id.to_string();
        body = body
            .with("<section>\n<dl>\n<dt>Login</dt>\n<dd><code>")
            .text(&id)
            .with("</code></dd>\n<dt>Until</dt>\n<dd>")
            .instant(login.expires_at)
            .with("</dd>\n</dl>\n<form method=\"post\" action=\"/account/logins/end\">\n<input type=\"hidden\" name=\"csrf\" value=\"")
            .text(&session.csrf())
            .with("\">\n<input type=\"hidden\" name=\"login\" value=\"")
            .text(&id)
            .with("\">\n<button type=\"submit\" class=\"no\">End it</button>\n</form>\n</section>\n");
    }
    body
}

fn by_whose_word(how: &How) -> String {
    match how {
        How::Provider(sign_in) => sign_in.issuer().to_owned(),
        How::Passkey(sign_in) => format!("your passkey {}", sign_in.passkey()),
    }
}

const fn may(role: PersonRole) -> &'static str {
    match role {
        PersonRole::Starter => "start tasks of templates that list you",
        PersonRole::Approver => "say yes or no to acts that wait for a person",
        PersonRole::Operator => "end tasks and take authority away",
        PersonRole::Auditor => "read everything",
        PersonRole::Administrator => "put the estate in force",
    }
}

/// Says why not, and what to do.
pub(crate) fn refused(error: &SignInError) -> Response {
    not_done("Not signed in", error)
}

/// Says under `title` what was not done, why not, and what to do.
pub(super) fn not_done(title: &'static str, error: &SignInError) -> Response {
    let status = match error {
        SignInError::Nowhere | SignInError::NoPasskeys | SignInError::NoProvider => {
            StatusCode::NOT_FOUND
        }
        SignInError::Request(_) | SignInError::Flow(_) => StatusCode::BAD_REQUEST,
        SignInError::Session(_) => StatusCode::UNAUTHORIZED,
        SignInError::Identity(_)
        | SignInError::Declined { .. }
        | SignInError::Passkey(_)
        | SignInError::Answer(_)
        | SignInError::SomebodyElse { .. }
        | SignInError::Refused(_) => StatusCode::FORBIDDEN,
        SignInError::Wrong { .. } | SignInError::Token(_) => StatusCode::BAD_GATEWAY,
        SignInError::Unreachable { .. }
        | SignInError::Full(_)
        | SignInError::Busy(_)
        | SignInError::NoAssertion(_)
        | SignInError::Engine(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    if status.is_server_error() {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(%error, cause, "a person could not sign in");
    }
    let mut body = Html::ours("<p role=\"alert\">")
        .sentence(&error.to_string())
        .with("</p>\n");
    if matches!(error, SignInError::SomebodyElse { .. }) {
        let body = body.with("<p><a class=\"act\" href=\"/account\">Account</a></p>\n");
        return page(status, title, &body);
    }
    if !matches!(error, SignInError::Nowhere) {
        body = body.with("<p><a class=\"act\" href=\"/sign-in\">Sign in</a></p>\n");
    }
    page(status, title, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_so_many_fields() {
        let fields = |count: usize| {
            let all: Vec<String> = (0..count).map(|it| format!("f{it}=x")).collect();
            Fields::parse(all.join("&").as_bytes())
        };
        assert!(fields(FIELDS_MAX).is_ok());
        let more = fields(FIELDS_MAX + 1);
        assert!(matches!(more, Err(SignInError::Request(it)) if it.contains("too many")));
    }
}
