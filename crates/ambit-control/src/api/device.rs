//! The page on which a person lets a command line act in their name, or does not (RFC 8628 §3.3).

use std::sync::Arc;

use ambit_core::limits::LOGIN_TTL;
use ambit_engine::{LoginAsk, Refusal};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};

use super::{
    Shared,
    people::{Fields, SignedIn, check_form, refused, see_other, signed_in},
};
use crate::{
    oauth::{Before, CLICKS_MAX, Claimed, DEVICE_PAGE, Entered, WrongCode},
    people::{
        Session, SignInError,
        page::{Html, page},
    },
};

/// `GET /device`: asks for the code, or shows whose it is.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    shown(&shared, &headers, &query).unwrap_or_else(|error| refused(&error))
}

/// `POST /device`: the person answers.
pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answered(&shared, &headers, body)
        .await
        .unwrap_or_else(|error| refused(&error))
}

fn shown(shared: &Shared, headers: &HeaderMap, query: &str) -> Result<Response, SignInError> {
    let fields = Fields::parse(query.as_bytes())?;
    let typed = fields.get("user_code").unwrap_or_default();
    let SignedIn { session, caller } = match signed_in(shared, headers) {
        Ok(found) => found,
        Err(SignInError::Session(_)) => return sign_in_first(typed),
        Err(error) => return Err(error),
    };
    let ask = |typed| Ok(code_page(StatusCode::OK, &session, typed, None));
    if typed.is_empty() {
        return ask("");
    }
    let now = (shared.control.clock)().now;
    let linked = (typed, Entered::ByLink);
    let found = shared.oauth().devices().look(caller.alias(), linked, now);
    match found {
        Ok(claimed) => Ok(confirm_page(&session, caller.alias(), &claimed)),
        // Others may have written all those links: the person can send the form.
        Err(WrongCode::TooMany) => ask(typed),
        Err(why @ WrongCode::Unknown) => Ok(wrong_code(&session, typed, why)),
    }
}

/// Sends whoever is not signed in to do that, and back here.
fn sign_in_first(typed: &str) -> Result<Response, SignInError> {
    let mut back = DEVICE_PAGE.to_owned();
    if !typed.is_empty() {
        let code = form_urlencoded::Serializer::new(String::new())
            .append_pair("user_code", typed)
            .finish();
        back = format!("{back}?{code}");
    }
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("to", &back)
        .finish();
    see_other(&format!("/sign-in?{query}"))
}

