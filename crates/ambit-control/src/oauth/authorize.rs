//! The authorization endpoint: a client sends a person's browser here (RFC 6749 §4.1.1).
//!
//! Until the client and its address are known, whatever is wrong is told to the person. Then it is told to the client
//! (RFC 6749 §4.1.2.1), in the browser's way back. A client that describes itself is a stranger's: nothing is fetched of it
//! before somebody signed in, and nobody is sent to it with an error who does not go there (RFC 9700 §4.11.2). Nothing is
//! granted here: the consent page asks.

use std::sync::Arc;

use ambit_core::origin::Origin;
use axum::{
    extract::{RawQuery, State},
    http::{Extensions, HeaderMap},
    response::Response,
};

use super::{
    OAuthError, Server, consent,
    document::{Described, Inquirer, check_address},
    form::Form,
    locked, origin_of,
    pushed::{self, AuthorizeRequest, Back, Prompt},
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
    /// The client is told if the person goes back to it.
    ByPerson(Box<(Back, OAuthError)>),
    /// Nobody is signed in, or nobody who is a person here.
    SignIn(Box<SignInError>),
}

/// `GET /oauth/authorize`.
pub(crate) async fn authorize(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    extensions: Extensions,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let origin = origin_of(&extensions);
    match begin(&shared, (&headers, origin), &query).await {
        Ok(response) => response,
        Err(why) => told(&shared, why),
    }
}

async fn begin(
    shared: &Shared,
    (headers, origin): (&HeaderMap, Origin),
    query: &str,
) -> Result<Response, NoPage> {
    let server = shared.server()?;
    let form = Form::parse(query.as_bytes())?;
    let described = Described::of(form.required("client_id")?);
    let person = match signed_in(shared, headers) {
        Ok(person) => Some(person),
        Err(SignInError::Session(_)) => None,
        Err(error) => return Err(error.into()),
    };
    match (described, person) {
        (Described::ByDocument, None) => of_stranger(server, &form, query),
        (Described::ByDocument, Some(person)) => {
            let asked = ask(server, &form, &person).await;
            asked.map_err(NoPage::by_person)
        }
        (Described::ByEstate, Some(person)) => ask(server, &form, &person).await,
        (Described::ByEstate, None) => of_declared(server, (&form, origin), query).await,
    }
}

/// Asks the person who is signed in.
async fn ask(server: Server<'_>, form: &Form, person: &SignedIn) -> Result<Response, NoPage> {
    let asker = Inquirer::Person(person.caller.alias().to_owned());
    let request = read(server, form, &asker).await?;
    let back = request.back.clone();
    if request.prompt == Prompt::Silent {
        let what = "a person must look, and pick a task";
        return Err(NoPage::to_client(
            back,
            OAuthError::new("consent_required", what),
        ));
    }
    if let Some(name) = form.get("request_uri") {
        locked(&server.oauth.pushed).take(name)?;
    }
    let held = consent::check_bounds(server, person, &request);
    held.map_err(|error| NoPage::to_client(back.clone(), error))?;
    let moment = (server.control.clock)();
    let opened = locked(&server.oauth.consents).open(request, &person.session, &moment);
    let name = opened.map_err(|error| NoPage::to_client(back, error))?;
    Ok(see_other(&consent::address(&name))?)
}

/// Has somebody sign in before anything is fetched of a client that describes itself.
fn of_stranger(server: Server<'_>, form: &Form, query: &str) -> Result<Response, NoPage> {
    let client_id = form.required("client_id")?;
    let prompt = match form.get("request_uri") {
        Some(name) => see(server, name, client_id)?.prompt,
        None => {
            check_address(client_id).map_err(OAuthError::client)?;
            Prompt::of(form)?
        }
    };
    match prompt {
        Prompt::Silent => Err(nobody().into()),
        Prompt::Usual => Ok(see_other(&sign_in_first(query)?)?),
    }
}

