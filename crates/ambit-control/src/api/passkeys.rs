//! Pages on which people register passkeys and sign in with them. A script asks the browser for the passkey, for a form
//! can't; it fetches nothing and is served from here alone.

use std::sync::Arc;

use ambit_core::{Timestamp, proof::PasskeyAlgorithm};
use ambit_engine::{Enrolled, NewPasskey};
use ambit_identity::{
    SignedIn as How,
    passkey::{Assertion, Registration, RelyingParty, user_handle},
    replay::{ReplayError, ReplayOwner},
    sign_in::{FLOW_TTL_MAX, Flow},
};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    Shared,
    cookies::{Cookie, set_cookie},
    people::{Fields, HOME, check_site, flow_of, not_done, open_session, refused, signed_in},
};
use crate::oauth::Circle;
use crate::people::{
    SignInError, SignIns,
    page::{Html, page},
};

/// `GET /passkey.js`.
pub(super) async fn script() -> Response {
    let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
    let keep = HeaderValue::from_static("public, max-age=300");
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, keep)];
    (headers, SCRIPT).into_response()
}

/// Shows the page on which somebody signs in, and goes to `return_to` afterwards.
pub(super) fn begin(
    shared: &Shared,
    party: &RelyingParty,
    return_to: &str,
) -> Result<Response, SignInError> {
    let moment = (shared.control().clock)();
    let flow = shared.flows.begin(moment.chance, return_to, moment.now)?;
    let body = Html::ours(
        "<p>Your device holds a passkey for this server, and uses it once it has recognised you: by a finger, a face or a PIN.</p>\n",
    );
    let body = asking(body, "/sign-in/passkey", "get", party, &flow)
        .with(">\n")
        .with(GET_FIELDS)
        .with("<button type=\"submit\">Sign in with a passkey</button>\n</form>\n")
        .with(AFTER);
    let body = body.with("<p class=\"soft\">No passkey yet? An administrator gives you a link (<code>ambit people enroll</code>).</p>\n");
    Ok(with_flow(
        shared,
        scripted(StatusCode::OK, "Sign in", &body),
        &flow,
    ))
}

/// `POST /sign-in/passkey`: the browser answers.
pub(super) async fn sign_in(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let signed = sign_in_or(&shared, &headers, body).await;
    let mut response = signed.unwrap_or_else(|error| refused(&error));
    // Whatever came of it, it is over.
    set_cookie(&mut response, &shared, Cookie::Flow, "", 0);
    response
}

/// `GET /enroll`: shows for whom a link is.
pub(super) async fn enrol_page(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    enrol_page_or(&shared, &headers, &query).unwrap_or_else(|error| not_done(NOT_ENROLLED, &error))
}

/// `POST /enroll`: the browser registers a passkey.
pub(super) async fn enrol(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let enrolled = enrol_or(&shared, &headers, body).await;
    let mut response = enrolled.unwrap_or_else(|error| not_done(NOT_ENROLLED, &error));
    set_cookie(&mut response, &shared, Cookie::Flow, "", 0);
    response
}