async fn answered(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, SignInError> {
    let SignedIn { session, caller } = signed_in(shared, headers)?;
    let fields = Fields::read(headers, body).await?;
    check_form(headers, &session, fields.get("csrf").unwrap_or_default())?;
    let code = fields.get("user_code").unwrap_or_default();
    if fields.get("answer") == Some("yes") && said_before(shared, caller.alias(), code).await {
        return Ok(logged_in());
    }
    let now = (shared.control.clock)().now;
    let typed = (code, Entered::ByForm);
    let found = shared.oauth().devices().look(caller.alias(), typed, now);
    let claimed = match found {
        Ok(claimed) => claimed,
        Err(why) => return Ok(wrong_code(&session, code, why)),
    };
    match fields.get("answer") {
        Some("look") => return Ok(confirm_page(&session, caller.alias(), &claimed)),
        Some("no") => {
            let refused = shared.oauth().devices().refuse(&claimed.user_code, now);
            return Ok(match refused {
                Ok(()) => said(
                    "Refused",
                    "The command line gets nothing. If you did not run `ambit login`, somebody may have tried to act as you: tell who operates this server.",
                ),
                Err(why) => wrong_code(&session, code, why),
            });
        }
        Some("yes") => {}
        Some(_) | None => return Err(SignInError::Request("say yes or no with the buttons")),
    }
    let taken = shared
        .oauth()
        .devices()
        .take(caller.alias(), &claimed.user_code, now);
    let answering = match taken {
        Ok(answering) => answering,
        Err(why) => return Ok(wrong_code(&session, code, why)),
    };
    let ask = LoginAsk {
        key: claimed.key,
        sign_in: session.sign_in().clone(),
    };
    let moment = (shared.control.clock)();
    let opened = shared.control.handle.open_login(&caller, ask, moment).await;
    let (grant, refusal) = match opened {
        Ok(grant) => (Some(grant), None),
        Err(refusal) => (None, Some(refusal)),
    };
    shared.oauth().devices().settle(answering, grant);
    match refusal {
        None => Ok(logged_in()),
        Some(Refusal::Failed(error)) => Err(error.into()),
        Some(refusal) => Ok(not_let(&refusal)),
    }
}

/// Says whether this person said yes to the command line of this code before, and waits for a yes that is under way: who
/// clicks twice leaves the first answer and means it.
async fn said_before(shared: &Shared, person: &str, code: &str) -> bool {
    for _ in 0..CLICKS_MAX {
        let now = (shared.control.clock)().now;
        let before = shared.oauth().devices().before(person, code, now);
        match before {
            Before::No => return false,
            Before::Yes => return true,
            Before::UnderWay(mut settled) => {
                // It is closed when that is over.
                let _ = settled.changed().await;
            }
        }
    }
    false
}

fn logged_in() -> Response {
    said(
        "Logged in",
        "The command line acts as you now. Go back to the terminal; you can close this page. Your account's page lists this login and ends it.",
    )
}

fn code_page(status: StatusCode, session: &Session, typed: &str, wrong: Option<&str>) -> Response {
    let mut body = Html::ours(
        "<p>A command line shows a code after <code>ambit login</code>. Type it here to let that command line act as \
         you.</p>\n<form method=\"post\" action=\"/device\">\n<input type=\"hidden\" name=\"csrf\" value=\"",
    )
    .text(&session.csrf())
    .with("\">\n<input type=\"hidden\" name=\"answer\" value=\"look\">\n<label for=\"code\">Code</label>\n");
    if let Some(wrong) = wrong {
        body = body
            .with("<p class=\"bad\" id=\"wrong\" role=\"alert\">")
            .sentence(wrong)
            .with("</p>\n");
    }
    body = body
        .with("<input id=\"code\" name=\"user_code\" required maxlength=\"16\" autocomplete=\"off\" autocapitalize=\"characters\" spellcheck=\"false\"")
        .with(if wrong.is_some() { " aria-invalid=\"true\" aria-describedby=\"wrong\"" } else { "" })
        .with(" value=\"")
        .text(typed)
        .with("\">\n<button type=\"submit\">Go on</button>\n</form>\n");
    page(status, "Log a command line in", &body)
}

fn wrong_code(session: &Session, typed: &str, why: WrongCode) -> Response {
    let status = match why {
        WrongCode::Unknown => StatusCode::NOT_FOUND,
        WrongCode::TooMany => StatusCode::TOO_MANY_REQUESTS,
    };
    code_page(status, session, typed, Some(&why.to_string()))
}

fn confirm_page(session: &Session, alias: &str, claimed: &Claimed) -> Response {
    let hours = LOGIN_TTL.as_millis() / 3_600_000;
    let body = Html::ours("<p>A command line asks to act as <strong>")
        .text(alias)
        .with("</strong> for ")
        .text(&hours.to_string())
        .with(" hours: whatever you may do here, it may.</p>\n<section>\n<dl>\n<dt>Its code</dt>\n<dd class=\"code\"><code>")
        .text(&claimed.user_code)
        .with("</code></dd>\n<dt>It calls itself, and nobody checked that</dt>\n<dd>")
        .text(&claimed.device)
        .with("</dd>\n</dl>\n</section>\n<p class=\"warn\">Go on only if you ran <code>ambit login</code> yourself a moment ago and your own terminal \
             shows this very code. Did somebody send you this link or the code? Then say no: they would act as you.</p>\n\
             <form method=\"post\" action=\"/device\">\n<input type=\"hidden\" name=\"csrf\" value=\"")
        .text(&session.csrf())
        .with("\">\n<input type=\"hidden\" name=\"user_code\" value=\"")
        .text(&claimed.user_code)
        .with("\">\n<div class=\"row\">\n<button type=\"submit\" name=\"answer\" value=\"yes\">Let it act as me</button>\n\
             <button type=\"submit\" name=\"answer\" value=\"no\" class=\"no\">No</button>\n</div>\n</form>\n");
    page(StatusCode::OK, "Log a command line in", &body)
}

fn said(title: &'static str, what: &str) -> Response {
    let body = Html::ours("<p role=\"status\">")
        .sentence(what)
        .with("</p>\n<p><a class=\"act\" href=\"/account\">Account</a></p>\n");
    page(StatusCode::OK, title, &body)
}

fn not_let(refusal: &Refusal) -> Response {
    let body = Html::ours("<p role=\"alert\">")
        .sentence(&refusal.to_string())
        .with("</p>\n");
    page(StatusCode::FORBIDDEN, "Not logged in", &body)
}