/// Has somebody sign in for a client of the estate, once its request is a good one.
async fn of_declared(
    server: Server<'_>,
    (form, origin): (&Form, Origin),
    query: &str,
) -> Result<Response, NoPage> {
    let request = read(server, form, &Inquirer::Stranger(origin)).await?;
    let to = match request.prompt {
        Prompt::Silent => Err(nobody()),
        Prompt::Usual => sign_in_first(query),
    };
    let to = to.map_err(|error| NoPage::to_client(request.back, error))?;
    Ok(see_other(&to)?)
}

fn nobody() -> OAuthError {
    OAuthError::new("login_required", "nobody is signed in here")
}

/// Reads the request: pushed beforehand, or carried by the browser.
async fn read(
    server: Server<'_>,
    form: &Form,
    asker: &Inquirer,
) -> Result<AuthorizeRequest, NoPage> {
    let client_id = form.required("client_id")?;
    if let Some(name) = form.get("request_uri") {
        return Ok(see(server, name, client_id)?);
    }
    let client = server.known((client_id, asker), Freshness::Usual).await?;
    let back = pushed::read_back(form, &client)?;
    let request = pushed::read(server, form, (client_id, &client), back.clone());
    request.map_err(|error| NoPage::to_client(back, error))
}

/// Returns a pushed request. Whatever else stands beside its name could be anybody's (RFC 9126 §4).
fn see(server: Server<'_>, name: &str, client_id: &str) -> Result<AuthorizeRequest, OAuthError> {
    let now = (server.control.clock)().now;
    locked(&server.oauth.pushed).see(name, client_id, now)
}

/// Returns where a browser signs in, and from where it comes here again.
fn sign_in_first(query: &str) -> Result<String, OAuthError> {
    let here = format!("{AUTHORIZE}?{query}");
    if here.len() > ambit_identity::sign_in::RETURN_BYTES_MAX {
        let what = "the request is too long to wait while somebody signs in; push it (RFC 9126)";
        return Err(OAuthError::request(what));
    }
    let to: String = form_urlencoded::byte_serialize(here.as_bytes()).collect();
    Ok(format!("/sign-in?to={to}"))
}

/// Says why there is no consent page, to whom it concerns.
pub(super) fn told(shared: &Shared, why: NoPage) -> Response {
    match why {
        NoPage::ToPerson(error) => {
            let body = Html::ours("<p role=\"alert\">")
                .sentence(error.description())
                .with("</p>\n<p>Nothing was given to anybody. Close this page, and tell who runs the program that sent you \
                    here.</p>\n");
            error_page(&error, "This request can't be trusted", &body)
        }
        NoPage::ToClient(told) => {
            let (back, error) = *told;
            let sent = see_other(&way_back(shared, &back, &error));
            sent.unwrap_or_else(|error| refused(&error))
        }
        NoPage::ByPerson(told) => {
            let (back, error) = *told;
            let body = Html::ours("<p role=\"alert\">")
                .sentence(error.description())
                .with("</p>\n<p>Nothing was given to anybody. The program that sent you here is known by its own word alone: \
                    go back to it only if you know where that is.</p>\n<p><a class=\"act\" rel=\"noreferrer\" href=\"")
                .text(&way_back(shared, &back, &error))
                .with("\">Go back to ")
                .text(back.redirect.host())
                .with("</a></p>\n");
            error_page(&error, "This request can't be answered", &body)
        }
        NoPage::SignIn(error) => refused(&error),
    }
}

/// Returns the address at which a client hears of an error.
fn way_back(shared: &Shared, back: &Back, error: &OAuthError) -> String {
    let issuer = shared.control().issuer.as_deref().unwrap_or_default();
    let why = error.plain_description();
    back.answer(
        issuer,
        &[("error", error.code()), ("error_description", &why)],
    )
}

fn error_page(error: &OAuthError, title: &'static str, body: &Html) -> Response {
    let mut response = page(error.page_status(), title, body);
    error.put_retry_after(&mut response);
    response
}

impl NoPage {
    /// Leaves it to the person whether the client is told.
    fn by_person(self) -> Self {
        match self {
            Self::ToClient(told) => Self::ByPerson(told),
            other @ (Self::ToPerson(_) | Self::ByPerson(_) | Self::SignIn(_)) => other,
        }
    }

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