async fn sign_in_or(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, SignInError> {
    let party = party(shared)?;
    check_site(headers)?;
    let fields = Fields::read(headers, body).await?;
    let now = (shared.control().clock)().now;
    let flow = flow_of(shared, headers, now)?;
    let field = |name| fields.get(name).unwrap_or_default();
    let answer = Assertion {
        credential: field("credential"),
        client_data: field("client_data"),
        authenticator_data: field("authenticator_data"),
        signature: field("signature"),
        user_handle: field("user_handle"),
    };
    let handle = &shared.control().handle;
    let passkey = handle.passkey_of(answer.credential)?;
    let sign_in = party.asserted(&answer, flow.nonce(), &passkey)?;
    use_up(shared, &flow, now)?;
    handle.use_passkey(&sign_in).await?;
    let onward = onward(flow.return_to())?;
    open_session(shared, headers, How::Passkey(sign_in), onward)
}

/// Sends the browser on by a page of its own. After a form, a redirect would count as where the form goes, and the page's
/// policy stops those that lead to a client in the end (CSP Level 3 `form-action`).
fn onward(url: &str) -> Result<Response, SignInError> {
    let body = Html::ours("<p>You are signed in.</p>\n<p><a class=\"act\" href=\"");
    let body = body.text(url).with("\">Go on</a></p>\n");
    let mut response = page(StatusCode::OK, "Signed in", &body);
    let refresh = HeaderValue::try_from(format!("0;url={url}"));
    let wrong = "the address to go to can't be used; begin again";
    let refresh = refresh.map_err(|_| SignInError::Request(wrong))?;
    response.headers_mut().insert(header::REFRESH, refresh);
    Ok(response)
}

fn enrol_page_or(
    shared: &Shared,
    headers: &HeaderMap,
    query: &str,
) -> Result<Response, SignInError> {
    let party = party(shared)?;
    let fields = Fields::parse(query.as_bytes())?;
    let secret = fields.get("code").unwrap_or_default();
    let moment = (shared.control().clock)();
    let offered = offered(shared, headers, secret, moment.now)?;
    let flow = shared.flows.begin(moment.chance, HOME, moment.now)?;
    let algorithms: Vec<String> = PasskeyAlgorithm::ALL
        .iter()
        .map(|it| it.cose().to_string())
        .collect();
    let body = Html::ours("<p>This registers a passkey of this device for <strong>")
        .text(&offered.alias)
        .with("</strong>. Whoever can unlock the device can sign in as that person from then on.</p>\n\
               <p class=\"warn\">Are you not that person? Then close this page and tell who sent you the link.</p>\n");
    let body = asking(body, "/enroll", "create", party, &flow)
        .with(" data-user=\"")
        .text(&user_handle(offered.person))
        .with("\" data-name=\"")
        .text(&offered.alias)
        .with("\" data-algorithms=\"")
        .text(&algorithms.join(" "))
        .with("\">\n<input type=\"hidden\" name=\"code\" value=\"")
        .text(secret)
        .with("\">\n")
        .with(CREATE_FIELDS)
        .with("<button type=\"submit\">Register a passkey</button>\n</form>\n")
        .with(AFTER);
    let page = scripted(StatusCode::OK, "Register a passkey", &body);
    Ok(with_flow(shared, page, &flow))
}

async fn enrol_or(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, SignInError> {
    let party = party(shared)?;
    check_site(headers)?;
    let fields = Fields::read(headers, body).await?;
    let now = (shared.control().clock)().now;
    let flow = flow_of(shared, headers, now)?;
    let field = |name| fields.get(name).unwrap_or_default();
    // Before anything is kept: strangers have no link.
    offered(shared, headers, field("code"), now)?;
    let answer = Registration {
        credential: field("credential"),
        client_data: field("client_data"),
        authenticator_data: field("authenticator_data"),
        public_key: field("public_key"),
        algorithm: field("algorithm"),
    };
    let key = party.registered(&answer, flow.nonce())?;
    use_up(shared, &flow, now)?;
    let new = NewPasskey {
        secret: field("code").to_owned(),
        key,
    };
    let moment = (shared.control().clock)();
    let passkey = shared
        .control()
        .handle
        .register_passkey(new, moment)
        .await?;
    let body = Html::ours("<p role=\"status\">This device's passkey <code>")
        .text(&passkey.id.to_string())
        .with("</code> is registered, and the link is spent.</p>\n<p><a class=\"act\" href=\"/sign-in\">Sign in</a></p>\n");
    Ok(page(StatusCode::OK, "Registered", &body))
}

/// Returns for whom a link is. Whoever is signed in as somebody else has it by mistake, or was tricked.
fn offered(
    shared: &Shared,
    headers: &HeaderMap,
    secret: &str,
    now: Timestamp,
) -> Result<Enrolled, SignInError> {
    let offered = shared.control().handle.enrolment(secret, now)?;
    match signed_in(shared, headers) {
        Ok(here) if here.caller.alias() != offered.alias => Err(SignInError::SomebodyElse {
            here: here.caller.alias().to_owned(),
            wanted: offered.alias,
        }),
        Err(error @ SignInError::Engine(_)) => Err(error),
        Ok(_) | Err(_) => Ok(offered),
    }
}

/// A challenge is answered once.
fn use_up(shared: &Shared, flow: &Flow, now: Timestamp) -> Result<(), SignInError> {
    let owner = ReplayOwner::Assertion {
        issuer: "passkeys of this server",
    };
    let until = now.plus(FLOW_TTL_MAX);
    let wall = shared.control().wall();
    let oauth = shared.oauth();
    match oauth.admit(Circle::People, (owner, flow.nonce()), until, wall) {
        Ok(()) => Ok(()),
        Err(error @ (ReplayError::Full | ReplayError::OwnerFull)) => Err(SignInError::Busy(error)),
        Err(ReplayError::Replayed | ReplayError::Over) => Err(SignInError::Request(
            "this answer was used before; begin again",
        )),
    }
}

fn party(shared: &Shared) -> Result<&RelyingParty, SignInError> {
    match &shared.control().sign_ins {
        SignIns::WithPasskeys(party) => Ok(party),
        SignIns::Nowhere | SignIns::At(_) => Err(SignInError::NoPasskeys),
    }
}

/// Begins the form that the script fills in: what it asks the browser for stands beside it.
fn asking(
    before: Html,
    action: &'static str,
    asks: &'static str,
    party: &RelyingParty,
    flow: &Flow,
) -> Html {
    before
        .with("<form id=\"passkey\" method=\"post\" action=\"")
        .with(action)
        .with("\" data-asks=\"")
        .with(asks)
        .with("\" data-rp=\"")
        .text(party.id())
        .with("\" data-challenge=\"")
        .text(flow.nonce())
        .with("\"")
}

/// Returns a page that runs our one script, and no other.
fn scripted(status: StatusCode, title: &'static str, body: &Html) -> Response {
    let body = body
        .clone()
        .with("<script src=\"/passkey.js\" defer></script>\n");
    let mut response = page(status, title, &body);
    let policy = response.headers().get(header::CONTENT_SECURITY_POLICY);
    let policy = policy.and_then(|it| it.to_str().ok()).unwrap_or_default();
    if let Ok(policy) = HeaderValue::from_str(&format!("{policy}; script-src 'self'")) {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn with_flow(shared: &Shared, mut response: Response, flow: &Flow) -> Response {
    let age = FLOW_TTL_MAX.as_millis() / 1000;
    set_cookie(&mut response, shared, Cookie::Flow, flow.cookie(), age);
    response
}

const NOT_ENROLLED: &str = "Not registered";
const GET_FIELDS: &str = "<input type=\"hidden\" name=\"credential\">\n<input type=\"hidden\" name=\"client_data\">\n\
<input type=\"hidden\" name=\"authenticator_data\">\n<input type=\"hidden\" name=\"signature\">\n\
<input type=\"hidden\" name=\"user_handle\">\n";
const CREATE_FIELDS: &str = "<input type=\"hidden\" name=\"credential\">\n<input type=\"hidden\" name=\"client_data\">\n\
<input type=\"hidden\" name=\"authenticator_data\">\n<input type=\"hidden\" name=\"public_key\">\n\
<input type=\"hidden\" name=\"algorithm\">\n";
const AFTER: &str = "<p id=\"passkey-alert\" class=\"bad\" role=\"alert\" hidden></p>\n\
<noscript><p class=\"bad\">A passkey needs this page's script; allow it for this site.</p></noscript>\n";
const SCRIPT: &str = include_str!("../people/passkey.js");
