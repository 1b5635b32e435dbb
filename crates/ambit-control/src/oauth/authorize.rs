//! The authorization endpoint: a client sends a person's browser here (RFC 6749 §4.1.1).
//!
//! Until the client and its address are known, whatever is wrong is told to the person. Then it is told to the client
//! (RFC 6749 §4.1.2.1), in the browser's way back. Nothing is granted here: the consent page asks.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    http::HeaderMap,
    response::Response,
};

use super::{
    OAuthError, Server, consent,
    form::Form,
    locked,
    pushed::{self, AuthorizeRequest, Back},
};
use crate::{
    api::{
        Shared,
        people::{SignedIn, refused, see_other, signed_in},
    },
    foreign::Freshness,
    people::{
        SignInError,
        page::{Html, page},
    },
};

/// Why there is no consent page.
pub(super) enum NoPage {
    /// The client or its address is not known: the person is told.
    ToPerson(Box<OAuthError>),
    /// The client is told.
    ToClient(Box<(Back, OAuthError)>),
    /// Nobody is signed in, or nobody who is a person here.
    SignIn(Box<SignInError>),
}

/// `GET /oauth/authorize`.
pub(crate) async fn authorize(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    match begin(&shared, &headers, &query).await {
        Ok(response) => response,
        Err(why) => told(&shared, why),
    }
}

async fn begin(shared: &Shared, headers: &HeaderMap, query: &str) -> Result<Response, NoPage> {
    let server = shared.server()?;
    let form = Form::parse(query.as_bytes())?;
    let request = read(server, &form).await?;
    let is_silent = form.get("prompt") == Some("none");
    let to_client =
        |code, what: &str| NoPage::to_client(request.back.clone(), OAuthError::new(code, what));
    let SignedIn { session, .. } = match signed_in(shared, headers) {
        Ok(person) => person,
        Err(SignInError::Session(_)) if is_silent => {
            return Err(to_client("login_required", "nobody is signed in here"));
        }
        Err(SignInError::Session(_)) => return sign_in_first(query, &request.back),
        Err(error) => return Err(error.into()),
    };
    if is_silent {
        return Err(to_client(
            "consent_required",
            "a person must look, and pick a task",
        ));
    }
    if let Some(name) = form.get("request_uri") {
        locked(&server.oauth.pushed).take(name)?;
    }
    let moment = (server.control.clock)();
    let back = request.back.clone();
    let opened = locked(&server.oauth.consents).open(request, &session, &moment);
    let name = opened.map_err(|error| NoPage::to_client(back, error))?;
    Ok(see_other(&consent::address(&name))?)
}

/// Reads the request: pushed beforehand, or carried by the browser.
async fn read(server: Server<'_>, form: &Form) -> Result<AuthorizeRequest, NoPage> {
    let client_id = form.required("client_id")?;
    if let Some(name) = form.get("request_uri") {
        let now = (server.control.clock)().now;
        // Whatever else stands beside it could be anybody's (RFC 9126 §4).
        return Ok(locked(&server.oauth.pushed).see(name, client_id, now)?);
    }
    let client = server.known(client_id, Freshness::Usual).await?;
    let back = pushed::read_back(form, &client)?;
    let request = pushed::read(server, form, (client_id, &client), back.clone());
    request.map_err(|error| NoPage::to_client(back, error))
}

/// Sends the browser to sign in, and then here again.
fn sign_in_first(query: &str, back: &Back) -> Result<Response, NoPage> {
    let here = format!("{AUTHORIZE}?{query}");
    if here.len() > ambit_identity::sign_in::RETURN_BYTES_MAX {
        let what = "the request is too long to wait while somebody signs in; push it (RFC 9126)";
        return Err(NoPage::to_client(back.clone(), OAuthError::request(what)));
    }
    let to: String = form_urlencoded::byte_serialize(here.as_bytes()).collect();
    Ok(see_other(&format!("/sign-in?to={to}"))?)
}

/// Says why there is no consent page, to whom it concerns.
pub(super) fn told(shared: &Shared, why: NoPage) -> Response {
    match why {
        NoPage::ToPerson(error) => {
            let body = Html::ours("<p role=\"alert\">")
                .sentence(error.description())
                .with("</p>\n<p>Nothing was given to anybody. Close this page, and tell who runs the program that sent you \
                    here.</p>\n");
            page(error.page_status(), "This request can't be trusted", &body)
        }
        NoPage::ToClient(told) => {
            let (back, error) = *told;
            let issuer = shared.control().issuer.as_deref().unwrap_or_default();
            let why = error.plain_description();
            let members = [("error", error.code()), ("error_description", &why)];
            let sent = see_other(&back.answer(issuer, &members));
            sent.unwrap_or_else(|error| refused(&error))
        }
        NoPage::SignIn(error) => refused(&error),
    }
}

impl NoPage {
    /// Tells the client.
    pub(super) fn to_client(back: Back, error: OAuthError) -> Self {
        Self::ToClient(Box::new((back, error)))
    }
}

impl From<OAuthError> for NoPage {
    fn from(error: OAuthError) -> Self {
        Self::ToPerson(Box::new(error))
    }
}

impl From<SignInError> for NoPage {
    fn from(error: SignInError) -> Self {
        Self::SignIn(Box::new(error))
    }
}

pub(super) const AUTHORIZE: &str = "/oauth/authorize";
